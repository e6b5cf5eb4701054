//! §1.2 to §1.6: how each segment is spelled as a file name, both ways.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::harness::{Kind, LIMIT, Mount, dump, load, needs_kvfs, on_every_mount, refused, watched};

/// A file name and its key.
type Pair = (&'static [u8], &'static [u8]);

/// Writes each name through the mount and expects its key in the store; then the other way round.
fn spelled(pairs: &'static [Pair]) {
    watched(LIMIT, move |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        for (name, key) in pairs {
            fs::write(mount.at(OsStr::from_bytes(name)), key)
                .unwrap_or_else(|e| panic!("{}: {e}", name.escape_ascii()));
        }
        let made = dump(place, &mount.store());
        for (name, key) in pairs {
            assert_eq!(made.get(*key).map(Vec::as_slice), Some(*key), "the key of {}", name.escape_ascii());
        }
        assert_eq!(made.len(), pairs.len());
        drop(mount);
        // The other way round: keys that another program made.
        let found = Mount::of(place, Kind::Apart, source(place, "loaded", pairs), "second", &[]);
        for (name, key) in pairs {
            let value = fs::read(found.at(OsStr::from_bytes(name)));
            assert_eq!(value.ok().as_deref(), Some(*key), "read of {}", name.escape_ascii());
        }
        let listed: BTreeSet<Vec<u8>> =
            fs::read_dir(found.point()).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect();
        assert_eq!(listed, pairs.iter().map(|(name, _)| name.to_vec()).collect());
    });
}

fn source(place: &crate::harness::Place, name: &str, pairs: &[(&[u8], &[u8])]) -> std::ffi::OsString {
    let keys: Vec<(&[u8], &[u8])> = pairs.iter().map(|(_, key)| (*key, *key)).collect();
    load(place, &place.at(name), &keys);
    let mut source = std::ffi::OsString::from("lmdb:");
    source.push(place.at(name));
    source
}

#[test]
fn promise_1_3_what_the_kernel_carries_is_its_own_name() {
    const PAIRS: &[Pair] = &[
        (b" ", b" "),
        (b"new\nline", b"new\nline"),
        (b"\x01\x1b[31m\x7f", b"\x01\x1b[31m\x7f"),
        (b"\xff\xfe\x80", b"\xff\xfe\x80"),
        ("漢字 ελ 🦀".as_bytes(), "漢字 ελ 🦀".as_bytes()),
        (b".hidden", b".hidden"),
        (b"...", b"..."),
        (b"..a", b"..a"),
        (b"-", b"-"),
        (b"\\", b"\\"),
        (b"*?[a]", b"*?[a]"),
        (b"~", b"~"),
        (b":", b":"),
    ];
    spelled(PAIRS);
}

#[test]
fn promise_1_4_nul_and_dots() {
    spelled(&[
        (b"%00", b"\0"),
        (b"a%00b%00", b"a\0b\0"),
        (b"%2E", b"."),
        (b"%2E%2E", b".."),
        (b"%00.", b"\0."),
    ]);
}

#[test]
fn promise_1_4_empty_segments_and_slashes() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let keys: [&[u8]; 7] = [b"a//b", b"/x", b"//", b"c/", b"d/../e", b"f/.", b"g///"];
        load(place, &place.at("store"), &keys.map(|key| (key, key)));
        let mount = Mount::new(place, Kind::Apart, &[]);
        for (path, key) in [
            ("a/%empty/b", "a//b"),
            ("%empty/x", "/x"),
            ("%empty/%empty/%empty", "//"),
            ("c/%empty", "c/"),
            ("d/%2E%2E/e", "d/../e"),
            ("f/%2E", "f/."),
            ("g/%empty/%empty/%empty", "g///"),
        ] {
            let value = fs::read(mount.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(value, key.as_bytes(), "{path}");
        }
        assert_eq!(mount.bash("find . -type f | wc -l").trim(), "7");
        fs::write(mount.at("a/%empty/new"), "made").unwrap();
        assert_eq!(dump(place, &mount.store())[b"a//new".as_slice()], b"made");
    });
}

#[test]
fn promise_1_4_the_empty_key_is_a_file_in_memory_and_impossible_in_lmdb() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let memory = Mount::new(place, Kind::Memory, &[]);
        fs::write(memory.at("%empty"), "no name").unwrap();
        assert_eq!(fs::read(memory.at("%empty")).unwrap(), b"no name");
        assert_eq!(memory.bash("ls").trim(), "%empty");
        drop(memory);
        let lmdb = Mount::of(place, Kind::Apart, source(place, "store", &[]), "second", &[]);
        refused(libc::ENOENT, "lookup", fs::metadata(lmdb.at("%empty")));
        assert!(fs::File::create(lmdb.at("%empty")).is_err(), "LMDB has no empty key");
        assert_eq!(lmdb.bash("ls -A"), "");
    });
}

