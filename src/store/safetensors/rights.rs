//! Whether a model can be written: a replacement must be what everybody sees, and be allowed.

use std::ffi::OsStr;

use rustix::fs::{Access, AtFlags};

use super::files::{Files, Location};
use super::place::Resolved;
use super::source::Source;

/// The folder of the Hugging Face cache in which files are called by their hashes, and shared by links.
const BLOBS: &str = "blobs";

/// Why the model is mounted read-only though nobody asked for that, in a sentence; `None` where it can be written.
pub(super) fn refusal(location: &Location, files: &Files) -> Option<String> {
    let index = files.index.iter().map(|index| (&index.file, &index.source));
    let mut all = index.chain(files.parts.iter().map(|part| (&part.file, &part.source)));
    let (file, why) = all.find_map(|(file, source)| Some((file, refusal_of(file, source)?)))?;
    let shown = location.shown();
    let which = if file.link == location.name { "it".to_owned() } else { file.shown() };
    Some(format!("{shown} is mounted read-only: {which} {why}"))
}

fn refusal_of(file: &Resolved, source: &Source) -> Option<&'static str> {
    let found = rustix::fs::fstat(source.file()).ok()?;
    let may = |name: &OsStr| {
        rustix::fs::accessat(file.place.folder(), name, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    };
    let user = nix::unistd::geteuid();
    if found.st_nlink > 1 {
        Some("has another hard link, which a new file would leave behind: copy it first")
    } else if file.place.path().file_name().is_some_and(|folder| folder == BLOBS) {
        Some("is in a cache of Hugging Face, where files are called by their content: copy it first")
    } else if !may(OsStr::new(".")) {
        Some("is in a folder in which no new file can be made: copy it to one that can be written")
    } else if !may(&file.name) {
        Some("may not be written: chmod it, or copy it")
    } else if found.st_uid != user.as_raw() && !user.is_root() {
        Some("belongs to another user, and a new file would not: copy it first")
    } else {
        None
    }
}
