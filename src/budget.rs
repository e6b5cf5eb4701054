//! The memory that the whole daemon may take (`--memory`): bytes being written, bytes read ahead, parts on their way to a
//! store, and what is remembered of keys are counted; room for the rest is set aside ([`UNCOUNTED`]).
//!
//! Whoever needs a buffer takes a [`Permit`] for it, and gives it back by dropping it. Nothing here can deadlock, for
//! three reasons. What is kept for long (bytes being written, remembered keys) is never waited for: where there is no
//! room, bytes go to a file and keys are forgotten. Neither are bytes read ahead: without room a reader asks the store
//! for just what it needs. And of the whole, [`Purpose::Upload`] has a part that the others cannot take, so that who
//! waits for it waits for uploads alone, which end by their deadlines; whoever holds such a permit must be able to
//! finish without another one.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};

/// What the daemon may take where nobody says otherwise, in bytes.
pub const DEFAULT: u64 = 256 << 20;
/// Less than this makes no sense, in bytes: a quarter of what is counted of it holds a part of an upload.
pub const LEAST: u64 = 64 << 20;
/// What is not counted as it comes, in bytes: a request of a MiB in each thread that serves the kernel, and as much on its
/// way from the store or to the kernel; connections; inodes; the program itself. At most half of all.
const UNCOUNTED: u64 = 128 << 20;

/// Permits are counted in units of so many bytes.
const UNIT: u64 = 1 << 10;

static OF_DAEMON: OnceLock<Arc<Budget>> = OnceLock::new();

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Bytes of files that are being written: at most a quarter.
    Written,
    /// Bytes read from a store before or while somebody asks for them: at most three eighths.
    ReadAhead,
    /// Bytes on their way to a store: whatever is free, of which a quarter is never anybody else's.
    Upload,
    /// What is remembered of keys: at most an eighth.
    Metadata,
    /// All keys of a store that has no order of its own: at most half, of what the purposes above but uploads leave.
    Index,
}

/// All purposes, in the order of `Budget::shares`.
const PURPOSES: [Purpose; 5] =
    [Purpose::Written, Purpose::ReadAhead, Purpose::Upload, Purpose::Metadata, Purpose::Index];

/// How many bytes buffers may take.
#[derive(Debug)]
pub struct Budget {
    /// With what is not counted.
    total: u64,
    /// What the purposes share.
    counted: u64,
    free: Arc<Semaphore>,
    /// What all purposes but uploads may take together: three quarters.
    others: Arc<Semaphore>,
    shares: [Share; PURPOSES.len()],
}

/// What one purpose may take.
#[derive(Debug)]
struct Share {
    most: u64,
    free: Arc<Semaphore>,
}

/// The right to hold so many bytes, until it drops.
#[derive(Debug)]
pub struct Permit {
    // All of the same number of units.
    share: OwnedSemaphorePermit,
    whole: OwnedSemaphorePermit,
    others: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of so many bytes; at least [`LEAST`].
    pub fn new(total: u64) -> Arc<Budget> {
        let total = total.clamp(LEAST, u64::from(u32::MAX) * UNIT);
        let counted = total - UNCOUNTED.min(total / 2);
        let semaphore = |bytes: u64| Arc::new(Semaphore::new((bytes / UNIT) as usize));
        let shares = PURPOSES.map(|purpose| {
            let most = match purpose {
                Purpose::Written => counted / 4,
                Purpose::ReadAhead => counted / 8 * 3,
                Purpose::Upload => counted,
                Purpose::Metadata => counted / 8,
                Purpose::Index => counted / 2,
            };
            Share { most, free: semaphore(most) }
        });
        let (free, others) = (semaphore(counted), semaphore(counted / 4 * 3));
        Arc::new(Budget { total, counted, free, others, shares })
    }

