//! Uploads in parts, for objects that are too long for one request.

use bytes::{Bytes, BytesMut};
use futures::stream::{StreamExt, TryStreamExt};

use serde::{Deserialize, Serialize};

use super::ahead::Sent;
use super::bucket::{Abilities, Body, Condition, Headers, Object, Range};
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

/// What is read at once of a payload that is brought into memory, in bytes.
const FEW: u64 = 128 << 10;

/// What is under way, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unfinished {
    /// The object's key.
    pub key: String,
    /// The upload's name; `None`: it is an object, which is there until it is joined to another.
    pub upload: Option<String>,
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
    // By way of a few bytes that stay in the processor's cache: a buffer of zeros as long as a part would be new pages
    // from the kernel each time.
    let mut few = vec![0; FEW.min(length) as usize];
    let mut bytes = BytesMut::with_capacity(length as usize);
    while (bytes.len() as u64) < length {
        let wanted = few.len().min(length as usize - bytes.len());
        let read = body.read(offset + bytes.len() as u64, &mut few[..wanted])?;
        if read == 0 {
            return Err(Error::new(ErrorKind::Io, "the spill file is shorter than it was"));
        }
        bytes.extend_from_slice(&few[..read]);
    }
    Ok(bytes.freeze())
}

/// What an upload is made of.
pub(super) struct Source<'s> {
    /// The bytes.
    pub body: &'s Payload,
    /// Where in it the object begins.
    pub from: u64,
    /// What of it the object of this key has already, from the beginning on: the version, and its length.
    pub there: Option<(&'s str, u64)>,
}

/// One part: the bytes `start .. end` of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
    /// Whether the server copies it.
    copied: bool,
}

impl Source<'_> {
    /// The parts, in order: what is there in few and long ones, none shorter than a part may be.
    fn parts(&self, abilities: &Abilities) -> Vec<Part> {
        let length = part_length(self.body.len() - self.from, abilities);
        let (mut at, mut parts) = (self.from, Vec::new());
        if let Some((_, there)) = self.there {
            let longest = abilities.part_max.min(1 << 30).max(length);
            while there - at >= abilities.part_min {
                // What is left after this one is no part, or long enough for one.
                let left = there - at;
                let end = if left >= longest + abilities.part_min { at + longest } else { there };
                parts.push(Part { start: at, end, copied: true });
                at = end;
            }
        }
        while at < self.body.len() {
            let end = self.body.len().min(at + length);
            parts.push(Part { start: at, end, copied: false });
            at = end;
        }
        parts
    }
}

/// Puts an object in parts; nothing is left of an upload that fails.
///
/// # Errors
/// As for [`super::bucket::Bucket::put`]; `Stale` where what was there is not.
pub(super) fn in_parts(
    reach: &Reach,
    key: &str,
    source: &Source<'_>,
    headers: &Headers,
    condition: &Condition,
) -> Result<Object> {
    let bucket = &reach.bucket;
    let body = source.body;
    let parts = source.parts(bucket.abilities());
    let entry = reach.uploads.begin()?;
    let upload = reach.wait(bucket.begin(key, headers))?;
    entry.note(&Unfinished { key: key.to_owned(), upload: Some(upload.clone()) })?;
    // A copy is the server's own work.
    let requests = parts.iter().map(|part| if part.copied { LONG_WORK } else { 1 }).sum();
    let sent = reach.wait_long(requests, async {
        let send = |(index, part): (usize, Part)| {
            let (upload, number) = (&upload, index as u32 + 1);
            async move {
                let (start, end) = (part.start, part.end);
                if let Some((version, _)) = source.there.filter(|_| part.copied) {
                    let range = Range { key, version, start, end };
                    return bucket.copy_part(key, upload, number, &range).await;
                }
                let _permit = Budget::global().take_async(Purpose::Upload, end - start).await?;
                let bytes = piece(body, start, end - start)?;
                bucket.part(key, upload, number, Body::Bytes(bytes)).await
            }
        };
        let parts = parts.into_iter().enumerate();
        futures::stream::iter(parts.map(send)).buffered(AT_ONCE).try_collect::<Vec<String>>().await
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
        Err((error, Some(tags))) if error.kind() == ErrorKind::Uncertain && source.from == 0 => {
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
    use super::super::bucket::Joining;
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
            joining: Joining::Parts,
            starts_anywhere: true,
            refuses: |_| None,
        }
    }

    #[test]
    fn what_is_there_is_copied_in_long_parts_and_none_is_too_short() {
        let abilities = abilities();
        let body = |length| {
            let mut body = Payload::new();
            body.resize(length).unwrap();
            body
        };
        let parts = |length, there| {
            let body = body(length);
            let parts = Source { body: &body, from: 0, there: Some(("v", there)) }.parts(&abilities);
            assert_eq!(parts.first().map(|part| part.start), Some(0));
            assert_eq!(parts.last().map(|part| part.end), Some(length));
            assert!(parts.windows(2).all(|two| two[0].end == two[1].start));
            let (_, but_last) = parts.split_last().unwrap();
            assert!(but_last.iter().all(|part| part.end - part.start >= abilities.part_min), "{parts:?}");
            parts.iter().map(|part| (part.end - part.start, part.copied)).collect::<Vec<_>>()
        };
        let (mib, gib) = (1 << 20, 1 << 30);
        assert_eq!(parts(9 * mib, 9 * mib - 1), [(9 * mib - 1, true), (1, false)]);
        assert_eq!(parts(gib + mib + 1, gib + mib), [(gib + mib, true), (1, false)]);
        assert_eq!(parts(2 * gib + 6 * mib + 9 * mib, 2 * gib + 6 * mib).len(), 5);
        assert_eq!(parts(12 * mib, 4 * mib), [(8 * mib, false), (4 * mib, false)]);
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
