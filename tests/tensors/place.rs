//! A folder with a model in it, a mount of it, and Python beside them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Kind, Mount, Place, finish, skip, watched};

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What a script begins with.
const MODEL: &str = include_str!("model.py");

/// Runs `body` in a folder of its own; skips it where Python's libraries are missing.
pub fn with_model(body: fn(&Place, &Path)) {
    watched(LIMIT, move |place| {
        let libraries = finish(&mut place.python("import ml_dtypes, numpy, safetensors"));
        if libraries.code != 0 {
            let why = libraries.err.lines().last().unwrap_or_default().to_owned();
            skip(format!("{why}: run scripts/setup --tests"));
        }
        body(place, &place.at("model.safetensors"));
    });
}

/// Runs a script in Python that knows the functions of `model.py`; answers what it prints.
#[track_caller]
pub fn python(place: &Place, script: &str) -> String {
    finish(&mut place.python(&format!("{MODEL}\n{script}"))).ok(script)
}

/// Mounts the model, or what else is at `path`, on `data`.
pub fn mount(place: &Place, path: &Path, options: &[&str]) -> Mount {
    Mount::of(place, Kind::Model, path.into(), "data", options)
}

/// All names in the folder at `path`.
pub fn names(path: PathBuf) -> Vec<String> {
    let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}
