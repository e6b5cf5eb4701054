//! A store that fails: after any error the mount and the store agree, and nothing accepted is lost.

use super::super::setattr::Set;
use super::*;
use crate::env::Deadline;
use crate::layer::fault::{Call, Moment};
use crate::store::attributes::FileType;

const EXCLUSIVE: Mode = Mode { exclusive: true, ..WRITE };

#[test]
fn promise_8_1_a_put_that_failed_after_its_effect_is_known_by_its_bytes() {
    let rig = Rig::new();
    let file = rig.create("a", EXCLUSIVE).unwrap();
    rig.write(file, 0, b"bytes").unwrap();
    rig.faulty.fail(Call::Apply, 1, Moment::After, ErrorKind::TimedOut);
    assert_eq!(refused(rig.flush(file)), ErrorKind::TimedOut);
    rig.vfs.release(file.0, file.1);
    rig.vfs.retry();
    assert_eq!(rig.stored("a").unwrap(), b"bytes");
    assert_eq!(rig.spool.list().unwrap(), []);
    assert_eq!(rig.vfs.report().dirty, 0);
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn promise_4_2_the_error_of_a_put_stands_until_a_put_succeeds() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    rig.write(file, 0, b"bytes").unwrap();
    for _ in 0..2 {
        rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::NoSpace);
        assert_eq!(refused(rig.flush(file)), ErrorKind::NoSpace);
    }
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::NoSpace);
    assert_eq!(refused(rig.vfs.fsync(file.0)), ErrorKind::NoSpace);
    assert_eq!(rig.read(file).unwrap(), b"bytes");
    assert_eq!(rig.vfs.report().failing.len(), 1);
    rig.vfs.fsync(file.0).unwrap();
    rig.close(file).unwrap();
    assert_eq!(rig.vfs.report().failing, [""; 0]);
    assert_eq!(rig.stored("a").unwrap(), b"bytes");
}

#[test]
fn what_is_owed_after_the_last_close_is_put_again_and_shown_meanwhile() {
    let rig = Rig::new();
    rig.put("a", b"before");
    let file = rig.open("a", TRUNCATE).unwrap();
    rig.write(file, 0, b"after").unwrap();
    // The close and the release both try.
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Io);
    rig.faulty.fail(Call::Apply, 2, Moment::Before, ErrorKind::Io);
    assert_eq!(refused(rig.close(file)), ErrorKind::Io);
    assert_eq!(rig.stored("a").unwrap(), b"before");
    assert_eq!(rig.look("a").unwrap().size, 5);
    let reader = rig.open("a", READ).unwrap();
    assert_eq!(rig.read(reader).unwrap(), b"after");
    rig.close(reader).unwrap();
    rig.vfs.flush(Deadline::after(Duration::from_secs(5))).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"after");
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1, "a sync lets go of what it put");
}

#[test]
fn a_node_that_could_not_be_made_is_not_there() {
    for moment in [Moment::Before, Moment::After] {
        let rig = Rig::new();
        rig.faulty.fail(Call::Apply, 1, moment, ErrorKind::NoSpace);
        assert_eq!(
            refused(rig.vfs.make_node(caller(), ROOT, b"a", 0o644, FileType::Regular)),
            ErrorKind::NoSpace
        );
        assert_eq!(rig.exists("a"), rig.stored("a").is_some());
        assert_eq!(rig.names(ROOT).len(), usize::from(rig.stored("a").is_some()));
        assert_eq!(rig.vfs.report().dirty, 0);
        assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
    }
}

#[test]
fn a_truncation_that_was_refused_did_not_happen() {
    let rig = Rig::new();
    rig.put("a", b"longer");
    let ino = rig.look("a").unwrap().ino;
    let size = |size| Set { size: Some(size), ..Set::default() };
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::NoSpace);
    assert_eq!(refused(rig.vfs.setattr(ino, size(3))), ErrorKind::NoSpace);
    assert_eq!(rig.look("a").unwrap().size, 6);
    assert_eq!(rig.read(rig.open("a", READ).unwrap()).unwrap(), b"longer");
    assert_eq!(rig.vfs.report().dirty, 0);
    rig.foreign_delete("a");
    assert_eq!(refused(rig.vfs.setattr(ino, size(3))), ErrorKind::NotFound);
    assert_eq!(rig.stored("a"), None);
}

#[test]
fn promise_8_4_what_is_refused_at_the_last_close_is_in_the_spool_and_nowhere_else() {
    let rig = Rig::new();
    let file = rig.create("a", EXCLUSIVE).unwrap();
    rig.write(file, 0, b"mine").unwrap();
    rig.foreign_put("a", b"theirs");
    assert_eq!(refused(rig.close(file)), ErrorKind::Exists);
    assert_eq!(rig.spool.list().unwrap().len(), 1);
    assert_eq!(rig.look("a").unwrap().size, 6);
    assert_eq!(rig.read(rig.open("a", READ).unwrap()).unwrap(), b"theirs");
    rig.foreign_delete("a");
    assert_eq!(rig.names(ROOT), [""; 0]);
    assert_eq!(rig.vfs.report().dirty, 0);
}

