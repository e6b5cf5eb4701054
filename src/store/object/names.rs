//! Keys of a bucket and the tree that they make, below the prefix that is mounted.

use super::bucket::Abilities;
use super::folder_markers::SUFFIX;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::store::flat::Separator;

/// How the keys of one mount are written in its bucket: UTF-8, after a prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Every key begins with it; it ends with the separator, or is empty.
    prefix: String,
    separator: Separator,
    /// The longest key, prefix included, in bytes.
    key_max: usize,
    /// [`Abilities::refuses`].
    refuses: fn(&str) -> Option<&'static str>,
}

impl Names {
    /// Below `prefix`, which is a directory: the separator is added to its end where it lacks one.
    pub(super) fn new(prefix: &str, separator: Option<Vec<u8>>, abilities: &Abilities) -> Names {
        let separator = Separator::new(separator);
        let mut prefix = prefix.to_owned();
        if let Ok(text) = str::from_utf8(separator.as_bytes())
            && !prefix.is_empty()
            && !prefix.ends_with(text)
        {
            prefix.push_str(text);
        }
        let (key_max, refuses) = (abilities.key_max as usize, abilities.refuses);
        Names { prefix, separator, key_max, refuses }
    }

    /// What splits keys.
    pub(super) fn separator(&self) -> &Separator {
        &self.separator
    }

    /// The longest key, prefix included, in bytes.
    pub(super) fn key_max(&self) -> usize {
        self.key_max
    }

    /// The same as services want it: `None` where keys are not split.
    pub(super) fn delimiter(&self) -> Option<&str> {
        str::from_utf8(self.separator.as_bytes()).ok().filter(|text| !text.is_empty())
    }

    /// The bucket's key of `key`, where there can be one.
    pub(super) fn existing(&self, key: &Key) -> Option<String> {
        self.with_prefix(self.separator.join(key)?)
    }

    /// What the keys of all that lies below `key` begin with, where something can be there: also the key of its marker.
    pub(super) fn below(&self, key: &Key) -> Option<String> {
        if key.is_root() {
            return Some(self.prefix.clone());
        }
        self.with_prefix(self.separator.below(key)?)
    }

    /// The key under which `key` will be made.
    ///
    /// # Errors
    /// `Invalid`, `NameEncoding`, `NameTooLong`.
    pub(super) fn fitting(&self, key: &Key) -> Result<String> {
        let flat = self.separator.join(key).ok_or_else(|| impossible(key))?;
        self.fitting_raw(key, &flat)
    }

    /// The key under which the marker of the directory `key` will be made.
    ///
    /// # Errors
    /// As for [`Names::fitting`].
    pub(super) fn fitting_marker(&self, key: &Key) -> Result<String> {
        let flat = self.separator.below(key).ok_or_else(|| impossible(key))?;
        self.fitting_raw(key, &flat)
    }

    /// The key of Hadoop's marker of the directory `key`, where there can be one.
    pub(super) fn folder_marker(&self, key: &Key) -> Option<String> {
        self.existing(&self.beside(key)?)
    }

    /// The key under which Hadoop's marker of the directory `key` will be made.
    ///
    /// # Errors
    /// As for [`Names::fitting`].
    pub(super) fn fitting_folder_marker(&self, key: &Key) -> Result<String> {
        self.fitting(&self.beside(key).ok_or_else(|| impossible(key))?)
    }

    /// The name beside `key` that Hadoop's marker has. Without bytes before it, or where keys are not split, it is a file like
    /// others.
    fn beside(&self, key: &Key) -> Option<Key> {
        self.delimiter()?;
        let last = key.last().filter(|last| !last.bytes.is_empty() && last.word == Word::None)?;
        let name = [last.bytes, SUFFIX.as_bytes()].concat();
        Some(key.parent()?.child(Segment::plain(&name)))
    }

