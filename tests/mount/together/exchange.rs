//! Values that go from py-lmdb and LMDB's tools to the mount and back.

use std::fs;
use std::io::Read;

use crate::harness::{Foreign, Kind, LIMIT, Mount, PATIENCE, dump, finish, load, noise, until, watched};

#[test]
fn both_sides_see_what_the_other_wrote() {
    watched(LIMIT, |place| {
        crate::harness::needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        for round in 0..100_u64 {
            let size = [0, 1, 100, 4096, 5000, 1 << 20][round as usize % 6];
            let (theirs, ours) = (noise(round, size), noise(round + 1000, size));
            foreign.put(format!("theirs/{round}"), &theirs);
            fs::write(mount.at(format!("ours{round}")), &ours).unwrap();
            assert!(foreign.get(format!("ours{round}")) == Some(ours), "theirs misses ours{round}");
            let found = until(PATIENCE, "the mount sees theirs", || {
                fs::read(mount.at(format!("theirs/{round}"))).ok()
            });
            assert!(found == theirs, "theirs/{round} differs");
        }
        let keys = dump(place, &mount.store());
        assert_eq!(keys.len(), 200);
        assert!(keys == dump(place, &mount.store()), "two dumps of one moment differ");
    });
}

#[test]
fn a_program_that_opened_the_environment_before_goes_on_under_a_mount_in_place() {
    watched(LIMIT, |place| {
        crate::harness::needs_kvfs();
        load(place, &place.at("data"), &[("a", "1")]);
        let mut foreign = Foreign::open(place, &place.at("data"));
        let mut mount = Mount::new(place, Kind::InPlace, &[]);
        assert_eq!(fs::read(mount.at("a")).unwrap(), b"1");
        assert_eq!(mount.bash("ls -A"), "a\n");
        fs::write(mount.at("b"), "2").unwrap();
        assert_eq!(foreign.get("b").unwrap(), b"2");
        foreign.put("c", "3");
        until(PATIENCE, "the mount sees c", || fs::read(mount.at("c")).ok());
        mount.unmount();
        assert_eq!(foreign.keys(), [b"a", b"b", b"c"]);
        foreign.put("d", "4");
        mount.start();
        assert_eq!(fs::read(mount.at("d")).unwrap(), b"4");
        assert!(!mount.at("data.mdb").exists());
        mount.unmount();
        assert!(mount.at("data.mdb").exists(), "the store's files are back");
        assert_eq!(dump(place, &place.at("data")).len(), 4);
    });
}

#[test]
fn the_tools_of_lmdb_work_while_mounted() {
    watched(LIMIT, |place| {
        crate::harness::needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        for number in 0..200 {
            fs::write(mount.at(format!("f{number}")), noise(number, 2000)).unwrap();
        }
        let store = mount.store();
        let stat = finish(place.command("mdb_stat").arg("-e").arg(&store)).ok("mdb_stat");
        assert!(stat.contains("Entries: 200"), "{stat}");
        fs::create_dir(place.at("copy")).unwrap();
        finish(place.command("mdb_copy").arg(&store).arg(place.at("copy"))).ok("mdb_copy");
        assert!(dump(place, &place.at("copy")) == dump(place, &store));
        // mdb_load into the environment that is mounted.
        let text = place.at("more.txt");
        fs::write(
            &text,
            "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n loaded\n by mdb_load\nDATA=END\n",
        )
        .unwrap();
        finish(place.command("mdb_load").arg("-f").arg(&text).arg(&store)).ok("mdb_load");
        let found = until(PATIENCE, "loaded is seen", || fs::read(mount.at("loaded")).ok());
        assert_eq!(found, b"by mdb_load");
    });
}

#[test]
fn an_environment_that_another_program_grows() {
    watched(LIMIT, |place| {
        crate::harness::needs_kvfs();
        load(place, &place.at("store"), &[("a", "1")]);
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        // From some pages to 400 MiB, in steps, read after each.
        for step in 0..8 {
            foreign.ask(&format!("fill ={} {step} 1 {}", hex::encode("large"), 50 << 20));
            let mut file = until(PATIENCE, "the new value is there", || {
                fs::File::open(mount.at(format!("large{step:08}"))).ok()
            });
            let mut first = [0; 8];
            file.read_exact(&mut first).unwrap();
            assert_eq!(&first, format!("{step:08}").as_bytes());
            fs::write(mount.at(format!("ours{step}")), "small").unwrap();
        }
        assert_eq!(foreign.keys().len(), 17);
    });
}

#[test]
fn a_snapshot_does_not_change_while_a_writer_goes_on() {
    watched(LIMIT, |place| {
        crate::harness::needs_kvfs();
        let pairs: Vec<(String, Vec<u8>)> = (0..200).map(|n| (format!("f{n:08}"), noise(n, 3000))).collect();
        load(place, &place.at("store"), &pairs);
        let snapshot = Mount::new(place, Kind::Apart, &["--snapshot"]);
        let mut foreign = Foreign::open(place, &snapshot.store());
        for round in 0..20 {
            foreign.ask(&format!("fill ={} {} 30 4000", hex::encode("f"), round * 12));
            foreign.delete(format!("f{:08}", 199 - round));
        }
        let live = Mount::of(
            place,
            Kind::Apart,
            format!("lmdb:{}", place.at("store").display()).into(),
            "live",
            &[],
        );
        assert_eq!(fs::read_dir(live.point()).unwrap().count(), foreign.keys().len());
        assert_eq!(fs::read_dir(snapshot.point()).unwrap().count(), 200);
        for (name, value) in &pairs {
            assert!(&fs::read(snapshot.at(name)).unwrap() == value, "{name} changed in the snapshot");
        }
        crate::harness::refused(libc::EROFS, "a write", fs::write(snapshot.at("new"), "x"));
    });
}

#[test]
fn a_read_only_mount_writes_nothing_and_follows() {
    watched(LIMIT, |place| {
        crate::harness::needs_kvfs();
        load(place, &place.at("store"), &[("a", "1")]);
        let before = fs::read(place.at("store/data.mdb")).unwrap();
        let mount = Mount::new(place, Kind::Apart, &["--read-only"]);
        crate::harness::refused(libc::EROFS, "create", fs::write(mount.at("b"), "x"));
        crate::harness::refused(libc::EROFS, "remove", fs::remove_file(mount.at("a")));
        crate::harness::refused(libc::EROFS, "mkdir", fs::create_dir(mount.at("d")));
        crate::harness::refused(libc::EROFS, "rename", fs::rename(mount.at("a"), mount.at("b")));
        assert_eq!(fs::read(mount.at("a")).unwrap(), b"1");
        assert!(
            before == fs::read(place.at("store/data.mdb")).unwrap(),
            "a read-only mount changed the store"
        );
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("a", "2");
        assert_eq!(fs::read(mount.at("a")).unwrap(), b"2");
    });
}
