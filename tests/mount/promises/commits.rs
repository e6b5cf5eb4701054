//! §4.4: the four ways of committing, as other programs see them.

use std::fs::{self, File};

use crate::harness::{Foreign, Kind, LIMIT, Mount, PATIENCE, dump, needs_kvfs, noise, until, watched};

#[test]
fn promise_4_4_auto_a_fresh_process_never_misses_a_closed_file() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        for round in 0..100 {
            let value = noise(round, 3000);
            fs::write(mount.at(format!("f{round}")), &value).unwrap();
            let keys = dump(place, &mount.store());
            assert!(keys.get(format!("f{round}").as_bytes()) == Some(&value), "f{round} is missing");
            assert_eq!(keys.len() as u64, round + 1);
        }
    });
}

#[test]
fn promise_4_4_auto_nor_at_the_end_of_a_bulk_copy() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        for round in 0..10_u64 {
            for number in 0..200 {
                fs::write(mount.at(format!("r{round}-{number}")), noise(number, 500)).unwrap();
            }
            assert_eq!(dump(place, &mount.store()).len() as u64, 200 * (round + 1));
        }
    });
}

#[test]
fn promise_4_4_auto_deletes_and_renames_are_seen_too() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        for round in 0..30 {
            fs::write(mount.at("a"), round.to_string()).unwrap();
            fs::rename(mount.at("a"), mount.at("b")).unwrap();
            let keys = dump(place, &mount.store());
            assert_eq!(keys.get(b"b".as_slice()), Some(&round.to_string().into_bytes()));
            assert_eq!(keys.len(), 1);
            fs::remove_file(mount.at("b")).unwrap();
            assert!(dump(place, &mount.store()).is_empty());
        }
    });
}

fn attached_program_sees_at_once(options: &'static [&'static str]) {
    watched(LIMIT, move |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, options);
        let mut foreign = Foreign::open(place, &mount.store());
        for round in 0..50 {
            let value = noise(round, 2000);
            fs::write(mount.at("f"), &value).unwrap();
            assert!(foreign.get("f") == Some(value), "round {round}");
        }
    });
}

#[test]
fn promise_4_4_auto_with_others_attached_close_is_the_commit() {
    attached_program_sees_at_once(&["--commit", "auto"]);
}

#[test]
fn promise_4_4_close_close_is_the_commit() {
    attached_program_sees_at_once(&["--commit", "close"]);
}

#[test]
fn promise_4_4_durable_close_is_the_commit() {
    attached_program_sees_at_once(&["--commit", "durable"]);
}

#[test]
fn promise_4_4_within_a_time_the_mount_sees_at_once_and_others_soon() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &["--commit", "300ms"]);
        let mut foreign = Foreign::open(place, &mount.store());
        for round in 0..5 {
            let value = noise(round, 2000);
            fs::write(mount.at("f"), &value).unwrap();
            assert!(fs::read(mount.at("f")).unwrap() == value);
            until(PATIENCE, "others see it", || (foreign.get("f").as_ref() == Some(&value)).then_some(()));
        }
        // A long window, so that only the wait can have made it visible.
        drop(mount);
        let mount = Mount::new(place, Kind::Apart, &["--commit", "1h"]);
        fs::write(mount.at("by-fsync"), "1").unwrap();
        File::open(mount.at("by-fsync")).unwrap().sync_all().unwrap();
        assert!(foreign.get("by-fsync").is_some(), "fsync of the file waits for the commit");
        fs::write(mount.at("by-folder"), "1").unwrap();
        File::open(mount.point()).unwrap().sync_all().unwrap();
        assert!(foreign.get("by-folder").is_some(), "fsync of the folder waits for the commit");
        fs::write(mount.at("by-sync"), "1").unwrap();
        place.kvfs_ok([std::ffi::OsStr::new("sync"), mount.point().as_os_str()]);
        assert!(foreign.get("by-sync").is_some(), "kvfs sync waits for the commit");
        fs::write(mount.at("by-unmount"), "1").unwrap();
        drop(mount);
        assert!(foreign.get("by-unmount").is_some(), "kvfs unmount waits for the commit");
    });
}
