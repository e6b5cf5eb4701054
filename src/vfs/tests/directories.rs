//! Listings.

use super::super::setattr::{Set, Time};
use super::*;
use crate::layer::fault::{Call, Moment};

fn rig_of(names: &[&str]) -> Rig {
    let rig = Rig::new();
    names.iter().for_each(|name| rig.foreign_put(name, name.as_bytes()));
    rig
}

/// As a C library with a small buffer does: of each reply it takes `taken` names, removes them, and goes on behind.
fn remove_all(rig: &Rig, attributes: bool, taken: usize) {
    let handle = rig.vfs.opendir(ROOT).unwrap();
    let mut offset = 0;
    loop {
        let (names, offsets) = rig.names_from(handle, offset, 7, attributes);
        let Some(&last) = offsets.get(..taken.min(offsets.len())).and_then(<[u64]>::last) else { break };
        offset = last;
        for name in names.iter().take(taken).filter(|name| *name != "." && *name != "..") {
            rig.unlink(name).unwrap();
        }
    }
    rig.vfs.releasedir(handle);
}

#[test]
fn promise_2_6_names_removed_between_replies_hide_no_others() {
    for attributes in [false, true] {
        for taken in [1, 2, 3, 5, 7] {
            let names: Vec<String> = (0..40).map(|index| format!("name{index:02}")).collect();
            let rig = rig_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
            remove_all(&rig, attributes, taken);
            assert_eq!(rig.names(ROOT), [""; 0], "{taken} at once, attributes: {attributes}");
        }
    }
}

#[test]
fn promise_2_6_names_that_come_between_replies_repeat_no_others() {
    let rig = rig_of(&["b", "d", "f", "h"]);
    let handle = rig.vfs.opendir(ROOT).unwrap();
    let (names, offsets) = rig.names_from(handle, 0, 6, false);
    assert_eq!(names, [".", "..", "b", "d", "f", "h"]);
    rig.foreign_put("a", b"");
    rig.foreign_put("c", b"");
    rig.foreign_delete("d");
    // Only three were taken: `.`, `..` and `b`.
    let (names, _) = rig.names_from(handle, offsets[2], 9, false);
    assert_eq!(names.iter().filter(|name| *name == "b").count(), 0, "{names:?}");
    for stays in ["f", "h"] {
        assert_eq!(names.iter().filter(|name| *name == stays).count(), 1, "{names:?}");
    }
}

#[test]
fn a_listing_goes_back_and_is_begun_again() {
    let rig = rig_of(&["a", "b", "c", "d", "e"]);
    let handle = rig.vfs.opendir(ROOT).unwrap();
    let (_, first) = rig.names_from(handle, 0, 4, false);
    let (second, offsets) = rig.names_from(handle, first[3], 2, false);
    assert_eq!(second, ["c", "d"]);
    rig.names_from(handle, offsets[1], 9, false);
    let (again, _) = rig.names_from(handle, first[2], 9, false);
    assert_eq!(again, ["b", "c", "d", "e"]);
    rig.foreign_put("0", b"");
    let (anew, _) = rig.names_from(handle, 0, 9, false);
    assert_eq!(anew, [".", "..", "0", "a", "b", "c", "d", "e"]);
}

#[test]
fn what_was_given_before_an_error_is_given() {
    let rig = rig_of(&["a", "b"]);
    rig.faulty.fail(Call::List, 1, Moment::After, ErrorKind::Io);
    let handle = rig.vfs.opendir(ROOT).unwrap();
    let (names, _) = rig.names_from(handle, 0, 9, true);
    assert_eq!(names, [".", "..", "a", "b"], "the kernel forgets only what it was told of");
    rig.vfs.releasedir(handle);
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn the_store_is_not_called_from_inside_its_listing() {
    let rig = Rig::new();
    for name in ["a", "b", "c", "d"] {
        rig.put(name, name.as_bytes());
    }
    let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let touched = rig.look("a").unwrap().ino;
    rig.vfs.setattr(touched, Set { mtime: Some(Time::At(time)), ..Set::default() }).unwrap();
    // The bytes must be asked for: the same, put again by another program.
    rig.foreign_put("a", b"a");
    let written = rig.open("b", WRITE).unwrap();
    let read = rig.open("c", READ).unwrap();
    rig.foreign_put("c", b"other");
    let handle = rig.vfs.opendir(ROOT).unwrap();
    let mut listed = Vec::new();
    for most in [3, 1, 9] {
        let offset = listed.last().map_or(0, |(_, next, _)| *next);
        let mut given_now = 0;
        let take = &mut |given: super::super::dir::Given<'_>| {
            if given_now == most {
                return false;
            }
            given_now += 1;
            listed.push((
                String::from_utf8(given.name.to_vec()).unwrap(),
                given.next,
                given.attr.map(|attr| (attr.size, attr.mtime == time)),
            ));
            true
        };
        rig.vfs.readdir(handle, offset, true, take).unwrap();
    }
    let shown: Vec<_> = listed.into_iter().skip(2).map(|(name, _, attr)| (name, attr.unwrap())).collect();
    let expected = [("a", (1, true)), ("b", (1, false)), ("c", (5, false)), ("d", (1, false))];
    assert_eq!(shown, expected.map(|(name, attr)| (name.to_owned(), attr)));
    rig.vfs.releasedir(handle);
    rig.close(written).unwrap();
    rig.close(read).unwrap();
    assert_eq!(rig.inodes_when_all_is_forgotten(), 1);
}

