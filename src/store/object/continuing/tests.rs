use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::super::shelf::{self, Fate, Shelf};
use super::*;
use crate::store::api::{Change, Store, Value, When};

const LENGTH: usize = 9 << 20;

/// A bucket with one long object, which joins as `joining` says, and what was asked of it.
fn shelf(
    name: &str,
    joining: Joining,
) -> (Arc<Shelf>, Arc<super::super::tree::Tree>, Arc<Mutex<Vec<String>>>) {
    let mut shelf = Shelf::new();
    shelf.abilities.joining = joining;
    let shelf = Arc::new(shelf);
    shelf.foreign("log", &"x".repeat(LENGTH));
    let tree = Arc::new(shelf::tree(&shelf, name));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    shelf.meddle(move |_, operation, _| {
        list.lock().push(operation.to_owned());
        Fate::Fine
    });
    (shelf, tree, asked)
}

/// What is there, with `text` behind it, and the version that it stands on.
fn appended(tree: &super::super::tree::Tree, text: &str) -> (Payload, When) {
    let value: Arc<dyn Value> = tree.open(&Key::of([&b"log"[..]])).unwrap().unwrap().into();
    assert!(value.is_continued());
    let when = When::Current(value.version().unwrap());
    let length = value.len();
    let mut body = Payload::beginning_with(value, length).unwrap();
    body.write(length, text.as_bytes()).unwrap();
    (body, when)
}

fn put(tree: &super::super::tree::Tree, body: &Payload, when: When) -> Result<()> {
    tree.apply(&mut [Change::Put { key: &Key::of([&b"log"[..]]), body, when }])
}

#[test]
fn promise_4_1_an_append_sends_what_is_appended() {
    for (joining, wanted) in [
        (Joining::Parts, &["begin", "copy part", "part", "complete"][..]),
        (Joining::Objects, &["put", "join", "delete"][..]),
    ] {
        let (shelf, tree, asked) = shelf(&format!("append {joining:?}"), joining);
        let (body, when) = appended(&tree, "end");
        asked.lock().clear();
        put(&tree, &body, when).unwrap();
        assert_eq!(*asked.lock(), wanted);
        let [(key, bytes)] = &shelf.all()[..] else { panic!("{:?}", shelf.all().len()) };
        assert_eq!((key.as_str(), bytes.len()), ("log", LENGTH + 3));
        assert!(bytes.starts_with("xx") && bytes.ends_with("xxend"));
        assert_eq!(shelf.unfinished(), 0);
    }
}

#[test]
fn promise_4_6_what_somebody_replaced_is_not_continued() {
    for joining in [Joining::Parts, Joining::Objects] {
        let (shelf, tree, _) = shelf(&format!("replaced {joining:?}"), joining);
        let (body, when) = appended(&tree, "end");
        shelf.foreign("log", "theirs");
        assert_eq!(put(&tree, &body, when).unwrap_err().kind(), ErrorKind::Stale);
        assert_eq!(shelf.all(), [("log".to_owned(), "theirs".to_owned())]);
        assert_eq!(shelf.unfinished(), 0);
    }
}

#[test]
fn promise_8_1_an_append_whose_answer_is_lost_is_made_once() {
    for joining in [Joining::Parts, Joining::Objects] {
        for fate in [Fate::LostBack, Fate::LostThere] {
            let (shelf, tree, _) = shelf(&format!("lost {joining:?}"), joining);
            let (body, when) = appended(&tree, "end");
            let lost = AtomicU64::new(0);
            shelf.meddle(move |_, operation, _| {
                let last = matches!(operation, "complete" | "join");
                if last && lost.fetch_add(1, Ordering::Relaxed) == 0 { fate } else { Fate::Fine }
            });
            put(&tree, &body, when).unwrap();
            let all = shelf.all();
            assert_eq!(all.len(), 1, "{joining:?}");
            assert_eq!(all[0].1.len(), LENGTH + 3, "{joining:?}");
            assert_eq!(shelf.unfinished(), 0);
        }
    }
}

#[test]
fn what_cannot_be_continued_is_sent() {
    let (shelf, tree, asked) = shelf("sent", Joining::Objects);
    let (mut body, when) = appended(&tree, "end");
    // A whole object or nothing.
    body.resize(100).unwrap();
    body.write(100, b"end").unwrap();
    put(&tree, &body, when).unwrap();
    assert!(!asked.lock().iter().any(|operation| operation == "join"));
    assert_eq!(shelf.all(), [("log".to_owned(), "x".repeat(100) + "end")]);
}
