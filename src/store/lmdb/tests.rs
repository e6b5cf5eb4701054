//! The store against itself and against LMDB's own tools.

mod damage;
mod limits;
mod moments;
mod shapes;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{Change, Cursor, Kind, When};
use crate::store::driver::Commit;

/// How the tests open an environment.
pub(super) fn opening(path: &Path) -> Opening {
    Opening {
        location: Some(path.into()),
        commit: Commit::Close,
        timeout: Duration::from_secs(10),
        ..Opening::default()
    }
}

pub(super) fn key(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

pub(super) fn put(store: &dyn Store, path: &str, bytes: &[u8]) -> Result<()> {
    let body = Payload::of(bytes)?;
    store.apply(&mut [Change::Put { key: &key(path), body: &body, when: When::Always }])
}

pub(super) fn get(store: &dyn Store, key: &Key) -> Option<Vec<u8>> {
    let value = store.open(key).unwrap()?;
    let mut bytes = Vec::new();
    value.read(0, u64::MAX, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    assert_eq!(bytes.len() as u64, value.len());
    Some(bytes)
}

pub(super) fn names(store: &dyn Store, dir: &Key) -> Vec<(String, Kind)> {
    let mut names = Vec::new();
    let mut cursor = Cursor::default();
    while !cursor.done {
        store
            .list(dir, &mut cursor, &mut |entry| {
                names.push((format!("{:?}", entry.segment), entry.stat.kind));
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    names
}

/// What `mdb_dump -p` prints of the main database, or of a named one.
pub(super) fn dump(path: &Path, name: Option<&str>) -> String {
    let mut command = Command::new("mdb_dump");
    command.arg("-p");
    if path.is_file() {
        command.arg("-n");
    }
    if let Some(name) = name {
        command.args(["-s", name]);
    }
    let output = command.arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Loads keys and values, in turn, by `mdb_load -T`.
pub(super) fn load(path: &Path, arguments: &[&str], lines: &str) {
    let mut command = Command::new("mdb_load");
    command.args(arguments).arg("-T").arg(path).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_is_written_is_plain_to_other_programs_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "a/b", b"one").unwrap();
    put(&*store, "a", b"two").unwrap();
    put(&*store, "large", &vec![7; 3 << 20]).unwrap();
    let dumped = dump(folder.path(), None);
    assert!(dumped.contains(" a/b\n one\n"), "{dumped}");
    load(folder.path(), &[], "c/d\nthree\na/b\nfour\n");
    assert_eq!(get(&*store, &key("c/d")).unwrap(), b"three");
    assert_eq!(get(&*store, &key("a/b")).unwrap(), b"four");
    assert_eq!(get(&*store, &key("large")).unwrap().len(), 3 << 20);
    assert_eq!(store.stat(&key("a")).unwrap().unwrap().kind, Kind::Both);
    let listed = names(&*store, &Key::root());
    assert_eq!(listed.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["\"a\"", "\"c\"", "\"large\""]);
}

#[test]
fn a_batch_is_carried_out_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "there", b"1").unwrap();
    let body = Payload::of(b"new").unwrap();
    let error = store
        .apply(&mut [
            Change::Put { key: &key("x"), body: &body, when: When::Always },
            Change::Put { key: &key("there"), body: &body, when: When::Absent },
        ])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert_eq!(store.stat(&key("x")).unwrap(), None);
    assert_eq!(get(&*store, &key("there")).unwrap(), b"1");
}

#[test]
fn a_tree_is_renamed_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    for index in 0..300 {
        put(&*store, &format!("old/{index:03}"), &vec![b'v'; index * 30]).unwrap();
    }
    store
        .apply(&mut [Change::Rename { from: &key("old"), to: &key("new"), tree: true, replace: false }])
        .unwrap();
    assert_eq!(store.stat(&key("old")).unwrap(), None);
    assert_eq!(names(&*store, &key("new")).len(), 300);
    assert_eq!(get(&*store, &key("new/299")).unwrap(), vec![b'v'; 299 * 30]);
}