    /// The daemon's.
    pub fn global() -> &'static Arc<Budget> {
        OF_DAEMON.get_or_init(|| Budget::new(DEFAULT))
    }

    /// Sets the daemon's, before anybody uses it; what was used once stays.
    pub fn set_global(total: u64) -> &'static Arc<Budget> {
        OF_DAEMON.get_or_init(|| Budget::new(total))
    }

    /// All bytes there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What this purpose can have at once, whatever all others hold: a permit is never for more.
    pub fn most(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Upload => self.counted / 4,
            _ => self.share(purpose).most,
        }
    }

    /// Bytes in use for this purpose, with those that somebody waits for.
    pub fn used(&self, purpose: Purpose) -> u64 {
        let share = self.share(purpose);
        share.most - (share.free.available_permits() as u64 * UNIT).min(share.most)
    }

    /// Takes room for `bytes`, if it is there at once.
    pub fn try_take(&self, purpose: Purpose, bytes: u64) -> Option<Permit> {
        let units = units(bytes)?;
        let share = Arc::clone(&self.share(purpose).free).try_acquire_many_owned(units).ok()?;
        let others = match purpose {
            Purpose::Upload => None,
            _ => Some(Arc::clone(&self.others).try_acquire_many_owned(units).ok()?),
        };
        let whole = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
        Some(Permit { share, whole, others })
    }

    /// Takes room for `bytes`, or for [`Budget::most`] where that is less ([`Permit::bytes`] tells), and waits for it.
    /// Not to be called from a future.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn take(&self, purpose: Purpose, bytes: u64, deadline: Deadline) -> Result<Permit> {
        let bytes = bytes.min(self.most(purpose));
        match self.try_take(purpose, bytes) {
            Some(permit) => Ok(permit),
            None => {
                env::wait(deadline, self.take_async(purpose, bytes)).map_err(|error| match error.kind() {
                    ErrorKind::TimedOut => no_memory(),
                    _ => error,
                })
            }
        }
    }

    /// As [`Budget::take`], for futures; the deadline is the caller's.
    ///
    /// # Errors
    /// None but for a budget that was closed, which never happens.
    pub async fn take_async(&self, purpose: Purpose, bytes: u64) -> Result<Permit> {
        let units = units(bytes.min(self.most(purpose))).ok_or_else(no_memory)?;
        let share = Arc::clone(&self.share(purpose).free).acquire_many_owned(units).await;
        let share = share.map_err(|_| no_memory())?;
        let others = match purpose {
            Purpose::Upload => None,
            _ => {
                let others = Arc::clone(&self.others).acquire_many_owned(units).await;
                Some(others.map_err(|_| no_memory())?)
            }
        };
        let whole = Arc::clone(&self.free).acquire_many_owned(units).await.map_err(|_| no_memory())?;
        Ok(Permit { share, whole, others })
    }

    /// What is in use, for `kvfs status`.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let [written, read, uploads, metadata, index] = PURPOSES.map(|purpose| mib(self.used(purpose)));
        let in_use = self.counted - (self.free.available_permits() as u64 * UNIT).min(self.counted);
        let shown = format!(
            "{} of {} MiB: {written} being written, {read} read ahead, {uploads} in uploads or waiting for it, {metadata} \
             of metadata, {index} of an index; {} more for all else",
            mib(in_use),
            mib(self.counted),
            mib(self.total - self.counted)
        );
        vec![("memory", shown)]
    }

    fn share(&self, purpose: Purpose) -> &Share {
        &self.shares[purpose as usize]
    }
}

fn units(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.div_ceil(UNIT)).ok()
}

fn no_memory() -> Error {
    Error::new(
        ErrorKind::TimedOut,
        "other transfers hold all memory for buffers (--memory) until the deadline",
    )
}

impl Permit {
    /// For how many bytes it is: what was asked for, rounded up.
    pub fn bytes(&self) -> u64 {
        self.whole.num_permits() as u64 * UNIT
    }

    /// Adds the room of another permit of the same budget and purpose.
    pub fn add(&mut self, other: Permit) {
        self.share.merge(other.share);
        self.whole.merge(other.whole);
        if let (Some(others), Some(more)) = (&mut self.others, other.others) {
            others.merge(more);
        }
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let more = self.whole.num_permits().saturating_sub(bytes.div_ceil(UNIT) as usize);
        let others = self.others.as_mut().and_then(|others| others.split(more));
        drop((self.share.split(more), self.whole.split(more), others));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn permits_are_counted_and_come_back() {
        let budget = Budget::new(LEAST);
        let mut permit = budget.try_take(Purpose::Written, MIB + 1).unwrap();
        assert_eq!(permit.bytes(), MIB + UNIT);
        permit.add(budget.try_take(Purpose::Written, 2 * MIB).unwrap());
        assert_eq!(budget.used(Purpose::Written), 3 * MIB + UNIT);
        permit.shrink(MIB);
        assert_eq!((permit.bytes(), budget.used(Purpose::Written)), (MIB, MIB));
        permit.shrink(5 * MIB);
        assert_eq!(permit.bytes(), MIB);
        drop(permit);
        assert_eq!(budget.used(Purpose::Written), 0);
        assert!(budget.facts()[0].1.starts_with("0 of 32 MiB"), "{:?}", budget.facts());
    }

    #[test]
    fn no_purpose_takes_what_uploads_need() {
        let budget = Budget::new(LEAST);
        let held: Vec<_> = [Purpose::Written, Purpose::ReadAhead, Purpose::Metadata]
            .into_iter()
            .flat_map(|purpose| std::iter::from_fn(move || Some(purpose)).take(64))
            .filter_map(|purpose| budget.try_take(purpose, MIB))
            .collect();
        assert_eq!(held.len() as u64 * MIB, LEAST / 8 * 3);
        // What can never be had at once is cut.
        let permit = budget.take(Purpose::Upload, LEAST, Deadline::after(Duration::ZERO)).unwrap();
        assert_eq!(permit.bytes(), LEAST / 8);
        assert!(budget.try_take(Purpose::Upload, 1).is_none());
        let late = budget.take(Purpose::Upload, MIB, Deadline::after(Duration::from_millis(5)));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(budget.used(Purpose::Upload), LEAST / 8);
    }

    /// §8.1
    #[test]
    fn whoever_waits_is_served_when_room_comes_back() {
        let budget = Budget::new(LEAST);
        let held = budget.take(Purpose::Upload, 8 * MIB, Deadline::after(Duration::ZERO)).unwrap();
        let more: Vec<_> = (0..3).filter_map(|_| budget.try_take(Purpose::Upload, 8 * MIB)).collect();
        assert_eq!(more.len(), 3);
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| budget.take(Purpose::Upload, MIB, Deadline::after(Duration::from_secs(30))));
            drop(held);
            assert_eq!(waiting.join().unwrap().unwrap().bytes(), MIB);
        });
    }
}
