//! The files of a model as they are read: one, or several that an index names.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::contents::Contents;
use super::header::{HEADER_MAX, Header, LENGTH};
use super::index::{Index, Plain};
use super::names::Names;
use super::source::Source;
use super::tensor::{Range, RangeFile, Tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::Value;
use crate::store::local_file::place::{Place, Stamp};

/// What the name of a file ends in.
const SUFFIX: &[u8] = b".safetensors";
/// What the name of an index ends in.
const INDEX_SUFFIX: &[u8] = b".safetensors.index.json";

/// Where a model is.
#[derive(Debug)]
pub(super) struct Location {
    pub place: Place,
    /// The file in it, or the index.
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
        let (place, name) = if sharded { Place::beside(path)? } else { Place::of_file(path)? };
        Ok(Location { place, name, sharded })
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
    /// Each with the version of it that was read: the index first, where there is one.
    pub watched: Vec<(OsString, Stamp)>,
    /// The bytes of the header or of the index.
    header: (Arc<Source>, u64, u64),
    /// The file that may be written anew; `None` where there are several.
    pub single: Option<Arc<Source>>,
}

impl Files {
    /// Reads what is at `location`.
    ///
    /// # Errors
    /// `Invalid` with a sentence for what is no model; `Stale` for a file that somebody writes; the system's.
    pub fn read(location: &Location, names: &Names) -> Result<(Files, Contents)> {
        if location.sharded { Files::read_sharded(location, names) } else { Files::read_one(location, names) }
    }

    fn read_one(location: &Location, names: &Names) -> Result<(Files, Contents)> {
        let shard = Shard::read(&location.place, &location.name)?;
        let time = shard.stamp.time();
        let mut contents = Contents::new(shard.header.metadata, time);
        for described in shard.header.tensors {
            let at = shard.data + described.begin;
            let version = shard.stamp.version(at);
            let tensor = Tensor::new(described, (Arc::clone(&shard.source), at), version, time);
            contents.set(names, &tensor.name.clone(), Some(Arc::new(tensor)));
        }
        let header = (Arc::clone(&shard.source), LENGTH, shard.data - LENGTH);
        let watched = vec![(location.name.clone(), shard.stamp)];
        Ok((Files { watched, header, single: Some(shard.source) }, contents))
    }

    fn read_sharded(location: &Location, names: &Names) -> Result<(Files, Contents)> {
        let place = &location.place;
        let invalid =
            |why: &dyn fmt::Display| Error::new(ErrorKind::Invalid, format!("{}: {why}", location.shown()));
        let (file, stamp) = place.file(&location.name)?;
        if stamp.size > HEADER_MAX {
            return Err(invalid(&format_args!("an index of more than {HEADER_MAX} bytes")));
        }
        let mut text = vec![0; stamp.size as usize];
        file.read_exact_at(&mut text, 0).map_err(|error| Error::io(location.shown(), &error))?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| invalid(&error))?;
        let mut files = BTreeMap::<&str, HashSet<&str>>::new();
        for (tensor, file) in &index.weight_map.0 {
            files.entry(file).or_default().insert(tensor);
        }
        let mut contents = Contents::new(None, stamp.time());
        let mut watched = vec![(location.name.clone(), stamp)];
        for (file, mut wanted) in files {
            let name = OsStr::new(file);
            if Path::new(file).file_name() != Some(name) {
                return Err(invalid(&format_args!("{file:?} is no name of a file beside it")));
            }
            let shard = Shard::read(place, name)?;
            contents.changed = contents.changed.max(shard.stamp.time());
            for described in shard.header.tensors {
                if !wanted.remove(&*described.name) {
                    continue;
                }
                let at = shard.data + described.begin;
                let version = shard.stamp.version(at);
                let source = (Arc::clone(&shard.source), at);
                let mut tensor = Tensor::new(described, source, version, shard.stamp.time());
                tensor.file = watched.len();
                contents.set(names, &tensor.name.clone(), Some(Arc::new(tensor)));
            }
            if let Some(missing) = wanted.iter().next() {
                return Err(invalid(&format_args!("its tensor {missing:?} is not in {file}")));
            }
            watched.push((name.to_owned(), shard.stamp));
        }
        let metadata = index.metadata.unwrap_or_default().into_iter();
        contents.metadata = Some(metadata.map(|(name, Plain(text))| (name, text)).collect());
        let source = Arc::new(Source::new(file, location.shown(), Some(stamp)));
        Ok((Files { watched, header: (source, 0, stamp.size), single: None }, contents))
    }

    /// Whether each of the files that matter is what it was: all of them, or the first one and this one.
    ///
    /// # Errors
    /// `NotFound` for one that is gone; the system's.
    pub fn are_current(&self, place: &Place, which: Option<usize>) -> Result<bool> {
        for (index, (name, stamp)) in self.watched.iter().enumerate() {
            let matters = index == 0 || which.is_none_or(|which| which == index);
            if matters && place.stamp(name)? != *stamp {
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
        self.watched.iter().map(|(name, _)| place.stamp(name)).collect()
    }

    /// The one file is this one now, whose data begin at `data`.
    pub fn replaced(&mut self, source: Arc<Source>, stamp: Stamp, data: u64) {
        if let Some((_, watched)) = self.watched.first_mut() {
            *watched = stamp;
        }
        self.header = (Arc::clone(&source), LENGTH, data - LENGTH);
        self.single = Some(source);
    }

    /// The text of the header, or of the index, as it stands in its file.
    pub fn header(&self) -> Box<dyn Value> {
        let (source, at, length) = &self.header;
        let range = Range { source: Arc::clone(source), at: *at, length: *length };
        let stamp = self.watched.first().map(|(_, stamp)| stamp.version(0));
        Box::new(RangeFile {
            range,
            version: stamp.unwrap_or_else(|| crate::store::api::Version::of_content(b"")),
        })
    }

    /// The length of the text of the header, or of the index.
    pub fn header_length(&self) -> u64 {
        self.header.2
    }
}

/// One file that was read.
struct Shard {
    source: Arc<Source>,
    stamp: Stamp,
    header: Header,
    /// Where the data begin.
    data: u64,
}

impl Shard {
    fn read(place: &Place, name: &OsStr) -> Result<Shard> {
        let (file, stamp) = place.file(name)?;
        let shown = place.shown(name);
        let io = |error: std::io::Error| Error::io(&shown, &error);
        let invalid = |why: String| Error::new(ErrorKind::Invalid, format!("{shown}: {why}"));
        let mut length = [0; LENGTH as usize];
        let Some(rest) = stamp.size.checked_sub(LENGTH) else {
            return Err(invalid(format!("a safetensors file has more than its {} bytes", stamp.size)));
        };
        file.read_exact_at(&mut length, 0).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > HEADER_MAX {
            return Err(invalid(format!("a header of {length} bytes: the format has at most {HEADER_MAX}")));
        }
        let data = rest
            .checked_sub(length)
            .ok_or_else(|| invalid(format!("a header of {length} bytes in a file of {}", stamp.size)))?;
        let mut json = vec![0; length as usize];
        file.read_exact_at(&mut json, LENGTH).map_err(io)?;
        let source = Arc::new(Source::new(file, shown.clone(), Some(stamp)));
        // Looked at behind the bytes.
        source.check()?;
        let header = Header::parse(&json, data).map_err(|error| error.context(&shown))?;
        Ok(Shard { source, stamp, header, data: LENGTH + length })
    }
}
