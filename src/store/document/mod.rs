//! Documents: a JSON or TOML file as a tree of files.
//!
//! | in the tree | what it is |
//! |---|---|
//! | `NAME/` | an object: a file or directory for each of its parts |
//! | `NAME%array/` | an array: the same, named by their indexes |
//! | `NAME` | a scalar: what a string says, else its text |
//! | `NAME%json` | any value as JSON, of a JSON file the text that it is there; found by name, and not listed |
//!
//! Each change is made in the text where it belongs, and nowhere else, and the file is replaced by one with the new text before
//! the change is answered: a close that returns 0 has written. There is nothing to gather, and nothing to lose.
//!
//! | file | holds |
//! |---|---|
//! | `tree` | what is asked of a document, whatever its format |
//! | `json`, `toml` | the formats |
//! | `host` | where the text lies |
//! | `held` | a document that is mounted |
//! | `find`, `change` | what keys lead to, and changes of them |
//! | `within` | a document that is a value of another store |

mod change;
mod find;
#[cfg(fuzzing)]
pub mod fuzzed;
mod held;
mod host;
mod json;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
pub(crate) mod within;

use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::api::{
    Atomic, Caps, Change, Cursor, Entry, Kind, Pace, Rename, SharedBytes, Stat, Store, Usage, Value, Version,
};
use super::driver::{Driver, Location, Opening};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use change::Lines;
use find::{Found, find, word_of};
use held::{Format, Held, State};
use host::{Host, LocalFile, TEXT_MAX};
use tree::{Progress, Type, index_of};

/// The longest name, in bytes of UTF-8.
const KEY_MAX: u32 = 16 << 10;
/// So much of a file is looked at to tell what it is, in bytes.
const LOOKED_AT: u64 = 4 << 10;

/// `json` for the list of stores.
pub static JSON: Driver = Driver {
    kind: "json",
    about: "a JSON file: objects and arrays as directories, scalars as files; all else in it stays as it is",
    same_as: None,
    location: Location::File,
    caps: || caps("json"),
    separator: "/",
    recognise: is_json,
    own_files: &[],
    rights: None,
    open: |opening| open(opening, "json", |text| Ok(Box::new(json::Json::read(text)?))),
    sidecar: |_| Ok(None),
};

/// `toml` for the list of stores.
pub static TOML: Driver = Driver {
    kind: "toml",
    about: "the same of a TOML file, with its comments and layout",
    caps: || caps("toml"),
    // A path that ends in .toml is a mount-config.
    recognise: |_| false,
    open: |opening| open(opening, "toml", |text| Ok(Box::new(toml::Toml::read(text)?))),
    ..JSON
};

fn caps(kind: &'static str) -> Caps {
    Caps {
        kind,
        write: true,
        immutable: false,
        ordered: false,
        branches: true,
        attributes: false,
        folders: false,
        watch: false,
        snapshot: false,
        past: false,
        unlisted: "%json",
        settable: &[change::TYPE],
        collections: true,
        atomic: Atomic::Batch,
        rename: Rename::Tree,
        pace: Pace::Disk,
        value_max: TEXT_MAX,
        key_max: KEY_MAX,
    }
}

/// Whether the file at this path is JSON with an object or array in it, told by its content: what begins as one, and has
/// a name that says so or is one throughout as far as it is short.
fn is_json(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LOOKED_AT + 1).read_to_end(&mut text));
    if read.is_err() {
        return false;
    }
    let begins = text.iter().find(|byte| !byte.is_ascii_whitespace() && !matches!(byte, 0xEF | 0xBB | 0xBF));
    let named = path.extension().is_some_and(|extension| {
        ["json", "jsonc", "geojson", "ipynb", "webmanifest"].iter().any(|known| extension == *known)
    });
    match begins {
        Some(b'{' | b'[' | b'/') if named => true,
        Some(b'{' | b'[') => text.len() as u64 <= LOOKED_AT && json::Json::read(text).is_ok(),
        _ => false,
    }
}

