//! What is answered without the index: where the server has more keys than fit in it, does not tell of changes, or is being
//! looked through still. A key is asked about; a directory is listed by walking over all keys (`SCAN`), of which so many
//! names are kept as one walk may keep, and the next walk goes on behind them (§2.6). A look-up never walks: a directory is
//! there where a listing has met it, or something was put into it here.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::known::{Known, ask_about, page_of};
use super::server::At;
use super::shared::Shared;
use super::types::Type;
use crate::budget::{Budget, Purpose};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::store::flat::Step;

/// Walks that are remembered, for listings that go on.
const WALKS_MOST: usize = 4;
/// The names that one walk keeps take this part of what the index may take in memory, and so do the directories that are
/// remembered: of the index there is nothing then.
const PARTS: u64 = WALKS_MOST as u64 * 2;
/// Keys that are asked for, and asked about, at once.
const TOGETHER: usize = 1000;
/// A listing that begins takes what was found so long ago at most.
const FRESH: Duration = Duration::from_secs(1);

/// What was found lately.
#[derive(Default)]
pub(super) struct Direct {
    walks: Mutex<VecDeque<Arc<Walk>>>,
    seen: Mutex<Seen>,
}

/// A walk over all keys, for one directory: from a place on, so many names of it. Of a directory in it there is one key
/// below, and its marker.
struct Walk {
    prefix: Box<[u8]>,
    from: Box<[u8]>,
    keys: BTreeMap<Box<[u8]>, Known>,
    /// Where it ended; `None`: it has all that there is.
    upto: Option<Box<[u8]>>,
    when: Instant,
    /// Whether something of it was changed since: a listing that goes on takes it, one that begins does not.
    stale: AtomicBool,
}

/// The prefixes of directories that are there, as far as anybody noticed.
#[derive(Default)]
struct Seen {
    prefixes: HashSet<Arc<[u8]>>,
    /// The oldest first.
    order: VecDeque<Arc<[u8]>>,
    /// What they take in memory, about, in bytes.
    bytes: u64,
}

impl Direct {
    /// What is known of a key, and whether there are keys that begin with `below`, as far as that was noticed.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn look(
        &self,
        shared: &Shared,
        key: Option<&[u8]>,
        below: Option<&[u8]>,
    ) -> Result<(Option<Known>, bool)> {
        let key = key.filter(|key| shared.restriction.has(key));
        let known = match key {
            Some(key) => ask_about(&shared.server, &[key.into()])?.pop().flatten(),
            None => None,
        };
        let any = below.is_some_and(|below| self.seen.lock().prefixes.contains(below));
        Ok((known, any))
    }

    /// Hands out the keys that a listing of the directory `prefix` needs, from `from` on: of each directory in it at least
    /// one that is below.
    ///
    /// # Errors
    /// The server's; `TimedOut`.
    pub(super) fn scan(
        &self,
        shared: &Shared,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &Known) -> Step,
    ) -> Result<()> {
        let mut from: Box<[u8]> = from.max(prefix).into();
        loop {
            let walk = match self.found(prefix, &from) {
                Some(walk) => walk,
                None => self.walk(shared, prefix, &from)?,
            };
            let (mut next, mut stopped) = (walk.upto.clone(), false);
            crate::store::flat::walk(&walk.keys, &from, &mut |key, known| match each(key, known) {
                Step::Seek(to) if walk.upto.as_deref().is_some_and(|upto| *to >= *upto) => {
                    next = Some(to.into_boxed_slice());
                    Step::Stop
                }
                step => {
                    stopped = step == Step::Stop;
                    step
                }
            });
            match next {
                Some(next) if !stopped => from = next,
                _ => return Ok(()),
            }
        }
    }

    /// A walk from before that has this place. Where a listing begins, one that is not older than a moment.
    fn found(&self, prefix: &[u8], from: &[u8]) -> Option<Arc<Walk>> {
        let begins = from == prefix;
        let walks = self.walks.lock();
        let has = |walk: &&Arc<Walk>| {
            *walk.prefix == *prefix
                && *walk.from <= *from
                && walk.upto.as_deref().is_none_or(|upto| from < upto)
                && (!begins || (walk.when.elapsed() < FRESH && !walk.stale.load(Ordering::Acquire)))
        };
        walks.iter().rev().find(has).cloned()
    }

    /// Walks over all keys.
    fn walk(&self, shared: &Shared, prefix: &[u8], from: &[u8]) -> Result<Arc<Walk>> {
        let (when, now) = (env::instant(), env::now());
        let most = Budget::global().most(Purpose::Index) / PARTS;
        let mut gathering =
            Gathering { shared, prefix, from, names: BTreeSet::new(), bytes: 0, most, upto: None };
        each_key(shared, prefix, &mut |key| gathering.take(key))?;
        let Gathering { names, upto, .. } = gathering;
        let mut found = BTreeMap::new();
        let (mut seen, mut values) = (Vec::new(), Vec::new());
        for key in names {
            match group(shared, prefix, &key) {
                // That something is below is all that is asked of it: another one may be there when it has gone.
                Some(group) if *group != *key => {
                    seen.push(group.to_vec());
                    let below =
                        Known { kind: Type::String, size: 0, modified: now, expires: None, version: None };
                    found.insert(key, below);
                }
                _ => values.push(key),
            }
        }
        for keys in values.chunks(TOGETHER) {
            for (key, known) in keys.iter().zip(ask_about(&shared.server, keys)?) {
                let Some(known) = known else { continue };
                seen.extend(group(shared, prefix, key).map(<[u8]>::to_vec));
                found.insert(key.clone(), known);
            }
        }
        let none = found.is_empty() && from == prefix;
        let (prefix, from) = (prefix.into(), from.into());
        let walk = Arc::new(Walk { prefix, from, keys: found, upto, when, stale: AtomicBool::new(false) });
        {
            let mut walks = self.walks.lock();
            walks.push_back(Arc::clone(&walk));
            while walks.len() > WALKS_MOST {
                walks.pop_front();
            }
        }
        let mut known = self.seen.lock();
        if none {
            known.remove(&walk.prefix);
        }
        seen.iter().for_each(|prefix| known.add(prefix));
        Ok(walk)
    }

    /// A key was changed: who begins to list its directory finds it; what it is in is there.
    pub(super) fn doubt(&self, shared: &Shared, key: &[u8]) {
        for walk in self.walks.lock().iter().filter(|walk| key.starts_with(&walk.prefix)) {
            walk.stale.store(true, Ordering::Release);
        }
        self.note(shared, key);
    }

    /// There is a key, or was one: the directories that it is in are there.
    pub(super) fn note(&self, shared: &Shared, key: &[u8]) {
        let mut seen = self.seen.lock();
        let mut at = 0;
        while let Some(cut) = shared.separator.find(&key[at..]) {
            at += cut + shared.separator.as_bytes().len();
            seen.add(&key[..at]);
        }
    }

    /// Everything may be otherwise.
    pub(super) fn forget(&self) {
        self.walks.lock().clear();
    }
}

