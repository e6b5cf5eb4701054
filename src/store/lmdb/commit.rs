//! Write-behind (§4.4): puts are accepted in microseconds, gathered, and committed together within milliseconds,
//! and until then no program can open the environment and miss them.
//!
//! ```text
//!  close ─> accept: checked, in the journal, in the pending map ─> 0
//!                                       │ gathered for GATHER, or until a flush, or enough bytes
//!  committer thread:  seal ─> one transaction, synced ─> settle, journal emptied ─> ...
//!  opening lock:   F_RDLCK │ F_WRLCK from the first accept to the commit that leaves nothing │ F_RDLCK, a rest
//! ```
//!
//! The lock is what makes it sound: while it is exclusive nobody else has the environment open, so that what was
//! checked at the accept still holds at the commit, and whoever opens it next waits and finds everything. A turn
//! ends after [`HOLD_MAX`], commits included as far as they can be foreseen; newcomers then have a rest of [`REST`]
//! to come in. When somebody else has it open, and for all that is not small and simple, a put waits for its own
//! commit, after what is pending.
//!
//! `--commit <time>` works the same without the lock: others may commit in between, so the conditions are checked
//! again inside the transaction, and what they refuse is kept in the spool.
//!
//! Lock order: `gate` before `pending`. Readers take `pending` alone, and never wait for a disk under it.

mod committer;
mod gate;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};

pub use gate::Counts;
use gate::{Gate, HOLD_MAX, Turn, Writing};

use super::journal::Journal;
use super::pending::{Entry, Pending};
use super::resolve::{Committed, resolve, weigh};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::spool::Spool;
use crate::store::flat::Edit;

/// How long the first put of a generation waits for others, behind the lock.
const GATHER: Duration = Duration::from_millis(10);
/// How long newcomers have to come in between two turns: they wake up and take the lock in less.
const REST: Duration = Duration::from_millis(1);
/// A turn that can accept for less than this is not worth its lock: the disk is too slow for write-behind.
const TURN_MIN: Duration = Duration::from_millis(5);
/// Pages that one put may copy besides its value: a path of the tree, splits, and the list of free pages.
const PAGES_A_PUT: u64 = 8 * 4096;

/// What write-behind needs besides the environment.
pub struct Settings {
    /// How long puts gather while others may look (`--commit <time>`); `None` is a few milliseconds behind the
    /// opening lock (`--commit auto`).
    pub within: Option<Duration>,
    /// The deadline of every wait (§8.1).
    pub timeout: Duration,
    /// Where accepted puts are written down; empty (see [`super::recover`]).
    pub journal: Journal,
    /// Where bytes go that cannot be committed.
    pub spool: Spool,
}

/// Puts that are accepted ahead of their commit, and the thread that commits them.
pub struct WriteBehind<C: Committed> {
    shared: Arc<Shared<C>>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<C> {
    committed: C,
    within: Option<Duration>,
    timeout: Duration,
    spool: Spool,
    gate: Mutex<Gate>,
    pending: RwLock<Pending>,
    /// Told when something is settled, a turn ends, or a passage does.
    changed: Condvar,
    /// Wakes the committer.
    wake: Condvar,
}

/// The right to write directly: nothing is pending, and nothing is accepted until it drops.
pub struct Passage<'a, C> {
    shared: &'a Shared<C>,
}

impl<C> Drop for Passage<'_, C> {
    fn drop(&mut self) {
        self.shared.gate.lock().passing -= 1;
        self.shared.changed.notify_all();
    }
}

impl<C: Committed> WriteBehind<C> {
    /// Starts the committer.
    ///
    /// # Errors
    /// `Exhausted` when there can be no more threads.
    pub fn start(committed: C, settings: Settings) -> Result<WriteBehind<C>> {
        let shared = Arc::new(Shared {
            committed,
            within: settings.within,
            timeout: settings.timeout,
            spool: settings.spool,
            gate: Mutex::new(Gate::new(settings.journal)),
            pending: RwLock::new(Pending::default()),
            changed: Condvar::new(),
            wake: Condvar::new(),
        });
        let committer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("lmdb-commit".to_owned())
            .spawn(move || committer.run())
            .map_err(|e| Error::io("the thread that commits", &e))?;
        Ok(WriteBehind { shared, committer: Mutex::new(Some(thread)) })
    }