#[test]
fn promise_8_4_what_the_spool_cannot_take_stays_in_the_mount() {
    let rig = Rig::new();
    let file = rig.create("a", EXCLUSIVE).unwrap();
    rig.write(file, 0, b"mine").unwrap();
    rig.foreign_put("a", b"theirs");
    let folder = rig._state.path().join("spool");
    std::fs::write(&folder, b"a file in the way").unwrap();
    assert_eq!(refused(rig.close(file)), ErrorKind::Exists);
    assert_eq!(rig.vfs.report().dirty, 1);
    std::fs::remove_file(&folder).unwrap();
    rig.vfs.retry();
    assert_eq!(rig.spool.list().unwrap().len(), 1);
    assert_eq!(rig.vfs.report().dirty, 0);
    assert_eq!(rig.look("a").unwrap().size, 6);
}

#[test]
fn a_create_whose_answer_fails_counts_no_lookup() {
    let rig = Rig::new();
    rig.foreign_put("a", b"there");
    for nth in 1..8 {
        for call in [Call::Stat, Call::Open] {
            rig.faulty.fail(call, nth, Moment::Before, ErrorKind::Io);
            let inodes = rig.vfs.table.lock().len();
            match rig.create("a", WRITE) {
                Ok(file) => rig.close(file).unwrap(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io);
                    assert_eq!(rig.vfs.table.lock().len(), inodes, "{call:?} {nth}");
                }
            }
            rig.faulty.heal();
            assert_eq!(rig.vfs.report().open, 0);
            rig.inodes_when_all_is_forgotten();
        }
    }
}

#[test]
fn promise_8_4_the_end_keeps_what_cannot_be_put() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    rig.write(file, 0, b"mine").unwrap();
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Io);
    let sentences = rig.vfs.finish(Deadline::after(Duration::from_secs(5)));
    assert_eq!(sentences.len(), 1, "{sentences:?}");
    let kept = rig.spool.list().unwrap();
    assert_eq!((kept.len(), &kept[0].key, kept[0].size), (1, &key("a"), 4));
    // An end whose time is over puts nothing more, and keeps it all the same.
    let rig = Rig::new();
    let file = rig.create("b", WRITE).unwrap();
    rig.write(file, 0, b"mine").unwrap();
    rig.vfs.finish(Deadline::after(Duration::ZERO));
    assert_eq!(rig.stored("b"), None);
    assert_eq!(rig.spool.list().unwrap().len(), 1);
}

#[test]
fn promise_7_2_what_the_store_rejects_stays_in_the_mount_and_holds_nothing_up() {
    let rig = Rig::new();
    rig.put("a", b"before");
    let file = rig.open("a", TRUNCATE).unwrap();
    rig.write(file, 0, b"malformed").unwrap();
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Invalid);
    assert_eq!(refused(rig.flush(file)), ErrorKind::Invalid);
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Invalid);
    rig.vfs.release(file.0, file.1);
    assert_eq!(rig.stored("a").unwrap(), b"before");
    assert!(!rig.vfs.getxattr(file.0, b"user.kvfs.error").unwrap().is_empty());
    // It is not put again by itself, and others need not wait for it.
    rig.vfs.retry();
    assert_eq!(rig.stored("a").unwrap(), b"before");
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Invalid);
    rig.vfs.flush(Deadline::after(Duration::from_secs(5))).unwrap();
    assert_eq!(refused(rig.vfs.check_rejected()), ErrorKind::Invalid);
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Invalid);
    let told = rig.vfs.finish(Deadline::after(Duration::from_secs(5)));
    assert!(told.iter().any(|told| told.contains("kvfs recover")), "{told:?}");
    assert_eq!(rig.spool.list().unwrap().len(), 1);
}

#[test]
fn promise_7_2_a_new_file_without_bytes_waits_for_them() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    for _ in 0..2 {
        rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Invalid);
        rig.flush(file).unwrap();
    }
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Invalid);
    rig.vfs.release(file.0, file.1);
    rig.vfs.check_rejected().unwrap();
    assert_eq!(rig.vfs.report().failing, [""; 0]);
    assert_eq!((rig.stored("a"), rig.look("a").unwrap().size), (None, 0));
    let file = rig.open("a", WRITE).unwrap();
    rig.write(file, 0, b"bytes").unwrap();
    rig.close(file).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"bytes");
    assert_eq!(rig.vfs.finish(Deadline::after(Duration::from_secs(5))), [""; 0]);
}
