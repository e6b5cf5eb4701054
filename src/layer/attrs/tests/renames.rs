//! Renames: what is kept follows, whenever the daemon dies.

use super::*;
use crate::layer::attrs::renaming::BATCH;
use crate::layer::fault::{Call, Moment};

impl Case {
    fn rename(&self, from: &str, to: &str, tree: bool, replace: bool) -> Result<()> {
        let (from, to) = (key(from), key(to));
        self.attrs.apply(&mut [Change::Rename { from: &from, to: &to, tree, replace }])
    }

    fn exchange(&self, one: &str, other: &str, tree: bool) -> Result<()> {
        let (one, other, between) = (key(one), key(other), key("between"));
        self.attrs.apply(&mut [
            Change::Rename { from: &one, to: &between, tree, replace: false },
            Change::Rename { from: &other, to: &one, tree, replace: false },
            Change::Rename { from: &between, to: &other, tree, replace: false },
        ])
    }

    /// A file with a mode and a time of its own, by its content.
    fn file_of(&self, path: &str, number: u64) {
        self.put(path, number.to_string().as_bytes());
        let setting = Setting { mode: Some(number as u32), mtime: Some(time(number)), ..Setting::default() };
        self.set(path, &setting).unwrap();
    }

    /// The number that the file was made with: of its content, its mode and its time alike.
    fn number(&self, path: &str) -> Option<u64> {
        let stat = self.attrs.stat(&key(path)).unwrap()?;
        let mut content = Vec::new();
        let value = self.attrs.open(&key(path)).unwrap()?;
        value.read(0, 99, &mut |piece| content.extend_from_slice(piece)).unwrap();
        let number = String::from_utf8(content).unwrap().parse().unwrap();
        assert_eq!((stat.file.mode, stat.file.mtime), (Some(number as u32), Some(time(number))), "{path}");
        Some(number)
    }
}