    /// What waits: readers look here before they begin their transaction.
    pub fn pending(&self) -> RwLockReadGuard<'_, Pending> {
        self.shared.pending.read()
    }

    /// Carries out `edits`: accepts them ahead of their commit where that is sound, else waits until nothing is
    /// pending and lets `direct` write them.
    ///
    /// # Errors
    /// The edits' own, those of `direct`, and `TimedOut`.
    pub fn write(
        &self,
        database: &[u8],
        edits: &mut [Edit<'_>],
        direct: impl FnOnce(&mut [Edit<'_>]) -> Result<()>,
    ) -> Result<()> {
        let deadline = Deadline::after(self.shared.timeout);
        if self.shared.accept(database, edits, deadline)? {
            return Ok(());
        }
        let _passage = self.pass(deadline)?;
        direct(edits)?;
        let mut gate = self.shared.gate.lock();
        gate.counts.direct += 1;
        if !gate.failed.is_empty() {
            gate.failed.retain(|(failed, key), _| **failed != *database || !touches(edits, key));
        }
        Ok(())
    }

    /// Waits until nothing is pending, and keeps it so until the passage drops.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn pass(&self, deadline: Deadline) -> Result<Passage<'_, C>> {
        let mut gate = self.shared.gate.lock();
        gate.passing += 1;
        let passage = Passage { shared: &self.shared };
        let target = gate.target();
        let waited = self.shared.wait_settled(&mut gate, target, deadline);
        drop(gate);
        waited.map(|()| passage)
    }

    /// Waits until all that was accepted before is committed, and with it on the disk.
    ///
    /// # Errors
    /// `TimedOut`; the failure of an earlier commit whose bytes had to be kept elsewhere.
    pub fn sync(&self, deadline: Deadline) -> Result<()> {
        self.settled(deadline)?.failed.values().next().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// As [`WriteBehind::sync`], for whoever asks about one key.
    ///
    /// # Errors
    /// `TimedOut`; the failure of an earlier commit of this key.
    pub fn sync_key(&self, database: &[u8], key: &[u8], deadline: Deadline) -> Result<()> {
        let gate = self.settled(deadline)?;
        let failed = gate.failed.iter().find(|((d, k), _)| **d == *database && **k == *key);
        failed.map_or(Ok(()), |(_, error)| Err(error.clone()))
    }

    /// Waits until all that was accepted before is committed or kept.
    fn settled(&self, deadline: Deadline) -> Result<MutexGuard<'_, Gate>> {
        let mut gate = self.shared.gate.lock();
        let target = gate.target();
        self.shared.wait_settled(&mut gate, target, deadline)?;
        Ok(gate)
    }

    /// Commits what is pending and ends the journal. Later puts wait for their own commit.
    ///
    /// # Errors
    /// `TimedOut`: what is pending stays in the journal, and is put at the next mount.
    pub fn close(&self, deadline: Deadline) -> Result<()> {
        let mut gate = self.shared.gate.lock();
        gate.closing = true;
        let target = gate.target();
        self.shared.wait_settled(&mut gate, target, deadline)?;
        let journal = gate.journal.replace(Writing::Off);
        drop(gate);
        self.shared.wake.notify_all();
        let committer = self.committer.lock().take();
        // The committer may be the one who lets go of the store last.
        if let Some(committer) =
            committer.filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            // It has nothing left to wait for; a panic in it was reported by the panic hook.
            let _ = committer.join();
        }
        journal.map_or(Ok(()), Journal::remove)
    }

    /// Commits what is pending and removes the journal's files until the next put: a mount ends, or the data file
    /// becomes another one.
    ///
    /// # Errors
    /// As for [`WriteBehind::sync`].
    pub fn put_away(&self, deadline: Deadline) -> Result<()> {
        let _nothing_waits = self.pass(deadline)?;
        let mut gate = self.shared.gate.lock();
        if gate.journal.open().is_some()
            && let Some(Err(error)) = gate.journal.replace(Writing::Away).map(Journal::remove)
        {
            tracing::warn!("{error}");
        }
        gate.failed.values().next().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// What was done so far.
    #[cfg(test)]
    pub fn counts(&self) -> Counts {
        self.shared.gate.lock().counts
    }

    /// One sentence for `kvfs status`.
    pub fn fact(&self) -> String {
        let (waiting, bytes) = self.pending().len();
        let gate = self.shared.gate.lock();
        let Counts { accepted, direct, commits, longest_hold } = gate.counts;
        let mode = match &gate.broken {
            Some(error) => format!("close, since a commit behind closes failed ({error})"),
            None => self.shared.within.map_or("auto".to_owned(), |time| format!("within {time:?}")),
        };
        format!(
            "{mode}; {waiting} puts ({bytes} bytes) wait; {accepted} accepted ahead in {commits} commits, {direct} \
             committed at once; lock held {longest_hold:?} at most; {} keys kept in the spool",
            gate.failed.len()
        )
    }
}

impl<C: Committed> Drop for WriteBehind<C> {
    fn drop(&mut self) {
        self.shared.gate.lock().closing = true;
        self.shared.wake.notify_all();
    }
}

/// Whether `edits` change `key`.
fn touches(edits: &[Edit<'_>], key: &[u8]) -> bool {
    edits.iter().any(|edit| match edit {
        Edit::Put { key: changed, .. } | Edit::Delete { key: changed, .. } => changed == key,
        Edit::Move { from, to, .. } => from == key || to == key,
        Edit::Expect { .. } => false,
    })
}

impl<C: Committed> Shared<C> {
    /// Accepts `edits`; `false` where they must be written directly.
    fn accept(&self, database: &[u8], edits: &[Edit<'_>], deadline: Deadline) -> Result<bool> {
        let Some(bytes) = weigh(edits) else { return Ok(false) };
        if !self.committed.takes(database) || (self.within.is_some() && expects(edits)) {
            return Ok(false);
        }
        let mut gate = self.gate.lock();
        if !self.enter(&mut gate, 2 * edits.len(), bytes, deadline)? {
            return Ok(false);
        }
        let accepted = self.accept_now(&mut gate, database, edits);
        if self.pending.read().is_empty() {
            // Nothing came of it: nobody needs to wait for us.
            self.rest(&mut gate);
        }
        accepted
    }

    /// Waits for room, and takes the opening lock; `false` where nothing can be accepted now.
    fn enter(
        &self,
        gate: &mut MutexGuard<'_, Gate>,
        entries: usize,
        bytes: usize,
        deadline: Deadline,
    ) -> Result<bool> {
        loop {
            if gate.broken.is_some() || gate.closing || gate.passing > 0 || !self.has_journal(gate) {
                return Ok(false);
            }
            let pending = self.pending.read();
            let too_much = !pending.has_room(entries, bytes)
                || (pending.sealed().is_some() && pending.open_bytes() >= gate.generation_max);
            drop(pending);
            let now = env::instant();
            match (self.within, gate.turn) {
                _ if too_much => {
                    gate.flush = true;
                    self.wake.notify_all();
                    self.wait(gate, deadline)?;
                }
                (Some(_), _) => {
                    if gate.opened.is_none() {
                        gate.room = self.committed.room();
                    }
                    return Ok(true);
                }
                (None, Turn::Alone(since)) if gate.would_end(now) <= since + HOLD_MAX => return Ok(true),
                (None, Turn::Alone(_)) => self.wait(gate, deadline)?,
                (None, Turn::Shared(until)) if now < until => {
                    self.changed.wait_until(gate, until);
                }
                (None, Turn::Shared(_)) => {
                    if gate.foreseen() + TURN_MIN > HOLD_MAX {
                        // Tried again after a while: the disk may have recovered.
                        gate.commit_time = gate.commit_time * 49 / 50;
                        return Ok(false);
                    }
                    let lock = self.committed.opening_lock();
                    if !lock.is_some_and(|lock| lock.alone().unwrap_or(false)) {
                        return Ok(false);
                    }
                    gate.turn = Turn::Alone(now);
                    gate.room = self.committed.room();
                    return Ok(true);
                }
            }
        }
    }

    /// Whether accepted puts can be written down; opens the journal where it was put away.
    fn has_journal(&self, gate: &mut Gate) -> bool {
        if matches!(gate.journal, Writing::Away) {
            gate.journal = match self.committed.open_journal() {
                Ok(journal) => Writing::Open(journal),
                Err(error) => {
                    tracing::warn!("{}: every put waits for its own commit: {error}", self.committed.name());
                    Writing::Off
                }
            };
        }
        gate.journal.open().is_some()
    }

    fn accept_now(&self, gate: &mut Gate, database: &[u8], edits: &[Edit<'_>]) -> Result<bool> {
        if gate.failed.keys().any(|(failed, key)| **failed == *database && touches(edits, key)) {
            return Ok(false);
        }
        let pending = self.pending.read();
        let Some(changes) = resolve(&self.committed, &pending, database, edits)? else { return Ok(false) };
        let sealed = pending.sealed().is_some();
        drop(pending);
        if changes.is_empty() {
            return Ok(true);
        }
        let room: u64 = changes
            .iter()
            .map(|c| c.value.as_ref().map_or(0, |bytes| bytes.len() as u64) + PAGES_A_PUT)
            .sum();
        if gate.room < room {
            return Ok(false);
        }
        if gate.opened.is_none() && !sealed {
            let Ok(last) = self.committed.last_transaction() else { return Ok(false) };
            gate.follows = last;
        }
        let (side, follows) = (gate.side, gate.follows);
        let Some(journal) = gate.journal.open() else { return Ok(false) };
        if let Err(error) = journal.append(side, follows, &changes) {
            tracing::warn!("{error}: puts wait for their commit");
            return Ok(false);
        }
        let mut pending = self.pending.write();
        for change in &changes {
            pending.insert(&change.database, &change.key, Entry::from(change));
        }
        let large = pending.open_bytes() >= gate.generation_max;
        drop(pending);
        gate.room -= room;
        gate.counts.accepted += 1;
        gate.flush |= large;
        if gate.opened.is_none() {
            gate.opened = Some(env::instant());
            self.wake.notify_all();
        } else if large {
            self.wake.notify_all();
        }
        Ok(true)
    }

    fn wait(&self, gate: &mut MutexGuard<'_, Gate>, deadline: Deadline) -> Result<()> {
        self.changed.wait_until(gate, deadline.at());
        if deadline.passed() {
            return Err(Error::new(
                ErrorKind::TimedOut,
                format!("{}: the commit of earlier puts takes too long", self.committed.name()),
            ));
        }
        Ok(())
    }

    /// Waits until every generation below `target` is settled, or nothing is pending.
    fn wait_settled(&self, gate: &mut MutexGuard<'_, Gate>, target: u64, deadline: Deadline) -> Result<()> {
        while gate.settled < target && !self.pending.read().is_empty() {
            gate.flush = true;
            self.wake.notify_all();
            self.wait(gate, deadline)?;
        }
        Ok(())
    }

    /// Gives the opening lock back to newcomers, if it is ours.
    fn rest(&self, gate: &mut Gate) {
        let (Some(lock), Turn::Alone(since)) = (self.committed.opening_lock(), gate.turn) else { return };
        if let Err(error) = lock.share() {
            // A turn begins with a lock that is exclusive already, so the next one's end tries again.
            tracing::error!("{error}: programs that open {} wait", self.committed.name());
        }
        let now = env::instant();
        gate.counts.longest_hold = gate.counts.longest_hold.max(now - since);
        gate.turn = Turn::Shared(now + REST);
        self.changed.notify_all();
    }
}

/// Whether `edits` ask about keys that others may make before the commit.
fn expects(edits: &[Edit<'_>]) -> bool {
    edits.iter().any(|edit| matches!(edit, Edit::Expect { .. }))
}
