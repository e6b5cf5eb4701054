//! Attributes beside an LMDB environment (§5), with other programs at it: what lasts, what is read for it, and what is
//! refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod fire;

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvfs::error::{ErrorKind, Result};
use kvfs::key::Key;
use kvfs::layer::attrs::Attrs;
use kvfs::layer::fault::{Call, Faulty, Moment};
use kvfs::payload::Payload;
use kvfs::store::api::{Change, Cursor, Kind, Stat, Store, When};
use kvfs::store::attributes::{Attributes, FileType, Setting};
use kvfs::store::driver::{Driver, Opening};
use tempfile::TempDir;

/// A mount's stores, and what is read of values for it.
struct Mounted {
    store: Arc<dyn Store>,
    attrs: Arc<Attrs>,
    reads: Arc<AtomicUsize>,
    faulty: Arc<Faulty>,
}

fn driver() -> &'static Driver {
    kvfs::env::Folders::keep_below(Path::new(env!("CARGO_TARGET_TMPDIR")));
    kvfs::store::driver("lmdb").unwrap()
}

fn opening(path: &Path) -> Opening {
    Opening { location: Some(path.to_owned()), ..Opening::default() }
}

/// Counts each read of a value from now on: a plan counts one, and makes the next.
fn count_reads(faulty: &Arc<Faulty>, reads: &Arc<AtomicUsize>) {
    let (again, count) = (Arc::downgrade(faulty), Arc::clone(reads));
    let action = move || {
        count.fetch_add(1, Ordering::SeqCst);
        if let Some(faulty) = again.upgrade() {
            count_reads(&faulty, &count);
        }
        Ok(())
    };
    faulty.plan(Call::Read, 1, Moment::Before, Box::new(action));
}

impl Mounted {
    fn try_open(opening: &Opening) -> Result<Mounted> {
        let store = (driver().open)(opening)?;
        let home = (driver().sidecar)(opening)?.unwrap();
        let faulty = Arc::new(Faulty::new(store.clone()));
        let reads = Arc::new(AtomicUsize::new(0));
        count_reads(&faulty, &reads);
        let attrs = Arc::new(Attrs::new(faulty.clone(), home, opening.separator.clone())?);
        Ok(Mounted { store, attrs, reads, faulty })
    }

    fn open(path: &Path) -> Mounted {
        Mounted::try_open(&opening(path)).unwrap()
    }

    fn close(self) {
        self.attrs.sync().unwrap();
        self.attrs.close().unwrap();
        self.faulty.heal();
    }

    fn put(&self, path: &str, value: &[u8]) {
        put(&*self.attrs, path, value);
    }

    fn set(&self, path: &str, directory: bool, setting: &Setting) {
        let key = key(path);
        self.attrs.apply(&mut [Change::Set { key: &key, directory, attributes: setting }]).unwrap();
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        self.attrs.stat(&key(path)).unwrap()
    }

    fn file(&self, path: &str) -> Attributes {
        self.stat(path).unwrap().file
    }

    /// How often values were read since this was last asked.
    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::SeqCst)
    }
}

fn key(path: &str) -> Key {
    if path.is_empty() { Key::root() } else { Key::of(path.split('/').map(str::as_bytes)) }
}

fn put(store: &dyn Store, path: &str, value: &[u8]) {
    let body = Payload::of(value).unwrap();
    store.apply(&mut [Change::Put { key: &key(path), body: &body, when: When::Always }]).unwrap();
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, 123)
}

fn setting(number: u64) -> Setting {
    let (mtime, ctime) = (Some(time(number)), Some(time(number + 1)));
    Setting { mode: Some(0o640), uid: Some(7), mtime, ctime, ..Setting::default() }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    (folder, path)
}

/// Another program puts a value, as a process of its own.
fn foreign_put(path: &Path, key: &str, value: &str) {
    let dump = format!(
        "VERSION=3\nformat=print\ntype=btree\nmapsize=1073741824\nHEADER=END\n \
         {key}\n {value}\nDATA=END\n"
    );
    let mut load = Command::new("mdb_load").arg(path).stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(load.stdin.as_mut().unwrap(), dump.as_bytes()).unwrap();
    assert!(load.wait().unwrap().success());
}

