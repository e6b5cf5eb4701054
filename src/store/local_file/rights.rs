//! Whether a file can be replaced: the new one must be what everybody sees, and be allowed.

use std::ffi::OsStr;
use std::fs::File;

use rustix::fs::{Access, AtFlags};

use super::place::Place;

/// Why a file cannot be replaced by a new one, in words that follow "it is mounted read-only: "; `None` where it can. `file`
/// is what has the name, open.
pub(in crate::store) fn refusal(place: &Place, name: &OsStr, file: &File) -> Option<&'static str> {
    let found = rustix::fs::fstat(file).ok()?;
    let may =
        |name: &OsStr| rustix::fs::accessat(place.folder(), name, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    let user = nix::unistd::geteuid();
    if found.st_nlink > 1 {
        Some("it has another hard link, which a new file would leave behind: copy it first")
    } else if !may(OsStr::new(".")) {
        Some("no new file can be made in its folder: copy it to one that can be written")
    } else if !may(name) {
        Some("it may not be written: chmod it, or copy it")
    } else if found.st_uid != user.as_raw() && !user.is_root() {
        Some("it belongs to another user, and a new file would not: copy it first")
    } else {
        None
    }
}
