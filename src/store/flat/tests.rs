//! Listings against a plain model: every set of flat keys, every page size, with changes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::store::api::{Atomic, Pace, Rename};
use crate::store::memory::Memory;

fn store(separator: Option<&[u8]>) -> Flat<Memory> {
    let caps = Caps {
        kind: "memory",
        write: true,
        immutable: false,
        ordered: true,
        branches: true,
        attributes: false,
        folders: false,
        watch: false,
        snapshot: true,
        past: false,
        unlisted: "",
        settable: &[],
        collections: false,
        atomic: Atomic::Batch,
        rename: Rename::Tree,
        pace: Pace::Memory,
        value_max: 1 << 20,
        key_max: 64,
    };
    Flat::new(Memory::new(), caps, separator.map(<[u8]>::to_vec))
}

fn put(store: &Flat<Memory>, flat: &[u8], value: &[u8]) {
    let body = Payload::of(value).unwrap();
    let edit = Edit::Put { key: flat.to_vec(), body: Some(&body), when: When::Always };
    store.kv().write(&mut [edit]).unwrap();
}

fn delete(store: &Flat<Memory>, flat: &[u8]) {
    store.kv().write(&mut [Edit::Delete { key: flat.to_vec(), when: When::Always }]).unwrap();
}

type Listed = Vec<(Vec<u8>, Stat)>;

/// The next `count` entries.
fn next(store: &Flat<Memory>, dir: &Key, cursor: &mut Cursor, count: usize) -> Listed {
    let mut listed = Listed::new();
    store
        .list(dir, cursor, &mut |entry| {
            if listed.len() == count {
                return ControlFlow::Break(());
            }
            listed.push((entry.segment.bytes.to_vec(), entry.stat));
            ControlFlow::Continue(())
        })
        .unwrap();
    listed
}

fn all(store: &Flat<Memory>, dir: &Key, pages: usize) -> Listed {
    let mut cursor = Cursor::default();
    let mut listed = Listed::new();
    while !cursor.done {
        listed.extend(next(store, dir, &mut cursor, pages));
    }
    listed
}

