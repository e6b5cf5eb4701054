//! `open`, and what can be put.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kvfs::env;
use kvfs::error::ErrorKind;
use kvfs::key::{Segment, Word};
use kvfs::payload::Payload;
use kvfs::store::api::{Change, Kind, When};

use crate::case::{Case, failure, key, long_key, path};

pub fn what_is_put_is_read_back(case: &Case) {
    for value in [&b""[..], b"v", &[0; 4096], &[0xFF; 100_000]] {
        case.put(&path("dir/name"), value);
        assert_eq!(case.value(&path("dir/name")).unwrap(), value);
        let stat = case.store.stat(&path("dir/name")).unwrap().unwrap();
        assert_eq!((stat.kind, stat.size), (Kind::Leaf, value.len() as u64));
    }
    assert_eq!(case.value(&path("dir")), None);
    assert_eq!(case.value(&path("dir/name/")), None);
}

pub fn any_range_is_cut_at_the_end(case: &Case) {
    let bytes: Vec<_> = (0..=255).collect();
    case.put(&path("k"), &bytes);
    let value = case.store.open(&path("k")).unwrap().unwrap();
    assert_eq!(value.len(), 256);
    for (offset, size) in [(0, 256), (10, 1), (250, 100), (0, u64::MAX), (5, u64::MAX), (255, 1)] {
        let mut read = Vec::new();
        value.read(offset, size, &mut |piece| read.extend_from_slice(piece)).unwrap();
        let end = offset.saturating_add(size).min(256);
        assert_eq!(read, bytes[offset as usize..end as usize]);
    }
    for (offset, size) in [(0, 0), (256, 1), (300, 5), (u64::MAX, u64::MAX)] {
        value.read(offset, size, &mut |_| panic!("called for an empty range")).unwrap();
    }
}

/// §3.1.
pub fn an_open_value_stays_as_it_was(case: &Case) {
    for size in [10, 10_000, 3 << 20] {
        let old = vec![b'o'; size];
        case.put(&path("k"), &old);
        let open = case.store.open(&path("k")).unwrap().unwrap();
        case.put(&path("k"), &vec![b'n'; size + 1]);
        let new = case.store.open(&path("k")).unwrap().unwrap();
        case.delete(&path("k"));
        (0..20).for_each(|n| case.put(&path(&format!("other{n}")), &vec![b'x'; size / 8]));
        assert!(case.bytes_still(&*open).is_none_or(|bytes| bytes == old), "of {size} bytes");
        assert!(case.bytes_still(&*new).is_none_or(|bytes| bytes == vec![b'n'; size + 1]));
        assert!(case.store.open(&path("k")).unwrap().is_none());
    }
}

pub fn versions_differ_where_values_do(case: &Case) {
    let version = |value: &[u8]| {
        case.put(&path("k"), value);
        case.store.open(&path("k")).unwrap().unwrap().version().unwrap()
    };
    let versions = [version(b""), version(b"a"), version(b"b"), version(b"aa")];
    for (n, one) in versions.iter().enumerate() {
        assert!(versions[..n].iter().all(|other| other != one));
    }
    let open = case.store.open(&path("k")).unwrap().unwrap();
    assert_eq!(open.version().unwrap(), versions[3]);
    case.put(&path("k"), b"else");
    assert_eq!(open.version().unwrap(), versions[3], "an open value keeps its version");
}

