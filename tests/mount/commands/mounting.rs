//! Mounting in background and foreground, and the ways in which a mount ends.

use std::ffi::OsStr;
use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{
    Kind, LIMIT, Mount, dump, load, mounts_below, needs_kvfs, on_every_mount, refused, watched,
};

#[test]
fn in_background_it_answers_when_the_command_returns() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let point = place.at("data");
        for source in ["memory", "lmdb"] {
            place.kvfs_ok([OsStr::new("mount"), source.as_ref(), point.as_os_str()]);
            assert_eq!(mounts_below(&point)[0].kind, "fuse.kvfs");
            fs::write(point.join("f"), "1").unwrap();
            assert_eq!(fs::read(point.join("f")).unwrap(), b"1");
            let status = place.kvfs_ok(["status"]);
            assert!(status.contains(point.to_str().unwrap()), "{status}");
            place.kvfs_ok([OsStr::new("unmount"), point.as_os_str()]);
            assert!(mounts_below(&point).is_empty());
            refused(libc::ENOENT, "the file after the unmount", fs::read(point.join("f")));
        }
        assert_eq!(dump(place, &point)[b"f".as_slice()], b"1");
        assert!(!place.kvfs_ok(["status"]).contains(point.to_str().unwrap()));
    });
}

#[test]
fn relative_paths_mean_the_folder_of_the_command() {
    watched(LIMIT, |place| {
        needs_kvfs();
        place.kvfs_ok(["mount", "lmdb:./store", "./data"]);
        fs::write(place.at("data/f"), "1").unwrap();
        place.kvfs_ok(["sync", "./data"]);
        place.kvfs_ok(["unmount", "data"]);
        assert_eq!(dump(place, &place.at("store")).len(), 1);
    });
}

on_every_mount! {
    /// Ctrl-C puts what is open and unmounts
    fn ctrl_c_in_foreground_unmounts(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), "1").unwrap();
        mount.signal(Signal::SIGINT);
        let code = mount.ended();
        assert!(code == 0 || code == 130, "exit code {code}: {}", mount.log());
        assert!(mount.mounted().is_none());
        if mount.kind == Kind::Apart {
            assert_eq!(dump(&mount.place, &mount.store()).len(), 1);
        }
    }

    /// So does SIGTERM, also while files are open
    fn sigterm_unmounts(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), "1").unwrap();
        mount.signal(Signal::SIGTERM);
        let code = mount.ended();
        assert!(code == 0 || code == 143, "exit code {code}: {}", mount.log());
        assert!(mount.mounted().is_none());
    }

    /// fusermount3 -u, as anybody's scripts do it
    fn fusermount_unmounts(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), "1").unwrap();
        mount.place.bash(mount.place.folder(), &format!("fusermount3 -u {}", mount.point().display()));
        assert_eq!(mount.ended(), 0, "{}", mount.log());
        assert!(mount.mounted().is_none());
    }

    /// An open file keeps it busy, and nothing breaks
    fn a_busy_mount_is_not_unmounted(mount) {
        needs_kvfs();
        let file = fs::File::create(mount.at("f")).unwrap();
        let finished = mount.place.kvfs([OsStr::new("unmount"), "--timeout".as_ref(), "1s".as_ref(), mount.point().as_os_str()]);
        assert_ne!(finished.code, 0, "{finished:?}");
        assert!(!finished.err.trim().is_empty());
        fs::write(mount.at("g"), "works on").unwrap();
        drop(file);
        assert_eq!(mount.bash("ls | tr '\\n' ' '"), "f g ");
    }

    /// What `mount` shows
    fn the_mount_table_says_what_it_is(mount) {
        needs_kvfs();
        let mounted = mount.mounted().unwrap();
        assert_eq!(mounted.kind, "fuse.kvfs");
        for option in ["nosuid", "nodev"] {
            assert!(mounted.options.split(',').any(|found| found == option), "{}", mounted.options);
        }
        let expected = match mount.kind {
            Kind::Memory => "memory",
            Kind::Folder => "folder:",
            _ => "lmdb",
        };
        assert!(mounted.source.starts_with(expected), "{}", mounted.source);
    }
}

#[test]
fn owner_and_modes_are_those_asked_for() {
    watched(LIMIT, |place| {
        needs_kvfs();
        use std::os::unix::fs::MetadataExt;
        load(place, &place.at("store"), &[("d/f", "1")]);
        let mount = Mount::new(place, Kind::Apart, &["--umask", "027"]);
        let (file, folder) = (fs::metadata(mount.at("d/f")).unwrap(), fs::metadata(mount.at("d")).unwrap());
        assert_eq!((file.mode() & 0o777, folder.mode() & 0o777), (0o640, 0o750));
        assert_eq!(file.uid(), nix::unistd::geteuid().as_raw());
        drop(mount);
        crate::harness::needs_root("another owner");
        let mount = Mount::new(place, Kind::Apart, &["--uid", "1234", "--gid", "4321", "--allow-other"]);
        let file = fs::metadata(mount.at("d/f")).unwrap();
        assert_eq!((file.uid(), file.gid()), (1234, 4321));
    });
}

#[test]
fn memory_is_loaded_and_saved() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let file = place.at("saved.txt");
        let save = ["--save", file.to_str().unwrap()];
        let mut mount = Mount::new(place, Kind::Memory, &save);
        fs::write(mount.at("a"), "1").unwrap();
        fs::create_dir(mount.at("d")).unwrap();
        fs::write(mount.at("d/nul\n"), [0, 255, 10]).unwrap();
        std::os::unix::fs::symlink("a", mount.at("d/link")).unwrap();
        mount.unmount();
        drop(mount);
        let mut mount =
            Mount::new(place, Kind::Memory, &["--load", file.to_str().unwrap(), save[0], save[1]]);
        assert_eq!(fs::read(mount.at("d/nul\n")).unwrap(), [0, 255, 10]);
        assert_eq!(fs::read_link(mount.at("d/link")).unwrap().to_str(), Some("a"));
        fs::write(mount.at("b"), "2").unwrap();
        mount.unmount();
        // The format is mdb_load's.
        fs::create_dir(place.at("store")).unwrap();
        crate::harness::finish(place.command("mdb_load").arg("-f").arg(&file).arg(place.at("store")))
            .ok("mdb_load");
        let keys: Vec<_> = dump(place, &place.at("store")).into_keys().collect();
        assert_eq!(keys, [&b"a"[..], b"b", b"d/nul\n"]);
    });
}

#[test]
fn compact_gives_space_back_mounted_and_not() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let fill = |mount: &Mount| {
            for number in 0..40_u64 {
                fs::write(mount.at(format!("f{number}")), crate::harness::noise(number, 500_000)).unwrap();
            }
            for number in 1..40 {
                fs::remove_file(mount.at(format!("f{number}"))).unwrap();
            }
        };
        let size = || fs::metadata(place.at("store/data.mdb")).unwrap().len();
        fill(&mount);
        let before = size();
        place.kvfs_ok([OsStr::new("compact"), mount.point().as_os_str()]);
        assert!(size() < before / 4, "{} bytes of {before} are left", size());
        assert!(fs::read(mount.at("f0")).unwrap() == crate::harness::noise(0, 500_000));
        fill(&mount);
        drop(mount);
        let before = size();
        place.kvfs_ok(["compact", &format!("lmdb:{}", place.at("store").display())]);
        assert!(size() < before / 4, "{} bytes of {before} are left", size());
        assert!(dump(place, &place.at("store"))[b"f0".as_slice()] == crate::harness::noise(0, 500_000));
    });
}
