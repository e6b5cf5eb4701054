//! The index of a sharded model.
//!
//! ```text
//!  model.safetensors.index.json     {"metadata": {"total_size": 16}, "weight_map": {"a": "model-1.safetensors", ...}}
//!  model-1.safetensors              each a file like any other, and more than the index names may be in it
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::de::Error as _;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::header::{Metadata, Texts};

/// The member that says which file has which tensor.
const WEIGHT_MAP: &str = "weight_map";
/// The member whose members are shown as metadata.
const METADATA: &str = "metadata";
/// The bytes of all tensors, a member of the metadata.
const TOTAL_SIZE: &str = "total_size";

/// An index as it was read. What nobody knows of it stays as it is written there, to the digit.
#[derive(Clone, Debug)]
pub(super) struct Index {
    metadata: Option<BTreeMap<String, Box<RawValue>>>,
    /// Which file has which tensor; no name comes twice.
    pub weight_map: BTreeMap<String, String>,
    others: BTreeMap<String, Box<RawValue>>,
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let before = (Bound::Unbounded, Bound::Excluded(METADATA));
        let between = (Bound::Excluded(METADATA), Bound::Excluded(WEIGHT_MAP));
        let behind = (Bound::Excluded(WEIGHT_MAP), Bound::Unbounded);
        for (name, value) in self.others.range::<str, _>(before) {
            map.serialize_entry(name, value)?;
        }
        if let Some(metadata) = &self.metadata {
            map.serialize_entry(METADATA, metadata)?;
        }
        for (name, value) in self.others.range::<str, _>(between) {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(WEIGHT_MAP, &self.weight_map)?;
        for (name, value) in self.others.range::<str, _>(behind) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> serde_json::Result<Index> {
        let mut others: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text)?;
        let metadata = others.remove(METADATA).map_or(Ok(None), |value| serde_json::from_str(value.get()))?;
        let weight_map =
            others.remove(WEIGHT_MAP).ok_or_else(|| serde_json::Error::custom("it has no weight_map"))?;
        let Texts(weight_map) = serde_json::from_str(weight_map.get())?;
        Ok(Index { metadata, weight_map: weight_map.into_iter().collect(), others })
    }

    /// Its metadata as texts; of what has parts, nothing.
    pub fn metadata(&self) -> Metadata {
        let members = self.metadata.iter().flatten();
        members.map(|(name, value)| (name.clone(), plain(value))).collect()
    }

    /// The same index of other tensors, of so many bytes, with these metadata; what has the same text as before keeps its
    /// type.
    ///
    /// # Errors
    /// None that is known: texts and numbers can be written.
    pub fn with(
        &self,
        weight_map: BTreeMap<String, String>,
        metadata: Option<&Metadata>,
        total_size: u64,
    ) -> serde_json::Result<Index> {
        let before = |name: &str| self.metadata.as_ref().and_then(|before| before.get(name));
        let mut own = BTreeMap::new();
        for (name, text) in metadata.into_iter().flatten() {
            let value = match before(name).filter(|value| plain(value) == *text) {
                Some(same) => same.clone(),
                None => to_raw_value(text)?,
            };
            own.insert(name.clone(), value);
        }
        own.insert(TOTAL_SIZE.to_owned(), to_raw_value(&total_size)?);
        Ok(Index { metadata: Some(own), weight_map, others: self.others.clone() })
    }

    /// Whether both say the same.
    pub fn is(&self, other: &Index) -> bool {
        let texts = |members: &BTreeMap<String, Box<RawValue>>| -> Vec<(String, String)> {
            members.iter().map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
        };
        self.weight_map == other.weight_map
            && self.metadata.as_ref().map(texts) == other.metadata.as_ref().map(texts)
            && texts(&self.others) == texts(&other.others)
    }

    /// Its text, as Hugging Face's libraries write it: indented by two, sorted, with a line end.
    ///
    /// # Errors
    /// None that is known: what was read can be written.
    pub fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

fn plain(value: &RawValue) -> String {
    match serde_json::from_str(value.get()) {
        Ok(Value::String(text)) => text,
        Ok(Value::Number(_) | Value::Bool(_)) => value.get().to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_stays_in_an_index() {
        let text = br#"{"weight_map": {"a": "1"}, "metadata": {"total_size": 4.0, "n": 7, "s": "x", "l": [1]}, "more": {"b": 123456789012345678901234567890.50}}"#;
        let index = Index::parse(text).unwrap();
        let metadata = index.metadata();
        let new = index.with([("b".to_owned(), "2".to_owned())].into(), Some(&metadata), 9).unwrap();
        let expected: Value = serde_json::from_str(
            r#"{"weight_map": {"b": "2"}, "metadata": {"total_size": 9, "n": 7, "s": "x", "l": [1]}, "more": {"b": 123456789012345678901234567890.50}}"#,
        )
        .unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&new.text().unwrap()).unwrap(), expected);
        assert!(
            String::from_utf8(new.text().unwrap()).unwrap().contains("123456789012345678901234567890.50")
        );
        assert!(new.is(&Index::parse(&new.text().unwrap()).unwrap()) && !new.is(&index));
        for wrong in [&b"{}"[..], br#"{"weight_map": {"a": "1", "a": "2"}}"#, br#"{"weight_map": []}"#] {
            Index::parse(wrong).unwrap_err();
        }
    }
}
