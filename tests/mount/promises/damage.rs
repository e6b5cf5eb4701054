//! §8.8: data files that somebody damaged, before a mount and under it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;

use super::failure::refused_mount;
use crate::harness::{
    Foreign, Kind, LIMIT, Mount, PATIENCE, Place, load, mounts_below, needs_kvfs, noise, refused, until,
    watched,
};

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

/// Mounts of an environment with 50 values of 100,000 bytes, of another one, and of memory, and the first one's file.
fn three_mounts(place: &Place) -> ([Mount; 3], fs::File) {
    needs_kvfs();
    let pairs: Vec<(String, Vec<u8>)> = (0..50).map(|n| (format!("{n:02}"), noise(n, 100_000))).collect();
    for name in ["store", "sound"] {
        load(place, &place.at(name), &pairs);
    }
    let source = |name| format!("lmdb:{}", place.at(name).display()).into();
    let mounts = [
        Mount::of(place, Kind::Apart, source("store"), "data", &[]),
        Mount::of(place, Kind::Apart, source("sound"), "other", &[]),
        Mount::of(place, Kind::Memory, "memory".into(), "memory", &[]),
    ];
    (mounts, fs::File::options().write(true).open(place.at("store/data.mdb")).unwrap())
}

/// What `kvfs status` says of the store's damage.
fn damage(mount: &Mount) -> Option<String> {
    let status = mount.status();
    let facts = &status["mounts"][0]["live"]["facts"];
    let facts = facts.as_array().unwrap_or_else(|| panic!("no facts in {status}"));
    let fact = facts.iter().find(|fact| fact["name"] == "damage")?;
    Some(fact["value"].as_str().unwrap().to_owned())
}

/// The other mounts read and write, and all of them answer `statfs`.
fn others_go_on(others: &[Mount]) {
    for mount in others {
        let name = mount.at("more");
        fs::write(&name, "works on").unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"works on");
        assert!(nix::sys::statvfs::statvfs(mount.point()).unwrap().blocks() > 0);
    }
}

#[test]
fn promise_8_8_a_file_that_is_cut_under_the_mount_is_eio_and_stops_no_other() {
    for kept in [0, 4096, 40 * 4096, 2_000_000] {
        watched(LIMIT, move |place| {
            let ([mut mount, others @ ..], file) = three_mounts(place);
            let mut foreign = Foreign::open(place, &place.at("store"));
            let opened = fs::File::open(mount.at("17")).unwrap();
            assert_eq!(fs::read(mount.at("00")).unwrap(), noise(0, 100_000));
            file.set_len(kept).unwrap();
            let sentence = until(PATIENCE, "the damage is known", || damage(&mount));
            assert!(sentence.contains(&format!("data.mdb was cut to {kept} bytes")), "{sentence}");
            assert!(mount.log().contains(&sentence), "{}", mount.log());
            refused(libc::EIO, "a name that was not asked for before", fs::metadata(mount.at("nothing")));
            refused(libc::EIO, "a value", fs::read(mount.at("42")));
            refused(libc::EIO, "a value that is open", opened.read_at(&mut [0; 100], 0));
            refused(
                libc::EIO,
                "a listing",
                fs::read_dir(mount.point()).and_then(|mut names| names.next().unwrap()),
            );
            refused(libc::EIO, "a new file", fs::write(mount.at("new"), "x"));
            assert!(nix::sys::statvfs::statvfs(mount.point()).unwrap().blocks() > 0);
            // What the other program makes of it is its own affair; nothing of it is taken for sound.
            foreign.order("put =61 =62");
            refused(libc::EIO, "a value after another program went on", fs::read(mount.at("42")));
            others_go_on(&others);
            assert_eq!(damage(&mount), Some(sentence));
            drop(opened);
            mount.unmount();
            others_go_on(&others);
        });
    }
}

#[test]
fn promise_8_8_a_file_that_is_cut_and_written_at_once_stops_no_other_mount() {
    watched(LIMIT, |place| {
        let ([mut mount, others @ ..], file) = three_mounts(place);
        let mut foreign = Foreign::open(place, &place.at("store"));
        file.set_len(2_000_000).unwrap();
        foreign.order("put =61 =62");
        // Where the commit covered the cut before anybody looked, this may be an error, or the end of the one daemon.
        for number in 0..50 {
            let _ = fs::read(mount.at(format!("{number:02}")));
        }
        others_go_on(&others);
        mount.kill();
        for mount in mounts_below(mount.point()) {
            mount.detach();
        }
    });
}