#[test]
fn promise_1_5_a_percent_sign_is_escaped_only_where_it_would_be_misread() {
    spelled(&[
        (b"100%", b"100%"),
        (b"50%off", b"50%off"),
        (b"a%25b", b"a%25b"),
        (b"%2f", b"%2f"),
        (b"%2Ex", b"%2Ex"),
        (b"%", b"%"),
        (b"%%", b"%%"),
        (b"%25", b"%25"),
        (b"%2500", b"%00"),
        (b"%252500", b"%2500"),
        (b"a%252Fb", b"a%2Fb"),
        (b"%252E", b"%2E"),
        (b"%252E%252E", b"%2E%2E"),
        (b"%25252E", b"%252E"),
        (b"%25empty", b"%empty"),
        (b"%2525empty", b"%25empty"),
        (b"x%25value", b"x%value"),
        (b"%emptyx", b"%emptyx"),
        (b"%unreserved", b"%unreserved"),
        (b"%EMPTY", b"%EMPTY"),
    ]);
}

#[test]
fn promise_1_6_reserved_words_at_the_end_of_a_segment() {
    spelled(&[
        (b"n%25empty", b"n%empty"),
        (b"n%25value", b"n%value"),
        (b"n%25more", b"n%more"),
        (b"n%25kvfs", b"n%kvfs"),
        (b"%25kvfs", b"%kvfs"),
        (b"n%25db", b"n%db"),
        (b"%25raw", b"%raw"),
        (b"%25header.json", b"%header.json"),
        (b"n%25hash", b"n%hash"),
        (b"n%25hash.json", b"n%hash.json"),
        (b"n%25list", b"n%list"),
        (b"n%25set.json", b"n%set.json"),
        (b"n%25zset", b"n%zset"),
        (b"n%25stream.json", b"n%stream.json"),
        (b"n%25json", b"n%json"),
        (b"n%hash2", b"n%hash2"),
    ]);
}

#[test]
fn promise_1_2_every_key_has_one_name_and_every_name_one_key() {
    watched(LIMIT, |place| {
        needs_kvfs();
        const SYMBOLS: [&[u8]; 12] =
            [b"a", b"%", b".", b"\0", b"~", b"\xff", b"\n", b"25", b"2F", b"00", b"%empty", b"%more"];
        let mut keys: BTreeSet<Vec<u8>> = BTreeSet::new();
        for one in SYMBOLS {
            keys.insert(one.to_vec());
            for two in SYMBOLS {
                keys.insert([one, two].concat());
                keys.extend(SYMBOLS.map(|three| [one, two, three].concat()));
            }
        }
        let pairs: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (key.as_slice(), key.as_slice())).collect();
        let first = Mount::of(place, Kind::Apart, source(place, "first", &pairs), "data", &[]);
        let second = Mount::of(place, Kind::Apart, source(place, "copy", &[]), "second", &[]);
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(first.point()).unwrap() {
            let name = entry.unwrap().file_name();
            let value = fs::read(first.at(&name)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
            fs::write(second.at(&name), &value).unwrap_or_else(|error| panic!("{name:?}: {error}"));
            assert!(names.insert(name.clone()), "{name:?} is listed twice");
        }
        assert_eq!(names.len(), keys.len());
        let copied = dump(place, &place.at("copy"));
        assert!(copied.iter().all(|(key, value)| key == value), "a name stands for another key");
        assert_eq!(copied.len(), keys.len());
    });
}

on_every_mount! {
    /// In memory too, a name reads back what was written under it, and the listing spells it the same
    fn promise_1_2_names_come_back_as_they_were_given(mount) {
        let names: [&[u8]; 8] = [b"100%", b"a%25b", b"%2f", b".x", b"\xff", b"a\nb", "ü".as_bytes(), b"%2Ex"];
        for name in names {
            fs::write(mount.at(OsStr::from_bytes(name)), name).unwrap();
        }
        let listed: BTreeSet<Vec<u8>> =
            fs::read_dir(mount.point()).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect();
        assert_eq!(listed, names.iter().map(|name| name.to_vec()).collect());
        for name in names {
            assert_eq!(fs::read(mount.at(OsStr::from_bytes(name))).unwrap(), name);
        }
    }
}
