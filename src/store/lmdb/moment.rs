//! The moment that a store shows: always the newest, or one that is held.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::engine::Engine;
use super::table::Name;
use super::times::Times;
use super::transaction::Reading;

/// The moment that a store shows.
#[derive(Clone)]
pub(super) enum Moment {
    /// Always the newest one.
    Live,
    /// One, held by a read transaction for the store's life.
    Fixed(Arc<Snapshot>),
}

/// A moment that is held.
pub(super) struct Snapshot {
    /// LMDB lets one thread at a time use a transaction.
    pub(super) reading: Mutex<Reading>,
    pub(super) id: u64,
    /// The last change by others that was noticed.
    pub(super) foreign_change: SystemTime,
    pub(super) times: Times,
}

impl Moment {
    /// The last change by others that cannot be ruled out: what directories are as new as, since a mount knows what
    /// came and went through it.
    pub(super) fn changed(&self, engine: &Engine) -> SystemTime {
        self.times(engine).0
    }

    /// The last change of `key` in the database `name` that cannot be ruled out.
    pub(super) fn changed_key(&self, engine: &Engine, name: &Name, key: &[u8]) -> SystemTime {
        let (foreign, times) = self.times(engine);
        foreign.max(times.of(name.as_bytes(), key))
    }

    fn times<'a>(&'a self, engine: &'a Engine) -> (SystemTime, &'a Times) {
        match self {
            Moment::Live => (engine.environment().changes().modified(), engine.times()),
            Moment::Fixed(snapshot) => (snapshot.foreign_change, &snapshot.times),
        }
    }
}
