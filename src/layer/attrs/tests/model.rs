//! Any sequence of changes, by the mount and by another program: what is kept follows what it is of, in the plainest
//! words.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::key::Segment;

/// Few names, so that they meet often; one sorts between another and what is below it, one is too long.
const NAMES: [&[u8]; 4] = [b"a", b"a!", b"b", &[b'x'; 60]];

#[derive(Clone, Debug)]
enum Operation {
    Put(Key, u8),
    Delete(Key),
    Set { key: Key, directory: bool, mode: Option<u32>, mtime: Option<u64> },
    Make(Key),
    Remove(Key),
    Link(Key),
    Rename { from: Key, to: Key, tree: bool, replace: bool },
    Exchange(Key, Key, bool),
    ForeignPut(Key, u8),
    ForeignDelete(Key),
    Reopen,
    List(Key, usize, bool),
}

fn keys() -> impl Strategy<Value = Key> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(Key::of)
}

fn operations() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        4 => (keys(), 0u8..3).prop_map(|(key, value)| Put(key, value)),
        2 => keys().prop_map(Delete),
        6 => (keys(), any::<bool>(), prop::option::of(0u32..0o7777), prop::option::of(1u64..999))
            .prop_map(|(key, directory, mode, mtime)| Set { key, directory, mode, mtime }),
        3 => keys().prop_map(Make),
        2 => keys().prop_map(Remove),
        2 => keys().prop_map(Link),
        3 => (keys(), keys(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, tree, replace)| Rename { from, to, tree, replace }),
        1 => (keys(), keys(), any::<bool>()).prop_map(|(one, other, tree)| Exchange(one, other, tree)),
        2 => (keys(), 0u8..3).prop_map(|(key, value)| ForeignPut(key, value)),
        1 => keys().prop_map(ForeignDelete),
        1 => Just(Reopen),
        2 => (keys(), 1usize..4, any::<bool>()).prop_map(|(dir, count, all)| List(dir, count, all)),
    ]
}

/// A recorded time: one that was set, or that of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    At(u64),
    OfPut,
}

/// What is kept of a file: of a value's, which value the time belongs to.
#[derive(Clone, Debug, Default)]
struct File {
    mode: Option<u32>,
    time: Option<Time>,
    value: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    files: BTreeMap<Key, File>,
    links: BTreeMap<Key, File>,
    directories: BTreeMap<Key, (Option<u32>, Option<u64>)>,
}

/// The same map, with what is at `from` (with `tree`, below it too) at `to`; what was there is gone.
fn rename<T>(map: &mut BTreeMap<Key, T>, from: &Key, to: &Key, itself: bool, tree: bool) {
    let is = |key: &Key, of: &Key| (itself && key == of) || (tree && key != of && key.starts_with(of));
    let (moving, mut rest): (Vec<_>, BTreeMap<Key, T>) = {
        let (moving, rest): (Vec<_>, Vec<_>) =
            std::mem::take(map).into_iter().partition(|(key, _)| is(key, from));
        (moving, rest.into_iter().filter(|(key, _)| !is(key, to)).collect())
    };
    rest.extend(moving.into_iter().map(|(key, kept)| (super::super::plan::moved(&key, from, to), kept)));
    *map = rest;
}

struct Run {
    case: Case,
    model: Model,
}

impl Run {
    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let value = self.case.store.open(key).unwrap()?;
        value.read(0, u64::MAX, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        Some(bytes)
    }