    fn fitting_raw(&self, key: &Key, flat: &[u8]) -> Result<String> {
        let text = str::from_utf8(flat).map_err(|_| {
            let sentence = format!("{key:?} is not UTF-8, which keys of buckets are");
            Error::new(ErrorKind::NameEncoding, sentence)
        })?;
        let length = self.prefix.len() + text.len();
        if length > self.key_max {
            let most = self.key_max;
            let sentence = format!("a key of {length} bytes: a bucket's has at most {most}");
            return Err(Error::new(ErrorKind::NameTooLong, sentence));
        }
        if length == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a bucket has no key without bytes"));
        }
        let raw = self.prefix.clone() + text;
        match (self.refuses)(&raw) {
            Some(why) => Err(Error::new(ErrorKind::NameEncoding, format!("{raw:?}: {why}"))),
            None => Ok(raw),
        }
    }

    fn with_prefix(&self, flat: Vec<u8>) -> Option<String> {
        let text = String::from_utf8(flat).ok()?;
        let raw = self.prefix.clone() + &text;
        let possible = !raw.is_empty() && raw.len() <= self.key_max && (self.refuses)(&raw).is_none();
        possible.then_some(raw)
    }
}

fn impossible(key: &Key) -> Error {
    let why = if key.is_root() {
        "the root has no value"
    } else if key.segments().any(|segment| segment.word != Word::None) {
        "a bucket has no types"
    } else {
        "no key of this mount is split into these names"
    };
    Error::new(ErrorKind::Invalid, format!("{key:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_behind_the_prefix_and_must_be_text() {
        let abilities =
            |refuses| Abilities { key_max: 12, refuses, ..super::super::upload::tests::abilities() };
        let names = Names::new("p", Some(b"/".to_vec()), &abilities(|_| None));
        let key = |segments: &[&[u8]]| Key::of(segments.iter().copied());
        assert_eq!(names.existing(&key(&[b"a", b"b"])).as_deref(), Some("p/a/b"));
        assert_eq!(names.existing(&key(&[b""])).as_deref(), Some("p/"));
        assert_eq!(names.below(&Key::root()).as_deref(), Some("p/"));
        assert_eq!(names.below(&key(&[b"a"])).as_deref(), Some("p/a/"));
        assert_eq!(names.existing(&key(&[b"\xff"])), None);
        assert_eq!(names.fitting(&key(&[b"\xff"])).unwrap_err().kind(), ErrorKind::NameEncoding);
        assert_eq!(names.fitting(&key(&[b"0123456789"])).unwrap(), "p/0123456789");
        assert_eq!(names.fitting(&key(&[b"0123456789a"])).unwrap_err().kind(), ErrorKind::NameTooLong);
        let strict =
            Names::new("", Some(b"/".to_vec()), &abilities(|key| key.contains('\\').then_some("it has one")));
        assert_eq!(strict.existing(&key(&[b"a\\b"])), None);
        assert_eq!(strict.fitting(&key(&[b"a\\b"])).unwrap_err().kind(), ErrorKind::NameEncoding);
        assert_eq!(names.folder_marker(&key(&[b"a"])).as_deref(), Some("p/a_$folder$"));
        assert_eq!(names.folder_marker(&key(&[b"a", b""])), None);
        assert_eq!(names.folder_marker(&key(&[b"ab"])), None);
        let too_long = names.fitting_folder_marker(&key(&[b"ab"]));
        assert_eq!(too_long.unwrap_err().kind(), ErrorKind::NameTooLong);
        let refused = strict.fitting_folder_marker(&key(&[b"a\\b"]));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NameEncoding);
        // Where the separator is in it, it is cut.
        let cut = Names::new("", Some(b"$".to_vec()), &abilities(|_| None));
        assert_eq!(cut.folder_marker(&key(&[b"a"])), None);
        let whole = Names::new("", None, &abilities(|_| None));
        assert_eq!(whole.folder_marker(&key(&[b"a"])), None);
        assert_eq!(whole.existing(&key(&[b"a/b"])).as_deref(), Some("a/b"));
        assert_eq!(whole.existing(&key(&[b""])), None);
        assert_eq!(whole.fitting(&key(&[b""])).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
