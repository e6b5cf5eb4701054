//! `stat` and `list`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use kvfs::key::{Key, Segment};
use kvfs::store::api::{Cursor, Kind};

use crate::case::{Case, path};

/// The root always exists.
pub fn the_root_is_there_and_empty(case: &Case) {
    assert_eq!(case.kind(&Key::root()), Some(Kind::Branch));
    assert!(case.entries(&Key::root()).is_empty());
    assert!(case.store.open(&Key::root()).unwrap().is_none());
    assert_eq!(case.kind(&path("a")), None);
}

fn fill(case: &Case) -> Vec<Key> {
    let keys: Vec<_> =
        ["a", "a!", "a!/x", "a/b", "a/b/c", "a0", "b//x", "c/d/e/f", "\u{fc}", "z z"].map(path).into();
    let keys = case.possible(keys);
    case.put_all(&keys, b"value");
    keys
}

/// Names, kinds, sizes and times of a listing are those of `stat`, and nothing is missing.
pub fn a_listing_gives_what_stat_says(case: &Case) {
    let keys = fill(case);
    assert_eq!(case.walk().into_keys().collect::<BTreeSet<_>>(), keys.iter().cloned().collect());
    let entries = case.entries(&Key::root());
    let kinds = [("a", Kind::Both), ("a!", Kind::Both), ("a0", Kind::Leaf), ("c", Kind::Branch)];
    for (name, kind) in kinds {
        let kind = if case.caps().folders && kind == Kind::Both { Kind::Leaf } else { kind };
        assert_eq!(entries[name.as_bytes()].kind, kind, "{name}");
    }
    for dir in [Key::root(), path("a"), path("b"), path("b/")] {
        for (name, listed) in case.entries(&dir) {
            let stat = case.store.stat(&dir.child(Segment::plain(&name))).unwrap().unwrap();
            assert_eq!((listed.kind, listed.size), (stat.kind, stat.size), "{name:?} in {dir:?}");
            assert_eq!(listed.size, if stat.kind.has_value() { 5 } else { 0 });
            assert!(!listed.kind.has_value() || listed.modified == stat.modified, "{name:?} in {dir:?}");
        }
    }
}

/// `from` stays before the entry at which `each` breaks; after the end there is nothing more.
pub fn a_listing_that_stops_goes_on_where_it_stopped(case: &Case) {
    fill(case);
    let whole = case.names(&Key::root());
    for count in 1..=whole.len() {
        let mut cursor = Cursor::default();
        let mut names = Vec::new();
        while !cursor.done {
            let before = cursor.clone();
            let page = case.next(&Key::root(), &mut cursor, count);
            let again = case.next(&Key::root(), &mut before.clone(), count);
            assert_eq!(page, again, "a cursor kept goes on as the one it was copied from");
            names.extend(page.into_iter().map(|(name, _)| name));
        }
        if case.caps().ordered {
            assert!(names.is_sorted_by(|a, b| comes_before(a, b)), "{names:?}");
        }
        names.sort();
        assert_eq!(names, whole);
        let mut called = false;
        let each = &mut |_: kvfs::store::api::Entry<'_>| {
            called = true;
            ControlFlow::Continue(())
        };
        case.store.list(&Key::root(), &mut cursor, each).unwrap();
        assert!(!called && cursor.done);
    }
}

/// In the order of the raw keys a name stands where its value does, or else where the keys below it do.
fn comes_before(a: &[u8], b: &[u8]) -> bool {
    [a, b"/"].concat() < [b, b"/"].concat() || a < b
}

