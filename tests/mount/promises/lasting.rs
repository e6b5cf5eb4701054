//! §5.1 to §5.5: attributes that last, where they are kept, and whose they are.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::Mode;

use crate::harness::{Foreign, Kind, LIMIT, Mount, Place, field, needs_kvfs, watched};

/// A time that nothing has by itself, to the nanosecond.
const LONG_AGO: Duration = Duration::new(1_000_000_000, 123_456_789);

fn long_ago() -> SystemTime {
    UNIX_EPOCH + LONG_AGO
}

fn set_mtime(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn mtime(path: &Path) -> SystemTime {
    fs::symlink_metadata(path).unwrap().modified().unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// The errno of a refused call.
#[track_caller]
fn errno<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

/// Both kinds of LMDB mount, each with a folder of its own.
fn on_lmdb(body: fn(&mut Mount)) {
    for kind in [Kind::InPlace, Kind::Apart] {
        watched(LIMIT, move |place| {
            needs_kvfs();
            body(&mut Mount::new(place, kind, &[]));
        });
    }
}

fn fact(mount: &Mount, name: &str) -> String {
    let status = mount.status();
    let facts = field(&status, "facts").unwrap().as_array().unwrap().clone();
    let fact = facts.iter().find(|fact| fact["name"] == name);
    fact.unwrap_or_else(|| panic!("no {name} in {status}"))["value"].as_str().unwrap().to_owned()
}

#[test]
fn promise_5_1_where_attributes_live_is_a_policy_and_shown() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        assert!(fact(&mount, "attributes").starts_with("sidecar"), "{}", fact(&mount, "attributes"));
        assert!(fs::read_dir(mount.point()).unwrap().next().is_none());
        let sidecar = mount.store().join(".kvfs");
        assert!(!sidecar.exists(), "looking makes no sidecar");
        fs::write(mount.at("f"), "x").unwrap();
        mount.unmount();
        assert_eq!(fs::metadata(&sidecar).unwrap().mode() & 0o777, 0o700);
        let none = Mount::of(place, Kind::Apart, source(place), "data", &["--attrs", "none"]);
        assert!(fact(&none, "attributes").starts_with("none"), "{}", fact(&none, "attributes"));
        let refused = Mount::refused_mount(
            place,
            &["--attrs".as_ref(), "native".as_ref(), "memory".as_ref(), place.at("native").as_os_str()],
        );
        let sentence = refused.sentence("--attrs native");
        assert!(sentence.contains("sidecar"), "{sentence}");
    });
}

fn source(place: &Place) -> std::ffi::OsString {
    format!("lmdb:{}", place.at("store").display()).into()
}

