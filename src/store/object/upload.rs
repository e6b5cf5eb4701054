//! Uploads in parts, for objects that are too long for one request.

use bytes::{Bytes, BytesMut};
use futures::stream::{StreamExt, TryStreamExt};

use serde::{Deserialize, Serialize};

use super::ahead::Sent;
use super::bucket::{Abilities, Body, Condition, Headers, Object};
use super::reach::{LONG_WORK, Reach};
use crate::budget::{Budget, Purpose};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;

/// Up to this length an object is put in one request, in bytes.
pub(super) const WHOLE_MOST: u64 = 8 << 20;
/// The usual part, in bytes.
pub(super) const PIECE: u64 = 8 << 20;
/// Parts of one object that are under way at the same time.
pub(super) const AT_ONCE: usize = 4;

/// An upload in parts, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unfinished {
    /// The object's key.
    pub key: String,
    /// The upload's name.
    pub upload: String,
}

/// The length of the parts of an object of `length` bytes: the usual one, or as much as it takes for the parts to
/// suffice, in whole MiB.
pub(super) fn part_length(length: u64, abilities: &Abilities) -> u64 {
    let enough = length.div_ceil(u64::from(abilities.parts_max.max(1))).next_multiple_of(1 << 20);
    PIECE.max(enough).clamp(abilities.part_min, abilities.part_max)
}

/// A range of a payload, in memory.
///
/// # Errors
/// The spill file's.
pub(super) fn piece(body: &Payload, offset: u64, length: u64) -> Result<Bytes> {
    let mut bytes = BytesMut::zeroed(length as usize);
    if body.read(offset, &mut bytes)? as u64 != length {
        return Err(Error::new(ErrorKind::Io, "the spill file is shorter than it was"));
    }
    Ok(bytes.freeze())
}

/// Puts an object in parts; nothing is left of an upload that fails.
///
/// # Errors
/// As for [`super::bucket::Bucket::put`].
pub(super) fn in_parts(
    reach: &Reach,
    key: &str,
    body: &Payload,
    headers: &Headers,
    condition: &Condition,
) -> Result<Object> {
    let bucket = &reach.bucket;
    let length = part_length(body.len(), bucket.abilities());
    let parts = body.len().div_ceil(length);
    let entry = reach.uploads.begin()?;
    let upload = reach.wait(bucket.begin(key, headers))?;
    entry.note(&Unfinished { key: key.to_owned(), upload: upload.clone() })?;
    let sent = reach.wait_long(parts, async {
        let part = |number: u64| {
            let upload = &upload;
            async move {
                let offset = number * length;
                let length = length.min(body.len() - offset);
                let _permit = Budget::global().take_async(Purpose::Upload, length).await?;
                let bytes = piece(body, offset, length)?;
                bucket.part(key, upload, number as u32 + 1, Body::Bytes(bytes)).await
            }
        };
        futures::stream::iter((0..parts).map(part)).buffered(AT_ONCE).try_collect::<Vec<String>>().await
    });
    let sent = sent.map_err(|error| (error, None));
    let outcome = sent.and_then(|tags| {
        let complete = bucket.complete(key, &upload, &tags, headers, condition);
        reach.wait_long(LONG_WORK, complete).map_err(|error| (error, Some(tags)))
    });
    match outcome {
        Ok(object) => {
            entry.end();
            Ok(object)
        }
        // Whether the object is there is looked up by whoever asked; where it is not, the parts are.
        Err((error, Some(tags))) if error.kind() == ErrorKind::Uncertain => {
            reach.ahead.keep(body, Sent { key, name: upload, headers, entry, tags });
            Err(error)
        }
        Err((error, _)) => {
            match reach.wait(bucket.abort(key, &upload)) {
                Ok(()) => entry.end(),
                Err(aborting) => {
                    tracing::warn!("{key:?}: its parts are removed at the next mount: {aborting}")
                }
            }
            Err(error)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Those of S3.
    pub(in crate::store::object) fn abilities() -> Abilities {
        Abilities {
            scheme: "s3",
            listed_headers: false,
            metadata_max: 2048,
            part_min: 5 << 20,
            part_max: 5 << 30,
            parts_max: 10_000,
            object_max: 5 << 40,
            copy_max: 5 << 30,
            key_max: 1024,
            batch: 1000,
            starts_anywhere: true,
            versions: true,
            refuses: |_| None,
        }
    }

    #[test]
    fn parts_grow_before_they_run_out() {
        let abilities = abilities();
        assert_eq!(part_length(1 << 30, &abilities), 8 << 20);
        for length in [79 << 30, 5 << 40, (5 << 40) - 1] {
            let part = part_length(length, &abilities);
            assert!(length.div_ceil(part) <= 10_000 && part <= 5 << 30, "{length}: {part}");
        }
    }
}