    fn step(&mut self, operation: &Operation) {
        let attrs = &self.case.attrs;
        let apply = |change| attrs.apply(&mut [change]).is_ok();
        match operation {
            Operation::Put(key, value) => {
                let there = self.value(key).is_some();
                let body = Payload::of(&[*value]).unwrap();
                let kept = !attrs.is_bare();
                assert!(apply(Change::Put { key, body: &body, when: When::Always }));
                self.model.links.remove(key);
                if !there {
                    self.model.files.remove(key);
                }
                if kept {
                    let file = self.model.files.entry(key.clone()).or_default();
                    (file.time, file.value) = (Some(Time::OfPut), vec![*value]);
                }
            }
            Operation::Delete(key) => {
                assert!(apply(Change::Delete { key, when: When::Always }));
                self.model.links.remove(key);
                self.model.files.remove(key);
            }
            Operation::Set { key, directory, mode, mtime } => {
                let time_set = mtime.map(time);
                let setting = Setting { mode: *mode, mtime: time_set, ..Setting::default() };
                if apply(Change::Set { key, directory: *directory, attributes: &setting }) {
                    self.set(key, *directory, *mode, *mtime);
                }
            }
            Operation::Make(key) => drop(apply(Change::Branch { key })),
            Operation::Remove(key) => {
                if apply(Change::RemoveBranch { key }) {
                    self.model.directories.remove(key);
                }
            }
            Operation::Link(key) => {
                if apply(Change::Make { key, file_type: FileType::Symlink, target: b"to" }) {
                    self.model.links.insert(key.clone(), File::default());
                    self.model.files.remove(key);
                }
            }
            Operation::Rename { from, to, tree, replace } => self.rename(from, to, *tree, *replace),
            Operation::Exchange(one, other, tree) => self.exchange(one, other, *tree),
            Operation::ForeignPut(key, value) => {
                let body = Payload::of(&[*value]).unwrap();
                let put = Change::Put { key, body: &body, when: When::Always };
                self.case.store.apply(&mut [put]).unwrap();
                self.distrust();
            }
            Operation::ForeignDelete(key) => {
                self.case.store.apply(&mut [Change::Delete { key, when: When::Always }]).unwrap();
                self.distrust();
            }
            Operation::Reopen => {
                self.case.reopen();
                self.model.directories.values_mut().for_each(|kept| kept.1 = None);
            }
            Operation::List(dir, count, all) => self.list(dir, *count, *all),
        }
        self.compare();
    }

    fn distrust(&mut self) {
        self.case.attrs.trust.distrust();
        self.model.directories.values_mut().for_each(|kept| kept.1 = None);
    }

    fn set(&mut self, key: &Key, directory: bool, mode: Option<u32>, mtime: Option<u64>) {
        if directory {
            let kept = self.model.directories.entry(key.clone()).or_default();
            *kept = (mode.or(kept.0), mtime.or(kept.1));
            return;
        }
        let value = self.value(key);
        let files = if value.is_some() { &mut self.model.files } else { &mut self.model.links };
        let file = files.entry(key.clone()).or_default();
        file.mode = mode.or(file.mode);
        if let Some(mtime) = mtime {
            (file.time, file.value) = (Some(Time::At(mtime)), value.unwrap_or_default());
        }
    }

    fn rename(&mut self, from: &Key, to: &Key, tree: bool, replace: bool) {
        let valued = self.value(from).is_some();
        let stat = self.case.store.stat(from).unwrap();
        let change = Change::Rename { from, to, tree, replace };
        if self.case.attrs.apply(&mut [change]).is_err() {
            return;
        }
        let link = stat.is_none() && self.model.links.contains_key(from);
        let tree = tree && !link;
        if link {
            self.model.files.remove(to);
        }
        if valued {
            self.model.links.remove(from);
        }
        rename(&mut self.model.files, from, to, valued, tree);
        rename(&mut self.model.links, from, to, true, tree);
        rename(&mut self.model.directories, from, to, tree, tree);
    }

    fn exchange(&mut self, one: &Key, other: &Key, tree: bool) {
        if one.starts_with(other) || other.starts_with(one) {
            return;
        }
        let between = Key::of([&b"between"[..]]);
        let there = |key: &Key| self.case.attrs.stat(key).unwrap().map(|stat| stat.kind);
        let (kind, other_kind) = (there(one), there(other));
        let expected = [kind, other_kind].iter().all(|kind| match tree {
            true => kind.is_some(),
            false => *kind == Some(Kind::Leaf),
        });
        let mut changes = [(one, &between), (other, one), (&between, other)]
            .map(|(from, to)| Change::Rename { from, to, tree, replace: false });
        let outcome = self.case.attrs.apply(&mut changes);
        assert!(outcome.is_ok() || !expected, "{outcome:?}");
        if outcome.is_ok() {
            for (from, to) in [(one, &between), (other, one), (&between, other)] {
                rename(&mut self.model.files, from, to, true, tree);
                rename(&mut self.model.links, from, to, true, tree);
                rename(&mut self.model.directories, from, to, tree, tree);
            }
        }
    }

    /// All keys there can be.
    fn universe() -> BTreeSet<Key> {
        let mut keys = BTreeSet::from([Key::root()]);
        for _ in 0..6 {
            let below = keys
                .iter()
                .filter(|key| key.len() < 6)
                .flat_map(|key| NAMES.map(|name| key.child(Segment::plain(name))));
            // Trees move to places below others, so that keys get longer; those that are there are looked at.
            keys =
                keys.iter().cloned().chain(below.collect::<Vec<_>>()).filter(|key| key.len() < 4).collect();
        }
        keys
    }

