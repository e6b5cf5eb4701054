//! File names: a segment becomes one, and a name is read back, without any state (§1.2 to §1.8).
//!
//! A segment is its own name, byte for byte, but for what the kernel cannot carry and what would read as something
//! else:
//!
//! | segment | name | why |
//! |---|---|---|
//! | `100%`, `a b`, `%2f` | the same | nothing to change |
//! | `a/b`, `a` NUL | `a%2Fb`, `a%00` | the kernel cuts names there |
//! | `.`, `..`, no bytes | `%2E`, `%2E%2E`, `%empty` | the kernel keeps these names for itself, or has none |
//! | `a%00`, `a%2500` | `a%2500`, `a%252500` | they would read as the line above |
//! | `a%hash` | `a%25hash` | it would read as the hash `a` |
//! | the hash `a` | `a%hash` | the word is its type |
//!
//! The one idea behind it: `%`, any number of `25`, and then something with a meaning is a family; encoding moves
//! each member to the next one, decoding moves it back, and the first member has the meaning.

use std::borrow::Cow;

use crate::key::{Key, Segment, Word};

/// The longest file name that Linux carries, in bytes.
pub const NAME_MAX: usize = 255;
/// How much of an over-long name goes into one directory's name, in bytes (§1.8).
pub const PIECE_MAX: usize = 240;
/// The name of the value of a key that is a directory too (§1.7).
pub const VALUE: &[u8] = b"%value";
/// What the name of a directory that holds the rest of an over-long name ends in (§1.8).
pub const MORE: &[u8] = b"%more";
const EMPTY: &[u8] = b"%empty";

/// What a reserved word is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It ends the name of a segment of this type.
    Type(Word),
    /// It is a name by itself.
    Alone(Word),
    /// A way to write something, which no segment has for its word.
    Spelling,
}

/// Every reserved word (§1.6), without its `%`. Frozen with the first release: a new word would rename keys.
pub const WORDS: &[(&[u8], Role)] = &[
    (b"empty", Role::Spelling),
    (b"value", Role::Spelling),
    (b"more", Role::Spelling),
    (b"kvfs", Role::Alone(Word::Kvfs)),
    (b"raw", Role::Alone(Word::Raw)),
    (b"header.json", Role::Alone(Word::HeaderJson)),
    (b"metadata.json", Role::Alone(Word::MetadataJson)),
    (b"push", Role::Alone(Word::Push)),
    (b"add", Role::Alone(Word::Add)),
    (b"db", Role::Type(Word::Db)),
    (b"hash", Role::Type(Word::Hash)),
    (b"hash.json", Role::Type(Word::HashJson)),
    (b"list", Role::Type(Word::List)),
    (b"list.json", Role::Type(Word::ListJson)),
    (b"set", Role::Type(Word::Set)),
    (b"set.json", Role::Type(Word::SetJson)),
    (b"zset", Role::Type(Word::Zset)),
    (b"zset.json", Role::Type(Word::ZsetJson)),
    (b"stream", Role::Type(Word::Stream)),
    (b"stream.json", Role::Type(Word::StreamJson)),
    (b"json", Role::Type(Word::Json)),
    (b"array", Role::Type(Word::Array)),
];

fn role(word: &[u8]) -> Option<Role> {
    WORDS.iter().find(|(spelling, _)| *spelling == word).map(|&(_, role)| role)
}

fn spelling(word: Word) -> &'static [u8] {
    let has = |role: &Role| matches!(role, Role::Type(w) | Role::Alone(w) if *w == word);
    WORDS.iter().find(|(_, role)| has(role)).map_or(b"", |(spelling, _)| spelling)
}

