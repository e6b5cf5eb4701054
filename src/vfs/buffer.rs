//! The bytes of a file being written: one buffer per inode, shared by all its handles, so that they see each other's
//! writes at once (§3.1) and one put carries them all.
//!
//! Lock order: `Vfs::tree` → [`Buffer::putting`] → [`Buffer::state`] → the node table.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};

use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::{Value, When};

/// A file being written.
#[derive(Debug)]
pub struct Buffer {
    /// Held while the bytes are put, and by whoever takes the file's name away: no put after an unlink.
    pub putting: Mutex<()>,
    /// The bytes and what is known of them.
    pub state: RwLock<State>,
}

/// The bytes of a [`Buffer`] and what is known of them.
pub struct State {
    /// The version that the edits stand on, until the first write copies it.
    base: Option<Arc<dyn Value>>,
    /// The bytes, from the first write on.
    data: Option<Payload>,
    /// Under which condition the bytes are put: `Current` where they keep a part of what was there (§4.6).
    pub when: When,
    /// Whether the store has exactly these bytes, by a put of ours: what is written next stands on them.
    pub settled: bool,
    /// Whether there are bytes that the store has not.
    pub dirty: bool,
    /// Why the last put failed (§4.2).
    pub error: Option<Error>,
    /// When the bytes changed last.
    pub changed: SystemTime,
    /// The time of that to show: the same, or what somebody set since.
    pub modified: SystemTime,
    /// Whether somebody set that time.
    pub modified_asked: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("len", &self.len()).field("dirty", &self.dirty).finish_non_exhaustive()
    }
}

impl Buffer {
    /// The buffer of a file that starts empty: a new one (`Absent` where `O_EXCL` asked for it), or a truncated one.
    pub fn empty(when: When) -> Buffer {
        Buffer::over(None, Some(Payload::new()), when, true)
    }

    /// The buffer of a file that starts as this version.
    pub fn on(base: Arc<dyn Value>) -> Buffer {
        Buffer::over(Some(base), None, When::Always, false)
    }

    fn over(base: Option<Arc<dyn Value>>, data: Option<Payload>, when: When, dirty: bool) -> Buffer {
        let now = env::now();
        Buffer {
            putting: Mutex::new(()),
            state: RwLock::new(State {
                base,
                data,
                when,
                settled: false,
                dirty,
                error: None,
                changed: now,
                modified: now,
                modified_asked: false,
            }),
        }
    }
}

impl State {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match (&self.data, &self.base) {
            (Some(data), _) => data.len(),
            (None, Some(base)) => base.len(),
            (None, None) => 0,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version that the edits will stand on, while nothing was written.
    pub fn base(&self) -> Option<&Arc<dyn Value>> {
        self.base.as_ref()
    }

    /// The bytes to put; `None` while nothing was written.
    pub fn data(&self) -> Option<&Payload> {
        self.data.as_ref()
    }

    /// Hands the bytes of a range to `sink`, in one piece.
    ///
    /// # Errors
    /// The spill file's, or `Stale` from the base.
    pub fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let Some(data) = &self.data else {
            return match &self.base {
                Some(base) => base.read(offset, size, sink),
                None => Ok(()),
            };
        };
        if let Some(bytes) = data.as_slice() {
            let start = offset.min(bytes.len() as u64) as usize;
            let end = offset.saturating_add(size).min(bytes.len() as u64) as usize;
            sink(&bytes[start..end]);
            return Ok(());
        }
        let mut piece = vec![0; size.min(data.len().saturating_sub(offset)) as usize];
        let read = data.read(offset, &mut piece)?;
        sink(&piece[..read]);
        Ok(())
    }

    /// Writes at an offset.
    ///
    /// # Errors
    /// `TooBig` past `value_max`; `NoSpace` from the scratch folder; `Stale` from the base.
    pub fn write(&mut self, offset: u64, bytes: &[u8], value_max: u64) -> Result<()> {
        let end =
            offset.checked_add(bytes.len() as u64).filter(|&end| end <= value_max).ok_or_else(too_big)?;
        let whole = offset == 0 && end >= self.len();
        self.own(if whole { 0 } else { u64::MAX })?.write(offset, bytes)?;
        self.touch();
        Ok(())
    }

    /// Cuts or grows to `len` bytes.
    ///
    /// # Errors
    /// As for [`State::write`].
    pub fn resize(&mut self, len: u64, value_max: u64) -> Result<()> {
        if len > value_max {
            return Err(too_big());
        }
        if len == 0 {
            // Everything goes: what is written from here on is a whole-file replacement (§4.6).
            self.data = Some(Payload::new());
            self.base = None;
            if self.when != When::Absent {
                self.when = When::Always;
            }
        } else {
            self.own(len)?.resize(len)?;
        }
        self.touch();
        Ok(())
    }

    /// The bytes are put.
    pub fn put(&mut self) {
        self.error = None;
        self.when = When::Always;
        self.dirty = false;
        self.settled = true;
    }

    fn touch(&mut self) {
        self.dirty = true;
        self.changed = env::now();
        self.modified = self.changed;
        self.modified_asked = false;
    }

    /// The bytes as our own, copied from the base where this is the first write; of the base only the first `keep`
    /// bytes matter.
    fn own(&mut self, keep: u64) -> Result<&mut Payload> {
        if self.data.is_none() {
            let mut data = Payload::new();
            if let Some(base) = &self.base
                && keep > 0
                && !base.is_empty()
            {
                let mut outcome = Ok(());
                let mut at = 0;
                while at < base.len().min(keep) && outcome.is_ok() {
                    let piece = (1 << 20).min(keep - at);
                    let before = at;
                    base.read(at, piece, &mut |bytes| {
                        if outcome.is_ok() {
                            outcome = data.write(at, bytes);
                            at += bytes.len() as u64;
                        }
                    })?;
                    if at == before {
                        return Err(Error::new(ErrorKind::Io, "the value ended before its length"));
                    }
                }
                outcome?;
                if self.when == When::Always {
                    self.when = When::Current(base.version()?);
                }
            }
            self.base = None;
            self.data = Some(data);
        }
        self.data.as_mut().ok_or_else(|| ErrorKind::Io.into())
    }
}

fn too_big() -> Error {
    Error::new(ErrorKind::TooBig, "over the store's limit for a value")
}
