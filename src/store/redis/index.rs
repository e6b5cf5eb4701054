//! All keys of the server, in order, as the directories show them: found by one `SCAN`, and kept right by what the server
//! tells of changes ([`super::tracking`]).
//!
//! - A key that somebody changed is *doubtful* until the server was asked about it again, which is done before anything
//!   is answered that it could be part of.
//! - An answer counts only where no change was told after it was asked for.
//! - Where the server does not tell of changes (any more), nothing of it is believed for longer than [`UNTOLD`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, MutexGuard};
use redis::Value;

use super::known::{Known, QUESTIONS, answer, questions};
use super::restriction::Restriction;
use super::server::Server;
use super::types::Type;
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::store::flat::{Keys, Step};
use crate::store::version::Tag;

/// How long keys are believed that the server does not tell of.
const UNTOLD: Duration = Duration::from_secs(1);
/// So often a key is asked about that others change in the meantime.
const ROUNDS: usize = 3;
/// Keys that are asked about at once.
const TOGETHER: usize = 1000;

/// The keys of a server.
pub(super) struct Index {
    state: Mutex<State>,
    changed: Condvar,
    /// Told when something is doubtful, or shows otherwise.
    work: Condvar,
}

struct State {
    keys: BTreeMap<Box<[u8]>, Known>,
    phase: Phase,
    /// Whether the server tells of changes.
    told: bool,
    /// Keys that somebody changed since they were asked about, each with the number of the change.
    doubtful: BTreeMap<Box<[u8]>, u64>,
    changes: u64,
    /// Keys that show otherwise than before, and of which nobody was told yet.
    turned: Vec<Turned>,
    /// When keys expire.
    expiring: BTreeSet<(SystemTime, Box<[u8]>)>,
    /// The last change of any key.
    modified: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is known.
    Unknown,
    /// Somebody finds the keys.
    Finding,
    /// All keys are known, as of this moment and what was told since.
    Known(Instant),
}

/// A key that shows otherwise than before: its type, before and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turned {
    pub key: Box<[u8]>,
    pub before: Option<Type>,
    pub now: Option<Type>,
}

impl Index {
    /// Nothing is known yet.
    pub(super) fn new() -> Index {
        let now = env::now();
        let (keys, doubtful, turned, expiring) = Default::default();
        let (phase, told, changes, modified) = (Phase::Unknown, false, 0, now);
        let state = State { keys, phase, told, doubtful, changes, turned, expiring, modified };
        Index { state: Mutex::new(state), changed: Condvar::new(), work: Condvar::new() }
    }

    /// The server tells of changes from here on, or does not any more: what was known is forgotten.
    pub(super) fn set_told(&self, told: bool) {
        let mut state = self.state.lock();
        state.forget();
        state.told = told;
        self.changed.notify_all();
    }

