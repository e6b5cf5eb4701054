//! Every legal key is a file, and every file that can be a key is one (§1).

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::on_every_bucket;
use crate::harness::{PATIENCE, until};
use crate::server::Service;

/// Keys that make trouble, all of which can be in one bucket.
fn nasty(service: Service) -> Vec<String> {
    let mut keys: Vec<String> = [
        "plain",
        "a",
        "a/b",
        "a/b/c",
        "a//b",
        "a///b",
        "/abs",
        "//abs",
        "dir/",
        "dir/in",
        "full/",
        ".",
        "..",
        "./x",
        "../x",
        "x/./y",
        "x/../y",
        "x/.",
        "x/..",
        "...",
        " ",
        "a b",
        " lead",
        "trail ",
        "+",
        "a+b",
        "a%2Fb",
        "%",
        "%%",
        "%2E",
        "%empty",
        "%value",
        "a%",
        "?",
        "#",
        "a?b#c",
        "&",
        "=",
        "a&b=c",
        ";",
        ":",
        "@",
        "$",
        ",",
        "'",
        "\"",
        "<",
        ">",
        "\\",
        "a\\b",
        "|",
        "*",
        "[",
        "]",
        "{",
        "}",
        "^",
        "`",
        "~",
        "!",
        "(",
        ")",
        "\u{e9}",
        "e\u{301}",
        "\u{5d0}",
        "\u{1F5DD}",
        "\u{10FFFF}",
        "tab\tin",
        "\u{7f}",
        "-",
        "--help",
        "con",
        "UPPER",
        "upper",
        "\u{fe}\u{ff}",
        "\u{a0}",
    ]
    .map(str::to_owned)
    .into();
    if service == Service::Google {
        keys.retain(|key| key != "." && key != "..");
    }
    if service == Service::Azure {
        // There a backslash is the same as a slash, and a dot at the end of a name is dropped.
        keys.retain(|key| !key.contains('\\') && !key.split('/').any(|name| name.ends_with('.')));
    }
    keys.push("k".repeat(900));
    keys.push(format!("{0}/{0}/{0}", "d".repeat(250)));
    // What XML 1.0 has no way to write: moto and Azure list it all the same.
    if matches!(service, Service::Ceph | Service::Google) {
        keys.extend(["\u{1}", "a\u{1b}b"].map(str::to_owned));
    }
    if service == Service::Ceph {
        keys.push("line\nend".into());
    }
    keys
}

/// Every file below `folder`: its raw key as the xattr tells it (§1.10), and its bytes.
fn walk(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
            continue;
        }
        let key = xattr::get(entry.path(), "user.kvfs.key").unwrap().expect("a raw key");
        let twice = found.insert(String::from_utf8(key).unwrap(), std::fs::read(entry.path()).unwrap());
        assert!(twice.is_none(), "{} is there twice", entry.path().display());
    }
}

