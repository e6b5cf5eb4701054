//! `apply`: conditions, batches, renames, directories; and what else a store may do.

use std::ops::ControlFlow;
use std::sync::Arc;

use kvfs::error::ErrorKind;
use kvfs::key::Key;
use kvfs::key::Segment;
use kvfs::payload::Payload;
use kvfs::store::api::{Atomic, Change, Cursor, Kind, Rename, Version, When};
use kvfs::store::driver::Location;

use crate::case::{Case, bytes_of, failure, key, long_key, path};

fn version(case: &Case, key: &Key) -> Version {
    case.store.open(key).unwrap().unwrap().version().unwrap()
}

pub fn conditions_are_checked(case: &Case) {
    let k = path("k");
    case.try_put(&k, b"one", When::Absent).unwrap();
    assert_eq!(failure(case.try_put(&k, b"two", When::Absent)), Some(ErrorKind::Exists));
    let one = version(case, &k);
    case.try_put(&k, b"two", When::Current(one.clone())).unwrap();
    assert_eq!(failure(case.try_put(&k, b"three", When::Current(one.clone()))), Some(ErrorKind::Stale));
    assert_eq!(failure(case.try_delete(&k, When::Current(one.clone()))), Some(ErrorKind::Stale));
    assert_eq!(case.value(&k).unwrap(), b"two");
    case.try_delete(&k, When::Current(version(case, &k))).unwrap();
    assert_eq!(failure(case.try_put(&k, b"four", When::Current(one))), Some(ErrorKind::Stale));
    assert_eq!(case.kind(&k), None);
}

pub fn a_batch_is_all_or_nothing(case: &Case) {
    if case.caps().atomic != Atomic::Batch {
        return;
    }
    let (kept, gone, moved, new) = (path("kept"), path("gone"), path("moved"), path("new"));
    case.put_all([&kept, &gone, &moved, &path("moved/below")], b"old");
    let before = case.walk();
    let body = Payload::of(b"new").unwrap();
    let mut changes = [
        Change::Put { key: &new, body: &body, when: When::Always },
        Change::Put { key: &kept, body: &body, when: When::Always },
        Change::Delete { key: &gone, when: When::Always },
        Change::Rename { from: &moved, to: &gone, tree: true, replace: true },
        Change::Put { key: &kept, body: &body, when: When::Absent },
    ];
    assert_eq!(failure(case.store.apply(&mut changes)), Some(ErrorKind::Exists));
    assert_eq!(case.walk(), before);
    case.store.apply(&mut changes[..4]).unwrap();
    assert_eq!(case.value(&path("gone/below")).unwrap(), b"old");
    assert_eq!(case.value(&kept).unwrap(), b"new");
}

pub fn changes_of_a_batch_follow_each_other(case: &Case) {
    if case.caps().atomic != Atomic::Batch {
        return;
    }
    let (a, b) = (path("a"), path("b"));
    let (one, two) = (Payload::of(b"one").unwrap(), Payload::of(b"two").unwrap());
    case.store
        .apply(&mut [
            Change::Put { key: &a, body: &one, when: When::Absent },
            Change::Put { key: &a, body: &two, when: When::Current(Version::of_content(b"one")) },
            Change::Delete { key: &b, when: When::Always },
            Change::Put { key: &b, body: &one, when: When::Absent },
            Change::Delete { key: &a, when: When::Always },
            Change::Put { key: &a, body: &two, when: When::Absent },
        ])
        .unwrap();
    assert_eq!(case.value(&a).unwrap(), b"two");
    assert_eq!(case.value(&b).unwrap(), b"one");
}

pub fn deleting_what_is_absent_is_no_error(case: &Case) {
    case.delete(&path("absent"));
    case.delete(&path("absent/too"));
    case.put(&path("dir/value"), b"v");
    case.delete(&path("dir"));
    assert_eq!(case.value(&path("dir/value")).unwrap(), b"v");
}

/// §1.7.
pub fn deleting_a_value_leaves_what_is_below(case: &Case) {
    if case.caps().folders {
        return;
    }
    case.put_all([&path("a"), &path("a/b")], b"v");
    assert_eq!(case.kind(&path("a")), Some(Kind::Both));
    case.delete(&path("a"));
    assert_eq!(case.kind(&path("a")), Some(Kind::Branch));
    case.put(&path("a"), b"again");
    case.delete(&path("a/b"));
    assert_eq!(case.kind(&path("a")), Some(Kind::Leaf));
}

