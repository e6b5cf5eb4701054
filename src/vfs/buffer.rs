//! The bytes of a file being written: one buffer per inode, shared by all its handles, so that they see each other's
//! writes at once (§3.1) and one put carries them all.
//!
//! Lock order: `Vfs::tree` → [`Buffer::putting`] → [`Buffer::state`] → the node table.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};

use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::{Value, When};
use crate::store::attributes::{Attributes, Setting};

/// A file being written.
#[derive(Debug)]
pub struct Buffer {
    /// Held while the bytes are put, and by whoever takes the file's name away: no put after an unlink.
    pub putting: Mutex<()>,
    /// The bytes and what is known of them.
    pub state: RwLock<State>,
    /// Whether the kernel was given bytes of it: it may hold pages, which a mapping may change without a word.
    pub paged: AtomicBool,
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
    /// Whether it is a new file without bytes, which the store cannot hold before it has some.
    pub begun: bool,
    /// When the bytes changed last, or the time that was set since.
    pub modified: SystemTime,
    /// When the bytes or the attributes changed last.
    pub changed: SystemTime,
    /// The attributes, those to be set included.
    pub attributes: Attributes,
    /// The attributes that are set together with the next put.
    pub pending: Setting,
    /// How many changes by others the store had noticed when the bytes were known to be its own; `None`: it cannot tell.
    pub foreign_changes: Option<u64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("len", &self.len()).field("dirty", &self.dirty).finish_non_exhaustive()
    }
}

impl Buffer {
    /// The buffer of a file that starts empty: a new one (`Absent` where `O_EXCL` asked for it), or a truncated one.
    pub fn empty(when: When, attributes: Attributes) -> Buffer {
        Buffer::over(None, Some(Payload::new()), when, attributes)
    }

    /// The buffer of a file that starts as this version.
    pub fn on(base: Arc<dyn Value>, attributes: Attributes) -> Buffer {
        Buffer::over(Some(base), None, When::Always, attributes)
    }

    fn over(
        base: Option<Arc<dyn Value>>,
        data: Option<Payload>,
        when: When,
        attributes: Attributes,
    ) -> Buffer {
        let now = env::now();
        let dirty = data.is_some();
        Buffer {
            putting: Mutex::new(()),
            paged: AtomicBool::new(false),
            state: RwLock::new(State {
                base,
                data,
                when,
                settled: false,
                dirty,
                error: None,
                begun: false,
                modified: now,
                changed: now,
                attributes,
                pending: Setting::default(),
                foreign_changes: None,
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

    /// Takes on all bytes of a version in the store as those of an empty file, where the store copies it by itself; answers
    /// whether it did.
    ///
    /// # Errors
    /// The scratch folder's.
    pub fn adopt(&mut self, version: &Arc<dyn Value>) -> Result<bool> {
        if !version.is_copied() || !self.is_empty() || matches!(self.when, When::Current(_)) {
            return Ok(false);
        }
        self.data = Some(Payload::beginning_with(Arc::clone(version), version.len())?);
        self.base = None;
        self.touch();
        Ok(true)
    }

    /// Makes the bytes of a range zeros, as far as there are bytes.
    ///
    /// # Errors
    /// As for [`State::write`].
    pub fn zero(&mut self, offset: u64, length: u64) -> Result<()> {
        self.own(u64::MAX)?.zero(offset, length)?;
        self.touch();
        Ok(())
    }

    /// Sets attributes of a file that has bytes to put: they are put together.
    pub fn set(&mut self, setting: Setting) {
        setting.apply(&mut self.attributes);
        self.modified = setting.mtime.unwrap_or(self.modified);
        self.changed = setting.ctime.unwrap_or(self.changed);
        self.pending.add(setting);
    }

    /// The bytes are put; the store had noticed so many changes by others before.
    pub fn put(&mut self, foreign_changes: Option<u64>) {
        self.pending = Setting::default();
        self.foreign_changes = foreign_changes;
        self.error = None;
        self.begun = false;
        self.when = When::Always;
        self.dirty = false;
        self.settled = true;
    }

    fn touch(&mut self) {
        self.dirty = true;
        self.modified = env::now();
        self.changed = self.modified;
    }

    /// Copies here what is still in the store alone: its key is about to go.
    ///
    /// # Errors
    /// As for [`State::write`].
    pub fn bring_down(&mut self) -> Result<()> {
        self.data.as_mut().map_or(Ok(()), |data| data.bring_down(0))
    }

    /// What was put began with the bytes of a version that is gone now: from here on all are those of the new one.
    pub fn stand_on(&mut self, version: Arc<dyn Value>) {
        if let Some(data) = &mut self.data {
            data.stand_on(version);
        }
    }

    /// The bytes as our own, copied from the base where this is the first write; of the base only the first `keep`
    /// bytes matter.
    fn own(&mut self, keep: u64) -> Result<&mut Payload> {
        if self.data.is_none() {
            let mut data = Payload::new();
            if let Some(base) = self.base.as_ref().filter(|base| keep > 0 && base.is_continued()) {
                data = Payload::beginning_with(Arc::clone(base), keep)?;
                if self.when == When::Always {
                    self.when = When::Current(base.version()?);
                }
            } else if let Some(base) = &self.base
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
