//! Two things at once, one of them held up inside the store while the other goes on.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::*;
use crate::layer::fault::{Call, Moment};

/// So long something that waits for a lock is let wait, before what it waits for goes on.
const WAITING: Duration = Duration::from_millis(300);

/// Lets `other` begin in the middle of a store's call, and the call go on when it has ended or waits for a lock.
fn amid<T: Send + 'static>(
    rig: &Rig,
    call: Call,
    moment: Moment,
    other: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let (begin, begun) = mpsc::channel::<()>();
    let (end, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        begun.recv().unwrap();
        let answer = other();
        let _ = end.send(());
        answer
    });
    let action = move || {
        begin.send(()).unwrap();
        let _ = ended.recv_timeout(WAITING);
        Ok(())
    };
    rig.faulty.plan(call, 1, moment, Box::new(action));
    thread
}

#[test]
fn promise_4_1_a_file_opened_while_it_is_removed_does_not_come_back() {
    let rig = Rig::new();
    rig.put("a", b"first");
    let ino = rig.look("a").unwrap().ino;
    let vfs = Arc::clone(&rig.vfs);
    let opened = Arc::new(std::sync::Mutex::new(None));
    let before = {
        let (vfs, opened) = (Arc::clone(&vfs), Arc::clone(&opened));
        amid(&rig, Call::Apply, Moment::Before, move || {
            let handle = vfs.open(caller(), ino, WRITE).unwrap().handle;
            vfs.write(ino, handle, 0, b"FIRST", false, false).unwrap();
            *opened.lock().unwrap() = Some(handle);
        })
    };
    // After the deletion its close comes, and puts if it may.
    let after = amid(&rig, Call::Apply, Moment::After, move || {
        let handle = opened.lock().unwrap().take().unwrap();
        let _ = vfs.flush_handle(caller(), ino, handle, OWNER);
        vfs.release(ino, handle);
    });
    rig.unlink("a").unwrap();
    before.join().unwrap();
    after.join().unwrap();
    assert_eq!(rig.stored("a"), None);
    assert!(!rig.exists("a"));
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn a_directory_made_while_the_one_above_moves_moves_along() {
    let rig = Rig::new();
    rig.foreign_put("d/x", b"x");
    let directory = rig.look("d").unwrap().ino;
    let vfs = Arc::clone(&rig.vfs);
    let rename =
        amid(&rig, Call::Stat, Moment::After, move || vfs.rename(ROOT, b"d", ROOT, b"e", false).unwrap());
    rig.vfs.mkdir(caller(), directory, b"sub", 0o755).unwrap();
    rename.join().unwrap();
    assert_eq!(rig.vfs.store().stat(&key("d")).unwrap(), None);
    assert!(rig.vfs.store().stat(&key("e/sub")).unwrap().is_some());
    assert_eq!(rig.names(ROOT), ["e"]);
}

#[test]
fn a_file_created_while_the_directory_above_moves_moves_along() {
    let rig = Rig::new();
    rig.foreign_put("d/x", b"x");
    let directory = rig.look("d").unwrap().ino;
    let vfs = Arc::clone(&rig.vfs);
    let rename =
        amid(&rig, Call::Stat, Moment::After, move || vfs.rename(ROOT, b"d", ROOT, b"e", false).unwrap());
    let (attr, opened) = rig.vfs.create(caller(), directory, b"new", 0o644, WRITE).unwrap();
    rename.join().unwrap();
    rig.close((attr.ino, opened.handle)).unwrap();
    assert_eq!(rig.names(ROOT), ["e"]);
    assert_eq!(rig.stored("e/new"), Some(Vec::new()));
}

#[test]
fn a_file_removed_while_the_directory_above_moves_is_gone() {
    let rig = Rig::new();
    rig.foreign_put("d/x", b"x");
    rig.foreign_put("d/y", b"y");
    let directory = rig.look("d").unwrap().ino;
    let vfs = Arc::clone(&rig.vfs);
    let rename =
        amid(&rig, Call::Stat, Moment::After, move || vfs.rename(ROOT, b"d", ROOT, b"e", false).unwrap());
    rig.vfs.unlink(directory, b"x").unwrap();
    rename.join().unwrap();
    assert_eq!((rig.stored("d/x"), rig.stored("e/x")), (None, None));
    assert_eq!(rig.names(ROOT), ["e"]);
}

#[test]
fn a_name_is_found_while_the_directory_above_moves() {
    for moment in [Moment::Before, Moment::After] {
        let rig = Rig::new();
        rig.foreign_put("d/x", b"x");
        let directory = rig.look("d").unwrap().ino;
        let file = rig.look("d/x").unwrap().ino;
        let vfs = Arc::clone(&rig.vfs);
        let found = amid(&rig, Call::Apply, moment, move || {
            let found = vfs.lookup(directory, b"x").map(drop);
            found.and(vfs.getattr(file).map(drop))
        });
        rig.vfs.rename(ROOT, b"d", ROOT, b"e", false).unwrap();
        found.join().unwrap().unwrap();
    }
}

#[test]
fn a_directory_is_listed_while_it_moves() {
    let rig = Rig::new();
    for name in ["d/x", "d/y", "d/z"] {
        rig.foreign_put(name, b"");
    }
    let directory = rig.look("d").unwrap().ino;
    let handle = rig.vfs.opendir(directory).unwrap();
    let vfs = Arc::clone(&rig.vfs);
    let names = amid(&rig, Call::Apply, Moment::After, move || {
        let mut names = Vec::new();
        let take = &mut |given: super::super::dir::Given<'_>| {
            names.push(given.name.to_vec());
            true
        };
        vfs.readdir(handle, 0, false, take).unwrap();
        names
    });
    rig.vfs.rename(ROOT, b"d", ROOT, b"e", false).unwrap();
    assert_eq!(names.join().unwrap(), [&b"."[..], b"..", b"x", b"y", b"z"]);
}

