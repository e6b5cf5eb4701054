//! Whether a recorded time belongs to what is there now (§5.4, §5.5).
//!
//! Time is cut into *epochs*: while one lasts, nobody but this mount changes the store, as far as it can tell. A time
//! that was recorded or found to hold in this epoch holds; any other is compared with the bytes of its value, once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use super::Attrs;
use super::keys::Whole;
use super::record::Record;
use crate::env;
use crate::error::Result;
use crate::key::Key;

/// Verdicts of a sidecar that cannot be written, kept in memory: so many at most.
const VERDICTS_MAX: usize = 64 << 10;

/// Which epoch it is, and what was found out in it.
pub(super) struct Trust {
    /// The epoch while no change by others was noticed; each one noticed begins the next.
    base: AtomicU64,
    verdicts: Mutex<Verdicts>,
}

#[derive(Default)]
struct Verdicts {
    epoch: u64,
    same: HashMap<Whole, bool>,
}

/// A number that no epoch had before.
pub(super) fn new_epoch() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = env::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unique = (since, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    XxHash3_64::oneshot(format!("{unique:?}").as_bytes())
}

impl Trust {
    /// Nothing recorded so far is known to hold, but what was recorded in `base`.
    pub fn since(base: u64) -> Trust {
        Trust { base: AtomicU64::new(base), verdicts: Mutex::default() }
    }

    /// From now on nothing recorded before is known to hold.
    pub fn distrust(&self) {
        self.base.store(new_epoch(), Ordering::Release);
    }
}

impl Attrs {
    /// The epoch of now; `None` where the store cannot tell when others change it. Asked after the store was looked
    /// at, to trust what is recorded of what was seen; before, to record something of it.
    pub(super) fn epoch(&self) -> Option<u64> {
        let changes = self.store.foreign_changes()?;
        Some(self.trust.base.load(Ordering::Acquire).wrapping_add(changes))
    }

    /// Whether the times of `record` hold without looking.
    pub(super) fn holds(&self, record: &Record) -> bool {
        !record.has_times() || self.epoch() == Some(record.epoch)
    }

    /// What was found out about this record already, in this epoch.
    pub(super) fn verdict(&self, whole: &[u8]) -> Option<bool> {
        if self.caps.write {
            return None;
        }
        let epoch = self.epoch()?;
        let verdicts = self.trust.verdicts.lock();
        verdicts.same.get(whole).copied().filter(|_| verdicts.epoch == epoch)
    }

    /// Compares the times of the record `bytes` of the value at `key` with the value, drops them where it is another,
    /// and remembers that.
    ///
    /// # Errors
    /// As for reading; nothing is found out then.
    pub(super) fn compare(&self, key: &Key, whole: &[u8], bytes: &[u8]) -> Result<Record> {
        let epoch = self.epoch();
        let mut record = Record::decode(bytes).unwrap_or_default();
        let same = match (self.store.open(key)?, record.fingerprint) {
            (Some(value), Some(fingerprint)) => fingerprint.is_of(&*value)?,
            _ => false,
        };
        if !same {
            record.drop_times();
        }
        let Some(epoch) = epoch else { return Ok(record) };
        record.epoch = epoch;
        if !self.caps.write {
            let mut verdicts = self.trust.verdicts.lock();
            if verdicts.epoch != epoch || verdicts.same.len() >= VERDICTS_MAX {
                *verdicts = Verdicts { epoch, same: HashMap::new() };
            }
            verdicts.same.insert(whole.to_vec(), same);
            return Ok(record);
        }
        // Whoever changed the record in between knows better.
        if let Err(error) = self.sidecar.replace(whole, bytes, Some(record.encode())) {
            self.warn_once(&error);
        }
        Ok(record)
    }
}
