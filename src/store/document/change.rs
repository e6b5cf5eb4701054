//! Changes of files as changes of a document.

use super::find::{Found, find, names};
use super::held::Changing;
use super::host::TEXT_MAX;
use super::tree::{Document, Edit, New, Node, Type};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{Change, Version, When};
use crate::store::attributes::Setting;
use crate::store::change::keeps_no_attributes;

/// The type of a value, as an extended attribute that can be set.
pub(super) const TYPE: &str = "user.kvfs.type";

fn refused(kind: ErrorKind, sentence: &'static str) -> Error {
    Error::new(kind, sentence)
}

/// The type that somebody gives to what is put, or was.
fn declared(attributes: &Setting) -> Result<Option<Option<Type>>> {
    let Some(set) = attributes.xattrs.get(TYPE.as_bytes()) else { return Ok(None) };
    let Some(name) = set else { return Ok(Some(None)) };
    match Type::of_name(name).filter(|kind| !kind.has_parts()) {
        Some(kind) => Ok(Some(Some(kind))),
        None => {
            Err(refused(ErrorKind::Invalid, "a file is string, number, boolean, null or, in TOML, datetime"))
        }
    }
}

/// The bytes of what is put.
pub(super) fn bytes_of(body: &Payload) -> Result<Vec<u8>> {
    if body.len() > TEXT_MAX {
        return Err(refused(ErrorKind::TooBig, "a document has at most 1 GiB"));
    }
    let mut bytes = vec![0; body.len() as usize];
    body.read(0, &mut bytes)?;
    Ok(bytes)
}

/// Without the one line end that editors and `echo` write.
fn chomped(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// The type that a new file has by its text, and the text without a line end where it is not part of it.
fn by_text<'t>(document: &dyn Document, text: &'t [u8]) -> (Type, &'t [u8]) {
    let said = chomped(text);
    let kinds = [Type::Boolean, Type::Null, Type::Number];
    // Other formats write numbers in more ways, which are texts for most.
    let plain = !said.iter().any(|byte| matches!(byte, b'_' | b'x' | b'o' | b'b' | b'i' | b'n'));
    let fits = |kind: &Type| (plain || *kind != Type::Number) && document.fits(*kind, said);
    match kinds.into_iter().find(fits) {
        Some(kind) => (kind, said),
        None => (Type::String, text),
    }
}

/// How lines end in the files of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// Whether each file of a scalar ends in a line end that is not part of it.
    pub added: bool,
}

impl Lines {
    fn said(self, kind: Type, text: &[u8]) -> &[u8] {
        match kind {
            Type::String if self.added => text.strip_suffix(b"\n").unwrap_or(text),
            Type::String => text,
            _ => chomped(text),
        }
    }
}

/// Carries out changes, of which those that set the type of what is put right before them are part of that.
///
/// # Errors
/// Those of each change.
pub(super) fn carry_out(changing: &mut Changing<'_>, changes: &[Change<'_>], lines: Lines) -> Result<()> {
    let mut rest = changes;
    while let Some((change, after)) = rest.split_first() {
        rest = after;
        if let Change::Put { key, body, when } = change {
            let mut given = None;
            if let Some((Change::Set { key: same, directory: false, attributes }, after)) = rest.split_first()
                && key == same
            {
                given = declared(attributes)?;
                rest = after;
            }
            put(changing, key, &bytes_of(body)?, when, given.flatten(), lines)?;
            continue;
        }
        one(changing, change, lines)?;
    }
    Ok(())
}

fn one(changing: &mut Changing<'_>, change: &Change<'_>, lines: Lines) -> Result<()> {
    match change {
        Change::Delete { key, when } => delete(changing, key, when, lines),
        Change::Rename { from, to, tree, replace } => rename(changing, (from, to), *tree, *replace),
        Change::Branch { key } => branch(changing, key),
        Change::RemoveBranch { key } => remove_branch(changing, key),
        Change::Set { key, directory: false, attributes } => {
            let Some(given) = declared(attributes)? else { return Err(keeps_no_attributes()) };
            let found = find(changing.document, key).ok_or(ErrorKind::NotFound)?;
            let Found::Scalar(node) = found else {
                return Err(refused(ErrorKind::NotPermitted, "only a scalar gets another type"));
            };
            let text = changing.document.scalar(&node).ok_or(ErrorKind::Invalid)?;
            let kind = given.unwrap_or_else(|| by_text(changing.document, &text).0);
            changing.set_untyped(key, false);
            if kind == node.kind {
                return Ok(());
            }
            changing.edit(&Edit::Set(&names(key), New::Scalar(kind, &text)))
        }
        Change::Set { .. } | Change::Make { .. } => Err(keeps_no_attributes()),
        Change::Put { .. } => Ok(()),
    }
}

