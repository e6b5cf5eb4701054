//! Objects that begin with the bytes that are there (an append): the service makes them of what it has and of what is sent.

use super::bucket::{Abilities, Body, Condition, Headers, Joining, Object};
use super::reach::{LONG_WORK, Reach};
use super::upload::{self, Source, Unfinished};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;

/// What the name of an object begins with that holds the end of another until they are joined.
const END: &str = ".kvfs-append-";

/// Puts what begins with a version that is there; `None` where all bytes are to be sent.
///
/// # Errors
/// `Stale` where that version is not there any more; as for [`super::bucket::Bucket::put`].
pub(super) fn put(
    reach: &Reach,
    raw: &str,
    body: &Payload,
    headers: &Headers,
    condition: &Condition,
) -> Result<Option<Object>> {
    let Some((value, there)) = body.beginning() else { return Ok(None) };
    let abilities: &Abilities = reach.bucket.abilities();
    let version = value.version()?;
    let version = String::from_utf8_lossy(&version.0);
    let put = match abilities.joining {
        Joining::Parts if there >= abilities.part_min && body.len() > there => {
            let source = Source { body, from: 0, there: Some((&version, there)) };
            upload::in_parts(reach, raw, &source, headers, condition)
        }
        Joining::Objects if there == value.len() && body.len() > there => {
            let beginning = Object { version: version.into_owned(), ..named(raw, there) };
            join(reach, &beginning, body, headers, condition)
        }
        _ => return Ok(None),
    };
    match put {
        // Not every server that speaks a protocol speaks all of it.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            tracing::debug!("{raw:?} is sent whole: {error}");
            Ok(None)
        }
        put => put.map(Some),
    }
}

fn named(key: &str, size: u64) -> Object {
    Object {
        key: key.to_owned(),
        size,
        modified: std::time::SystemTime::UNIX_EPOCH,
        version: String::new(),
        headers: None,
        class: None,
        archived: false,
    }
}

/// Puts the end as an object of its own, joins both, and removes it; the next mount does so after a kill.
fn join(
    reach: &Reach,
    beginning: &Object,
    body: &Payload,
    headers: &Headers,
    condition: &Condition,
) -> Result<Object> {
    let from = beginning.size;
    let name = format!("{END}{:016x}", env::fresh_word());
    let key = reach.names.fitting(&Key::of([name.as_bytes()]))?;
    let entry = reach.uploads.begin()?;
    entry.note(&Unfinished { key: key.clone(), upload: None })?;
    let plain = Headers::default();
    let end = if body.len() - from <= upload::WHOLE_MOST {
        let bytes = upload::piece(body, from, body.len() - from)?;
        reach.wait_long(2, reach.bucket.put(&key, Body::Bytes(bytes), &plain, &Condition::Always))
    } else {
        let source = Source { body, from, there: None };
        upload::in_parts(reach, &key, &source, &plain, &Condition::Always)
    };
    let joined = end.and_then(|end| {
        let join = reach.bucket.join(&beginning.key, [beginning, &end], headers, condition);
        reach.wait_long(LONG_WORK, join)
    });
    match reach.wait(reach.bucket.delete(&key, &Condition::Always)) {
        Ok(()) => entry.end(),
        Err(error) => tracing::warn!("{key:?} is removed at the next mount: {error}"),
    }
    let object = joined?;
    if object.size != body.len() {
        let sentence = format!("{:?} has {} bytes, of {}", object.key, object.size, body.len());
        return Err(Error::new(ErrorKind::Io, sentence));
    }
    Ok(object)
}

#[cfg(test)]
mod tests;