#[test]
fn promise_1_8_a_kept_directory_with_a_long_name_is_listed_by_its_pieces() {
    let long = "x".repeat(300);
    let rig = rig_of(&[&format!("{long}/a")]);
    let piece = format!("{}%more", "x".repeat(240));
    let rest = "x".repeat(60);
    let path = format!("{piece}/{rest}");
    assert_eq!(rig.names(ROOT), [&*piece]);
    rig.unlink(&format!("{path}/a")).unwrap();
    assert_eq!(rig.names(ROOT), [&*piece]);
    let more = rig.look(&piece).unwrap().ino;
    assert_eq!(rig.names(more), [&*rest]);
    assert_eq!(rig.kind(&path), What::Directory);
}

#[test]
fn promise_2_6_a_directory_that_moves_is_listed_on() {
    let names: Vec<String> = (0..20).map(|index| format!("d/{index:02}")).collect();
    let rig = rig_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let directory = rig.look("d").unwrap().ino;
    let handle = rig.vfs.opendir(directory).unwrap();
    let (mut all, offsets) = rig.names_from(handle, 0, 9, false);
    rig.rename("d", "elsewhere").unwrap();
    all.extend(rig.names_from(handle, offsets[8], 99, false).0);
    let expected: Vec<String> = (0..20).map(|index| format!("{index:02}")).collect();
    assert_eq!(all[2..], expected);
}

#[test]
fn promise_2_6_a_directory_that_loses_its_last_file_while_it_is_listed_is_listed_once() {
    let long = "x".repeat(300);
    let directories = ["a", "b", "c", "d", long.as_str()];
    let piece = format!("{}%more", "x".repeat(240));
    let expected: Vec<&str> =
        [".", ".."].into_iter().chain(directories[..4].iter().copied()).chain([&*piece]).collect();
    for attributes in [false, true] {
        for (emptied, path) in [(0, "a/f"), (2, "c/f"), (4, &*format!("{piece}/{}/f", "x".repeat(60)))] {
            for (given, back) in [(2, 0), (3, 0), (5, 0), (6, 0), (6, 2), (7, 0), (7, 3)] {
                let rig = rig_of(&directories.map(|name| format!("{name}/f")).each_ref().map(String::as_str));
                let handle = rig.vfs.opendir(ROOT).unwrap();
                let (mut names, offsets) = rig.names_from(handle, 0, given, attributes);
                rig.unlink(path).unwrap();
                names.truncate(given - back);
                let mut offset = offsets[given - back - 1];
                loop {
                    let (more, offsets) = rig.names_from(handle, offset, 2, attributes);
                    names.extend(more);
                    let Some(last) = offsets.last() else { break };
                    offset = *last;
                }
                names.sort();
                assert_eq!(names, expected, "{emptied} emptied after {given}, {back} back, {attributes}");
            }
        }
    }
}

#[test]
fn promise_1_8_a_piece_is_looked_up_without_listing_all_that_comes_before() {
    let rig = Rig::new();
    let escaped = format!("{}%{}", "x".repeat(100), "y".repeat(300));
    for name in [escaped.replace('%', "\0"), "z".repeat(300)] {
        rig.foreign_put(&name, b"");
    }
    rig.faulty.fail(Call::List, 1, Moment::Before, ErrorKind::Io);
    let escaped = format!("{}%00{}%more", "x".repeat(100), "y".repeat(137));
    for name in [&*escaped, &*format!("{}%more", "z".repeat(240))] {
        assert!(rig.exists(name), "{name}");
        assert!(!rig.exists(&name[1..]), "{name}");
    }
}

#[test]
fn promise_2_6_a_crowded_kernel_is_given_few_attributes_a_reply() {
    let rig = Rig::new();
    let many = crate::vfs::dir::CROWDED;
    for number in 0..many {
        rig.foreign_put(&format!("many/{number}"), b"");
    }
    for number in 0..100 {
        rig.foreign_put(&format!("few/{number:02}"), b"");
    }
    let (first, second) = (rig.look("many").unwrap(), rig.look("few").unwrap());
    let all = rig.vfs.opendir(first.ino).unwrap();
    assert_eq!(rig.names_from(all, 0, usize::MAX, true).0.len(), many + 2, "while there is room, all");
    let handle = rig.vfs.opendir(second.ino).unwrap();
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let (more, offsets) = rig.names_from(handle, offset, usize::MAX, true);
        let Some(last) = offsets.last() else { break };
        assert!(more.len() <= crate::vfs::dir::FEW + 2, "{}", more.len());
        offset = *last;
        names.extend(more);
    }
    assert_eq!((names.len(), names.last().map(String::as_str)), (102, Some("99")));
    let plain = rig.vfs.opendir(second.ino).unwrap();
    assert_eq!(
        rig.names_from(plain, 0, usize::MAX, false).0.len(),
        102,
        "names alone cost the kernel nothing"
    );
}
