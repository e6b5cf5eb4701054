//! §2 Directories: when they exist, markers, rmdir.

use std::fs;

use crate::harness::{
    Foreign, Kind, LIMIT, Mount, PATIENCE, dump, load, needs_kvfs, on_every_mount, refused, skip, until,
    watched,
};

#[test]
fn promise_2_1_a_directory_exists_while_a_key_lies_below() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("a/b/c", "1");
        until(PATIENCE, "a/b is a directory", || fs::metadata(mount.at("a/b")).ok().filter(|s| s.is_dir()));
        foreign.put("a/d", "2");
        foreign.delete("a/b/c");
        until(PATIENCE, "a/b is gone", || fs::metadata(mount.at("a/b")).is_err().then_some(()));
        assert!(fs::metadata(mount.at("a")).unwrap().is_dir());
        foreign.delete("a/d");
        until(PATIENCE, "a is gone", || fs::metadata(mount.at("a")).is_err().then_some(()));
    });
}

#[test]
fn promise_2_2_mkdir_makes_a_marker_that_lasts() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &["--attrs", "none"]);
        fs::create_dir(mount.at("made")).unwrap();
        fs::create_dir(mount.at("made/below")).unwrap();
        let keys = dump(place, &mount.store());
        assert_eq!(keys.get(b"made/".as_slice()), Some(&Vec::new()));
        assert_eq!(keys.get(b"made/below/".as_slice()), Some(&Vec::new()));
        mount.remount();
        assert!(fs::metadata(mount.at("made/below")).unwrap().is_dir());
        fs::remove_dir(mount.at("made/below")).unwrap();
        fs::remove_dir(mount.at("made")).unwrap();
        assert!(dump(place, &mount.store()).is_empty());
    });
}

#[test]
fn promise_2_2_mkdir_adds_no_key_where_attributes_are_kept() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        fs::create_dir_all(mount.at("made/below")).unwrap();
        mount.remount();
        assert!(dump(place, &mount.store()).is_empty());
        assert!(fs::metadata(mount.at("made/below")).unwrap().is_dir());
        fs::remove_dir(mount.at("made/below")).unwrap();
        fs::remove_dir(mount.at("made")).unwrap();
        mount.remount();
        assert!(!mount.at("made").exists());
    });
}

on_every_mount! {
    /// A marker is no entry, but it can be named
    fn promise_2_3_a_marker_is_not_listed(mount) {
        needs_kvfs();
        if mount.kind == crate::harness::Kind::Folder {
            skip("directories of a folder are their own markers");
        }
        fs::create_dir(mount.at("d")).unwrap();
        fs::write(mount.at("d/%empty"), "").unwrap();
        assert_eq!(mount.bash("ls -A d"), "");
        let marker = fs::metadata(mount.at("d/%empty")).unwrap();
        assert!(marker.is_file() && marker.len() == 0);
        assert_eq!(fs::read(mount.at("d/%empty")).unwrap(), b"");
        fs::write(mount.at("d/%empty"), "no longer empty").unwrap();
        assert_eq!(mount.bash("ls -A d"), "%empty\n");
        assert_eq!(fs::read(mount.at("d/%empty")).unwrap(), b"no longer empty");
    }
}

#[test]
fn promise_2_3_a_marker_with_a_value_is_listed() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("d/", "x"), ("e/", ""), ("e/f", "1")]);
        let mount = Mount::new(place, Kind::Apart, &[]);
        assert_eq!(mount.bash("ls -A d"), "%empty\n");
        assert_eq!(fs::read(mount.at("d/%empty")).unwrap(), b"x");
        assert_eq!(mount.bash("ls -A e"), "f\n");
        assert_eq!(fs::metadata(mount.at("e/%empty")).unwrap().len(), 0);
    });
}

