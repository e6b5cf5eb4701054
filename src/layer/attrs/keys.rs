//! The keys of the sidecar:
//!
//! | key | value |
//! |---|---|
//! | `a` path | the [`super::record::Record`] of the value's file |
//! | `d` path | that of the directory |
//! | `n` path of the parent, NUL, name | what exists here alone: a [`super::record::Name`] |
//! | `m` | [`super::origin::Origin`] |
//! | `e` | [`super::origin::Age`] |
//! | `i` | [`super::renaming::Intent`] |
//!
//! A path is the encoded names of the segments, joined by `/`: these hold neither `/` nor NUL, and the root's has no
//! bytes. A name is raw bytes, so that the names of a directory lie together in the order of their bytes.

use crate::key::{Key, Segment, Word};
use crate::name;

/// The key of [`super::origin::Origin`].
pub(super) const ORIGIN: &[u8] = b"m";
/// The key of [`super::origin::Age`].
pub(super) const AGE: &[u8] = b"e";
/// The key of [`super::renaming::Intent`].
pub(super) const INTENT: &[u8] = b"i";

/// A key of the sidecar before it is cut.
pub(in crate::layer) type Whole = Vec<u8>;

fn path_into(bytes: &mut Vec<u8>, key: &Key) {
    for (index, segment) in key.segments().enumerate() {
        if index > 0 {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&name::encode(segment));
    }
}

/// The path of a key.
pub(super) fn path_of(key: &Key) -> Vec<u8> {
    let mut path = Vec::new();
    path_into(&mut path, key);
    path
}

/// The key with this path; `None` where it is none.
pub(in crate::layer) fn key_of(path: &[u8]) -> Option<Key> {
    let mut key = Key::root();
    for encoded in path.split(|byte| *byte == b'/').filter(|_| !path.is_empty()) {
        let (bytes, word) = name::decode(encoded)?;
        key.push(Segment { bytes: &bytes, word });
    }
    Some(key)
}

/// The key of the record of the value's file, or of the directory.
pub(in crate::layer) fn record_key(key: &Key, directory: bool) -> Whole {
    let mut whole = vec![if directory { b'd' } else { b'a' }];
    path_into(&mut whole, key);
    whole
}

/// What the keys of the names directly in `directory` start with.
pub(super) fn names_in(directory: &Key) -> Whole {
    let mut whole = vec![b'n'];
    path_into(&mut whole, directory);
    whole.push(0);
    whole
}

/// The key of a name; `None` for the root, and for a type that has no name here.
pub(super) fn name_key(key: &Key) -> Option<Whole> {
    let last = key.last().filter(|last| last.word == Word::None)?;
    let mut whole = names_in(&key.parent()?);
    whole.extend_from_slice(last.bytes);
    Some(whole)
}

/// What the keys of all that is kept below `key` start with; nothing for the root, which never moves.
pub(super) fn all_below(key: &Key) -> [Whole; 4] {
    let path = |letter: u8, end: u8| {
        let mut whole = vec![letter];
        path_into(&mut whole, key);
        whole.push(end);
        whole
    };
    [path(b'a', b'/'), path(b'd', b'/'), path(b'n', 0), path(b'n', b'/')]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_key_has_its_prefix_and_nothing_else_has() {
        let key = Key::of([&b"a"[..], b"b"]);
        let starts = |whole: &Whole| all_below(&key).iter().any(|prefix| whole.starts_with(prefix));
        let below = key.child(Segment::plain(b"x/\0y"));
        assert!(starts(&record_key(&below, false)) && starts(&record_key(&below, true)));
        assert!(starts(&name_key(&below).unwrap()));
        assert!(starts(&name_key(&below.child(Segment::plain(b""))).unwrap()));
        let beside = Key::of([&b"a"[..], b"b!"]);
        for other in [key.clone(), beside.clone(), beside.child(Segment::plain(b"x"))] {
            assert!(!starts(&record_key(&other, false)) && !starts(&name_key(&other).unwrap()));
        }
        assert_eq!(name_key(&Key::root()), None);
    }
}
