//! Exchanging names.

use super::*;
use crate::layer::fault::{Call, Moment};
use crate::vfs::setattr::Set;

fn content(rig: &Rig, path: &str) -> Vec<u8> {
    let file = rig.open(path, READ).unwrap();
    let bytes = rig.read(file).unwrap();
    rig.close(file).unwrap();
    bytes
}

fn set_mode(rig: &Rig, path: &str, mode: u32) {
    let ino = rig.look(path).unwrap().ino;
    rig.vfs.setattr(ino, Set { mode: Some(mode), ..Default::default() }).unwrap();
}

#[test]
fn promise_4_5_two_files_exchange_their_names() {
    let rig = Rig::new();
    rig.foreign_put("a", b"one");
    rig.foreign_put("d/b", b"other");
    set_mode(&rig, "a", 0o600);
    let (a, b) = (rig.look("a").unwrap().ino, rig.look("d/b").unwrap().ino);
    rig.exchange("a", "d/b").unwrap();
    assert_eq!((rig.stored("a").unwrap(), rig.stored("d/b").unwrap()), (b"other".to_vec(), b"one".to_vec()));
    assert_eq!((content(&rig, "a"), content(&rig, "d/b")), (b"other".to_vec(), b"one".to_vec()));
    // The file keeps its number, and what was set on it.
    assert_eq!((rig.look("a").unwrap().ino, rig.look("d/b").unwrap().ino), (b, a));
    assert_eq!((rig.look("a").unwrap().mode, rig.look("d/b").unwrap().mode), (0o644, 0o600));
    assert_eq!(rig.names(ROOT), ["a", "d"]);
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn promise_4_5_names_that_the_kernel_does_not_know_are_exchanged_too() {
    let rig = Rig::new();
    rig.foreign_put("a", b"one");
    rig.foreign_put("b", b"other");
    rig.exchange("a", "b").unwrap();
    rig.look("a").unwrap();
    rig.exchange("a", "b").unwrap();
    rig.exchange("b", "a").unwrap();
    assert_eq!((content(&rig, "a"), content(&rig, "b")), (b"other".to_vec(), b"one".to_vec()));
}

#[test]
fn promise_4_5_directories_files_and_links_exchange_with_each_other() {
    let rig = Rig::new();
    rig.foreign_put("full/x/y", b"deep");
    rig.foreign_put("full", b"own value");
    rig.put("file", b"file");
    rig.symlink("link", "nowhere");
    rig.mkdir("empty");
    rig.foreign_put("left/z", b"z");
    rig.unlink("left/z").unwrap();
    let names = ["full", "file", "link", "empty", "left"];
    let whole = |name: &str| match rig.kind(name) {
        What::Directory => {
            let ino = rig.look(name).unwrap().ino;
            rig.names(ino).join(" ")
        }
        What::File => String::from_utf8(content(&rig, name)).unwrap(),
        What::Symlink => {
            let ino = rig.look(name).unwrap().ino;
            String::from_utf8(rig.vfs.readlink(ino).unwrap()).unwrap()
        }
        What::Fifo | What::Socket => panic!("{name}: nobody made it"),
    };
    for one in names {
        for other in names {
            let before = (whole(one), whole(other));
            rig.exchange(one, other).unwrap();
            assert_eq!((whole(other), whole(one)), before, "{one} and {other}");
            rig.exchange(one, other).unwrap();
            assert_eq!((whole(one), whole(other)), before, "{one} and {other}, back");
        }
    }
    assert_eq!(whole("full"), "%value x");
    assert_eq!(rig.stored("full/x/y").unwrap(), b"deep");
    assert_eq!(rig.stored("full").unwrap(), b"own value");
    assert_eq!(rig.kind("link"), What::Symlink);
}

#[test]
fn promise_1_7_the_value_of_a_directory_exchanges_with_a_file() {
    let rig = Rig::new();
    rig.foreign_put("a", b"value");
    rig.foreign_put("a/b", b"below");
    rig.foreign_put("c", b"file");
    set_mode(&rig, "a/%value", 0o600);
    rig.exchange("a/%value", "c").unwrap();
    assert_eq!((rig.stored("a").unwrap(), rig.stored("c").unwrap()), (b"file".to_vec(), b"value".to_vec()));
    assert_eq!((rig.look("c").unwrap().mode, rig.look("a/%value").unwrap().mode), (0o600, 0o644));
    rig.exchange("a/b", "a/%value").unwrap();
    assert_eq!((rig.stored("a").unwrap(), rig.stored("a/b").unwrap()), (b"below".to_vec(), b"file".to_vec()));
    assert_eq!(rig.kind("a"), What::Directory);
    rig.symlink("link", "nowhere");
    assert_eq!(refused(rig.exchange("a/%value", "link")), ErrorKind::Invalid);
    rig.mkdir("d");
    assert_eq!(refused(rig.exchange("d", "a/%value")), ErrorKind::Invalid);
}

#[test]
fn promise_4_5_what_lies_below_the_other_is_refused() {
    let rig = Rig::new();
    rig.foreign_put("a", b"value");
    rig.foreign_put("a/b/c", b"below");
    for (one, other) in [("a", "a/b"), ("a/b/c", "a"), ("a", "a/%value"), ("a/%value", "a")] {
        assert_eq!(refused(rig.exchange(one, other)), ErrorKind::Invalid, "{one} and {other}");
    }
    for (one, other) in [("a", "none"), ("none", "a"), ("a/b/none", "a")] {
        assert_eq!(refused(rig.exchange(one, other)), ErrorKind::NotFound, "{one} and {other}");
    }
    rig.exchange("a", "a").unwrap();
    assert_eq!(rig.stored("a/b/c").unwrap(), b"below");
}

#[test]
fn promise_4_5_what_is_written_goes_with_its_file() {
    let rig = Rig::new();
    rig.put("a", b"one");
    let a = rig.open("a", WRITE).unwrap();
    let b = rig.create("b", WRITE).unwrap();
    rig.write(a, 0, b"ONE").unwrap();
    rig.write(b, 0, b"new").unwrap();
    rig.exchange("a", "b").unwrap();
    rig.write(a, 3, b"!").unwrap();
    rig.write(b, 3, b"?").unwrap();
    assert_eq!((content(&rig, "a"), content(&rig, "b")), (b"new?".to_vec(), b"ONE!".to_vec()));
    rig.close(a).unwrap();
    rig.close(b).unwrap();
    assert_eq!((rig.stored("a").unwrap(), rig.stored("b").unwrap()), (b"new?".to_vec(), b"ONE!".to_vec()));
}

#[test]
fn promise_4_5_a_failed_exchange_changes_nothing() {
    let rig = Rig::new();
    rig.foreign_put("a", b"one");
    rig.foreign_put("b", b"other");
    let (a, b) = (rig.look("a").unwrap(), rig.look("b").unwrap());
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::NoSpace);
    assert_eq!(refused(rig.exchange("a", "b")), ErrorKind::NoSpace);
    assert_eq!((rig.look("a").unwrap().ino, rig.look("b").unwrap().ino), (a.ino, b.ino));
    assert_eq!((content(&rig, "a"), content(&rig, "b")), (b"one".to_vec(), b"other".to_vec()));
}

#[test]
fn promise_4_5_the_key_on_the_way_is_one_that_nobody_uses() {
    let rig = Rig::new();
    for path in ["d/a", "d/b", "d/kvfsexchange0", "d/kvfsexchange1/below"] {
        rig.foreign_put(path, path.as_bytes());
    }
    rig.exchange("d/a", "d/b").unwrap();
    assert_eq!((content(&rig, "d/a"), content(&rig, "d/b")), (b"d/b".to_vec(), b"d/a".to_vec()));
    assert_eq!(content(&rig, "d/kvfsexchange0"), b"d/kvfsexchange0");
    let d = rig.look("d").unwrap().ino;
    assert_eq!(rig.names(d), ["a", "b", "kvfsexchange0", "kvfsexchange1"]);
}
