//! Values read in order, out of order, here and there, and many at once.

use super::*;
use crate::layer::fault::{Call, Faulty, Moment};
use crate::layer::remote::{Asked, Remote};
use crate::payload::Payload;
use crate::store::api::{Change, When};
use crate::store::driver::Opening;

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
const SOON: Duration = Duration::from_secs(30);

struct Rig {
    layer: ReadAhead,
    faulty: Arc<Faulty>,
    asked: Arc<Asked>,
    store: Arc<dyn Store>,
    budget: Arc<Budget>,
}

fn key(name: &str) -> Key {
    Key::of([name.as_bytes()])
}

/// Bytes that tell their place.
fn bytes(length: u64, seed: u64) -> Vec<u8> {
    let words = (0..length.div_ceil(8)).map(|word| (word + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(length as usize);
    bytes
}

fn read(value: &dyn Value, offset: u64, size: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.read(offset, size, &mut |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes)
}

impl Rig {
    fn new(timeout: Duration) -> Rig {
        let store = (crate::store::memory::DRIVER.open)(&Opening::default()).unwrap();
        let faulty = Arc::new(Faulty::new(store.clone()));
        let remote = Remote::new(faulty.clone());
        let asked = Arc::clone(remote.asked());
        let budget = Budget::new(0);
        Rig { layer: ReadAhead::new(Arc::new(remote), budget.clone(), timeout), faulty, asked, store, budget }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let (key, body) = (key(name), Payload::of(bytes).unwrap());
        self.store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
    }

    fn open(&self, name: &str) -> Box<dyn Value> {
        self.layer.open(&key(name)).unwrap().unwrap()
    }

    /// Waits until the store was asked for so many ranges.
    fn await_reads(&self, count: usize) {
        let deadline = Deadline::after(SOON);
        while self.asked.reads.lock().len() < count {
            assert!(!deadline.passed(), "{:?}", self.asked.reads.lock());
            std::thread::yield_now();
        }
    }
}

#[test]
fn reading_in_order_runs_ahead_further_and_further() {
    let rig = Rig::new(SOON);
    let all = bytes(24 * MIB, 1);
    rig.put("a", &all);
    let value = rig.open("a");
    let mut sizes = Vec::new();
    for at in (0..all.len() as u64).step_by(128 << 10) {
        assert!(
            read(&*value, at, 128 * KIB).unwrap() == all[at as usize..(at + 128 * KIB) as usize],
            "at {at}"
        );
        sizes.push(rig.asked.bytes());
    }
    // Each byte is asked for once, and the requests grow.
    assert_eq!(rig.asked.bytes(), 24 * MIB);
    let requests = rig.asked.reads.lock().len();
    assert!(requests < 60, "{requests}");
    assert!(rig.asked.reads.lock().iter().any(|(_, size)| *size >= 2 * MIB));
    assert!(sizes.iter().enumerate().any(|(n, asked)| *asked >= (n as u64 + 1) * 128 * KIB + 4 * MIB));
    drop(value);
    let deadline = Deadline::after(SOON);
    while rig.budget.used(Purpose::ReadAhead) > 0 {
        assert!(!deadline.passed());
        std::thread::yield_now();
    }
}

#[test]
fn small_reads_in_order_are_few_requests() {
    let rig = Rig::new(SOON);
    let all = bytes(4 * MIB, 2);
    rig.put("a", &all);
    let value = rig.open("a");
    for at in (0..4 * MIB).step_by(4096) {
        assert!(read(&*value, at, 4096).unwrap() == all[at as usize..at as usize + 4096]);
    }
    assert!(rig.asked.reads.lock().len() < 30, "{:?}", rig.asked.reads.lock());
    assert_eq!(rig.asked.bytes(), 4 * MIB);
}

#[test]
fn random_reads_fetch_at_most_32_times_what_is_asked_for() {
    let rig = Rig::new(SOON);
    let all = bytes(16 * MIB, 3);
    rig.put("a", &all);
    let value = rig.open("a");
    let reads = 2000u64;
    for n in 0..reads {
        let at = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (16 * MIB) / 4096 * 4096;
        assert!(read(&*value, at, 4096).unwrap() == all[at as usize..at as usize + 4096]);
    }
    assert!(rig.asked.bytes() <= 32 * 4096 * reads, "{}", rig.asked.bytes());
    assert!(rig.asked.reads.lock().len() as u64 <= reads + reads / 10);
}

#[test]
fn promise_3_1_large_requests_at_the_same_time_and_out_of_order_are_one_reader() {
    let rig = Rig::new(SOON);
    let all = bytes(24 * MIB, 4);
    rig.put("a", &all);
    let value = rig.open("a");
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(MIB, Ordering::Relaxed);
                    if at >= 24 * MIB {
                        break;
                    }
                    assert!(
                        read(&*value, at, MIB).unwrap() == all[at as usize..(at + MIB) as usize],
                        "at {at}"
                    );
                }
            });
        }
    });
    // A thread that was held up may find its bytes gone.
    assert!(rig.asked.bytes() <= 36 * MIB, "{}", rig.asked.bytes());
}

