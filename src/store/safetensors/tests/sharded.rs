//! A model of several files: what is written to it, a kill between any two steps of that, and links that lead elsewhere.

use std::fs;
use std::os::unix::fs::symlink;

use ::safetensors::tensor::Dtype;
use serde_json::Value as Json;

use super::*;
use crate::env::Folders;
use crate::error::ErrorKind;
use crate::spool::Spool;
use crate::store::safetensors::Safetensors;

const INDEX: &str = "model.safetensors.index.json";

/// Three files with tensors, the second with one that the index does not name.
fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, rows: &[Row<'_>]| fs::write(folder.path().join(name), file_of(rows, &[("file", name)]));
    write("1.safetensors", &[("a.x", Dtype::U8, &[2], b"ax"), ("a.y", Dtype::U8, &[2], b"ay")]).unwrap();
    write("2.safetensors", &[("b.x", Dtype::U8, &[2], b"bx"), ("hidden", Dtype::U8, &[1], b"h")]).unwrap();
    write("3.safetensors", &[("c.x", Dtype::U8, &[2], b"cx")]).unwrap();
    let index = r#"{
  "metadata": {"total_size": 8, "kind": "test"},
  "weight_map": {"a.x": "1.safetensors", "a.y": "1.safetensors", "b.x": "2.safetensors", "c.x": "3.safetensors"},
  "more": [1]
}"#;
    fs::write(folder.path().join(INDEX), index).unwrap();
    let path = folder.path().to_owned();
    Case { folder, path }
}

fn rename(store: &dyn Store, from: &str, to: &str) {
    let (from, to) = (key(from), key(to));
    store.apply(&mut [Change::Rename { from: &from, to: &to, tree: false, replace: true }]).unwrap();
}

fn delete(store: &dyn Store, path: &str) {
    store.apply(&mut [Change::Delete { key: &key(path), when: When::Always }]).unwrap();
}

/// Some changes of each kind, in all files.
fn change(store: &dyn Store) {
    put_bytes(store, "a/x.npy", b"AX!");
    put_bytes(store, "a/z.npy", b"az");
    rename(store, "a/y.npy", "b/x.npy");
    delete(store, "c/x.npy");
}

/// What the files say, read as any program would: the tensors by name with their file and bytes, and the index.
fn stored(case: &Case) -> (Vec<(String, String, Vec<u8>)>, Json) {
    let index: Json = serde_json::from_slice(&fs::read(case.path.join(INDEX)).unwrap()).unwrap();
    let found = index["weight_map"].as_object().unwrap().iter().map(|(name, file)| {
        let file = file.as_str().unwrap();
        let rows = rows_of(&fs::read(case.path.join(file)).unwrap());
        let (.., bytes) = rows.into_iter().find(|(own, ..)| own == name).unwrap();
        (name.clone(), file[..1].to_owned(), bytes)
    });
    (found.collect(), index)
}

fn check_changed(case: &Case) {
    let (found, index) = stored(case);
    let found: Vec<_> = found.iter().map(|(name, file, bytes)| (&**name, &**file, &**bytes)).collect();
    assert_eq!(found, [("a.x", "1", &b"AX!"[..]), ("a.z", "1", b"az"), ("b.x", "1", b"ay")]);
    assert_eq!(index["metadata"], serde_json::json!({"total_size": 7, "kind": "test"}));
    assert_eq!(index["more"], serde_json::json!([1]));
    let rows = rows_of(&fs::read(case.path.join("2.safetensors")).unwrap());
    assert_eq!(rows, [("hidden".to_owned(), Dtype::U8, vec![1], b"h".to_vec())], "it stays");
    assert_eq!(rows_of(&fs::read(case.path.join("3.safetensors")).unwrap()), []);
}

/// The same of the mount.
fn check_shown(store: &dyn Store) {
    let shown = all(store, &Key::root());
    let shown: Vec<_> = shown.iter().map(|(path, file)| (&**path, &file[128..])).collect();
    assert_eq!(shown, [("a/x.npy", &b"AX!"[..]), ("a/z.npy", b"az"), ("b/x.npy", b"ay")]);
}

/// The store itself, to stop it in the midst of a commit.
fn open_itself(case: &Case) -> Safetensors {
    let opening =
        Opening { location: Some(case.path.clone()), separator: Some(b".".to_vec()), ..Opening::default() };
    super::super::open_model(&opening).unwrap()
}

fn journals(case: &Case) -> usize {
    let path = |name: &str| fs::canonicalize(case.path.join(name)).unwrap().display().to_string();
    let names = [INDEX, "1.safetensors", "2.safetensors", "3.safetensors"];
    let state = &Folders::get().state;
    names.iter().filter(|name| crate::store::safetensors::journal::exists(state, &path(name))).count()
}