    /// Somebody changed these keys; `None`: nobody knows which.
    pub(super) fn doubt<'k>(&self, keys: Option<impl Iterator<Item = &'k [u8]>>) {
        let mut state = self.state.lock();
        match keys {
            Some(keys) => keys.for_each(|key| state.doubt(key)),
            None => state.forget(),
        }
        self.work.notify_all();
    }

    /// The keys that have expired by `now`, which are doubtful from here on; and when the next one does.
    pub(super) fn expire(&self, now: SystemTime) -> (Vec<Box<[u8]>>, Option<SystemTime>) {
        let mut state = self.state.lock();
        let mut expired = Vec::new();
        while let Some((time, _)) = state.expiring.first()
            && *time <= now
        {
            let Some((_, key)) = state.expiring.pop_first() else { break };
            state.doubt(&key);
            expired.push(key);
        }
        (expired, state.expiring.first().map(|(time, _)| *time))
    }

    /// The version of a string that was just read, with its length; a key whose version was another is as new as now.
    pub(super) fn note_read(&self, key: &[u8], size: u64, version: Tag) {
        let mut state = self.state.lock();
        let now = env::now();
        let Some(known) = state.keys.get_mut(key) else { return };
        let other = known.version.as_ref().is_some_and(|tag| **tag != version) || known.size != size;
        if other {
            known.modified = now;
            known.size = size;
        }
        if known.version.as_deref() != Some(&version) {
            known.version = Some(Box::new(version));
        }
        if other {
            state.modified = now;
        }
    }

    /// What is known of a key, and whether there are keys that begin with `below`.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn look(
        &self,
        server: &Server,
        restriction: &Restriction,
        key: Option<&[u8]>,
        below: Option<&[u8]>,
    ) -> Result<(Option<Known>, bool)> {
        let mut state = self.known(server, restriction)?;
        for _ in 0..ROUNDS {
            let doubtful = state.doubtful_of(key, below);
            if doubtful.is_empty() {
                break;
            }
            drop(state);
            self.ask_again(server, restriction, &doubtful)?;
            state = self.known(server, restriction)?;
        }
        let known = key.and_then(|key| state.keys.get(key)).cloned();
        let any = below.is_some_and(|below| state.starting_with(below).next().is_some());
        Ok((known, any))
    }

    /// Asks about all doubtful keys.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn settle(&self, server: &Server, restriction: &Restriction) -> Result<()> {
        // Those there are now: who changes keys all the time would keep this busy for good.
        let mut doubtful: Vec<_> = self.state.lock().doubtful.keys().cloned().collect();
        while !doubtful.is_empty() {
            let later = doubtful.split_off(doubtful.len().min(TOGETHER));
            self.ask_again(server, restriction, &doubtful)?;
            doubtful = later;
        }
        Ok(())
    }

    /// The keys that show otherwise than when this was asked last, whoever found out.
    pub(super) fn take_turned(&self) -> Vec<Turned> {
        std::mem::take(&mut self.state.lock().turned)
    }

    /// Waits, for at most so long, until something is doubtful or shows otherwise; or somebody calls
    /// [`Index::wake`].
    pub(super) fn wait_for_work(&self, time: Duration) {
        let mut state = self.state.lock();
        if state.doubtful.is_empty() && state.turned.is_empty() {
            self.work.wait_for(&mut state, time);
        }
    }

    /// Ends a wait.
    pub(super) fn wake(&self) {
        self.work.notify_all();
    }

    /// Hands out keys from `from` on, as [`Kv::scan`](crate::store::flat::Kv::scan) does; none is doubtful.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn scan(
        &self,
        server: &Server,
        restriction: &Restriction,
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &Known) -> Step,
    ) -> Result<()> {
        drop(self.known(server, restriction)?);
        self.settle(server, restriction)?;
        let state = self.state.lock();
        let from_on = |from: &[u8]| state.keys.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        let mut rest = from_on(from);
        while let Some((key, known)) = rest.next() {
            match each(key, known) {
                Step::Next => {}
                Step::Seek(to) => rest = from_on(&to),
                Step::Stop => break,
            }
        }
        Ok(())
    }

    /// The keys that begin with these bytes.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn starting_with(
        &self,
        server: &Server,
        restriction: &Restriction,
        keys: &Keys,
    ) -> Result<Vec<(Box<[u8]>, Type)>> {
        let mut found = Vec::new();
        let prefix = keys.bytes();
        self.scan(server, restriction, prefix, &mut |key, known| {
            if !key.starts_with(prefix) {
                return Step::Stop;
            }
            found.push((key.into(), known.kind));
            Step::Next
        })?;
        Ok(found)
    }

    /// The type of a key, as far as it is known.
    pub(super) fn kind(&self, key: &[u8]) -> Option<Type> {
        self.state.lock().keys.get(key).map(|known| known.kind)
    }

    /// The length of the string at a key, or 0 where there is none; `None` where nobody knows.
    pub(super) fn size(&self, key: &[u8]) -> Option<u64> {
        let state = self.state.lock();
        let known = matches!(state.phase, Phase::Known(_)) && state.told;
        known.then(|| state.keys.get(key).map_or(0, |known| known.size))
    }

    /// The last change of any key.
    pub(super) fn modified(&self) -> SystemTime {
        self.state.lock().modified
    }

    /// How many keys are known; `None` where nobody knows.
    pub(super) fn count(&self) -> Option<u64> {
        let state = self.state.lock();
        matches!(state.phase, Phase::Known(_)).then_some(state.keys.len() as u64)
    }

    /// Whether the server tells of changes.
    pub(super) fn is_told(&self) -> bool {
        self.state.lock().told
    }

    /// The state, with all keys known.
    fn known(&self, server: &Server, restriction: &Restriction) -> Result<MutexGuard<'_, State>> {
        let deadline = Deadline::after(server.timeout());
        let mut state = self.state.lock();
        loop {
            match state.phase {
                Phase::Known(at) if state.told || at.elapsed() < UNTOLD => return Ok(state),
                Phase::Finding => {
                    if self.changed.wait_until(&mut state, deadline.at()).timed_out() {
                        let sentence =
                            "the keys of the server are not all found before the deadline (--timeout)";
                        return Err(Error::new(ErrorKind::TimedOut, sentence));
                    }
                }
                Phase::Known(_) | Phase::Unknown => {
                    state.forget();
                    state.phase = Phase::Finding;
                    drop(state);
                    let began = env::instant();
                    let outcome = self.find(server, restriction);
                    state = self.state.lock();
                    // Where it was forgotten meanwhile, it is found once more.
                    let forgotten = state.phase != Phase::Finding;
                    if !forgotten {
                        state.phase = if outcome.is_ok() { Phase::Known(began) } else { Phase::Unknown };
                    }
                    self.changed.notify_all();
                    if !forgotten || deadline.passed() {
                        outcome?;
                    }
                }
            }
        }
    }

    /// Finds all keys.
    fn find(&self, server: &Server, restriction: &Restriction) -> Result<()> {
        let mut cursor = b"0".to_vec();
        loop {
            let changes = self.state.lock().changes;
            let scan = restriction.scan(&cursor, TOGETHER);
            let (next, keys) = page(server.ask(|session| session.one(scan.clone()))?)?;
            let keys: Vec<Box<[u8]>> = keys.into_iter().filter(|key| restriction.has(key)).collect();
            let found = ask_about(server, &keys)?;
            let mut state = self.state.lock();
            if state.phase != Phase::Finding {
                return Err(Error::new(ErrorKind::Io, "the connection that tells of changes was lost"));
            }
            for (key, known) in keys.iter().zip(found) {
                // A change that was told meanwhile may be newer than the answer.
                if state.doubtful.get(key).is_none_or(|number| *number <= changes) {
                    state.set(key, known);
                }
            }
            drop(state);
            cursor = next;
            if cursor == b"0" {
                return Ok(());
            }
        }
    }

    /// Asks about keys once more.
    fn ask_again(&self, server: &Server, restriction: &Restriction, keys: &[Box<[u8]>]) -> Result<()> {
        let changes = self.state.lock().changes;
        let found = ask_about(server, keys)?;
        let mut state = self.state.lock();
        for (key, known) in keys.iter().zip(found) {
            let known = known.filter(|_| restriction.has(key));
            let Some(number) = state.doubtful.get(key).copied() else { continue };
            // It is newer than what was known before. Where a change was told after the question, it stays doubtful.
            if number <= changes {
                state.doubtful.remove(key);
            }
            let before = state.keys.get(key).map(|known| known.kind);
            let now = known.as_ref().map(|known| known.kind);
            if matches!(state.phase, Phase::Known(_) | Phase::Finding) {
                state.settle(key, known);
            }
            if before != now {
                state.turned.push(Turned { key: key.clone(), before, now });
            }
        }
        if !state.turned.is_empty() {
            self.work.notify_all();
        }
        Ok(())
    }
}

