//! The files of a model as they are read: one, or several that an index names.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::contents::Contents;
use super::header::{Described, HEADER_MAX, Header, LENGTH, Metadata};
use super::index::Index;
use super::names::Names;
use super::recover::Unfinished;
use super::source::Source;
use super::tensor::{Range, RangeFile, Tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{SharedBytes, Value};
use crate::store::local_file::place::{Place, Resolved, Stamp};

/// What the name of a file ends in.
const SUFFIX: &[u8] = b".safetensors";
/// What the name of an index ends in.
const INDEX_SUFFIX: &[u8] = b".safetensors.index.json";

/// Where a model is.
#[derive(Debug)]
pub(super) struct Location {
    pub place: Arc<Place>,
    /// The file in it, or the index; it may be a link, which may lead elsewhere later.
    pub name: OsString,
    /// Whether it is an index.
    pub sharded: bool,
}

impl Location {
    /// Finds it: a file, its index, or the folder of either. Links are followed.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where it cannot be told which one is meant; the system's.
    pub fn find(path: &Path) -> Result<Location> {
        let io = |error: std::io::Error| Error::io(path.display(), &error);
        if fs::metadata(path).map_err(io)?.is_dir() {
            let name = in_folder(path).map_err(io)?.ok_or_else(|| {
                let sentence = format!(
                    "{} has no {}, and not exactly one safetensors file: name the file",
                    path.display(),
                    "model.safetensors.index.json"
                );
                Error::new(ErrorKind::Invalid, sentence)
            })?;
            return Location::find(&path.join(name));
        }
        let sharded = path.as_os_str().as_bytes().ends_with(INDEX_SUFFIX);
        // The files that an index names lie beside the name that it has, wherever that leads.
        let (place, name) = Place::beside(path)?;
        Ok(Location { place: Arc::new(place), name, sharded })
    }

    /// For people.
    pub fn shown(&self) -> String {
        self.place.shown(&self.name)
    }
}

/// The index in a folder, else the only file, where there is one.
fn in_folder(folder: &Path) -> std::io::Result<Option<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name());
    }
    let ending = |suffix: &[u8]| {
        let mut found = names.iter().filter(|name| name.as_bytes().ends_with(suffix));
        found.next().filter(|_| found.next().is_none()).cloned()
    };
    Ok(ending(INDEX_SUFFIX).or_else(|| ending(SUFFIX)))
}

/// Whether the file or the folder at this path is a model, told by name and content.
pub(super) fn recognise(path: &Path) -> bool {
    if path.is_dir() {
        return in_folder(path).is_ok_and(|name| name.is_some());
    }
    let name = path.as_os_str().as_bytes();
    if !path.is_file() || name.ends_with(INDEX_SUFFIX) || name.ends_with(SUFFIX) {
        return path.is_file();
    }
    let mut first = [0; LENGTH as usize + 2];
    let read = fs::File::open(path).and_then(|mut file| {
        file.read_exact(&mut first)?;
        Ok(file.metadata()?.len())
    });
    let (length, text) = first.split_at(LENGTH as usize);
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    read.is_ok_and(|size| length <= HEADER_MAX.min(size.saturating_sub(LENGTH)))
        && matches!(text, b"{\"" | b"{}")
}

/// The files as they were read.
#[derive(Debug)]
pub(super) struct Files {
    /// The index of a sharded model.
    pub index: Option<IndexFile>,
    /// The files that have tensors: one without an index.
    pub parts: Vec<Part>,
}

/// An index that was read.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub file: Resolved,
    pub source: Arc<Source>,
    pub index: Index,
}

/// A file with tensors that was read.
#[derive(Debug)]
pub(super) struct Part {
    pub file: Resolved,
    pub source: Arc<Source>,
    /// Where the data begin.
    pub data: u64,
    /// What stands under `__metadata__` in it.
    pub metadata: Option<Metadata>,
    /// Tensors that the index does not name. They stay.
    pub unlisted: Vec<Arc<Tensor>>,
}