/// All keys of the servers that begin with `prefix`; some of them more than once.
///
/// # Errors
/// The server's; `TimedOut`; what `each` answers.
pub(super) fn each_key(
    shared: &Shared,
    prefix: &[u8],
    each: &mut dyn FnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let deadline = Deadline::after(shared.server.timeout());
    shared.server.of_all(|topology| {
        topology
            .nodes()
            .try_for_each(|node| each_key_on(shared, At::Node(node.number()), prefix, Some(deadline), each))
    })
}

/// The same of one server.
///
/// # Errors
/// As for [`each_key`].
pub(super) fn each_key_on(
    shared: &Shared,
    at: At<'_>,
    prefix: &[u8],
    deadline: Option<Deadline>,
    each: &mut dyn FnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut cursor = b"0".to_vec();
    loop {
        let scan = shared.restriction.scan(prefix, &cursor, TOGETHER);
        let (next, keys) = page_of(shared.server.ask(at, |session| session.one(scan.clone()))?)?;
        for key in keys {
            if key.starts_with(prefix) && shared.restriction.has(&key) {
                each(key)?;
            }
        }
        cursor = next;
        if cursor == b"0" {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| deadline.passed()) {
            let sentence = "the server has so many keys that looking through them takes longer than --timeout; a mount of a part of them (?prefix=) is found sooner";
            return Err(Error::new(ErrorKind::TimedOut, sentence));
        }
    }
}

/// The prefix of the directory directly in `prefix` that a key is below, or whose marker it is.
fn group<'k>(shared: &Shared, prefix: &[u8], key: &'k [u8]) -> Option<&'k [u8]> {
    let cut = shared.separator.find(&key[prefix.len()..])?;
    Some(&key[..prefix.len() + cut + shared.separator.as_bytes().len()])
}

/// What one walk keeps.
struct Gathering<'g> {
    shared: &'g Shared,
    prefix: &'g [u8],
    from: &'g [u8],
    names: BTreeSet<Box<[u8]>>,
    /// What the names take in memory, about, and may take, in bytes.
    bytes: u64,
    most: u64,
    upto: Option<Box<[u8]>>,
}

impl Gathering<'_> {
    fn take(&mut self, key: Vec<u8>) -> Result<()> {
        if *key < *self.from || self.upto.as_deref().is_some_and(|upto| *key >= *upto) {
            return Ok(());
        }
        if let Some(group) = group(self.shared, self.prefix, &key)
            && key != group
        {
            // The first one below stands for all of them, but for the marker.
            let below = (Bound::Excluded(group), Bound::Unbounded);
            let other = self.names.range::<[u8], _>(below).next().cloned();
            if let Some(other) = other.filter(|other| other.starts_with(group)) {
                if *other <= *key {
                    return Ok(());
                }
                self.names.remove(&other);
                self.bytes -= cost(&other);
            }
        }
        let taken = cost(&key);
        if self.names.insert(key.into_boxed_slice()) {
            self.bytes += taken;
        }
        while self.bytes > self.most && self.names.len() > 1 {
            self.upto = self.names.pop_last();
            self.bytes -= self.upto.as_deref().map_or(0, cost);
        }
        Ok(())
    }
}

/// What a key takes here in memory, about, in bytes: nodes of the trees are two thirds full.
fn cost(key: &[u8]) -> u64 {
    (size_of::<(Box<[u8]>, Known)>() * 3 / 2 + key.len() + 16) as u64
}

impl Seen {
    fn remove(&mut self, prefix: &[u8]) {
        // What it takes is given back with its turn.
        self.prefixes.remove(prefix);
    }

    fn add(&mut self, prefix: &[u8]) {
        if self.prefixes.contains(prefix) {
            return;
        }
        let cost = |prefix: &[u8]| (size_of::<Arc<[u8]>>() * 4 + prefix.len() + 16) as u64;
        let most = Budget::global().most(Purpose::Index) / PARTS;
        let prefix: Arc<[u8]> = prefix.into();
        self.bytes += cost(&prefix);
        self.prefixes.insert(Arc::clone(&prefix));
        self.order.push_back(prefix);
        while self.bytes > most {
            let Some(oldest) = self.order.pop_front() else { break };
            self.prefixes.remove(&oldest);
            self.bytes -= cost(&oldest);
        }
    }
}