#[test]
fn promise_5_2_attributes_last_across_remounts() {
    on_lmdb(|mount| {
        fs::create_dir_all(mount.at("d/empty")).unwrap();
        fs::write(mount.at("d/f"), "bytes").unwrap();
        xattr::set(mount.at("d/f"), "user.colour", b"blue\0\xff").unwrap();
        xattr::set(mount.at("d"), "user.colour", b"red").unwrap();
        symlink("../elsewhere/\u{e9}", mount.at("d/link")).unwrap();
        nix::unistd::mkfifo(&mount.at("d/pipe"), Mode::from_bits_truncate(0o620)).unwrap();
        drop(std::os::unix::net::UnixListener::bind(mount.at("d/socket")).unwrap());
        set_mode(&mount.at("d/f"), 0o4751);
        set_mode(&mount.at("d"), 0o1770);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(mount.at("d/empty"), Some(1234), Some(2345)).unwrap();
            std::os::unix::fs::lchown(mount.at("d/link"), Some(1234), Some(2345)).unwrap();
        }
        set_mtime(&mount.at("d/f"), long_ago());
        set_mtime(&mount.at("d/empty"), long_ago() + Duration::from_secs(1));
        set_mtime(&mount.at("d"), long_ago() + Duration::from_secs(2));
        let names = ["d", "d/f", "d/empty", "d/link", "d/pipe", "d/socket"];
        let all = |mount: &Mount| {
            names.map(|name| {
                let found = fs::symlink_metadata(mount.at(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
                let times = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
                (name, found.mode(), (found.uid(), found.gid()), found.ino(), found.size(), times)
            })
        };
        let before = all(mount);
        mount.remount();
        assert_eq!(all(mount), before);
        assert_eq!(fs::read_link(mount.at("d/link")).unwrap(), Path::new("../elsewhere/\u{e9}"));
        let file_type = |name| fs::symlink_metadata(mount.at(name)).unwrap().file_type();
        assert!(file_type("d/pipe").is_fifo() && file_type("d/socket").is_socket());
        assert_eq!(xattr::get(mount.at("d/f"), "user.colour").unwrap().as_deref(), Some(&b"blue\0\xff"[..]));
        assert_eq!(xattr::get(mount.at("d"), "user.colour").unwrap().as_deref(), Some(&b"red"[..]));
        assert_eq!(fs::read(mount.at("d/f")).unwrap(), b"bytes");
        assert_eq!(mtime(&mount.at("d/f")), long_ago());
        let listed: BTreeSet<_> =
            fs::read_dir(mount.at("d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(listed, ["f", "empty", "link", "pipe", "socket"].map(Into::into).into());
        assert_eq!(errno(fs::hard_link(mount.at("d/f"), mount.at("d/g"))), libc::EPERM);
        fs::rename(mount.at("d"), mount.at("e")).unwrap();
        fs::remove_file(mount.at("e/pipe")).unwrap();
        mount.remount();
        assert_eq!(mode(&mount.at("e/f")), 0o4751);
        assert_eq!(fs::read_link(mount.at("e/link")).unwrap(), Path::new("../elsewhere/\u{e9}"));
        assert!(!mount.at("e/pipe").exists() && !mount.at("d").exists());
        fs::remove_dir_all(mount.at("e")).unwrap();
        mount.remount();
        assert!(fs::read_dir(mount.point()).unwrap().next().is_none());
        let devices = nix::sys::stat::mknod(
            &mount.at("device"),
            nix::sys::stat::SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o600),
            0,
        );
        assert_eq!(devices, Err(nix::errno::Errno::EPERM));
    });
}

#[test]
fn promise_5_3_without_attributes_nothing_is_faked() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::of(place, Kind::Apart, source(place), "data", &["--attrs", "none"]);
        fs::write(mount.at("f"), "x").unwrap();
        let file = mount.at("f");
        set_mode(&file, mode(&file));
        assert_eq!(errno(fs::set_permissions(&file, fs::Permissions::from_mode(0o600))), libc::EPERM);
        assert_eq!(mode(&file), 0o644);
        mount.bash("touch f; touch new");
        let opened = File::open(&file).unwrap();
        let times = |time| FileTimes::new().set_modified(time);
        assert_eq!(errno(opened.set_times(times(long_ago()))), libc::EOPNOTSUPP);
        opened.set_times(times(mtime(&file))).unwrap();
        if nix::unistd::geteuid().is_root() {
            assert_eq!(errno(std::os::unix::fs::chown(&file, Some(1234), None)), libc::EPERM);
        }
        std::os::unix::fs::chown(&file, Some(nix::unistd::geteuid().as_raw()), None).unwrap();
        assert_eq!(errno(symlink("f", mount.at("link"))), libc::EPERM);
        let pipe = nix::unistd::mkfifo(&mount.at("pipe"), Mode::from_bits_truncate(0o600));
        assert_eq!(pipe, Err(nix::errno::Errno::EPERM));
        assert_eq!(errno(xattr::set(&file, "user.colour", b"blue")), libc::EOPNOTSUPP);
        assert_eq!(xattr::get(&file, "user.colour").unwrap(), None);
        // A file made with a mode of its own has the mount's: there is nowhere to keep another.
        use std::os::unix::fs::OpenOptionsExt;
        drop(File::options().write(true).create_new(true).mode(0o600).open(mount.at("secret")).unwrap());
        assert_eq!(mode(&mount.at("secret")), 0o644);
        assert_eq!(mount.log().matches("keeps no attributes").count(), 1, "said once: {}", mount.log());
        assert!(mount.log().contains("--attrs sidecar"), "{}", mount.log());
        assert!(!place.at("store/.kvfs").exists());
    });
}