/// Of a listing, what starts alike.
pub fn a_listing_by_a_prefix_gives_what_starts_with_it(case: &Case) {
    fill(case);
    for dir in [Key::root(), path("a"), path("b"), path("absent")] {
        for prefix in ["", "a", "a!", "b", "c", "d", "zz"] {
            let mut names = Vec::new();
            let each = &mut |entry: kvfs::store::api::Entry<'_>| {
                names.push(entry.segment.bytes.to_vec());
                ControlFlow::Continue(())
            };
            case.store.list_prefix(&dir, prefix.as_bytes(), each).unwrap();
            names.sort();
            let mut expected = case.names(&dir);
            expected.retain(|name| name.starts_with(prefix.as_bytes()));
            assert_eq!(names, expected, "{prefix:?} in {dir:?}");
        }
    }
}

pub fn a_directory_that_is_not_there_has_no_entries(case: &Case) {
    case.put(&path("a"), b"");
    assert!(case.entries(&path("absent")).is_empty());
    assert!(case.entries(&path("a")).is_empty(), "a value has nothing below it");
}

/// §2.3.
pub fn an_empty_marker_is_not_listed_and_a_full_one_is(case: &Case) {
    if !case.caps().branches {
        return;
    }
    case.make(&path("a")).unwrap();
    assert_eq!(case.kind(&path("a")), Some(Kind::Branch));
    assert_eq!(case.names(&Key::root()), [b"a"]);
    assert!(case.entries(&path("a")).is_empty());
    let marker = (!case.caps().attributes || case.is_bucket()).then_some(Kind::Leaf);
    assert_eq!(case.kind(&path("a/")), marker, "the marker can be reached, where there is one");
    if case.caps().folders {
        return;
    }
    case.put(&path("a/"), b"full");
    assert_eq!(case.names(&path("a")), [b""]);
    assert_eq!(case.value(&path("a/")).unwrap(), b"full");
}

pub fn many_keys_are_listed_once_each(case: &Case) {
    // Three names a number, so that pages of any even size end between a value and what is below it.
    let ends = ["", "!", "!!", "/below"];
    let count = if case.is_bucket() { 300 } else { 2500 };
    let keys: Vec<_> = (0..count).flat_map(|n| ends.map(|end| path(&format!("{n:05}{end}")))).collect();
    let folders = case.caps().folders;
    let keys: Vec<_> = keys.into_iter().filter(|key| !folders || key.len() == 1).collect();
    case.put_all(&keys, b"x");
    let entries = case.entries(&Key::root());
    assert_eq!(entries.len(), 3 * count);
    for (name, stat) in entries {
        let kind = if name.len() == 5 && !folders { Kind::Both } else { Kind::Leaf };
        assert_eq!(stat.kind, kind, "{}", name.escape_ascii());
    }
}

/// §2.6.
pub fn what_stays_is_given_once_while_others_come_and_go(case: &Case) {
    let staying: Vec<_> =
        (0..300).map(|n| path(&if n % 2 == 0 { format!("{n:03}") } else { format!("{n:03}/x") })).collect();
    let passing: Vec<_> =
        (0..300).flat_map(|n| [path(&format!("{n:03}!")), path(&format!("{n:03}/y"))]).collect();
    let folders = case.caps().folders;
    let possible =
        |key: &Key| !folders || key.len() == 1 || staying.iter().any(|one| one.parent() == key.parent());
    let passing: Vec<_> = passing.into_iter().filter(possible).collect();
    case.put_all(&staying, b"stays");
    let mut cursor = Cursor::default();
    let mut names = Vec::new();
    for (turn, changing) in passing.chunks(50).chain(passing.chunks(70)).enumerate() {
        names.extend(case.next(&Key::root(), &mut cursor, 23).into_iter().map(|(name, _)| name));
        match turn % 2 {
            0 => case.put_all(changing, b"passes"),
            _ => passing.iter().take(turn * 40).for_each(|key| case.delete(key)),
        }
    }
    while !cursor.done {
        names.extend(case.next(&Key::root(), &mut cursor, 23).into_iter().map(|(name, _)| name));
    }
    let distinct: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(distinct.len(), names.len(), "something was given twice");
    for n in 0..300 {
        assert!(distinct.contains(format!("{n:03}").as_bytes()), "{n:03} was there throughout");
    }
}
