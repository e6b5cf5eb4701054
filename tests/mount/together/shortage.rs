//! Nothing left: of the disk, of the map, of reader slots.

use std::fs;
use std::path::PathBuf;

use crate::harness::{
    Foreign, Kind, LIMIT, Mount, Place, dump, load, needs_kvfs, needs_root, noise, put, watched,
};

/// A small ext4 of its own, unmounted at drop.
struct Disk {
    place: Place,
    point: PathBuf,
}

impl Disk {
    fn of(place: &Place, size: &str) -> Disk {
        needs_root("a disk of its own");
        let point = place.at("disk");
        place.bash(
            place.folder(),
            &format!(
                "truncate -s {size} disk.img && mkfs.ext4 -q -m 0 disk.img && mkdir disk && mount -o loop disk.img disk"
            ),
        );
        Disk { place: place.clone(), point }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = crate::harness::finish(self.place.command("umount").arg(&self.point));
        if unmounted.code != 0 && !std::thread::panicking() {
            panic!("the disk is still used: {}", unmounted.err);
        }
    }
}

#[test]
fn a_full_disk_is_enospc_and_nothing_is_lost() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let disk = Disk::of(place, "24M");
        let source = format!("lmdb:{}", disk.point.join("store").display());
        for mode in ["auto", "close"] {
            let mut mount = Mount::of(place, Kind::Apart, source.clone().into(), "data", &["--commit", mode]);
            fs::write(mount.at("old"), "the old value").unwrap();
            let mut written = Vec::new();
            let error = (0..200_u64)
                .find_map(|number| match put(mount.at(format!("{mode}{number}")), &noise(number, 300_000)) {
                    Ok(()) => {
                        written.push(number);
                        None
                    }
                    Err(error) => Some(error),
                })
                .expect("60 MB on a disk of 24 MB");
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
            let replaced = put(mount.at("old"), &noise(1, 20_000_000));
            assert_eq!(replaced.expect_err("20 MB on a full disk").raw_os_error(), Some(libc::ENOSPC));
            for &number in &written {
                let found = fs::read(mount.at(format!("{mode}{number}"))).unwrap();
                assert!(found == noise(number, 300_000), "{mode}{number} was accepted and is lost");
            }
            let keys = dump(place, &disk.point.join("store"));
            assert_eq!(keys.get(b"old".as_slice()).map(Vec::as_slice), Some(&b"the old value"[..]));
            for number in written {
                fs::remove_file(mount.at(format!("{mode}{number}"))).unwrap();
            }
            fs::write(mount.at("again"), "there is room again").unwrap();
            // Bytes that could not be put may be reported, so the exit code is not asked for.
            let now = ["unmount", "--timeout", "0s"].map(std::ffi::OsStr::new);
            let _ = place.kvfs(now.into_iter().chain([mount.point().as_os_str()]));
            mount.ended();
            let keys = dump(place, &disk.point.join("store"));
            assert_eq!(keys[b"again".as_slice()], b"there is room again");
        }
    });
}

#[test]
fn read_only_media_are_readable() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let disk = Disk::of(place, "24M");
        load(place, &disk.point.join("store"), &[("a", "1")]);
        place.bash(place.folder(), "mount -o remount,ro disk");
        let source = format!("lmdb:{}", disk.point.join("store").display());
        let mount = Mount::of(place, Kind::Apart, source.into(), "data", &[]);
        assert_eq!(fs::read(mount.at("a")).unwrap(), b"1");
        crate::harness::refused(libc::EROFS, "a write", fs::write(mount.at("b"), "x"));
        drop(mount);
        drop(disk);
    });
}

#[test]
fn full_reader_slots_are_told_and_passing() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("a", "1")]);
        // An environment whose lock file has four slots, all taken by live readers.
        let script = r#"
import sys, lmdb
environment = lmdb.open(sys.argv[1], max_readers=4, max_spare_txns=0)
readers = [environment.begin() for _ in range(4)]
print("ready", flush=True)
sys.stdin.readline()
"#;
        let mut hog = place
            .python(script)
            .arg(place.at("store"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(hog.stdout.take().unwrap()), &mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n");
        let source = format!("lmdb:{}", place.at("store").display());
        let point = place.at("data");
        let mounted = place.kvfs([std::ffi::OsStr::new("mount"), source.as_ref(), point.as_os_str()]);
        if mounted.code == 0 {
            let read = fs::read(point.join("a"));
            assert!(read.as_ref().map_or(true, |value| value == b"1"), "{read:?}");
            drop(hog.stdin.take());
            hog.wait().unwrap();
            crate::harness::until(crate::harness::PATIENCE, "reads work again", || {
                fs::read(point.join("a")).ok()
            });
            place.kvfs_ok([std::ffi::OsStr::new("unmount"), point.as_os_str()]);
        } else {
            assert!(mounted.sentence("a mount without a reader slot").contains("reader"));
            drop(hog.stdin.take());
            hog.wait().unwrap();
        }
        let mut foreign = Foreign::open(place, &place.at("store"));
        assert_eq!(foreign.get("a").unwrap(), b"1");
    });
}