pub fn a_value_is_renamed_alone(case: &Case) {
    if case.caps().rename == Rename::No {
        return;
    }
    case.put_all(&case.possible([path("a"), path("a/below")]), b"a");
    case.put(&path("b"), b"b");
    case.rename(&path("a"), &path("b"), false, true).unwrap();
    assert_eq!(case.value(&path("b")).unwrap(), b"a");
    assert_eq!(case.kind(&path("a")), (!case.caps().folders).then_some(Kind::Branch));
    case.rename(&path("b"), &path("deep/er/c"), false, false).unwrap();
    assert_eq!(case.value(&path("deep/er/c")).unwrap(), b"a");
    assert_eq!(case.kind(&path("b")), None);
}

pub fn a_tree_is_renamed_whole(case: &Case) {
    if case.caps().rename != Rename::Tree {
        return;
    }
    let folders = case.caps().folders;
    let names: &[&str] = match folders {
        true => &["/w", "/x/y", "/x/z", "!", "0", "x"],
        false => &["", "/", "/x/y", "/x", "//z", "!", "0", "x"],
    };
    for (n, name) in names.iter().enumerate() {
        case.put(&path(&format!("from{name}")), format!("{n}").as_bytes());
    }
    case.rename(&path("from"), &path("far/to"), true, false).unwrap();
    for (n, name) in names.iter().enumerate() {
        let base = if n < names.len() - 3 { "far/to" } else { "from" };
        let found = case.value(&path(&format!("{base}{name}")));
        assert_eq!(found, Some(format!("{n}").into_bytes()), "{name}");
    }
    assert_eq!(case.kind(&path("from")), None);
    assert_eq!(case.walk().len(), names.len());
    // A directory without a value, over an empty directory.
    case.delete(&path("far/to"));
    if case.caps().branches {
        case.make(&path("target")).unwrap();
    }
    case.rename(&path("far/to"), &path("target"), true, true).unwrap();
    let moved = names.iter().position(|name| *name == "/x/y").unwrap();
    assert_eq!(case.value(&path("target/x/y")).unwrap(), format!("{moved}").into_bytes());
}

/// §4.5: by way of a key that nobody uses: all three are carried out, or none.
pub fn three_renames_of_a_batch_are_an_exchange(case: &Case) {
    if case.caps().atomic != Atomic::Batch || case.caps().rename != Rename::Tree {
        return;
    }
    case.put(&path("small"), b"small");
    case.put(&path("large"), &vec![7; 2 << 20]);
    case.put_all([&path("tree"), &path("tree/x"), &path("tree/y/z")], b"in the tree");
    case.put(&path("d/small"), b"below");
    case.put(&path("kept"), b"kept");
    let way = path("way");
    let exchange = |one: &str, other: &str, end: &str| {
        let (a, b, end) = (path(one), path(other), path(end));
        let (tree, other_tree) = (one.starts_with("tree"), other.starts_with("tree"));
        case.store.apply(&mut [
            Change::Rename { from: &a, to: &way, tree, replace: false },
            Change::Rename { from: &b, to: &a, tree: other_tree, replace: false },
            Change::Rename { from: &way, to: &end, tree, replace: false },
        ])
    };
    let before = case.walk();
    for (one, other) in [("small", "d/small"), ("small", "large"), ("tree", "small"), ("large", "tree")] {
        assert_eq!(failure(exchange(one, other, "kept")), Some(ErrorKind::Exists), "{one} and {other}");
        assert_eq!(case.walk(), before, "{one} and {other}: all or nothing");
        exchange(one, other, other).unwrap();
        assert!(case.value(&way).is_none() && case.store.stat(&way).unwrap().is_none());
        let after = case.walk();
        assert_eq!(after.len(), before.len());
        assert!(after.contains_key(&path(one)) && after.contains_key(&path(other)), "{one} and {other}");
        assert_ne!(after, before);
        // And back: what is a tree is at the other name now.
        let (a, b) = (path(one), path(other));
        let (tree, other_tree) = (one.starts_with("tree"), other.starts_with("tree"));
        let back = &mut [
            Change::Rename { from: &b, to: &way, tree, replace: false },
            Change::Rename { from: &a, to: &b, tree: other_tree, replace: false },
            Change::Rename { from: &way, to: &a, tree, replace: false },
        ];
        case.store.apply(back).unwrap();
        assert_eq!(case.walk(), before, "{one} and {other}, back");
    }
}

