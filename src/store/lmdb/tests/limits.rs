//! What is refused: files that are no environments, full maps, disks and reader tables, other programs' growth.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::lmdb::check::Extent;
use crate::store::lmdb::engine::Terms;

/// A store with a map of this many bytes.
fn with_map(path: &Path, map_size: u64) -> Arc<dyn Store> {
    let terms = Terms {
        read_only: false,
        create: true,
        extent: Extent::First,
        map_size: Some(map_size),
        timeout: Duration::from_secs(10),
    };
    let engine = Engine::open(path, terms, &opening(path)).unwrap();
    Arc::new(Lmdb::new(engine, Moment::Live, caps(), Some(b"/".to_vec())).unwrap())
}

fn refusal(path: &Path) -> crate::error::Error {
    open(&opening(path)).err().expect("it opened")
}

#[test]
fn what_is_not_an_environment_is_named_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "hello\n").unwrap();
    assert!(refusal(&text).to_string().contains("text"));
    let error = refusal(folder.path());
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("notes.txt"), "{error}");
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    for (bytes, words) in [(&b""[..], "empty"), (b"SQLite format 3\0....", "SQLite"), (&[0; 9000], "zeros")] {
        fs::write(store.join("data.mdb"), bytes).unwrap();
        let error = refusal(&store);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(fs::read(store.join("data.mdb")).unwrap(), bytes);
        assert!(!store.join("lock.mdb").exists());
    }
    let missing = folder.path().join("no/parent");
    assert_eq!(refusal(&missing).kind(), ErrorKind::NotFound);
    assert!(!folder.path().join("no").exists());
    let unmade = Opening { create: false, ..opening(&folder.path().join("unmade")) };
    assert_eq!(open(&unmade).err().unwrap().kind(), ErrorKind::NotFound);
    assert!(!folder.path().join("unmade").exists());
}

#[test]
fn truncated_and_random_files_are_refused_or_fail_without_harm() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let store = open(&opening(&whole)).unwrap();
    for index in 0..300 {
        put(&*store, &format!("{index:04}"), &vec![b'v'; 1000]).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    let bytes = fs::read(whole.join("data.mdb")).unwrap();
    let broken = folder.path().join("broken");
    for length in (1..bytes.len()).step_by(3331) {
        fs::create_dir_all(&broken).unwrap();
        fs::write(broken.join("data.mdb"), &bytes[..length]).unwrap();
        let _ = fs::remove_file(broken.join("lock.mdb"));
        match open(&opening(&broken)) {
            Err(error) => {
                assert!(error.to_string().contains("data.mdb"), "{length}: {error}");
                assert!(!broken.join("lock.mdb").exists(), "{length}");
            }
            Ok(store) => {
                // Only free pages were cut off.
                assert!(length > bytes.len() / 2);
                assert_eq!(names(&*store, &Key::root()).len(), 300);
            }
        }
    }
    // Pseudo-random garbage behind good meta pages, one page at a time.
    let mut state = 88172645463325252u64;
    for page in 2..(bytes.len() / 4096).min(40) {
        let mut garbled = bytes.clone();
        for byte in &mut garbled[page * 4096..(page + 1) * 4096] {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        fs::write(broken.join("data.mdb"), &garbled).unwrap();
        let _ = fs::remove_file(broken.join("lock.mdb"));
        match open(&opening(&broken)) {
            Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
            Ok(store) => {
                // A page that nothing refers to.
                assert_eq!(names(&*store, &Key::root()).len(), 300, "page {page}");
            }
        }
    }
}

#[test]
fn a_full_map_is_no_space_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_map(folder.path(), 1 << 20);
    put(&*store, "a", b"1").unwrap();
    let error = put(&*store, "large", &vec![0; 2 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(store.stat(&key("large")).unwrap(), None);
    put(&*store, "b", b"2").unwrap();
    assert_eq!(get(&*store, &key("a")).unwrap(), b"1");
    assert_eq!(get(&*store, &key("b")).unwrap(), b"2");
}

#[test]
fn the_map_size_that_other_programs_see_stays_theirs() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), &[], "a\n1\n");
    let recorded = || {
        let output = Command::new("mdb_stat").arg("-e").arg(folder.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.trim().strip_prefix("Map size: ")?.parse::<u64>().ok()).unwrap()
    };
    let before = recorded();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "b", b"2").unwrap();
    assert!(recorded() > before, "while we have it open it is ours");
    store.close().unwrap();
    assert_eq!(recorded(), before);
    drop(store);
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "large", &vec![1; 4 << 20]).unwrap();
    drop(store);
    assert!(recorded() > 4 << 20 && recorded() < 64 << 20, "{}", recorded());
    let store = open(&opening(folder.path())).unwrap();
    assert_eq!(get(&*store, &key("large")).unwrap().len(), 4 << 20);
}

