use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::payload::Payload;
use crate::store::api::When;
use crate::store::attributes::{FileType, Setting};

struct Case {
    folder: TempDir,
    store: Arc<dyn Store>,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let location = Some(folder.path().to_owned());
        let store = super::open(&Opening { location, ..Opening::default() }).unwrap();
        Case { folder, store }
    }

    /// The folder, as a directory of its own.
    fn root(&self) -> std::os::fd::OwnedFd {
        fs::File::open(self.folder.path()).unwrap().into()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8], when: When) -> Result<()> {
        self.store.apply(&mut [Change::Put { key: &key(name), body: &Payload::of(bytes)?, when }])
    }

    fn set(&self, name: &str, attributes: &Setting) -> Result<()> {
        self.store.apply(&mut [Change::Set { key: &key(name), directory: false, attributes }])
    }

    fn value(&self, name: &str) -> Result<Vec<u8>> {
        let value = self.store.open(&key(name))?.ok_or(ErrorKind::NotFound)?;
        let mut bytes = Vec::new();
        value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    fn stat(&self, name: &str) -> Stat {
        self.store.stat(&key(name)).unwrap().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
        names.sort_by_key(|entry| entry.file_name());
        names.into_iter().map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

fn key(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

fn set_time(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn promise_3_1_a_file_that_another_program_writes_into_is_refused_to_its_readers() {
    let case = Case::new();
    fs::write(case.path("a"), b"old").unwrap();
    set_time(&case.path("a"), SystemTime::UNIX_EPOCH);
    let open = case.store.open(&key("a")).unwrap().unwrap();
    open.read(0, 3, &mut |bytes| assert_eq!(bytes, b"old")).unwrap();
    fs::write(case.path("a"), b"new").unwrap();
    let outcome = open.read(0, 3, &mut |bytes| panic!("gave {bytes:?}"));
    assert_eq!(kind(outcome), Some(ErrorKind::Stale));
    assert_eq!(kind(case.put("a", b"mine", When::Current(open.version().unwrap()))), Some(ErrorKind::Stale));
    assert_eq!(fs::read(case.path("a")).unwrap(), b"new");
}

#[test]
fn promise_4_6_what_was_only_touched_here_is_the_version_that_was_opened() {
    let case = Case::new();
    case.put("a", b"bytes", When::Absent).unwrap();
    let open = case.store.open(&key("a")).unwrap().unwrap();
    for seconds in [5, 6, 5] {
        let mtime = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        case.set("a", &Setting { mtime, mode: Some(0o600), ..Setting::default() }).unwrap();
        open.read(0, 5, &mut |bytes| assert_eq!(bytes, b"bytes")).unwrap();
        let again = case.store.open(&key("a")).unwrap().unwrap();
        assert_eq!(again.version().unwrap(), open.version().unwrap());
    }
    case.put("a", b"next", When::Current(open.version().unwrap())).unwrap();
    assert_eq!(kind(case.put("a", b"third", When::Current(open.version().unwrap()))), Some(ErrorKind::Stale));
}

#[test]
fn promise_5_2_a_put_keeps_what_the_file_had_besides_bytes() {
    let case = Case::new();
    case.put("a", b"old", When::Absent).unwrap();
    assert_eq!(case.stat("a").file.mode, Some(0o644));
    std::os::unix::fs::chown(case.path("a"), Some(12), Some(34)).unwrap();
    fs::set_permissions(case.path("a"), fs::Permissions::from_mode(0o4750)).unwrap();
    xattr::set(case.path("a"), "user.colour", b"blue").unwrap();
    let before = fs::metadata(case.path("a")).unwrap();
    case.put("a", b"newer", When::Always).unwrap();
    let after = fs::metadata(case.path("a")).unwrap();
    assert_ne!(after.ino(), before.ino());
    assert_eq!((after.uid(), after.gid(), after.mode()), (12, 34, before.mode()));
    assert_eq!((after.atime(), after.atime_nsec()), (before.atime(), before.atime_nsec()));
    let xattrs = case.store.xattrs(&key("a"), false).unwrap();
    assert_eq!(xattrs.into_iter().collect::<Vec<_>>(), [(Box::from(*b"user.colour"), Box::from(*b"blue"))]);
    let time = SystemTime::UNIX_EPOCH - Duration::from_nanos(1_500_000_001);
    let body = Payload::of(b"x").unwrap();
    let attributes = Setting { mtime: Some(time), mode: Some(0o640), uid: Some(7), ..Setting::default() };
    let put = Change::Put { key: &key("a"), body: &body, when: When::Always };
    case.store
        .apply(&mut [put, Change::Set { key: &key("a"), directory: false, attributes: &attributes }])
        .unwrap();
    let file = case.stat("a").file;
    assert_eq!((file.mtime, file.mode, file.uid, file.gid), (Some(time), Some(0o640), Some(7), Some(34)));
}

#[test]
fn no_link_leads_out_of_the_folder() {
    let case = Case::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    symlink(outside.path(), case.path("out")).unwrap();
    symlink("/proc/self/root", case.path("magic")).unwrap();
    let stat = case.stat("out");
    assert_eq!((stat.file.file_type, stat.kind), (FileType::Symlink, crate::store::api::Kind::Leaf));
    assert_eq!(case.value("out").unwrap(), outside.path().as_os_str().as_encoded_bytes());
    for inside in ["out/secret", "magic/etc", "out/new/deep"] {
        assert_eq!(case.store.stat(&key(inside)).unwrap(), None, "{inside}");
        assert_eq!(kind(case.value(inside)), Some(ErrorKind::NotFound), "{inside}");
        assert_eq!(kind(case.put(inside, b"v", When::Always)), Some(ErrorKind::NotDirectory), "{inside}");
    }
    case.store.apply(&mut [Change::Delete { key: &key("out/secret"), when: When::Always }]).unwrap();
    case.set("out", &Setting { uid: Some(5), mtime: Some(SystemTime::UNIX_EPOCH), ..Setting::default() })
        .unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_ne!(fs::metadata(outside.path()).unwrap().uid(), 5);
    assert_eq!(case.stat("out").file.uid, Some(5));
}

#[test]
fn files_that_are_none_of_bytes_are_made_and_never_opened() {
    let case = Case::new();
    for (name, file_type) in
        [("pipe", FileType::Fifo), ("socket", FileType::Socket), ("link", FileType::Symlink)]
    {
        let key = key(name);
        case.store.apply(&mut [Change::Make { key: &key, file_type, target: b"to" }]).unwrap();
        let again = case.store.apply(&mut [Change::Make { key: &key, file_type, target: b"to" }]);
        assert_eq!(kind(again), Some(ErrorKind::Exists));
        assert_eq!(case.stat(name).file.file_type, file_type);
        assert_eq!(case.value(name).unwrap(), if name == "link" { &b"to"[..] } else { b"" });
    }
    // As root only, which the tests need not be.
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        case.path("null"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    );
    if made.is_ok() {
        assert_eq!(case.stat("null").file.mode, Some(0));
        assert_eq!(kind(case.value("null")), Some(ErrorKind::NotPermitted));
    }
}

/// §8.3
#[test]
fn nothing_but_the_file_is_in_the_folder_when_a_put_is_given_up() {
    let case = Case::new();
    case.put("a", b"a", When::Absent).unwrap();
    assert_eq!(kind(case.put("a", b"b", When::Absent)), Some(ErrorKind::Exists));
    let (a, root) = (key("a"), case.root());
    let draft = draft::Draft::new(&a, &root).unwrap();
    draft.fill(&Payload::of(&[7; 3 << 20]).unwrap()).unwrap();
    assert_eq!(case.names(), ["a"], "it has no name as long as it is written");
    drop(draft);
    case.put("a", b"c", When::Always).unwrap();
    assert_eq!(case.names(), ["a"]);
}

#[test]
fn holes_stay_holes() {
    let case = Case::new();
    let mut body = Payload::new();
    body.resize(1 << 40).unwrap();
    body.write(1 << 39, b"in the middle").unwrap();
    case.store.apply(&mut [Change::Put { key: &key("a"), body: &body, when: When::Always }]).unwrap();
    let found = fs::metadata(case.path("a")).unwrap();
    assert_eq!(found.len(), 1 << 40);
    assert!(found.blocks() < 1 << 12, "{} blocks", found.blocks());
}

#[test]
fn names_are_exchanged_and_empty_directories_replaced_at_once() {
    let case = Case::new();
    case.put("a", b"file", When::Always).unwrap();
    case.put("d/x", b"inside", When::Always).unwrap();
    let (a, d, way, empty) = (key("a"), key("d"), key("way"), key("empty"));
    let rename = |from, to, tree| Change::Rename { from, to, tree, replace: false };
    case.store.apply(&mut [rename(&a, &way, false), rename(&d, &a, true), rename(&way, &d, false)]).unwrap();
    assert_eq!(case.value("a/x").unwrap(), b"inside");
    assert_eq!(case.value("d").unwrap(), b"file");
    case.store.apply(&mut [Change::Branch { key: &empty }]).unwrap();
    case.store.apply(&mut [Change::RemoveBranch { key: &empty }, rename(&a, &empty, true)]).unwrap();
    assert_eq!(case.value("empty/x").unwrap(), b"inside");
    let full = case.store.apply(&mut [Change::RemoveBranch { key: &empty }, rename(&d, &empty, true)]);
    assert_eq!(kind(full), Some(ErrorKind::IsDirectory));
}

#[test]
fn two_names_of_one_file_are_one_after_a_rename() {
    let case = Case::new();
    case.put("a", b"v", When::Always).unwrap();
    fs::hard_link(case.path("a"), case.path("b")).unwrap();
    let (a, b) = (key("a"), key("b"));
    case.store.apply(&mut [Change::Rename { from: &a, to: &b, tree: false, replace: true }]).unwrap();
    assert_eq!(case.names(), ["b"]);
}

/// §1.8: paths beyond what one call takes.
#[test]
fn promise_1_8_deep_paths_are_walked_in_pieces() {
    let case = Case::new();
    let deep = vec!["n".repeat(200); 60].join("/");
    case.put(&deep, b"deep", When::Absent).unwrap();
    assert_eq!(case.value(&deep).unwrap(), b"deep");
    let renamed = format!("{deep}2");
    let (from, to) = (key(&deep), key(&renamed));
    case.store.apply(&mut [Change::Rename { from: &from, to: &to, tree: false, replace: false }]).unwrap();
    assert_eq!(case.value(&renamed).unwrap(), b"deep");
    case.store.sync_key(&to).unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_made_only_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().join("a/b");
    let opening = Opening { location: Some(location.clone()), create: false, ..Opening::default() };
    assert_eq!(kind(super::open(&opening).map(drop)), Some(ErrorKind::NotFound));
    super::open(&Opening { create: true, ..opening }).unwrap();
    assert!(location.is_dir());
}