pub fn a_rename_without_replace_replaces_nothing(case: &Case) {
    if case.caps().rename == Rename::No {
        return;
    }
    case.put(&path("a"), b"a");
    case.put(&path("b"), b"b");
    let trees: &[bool] = if case.caps().rename == Rename::Tree { &[false, true] } else { &[false] };
    for &tree in trees {
        assert_eq!(failure(case.rename(&path("a"), &path("b"), tree, false)), Some(ErrorKind::Exists));
    }
    case.put(&path("dir/x"), b"x");
    for &tree in trees.iter().filter(|tree| **tree) {
        assert_eq!(failure(case.rename(&path("a"), &path("dir"), tree, false)), Some(ErrorKind::Exists));
    }
    assert_eq!(case.value(&path("a")).unwrap(), b"a");
    assert_eq!(case.value(&path("b")).unwrap(), b"b");
}

pub fn a_tree_is_never_renamed_into_itself_nor_over_another(case: &Case) {
    if case.caps().rename != Rename::Tree {
        return;
    }
    case.put_all([&path("a/b/c"), &path("other/x")], b"v");
    let before = case.walk();
    for to in ["a/d", "a/b", "a", "a/b/c/d"] {
        let refused = failure(case.rename(&path("a"), &path(to), true, true));
        assert_eq!(refused, Some(ErrorKind::Invalid), "to {to}");
    }
    for (from, to) in [("a", "other"), ("a/b", "a"), ("a/b/c", "a"), ("other", "a/b")] {
        let refused = failure(case.rename(&path(from), &path(to), true, true));
        assert_eq!(refused, Some(ErrorKind::NotEmpty), "{from} to {to}");
    }
    assert_eq!(case.walk(), before);
}

pub fn renaming_what_is_absent_is_not_found(case: &Case) {
    if case.caps().rename == Rename::No {
        return;
    }
    case.put(&path("dir/x"), b"x");
    assert_eq!(failure(case.rename(&path("a"), &path("b"), false, true)), Some(ErrorKind::NotFound));
    assert_eq!(failure(case.rename(&path("dir"), &path("b"), false, true)), Some(ErrorKind::NotFound));
    if case.caps().rename == Rename::Tree {
        assert_eq!(failure(case.rename(&path("a"), &path("b"), true, true)), Some(ErrorKind::NotFound));
    }
    assert_eq!(case.kind(&path("b")), None);
}

/// §2.2.
pub fn a_directory_is_made_once_and_lasts(case: &Case) {
    if !case.caps().branches {
        assert_eq!(failure(case.make(&path("a"))), Some(ErrorKind::Unsupported));
        return;
    }
    case.make(&path("a")).unwrap();
    case.make(&path("deep/er")).unwrap();
    case.put(&path("value"), b"v");
    case.put(&path("tree/x"), b"v");
    for taken in ["a", "deep", "deep/er", "value", "tree"] {
        assert_eq!(failure(case.make(&path(taken))), Some(ErrorKind::Exists), "{taken}");
    }
    assert_eq!(failure(case.make(&Key::root())), Some(ErrorKind::Exists));
    case.put(&path("a/x"), b"v");
    case.delete(&path("a/x"));
    assert_eq!(case.kind(&path("a")), Some(Kind::Branch), "its marker is there");
    case.delete(&path("tree/x"));
    let stays = case.caps().folders.then_some(Kind::Branch);
    assert_eq!(case.kind(&path("tree")), stays, "it had no marker");
}

/// §2.5.
pub fn only_an_empty_directory_is_removed(case: &Case) {
    if !case.caps().branches {
        return;
    }
    case.remove(&path("absent")).unwrap();
    case.make(&path("empty")).unwrap();
    case.remove(&path("empty")).unwrap();
    assert_eq!(case.kind(&path("empty")), None);
    case.make(&path("full")).unwrap();
    case.put(&path("full/x"), b"v");
    case.make(&path("above")).unwrap();
    case.make(&path("above/below")).unwrap();
    if !case.caps().folders {
        case.make(&path("valued")).unwrap();
    }
    case.put(&path("valued"), b"v");
    if !case.caps().folders {
        case.make(&path("marked")).unwrap();
        case.put(&path("marked/"), b"not only a marker");
    }
    let before = case.walk();
    let taken = ["full", "above", "valued", "marked"];
    for taken in &taken[..if case.caps().folders { 3 } else { 4 }] {
        assert_eq!(failure(case.remove(&path(taken))), Some(ErrorKind::NotEmpty), "{taken}");
    }
    assert_eq!(case.walk(), before);
    assert!(case.remove(&Key::root()).is_err());
    if case.caps().folders {
        return;
    }
    case.delete(&path("valued"));
    assert_eq!(case.kind(&path("valued")), Some(Kind::Branch), "its marker was kept");
}