#[test]
fn promise_5_4_a_sidecar_adds_nothing_to_the_store_itself() {
    watched(LIMIT, |place| {
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        fs::create_dir_all(mount.at("made/here")).unwrap();
        fs::write(mount.at("made/f"), "x").unwrap();
        set_mode(&mount.at("made/f"), 0o600);
        symlink("f", mount.at("made/link")).unwrap();
        mount.unmount();
        let mut foreign = Foreign::open(place, &mount.store());
        assert_eq!(foreign.get("made/f").as_deref(), Some(&b"x"[..]));
        assert_eq!(foreign.keys().into_iter().collect::<Vec<_>>(), [b"made/f"]);
        drop(foreign);
        mount.start();
        assert!(mount.at("made/here").is_dir());
    });
}

#[test]
fn promise_5_5_a_value_that_another_program_changed_never_keeps_its_time() {
    watched(LIMIT, |place| {
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        for name in ["changed", "same", "untouched", "gone"] {
            fs::write(mount.at(name), "before").unwrap();
            set_mode(&mount.at(name), 0o640);
            set_mtime(&mount.at(name), long_ago());
        }
        let check = |mount: &Mount, began: SystemTime| {
            // Files have times of the clock's last tick.
            assert!(mtime(&mount.at("changed")) + Duration::from_millis(20) > began);
            for name in ["same", "untouched"] {
                assert_eq!(mtime(&mount.at(name)), long_ago(), "{name}");
            }
            assert_eq!(mode(&mount.at("changed")), 0o640, "the mode is the key's, not the bytes'");
        };
        // While it is mounted, while it is not, and when the daemon was killed.
        for round in 0..3 {
            let began = kvfs::env::now();
            match round {
                1 => mount.unmount(),
                2 => mount.kill(),
                _ => {}
            }
            let mut foreign = Foreign::open(place, &mount.store());
            foreign.put("changed", format!("after {round}"));
            foreign.put("same", "before");
            drop(foreign);
            if round > 0 {
                mount.start();
            }
            crate::harness::until(Duration::from_secs(5), "the change is seen", || {
                (mtime(&mount.at("changed")) != long_ago()).then_some(())
            });
            check(&mount, began);
            assert_eq!(fs::read(mount.at("changed")).unwrap(), format!("after {round}").as_bytes());
            set_mtime(&mount.at("changed"), long_ago());
            assert_eq!(mtime(&mount.at("changed")), long_ago());
        }
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.delete("gone");
        assert!(!mount.at("gone").exists());
        foreign.put("gone", "before");
        crate::harness::until(Duration::from_secs(5), "it is seen again", || {
            mount.at("gone").exists().then_some(())
        });
        assert_ne!(mode(&mount.at("gone")), 0o640, "what another program made does not inherit");
    });
}

#[test]
fn promise_8_6_the_second_writer_of_a_sidecar_is_refused() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let other = place.at("other");
        let (source, other) = (source(place), other.as_os_str());
        let refused = Mount::refused_mount(place, &[&source, other]);
        let sentence = refused.sentence("a second writer");
        assert!(sentence.contains("--attrs none") && sentence.contains("--read-only"), "{sentence}");
        fs::write(mount.at("f"), "x").unwrap();
        set_mode(&mount.at("f"), 0o600);
        for (option, expected) in [("--attrs=none", 0o644), ("--read-only", 0o600)] {
            let mut second = Mount::of(place, Kind::Apart, source.clone(), "other", &[option]);
            crate::harness::until(Duration::from_secs(5), "it is there", || {
                second.at("f").exists().then_some(())
            });
            assert_eq!(mode(&second.at("f")), expected, "{option}");
            second.unmount();
        }
    });
}