on_every_bucket! {
    /// §1.1: what others put is found by walking, once each, under its own key and with its own bytes.
    fn promise_1_1_every_key_of_others_is_a_file(bucket, mount) {
        let keys = nasty(bucket.service);
        for key in &keys {
            bucket.put(key, format!("bytes of {key:?}"));
        }
        let mut found = BTreeMap::new();
        walk(mount.point(), &mut found);
        let seen = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for key in &keys {
            let bytes = found.remove(key).unwrap_or_else(|| panic!("{key:?} is not found"));
            assert_eq!(seen(&bytes), format!("bytes of {key:?}"));
        }
        assert!(found.is_empty(), "nobody wrote {found:?}");
    }

    /// §1.2: the path that `kvfs path` tells for a key makes that key, for others too.
    fn promise_1_2_every_path_makes_its_key(bucket, mount) {
        let mut keys = nasty(bucket.service);
        // Those with others below them come after those: a file does not become a directory.
        keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
        for key in &keys {
            let told = mount.place.kvfs_ok(["path", "--hex", &hex::encode(key)]);
            let mut path = mount.at(std::ffi::OsStr::from_bytes(told.trim_end_matches('\n').as_bytes()));
            let top_dots = bucket.service == Service::Google && key.starts_with(['.']) && key.contains('/');
            if told.contains("%more") || told.contains("%empty/") || top_dots {
                // Such a directory cannot be made (§1.8; `a/%empty` is the marker of an `a` that was made, §2.3; §1.9: Google
                // has no `.` at the top), but is there with the first key that needs it.
                bucket.put(key, "by others");
                // The folder may have been listed before (§6.2).
                until(PATIENCE, "it is there", || path.exists().then_some(()));
            }
            if path.is_dir() {
                path.push("%value");
            }
            let bytes = format!("bytes of {key:?}");
            std::fs::write(&path, &bytes)
                .or_else(|_| std::fs::create_dir_all(path.parent().unwrap()).and_then(|()| std::fs::write(&path, &bytes)))
                .unwrap_or_else(|error| panic!("{key:?} at {}: {error}", path.display()));
        }
        for key in &keys {
            let bytes = bucket.get(key).unwrap_or_else(|| panic!("others do not find {key:?}"));
            assert_eq!(String::from_utf8_lossy(&bytes), format!("bytes of {key:?}"));
        }
        // Directories that were made are there beside, as markers.
        let mut others = bucket.keys();
        others.retain(|key| !key.ends_with('/') || keys.contains(key));
        others.sort();
        keys.sort();
        assert_eq!(others, keys);
    }

    /// §2.3: the markers of other clients, `name/`.
    fn promise_2_3_markers_of_others_are_directories(bucket, mount) {
        bucket.put("empty/", "");
        bucket.put("both/", "");
        bucket.put("both/file", "bytes");
        mount.bash("test -d empty; test -z \"$(ls -A empty)\"; test -f empty/%empty; test \"$(ls both)\" = file");
        mount.bash("test \"$(ls)\" = \"$(printf 'both\\nempty')\"");
        mount.bash("rmdir empty; rm -r both; test -z \"$(ls -A)\"");
        assert_eq!(bucket.keys(), Vec::<String>::new());
    }

    /// §2.3: those of Hadoop, `name_$folder$`, which a listing tells of.
    fn promise_2_3_markers_of_hadoop_are_directories(bucket, mount) {
        for key in ["empty_$folder$", "both_$folder$", "value_$folder$", "deep/er_$folder$", "deep_$folder$"] {
            bucket.put(key, "");
        }
        bucket.put("both/file", "bytes");
        bucket.put("value", "a file of this name");
        bucket.put("full_$folder$", "no marker");
        mount.bash("test \"$(ls)\" = \"$(printf 'both\\ndeep\\nempty\\nfull_$folder$\\nvalue\\nvalue_$folder$')\"");
        mount.bash("test -d empty; test -z \"$(ls -A empty)\"; test -f 'empty_$folder$'; test \"$(ls both)\" = file");
        mount.bash("test -d deep/er; test \"$(ls deep)\" = er; ! rmdir both 2>/dev/null; ! mkdir empty 2>/dev/null");
        mount.bash("mv empty moved; test -d moved; test ! -e empty; echo in >moved/x; test \"$(ls moved)\" = x");
        assert_eq!(bucket.get("moved_$folder$").unwrap(), b"");
        mount.bash("rm -r moved both deep; test ! -e moved; test ! -e both; rm 'value_$folder$'");
        assert_eq!(bucket.keys(), ["full_$folder$", "value"]);
    }

    /// §1.7: `a` beside `a/b`.
    fn promise_1_7_a_value_beside_a_directory(bucket, mount) {
        bucket.put("a", "value");
        bucket.put("a/b", "below");
        mount.bash("test \"$(cat a/%value)\" = value; test \"$(cat a/b)\" = below; echo new >a/%value; rm a/b");
        assert_eq!(bucket.get("a").unwrap(), b"new\n");
        assert_eq!(bucket.keys(), ["a"]);
    }

    /// §1.9.
    fn promise_1_9_names_that_are_no_keys_are_refused(bucket, mount) {
        // A service may refuse them, or, worse, take them for another key.
        let (files, folders): (&[&str], &[&str]) = match bucket.service {
            Service::Ceph | Service::Moto => (&[], &[]),
            Service::Azure => (&["other.", "%2E", "%2E%2E", "a\\b", "a\\"], &["d.", "%2E", "%2E%2E", "a\\b"]),
            Service::Google => (&["%2E", "%2E%2E", "a\nb"], &["a\nb"]),
        };
        bucket.put("other", "of others");
        for name in files {
            crate::harness::refused(nix::libc::EILSEQ, name, std::fs::write(mount.at(name), "x"));
            assert!(!mount.at(name).exists(), "{name}");
            let renamed = std::fs::rename(mount.at("other"), mount.at(name));
            crate::harness::refused(nix::libc::EILSEQ, name, renamed);
        }
        for name in folders {
            crate::harness::refused(nix::libc::EILSEQ, name, std::fs::create_dir(mount.at(name)));
        }
        assert_eq!((bucket.keys(), bucket.get("other").unwrap()), (vec!["other".to_owned()], b"of others".to_vec()));
        let not_text = std::ffi::OsStr::from_bytes(b"\xff");
        crate::harness::refused(nix::libc::EILSEQ, "no UTF-8", std::fs::write(mount.at(not_text), "x"));
        assert!(!mount.at(not_text).exists());
        let deep = mount.at(vec!["d".repeat(250); 5].join("/"));
        let made = std::fs::create_dir_all(deep.parent().unwrap()).and_then(|()| std::fs::write(&deep, "x"));
        crate::harness::refused(nix::libc::ENAMETOOLONG, "over 1,024 bytes", made);
    }
}
