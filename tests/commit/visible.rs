//! §4.4: a put that was accepted is seen by whoever opens the environment.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stage::{OnDrop, Stage};
use crate::store::{dump_has, number};

/// Puts under a bulk of other puts, each followed at once by a program that opens the environment.
fn nobody_catches_a_put(times: u32) {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_daemon_under_load");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    for time in 0..times {
        let (key, value) = (format!("watched-{}", time % 7), format!("value {time}"));
        daemon.tell(&format!("{key} {value}"));
        assert_eq!(daemon.hear().as_deref(), Some("accepted"));
        assert!(dump_has(&stage.store(), &key, &value), "{value:?} was accepted and is not there");
    }
    daemon.tell("end");
    let fact = daemon.hear().unwrap();
    let (accepted, commits) = (number(&fact, "accepted ahead"), number(&fact, "commits"));
    assert!(accepted >= u64::from(times) / 2, "the write-behind was hardly used: {fact}");
    assert!(commits * 2 <= accepted, "puts shared their commits: {fact}");
    daemon.ends_well();
    assert!(dump_has(&stage.store(), "last", "one"), "unmounting commits what is pending");
}

#[test]
fn promise_4_4_no_program_catches_a_put_before_its_commit() {
    nobody_catches_a_put(200);
}

#[test]
#[ignore = "minutes: scripts/prove-commit runs it"]
fn prove_10000_opens() {
    nobody_catches_a_put(10_000);
}

/// The same through a real mount, whose folder is apart from the store: the close of one file, under a bulk of others,
/// and then a program that opens the environment.
fn nobody_catches_a_close(times: u32) {
    let stage = Stage::new();
    let point = stage.folder.path().join("point");
    std::fs::create_dir(&point).unwrap();
    let kvfs = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvfs"));
        command.env("KVFS_STATE_DIR", stage.state()).env("KVFS_RUNTIME_DIR", stage.folder.path().join("run"));
        command.args(arguments).status().unwrap()
    };
    let source = format!("lmdb:{}", stage.store().display());
    assert!(kvfs(&["mount".as_ref(), source.as_ref(), point.as_os_str()]).success());
    let unmount = OnDrop(|| assert!(kvfs(&["unmount".as_ref(), point.as_os_str()]).success()));
    let ending = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end_of_bulk = OnDrop(|| ending.store(true, Ordering::SeqCst));
        scope.spawn(|| {
            for number in (0..300).cycle().take_while(|_| !ending.load(Ordering::SeqCst)) {
                std::fs::write(point.join(format!("bulk-{number}")), [b'x'; 1000]).unwrap();
            }
        });
        for time in 0..times {
            let (key, value) = (format!("watched-{}", time % 7), format!("value {time}"));
            std::fs::write(point.join(&key), &value).unwrap();
            assert!(dump_has(&stage.store(), &key, &value), "{value:?} was closed and is not there");
        }
        drop(end_of_bulk);
    });
    std::fs::write(point.join("last"), "one").unwrap();
    drop(unmount);
    assert!(dump_has(&stage.store(), "last", "one"));
}

#[test]
#[ignore = "minutes, and a mount: scripts/prove-commit runs it"]
fn prove_10000_opens_after_closes() {
    nobody_catches_a_close(10_000);
}

#[test]
fn promise_4_4_with_another_program_attached_each_put_is_committed_when_it_returns() {
    let stage = Stage::new();
    let mut ours = stage.spawn("role_echo_auto");
    assert_eq!(ours.hear().as_deref(), Some("ready"));
    let mut other = stage.spawn("role_echo_close");
    assert_eq!(other.hear().as_deref(), Some("ready"));
    for time in 0..50 {
        let (writer, reader) = if time % 2 == 0 { (&mut ours, &mut other) } else { (&mut other, &mut ours) };
        writer.tell(&format!("put k{time} v{time}"));
        assert_eq!(writer.hear().as_deref(), Some("accepted"));
        reader.tell(&format!("get k{time}"));
        assert_eq!(reader.hear(), Some(format!("v{time}")), "put {time}");
    }
    ours.tell("fact");
    let fact = ours.hear().unwrap();
    assert_eq!(number(&fact, "accepted ahead"), 0, "{fact}");
    other.ends_well();
    ours.tell("put alone again");
    assert_eq!(ours.hear().as_deref(), Some("accepted"));
    ours.tell("fact");
    let fact = ours.hear().unwrap();
    assert_eq!(number(&fact, "accepted ahead"), 1, "{fact}");
    ours.ends_well();
    for time in 0..50 {
        assert!(dump_has(&stage.store(), &format!("k{time}"), &format!("v{time}")));
    }
    assert!(dump_has(&stage.store(), "alone", "again"));
}

#[test]
fn promise_4_4_within_a_time_the_fsync_is_a_commit() {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_echo_within_an_hour");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    daemon.tell("put k v");
    assert_eq!(daemon.hear().as_deref(), Some("accepted"));
    daemon.ends_well();
    assert!(dump_has(&stage.store(), "k", "v"));
}