fn open(opening: &Opening, kind: &'static str, format: Format) -> Result<Arc<dyn Store>> {
    let path = opening.location.as_deref();
    let path =
        path.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("which file? Write {kind}:/path")))?;
    let host = LocalFile::find(path, opening.timeout)?;
    let rights = host.refusal().filter(|_| !opening.read_only);
    let held = Held::open(Box::new(host), format, opening.timeout)?;
    let twice = held.known().and_then(|state| state.document.refusal());
    let twice = twice.map(|why| format!("{} is mounted read-only: {why}", held.host.shown()));
    let refusal = rights.or(twice);
    if let Some(refusal) = &refusal {
        tracing::warn!("{refusal}");
    }
    let write = !opening.read_only && refusal.is_none();
    let lines = Lines { added: opening.newline };
    Ok(Arc::new(Documents { held, caps: Caps { write, ..caps(kind) }, lines, refusal }))
}

/// A document as a tree.
pub struct Documents {
    held: Held,
    caps: Caps,
    lines: Lines,
    /// Why it cannot be written though nobody asked for that.
    refusal: Option<String>,
}

impl Documents {
    /// The length of the text that is in memory, in bytes.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.held.known().map_or(0, |state| state.document.text().len() as u64)
    }

    fn stat_of(&self, state: &State, key: &Key, found: &Found) -> Stat {
        let (kind, size) = match change::file_of(&*state.document, found, self.lines) {
            Some(bytes) => (Kind::Leaf, bytes.len() as u64),
            None => (Kind::Branch, 0),
        };
        Stat::plain(kind, size, state.modified(key))
    }

    /// The elements of an array, the last one first: so `rm -r` removes them in the one order that there is for that.
    fn list_array(
        &self,
        state: &State,
        (dir, of): (&Key, &tree::Node),
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) {
        let count = state.document.count(of);
        let left = from.position.first_chunk().map_or(count, |left| u64::from_le_bytes(*left).min(count));
        for index in (0..left).rev() {
            let name = index.to_string();
            let Some(node) = state.document.child(of, name.as_bytes()) else { break };
            if self.hand_out(state, dir, (name.as_bytes(), node), each).is_break() {
                return;
            }
            from.position = index.to_le_bytes().to_vec();
        }
        from.done = true;
    }

    /// Gives one part to a listing.
    fn hand_out(
        &self,
        state: &State,
        dir: &Key,
        (bytes, node): (&[u8], tree::Node),
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let word = word_of(&*state.document, &node);
        let found = match word {
            Word::Json => Found::Source(node),
            _ if node.kind.has_parts() => Found::Directory(node),
            _ => Found::Scalar(node),
        };
        let segment = Segment { bytes, word };
        let stat = self.stat_of(state, &dir.child(segment), &found);
        each(Entry { segment, stat })
    }

    /// Where a listing of an object goes on.
    fn progress(state: &State, of: &tree::Node, from: &Cursor) -> Progress {
        let mut words = from.position.chunks(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let (Some(edition), Some(given), Some(at)) = (words.next(), words.next(), words.next()) else {
            return Progress::default();
        };
        if state.document.is_by_name() {
            let mut progress = Progress::default();
            state.document.children(of, Progress::default(), &mut |own, _, next| {
                if own > Some(&from.position[24..]) {
                    return ControlFlow::Break(());
                }
                progress = next;
                ControlFlow::Continue(())
            });
            return progress;
        }
        let before = Progress { given, at: at as usize };
        if let Some(progress) = state.follow(edition, before) {
            return progress;
        }
        // Another program changed the document: behind the name that came last, else behind as many.
        let name = &from.position[24..];
        let (mut by_name, mut by_count) = (None, Progress::default());
        state.document.children(of, Progress::default(), &mut |own, _, progress| {
            if progress.given <= given {
                by_count = progress;
            }
            if own == Some(name) {
                by_name = Some(progress);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        by_name.unwrap_or(by_count)
    }
}

impl Store for Documents {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        let state = self.held.current()?;
        Ok(find(&*state.document, key).map(|found| self.stat_of(&state, key, &found)))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.done {
            return Ok(());
        }
        let state = self.held.current()?;
        let document = &*state.document;
        let Some(Found::Directory(of)) = find(document, dir) else {
            from.done = true;
            return Ok(());
        };
        if of.kind == Type::Array {
            self.list_array(&state, (dir, &of), from, each);
            return Ok(());
        }
        let start = Documents::progress(&state, &of, from);
        let mut stopped = false;
        document.children(&of, start, &mut |name, node, progress| {
            // What is no text has no name: it is in the %json of what it lies in.
            if let Some(bytes) = name {
                stopped = self.hand_out(&state, dir, (bytes, node), each).is_break();
                if stopped {
                    return ControlFlow::Break(());
                }
            }
            let words = [state.edition, progress.given, progress.at as u64];
            from.position.clear();
            from.position.extend_from_slice(words.map(u64::to_le_bytes).as_flattened());
            from.position.extend_from_slice(name.unwrap_or_default());
            ControlFlow::Continue(())
        });
        from.done = !stopped;
        Ok(())
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let state = self.held.current()?;
        let document = &*state.document;
        let bytes = find(document, key).and_then(|found| change::file_of(document, &found, self.lines));
        Ok(bytes.map(|bytes| Box::new(SharedBytes(bytes.into())) as Box<dyn Value>))
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            let sentence =
                self.refusal.clone().unwrap_or_else(|| "this document is mounted read-only".to_owned());
            return Err(Error::new(ErrorKind::ReadOnly, sentence));
        }
        self.held.change(&|changing| change::carry_out(changing, changes, self.lines))
    }

    fn sync(&self) -> Result<()> {
        if self.caps.write { self.held.host.sync() } else { Ok(()) }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        for segment in key.segments() {
            let fits = matches!(segment.word, Word::None | Word::Array | Word::Json | Word::Push);
            if !fits {
                let sentence = format!("{segment:?}: no part of a document has such a name");
                return Err(Error::new(ErrorKind::Invalid, sentence));
            }
            if str::from_utf8(segment.bytes).is_err() {
                let sentence = format!("{segment:?}: names in a document are UTF-8");
                return Err(Error::new(ErrorKind::NameEncoding, sentence));
            }
            if segment.bytes.len() > KEY_MAX as usize {
                return Err(ErrorKind::NameTooLong.into());
            }
        }
        Ok(())
    }

    fn check_file(&self, key: &Key) -> Result<()> {
        self.check_key(key)?;
        let (Some(parent), Some(last)) = (key.parent(), key.last()) else {
            return Err(ErrorKind::IsDirectory.into());
        };
        let state = self.held.current()?;
        let Some(Found::Directory(of)) = find(&*state.document, &parent) else { return Ok(()) };
        match (of.kind, last.word) {
            (Type::Array, Word::Push) => Ok(()),
            (_, Word::Push) => {
                Err(Error::new(ErrorKind::Invalid, "%push is for arrays: an object has names"))
            }
            (Type::Array, _) => {
                let count = state.document.count(&of);
                if index_of(last.bytes).is_some_and(|index| index <= count) {
                    return Ok(());
                }
                let sentence = format!("an array grows at its end: the next element is {count}, or %push");
                Err(Error::new(ErrorKind::Invalid, sentence))
            }
            _ => Ok(()),
        }
    }

    /// As RFC 6901 has it.
    fn raw_key(&self, key: &Key, _directory: bool) -> Vec<u8> {
        let mut pointer = Vec::new();
        for segment in key.segments() {
            pointer.push(b'/');
            for byte in segment.bytes {
                match byte {
                    b'~' => pointer.extend_from_slice(b"~0"),
                    b'/' => pointer.extend_from_slice(b"~1"),
                    _ => pointer.push(*byte),
                }
            }
        }
        pointer
    }

    fn version_of(&self, key: &Key, _body: &Payload) -> Result<Option<Version>> {
        self.open(key)?.map(|value| value.version()).transpose()
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let state = self.held.current()?;
        let found = find(&*state.document, key);
        let kind = found.map(|found| found.node().kind.name().as_bytes().to_vec());
        Ok(kind.map(|kind| (change::TYPE, kind)).into_iter().collect())
    }

    fn foreign_changes(&self) -> Option<u64> {
        self.held.known().map(|state| state.foreign_changes)
    }

    fn usage(&self) -> Usage {
        self.held.host.usage()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if let Some(state) = self.held.known() {
            facts.push(("bytes", state.document.text().len().to_string()));
        }
        facts.extend(self.refusal.clone().map(|refusal| ("read-only", refusal)));
        facts
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