#[test]
fn promise_2_4_the_last_file_leaves_its_directory_for_the_life_of_the_mount() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("unmarked/file", "1"), ("marked/", ""), ("marked/file", "2")]);
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        fs::remove_file(mount.at("unmarked/file")).unwrap();
        fs::remove_file(mount.at("marked/file")).unwrap();
        assert_eq!(mount.bash("ls -A; ls -A marked unmarked | grep -v :").trim(), "marked\nunmarked");
        fs::write(mount.at("unmarked/again"), "3").unwrap();
        fs::remove_file(mount.at("unmarked/again")).unwrap();
        assert_eq!(dump(place, &mount.store()).into_keys().collect::<Vec<_>>(), [b"marked/"]);
        mount.remount();
        assert_eq!(mount.bash("ls -A"), "marked\n");
    });
}

#[test]
fn promise_2_4_a_file_that_moves_away_leaves_its_directory_too() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("from/file", "1")]);
        let mount = Mount::new(place, Kind::Apart, &[]);
        fs::rename(mount.at("from/file"), mount.at("file")).unwrap();
        assert!(fs::metadata(mount.at("from")).unwrap().is_dir());
        fs::remove_dir(mount.at("from")).unwrap();
        refused(libc::ENOENT, "stat after rmdir", fs::metadata(mount.at("from")));
    });
}

on_every_mount! {
    /// rmdir deletes nothing but the marker
    fn promise_2_5_rmdir_of_a_directory_with_anything_in_it_is_enotempty(mount) {
        fs::create_dir_all(mount.at("d/e")).unwrap();
        refused(libc::ENOTEMPTY, "a directory below", fs::remove_dir(mount.at("d")));
        fs::write(mount.at("d/e/f"), "1").unwrap();
        refused(libc::ENOTEMPTY, "a file below", fs::remove_dir(mount.at("d/e")));
        refused(libc::ENOTDIR, "a file", fs::remove_dir(mount.at("d/e/f")));
        refused(libc::EISDIR, "unlink of a directory", fs::remove_file(mount.at("d/e")));
        fs::remove_file(mount.at("d/e/f")).unwrap();
        fs::remove_dir(mount.at("d/e")).unwrap();
        fs::remove_dir(mount.at("d")).unwrap();
        refused(libc::ENOENT, "a second time", fs::remove_dir(mount.at("d")));
    }

    /// The value of the directory itself is something in it
    fn promise_2_5_rmdir_of_a_directory_with_a_value_is_enotempty(mount) {
        needs_kvfs();
        if mount.kind == crate::harness::Kind::Folder {
            fs::create_dir(mount.at("d")).unwrap();
            refused(libc::EINVAL, "a value beside keys", fs::write(mount.at("d/%value"), "own"));
            refused(libc::EILSEQ, "an empty name", fs::write(mount.at("d/%empty"), "marker"));
            return fs::remove_dir(mount.at("d")).unwrap();
        }
        fs::create_dir(mount.at("d")).unwrap();
        fs::write(mount.at("d/%value"), "own").unwrap();
        refused(libc::ENOTEMPTY, "a value of its own", fs::remove_dir(mount.at("d")));
        assert_eq!(fs::read(mount.at("d/%value")).unwrap(), b"own");
        fs::create_dir(mount.at("e")).unwrap();
        fs::write(mount.at("e/%empty"), "a marker with a value").unwrap();
        refused(libc::ENOTEMPTY, "a marker with a value", fs::remove_dir(mount.at("e")));
        assert_eq!(fs::read(mount.at("e/%empty")).unwrap(), b"a marker with a value");
    }

    /// mkdir over anything
    fn promise_2_2_mkdir_of_what_exists_is_eexist(mount) {
        fs::write(mount.at("file"), "1").unwrap();
        fs::create_dir(mount.at("d")).unwrap();
        refused(libc::EEXIST, "a file", fs::create_dir(mount.at("file")));
        refused(libc::EEXIST, "a directory", fs::create_dir(mount.at("d")));
        refused(libc::ENOENT, "below nothing", fs::create_dir(mount.at("x/y")));
        refused(libc::ENOTDIR, "below a file", fs::create_dir(mount.at("file/y")));
    }
}
