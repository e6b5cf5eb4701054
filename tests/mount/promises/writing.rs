//! §4.2, §4.3, §4.5, §4.6 and §4.8: what close, fsync and rename mean to other programs.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{
    Foreign, Kind, LIMIT, Mount, close, dump, needs_kvfs, noise, on_every_mount, refused, watched,
};

#[test]
fn promise_4_2_what_is_closed_every_program_reads() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        for round in 0..100 {
            let value = noise(round, 1 + 4001 * round as usize % 70_000);
            fs::write(mount.at(format!("f{round}")), &value).unwrap();
            assert!(foreign.get(format!("f{round}")) == Some(value), "f{round} after its close");
        }
        fs::remove_file(mount.at("f7")).unwrap();
        assert_eq!(foreign.get("f7"), None);
        fs::rename(mount.at("f8"), mount.at("f9")).unwrap();
        assert_eq!(foreign.get("f8"), None);
        assert_eq!(foreign.get("f9"), Some(noise(8, 1 + 4001 * 8)));
    });
}

#[test]
fn promise_4_2_the_close_of_an_inherited_descriptor_puts_nothing() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        let mut file = File::create(mount.at("f")).unwrap();
        file.write_all(b"half").unwrap();
        let held = nix::unistd::dup(&file).unwrap();
        nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        // The child inherits this descriptor, and closes it by ending.
        place.bash(mount.point(), &format!("[ -e /proc/self/fd/{} ]", held.as_raw_fd()));
        assert_ne!(
            foreign.get("f").as_deref(),
            Some(b"half".as_slice()),
            "another process's close put the value"
        );
        drop(held);
        assert_eq!(foreign.get("f").as_deref(), Some(b"half".as_slice()), "the opener's own close puts it");
        file.write_all(b" and whole").unwrap();
        close(file).unwrap();
        assert_eq!(foreign.get("f").as_deref(), Some(b"half and whole".as_slice()));
    });
}

#[test]
fn promise_4_3_what_was_synced_is_in_the_store_itself() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        fs::write(mount.at("closed"), "closed").unwrap();
        let mut open = File::create(mount.at("open")).unwrap();
        open.write_all(&noise(1, 200_000)).unwrap();
        open.sync_all().unwrap();
        File::open(mount.point()).unwrap().sync_all().unwrap();
        // Neither journal nor spool may be needed.
        mount.kill();
        fs::remove_dir_all(place.at("state")).unwrap();
        let keys = dump(place, &place.at("store"));
        assert_eq!(keys[b"closed".as_slice()], b"closed");
        assert!(keys[b"open".as_slice()] == noise(1, 200_000));
        drop(open);
        mount.mounted().unwrap().detach();
    });
}

on_every_mount! {
    /// A reader sees the old or the new, never neither
    fn promise_4_5_rename_of_a_file_is_atomic(mount) {
        fs::write(mount.at("f"), "0".repeat(5000)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) {
                    let found = fs::read(mount.at("f")).expect("always there");
                    assert_eq!(found.len(), 5000, "a part of it");
                    assert!(found.iter().all(|&byte| byte == found[0]), "a mixture");
                    reads += 1;
                }
                reads
            })).collect();
            for round in 1..=200 {
                fs::write(mount.at("new"), (round % 10).to_string().repeat(5000)).unwrap();
                fs::rename(mount.at("new"), mount.at("f")).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            for reader in readers {
                assert!(reader.join().unwrap() > 0);
            }
        });
    }

    /// Everything below moves with it
    fn promise_4_5_rename_of_a_directory(mount) {
        fs::create_dir_all(mount.at("a/b/c")).unwrap();
        for number in 0..300 {
            fs::write(mount.at(format!("a/b/{number}")), number.to_string()).unwrap();
        }
        fs::write(mount.at("a/b/c/deep"), "deep").unwrap();
        fs::write(mount.at("a!"), "beside").unwrap();
        fs::rename(mount.at("a"), mount.at("z")).unwrap();
        refused(libc::ENOENT, "the old name", fs::metadata(mount.at("a")));
        assert_eq!(mount.bash("find z -type f | wc -l").trim(), "301");
        assert_eq!(fs::read(mount.at("z/b/299")).unwrap(), b"299");
        assert_eq!(fs::read(mount.at("z/b/c/deep")).unwrap(), b"deep");
        assert_eq!(fs::read(mount.at("a!")).unwrap(), b"beside");
        fs::create_dir(mount.at("empty")).unwrap();
        fs::rename(mount.at("z"), mount.at("empty")).unwrap();
        assert_eq!(fs::read(mount.at("empty/b/c/deep")).unwrap(), b"deep");
        fs::create_dir(mount.at("full")).unwrap();
        fs::write(mount.at("full/x"), "x").unwrap();
        refused(libc::ENOTEMPTY, "over a full directory", fs::rename(mount.at("empty"), mount.at("full")));
        refused(libc::EINVAL, "into itself", fs::rename(mount.at("empty"), mount.at("empty/b/inside")));
    }
}

#[test]
fn promise_4_5_a_directory_rename_is_one_transaction() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.ask(&format!("fill ={} 0 500 8", hex::encode("one/")));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..20 {
                    let (from, to) = if round % 2 == 0 { ("one", "two") } else { ("two", "one") };
                    fs::rename(mount.at(from), mount.at(to)).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let keys = foreign.keys();
                let first = keys[0][..4].to_vec();
                assert_eq!(keys.iter().filter(|key| key.starts_with(&first)).count(), 500, "half a rename");
                assert_eq!(keys.len(), 500);
            }
        });
    });
}

#[test]
fn promise_4_6_whole_replacement_is_last_close_wins() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("f", "first");
        let mut file = File::create(mount.at("f")).unwrap();
        file.write_all(b"ours").unwrap();
        foreign.put("f", "theirs");
        close(file).unwrap();
        assert_eq!(foreign.get("f").unwrap(), b"ours");
    });
}

#[test]
fn promise_4_6_a_partial_write_over_somebody_elses_is_estale() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("f", "the first version");
        let file = OpenOptions::new().read(true).write(true).open(mount.at("f")).unwrap();
        file.write_all_at(b"OUR", 4).unwrap();
        foreign.put("f", "somebody else's version");
        refused(libc::ESTALE, "close", close(file));
        assert_eq!(foreign.get("f").unwrap(), b"somebody else's version");
        // The unmount says that bytes are left, and would wait for them.
        let now = ["unmount", "--timeout", "0s"].map(std::ffi::OsStr::new);
        place.kvfs(now.into_iter().chain([mount.point().as_os_str()]));
        mount.ended();
        let kept = place.kvfs_ok(["recover", "list"]);
        assert!(kept.contains('f'), "the refused bytes are kept: {kept}");
    });
}

on_every_mount! {
    /// Refused at the write that passes the limit, and the value stays
    fn promise_4_8_a_value_over_the_limit_is_efbig(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), "small").unwrap();
        let file = OpenOptions::new().write(true).open(mount.at("f")).unwrap();
        refused(libc::EFBIG, "pwrite at 16 TiB", file.write_at(b"x", 16 << 40));
        refused(libc::EFBIG, "truncate to 16 TiB", file.set_len(16 << 40));
        close(file).unwrap();
        assert_eq!(fs::read(mount.at("f")).unwrap(), b"small");
    }
}
