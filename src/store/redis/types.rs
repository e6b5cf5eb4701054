//! The types that values of a server have, and how each shows as files (§7.1).

use redis::Value;

use crate::key::Word;

/// What is kept under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Type {
    /// One file.
    String,
    /// `key%hash/`: a file for each field.
    Hash,
    /// `key%list/`: a file for each element, by its index.
    List,
    /// `key%set/`: an empty file for each member.
    Set,
    /// `key%zset/`: a file for each member, with its score.
    Zset,
    /// `key%stream/`: a file for each entry, by its id.
    Stream,
    /// Of a module: one file, its `DUMP`, that cannot be written.
    Other,
}

/// The types that show as directories, each with the word that ends the name, and the word of the one file that has all
/// of it.
const COLLECTIONS: &[(Type, Word, Word)] = &[
    (Type::Hash, Word::Hash, Word::HashJson),
    (Type::List, Word::List, Word::ListJson),
    (Type::Set, Word::Set, Word::SetJson),
    (Type::Zset, Word::Zset, Word::ZsetJson),
    (Type::Stream, Word::Stream, Word::StreamJson),
];

impl Type {
    /// What `TYPE` answers; `None` where there is nothing.
    pub(super) fn of_reply(reply: &Value) -> Option<Type> {
        let name = match reply {
            Value::SimpleString(name) => name.as_bytes(),
            Value::BulkString(name) => name,
            _ => return None,
        };
        Some(match name {
            b"none" => return None,
            b"string" => Type::String,
            b"hash" => Type::Hash,
            b"list" => Type::List,
            b"set" => Type::Set,
            b"zset" => Type::Zset,
            b"stream" => Type::Stream,
            _ => Type::Other,
        })
    }

    /// The type whose directories end in this word.
    pub(super) fn of_directory(word: Word) -> Option<Type> {
        COLLECTIONS.iter().find(|(_, directory, _)| *directory == word).map(|(kind, ..)| *kind)
    }

    /// The type that shows as one file with this word.
    pub(super) fn of_whole(word: Word) -> Option<Type> {
        COLLECTIONS.iter().find(|(_, _, whole)| *whole == word).map(|(kind, ..)| *kind)
    }

    /// The word that ends the name of its directory; none where it shows as a file.
    pub(super) fn word(self) -> Word {
        COLLECTIONS.iter().find(|(kind, ..)| *kind == self).map_or(Word::None, |(_, word, _)| *word)
    }

    /// One type of each kind of names.
    pub(super) fn all() -> impl Iterator<Item = Type> {
        COLLECTIONS.iter().map(|(kind, ..)| *kind).chain([Type::String])
    }

    /// Whether it shows as a directory.
    pub(super) fn is_collection(self) -> bool {
        COLLECTIONS.iter().any(|(kind, ..)| *kind == self)
    }
}
