//! What is kept, what holds, and what is there: the layer over a store in memory, with another program beside it.

mod faulty_home;
mod model;
mod renames;
mod together;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::layer::fault::Faulty;
use crate::payload::Payload;
use crate::store::api::{Kind, When};
use crate::store::attributes::{Attributes, FileType, Setting};
use crate::store::driver::Opening;
use crate::store::memory;
use faulty_home::FaultyHome;

/// A store, and the layer over it.
struct Case {
    store: Arc<dyn Store>,
    /// The same as the layer sees it: it panics where it is called by whoever takes entries of its listing.
    faulty: Arc<Faulty>,
    home: Arc<FaultyHome>,
    attrs: Attrs,
}

fn opening() -> Opening {
    Opening { timeout: Duration::from_secs(10), ..Opening::default() }
}

fn key(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, 7)
}

impl Case {
    fn new() -> Case {
        let store = (memory::DRIVER.open)(&opening()).unwrap();
        let faulty = Arc::new(Faulty::new(store.clone()));
        let home = Arc::new(FaultyHome::new(96));
        let attrs = Attrs::new(faulty.clone(), Box::new(home.clone()), opening().separator).unwrap();
        Case { store, faulty, home, attrs }
    }

    /// Another daemon takes over.
    fn reopen(&mut self) {
        self.attrs =
            Attrs::new(self.faulty.clone(), Box::new(self.home.clone()), opening().separator).unwrap();
    }

    fn put(&self, path: &str, value: &[u8]) {
        put(&self.attrs, path, value).unwrap();
    }

    fn set(&self, path: &str, setting: &Setting) -> Result<()> {
        let key = key(path);
        self.attrs.apply(&mut [Change::Set { key: &key, directory: false, attributes: setting }])
    }

    fn file(&self, path: &str) -> Attributes {
        self.attrs.stat(&key(path)).unwrap().unwrap().file
    }
}

fn put(store: &dyn Store, path: &str, value: &[u8]) -> Result<()> {
    let body = Payload::of(value)?;
    store.apply(&mut [Change::Put { key: &key(path), body: &body, when: When::Always }])
}

fn mode(mode: u32) -> Setting {
    Setting { mode: Some(mode), ..Setting::default() }
}

