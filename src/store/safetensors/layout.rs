//! How tensors lie in a file that is to be written, and its header.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::dtype::ElementType;
use super::header::{HEADER_MAX, LENGTH, METADATA, Metadata, Texts};
use super::tensor::Tensor;
use crate::error::{Error, ErrorKind, Result};

/// A file that is to be written.
pub(super) struct Layout {
    /// The tensors in the order of their data, each with the offset at which it begins in them.
    pub tensors: Vec<(u64, Arc<Tensor>)>,
    /// The header's length and its text.
    pub head: Vec<u8>,
    /// Length of the data, in bytes.
    pub data: u64,
}

impl Layout {
    /// Data keep the order they have, what is new comes last; where one would not be aligned to its elements, all are in the
    /// crate's order, by type and name, in which none needs a gap.
    ///
    /// # Errors
    /// `NoSpace` where the header would be too long.
    pub fn of<'t>(
        metadata: Option<&Metadata>,
        tensors: impl Iterator<Item = &'t Arc<Tensor>>,
    ) -> Result<Layout> {
        let mut tensors: Vec<&Arc<Tensor>> = tensors.collect();
        tensors.sort_by(|a, b| (a.order, a.length, &a.name).cmp(&(b.order, b.length, &b.name)));
        let mut at = 0;
        let aligned = tensors.iter().all(|tensor| {
            let begin = at;
            at += tensor.length;
            begin % tensor.dtype.alignment() == 0
        });
        if !aligned {
            tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
        }
        let mut data = 0;
        let placed = tensors.into_iter().map(|tensor| {
            let begin = data;
            data += tensor.length;
            (begin, Arc::clone(tensor))
        });
        let tensors: Vec<_> = placed.collect();
        let header = Written { metadata, tensors: &tensors };
        let mut text = serde_json::to_vec(&header)
            .map_err(|error| Error::new(ErrorKind::Io, format!("the header: {error}")))?;
        text.resize(text.len().next_multiple_of(LENGTH as usize), b' ');
        if text.len() as u64 > HEADER_MAX {
            let sentence = format!("a header of {} bytes: the format has at most {HEADER_MAX}", text.len());
            return Err(Error::new(ErrorKind::NoSpace, sentence));
        }
        let mut head = (text.len() as u64).to_le_bytes().to_vec();
        head.extend_from_slice(&text);
        Ok(Layout { tensors, head, data })
    }

    /// The text of the header.
    pub fn text(&self) -> &[u8] {
        &self.head[LENGTH as usize..]
    }
}

/// The longest that a tensor's part of a header can be, in bytes.
pub(super) fn longest_entry(tensor: &Tensor) -> u64 {
    // A character is escaped with six bytes at most; a number has 20 digits.
    let name: usize = tensor.name.chars().map(|char| if char < ' ' { 6 } else { 2 * char.len_utf8() }).sum();
    (name + 100 + 21 * tensor.shape.len()) as u64
}

struct Written<'a> {
    metadata: Option<&'a Metadata>,
    tensors: &'a [(u64, Arc<Tensor>)],
}

#[derive(Serialize)]
struct Entry<'a> {
    dtype: ElementType,
    shape: &'a [u64],
    data_offsets: (u64, u64),
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(metadata) = self.metadata {
            map.serialize_entry(METADATA, &Texts(metadata.clone()))?;
        }
        for (begin, tensor) in self.tensors {
            let data_offsets = (*begin, begin + tensor.length);
            map.serialize_entry(
                &tensor.name,
                &Entry { dtype: tensor.dtype, shape: &tensor.shape, data_offsets },
            )?;
        }
        map.end()
    }
}
