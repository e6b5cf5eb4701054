//! §1 Names: how keys and paths go together.

use std::fs;

use crate::harness::{Kind, LIMIT, Mount, dump, load, needs_kvfs, on_every_mount, refused, watched};

#[test]
fn promise_1_1_a_key_is_split_at_the_separator() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("a/b/c", "1"), ("a/b/d", "2"), ("e", "3"), ("user:1:name", "4")]);
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        assert_eq!(fs::read(mount.at("a/b/c")).unwrap(), b"1");
        assert_eq!(fs::read(mount.at("a/b/d")).unwrap(), b"2");
        assert_eq!(fs::read(mount.at("e")).unwrap(), b"3");
        assert_eq!(fs::read(mount.at("user:1:name")).unwrap(), b"4");
        mount.unmount();
        drop(mount);
        let mount = Mount::new(place, Kind::Apart, &["--separator", ":"]);
        assert_eq!(fs::read(mount.at("user/1/name")).unwrap(), b"4");
        assert_eq!(fs::read(mount.at("a%2Fb%2Fc")).unwrap(), b"1");
        drop(mount);
        let mount = Mount::new(place, Kind::Apart, &["--separator", "none"]);
        assert_eq!(mount.bash("ls | tr '\\n' ' '"), "a%2Fb%2Fc a%2Fb%2Fd e user:1:name ");
        assert_eq!(fs::read(mount.at("a%2Fb%2Fd")).unwrap(), b"2");
    });
}

on_every_mount! {
    /// Names that decode to nothing that this store can hold
    fn promise_1_2_a_name_that_no_key_encodes_to_is_enoent_and_einval(mount) {
        needs_kvfs();
        for name in ["x%2Fy", "x%hash", "x%list.json"] {
            refused(libc::ENOENT, &format!("stat of {name}"), fs::metadata(mount.at(name)));
            refused(libc::ENOENT, &format!("open of {name}"), fs::read(mount.at(name)));
            // A segment, but none that a file can be called by (1.9).
            let slashed = mount.kind == crate::harness::Kind::Folder && name == "x%2Fy";
            let errno = if slashed { libc::EILSEQ } else { libc::EINVAL };
            refused(errno, &format!("create of {name}"), fs::write(mount.at(name), "x"));
        }
        assert_eq!(mount.bash("ls -A"), "");
    }

    /// A key and a key below it
    fn promise_1_7_a_value_and_keys_below_it(mount) {
        needs_kvfs();
        fs::write(mount.at("a"), "file first").unwrap();
        fs::remove_file(mount.at("a")).unwrap();
        fs::create_dir(mount.at("a")).unwrap();
        refused(libc::ENOENT, "a/%value without a value", fs::read(mount.at("a/%value")));
        fs::write(mount.at("a/b"), "below").unwrap();
        if mount.kind == crate::harness::Kind::Folder {
            // There a key is a file or a directory, which is told at once.
            return refused(libc::EINVAL, "a value beside keys", fs::write(mount.at("a/%value"), "own"));
        }
        fs::write(mount.at("a/%value"), "own").unwrap();
        assert_eq!(mount.bash("ls a | tr '\\n' ' '"), "%value b ");
        assert_eq!(fs::read(mount.at("a/%value")).unwrap(), b"own");
        assert!(fs::metadata(mount.at("a")).unwrap().is_dir());
        fs::remove_file(mount.at("a/%value")).unwrap();
        assert_eq!(mount.bash("ls a"), "b\n");
        refused(libc::ENOENT, "a/%value after its removal", fs::read(mount.at("a/%value")));
    }
}

#[test]
fn promise_1_7_both_keys_as_another_program_made_them() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("a", "own"), ("a!", "between"), ("a/b", "below")]);
        let mount = Mount::new(place, Kind::Apart, &[]);
        assert_eq!(mount.bash("ls | tr '\\n' ' '"), "a a! ");
        assert_eq!(mount.bash("ls a | tr '\\n' ' '"), "%value b ");
        assert_eq!(fs::read(mount.at("a/%value")).unwrap(), b"own");
        fs::create_dir(mount.at("c")).unwrap();
        fs::write(mount.at("c/%value"), "made here").unwrap();
        assert_eq!(dump(place, &mount.store())[b"c".as_slice()], b"made here");
        fs::remove_file(mount.at("a/%value")).unwrap();
        let keys = dump(place, &mount.store());
        assert!(!keys.contains_key(b"a".as_slice()) && keys.contains_key(b"a/b".as_slice()));
    });
}