/// The name of `segment`, of any length: [`pieces`] makes file names of it. Borrowed where nothing changes.
///
/// A word that stands alone belongs to a segment without bytes; with bytes it has no name, and what this returns
/// is not read back.
pub fn encode(segment: Segment<'_>) -> Cow<'_, [u8]> {
    let plain = escape(segment.bytes);
    if segment.word == Word::None {
        return plain;
    }
    let word = spelling(segment.word);
    let base = if role(word) == Some(Role::Alone(segment.word)) { segment.bytes } else { &plain };
    Cow::Owned([base, b"%", word].concat())
}

/// The segment's bytes and word that `name` is the name of; `None` where no segment has this name, as for
/// [`VALUE`] and for what ends in [`MORE`].
pub fn decode(name: &[u8]) -> Option<(Cow<'_, [u8]>, Word)> {
    let word = name.iter().rposition(|&byte| byte == b'%').and_then(|at| Some((at, role(&name[at + 1..])?)));
    match word {
        None => Some((unescape(name)?, Word::None)),
        Some((0, Role::Spelling)) if name == EMPTY => Some((Cow::Borrowed(b""), Word::None)),
        Some((0, Role::Alone(word))) => Some((Cow::Borrowed(b""), word)),
        Some((1.., Role::Type(word))) => {
            let base = &name[..name.len() - 1 - spelling(word).len()];
            let bytes = if base == EMPTY { Cow::Borrowed(&b""[..]) } else { unescape(base)? };
            Some((bytes, word))
        }
        Some(_) => None,
    }
}

/// The name of a segment of these bytes without a word.
fn escape(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes {
        b"" => return Cow::Borrowed(EMPTY),
        b"." => return Cow::Borrowed(b"%2E"),
        b".." => return Cow::Borrowed(b"%2E%2E"),
        _ if !bytes.iter().any(|byte| matches!(byte, 0 | b'/' | b'%')) => return Cow::Borrowed(bytes),
        _ => {}
    }
    let dots = dot_escapes(bytes).is_some();
    let mut name = Vec::with_capacity(bytes.len() + 16);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            0 => name.extend_from_slice(b"%00"),
            b'/' => name.extend_from_slice(b"%2F"),
            b'%' if dots || meaning(&bytes[at + 1..]).is_some() => name.extend_from_slice(b"%25"),
            _ => name.push(byte),
        }
    }
    Cow::Owned(name)
}

/// The bytes that [`escape`] makes this name of, where there are such; never none, which is [`EMPTY`].
fn unescape(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return None;
    }
    if !name.contains(&b'%') {
        return Some(Cow::Borrowed(name));
    }
    let dots = dot_escapes(name);
    match dots.as_deref() {
        Some([0]) => return Some(Cow::Borrowed(b".")),
        Some([0, 0]) => return Some(Cow::Borrowed(b"..")),
        Some(depths) if depths.contains(&0) => return None,
        _ => {}
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        match meaning(tail) {
            _ if dots.is_some() => {
                bytes.push(b'%');
                rest = &tail[2..];
            }
            None => bytes.push(b'%'),
            Some((0, Meaning::Word)) => return None,
            Some((0, Meaning::Byte(byte))) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            Some(_) => {
                bytes.push(b'%');
                rest = &tail[2..];
            }
        }
    }
    Some(Cow::Owned(bytes))
}

enum Meaning {
    Byte(u8),
    Word,
}

/// What `tail`, which follows a `%`, means behind the `25`s it begins with, and how many these are.
fn meaning(tail: &[u8]) -> Option<(usize, Meaning)> {
    let (depth, rest) = strip_25s(tail);
    match rest {
        [b'0', b'0', ..] => Some((depth, Meaning::Byte(0))),
        [b'2', b'F', ..] => Some((depth, Meaning::Byte(b'/'))),
        _ => role(rest).map(|_| (depth, Meaning::Word)),
    }
}

fn strip_25s(mut tail: &[u8]) -> (usize, &[u8]) {
    let mut depth = 0;
    while let Some(rest) = tail.strip_prefix(b"25") {
        tail = rest;
        depth += 1;
    }
    (depth, tail)
}

/// Where all of `bytes` is one or two times `%`, any number of `25`, `2E`: how many `25` each time has.
fn dot_escapes(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut depths = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (depth, tail) = strip_25s(rest.strip_prefix(b"%")?);
        rest = tail.strip_prefix(b"2E")?;
        if depths.len() == 2 {
            return None;
        }
        depths.push(depth);
    }
    Some(depths)
}

