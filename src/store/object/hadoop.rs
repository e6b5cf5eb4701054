//! Hadoop's markers, while others put and remove objects: on a bucket in memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::meddled::{key, keys, rename, shelf};
use super::shelf::{Fate, Shelf, tree};
use super::tree::Tree;
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
