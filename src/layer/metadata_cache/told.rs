//! What the store told of keys, a directory at a time, until it is too old.
//!
//! Two generations take turns: what is told goes into the young one, and when that is as old as an answer may be, or as
//! large as it may get, it becomes the old one and the old one goes. So nothing is looked for that could be thrown away,
//! nothing is older than twice the time, and each answer's own time says whether it is still good.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;

use crate::budget::{Budget, Permit, Purpose};
use crate::key::{Key, Segment};
use crate::store::api::{Kind, Stat, Tag};
use crate::store::attributes::Attributes;

/// What a name takes, about: its own bytes, its place in the map, and what was told of it.
const NAME_BYTES: u64 = 192;
/// Room is taken for so many names at once.
const NAMES: u64 = 1 << 10;

/// What was told of a name.
#[derive(Debug)]
enum Answer {
    /// There is this.
    Present(Box<Short>),
    /// There is nothing.
    Absent,
    /// It is not known: it was changed since, or there is more to it than was told.
    Unknown,
}

/// A [`Stat`] without the room for what most have not.
#[derive(Debug)]
struct Short {
    kind: Kind,
    size: u64,
    modified: SystemTime,
    version: Option<Box<[u8]>>,
    attributes: Option<Box<(Attributes, Attributes)>>,
}

/// What was told of the names in one directory.
#[derive(Debug, Default)]
struct Directory {
    names: HashMap<Box<[u8]>, (Instant, Answer), foldhash::fast::RandomState>,
    /// When all names were asked for, and in which generation: what is not among them is absent.
    whole: Option<(Instant, u64)>,
    /// A listing began that may tell all names: what is forgotten from then on is not absent when it has.
    begun: bool,
}

#[derive(Debug, Default)]
struct Generation {
    directories: HashMap<Key, Directory, foldhash::fast::RandomState>,
    names: u64,
    /// Room for them.
    permit: Option<Permit>,
}

/// What was told lately.
#[derive(Debug)]
pub(super) struct Told {
    ttl: Duration,
    /// `Caps::unlisted`.
    unlisted: &'static str,
    budget: Arc<Budget>,
    young: Generation,
    old: Generation,
    /// The number of the young generation.
    number: u64,
    /// Since when it is the young one.
    since: Instant,
}

/// A name and its type in the bytes of a key of the map; the root has none.
type Name = SmallVec<[u8; 64]>;

fn name_of(segment: Segment<'_>) -> Name {
    let mut name = Name::new();
    name.push(segment.word as u8);
    name.extend_from_slice(segment.bytes);
    name
}

/// The directory that a key is a name in, and that name. The root stands in itself under a name of no bytes.
fn place_of(key: &Key) -> (Key, Name) {
    (key.parent().unwrap_or_default(), key.last().map(name_of).unwrap_or_default())
}

impl Short {
    fn of(stat: &Stat) -> Short {
        let attributes = (stat.file, stat.directory);
        Short {
            kind: stat.kind,
            size: stat.size,
            modified: stat.modified,
            version: stat.version.map(|version| version.as_bytes().into()),
            attributes: (attributes != Default::default()).then(|| Box::new(attributes)),
        }
    }

    fn stat(&self) -> Stat {
        let (file, directory) = self.attributes.as_deref().copied().unwrap_or_default();
        let version = self.version.as_deref().and_then(Tag::of);
        Stat { file, directory, version, ..Stat::plain(self.kind, self.size, self.modified) }
    }
}

impl Told {
    pub fn new(ttl: Duration, unlisted: &'static str, budget: Arc<Budget>, now: Instant) -> Told {
        let (young, old) = Default::default();
        Told { ttl, unlisted, budget, young, old, number: 1, since: now }
    }

    /// How many names are remembered.
    pub fn names(&self) -> u64 {
        self.young.names + self.old.names
    }

    /// A listing of this directory begins; answers the number of the generation that is filled now, for
    /// [`Told::whole`].
    pub fn begin(&mut self, dir: &Key) -> u64 {
        self.count_directory(dir).begun = true;
        self.number
    }

    /// The directory in the young generation. Where no name was told there is no room taken for it: it counts as one.
    fn count_directory(&mut self, dir: &Key) -> &mut Directory {
        self.young.names += 1;
        self.young.directories.entry(dir.clone()).or_default()
    }

    /// What was told of a key and is still good, and for how long it is.
    pub fn get(&self, key: &Key, now: Instant) -> Option<(Option<Stat>, Duration)> {
        let (parent, name) = place_of(key);
        let good = |at: Instant| self.ttl.checked_sub(now.saturating_duration_since(at));
        let directories = || self.generations().filter_map(|generation| generation.directories.get(&parent));
        if let Some((at, answer)) = directories().find_map(|directory| directory.names.get(&*name)) {
            return match answer {
                Answer::Present(short) => Some((Some(short.stat()), good(*at)?)),
                Answer::Absent => Some((None, good(*at)?)),
                Answer::Unknown => None,
            };
        }
        // A marker is not among the names of its directory, and there all the same (§2.3).
        let listed = |name: &[u8]| {
            !name.is_empty() && (self.unlisted.is_empty() || !name.ends_with(self.unlisted.as_bytes()))
        };
        key.last().filter(|segment| listed(segment.bytes))?;
        directories().find_map(|directory| {
            let (at, generation) = directory.whole?;
            // What it told is there still: in this generation and the one before.
            (generation + 1 >= self.number).then_some((None, good(at)?))
        })
    }