/// Every directory that `keys` make, with the names in it, by the definition.
fn model(separator: &Separator, keys: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Key, BTreeMap<Vec<u8>, Kind>> {
    let mut directories = BTreeMap::from([(Key::root(), BTreeMap::new())]);
    let mut add = |dir: Key, name: &[u8], kind: Kind| {
        let names: &mut BTreeMap<Vec<u8>, Kind> = directories.entry(dir).or_default();
        let known = names.entry(name.to_vec()).or_insert(kind);
        if *known != kind {
            *known = Kind::Both;
        }
    };
    let mut markers = BTreeSet::new();
    for (flat, value) in keys {
        let mut key = separator.split(flat);
        let mut kind = Kind::Leaf;
        if key.len() > 1 && value.is_empty() && key.last().unwrap().bytes.is_empty() {
            markers.insert(key.parent().unwrap());
            key.pop();
            kind = Kind::Branch;
        }
        while let Some(name) = key.last() {
            add(key.parent().unwrap(), name.bytes, kind);
            kind = Kind::Branch;
            key.pop();
        }
    }
    // A marker is not listed by itself, but it is the value of the name without bytes where that is a directory.
    for dir in markers {
        if let Some(kind) = directories.entry(dir).or_default().get_mut(&b""[..]) {
            *kind = Kind::Both;
        }
    }
    directories
}

fn check(separator: Option<&[u8]>, keys: &BTreeMap<Vec<u8>, Vec<u8>>, pages: usize) {
    let store = store(separator);
    for (key, value) in keys {
        put(&store, key, value);
    }
    for (dir, names) in model(store.separator(), keys) {
        let listed = all(&store, &dir, pages);
        let kinds: Vec<_> = listed.iter().map(|(name, stat)| (name.clone(), stat.kind)).collect();
        let distinct: BTreeMap<_, _> = kinds.iter().cloned().collect();
        assert_eq!(kinds.len(), distinct.len(), "given twice in {dir:?} of {keys:?}");
        assert_eq!(distinct, names, "{dir:?} of {keys:?}");
        for (name, stat) in listed {
            let key = dir.child(crate::key::Segment::plain(&name));
            assert_eq!(store.stat(&key).unwrap(), Some(stat), "{key:?} of {keys:?}");
        }
    }
}

fn flat_keys(alphabet: &'static str) -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let key = prop::collection::vec(prop::sample::select(alphabet.as_bytes().to_vec()), 0..6);
    prop::collection::btree_map(key, prop::sample::select(vec![vec![], b"v".to_vec()]), 0..30)
}

proptest! {
    #[test]
    fn listings_are_what_the_definition_says(keys in flat_keys("a!/0"), pages in 1usize..8) {
        check(Some(b"/"), &keys, pages);
    }

    #[test]
    fn with_a_separator_of_two_equal_bytes_too(keys in flat_keys("a!:;"), pages in 1usize..8) {
        check(Some(b"::"), &keys, pages);
    }

    #[test]
    fn with_a_separator_of_two_bytes_too(keys in flat_keys("a:;"), pages in 1usize..8) {
        check(Some(b";:"), &keys, pages);
    }

    #[test]
    fn without_a_separator_every_key_is_a_name(keys in flat_keys("a!/"), pages in 1usize..8) {
        check(None, &keys, pages);
    }

    /// §2.6: what is there throughout is given exactly once, whatever else comes and goes.
    #[test]
    fn what_stays_is_given_once_while_others_come_and_go(
        staying in flat_keys("a!/0"),
        steps in prop::collection::vec((flat_keys("a!/0"), any::<bool>()), 0..12),
        pages in 1usize..4,
    ) {
        let store = store(Some(b"/"));
        for (key, value) in &staying {
            put(&store, key, value);
        }
        let mut cursor = Cursor::default();
        let mut listed = Listed::new();
        for (others, come) in steps {
            listed.extend(next(&store, &Key::root(), &mut cursor, pages));
            if cursor.done {
                break;
            }
            for key in others.keys().filter(|key| !staying.contains_key(*key)) {
                if come { put(&store, key, b"other") } else { delete(&store, key) }
            }
        }
        while !cursor.done {
            listed.extend(next(&store, &Key::root(), &mut cursor, pages));
        }
        let mut times = BTreeMap::new();
        for (name, _) in &listed {
            *times.entry(name.clone()).or_insert(0) += 1;
        }
        prop_assert!(times.values().all(|&times| times == 1), "{listed:?}");
        for name in model(store.separator(), &staying)[&Key::root()].keys() {
            prop_assert_eq!(times.get(name), Some(&1), "{:?}", name);
        }
    }
}

#[test]
fn a_listing_longer_than_a_page_goes_on_without_a_gap() {
    let keys: BTreeMap<_, _> = (0..5000)
        .flat_map(|n| ["", "!x", "!y", "/z"].map(|end| format!("{n:05}{end}")))
        .map(|key| (key.into_bytes(), b"v".to_vec()))
        .collect();
    for pages in [100, 1023, 1024, 20_000] {
        check(Some(b"/"), &keys, pages);
    }
}

/// A map that counts the keys which its scans meet.
struct Counted(Memory, AtomicUsize);

impl Kv for Counted {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.0.get(key)
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        self.0.open(key)
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        self.0.scan(from, &mut |key, found| {
            self.1.fetch_add(1, Ordering::Relaxed);
            each(key, found)
        })
    }

    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        self.0.write(edits)
    }
}

#[test]
fn names_that_start_alike_are_found_without_a_walk_over_all() {
    let plain = store(Some(b"/"));
    for number in 0..5000 {
        put(&plain, format!("d/{number:05}/x").as_bytes(), b"");
    }
    let Flat { kv, caps, separator } = plain;
    let store = Flat { kv: Counted(kv, AtomicUsize::new(0)), caps, separator };
    for (prefix, count) in [("0499", 10), ("04", 1000), ("", 5000), ("9", 0), (&*"0".repeat(64), 0)] {
        store.kv().1.store(0, Ordering::Relaxed);
        let mut names = BTreeSet::new();
        store
            .list_prefix(&Key::of([&b"d"[..]]), prefix.as_bytes(), &mut |entry| {
                assert!(
                    entry.segment.bytes.starts_with(prefix.as_bytes())
                        && names.insert(entry.segment.bytes.to_vec())
                );
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(names.len(), count, "{prefix}");
        let met = store.kv().1.load(Ordering::Relaxed);
        assert!(met <= 2 * count + 300, "{prefix}: {met} keys met");
    }
}

#[test]
fn names_longer_than_the_store_holds_are_refused_and_absent() {
    let store = store(Some(b"/"));
    let long = [b'x'; 65];
    let key = Key::of([&long[..]]);
    let body = Payload::new();
    let put = Change::Put { key: &key, body: &body, when: When::Always };
    assert_eq!(store.apply(&mut [put]).unwrap_err().kind(), ErrorKind::NameTooLong);
    assert_eq!(store.stat(&key).unwrap(), None);
    assert!(store.open(&key).unwrap().is_none());
    let barely = Key::of([&long[..64]]);
    assert_eq!(
        store.apply(&mut [Change::Branch { key: &barely }]).unwrap_err().kind(),
        ErrorKind::NameTooLong
    );
}
