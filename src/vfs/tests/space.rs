//! `fallocate` and `lseek`.

use std::time::SystemTime;

use super::*;
use crate::vfs::space::{Fallocate, Seek};

/// Longer than what stays in memory.
const LARGE: u64 = 8 << 20;

fn fallocate(
    rig: &Rig,
    file: (Ino, u64),
    offset: u64,
    length: u64,
    zeros: bool,
    keep_size: bool,
) -> Result<()> {
    rig.vfs.fallocate(file.0, file.1, Fallocate { offset, length, zeros, keep_size }, false)
}

/// The pieces of data of a file, from end to end.
fn data(rig: &Rig, file: (Ino, u64)) -> Vec<(u64, u64)> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    loop {
        let from = match rig.vfs.seek(file.0, file.1, at, Seek::Data) {
            Ok(from) => from,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::PastEnd);
                return pieces;
            }
        };
        let to = rig.vfs.seek(file.0, file.1, from as i64, Seek::Hole).unwrap();
        pieces.push((from, to));
        at = to as i64;
    }
}

#[test]
fn promise_4_1_room_asked_for_ahead_is_zeros() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    let file = rig.open("a", WRITE).unwrap();
    fallocate(&rig, file, 3, 5, false, false).unwrap();
    assert_eq!(rig.read(file).unwrap(), b"bytes\0\0\0");
    fallocate(&rig, file, 100, 5, false, true).unwrap();
    rig.close(file).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"bytes\0\0\0");
}

#[test]
fn promise_4_1_zeros_in_the_middle_across_the_end_and_behind_it() {
    let rig = Rig::new();
    for (offset, length, keep_size, expected) in [
        (1, 2, true, &b"b\0\0es"[..]),
        (1, 2, false, b"b\0\0es"),
        (3, 5, true, b"byt\0\0"),
        (3, 5, false, b"byt\0\0\0\0\0"),
        (7, 2, true, b"bytes"),
        (7, 2, false, b"bytes\0\0\0\0"),
        (0, 5, true, b"\0\0\0\0\0"),
    ] {
        rig.put("a", b"bytes");
        let file = rig.open("a", WRITE).unwrap();
        fallocate(&rig, file, offset, length, true, keep_size).unwrap();
        assert_eq!(rig.read(file).unwrap(), expected, "{length} at {offset}");
        rig.close(file).unwrap();
        assert_eq!(rig.stored("a").unwrap(), expected, "{length} at {offset}");
    }
}

#[test]
fn promise_4_8_room_over_the_limit_is_refused_at_once() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    let file = rig.open("a", WRITE).unwrap();
    for (offset, length) in [(0, 100 << 30), (u64::MAX, 1), (4 << 30, 1)] {
        for (zeros, keep_size) in [(false, false), (false, true), (true, false)] {
            assert_eq!(refused(fallocate(&rig, file, offset, length, zeros, keep_size)), ErrorKind::TooBig);
        }
    }
    fallocate(&rig, file, 2, u64::MAX, true, true).unwrap();
    assert_eq!(rig.read(file).unwrap(), b"by\0\0\0");
    let reader = rig.open("a", READ).unwrap();
    assert_eq!(refused(fallocate(&rig, reader, 0, 1, false, false)), ErrorKind::BadHandle);
}

#[test]
fn promise_4_6_zeros_stand_on_the_version_that_was_opened() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    let file = rig.open("a", WRITE).unwrap();
    fallocate(&rig, file, 0, 5, true, true).unwrap();
    rig.foreign_put("a", b"other");
    assert_eq!(refused(rig.flush(file)), ErrorKind::Stale);
    rig.vfs.release(file.0, file.1);
    assert_eq!(rig.stored("a").unwrap(), b"other");
}

#[test]
fn promise_5_5_changed_bytes_change_the_time_and_room_alone_changes_no_more_than_the_file_itself() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let set =
        crate::vfs::setattr::Set { mtime: Some(crate::vfs::setattr::Time::At(past)), ..Default::default() };
    let file = rig.open("a", WRITE).unwrap();
    let before = rig.vfs.setattr(file.0, set).unwrap();
    fallocate(&rig, file, 0, 5, false, false).unwrap();
    let after = rig.vfs.getattr(file.0).unwrap();
    assert_eq!(after.mtime, past);
    assert!(after.ctime > before.ctime);
    let puts = rig.vfs.report().puts;
    rig.flush(file).unwrap();
    assert_eq!(rig.vfs.report().puts, puts, "not a byte changed");
    fallocate(&rig, file, 0, 1, true, true).unwrap();
    let after = rig.vfs.getattr(file.0).unwrap();
    assert!(after.mtime > past && after.ctime >= after.mtime);
}