#[test]
fn promise_5_2_every_attribute_comes_back_after_a_remount() {
    let (_folder, path) = folder();
    let mounted = Mounted::open(&path);
    mounted.put("plain", b"v");
    assert!(!path.join(".kvfs").exists(), "made by the first attribute");
    mounted.put("dir/a", b"v");
    let name = |name: &str| Box::<[u8]>::from(name.as_bytes());
    let mut all = Setting { gid: Some(8), atime: Some(time(3)), ino: Some(77), ..setting(5) };
    all.xattrs.insert(name("user.a"), Some(name("1")));
    mounted.set("dir/a", false, &all);
    mounted.set("dir", true, &setting(9));
    mounted.set("", true, &Setting { mode: Some(0o755), ..Setting::default() });
    let link = key("link");
    mounted
        .attrs
        .apply(&mut [
            Change::Branch { key: &key("empty") },
            Change::Make { key: &link, file_type: FileType::Symlink, target: b"dir/a" },
            Change::Set { key: &link, directory: false, attributes: &setting(11) },
        ])
        .unwrap();
    let mode = std::fs::metadata(path.join(".kvfs")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let before =
        [("dir/a", mounted.stat("dir/a")), ("dir", mounted.stat("dir")), ("link", mounted.stat("link"))];
    assert_eq!(before[0].1.unwrap().file.ino, Some(77));
    mounted.close();
    for read_only in [false, true] {
        let again = Mounted::try_open(&Opening { read_only, ..opening(&path) }).unwrap();
        for (path, stat) in &before {
            let (stat, found) = (stat.unwrap(), again.stat(path).unwrap());
            assert_eq!((found.file, found.directory), (stat.file, stat.directory), "{path}");
        }
        assert_eq!(again.attrs.xattrs(&key("dir/a"), false).unwrap(), [(name("user.a"), name("1"))].into());
        assert_eq!(again.stat("empty").unwrap().kind, Kind::Branch);
        assert_eq!(again.stat("").unwrap().directory.mode, Some(0o755));
        let mut link = Vec::new();
        let value = again.attrs.open(&key("link")).unwrap().unwrap();
        value.read(0, 99, &mut |piece| link.extend_from_slice(piece)).unwrap();
        assert_eq!(link, b"dir/a");
        assert_eq!(again.reads(), 0, "nobody else wrote, so no value is read");
        again.close();
    }
    let dump = Command::new("mdb_dump").arg("-p").arg(&path).output().unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();
    assert_eq!(dump.lines().filter(|line| line.starts_with(' ')).count(), 4, "two keys, two values: {dump}");
}

#[test]
fn promise_5_4_what_another_program_wrote_has_no_recorded_time_and_the_rest_is_compared_once() {
    let (_folder, path) = folder();
    let mounted = Mounted::open(&path);
    for n in 0..20 {
        mounted.put(&format!("{n:02}"), b"value");
        mounted.set(&format!("{n:02}"), false, &setting(n));
    }
    let check = |mounted: &Mounted, changed: &[u64]| {
        let mut number = 0;
        let mut cursor = Cursor::default();
        mounted
            .attrs
            .list_with_attributes(&Key::root(), &mut cursor, &mut |entry| {
                let mtime = (!changed.contains(&number)).then(|| time(number));
                assert_eq!(entry.stat.file.mtime, mtime, "{number}");
                assert_eq!(entry.stat.file.mode, Some(0o640));
                number += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(number, 20);
    };
    mounted.attrs.sync().unwrap();
    mounted.reads();
    check(&mounted, &[]);
    assert_eq!(mounted.reads(), 0);
    // While it is mounted, with the same length; and another of another length.
    foreign_put(&path, "03", "eulav");
    foreign_put(&path, "04", "longer than it was");
    check(&mounted, &[3, 4]);
    assert_eq!(mounted.reads(), 19, "all but what has another length");
    check(&mounted, &[3, 4]);
    assert_eq!(mounted.reads(), 0, "compared once");
    mounted.close();
    let mounted = Mounted::open(&path);
    check(&mounted, &[3, 4]);
    assert_eq!(mounted.reads(), 0, "not after a remount either");
    mounted.close();
    foreign_put(&path, "05", "eulav");
    for read_only in [true, false] {
        let mounted = Mounted::try_open(&Opening { read_only, ..opening(&path) }).unwrap();
        check(&mounted, &[3, 4, 5]);
        assert!(mounted.reads() > 0);
        check(&mounted, &[3, 4, 5]);
        assert_eq!(mounted.reads(), 0, "compared once, read-only: {read_only}");
        mounted.close();
    }
}

#[test]
fn a_snapshot_has_the_attributes_of_its_moment() {
    let (_folder, path) = folder();
    let mounted = Mounted::open(&path);
    mounted.put("a", b"v");
    mounted.set("a", false, &setting(1));
    let snapshot = Arc::clone(&mounted.attrs).snapshot().unwrap();
    mounted.put("a", b"w");
    mounted.set("a", false, &Setting { mode: Some(0o600), ..Setting::default() });
    mounted.attrs.apply(&mut [Change::Branch { key: &key("later") }]).unwrap();
    foreign_put(&path, "b", "other");
    mounted.reads();
    let file = snapshot.stat(&key("a")).unwrap().unwrap().file;
    assert_eq!((file.mode, file.mtime), (Some(0o640), Some(time(1))));
    assert_eq!(mounted.reads(), 0);
    assert!(snapshot.stat(&key("later")).unwrap().is_none());
    assert_eq!(mounted.file("a").mode, Some(0o600));
    let refused = snapshot.apply(&mut [Change::Branch { key: &key("x") }]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnly);
    snapshot.close().unwrap();
    drop(snapshot);
    mounted.close();
    // As `--snapshot` has it: nothing is opened for writing.
    let reader = Mounted::try_open(&Opening { read_only: true, ..opening(&path) }).unwrap();
    let snapshot = Arc::clone(&reader.attrs).snapshot().unwrap();
    assert_eq!(snapshot.stat(&key("a")).unwrap().unwrap().file.mode, Some(0o600));
    assert_eq!(snapshot.stat(&key("later")).unwrap().unwrap().kind, Kind::Branch);
    drop(snapshot);
    reader.close();
}

#[test]
fn promise_8_6_attributes_have_one_writer() {
    let (_folder, path) = folder();
    let first = Mounted::open(&path);
    first.put("a", b"v");
    first.set("a", false, &setting(1));
    let second = Mounted::open(&path);
    assert_eq!(second.file("a").mode, Some(0o640), "mounts of one process share it");
    // Another process, by another description of the folder.
    second.close();
    first.close();
    let folder = std::fs::File::open(&path).unwrap();
    let held = nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    let refused = Mounted::try_open(&opening(&path)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    let sentence = refused.to_string();
    assert!(sentence.contains("--attrs none") && sentence.contains("--read-only"), "{sentence}");
    let reader = Mounted::try_open(&Opening { read_only: true, ..opening(&path) }).unwrap();
    assert_eq!(reader.file("a").mode, Some(0o640));
    reader.close();
    drop(held);
    Mounted::open(&path).close();
}

/// A store with ten files that have attributes.
fn ten_files(path: &Path) {
    let mounted = Mounted::open(path);
    for n in 0..10 {
        mounted.put(&format!("{n}"), format!("value {n}").as_bytes());
        mounted.set(&format!("{n}"), false, &setting(n));
    }
    mounted.close();
}

fn refusal(opening: &Opening) -> String {
    let refused = Mounted::try_open(opening).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let sentence = refused.to_string();
    assert!(sentence.contains("--attrs none") && sentence.contains("kvfs attrs drop"), "{sentence}");
    assert!(!sentence.contains('\n'));
    sentence
}

#[test]
fn bad_input_is_refused_in_one_sentence() {
    let (folder, path) = folder();
    ten_files(&path);
    let data = path.join(".kvfs/data.mdb");
    let whole = std::fs::read(&data).unwrap();
    for damaged in [vec![0xA5; whole.len()], whole[..5000].to_vec(), b"text".to_vec()] {
        std::fs::write(&data, damaged).unwrap();
        refusal(&opening(&path));
    }
    std::fs::write(&data, &whole).unwrap();
    let separator = Opening { separator: Some(b":".to_vec()), ..opening(&path) };
    assert!(refusal(&separator).contains("separator"));
    // Of another store: nothing that it tells of is there.
    let other = folder.path().join("other");
    let mounted = Mounted::open(&other);
    (0..10).for_each(|n| mounted.put(&format!("{n}"), b"something else"));
    mounted.close();
    std::fs::create_dir(other.join(".kvfs")).unwrap();
    std::fs::copy(&data, other.join(".kvfs/data.mdb")).unwrap();
    assert!(refusal(&opening(&other)).contains("another store"));
    // A newer format, and no origin: the sidecar's own keys, changed by LMDB's tools.
    foreign_put(&path.join(".kvfs"), "m", "\\ff\\00{}");
    assert!(refusal(&opening(&path)).contains("newer"));
    foreign_put(&path.join(".kvfs"), "m", "\\01\\00{}");
    assert!(refusal(&opening(&path)).contains("damaged"));
    std::fs::remove_dir_all(path.join(".kvfs")).unwrap();
    std::fs::write(path.join(".kvfs"), "a file").unwrap();
    refusal(&opening(&path));
}

#[test]
fn a_copy_of_a_store_brings_its_attributes() {
    let (folder, path) = folder();
    ten_files(&path);
    let copy = folder.path().join("copy");
    std::fs::create_dir_all(copy.join(".kvfs")).unwrap();
    for part in [".", ".kvfs"] {
        std::fs::copy(path.join(part).join("data.mdb"), copy.join(part).join("data.mdb")).unwrap();
    }
    for round in 0..2 {
        let mounted = Mounted::open(&copy);
        mounted.reads();
        assert_eq!(mounted.file("3").mtime, Some(time(3)));
        assert_eq!(mounted.reads(), usize::from(round == 0), "compared once, and then it is its own");
        mounted.close();
    }
}

#[test]
fn promise_8_3_attributes_survive_a_daemon_that_does_not_close() {
    let (_folder, path) = folder();
    let mounted = Mounted::open(&path);
    mounted.put("a", b"v");
    mounted.set("a", false, &setting(1));
    mounted.attrs.sync().unwrap();
    mounted.put("b", b"v");
    mounted.set("b", false, &setting(2));
    // No close: what was accepted is committed when the last handle goes, the state of the store is not noted.
    mounted.faulty.heal();
    drop(mounted);
    let mounted = Mounted::open(&path);
    assert_eq!(mounted.file("a").mtime, Some(time(1)));
    assert_eq!(mounted.file("b").mtime, Some(time(2)));
    assert_eq!(mounted.reads(), 2, "each is compared");
    mounted.close();
}

#[test]
fn compaction_keeps_attributes_and_what_is_known_of_them() {
    let (_folder, path) = folder();
    ten_files(&path);
    let mounted = Mounted::open(&path);
    mounted.attrs.compact().unwrap();
    assert!(
        mounted.attrs.facts().iter().any(|(name, fact)| *name == "attributes" && fact.contains("records"))
    );
    mounted.close();
    let mounted = Mounted::open(&path);
    (0..10).for_each(|n| assert_eq!(mounted.file(&n.to_string()).mtime, Some(time(n))));
    assert_eq!(mounted.reads(), 0);
    mounted.close();
}

#[test]
fn a_single_file_has_its_sidecar_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    Mounted::open(&inside).close();
    let path = folder.path().join("single.mdb");
    std::fs::copy(inside.join("data.mdb"), &path).unwrap();
    let mounted = Mounted::open(&path);
    mounted.put("a", b"v");
    mounted.set("a", false, &setting(1));
    mounted.close();
    assert!(folder.path().join("single.mdb.kvfs/data.mdb").exists());
    let mounted = Mounted::open(&path);
    assert_eq!((mounted.file("a").mtime, mounted.reads()), (Some(time(1)), 0));
    assert!(mounted.store.stat(&key("a")).unwrap().is_some());
    mounted.close();
}

#[test]
fn named_databases_have_attributes_too() {
    let (_folder, path) = folder();
    let mounted = Mounted::open(&path);
    let database = Key::root().child(kvfs::key::Segment { bytes: b"db", word: kvfs::key::Word::Db });
    let inside = database.child(kvfs::key::Segment::plain(b"dir"));
    let mode = Setting { mode: Some(0o700), ..Setting::default() };
    mounted
        .attrs
        .apply(&mut [
            Change::Branch { key: &database },
            Change::Set { key: &database, directory: true, attributes: &mode },
        ])
        .unwrap();
    mounted.attrs.apply(&mut [Change::Branch { key: &inside }]).unwrap();
    assert_eq!(mounted.attrs.stat(&database).unwrap().unwrap().directory.mode, Some(0o700));
    assert_eq!(mounted.attrs.stat(&inside).unwrap().unwrap().kind, Kind::Branch);
    let refused = mounted.attrs.apply(&mut [Change::RemoveBranch { key: &database }]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotEmpty);
    mounted.attrs.apply(&mut [Change::RemoveBranch { key: &inside }]).unwrap();
    mounted.attrs.apply(&mut [Change::RemoveBranch { key: &database }]).unwrap();
    assert!(mounted.attrs.stat(&database).unwrap().is_none());
    mounted.close();
}
