//! Where a key of the tree is in the server: under which key, and what of its value.
//!
//! | in the tree | in the server, with the separator `:` |
//! |---|---|
//! | `user/1` | the string `user:1` |
//! | `user/1%hash` | the hash `user:1` |
//! | `user/1%hash/name` | its field `name` |
//! | `user/1%hash.json` | all of it, as one file |

use super::types::Type;
use crate::key::{Key, Segment, Word};
use crate::store::flat::Separator;

/// What a key of the tree stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<'k> {
    /// A key whose value is one file, and the directory of the keys below it.
    Plain(Vec<u8>),
    /// The directory of a collection.
    Collection(Vec<u8>, Type),
    /// One part of a collection.
    Element(Vec<u8>, Type, Segment<'k>),
    /// All of a collection, as one file.
    Whole(Vec<u8>, Type),
    /// Nothing can be there.
    Nowhere,
}

impl<'k> Place<'k> {
    /// Where `key` is, which is not the root.
    pub(super) fn of(separator: &Separator, key: &'k Key) -> Place<'k> {
        let typed = key.segments().position(|segment| segment.word != Word::None);
        let Some(at) = typed else { return separator.join(key).map_or(Place::Nowhere, Place::Plain) };
        let word = key.segment(at).map_or(Word::None, |segment| segment.word);
        let mut path = Key::root();
        for segment in key.segments().take(at + 1) {
            path.push(Segment::plain(segment.bytes));
        }
        let Some(flat) = separator.join(&path) else { return Place::Nowhere };
        match (Type::of_directory(word), Type::of_whole(word), key.len() - at) {
            (Some(kind), _, 1) => Place::Collection(flat, kind),
            (Some(kind), _, 2) => key.last().map_or(Place::Nowhere, |last| Place::Element(flat, kind, last)),
            (_, Some(kind), 1) => Place::Whole(flat, kind),
            _ => Place::Nowhere,
        }
    }

    /// The server's key.
    pub(super) fn flat(&self) -> Option<&[u8]> {
        match self {
            Place::Plain(flat)
            | Place::Collection(flat, _)
            | Place::Element(flat, ..)
            | Place::Whole(flat, _) => Some(flat),
            Place::Nowhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    fn place(path: &str) -> (Key, Separator) {
        let mut key = Key::root();
        for piece in path.split('/') {
            let (bytes, word) = name::decode(piece.as_bytes()).unwrap();
            key.push(Segment { bytes: &bytes, word });
        }
        (key, Separator::new(Some(b":".to_vec())))
    }

    #[test]
    fn promise_7_1_a_suffix_makes_two_files_of_a_field_and_a_key_of_the_same_name() {
        let of = |path: &str| {
            let (key, separator) = place(path);
            format!("{:?}", Place::of(&separator, &key))
        };
        let bytes = |text: &str| format!("{:?}", text.as_bytes());
        assert_eq!(of("user/1"), format!("Plain({})", bytes("user:1")));
        assert_eq!(of("user/1/name"), format!("Plain({})", bytes("user:1:name")));
        assert_eq!(of("user/1%hash"), format!("Collection({}, Hash)", bytes("user:1")));
        assert_eq!(of("user/1%hash/name"), format!("Element({}, Hash, \"name\")", bytes("user:1")));
        assert_eq!(of("user/1%list/%push"), format!("Element({}, List, \"\"%Push)", bytes("user:1")));
        assert_eq!(of("user/1%zset.json"), format!("Whole({}, Zset)", bytes("user:1")));
        for nothing in ["a%hash/b/c", "a%hash.json/b", "a%db", "a%hash/b%hash/c"] {
            assert_eq!(of(nothing), "Nowhere", "{nothing}");
        }
    }
}