#[test]
fn a_change_of_content_by_another_user_takes_the_set_id_bits_away() {
    let rig = Rig::new();
    rig.put("a", b"bytes");
    rig.put("b", b"bytes");
    for path in ["a", "b"] {
        let ino = rig.look(path).unwrap().ino;
        let set = crate::vfs::setattr::Set { mode: Some(0o6755), ..Default::default() };
        rig.vfs.setattr(ino, set).unwrap();
    }
    let (a, b) = (rig.open("a", WRITE).unwrap(), rig.open("b", WRITE).unwrap());
    rig.vfs
        .fallocate(a.0, a.1, Fallocate { offset: 0, length: 1, zeros: true, keep_size: true }, true)
        .unwrap();
    assert_eq!(rig.vfs.getattr(a.0).unwrap().mode, 0o755);
    let spot = |file: (Ino, u64)| crate::vfs::copy::Spot { ino: file.0, handle: file.1, offset: 0 };
    rig.vfs.copy_range(spot(a), spot(b), 1, true).unwrap();
    assert_eq!(rig.vfs.getattr(b.0).unwrap().mode, 0o755);
}

#[test]
fn holes_are_found_where_a_spill_file_has_them() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    fallocate(&rig, file, 0, LARGE, false, false).unwrap();
    assert_eq!(data(&rig, file), []);
    rig.write(file, 4 << 20, &[7; 4096]).unwrap();
    assert_eq!(data(&rig, file), [(4 << 20, (4 << 20) + 4096)]);
    assert_eq!(rig.vfs.seek(file.0, file.1, 0, Seek::Hole).unwrap(), 0);
    fallocate(&rig, file, 4 << 20, 4096, true, true).unwrap();
    assert_eq!(data(&rig, file), []);
    rig.close(file).unwrap();
    let reader = rig.open("a", READ).unwrap();
    // It is kept as one value.
    assert_eq!(data(&rig, reader), [(0, LARGE)]);
}

#[test]
fn what_may_be_mapped_and_changed_has_no_holes() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    let reader = rig.open("a", READ).unwrap();
    fallocate(&rig, file, 0, LARGE, false, false).unwrap();
    rig.vfs.read(reader.0, reader.1, 0, 4096, &mut |_| {}).unwrap();
    assert_eq!(data(&rig, file), [(0, LARGE)]);
    assert_eq!(data(&rig, reader), [(0, LARGE)]);
    // Pages of a handle that only writes are nobody's to change.
    let only_writes = rig.create("b", Mode { write_only: true, ..WRITE }).unwrap();
    fallocate(&rig, only_writes, 0, LARGE, false, false).unwrap();
    let reader = rig.open("b", READ).unwrap();
    rig.vfs.read(reader.0, reader.1, 0, 4096, &mut |_| {}).unwrap();
    assert_eq!(data(&rig, reader), []);
}

#[test]
fn there_is_nothing_to_find_past_the_end() {
    let rig = Rig::new();
    rig.foreign_put("a", b"bytes");
    let reader = rig.open("a", READ).unwrap();
    assert_eq!(data(&rig, reader), [(0, 5)]);
    assert_eq!(rig.vfs.seek(reader.0, reader.1, 4, Seek::Hole).unwrap(), 5);
    for offset in [5, 6, i64::MAX, -1, i64::MIN] {
        for seek in [Seek::Data, Seek::Hole] {
            assert_eq!(refused(rig.vfs.seek(reader.0, reader.1, offset, seek)), ErrorKind::PastEnd);
        }
    }
    rig.foreign_put("empty", b"");
    let empty = rig.open("empty", READ).unwrap();
    assert_eq!(refused(rig.vfs.seek(empty.0, empty.1, 0, Seek::Hole)), ErrorKind::PastEnd);
}
