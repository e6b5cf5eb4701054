//! Whether a model can be written.

use super::files::{Files, Location};
use super::source::Source;
use crate::store::local_file::place::Resolved;
use crate::store::local_file::rights;

/// The folder of the Hugging Face cache in which files are called by their hashes, and shared by links.
const BLOBS: &str = "blobs";

/// Why the model is mounted read-only though nobody asked for that, in a sentence; `None` where it can be written.
pub(super) fn refusal(location: &Location, files: &Files) -> Option<String> {
    let index = files.index.iter().map(|index| (&index.file, &index.source));
    let mut all = index.chain(files.parts.iter().map(|part| (&part.file, &part.source)));
    let (file, why) = all.find_map(|(file, source)| Some((file, refusal_of(file, source)?)))?;
    let which = if file.link == location.name { String::new() } else { format!("{}: ", file.shown()) };
    Some(format!("{} is mounted read-only: {which}{why}", location.shown()))
}

fn refusal_of(file: &Resolved, source: &Source) -> Option<&'static str> {
    if file.place.path().file_name().is_some_and(|folder| folder == BLOBS) {
        return Some(
            "it is in a cache of Hugging Face, where files are called by their content: copy it first",
        );
    }
    rights::refusal(&file.place, &file.name, source.file())
}
