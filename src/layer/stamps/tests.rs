//! Snapshots of one place, one after the other, with another program in between.

use std::time::Duration;

use super::*;
use crate::env;
use crate::layer::fault::{Call, Faulty, Moment};
use crate::payload::Payload;
use crate::store::api::{Change, When};
use crate::store::driver::Opening;
use crate::store::home::InMemory;
use crate::store::memory::{self, Memory};

/// A place in the state folder that outlives a mount.
struct Place {
    store: Arc<dyn Store>,
    stamps: Arc<InMemory<Memory>>,
}

fn key(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

impl Place {
    fn new() -> Place {
        let opening = Opening { timeout: Duration::from_secs(10), ..Opening::default() };
        let store = (memory::DRIVER.open)(&opening).unwrap();
        Place { store, stamps: Arc::new(InMemory::new(Memory::new, 96)) }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let body = Payload::of(bytes).unwrap();
        let put = Change::Put { key: &key(path), body: &body, when: When::Always };
        self.store.apply(&mut [put]).unwrap();
    }

    /// A snapshot of the state `mark`, in which the store's last change counts as all values' own: so it is where a
    /// store has no times.
    fn snapshot(&self, mark: &str) -> (Stamps, Arc<Faulty>) {
        let era = Era { identity: Vec::new(), mark: mark.as_bytes().to_vec(), modified: env::now() };
        let snapshot = Arc::clone(&self.store).snapshot().unwrap();
        let faulty = Arc::new(Faulty::new(Arc::new(OneTime { store: snapshot, modified: era.modified })));
        let home = Box::new(Arc::clone(&self.stamps));
        (Stamps::new(Arc::clone(&faulty) as Arc<dyn Store>, &era, home).unwrap(), faulty)
    }
}

/// A store that knows one time for all values.
struct OneTime {
    store: Arc<dyn Store>,
    modified: SystemTime,
}

impl Store for OneTime {
    passes_on!(caps, open, apply, usage, seen_absent, written_so_far);

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        Ok(self.store.stat(key)?.map(|stat| Stat { modified: self.modified, ..stat }))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.store.list(dir, from, &mut |entry| {
            each(Entry { stat: Stat { modified: self.modified, ..entry.stat }, ..entry })
        })
    }
}

fn shown(stamps: &Stamps) -> Vec<(String, SystemTime)> {
    let mut all = Vec::new();
    stamps
        .list_with_attributes(&Key::root(), &mut Cursor::default(), &mut |entry| {
            let stat = entry.stat;
            let name = String::from_utf8(entry.segment.bytes.to_vec()).unwrap();
            all.push((name, stat.file.mtime.unwrap_or(stat.modified)));
            ControlFlow::Continue(())
        })
        .unwrap();
    for (name, time) in &all {
        let stat = stamps.stat(&key(name)).unwrap().unwrap();
        assert_eq!(stat.file.mtime.unwrap_or(stat.modified), *time, "{name}: listed and looked up");
    }
    all
}

fn read(stamps: &Stamps, path: &str) {
    let value = stamps.open(&key(path)).unwrap().unwrap();
    value.read(0, value.len(), &mut |_| {}).unwrap();
}

fn finish(stamps: &Stamps) {
    stamps.finish(Deadline::after(Duration::from_secs(10))).unwrap();
}

#[test]
fn promise_5_5_what_was_read_and_is_the_same_keeps_its_time_in_later_snapshots() {
    let place = Place::new();
    for name in ["changed", "same", "unread"] {
        place.put(name, b"first");
    }
    let (first, _) = place.snapshot("1");
    let began = shown(&first);
    read(&first, "changed");
    read(&first, "same");
    finish(&first);
    place.put("changed", b"other");
    let (second, _) = place.snapshot("2");
    let times = shown(&second);
    let time = |all: &[(String, SystemTime)], name: &str| all.iter().find(|(own, _)| own == name).unwrap().1;
    assert_eq!(time(&times, "same"), time(&began, "same"));
    assert!(time(&times, "changed") > time(&began, "changed"));
    assert!(time(&times, "unread") > time(&began, "unread"), "nobody knows what it was");
    read(&second, "changed");
    finish(&second);
    let (third, _) = place.snapshot("3");
    let later = shown(&third);
    assert_eq!(time(&later, "changed"), time(&times, "changed"));
    assert_eq!(time(&later, "same"), time(&began, "same"));
    finish(&third);
}

#[test]
fn a_state_that_was_looked_at_before_is_looked_at_without_reading_a_value() {
    let place = Place::new();
    place.put("a", b"bytes");
    let (first, _) = place.snapshot("1");
    read(&first, "a");
    finish(&first);
    for (mark, reads) in [("1", 0), ("2", 1), ("2", 0)] {
        let (again, faulty) = place.snapshot(mark);
        let counted = Arc::new(Mutex::new(0));
        for nth in 1..9 {
            let counted = Arc::clone(&counted);
            let count = Box::new(move || {
                *counted.lock() += 1;
                Ok(())
            });
            faulty.plan(Call::Open, nth, Moment::Before, count);
        }
        shown(&again);
        assert_eq!(*counted.lock(), reads, "state {mark}");
        finish(&again);
    }
}

#[test]
fn stamps_of_what_is_gone_go() {
    let place = Place::new();
    for index in 0..20 {
        place.put(&format!("d/{index}"), b"bytes");
    }
    let (first, _) = place.snapshot("1");
    (0..20).for_each(|index| read(&first, &format!("d/{index}")));
    finish(&first);
    for index in 0..15 {
        let gone = key(&format!("d/{index}"));
        place.store.apply(&mut [Change::Delete { key: &gone, when: When::Always }]).unwrap();
    }
    let (second, _) = place.snapshot("2");
    finish(&second);
    let (third, _) = place.snapshot("2");
    assert_eq!(third.kept.map.keys(b"a", None, 100).unwrap().len(), 5);
    finish(&third);
}
