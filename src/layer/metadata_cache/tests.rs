//! The cache over a store that is asked and counted, beside another program that changes it.

use std::sync::atomic::Ordering;

use super::*;
use crate::error::ErrorKind;
use crate::key::Segment;
use crate::layer::fault::{Call, Faulty, Moment as Within};
use crate::layer::remote::{Asked, Remote};
use crate::payload::Payload;
use crate::store::api::When;
use crate::store::driver::Opening;

/// Longer than any test, and no time at all.
const LONG: Duration = Duration::from_secs(3600);

struct Rig {
    cache: MetadataCache,
    asked: Arc<Asked>,
    faulty: Arc<Faulty>,
    store: Arc<dyn Store>,
}

fn key(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

fn put(store: &dyn Store, path: &str, bytes: &[u8]) {
    let (key, body) = (key(path), Payload::of(bytes).unwrap());
    store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
}

fn list(store: &dyn Store, dir: &Key, cursor: &mut Cursor, most: usize) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    store
        .list(dir, cursor, &mut |entry| {
            if names.len() == most {
                return ControlFlow::Break(());
            }
            names.push(entry.segment.bytes.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    names
}

impl Rig {
    fn new(ttl: Duration) -> Rig {
        let store = (crate::store::memory::DRIVER.open)(&Opening::default()).unwrap();
        let faulty = Arc::new(Faulty::new(store.clone()));
        let remote = Remote::new(faulty.clone());
        let asked = Arc::clone(remote.asked());
        let cache = MetadataCache::new(Arc::new(remote), ttl, Budget::new(0));
        Rig { cache, asked, faulty, store }
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.cache.stat(&key(path)).unwrap().map(|stat| stat.size)
    }

    fn asked(&self) -> u64 {
        self.asked.stat.load(Ordering::Relaxed)
    }

    fn list(&self, dir: &str) {
        let dir = if dir.is_empty() { Key::root() } else { key(dir) };
        list(&self.cache, &dir, &mut Cursor::default(), usize::MAX);
    }

    fn read(&self, path: &str) -> Vec<u8> {
        let value = self.cache.open(&key(path)).unwrap().unwrap();
        let mut bytes = Vec::new();
        value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        bytes
    }
}

#[test]
fn promise_6_2_an_answer_is_good_for_the_time_and_no_longer() {
    let rig = Rig::new(LONG);
    put(&*rig.store, "a", b"1");
    assert_eq!((rig.size("a"), rig.size("a"), rig.size("b"), rig.size("b")), (Some(1), Some(1), None, None));
    assert_eq!(rig.asked(), 2);
    assert!(rig.cache.good_for(&key("a")).unwrap() <= LONG);
    assert_eq!(rig.cache.good_for(&key("c")), None);

    let rig = Rig::new(Duration::ZERO);
    put(&*rig.store, "a", b"1");
    rig.size("a");
    put(&*rig.store, "a", b"22");
    assert_eq!(rig.size("a"), Some(2));
}

#[test]
fn promise_6_2_what_is_too_old_is_not_told() {
    let mut told = Told::new(Duration::from_secs(1), "", Budget::new(0), env::instant());
    let (start, key) = (env::instant(), key("d/a"));
    let after = |milliseconds| start + Duration::from_millis(milliseconds);
    let stat = Stat::plain(crate::store::api::Kind::Leaf, 1, env::now());
    told.put(&key, Some(&stat), start, after(100));
    assert_eq!(told.get(&key, after(900)), Some((Some(stat), Duration::from_millis(100))));
    assert_eq!(told.get(&key, after(1001)), None);
    // An answer counts from when it was asked for, not from when it came.
    told.put(&key, None, after(2000), after(2900));
    assert_eq!(told.get(&key, after(2999)), Some((None, Duration::from_millis(1))));
    assert_eq!(told.get(&key, after(3001)), None);
}

#[test]
fn after_a_listing_nothing_is_asked() {
    let rig = Rig::new(LONG);
    (0..100).for_each(|n| put(&*rig.store, &format!("d/{n}"), b"x"));
    rig.list("d");
    let before = rig.asked.all();
    assert!((0..100).all(|n| rig.size(&format!("d/{n}")) == Some(1)));
    assert_eq!((rig.size("d/100"), rig.size("d/x")), (None, None));
    assert_eq!(rig.asked.all(), before);
    // A marker may be there, though it is not listed (§2.3); and what lies elsewhere was not told.
    assert_eq!((rig.size("d/"), rig.size("e")), (None, None));
    assert_eq!(rig.asked.all(), before + 2);
}

#[test]
fn a_listing_in_pieces_is_whole_when_its_end_is_reached() {
    let rig = Rig::new(LONG);
    (0..30).for_each(|n| put(&*rig.store, &format!("d/{n:02}"), b"x"));
    let mut cursor = Cursor::default();
    let mut names = Vec::new();
    while !cursor.done {
        rig.size("d/none");
        names.extend(list(&rig.cache, &key("d"), &mut cursor, 7));
    }
    assert_eq!(names.len(), 30);
    let before = rig.asked();
    assert_eq!((rig.size("d/07"), rig.size("d/30")), (Some(1), None));
    assert_eq!(rig.asked(), before);
    // One that begins in the middle tells nothing of what is missing.
    let rig = Rig::new(LONG);
    (0..30).for_each(|n| put(&*rig.store, &format!("d/{n:02}"), b"x"));
    let mut cursor = Cursor::default();
    list(&*rig.store, &key("d"), &mut cursor, 10);
    list(&rig.cache, &key("d"), &mut cursor, 100);
    assert!(cursor.done);
    assert_eq!((rig.size("d/20"), rig.size("d/05")), (Some(1), Some(1)));
    assert_eq!(rig.asked(), 1);
}

#[test]
fn own_changes_are_seen_at_once_and_others_stay_known() {
    let rig = Rig::new(LONG);
    put(&*rig.store, "d/a", b"1");
    put(&*rig.store, "d/b", b"1");
    rig.list("");
    rig.list("d");
    put(&rig.cache, "d/a", b"22");
    put(&rig.cache, "d/new", b"333");
    put(&rig.cache, "e/f", b"4444");
    let before = rig.asked();
    assert_eq!((rig.size("d/a"), rig.size("d/new")), (Some(2), Some(3)));
    assert_eq!(rig.asked(), before + 2);
    assert_eq!((rig.size("d/b"), rig.size("d/c"), rig.size("d")), (Some(1), None, Some(0)));
    assert_eq!(rig.asked(), before + 2);
    assert!(rig.cache.stat(&key("e")).unwrap().is_some(), "a directory that its first file made");

    let [gone, d] = ["d/b", "d"].map(key);
    rig.cache.apply(&mut [Change::Delete { key: &gone, when: When::Always }]).unwrap();
    assert_eq!(rig.size("d/b"), None);
    for name in ["a", "new"] {
        let key = d.child(Segment::plain(name.as_bytes()));
        rig.cache.apply(&mut [Change::Delete { key: &key, when: When::Always }]).unwrap();
    }
    assert!(rig.cache.stat(&d).unwrap().is_none(), "a directory that lost its last file");
    let [from, to] = ["e", "g"].map(key);
    rig.cache.apply(&mut [Change::Rename { from: &from, to: &to, tree: true, replace: false }]).unwrap();
    assert_eq!((rig.size("e/f"), rig.size("g/f")), (None, Some(4)));
}

#[test]
fn a_directory_that_loses_one_of_many_files_stays_known() {
    let rig = Rig::new(LONG);
    (0..100).for_each(|n| put(&*rig.store, &format!("d/{n}"), b"x"));
    rig.list("");
    rig.list("d");
    let before = rig.asked();
    let remove = |n: u32| {
        let key = key(&format!("d/{n}"));
        rig.cache.apply(&mut [Change::Delete { key: &key, when: When::Always }]).unwrap();
    };
    for n in 0..99 {
        remove(n);
        assert_eq!(rig.size("d"), Some(0));
    }
    assert_eq!(rig.asked(), before, "others are known to be in it");
    remove(99);
    assert_eq!(rig.size("d"), None);
}

#[test]
fn an_answer_that_was_under_way_during_a_change_is_not_remembered() {
    let rig = Arc::new(Rig::new(LONG));
    put(&*rig.store, "d/a", b"1");
    put(&*rig.store, "d/b", b"1");
    let change = |call, within| {
        let inside = Arc::clone(&rig);
        let action = move || {
            put(&inside.cache, "d/a", b"22");
            Ok(())
        };
        rig.faulty.plan(call, 1, within, Box::new(action));
    };
    change(Call::Stat, Within::After);
    assert_eq!(rig.size("d/a"), Some(1));
    assert_eq!(rig.size("d/a"), Some(2));

    put(&*rig.store, "d/a", b"1");
    put(&rig.cache, "d/a", b"1");
    // The listing's entries were collected when the change comes.
    change(Call::Open, Within::After);
    rig.list("d");
    assert_eq!(rig.size("d/a"), Some(2));
    let before = rig.asked();
    assert_eq!((rig.size("d/b"), rig.size("d/c")), (Some(1), None));
    assert_eq!(rig.asked(), before, "what was not changed is known");
}

#[test]
fn what_is_made_while_its_folder_is_listed_is_there() {
    for within in [Within::Before, Within::After] {
        let rig = Arc::new(Rig::new(LONG));
        put(&*rig.store, "d/a", b"1");
        put(&*rig.store, "e", b"1");
        let inside = Arc::clone(&rig);
        let action = move || {
            put(&inside.cache, "d/new", b"22");
            put(&inside.cache, "f", b"22");
            Ok(())
        };
        // The listing's entries were collected when the change comes.
        rig.faulty.plan(Call::Open, 1, within, Box::new(action));
        rig.list("d");
        assert_eq!(rig.size("d/new"), Some(2));
        rig.list("");
        assert_eq!((rig.size("f"), rig.size("g")), (Some(2), None));
    }
}

#[test]
fn a_folder_whose_names_are_asked_for_one_after_the_other_is_listed() {
    let rig = Rig::new(LONG);
    (0..1500).for_each(|n| put(&*rig.store, &format!("d/{n}"), b"x"));
    assert!((0..1500).all(|n| rig.size(&format!("d/{n}")) == Some(1)));
    assert!(rig.asked() <= 40, "{} questions", rig.asked());
    let before = rig.asked.all();
    assert!((1500..3000).all(|n| rig.size(&format!("d/{n}")).is_none()));
    assert_eq!(rig.asked.all(), before);
    // What is made and removed is known no longer than that, and the others stay known.
    put(&rig.cache, "d/1500", b"22");
    assert_eq!((rig.size("d/1500"), rig.size("d/1501")), (Some(2), None));
}

#[test]
fn a_change_whose_outcome_is_not_known_is_forgotten_too() {
    let rig = Rig::new(LONG);
    put(&*rig.store, "a", b"1");
    rig.size("a");
    rig.faulty.fail(Call::Apply, 1, Within::After, ErrorKind::Uncertain);
    let (key, body) = (key("a"), Payload::of(b"22").unwrap());
    let put = Change::Put { key: &key, body: &body, when: When::Always };
    assert_eq!(rig.cache.apply(&mut [put]).unwrap_err().kind(), ErrorKind::Uncertain);
    assert_eq!(rig.size("a"), Some(2));
}

#[test]
fn promise_6_1_a_file_that_was_told_is_opened_without_a_question_of_its_own() {
    let rig = Rig::new(LONG);
    put(&*rig.store, "a", b"one");
    rig.list("");
    let before = rig.asked.all();
    assert_eq!(rig.read("a"), b"one");
    assert_eq!(rig.asked.all(), before + 1);
    put(&*rig.store, "a", b"two");
    let value = rig.cache.open(&key("a")).unwrap().unwrap();
    assert_eq!(value.read(0, 3, &mut |_| {}).unwrap_err().kind(), ErrorKind::Stale);
}

#[test]
fn memory_is_bounded_and_what_does_not_fit_is_asked_for() {
    let rig = Rig::new(LONG);
    let budget = Budget::new(0);
    let mut told = Told::new(LONG, "", Arc::clone(&budget), env::instant());
    let (dir, now) = (key("d"), env::instant());
    let stat = Stat::plain(crate::store::api::Kind::Leaf, 1, env::now());
    let generation = told.begin(&key("e"));
    told.whole(&key("e"), now, generation);
    let names = 200_000u32;
    let kept = (0..names)
        .filter(|n| told.put_listed(&dir, Segment::plain(&n.to_be_bytes()), Some(&stat), now, now))
        .count();
    assert_eq!(kept, names as usize);
    assert!(told.names() < u64::from(names), "{}", told.names());
    let most = budget.most(crate::budget::Purpose::Metadata);
    assert!(budget.used(crate::budget::Purpose::Metadata) <= most);
    assert_eq!(told.get(&dir.child(Segment::plain(&0u32.to_be_bytes())), now), None);
    assert_eq!(told.get(&key("e/x"), now), None, "what made the listing whole is gone");
    drop(rig);
}
