//! Open files.

use super::*;
use crate::layer::fault::{Call, Moment};

#[test]
fn promise_4_2_a_file_created_for_reading_alone_is_put_too() {
    let rig = Rig::new();
    let file = rig.create("a", READ).unwrap();
    rig.close(file).unwrap();
    assert_eq!(rig.stored("a"), Some(Vec::new()));
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn promise_4_2_a_close_by_another_thread_puts_where_the_thread_that_opened_has_ended() {
    let rig = Rig::new();
    let opener = std::thread::spawn(|| nix::unistd::gettid().as_raw() as u32).join().unwrap();
    let (attr, opened) =
        rig.vfs.create(Caller { pid: opener, ..caller() }, ROOT, b"a", 0o644, WRITE).unwrap();
    rig.write((attr.ino, opened.handle), 0, b"bytes").unwrap();
    rig.flush((attr.ino, opened.handle)).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"bytes");
}

#[test]
fn promise_4_2_a_close_by_a_child_puts_nothing() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    rig.write(file, 0, b"bytes").unwrap();
    // Process 1 is alive and is not this one, nor has it this one as a thread.
    rig.vfs.flush_handle(Caller { pid: 1, ..caller() }, file.0, file.1, 9).unwrap();
    assert_eq!(rig.stored("a"), None);
    // The opener's close tells its lock owner, by which its threads are known from then on.
    rig.flush(file).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"bytes");
    rig.write(file, 0, b"BYTES").unwrap();
    rig.vfs.flush_handle(Caller { pid: 1, ..caller() }, file.0, file.1, OWNER).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"BYTES");
}

#[test]
fn promise_3_1_readers_of_a_key_that_went_are_not_readers_of_the_file_that_came() {
    let rig = Rig::new();
    rig.foreign_put("a", b"old");
    let reader = rig.open("a", READ).unwrap();
    rig.foreign_delete("a");
    let writer = rig.create("a", WRITE).unwrap();
    rig.write(writer, 0, b"newer").unwrap();
    assert_eq!(rig.read(reader).unwrap(), b"old");
    rig.close(writer).unwrap();
    assert_eq!(rig.read(reader).unwrap(), b"old");
    assert_eq!(rig.vfs.getattr(reader.0).unwrap().size, 3);
    assert_eq!(rig.stored("a").unwrap(), b"newer");
}

#[test]
fn promise_3_1_a_large_value_that_is_put_again_as_it_was_keeps_its_inode() {
    let rig = Rig::new();
    let mut bytes = vec![7; (5 << 20) + 1];
    rig.foreign_put("a", &bytes);
    let (ino, _) = rig.open("a", READ).unwrap();
    rig.foreign_put("a", &bytes);
    assert_eq!(rig.look("a").unwrap().ino, ino);
    // What was compared once is not compared again.
    rig.faulty.fail(Call::Read, 1, Moment::Before, ErrorKind::Io);
    assert_eq!(rig.look("a").unwrap().ino, ino);
    assert_eq!(rig.open("a", READ).unwrap().0, ino);
    rig.faulty.heal();
    *bytes.last_mut().unwrap() = 8;
    rig.foreign_put("a", &bytes);
    assert_ne!(rig.look("a").unwrap().ino, ino);
}

#[test]
fn promise_3_1_a_listing_with_attributes_does_not_change_the_size_of_what_is_read() {
    let rig = Rig::new();
    rig.foreign_put("a", b"old");
    let reader = rig.open("a", READ).unwrap();
    rig.foreign_put("a", b"longer");
    let handle = rig.vfs.opendir(ROOT).unwrap();
    let mut listed = None;
    let take = &mut |given: super::super::dir::Given<'_>| {
        listed = given.attr.map(|attr| (attr.ino, attr.size)).or(listed);
        true
    };
    rig.vfs.readdir(handle, 0, true, take).unwrap();
    let (ino, size) = listed.unwrap();
    assert_eq!(size, 6);
    assert_ne!(ino, reader.0, "two versions, two inodes");
    assert_eq!(rig.read(reader).unwrap(), b"old");
}

