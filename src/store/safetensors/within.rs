//! A safetensors file that is a value of another store, read-only: its header is read once for each version of it, and a tensor
//! is a range of the value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::header::{Described, HEADER_MAX, Header, LENGTH};
use super::names::{Form, Names};
use super::npy;
use super::tensor::{DTYPE, OFFSETS, SHAPE};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Caps, Stat, Store, Value, Version};
use crate::store::flat::{Edit, Flat, Found, Kv, Step, walk};

/// The longest header that is kept of a value, in bytes: of 100,000 tensors it has some 10 MB.
const HEADER_KEPT: u64 = 16 << 20;

/// The tensors of one version of a value.
pub(crate) struct Within {
    store: Arc<dyn Store>,
    file: Key,
    stat: Stat,
    /// What tells the header from that of another version.
    header: Version,
    /// The data begin here.
    data: u64,
    tensors: BTreeMap<Vec<u8>, Described>,
}

/// The tree of these tensors: each is one file.
pub(crate) type Tree = Flat<Within>;

/// Reads the header of the value at `file`, which `stat` speaks of; `None` where it is no safetensors file.
///
/// # Errors
/// The store's.
pub(crate) fn tree(store: &Arc<dyn Store>, file: &Key, stat: &Stat, caps: Caps) -> Result<Option<Tree>> {
    let Some(value) = store.open_told(file, stat)? else { return Ok(None) };
    if value.len() != stat.size {
        return Err(changed(file));
    }
    let Some(text) = header_of(&*value)? else { return Ok(None) };
    let data = LENGTH + text.len() as u64;
    let header = match Header::parse(&text, stat.size - data) {
        Ok(header) => header,
        Err(error) => {
            tracing::warn!("{file:?} is shown as a file: {error}");
            return Ok(None);
        }
    };
    let names = Names::new(None);
    let flat = |described: Described| (names.flat(&described.name, Form::Npy), described);
    let tensors = header.tensors.into_iter().map(flat).collect();
    let (store, file, header) = (Arc::clone(store), file.clone(), Version::of_content(&text));
    Ok(Some(Flat::new(Within { store, file, stat: *stat, header, data, tensors }, caps, None)))
}

/// The text of the header at the beginning of a value; `None` where there is none, or a longer one than is kept.
fn header_of(value: &dyn Value) -> Result<Option<Vec<u8>>> {
    let Some(rest) = value.len().checked_sub(LENGTH) else { return Ok(None) };
    let mut length = Vec::new();
    value.read(0, LENGTH, &mut |piece| length.extend_from_slice(piece))?;
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if length > rest.min(HEADER_KEPT).min(HEADER_MAX) {
        return Ok(None);
    }
    let mut text = Vec::with_capacity(length as usize);
    value.read(LENGTH, length, &mut |piece| text.extend_from_slice(piece))?;
    Ok(Some(text))
}

fn changed(file: &Key) -> Error {
    Error::new(ErrorKind::Stale, format!("{file:?} was replaced while it was looked at"))
}

impl Within {
    /// What it takes in memory, about, in bytes.
    pub fn bytes(&self) -> u64 {
        self.data + (self.tensors.len() * size_of::<Described>()) as u64
    }

    /// What is known of a tensor (§5.7).
    pub fn known(&self, flat: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let Some(Described { dtype, shape, begin, end, .. }) = self.tensors.get(flat) else {
            return Vec::new();
        };
        vec![
            (DTYPE, dtype.to_string().into_bytes()),
            (SHAPE, format!("{shape:?}").into_bytes()),
            (OFFSETS, format!("[{begin}, {end}]").into_bytes()),
        ]
    }

    fn found(&self, tensor: &Described) -> Found {
        let head = npy::head(tensor.dtype, &tensor.shape, tensor.end - tensor.begin).len() as u64;
        Found { size: head + tensor.end - tensor.begin, modified: self.stat.modified }
    }

    /// The value, in the version that the header is of.
    fn value(&self) -> Result<Box<dyn Value>> {
        let value = self.store.open_told(&self.file, &self.stat)?.ok_or(ErrorKind::NotFound)?;
        let same = value.len() == self.stat.size
            // Where the store tells versions, the first read of another one is refused.
            && (self.stat.version.is_some()
                || header_of(&*value)?.is_some_and(|text| Version::of_content(&text) == self.header));
        if same { Ok(value) } else { Err(changed(&self.file)) }
    }
}

impl Kv for Within {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        Ok(self.tensors.get(key).map(|tensor| self.found(tensor)))
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        let Some(tensor) = self.tensors.get(key) else { return Ok(None) };
        let length = tensor.end - tensor.begin;
        let head = npy::head(tensor.dtype, &tensor.shape, length);
        let seconds = self.stat.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let version = match self.stat.version {
            Some(tag) => tag.as_bytes().to_vec(),
            None => [&self.header.0[..], &seconds.as_nanos().to_le_bytes()].concat(),
        };
        let version = Version([&version[..], &tensor.begin.to_le_bytes()].concat().as_slice().into());
        Ok(Some(Box::new(Slice {
            value: self.value()?,
            head,
            at: self.data + tensor.begin,
            length,
            version,
        })))
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        walk(&self.tensors, from, &mut |key, tensor| each(key, self.found(tensor)));
        Ok(())
    }

    fn write(&self, _edits: &mut [Edit<'_>]) -> Result<()> {
        Err(Error::new(ErrorKind::ReadOnly, "the tensors of a value can only be read"))
    }

    fn changed(&self) -> SystemTime {
        self.stat.modified
    }
}

/// A tensor: a head in memory, and a range of a value.
struct Slice {
    value: Box<dyn Value>,
    head: Vec<u8>,
    at: u64,
    length: u64,
    version: Version,
}

impl Value for Slice {
    fn len(&self) -> u64 {
        self.head.len() as u64 + self.length
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let head = self.head.len() as u64;
        let end = offset.saturating_add(size).min(self.len());
        if offset < head.min(end) {
            sink(&self.head[offset as usize..head.min(end) as usize]);
        }
        let begin = offset.max(head);
        if begin < end { self.value.read(self.at + (begin - head), end - begin, sink) } else { Ok(()) }
    }

    fn version(&self) -> Result<Version> {
        Ok(self.version.clone())
    }
}