/// The directory that a key is in, which must be there.
fn parent_of(document: &dyn Document, key: &Key) -> Result<Node> {
    let parent = key.parent().ok_or(ErrorKind::IsDirectory)?;
    match find(document, &parent) {
        Some(Found::Directory(node)) => Ok(node),
        Some(_) => Err(ErrorKind::NotDirectory.into()),
        None => Err(ErrorKind::NotFound.into()),
    }
}

/// What has the name of a key, whatever its type.
fn of_this_name(document: &dyn Document, key: &Key) -> Result<Option<Node>> {
    let parent = parent_of(document, key)?;
    Ok(key.last().and_then(|last| document.child(&parent, last.bytes)))
}

fn check(document: &dyn Document, key: &Key, when: &When, lines: Lines) -> Result<()> {
    let is = || find(document, key).and_then(|found| file_of(document, &found, lines));
    match when {
        When::Always => Ok(()),
        When::Absent => match of_this_name(document, key)? {
            Some(_) => Err(ErrorKind::Exists.into()),
            None => Ok(()),
        },
        When::Current(version) => match is() {
            Some(bytes) if Version::of_content(&bytes) == *version => Ok(()),
            _ => Err(Error::new(ErrorKind::Stale, format!("{key:?}: another program changed it"))),
        },
    }
}

/// The bytes of a file; `None` of a directory.
pub(super) fn file_of(document: &dyn Document, found: &Found, lines: Lines) -> Option<Vec<u8>> {
    match found {
        Found::Scalar(node) => {
            let mut text = document.scalar(node)?;
            if lines.added {
                text.push(b'\n');
            }
            Some(text)
        }
        Found::Source(node) => Some(document.source(node)),
        Found::Directory(_) => None,
    }
}

fn put(
    changing: &mut Changing<'_>,
    key: &Key,
    text: &[u8],
    when: &When,
    given: Option<Type>,
    lines: Lines,
) -> Result<()> {
    let Some(last) = key.last() else { return Err(ErrorKind::IsDirectory.into()) };
    if last.word == Word::Push {
        // Shells close a file that they opened before anything is written to it.
        return if text.is_empty() { Ok(()) } else { push(changing, key, text, lines) };
    }
    check(changing.document, key, when, lines)?;
    let there = of_this_name(changing.document, key)?;
    let names = names(key);
    let new = match (last.word, &there) {
        (Word::Json, _) => New::Source(text),
        (Word::None, Some(node)) if node.kind == Type::Object => {
            return Err(refused(ErrorKind::IsDirectory, "an object has this name"));
        }
        (Word::None, Some(node)) if node.kind == Type::Array => {
            return Err(refused(ErrorKind::Exists, "an array has this name, which ends in %array"));
        }
        (Word::None, there) => match given.or(kind_there(changing, key, there.as_ref())) {
            Some(kind) => New::Scalar(kind, lines.said(kind, text)),
            None => {
                let (kind, said) = by_text(changing.document, text);
                New::Scalar(kind, if kind == Type::String { lines.said(kind, text) } else { said })
            }
        },
        _ => return Err(refused(ErrorKind::Invalid, "no part of a document has such a name")),
    };
    changing.edit(&Edit::Set(&names, new))?;
    let untyped = last.word == Word::None && text.is_empty() && given.is_none();
    changing.set_untyped(key, untyped && (there.is_none() || changing.is_untyped(key)));
    Ok(())
}

/// The type that a file keeps; none of what was made without bytes and has got none since.
fn kind_there(changing: &Changing<'_>, key: &Key, there: Option<&Node>) -> Option<Type> {
    let node = there?;
    let is_empty = || changing.document.scalar(node).is_some_and(|text| text.is_empty());
    let untyped = node.kind == Type::String && changing.is_untyped(key) && is_empty();
    (!untyped).then_some(node.kind)
}

