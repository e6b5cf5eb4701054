//! The index of a sharded model.
//!
//! ```text
//!  model.safetensors.index.json     {"metadata": {"total_size": 16}, "weight_map": {"a": "model-1.safetensors", ...}}
//!  model-1.safetensors              each a file like any other, and more than the index names may be in it
//! ```

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::header::{Metadata, Texts};

/// The member that says which file has which tensor.
const WEIGHT_MAP: &str = "weight_map";
/// The member whose members are shown as metadata.
const METADATA: &str = "metadata";
/// The bytes of all tensors, a member of the metadata.
const TOTAL_SIZE: &str = "total_size";

/// An index as it was read.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// Which file has which tensor.
    pub weight_map: BTreeMap<String, String>,
    /// All of it; members that nobody knows stay when it is written.
    members: Map<String, Value>,
}

/// What an index must have; no name comes twice in it.
#[derive(serde::Deserialize)]
struct Checked {
    #[serde(deserialize_with = "texts")]
    weight_map: BTreeMap<String, String>,
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Texts::deserialize(deserializer).map(|texts| texts.0.into_iter().collect())
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> serde_json::Result<Index> {
        let Checked { weight_map } = serde_json::from_slice(text)?;
        Ok(Index { weight_map, members: serde_json::from_slice(text)? })
    }

    /// Its metadata as texts; of what has parts, nothing.
    pub fn metadata(&self) -> Metadata {
        let members = self.members.get(METADATA).and_then(Value::as_object);
        members.into_iter().flatten().map(|(name, value)| (name.clone(), plain(value))).collect()
    }

    /// The same index of other tensors, of so many bytes, with these metadata; what has the same text as before keeps its
    /// type.
    pub fn with(
        &self,
        weight_map: BTreeMap<String, String>,
        metadata: Option<&Metadata>,
        total_size: u64,
    ) -> Index {
        let before = self.members.get(METADATA).and_then(Value::as_object);
        let mut own = Map::new();
        for (name, text) in metadata.into_iter().flatten() {
            let same = before.and_then(|before| before.get(name)).filter(|value| plain(value) == *text);
            own.insert(name.clone(), same.cloned().unwrap_or_else(|| text.clone().into()));
        }
        own.insert(TOTAL_SIZE.to_owned(), total_size.into());
        let mut members = self.members.clone();
        members.insert(METADATA.to_owned(), own.into());
        let files = weight_map.iter().map(|(tensor, file)| (tensor.clone(), file.clone().into()));
        members.insert(WEIGHT_MAP.to_owned(), Value::Object(files.collect()));
        Index { weight_map, members }
    }

    /// Whether both say the same.
    pub fn is(&self, other: &Index) -> bool {
        self.members == other.members
    }

    /// Its text, as Hugging Face's libraries write it: indented by two, sorted, with a line end.
    ///
    /// # Errors
    /// None that is known: what was read can be written.
    pub fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(&self.members)?;
        text.push(b'\n');
        Ok(text)
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_stays_in_an_index() {
        let text = br#"{"weight_map": {"a": "1"}, "metadata": {"total_size": 4.0, "n": 7, "s": "x", "l": [1]}, "more": {"b": 1}}"#;
        let index = Index::parse(text).unwrap();
        let metadata = index.metadata();
        let new = index.with([("b".to_owned(), "2".to_owned())].into(), Some(&metadata), 9);
        let expected: Value = serde_json::from_str(
            r#"{"weight_map": {"b": "2"}, "metadata": {"total_size": 9, "n": 7, "s": "x", "l": [1]}, "more": {"b": 1}}"#,
        )
        .unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&new.text().unwrap()).unwrap(), expected);
        assert!(new.is(&Index::parse(&new.text().unwrap()).unwrap()) && !new.is(&index));
        for wrong in [&b"{}"[..], br#"{"weight_map": {"a": "1", "a": "2"}}"#, br#"{"weight_map": []}"#] {
            Index::parse(wrong).unwrap_err();
        }
    }
}
