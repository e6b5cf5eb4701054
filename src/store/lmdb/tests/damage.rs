//! Data files that are damaged, before they are opened and under an open store.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::*;
use crate::env::Deadline;

#[test]
fn promise_8_8_a_check_finds_damage_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    let logs = Key::root().child(Segment { bytes: b"logs", word: Word::Db });
    store.apply(&mut [Change::Branch { key: &logs }]).unwrap();
    let body = Payload::of(&[b'v'; 1500]).unwrap();
    for hundred in 0..140 {
        let keys: Vec<Key> = (0..100)
            .map(|one| logs.child(Segment::plain(format!("line {hundred:03}{one:02}").as_bytes())))
            .collect();
        let put = |key| Change::Put { key, body: &body, when: When::Always };
        store.apply(&mut keys.iter().map(put).collect::<Vec<_>>()).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let check = Opening { check: true, ..opening(folder.path()) };
    drop(open(&check).unwrap());
    let data_file = folder.path().join("data.mdb");
    let mut bytes = fs::read(&data_file).unwrap();
    assert!(bytes.len() > 20 << 20);
    // Also the page's earlier versions, which are free by now.
    for page in bytes.chunks_mut(4096) {
        if page.windows(10).any(|key| key == b"line 13950") {
            page[12] ^= 0x01;
        }
    }
    fs::write(&data_file, &bytes).unwrap();
    drop(open(&opening(folder.path())).unwrap());
    let error = open(&check).err().expect("it opened");
    assert_eq!(error.kind(), ErrorKind::Io);
    let sentence = error.to_string();
    for words in ["data.mdb", "damaged: page ", "of the database \"logs\""] {
        assert!(sentence.contains(words), "{sentence}");
    }
    // Also where this process has it open already.
    let _shared = open(&opening(folder.path())).unwrap();
    assert_eq!(open(&check).err().expect("it opened").kind(), ErrorKind::Io);
}

/// A store with small values and a large one, and its data file.
fn filled(path: &Path) -> (Arc<dyn Store>, File) {
    let store = open(&opening(path)).unwrap();
    put(&*store, "large", &vec![7; 1 << 20]).unwrap();
    for index in 0..100 {
        put(&*store, &format!("small/{index:03}"), &[b'v'; 1000]).unwrap();
    }
    (store, File::options().read(true).write(true).open(path.join("data.mdb")).unwrap())
}

/// Lets pass how long a look at the file counts.
fn until_the_last_look_is_old() {
    let old = Deadline::after(Duration::from_millis(2));
    while !old.passed() {
        std::thread::yield_now();
    }
}

fn damage(store: &dyn Store) -> Option<String> {
    store.facts().into_iter().find_map(|(name, value)| (name == "damage").then_some(value))
}

#[test]
fn promise_8_8_a_file_that_is_cut_under_the_store_is_an_error_and_not_the_end() {
    for pages in [0, 1, 2, 40] {
        let folder = tempfile::tempdir().unwrap();
        let (store, data_file) = filled(folder.path());
        let value = store.open(&key("large")).unwrap().unwrap();
        assert_eq!(damage(&*store), None);
        let usage = store.usage();
        data_file.set_len(pages * 4096).unwrap();
        until_the_last_look_is_old();
        let error = value.read(0, 4096, &mut |_| panic!("bytes that are not there")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(&format!("cut to {} bytes", pages * 4096)), "{error}");
        assert_eq!(store.stat(&key("small/000")).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(store.open(&key("large")).err().unwrap().kind(), ErrorKind::Io);
        let listed = store.list(&Key::root(), &mut Cursor::default(), &mut |_| ControlFlow::Continue(()));
        assert_eq!(listed.unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(put(&*store, "new", b"x").unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(damage(&*store), Some(error.to_string()));
        assert_eq!(store.usage(), usage);
        // Restored under the store, it is another file for all that is known.
        data_file.set_len(1 << 20).unwrap();
        assert!(store.stat(&key("small/000")).is_err());
        let _ = store.close();
        assert_eq!(data_file.metadata().unwrap().len(), 1 << 20, "nothing is written to what is left");
    }
}

#[test]
fn promise_8_8_a_snapshot_of_a_file_that_is_cut_is_an_error_too() {
    let folder = tempfile::tempdir().unwrap();
    let (store, data_file) = filled(folder.path());
    let snapshot = Arc::clone(&store).snapshot().unwrap();
    let value = snapshot.open(&key("large")).unwrap().unwrap();
    data_file.set_len(3 * 4096).unwrap();
    until_the_last_look_is_old();
    assert_eq!(snapshot.stat(&key("large")).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(value.version().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn promise_8_8_meta_pages_that_are_garbled_beside_a_commit_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, data_file) = filled(folder.path());
    load(folder.path(), &[], "by another program\nvalue\n");
    for page in 0..2 {
        data_file.write_all_at(&[0xA5; 100], page * 4096 + 40).unwrap();
    }
    let error = store.stat(&key("large")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("overwritten"), "{error}");
    assert_eq!(damage(&*store), Some(error.to_string()));
}

#[test]
fn a_file_whose_unused_end_is_cut_off_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (store, data_file) = filled(folder.path());
    let used = data_file.metadata().unwrap().len();
    // As a program with MDB_WRITEMAP leaves it, and cuts it when it opens it with a smaller map.
    data_file.set_len(used + (1 << 20)).unwrap();
    until_the_last_look_is_old();
    assert!(store.stat(&key("large")).unwrap().is_some());
    data_file.set_len(used).unwrap();
    until_the_last_look_is_old();
    assert_eq!(get(&*store, &key("large")).unwrap().len(), 1 << 20);
    assert_eq!(damage(&*store), None);
}