/// The file names that lead to an encoded name, one below the other: itself where it fits, otherwise directories
/// that end in [`MORE`], and the rest (§1.8). The last one has 16 bytes at least where there are several.
pub fn pieces(encoded: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut rest = Some(encoded);
    std::iter::from_fn(move || {
        let name = rest?;
        rest = cut(name).map(|at| &name[at..]);
        Some(match cut(name) {
            Some(at) => Cow::Owned([&name[..at], MORE].concat()),
            None => Cow::Borrowed(name),
        })
    })
}

/// Where a name, or what is left of it, is cut; `None` where it fits. Not inside a UTF-8 sequence nor inside an
/// escape, if that can be helped: so the names that share a piece lie together in the order of a store.
fn cut(name: &[u8]) -> Option<usize> {
    if name.len() <= NAME_MAX {
        return None;
    }
    let starts_character = |at: &usize| !matches!(name[*at], 0x80..=0xBF);
    let at = (PIECE_MAX - 3..=PIECE_MAX).rev().find(starts_character).unwrap_or(PIECE_MAX);
    let escape = name[..at].iter().rposition(|&byte| byte == b'%').filter(|&percent| {
        let (_, rest) = strip_25s(&name[percent + 1..at]);
        percent > 0 && matches!(rest, b"" | b"0" | b"2")
    });
    Some(escape.unwrap_or(at))
}

/// What a file name says below a directory of §1.8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is such a directory itself; these are the bytes so far.
    Part(Vec<u8>),
    /// It completes this encoded name, for [`decode`].
    Whole(Vec<u8>),
}

/// Joins `name` to the bytes `before` that the directories of §1.8 above it stand for (none in an ordinary
/// directory). `None` where [`pieces`] would never cut there.
pub fn join(before: &[u8], name: &[u8]) -> Option<Joined> {
    if let Some(part) = name.strip_suffix(MORE) {
        let fits = (1..=PIECE_MAX).contains(&part.len());
        return fits.then(|| Joined::Part([before, part].concat()));
    }
    let whole = [before, name].concat();
    (last_piece(&whole) == before.len()).then_some(Joined::Whole(whole))
}

fn last_piece(encoded: &[u8]) -> usize {
    let mut start = 0;
    while let Some(at) = cut(&encoded[start..]) {
        start += at;
    }
    start
}

/// The file name that stands for an encoded name in the directory of §1.8 whose bytes so far are `before` (none:
/// the ordinary directory). `None` where the name does not lie there.
pub fn shown<'a>(encoded: &'a [u8], before: &[u8]) -> Option<Cow<'a, [u8]>> {
    let mut start = 0;
    while start < before.len() {
        start += cut(&encoded[start..])?;
    }
    if start != before.len() || !encoded.starts_with(before) {
        return None;
    }
    pieces(&encoded[start..]).next()
}

/// The path of `key` below a mount, without a slash at the start; its value is at [`VALUE`] below it where keys lie
/// below it, too.
pub fn path(key: &Key) -> Vec<u8> {
    let mut path = Vec::new();
    for segment in key.segments() {
        for piece in pieces(&encode(segment)) {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&piece);
        }
    }
    path
}

/// The key at a path below a mount; `None` where there can be none. Slashes at both ends and doubled ones do not
/// count, as for the kernel; a last [`VALUE`] stands for the directory's own value.
pub fn key(path: &[u8]) -> Option<Key> {
    let mut key = Key::root();
    let mut before = Vec::new();
    let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        if name == VALUE && before.is_empty() && names.peek().is_none() && !key.is_root() {
            return Some(key);
        }
        match join(&before, name)? {
            Joined::Part(part) => before = part,
            Joined::Whole(whole) => {
                let (bytes, word) = decode(&whole)?;
                key.push(Segment { bytes: &bytes, word });
                before.clear();
            }
        }
    }
    before.is_empty().then_some(key)
}