#[test]
fn bytes_of_a_file_that_is_gone_are_not_put_as_another_with_its_number() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    rig.write(file, 0, b"old").unwrap();
    // Whoever tries again, or syncs, has a list of what was dirty a moment ago.
    let (ino, buffer) = rig.vfs.dirty().pop().unwrap();
    rig.unlink("a").unwrap();
    rig.close(file).unwrap();
    rig.vfs.forget(ino, 1);
    let new = rig.create("a", WRITE).unwrap();
    assert_eq!(new.0, ino);
    rig.vfs.put_if_dirty(ino, &buffer).unwrap();
    assert_eq!(rig.stored("a"), None);
    rig.write(new, 0, b"new").unwrap();
    rig.close(new).unwrap();
    rig.vfs.put_if_dirty(ino, &buffer).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"new");
}

#[test]
fn a_write_while_bytes_are_put_is_put_by_the_next_close() {
    let rig = Rig::new();
    let file = rig.create("a", WRITE).unwrap();
    rig.write(file, 0, b"one").unwrap();
    let vfs = Arc::clone(&rig.vfs);
    let written = amid(&rig, Call::Apply, Moment::After, move || {
        vfs.write(file.0, file.1, 0, b"two", false, false).unwrap();
    });
    rig.flush(file).unwrap();
    written.join().unwrap();
    // Another program's change in between is not overwritten by bytes that stand on ours (§4.6).
    assert_eq!(rig.stored("a").unwrap(), b"one");
    rig.close(file).unwrap();
    assert_eq!(rig.stored("a").unwrap(), b"two");
}

#[test]
fn promise_4_1_a_superseded_file_that_is_put_while_its_name_is_removed_does_not_come_back() {
    for moment in [Moment::Before, Moment::After] {
        let rig = Rig::new();
        rig.foreign_put("a", b"old");
        let (ino, handle) = rig.open("a", WRITE).unwrap();
        rig.foreign_put("a", b"by another program");
        assert_ne!(rig.look("a").unwrap().ino, ino);
        let vfs = Arc::clone(&rig.vfs);
        let put = amid(&rig, Call::Apply, moment, move || {
            vfs.write(ino, handle, 0, b"a whole file", false, false).unwrap();
            let _ = vfs.flush_handle(caller(), ino, handle, OWNER);
            vfs.release(ino, handle);
        });
        rig.unlink("a").unwrap();
        put.join().unwrap();
        assert_eq!(rig.stored("a"), None);
        assert!(!rig.exists("a"));
        assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
    }
}

#[test]
fn promise_2_4_a_directory_is_there_all_the_while_that_its_last_entry_is_removed() {
    for directory in [false, true] {
        let rig = Rig::new();
        rig.foreign_put("d/last/", b"");
        rig.foreign_put("e/last", b"");
        let path = if directory { "d" } else { "e" };
        let above = rig.look(path).unwrap().ino;
        let vfs = Arc::clone(&rig.vfs);
        let looked =
            amid(&rig, Call::Apply, Moment::After, move || vfs.lookup(ROOT, path.as_bytes()).is_ok());
        if directory {
            rig.vfs.rmdir(above, b"last").unwrap();
        } else {
            rig.vfs.unlink(above, b"last").unwrap();
        }
        assert!(looked.join().unwrap(), "{path}");
    }
}

#[test]
fn promise_2_4_a_removal_that_fails_leaves_no_directory_behind() {
    let rig = Rig::new();
    rig.foreign_put("d/last", b"");
    rig.faulty.fail(Call::Apply, 1, Moment::Before, ErrorKind::Io);
    assert_eq!(refused(rig.unlink("d/last")), ErrorKind::Io);
    rig.foreign_delete("d/last");
    assert!(!rig.exists("d"));
}

