//! `safetensors`: the tensors of a safetensors file, or of the files of a sharded model, as files that numpy opens and maps.
//!
//! | in the tree | what it is |
//! |---|---|
//! | `NAME.npy` | the tensor, behind a head that is computed (§7.3) |
//! | `%raw/NAME` | its plain bytes |
//! | `%header.json`, `%metadata.json` | the header, or the index, and what stands under `__metadata__` |
//!
//! What begins with `%` is found by name and not listed, so that each byte is met once.
//!
//! | file | holds |
//! |---|---|
//! | `header`, `dtype` | what a safetensors file says of its tensors |
//! | `npy` | what numpy's files say of theirs |
//! | `names` | the names of tensors, and the flat keys that make a tree of them |
//! | `source` | the open files that bytes are in |
//! | `tensor` | one tensor, and its bytes as a file |
//! | `files`, `index`, `contents` | a model as it was read: one file, or the files of an index |
//! | `model` | a model that is mounted: read again when it changes |
//! | `tree` | its tensors as an ordered map |
//! | `rights`, `home` | whether it can be written, and by whom |
//! | `incoming`, `transpose` | files of numpy that become tensors |
//! | `edits`, `journal`, `writer` | changes: seen at once, lost by nothing |
//! | `layout`, `replace`, `commit` | the files that are written with all of them |
//! | `within` | a file that is a value of another store |
//! | `recover` | what a journal becomes that nobody could write to the file |

mod commit;
mod contents;
mod dtype;
mod edits;
mod files;
#[cfg(fuzzing)]
pub mod fuzzed;
mod header;
mod home;
mod incoming;
mod index;
mod journal;
mod layout;
mod model;
mod names;
mod npy;
mod recover;
mod replace;
mod rights;
mod source;
mod tensor;
#[cfg(test)]
mod tests;
mod transpose;
mod tree;
pub(crate) mod within;
mod writer;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::api::{
    Atomic, Caps, Change, Cursor, Entry, Kind, Pace, Rename, SharedBytes, Stat, Store, Usage, Value, Version,
};
use super::driver::{Driver, Location, Opening};
use super::flat::{Edit, Flat};
use crate::env::Folders;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use files::Files;
use home::Home;
use incoming::Declared;
use journal::Journal;
use model::{About, Model};
use names::{Form, Names};
use recover::Unfinished;
use tree::Tensors;

/// The longest value, in bytes: below what ext4, the file system with the least, holds in a file.
const VALUE_MAX: u64 = 15 << 40;
/// The longest key, in bytes of the name of a tensor.
const KEY_MAX: u32 = 16 << 10;

/// `safetensors` for the list of stores.
pub static DRIVER: Driver = Driver {
    kind: "safetensors",
    about: "the tensors of a safetensors file, or of a sharded model by its index or folder, as .npy files",
    same_as: None,
    location: Location::File,
    caps,
    separator: "/",
    recognise: files::recognise,
    own_files: &[],
    rights: None,
    open,
    sidecar: |_| Ok(None),
};

fn caps() -> Caps {
    Caps {
        kind: "safetensors",
        write: true,
        immutable: false,
        ordered: true,
        branches: true,
        attributes: false,
        folders: false,
        watch: false,
        snapshot: false,
        past: false,
        unlisted: "",
        settable: &[tensor::DTYPE, tensor::SHAPE],
        collections: false,
        atomic: Atomic::Batch,
        rename: Rename::Tree,
        pace: Pace::Disk,
        value_max: VALUE_MAX,
        key_max: KEY_MAX,
    }
}

fn open(opening: &Opening) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(open_model(opening)?))
}

fn open_model(opening: &Opening) -> Result<Safetensors> {
    let path = opening.location.as_deref();
    let path = path.ok_or_else(|| Error::new(ErrorKind::Invalid, "which file? Write safetensors:/path"))?;
    let names = Names::new(opening.separator.clone());
    let location = files::Location::find(path)?;
    let state_folder = &Folders::get().state;
    let (_, main) = location.place.resolve(&location.name)?;
    let (shown, main) = (location.shown(), main.shown());
    // Taken before anything is read, so that what is read is as the journal has it.
    let home = (!opening.read_only).then(|| Home::take(state_folder, &main));
    let leftover = match &home {
        Some(Ok(home)) => Journal::read(&home.path),
        _ => Ok(None),
    };
    let unfinished = Unfinished::of(leftover.as_ref().ok().and_then(Option::as_ref));
    let read = Files::read(&location, &names, &unfinished);
    let waits = || home.as_ref().is_none_or(Result::is_err) && journal::exists(state_folder, &main);
    let read = read.map_err(|error| {
        if waits() {
            error.context("its last mount was killed while it wrote: a mount that can write goes on")
        } else {
            error
        }
    })?;
    let refusal = rights::refusal(&location, &read.0).filter(|_| !opening.read_only);
    let write = !opening.read_only && refusal.is_none();
    let source = format!("{}:{}", DRIVER.kind, path.display());
    let model = Arc::new(Model::new(location, names, source, read, opening.timeout));
    match home.filter(|_| write) {
        Some(home) => model.begin_writing(state_folder, home?, leftover?)?,
        None if journal::exists(state_folder, &main) => tracing::warn!(
            "{shown}: what its last mount could not write is not shown: a mount that can write does that"
        ),
        None => {}
    }
    if let Some(refusal) = refusal {
        tracing::warn!("{refusal}");
        model.refuse(refusal);
    }
    let caps = || Caps { write, ..caps() };
    let flat = |form| {
        let tensors = Tensors { model: Arc::clone(&model), form };
        Flat::new(tensors, caps(), model.names.joint())
    };
    let (npy, raw) = (flat(Form::Npy), flat(Form::Raw));
    Ok(Safetensors { npy, raw, model, caps: caps() })
}

