//! Whether a model can be written: a replacement must be what everybody sees, and be allowed.

use rustix::fs::{Access, AtFlags};

use super::files::{Files, Location};

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
    let found = rustix::fs::fstat(source.file()).ok()?;
    let may = |name: &std::ffi::OsStr| {
        rustix::fs::accessat(place.folder(), name, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    };
    let user = nix::unistd::geteuid();
    let why = if found.st_nlink > 1 {
        "it has another hard link, which a new file would leave behind: copy it first"
    } else if place.path().file_name().is_some_and(|folder| folder == BLOBS) {
        "it is in a cache of Hugging Face, where files are called by their content: copy it first"
    } else if !may(std::ffi::OsStr::new(".")) {
        "no new file can be made in its folder: copy it to one that can be written"
    } else if !may(&location.name) {
        "it may not be written: chmod it, or copy it"
    } else if found.st_uid != user.as_raw() && !user.is_root() {
        "it belongs to another user, and a new file would not: copy it first"
    } else {
        return None;
    };
    Some(format!("{shown} is mounted read-only: {why}"))
}
