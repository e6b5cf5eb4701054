//! The promises about names (§1 of `src/SEMANTICS.md`) that need no mount, each by the examples it gives; `names.rs`
//! tries them on all there is, `conformance` and `mount` the others.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use kvfs::error::ErrorKind;
use kvfs::key::{Key, Segment, Word};
use kvfs::name::{self, WORDS};
use kvfs::payload::Payload;
use kvfs::store::api::{Change, Kind, Store, When};
use kvfs::store::driver;
use kvfs::store::driver::Opening;
use kvfs::store::flat::Separator;

fn name_of(segment: &[u8]) -> String {
    name::encode(Segment::plain(segment)).escape_ascii().to_string()
}

fn key<const N: usize>(segments: [&[u8]; N]) -> Key {
    Key::of(segments)
}

/// An empty `memory` store whose keys are split at `separator`.
fn memory(separator: Option<&[u8]>) -> Arc<dyn Store> {
    let opening = Opening { separator: separator.map(<[u8]>::to_vec), ..Opening::default() };
    (driver("memory").unwrap().open)(&opening).unwrap()
}

fn put(store: &dyn Store, key: &Key, value: &[u8]) -> Option<ErrorKind> {
    let body = Payload::of(value).unwrap();
    let put = Change::Put { key, body: &body, when: When::Always };
    store.apply(&mut [put]).err().map(|error| error.kind())
}

#[test]
fn promise_1_1_a_key_is_split_at_the_separator() {
    let slash = Separator::new(Some(b"/".to_vec()));
    assert_eq!(slash.split(b"a/b:c"), key([b"a", b"b:c"]));
    let colon = Separator::new(Some(b":".to_vec()));
    assert_eq!(colon.split(b"user:1/x"), key([b"user", b"1/x"]));
    assert_eq!(Separator::new(None).split(b"a/b:c"), key([b"a/b:c"]));
    let whole = memory(None);
    assert_eq!(put(&*whole, &key([b"a/b"]), b"v"), None);
    assert_eq!(whole.stat(&key([b"a/b"])).unwrap().unwrap().kind, Kind::Leaf);
    assert_eq!(put(&*whole, &key([b"a", b"b"]), b"v"), Some(ErrorKind::Invalid));
}

#[test]
fn promise_1_2_a_name_that_no_segment_encodes_to_is_none() {
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "a\0",
        "%value",
        "%more",
        "a%more",
        "a%value",
        "a%empty",
        "%hash",
        "a%raw",
        "%.json",
        "a%hash%list",
        "%2E%252E",
        "%252E%2E",
        ".%hash",
        "%empty%empty",
    ] {
        let read = name::decode(name.as_bytes());
        let plain = name == "%.json";
        assert_eq!(read.is_some(), plain, "{name:?}: {read:?}");
    }
}

#[test]
fn promise_1_3_what_the_kernel_carries_stays() {
    let longest = "x".repeat(255);
    for segment in
        [" ", "a b", "\n", "\u{1}", "\u{9375}\u{5024}", ".hidden", "...", "-", "~", "*", "\\", &longest]
    {
        assert_eq!(*name::encode(Segment::plain(segment.as_bytes())), *segment.as_bytes());
    }
    assert_eq!(*name::encode(Segment::plain(b"\xFF\x80")), *b"\xFF\x80");
}

#[test]
fn promise_1_4_what_the_kernel_cannot_carry_is_spelled() {
    assert_eq!(name_of(b"a\0b"), "a%00b");
    assert_eq!(name_of(b"a/b"), "a%2Fb");
    assert_eq!(name_of(b"."), "%2E");
    assert_eq!(name_of(b".."), "%2E%2E");
    assert_eq!(name_of(b""), "%empty");
    assert_eq!(name::path(&Separator::new(Some(b"/".to_vec())).split(b"a//b")), b"a/%empty/b");
    assert_eq!(name::path(&Separator::new(Some(b"/".to_vec())).split(b"")), b"%empty");
}

