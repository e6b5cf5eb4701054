//! What is kept, what holds, and what is there: the layer over a store in memory, with another program beside it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::error::ErrorKind;
use crate::payload::Payload;
use crate::store::api::{Kind, When};
use crate::store::attributes::{Attributes, FileType, Setting};
use crate::store::driver::{Commit, Opening};
use crate::store::home::InMemory;
use crate::store::memory::{self, Memory};

/// A store, and the layer over it.
struct Case {
    store: Arc<dyn Store>,
    attrs: Attrs,
}

fn opening() -> Opening {
    Opening {
        location: None,
        read_only: false,
        create: true,
        separator: Some(b"/".to_vec()),
        commit: Commit::Auto,
        timeout: Duration::from_secs(10),
        load: None,
        save: None,
    }
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
        let home = Box::new(InMemory::new(Memory::new, 96));
        let attrs = Attrs::new(store.clone(), home, opening().separator).unwrap();
        Case { store, attrs }
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
