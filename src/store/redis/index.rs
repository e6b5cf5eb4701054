//! All keys of the server, in order, as the directories show them: found by one `SCAN` ([`super::finding`]), and kept right by
//! what the server tells of changes ([`super::tracking`]).
//!
//! - A key that somebody changed is *doubtful* until the server was asked about it again, which is done before anything
//!   is answered that it could be part of.
//! - An answer counts only where no change was told after it was asked for.
//! - Where the server does not tell of changes (any more), nothing of it is believed for longer than [`UNTOLD`].
//! - Where the keys are more than `--memory` has room for, or are not found yet, there is no index ([`super::direct`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::known::Known;
use super::shared::Shared;
use super::types::Type;
use crate::budget::{Budget, Permit, Purpose};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::store::flat::{Step, walk};
use crate::store::version::Tag;

/// How long keys are believed that the server does not tell of.
pub(super) const UNTOLD: Duration = Duration::from_secs(1);
/// So often a key is asked about that others change in the meantime.
const ROUNDS: usize = 3;
/// Keys that are asked about at once.
pub(super) const TOGETHER: usize = 1000;
/// How long anybody waits for all keys to be found.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a server that does not tell of changes, the keys are found again after this many times of what that took.
const PAUSE: u32 = 4;
/// Room is taken in pieces of so many bytes.
const PIECE_OF_ROOM: u64 = 1 << 20;

/// The keys of a server.
pub(super) struct Index {
    pub(super) state: Mutex<State>,
    /// Told when all keys are found, or cannot be.
    pub(super) changed: Condvar,
    /// Told when something is doubtful, or shows otherwise, or the keys are to be found.
    pub(super) work: Condvar,
    /// Keys that are being made here: what is told of them is known to whoever makes them.
    making: Mutex<HashSet<Box<[u8]>>>,
}

/// A key is being made here, as long as this lives.
pub(super) struct Making<'i> {
    index: &'i Index,
    key: Box<[u8]>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.index.making.lock().remove(&self.key);
    }
}

/// What is known.
pub(super) struct State {
    pub(super) keys: BTreeMap<Box<[u8]>, Known>,
    pub(super) phase: Phase,
    /// Whether the server tells of changes.
    pub(super) told: bool,
    /// Keys that somebody changed since they were asked about, each with the number of the change.
    pub(super) doubtful: BTreeMap<Box<[u8]>, u64>,
    pub(super) changes: u64,
    /// Keys that show otherwise than before, and of which nobody was told yet.
    pub(super) turned: Vec<Turned>,
    /// When keys expire.
    expiring: BTreeSet<(SystemTime, Box<[u8]>)>,
    /// The last change of any key.
    modified: SystemTime,
    /// What the keys take in memory, about, in bytes; and the room that was taken for them.
    bytes: u64,
    room: Vec<Permit>,
    /// When all keys were found last, and how long that took.
    found: Option<(Instant, Duration)>,
    /// Whether the thread for that looks through all keys now, though there are too many, perhaps.
    pub(super) looking: bool,
    /// Whether the store is closed: nobody needs the keys any more.
    pub(super) closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is known.
    Unknown,
    /// The keys are to be found, since this moment.
    Wanted(Instant),
    /// The thread for that finds the keys, which are wanted since this moment.
    Finding(Instant),
    /// All keys are known, as of this moment and what was told since.
    Known(Instant),
    /// There are more than there is room for.
    TooMany,
}