#[test]
fn data_that_another_program_grew_beyond_our_map_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_map(folder.path(), 1 << 20);
    put(&*store, "a", &vec![7; 100 << 10]).unwrap();
    store.sync().unwrap();
    let open_value = store.open(&key("a")).unwrap().unwrap();
    let mut text = "VERSION=3\nformat=print\ntype=btree\nmapsize=104857600\nHEADER=END\n".to_owned();
    for index in 0..2000 {
        text += &format!(" theirs{index:04}\n {}\n", "x".repeat(2000));
    }
    text += "DATA=END\n";
    let mut child = Command::new("mdb_load").arg(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(get(&*store, &key("theirs1999")).unwrap().len(), 2000);
    put(&*store, "b", b"2").unwrap();
    assert_eq!(get(&*store, &key("b")).unwrap(), b"2");
    open_value.read(0, u64::MAX, &mut |bytes| assert_eq!(bytes, vec![7; 100 << 10])).unwrap();
}

#[test]
fn a_full_reader_table_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "a", b"1").unwrap();
    let mut snapshots = Vec::new();
    let error = loop {
        match Arc::clone(&store).snapshot() {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) => break error,
        }
        assert!(snapshots.len() < 1000);
    };
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.to_string().contains("reader slots"), "{error}");
    assert!(snapshots.len() > 100);
    snapshots.clear();
    assert_eq!(get(&*store, &key("a")).unwrap(), b"1");
}

#[test]
fn keys_and_values_over_the_limits_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, &"k".repeat(511), b"1").unwrap();
    assert_eq!(put(&*store, &"k".repeat(512), b"1").unwrap_err().kind(), ErrorKind::NameTooLong);
    assert_eq!(store.stat(&key(&"k".repeat(512))).unwrap(), None);
    assert_eq!(put(&*store, "", b"1").unwrap_err().kind(), ErrorKind::NameEncoding);
    assert_eq!(store.stat(&key("")).unwrap(), None);
    let long = Key::root().child(Segment { bytes: &[b'n'; 512], word: Word::Db });
    assert_eq!(store.apply(&mut [Change::Branch { key: &long }]).unwrap_err().kind(), ErrorKind::NameTooLong);
    let other = Key::root().child(Segment { bytes: b"n", word: Word::Hash });
    assert_eq!(store.stat(&other).unwrap(), None);
}

#[test]
fn a_read_only_opening_reads_what_others_write() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), &[], "a\n1\n");
    let store = open(&Opening { read_only: true, ..opening(folder.path()) }).unwrap();
    assert!(!store.caps().write);
    assert_eq!(get(&*store, &key("a")).unwrap(), b"1");
    assert_eq!(put(&*store, "b", b"2").unwrap_err().kind(), ErrorKind::ReadOnly);
    load(folder.path(), &[], "b\n2\n");
    assert_eq!(get(&*store, &key("b")).unwrap(), b"2");
}

/// Runs `work` with a small file system at a folder of its own; not where mounting is not allowed.
fn on_small_disk(size: &str, work: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let options = format!("size={size}");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return;
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(folder.path())));
    assert!(Command::new("umount").arg("-l").arg(folder.path()).status().unwrap().success());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_full_disk_is_no_space_and_what_was_there_stays() {
    on_small_disk("4m", |disk| {
        let path = disk.join("store");
        let store = open(&opening(&path)).unwrap();
        put(&*store, "a", b"1").unwrap();
        let error =
            (0..100).find_map(|index| put(&*store, &format!("{index}"), &vec![1; 300_000]).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        assert_eq!(get(&*store, &key("a")).unwrap(), b"1");
        store.apply(&mut [Change::Delete { key: &key("0"), when: When::Always }]).unwrap();
        assert!(store.usage().total.unwrap() <= 8 << 20);
    });
}

#[test]
fn read_only_media_are_read() {
    on_small_disk("8m", |disk| {
        let path = disk.join("store");
        let store = open(&opening(&path)).unwrap();
        put(&*store, "a", &vec![3; 50_000]).unwrap();
        drop(store);
        let remount = |how: &str| {
            assert!(Command::new("mount").args(["-o", how]).arg(disk).status().unwrap().success());
        };
        remount("remount,ro");
        let store = open(&opening(&path)).unwrap();
        assert!(!store.caps().write);
        assert_eq!(get(&*store, &key("a")).unwrap(), vec![3; 50_000]);
        assert_eq!(put(&*store, "b", b"1").unwrap_err().kind(), ErrorKind::ReadOnly);
    });
}

#[test]
fn the_lock_file_of_a_mounted_environment_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "a", b"1").unwrap();
    assert_eq!(refusal(&folder.path().join("lock.mdb")).kind(), ErrorKind::Busy);
    assert!(!recognise(&folder.path().join("lock.mdb")));
    assert!(recognise(folder.path()));
    let mode = fs::metadata(folder.path().join("data.mdb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0);
}