#[test]
fn promise_4_1_a_removed_file_reads_and_writes_on_beside_one_of_its_name() {
    let rig = Rig::new();
    rig.put("a", b"first");
    let old = rig.open("a", WRITE).unwrap();
    rig.unlink("a").unwrap();
    rig.put("a", b"second");
    rig.write(old, 0, b"FIRST and more").unwrap();
    rig.close(old).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"second");
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn an_unlinked_file_is_opened_again_by_its_descriptor() {
    let rig = Rig::new();
    rig.put("a", b"first");
    let reader = rig.open("a", READ).unwrap();
    rig.unlink("a").unwrap();
    rig.put("a", b"second");
    // As through /proc/self/fd: the kernel has no name to look up, and asks twice.
    let again = rig.vfs.open(caller(), reader.0, READ).or_else(|_| rig.vfs.open(caller(), reader.0, READ));
    assert_eq!(rig.read((reader.0, again.unwrap().handle)).unwrap(), b"first");
}

#[test]
fn promise_1_7_a_new_value_of_a_directory_is_there_before_it_is_put() {
    let rig = Rig::new();
    rig.foreign_put("a/b", b"below");
    rig.unlink("a/b").unwrap();
    let file = rig.create("a/%value", WRITE).unwrap();
    rig.write(file, 0, b"own").unwrap();
    assert_eq!(rig.kind("a"), What::Directory);
    let a = rig.look("a").unwrap().ino;
    assert_eq!(rig.names(a), ["%value"]);
    rig.close(file).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"own");
    assert_eq!(rig.names(a), ["%value"]);
}

#[test]
fn promise_4_6_a_partial_write_stands_on_what_was_put_before() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    rig.write(file, 0, b"base").unwrap();
    rig.flush(file).unwrap();
    rig.foreign_put("a", b"BASE");
    rig.write(file, 1, b"-").unwrap();
    assert_eq!(refused(rig.flush(file)), ErrorKind::Stale);
    rig.vfs.release(file.0, file.1);
    assert_eq!(rig.stored("a").unwrap(), b"BASE");
    let kept = rig.spool.list().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(rig.read(rig.open("a", READ).unwrap()).unwrap(), b"BASE");
}

/// A handle of a file that another program replaced: its name went to a new inode.
fn superseded(rig: &Rig, path: &str) -> (Ino, u64) {
    rig.foreign_put(path, b"old");
    let handle = rig.open(path, WRITE).unwrap();
    rig.foreign_put(path, b"by another program");
    assert_ne!(rig.look(path).unwrap().ino, handle.0, "two versions, two inodes");
    handle
}

#[test]
fn promise_4_1_what_was_superseded_and_then_removed_does_not_come_back() {
    let rig = Rig::new();
    let idle = superseded(&rig, "a");
    let written = superseded(&rig, "a");
    rig.write(written, 0, b"written before the unlink").unwrap();
    rig.unlink("a").unwrap();
    rig.write(idle, 0, b"written after the unlink").unwrap();
    for handle in [written, idle] {
        rig.close(handle).unwrap();
        assert_eq!(rig.stored("a"), None);
    }
    assert!(!rig.exists("a"));
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn promise_4_1_what_was_superseded_and_then_replaced_does_not_come_back() {
    let rig = Rig::new();
    let handle = superseded(&rig, "a");
    rig.put("b", b"new");
    rig.rename("b", "a").unwrap();
    rig.write(handle, 0, b"a whole file").unwrap();
    rig.close(handle).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"new");
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn promise_4_1_what_was_superseded_goes_with_its_name_where_that_is_renamed() {
    let rig = Rig::new();
    rig.foreign_put("d/other", b"");
    let handle = superseded(&rig, "a");
    rig.rename("a", "d/b").unwrap();
    rig.write(handle, 0, b"a whole file").unwrap();
    rig.close(handle).unwrap();
    assert_eq!(rig.stored("a"), None);
    assert_eq!(rig.stored("d/b").unwrap(), b"a whole file");
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}
