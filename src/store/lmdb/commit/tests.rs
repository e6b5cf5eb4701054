use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, fcntl};
use tempfile::TempDir;

use super::*;
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Version, When};
use crate::store::flat::{Found, Keys, Step};
use crate::store::lmdb::journal::Side;
use crate::store::lmdb::lock::OpeningLock;
use crate::store::lmdb::pending::Generation;
use crate::store::lmdb::record::Identity;
use crate::store::lmdb::recover::{Recovered, recover};
use crate::store::lmdb::resolve::{Done, Held};

/// An environment in memory that fails and stalls when it is told to.
struct Fake {
    state: PathBuf,
    lock_file: File,
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    transaction: AtomicU64,
    /// How many of the next commits fail.
    failures: AtomicU32,
    /// Commits wait while this is locked.
    stall: Mutex<()>,
    /// Whether a commit found the map full.
    full: AtomicBool,
}

impl Fake {
    fn new(folder: &Path) -> Arc<Fake> {
        Arc::new(Fake {
            state: folder.to_owned(),
            lock_file: open_lock_file(folder),
            map: Mutex::default(),
            transaction: AtomicU64::default(),
            failures: AtomicU32::default(),
            stall: Mutex::default(),
            full: AtomicBool::default(),
        })
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.map.lock().get(key).cloned()
    }

    /// Another program's put.
    fn foreign(&self, key: &[u8], value: &[u8]) {
        self.map.lock().insert(key.to_vec(), value.to_vec());
        self.transaction.fetch_add(1, Ordering::SeqCst);
    }
}

impl Committed for Arc<Fake> {
    fn takes(&self, database: &[u8]) -> bool {
        database != b"duplicates"
    }

    fn opening_lock(&self) -> Option<OpeningLock<'_>> {
        Some(OpeningLock::of(self.lock_file.as_fd()))
    }

    fn key_max(&self) -> usize {
        511
    }

    fn look(&self, _: &[u8], key: &[u8], with: &mut dyn FnMut(Held<'_>)) -> Result<()> {
        let map = self.map.lock();
        with(match map.get(key) {
            Some(_) if key == b"a-database" => Held::Other,
            Some(value) => Held::Value(value),
            None => Held::Nothing,
        });
        Ok(())
    }

    fn scan(&self, _: &[u8], from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        let map = self.map.lock();
        let mut rest = map.range(from.to_vec()..);
        while let Some((key, value)) = rest.next() {
            match each(key, Found { size: value.len() as u64, modified: env::now() }) {
                Step::Next => {}
                Step::Seek(to) => rest = map.range(to..),
                Step::Stop => break,
            }
        }
        Ok(())
    }

    fn last_transaction(&self) -> Result<u64> {
        Ok(self.transaction.load(Ordering::SeqCst))
    }

    fn room(&self) -> u64 {
        if self.full.load(Ordering::SeqCst) { 0 } else { u64::MAX }
    }

    fn commit(&self, generation: &Generation, follows: Option<u64>) -> Result<Done> {
        let _stall = self.stall.lock();
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::NoSpace, "the map is full"));
        }
        let mut map = self.map.lock();
        let last = self.transaction.load(Ordering::SeqCst);
        if follows.is_some_and(|follows| follows != last) {
            return Err(ErrorKind::Stale.into());
        }
        let mut done = Done { transaction: last + 1, refused: Vec::new() };
        for (database, key, entry) in generation.iter() {
            let present = map.get(&**key).map(|value| Version::of_content(value));
            let holds = match &entry.base {
                When::Always => true,
                When::Absent => present.is_none(),
                When::Current(version) => present.as_ref() == Some(version),
            };
            match &entry.value {
                _ if !holds => done.refused.push((Arc::clone(database), Arc::clone(key))),
                Some(value) => drop(map.insert(key.to_vec(), value.to_vec())),
                None => drop(map.remove(&**key)),
            }
        }
        self.transaction.store(last + 1, Ordering::SeqCst);
        Ok(done)
    }

    fn open_journal(&self) -> Result<Journal> {
        Journal::open(&self.state, &identity()).map(|(journal, _)| journal)
    }

    fn key_of(&self, _: &[u8], key: &[u8]) -> Key {
        Key::of([key])
    }

    fn name(&self) -> String {
        "lmdb:/fake".to_owned()
    }
}

