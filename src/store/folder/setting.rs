//! Attributes of files that there are, set and read through a descriptor that only names them.

use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, FileType as Native, Timespec, Timestamps, UTIME_OMIT, XattrFlags, removexattr, setxattr,
    utimensat,
};
use rustix::io::Errno;

use super::node::native_type;
use super::root::failure;
use crate::error::Result;
use crate::key::Key;
use crate::store::attributes::{Setting, Xattrs};
use crate::store::unnamed::{all_xattrs, path};

/// Sets what Linux lets one set: a `ctime` is its own, and a link has no mode.
///
/// # Errors
/// The system's.
pub(super) fn set(file: impl AsFd, found: &rustix::fs::Stat, setting: &Setting, key: &Key) -> Result<()> {
    let io = |error: std::io::Error| crate::error::Error::io(format_args!("{key:?}"), &error);
    let file = file.as_fd();
    let path = path(file);
    if setting.uid.is_some() || setting.gid.is_some() {
        let ids = (setting.uid.map(rustix::fs::Uid::from_raw), setting.gid.map(rustix::fs::Gid::from_raw));
        let owned = rustix::fs::chownat(file, c"", ids.0, ids.1, AtFlags::EMPTY_PATH);
        owned.map_err(|errno| failure(key, errno))?;
    }
    // After the owner, whose change takes the set-id bits away.
    if let Some(mode) = setting.mode
        && native_type(found) != Native::Symlink
    {
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io)?;
    }
    for (name, value) in &setting.xattrs {
        let changed = match value {
            Some(value) => setxattr(&path, &**name, value, XattrFlags::empty()),
            None => match removexattr(&path, &**name) {
                Err(Errno::NODATA) => Ok(()),
                outcome => outcome,
            },
        };
        changed.map_err(|errno| failure(key, errno))?;
    }
    if setting.atime.is_some() || setting.mtime.is_some() {
        let times =
            Timestamps { last_access: timespec(setting.atime), last_modification: timespec(setting.mtime) };
        utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty()).map_err(|errno| failure(key, errno))?;
    }
    Ok(())
}

fn timespec(time: Option<SystemTime>) -> Timespec {
    let Some(time) = time else { return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT } };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() },
        Err(before) => {
            let before = before.duration();
            let (seconds, nanoseconds) = (before.as_secs() as i64, i64::from(before.subsec_nanos()));
            match nanoseconds {
                0 => Timespec { tv_sec: -seconds, tv_nsec: 0 },
                _ => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
            }
        }
    }
}

/// The extended attributes that anybody may set; none where the file system keeps none.
///
/// # Errors
/// The system's.
pub(super) fn xattrs(file: impl AsFd, key: &Key) -> Result<Xattrs> {
    let all = all_xattrs(file.as_fd()).map_err(|errno| failure(key, errno))?;
    Ok(all.into_iter().filter(|(name, _)| name.starts_with(b"user.")).collect())
}
