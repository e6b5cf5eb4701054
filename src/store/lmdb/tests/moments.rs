//! Versions: open values, snapshots, changes by others, compaction.

use std::process::Child;

use super::*;
use crate::env::Deadline;
use crate::error::Error;

/// Waits until `holds`, for at most ten seconds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(10));
    let pause = parking_lot::Mutex::new(());
    while !holds() {
        assert!(!deadline.passed(), "in vain waited for: {what}");
        parking_lot::Condvar::new().wait_for(&mut pause.lock(), Duration::from_millis(5));
    }
}

/// Another program that holds the write transaction until its input ends.
pub(super) fn hold_write(path: &Path) -> Child {
    let mut child = Command::new("mdb_load").arg("-T").arg(path).stdin(Stdio::piped()).spawn().unwrap();
    // It begins its transaction before it reads the first record, and ends it after the hundredth.
    child.stdin.as_mut().unwrap().write_all(b"held\n1\n").unwrap();
    child
}

fn readers(path: &Path) -> usize {
    let output = Command::new("mdb_stat").arg("-r").arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A slot in use shows the transaction it reads; an idle one a dash.
    text.lines()
        .skip_while(|line| !line.contains("pid"))
        .skip(1)
        .filter(|line| !line.trim_end().ends_with('-'))
        .count()
}

#[test]
fn an_open_value_is_one_version_while_others_commit_and_its_reader_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    let size = 100 << 20;
    put(&*store, "large", &vec![1; size]).unwrap();
    put(&*store, "medium", &vec![2; 20 << 10]).unwrap();
    store.sync().unwrap();
    let large = store.open(&key("large")).unwrap().unwrap();
    let medium = store.open(&key("medium")).unwrap().unwrap();
    assert_eq!(readers(folder.path()), 1, "both share a moment");
    load(folder.path(), &[], "large\nsmall now\nmedium\nsmall now\n");
    for round in 0..3 {
        // Pages that the old value had are given out again as soon as no reader holds them.
        load(folder.path(), &[], &format!("filler{round}\n{}\n", "f".repeat(1 << 20)));
        for offset in [0, 4095, size as u64 / 2, size as u64 - 10] {
            large.read(offset, 4096, &mut |bytes| assert!(bytes.iter().all(|byte| *byte == 1))).unwrap();
        }
    }
    until("the reader's end", || readers(folder.path()) == 0);
    for round in 0..8 {
        load(folder.path(), &[], &format!("more{round}\n{}\n", "f".repeat(1 << 20)));
    }
    let mut length = 0;
    large
        .read(0, u64::MAX, &mut |bytes| {
            assert!(bytes.iter().all(|byte| *byte == 1));
            length += bytes.len();
        })
        .unwrap();
    assert_eq!(length, size);
    medium.read(0, u64::MAX, &mut |bytes| assert_eq!(bytes, vec![2; 20 << 10])).unwrap();
    assert_eq!(get(&*store, &key("large")).unwrap(), b"small now");
}

#[test]
fn more_moments_than_pins_are_kept_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&Opening { commit: Commit::Close, ..opening(folder.path()) }).unwrap();
    let mut open_values = Vec::new();
    for round in 0..30u8 {
        put(&*store, "k", &vec![round; 70 << 10]).unwrap();
        open_values.push(store.open(&key("k")).unwrap().unwrap());
    }
    assert!(readers(folder.path()) <= 9);
    for (round, value) in open_values.iter().enumerate() {
        value.read(0, u64::MAX, &mut |bytes| assert_eq!(bytes, vec![round as u8; 70 << 10])).unwrap();
    }
}

#[test]
fn what_a_snapshot_keeps_from_writers_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "a", &[1; 1 << 20]).unwrap();
    let snapshot = Arc::clone(&store).snapshot().unwrap();
    let kept = || {
        store.sync().unwrap();
        let facts = snapshot.facts();
        let (_, told) = facts.iter().find(|(name, _)| *name == "kept for the snapshot").unwrap();
        told.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(kept() < 1 << 16);
    put(&*store, "a", &[2; 1 << 20]).unwrap();
    assert!((1 << 20..1 << 21).contains(&kept()), "{}", kept());
}

#[test]
fn a_snapshot_stays_as_it_is_and_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "a", b"before").unwrap();
    let named = Key::root().child(Segment { bytes: b"n", word: Word::Db });
    store.apply(&mut [Change::Branch { key: &named }]).unwrap();
    let snapshot = Arc::clone(&store).snapshot().unwrap();
    put(&*store, "a", b"after").unwrap();
    put(&*store, "b", b"new").unwrap();
    assert_eq!(get(&*snapshot, &key("a")).unwrap(), b"before");
    assert_eq!(snapshot.stat(&key("b")).unwrap(), None);
    assert_eq!(names(&*snapshot, &Key::root()).len(), 2);
    assert!(snapshot.stat(&named).unwrap().is_some());
    assert!(snapshot.caps().immutable && !snapshot.caps().write);
    assert_eq!(put(&*snapshot, "a", b"x").unwrap_err().kind(), ErrorKind::ReadOnly);
    let value = snapshot.open(&key("a")).unwrap().unwrap();
    drop(snapshot);
    value.read(0, 100, &mut |bytes| assert_eq!(bytes, b"before")).unwrap();
}