    fn compare(&mut self) {
        let mut keys = Run::universe();
        keys.extend(self.model.files.keys().cloned());
        keys.extend(self.model.links.keys().cloned());
        keys.extend(self.model.directories.keys().cloned());
        for key in keys {
            let found = self.case.attrs.stat(&key).unwrap();
            let value = self.value(&key);
            let model = &mut self.model;
            if value.is_some() {
                model.links.remove(&key);
            }
            let Some(stat) = found else {
                assert!(value.is_none() && !model.links.contains_key(&key), "{key:?} is missing");
                model.files.remove(&key);
                model.directories.remove(&key);
                continue;
            };
            assert_eq!(stat.kind.has_value(), value.is_some() || stat.file.file_type == FileType::Symlink);
            if stat.kind.is_directory() {
                let (mode, mtime) = model.directories.get(&key).copied().unwrap_or_default();
                assert_eq!(stat.directory.mode, mode, "{key:?}/");
                assert_eq!(stat.directory.mtime, mtime.map(time), "{key:?}/");
            }
            let expected = match &value {
                Some(value) => {
                    let file = model.files.entry(key.clone()).or_default();
                    if file.value != *value {
                        file.time = None;
                    }
                    file.clone()
                }
                // A directory of the store hides the link that is in its place.
                None if stat.kind == Kind::Branch => File::default(),
                None => model.links.get(&key).cloned().unwrap_or_default(),
            };
            assert_eq!(stat.file.mode, expected.mode, "{key:?}");
            match expected.time {
                Some(Time::OfPut) => assert!(stat.file.mtime > Some(time(1_000_000)), "{key:?}"),
                Some(Time::At(at)) => assert_eq!(stat.file.mtime, Some(time(at)), "{key:?}"),
                None => assert_eq!(stat.file.mtime, None, "{key:?}"),
            }
            let is_link = stat.file.file_type == FileType::Symlink;
            assert_eq!(is_link, stat.kind == Kind::Leaf && model.links.contains_key(&key), "{key:?}");
        }
    }

    /// A listing has what stat says of each entry.
    fn list(&self, dir: &Key, count: usize, attributes: bool) {
        for dir in [dir, &Key::root()] {
            let listed = self.case.list(dir, count, attributes);
            let names: BTreeSet<_> = listed.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), listed.len(), "each once in {dir:?}");
            for (name, stat) in &listed {
                let looked =
                    self.case.attrs.stat(&dir.child(Segment::plain(name.as_bytes()))).unwrap().unwrap();
                assert_eq!((stat.kind, stat.size), (looked.kind, looked.size), "{name} in {dir:?}");
                assert_eq!(stat.file.file_type, looked.file.file_type, "{name} in {dir:?}");
                if attributes {
                    assert_eq!((stat.file, stat.directory), (looked.file, looked.directory), "{name}");
                }
            }
            for name in NAMES {
                let there = self.case.attrs.stat(&dir.child(Segment::plain(name))).unwrap().is_some();
                let name = String::from_utf8(name.to_vec()).unwrap();
                assert_eq!(names.contains(&name), there, "{name} in {dir:?}");
            }
        }
    }
}

#[test]
fn promise_5_5_what_is_kept_is_kept_of_what_it_was_set_on() {
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    runner
        .run(&prop::collection::vec(operations(), 1..40), |sequence| {
            let mut run = Run { case: Case::new(), model: Model::default() };
            sequence.iter().for_each(|operation| run.step(operation));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_link_that_another_program_put_a_value_over_is_hidden_by_it_and_by_what_is_below() {
    let mut run = Run { case: Case::new(), model: Model::default() };
    let (key, below) = (Key::of([&b"a"[..]]), Key::of([&b"a"[..], b"b"]));
    let set = Operation::Set { key: key.clone(), directory: false, mode: None, mtime: Some(1) };
    for operation in [
        Operation::Link(key.clone()),
        Operation::ForeignPut(below, 0),
        Operation::ForeignPut(key.clone(), 0),
        set,
    ] {
        run.step(&operation);
    }
    assert_eq!(run.case.attrs.stat(&key).unwrap().unwrap().file.mtime, Some(time(1)));
}
