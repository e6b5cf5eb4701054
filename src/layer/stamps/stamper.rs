//! The thread that stamps what was read.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::stamp::Stamp;
use super::{Kept, needs_time};
use crate::env::Deadline;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::layer::attrs::keys::{Whole, record_key};
use crate::store::api::{Store, Value, Version};
use crate::store::fingerprint::Fingerprint;

/// So many values wait for their stamps at most; what comes then is not stamped, and read again by the next backup.
const WAITING_MOST: usize = 1 << 14;

/// Values are stamped so long after they were read, all of that time together: whoever reads does not wake the thread for
/// each, and their stamps are one write.
const GATHERED_FOR: Duration = Duration::from_millis(100);

/// Values that were read to their ends.
type Notes = SyncSender<Key>;

/// Something that happens once, and is waited for.
type Once = Arc<(Mutex<bool>, Condvar)>;

/// The thread, and how values come to it.
pub(super) struct Stamper {
    notes: Mutex<Option<Notes>>,
    /// Whether nothing more comes.
    ending: Once,
    ended: Once,
}

impl Stamper {
    /// Starts it.
    ///
    /// # Errors
    /// The system's.
    pub fn start(store: Arc<dyn Store>, kept: Arc<Kept>) -> Result<Stamper> {
        let (notes, waiting) = sync_channel(WAITING_MOST);
        let (ending, ended) = (Once::default(), Once::default());
        let (hurry, end) = (Arc::clone(&ending), Arc::clone(&ended));
        std::thread::Builder::new()
            .name("stamps".into())
            .spawn(move || {
                run(&*store, &kept, &waiting, &hurry);
                happen(&end);
            })
            .map_err(|e| Error::io("starting the stamping thread", &e))?;
        Ok(Stamper { notes: Mutex::new(Some(notes)), ending, ended })
    }

    /// Where values are noted; `None` once it is ending.
    pub fn notes(&self) -> Option<Notes> {
        self.notes.lock().clone()
    }

    /// Waits until all that was noted is stamped, no longer than `deadline`.
    pub fn finish(&self, deadline: Deadline) {
        self.notes.lock().take();
        happen(&self.ending);
        let mut ended = self.ended.0.lock();
        while !*ended && !self.ended.1.wait_until(&mut ended, deadline.at()).timed_out() {}
    }
}

fn happen(once: &Once) {
    *once.0.lock() = true;
    once.1.notify_all();
}

fn run(store: &dyn Store, kept: &Kept, waiting: &Receiver<Key>, hurry: &Once) {
    let mut last = None;
    while let Ok(first) = waiting.recv() {
        {
            let mut ending = hurry.0.lock();
            if !*ending {
                hurry.1.wait_for(&mut ending, GATHERED_FOR);
            }
        }
        let mut stamps = Vec::new();
        for key in std::iter::once(first).chain(waiting.try_iter().take(WAITING_MOST)) {
            // Somebody who reads the end of a file over and over.
            if last.as_ref() == Some(&key) {
                continue;
            }
            match stamp(store, kept, &key) {
                Ok(stamp) => stamps.extend(stamp),
                Err(error) => tracing::debug!("stamping {key:?}: {error}"),
            }
            last = Some(key);
        }
        if !stamps.is_empty() {
            kept.write(&stamps);
        }
    }
}

/// The stamp that a value gets; `None` where it has one, or needs none.
fn stamp(store: &dyn Store, kept: &Kept, key: &Key) -> Result<Option<(Whole, Option<Vec<u8>>)>> {
    let whole = record_key(key, false);
    if kept.stamp(&whole)?.is_some_and(|stamp| stamp.era == kept.era) {
        return Ok(None);
    }
    let Some(stat) = store.stat(key)?.filter(needs_time) else { return Ok(None) };
    let Some(value) = store.open(key)? else { return Ok(None) };
    let fingerprint = Fingerprint::of_value(&*value)?;
    let stamp = Stamp { fingerprint, modified: stat.modified, era: kept.era };
    Ok(Some((whole, Some(stamp.encode()))))
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