/// A write-behind over a fake environment, and the lock file as another process sees it.
struct Bench {
    fake: Arc<Fake>,
    behind: WriteBehind<Arc<Fake>>,
    state: TempDir,
    /// Outlives every other descriptor of the file: closing one would drop the lock.
    newcomer: File,
}

fn open_lock_file(state: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(state.join("lock.mdb")).unwrap()
}

fn identity() -> Identity {
    Identity { device: 1, inode: 2, born: 3, path: "/fake".into() }
}

fn bench(within: Option<Duration>) -> Bench {
    let state = tempfile::tempdir().unwrap();
    let newcomer = open_lock_file(state.path());
    let (journal, _) = Journal::open(state.path(), &identity()).unwrap();
    let fake = Fake::new(state.path());
    fake.opening_lock().unwrap().share().unwrap();
    let settings =
        Settings { within, timeout: Duration::from_secs(20), journal, spool: Spool::at(state.path()) };
    let behind = WriteBehind::start(Arc::clone(&fake), settings).unwrap();
    Bench { fake, behind, state, newcomer }
}

/// Nothing commits by itself in the time of a test.
const NEVER: Option<Duration> = Some(Duration::from_secs(3600));

impl Bench {
    /// Writes, and tells whether it had to be direct.
    fn write(&self, edits: &mut [Edit<'_>]) -> Result<bool> {
        let mut direct = false;
        self.behind.write(b"", edits, |edits| {
            direct = true;
            for edit in edits.iter() {
                if let Edit::Put { key, body, .. } = edit {
                    let bytes = body.and_then(|body| body.as_slice()).unwrap_or_default();
                    self.fake.foreign(key, bytes);
                }
            }
            Ok(())
        })?;
        Ok(direct)
    }

    fn put(&self, key: &[u8], value: &[u8], when: When) -> Result<bool> {
        let body = Payload::of(value).unwrap();
        self.write(&mut [Edit::Put { key: key.to_vec(), body: Some(&body), when }])
    }

    fn rename(&self, from: &[u8], to: &[u8], replace: bool) -> Result<bool> {
        self.write(&mut [Edit::Move { from: from.to_vec(), to: to.to_vec(), below: None, replace }])
    }

    fn sync(&self) -> Result<()> {
        self.behind.sync(Deadline::after(Duration::from_secs(20)))
    }

    fn seen(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.behind.pending().get(b"", key) {
            Some(entry) => entry.value.map(|value| value.to_vec()),
            None => self.fake.value(key),
        }
    }

    fn newcomer(&self, kind: libc::c_int) -> nix::Result<()> {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&self.newcomer, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
    }
}

#[test]
fn a_put_is_seen_at_once_and_newcomers_wait_until_it_is_committed() {
    let bench = bench(None);
    let stall = bench.fake.stall.lock();
    assert!(!bench.put(b"k", b"v", When::Always).unwrap());
    assert_eq!(bench.seen(b"k").as_deref(), Some(&b"v"[..]));
    assert_eq!(bench.fake.value(b"k"), None);
    assert!(bench.newcomer(libc::F_RDLCK).is_err(), "nobody may open it now");
    drop(stall);
    bench.sync().unwrap();
    assert_eq!(bench.fake.value(b"k").as_deref(), Some(&b"v"[..]));
    bench.newcomer(libc::F_RDLCK).unwrap();
    assert!(bench.put(b"k", b"w", When::Always).unwrap(), "somebody has it open: the close waits");
    bench.newcomer(libc::F_UNLCK).unwrap();
    assert!(!bench.put(b"k", b"x", When::Always).unwrap());
    let journals = || std::fs::read_dir(bench.state.path().join("journal")).unwrap().count();
    bench.behind.put_away(Deadline::after(Duration::from_secs(20))).unwrap();
    assert_eq!((bench.fake.value(b"k").as_deref(), journals()), (Some(&b"x"[..]), 0));
    assert!(!bench.put(b"k", b"y", When::Always).unwrap(), "the journal is made again");
    assert_eq!(journals(), 2);
    bench.behind.close(Deadline::after(Duration::from_secs(20))).unwrap();
    assert_eq!((bench.fake.value(b"k").as_deref(), journals()), (Some(&b"y"[..]), 0));
}

#[test]
fn a_refused_change_leaves_newcomers_in() {
    let bench = bench(None);
    bench.fake.foreign(b"k", b"v");
    let refused = bench.put(b"k", b"w", When::Absent).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exists);
    bench.newcomer(libc::F_RDLCK).unwrap();
}

