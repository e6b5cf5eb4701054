//! How the index comes to know the keys: by one `SCAN` with questions about each, and by asking again about those that were
//! changed since.

use super::direct::each_key_on;
use super::index::{Index, Phase, TOGETHER, Turned};
use super::known::ask_about;
use super::server::At;
use super::shared::Shared;
use super::types::Type;
use crate::env;
use crate::error::{Error, ErrorKind, Result};

impl Index {
    /// Finds all keys, where somebody wants them.
    ///
    /// # Errors
    /// The server's; whoever wants them next has it tried again.
    pub(super) fn find_if_wanted(&self, shared: &Shared) -> Result<()> {
        let began = env::instant();
        {
            let mut state = self.state.lock();
            let Phase::Wanted(since) = state.phase else { return Ok(()) };
            state.phase = Phase::Finding(since);
            state.looking = true;
        }
        let outcome = self.find(shared);
        let mut state = self.state.lock();
        state.looking = false;
        if let Phase::Finding(_) = state.phase {
            match &outcome {
                Ok(()) => {
                    state.note_found(began);
                    if !state.told {
                        // They are believed for a moment only; then what they are below is what is known of directories.
                        state.keys.keys().for_each(|key| shared.direct.note(shared, key));
                    }
                }
                Err(_) => state.forget(),
            }
        }
        self.changed.notify_all();
        outcome
    }

    /// Finds all keys, of one server after the other.
    fn find(&self, shared: &Shared) -> Result<()> {
        shared.server.of_all(|topology| {
            topology.nodes().try_for_each(|node| self.find_on(shared, At::Node(node.number())))
        })
    }

    fn find_on(&self, shared: &Shared, at: At<'_>) -> Result<()> {
        let mut batch: Vec<Box<[u8]>> = Vec::new();
        let mut changes = self.state.lock().changes;
        each_key_on(shared, at, &[], None, &mut |key| {
            batch.push(key.into_boxed_slice());
            if batch.len() >= TOGETHER {
                self.take_in(shared, &std::mem::take(&mut batch), changes)?;
                changes = self.state.lock().changes;
            }
            Ok(())
        })?;
        self.take_in(shared, &batch, changes)
    }

    /// Takes in keys that were found when so many changes had been told of.
    fn take_in(&self, shared: &Shared, keys: &[Box<[u8]>], changes: u64) -> Result<()> {
        let (phase, closed) = {
            let state = self.state.lock();
            (state.phase, state.closed)
        };
        if closed {
            return Err(Error::new(ErrorKind::Io, "the store is closed"));
        }
        if phase == Phase::TooMany {
            // What they are below is remembered, so that they are found by their names.
            keys.iter().for_each(|key| shared.direct.note(shared, key));
            return Ok(());
        }
        let found = ask_about(&shared.server, keys)?;
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Finding(_)) {
            return Err(Error::new(ErrorKind::Io, "the connection that tells of changes was lost"));
        }
        for (key, known) in keys.iter().zip(found) {
            // A change that was told meanwhile may be newer than the answer.
            if state.doubtful.get(key).is_none_or(|number| *number <= changes) {
                state.set(key, known);
            }
        }
        if let Some(keys) = state.make_room() {
            self.changed.notify_all();
            drop(state);
            keys.keys().for_each(|key| shared.direct.note(shared, key));
        }
        Ok(())
    }

    /// Asks about all doubtful keys.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn settle(&self, shared: &Shared) -> Result<()> {
        // Those there are now: who changes keys all the time would keep this busy for good.
        let mut doubtful: Vec<_> = self.state.lock().doubtful.keys().cloned().collect();
        while !doubtful.is_empty() {
            let later = doubtful.split_off(doubtful.len().min(TOGETHER));
            self.ask_again(shared, &doubtful)?;
            doubtful = later;
        }
        Ok(())
    }

    /// Asks about keys once more.
    pub(super) fn ask_again(&self, shared: &Shared, keys: &[Box<[u8]>]) -> Result<()> {
        let changes = self.state.lock().changes;
        let found = ask_about(&shared.server, keys)?;
        let mut state = self.state.lock();
        for (key, known) in keys.iter().zip(found) {
            let known = known.filter(|_| shared.restriction.has(key));
            let Some(number) = state.doubtful.get(key).copied() else { continue };
            // It is newer than what was known before. Where a change was told after the question, it stays doubtful.
            if number <= changes {
                state.doubtful.remove(key);
            }
            let before = state.keys.get(key).map(|known| known.kind);
            let now = known.as_ref().map(|known| known.kind);
            if matches!(state.phase, Phase::Known(_) | Phase::Finding(_)) {
                state.settle(key, known);
            }
            // Whoever makes it here knows.
            let made_here = before.is_none() && now == Some(Type::String) && self.is_making(key);
            if before != now && !made_here {
                state.turned.push(Turned { key: key.clone(), before, now });
            }
        }
        if !state.turned.is_empty() {
            self.work.notify_all();
        }
        if let Some(keys) = state.make_room() {
            drop(state);
            keys.keys().for_each(|key| shared.direct.note(shared, key));
        }
        Ok(())
    }
}
