//! Whether a model can be written.

use super::files::{Files, Location};
use crate::store::local_file::rights;

/// The folder of the Hugging Face cache in which files are called by their hashes, and shared by links.
const BLOBS: &str = "blobs";

/// Why the model is mounted read-only though nobody asked for that, in a sentence; `None` where it can be written.
pub(super) fn refusal(location: &Location, files: &Files) -> Option<String> {
    let shown = location.shown();
    let place = &location.place;
    let Some(source) = &files.single else {
        return Some(format!(
            "{shown} is mounted read-only: mount one file of a sharded model to write to it"
        ));
    };
    let why = if place.path().file_name().is_some_and(|folder| folder == BLOBS) {
        "it is in a cache of Hugging Face, where files are called by their content: copy it first"
    } else {
        rights::refusal(place, &location.name, source.file())?
    };
    Some(format!("{shown} is mounted read-only: {why}"))
}
