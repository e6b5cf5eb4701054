//! §8.3, §8.6 and §8.8: dead daemons, several daemons, foolish mounts, hostile files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;

use crate::harness::{
    Kind, LIMIT, Mount, PATIENCE, Place, dump, load, mounts_below, needs_kvfs, noise, refused, until, watched,
};

#[test]
fn promise_8_3_kill_of_the_daemon_loses_nothing_that_close_accepted() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        for round in 0..20_u64 {
            for number in 0..20 {
                fs::write(mount.at(format!("{round}-{number}")), noise(round * 100 + number, 700)).unwrap();
            }
            if round > 0 {
                fs::remove_file(mount.at(format!("{}-0", round - 1))).unwrap();
                fs::rename(mount.at(format!("{}-1", round - 1)), mount.at(format!("{}-moved", round - 1)))
                    .unwrap();
            }
            mount.kill();
            refused(libc::ENOTCONN, "a listing of the dead mount", fs::read_dir(mount.point()));
            mount.start();
            for number in 0..20 {
                let found = fs::read(mount.at(format!("{round}-{number}")));
                assert!(
                    found.is_ok_and(|v| v == noise(round * 100 + number, 700)),
                    "{round}-{number} is lost"
                );
            }
        }
        mount.unmount();
        let keys = dump(place, &place.at("store"));
        assert_eq!(keys.len(), 20 * 20 - 19);
        assert!((0..19).all(|round| keys.contains_key(format!("{round}-moved").as_bytes())));
    });
}

#[test]
fn promise_8_3_in_place_too() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::InPlace, &[]);
        for round in 0..5 {
            fs::write(mount.at(format!("f{round}")), noise(round, 5000)).unwrap();
            mount.kill();
            mount.start();
            assert!(fs::read(mount.at(format!("f{round}"))).unwrap() == noise(round, 5000));
        }
        assert_eq!(mounts_below(mount.point()).len(), 1, "the dead mounts were cleaned up");
        mount.unmount();
        assert!(place.at("data/data.mdb").exists());
        assert_eq!(dump(place, &place.at("data")).len(), 5);
    });
}

#[test]
fn promise_8_3_files_that_were_open_fail_and_do_not_hang() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Memory, &[]);
        fs::write(mount.at("f"), "x".repeat(10_000)).unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(mount.at("f")).unwrap();
        mount.kill();
        assert!(file.write_at(b"x", 0).is_err());
        drop(file);
        mount.start();
        assert_eq!(fs::read_dir(mount.point()).unwrap().count(), 0, "memory lasts as long as its daemon");
    });
}

#[test]
fn promise_8_6_two_daemons_on_one_environment() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let one = Mount::new(place, Kind::Apart, &[]);
        let source = || format!("lmdb:{}", place.at("store").display()).into();
        let two = Mount::of(place, Kind::Apart, source(), "second", &[]);
        for round in 0..100 {
            let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
            fs::write(writer.at("ping"), round.to_string()).unwrap();
            until(PATIENCE, "the other sees it", || {
                (fs::read_to_string(reader.at("ping")).ok()? == round.to_string()).then_some(())
            });
        }
        std::thread::scope(|scope| {
            for (number, mount) in [&one, &two].into_iter().enumerate() {
                scope.spawn(move || {
                    for file in 0..100 {
                        fs::write(mount.at(format!("{number}-{file}")), noise(file, 3000)).unwrap();
                    }
                });
            }
        });
        assert_eq!(dump(place, &place.at("store")).len(), 201);
    });
}

/// A mount that must not be: one sentence, and nothing changes.
fn refused_mount(place: &Place, source: &str, point: &str) -> String {
    let (source, point) = (OsStr::new(source), place.at(point));
    Mount::refused_mount(place, &[source, point.as_os_str()]).sentence("a foolish mount")
}

#[test]
fn promise_8_6_a_mount_point_below_its_own_store_or_state_is_refused() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("a", "1")]);
        fs::create_dir(place.at("store/below")).unwrap();
        let store = format!("lmdb:{}", place.at("store").display());
        refused_mount(place, &store, "store/below");
        fs::create_dir_all(place.at("state/spool/below")).unwrap();
        refused_mount(place, &store, "state/spool/below");
        assert_eq!(dump(place, &place.at("store")).len(), 1);
    });
}

#[test]
fn promise_8_6_a_live_mount_is_not_mounted_over() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::InPlace, &[]);
        fs::write(mount.at("f"), "1").unwrap();
        refused_mount(place, "lmdb", "data");
        refused_mount(place, "memory", "data");
        assert_eq!(fs::read(mount.at("f")).unwrap(), b"1");
        refused(libc::EBUSY, "data.mdb in place", fs::write(mount.at("data.mdb"), "x"));
        refused(libc::EBUSY, "lock.mdb in place", fs::write(mount.at("lock.mdb"), "x"));
        assert_eq!(mount.bash("ls -A"), "f\n");
    });
}