#[test]
fn changes_by_others_are_told_and_our_own_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    put(&*store, "mine", b"1").unwrap();
    store.sync().unwrap();
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let watch = store
        .watch(Arc::new(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }))
        .unwrap();
    let before = store.stat(&key("mine")).unwrap().unwrap().modified;
    for round in 0..20u8 {
        put(&*store, "other", &[round]).unwrap();
        store.sync().unwrap();
    }
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(store.stat(&key("mine")).unwrap().unwrap().modified, before);
    load(folder.path(), &[], "theirs\n1\n");
    until("the change by another program", || told.load(std::sync::atomic::Ordering::SeqCst) > 0);
    assert!(store.stat(&key("mine")).unwrap().unwrap().modified > before);
    drop(watch);
}

#[test]
fn a_program_that_holds_the_write_transaction_costs_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&Opening { timeout: Duration::from_millis(300), ..opening(folder.path()) }).unwrap();
    put(&*store, "a", b"1").unwrap();
    let mut holder = hold_write(folder.path());
    until(
        "the other program's transaction",
        || matches!(put(&*store, "probe", b"2"), Err(error) if error.kind() == ErrorKind::TimedOut),
    );
    assert_eq!(put(&*store, "a", b"withdrawn").unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(get(&*store, &key("a")).unwrap(), b"1", "reading goes on");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    until("the write transaction", || put(&*store, "b", b"3").is_ok());
    assert_eq!(get(&*store, &key("a")).unwrap(), b"1", "what was withdrawn is not done later");
    assert_eq!(get(&*store, &key("held")).unwrap(), b"1");
}

#[test]
fn writers_at_the_same_time_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for index in 0..25 {
                    put(&**store, &format!("{writer}/{index}"), b"v").unwrap();
                }
            });
        }
    });
    let fact = store.facts().into_iter().find(|(name, _)| *name == "transactions written").unwrap().1;
    let commits: u64 = fact.split(' ').next().unwrap().parse().unwrap();
    assert!(fact.contains("for 200 requests"), "{fact}");
    assert!(commits <= 150, "{fact}");
}

#[test]
fn compaction_gives_space_back_and_keeps_what_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    for index in 0..20 {
        put(&*store, &format!("filler/{index}"), &vec![9; 1 << 20]).unwrap();
    }
    put(&*store, "kept", &vec![5; 200 << 10]).unwrap();
    store
        .apply(&mut [Change::Branch { key: &Key::root().child(Segment { bytes: b"n", word: Word::Db }) }])
        .unwrap();
    let value = store.open(&key("kept")).unwrap().unwrap();
    for index in 0..20 {
        let key = key(&format!("filler/{index}"));
        store.apply(&mut [Change::Delete { key: &key, when: When::Always }]).unwrap();
    }
    let mut holder = hold_write(folder.path());
    let maps = format!("/proc/{}/maps", holder.id());
    until("another program", || std::fs::read_to_string(&maps).is_ok_and(|maps| maps.contains("data.mdb")));
    assert_eq!(store.compact().unwrap_err().kind(), ErrorKind::Busy);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (before, after) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(get(&*store, &key("kept")).unwrap().len(), 200 << 10);
            }
        });
        let sizes = store.compact().unwrap();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        reader.join().unwrap();
        sizes
    });
    assert!(before > 20 << 20 && after < 2 << 20, "{before} -> {after}");
    assert_eq!(std::fs::metadata(folder.path().join("data.mdb")).unwrap().len(), after);
    value.read(0, u64::MAX, &mut |bytes| assert_eq!(bytes, vec![5; 200 << 10])).unwrap();
    assert_eq!(get(&*store, &key("kept")).unwrap(), vec![5; 200 << 10]);
    put(&*store, "after", b"1").unwrap();
    store.sync().unwrap();
    assert!(dump(folder.path(), None).contains(" after\n 1\n"));
    load(folder.path(), &[], "theirs\n1\n");
    assert_eq!(get(&*store, &key("theirs")).unwrap(), b"1");
    let foreign = store.facts().into_iter().find(|(name, _)| *name == "changes by others noticed").unwrap();
    assert_eq!(foreign.1, "2", "the two loads, told apart from our own commits by new numbers too");
    let snapshot = Arc::clone(&store).snapshot().unwrap();
    assert_eq!(store.compact().map_err(|error: Error| error.kind()), Err(ErrorKind::Busy));
    drop(snapshot);
    store.compact().unwrap();
}

#[test]
fn two_mounts_in_one_process_share_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&opening(folder.path())).unwrap();
    let second = open(&opening(folder.path())).unwrap();
    put(&*first, "a", b"1").unwrap();
    assert_eq!(get(&*second, &key("a")).unwrap(), b"1");
    drop(first);
    put(&*second, "b", b"2").unwrap();
    second.sync().unwrap();
    assert!(dump(folder.path(), None).contains(" b\n 2\n"));
    let lock = std::fs::metadata(folder.path().join("lock.mdb")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert!(registry::is_lock_file(lock.dev(), lock.ino()));
    drop(second);
    assert!(!registry::is_lock_file(lock.dev(), lock.ino()));
    let third = open(&opening(folder.path())).unwrap();
    assert_eq!(get(&*third, &key("b")).unwrap(), b"2");
}

/// §8.6
#[test]
fn a_closed_sidecar_lets_the_next_daemon_in_though_somebody_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let opening = opening(folder.path());
    let store = open(&opening).unwrap();
    put(&*store, "a", b"1").unwrap();
    let home = (super::DRIVER.sidecar)(&opening).unwrap().unwrap();
    let lock = || alone::alone(std::fs::File::open(folder.path()).unwrap(), Duration::ZERO);
    assert_eq!(lock().unwrap_err(), nix::errno::Errno::EWOULDBLOCK);
    home.open(true).unwrap().unwrap();
    home.close().unwrap();
    lock().unwrap();
}
