//! §8.1, §8.4 and §8.5: puts that cannot be done in time, and what becomes of their bytes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use crate::harness::{
    Foreign, Kind, LIMIT, Mount, PATIENCE, close, dump, needs_kvfs, refused, until, watched,
};

#[test]
fn promise_8_1_a_put_that_cannot_be_done_in_time_is_etimedout() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &["--timeout", "2s"]);
        let other = Mount::of(place, Kind::Memory, "memory".into(), "other", &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("there", "readable");
        foreign.hold();
        let mut file = File::create(mount.at("f")).and_then(|mut file| {
            file.write_all(b"cannot be put")?;
            Ok(file)
        });
        let closing = std::thread::spawn(move || match file {
            Ok(file) => close(file),
            Err(ref mut error) => Err(std::io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(0))),
        });
        // Meanwhile everything else goes on.
        assert_eq!(fs::read(mount.at("there")).unwrap(), b"readable");
        nix::sys::statvfs::statvfs(mount.point()).unwrap();
        mount.status();
        fs::write(other.at("x"), "another mount").unwrap();
        refused(libc::ETIMEDOUT, "close", closing.join().unwrap());
        foreign.release();
        until(PATIENCE, "puts work again", || fs::write(mount.at("g"), "later").ok());
        assert_eq!(foreign.get("g").unwrap(), b"later");
    });
}

#[test]
fn promise_8_4_bytes_that_could_not_be_put_are_kept() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &["--timeout", "1s"]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("secret-name", "first");
        let mut file = fs::OpenOptions::new().write(true).open(mount.at("secret-name")).unwrap();
        file.write_all(b"precious bytes").unwrap();
        foreign.hold();
        refused(libc::ETIMEDOUT, "close", close(file));
        let unmounted = place.kvfs([
            OsStr::new("unmount"),
            "--timeout".as_ref(),
            "2s".as_ref(),
            mount.point().as_os_str(),
        ]);
        assert!(
            unmounted.code != 0 || !unmounted.err.is_empty(),
            "unmount says that bytes are left: {unmounted:?}"
        );
        mount.ended();
        foreign.release();
        let list = place.kvfs_ok(["recover", "list"]);
        assert!(list.contains("secret-name"), "{list}");
        let kept = files_below(&place.at("state"));
        let found = kept
            .iter()
            .any(|file| fs::read(file).unwrap().windows(14).any(|bytes| bytes == b"precious bytes"));
        assert!(found, "the bytes are in none of {kept:?}");
    });
}

#[test]
fn promise_8_7_what_is_kept_is_its_owners_alone() {
    watched(LIMIT, |place| {
        needs_kvfs();
        use std::os::unix::fs::MetadataExt;
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        for number in 0..50 {
            fs::write(mount.at(format!("f{number}")), "x").unwrap();
        }
        mount.kill();
        for file in files_below(&place.at("state")).iter().chain(&files_below(&place.at("runtime"))) {
            let found = fs::symlink_metadata(file).unwrap();
            assert_eq!(found.mode() & 0o077, 0, "{} is open to others", file.display());
        }
        mount.start();
        assert_eq!(fs::read_dir(mount.point()).unwrap().count(), 50);
    });
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] }
        })
        .collect()
}

#[test]
fn promise_8_5_unmount_waits_for_what_is_pending() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &["--commit", "1h"]);
        for number in 0..100 {
            fs::write(mount.at(number.to_string()), "x").unwrap();
        }
        mount.unmount();
        assert_eq!(dump(place, &place.at("store")).len(), 100);
    });
}

#[test]
fn promise_8_5_unmount_with_a_deadline_stops_waiting_and_says_so() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &["--commit", "1h"]);
        let mut foreign = Foreign::open(place, &mount.store());
        fs::write(mount.at("pending"), "not put yet").unwrap();
        foreign.hold();
        let start = kvfs::env::instant();
        let finished = place.kvfs([
            OsStr::new("unmount"),
            "--timeout".as_ref(),
            "1s".as_ref(),
            mount.point().as_os_str(),
        ]);
        assert!(start.elapsed() < Duration::from_secs(15), "a deadline of 1 s took {:?}", start.elapsed());
        assert!(!finished.err.trim().is_empty(), "it says what it did not wait for: {finished:?}");
        foreign.release();
        mount.ended();
        drop(foreign);
        // Kept: in the journal or the spool; the next mount or `kvfs recover` has it.
        let again = Mount::of(
            place,
            Kind::Apart,
            format!("lmdb:{}", place.at("store").display()).into(),
            "data",
            &[],
        );
        let there = fs::read(again.at("pending")).is_ok_and(|value| value == b"not put yet");
        assert!(there || place.kvfs_ok(["recover", "list"]).contains("pending"), "the bytes are lost");
    });
}

#[test]
fn promise_8_5_after_a_plain_umount_the_daemon_finishes_by_itself() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &["--commit", "1h"]);
        for number in 0..50 {
            fs::write(mount.at(number.to_string()), "x").unwrap();
        }
        let command = if nix::unistd::geteuid().is_root() { "umount" } else { "fusermount3 -u" };
        place.bash(place.folder(), &format!("{command} {}", mount.point().display()));
        assert_eq!(mount.ended(), 0, "{}", mount.log());
        assert_eq!(dump(place, &place.at("store")).len(), 50);
    });
}