#[test]
fn promise_1_5_a_percent_sign_is_escaped_exactly_where_it_would_be_misread() {
    for stays in
        ["100%", "50%off", "a%25b", "%2f", "%2Ex", "x%2E", "%foo", "%hash!", "%hashes", "%HASH", "%", "%%"]
    {
        assert_eq!(name_of(stays.as_bytes()), stays);
    }
    for (segment, name) in [
        ("%00", "%2500"),
        ("a%2Fb", "a%252Fb"),
        ("%2500", "%252500"),
        ("a%hash", "a%25hash"),
        ("a%25hash", "a%2525hash"),
        ("%hash.json", "%25hash.json"),
        ("%empty", "%25empty"),
        ("%2E", "%252E"),
        ("%252E", "%25252E"),
        ("%2E%2E", "%252E%252E"),
        ("%252E%2E", "%25252E%252E"),
    ] {
        assert_eq!(name_of(segment.as_bytes()), name);
        assert_eq!(name::decode(name.as_bytes()).unwrap(), (segment.as_bytes().into(), Word::None));
    }
}

/// The list is frozen: a word more would rename keys, a word less would lose them.
#[test]
fn promise_1_6_the_reserved_words_are_these() {
    let mut words: Vec<_> = WORDS.iter().map(|(word, _)| std::str::from_utf8(word).unwrap()).collect();
    words.sort();
    assert_eq!(
        words,
        [
            "add",
            "array",
            "db",
            "empty",
            "hash",
            "hash.json",
            "header.json",
            "json",
            "kvfs",
            "list",
            "list.json",
            "metadata.json",
            "more",
            "push",
            "raw",
            "set",
            "set.json",
            "stream",
            "stream.json",
            "value",
            "zset",
            "zset.json",
        ]
    );
    for word in words {
        assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.'), "{word}");
        assert!(word.strip_suffix(".json").unwrap_or(word).bytes().all(|byte| byte != b'.'), "{word}");
    }
    let typed = |bytes| name::encode(Segment { bytes, word: Word::HashJson });
    assert_eq!(*typed(b"user:1"), *b"user:1%hash.json");
    assert_eq!(*typed(b"a%hash"), *b"a%25hash%hash.json");
    assert_eq!(*typed(b""), *b"%empty%hash.json");
}

#[test]
fn promise_1_7_a_value_with_keys_below_it_is_a_directory_with_a_value() {
    let store = memory(Some(b"/"));
    assert_eq!(put(&*store, &key([b"a"]), b"own"), None);
    assert_eq!(put(&*store, &key([b"a", b"b"]), b"below"), None);
    assert_eq!(store.stat(&key([b"a"])).unwrap().unwrap().kind, Kind::Both);
    assert_eq!(name::key(b"a/%value"), Some(key([b"a"])));
    assert_eq!(name_of(b"%value"), "%25value", "a key of that name is another file");
}

#[test]
fn promise_1_8_a_name_over_255_bytes_becomes_directories() {
    let long = [b'x'; 600];
    let pieces: Vec<_> = name::pieces(&long).map(|piece| piece.len()).collect();
    assert_eq!(pieces, [245, 245, 120]);
    let path = name::path(&key([b"dir", &long, b"below"]));
    assert!(path.starts_with(b"dir/xxx") && path.ends_with(b"xxx/below"));
    assert_eq!(name::key(&path), Some(key([b"dir", &long, b"below"])));
    assert_eq!(name::pieces(&[b'x'; 255]).count(), 1);
    // A byte that becomes three counts as three.
    assert_eq!(name::pieces(&name::encode(Segment::plain(&[0; 86]))).count(), 2);
}

#[test]
fn promise_1_9_a_key_that_the_store_cannot_hold_is_refused_and_absent() {
    let store = memory(Some(b"/"));
    let over = key([&vec![b'x'; store.caps().key_max as usize + 1]]);
    assert_eq!(put(&*store, &over, b"v"), Some(ErrorKind::NameTooLong));
    assert_eq!(store.stat(&over).unwrap(), None);
}

#[test]
fn promise_1_10_keys_and_paths_are_translated_without_a_mount() {
    let separator = Separator::new(Some(b":".to_vec()));
    for (flat, path) in [
        (&b"user:1"[..], &b"user/1"[..]),
        (b"a::b", b"a/%empty/b"),
        (b"http://x", b"http/%2F%2Fx"),
        (b"a/b:\0", b"a%2Fb/%00"),
        (b".:..", b"%2E/%2E%2E"),
    ] {
        let key = separator.split(flat);
        assert_eq!(name::path(&key).escape_ascii().to_string(), path.escape_ascii().to_string());
        assert_eq!(separator.join(&name::key(path).unwrap()).unwrap(), flat);
    }
}
