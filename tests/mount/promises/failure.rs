//! §8.3 and §8.6: dead daemons, several daemons, foolish mounts.

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
        let two = Mount::of(place, Kind::Apart, source(), "second", &["--attrs", "none"]);
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
pub(super) fn refused_mount(place: &Place, source: &str, point: &str) -> String {
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
