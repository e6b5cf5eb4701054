//! §4.5: two names change places at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, RenameFlags};

use crate::harness::{
    Foreign, Kind, LIMIT, Mount, close, needs_kvfs, noise, on_every_mount, refused, watched,
};

fn renamed(flags: RenameFlags, one: &Path, other: &Path) -> io::Result<()> {
    rustix::fs::renameat_with(CWD, one, CWD, other, flags).map_err(io::Error::from)
}

/// All that is at a path and below, by the names below it; of links, where they lead.
fn below(path: &Path) -> Vec<(String, Vec<u8>)> {
    let found = fs::symlink_metadata(path).unwrap();
    if found.is_symlink() {
        return vec![(String::new(), fs::read_link(path).unwrap().into_os_string().into_encoded_bytes())];
    }
    if found.is_file() {
        return vec![(String::new(), fs::read(path).unwrap())];
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        all.extend(
            below(&path.join(&name)).into_iter().map(|(rest, bytes)| (format!("{name}/{rest}"), bytes)),
        );
    }
    all.sort();
    all
}

fn exchange(mount: &Mount, one: &str, other: &str) -> io::Result<()> {
    renamed(RenameFlags::EXCHANGE, &mount.at(one), &mount.at(other))
}

on_every_mount! {
    /// Files, directories with what is in them, links, and one of each
    fn promise_4_5_any_two_change_places(mount) {
        fs::create_dir_all(mount.at("full/x")).unwrap();
        fs::write(mount.at("full/x/deep"), noise(1, 100_000)).unwrap();
        fs::write(mount.at("full/%y"), "beside").unwrap();
        fs::create_dir(mount.at("empty")).unwrap();
        fs::write(mount.at("small"), "small").unwrap();
        fs::write(mount.at("large"), noise(2, 3_000_000)).unwrap();
        fs::set_permissions(mount.at("large"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("full/x", mount.at("link")).unwrap();
        fs::create_dir(mount.at("d")).unwrap();
        fs::write(mount.at("d/file"), "in d").unwrap();
        let names = ["full", "empty", "small", "large", "link", "d/file"];
        // A file keeps its number as long as the kernel knows it.
        let known = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
        let _known = names.map(|name| rustix::fs::open(mount.at(name), known, Mode::empty()).unwrap());
        let whole = |name: &str| {
            let found = fs::symlink_metadata(mount.at(name)).unwrap();
            (found.ino(), found.mode(), found.len(), below(&mount.at(name)))
        };
        for one in names {
            for other in names {
                let before = (whole(one), whole(other));
                exchange(mount, one, other).unwrap();
                assert_eq!((whole(other), whole(one)), before, "{one} and {other}");
                exchange(mount, other, one).unwrap();
                assert_eq!((whole(one), whole(other)), before, "{one} and {other}, back");
            }
        }
        assert_eq!(mount.bash("ls | tr '\\n' ' '"), "d empty full large link small ");
    }

    /// As Linux refuses
    fn promise_4_5_exchanges_that_make_no_sense(mount) {
        fs::create_dir_all(mount.at("a/b")).unwrap();
        fs::write(mount.at("a/b/c"), "c").unwrap();
        fs::write(mount.at("f"), "f").unwrap();
        for (errno, one, other) in [
            (libc::EINVAL, "a", "a/b"),
            (libc::EINVAL, "a/b/c", "a"),
            (libc::ENOENT, "a", "none"),
            (libc::ENOENT, "none", "f"),
            (libc::ENOENT, "none/f", "f"),
            (libc::ENOTDIR, "f/x", "f"),
            (libc::ENOTDIR, "f/", "a"),
        ] {
            refused(errno, one, exchange(mount, one, other));
        }
        exchange(mount, "f", "f").unwrap();
        exchange(mount, "a/", "f").unwrap();
        exchange(mount, "a", "f").unwrap();
        assert_eq!(fs::read(mount.at("a/b/c")).unwrap(), b"c");
    }

    /// NOREPLACE is there, whiteouts are not
    fn promise_4_5_other_flags_of_renameat2(mount) {
        fs::write(mount.at("a"), "a").unwrap();
        fs::write(mount.at("b"), "b").unwrap();
        let (a, b, c) = (mount.at("a"), mount.at("b"), mount.at("c"));
        refused(libc::EEXIST, "NOREPLACE", renamed(RenameFlags::NOREPLACE, &a, &b));
        renamed(RenameFlags::NOREPLACE, &a, &c).unwrap();
        let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        refused(libc::EINVAL, "NOREPLACE and EXCHANGE", renamed(both, &b, &c));
        needs_kvfs();
        let whiteout = renamed(RenameFlags::WHITEOUT, &b, &mount.at("d"));
        refused(libc::EINVAL, "WHITEOUT", whiteout);
    }

    /// Open files go with their names
    fn promise_4_5_open_files_change_places(mount) {
        fs::write(mount.at("a"), "one").unwrap();
        fs::write(mount.at("b"), "other").unwrap();
        let mut reader = File::open(mount.at("a")).unwrap();
        let mut writer = OpenOptions::new().append(true).open(mount.at("b")).unwrap();
        writer.write_all(b" before").unwrap();
        exchange(mount, "a", "b").unwrap();
        writer.write_all(b" after").unwrap();
        let (a, b) = (fs::metadata(mount.at("a")).unwrap(), fs::metadata(mount.at("b")).unwrap());
        assert_eq!((a.ino(), b.ino()), (writer.metadata().unwrap().ino(), reader.metadata().unwrap().ino()));
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "one");
        close(writer).unwrap();
        assert_eq!(fs::read_to_string(mount.at("a")).unwrap(), "other before after");
        assert_eq!(fs::read_to_string(mount.at("b")).unwrap(), "one");
    }

    /// Of equal length, so that nothing but the bytes tells them apart
    fn promise_4_5_whoever_reads_meanwhile_reads_one_or_the_other(mount) {
        let length = 20_000;
        fs::write(mount.at("a"), vec![b'a'; length]).unwrap();
        fs::write(mount.at("b"), vec![b'b'; length]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for name in ["a", "b"] {
                let (done, mount) = (&done, &*mount);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let mut file = File::open(mount.at(name)).expect("always there");
                        let mut found = Vec::new();
                        file.read_to_end(&mut found).unwrap();
                        assert_eq!(found.len(), length);
                        assert!(found.iter().all(|&byte| byte == found[0]), "a mixture");
                    }
                });
            }
            for _ in 0..201 {
                exchange(mount, "a", "b").unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read(mount.at("a")).unwrap(), vec![b'b'; length]);
        assert_eq!(fs::read(mount.at("b")).unwrap(), vec![b'a'; length]);
    }
}