#[test]
fn promise_1_8_a_long_segment_is_a_chain_of_more_folders() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let long = "x".repeat(500);
        load(
            place,
            &place.at("store"),
            &[(long.as_str(), "long"), (&"y".repeat(255), "fits"), (&"z".repeat(256), "over")],
        );
        let mount = Mount::new(place, Kind::Apart, &[]);
        let piece = format!("{}%more", "x".repeat(240));
        assert_eq!(fs::read(mount.at(format!("{piece}/{piece}/{}", "x".repeat(20)))).unwrap(), b"long");
        assert_eq!(fs::read(mount.at("y".repeat(255))).unwrap(), b"fits");
        assert_eq!(
            fs::read(mount.at(format!("{}%more/{}", "z".repeat(240), "z".repeat(16)))).unwrap(),
            b"over"
        );
        assert_eq!(mount.bash("ls | wc -l; find . -type f | wc -l").trim(), "3\n3");
        assert_eq!(mount.bash(&format!("ls {piece}")).trim(), piece);
        // What is left after two pieces is over 15 bytes, or the second piece would have held it.
        fs::write(mount.at(format!("{piece}/{piece}/new in the chain")), "beside").unwrap();
        let key = format!("{}new in the chain", "x".repeat(480));
        assert_eq!(dump(place, &mount.store())[key.as_bytes()], b"beside");
        refused(libc::EINVAL, "too short a rest", fs::write(mount.at(format!("{piece}/{piece}/new")), "no"));
        refused(libc::ENOENT, "a short rest in a %more folder", fs::read(mount.at(format!("{piece}/tail"))));
        assert!(
            fs::create_dir(mount.at(format!("{}%more", "q".repeat(240)))).is_err(),
            "mkdir of a %more folder"
        );
        assert!(fs::remove_dir(mount.at(&piece)).is_err(), "rmdir of a %more folder");
        assert!(fs::rename(mount.at(&piece), mount.at("other")).is_err(), "rename of a %more folder");
        assert_eq!(dump(place, &mount.store()).len(), 4);
    });
}

#[test]
fn promise_1_9_a_key_over_the_limit_of_lmdb_is_refused() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let folder = "a".repeat(255);
        fs::create_dir(mount.at(&folder)).unwrap();
        let longest = format!("{folder}/{}", "b".repeat(255));
        fs::write(mount.at(&longest), "511 bytes").unwrap();
        assert_eq!(dump(place, &mount.store())[longest.as_bytes()], b"511 bytes");
        refused(
            libc::ENAMETOOLONG,
            "mkdir",
            fs::create_dir(mount.at(format!("{folder}/{}", "c".repeat(255)))),
        );
        fs::create_dir(mount.at(format!("{folder}/d"))).unwrap();
        let over = format!("{folder}/d/{}", "e".repeat(255));
        refused(libc::ENOENT, "lookup", fs::metadata(mount.at(&over)));
        refused(libc::ENAMETOOLONG, "create", fs::write(mount.at(&over), "no"));
        refused(libc::ENAMETOOLONG, "rename", fs::rename(mount.at(&longest), mount.at(&over)));
        refused(libc::ENAMETOOLONG, "symlink", std::os::unix::fs::symlink("x", mount.at(&over)));
        // A file whose name would be too long there, in a directory that changes places with another.
        fs::create_dir_all(mount.at(format!("deep/{}", "f".repeat(100)))).unwrap();
        let moved = [mount.at(format!("deep/{}", "f".repeat(100))), mount.at(&folder)];
        let below = moved[0].join("x").join("g".repeat(255));
        fs::create_dir(moved[0].join("x")).unwrap();
        fs::write(&below, "fits").unwrap();
        let exchanged = rustix::fs::renameat_with(
            rustix::fs::CWD,
            &moved[0],
            rustix::fs::CWD,
            &moved[1],
            rustix::fs::RenameFlags::EXCHANGE,
        );
        refused(libc::ENAMETOOLONG, "exchange", exchanged.map_err(std::io::Error::from));
        assert!(below.exists() && fs::read(mount.at(&longest)).unwrap() == b"511 bytes");
        assert_eq!(fs::read(mount.at(&longest)).unwrap(), b"511 bytes");
        let keys = dump(place, &mount.store());
        assert_eq!(keys.len(), 2, "two files: {:?}", keys.keys());
    });
}