#[test]
fn every_file_of_a_sharded_model_is_written_and_the_index_last() {
    let case = case();
    let untouched = fs::metadata(case.path.join("2.safetensors")).unwrap().modified().unwrap();
    let store = case.open();
    put_bytes(&*store, "a/x.npy", b"AX");
    store.sync().unwrap();
    let index = stored(&case).1;
    assert_eq!(index["weight_map"].as_object().unwrap().len(), 4);
    assert_eq!(fs::metadata(case.path.join("2.safetensors")).unwrap().modified().unwrap(), untouched);
    change(&*store);
    check_shown(&*store);
    let header = value(&*store, "%header.json").unwrap();
    store.close().unwrap();
    drop(store);
    check_changed(&case);
    assert_eq!(fs::read(case.path.join(INDEX)).unwrap(), header);
    assert_eq!(journals(&case), 0);
    check_shown(&*case.open());
}

#[test]
fn promise_8_3_a_kill_between_any_two_steps_is_carried_on_at_the_next_mount() {
    // 1, 2, 3, the index, the journal.
    for stop in 0..=4 {
        let case = case();
        let store = open_itself(&case);
        change(&store);
        let stopped = store.model.commit_watched(&|step| {
            if step == stop { Err(Error::new(ErrorKind::Io, "killed")) } else { Ok(()) }
        });
        assert_eq!(kind(stopped), Some(ErrorKind::Io));
        check_shown(&store);
        drop(store);
        assert_eq!(journals(&case), 1, "{stop}");
        if stop == 2 {
            // One that cannot write says what the matter is.
            let opening =
                Opening { location: Some(case.path.clone()), read_only: true, ..Opening::default() };
            let told = super::super::open(&opening).map(drop).unwrap_err().to_string();
            assert!(told.contains("can write"), "{told}");
        }
        let store = case.open();
        check_shown(&*store);
        if stop > 0 {
            check_changed(&case);
        }
        store.close().unwrap();
        check_changed(&case);
        assert_eq!(journals(&case), 0, "{stop}");
        check_shown(&*case.open());
    }
}

#[test]
fn a_commit_that_fails_half_way_is_ended_before_anything_else_is_changed() {
    for stop in 1..=4 {
        let case = case();
        let store = open_itself(&case);
        change(&store);
        let stopped = store.model.commit_watched(&|step| {
            if step == stop { Err(Error::new(ErrorKind::NoSpace, "full")) } else { Ok(()) }
        });
        assert_eq!(kind(stopped), Some(ErrorKind::NoSpace));
        put_bytes(&store, "a/more.npy", b"m");
        check_changed(&case);
        drop(store);
        let store = case.open();
        delete(&*store, "a/more.npy");
        store.close().unwrap();
        check_changed(&case);
    }
}

#[test]
fn a_mount_of_one_file_and_one_of_the_model_keep_each_other_out() {
    let case = case();
    let one = case.path.join("2.safetensors");
    let store = case.open();
    assert_eq!(kind(open(&one, None).map(drop)), Some(ErrorKind::Busy));
    drop(store);
    let alone = open(&one, None).unwrap();
    assert_eq!(kind(open(&case.path, None).map(drop)), Some(ErrorKind::Busy));
    put_bytes(&*alone, "new.npy", b"n");
    drop(alone);
    // What waits for the file alone is not lost by a mount of the model.
    let told = open(&case.path, None).map(drop).unwrap_err().to_string();
    assert!(told.contains("alone first"), "{told}");
    open(&one, None).unwrap().close().unwrap();
    assert_eq!(all(&*case.open(), &Key::root()).len(), 4);
}

#[test]
fn what_the_index_does_not_name_is_never_overwritten() {
    let case = case();
    let store = case.open();
    let (from, to) = (key("b/x.npy"), key("hidden.npy"));
    let renamed = store.apply(&mut [Change::Rename { from: &from, to: &to, tree: false, replace: true }]);
    assert_eq!(kind(renamed), Some(ErrorKind::Exists));
    // A new one goes to another file.
    put_bytes(&*store, "hidden.npy", b"new");
    store.close().unwrap();
    let (found, _) = stored(&case);
    assert!(found.iter().any(|(name, file, bytes)| name == "hidden" && file != "2" && bytes == b"new"));
    let rows = rows_of(&fs::read(case.path.join("2.safetensors")).unwrap());
    assert!(rows.iter().any(|(name, .., bytes)| name == "hidden" && bytes == b"h"));
}