/// What the server tells of these keys, in order.
fn ask_about(server: &Server, keys: &[Box<[u8]>]) -> Result<Vec<Option<Known>>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let commands: Vec<_> = keys.iter().flat_map(|key| questions(key)).collect();
    let replies = server.ask(|session| session.ask(&commands))?;
    let now = env::now();
    Ok(replies.chunks(QUESTIONS).map(|replies| answer(replies, now)).collect())
}

/// A page of a `SCAN`: where the next one begins, and keys.
type KeyPage = (Vec<u8>, Vec<Box<[u8]>>);

fn page(reply: Value) -> Result<KeyPage> {
    let (cursor, keys): (Vec<u8>, Vec<Vec<u8>>) = redis::from_redis_value(reply)
        .map_err(|error| Error::new(ErrorKind::Io, format!("SCAN: {error}")))?;
    Ok((cursor, keys.into_iter().map(Vec::into_boxed_slice).collect()))
}

impl State {
    fn forget(&mut self) {
        // Whoever is told that everything changed needs none of these.
        self.turned.clear();
        self.keys.clear();
        self.doubtful.clear();
        self.expiring.clear();
        self.phase = Phase::Unknown;
        self.modified = env::now();
    }

    fn doubt(&mut self, key: &[u8]) {
        let now = env::now();
        if let Some(known) = self.keys.get_mut(key) {
            known.modified = now;
            known.version = None;
        }
        self.modified = now;
        self.doubt_only(key);
    }

    fn doubt_only(&mut self, key: &[u8]) {
        self.changes += 1;
        // What nobody knows needs no doubt, but for what is being found.
        if self.phase != Phase::Unknown {
            self.doubtful.insert(key.into(), self.changes);
        }
    }

    /// Takes in an answer about a doubtful key: the time of the change is the one when it was told.
    fn settle(&mut self, key: &[u8], known: Option<Known>) {
        let before = self.keys.get(key);
        let known = known.map(|known| match before {
            Some(before) if before.kind == known.kind && before.size == known.size => {
                Known { modified: before.modified, version: before.version.clone(), ..known }
            }
            _ => known,
        });
        self.set(key, known);
    }

    fn set(&mut self, key: &[u8], known: Option<Known>) {
        if let Some(Known { expires: Some(time), .. }) = self.keys.get(key) {
            let time = *time;
            self.expiring.remove(&(time, key.into()));
        }
        match known {
            Some(known) => {
                if let Some(time) = known.expires {
                    self.expiring.insert((time, key.into()));
                }
                self.keys.insert(key.into(), known);
            }
            None => drop(self.keys.remove(key)),
        }
    }

    /// Doubtful keys among this one and those that begin with `below`: so many as are asked about at once.
    fn doubtful_of(&self, key: Option<&[u8]>, below: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let key = key.and_then(|key| self.doubtful.get_key_value(key)).map(|(key, _)| key);
        let below = below.into_iter().flat_map(|below| {
            let range = self.doubtful.range::<[u8], _>((Bound::Included(below), Bound::Unbounded));
            range.map(|(key, _)| key).take_while(move |key| key.starts_with(below))
        });
        key.into_iter().chain(below).take(TOGETHER).cloned().collect()
    }

    fn starting_with<'s>(&'s self, prefix: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
        let range = self.keys.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        range.map(|(key, _)| &**key).take_while(move |key| key.starts_with(prefix))
    }
}
