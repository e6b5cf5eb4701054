use super::*;
use crate::store::driver::{Commit, Opening};

fn key(path: &str) -> Key {
    Key::of(path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes))
}

const USUAL: Usual = Usual { mode: 0o644, uid: 0, gid: 0 };

/// A store in memory, and the layer over it.
fn layers() -> (Arc<dyn Store>, Scratch) {
    let opening = Opening { commit: Commit::Close, ..Opening::default() };
    let store = (crate::store::memory::DRIVER.open)(&opening).unwrap();
    (Arc::clone(&store), Scratch::new(store, ScratchNames::usual(), USUAL))
}

fn put(store: &dyn Store, path: &str, bytes: &str) -> Result<()> {
    put_when(store, path, bytes, When::Always)
}

fn put_when(store: &dyn Store, path: &str, bytes: &str, when: When) -> Result<()> {
    let (key, body) = (key(path), Payload::of(bytes.as_bytes())?);
    store.apply(&mut [Change::Put { key: &key, body: &body, when }])
}

fn read(store: &dyn Store, path: &str) -> Option<String> {
    let value = store.open(&key(path)).unwrap()?;
    let mut bytes = Vec::new();
    value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

fn rename(store: &dyn Store, from: &str, to: &str, tree: bool, replace: bool) -> Result<()> {
    let (from, to) = (key(from), key(to));
    store.apply(&mut [Change::Rename { from: &from, to: &to, tree, replace }])
}

/// The names in a directory, `most` at a time.
fn names(store: &dyn Store, dir: &str, most: usize) -> Vec<String> {
    let (mut from, mut names) = (Cursor::default(), Vec::new());
    while !from.done {
        let mut given = 0;
        store
            .list(&key(dir), &mut from, &mut |entry| {
                if given == most {
                    return ControlFlow::Break(());
                }
                given += 1;
                names.push(entry.segment.bytes.escape_ascii().to_string());
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    names.sort();
    names
}

#[test]
fn promise_4_7_scratch_lives_in_the_mount_until_it_is_renamed() {
    let (store, layer) = layers();
    put(&layer, "d/.a.swp", "swap").unwrap();
    put(&layer, "d/sedAbCdEf", "new").unwrap();
    put(&layer, "d/a", "old").unwrap();
    for most in [1, 2, 9] {
        assert_eq!(names(&layer, "d", most), [".a.swp", "a", "sedAbCdEf"]);
    }
    assert_eq!(names(&*store, "d", 9), ["a"]);
    assert_eq!(read(&layer, "d/.a.swp").as_deref(), Some("swap"));
    rename(&layer, "d/sedAbCdEf", "d/a", false, true).unwrap();
    assert_eq!(
        (read(&*store, "d/a").as_deref(), names(&layer, "d", 9)),
        (Some("new"), vec![".a.swp".into(), "a".into()])
    );
    assert!(layer.lost_at_end()[0].contains("1 with 4 bytes: d/.a.swp"), "{:?}", layer.lost_at_end());
    let path = key("d/.a.swp");
    layer.apply(&mut [Change::Delete { key: &path, when: When::Always }]).unwrap();
    assert!(layer.lost_at_end().is_empty() && layer.facts().iter().all(|(name, _)| *name != "scratch files"));
}

#[test]
fn promise_4_7_keys_that_are_there_stay_files() {
    let (store, layer) = layers();
    put(&*store, "old~", "theirs").unwrap();
    put(&layer, "old~", "ours").unwrap();
    assert_eq!(read(&*store, "old~").as_deref(), Some("ours"));
    // A file that takes such a name is no scratch: it must not be lost with the mount.
    put(&layer, "notes", "kept").unwrap();
    put(&layer, "notes~", "scratch").unwrap();
    rename(&layer, "notes", "notes~", false, true).unwrap();
    assert_eq!(read(&*store, "notes~").as_deref(), Some("kept"));
    assert_eq!(names(&layer, "", 9), ["notes~", "old~"]);
    assert!(layer.lost_at_end().is_empty());
}

#[test]
fn what_is_refused_stays_scratch() {
    let (store, layer) = layers();
    put(&*store, "a", "there").unwrap();
    put(&layer, ".a.AbCdEf", "new").unwrap();
    let exists = |outcome: Result<()>| assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Exists);
    exists(rename(&layer, ".a.AbCdEf", "a", false, false));
    exists(put_when(&layer, ".a.AbCdEf", "other", When::Absent));
    assert_eq!(
        (read(&layer, ".a.AbCdEf").as_deref(), read(&*store, "a").as_deref()),
        (Some("new"), Some("there"))
    );
    rename(&layer, ".a.AbCdEf", ".b.AbCdEf", false, false).unwrap();
    assert_eq!(names(&layer, "", 9), [".b.AbCdEf", "a"]);
}

#[test]
fn directories_with_scratch_are_not_empty_and_take_it_along() {
    let (store, layer) = layers();
    for (dir, in_store) in [("d", true), ("only", false)] {
        if in_store {
            put(&*store, &format!("{dir}/x"), "x").unwrap();
        }
        put(&layer, &format!("{dir}/e/4913"), "1").unwrap();
        let path = key(&format!("{dir}/e"));
        let removed = layer.apply(&mut [Change::RemoveBranch { key: &path }]);
        assert_eq!(removed.unwrap_err().kind(), ErrorKind::NotEmpty);
        assert_eq!(layer.stat(&path).unwrap().unwrap().kind, Kind::Branch);
        rename(&layer, dir, &format!("{dir}2"), true, false).unwrap();
        assert_eq!(read(&layer, &format!("{dir}2/e/4913")).as_deref(), Some("1"));
        assert!(layer.stat(&path).unwrap().is_none());
    }
}

#[test]
fn attributes_and_links_live_with_it() {
    let (_store, layer) = layers();
    let link = key(".#notes");
    let setting = Setting { mode: Some(0o600), uid: Some(7), ..Setting::default() };
    layer
        .apply(&mut [
            Change::Make { key: &link, file_type: FileType::Symlink, target: b"me@here" },
            Change::Set { key: &link, directory: false, attributes: &setting },
        ])
        .unwrap();
    let stat = layer.stat(&link).unwrap().unwrap();
    assert_eq!(
        (stat.file.file_type, stat.file.mode, stat.file.uid),
        (FileType::Symlink, Some(0o600), Some(7))
    );
    assert_eq!(read(&layer, ".#notes").as_deref(), Some("me@here"));
    let value = layer.open(&link).unwrap().unwrap();
    let xattr = Setting {
        xattrs: [(Box::from(&b"user.x"[..]), Some(Box::from(&b"1"[..])))].into(),
        ..Setting::default()
    };
    layer.apply(&mut [Change::Set { key: &link, directory: false, attributes: &xattr }]).unwrap();
    assert_eq!(layer.xattrs(&link, false).unwrap().len(), 1);
    assert_eq!(value.len(), 7);
}

#[test]
fn what_is_long_is_put_under_its_own_name() {
    let (store, layer) = layers();
    put(&layer, ".a.AbCdEf", "short").unwrap();
    let long = "x".repeat(LONGEST as usize + 1);
    put(&layer, ".a.AbCdEf", &long).unwrap();
    assert_eq!(read(&*store, ".a.AbCdEf").map(|bytes| bytes.len()), Some(long.len()));
    assert!(layer.lost_at_end().is_empty());
    rename(&layer, ".a.AbCdEf", "a", false, true).unwrap();
    assert_eq!(names(&*store, "", 9), ["a"]);
}

#[test]
fn scratch_has_its_own_mode_and_links_replace_what_is_there() {
    let opening = Opening { commit: Commit::Close, ..Opening::default() };
    let driver = &crate::store::memory::DRIVER;
    let (store, home) = ((driver.open)(&opening).unwrap(), (driver.sidecar)(&opening).unwrap().unwrap());
    let store: Arc<dyn Store> =
        Arc::new(crate::layer::attrs::Attrs::new(store, home, opening.separator.clone()).unwrap());
    let layer = Scratch::new(Arc::clone(&store), ScratchNames::usual(), USUAL);
    put(&layer, "a", "old").unwrap();
    let private = Setting { mode: Some(0o600), ..Setting::default() };
    let path = key("a");
    layer.apply(&mut [Change::Set { key: &path, directory: false, attributes: &private }]).unwrap();
    put(&layer, ".a.AbCdEf", "new").unwrap();
    rename(&layer, ".a.AbCdEf", "a", false, true).unwrap();
    assert_eq!(store.stat(&path).unwrap().unwrap().file.mode, Some(0o644));
    let link = key(".a.GhIjKl");
    layer.apply(&mut [Change::Make { key: &link, file_type: FileType::Symlink, target: b"there" }]).unwrap();
    assert_eq!(rename(&layer, ".a.GhIjKl", "a", false, false).unwrap_err().kind(), ErrorKind::Exists);
    rename(&layer, ".a.GhIjKl", "a", false, true).unwrap();
    assert_eq!(store.stat(&path).unwrap().unwrap().file.file_type, FileType::Symlink);
    assert_eq!((read(&*store, "a").as_deref(), names(&layer, "", 9)), (Some("there"), vec!["a".to_owned()]));
}

#[test]
fn scratch_changes_places_with_nothing() {
    let (store, layer) = layers();
    put(&layer, "a", "file").unwrap();
    put(&layer, "b~", "scratch").unwrap();
    let (a, b, unused) = (key("a"), key("b~"), key("unused"));
    let rename = |from, to| Change::Rename { from, to, tree: false, replace: false };
    let refused = layer.apply(&mut [rename(&a, &unused), rename(&b, &a), rename(&unused, &b)]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(
        (names(&*store, "", 9), read(&layer, "b~").as_deref()),
        (vec!["a".to_owned()], Some("scratch"))
    );
}

#[test]
fn scratch_outlives_a_rename_onto_it_that_fails() {
    let (store, layer) = layers();
    put(&layer, "a~", "scratch").unwrap();
    assert_eq!(rename(&layer, "absent", "a~", false, true).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(read(&layer, "a~").as_deref(), Some("scratch"));
    put(&layer, "a", "file").unwrap();
    rename(&layer, "a", "a~", false, true).unwrap();
    assert_eq!((read(&layer, "a~").as_deref(), names(&*store, "", 9)), (Some("file"), vec!["a~".to_owned()]));
}

#[test]
fn what_the_store_has_changes_places_whatever_it_is_called() {
    let (store, layer) = layers();
    put(&*store, "a", "1").unwrap();
    put(&*store, "b~", "2").unwrap();
    let (a, b, unused) = (key("a"), key("b~"), key("unused"));
    let rename = |from, to| Change::Rename { from, to, tree: false, replace: false };
    layer.apply(&mut [rename(&a, &unused), rename(&b, &a), rename(&unused, &b)]).unwrap();
    assert_eq!((read(&*store, "a").as_deref(), read(&*store, "b~").as_deref()), (Some("2"), Some("1")));
}

#[test]
fn there_are_only_so_many() {
    let (store, layer) = layers();
    for number in 0..MOST + 5 {
        put(&layer, &format!("{number}~"), "x").unwrap();
    }
    assert_eq!((names(&*store, "", 9).len(), names(&layer, "", 99).len()), (5, MOST + 5));
}

#[test]
fn promise_4_7_scratch_has_links_and_attributes_in_a_store_that_keeps_none() {
    let (store, layer) = layers();
    let keeps = |path: &str, directory| layer.keeps_attributes(&key(path), directory).unwrap();
    put(&*store, "old~", "theirs").unwrap();
    assert!(keeps(".#a", false) && !keeps(".#a", true) && !keeps("a", false) && !keeps("old~", false));
    let setting = Setting { mode: Some(0o600), ..Setting::default() };
    fn set<'c>(key: &'c Key, attributes: &'c Setting) -> Change<'c> {
        Change::Set { key, directory: false, attributes }
    }
    let (link, new, a) = (key(".#a"), key(".a.AbCdEf"), key("a"));
    let make = Change::Make { key: &link, file_type: FileType::Symlink, target: b"me@here" };
    layer.apply(&mut [make, set(&link, &setting)]).unwrap();
    assert_eq!(layer.stat(&link).unwrap().unwrap().file.file_type, FileType::Symlink);
    // A link of a file's name is none that the store could have: it stays what it was, and so does what is there.
    for there in [false, true] {
        let refused = rename(&layer, ".#a", "a", false, true).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotPermitted);
        assert_eq!(
            (read(&layer, ".#a").as_deref(), store.open(&a).unwrap().is_some()),
            (Some("me@here"), there)
        );
        put(&*store, "a", "old").unwrap();
    }
    put(&layer, ".a.AbCdEf", "new").unwrap();
    layer.apply(&mut [set(&new, &setting)]).unwrap();
    assert_eq!(layer.stat(&new).unwrap().unwrap().file.mode, Some(0o600));
    rename(&layer, ".a.AbCdEf", "a", false, true).unwrap();
    assert_eq!(
        (read(&*store, "a").as_deref(), store.stat(&a).unwrap().unwrap().file.mode),
        (Some("new"), None)
    );
    // What becomes the store's is set nothing that it has no place for.
    let long = Payload::of("x".repeat(LONGEST as usize + 1).as_bytes()).unwrap();
    let put = Change::Put { key: &new, body: &long, when: When::Always };
    layer.apply(&mut [put, set(&new, &setting)]).unwrap();
    let (taken, moved) =
        (key("a~"), Change::Rename { from: &a, to: &key("a~"), tree: false, replace: false });
    layer.apply(&mut [moved, set(&taken, &setting)]).unwrap();
    assert_eq!(names(&*store, "", 9), [".a.AbCdEf", "a~", "old~"]);
}