/// §3.2, with a payload that lies in a file.
pub fn a_large_value_is_one_version_in_any_order(case: &Case) {
    let bytes: Vec<u8> = (0..5u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let body = Payload::of(&bytes).unwrap();
    assert!(body.as_slice().is_none(), "the payload was to lie in a file");
    let large = path("large");
    case.store.apply(&mut [Change::Put { key: &large, body: &body, when: When::Always }]).unwrap();
    let value = case.store.open(&large).unwrap().unwrap();
    // A service tells instead that the version has gone.
    if !case.loses_versions() {
        case.put(&large, b"small");
    }
    for start in (0..bytes.len()).rev().step_by(700_001) {
        let mut read = Vec::new();
        value.read(start as u64, 1 << 20, &mut |piece| read.extend_from_slice(piece)).unwrap();
        assert!(read == bytes[start..bytes.len().min(start + (1 << 20))], "from {start}");
    }
    case.put(&large, b"small");
    assert!(case.bytes_still(&*value).is_none_or(|still| still == bytes), "a mixture");
}

/// §4.8.
pub fn a_value_over_the_limit_is_refused_before_it_is_read(case: &Case) {
    let limit = case.caps().value_max;
    let mut body = Payload::new();
    if failure(body.resize(limit + 1)) == Some(ErrorKind::TooBig) {
        // No file of this machine is that long either.
        return;
    }
    let key = path("k");
    let put = Change::Put { key: &key, body: &body, when: When::Always };
    assert_eq!(failure(case.store.apply(&mut [put])), Some(ErrorKind::TooBig));
    assert_eq!(case.kind(&key), None);
}

pub fn nasty_keys_are_kept_as_they_are(case: &Case) {
    let nasty: [&[u8]; 14] = [
        b"%",
        b".",
        b"..",
        b"\0",
        b"\xFF",
        b"\xFF\xFF",
        b"\n",
        b"%2F",
        b"%empty",
        b"%value",
        b"a\0b",
        b" ",
        b"\x80",
        "\u{1F5DD}".as_bytes(),
    ];
    // Servers of buckets differ in which control characters they can list; `tests/buckets` knows what each one does.
    let possible = |name: &&&[u8]| !case.is_bucket() || !name.iter().any(u8::is_ascii_control);
    let keys = case.possible(
        nasty
            .iter()
            .filter(possible)
            .flat_map(|name| [key([name]), key([b"dir", name]), key([b"dir", name, b"x"])]),
    );
    for key in &keys {
        case.put(key, format!("{key:?}").as_bytes());
    }
    let walked = case.walk();
    assert_eq!(walked.len(), keys.len());
    for key in &keys {
        assert_eq!(walked[key], format!("{key:?}").into_bytes());
    }
}

/// §1.9.
pub fn a_key_over_the_limit_is_refused_and_absent(case: &Case) {
    let longest = case.caps().key_max as usize;
    let fits = long_key(case, longest);
    case.put(&fits, b"v");
    assert_eq!(case.value(&fits).unwrap(), b"v");
    assert_eq!(case.names(&fits), Vec::<Vec<u8>>::new());
    let over = long_key(case, longest + 1);
    assert_eq!(failure(case.try_put(&over, b"v", When::Always)), Some(ErrorKind::NameTooLong));
    assert_eq!(case.kind(&over), None);
    assert_eq!(case.value(&over), None);
    assert_eq!(case.names(&over), Vec::<Vec<u8>>::new());
    case.delete(&over);
    case.put(&path("short/inside"), b"v");
    if case.caps().folders {
        // A directory moves with all that is in it, however deep.
        return;
    }
    let tree = key([&vec![b'k'; longest - 3]]);
    let renamed = case.rename(&path("short"), &tree, true, false);
    assert_eq!(failure(renamed), Some(ErrorKind::NameTooLong));
    assert_eq!(case.value(&path("short/inside")).unwrap(), b"v");
}

pub fn types_that_the_store_has_not_are_refused_and_absent(case: &Case) {
    let typed = path("a").child(Segment { bytes: b"b", word: Word::MetadataJson });
    let refused = failure(case.try_put(&typed, b"v", When::Always));
    assert!(matches!(refused, Some(ErrorKind::Invalid | ErrorKind::NotPermitted)), "{refused:?}");
    assert_eq!(case.kind(&typed), None);
    assert!(case.entries(&typed).is_empty());
    assert!(case.walk().is_empty());
}

/// Every value is one character, repeated: whoever sees two has seen a mixture.
pub fn readers_beside_writers_see_whole_values(case: &Case) {
    case.put(&path("k"), b"0");
    // Each writer holds one, and lets go of it however it ends.
    let writing = Arc::new(());
    let still = Arc::downgrade(&writing);
    std::thread::scope(|scope| {
        for first in [b'a', b'A'] {
            let held = Arc::clone(&writing);
            scope.spawn(move || {
                let _held = held;
                for n in 0..100u32 {
                    case.put(&path("k"), &vec![first + (n % 26) as u8; 1 + (n as usize * 997) % 20_000]);
                }
            });
        }
        drop(writing);
        for _ in 0..2 {
            scope.spawn(|| {
                while still.strong_count() > 0 {
                    let bytes = case.value(&path("k")).unwrap();
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture");
                }
            });
        }
    });
}

/// §5.5, to the coarsest clock that files have here.
pub fn a_value_is_as_new_as_its_last_change(case: &Case) {
    let coarsest = if case.is_bucket() { Duration::from_secs(1) } else { Duration::from_millis(20) };
    let before: SystemTime = env::now() - coarsest;
    case.put(&path("a/b"), b"v");
    let value = case.store.stat(&path("a/b")).unwrap().unwrap();
    assert!(value.modified >= before, "{:?} < {before:?}", value.modified);
}