/// What another program sees of the store, small values and large ones, single and in directories.
#[test]
fn promise_4_5_no_program_sees_half_an_exchange() {
    for options in [&[][..], &["--commit", "close"][..]] {
        watched(LIMIT, move |place| {
            needs_kvfs();
            let mount = Mount::new(place, Kind::Apart, options);
            let mut foreign = Foreign::open(place, &mount.store());
            foreign.put("small", "small");
            foreign.ask(&format!("fill ={} 0 200 8", hex::encode("one/")));
            fs::write(mount.at("large"), noise(1, 2_000_000)).unwrap();
            fs::write(mount.at("other"), "other").unwrap();
            let mut expected = foreign.keys();
            expected.sort();
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..10 {
                        for (one, other) in [("small", "other"), ("small", "large"), ("one", "small")] {
                            exchange(&mount, one, other).unwrap();
                        }
                        exchange(&mount, "one", "small").unwrap();
                        exchange(&mount, "other", "large").unwrap();
                    }
                    done.store(true, Ordering::Relaxed);
                });
                while !done.load(Ordering::Relaxed) {
                    let keys = foreign.keys();
                    assert_eq!(keys.len(), 203, "{:?}", keys.iter().find(|key| key.starts_with(b"kvfs")));
                    let bare = keys.iter().filter(|key| !key.contains(&b'/')).count();
                    assert_eq!(bare, 3);
                }
            });
            let mut keys = foreign.keys();
            keys.sort();
            assert_eq!(keys, expected);
        });
    }
}

/// What was accepted ahead of its commit survives a kill
#[test]
fn promise_8_3_an_exchange_that_was_accepted_is_not_lost() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        for round in 0..20 {
            fs::write(mount.at(format!("a{round}")), format!("a{round}")).unwrap();
            fs::write(mount.at(format!("b{round}")), format!("b{round}")).unwrap();
            exchange(&mount, &format!("a{round}"), &format!("b{round}")).unwrap();
        }
        mount.kill();
        mount.start();
        for round in 0..20 {
            assert_eq!(fs::read_to_string(mount.at(format!("a{round}"))).unwrap(), format!("b{round}"));
            assert_eq!(fs::read_to_string(mount.at(format!("b{round}"))).unwrap(), format!("a{round}"));
        }
        assert_eq!(fs::read_dir(mount.point()).unwrap().count(), 40);
    });
}
