//! `copy_file_range`.

use super::*;
use crate::layer::fault::{Call, Moment};
use crate::vfs::copy::Spot;

fn copy(rig: &Rig, from: (Ino, u64), at: u64, to: (Ino, u64), to_at: u64, length: u64) -> Result<u64> {
    let from = Spot { ino: from.0, handle: from.1, offset: at };
    let to = Spot { ino: to.0, handle: to.1, offset: to_at };
    rig.vfs.copy_range(from, to, length, false)
}

#[test]
fn a_stored_value_and_a_buffer_are_copied() {
    let rig = Rig::new();
    rig.foreign_put("a", b"stored");
    let (stored, target) = (rig.open("a", READ).unwrap(), rig.create("b", WRITE).unwrap());
    assert_eq!(copy(&rig, stored, 0, target, 0, 1 << 40).unwrap(), 6);
    assert_eq!(copy(&rig, stored, 2, target, 8, 3).unwrap(), 3);
    assert_eq!(rig.read(target).unwrap(), b"stored\0\0ore");
    let written = rig.create("c", WRITE).unwrap();
    assert_eq!(copy(&rig, target, 8, written, 1, 100).unwrap(), 3);
    assert_eq!(rig.read(written).unwrap(), b"\0ore");
    for (path, file) in [("b", target), ("c", written)] {
        rig.close(file).unwrap();
        assert_eq!(rig.stored(path).unwrap(), rig.read(rig.open(path, READ).unwrap()).unwrap());
    }
}

#[test]
fn ranges_of_one_file_may_touch_and_not_overlap() {
    let rig = Rig::new();
    rig.put("a", b"0123456789");
    let file = rig.open("a", WRITE).unwrap();
    for (from, to) in [(0, 0), (0, 2), (2, 0)] {
        assert_eq!(refused(copy(&rig, file, from, file, to, 3)), ErrorKind::Invalid);
    }
    // As far as there are bytes.
    assert_eq!(copy(&rig, file, 8, file, 5, 10).unwrap(), 2);
    assert_eq!(copy(&rig, file, 0, file, 3, 2).unwrap(), 2);
    assert_eq!(rig.read(file).unwrap(), b"0120189789");
    let other = rig.open("a", READ).unwrap();
    assert_eq!(copy(&rig, other, 0, file, 10, 3).unwrap(), 3);
    assert_eq!(rig.read(file).unwrap(), b"0120189789012");
}

#[test]
fn there_is_nothing_to_copy_past_the_end() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    let (source, target) = (rig.open("a", READ).unwrap(), rig.create("b", WRITE).unwrap());
    assert_eq!(copy(&rig, source, 5, target, 7, 1).unwrap(), 0);
    assert_eq!(copy(&rig, source, u64::MAX, target, 7, 1).unwrap(), 0);
    assert_eq!(rig.read(target).unwrap(), b"");
}

#[test]
fn handles_that_cannot_be_written_there_are_refused() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    let reader = rig.open("a", READ).unwrap();
    assert_eq!(refused(copy(&rig, reader, 0, reader, 5, 5)), ErrorKind::BadHandle);
    let appending = rig.open("a", Mode { append: true, ..WRITE }).unwrap();
    assert_eq!(refused(copy(&rig, reader, 0, appending, 5, 5)), ErrorKind::BadHandle);
}

#[test]
fn promise_4_8_a_copy_over_the_limit_is_refused_at_once() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    let (source, target) = (rig.open("a", READ).unwrap(), rig.create("b", WRITE).unwrap());
    assert_eq!(refused(copy(&rig, source, 0, target, (4 << 30) - 4, 5)), ErrorKind::TooBig);
    assert_eq!(refused(copy(&rig, source, 0, target, u64::MAX, 5)), ErrorKind::TooBig);
    assert_eq!(rig.vfs.getattr(target.0).unwrap().size, 0);
}

#[test]
fn promise_3_1_what_is_copied_is_one_version_or_stale() {
    let rig = Rig::new();
    let old = vec![1; 3 << 20];
    rig.foreign_put("a", &old);
    let (source, target) = (rig.open("a", READ).unwrap(), rig.create("b", WRITE).unwrap());
    rig.foreign_put("a", &vec![2; 3 << 20]);
    assert_eq!(copy(&rig, source, 0, target, 0, 1 << 20).unwrap(), 1 << 20);
    rig.faulty.fail(Call::Read, 2, Moment::Before, ErrorKind::Stale);
    // The piece before the failure is there, and the next call tells.
    assert_eq!(copy(&rig, source, 1 << 20, target, 1 << 20, 2 << 20).unwrap(), 1 << 20);
    rig.faulty.fail(Call::Read, 1, Moment::Before, ErrorKind::Stale);
    assert_eq!(refused(copy(&rig, source, 2 << 20, target, 2 << 20, 1 << 20)), ErrorKind::Stale);
    assert_eq!(copy(&rig, source, 2 << 20, target, 2 << 20, 1 << 20).unwrap(), 1 << 20);
    rig.close(target).unwrap();
    assert!(rig.stored("b").unwrap() == old);
}

#[test]
fn promise_4_6_a_copy_into_a_file_stands_on_the_version_that_was_opened() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    rig.put("b", b"a longer one");
    let (source, target) = (rig.open("a", READ).unwrap(), rig.open("b", WRITE).unwrap());
    copy(&rig, source, 0, target, 2, 5).unwrap();
    rig.foreign_put("b", b"somebody else's");
    assert_eq!(refused(rig.flush(target)), ErrorKind::Stale);
}

#[test]
fn a_long_copy_comes_in_parts_that_are_short() {
    let rig = Rig::new();
    let source = rig.create("a", WRITE).unwrap();
    let set =
        crate::vfs::setattr::Set { size: Some(100 << 20), handle: Some(source.1), ..Default::default() };
    rig.vfs.setattr(source.0, set).unwrap();
    rig.write(source, 70 << 20, b"far").unwrap();
    let target = rig.create("b", WRITE).unwrap();
    let (mut at, mut calls) = (0, 0);
    while at < 100 << 20 {
        let copied = copy(&rig, source, at, target, at, 1 << 40).unwrap();
        assert!(copied > 0 && copied <= 64 << 20);
        (at, calls) = (at + copied, calls + 1);
    }
    assert_eq!(calls, 2);
    let mut bytes = Vec::new();
    rig.vfs.read(target.0, target.1, 70 << 20, 4, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    assert_eq!(bytes, b"far\0");
}
