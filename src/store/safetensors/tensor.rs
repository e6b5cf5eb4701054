//! Tensors: what is known of each, and their bytes as files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::dtype::ElementType;
use super::header::Described;
use super::journal::Noted;
use super::names::Form;
use super::npy;
use super::source::Source;
use crate::error::Result;
use crate::store::api::{Value, Version};
use crate::store::flat::Found;

/// What it is called to those who ask for its type (§5.7).
pub(super) const DTYPE: &str = "user.kvfs.dtype";
/// Its extents, as JSON.
pub(super) const SHAPE: &str = "user.kvfs.shape";
/// Where its data are in the data of its file, as JSON.
pub(super) const OFFSETS: &str = "user.kvfs.offsets";

/// So far ahead the disk is asked, in bytes.
const AHEAD: u64 = 8 << 20;

/// The [order](Tensor::order) of what is new.
pub(super) const NEW: u64 = u64::MAX;

/// One version of one tensor.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub name: String,
    pub dtype: ElementType,
    pub shape: Box<[u64]>,
    /// Length of the data, in bytes.
    pub length: u64,
    /// Where the data are.
    pub source: Arc<Source>,
    /// Where they begin there.
    pub at: u64,
    /// Its offsets in the file; `None` for what is not in it yet.
    pub offsets: Option<(u64, u64)>,
    /// Its place among the others where the file is written anew: the offset of what it is or replaces, or [`NEW`].
    pub order: u64,
    /// Which of the model's files with tensors has it, or will have it.
    pub file: usize,
    pub version: Version,
    pub modified: SystemTime,
    /// Length of what stands before the data in the `.npy` file.
    pub head: u64,
}

impl Tensor {
    /// A tensor whose data begin at `at` in `source`.
    pub fn new(
        described: Described,
        (source, at): (Arc<Source>, u64),
        version: Version,
        modified: SystemTime,
    ) -> Tensor {
        let Described { name, dtype, shape, begin, end } = described;
        let head = npy::head(dtype, &shape, end - begin).len() as u64;
        let (length, offsets) = (end - begin, Some((begin, end)));
        Tensor {
            name,
            dtype,
            shape,
            length,
            source,
            at,
            offsets,
            order: begin,
            file: 0,
            version,
            modified,
            head,
        }
    }

    /// A tensor that is not in the file yet.
    pub fn pending(
        (name, noted): (&str, &Noted),
        source: Arc<Source>,
        at: u64,
        version: Version,
        modified: SystemTime,
    ) -> Tensor {
        let Noted { dtype, shape, length, part, order, .. } = noted;
        let described = Described {
            name: name.to_owned(),
            dtype: *dtype,
            shape: shape.clone().into(),
            begin: 0,
            end: *length,
        };
        let tensor = Tensor::new(described, (source, at), version, modified);
        Tensor { offsets: None, order: *order, file: *part, ..tensor }
    }

    /// The same bytes as another type or shape.
    pub fn seen_as(
        &self,
        dtype: ElementType,
        shape: Box<[u64]>,
        version: Version,
        modified: SystemTime,
    ) -> Tensor {
        let head = npy::head(dtype, &shape, self.length).len() as u64;
        Tensor { dtype, shape, version, modified, head, ..self.clone() }
    }

    /// What a listing tells of it.
    pub fn found(&self, form: Form) -> Found {
        let head = if form == Form::Npy { self.head } else { 0 };
        Found { size: head + self.length, modified: self.modified }
    }

    /// Its file.
    pub fn open(self: &Arc<Tensor>, form: Form) -> Box<dyn Value> {
        let head = match form {
            Form::Npy => npy::head(self.dtype, &self.shape, self.length),
            Form::Raw => Vec::new(),
        };
        let data = Range { source: Arc::clone(&self.source), at: self.at, length: self.length };
        let (next, asked) = Default::default();
        Box::new(TensorFile { head, data, version: self.version.clone(), next, asked })
    }

    /// What is known of it besides (§5.7).
    pub fn known(&self) -> Vec<(&'static str, Vec<u8>)> {
        let shape = format!("{:?}", self.shape).into_bytes();
        let mut known = vec![(DTYPE, self.dtype.to_string().into_bytes()), (SHAPE, shape)];
        if let Some((begin, end)) = self.offsets {
            known.push((OFFSETS, format!("[{begin}, {end}]").into_bytes()));
        }
        known
    }
}

/// Bytes of a file.
#[derive(Debug)]
pub(super) struct Range {
    pub source: Arc<Source>,
    /// The first one.
    pub at: u64,
    /// How many.
    pub length: u64,
}

impl Range {
    /// Hands out some of them, in pieces; cut at the end.
    ///
    /// # Errors
    /// See [`Source::read`].
    pub fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        match self.length.checked_sub(offset) {
            Some(left @ 1..) => self.source.read(self.at + offset, left.min(size), sink),
            _ => Ok(()),
        }
    }
}

/// An open tensor: the head in memory, the data in its file.
struct TensorFile {
    head: Vec<u8>,
    data: Range,
    version: Version,
    /// Where the next read begins, if it follows the last one.
    next: AtomicU64,
    /// How far the disk was asked for what comes.
    asked: AtomicU64,
}

impl TensorFile {
    /// Reads in order have the disk read ahead, up to the end of the tensor, and not what lies behind it. Those of several
    /// threads come a little out of order.
    fn read_data(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let end = offset.saturating_add(size).min(self.data.length);
        let in_order = self.next.swap(end, Ordering::Relaxed).abs_diff(offset) <= AHEAD;
        let asked = if in_order { self.asked.load(Ordering::Relaxed).max(end) } else { end };
        if in_order && asked < end + AHEAD / 2 {
            let ahead = (end + AHEAD).min(self.data.length);
            if ahead > asked {
                self.data.source.will_need(self.data.at + asked, ahead - asked);
            }
            self.asked.store(ahead, Ordering::Relaxed);
        } else if !in_order {
            self.asked.store(end, Ordering::Relaxed);
        }
        self.data.read(offset, size, sink)
    }
}

impl Value for TensorFile {
    fn len(&self) -> u64 {
        self.head.len() as u64 + self.data.length
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let head = self.head.len() as u64;
        if offset >= head {
            return self.read_data(offset - head, size, sink);
        }
        let of_head = size.min(head - offset);
        let start = offset as usize;
        if of_head > 0 {
            sink(&self.head[start..start + of_head as usize]);
        }
        if size > of_head { self.read_data(0, size - of_head, sink) } else { Ok(()) }
    }

    fn version(&self) -> Result<Version> {
        Ok(self.version.clone())
    }
}

/// Bytes of a file as a file: the text of a header.
pub(super) struct RangeFile {
    pub range: Range,
    pub version: Version,
}

impl Value for RangeFile {
    fn len(&self) -> u64 {
        self.range.length
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.range.read(offset, size, sink)
    }

    fn version(&self) -> Result<Version> {
        Ok(self.version.clone())
    }
}