#[test]
fn promise_5_1_nothing_is_made_before_the_first_attribute() {
    let case = Case::new();
    case.put("a", b"v");
    assert!(case.attrs.stat(&key("a")).unwrap().is_some());
    assert!(case.attrs.xattrs(&key("a"), false).unwrap().is_empty());
    assert!(case.attrs.is_bare());
    assert_eq!(case.set("absent", &mode(0o600)).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(case.attrs.is_bare(), "what is refused makes nothing");
    case.set("a", &mode(0o600)).unwrap();
    assert!(!case.attrs.is_bare());
    assert_eq!(case.file("a"), Attributes { mode: Some(0o600), ..Attributes::default() });
}

#[test]
fn promise_5_2_what_is_set_stays_and_a_put_is_its_last_change() {
    let case = Case::new();
    let name = |name: &str| Box::<[u8]>::from(name.as_bytes());
    let setting = Setting {
        mode: Some(0o640),
        uid: Some(1),
        gid: Some(2),
        atime: Some(time(1)),
        mtime: Some(time(2)),
        ctime: Some(time(3)),
        ino: Some(99),
        xattrs: [(name("user.a"), Some(name("1")))].into(),
    };
    case.put("dir/a", b"v");
    case.set("dir/a", &setting).unwrap();
    let expected = Attributes {
        file_type: FileType::Regular,
        mode: Some(0o640),
        uid: Some(1),
        gid: Some(2),
        atime: Some(time(1)),
        mtime: Some(time(2)),
        ctime: Some(time(3)),
        ino: Some(99),
    };
    assert_eq!(case.file("dir/a"), expected);
    assert_eq!(case.attrs.xattrs(&key("dir/a"), false).unwrap(), [(name("user.a"), name("1"))].into());
    let before = crate::env::now();
    case.put("dir/a", b"other");
    let after = case.file("dir/a");
    assert!(after.mtime >= Some(before) && after.ctime == after.mtime);
    assert_eq!(Attributes { mtime: expected.mtime, ctime: expected.ctime, ..after }, expected);
    case.attrs.apply(&mut [Change::Delete { key: &key("dir/a"), when: When::Always }]).unwrap();
    case.put("dir/a", b"new");
    assert_eq!(case.file("dir/a").mode, None, "another file of the same name");
}

#[test]
fn promise_5_4_a_value_that_another_program_changed_loses_its_time_and_nothing_else() {
    let case = Case::new();
    case.put("a", b"v");
    let setting =
        Setting { mode: Some(0o600), mtime: Some(time(5)), ctime: Some(time(6)), ..Setting::default() };
    case.set("a", &setting).unwrap();
    put(&*case.store, "a", b"w").unwrap();
    // A store that cannot be changed by others is told here that it was.
    case.attrs.trust.distrust();
    assert_eq!(case.file("a"), Attributes { mode: Some(0o600), ..Attributes::default() });
    case.set("a", &setting).unwrap();
    case.attrs.trust.distrust();
    assert_eq!(case.file("a").mtime, Some(time(5)), "the same bytes");
}

#[test]
fn a_directory_keeps_its_attributes_and_its_times_for_the_epoch() {
    let case = Case::new();
    case.put("dir/a", b"v");
    let (dir, setting) =
        (key("dir"), Setting { mode: Some(0o700), mtime: Some(time(1)), ..Setting::default() });
    let root = Key::root();
    for key in [&dir, &root] {
        case.attrs.apply(&mut [Change::Set { key, directory: true, attributes: &setting }]).unwrap();
        let found = case.attrs.stat(key).unwrap().unwrap();
        assert_eq!((found.directory.mode, found.directory.mtime), (Some(0o700), Some(time(1))));
        assert_eq!(found.file, Attributes::default());
    }
    case.attrs.trust.distrust();
    let found = case.attrs.stat(&dir).unwrap().unwrap();
    assert_eq!((found.directory.mode, found.directory.mtime), (Some(0o700), None));
}

#[test]
fn what_is_kept_of_something_that_is_gone_is_not_inherited() {
    let case = Case::new();
    case.put("a", b"v");
    case.set("a", &mode(0o600)).unwrap();
    let gone = key("a");
    case.store.apply(&mut [Change::Delete { key: &gone, when: When::Always }]).unwrap();
    assert!(case.attrs.stat(&gone).unwrap().is_none());
    put(&*case.store, "a", b"v").unwrap();
    assert_eq!(case.file("a").mode, None);
    case.set("a", &mode(0o600)).unwrap();
    case.store.apply(&mut [Change::Delete { key: &gone, when: When::Always }]).unwrap();
    case.put("a", b"w");
    assert_eq!(case.file("a").mode, None, "not even when nobody looked in between");
}

#[test]
fn a_put_and_what_is_set_with_it_are_one() {
    let case = Case::new();
    let (key, body) = (key("a"), Payload::of(b"v").unwrap());
    let setting = Setting { mode: Some(0o600), mtime: Some(time(9)), ..Setting::default() };
    case.attrs
        .apply(&mut [
            Change::Put { key: &key, body: &body, when: When::Absent },
            Change::Set { key: &key, directory: false, attributes: &setting },
        ])
        .unwrap();
    let found = case.attrs.stat(&key).unwrap().unwrap();
    assert_eq!((found.kind, found.size, found.file.mode), (Kind::Leaf, 1, Some(0o600)));
    assert_eq!(found.file.mtime, Some(time(9)));
}

impl Case {
    fn make(&self, path: &str, file_type: FileType, target: &[u8]) -> Result<()> {
        self.attrs.apply(&mut [Change::Make { key: &key(path), file_type, target }])
    }

    fn mkdir(&self, path: &str) -> Result<()> {
        self.attrs.apply(&mut [Change::Branch { key: &key(path) }])
    }

    fn rmdir(&self, path: &str) -> Result<()> {
        self.attrs.apply(&mut [Change::RemoveBranch { key: &key(path) }])
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        self.attrs.stat(&key(path)).unwrap().map(|stat| stat.kind)
    }

    /// All entries of a directory, taken in pages of `count`.
    fn list(&self, dir: &Key, count: usize, attributes: bool) -> Vec<(String, Stat)> {
        let mut cursor = Cursor::default();
        let mut all = Vec::new();
        while !cursor.done {
            let before = all.len();
            let each = &mut |entry: Entry<'_>| {
                if all.len() == before + count {
                    return ControlFlow::Break(());
                }
                all.push((String::from_utf8(entry.segment.bytes.to_vec()).unwrap(), entry.stat));
                ControlFlow::Continue(())
            };
            match attributes {
                true => self.attrs.list_with_attributes(dir, &mut cursor, each).unwrap(),
                false => self.attrs.list(dir, &mut cursor, each).unwrap(),
            }
        }
        all
    }
}

