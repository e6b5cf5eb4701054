//! Hadoop's markers, while others put and remove objects: on a bucket in memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::meddled::{key, keys, rename, shelf};
use super::super::names::Names;
use super::super::shelf::{Fate, Shelf, tree};
use super::super::tree::Tree;
use crate::error::ErrorKind;
use crate::key::Key;
use crate::store::api::{Change, Cursor, Kind, Store};

fn remove(tree: &Tree, path: &str) -> Result<(), ErrorKind> {
    let key = key(path);
    tree.apply(&mut [Change::RemoveBranch { key: &key }]).map_err(|error| error.kind())
}

/// The names in the root, each with its kind and whether its version is told.
fn names(tree: &Tree) -> Vec<(String, Kind, bool)> {
    let mut names = Vec::new();
    tree.list(&Key::root(), &mut Cursor::default(), &mut |entry| {
        let name = String::from_utf8_lossy(entry.segment.bytes).into_owned();
        names.push((name, entry.stat.kind, entry.stat.version.is_some()));
        ControlFlow::Continue(())
    })
    .unwrap();
    names
}

#[test]
fn promise_2_6_markers_of_hadoop_are_listed_once_wherever_pages_end() {
    let all = [
        "a",
        "a_$folder$",
        "b!",
        "b-1",
        "b-2",
        "b-3",
        "b-4",
        "b/x",
        "b0",
        "b1",
        "b2",
        "b_$folder$",
        "c!",
        "c0",
        "c1",
        "c2",
        "c3",
        "c_$folder$",
        "d_$folder$",
    ];
    let (shelf, tree) = shelf("hadoop", &all);
    all.iter().filter(|key| key.ends_with("_$folder$")).for_each(|key| shelf.foreign(key, ""));
    let mut expected: Vec<&str> = all.iter().copied().filter(|key| !key.contains(['/', '$'])).collect();
    expected.extend(["a_$folder$", "b", "c", "d"]);
    expected.sort_unstable();
    for most in [1, 2, 100] {
        let (mut from, mut names) = (Cursor::default(), Vec::new());
        while !from.done {
            let mut given = 0;
            tree.list(&Key::root(), &mut from, &mut |entry| {
                if given == most {
                    return ControlFlow::Break(());
                }
                given += 1;
                let name = String::from_utf8_lossy(entry.segment.bytes).into_owned();
                let directory = matches!(name.as_str(), "b" | "c" | "d");
                assert_eq!(entry.stat.kind.is_directory(), directory, "{name}");
                let stat = tree.stat(&key(&name)).unwrap().unwrap();
                assert_eq!(stat.kind.is_directory(), directory, "{name}");
                names.push(name);
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        names.sort_unstable();
        assert_eq!(names, expected, "{most} at a time");
    }
    remove(&tree, "d").unwrap();
    assert!(!keys(&shelf).contains(&"d_$folder$".to_owned()));
    rename(&tree, "c", "e", true).unwrap();
    assert!(
        keys(&shelf).contains(&"e_$folder$".to_owned()) && !keys(&shelf).contains(&"c_$folder$".to_owned())
    );
}

/// Where a page of the walk ends and a name in it is not decided yet, more is asked before the page is handed out.
#[test]
fn promise_2_6_what_a_page_tells_of_its_names_outlasts_what_is_asked_for_it() {
    // The first page has 128 names, and ends before it is known whether there is anything below `n/`.
    let mut all: Vec<String> = (0..126).map(|n| format!("a{n:03}")).collect();
    all.extend(["m_$folder$", "n", "n!", "n0"].map(str::to_owned));
    let (shelf, tree) = shelf("hadoop, undecided", &all.iter().map(String::as_str).collect::<Vec<_>>());
    shelf.foreign("m_$folder$", "");
    let names = names(&tree);
    assert_eq!(names.len(), all.len());
    assert!(names.contains(&("m".to_owned(), Kind::Branch, false)), "{names:?}");
    assert!(names.iter().all(|(name, _, version)| *version || name == "m"), "{names:?}");
}

/// §2.5: only what is empty is removed, also where somebody fills a marker after it was looked at.
#[test]
fn promise_2_5_a_marker_that_is_filled_meanwhile_stays() {
    for marker in ["d/", "d_$folder$"] {
        for honours in [true, false] {
            let mut bucket = Shelf::new();
            bucket.honours = honours;
            let bucket = Arc::new(bucket);
            ["d/", "d_$folder$"].iter().for_each(|key| bucket.foreign(key, ""));
            let tree = tree(&bucket, "hadoop, filled");
            tree.check().unwrap();
            let mut looks = if marker == "d/" { 1 } else { 2 };
            bucket.meddle(move |bucket, operation, key| {
                looks -= i32::from((operation, key) == ("head", marker));
                let removed = (operation, key) == ("delete", marker);
                if if honours { removed } else { looks == 0 } {
                    looks = -1;
                    bucket.foreign(marker, "a file");
                }
                Fate::Fine
            });
            assert_eq!(remove(&tree, "d"), Err(ErrorKind::NotEmpty), "{marker} {honours}");
            assert!(bucket.all().contains(&(marker.to_owned(), "a file".to_owned())), "{marker} {honours}");
        }
    }
}

#[test]
fn promise_2_5_a_marker_that_goes_meanwhile_is_removed() {
    let (shelf, tree) = shelf("hadoop, gone", &[]);
    shelf.foreign("d/", "");
    shelf.meddle(|shelf, operation, key| {
        if operation == "delete" {
            shelf.retire(key);
        }
        Fate::Fine
    });
    assert_eq!(remove(&tree, "d"), Ok(()));
    assert_eq!(keys(&shelf), Vec::<String>::new());
}

/// A directory is removed and renamed whole, also where nobody met a marker before: it would come back with the next listing.
#[test]
fn promise_2_6_a_marker_that_nobody_met_goes_with_its_directory() {
    for marker in ["d/", "d/x"] {
        let (shelf, tree) = shelf("hadoop, unmet", &[]);
        [marker, "d_$folder$"].iter().for_each(|key| shelf.foreign(key, ""));
        rename(&tree, "d", "e", true).unwrap();
        assert_eq!(keys(&shelf), [&marker.replace('d', "e"), "e_$folder$"]);
        shelf.retire("e/x");
        assert_eq!(tree.stat(&key("e")).unwrap().unwrap().kind, Kind::Branch, "it is met by now");
    }
    let (shelf, tree) = shelf("hadoop, unmet", &[]);
    ["d/", "d_$folder$"].iter().for_each(|key| shelf.foreign(key, ""));
    remove(&tree, "d").unwrap();
    assert_eq!(keys(&shelf), Vec::<String>::new());
}

#[test]
fn a_file_that_is_renamed_is_not_asked_for_its_marker() {
    let (shelf, tree) = shelf("hadoop, a file", &["f", "d_$folder$"]);
    shelf.meddle(|_, _, key| {
        assert!(!key.starts_with("f_"), "{key}");
        Fate::Fine
    });
    rename(&tree, "f", "g", false).unwrap();
}

/// `d/_$folder$` is a file: the segment without bytes has no marker of this kind.
#[test]
fn promise_2_3_the_segment_without_bytes_has_no_marker_of_hadoop() {
    let (shelf, tree) = shelf("hadoop, empty segment", &[]);
    ["d/_$folder$", "e_$folder$"].iter().for_each(|key| shelf.foreign(key, ""));
    tree.check().unwrap();
    assert_eq!(tree.stat(&key("e")).unwrap().unwrap().kind, Kind::Branch);
    assert!(tree.stat(&key("d/")).unwrap().is_none());
    remove(&tree, "d/").unwrap();
    assert_eq!(rename(&tree, "d/", "f", true), Err(ErrorKind::NotFound));
    assert_eq!(keys(&shelf), ["d/_$folder$", "e_$folder$"]);
}

/// A marker has a key of its own, where somebody may have a file, or where there can be none.
#[test]
fn promise_4_5_a_marker_is_renamed_over_nothing_of_others() {
    let long = "e".repeat(1020);
    for (there, to, replace, expected) in [
        ("a file", "e", true, Err(ErrorKind::NotEmpty)),
        ("a file", "e", false, Err(ErrorKind::Exists)),
        ("", "e", false, Err(ErrorKind::Exists)),
        ("", "e", true, Ok(())),
        ("a file", &long, false, Err(ErrorKind::NameTooLong)),
    ] {
        let (shelf, tree) = shelf("hadoop, in the way", &["d/x"]);
        shelf.foreign("d_$folder$", "");
        shelf.foreign("e_$folder$", there);
        let (from, to) = (key("d"), key(to));
        let renamed = tree.apply(&mut [Change::Rename { from: &from, to: &to, tree: true, replace }]);
        assert_eq!(renamed.map_err(|error| error.kind()), expected, "{there:?} {replace}");
        let left: &[&str] =
            if expected.is_ok() { &["e/x", "e_$folder$"] } else { &["d/x", "d_$folder$", "e_$folder$"] };
        assert_eq!(keys(&shelf), left);
        assert!(shelf.all().contains(&("e_$folder$".to_owned(), there.to_owned())), "{there:?} {replace}");
    }
}

/// The same where it is put after the look.
#[test]
fn promise_4_5_a_marker_is_renamed_over_nothing_that_is_put_meanwhile() {
    let (shelf, tree) = shelf("hadoop, put meanwhile", &["d/x"]);
    shelf.foreign("d_$folder$", "");
    shelf.meddle(|shelf, operation, key| {
        if (operation, key) == ("copy", "d_$folder$") {
            shelf.foreign("e_$folder$", "a file");
        }
        Fate::Fine
    });
    let (from, to) = (key("d"), key("e"));
    let renamed = tree.apply(&mut [Change::Rename { from: &from, to: &to, tree: true, replace: true }]);
    assert_eq!(renamed.map_err(|error| error.kind()), Err(ErrorKind::Exists));
    assert_eq!(keys(&shelf), ["d/x", "d_$folder$", "e_$folder$"]);
    assert!(shelf.all().contains(&("e_$folder$".to_owned(), "a file".to_owned())));
}

/// A rename of `d` to `e` by a daemon that was killed before it had copied anything.
fn killed(tree: &Tree) {
    let found = tree.all_below("d").unwrap();
    let moves: Vec<_> =
        found.into_iter().map(|object| (object.clone(), object.key.replacen('d', "e", 1))).collect();
    drop(tree.begin_renaming(&key("d"), &key("e"), true, &moves).unwrap());
}

#[test]
fn promise_4_5_a_rename_that_was_killed_takes_along_what_lies_beside_the_folder() {
    for copied in [&[][..], &["e_$folder$"], &["e_$folder$", "e"]] {
        let (shelf, tree) = shelf("hadoop, killed", &["d", "d/1"]);
        shelf.foreign("d_$folder$", "");
        killed(&tree);
        copied.iter().for_each(|key| shelf.foreign(key, if *key == "e" { "d" } else { "" }));
        self::tree(&shelf, "hadoop, killed").finish_renames();
        assert_eq!(keys(&shelf), ["e", "e/1", "e_$folder$"], "{copied:?}");
    }
}

/// What was filled since is a file, and no part of the rename.
#[test]
fn promise_4_5_a_rename_that_was_killed_leaves_the_files_of_others() {
    let (shelf, tree) = shelf("hadoop, killed and filled", &["d/1"]);
    shelf.foreign("d_$folder$", "");
    killed(&tree);
    shelf.foreign("d_$folder$", "a file");
    self::tree(&shelf, "hadoop, killed and filled").finish_renames();
    assert_eq!(keys(&shelf), ["d_$folder$", "e/1"]);
}

/// What is beside the folder is removed by itself, so that nothing else that begins with its name is listed.
#[test]
fn a_rename_lists_no_more_for_what_lies_beside_the_folder() {
    for beside in [&[][..], &["c"], &["c_$folder$"], &["c", "c_$folder$"]] {
        let all = [beside, &["c/1", "c/2", "c0", "c1", "d"]].concat();
        let (shelf, tree) = shelf("hadoop, listed", &all);
        all.iter().filter(|key| key.ends_with("_$folder$")).for_each(|key| shelf.foreign(key, ""));
        shelf.meddle(|_, operation, key| {
            assert!(operation != "list" || key.ends_with('/'), "{operation} {key}");
            Fate::Fine
        });
        rename(&tree, "c", "e", true).unwrap();
        let mut left: Vec<String> = beside.iter().map(|key| key.replacen('c', "e", 1)).collect();
        left.extend(["c0", "c1", "d", "e/1", "e/2"].map(str::to_owned));
        left.sort_unstable();
        assert_eq!(keys(&shelf), left);
    }
}

/// A marker that was copied and is a file by now stays, and the rest goes all the same.
#[test]
fn promise_4_5_a_rename_leaves_a_marker_that_is_filled_meanwhile() {
    let (shelf, tree) = shelf("hadoop, filled meanwhile", &["d/1", "d/2"]);
    shelf.foreign("d_$folder$", "");
    shelf.meddle(|shelf, operation, key| {
        if operation == "delete" && key == "d_$folder$" {
            shelf.foreign(key, "a file");
        }
        Fate::Fine
    });
    assert_eq!(rename(&tree, "d", "e", true), Err(ErrorKind::Stale));
    assert_eq!(keys(&shelf), ["d_$folder$", "e/1", "e/2", "e_$folder$"]);
}

/// What is in a directory comes behind its marker where the separator sorts behind it, perhaps on a later page.
#[test]
fn promise_2_6_a_directory_is_listed_once_where_its_marker_comes_first() {
    for separator in ["~", "|"] {
        let below = format!("a{separator}x");
        let all = ["a_$folder$", "aa", "ab", "ac", &below, "b_$folder$"];
        let (shelf, mut tree) = shelf("hadoop, separator", &all);
        all.iter().filter(|key| key.ends_with("_$folder$")).for_each(|key| shelf.foreign(key, ""));
        let names_of_it = Names::new("", Some(separator.into()), &shelf.abilities);
        Arc::get_mut(&mut tree.reach).unwrap().names = names_of_it;
        let mut names: Vec<String> = names(&tree).into_iter().map(|(name, ..)| name).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "aa", "ab", "ac", "b"]);
    }
}
