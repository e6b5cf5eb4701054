//! The kernel's table of mounts. Reading it asks no file system anything, so that a mount whose daemon hangs or
//! died can be looked at without waiting for it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The type that kvfs mounts have in the table.
pub const KIND: &str = "fuse.kvfs";

const TABLE: &str = "/proc/self/mountinfo";

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// The device number of the file system: `st_dev`, and the name of its FUSE connection and its bdi.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The type: `fuse.kvfs`.
    pub kind: String,
    /// What is mounted, as `mount` shows it.
    pub source: String,
    /// The user whose daemon serves it, where it is a FUSE mount.
    pub user: Option<u32>,
}

impl MountEntry {
    /// Whether it is one of ours.
    pub fn is_kvfs(&self) -> bool {
        self.kind == KIND
    }

    /// Whether it is a FUSE mount, of any program.
    pub fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind.starts_with("fuse.")
    }
}

/// Every mount that this process sees, in the order of the table: later ones lie over earlier ones.
///
/// # Errors
/// The system's, where /proc is not there.
pub fn read() -> Result<Vec<MountEntry>> {
    let table = fs::read(TABLE).map_err(|e| Error::io(TABLE, &e))?;
    Ok(table.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

/// The mount that covers exactly this path, if one does; the uppermost where several do.
///
/// # Errors
/// As for [`read`].
pub fn at(path: &Path) -> Result<Option<MountEntry>> {
    Ok(read()?.into_iter().rfind(|entry| entry.mount_point == path))
}

/// One line, as proc(5) describes it:
/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn parse(line: &[u8]) -> Option<MountEntry> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let (major, minor) = str::from_utf8(fields.get(2)?).ok()?.split_once(':')?;
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    let options = text(fields.get(dash + 3)?);
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        mount_point: OsString::from_vec(unescape(fields.get(4)?)).into(),
        kind: text(fields.get(dash + 1)?),
        source: text(fields.get(dash + 2)?),
        user: options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok()),
    })
}

/// Undoes the table's octal escapes (`\040` is a space).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) if byte == b'\\' => {
                plain.push(escaped);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// The absolute path of something that may be a mount, without asking the mount itself: a hung or dead one
/// still has a name. Where the path cannot be resolved, its folder is.
///
/// # Errors
/// The folder's: `NotFound` and the like.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    // realpath(3) reads links only, which a FUSE directory answers without its daemon.
    if let Ok(found) = fs::canonicalize(path) {
        return Ok(found);
    }
    let path = std::path::absolute(path).map_err(|e| Error::io(path.display(), &e))?;
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if name.as_bytes() != b".." => {
            let folder = fs::canonicalize(folder).map_err(|e| Error::io(folder.display(), &e))?;
            Ok(folder.join(name))
        }
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_escapes() {
        let line =
            br"98 29 0:52 / /tmp/a\040b\134c rw,nosuid shared:9 master:1 - fuse.kvfs lmdb:/x rw,user_id=7";
        let entry = parse(line).unwrap();
        assert_eq!(entry.mount_point, Path::new(r"/tmp/a b\c"));
        assert_eq!((entry.device, entry.user), ((0, 52), Some(7)));
        assert!(entry.is_kvfs() && entry.is_fuse());
        assert_eq!(entry.source, "lmdb:/x");
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 2 3 - x"), None);
    }

    #[test]
    fn the_root_is_a_mount_and_its_proc_too() {
        assert!(at(Path::new("/")).unwrap().is_some());
        assert_eq!(at(Path::new("/proc")).unwrap().unwrap().kind, "proc");
        assert_eq!(at(Path::new("/proc/self")).unwrap(), None);
    }
}
