//! An open value: one version, wherever its bytes are by now.

use std::any::Any;
use std::sync::Arc;

use parking_lot::RwLock;

use super::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Value, Version};

/// Where the bytes of a value are, and what keeps them there: a read transaction (the map), a copy in memory, a
/// spill file's own map. Reads take no lock while they hand the bytes on.
#[derive(Clone)]
pub(super) struct Held {
    address: *const u8,
    length: usize,
    /// Whose map they are in, if they are.
    map: Option<Arc<Environment>>,
    _keep: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the bytes are never written while `_keep` lives, and `_keep` may be shared and sent itself.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    /// Bytes that stay as they are while `keep` lives.
    ///
    /// # Safety
    /// `bytes` stays in place and unchanged until the last clone of `keep` drops.
    pub(super) unsafe fn new(bytes: &[u8], keep: Arc<dyn Any + Send + Sync>) -> Held {
        Held { address: bytes.as_ptr(), length: bytes.len(), map: None, _keep: keep }
    }

    /// The same of bytes in the map of `environment`.
    ///
    /// # Safety
    /// As for [`Held::new`].
    pub(super) unsafe fn in_map(
        bytes: &[u8],
        keep: Arc<dyn Any + Send + Sync>,
        environment: &Arc<Environment>,
    ) -> Held {
        // SAFETY: the caller's promise.
        let held = unsafe { Held::new(bytes, keep) };
        Held { map: Some(Arc::clone(environment)), ..held }
    }

    /// A copy of `bytes`.
    pub(super) fn copy(bytes: &[u8]) -> Held {
        let copy: Arc<[u8]> = bytes.into();
        // SAFETY: the Arc that is kept owns exactly these bytes, and nobody else can write to them.
        unsafe { Held::new(&Arc::clone(&copy), Arc::new(copy)) }
    }

    /// The bytes.
    ///
    /// # Errors
    /// `Io` where the map that they are in can no longer be read.
    pub(super) fn bytes(&self) -> Result<&[u8]> {
        self.map.as_ref().map_or(Ok(()), |environment| environment.intact())?;
        if self.length == 0 {
            return Ok(&[]);
        }
        // SAFETY: what `new` was promised; `_keep` is borrowed with `self`.
        Ok(unsafe { std::slice::from_raw_parts(self.address, self.length) })
    }
}

/// The bytes of an open value, which the janitor moves when their read transaction must end; `None` once they
/// could not be kept.
pub(super) struct Slot {
    held: RwLock<Option<Held>>,
    length: u64,
}

impl Slot {
    pub(super) fn new(held: Held) -> Slot {
        let length = held.length as u64;
        Slot { held: RwLock::new(Some(held)), length }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Where the bytes are now.
    pub(super) fn held(&self) -> Option<Held> {
        self.held.read().clone()
    }

    /// The same bytes elsewhere, or nowhere.
    pub(super) fn move_to(&self, held: Option<Held>) {
        let before = std::mem::replace(&mut *self.held.write(), held);
        // Outside the lock: this may end a transaction.
        drop(before);
    }
}

/// A value as the Vfs sees it.
pub(super) struct Opened(pub(super) Arc<Slot>);

impl Opened {
    fn held(&self) -> Result<Held> {
        self.0.held().ok_or_else(|| {
            Error::new(ErrorKind::Stale, "this version was replaced, and there was no room to keep it")
        })
    }
}

impl Value for Opened {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let held = self.held()?;
        let bytes = part(held.bytes()?, offset, size);
        if !bytes.is_empty() {
            sink(bytes);
        }
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        Ok(Version::of_content(self.held()?.bytes()?))
    }
}

/// A value of an environment without a lock file: nothing keeps writers from reusing its pages, so each read is
/// a copy that counts only when no commit came in between (the pages of one moment are not reused before the
/// commit after it is done).
pub(super) struct Unguarded {
    pub(super) environment: Arc<Environment>,
    pub(super) address: *const u8,
    pub(super) length: usize,
    pub(super) moment: u64,
}

// SAFETY: the address is of the map, which lives as long as the environment and is only read.
unsafe impl Send for Unguarded {}
// SAFETY: as above.
unsafe impl Sync for Unguarded {}

impl Unguarded {
    fn copy(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        self.environment.intact()?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.length);
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(self.length - start);
        let mut copy = Vec::with_capacity(length);
        // SAFETY: `start` is within the value, so the address is within the map.
        let from = unsafe { self.address.add(start) };
        // SAFETY: the value's pages are in the map, `copy` has room for `length` bytes, and they do not overlap;
        // a writer may change them meanwhile, which a plain copy of bytes survives and the check below tells.
        unsafe { std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), length) };
        // SAFETY: exactly these bytes were written.
        unsafe { copy.set_len(length) };
        if self.environment.last_transaction()? == self.moment {
            return Ok(copy);
        }
        Err(Error::new(
            ErrorKind::Stale,
            "this version was replaced, and without a lock file it could not be kept: open it again",
        ))
    }
}

impl Value for Unguarded {
    fn len(&self) -> u64 {
        self.length as u64
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let copy = self.copy(offset, size)?;
        if !copy.is_empty() {
            sink(&copy);
        }
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        Ok(Version::of_content(&self.copy(0, u64::MAX)?))
    }
}

fn part(bytes: &[u8], offset: u64, size: u64) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len() - start);
    &bytes[start..start + length]
}