    /// Remembers what was told of a key when it was asked for at `at`; `None`: that it is absent. False where there is
    /// no room.
    pub fn put(&mut self, key: &Key, stat: Option<&Stat>, at: Instant, now: Instant) -> bool {
        let (parent, name) = place_of(key);
        self.put_in(
            &parent,
            name,
            stat.map_or(Answer::Absent, |stat| Answer::Present(Box::new(Short::of(stat)))),
            at,
            now,
        )
    }

    /// The same of a name in a listing; without a stat only that there is something.
    pub fn put_listed(
        &mut self,
        dir: &Key,
        segment: Segment<'_>,
        stat: Option<&Stat>,
        at: Instant,
        now: Instant,
    ) -> bool {
        let answer = stat.map_or(Answer::Unknown, |stat| Answer::Present(Box::new(Short::of(stat))));
        self.put_in(dir, name_of(segment), answer, at, now)
    }

    fn put_in(&mut self, dir: &Key, name: Name, answer: Answer, at: Instant, now: Instant) -> bool {
        if !self.make_room(now) {
            return false;
        }
        if !self.young.directories.contains_key(dir) {
            self.young.directories.insert(dir.clone(), Directory::default());
        }
        let Some(directory) = self.young.directories.get_mut(dir) else { return false };
        if directory.names.insert(name.into_boxed_slice(), (at, answer)).is_none() {
            self.young.names += 1;
        }
        true
    }

    /// All names of a directory were told, from `at` on, when `generation` was filled.
    pub fn whole(&mut self, dir: &Key, at: Instant, generation: u64) {
        self.count_directory(dir).whole = Some((at, generation));
    }

    /// Nothing that was told of this key holds any longer.
    pub fn forget(&mut self, key: &Key, now: Instant) {
        let (parent, name) = place_of(key);
        let known = self.generations().any(|generation| {
            let directory = generation.directories.get(&parent);
            directory.is_some_and(|of| of.begun || of.whole.is_some() || of.names.contains_key(&*name))
        });
        // In the young generation, which is asked first, and lasts as long as anything that was told so far.
        if known {
            let directory = self.young.directories.entry(parent).or_default();
            if directory.names.insert(name.into_boxed_slice(), (now, Answer::Unknown)).is_none() {
                self.young.names += 1;
            }
        }
    }

    /// The same, but where a directory was told: that stays one when something is made in it.
    pub fn forget_unless_directory(&mut self, key: &Key, now: Instant) {
        let stays =
            self.get(key, now).is_some_and(|(stat, _)| stat.is_some_and(|stat| stat.kind.is_directory()));
        if !stays {
            self.forget(key, now);
        }
    }

    /// The same, but where something else was told to be in the directory: that stays one when something in it goes.
    pub fn forget_unless_others(&mut self, key: &Key, now: Instant) {
        let good = |at: Instant| now.saturating_duration_since(at) <= self.ttl;
        let directories = || self.generations().filter_map(|generation| generation.directories.get(key));
        let is_there = |name: &[u8]| {
            let told = directories().find_map(|directory| directory.names.get(name));
            matches!(told, Some((at, Answer::Present(_))) if good(*at))
        };
        // The root's own name stands in it.
        let others =
            directories().any(|of| of.names.keys().any(|name| !name.is_empty() && is_there(name.as_ref())));
        if !others {
            self.forget(key, now);
        }
    }

    /// Nothing holds any longer.
    pub fn forget_all(&mut self) {
        (self.young, self.old) = Default::default();
        self.number += 2;
    }

    fn generations(&self) -> impl Iterator<Item = &Generation> {
        [&self.young, &self.old].into_iter()
    }

    /// Room for one name more in the young generation; false where there is none.
    fn make_room(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= self.ttl {
            self.turn(now);
        }
        let room = self.young.permit.as_ref().map_or(0, Permit::bytes);
        if (self.young.names + 1) * NAME_BYTES <= room {
            return true;
        }
        let half = self.budget.most(Purpose::Metadata) / 2;
        if (self.young.names + NAMES) * NAME_BYTES > half || !self.take_room() {
            self.turn(now);
            return self.take_room();
        }
        true
    }

    fn take_room(&mut self) -> bool {
        let more = self.budget.try_take(Purpose::Metadata, NAMES * NAME_BYTES);
        match (more, &mut self.young.permit) {
            (None, _) => return false,
            (Some(more), Some(permit)) => permit.add(more),
            (more, permit) => *permit = more,
        }
        true
    }

    /// The young generation becomes the old one, which goes.
    fn turn(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.number += 1;
        self.since = now;
    }
}
