//! The thread that stamps what was read.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::{Condvar, Mutex};

use super::stamp::Stamp;
use super::{Kept, needs_time};
use crate::env::Deadline;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::layer::attrs::keys::record_key;
use crate::store::api::{Store, Value, Version};
use crate::store::fingerprint::Fingerprint;

/// So many values wait for their stamps at most; what comes then is not stamped, and read again by the next backup.
const WAITING_MOST: usize = 1 << 14;

/// Values that were read to their ends.
type Notes = SyncSender<Key>;

/// The thread, and how values come to it.
pub(super) struct Stamper {
    notes: Mutex<Option<Notes>>,
    ended: Arc<(Mutex<bool>, Condvar)>,
}

impl Stamper {
    /// Starts it.
    ///
    /// # Errors
    /// The system's.
    pub fn start(store: Arc<dyn Store>, kept: Arc<Kept>) -> Result<Stamper> {
        let (notes, waiting) = sync_channel(WAITING_MOST);
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let end = Arc::clone(&ended);
        std::thread::Builder::new()
            .name("stamps".into())
            .spawn(move || {
                run(&*store, &kept, &waiting);
                *end.0.lock() = true;
                end.1.notify_all();
            })
            .map_err(|e| Error::io("starting the stamping thread", &e))?;
        Ok(Stamper { notes: Mutex::new(Some(notes)), ended })
    }

    /// Where values are noted; `None` once it is ending.
    pub fn notes(&self) -> Option<Notes> {
        self.notes.lock().clone()
    }

    /// Waits until all that was noted is stamped, no longer than `deadline`.
    pub fn finish(&self, deadline: Deadline) {
        self.notes.lock().take();
        let mut ended = self.ended.0.lock();
        while !*ended && !self.ended.1.wait_until(&mut ended, deadline.at()).timed_out() {}
    }
}

fn run(store: &dyn Store, kept: &Kept, waiting: &Receiver<Key>) {
    let mut last = None;
    while let Ok(key) = waiting.recv() {
        // Somebody who reads the end of a file over and over.
        if last.as_ref() == Some(&key) {
            continue;
        }
        if let Err(error) = stamp(store, kept, &key) {
            tracing::debug!("stamping {key:?}: {error}");
        }
        last = Some(key);
    }
}

fn stamp(store: &dyn Store, kept: &Kept, key: &Key) -> Result<()> {
    let whole = record_key(key, false);
    if kept.stamp(&whole)?.is_some_and(|stamp| stamp.era == kept.era) {
        return Ok(());
    }
    let Some(stat) = store.stat(key)?.filter(needs_time) else { return Ok(()) };
    let Some(value) = store.open(key)? else { return Ok(()) };
    let fingerprint = Fingerprint::of_value(&*value)?;
    kept.write(&whole, &Stamp { fingerprint, modified: stat.modified, era: kept.era });
    Ok(())
}

/// A value that is noted when its last byte was given out.
pub(super) struct Read {
    value: Box<dyn Value>,
    key: Key,
    notes: Option<Notes>,
}

impl Read {
    /// The value at `key`.
    pub fn new(value: Box<dyn Value>, key: Key, notes: Option<Notes>) -> Read {
        Read { value, key, notes }
    }
}

impl Value for Read {
    fn len(&self) -> u64 {
        self.value.len()
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.value.read(offset, size, sink)?;
        if offset.saturating_add(size) >= self.value.len()
            && let Some(notes) = &self.notes
        {
            // Where too many wait it is read again by the next backup, no more.
            let _ = notes.try_send(self.key.clone());
        }
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        self.value.version()
    }
}
