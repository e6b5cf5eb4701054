//! The index of a sharded model.
//!
//! ```text
//!  model.safetensors.index.json     {"metadata": {"total_size": 16}, "weight_map": {"a": "model-1.safetensors", ...}}
//!  model-1.safetensors              each a file like any other, and more than the index names may be in it
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An index.
#[derive(serde::Deserialize)]
pub(super) struct Index {
    pub metadata: Option<BTreeMap<String, Plain>>,
    /// Which file has which tensor.
    pub weight_map: WeightMap,
}

/// Tensors and their files, none of them twice.
pub(super) struct WeightMap(pub BTreeMap<String, String>);

impl<'de> serde::Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WeightMap, D::Error> {
        super::header::Texts::deserialize(deserializer).map(|texts| WeightMap(texts.0.into_iter().collect()))
    }
}

/// A text, or a number as one; of what has parts, nothing is kept.
pub(super) struct Plain(pub String);

impl<'de> serde::Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Plain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Plain, E> {
                Ok(Plain(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Plain, E> {
                Ok(Plain(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Plain, E> {
                Ok(Plain(number.to_string()))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Plain, E> {
                Ok(Plain(truth.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain(String::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Plain, A::Error> {
                while parts.next_element::<IgnoredAny>()?.is_some() {}
                self.visit_unit()
            }

            fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Plain, A::Error> {
                while parts.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.visit_unit()
            }
        }
        deserializer.deserialize_any(Any)
    }
}
