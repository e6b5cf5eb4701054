//! Documents both ways: files that other programs wrote, edited through a mount by ordinary tools, and read by these programs
//! again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod editing;
#[path = "../mount/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "shared with the mount suite, which uses all of it"
)]
mod harness;
mod lasting;
mod python;
mod toml;
mod view;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::{Kind, Mount, Place, watched};

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `body` on a mount of a file with this text; the file is `config.json`.
fn with_document(text: &'static str, body: fn(&mut Mount, PathBuf)) {
    watched(LIMIT, move |place| {
        let path = place.at("config.json");
        fs::write(&path, text).unwrap();
        body(&mut mount(place, "data", &[]), path);
    });
}

/// Mounts `config.json`, told by its content, on `point`.
fn mount(place: &Place, point: &str, options: &[&str]) -> Mount {
    Mount::of(place, Kind::Document, place.at("config.json").into(), point, options)
}