#[test]
fn promise_8_1_a_slow_put_holds_up_a_rename_and_nobody_else() {
    let rig = Rig::new();
    rig.put("moves", b"");
    let written = rig.create("slow", WRITE).unwrap();
    rig.write(written, 0, b"bytes").unwrap();
    let (is_slow, slow) = mpsc::channel::<()>();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let hold = move || {
        is_slow.send(()).unwrap();
        let _ = goes_on.recv_timeout(Duration::from_secs(20));
        Ok(())
    };
    rig.faulty.plan(Call::Apply, 1, Moment::Before, Box::new(hold));
    thread::scope(|scope| {
        let put = scope.spawn(|| rig.close(written));
        slow.recv().unwrap();
        let rename = scope.spawn(|| rig.vfs.rename(ROOT, b"moves", ROOT, b"moved", false));
        // A lock that somebody waits for to write is not to be had at once for reading.
        while rig.vfs.tree.try_read().is_some() {
            thread::yield_now();
        }
        assert_eq!(rig.names(ROOT), ["slow", "moves"]);
        rig.put("another", b"x");
        rig.unlink("another").unwrap();
        assert!(!put.is_finished() && !rename.is_finished());
        go_on.send(()).unwrap();
        put.join().unwrap().unwrap();
        rename.join().unwrap().unwrap();
    });
    assert_eq!(rig.names(ROOT), ["moved", "slow"]);
}

#[test]
fn promise_4_5_a_file_opened_while_it_is_exchanged_is_one_or_the_other() {
    for moment in [Moment::Before, Moment::After] {
        let rig = Rig::new();
        rig.foreign_put("a", b"one");
        rig.foreign_put("b", b"two");
        let (a, b) = (rig.look("a").unwrap().ino, rig.look("b").unwrap().ino);
        let vfs = Arc::clone(&rig.vfs);
        let open = amid(&rig, Call::Apply, moment, move || {
            let opened = vfs.open(caller(), a, READ).unwrap();
            let mut bytes = Vec::new();
            vfs.read(a, opened.handle, 0, 10, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
            vfs.release(a, opened.handle);
            let cut = crate::vfs::setattr::Set { size: Some(2), ..Default::default() };
            vfs.setattr(a, cut).unwrap();
            (bytes, vfs.getattr(a).unwrap().size)
        });
        rig.exchange("a", "b").unwrap();
        // An inode is a file, whatever its name.
        assert_eq!(open.join().unwrap(), (b"one".to_vec(), 2));
        assert_eq!((rig.look("a").unwrap().ino, rig.look("b").unwrap().ino), (b, a));
        assert_eq!((rig.stored("a").unwrap(), rig.stored("b").unwrap()), (b"two".to_vec(), b"on".to_vec()));
    }
}

/// All who have a file open read one value, which the inode knows for as long as any of them does: by it they are told its
/// length when the name has gone.
#[test]
fn promise_3_1_who_open_at_once_read_one_value() {
    let rig = Rig::new();
    rig.put("f", b"bytes");
    let ino = rig.look("f").unwrap().ino;
    let both = std::sync::Barrier::new(2);
    let open = || {
        both.wait();
        rig.vfs.open(caller(), ino, READ).unwrap().handle
    };
    let value = |handle: u64| rig.vfs.handle(handle).unwrap().value.lock().clone().unwrap();
    for _ in 0..3000 {
        let (first, second) = thread::scope(|scope| {
            let other = scope.spawn(open);
            (open(), other.join().unwrap())
        });
        assert!(Arc::ptr_eq(&value(first), &value(second)));
        rig.vfs.release(ino, first);
        rig.vfs.release(ino, second);
    }
    let (first, second) = (open_alone(&rig, ino), open_alone(&rig, ino));
    rig.unlink("f").unwrap();
    rig.vfs.release(ino, first);
    assert_eq!(rig.vfs.getattr(ino).unwrap().size, 5);
    assert_eq!(rig.read((ino, second)).unwrap(), b"bytes");
}

fn open_alone(rig: &Rig, ino: Ino) -> u64 {
    rig.vfs.open(caller(), ino, READ).unwrap().handle
}

#[test]
fn promise_4_5_whoever_is_sent_back_may_take_long_to_come_again() {
    let rig = Rig::new();
    rig.put("f", b"one");
    let ino = rig.look("f").unwrap().ino;
    rig.foreign_put("f", b"three");
    assert_eq!(refused(rig.vfs.open(caller(), ino, READ)), ErrorKind::Stale);
    rig.foreign_put("f", b"eleven");
    thread::park_timeout(Duration::from_millis(1100));
    let opened = rig.vfs.open(caller(), ino, READ).unwrap();
    assert_eq!(rig.read((ino, opened.handle)).unwrap(), b"eleven");
}
