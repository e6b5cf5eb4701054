//! Any sequence of operations, on the store and on the reference: the same outcome, and the same tree after each.

use std::collections::BTreeSet;

use kvfs::key::{Key, Segment};
use kvfs::store::api::{Cursor, Rename, Value, When};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::case::{Case, bytes_of, failure};
use crate::reference::Reference;

#[derive(Clone, Debug)]
enum Operation {
    Put(Key, Vec<u8>, bool),
    Delete(Key),
    Rename { from: Key, to: Key, tree: bool, replace: bool },
    Make(Key),
    Remove(Key),
    Open(Key),
    List(Key, usize),
}

impl Operation {
    fn keys(&self) -> Vec<&Key> {
        match self {
            Operation::Rename { from, to, .. } => vec![from, to],
            Operation::Put(key, ..)
            | Operation::Delete(key)
            | Operation::Make(key)
            | Operation::Remove(key)
            | Operation::Open(key)
            | Operation::List(key, _) => vec![key],
        }
    }
}

/// Few names, so that they meet often; those next to the separator in the order of bytes, and nothing.
const NAMES: &[&[u8]] = &[b"a", b"a!", b"a0", b"", b"\xFF"];

fn keys() -> impl Strategy<Value = Key> {
    prop::collection::vec(prop::sample::select(NAMES), 1..4).prop_map(Key::of)
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 1..20),
        (any::<u8>(), 1usize..9000).prop_map(|(byte, size)| vec![byte; size]),
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (keys(), values(), any::<bool>()).prop_map(|(k, v, absent)| Operation::Put(k, v, absent)),
        3 => keys().prop_map(Operation::Delete),
        3 => (keys(), keys(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, tree, replace)| Operation::Rename { from, to, tree, replace }),
        2 => keys().prop_map(Operation::Make),
        2 => keys().prop_map(Operation::Remove),
        2 => keys().prop_map(Operation::Open),
        3 => (prop_oneof![Just(Key::root()), keys()], 1usize..4).prop_map(|(k, n)| Operation::List(k, n)),
    ]
}

