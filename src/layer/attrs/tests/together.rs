//! Threads at one store: whoever looks never sees a time that is older than the bytes, nor a mode of other bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const ROUNDS: u64 = 300;

#[test]
fn promise_5_5_no_time_is_older_than_the_bytes_it_is_seen_with() {
    let case = Case::new();
    case.put("first", b"v");
    case.set("first", &mode(0o600)).unwrap();
    let writing = AtomicUsize::new(2);
    std::thread::scope(|scope| {
        for file in ["a", "b"] {
            let (case, writing) = (&case, &writing);
            scope.spawn(move || {
                for length in 1..ROUNDS {
                    let (key, body) = (key(file), Payload::of(&vec![7; length as usize]).unwrap());
                    let setting = Setting { mtime: Some(time(length)), ..Setting::default() };
                    let put = Change::Put { key: &key, body: &body, when: When::Always };
                    let set = Change::Set { key: &key, directory: false, attributes: &setting };
                    case.attrs.apply(&mut [put, set]).unwrap();
                    case.attrs
                        .apply(&mut [Change::Set { key: &key, directory: false, attributes: &mode(1) }])
                        .unwrap();
                }
                writing.fetch_sub(1, Ordering::Release);
            });
        }
        for attributes in [false, true] {
            let (case, writing) = (&case, &writing);
            scope.spawn(move || {
                while writing.load(Ordering::Acquire) > 0 {
                    let found: Vec<Stat> = match attributes {
                        true => case.list(&Key::root(), 2, true).into_iter().map(|(_, stat)| stat).collect(),
                        false => ["a", "b"]
                            .iter()
                            .filter_map(|path| case.attrs.stat(&key(path)).unwrap())
                            .collect(),
                    };
                    for stat in found.iter().filter(|stat| stat.file.mode != Some(0o600)) {
                        assert!(stat.file.mtime.is_none_or(|mtime| mtime >= time(stat.size)), "{stat:?}");
                    }
                    case.attrs.trust.distrust();
                }
            });
        }
    });
    for file in ["a", "b"] {
        assert_eq!(case.file(file).mtime, Some(time(ROUNDS - 1)));
    }
}

#[test]
fn whoever_looks_while_files_change_places_sees_what_is_kept_of_the_bytes_that_are_there() {
    let case = Case::new();
    for (path, length) in [("x", 1), ("y", 2)] {
        case.put(path, &vec![7; length as usize]);
        case.set(path, &mode(length)).unwrap();
    }
    let writing = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                let (x, y, between) = (key("x"), key("y"), key("z"));
                let renames = [(&x, &between), (&y, &x), (&between, &y)];
                let mut renames =
                    renames.map(|(from, to)| Change::Rename { from, to, tree: false, replace: false });
                case.attrs.apply(&mut renames).unwrap();
            }
            writing.fetch_sub(1, Ordering::Release);
        });
        scope.spawn(|| {
            while writing.load(Ordering::Acquire) > 0 {
                for path in ["x", "y"] {
                    let stat = case.attrs.stat(&key(path)).unwrap().unwrap();
                    assert_eq!(stat.file.mode, Some(stat.size as u32), "{path}");
                }
            }
        });
    });
}
