//! A key: the path of raw byte segments under which a store keeps a value. No separator, no UTF-8, no file names:
//! `name.rs` makes file names of segments, `store/flat.rs` makes flat keys of them.

use std::fmt;

use smallvec::SmallVec;

/// A reserved word that a segment carries as its type (§1.6): `user:1%hash` is the segment `user:1` with the
/// word [`Word::Hash`]. A bare word such as `%raw` is the empty segment with a word that stands alone.
///
/// The list is complete and frozen with the first release, since a new word would rename keys. `%empty`,
/// `%value` and `%more` are not here: they are spellings that the name layer and the Vfs use, not types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Word {
    /// A plain segment.
    None,
    /// A named database inside the store (LMDB).
    Db,
    /// A Redis hash and its single-file form.
    Hash,
    /// `%hash.json`.
    HashJson,
    /// A Redis list.
    List,
    /// `%list.json`.
    ListJson,
    /// A Redis set.
    Set,
    /// `%set.json`.
    SetJson,
    /// A Redis sorted set.
    Zset,
    /// `%zset.json`.
    ZsetJson,
    /// A Redis stream.
    Stream,
    /// `%stream.json`.
    StreamJson,
    /// A JSON document kept by the store as such.
    Json,
    /// Stands alone: the control folder of a mount.
    Kvfs,
    /// Stands alone: the plain bytes of tensors.
    Raw,
    /// Stands alone: a tensor file's header.
    HeaderJson,
    /// Stands alone: a tensor file's metadata.
    MetadataJson,
    /// Stands alone: writing here appends to a list.
    Push,
    /// Stands alone: writing here appends to a stream.
    Add,
    /// An array in a document.
    Array,
}

impl Word {
    /// Whether what carries this word is a directory and never a file: `name%db`, `name%hash`.
    pub fn is_directory(self) -> bool {
        use Word::{Array, Db, Hash, List, Set, Stream, Zset};
        matches!(self, Array | Db | Hash | List | Set | Zset | Stream)
    }
}

/// One step of a key: raw bytes, and the type that the store gives them, if any.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment<'a> {
    /// The store's own bytes; any, also none.
    pub bytes: &'a [u8],
    /// The type that the file name shows as its suffix.
    pub word: Word,
}

impl<'a> Segment<'a> {
    /// A segment without a type.
    pub fn plain(bytes: &'a [u8]) -> Segment<'a> {
        Segment { bytes, word: Word::None }
    }
}

impl fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes.escape_ascii())?;
        if self.word != Word::None { write!(f, "%{:?}", self.word) } else { Ok(()) }
    }
}

/// A path of segments. The root has none. Cheap to build: two small buffers, however deep.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    bytes: SmallVec<[u8; 64]>,
    ends: SmallVec<[(u32, Word); 4]>,
}

impl Key {
    /// The key of the store's root: no segment.
    pub fn root() -> Key {
        Key::default()
    }

    /// A key of plain segments.
    pub fn of<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Key {
        let mut key = Key::root();
        for segment in segments {
            key.push(Segment::plain(segment));
        }
        key
    }

    /// Adds a segment at the end.
    pub fn push(&mut self, segment: Segment<'_>) {
        self.bytes.extend_from_slice(segment.bytes);
        // Keys are made of file names and store keys, both far below 4 GiB.
        self.ends.push((self.bytes.len() as u32, segment.word));
    }

    /// Removes the last segment; the root stays the root.
    pub fn pop(&mut self) {
        self.ends.pop();
        self.bytes.truncate(self.ends.last().map_or(0, |end| end.0 as usize));
    }

    /// This key with one more segment.
    #[must_use]
    pub fn child(&self, segment: Segment<'_>) -> Key {
        let mut key = self.clone();
        key.push(segment);
        key
    }

    /// The key above; `None` for the root.
    pub fn parent(&self) -> Option<Key> {
        if self.is_root() {
            return None;
        }
        let mut key = self.clone();
        key.pop();
        Some(key)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no segment (the root).
    pub fn is_empty(&self) -> bool {
        self.is_root()
    }

    /// The segment at `index`, if there are that many.
    pub fn segment(&self, index: usize) -> Option<Segment<'_>> {
        let &(end, word) = self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1].0 as usize };
        Some(Segment { bytes: &self.bytes[start..end as usize], word })
    }

    /// The last segment; `None` for the root.
    pub fn last(&self) -> Option<Segment<'_>> {
        self.segment(self.len().checked_sub(1)?)
    }

    /// The segments from the root down.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> + ExactSizeIterator {
        (0..self.len()).map(|index| self.segment(index).unwrap_or(Segment::plain(b"")))
    }

    /// The key below the first `count` segments: what a store that holds other stores passes on.
    #[must_use]
    pub fn below(&self, count: usize) -> Key {
        let mut key = Key::root();
        for segment in self.segments().skip(count) {
            key.push(segment);
        }
        key
    }

    /// Whether this key is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Key) -> bool {
        self.len() >= ancestor.len() && self.segments().zip(ancestor.segments()).all(|(a, b)| a == b)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.segments()).finish()
    }
}