#[test]
fn two_readers_of_one_value_share_what_is_fetched() {
    let rig = Rig::new(SOON);
    let all = bytes(8 * MIB, 5);
    rig.put("a", &all);
    let value = rig.open("a");
    for at in (0..8 * MIB).step_by(256 << 10) {
        for _ in 0..2 {
            assert!(read(&*value, at, 256 * KIB).unwrap() == all[at as usize..(at + 256 * KIB) as usize]);
        }
    }
    assert_eq!(rig.asked.bytes(), 8 * MIB);
}

#[test]
fn many_readers_stay_within_the_budget() {
    let rig = Rig::new(SOON);
    let contents: Vec<_> = (0..32).map(|n| bytes(2 * MIB, n * 1_000_000)).collect();
    contents.iter().enumerate().for_each(|(n, content)| rig.put(&n.to_string(), content));
    let values: Vec<_> = (0..32).map(|n| rig.open(&n.to_string())).collect();
    std::thread::scope(|scope| {
        for (value, content) in values.iter().zip(&contents) {
            scope.spawn(|| {
                for at in (0..2 * MIB).step_by(128 << 10) {
                    let piece = read(&**value, at, 128 * KIB).unwrap();
                    assert!(piece == content[at as usize..(at + 128 * KIB) as usize], "at {at}");
                    assert!(rig.budget.used(Purpose::ReadAhead) <= rig.budget.most(Purpose::ReadAhead));
                }
            });
        }
    });
}

#[test]
fn without_memory_bytes_come_straight_from_the_store() {
    let rig = Rig::new(SOON);
    let all = bytes(4 * MIB, 6);
    rig.put("a", &all);
    let _all = rig.budget.try_take(Purpose::ReadAhead, rig.budget.most(Purpose::ReadAhead)).unwrap();
    let value = rig.open("a");
    for at in (0..4 * MIB).step_by(1 << 20) {
        assert!(read(&*value, at, MIB).unwrap() == all[at as usize..(at + MIB) as usize]);
    }
    assert_eq!(*rig.asked.reads.lock(), [0, 1, 2, 3].map(|n| (n * MIB, MIB)));
    assert!(read(&*value, 4 * MIB, 5).unwrap().is_empty());
}

#[test]
fn a_failure_is_told_once_and_the_next_read_asks_again() {
    let rig = Rig::new(SOON);
    let all = bytes(MIB, 7);
    rig.put("a", &all);
    let value = rig.open("a");
    rig.faulty.fail(Call::Read, 1, Moment::Before, ErrorKind::Io);
    assert_eq!(read(&*value, 0, 4096).unwrap_err().kind(), ErrorKind::Io);
    assert!(read(&*value, 0, 4096).unwrap() == all[..4096]);
    // What failed ahead of the reader is asked for once more.
    rig.faulty.fail(Call::Read, 1, Moment::Before, ErrorKind::TimedOut);
    for at in (4096..MIB).step_by(4096) {
        assert!(read(&*value, at, 4096).unwrap() == all[at as usize..at as usize + 4096]);
    }
}

/// §8.1
#[test]
fn who_waits_for_what_another_fetches_waits_no_longer_than_the_deadline() {
    let rig = Rig::new(Duration::from_millis(20));
    rig.put("a", &bytes(MIB, 8));
    let value = rig.open("a");
    let (go, gate) = std::sync::mpsc::channel::<()>();
    rig.faulty.plan(
        Call::Read,
        1,
        Moment::Before,
        Box::new(move || {
            gate.recv().unwrap_or_default();
            Ok(())
        }),
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| read(&*value, 0, 4096));
        rig.await_reads(1);
        assert_eq!(read(&*value, 4096, 4096).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(go);
        assert_eq!(first.join().unwrap().unwrap().len(), 4096);
    });
}

#[test]
fn promise_6_1_a_value_that_was_told_is_asked_for_when_it_is_opened() {
    let rig = Rig::new(SOON);
    rig.put("a", b"one");
    rig.put("empty", b"");
    let told = rig.layer.stat(&key("a")).unwrap().unwrap();
    let before = rig.asked.all();
    let value = rig.layer.open_told(&key("a"), &told).unwrap().unwrap();
    assert_eq!(read(&*value, 0, 10).unwrap(), b"one");
    assert_eq!(rig.asked.all(), before + 1);
    // Another program was faster: the new version is opened, and the old handle keeps the old one.
    rig.put("a", b"two");
    let newer = rig.layer.open_told(&key("a"), &told).unwrap().unwrap();
    assert_eq!(read(&*newer, 0, 10).unwrap(), b"two");
    assert_eq!(read(&*value, 0, 10).unwrap(), b"one");
    let told = rig.layer.stat(&key("empty")).unwrap().unwrap();
    rig.put("empty", b"not any more");
    assert_eq!(rig.layer.open_told(&key("empty"), &told).unwrap().unwrap().len(), 12);
}
