//! A document as a tree, whatever its format: what the store asks of it, and how it is changed.

use std::ops::{ControlFlow, Range};

use crate::error::{Error, ErrorKind, Result};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
    DateTime,
}

impl Type {
    const ALL: [Type; 7] =
        [Type::Object, Type::Array, Type::String, Type::Number, Type::Boolean, Type::Null, Type::DateTime];

    /// As the extended attribute has it: the words of JSON Schema, and TOML's own.
    pub fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Number => "number",
            Type::Boolean => "boolean",
            Type::Null => "null",
            Type::DateTime => "datetime",
        }
    }

    /// The type of this name.
    pub fn of_name(name: &[u8]) -> Option<Type> {
        Type::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether it is a directory.
    pub fn has_parts(self) -> bool {
        matches!(self, Type::Object | Type::Array)
    }
}

/// A value in a document, as long as nothing is changed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub kind: Type,
    /// Its bytes in the text, or what else tells it from others.
    pub span: Range<usize>,
}

/// How far a listing has come: parts given, and where in the text the next one is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub given: u64,
    pub at: usize,
}

/// What a value is to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum New<'a> {
    /// A scalar of this type and text; of a string, what it says.
    Scalar(Type, &'a [u8]),
    /// What a text of JSON says.
    Source(&'a [u8]),
    /// An object or an array without parts.
    Empty(Type),
}

/// One change. Names are those of the parts, from the root down.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit<'a> {
    /// The value there becomes another, or comes behind the last part.
    Set(&'a [&'a [u8]], New<'a>),
    /// It goes.
    Remove(&'a [&'a [u8]]),
    /// A part of an object gets another name, which nothing has there, and stays where it is among the others.
    Rename(&'a [&'a [u8]], &'a [u8]),
}

/// Bytes that stand in the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Splice {
    pub range: Range<usize>,
    pub text: Vec<u8>,
}

/// Takes parts in order, with their names and where to go on behind each; a name is `None` where it has no UTF-8.
pub(super) type Each<'e> = &'e mut dyn FnMut(Option<&[u8]>, Node, Progress) -> ControlFlow<()>;

/// The text of a document, and what it says.
pub(super) trait Document: Send + Sync {
    /// All of it.
    fn text(&self) -> &[u8];

    /// Why it cannot be changed, in words that follow "it is read-only: ".
    fn refusal(&self) -> Option<String>;

    /// The value that all others are parts of.
    fn root(&self) -> Node;

    /// The part of this name.
    fn child(&self, of: &Node, name: &[u8]) -> Option<Node>;

    /// How many parts there are.
    fn count(&self, of: &Node) -> u64;

    /// Hands out the parts in order, until it breaks.
    fn children(&self, of: &Node, from: Progress, each: Each<'_>);

    /// Whether parts are given in the order of their names, and not in that of the text.
    fn is_by_name(&self) -> bool {
        false
    }

    /// Whether [`Document::source`] says all that there is to say of a value, so that it can be moved by that.
    fn can_move(&self, node: &Node) -> bool {
        let _ = node;
        true
    }

    /// Whether a text can be a scalar of this type.
    fn fits(&self, kind: Type, text: &[u8]) -> bool;

    /// The text of a scalar: of a string, what it says; `None` where that has no UTF-8.
    fn scalar(&self, node: &Node) -> Option<Vec<u8>>;

    /// The value as a text of JSON, with a line end.
    fn source(&self, node: &Node) -> Vec<u8>;

    /// What a change does to the text; `None` where it does nothing.
    ///
    /// # Errors
    /// `Invalid` for what the format cannot hold; `NotPermitted` for what would move other parts.
    fn plan(&self, edit: &Edit<'_>) -> Result<Option<Splice>>;

    /// Changes the text; answers what takes that back.
    ///
    /// # Errors
    /// `Invalid` where it is no document afterwards: then nothing is changed.
    fn splice(&mut self, splice: Splice) -> Result<Splice>;
}

/// The index that a name is; `None` where it is none, as for `01`.
pub(super) fn index_of(name: &[u8]) -> Option<u64> {
    let text = str::from_utf8(name).ok()?;
    let index: u64 = text.parse().ok()?;
    (index.to_string() == text).then_some(index)
}

/// What is wrong with a text at a byte of it, in words with line and column; columns are counted in characters.
pub(super) fn wrong_at(text: &[u8], at: usize, why: &str) -> Error {
    let before = &text[..at.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[begin..]).chars().count() + 1;
    Error::new(ErrorKind::Invalid, format!("line {line}, column {column}: {why}"))
}
