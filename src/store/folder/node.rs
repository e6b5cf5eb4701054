//! What a file system says of a file, in the words of the stores.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FileType as Native;

use crate::store::api::{Kind, Stat};
use crate::store::attributes::{Attributes, FileType};

/// Permission bits, set-id bits and the sticky bit.
const PERMISSIONS: u32 = 0o7777;

/// What kind of file it is.
pub(super) fn native_type(found: &rustix::fs::Stat) -> Native {
    Native::from_raw_mode(found.st_mode)
}

pub(super) fn is_directory(found: &rustix::fs::Stat) -> bool {
    native_type(found) == Native::Directory
}

/// A device node is a file that nobody may read here: whoever opened it could do things to the machine.
pub(super) fn is_device(found: &rustix::fs::Stat) -> bool {
    matches!(native_type(found), Native::CharacterDevice | Native::BlockDevice)
}

/// Whether it can have `user.` attributes.
pub(super) fn has_xattrs(found: &rustix::fs::Stat) -> bool {
    matches!(native_type(found), Native::RegularFile | Native::Directory)
}

/// The kernel's nanoseconds have another type on each kind of machine.
pub(super) fn nanoseconds(of: impl TryInto<u64>) -> u64 {
    of.try_into().unwrap_or(0)
}

fn moment(seconds: i64, nanoseconds: u64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.unwrap_or(UNIX_EPOCH) + Duration::from_nanos(nanoseconds)
}

/// What is known of it. The time of the last change is `ctime`, which nobody can set.
pub(super) fn stat(found: &rustix::fs::Stat) -> Stat {
    let changed = moment(found.st_ctime, nanoseconds(found.st_ctime_nsec));
    let file_type = match native_type(found) {
        Native::Symlink => FileType::Symlink,
        Native::Fifo => FileType::Fifo,
        Native::Socket => FileType::Socket,
        _ => FileType::Regular,
    };
    let mode = if is_device(found) { 0 } else { found.st_mode & PERMISSIONS };
    let attributes = Attributes {
        file_type,
        mode: Some(mode),
        uid: Some(found.st_uid),
        gid: Some(found.st_gid),
        atime: Some(moment(found.st_atime, nanoseconds(found.st_atime_nsec))),
        mtime: Some(moment(found.st_mtime, nanoseconds(found.st_mtime_nsec))),
        ctime: Some(changed),
        ino: None,
    };
    if is_directory(found) {
        return Stat { directory: attributes, ..Stat::plain(Kind::Branch, 0, changed) };
    }
    let size = match native_type(found) {
        Native::RegularFile | Native::Symlink => u64::try_from(found.st_size).unwrap_or(0),
        _ => 0,
    };
    Stat { file: attributes, ..Stat::plain(Kind::Leaf, size, changed) }
}

/// A directory that nobody may enter.
pub(super) fn mount_point() -> Stat {
    let mut stat = Stat::plain(Kind::Branch, 0, UNIX_EPOCH);
    stat.directory.mode = Some(0);
    stat
}
