//! What a key leads to in a document.

use super::tree::{Document, Node, Type};
use crate::key::{Key, Word};

/// What a key leads to.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// An object or an array.
    Directory(Node),
    /// A scalar, as what it says.
    Scalar(Node),
    /// Any value as a text of the document's format: `NAME%json`.
    Source(Node),
}

impl Found {
    /// The value.
    pub fn node(&self) -> &Node {
        let (Found::Directory(node) | Found::Scalar(node) | Found::Source(node)) = self;
        node
    }
}

/// The names of the parts on the way to a key.
pub(super) fn names(key: &Key) -> Vec<&[u8]> {
    (0..key.len()).filter_map(|index| key.segment(index)).map(|segment| segment.bytes).collect()
}

/// What is there; `None` where nothing is under this name, with this word.
pub(super) fn find(document: &dyn Document, key: &Key) -> Option<Found> {
    let mut found = Found::Directory(document.root());
    for segment in key.segments() {
        let Found::Directory(parent) = &found else { return None };
        let node = document.child(parent, segment.bytes)?;
        found = match (segment.word, node.kind) {
            (Word::None, Type::Object) | (Word::Array, Type::Array) => Found::Directory(node),
            (Word::Json, _) => Found::Source(node),
            (Word::None, kind) if !kind.has_parts() => {
                document.scalar(&node)?;
                Found::Scalar(node)
            }
            _ => return None,
        };
    }
    Some(found)
}

/// How a part is listed.
pub(super) fn word_of(document: &dyn Document, node: &Node) -> Word {
    match node.kind {
        Type::Array => Word::Array,
        // A text that is none: by its source alone.
        Type::String if document.scalar(node).is_none() => Word::Json,
        _ => Word::None,
    }
}