pub fn a_read_only_store_refuses_every_change(case: &Case) {
    let case = case.another();
    case.put(&path("a"), b"v");
    let kept = case.lasts();
    let case = case.reopened(|opening| opening.read_only = true);
    assert!(!case.caps().write);
    let (a, b, body) = (path("a"), path("b"), Payload::new());
    let changes = [
        Change::Put { key: &a, body: &body, when: When::Always },
        Change::Delete { key: &a, when: When::Always },
        Change::Rename { from: &a, to: &b, tree: false, replace: true },
        Change::Branch { key: &b },
        Change::RemoveBranch { key: &b },
    ];
    for change in changes {
        assert_eq!(failure(case.store.apply(&mut [change])), Some(ErrorKind::ReadOnly));
    }
    assert_eq!(case.value(&a).is_some(), kept);
}

pub fn a_snapshot_stays_as_it_was(case: &Case) {
    case.put_all([&path("a"), &path("b/c")], b"old");
    let taken = Arc::clone(&case.store).snapshot();
    if !case.caps().snapshot {
        assert_eq!(failure(taken), Some(ErrorKind::Unsupported));
        return;
    }
    let snapshot = taken.unwrap();
    case.put_all([&path("a"), &path("new")], b"new");
    case.delete(&path("b/c"));
    let caps = snapshot.caps();
    assert!(caps.immutable && !caps.write);
    assert_eq!(bytes_of(&*snapshot.open(&path("a")).unwrap().unwrap()), b"old");
    assert_eq!(bytes_of(&*snapshot.open(&path("b/c")).unwrap().unwrap()), b"old");
    assert!(snapshot.stat(&path("new")).unwrap().is_none());
    let (key, body) = (path("a"), Payload::new());
    let put = Change::Put { key: &key, body: &body, when: When::Always };
    assert_eq!(failure(snapshot.apply(&mut [put])), Some(ErrorKind::ReadOnly));
    assert_eq!(case.value(&path("a")).unwrap(), b"new");
    snapshot.close().unwrap();
}

/// §4.2, §4.3.
pub fn what_was_put_is_there_when_opened_again(case: &Case) {
    let case = case.another();
    case.put_all([&path("a"), &path("b/c")], b"v");
    case.put(&path("large"), &vec![7; 2 << 20]);
    case.delete(&path("a"));
    let before = case.walk();
    let lasts = case.lasts();
    let again = case.reopened(|opening| opening.create = false);
    assert_eq!(again.walk(), if lasts { before } else { Default::default() });
}

/// §1.9: what `check_key` allows can be put, and what it refuses is refused in the same words.
pub fn a_key_is_checked_without_being_put(case: &Case) {
    let longest = case.caps().key_max as usize;
    let typed = Key::root().child(Segment { bytes: b"", word: kvfs::key::Word::Raw });
    let keys = [
        path("a"),
        path("a/b"),
        path("a/"),
        path("/"),
        key([b""]),
        key([b"\xFF\0"]),
        key([b"with/separator"]),
        long_key(case, longest),
        long_key(case, longest + 1),
        key([&vec![b'k'; longest - 1], b""]),
        key([&vec![b'k'; longest - 1], b"x"]),
        long_key(case, longest - 1).child(Segment::plain(b"")),
        long_key(case, longest - 2).child(Segment::plain(b"x")),
        typed,
        Key::root(),
    ];
    for key in keys {
        if case.caps().folders {
            // What is below a value cannot be there beside it.
            case.walk().keys().for_each(|key| case.delete(key));
            case.store.apply(&mut [Change::RemoveBranch { key: &path("a") }]).unwrap();
        }
        let checked = failure(case.store.check_key(&key));
        assert_eq!(checked, failure(case.try_put(&key, b"v", When::Always)), "{key:?}");
        assert_eq!(case.value(&key).is_some(), checked.is_none(), "{key:?}");
    }
    assert_eq!(case.store.raw_key(&path("a/b"), false), b"a/b");
    assert_eq!(case.store.raw_key(&path("a/b"), true), b"a/b/");
}

