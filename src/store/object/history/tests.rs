use super::super::shelf::{self, Shelf};
use super::*;

fn key(path: &str) -> Key {
    Key::of(path.split('/').filter(|segment| !segment.is_empty()).map(str::as_bytes))
}

fn bytes(value: &dyn Value) -> String {
    let mut all = Vec::new();
    value.read(0, value.len(), &mut |piece| all.extend_from_slice(piece)).unwrap();
    String::from_utf8(all).unwrap()
}

/// The names in a directory, listed `most` at a time.
fn names(store: &dyn Store, dir: &str, most: usize) -> Vec<String> {
    let (mut from, mut names) = (Cursor::default(), Vec::new());
    while !from.done {
        let before = names.len();
        let mut taken = 0;
        store
            .list(&key(dir), &mut from, &mut |entry| {
                if taken == most {
                    return ControlFlow::Break(());
                }
                taken += 1;
                let slash = if entry.stat.kind.is_directory() { "/" } else { "" };
                names.push(format!("{}{slash}", entry.segment.bytes.escape_ascii()));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(from.done || names.len() > before, "{names:?}");
    }
    names
}

#[test]
fn the_past_shows_what_was_there_and_nothing_else() {
    let shelf = Arc::new(Shelf::new());
    let tree = Arc::new(shelf::tree(&shelf, "past"));
    for number in 0..9 {
        shelf.foreign(&format!("d/{number}"), "first");
    }
    shelf.foreign("gone/x", "1");
    shelf.foreign("a", "one");
    shelf.foreign("a", "two");
    let moment = shelf.now() - Duration::from_millis(500);
    shelf.foreign("a", "three");
    shelf.foreign("a", "four");
    shelf.foreign("later/x", "2");
    shelf.retire("gone/x");
    shelf.retire("d/3");
    shelf.foreign("d/5", "second");
    let past = Arc::clone(&tree).past(moment).unwrap();
    assert!(past.caps().immutable && !past.caps().write);
    for most in [1, 2, 100] {
        assert_eq!(names(&*past, "", most), ["a", "d/", "gone/"]);
        assert_eq!(names(&*past, "d", most), (0..9).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(names(&*past, "later", most), Vec::<String>::new());
    }
    let read = |path: &str| past.open(&key(path)).unwrap().map(|value| bytes(&*value));
    assert_eq!(read("a").as_deref(), Some("two"));
    assert_eq!(read("d/5").as_deref(), Some("first"));
    assert_eq!(read("gone/x").as_deref(), Some("1"));
    assert_eq!(read("later/x"), None);
    let stat = past.stat(&key("a")).unwrap().unwrap();
    assert_eq!((stat.kind, stat.size), (Kind::Leaf, 3));
    assert_eq!(bytes(&*past.open_told(&key("a"), &stat).unwrap().unwrap()), "two");
    assert_eq!(past.stat(&key("gone")).unwrap().unwrap().kind, Kind::Branch);
    assert!(past.stat(&key("later")).unwrap().is_none());
    let before = Arc::clone(&tree).past(SystemTime::UNIX_EPOCH).unwrap();
    assert!(names(&*before, "", 9).is_empty());
    let now = Arc::clone(&tree).past(shelf.now()).unwrap();
    assert_eq!(names(&*now, "", 9), names(&*tree, "", 9));
}

#[test]
fn what_has_no_past_says_so() {
    let mut shelf = Shelf::new();
    shelf.honours = false;
    let shelf = Arc::new(shelf);
    let tree = Arc::new(shelf::tree(&shelf, "no past"));
    let refused = |moment| Arc::clone(&tree).past(moment).map(drop).unwrap_err();
    assert_eq!(refused(SystemTime::UNIX_EPOCH).kind(), ErrorKind::Unsupported);
    let later = env::now() + Duration::from_secs(60);
    assert_eq!(refused(later).kind(), ErrorKind::Invalid);
}

#[test]
fn every_version_is_a_value_below_its_key() {
    let shelf = Arc::new(Shelf::new());
    let tree = shelf::tree(&shelf, "history");
    let history = tree.history().unwrap();
    for text in ["one", "two", "three", "four", "five"] {
        shelf.foreign("a", text);
    }
    shelf.foreign("a/b/c", "below");
    shelf.foreign("a-b", "beside");
    shelf.retire("a/b/c");
    shelf.retire("a-b");
    for most in [1, 3, 100] {
        assert_eq!(names(&*history, "", most), ["a/", "a-b/"]);
        let of_a = names(&*history, "a", most);
        assert_eq!(of_a.len(), 6, "{of_a:?}");
        assert_eq!(of_a[5], "b/");
        assert_eq!(names(&*history, "a/b", most), ["c/"]);
        assert_eq!(names(&*history, "a/b/c", most).len(), 1);
    }
    let mut seen: Vec<String> = names(&*history, "a", 9)
        .into_iter()
        .filter(|name| !name.ends_with('/'))
        .map(|name| {
            let path = key(&format!("a/{name}"));
            let stat = history.stat(&path).unwrap().unwrap();
            let told = bytes(&*history.open_told(&path, &stat).unwrap().unwrap());
            assert_eq!((stat.kind, stat.size), (Kind::Leaf, told.len() as u64));
            assert_eq!(bytes(&*history.open(&path).unwrap().unwrap()), told);
            assert_eq!(history.raw_key(&path, false), b"a");
            told
        })
        .collect();
    seen.reverse();
    assert_eq!(seen, ["one", "two", "three", "four", "five"]);
    let kind = |path: &str| history.stat(&key(path)).unwrap().map(|stat| stat.kind);
    assert_eq!(
        (kind("a"), kind("a/b"), kind("a-b")),
        (Some(Kind::Branch), Some(Kind::Branch), Some(Kind::Branch))
    );
    assert_eq!((kind("b"), kind("a/2026-01-01T00:00:00Z-none")), (None, None));
    assert!(history.open(&key("a")).unwrap().is_none());
    let path = key("a/x");
    let refused = history.apply(&mut [Change::Branch { key: &path }]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnly);
}

#[test]
fn names_of_versions_are_told_from_others() {
    assert!(is_name(b"2026-01-03T10:00:00Z-id/with+anything"));
    for other in ["", "2026", "2026-01-03T10:00:00Z", "2026-13-03T10:00:00Z-x", "a026-01-03T10:00:00Z-x"] {
        assert!(!is_name(other.as_bytes()), "{other}");
    }
}

#[test]
fn just_now_is_before_this_second() {
    let at = |nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    assert_eq!(just_now(at(5_300_000_000)), at(4_999_999_999));
    assert_eq!(just_now(SystemTime::UNIX_EPOCH), SystemTime::UNIX_EPOCH);
}