impl Files {
    /// Reads what is at `location`. With changes that were only half carried out, what they did is taken for what the index
    /// should say already.
    ///
    /// # Errors
    /// `Invalid` with a sentence for what is no model; `Stale` for a file that somebody writes; the system's.
    pub fn read(
        location: &Location,
        names: &Names,
        unfinished: &Unfinished<'_>,
    ) -> Result<(Files, Contents)> {
        if location.sharded {
            Files::read_sharded(location, names, unfinished)
        } else {
            Files::read_one(location, names)
        }
    }

    fn read_one(location: &Location, names: &Names) -> Result<(Files, Contents)> {
        let (mut part, header) = Part::read(&location.place, &location.name)?;
        let time = part.file.changed;
        let mut contents = Contents::new(header.metadata.clone(), time);
        for described in header.tensors {
            let tensor = part.tensor(described, 0);
            contents.set(names, &tensor.name.clone(), Some(Arc::new(tensor)));
        }
        part.metadata = header.metadata;
        Ok((Files { index: None, parts: vec![part] }, contents))
    }

    fn read_sharded(
        location: &Location,
        names: &Names,
        unfinished: &Unfinished<'_>,
    ) -> Result<(Files, Contents)> {
        let place = &location.place;
        let invalid =
            |why: &dyn fmt::Display| Error::new(ErrorKind::Invalid, format!("{}: {why}", location.shown()));
        let index = IndexFile::read(location)?;
        let mut files = BTreeMap::<&str, HashSet<&str>>::new();
        for (tensor, file) in &index.index.weight_map {
            files.entry(file).or_default().insert(tensor);
        }
        let mut contents = Contents::new(Some(index.index.metadata()), index.file.changed);
        let mut parts = Vec::with_capacity(files.len());
        for (number, (file, mut wanted)) in files.into_iter().enumerate() {
            let name = OsStr::new(file);
            if Path::new(file).file_name() != Some(name) {
                return Err(invalid(&format_args!("{file:?} is no name of a file beside it")));
            }
            let (mut part, header) = Part::read(place, name)?;
            contents.changed = contents.changed.max(part.file.changed);
            let named = wanted.clone();
            unfinished.adjust(&index.file, &part.file, number, &mut wanted);
            for described in header.tensors {
                let (listed, named) = (wanted.remove(&*described.name), named.contains(&*described.name));
                let tensor = Arc::new(part.tensor(described, number));
                if listed {
                    contents.set(names, &tensor.name, Some(Arc::clone(&tensor)));
                } else if !named {
                    part.unlisted.push(tensor);
                }
            }
            if let Some(missing) = wanted.iter().next() {
                return Err(invalid(&format_args!("its tensor {missing:?} is not in {file}")));
            }
            part.metadata = header.metadata;
            parts.push(part);
        }
        Ok((Files { index: Some(index), parts }, contents))
    }

    /// All files: the index first, where there is one.
    pub fn all(&self) -> impl Iterator<Item = &Resolved> {
        self.index.iter().map(|index| &index.file).chain(self.parts.iter().map(|part| &part.file))
    }