pub fn the_version_of_a_payload_is_the_version_of_its_value(case: &Case) {
    for value in [&b""[..], b"small", &vec![9; 3 << 20]] {
        let body = Payload::of(value).unwrap();
        case.put(&path("k"), value);
        if let Some(told) = case.store.version_of(&path("k"), &body).unwrap() {
            if !matches!(case.driver().location, Location::Server(_)) {
                assert_eq!(told, version(case, &path("k")));
                continue;
            }
            // A version may have several names: what counts is that a put stands on it, and on no other.
            let put = |value: &[u8]| case.try_put(&path("k"), value, When::Current(told.clone()));
            put(b"next").unwrap();
            assert_eq!(failure(put(b"again")), Some(ErrorKind::Stale));
        }
    }
}

/// §1.1.
pub fn another_separator_makes_other_names(case: &Case) {
    if case.caps().folders {
        return;
    }
    let mut separator: &[u8] = b"::";
    if case.caps().kind == "az" {
        // Azurite ends a common prefix behind the first character of the separator: it is refused, and no name is cut.
        let cut = case.another().reopened(|opening| opening.separator = Some(separator.to_vec()));
        cut.put(&key([b"a", b"b"]), b"v");
        let listed = cut.store.list(&Key::root(), &mut Cursor::default(), &mut |_| ControlFlow::Continue(()));
        assert_eq!(failure(listed), Some(ErrorKind::Unsupported));
        separator = b"|";
    }
    let case = case.another().reopened(|opening| opening.separator = Some(separator.to_vec()));
    let (nested, slashed) = (key([b"a", b"b/c", b":d"]), key([b"/"]));
    case.put_all([&nested, &slashed], b"v");
    assert_eq!(case.walk().into_keys().collect::<Vec<_>>(), [slashed, nested.clone()]);
    assert_eq!(case.store.raw_key(&nested, false), [b"a", separator, b"b/c", separator, b":d"].concat());
    let refused = failure(case.try_put(&key([&[b"x", separator, b"y"].concat()]), b"v", When::Always));
    assert_eq!(refused, Some(ErrorKind::Invalid));
}

/// §1.1.
pub fn without_a_separator_every_key_is_one_name(case: &Case) {
    if case.caps().folders {
        return;
    }
    let case = case.another().reopened(|opening| opening.separator = None);
    assert!(!case.caps().branches);
    let (one, other) = (key([b"a/b"]), key([b"a"]));
    case.put_all([&one, &other], b"v");
    assert_eq!(case.names(&Key::root()), [&b"a"[..], b"a/b"]);
    assert_eq!(case.kind(&other), Some(Kind::Leaf));
    assert_eq!(failure(case.try_put(&path("a/b"), b"v", When::Always)), Some(ErrorKind::Invalid));
    assert_eq!(failure(case.make(&path("dir"))), Some(ErrorKind::Unsupported));
    if case.caps().rename == Rename::Tree {
        case.rename(&other, &key([b"c"]), true, false).unwrap();
        assert_eq!(case.names(&Key::root()), [&b"a/b"[..], b"c"]);
    }
}

/// A watch tells of other programs: what this store did itself, the mount knows. A server tells of all.
pub fn its_own_changes_are_not_told(case: &Case) {
    if matches!(case.driver().location, Location::Server(_)) {
        return;
    }
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    let watch = case.store.watch(Arc::new(move |event| events.lock().unwrap().push(event)));
    if !case.caps().watch {
        assert_eq!(failure(watch), Some(ErrorKind::Unsupported));
        return;
    }
    let watch = watch.unwrap();
    for n in 0..20 {
        case.put(&path(&format!("{n}")), b"v");
    }
    case.store.sync().unwrap();
    drop(watch);
    assert_eq!(*told.lock().unwrap(), []);
}

/// §5.8.
pub fn usage_counts_keys(case: &Case) {
    let before = case.store.usage();
    case.put_all([&path("a"), &path("b/c")], b"v");
    case.store.sync().unwrap();
    let after = case.store.usage();
    assert!(before.total.zip(before.free).is_none_or(|(total, free)| free <= total));
    // It may be a little behind, since it is told from memory.
    if let (Some(before), Some(after)) = (before.keys, after.keys) {
        assert!((before..=before + 2).contains(&after), "{before} and 2 more are {after}");
    }
}