#[test]
fn promise_2_2_a_directory_lasts_without_a_key_of_its_own() {
    let case = Case::new();
    case.mkdir("a").unwrap();
    case.mkdir("a/b/c").unwrap();
    let mut none = true;
    case.store
        .list(&Key::root(), &mut Cursor::default(), &mut |_| {
            none = false;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(none, "the store has no key");
    for path in ["a", "a/b", "a/b/c"] {
        assert_eq!(case.kind(path), Some(Kind::Branch), "{path}");
        assert_eq!(case.mkdir(path).unwrap_err().kind(), ErrorKind::Exists, "{path}");
    }
    assert_eq!(case.rmdir("a").unwrap_err().kind(), ErrorKind::NotEmpty);
    put(&*case.store, "a/b/c/x", b"v").unwrap();
    assert_eq!(case.rmdir("a/b/c").unwrap_err().kind(), ErrorKind::NotEmpty);
    let x = key("a/b/c/x");
    case.store.apply(&mut [Change::Delete { key: &x, when: When::Always }]).unwrap();
    for path in ["a/b/c", "a/b", "a"] {
        case.rmdir(path).unwrap();
        assert_eq!(case.kind(path), None, "{path}");
    }
    put(&*case.store, "d", b"v").unwrap();
    assert_eq!(case.mkdir("d").unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(case.rmdir("d").unwrap_err().kind(), ErrorKind::NotEmpty);
}

#[test]
fn promise_5_2_links_fifos_and_sockets_are_there_and_read_as_what_they_are() {
    let case = Case::new();
    let kinds = [("l", FileType::Symlink), ("p", FileType::Fifo), ("s", FileType::Socket)];
    for (path, file_type) in kinds {
        let target: &[u8] = if file_type == FileType::Symlink { b"to/there" } else { b"" };
        case.make(path, file_type, target).unwrap();
        assert_eq!(case.make(path, file_type, target).unwrap_err().kind(), ErrorKind::Exists);
        case.set(path, &mode(0o640)).unwrap();
        let found = case.attrs.stat(&key(path)).unwrap().unwrap();
        assert_eq!((found.kind, found.size), (Kind::Leaf, target.len() as u64));
        assert_eq!((found.file.file_type, found.file.mode), (file_type, Some(0o640)));
        let mut read = Vec::new();
        let value = case.attrs.open(&key(path)).unwrap().unwrap();
        value.read(0, 99, &mut |piece| read.extend_from_slice(piece)).unwrap();
        assert_eq!(read, target);
        assert!(case.store.stat(&key(path)).unwrap().is_none());
    }
    assert_eq!(case.mkdir("l/x").unwrap_err().kind(), ErrorKind::NotDirectory);
    assert_eq!(case.rmdir("l").unwrap_err().kind(), ErrorKind::NotDirectory);
    assert_eq!(case.make("x", FileType::Regular, b"").unwrap_err().kind(), ErrorKind::Invalid);
    case.attrs.apply(&mut [Change::Delete { key: &key("l"), when: When::Always }]).unwrap();
    assert_eq!(case.kind("l"), None);
    case.put("p", b"value");
    assert_eq!((case.kind("p"), case.file("p").file_type), (Some(Kind::Leaf), FileType::Regular));
    put(&*case.store, "s", b"another program's").unwrap();
    assert_eq!((case.kind("s"), case.file("s").file_type), (Some(Kind::Leaf), FileType::Regular));
    let s = key("s");
    case.store.apply(&mut [Change::Delete { key: &s, when: When::Always }]).unwrap();
    assert_eq!(case.kind("s"), None, "what was no file of bytes went");
}

#[test]
fn promise_2_6_everything_is_listed_once_in_pages_of_any_size() {
    let case = Case::new();
    for value in ["a!", "b/x", "c", "d/y", "f0", "n/inside"] {
        put(&*case.store, value, b"v").unwrap();
    }
    // Names, of which some get keys below them, or a value, from another program.
    (0..150).for_each(|n| case.mkdir(&format!("e{n:03}")).unwrap());
    case.mkdir("a").unwrap();
    case.make("f", FileType::Symlink, b"x").unwrap();
    case.make("g", FileType::Fifo, b"").unwrap();
    case.mkdir("z").unwrap();
    for value in ["a/x", "a", "e003/below", "e149", "g"] {
        put(&*case.store, value, b"v").unwrap();
    }
    let mut expected: Vec<String> = (0..150).map(|n| format!("e{n:03}")).collect();
    expected.extend(["a", "a!", "b", "c", "d", "f", "f0", "g", "n", "z"].map(str::to_owned));
    expected.sort();
    for count in [1, 2, 7, 64, 1000] {
        for attributes in [false, true] {
            let listed = case.list(&Key::root(), count, attributes);
            let names: Vec<_> = listed.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(names, expected, "in pages of {count}");
            for (name, stat) in &listed {
                let looked = case.attrs.stat(&key(name)).unwrap().unwrap();
                assert_eq!((stat.kind, stat.size), (looked.kind, looked.size), "{name}");
                assert_eq!(stat.file.file_type, looked.file.file_type, "{name}");
            }
        }
    }
    assert_eq!(case.kind("a"), Some(Kind::Both));
    assert_eq!(case.kind("e149"), Some(Kind::Both));
    assert_eq!(case.list(&key("n"), 1, false).len(), 1);
    assert!(case.list(&key("z"), 1, false).is_empty());
}

#[test]
fn promise_2_7_a_listing_has_the_attributes_and_compares_what_is_in_doubt() {
    let case = Case::new();
    for n in 0..400u64 {
        let path = format!("{n:03}");
        case.put(&path, b"v");
        let setting = Setting { mode: Some(0o600), mtime: Some(time(n)), ino: Some(n), ..Setting::default() };
        case.set(&path, &setting).unwrap();
    }
    case.mkdir("100d").unwrap();
    case.attrs.trust.distrust();
    put(&*case.store, "007", b"w").unwrap();
    for (n, count) in [(0u64, 1000), (1, 1), (2, 30)] {
        let listed = case.list(&Key::root(), count, true);
        assert_eq!(listed.len(), 401, "round {n}");
        for (name, stat) in listed.into_iter().filter(|(name, _)| name != "100d") {
            let n = name.parse().unwrap();
            assert_eq!(stat.file.mtime, (n != 7).then(|| time(n)), "{name}");
            assert_eq!((stat.file.mode, stat.file.ino), (Some(0o600), Some(n)), "{name}");
        }
        case.attrs.trust.distrust();
    }
    let numbers: Vec<_> =
        case.list(&Key::root(), 9, false).into_iter().map(|(_, stat)| stat.file.ino).collect();
    assert!(numbers.contains(&Some(399)), "numbers come with any listing");
}

#[test]
fn names_longer_than_the_keys_of_the_sidecar_are_kept_and_listed() {
    let case = Case::new();
    let long = "x".repeat(90);
    let mut expected = Vec::new();
    for n in 0..150 {
        let name = format!("{long}{n:03}");
        case.mkdir(&format!("{long}/{name}")).unwrap();
        expected.push(name);
    }
    case.make(&format!("{long}/{long}l"), FileType::Symlink, b"to").unwrap();
    expected.push(format!("{long}l"));
    for count in [1, 10, 1000] {
        let listed = case.list(&key(&long), count, true);
        assert_eq!(listed.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expected);
    }
    assert_eq!(case.rmdir(&long).unwrap_err().kind(), ErrorKind::NotEmpty);
}

#[test]
fn times_that_cannot_be_kept_keep_nobody_from_writing() {
    let case = Case::new();
    case.put("a", b"v");
    case.home.fail_after(0);
    let times = Setting { mtime: Some(time(1)), ..Setting::default() };
    case.set("a", &times).unwrap();
    assert_eq!(case.set("a", &mode(0o600)).unwrap_err().kind(), ErrorKind::NoSpace);
    assert!(case.attrs.is_bare());
    case.home.heal();
    case.set("a", &Setting { mode: Some(0o600), ..times.clone() }).unwrap();
    case.home.fail_after(0);
    let (key, body) = (key("a"), Payload::of(b"w").unwrap());
    case.attrs.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
    assert_eq!(case.file("a").mtime, None, "what is recorded is of other bytes");
}