#[test]
fn promise_8_8_a_random_or_truncated_environment_is_refused_in_one_sentence() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("good"), &[("a", noise(1, 100_000)), ("b", noise(2, 100_000))]);
        let whole = fs::read(place.at("good/data.mdb")).unwrap();
        let contents: [(&str, Vec<u8>); 5] = [
            ("random", noise(3, 1 << 20)),
            ("one-page", whole[..4096].to_vec()),
            ("zeros", vec![0; 1 << 20]),
            ("sqlite", b"SQLite format 3\0".iter().copied().chain(noise(4, 8192)).collect()),
            ("text", b"this is no database\n".repeat(1000)),
        ];
        for (name, content) in contents {
            fs::create_dir(place.at(name)).unwrap();
            fs::write(place.at(name).join("data.mdb"), &content).unwrap();
            refused_mount(place, &format!("lmdb:{}", place.at(name).display()), "data");
            assert!(fs::read(place.at(name).join("data.mdb")).unwrap() == content, "{name} was changed");
            assert!(!place.at("data").exists(), "a mount point was left by {name}");
        }
    });
}

#[test]
fn promise_8_8_a_check_looks_at_every_page_before_the_mount() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let pairs: Vec<(String, Vec<u8>)> =
            (0..7000).map(|n| (format!("key {n:05}"), noise(n, 2500))).collect();
        load(place, &place.at("store"), &pairs);
        let source = format!("lmdb:{}", place.at("store").display());
        let mut mount = Mount::of(place, Kind::Apart, source.clone().into(), "data", &["--check"]);
        assert_eq!(fs::read_dir(mount.point()).unwrap().count(), 7000);
        mount.unmount();
        let mut bytes = fs::read(place.at("store/data.mdb")).unwrap();
        assert!(bytes.len() > 16 << 20);
        for page in bytes.chunks_mut(4096).filter(|page| page.windows(9).any(|key| key == b"key 06950")) {
            page[12] ^= 0x01;
        }
        fs::write(place.at("store/data.mdb"), bytes).unwrap();
        let point = place.at("data");
        let asked = [OsStr::new("-o"), OsStr::new("check"), OsStr::new(&source), point.as_os_str()];
        let sentence = Mount::refused_mount(place, &asked).sentence("a damaged file");
        assert!(
            sentence.contains("damaged: page ") && sentence.contains("of the main database"),
            "{sentence}"
        );
    });
}

#[test]
fn promise_8_8_a_truncated_environment_is_refused_or_fails_where_bytes_are_missing() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let pairs: Vec<(String, Vec<u8>)> = (0..50).map(|n| (format!("{n:02}"), noise(n, 100_000))).collect();
        load(place, &place.at("store"), &pairs);
        let file = fs::OpenOptions::new().write(true).open(place.at("store/data.mdb")).unwrap();
        let length = file.metadata().unwrap().len();
        for part in [3, 2, 1] {
            file.set_len(length / 4 * part).unwrap();
            let source = format!("lmdb:{}", place.at("store").display());
            let mounted =
                place.kvfs([OsStr::new("mount"), OsStr::new(&source), place.at("data").as_os_str()]);
            if mounted.code != 0 {
                mounted.sentence("a mount of a part of an environment");
                continue;
            }
            let failed = pairs.iter().filter(|(name, value)| {
                // A wrong byte would be worse than an error, and a dead daemon is one error for ever.
                fs::read(place.at("data").join(name)).map_or(true, |found| {
                    assert!(&found == value, "{name} has other bytes");
                    false
                })
            });
            assert!(failed.count() > 0, "bytes that are not in the file were read");
            place.kvfs_ok([OsStr::new("unmount"), place.at("data").as_os_str()]);
        }
    });
}

#[test]
fn promise_8_8_a_hostile_store_stops_no_other_mount() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let pairs: Vec<(String, Vec<u8>)> = (0..2000).map(|n| (format!("{n:05}"), noise(n, 600))).collect();
        load(place, &place.at("store"), &pairs);
        // Garbage in the pages of the tree, behind the two meta pages, which stay valid.
        let file = fs::OpenOptions::new().write(true).open(place.at("store/data.mdb")).unwrap();
        let pages = file.metadata().unwrap().len() / 4096;
        for page in (2..pages).step_by(3) {
            file.write_all_at(&noise(page, 2000), page * 4096 + 100).unwrap();
        }
        let other = Mount::of(place, Kind::Memory, "memory".into(), "other", &[]);
        fs::write(other.at("f"), "untouched").unwrap();
        let source = format!("lmdb:{}", place.at("store").display());
        let mounted = place.kvfs([OsStr::new("mount"), OsStr::new(&source), place.at("data").as_os_str()]);
        if mounted.code == 0 {
            // Each of these may fail; LMDB's own code may even die of it. Nothing may hang or reach beyond.
            let _ = fs::read_dir(place.at("data")).map(Iterator::count);
            for number in (0..2000).step_by(7) {
                let _ = fs::read(place.at(format!("data/{number:05}")));
            }
            let _ = place.kvfs([OsStr::new("unmount"), place.at("data").as_os_str()]);
            for mount in mounts_below(&place.at("data")) {
                mount.detach();
            }
        }
        assert_eq!(fs::read(other.at("f")).unwrap(), b"untouched");
        fs::write(other.at("g"), "works on").unwrap();
    });
}