/// Whether the index has all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Yes,
    No,
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
        let (bytes, room, found, looking, closed) = Default::default();
        let state = State {
            keys,
            phase,
            told,
            doubtful,
            changes,
            turned,
            expiring,
            modified,
            bytes,
            room,
            found,
            looking,
            closed,
        };
        let (changed, work, making) = Default::default();
        Index { state: Mutex::new(state), changed, work, making }
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

    /// A string is about to be made where none is known; `None` where one is, or nobody knows.
    pub(super) fn making(&self, key: &[u8]) -> Option<Making<'_>> {
        if self.size(key) != Some(0) || self.kind(key).is_some() {
            return None;
        }
        self.making.lock().insert(key.into());
        Some(Making { index: self, key: key.into() })
    }

    /// Whether a string is being made there, by whoever asked the kernel for it.
    pub(super) fn is_making(&self, key: &[u8]) -> bool {
        self.making.lock().contains(key)
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

    /// A string of this length was made, as far as its maker knows: it is doubtful all the same.
    pub(super) fn note_made(&self, key: &[u8], size: u64) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Known(_)) && !state.keys.contains_key(key) {
            let (kind, modified) = (Type::String, env::now());
            state.set(key, Some(Known { kind, size, modified, expires: None, version: None }));
        }
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

    /// Whether all keys are known; where they are not, they are found, for which is waited a little.
    pub(super) fn ready(&self) -> Ready {
        let mut state = self.state.lock();
        loop {
            match state.phase {
                Phase::Known(at) if state.told || at.elapsed() < UNTOLD => return Ready::Yes,
                Phase::TooMany => return Ready::No,
                Phase::Known(_) | Phase::Unknown => {
                    if !state.told
                        && state.found.is_some_and(|(when, took)| when.elapsed() < (took * PAUSE).max(UNTOLD))
                    {
                        return Ready::No;
                    }
                    state.forget();
                    state.phase = Phase::Wanted(env::instant());
                    self.work.notify_all();
                }
                Phase::Wanted(since) | Phase::Finding(since) => {
                    if self.changed.wait_until(&mut state, since + PATIENCE).timed_out() {
                        return Ready::No;
                    }
                }
            }
        }
    }

    /// Waits until all keys were looked through, where that is being done; false where nobody does.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn wait_until_found(&self, deadline: Deadline) -> Result<bool> {
        let mut state = self.state.lock();
        let mut waited = false;
        while state.looking || matches!(state.phase, Phase::Wanted(_)) {
            waited = true;
            if self.changed.wait_until(&mut state, deadline.at()).timed_out() {
                let sentence = "the server's keys are being looked through for the first time, and whether one is below this name is not known before the deadline (--timeout)";
                return Err(Error::new(ErrorKind::TimedOut, sentence));
            }
        }
        Ok(waited)
    }

    /// Whether all keys are known now, and the server tells of their changes.
    pub(super) fn is_known(&self) -> bool {
        let state = self.state.lock();
        matches!(state.phase, Phase::Known(_)) && state.told
    }

    /// What is known of a key, and whether there are keys that begin with `below`.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn look(
        &self,
        shared: &Shared,
        key: Option<&[u8]>,
        below: Option<&[u8]>,
    ) -> Result<(Option<Known>, bool)> {
        for _ in 0..ROUNDS {
            let doubtful = self.state.lock().doubtful_of(key, below);
            if doubtful.is_empty() {
                break;
            }
            self.ask_again(shared, &doubtful)?;
        }
        let state = self.state.lock();
        if !matches!(state.phase, Phase::Known(_)) {
            drop(state);
            return shared.direct.look(shared, key, below);
        }
        let known = key.and_then(|key| state.keys.get(key)).cloned();
        let any = below.is_some_and(|below| state.starting_with(below).next().is_some());
        Ok((known, any))
    }

    /// The keys that show otherwise than when this was asked last, whoever found out.
    pub(super) fn take_turned(&self) -> Vec<Turned> {
        std::mem::take(&mut self.state.lock().turned)
    }

    /// Waits, for at most so long, until something is doubtful or shows otherwise; or the store is
    /// closed.
    pub(super) fn wait_for_work(&self, time: Duration) {
        let mut state = self.state.lock();
        if state.doubtful.is_empty() && state.turned.is_empty() && !matches!(state.phase, Phase::Wanted(_)) {
            self.work.wait_for(&mut state, time);
        }
    }

    /// The store is closed: what is being done for it ends.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    /// Hands out keys from `from` on, as [`Kv::scan`](crate::store::flat::Kv::scan) does; none is doubtful. False, and none
    /// is handed out, where they are not known any more.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn scan(
        &self,
        shared: &Shared,
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &Known) -> Step,
    ) -> Result<bool> {
        self.settle(shared)?;
        let state = self.state.lock();
        if !matches!(state.phase, Phase::Known(_)) {
            return Ok(false);
        }
        walk(&state.keys, from, each);
        Ok(true)
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

    /// How the keys are known, in words; and what that takes, in bytes.
    pub(super) fn shown(&self) -> String {
        let state = self.state.lock();
        match state.phase {
            Phase::Known(_) => {
                format!("all {} in an index, about {} KiB", state.keys.len(), state.bytes >> 10)
            }
            Phase::TooMany => String::from(
                "more than --memory has room for: each listing looks through all of them (SCAN), and a directory is found by its name once a listing has met it",
            ),
            Phase::Wanted(_) | Phase::Finding(_) => format!("{} found so far", state.keys.len()),
            Phase::Unknown => String::from("not looked for so far"),
        }
    }
}

impl State {
    pub(super) fn forget(&mut self) {
        self.bytes = 0;
        self.room.clear();
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
    pub(super) fn settle(&mut self, key: &[u8], known: Option<Known>) {
        let before = self.keys.get(key);
        let known = known.map(|known| match before {
            Some(before) if before.kind == known.kind && before.size == known.size => {
                Known { modified: before.modified, version: before.version.clone(), ..known }
            }
            _ => known,
        });
        self.set(key, known);
    }

    pub(super) fn set(&mut self, key: &[u8], known: Option<Known>) {
        if let Some(before) = self.keys.get(key) {
            self.bytes -= cost(key, before);
            if let Some(time) = before.expires {
                self.expiring.remove(&(time, key.into()));
            }
        }
        match known {
            Some(known) => {
                self.bytes += cost(key, &known);
                if let Some(time) = known.expires {
                    self.expiring.insert((time, key.into()));
                }
                self.keys.insert(key.into(), known);
            }
            None => drop(self.keys.remove(key)),
        }
    }

    /// Takes room for what the keys take in memory. Where there is none, they are given up, and answered.
    pub(super) fn make_room(&mut self) -> Option<BTreeMap<Box<[u8]>, Known>> {
        while self.bytes > self.room.len() as u64 * PIECE_OF_ROOM {
            match Budget::global().try_take(Purpose::Index, PIECE_OF_ROOM) {
                Some(permit) => self.room.push(permit),
                None => {
                    let keys = std::mem::take(&mut self.keys);
                    self.forget();
                    self.phase = Phase::TooMany;
                    return Some(keys);
                }
            }
        }
        None
    }

    /// All keys are found, beginning at this moment.
    pub(super) fn note_found(&mut self, began: Instant) {
        self.phase = Phase::Known(began);
        self.found = Some((began, began.elapsed()));
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

/// What a key takes in the index, about, in bytes: nodes of the tree are two thirds full.
fn cost(key: &[u8], known: &Known) -> u64 {
    let once = size_of::<(Box<[u8]>, Known)>() * 3 / 2 + key.len() + 16;
    let again = known.expires.map_or(0, |_| size_of::<(SystemTime, Box<[u8]>)>() * 3 / 2 + key.len() + 16);
    (once + again) as u64
}