    /// The first of them, by which the model is known.
    ///
    /// # Errors
    /// None: there is one.
    pub fn first(&self) -> Result<&Resolved> {
        self.all().next().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whether each of the files that matter is what it was: all of them, or the index and this one.
    ///
    /// # Errors
    /// `NotFound` for one that is gone; the system's.
    pub fn are_current(&self, place: &Place, which: Option<usize>) -> Result<bool> {
        let index = self.index.iter().map(|index| &index.file);
        let parts = self.parts.iter().enumerate();
        let parts = parts.filter(|(number, _)| which.is_none_or(|which| which == *number));
        for file in index.chain(parts.map(|(_, part)| &part.file)) {
            if place.stamp(&file.link)? != file.stamp {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The versions that the files have now.
    ///
    /// # Errors
    /// `NotFound` for one that is gone; the system's.
    pub fn stamps(&self, place: &Place) -> Result<Vec<Stamp>> {
        self.all().map(|file| place.stamp(&file.link)).collect()
    }

    /// Where the text of the header is, or that of the index.
    fn text(&self) -> (Option<Range>, Stamp) {
        let range = |source: &Arc<Source>, at, length| Some(Range { source: Arc::clone(source), at, length });
        match (&self.index, self.parts.first()) {
            (Some(IndexFile { file, source, .. }), _) => (range(source, 0, file.stamp.size), file.stamp),
            (None, Some(part)) => (range(&part.source, LENGTH, part.data - LENGTH), part.file.stamp),
            (None, None) => (None, Stamp::default()),
        }
    }

    /// The text of the header, or of the index, as it stands in its file.
    pub fn header(&self) -> Box<dyn Value> {
        match self.text() {
            (Some(range), stamp) => Box::new(RangeFile { range, version: stamp.version(0) }),
            (None, _) => Box::new(SharedBytes(Arc::from([]))),
        }
    }

    /// Whether a file has a tensor of this name that the index does not name.
    pub fn has_unlisted(&self, part: usize, name: &str) -> bool {
        self.parts.get(part).is_some_and(|part| part.unlisted.iter().any(|tensor| tensor.name == name))
    }
}

impl IndexFile {
    fn read(location: &Location) -> Result<IndexFile> {
        let shown = location.shown();
        let invalid = |why: &dyn fmt::Display| Error::new(ErrorKind::Invalid, format!("{shown}: {why}"));
        let (file, resolved) = location.place.resolve(&location.name)?;
        if resolved.stamp.size > HEADER_MAX {
            return Err(invalid(&format_args!("an index of more than {HEADER_MAX} bytes")));
        }
        let mut text = vec![0; resolved.stamp.size as usize];
        file.read_exact_at(&mut text, 0).map_err(|error| Error::io(&shown, &error))?;
        let index = Index::parse(&text).map_err(|error| invalid(&error))?;
        let source = Arc::new(Source::new(file, shown.clone(), Some(resolved.stamp)));
        Ok(IndexFile { file: resolved, source, index })
    }
}

impl Part {
    fn read(place: &Arc<Place>, name: &OsStr) -> Result<(Part, Header)> {
        let (file, resolved) = place.resolve(name)?;
        let shown = place.shown(name);
        let (data, header) = read_header(&file, resolved.stamp.size, &shown)?;
        let source = Arc::new(Source::new(file, shown.clone(), Some(resolved.stamp)));
        // Looked at behind the bytes.
        source.check()?;
        let header = header().map_err(|error| error.context(&shown))?;
        Ok((Part { file: resolved, source, data, metadata: None, unlisted: Vec::new() }, header))
    }

    /// A tensor of it, which is the file of this number.
    fn tensor(&self, described: Described, number: usize) -> Tensor {
        let (at, stamp) = (self.data + described.begin, self.file.stamp);
        let source = (Arc::clone(&self.source), at);
        Tensor { file: number, ..Tensor::new(described, source, stamp.version(at), self.file.changed) }
    }
}

/// Where the data begin in a file of this size, and what parses its header.
fn read_header(
    file: &File,
    size: u64,
    shown: &str,
) -> Result<(u64, impl FnOnce() -> Result<Header> + use<>)> {
    let io = |error: std::io::Error| Error::io(shown, &error);
    let invalid = |why: String| Error::new(ErrorKind::Invalid, format!("{shown}: {why}"));
    let mut length = [0; LENGTH as usize];
    let Some(rest) = size.checked_sub(LENGTH) else {
        return Err(invalid(format!("a safetensors file has more than its {size} bytes")));
    };
    file.read_exact_at(&mut length, 0).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_MAX {
        return Err(invalid(format!("a header of {length} bytes: the format has at most {HEADER_MAX}")));
    }
    let data = rest
        .checked_sub(length)
        .ok_or_else(|| invalid(format!("a header of {length} bytes in a file of {size}")))?;
    let mut json = vec![0; length as usize];
    file.read_exact_at(&mut json, LENGTH).map_err(io)?;
    Ok((LENGTH + length, move || Header::parse(&json, data)))
}