pub fn the_store_does_as_the_reference_does(first: &Case) {
    let empty_key = first.holds_the_empty_key();
    // A store on a disk pays for each commit, a bucket for each question; the reference is cheap.
    let cases = if first.is_bucket() {
        6
    } else if first.lasts() {
        24
    } else {
        256
    };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let sequences = prop::collection::vec(operations(), 1..40);
    runner
        .run(&sequences, |sequence| {
            let mut run = Run::new(first.another());
            for operation in sequence {
                if (empty_key || !touches_the_empty_key(&operation)) && run.can_name(&operation) {
                    run.step(&operation);
                }
            }
            run.finish();
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Some stores have no place for a key without bytes; what they do then has its own test.
fn touches_the_empty_key(operation: &Operation) -> bool {
    operation.keys().contains(&&Key::of([&b""[..]]))
}

/// A listing under way: what it gave, and what has been there all the time.
struct Listing {
    dir: Key,
    cursor: Cursor,
    given: BTreeSet<Vec<u8>>,
    valued: BTreeSet<Vec<u8>>,
    branching: BTreeSet<Vec<u8>>,
}

/// An open value.
struct Opened {
    key: Key,
    value: Box<dyn Value>,
    expected: Vec<u8>,
    /// Whether there may be another version by now.
    changed: bool,
}

struct Run {
    case: Case,
    reference: Reference,
    open: Vec<Opened>,
    listings: Vec<Listing>,
}

impl Run {
    fn new(case: Case) -> Run {
        // Buckets keep attributes with their objects, and directories as markers.
        let made = (case.caps().attributes && !case.is_bucket()).then(BTreeSet::new);
        let reference = Reference { made, folders: case.caps().folders, ..Reference::default() };
        Run { case, reference, open: Vec::new(), listings: Vec::new() }
    }

    /// Whether the names of an operation are in the store's own alphabet: keys of buckets are text.
    fn can_name(&self, operation: &Operation) -> bool {
        let text = |key: &&Key| key.segments().all(|segment| str::from_utf8(segment.bytes).is_ok());
        !self.case.is_bucket() || operation.keys().iter().all(text)
    }

    fn step(&mut self, operation: &Operation) {
        let (case, reference) = (&self.case, &mut self.reference);
        let (outcome, expected) = match operation {
            Operation::Put(key, value, absent) => {
                let when = if *absent { When::Absent } else { When::Always };
                (case.try_put(key, value, when), reference.put(key, value, *absent))
            }
            Operation::Delete(key) => {
                reference.values.remove(key);
                (case.try_delete(key, When::Always), Ok(()))
            }
            Operation::Rename { tree: true, .. } if case.caps().rename != Rename::Tree => return,
            Operation::Rename { .. } if case.caps().rename == Rename::No => return,
            Operation::Rename { from, to, tree, replace } => {
                (case.rename(from, to, *tree, *replace), reference.rename(from, to, *tree, *replace))
            }
            Operation::Make(_) | Operation::Remove(_) if !case.caps().branches => return,
            Operation::Make(key) => (case.make(key), reference.make(key)),
            Operation::Remove(key) => (case.remove(key), reference.remove(key)),
            Operation::Open(key) => return self.open(key),
            Operation::List(dir, count) => return self.list(dir, *count),
        };
        assert_eq!(failure(outcome), expected.err(), "{operation:?}");
        for opened in &mut self.open {
            let touches = |key: &&Key| opened.key == **key || opened.key.starts_with(key);
            opened.changed |= operation.keys().iter().any(touches);
        }
        self.compare();
    }

    fn open(&mut self, key: &Key) {
        let value = self.case.store.open(key).unwrap();
        let expected = self.reference.values.get(key);
        assert_eq!(value.is_some(), expected.is_some(), "{key:?}");
        if let Some((value, expected)) = value.zip(expected) {
            self.open.push(Opened { key: key.clone(), value, expected: expected.clone(), changed: false });
        }
    }

    fn list(&mut self, dir: &Key, count: usize) {
        if !self.listings.iter().any(|listing| listing.dir == *dir) {
            self.listings.push(Listing {
                dir: dir.clone(),
                cursor: Cursor::default(),
                given: BTreeSet::new(),
                valued: self.names_that(dir, |kind| kind.has_value()),
                branching: self.names_that(dir, |kind| kind.is_directory()),
            });
        }
        let Some(at) = self.listings.iter().position(|listing| listing.dir == *dir) else { return };
        let listing = &mut self.listings[at];
        for (name, _) in self.case.next(&listing.dir, &mut listing.cursor, count) {
            assert!(listing.given.insert(name), "given twice in {dir:?}");
        }
        if listing.cursor.done {
            self.listings.remove(at).check();
        }
    }

    fn names_that(&self, dir: &Key, is: impl Fn(kvfs::store::api::Kind) -> bool) -> BTreeSet<Vec<u8>> {
        let mut names = self.reference.names(dir);
        names.retain(|name| self.reference.kind(&dir.child(Segment::plain(name))).is_some_and(&is));
        names
    }

    /// The whole tree, and every open value.
    fn compare(&mut self) {
        let mut listings = std::mem::take(&mut self.listings);
        for listing in &mut listings {
            let valued = self.names_that(&listing.dir, |kind| kind.has_value());
            listing.valued.retain(|name| valued.contains(name));
            let branching = self.names_that(&listing.dir, |kind| kind.is_directory());
            listing.branching.retain(|name| branching.contains(name));
        }
        self.listings = listings;
        let mut ahead = vec![Key::root()];
        while let Some(dir) = ahead.pop() {
            let entries = self.case.entries(&dir);
            assert!(entries.keys().eq(&self.reference.names(&dir)), "{dir:?}: {entries:?}");
            for (name, stat) in entries {
                let key = dir.child(Segment::plain(&name));
                assert_eq!(Some(stat.kind), self.reference.kind(&key), "listed: {key:?}");
                assert_eq!(Some(stat.kind), self.case.kind(&key), "by stat: {key:?}");
                let expected = self.reference.values.get(&key);
                assert_eq!(self.case.value(&key).as_ref(), expected, "{key:?}");
                assert_eq!(stat.size, expected.map_or(0, Vec::len) as u64, "{key:?}");
                if stat.kind.is_directory() {
                    ahead.push(key);
                }
            }
        }
        for key in self.reference.values.keys() {
            assert!(self.case.kind(key).is_some_and(|kind| kind.has_value()), "{key:?}");
        }
    }

    fn finish(mut self) {
        self.compare();
        for Opened { key, value, expected, changed } in &self.open {
            let bytes = if *changed { self.case.bytes_still(&**value) } else { Some(bytes_of(&**value)) };
            assert!(bytes.is_none_or(|bytes| bytes == *expected), "the open value of {key:?} changed");
        }
        for mut listing in std::mem::take(&mut self.listings) {
            while !listing.cursor.done {
                for (name, _) in self.case.next(&listing.dir, &mut listing.cursor, 3) {
                    assert!(listing.given.insert(name), "given twice in {:?}", listing.dir);
                }
            }
            listing.check();
        }
        self.case.store.sync().unwrap();
    }
}

impl Listing {
    fn check(self) {
        for name in self.valued.iter().chain(&self.branching) {
            assert!(self.given.contains(name), "{name:?} was there throughout in {:?}", self.dir);
        }
    }
}
