//! What the store does while others put and remove objects, and while answers are lost: on a bucket in memory.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shelf::{Fate, Shelf, tree};
use super::tree::Tree;
use crate::error::ErrorKind;
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Change, Cursor, Kind, Store, When};
use crate::store::attributes::Setting;

pub(super) fn key(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

/// A bucket with these objects, each with its key as its bytes, and a store over it; `name` is the test's.
pub(super) fn shelf(name: &str, keys: &[&str]) -> (Arc<Shelf>, Tree) {
    let shelf = Arc::new(Shelf::new());
    keys.iter().for_each(|key| shelf.foreign(key, key));
    let tree = tree(&shelf, name);
    (shelf, tree)
}

fn put(tree: &Tree, path: &str, bytes: &[u8], when: When) -> Result<(), ErrorKind> {
    let (key, body) = (key(path), Payload::of(bytes).unwrap());
    tree.apply(&mut [Change::Put { key: &key, body: &body, when }]).map_err(|error| error.kind())
}

pub(super) fn rename(tree: &Tree, from: &str, to: &str, whole: bool) -> Result<(), ErrorKind> {
    let (from, to) = (key(from), key(to));
    let change = Change::Rename { from: &from, to: &to, tree: whole, replace: false };
    tree.apply(&mut [change]).map_err(|error| error.kind())
}

pub(super) fn keys(shelf: &Shelf) -> Vec<String> {
    shelf.all().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn promise_2_6_a_listing_in_pages_gives_each_name_once_as_stat_tells_it() {
    let all = ["/x", "a", "a!", "a-1", "a-2", "a-3", "a-4", "a/b", "a/c/d", "d/", "e//f", "z"];
    let (_shelf, tree) = shelf("listing", &all);
    for most in [1, 2, 100] {
        let (mut from, mut names) = (Cursor::default(), Vec::new());
        while !from.done {
            let mut given = 0;
            tree.list(&Key::root(), &mut from, &mut |entry| {
                if given == most {
                    return ControlFlow::Break(());
                }
                given += 1;
                names.push((String::from_utf8_lossy(entry.segment.bytes).into_owned(), entry.stat.kind));
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        names.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = ["", "a", "a!", "a-1", "a-2", "a-3", "a-4", "d", "e", "z"];
        assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected, "{most}");
        for (name, kind) in &names {
            assert_eq!(tree.stat(&key(name)).unwrap().unwrap().kind, *kind, "{name:?}");
        }
        assert_eq!(names[1].1, Kind::Both);
    }
}

#[test]
fn promise_8_1_a_put_whose_answer_was_lost_is_known_by_its_bytes() {
    for fate in [Fate::LostBack, Fate::LostThere] {
        let (shelf, tree) = shelf("lost put", &[]);
        let mut lost = false;
        shelf.meddle(move |_, operation, _| {
            if operation != "put" || std::mem::replace(&mut lost, true) { Fate::Fine } else { fate }
        });
        put(&tree, "k", b"v", When::Absent).unwrap();
        assert_eq!(shelf.all(), [("k".to_owned(), "v".to_owned())]);
        assert!(tree.version_of(&key("k"), &Payload::new()).unwrap().is_some());
    }
}

/// §4.6: who closes last wins, also where somebody else comes in between while a lost answer is made good.
#[test]
fn promise_4_6_a_put_whose_answer_was_lost_is_not_refused_for_what_others_put() {
    let (shelf, tree) = shelf("lost put, replaced", &[]);
    let (mut lost, mut replaced) = (false, false);
    shelf.meddle(move |shelf, operation, key| match operation {
        "put" if !std::mem::replace(&mut lost, true) => Fate::LostBack,
        "get" if !std::mem::replace(&mut replaced, true) => {
            shelf.foreign(key, "theirs");
            Fate::Fine
        }
        _ => Fate::Fine,
    });
    put(&tree, "k", b"ours!!", When::Always).unwrap();
    assert_eq!(shelf.all(), [("k".to_owned(), "ours!!".to_owned())]);
}

#[test]
fn promise_8_1_what_is_always_lost_is_given_up_after_a_few_tries() {
    let (shelf, tree) = shelf("always lost", &["k"]);
    let puts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&puts);
    shelf.meddle(move |_, operation, _| match operation {
        "put" | "delete" => {
            counted.fetch_add(1, Ordering::Relaxed);
            Fate::LostThere
        }
        _ => Fate::Fine,
    });
    assert_eq!(put(&tree, "n", b"v", When::Always), Err(ErrorKind::Uncertain));
    assert!((2..=5).contains(&puts.swap(0, Ordering::Relaxed)));
    let gone = key("k");
    let delete = tree.apply(&mut [Change::Delete { key: &gone, when: When::Always }]);
    assert_eq!(delete.map_err(|error| error.kind()), Err(ErrorKind::Uncertain));
    assert!((2..=5).contains(&puts.load(Ordering::Relaxed)));
    assert_eq!(keys(&shelf), ["k"]);
}

/// §4.6 where the server does not look at conditions: nobody is overrun by a repetition.
#[test]
fn promise_4_6_a_put_that_is_done_again_is_under_its_condition_again() {
    let mut bucket = Shelf::new();
    bucket.honours = false;
    let bucket = Arc::new(bucket);
    let tree = tree(&bucket, "repetition");
    let mut puts = 0;
    bucket.meddle(move |shelf, operation, key| {
        if operation != "put" {
            return Fate::Fine;
        }
        puts += 1;
        if puts == 1 {
            shelf.foreign(key, "theirs");
            return Fate::LostThere;
        }
        Fate::Fine
    });
    assert_eq!(put(&tree, "k", b"ours", When::Absent), Err(ErrorKind::Exists));
    assert_eq!(bucket.all(), [("k".to_owned(), "theirs".to_owned())]);
}

#[test]
fn promise_4_5_a_rename_removes_only_what_it_copied() {
    for objects in [&["d/1"][..], &["d/1", "d/2", "d/3", "d/4", "d/5"]] {
        let (shelf, tree) = shelf("replaced meanwhile", objects);
        shelf.meddle(|shelf, operation, _| {
            if operation.starts_with("delete")
                || operation == "list" && keys(shelf).contains(&"e/1".to_owned())
            {
                let copied = shelf.all().iter().any(|(key, bytes)| key == "d/1" && bytes == "d/1");
                if copied {
                    shelf.foreign("d/1", "new");
                }
            }
            Fate::Fine
        });
        assert_eq!(rename(&tree, "d", "e", true), Err(ErrorKind::Stale), "{objects:?}");
        let all = shelf.all();
        assert!(all.contains(&("d/1".to_owned(), "new".to_owned())), "{all:?}");
        assert!(all.contains(&("e/1".to_owned(), "d/1".to_owned())), "{all:?}");
        // It was told: the next mount does not go on.
        self::tree(&shelf, "replaced meanwhile").finish_renames();
        assert!(keys(&shelf).contains(&"d/1".to_owned()));
    }
}

#[test]
fn promise_4_5_a_rename_that_fails_leaves_the_source_alone() {
    let (shelf, tree) = shelf("failed", &["d/1", "d/2", "d/3"]);
    shelf.meddle(|shelf, operation, key| {
        if operation == "copy" && key == "d/3" {
            // It is another one by the time that it is copied.
            shelf.foreign("d/3", "new");
        }
        Fate::Fine
    });
    assert_eq!(rename(&tree, "d", "e", true), Err(ErrorKind::Stale));
    assert_eq!(keys(&shelf), ["d/1", "d/2", "d/3"]);
}

#[test]
fn promise_4_5_a_rename_that_was_killed_is_finished_with_what_was_there() {
    let (shelf, tree) = shelf("killed", &["d/1", "d/2", "d/3"]);
    let found = tree.all_below("d/").unwrap();
    let moves: Vec<_> =
        found.into_iter().map(|object| (object.clone(), object.key.replace("d/", "e/"))).collect();
    let entry = tree.begin_renaming(&key("d"), &key("e"), true, &moves).unwrap().unwrap();
    shelf.foreign("e/1", "d/1");
    // As the kernel does for a process that is killed: the file stays, its lock goes.
    drop(entry);
    shelf.foreign("d/later", "later");
    self::tree(&shelf, "killed").finish_renames();
    assert_eq!(keys(&shelf), ["d/later", "e/1", "e/2", "e/3"]);
}

#[test]
fn promise_4_2_a_long_file_is_sent_while_it_is_written_and_nothing_is_left_of_it() {
    let (shelf, tree) = shelf("ahead", &[]);
    let mut body = Payload::new();
    let piece = vec![7; 1 << 20];
    let mut parts = 0;
    for number in 0..40 {
        body.write(number << 20, &piece).unwrap();
        tree.written_so_far(&key("long"), &body);
        parts = parts.max(shelf.unfinished());
    }
    assert_eq!((parts, shelf.all().len()), (1, 0), "it was under way, and nobody saw it");
    let long = key("long");
    let setting = Setting { mode: Some(0o600), ..Setting::default() };
    tree.apply(&mut [
        Change::Put { key: &long, body: &body, when: When::Always },
        Change::Set { key: &long, directory: false, attributes: &setting },
    ])
    .unwrap();
    let stat = tree.stat(&long).unwrap().unwrap();
    assert_eq!((stat.size, stat.file.mode, shelf.unfinished()), (40 << 20, Some(0o600), 0));
    // Written again where it was sent already: what was sent is worth nothing.
    let mut other = Payload::new();
    for number in 0..20 {
        other.write(number << 20, &piece).unwrap();
        tree.written_so_far(&key("other"), &other);
    }
    assert_eq!(shelf.unfinished(), 1);
    other.write(0, b"x").unwrap();
    let other_key = key("other");
    tree.apply(&mut [Change::Put { key: &other_key, body: &other, when: When::Always }]).unwrap();
    tree.close().unwrap();
    assert_eq!(shelf.unfinished(), 0);
    assert_eq!(shelf.all()[1].1.as_bytes()[..2], [b'x', 7]);
}
