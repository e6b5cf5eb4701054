//! Objects as the JSON API tells them, and as it is told of them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Headers, Object};
use crate::store::object::versioned::OldVersion;

/// What is asked for of each object.
pub(super) const FIELDS: &str = "name,size,generation,metageneration,timeCreated,contentType,cacheControl,\
     contentDisposition,contentEncoding,contentLanguage,customTime,storageClass,metadata";
/// The class that a bucket has where nobody chose another.
const STANDARD: &str = "STANDARD";
/// What objects have of HTTP, in their words and ours. The last two are Google's own.
const KEPT: [(&str, &str); 6] = [
    ("cacheControl", "cache-control"),
    ("contentDisposition", "content-disposition"),
    ("contentEncoding", "content-encoding"),
    ("contentLanguage", "content-language"),
    ("customTime", "x-goog-custom-time"),
    ("storageClass", "x-goog-storage-class"),
];

/// An object.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    pub(super) name: String,
    #[serde(default)]
    size: String,
    pub(super) generation: String,
    #[serde(default)]
    pub(super) metageneration: String,
    #[serde(default)]
    time_created: String,
    /// Of what is no longer current.
    time_deleted: Option<String>,
    content_type: Option<String>,
    storage_class: Option<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// A page of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resources {
    #[serde(default)]
    pub(super) items: Vec<Resource>,
    #[serde(default)]
    pub(super) prefixes: Vec<String>,
    pub(super) next_page_token: Option<String>,
}

/// A bucket, as far as it is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct BucketResource {
    pub(super) versioning: Option<Versioning>,
}

/// Whether it keeps what is replaced.
#[derive(Debug, Deserialize)]
pub(super) struct Versioning {
    #[serde(default)]
    pub(super) enabled: bool,
}

/// How far a copy is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rewritten {
    #[serde(default)]
    pub(super) done: bool,
    pub(super) rewrite_token: Option<String>,
    pub(super) resource: Option<Resource>,
}

impl Resource {
    pub(super) fn headers(&self) -> Headers {
        let mut headers = Headers { content_type: self.content_type.clone(), ..Headers::default() };
        for (field, name) in KEPT {
            let value = match field {
                "storageClass" => self.storage_class.as_deref().filter(|class| *class != STANDARD),
                _ => self.rest.get(field).and_then(Value::as_str),
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                headers.http.insert(name.to_owned(), value.to_owned());
            }
        }
        headers.metadata =
            self.metadata.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        headers
    }

    /// One generation, current or not.
    ///
    /// # Errors
    /// `Io`: a size that is none.
    pub(super) fn version(self) -> Result<OldVersion> {
        let until = self.time_deleted.as_deref().map(time);
        let since = time(&self.time_created);
        let object = self.object()?;
        Ok(OldVersion { id: object.version.clone(), since, until, object })
    }

    /// # Errors
    /// `Io`: a size that is none.
    pub(super) fn object(self) -> Result<Object> {
        let size = self.size.parse().map_err(|_| {
            Error::new(ErrorKind::Io, format!("gs: {:?} has the size {:?}", self.name, self.size))
        })?;
        let headers = Some(self.headers());
        Ok(Object {
            key: self.name,
            size,
            modified: time(&self.time_created),
            version: self.generation,
            headers,
            class: self.storage_class,
            archived: false,
        })
    }
}

/// A time as Google writes it; the epoch where it is none.
fn time(text: &str) -> SystemTime {
    text.parse::<Timestamp>().map_or(SystemTime::UNIX_EPOCH, SystemTime::from)
}

/// An object's fields that are to be set.
pub(super) fn fields(headers: &Headers) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(content_type) = &headers.content_type {
        fields.insert("contentType".to_owned(), content_type.as_str().into());
    }
    for (field, name) in KEPT {
        if let Some(value) = headers.http.get(name) {
            fields.insert(field.to_owned(), value.as_str().into());
        }
    }
    if !headers.metadata.is_empty() {
        fields.insert("metadata".to_owned(), metadata(headers).into());
    }
    fields
}

fn metadata(headers: &Headers) -> Map<String, Value> {
    headers.metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// What makes the fields of an object those that are wanted: a field that is to go is `null`.
pub(super) fn changes(found: &Resource, wanted: &Headers) -> Map<String, Value> {
    let mut changes = fields(wanted);
    for (field, _) in KEPT {
        // A class is changed by a rewrite alone, and a time that was set cannot be taken away.
        if !matches!(field, "storageClass" | "customTime") {
            changes.entry(field).or_insert(Value::Null);
        }
    }
    changes.remove("storageClass");
    changes.entry("contentType").or_insert(Value::Null);
    let mut words = metadata(wanted);
    for name in found.metadata.keys() {
        words.entry(name.clone()).or_insert(Value::Null);
    }
    changes.insert("metadata".to_owned(), words.into());
    changes
}

/// Reads an answer.
///
/// # Errors
/// `Io`: it is not what Google answers.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::new(ErrorKind::Io, format!("{what}: the answer is not what Google answers: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_and_written() {
        let text = r#"{"name":"a/b","size":"5","generation":"17","metageneration":"2","timeCreated":"2025-01-03T10:00:00.5Z",
            "contentType":"text/plain","cacheControl":"no-store","storageClass":"NEARLINE","metadata":{"Mode":"100644"}}"#;
        let found: Resource = parse("head", text).unwrap();
        let headers = found.headers();
        assert_eq!(headers.metadata["mode"], "100644");
        assert_eq!(headers.http["x-goog-storage-class"], "NEARLINE");
        assert_eq!(fields(&headers)["cacheControl"], "no-store");
        let changes = changes(&found, &Headers::default());
        assert_eq!((&changes["metadata"]["Mode"], &changes["cacheControl"]), (&Value::Null, &Value::Null));
        let object = found.object().unwrap();
        assert_eq!((object.key.as_str(), object.size, object.version.as_str()), ("a/b", 5, "17"));
        assert_eq!(object.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_millis(), 500);
    }
}
