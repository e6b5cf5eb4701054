//! The thread that commits what was accepted, and what it does when that fails.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::gate::Writing;
use super::{GATHER, Gate, Shared};
use crate::env;
use crate::error::{Error, ErrorKind};
use crate::store::lmdb::journal::{Journal, Side};
use crate::store::lmdb::pending::{Bytes, Entry, Generation};
use crate::store::lmdb::recover::{self, Failures};
use crate::store::lmdb::resolve::{Committed, Done};

impl<C: Committed> Shared<C> {
    /// The committer: commits each generation when it is due, until the end.
    pub(super) fn run(&self) {
        let mut gate = self.gate.lock();
        loop {
            match gate.due(self.within.unwrap_or(GATHER)) {
                None if gate.closing => return,
                None => self.wake.wait(&mut gate),
                Some(due) if !gate.flush && !gate.closing && env::instant() < due => {
                    self.wake.wait_until(&mut gate, due);
                }
                Some(_) => self.commit_one(&mut gate),
            }
        }
    }

    fn commit_one(&self, gate: &mut MutexGuard<'_, Gate>) {
        let Some(sealed) = self.pending.write().seal() else { return };
        let (side, follows) = (gate.side, gate.follows);
        gate.side = side.other();
        gate.follows = follows + 1;
        gate.number += 1;
        gate.opened = None;
        gate.flush = false;
        self.changed.notify_all();
        let began = env::instant();
        gate.commit_began = Some(began);
        let result = loop {
            match MutexGuard::unlocked(gate, || self.committed.commit(&sealed.read(), None)) {
                // Another program sits on the write transaction. What waits is bounded, so it may go on waiting.
                Err(error) if error.kind() == ErrorKind::TimedOut && !gate.closing => {
                    tracing::warn!("{}: {error}", self.committed.name());
                }
                result => break result,
            }
        };
        gate.commit_began = None;
        match result {
            Ok(done) => {
                let sealed = sealed.read();
                gate.learn(sealed.bytes(), began.elapsed());
                self.committed_one(gate, &sealed, side, &done);
            }
            Err(error) => self.fail(gate, error),
        }
        if self.pending.read().is_empty() {
            self.rest(gate);
        }
        self.changed.notify_all();
        MutexGuard::unlocked(gate, || drop(sealed));
    }

    fn committed_one(&self, gate: &mut MutexGuard<'_, Gate>, sealed: &Generation, side: Side, done: &Done) {
        gate.counts.commits += 1;
        let (failed, all_kept) = MutexGuard::unlocked(gate, || self.keep_refused(sealed, done));
        gate.failed.extend(failed);
        self.pending.write().settle();
        gate.settled = gate.number;
        let correction =
            (gate.opened.is_some() && gate.follows != done.transaction).then_some(done.transaction);
        let (open, follows) = (gate.side, correction.unwrap_or(done.transaction));
        gate.follows = follows;
        if !all_kept {
            // The journal stays as it is for the next mount.
            gate.journal = Writing::Off;
        }
        let Some(journal) = gate.journal.open() else { return };
        let written = journal.clear(side).and_then(|()| match correction {
            Some(follows) => journal.append(open, follows, &[]),
            None => Ok(()),
        });
        if let Err(error) = written {
            // What stays in it is committed, and is found to be so by whoever reads it; but it must not grow.
            tracing::warn!("{error}: puts wait for their commit from now on");
            gate.broken = Some(error);
        }
    }

    /// After a failed commit: newcomers come in at once, what is pending is tried once more and then kept in the
    /// spool, and from now on every put waits for its own commit.
    fn fail(&self, gate: &mut MutexGuard<'_, Gate>, error: Error) {
        tracing::error!("{}: a commit behind closes failed: {error}", self.committed.name());
        gate.broken = Some(error);
        self.rest(gate);
        let mut all_kept = true;
        loop {
            let Some(sealed) = self.pending.read().sealed().cloned() else { break };
            let (failed, kept) = MutexGuard::unlocked(gate, || self.retry(&sealed.read()));
            all_kept &= kept;
            gate.failed.extend(failed);
            let mut pending = self.pending.write();
            pending.settle();
            gate.settled = gate.number;
            if pending.seal().is_some() {
                gate.number += 1;
            }
            gate.opened = None;
        }
        let journal = gate.journal.replace(Writing::Off);
        if all_kept && let Some(Err(error)) = journal.map(Journal::remove) {
            tracing::warn!("{error}");
        }
    }

    /// Commits a generation once more, and keeps what still fails: the keys that did, and whether all their bytes
    /// are safe elsewhere than in the journal.
    fn retry(&self, sealed: &Generation) -> (Failures, bool) {
        match self.committed.commit(sealed, None) {
            Ok(done) => self.keep_refused(sealed, &done),
            Err(error) => self.keep_all(sealed.iter(), &error),
        }
    }

    fn keep_refused(&self, sealed: &Generation, done: &Done) -> (Failures, bool) {
        if done.refused.is_empty() {
            return (Failures::new(), true);
        }
        let refused = sealed
            .iter()
            .filter(|(database, key, _)| done.refused.iter().any(|(d, k)| d == *database && k == *key));
        self.keep_all(
            refused,
            &Error::new(ErrorKind::Stale, "another program changed the key before our commit"),
        )
    }

    /// Keeps entries in the spool, but those that the environment has: a commit that failed may have taken place
    /// nevertheless.
    fn keep_all<'a>(
        &self,
        entries: impl Iterator<Item = (&'a Bytes, &'a Bytes, &'a Entry)>,
        error: &Error,
    ) -> (Failures, bool) {
        let (mut failed, mut all_kept) = (Failures::new(), true);
        for (database, key, entry) in entries {
            let value = entry.value.as_deref();
            if recover::holds(&self.committed, database, key, value).unwrap_or(false) {
                continue;
            }
            let why = error.to_string();
            all_kept &= recover::keep(&self.committed, &self.spool, database, key, entry, &why);
            failed.insert((Arc::clone(database), Arc::clone(key)), error.clone());
        }
        (failed, all_kept)
    }
}
