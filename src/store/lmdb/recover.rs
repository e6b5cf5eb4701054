//! What the journal of a dead daemon becomes at the next mount (§8.3): nothing that a close accepted is lost.
//!
//! While the environment's last transaction is the one that a batch was accepted after, nobody has changed anything
//! since, and it is put as if its daemon had lived. Otherwise a key that has our value already is done, and any
//! other is kept in the spool: the environment's own value is newer, or nobody knows.

use std::collections::BTreeMap;

use super::pending::{Bytes, Entry, Generation};
use super::record::{Batch, Leftover};
use super::resolve::{Committed, Held};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::spool::Spool;

/// What became of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Keys put now.
    pub replayed: u64,
    /// Keys that had our value already.
    pub done: u64,
    /// Keys whose bytes are in the spool now.
    pub kept: u64,
    /// Bytes of the journal that made no whole record.
    pub unreadable: u64,
}

impl std::ops::AddAssign for Recovered {
    fn add_assign(&mut self, other: Recovered) {
        self.replayed += other.replayed;
        self.done += other.done;
        self.kept += other.kept;
        self.unreadable += other.unreadable;
    }
}

impl std::fmt::Display for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Recovered { replayed, done, kept, unreadable } = self;
        write!(
            f,
            "{replayed} put, {done} there already, {kept} kept in the spool, {unreadable} bytes unreadable"
        )
    }
}

/// Puts what a dead daemon left, or keeps it in the spool. `ours` tells that the journal is this very data file's;
/// of another's nothing is put.
///
/// # Errors
/// The spool's, when bytes can be kept nowhere: the journal must stay then.
pub fn recover<C: Committed>(
    committed: &C,
    spool: &Spool,
    leftover: &Leftover,
    ours: bool,
) -> Result<Recovered> {
    let mut recovered = Recovered { unreadable: leftover.unreadable, ..Recovered::default() };
    let batches = &leftover.batches;
    if batches.is_empty() {
        return Ok(recovered);
    }
    let last = committed.last_transaction()?;
    let replayed = match replayable(committed, batches, last).filter(|_| ours) {
        Some((from, to)) => {
            let generation = generation_of(&batches[from..to]);
            match committed.commit(&generation, Some(last)) {
                Ok(done) => {
                    recovered.replayed = (generation.len() - done.refused.len()) as u64;
                    true
                }
                Err(error) => {
                    tracing::warn!("{}: the journal could not be put: {error}", committed.name());
                    false
                }
            }
        }
        None => false,
    };
    for (database, key, entry) in generation_of(batches).iter() {
        if holds(committed, database, key, entry.value.as_deref())? {
            recovered.done += 1;
        } else if keep(committed, spool, database, key, entry, WHY) {
            recovered.kept += 1;
        } else {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "bytes of a journal could be kept nowhere: make room in the state folder and mount again",
            ));
        }
    }
    if replayed {
        recovered.done = recovered.done.saturating_sub(recovered.replayed);
    }
    Ok(recovered)
}

/// Why a value of a journal is in the spool.
const WHY: &str = "the daemon died before this was committed, and the store has changed since";

/// Which batches follow the transaction `last`: all, or those after the ones that are committed. A batch behind a
/// damaged one is left out: what it was meant to follow is unknown.
fn replayable<C: Committed>(committed: &C, batches: &[Batch], last: u64) -> Option<(usize, usize)> {
    let from = batches.iter().position(|batch| batch.follows == last)?;
    let to = batches.iter().position(|batch| batch.after_damage).unwrap_or(batches.len());
    let earlier = generation_of(&batches[..from]);
    let done = earlier.iter().all(|(database, key, entry)| {
        matches!(holds(committed, database, key, entry.value.as_deref()), Ok(true))
    });
    (from < to && done).then_some((from, to))
}

/// What `batches` come to, in order.
fn generation_of(batches: &[Batch]) -> Generation {
    let mut generation = Generation::default();
    for change in batches.iter().flat_map(|batch| &batch.changes) {
        generation.insert(&change.database, &change.key, Entry::from(change));
    }
    generation
}

/// Whether the environment holds `value` under `key`; `None`: nothing.
///
/// # Errors
/// The environment's.
pub fn holds<C: Committed>(committed: &C, database: &[u8], key: &[u8], value: Option<&[u8]>) -> Result<bool> {
    let mut same = false;
    committed.look(database, key, &mut |held| {
        same = match (held, value) {
            (Held::Nothing, None) => true,
            (Held::Value(bytes), Some(value)) => bytes == value,
            _ => false,
        };
    })?;
    Ok(same)
}

/// Keeps an accepted change in the spool; whether that worked.
pub fn keep<C: Committed>(
    committed: &C,
    spool: &Spool,
    database: &[u8],
    key: &[u8],
    entry: &Entry,
    reason: &str,
) -> bool {
    let (name, shown) = (committed.name(), committed.key_of(database, key));
    if !committed.is_for_people() {
        tracing::error!("{name}: {shown:?} is lost: {reason}");
        return true;
    }
    let kept = match &entry.value {
        Some(bytes) => {
            Payload::of(bytes).and_then(|body| spool.keep(&name, &shown, &body, &entry.base, reason))
        }
        None => spool.keep_deletion(&name, &shown, &entry.base, reason),
    };
    match kept {
        Ok(id) => tracing::warn!("{name}: {shown:?} is kept in the spool as {id}: {reason}"),
        Err(error) => {
            tracing::error!("{name}: {shown:?} could be kept nowhere but in the journal: {error}");
            return false;
        }
    }
    true
}

/// Keys whose accepted bytes could not be committed, by database and key, and why.
pub type Failures = BTreeMap<(Bytes, Bytes), Error>;
