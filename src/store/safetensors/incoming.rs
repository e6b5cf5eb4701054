//! Files of numpy on their way into a journal: what they are in the words of safetensors, and their data as it has them, in
//! C order with the low byte first.

use super::dtype::ElementType;
use super::header::{DIMENSIONS_MAX, data_length};
use super::journal::Record;
use super::npy::Array;
use super::tensor::{DTYPE, SHAPE, Tensor};
use super::transpose::transpose;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::attributes::Setting;

/// Bytes that are copied at once.
const PIECE: u64 = 1 << 20;

/// What somebody says of a tensor besides its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub dtype: Option<ElementType>,
    pub shape: Option<Vec<u64>>,
}

impl Declared {
    /// What extended attributes say.
    ///
    /// # Errors
    /// `Invalid` for what is neither a type nor a shape.
    pub fn of(setting: &Setting) -> Result<Declared> {
        let text = |name: &str| {
            let value = setting.xattrs.get(name.as_bytes())?.as_deref()?;
            Some(std::str::from_utf8(value).unwrap_or_default())
        };
        let dtype = text(DTYPE).map(|text| {
            let unknown =
                || Error::new(ErrorKind::Invalid, format!("{DTYPE}: no type of safetensors is {text:?}"));
            ElementType::named(text).ok_or_else(unknown)
        });
        let shape = text(SHAPE).map(|text| {
            serde_json::from_str(text).map_err(|_| {
                Error::new(ErrorKind::Invalid, format!("{SHAPE}: a shape is written [2, 3], not {text:?}"))
            })
        });
        Ok(Declared { dtype: dtype.transpose()?, shape: shape.transpose()? })
    }
}

/// A file of numpy, looked at.
#[derive(Debug)]
pub(super) struct Incoming {
    pub dtype: ElementType,
    pub shape: Vec<u64>,
    /// Length of the data, in bytes.
    pub length: u64,
    /// Where they begin in the file.
    begin: u64,
    /// As numpy has them.
    extents: Vec<u64>,
    width: u64,
    fortran_order: bool,
    /// The length of what has its bytes in the other order; 1 where nothing has.
    swapped: usize,
}

fn invalid(sentence: String) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

impl Incoming {
    /// Looks at a file that is to replace `replaced`.
    ///
    /// # Errors
    /// `Invalid` for what is no `.npy` file, or none that a tensor can be made of.
    pub fn look(body: &Payload, replaced: Option<&Tensor>, declared: &Declared) -> Result<Incoming> {
        let array = Array::read(body)?;
        let (own, width, swapped) = element(&array.descr)?;
        let dtype = match (declared.dtype, own) {
            (Some(declared), _) => declared,
            (None, Some(own)) => own,
            (None, None) => replaced.map(|old| old.dtype).filter(|dtype| dtype.is_opaque_byte()).ok_or_else(|| {
                invalid(format!(
                    "numpy does not say which type of one byte |V1 is here: set {DTYPE}, or view it as uint8"
                ))
            })?,
        };
        if (dtype.is_packed() && width != 1) || (!dtype.is_packed() && dtype.bits() != 8 * width) {
            let sentence = format!("elements of {width} bytes ({}) cannot be {dtype}", array.descr);
            return Err(invalid(sentence));
        }
        if array.shape.len() > DIMENSIONS_MAX {
            return Err(invalid(format!("it has {} dimensions", array.shape.len())));
        }
        let too_large = || invalid(format!("no file has the bytes of shape {:?}", array.shape));
        let elements = array.shape.iter().try_fold(1_u64, |product, extent| product.checked_mul(*extent));
        let length = elements.and_then(|elements| elements.checked_mul(width)).ok_or_else(too_large)?;
        let there = body.len().saturating_sub(array.data);
        if there != length {
            let sentence =
                format!("its data have {there} bytes, where its shape {:?} has {length}", array.shape);
            return Err(invalid(sentence));
        }
        let shape = match &declared.shape {
            Some(shape) => shape.clone(),
            None if dtype.is_packed() => {
                let same = replaced.filter(|old| old.dtype == dtype && old.length == length);
                let unknown = || invalid(format!("{dtype} has several elements in a byte: set {SHAPE}"));
                same.map(|old| old.shape.to_vec()).ok_or_else(unknown)?
            }
            None => array.shape.clone(),
        };
        if data_length(dtype, &shape) != Some(length) {
            return Err(invalid(format!("{dtype} of shape {shape:?} has not {length} bytes")));
        }
        let Array { data: begin, shape: extents, fortran_order, .. } = array;
        Ok(Incoming { dtype, shape, length, begin, extents, width, fortran_order, swapped })
    }

    /// Writes the data down; answers where they begin.
    ///
    /// # Errors
    /// `NoSpace`; those of the files.
    pub fn write(&self, body: &Payload, record: &mut Record<'_>) -> Result<u64> {
        let place = record.place();
        if self.length == 0 {
            return Ok(place);
        }
        let mut read = |at: u64, piece: &mut [u8]| {
            body.read(self.begin + at, piece)?;
            if self.swapped > 1 {
                piece.chunks_exact_mut(self.swapped).for_each(<[u8]>::reverse);
            }
            Ok(())
        };
        let mut write = |at: u64, piece: &[u8]| record.write_at(place + at, piece);
        let turned = self.fortran_order && self.extents.iter().filter(|extent| **extent != 1).count() > 1;
        if turned {
            transpose(&self.extents, self.width, &mut read, &mut write)?;
            return Ok(place);
        }
        let mut piece = vec![0; self.length.min(PIECE) as usize];
        let mut at = 0;
        while at < self.length {
            let piece = &mut piece[..(self.length - at).min(PIECE) as usize];
            read(at, piece)?;
            write(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(place)
    }
}

/// What numpy's words for a type mean: the type, where they tell it, the length of an element, and of what is swapped in it.
fn element(descr: &str) -> Result<(Option<ElementType>, u64, usize)> {
    let (order, kind) = match descr.as_bytes() {
        [b'<' | b'>' | b'|' | b'=', ..] => descr.split_at(1),
        _ => ("|", descr),
    };
    let name = match kind {
        "b1" | "?" => "BOOL",
        "u1" | "B" => "U8",
        "i1" | "b" => "I8",
        "u2" => "U16",
        "i2" => "I16",
        "u4" => "U32",
        "i4" => "I32",
        "u8" => "U64",
        "i8" => "I64",
        "f2" => "F16",
        "f4" => "F32",
        "f8" => "F64",
        "c8" => "C64",
        // What ml_dtypes calls bfloat16 and float8_e5m2.
        "V2" => "BF16",
        "f1" => "F8_E5M2",
        "V1" => return Ok((None, 1, 1)),
        _ => {
            let what = match kind.as_bytes().first() {
                Some(b'O') => "objects of Python",
                Some(b'M' | b'm') => "dates and times",
                Some(b'S' | b'U' | b'a') => "texts",
                Some(b'c' | b'f' | b'g') => "numbers of this length",
                _ => "elements of this type",
            };
            return Err(invalid(format!("safetensors has no type for {descr:?}: {what} cannot be a tensor")));
        }
    };
    let dtype = ElementType::named(name).ok_or_else(|| invalid(format!("{name} is not known")))?;
    let width = dtype.bits() / 8;
    let part = if kind == "c8" { 4 } else { width as usize };
    Ok((Some(dtype), width, if order == ">" && kind != "V2" { part } else { 1 }))
}