#[test]
fn conditions_hold_against_what_waits_and_what_is_committed() {
    let bench = bench(NEVER);
    bench.fake.foreign(b"old", b"1");
    let kind = |result: Result<bool>| result.unwrap_err().kind();
    let current = |bytes: &[u8]| When::Current(Version::of_content(bytes));
    assert_eq!(kind(bench.put(b"old", b"2", When::Absent)), ErrorKind::Exists);
    assert_eq!(kind(bench.put(b"old", b"2", current(b"0"))), ErrorKind::Stale);
    bench.put(b"old", b"2", current(b"1")).unwrap();
    assert_eq!(kind(bench.put(b"old", b"3", current(b"1"))), ErrorKind::Stale);
    bench.put(b"old", b"3", current(b"2")).unwrap();
    assert_eq!(kind(bench.rename(b"none", b"new", true)), ErrorKind::NotFound);
    bench.rename(b"old", b"new", false).unwrap();
    assert_eq!((bench.seen(b"old"), bench.seen(b"new").as_deref()), (None, Some(&b"3"[..])));
    bench.put(b"old", b"4", When::Absent).unwrap();
    assert_eq!(kind(bench.rename(b"old", b"new", false)), ErrorKind::Exists);
    assert_eq!(bench.fake.value(b"new"), None, "nothing is committed yet");
    bench.sync().unwrap();
    assert_eq!(bench.fake.value(b"new").as_deref(), Some(&b"3"[..]));
    assert_eq!(bench.fake.value(b"old").as_deref(), Some(&b"4"[..]));
}

#[test]
fn an_expectation_counts_what_waits() {
    let bench = bench(None);
    let expect =
        |none: Keys| bench.write(&mut [Edit::Expect { none, otherwise: ErrorKind::NotEmpty }]).map(|_| ());
    bench.fake.foreign(b"d/", b"");
    bench.fake.foreign(b"d/x", b"1");
    assert_eq!(expect(Keys::Inside(b"d/".to_vec())).unwrap_err().kind(), ErrorKind::NotEmpty);
    bench.write(&mut [Edit::Delete { key: b"d/x".to_vec(), when: When::Always }]).unwrap();
    expect(Keys::Inside(b"d/".to_vec())).unwrap();
    expect(Keys::Prefix(b"d/".to_vec())).unwrap_err();
    bench.put(b"d/y", b"1", When::Always).unwrap();
    expect(Keys::Inside(b"d/".to_vec())).unwrap_err();
    expect(Keys::At(b"d/y".to_vec())).unwrap_err();
    expect(Keys::At(b"d/x".to_vec())).unwrap();
}

