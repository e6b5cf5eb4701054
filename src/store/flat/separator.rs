//! The separator: how a flat key is cut into segments, and segments joined to a flat key (§1.1).

use crate::key::{Key, Segment, Word};

/// What splits flat keys into segments: a byte string, or nothing, and then every key is one segment.
///
/// A key is cut at each separator from the left. With a separator of several bytes that can overlap itself, some
/// segments cannot be joined and cut again (`a:` and `b` at `::`); there is no flat key for these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separator {
    bytes: Vec<u8>,
}

impl Separator {
    /// This separator; an empty one is none.
    pub fn new(bytes: Option<Vec<u8>>) -> Separator {
        Separator { bytes: bytes.unwrap_or_default() }
    }

    /// Whether keys are cut at all.
    pub fn is_some(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The separator's own bytes; none where keys are not cut.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the first separator in `bytes` begins.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        match self.bytes.as_slice() {
            [] => None,
            [byte] => bytes.iter().position(|b| b == byte),
            several => bytes.windows(several.len()).position(|window| window == several),
        }
    }

    /// Whether something can lie below the segment `name`: it and the separator are cut where they were joined.
    pub fn fits_after(&self, name: &[u8]) -> bool {
        match self.bytes.len() {
            0 => false,
            1 => true,
            _ => self.find(&[name, &self.bytes].concat()) == Some(name.len()),
        }
    }

    /// The flat key of `key`; `None` where none is cut into these segments (the root, a segment that contains the
    /// separator or carries a word, several segments where keys are not cut).
    pub fn join(&self, key: &Key) -> Option<Vec<u8>> {
        if key.is_root() || (key.len() > 1 && !self.is_some()) {
            return None;
        }
        let mut flat = Vec::new();
        for (index, segment) in key.segments().enumerate() {
            if index > 0 {
                flat.extend_from_slice(&self.bytes);
            }
            let cut = self.find(segment.bytes).is_some()
                || (index + 1 < key.len() && !self.fits_after(segment.bytes));
            if cut || segment.word != Word::None {
                return None;
            }
            flat.extend_from_slice(segment.bytes);
        }
        Some(flat)
    }

    /// What the flat keys of all that lies below `key` start with: the marker's flat key, nothing for the root.
    /// `None` where nothing can lie below.
    pub fn below(&self, key: &Key) -> Option<Vec<u8>> {
        let Some(last) = key.last() else { return Some(Vec::new()) };
        let mut flat = self.join(key)?;
        if !self.fits_after(last.bytes) {
            return None;
        }
        flat.extend_from_slice(&self.bytes);
        Some(flat)
    }

    /// The segments of a flat key.
    pub fn split(&self, flat: &[u8]) -> Key {
        let mut key = Key::root();
        let mut rest = flat;
        while let Some(at) = self.find(rest) {
            key.push(Segment::plain(&rest[..at]));
            rest = &rest[at + self.bytes.len()..];
        }
        key.push(Segment::plain(rest));
        key
    }
}

/// The first byte string after all that start with `prefix`; `None` where there is none after them.
pub fn after_all_with(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut after = prefix[..=kept].to_vec();
    after[kept] += 1;
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slash() -> Separator {
        Separator::new(Some(b"/".to_vec()))
    }

    #[test]
    fn every_flat_key_is_split_and_joined_again() {
        for separator in [slash(), Separator::new(Some(b"::".to_vec())), Separator::new(None)] {
            for flat in ["", "a", "a/", "/", "/a", "a//b", "::", ":::", "a:::b", "a::", "a:::::"] {
                let key = separator.split(flat.as_bytes());
                assert_eq!(separator.join(&key).as_deref(), Some(flat.as_bytes()), "{separator:?}");
            }
        }
    }

    #[test]
    fn segments_that_would_be_cut_elsewhere_have_no_flat_key() {
        let double = Separator::new(Some(b"::".to_vec()));
        assert_eq!(double.join(&Key::of([&b"a:"[..], b"b"])), None);
        assert_eq!(double.join(&Key::of([&b"a"[..], b":b"])).unwrap(), b"a:::b");
        assert_eq!(slash().join(&Key::of([&b"a/b"[..]])), None);
        assert_eq!(slash().join(&Key::root()), None);
        assert_eq!(Separator::new(None).join(&Key::of([&b"a"[..], b"b"])), None);
    }

    #[test]
    fn the_marker_is_the_key_with_an_empty_last_segment() {
        let key = Key::of([&b"a"[..]]);
        assert_eq!(slash().below(&key), slash().join(&key.child(Segment::plain(b""))));
        assert_eq!(slash().below(&Key::root()).unwrap(), b"");
    }

    #[test]
    fn what_comes_after_a_prefix_carries_over_full_bytes() {
        assert_eq!(after_all_with(b"a/").unwrap(), b"a0");
        assert_eq!(after_all_with(b"a\xFF\xFF").unwrap(), b"b");
        assert_eq!(after_all_with(b"\xFF"), None);
        assert_eq!(after_all_with(b""), None);
    }
}