#[test]
fn what_another_program_came_before_in_one_file_is_kept_elsewhere() {
    let case = case();
    let store = open_itself(&case);
    change(&store);
    let stopped =
        store.model.commit_watched(&|step| if step == 1 { Err(ErrorKind::Io.into()) } else { Ok(()) });
    assert_eq!(kind(stopped), Some(ErrorKind::Io));
    drop(store);
    let beside = case.path.join("beside");
    fs::write(&beside, file_of(&[("c.x", Dtype::U8, &[1], b"o")], &[])).unwrap();
    fs::rename(&beside, case.path.join("3.safetensors")).unwrap();
    let spool = Spool::of_user();
    let source = format!("safetensors:{}", case.path.display());
    // What is in the first file, which is new, is named by the index now.
    let store = open(&case.path, Some(".")).unwrap();
    let kept: Vec<_> = spool.list().unwrap().into_iter().filter(|kept| kept.store == source).collect();
    assert!(kept.iter().all(|kept| kept.deletion) && kept.len() == 2, "{kept:?}");
    kept.iter().for_each(|kept| spool.remove(&kept.id).unwrap());
    assert_eq!(all(&*store, &Key::root()).keys().collect::<Vec<_>>(), ["a/x.npy", "a/z.npy", "b/x.npy"]);
    drop(store);
    let rows = rows_of(&fs::read(case.path.join("1.safetensors")).unwrap());
    let rows: Vec<_> = rows.iter().map(|(name, .., bytes)| (&**name, &**bytes)).collect();
    assert_eq!(rows, [("a.x", &b"AX!"[..]), ("b.x", b"ay"), ("a.z", b"az")]);
}

#[test]
fn links_of_a_sharded_model_are_followed_and_kept() {
    let case = case();
    let elsewhere = tempfile::tempdir().unwrap();
    for name in [INDEX, "1.safetensors"] {
        fs::rename(case.path.join(name), elsewhere.path().join(name)).unwrap();
        symlink(elsewhere.path().join(name), case.path.join(name)).unwrap();
    }
    let store = case.open();
    change(&*store);
    store.close().unwrap();
    check_changed(&case);
    assert!(case.path.join("1.safetensors").is_symlink() && case.path.join(INDEX).is_symlink());
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_and_who_reads_keeps_the_old_file() {
    let case = Case::new(&[("a", Dtype::U8, &[3], b"one")]);
    let two = case.folder.path().join("two");
    fs::write(&two, file_of(&[("a", Dtype::U8, &[3], b"two"), ("b", Dtype::U8, &[1], b"b")], &[])).unwrap();
    let link = case.folder.path().join("link.safetensors");
    symlink("model.safetensors", &link).unwrap();
    let point_to = |name: &str| {
        let new = case.folder.path().join("new-link");
        symlink(name, &new).unwrap();
        fs::rename(&new, &link).unwrap();
    };
    let store = open(&link, None).unwrap();
    let held = store.open(&key("a.npy")).unwrap().unwrap();
    let before = store.stat(&key("a.npy")).unwrap().unwrap().modified;
    // Of the time of the first, to a tick of the clock: the link tells that something changed.
    let modified = fs::metadata(&case.path).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&two).unwrap().set_modified(modified).unwrap();
    std::thread::park_timeout(std::time::Duration::from_millis(20));
    point_to("two");
    assert!(store.stat(&key("a.npy")).unwrap().unwrap().modified > before);
    assert!(value(&*store, "a.npy").unwrap().ends_with(b"two"));
    assert!(bytes_of(&*held).unwrap().ends_with(b"one"));
    // What is written goes to the file that it leads to, whose lock is this mount's now.
    assert_eq!(kind(open(&two, None).map(drop)), Some(ErrorKind::Busy));
    drop(open(&case.path, None).unwrap());
    put_bytes(&*store, "a.npy", b"new");
    store.sync().unwrap();
    assert!(link.is_symlink() && fs::read(&two).unwrap().ends_with(b"newb"));
    assert!(fs::read(&case.path).unwrap().ends_with(b"one"));
    // What was changed and not written is kept, when it leads elsewhere again.
    put_bytes(&*store, "a.npy", b"kept");
    point_to("model.safetensors");
    assert_eq!(kind(store.sync()), Some(ErrorKind::Stale));
    let spool = Spool::of_user();
    let source = format!("safetensors:{}", link.display());
    let kept: Vec<_> = spool.list().unwrap().into_iter().filter(|kept| kept.store == source).collect();
    assert_eq!(kept.len(), 1);
    spool.remove(&kept[0].id).unwrap();
    // To a file that cannot be written, it is read-only from then on.
    fs::create_dir(case.folder.path().join("blobs")).unwrap();
    fs::rename(&two, case.folder.path().join("blobs/two")).unwrap();
    point_to("blobs/two");
    assert!(value(&*store, "a.npy").unwrap().ends_with(b"new"));
    assert_eq!(kind(put(&*store, "x.npy", &npy("'|u1'", "False", "()", &[0]))), Some(ErrorKind::ReadOnly));
    store.close().unwrap();
}