/// Behind the last element of an array.
fn push(changing: &mut Changing<'_>, key: &Key, text: &[u8], lines: Lines) -> Result<()> {
    let array = parent_of(changing.document, key)?;
    if array.kind != Type::Array {
        return Err(refused(ErrorKind::Invalid, "%push is for arrays: an object has names"));
    }
    let mut element = key.clone();
    element.pop();
    let index = changing.document.count(&array).to_string();
    element.push(Segment::plain(index.as_bytes()));
    put(changing, &element, text, &When::Absent, None, lines)
}

fn delete(changing: &mut Changing<'_>, key: &Key, when: &When, lines: Lines) -> Result<()> {
    match find(changing.document, key) {
        None if *when == When::Always => Ok(()),
        None => Err(ErrorKind::Stale.into()),
        Some(Found::Directory(_)) => Err(ErrorKind::IsDirectory.into()),
        Some(_) => {
            if *when != When::Absent {
                check(changing.document, key, when, lines)?;
            }
            changing.set_untyped(key, false);
            changing.edit(&Edit::Remove(&names(key)))
        }
    }
}

fn rename(changing: &mut Changing<'_>, (from, to): (&Key, &Key), tree: bool, replace: bool) -> Result<()> {
    let (Some(last), Some(new)) = (from.last(), to.last()) else {
        return Err(refused(ErrorKind::NotPermitted, "the document itself keeps its place"));
    };
    let found = find(changing.document, from).ok_or(ErrorKind::NotFound)?;
    if last.word != new.word {
        return Err(match found {
            Found::Directory(_) => {
                refused(ErrorKind::Invalid, "the name of an array ends in %array, that of an object does not")
            }
            _ => refused(ErrorKind::CrossDevice, "a value and its %json are two kinds of files: copy it"),
        });
    }
    if matches!(found, Found::Directory(_)) != tree {
        return Err(if tree { ErrorKind::NotDirectory } else { ErrorKind::IsDirectory }.into());
    }
    let there = of_this_name(changing.document, to)?;
    changing.set_untyped(from, false);
    changing.set_untyped(to, false);
    let (old_names, new_names) = (names(from), names(to));
    if let Some(there) = there {
        if !replace || tree {
            return Err(ErrorKind::Exists.into());
        }
        let text = file_of(changing.document, &found, Lines { added: false }).ok_or(ErrorKind::Invalid)?;
        let new = match found {
            Found::Source(_) => New::Source(&text),
            _ if there.kind.has_parts() => return Err(ErrorKind::Exists.into()),
            _ if there.kind == Type::String => New::Scalar(there.kind, &text),
            _ => New::Scalar(there.kind, chomped(&text)),
        };
        changing.edit(&Edit::Set(&new_names, new))?;
        return changing.edit(&Edit::Remove(&old_names));
    }
    let parent = parent_of(changing.document, from)?;
    if parent.kind == Type::Object && from.parent() == to.parent() {
        return changing.edit(&Edit::Rename(&old_names, new.bytes));
    }
    let (Found::Directory(node) | Found::Scalar(node) | Found::Source(node)) = &found;
    if !changing.document.can_move(node) {
        return Err(refused(ErrorKind::CrossDevice, "it has values that JSON has not: copy it"));
    }
    let source = changing.document.source(node);
    changing.edit(&Edit::Set(&new_names, New::Source(&source)))?;
    changing.edit(&Edit::Remove(&old_names))
}

fn branch(changing: &mut Changing<'_>, key: &Key) -> Result<()> {
    let kind = match key.last().map(|last| last.word) {
        Some(Word::None) => Type::Object,
        Some(Word::Array) => Type::Array,
        _ => return Err(refused(ErrorKind::Invalid, "a directory is an object, or with %array an array")),
    };
    if of_this_name(changing.document, key)?.is_some() {
        return Err(ErrorKind::Exists.into());
    }
    changing.edit(&Edit::Set(&names(key), New::Empty(kind)))
}

fn remove_branch(changing: &mut Changing<'_>, key: &Key) -> Result<()> {
    match find(changing.document, key) {
        None => Ok(()),
        Some(Found::Directory(node)) if changing.document.count(&node) == 0 => {
            changing.edit(&Edit::Remove(&names(key)))
        }
        Some(Found::Directory(_)) => Err(ErrorKind::NotEmpty.into()),
        Some(_) => Err(ErrorKind::NotDirectory.into()),
    }
}