/// A model as a tree.
pub struct Safetensors {
    model: Arc<Model>,
    npy: Flat<Tensors>,
    raw: Flat<Tensors>,
    caps: Caps,
}

/// What a key leads to.
enum Place {
    /// The tensors as numpy's files.
    Npy,
    /// Their plain bytes, and the key there.
    Raw(Key),
    Header,
    Metadata,
    Nowhere,
}

impl Place {
    fn of(key: &Key) -> Place {
        match key.segment(0) {
            Some(Segment { bytes: b"", word: Word::Raw }) => Place::Raw(key.below(1)),
            Some(Segment { bytes: b"", word: Word::HeaderJson }) if key.len() == 1 => Place::Header,
            Some(Segment { bytes: b"", word: Word::MetadataJson }) if key.len() == 1 => Place::Metadata,
            Some(Segment { word: Word::HeaderJson | Word::MetadataJson, .. }) => Place::Nowhere,
            _ => Place::Npy,
        }
    }
}

impl Safetensors {
    /// What stands under `__metadata__`, as JSON with a line end; an empty object where there is nothing.
    fn metadata(&self) -> Result<Vec<u8>> {
        let state = self.model.current(About::All)?;
        let metadata = header::Texts(state.contents.metadata.clone().unwrap_or_default());
        let mut json = serde_json::to_vec_pretty(&metadata)
            .map_err(|error| Error::new(ErrorKind::Io, format!("the metadata: {error}")))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Carries out changes one after the other, but for attributes, which belong to what is put right before them.
    fn carry_out(&self, changes: &mut [Change<'_>]) -> Result<()> {
        let all_npy = changes.iter().all(|change| {
            let (key, to) = change.keys();
            let npy = |key: &Key| matches!(Place::of(key), Place::Npy);
            npy(key) && to.is_none_or(npy) && !matches!(change, Change::Set { .. })
        });
        if all_npy {
            return self.npy.apply(changes);
        }
        let mut rest = &mut *changes;
        while let Some((change, after)) = std::mem::take(&mut rest).split_first_mut() {
            rest = after;
            if let Change::Put { key, body, when } = change
                && let Some((Change::Set { key: same, directory: false, attributes }, _)) = rest.split_first()
                && key == same
                && matches!(Place::of(key), Place::Npy)
            {
                let declared = Declared::of(attributes)?;
                let put = Edit::Put { key: self.flat(key)?, body: Some(body), when: when.clone() };
                self.model.edit(Form::Npy, &[put], &declared)?;
                rest = &mut std::mem::take(&mut rest)[1..];
                continue;
            }
            self.carry_out_one(change)?;
        }
        Ok(())
    }

    fn carry_out_one(&self, change: &mut Change<'_>) -> Result<()> {
        let (key, to) = change.keys();
        let place = Place::of(key);
        if to.is_some_and(|to| !matches!((&place, Place::of(to)), (Place::Npy, Place::Npy))) {
            let sentence = "what begins with % has its name for good: copy it";
            return Err(Error::new(ErrorKind::CrossDevice, sentence));
        }
        match (place, &*change) {
            (Place::Npy, Change::Set { key, directory: false, attributes }) => {
                self.model.declare(Form::Npy, &self.flat(key)?, &Declared::of(attributes)?)
            }
            (Place::Npy, change) => self.npy.apply(&mut [change.again()]),
            (Place::Raw(rest), change) => self.raw.apply(&mut [change.with_keys(&rest, &rest)]),
            (Place::Metadata, Change::Put { body, .. }) => self.model.set_metadata(Some(metadata_of(body)?)),
            (Place::Metadata, Change::Delete { .. }) => self.model.set_metadata(None),
            _ => {
                let sentence = "the header is made of the tensors: change these, or %metadata.json";
                Err(Error::new(ErrorKind::NotPermitted, sentence))
            }
        }
    }

    /// The flat key under which a tensor can be put.
    fn flat(&self, key: &Key) -> Result<Vec<u8>> {
        self.npy.check_key(key)?;
        Ok(self.npy.separator().join(key).unwrap_or_default())
    }
}

/// Metadata as somebody wrote them.
fn metadata_of(body: &Payload) -> Result<header::Metadata> {
    if body.len() > header::HEADER_MAX {
        let sentence =
            format!("metadata of {} bytes: a header has at most {}", body.len(), header::HEADER_MAX);
        return Err(Error::new(ErrorKind::TooBig, sentence));
    }
    let mut json = vec![0; body.len() as usize];
    body.read(0, &mut json)?;
    let texts: header::Texts = serde_json::from_slice(&json).map_err(|error| {
        let sentence = format!("%metadata.json is an object whose members are texts: {error}");
        Error::new(ErrorKind::Invalid, sentence)
    })?;
    Ok(texts.0)
}

impl Store for Safetensors {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        let size = match Place::of(key) {
            Place::Npy => return self.npy.stat(key),
            Place::Raw(rest) => return self.raw.stat(&rest),
            Place::Header => self.model.header()?.len(),
            Place::Metadata => self.metadata()?.len() as u64,
            Place::Nowhere => return Ok(None),
        };
        Ok(Some(Stat::plain(Kind::Leaf, size, self.model.known().contents.changed)))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match Place::of(dir) {
            Place::Npy => self.npy.list(dir, from, each),
            Place::Raw(rest) => self.raw.list(&rest, from, each),
            _ => {
                from.done = true;
                Ok(())
            }
        }
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match Place::of(dir) {
            Place::Npy => self.npy.list_prefix(dir, prefix, each),
            Place::Raw(rest) => self.raw.list_prefix(&rest, prefix, each),
            _ => Ok(()),
        }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match Place::of(key) {
            Place::Npy => self.npy.open(key),
            Place::Raw(rest) => self.raw.open(&rest),
            Place::Header => self.model.header().map(Some),
            Place::Metadata => Ok(Some(Box::new(SharedBytes(self.metadata()?.into())))),
            Place::Nowhere => Ok(None),
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(self.model.refused());
        }
        self.carry_out(changes)
    }

    fn sync(&self) -> Result<()> {
        if self.caps.write { self.model.commit() } else { Ok(()) }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        self.model.names.check_text(key)?;
        match Place::of(key) {
            Place::Npy => self.npy.check_key(key),
            Place::Raw(rest) => self.raw.check_key(&rest),
            Place::Header | Place::Metadata => Ok(()),
            Place::Nowhere => {
                Err(Error::new(ErrorKind::Invalid, format!("{key:?}: nothing lies below a file")))
            }
        }
    }

    fn check_file(&self, key: &Key) -> Result<()> {
        let (flat, form) = match Place::of(key) {
            Place::Npy => (self.npy.raw_key(key, false), Form::Npy),
            Place::Raw(rest) => (self.raw.raw_key(&rest, false), Form::Raw),
            _ => return self.check_key(key),
        };
        self.check_key(key)?;
        self.model.names.name(&flat, form).map(drop)
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let (flat, form) = match Place::of(key) {
            Place::Npy => (self.npy.raw_key(key, directory), Form::Npy),
            Place::Raw(rest) => (self.raw.raw_key(&rest, directory), Form::Raw),
            _ => return Vec::new(),
        };
        if directory {
            return self.model.names.prefix(&flat);
        }
        self.model.names.name(&flat, form).map(String::into_bytes).unwrap_or_default()
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let (flat, form) = match Place::of(key) {
            Place::Npy => (self.npy.raw_key(key, false), Form::Npy),
            Place::Raw(rest) => (self.raw.raw_key(&rest, false), Form::Raw),
            _ => return Ok(Vec::new()),
        };
        let state = self.model.current(About::One(&flat, form))?;
        Ok(state.contents.of(form).get(&flat).map(|tensor| tensor.known()).unwrap_or_default())
    }

    fn version_of(&self, key: &Key, _body: &Payload) -> Result<Option<Version>> {
        self.open(key)?.map(|value| value.version()).transpose()
    }

    fn foreign_changes(&self) -> Option<u64> {
        Some(self.model.known().foreign_changes)
    }

    fn usage(&self) -> Usage {
        self.npy.usage()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let state = self.model.known();
        let mut facts = vec![
            ("tensors", state.contents.len().to_string()),
            ("files", state.files.all().count().to_string()),
        ];
        if state.pending {
            facts.push(("not written yet", "changes, until fsync, kvfs sync or unmount".to_owned()));
        }
        facts.extend(state.refusal.clone().map(|refusal| ("read-only", refusal)));
        facts
    }

    fn close(&self) -> Result<()> {
        if !self.caps.write {
            return Ok(());
        }
        let committed = self.model.commit();
        self.model.end_writing();
        committed.map_err(|error| {
            error.context("what was changed is not in the file yet, and is there again when it is mounted")
        })
    }
}