on_every_mount! {
    /// The kernel's own limit of a name
    fn promise_1_9_a_name_over_255_bytes_is_refused(mount) {
        fs::write(mount.at("n".repeat(255)), "fits").unwrap();
        let over = mount.at("n".repeat(256));
        refused(libc::ENAMETOOLONG, "lookup", fs::metadata(&over));
        refused(libc::ENAMETOOLONG, "unlink", fs::remove_file(&over));
        refused(libc::ENAMETOOLONG, "create", fs::write(&over, "no"));
        refused(libc::ENAMETOOLONG, "mkdir", fs::create_dir(&over));
        refused(libc::ENAMETOOLONG, "rename", fs::rename(mount.at("n".repeat(255)), &over));
        refused(libc::ENAMETOOLONG, "symlink", std::os::unix::fs::symlink("x", &over));
        refused(libc::ENAMETOOLONG, "stat", fs::metadata(&over));
        refused(libc::ENAMETOOLONG, "unlink", fs::remove_file(&over));
        refused(libc::ENAMETOOLONG, "rmdir", fs::remove_dir(&over));
        refused(libc::ENAMETOOLONG, "open", fs::read(over.join("below")));
        // Bytes, not letters.
        fs::write(mount.at("ü".repeat(127)), "254 bytes").unwrap();
        refused(libc::ENAMETOOLONG, "create", fs::write(mount.at("ü".repeat(128)), "no"));
        assert_eq!(fs::read(mount.at("n".repeat(255))).unwrap(), b"fits");
    }

    /// The kernel's limit of a path; what is deeper is reached step by step
    fn promise_1_8_paths_beyond_the_limit_need_openat(mount) {
        fs::write(mount.at("f"), "here").unwrap();
        mount.bash("
            test \"$(cat $(printf './%.0s' {1..2047})f)\" = here
            ! cat $(printf './%.0s' {1..2048})f 2> \"$PLACE/outside/error\"
            grep -q 'File name too long' \"$PLACE/outside/error\"
        ");
        if mount.kind != crate::harness::Kind::Memory {
            return;
        }
        mount.bash("
            name=$(printf 'n%.0s' {1..200})
            for depth in {1..25}; do mkdir $name; cd $name; done
            echo deep > file
            test $(cat file) = deep
            test $(pwd | wc -c) -gt 5000
            mv file other; test $(cat other) = deep
        ");
    }

    /// Slashes at the end mean a directory; dots are the directories they always are
    fn promise_1_4_trailing_slashes_and_dots(mount) {
        fs::write(mount.at("f"), "file").unwrap();
        fs::create_dir(mount.at("d")).unwrap();
        let at = |name: &str| format!("{}/{name}", mount.point().display());
        refused(libc::ENOTDIR, "stat f/", fs::metadata(at("f/")));
        refused(libc::EISDIR, "create new/", fs::write(at("new/"), "x"));
        refused(libc::ENOTDIR, "rename to g/", fs::rename(at("f"), at("g/")));
        refused(libc::ENOTDIR, "unlink f/", fs::remove_file(at("f/")));
        refused(libc::ENOENT, "symlink s/", std::os::unix::fs::symlink("x", at("s/")));
        fs::rename(at("d/"), at("e/")).unwrap();
        fs::create_dir(at("e/n/")).unwrap();
        fs::remove_dir(at("e/n/")).unwrap();
        assert!(fs::metadata(at("e/")).unwrap().is_dir());
        for dots in [".", ".."] {
            refused(libc::EEXIST, "mkdir", fs::create_dir(at(&format!("e/{dots}"))));
            refused(libc::EBUSY, "rename", fs::rename(at("f"), at(&format!("e/{dots}"))));
            refused(libc::EISDIR, "unlink", fs::remove_file(at(&format!("e/{dots}"))));
            refused(libc::ENOTDIR, "stat", fs::metadata(at(&format!("f/{dots}"))));
        }
        refused(libc::EINVAL, "rmdir e/.", fs::remove_dir(at("e/.")));
        refused(libc::ENOTEMPTY, "rmdir e/..", fs::remove_dir(at("e/..")));
        assert_eq!(fs::read(at("e/.././/e/../f")).unwrap(), b"file");
    }
}

#[test]
fn promise_1_10_the_raw_key_is_an_attribute_and_translated_without_a_mount() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let key = b"dir//%empty/\xFF\n\x00.";
        load(place, &place.at("store"), &[(key.as_slice(), "v")]);
        let mount = Mount::new(place, Kind::Apart, &[]);
        let path = mount.bash("find . -type f -printf '%P'");
        let path = path.trim_end();
        drop(mount);
        assert_eq!(place.kvfs_ok(["key", "--hex", "a/%empty/b"]).trim(), hex::encode("a//b"));
        assert_eq!(place.kvfs_ok(["path", "a//b"]).trim(), "a/%empty/b");
        assert_eq!(place.kvfs_ok(["path", "--hex", &hex::encode(b"nul\0")]).trim(), "nul%00");
        assert!(path.starts_with("dir/%empty/%25empty/"), "{path}");
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut found = Vec::new();
        for file in walk(mount.point()) {
            found.push(xattr::get(&file, "user.kvfs.key").unwrap().expect("user.kvfs.key"));
        }
        assert_eq!(found, [key]);
    });
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