#[test]
fn attributes_are_exported_imported_and_dropped() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        fs::create_dir_all(mount.at("d/empty")).unwrap();
        fs::write(mount.at("d/f"), "bytes").unwrap();
        set_mode(&mount.at("d/f"), 0o600);
        set_mtime(&mount.at("d/f"), long_ago());
        symlink("f", mount.at("d/link")).unwrap();
        xattr::set(mount.at("d/f"), "user.colour", b"blue").unwrap();
        mount.unmount();
        let exported = place.kvfs_ok([std::ffi::OsString::from("attrs"), "export".into(), source(place)]);
        assert!(exported.contains("1000000000.123456789"), "{exported}");
        let dropped = place.kvfs_ok([std::ffi::OsString::from("attrs"), "drop".into(), source(place)]);
        assert!(dropped.contains(".kvfs"), "{dropped}");
        assert!(!mount.store().join(".kvfs").exists());
        mount.start();
        assert_eq!(mode(&mount.at("d/f")), 0o644);
        assert!(!mount.at("d/link").exists());
        mount.unmount();
        let script = format!("\"$KVFS\" attrs import '{}' <<'END'\n{exported}\nEND", source(place).display());
        place.bash(place.folder(), &script);
        mount.start();
        assert_eq!((mode(&mount.at("d/f")), mtime(&mount.at("d/f"))), (0o600, long_ago()));
        assert_eq!(fs::read_link(mount.at("d/link")).unwrap(), Path::new("f"));
        assert_eq!(xattr::get(mount.at("d/f"), "user.colour").unwrap().as_deref(), Some(&b"blue"[..]));
        assert!(mount.at("d/empty").is_dir());
    });
}

#[test]
fn a_sidecar_that_cannot_be_used_is_one_sentence_and_none_must_be_asked_for() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        for index in 0..20 {
            fs::write(mount.at(format!("f{index}")), format!("here {index}")).unwrap();
        }
        mount.unmount();
        let refused = |what: &str| {
            let data = place.at("refused");
            let finished = Mount::refused_mount(place, &[&source(place), data.as_os_str()]);
            let sentence = finished.sentence(what);
            assert!(sentence.contains("--attrs none"), "{what}: {sentence}");
            sentence
        };
        // From another store.
        let other = format!("lmdb:{}", place.at("other").display());
        let mut second = Mount::of(place, Kind::Apart, other.into(), "second", &[]);
        for index in 0..20 {
            fs::write(second.at(format!("f{index}")), format!("there {index}")).unwrap();
        }
        second.unmount();
        let sidecar = mount.store().join(".kvfs");
        let kept = mount.store().join(".kvfs-kept");
        fs::rename(&sidecar, &kept).unwrap();
        place.bash(place.folder(), "cp -r other/.kvfs store/.kvfs");
        assert!(refused("another store's").contains("another store"));
        // Damaged.
        fs::remove_dir_all(&sidecar).unwrap();
        fs::create_dir(&sidecar).unwrap();
        fs::write(sidecar.join("data.mdb"), vec![0xa5; 1 << 16]).unwrap();
        refused("damaged");
        // Another separator than it was made with.
        fs::remove_dir_all(&sidecar).unwrap();
        fs::rename(&kept, &sidecar).unwrap();
        let data = place.at("refused");
        let colon: [&std::ffi::OsStr; 4] =
            ["--separator".as_ref(), ":".as_ref(), &source(place), data.as_os_str()];
        assert!(Mount::refused_mount(place, &colon).sentence("another separator").contains("separator"));
        mount.start();
        assert_eq!(fs::read(mount.at("f7")).unwrap(), b"here 7");
    });
}
