//! The header of a safetensors file: a length of eight bytes, then JSON (<https://github.com/huggingface/safetensors#format>).
//!
//! ```text
//!  0                8                                                                    8 + N
//!  | N, little end  | {"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} | data ...
//! ```
//!
//! It is read by the rules of the crate `safetensors` and these: no name comes twice, and there are no more tensors and
//! dimensions than anybody needs, since a header is what somebody else wrote.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::dtype::ElementType;
use crate::error::{Error, ErrorKind, Result};

/// The length of the header's length, in bytes.
pub(super) const LENGTH: u64 = 8;
/// The longest header, in bytes: the format's.
pub(super) const HEADER_MAX: u64 = 100_000_000;
/// So many tensors are in a file at most: the largest models have some 100,000.
const TENSORS_MAX: usize = 500_000;
/// So many dimensions numpy has at most.
pub(super) const DIMENSIONS_MAX: usize = 64;
/// The name that no tensor has.
pub(super) const METADATA: &str = "__metadata__";

/// What stands under `__metadata__`, in its order.
pub(super) type Metadata = Vec<(String, String)>;

/// A header that was read.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// What stands under `__metadata__`; `None` where there is none.
    pub metadata: Option<Metadata>,
    /// The tensors, in the order of their bytes.
    pub tensors: Vec<Described>,
}

/// One tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub name: String,
    pub dtype: ElementType,
    pub shape: Box<[u64]>,
    /// Its first byte, counted from the end of the header.
    pub begin: u64,
    /// The byte after its last one.
    pub end: u64,
}

impl Header {
    /// Reads the JSON of a header; `data` is the number of bytes behind it.
    ///
    /// # Errors
    /// `Invalid`, with a sentence.
    pub fn parse(json: &[u8], data: u64) -> Result<Header> {
        // What is passed over is not looked at by the parser, and the library wants text there, too.
        let text =
            std::str::from_utf8(json).map_err(|error| invalid(format!("its header is no text: {error}")))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = deserializer.deserialize_map(Reader).and_then(|read| deserializer.end().map(|()| read));
        let (metadata, mut tensors) = read.map_err(|error| invalid(format!("its header: {error}")))?;
        tensors.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
        let mut next = 0;
        for tensor in &tensors {
            tensor.check(next, data)?;
            next = tensor.end;
        }
        if next != data {
            return Err(invalid(format!(
                "its tensors end at byte {next} of {data}: what follows belongs to none"
            )));
        }
        Ok(Header { metadata, tensors })
    }
}

fn invalid(sentence: String) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

/// The length of a tensor's data, in bytes; `None` where it is no number of whole bytes that a file can have.
pub(super) fn data_length(dtype: ElementType, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1_u64, |product, extent| product.checked_mul(*extent))?;
    let bits = elements.checked_mul(dtype.bits())?;
    (bits % 8 == 0).then_some(bits / 8)
}

impl Described {
    /// Whether it lies right behind what comes before it, and has the length of its type and shape.
    fn check(&self, next: u64, data: u64) -> Result<()> {
        let Described { name, dtype, shape, begin, end } = self;
        let wrong = |why: String| Err(invalid(format!("its tensor {name:?} {why}")));
        if end < begin {
            return wrong(format!("ends at byte {end}, before it begins at {begin}"));
        }
        if *end > data {
            return wrong(format!("ends at byte {end} of {data}"));
        }
        if *begin < next {
            return wrong(format!("begins at byte {begin}, inside the one before it, which ends at {next}"));
        }
        if *begin > next {
            return wrong(format!("begins at byte {begin}: the bytes from {next} on belong to none"));
        }
        match data_length(*dtype, shape) {
            Some(length) if length == end - begin => Ok(()),
            Some(length) => {
                wrong(format!("has {} bytes: {dtype} of shape {shape:?} has {length}", end - begin))
            }
            None => wrong(format!("has no number of bytes that a file can have: {dtype} of shape {shape:?}")),
        }
    }
}

/// Reads the names one by one, since a map would keep the last of two without a word.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = (Option<Metadata>, Vec<Described>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut metadata, mut tensors, mut names) = (None, Vec::new(), HashSet::new());
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            if name == METADATA {
                metadata = map.next_value::<Option<Texts>>()?.map(|texts| texts.0);
                continue;
            }
            if tensors.len() == TENSORS_MAX {
                return Err(A::Error::custom(format_args!("more than {TENSORS_MAX} tensors")));
            }
            let Info { dtype, shape: Shape(shape), data_offsets: (begin, end) } =
                map.next_value().map_err(|error| A::Error::custom(format_args!("{name:?}: {error}")))?;
            tensors.push(Described { name, dtype, shape: shape.into(), begin, end });
        }
        Ok((metadata, tensors))
    }
}

/// What a header says of a tensor.
#[derive(serde::Deserialize)]
struct Info {
    dtype: ElementType,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// The extents of a tensor, no more than numpy has.
struct Shape(Vec<u64>);

impl<'de> serde::Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        struct Extents;
        impl<'de> Visitor<'de> for Extents {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of extents")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
                let mut extents = Vec::new();
                while let Some(extent) = list.next_element()? {
                    if extents.len() == DIMENSIONS_MAX {
                        return Err(A::Error::custom(format_args!("more than {DIMENSIONS_MAX} dimensions")));
                    }
                    extents.push(extent);
                }
                Ok(Shape(extents))
            }
        }
        deserializer.deserialize_seq(Extents)
    }
}

/// An object of texts, in which no name comes twice.
pub(super) struct Texts(pub Metadata);

impl<'de> serde::Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let (mut pairs, mut names) = (Vec::new(), HashSet::new());
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("{name:?} is there twice")));
                    }
                    pairs.push((name, text));
                }
                Ok(Texts(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, text) in &self.0 {
            map.serialize_entry(name, text)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