#[test]
fn what_the_store_must_judge_goes_directly_and_after_what_waits() {
    let bench = bench(None);
    bench.put(b"k", b"v", When::Always).unwrap();
    let large = Payload::of(&vec![7; (1 << 20) + 1]).unwrap();
    let body = Some(&large);
    let edit = Edit::Put { key: b"large".to_vec(), body, when: When::Always };
    assert!(bench.write(&mut [edit]).unwrap());
    assert_eq!(bench.fake.value(b"k").as_deref(), Some(&b"v"[..]), "it was committed first");
    bench.fake.foreign(b"a-database", b"");
    assert!(bench.put(b"a-database", b"v", When::Always).unwrap());
    assert!(bench.put(&[b'k'; 512], b"v", When::Always).unwrap());
    bench.fake.full.store(true, Ordering::SeqCst);
    assert!(bench.put(b"no-room", b"v", When::Always).unwrap());
    let mut edits = [Edit::Delete { key: b"k".to_vec(), when: When::Always }];
    let mut direct = false;
    let mut note = |_: &mut [Edit<'_>]| {
        direct = true;
        Ok(())
    };
    bench.behind.write(b"duplicates", &mut edits, &mut note).unwrap();
    assert!(direct);
}

#[test]
fn a_commit_that_fails_once_is_repeated_and_then_every_put_waits_for_its_own() {
    let bench = bench(None);
    bench.fake.failures.store(1, Ordering::SeqCst);
    bench.put(b"k", b"v", When::Always).unwrap();
    bench.sync().unwrap();
    assert_eq!(bench.fake.value(b"k").as_deref(), Some(&b"v"[..]));
    assert!(bench.put(b"k", b"w", When::Always).unwrap());
    bench.newcomer(libc::F_RDLCK).unwrap();
    assert_eq!(bench.behind.counts().commits, 0);
}

#[test]
fn bytes_of_a_commit_that_keeps_failing_are_in_the_spool_and_sync_says_so_until_a_put_succeeds() {
    let bench = bench(None);
    bench.fake.failures.store(2, Ordering::SeqCst);
    let stall = bench.fake.stall.lock();
    bench.put(b"k", b"v", When::Absent).unwrap();
    bench.write(&mut [Edit::Delete { key: b"never-there".to_vec(), when: When::Always }]).unwrap();
    drop(stall);
    assert_eq!(bench.sync().unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(bench.sync().unwrap_err().kind(), ErrorKind::NoSpace);
    let of_key = |key: &[u8]| bench.behind.sync_key(b"", key, Deadline::after(Duration::from_secs(20)));
    assert_eq!(of_key(b"k").unwrap_err().kind(), ErrorKind::NoSpace);
    of_key(b"another").unwrap();
    let kept = Spool::at(bench.state.path()).list().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0].key, &kept[0].base), (&Key::of([&b"k"[..]]), &When::Absent));
    assert!(bench.put(b"k", b"w", When::Always).unwrap());
    bench.sync().unwrap();
}

#[test]
fn within_a_time_what_another_program_did_meanwhile_is_not_overwritten() {
    let bench = bench(NEVER);
    bench.fake.foreign(b"k", b"1");
    let base = When::Current(Version::of_content(b"1"));
    bench.put(b"k", b"ours", base).unwrap();
    bench.put(b"k", b"ours again", When::Always).unwrap();
    bench.put(b"other", b"2", When::Absent).unwrap();
    bench.fake.foreign(b"k", b"theirs");
    assert_eq!(bench.sync().unwrap_err().kind(), ErrorKind::Stale);
    assert_eq!(bench.fake.value(b"k").as_deref(), Some(&b"theirs"[..]));
    assert_eq!(bench.fake.value(b"other").as_deref(), Some(&b"2"[..]));
    assert_eq!(Spool::at(bench.state.path()).list().unwrap().len(), 1);
}

