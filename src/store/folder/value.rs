//! Open files. A put here makes a new file, so that an open one stays as it was; where another program writes into it,
//! the next read is refused (§3.1).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FileType as Native, OFlags, fstat};

use super::node;
use super::root::{Found, Root};
use super::stamp::{Same, Stamp};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{SharedBytes, Value, Version};

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;

/// Opens what is at `key`.
///
/// # Errors
/// `NotPermitted` for a device node; the system's.
pub(super) fn open(root: &Root, key: &Key, same: &Arc<Same>) -> Result<Option<Box<dyn Value>>> {
    let Some(Found::Node(named, found)) = root.find(key)? else { return Ok(None) };
    match node::native_type(&found) {
        Native::Directory => Ok(None),
        Native::Symlink => {
            let target = rustix::fs::readlinkat(&named, c"", Vec::new());
            let target = target.map_err(|errno| super::root::failure(key, errno))?;
            Ok(Some(Box::new(SharedBytes(target.into_bytes().into()))))
        }
        Native::Fifo | Native::Socket => Ok(Some(Box::new(SharedBytes(Arc::default())))),
        Native::RegularFile => open_file(root, key, same),
        _ => {
            let sentence = format!("{key:?} is a device node, which kvfs does not open");
            Err(Error::new(ErrorKind::NotPermitted, sentence))
        }
    }
}

fn open_file(root: &Root, key: &Key, same: &Arc<Same>) -> Result<Option<Box<dyn Value>>> {
    // What became a FIFO meanwhile must not hold anybody.
    let Some(file) = root.open_for_reading(key, OFlags::NONBLOCK)? else { return Ok(None) };
    let found = fstat(&file).map_err(|errno| super::root::failure(key, errno))?;
    if node::native_type(&found) != Native::RegularFile {
        return Err(ErrorKind::Stale.into());
    }
    let len = u64::try_from(found.st_size).unwrap_or(0);
    Ok(Some(Box::new(OpenFile { file, len, stamp: Stamp::of(&found), same: Arc::clone(same) })))
}

/// One version of a file.
struct OpenFile {
    file: File,
    len: u64,
    stamp: Stamp,
    same: Arc<Same>,
}

impl OpenFile {
    fn check(&self) -> Result<()> {
        let found = fstat(&self.file).map_err(|errno| self.failure(&errno.into()))?;
        if self.same.are(self.stamp, Stamp::of(&found)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Stale, "another program wrote into the file after it was opened"))
    }

    fn failure(&self, error: &std::io::Error) -> Error {
        Error::io(format_args!("the open file {}", self.file.as_raw_fd()), error)
    }
}

impl Value for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let end = self.len.min(offset.saturating_add(size));
        let mut piece = vec![0; end.saturating_sub(offset).min(PIECE) as usize];
        let mut at = offset;
        while at < end {
            let wanted = (end - at).min(PIECE) as usize;
            let read = self.file.read_exact_at(&mut piece[..wanted], at);
            // Looked at behind the bytes: what was the version then was it before.
            self.check()?;
            read.map_err(|error| self.failure(&error))?;
            sink(&piece[..wanted]);
            at += wanted as u64;
        }
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        Ok(self.same.version(self.stamp))
    }
}
