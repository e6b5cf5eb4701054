//! §2.6 and §2.7: listings that stream.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use crate::harness::{Foreign, Kind, LIMIT, Mount, load, needs_kvfs, on_every_mount, watched};

/// Anonymous and shared memory of a process in KiB; pages of a mapped store are the kernel's.
fn memory_of(process: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status
        .lines()
        .filter(|line| line.starts_with("RssAnon") || line.starts_with("RssShmem"))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum()
}

fn numbered(count: usize) -> Vec<(String, &'static str)> {
    (0..count).map(|number| (format!("big/{number:06}"), "value")).collect()
}

#[test]
fn promise_2_6_what_stays_is_listed_exactly_once() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &numbered(20_000));
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        let mut seen: BTreeMap<OsString, u32> = BTreeMap::new();
        for (position, entry) in fs::read_dir(mount.at("big")).unwrap().enumerate() {
            *seen.entry(entry.unwrap().file_name()).or_default() += 1;
            if position % 500 == 0 && position < 20_000 {
                // Others come and go before and behind; odd numbers stay.
                foreign.put(format!("big/{position:06}x"), "new");
                foreign.delete(format!("big/{:06}", position * 2 % 20_000));
                foreign.put(format!("big/{:06}y", 19_999 - position), "new");
            }
        }
        for odd in (1..20_000).step_by(2) {
            assert_eq!(seen.get(&OsString::from(format!("{odd:06}"))), Some(&1), "entry {odd:06}");
        }
        assert!(seen.values().all(|&times| times == 1), "an entry was listed twice");
    });
}

#[test]
fn promise_2_6_a_listing_takes_no_memory_for_what_is_not_kept() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &numbered(200_000));
        let mount = Mount::new(place, Kind::Apart, &[]);
        assert_eq!(fs::read_dir(mount.at("big")).unwrap().take(10).count(), 10);
        let before = memory_of(mount.pid());
        assert_eq!(fs::read_dir(mount.at("big")).unwrap().count(), 200_000);
        let grown = memory_of(mount.pid()).saturating_sub(before);
        assert!(grown < 32 * 1024, "a listing of 200,000 names took {grown} KiB");
    });
}

on_every_mount! {
    /// Entries removed while the listing goes on, as rm -r does it
    fn promise_2_6_a_listing_survives_its_own_removals(mount) {
        fs::create_dir(mount.at("d")).unwrap();
        for number in 0..2000 {
            fs::write(mount.at(format!("d/{number}")), "").unwrap();
        }
        for entry in fs::read_dir(mount.at("d")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::remove_dir(mount.at("d")).unwrap();
    }
}

#[test]
fn promise_2_7_a_long_listing_costs_no_request_an_entry() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &numbered(2_000));
        let mount = Mount::new(place, Kind::Apart, &[]);
        let total = |mount: &Mount| mount.requests().values().sum::<u64>();
        let before = total(&mount);
        assert_eq!(mount.bash("ls -l big | wc -l").trim(), "2001");
        let spent = total(&mount) - before;
        assert!(spent < 100, "{spent} requests for ls -l of 2,000 entries: {:?}", mount.requests());
    });
}