#[test]
fn a_thousand_puts_share_their_commits_and_what_waits_is_bounded() {
    let bench = bench(NEVER);
    for number in 0..1000_u32 {
        bench.put(&number.to_be_bytes(), &[1; 100], When::Absent).unwrap();
    }
    bench.sync().unwrap();
    assert_eq!(bench.behind.counts().commits, 1);
    for number in 0..64_u32 {
        bench.put(&number.to_be_bytes(), &vec![2; 1 << 20], When::Always).unwrap();
        assert!(bench.behind.pending().len().1 <= crate::store::lmdb::pending::BYTES_MAX);
    }
    bench.sync().unwrap();
    assert!(bench.behind.counts().commits > 64 / 16, "64 MiB never waited at once");
}

#[test]
fn newcomers_come_in_while_a_bulk_of_puts_goes_on() {
    let bench = bench(None);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u32;
            while !done.load(Ordering::SeqCst) {
                bench.put(&number.to_be_bytes(), b"v", When::Always).unwrap();
                number += 1;
            }
        });
        for _ in 0..20 {
            while bench.newcomer(libc::F_RDLCK).is_err() {
                std::thread::yield_now();
            }
            assert!(bench.behind.pending().is_empty(), "who is in misses nothing");
            bench.newcomer(libc::F_UNLCK).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
}

/// Accepts puts of the keys given, one generation each, as a daemon that dies before any is committed.
fn journal_of(state: &Path, generations: &[(u64, &[(&str, &str)])]) {
    let (mut journal, _) = Journal::open(state, &identity()).unwrap();
    let mut side = Side::FIRST;
    for (follows, puts) in generations {
        for (key, value) in *puts {
            let change = crate::store::lmdb::record::Change {
                database: (*b"").into(),
                key: key.as_bytes().into(),
                value: Some(value.as_bytes().into()),
                base: When::Always,
            };
            journal.append(side, *follows, &[change]).unwrap();
        }
        side = side.other();
    }
}

fn recovered(fake: &Arc<Fake>, state: &Path) -> (Recovered, usize) {
    let (_, leftover) = Journal::open(state, &identity()).unwrap();
    let spool = Spool::at(state);
    let recovered = recover(fake, &spool, &leftover, true).unwrap();
    (recovered, spool.list().unwrap().len())
}

#[test]
fn a_journal_is_put_where_nothing_was_committed_since() {
    let state = tempfile::tempdir().unwrap();
    let fake = Fake::new(state.path());
    fake.foreign(b"a", b"0");
    journal_of(state.path(), &[(1, &[("a", "1"), ("b", "1")]), (2, &[("a", "2")])]);
    let (outcome, spooled) = recovered(&fake, state.path());
    assert_eq!((outcome.replayed, outcome.kept, spooled), (2, 0, 0));
    assert_eq!(fake.value(b"a").as_deref(), Some(&b"2"[..]));
    let (again, _) = recovered(&fake, state.path());
    assert_eq!((again.replayed, again.done), (0, 2), "a second look finds it done");
}

#[test]
fn the_second_generation_is_put_where_the_first_was_our_own_last_commit() {
    let state = tempfile::tempdir().unwrap();
    let fake = Fake::new(state.path());
    fake.foreign(b"x", b"0");
    journal_of(state.path(), &[(1, &[("a", "1")]), (2, &[("b", "2")])]);
    fake.foreign(b"a", b"1");
    let (outcome, spooled) = recovered(&fake, state.path());
    assert_eq!((outcome.replayed, outcome.done, spooled), (1, 1, 0));
    assert_eq!(fake.value(b"b").as_deref(), Some(&b"2"[..]));
}

#[test]
fn after_another_programs_commit_nothing_is_overwritten_and_all_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let fake = Fake::new(state.path());
    fake.foreign(b"x", b"0");
    journal_of(state.path(), &[(1, &[("a", "1"), ("same", "s")]), (2, &[("b", "2")])]);
    fake.foreign(b"a", b"theirs");
    let (outcome, spooled) = recovered(&fake, state.path());
    assert_eq!((outcome.replayed, outcome.kept, spooled), (0, 3, 3));
    assert_eq!(fake.value(b"a").as_deref(), Some(&b"theirs"[..]));
    assert_eq!(fake.value(b"b"), None);
}
