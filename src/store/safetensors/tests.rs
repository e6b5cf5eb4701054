//! The store as the Vfs sees it, over files that the crate wrote.

mod lasting;
mod reading;
mod sharded;
mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use crate::error::{Error, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{Change, Cursor, Store, Value, When};
use crate::store::driver::Opening;

/// A tensor of a file: its name, type, shape and bytes.
pub(super) type Row<'a> = (&'a str, Dtype, &'a [usize], &'a [u8]);

/// The bytes of a file with these tensors.
pub(super) fn file_of(rows: &[Row<'_>], metadata: &[(&str, &str)]) -> Vec<u8> {
    let views = rows
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    let metadata = metadata.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let metadata: Vec<_> = metadata.collect();
    let metadata = (!metadata.is_empty()).then(|| metadata.into_iter().collect());
    serialize(views.collect::<Vec<_>>(), metadata).unwrap()
}

/// A folder with a model in it.
pub(super) struct Case {
    pub folder: tempfile::TempDir,
    pub path: PathBuf,
}

impl Case {
    pub fn new(rows: &[Row<'_>]) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, file_of(rows, &[("format", "pt")])).unwrap();
        Case { folder, path }
    }

    pub fn open(&self) -> Arc<dyn Store> {
        open(&self.path, Some(".")).unwrap()
    }
}

/// A file of numpy.
pub(super) fn npy(descr: &str, fortran_order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend_from_slice(&(text.len() as u16).to_le_bytes());
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(data);
    file
}

pub(super) fn put(store: &dyn Store, path: &str, file: &[u8]) -> Result<()> {
    let body = Payload::of(file).unwrap();
    store.apply(&mut [Change::Put { key: &key(path), body: &body, when: When::Always }])
}

pub(super) fn put_bytes(store: &dyn Store, path: &str, data: &[u8]) {
    put(store, path, &npy("'|u1'", "False", &format!("({},)", data.len()), data)).unwrap();
}

/// What a file has: name, type, shape and bytes of each tensor, in the order of the bytes.
pub(super) fn rows_of(file: &[u8]) -> Vec<(String, Dtype, Vec<usize>, Vec<u8>)> {
    let (length, metadata) = SafeTensors::read_metadata(file).unwrap();
    assert_eq!(length % 8, 0, "the header is padded");
    let tensors = SafeTensors::deserialize(file).unwrap();
    let row = |name: String| {
        let tensor = tensors.tensor(&name).unwrap();
        (name, tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec())
    };
    metadata.offset_keys().into_iter().map(row).collect()
}

/// Opens the model at `path`.
pub(super) fn open(path: &Path, separator: Option<&str>) -> Result<Arc<dyn Store>> {
    let separator = separator.map(|text| text.as_bytes().to_vec());
    super::open(&Opening { location: Some(path.to_owned()), separator, ..Opening::default() })
}

pub(super) fn key(path: &str) -> Key {
    let mut key = Key::root();
    for name in path.split('/') {
        let (bytes, word) = crate::name::decode(name.as_bytes()).unwrap();
        key.push(Segment { bytes: &bytes, word });
    }
    key
}

pub(super) fn bytes_of(value: &dyn Value) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes)
}

pub(super) fn value(store: &dyn Store, path: &str) -> Option<Vec<u8>> {
    store.open(&key(path)).unwrap().map(|value| bytes_of(&*value).unwrap())
}

/// All files that are listed, with their bytes.
pub(super) fn all(store: &dyn Store, dir: &Key) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut entries = Vec::new();
    store
        .list(dir, &mut Cursor::default(), &mut |entry| {
            entries.push((entry.segment.bytes.to_vec(), entry.stat));
            ControlFlow::Continue(())
        })
        .unwrap();
    for (name, stat) in entries {
        let below = dir.child(Segment::plain(&name));
        let shown = String::from_utf8_lossy(&name).into_owned();
        if stat.kind.has_value() {
            let value = store.open(&below).unwrap().unwrap();
            assert_eq!(value.len(), stat.size, "{shown}");
            found.insert(shown.clone(), bytes_of(&*value).unwrap());
        }
        if stat.kind.is_directory() {
            found.extend(
                all(store, &below).into_iter().map(|(rest, bytes)| (format!("{shown}/{rest}"), bytes)),
            );
        }
    }
    found
}

pub(super) fn raw(parts: &[&str]) -> Key {
    let mut raw = Key::root();
    raw.push(Segment { bytes: b"", word: Word::Raw });
    for name in parts {
        raw.push(Segment::plain(name.as_bytes()));
    }
    raw
}

pub(super) fn kind<T>(outcome: Result<T>) -> Option<crate::error::ErrorKind> {
    outcome.err().as_ref().map(Error::kind)
}
