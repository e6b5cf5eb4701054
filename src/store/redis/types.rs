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
    /// Of the JSON modules of Redis and Valkey: one file, `key%json`.
    Json,
    /// Of another module: one file, its `DUMP`, that cannot be written.
    Other,
}

/// The types whose names have a word behind them: that which is listed, and that of the one file that has all of it. Where
/// these are the same, there is only the file.
const NAMED: &[(Type, Word, Word)] = &[
    (Type::Hash, Word::Hash, Word::HashJson),
    (Type::List, Word::List, Word::ListJson),
    (Type::Set, Word::Set, Word::SetJson),
    (Type::Zset, Word::Zset, Word::ZsetJson),
    (Type::Stream, Word::Stream, Word::StreamJson),
    (Type::Json, Word::Json, Word::Json),
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
            b"ReJSON-RL" => Type::Json,
            _ => Type::Other,
        })
    }

    /// The type whose directories end in this word.
    pub(super) fn of_directory(word: Word) -> Option<Type> {
        NAMED.iter().find(|(_, listed, whole)| *listed == word && listed != whole).map(|(kind, ..)| *kind)
    }

    /// The type that shows as one file with this word.
    pub(super) fn of_whole(word: Word) -> Option<Type> {
        NAMED.iter().find(|(_, _, whole)| *whole == word).map(|(kind, ..)| *kind)
    }

    fn named(self) -> Option<(Word, Word)> {
        NAMED.iter().find(|(kind, ..)| *kind == self).map(|(_, listed, whole)| (*listed, *whole))
    }

    /// The word that ends the name that is listed; none where that is the key's.
    pub(super) fn word(self) -> Word {
        self.named().map_or(Word::None, |(listed, _)| listed)
    }

    /// One type of each kind of names.
    pub(super) fn all() -> impl Iterator<Item = Type> {
        NAMED.iter().map(|(kind, ..)| *kind).chain([Type::String])
    }

    /// Whether its name has a word, so that another key's file can have the name without.
    pub(super) fn has_word(self) -> bool {
        self.named().is_some()
    }

    /// Whether it shows as a directory.
    pub(super) fn is_collection(self) -> bool {
        self.named().is_some_and(|(listed, whole)| listed != whole)
    }
}
