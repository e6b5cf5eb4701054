//! The word `xattr` of s3fs: extended attributes as JSON, `{"user.x":"BASE64"}`, percent-encoded.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};
use crate::store::attributes::Xattrs;

pub(super) const WORD: &str = "xattr";

/// Those that can be read.
pub(super) fn read(text: &str) -> Xattrs {
    let json = percent_decode_str(text.trim()).collect::<Vec<u8>>();
    let words: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&json).unwrap_or_default();
    let attribute = |(name, value): (String, serde_json::Value)| {
        let value = STANDARD.decode(value.as_str()?).ok()?;
        Some((Box::from(name.as_bytes()), Box::from(value)))
    };
    words.into_iter().filter_map(attribute).collect()
}

/// The word; `None` where there is nothing to say.
pub(super) fn write(xattrs: &Xattrs) -> Result<Option<String>> {
    let mut words = BTreeMap::new();
    for (name, value) in xattrs {
        let name = std::str::from_utf8(name).map_err(|_| {
            let sentence = "the name of an extended attribute must be UTF-8 text here";
            Error::new(ErrorKind::NameEncoding, sentence)
        })?;
        words.insert(name, STANDARD.encode(value));
    }
    if words.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(&words)
        .map_err(|error| Error::new(ErrorKind::Io, format!("extended attributes: {error}")))?;
    Ok(Some(utf8_percent_encode(&json, NON_ALPHANUMERIC).to_string()))
}
