//! Collections as JSON: bytes that are text are strings, others an object `{"base64": "…"}`, so that all of them come back
//! as they were.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::error::{Error, ErrorKind, Result};

/// What an object has that stands for bytes which are no text.
const BASE64: &str = "base64";

/// Bytes as JSON.
pub(super) fn of_bytes(bytes: &[u8]) -> Json {
    match str::from_utf8(bytes) {
        Ok(text) => Json::from(text),
        Err(_) => json!({ BASE64: STANDARD.encode(bytes) }),
    }
}

/// The bytes that JSON stands for; numbers, true and false are their text.
///
/// # Errors
/// `Invalid`.
pub(super) fn bytes(json: &Json) -> Result<Vec<u8>> {
    match json {
        Json::String(text) => Ok(text.clone().into_bytes()),
        Json::Number(_) | Json::Bool(_) => Ok(json.to_string().into_bytes()),
        Json::Object(object) => match (object.len(), object.get(BASE64)) {
            (1, Some(Json::String(text))) => {
                STANDARD.decode(text).map_err(|error| invalid(&format!("base64: {error}")))
            }
            _ => Err(invalid("an object stands for bytes only as {\"base64\": \"…\"}")),
        },
        Json::Array(_) | Json::Null => Err(invalid("a string belongs here, or {\"base64\": \"…\"}")),
    }
}

/// Names with values: an object, where all names are text and none is there twice, else a list of pairs.
pub(super) fn of_pairs(pairs: &[(Vec<u8>, Vec<u8>)]) -> Json {
    let mut object = Map::new();
    for (name, value) in pairs {
        let fits = str::from_utf8(name).ok().filter(|name| !object.contains_key(*name));
        match fits {
            Some(name) => drop(object.insert(name.to_owned(), of_bytes(value))),
            None => {
                return pairs.iter().map(|(name, value)| json!([of_bytes(name), of_bytes(value)])).collect();
            }
        }
    }
    Json::Object(object)
}

/// The names and values that JSON has.
///
/// # Errors
/// `Invalid`, also where there are none.
pub(super) fn pairs(json: &Json) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let pairs: Vec<_> = match json {
        Json::Object(object) => object
            .iter()
            .map(|(name, value)| Ok((name.clone().into_bytes(), bytes(value)?)))
            .collect::<Result<_>>()?,
        Json::Array(pairs) => pairs
            .iter()
            .map(|pair| match pair.as_array().map(Vec::as_slice) {
                Some([name, value]) => Ok((bytes(name)?, bytes(value)?)),
                _ => Err(invalid("a list of fields has pairs: [name, value]")),
            })
            .collect::<Result<_>>()?,
        _ => return Err(invalid("an object of names and values belongs here")),
    };
    if pairs.is_empty() { Err(invalid("there are no fields")) } else { Ok(pairs) }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::Invalid, why.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_fields_come_back(pairs in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 1..6)) {
            let mut back = super::pairs(&serde_json::from_str(&of_pairs(&pairs).to_string()).unwrap()).unwrap();
            let mut pairs = pairs;
            // An object keeps no order, and needs none where no name is there twice.
            back.sort();
            pairs.sort();
            prop_assert_eq!(back, pairs);
        }
    }
}