#[test]
fn a_file_takes_along_what_is_kept_of_it_and_nothing_of_what_was_there() {
    let case = Case::new();
    case.file_of("a", 1);
    case.file_of("b", 2);
    assert_eq!(case.rename("a", "b", false, false).unwrap_err().kind(), ErrorKind::Exists);
    case.rename("a", "b", false, true).unwrap();
    assert_eq!((case.number("a"), case.number("b")), (None, Some(1)));
    case.put("plain", b"7");
    let plain = case.file("plain").mtime;
    case.rename("plain", "b", false, true).unwrap();
    assert_eq!((case.file("b").mode, case.file("b").mtime), (None, plain));
    case.make("l", FileType::Symlink, b"to").unwrap();
    assert_eq!(case.rename("l", "b", false, false).unwrap_err().kind(), ErrorKind::Exists);
    case.rename("l", "b", false, true).unwrap();
    assert_eq!((case.kind("l"), case.file("b").file_type), (None, FileType::Symlink));
    assert!(case.store.stat(&key("b")).unwrap().is_none());
    case.file_of("c", 3);
    case.rename("c", "b", false, true).unwrap();
    assert_eq!(case.number("b"), Some(3));
    case.mkdir("d").unwrap();
    case.make("l", FileType::Symlink, b"to").unwrap();
    assert_eq!(case.rename("l", "d", false, true).unwrap_err().kind(), ErrorKind::IsDirectory);
    case.rename("l", "far/away/l", false, false).unwrap();
    assert_eq!(case.kind("far/away"), Some(Kind::Branch));
    assert_eq!(case.rename("absent", "x", false, true).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_tree_takes_along_all_that_is_kept_below_it() {
    let case = Case::new();
    let long = "y".repeat(80);
    for (n, path) in ["t/a", "t/d/b", &format!("t/{long}/c"), &format!("t/d/{long}")].into_iter().enumerate()
    {
        case.file_of(path, n as u64);
    }
    case.mkdir("t/empty/inner").unwrap();
    case.make(&format!("t/d/{long}l"), FileType::Symlink, b"to").unwrap();
    case.attrs
        .apply(&mut [Change::Set { key: &key("t"), directory: true, attributes: &mode(0o711) }])
        .unwrap();
    // What was kept of something that is gone there.
    case.file_of("far/to/a", 9);
    case.file_of("far/to/old", 9);
    for gone in ["far/to/a", "far/to/old"] {
        case.store.apply(&mut [Change::Delete { key: &key(gone), when: When::Always }]).unwrap();
    }
    assert_eq!(case.rename("t", "t/in", true, false).unwrap_err().kind(), ErrorKind::Invalid);
    case.mkdir("full/x").unwrap();
    assert_eq!(case.rename("t", "full", true, true).unwrap_err().kind(), ErrorKind::NotEmpty);
    assert_eq!(case.rename("t", "full", true, false).unwrap_err().kind(), ErrorKind::Exists);
    case.rename("t", "far/to", true, false).unwrap();
    assert_eq!(case.kind("t"), None);
    for (n, path) in ["a", "d/b", &format!("{long}/c"), &format!("d/{long}")].into_iter().enumerate() {
        assert_eq!(case.number(&format!("far/to/{path}")), Some(n as u64), "{path}");
    }
    assert_eq!(case.kind("far/to/empty/inner"), Some(Kind::Branch));
    assert_eq!(case.file(&format!("far/to/d/{long}l")).file_type, FileType::Symlink);
    assert_eq!(case.attrs.stat(&key("far/to")).unwrap().unwrap().directory.mode, Some(0o711));
    put(&*case.store, "far/to/old", b"v").unwrap();
    assert_eq!(case.file("far/to/old").mode, None);
    // Names alone: the store has nothing to move.
    case.mkdir("n/x/y").unwrap();
    case.rename("n", "m", true, false).unwrap();
    assert_eq!((case.kind("n"), case.kind("m/x/y")), (None, Some(Kind::Branch)));
    put(&*case.store, "v/x", b"v").unwrap();
    assert_eq!(case.rename("m", "v", true, true).unwrap_err().kind(), ErrorKind::NotEmpty);
    case.mkdir("e").unwrap();
    case.rename("m", "e", true, true).unwrap();
    assert_eq!(case.kind("e/x/y"), Some(Kind::Branch));
}

#[test]
fn two_things_change_places() {
    let case = Case::new();
    case.file_of("a", 1);
    case.file_of("b", 2);
    case.exchange("a", "b", false).unwrap();
    assert_eq!((case.number("a"), case.number("b")), (Some(2), Some(1)));
    case.make("l", FileType::Symlink, b"to").unwrap();
    case.exchange("l", "a", false).unwrap();
    assert_eq!((case.number("l"), case.file("a").file_type), (Some(2), FileType::Symlink));
    case.file_of("d/x", 3);
    case.file_of("e/x", 4);
    case.mkdir("d/only/here").unwrap();
    case.exchange("d", "e", true).unwrap();
    assert_eq!((case.number("d/x"), case.number("e/x")), (Some(4), Some(3)));
    assert_eq!((case.kind("d/only"), case.kind("e/only/here")), (None, Some(Kind::Branch)));
}

#[test]
fn a_large_tree_moves_in_batches() {
    let case = Case::new();
    let path = |dir: &str, n: usize| format!("{dir}/{n:05}");
    let count = 10 * BATCH;
    (0..count).for_each(|n| case.mkdir(&path("t", n)).unwrap());
    (0..100).for_each(|n| case.file_of(&format!("t/f{n}"), n));
    case.rename("t", "u", true, false).unwrap();
    assert_eq!(case.kind("t"), None);
    assert_eq!(case.list(&key("u"), 1000, false).len(), count + 100);
    (0..100).for_each(|n| assert_eq!(case.number(&format!("u/f{n}")), Some(n)));
}

/// A daemon that dies after `writes` writes of the sidecar, the rename of the store counted as happening between
/// the first and the second where `stored`.
fn dies_after(writes: usize, rename: impl Fn(&Case) -> Result<()>, stored: bool) -> Case {
    let mut case = Case::new();
    case.file_of("a", 1);
    case.file_of("b", 2);
    case.file_of("t/x", 3);
    case.file_of("u/x", 4);
    case.mkdir("t/dir").unwrap();
    (0..200).for_each(|n| case.mkdir(&format!("t/many/{n}")).unwrap());
    if !stored {
        case.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Io);
    }
    case.home.fail_after(writes);
    // Whatever it answers: nobody is there to hear it.
    drop(rename(&case));
    case.home.heal();
    case.reopen();
    case
}

#[test]
fn promise_8_3_a_rename_that_its_daemon_began_is_finished_or_was_none() {
    for writes in 0..4 {
        for stored in [false, true] {
            // Without the intent the store is not asked.
            let happens = stored && writes > 0;
            let case = dies_after(writes, |case| case.rename("a", "c", false, false), stored);
            let expected = if happens { (None, Some(1)) } else { (Some(1), None) };
            assert_eq!((case.number("a"), case.number("c")), expected, "{writes} writes, {stored}");
            let case = dies_after(writes, |case| case.exchange("a", "b", false), stored);
            let expected = if happens { (Some(2), Some(1)) } else { (Some(1), Some(2)) };
            assert_eq!((case.number("a"), case.number("b")), expected, "{writes} writes, {stored}");
            let case = dies_after(writes, |case| case.rename("t", "v", true, false), stored);
            let (there, gone) = if happens { ("v", "t") } else { ("t", "v") };
            assert_eq!(case.number(&format!("{there}/x")), Some(3), "{writes} writes, {stored}");
            assert_eq!(case.kind(&format!("{there}/dir")), Some(Kind::Branch));
            assert_eq!(case.list(&key(&format!("{there}/many")), 999, false).len(), 200);
            assert_eq!(case.kind(gone), None);
            let case = dies_after(writes, |case| case.exchange("t", "u", true), stored);
            let expected = if happens { (Some(4), Some(3)) } else { (Some(3), Some(4)) };
            assert_eq!((case.number("t/x"), case.number("u/x")), expected, "{writes} writes, {stored}");
            let many = if happens { "u/many" } else { "t/many" };
            assert_eq!(case.list(&key(many), 999, false).len(), 200);
        }
    }
}
