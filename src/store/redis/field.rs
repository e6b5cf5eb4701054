//! Times to live of the fields of a hash, where the server has them: what an edit would have stay for good gets its time
//! again, in the same transaction.

use redis::{Cmd, Value as Reply};

use super::known::of;
use super::server::At;
use super::shared::{Shared, missing, number};
use super::ttl::{TTL, milliseconds, seconds};
use crate::error::Result;

/// A command about fields of a hash.
fn about(name: &str, key: &[u8], milliseconds: Option<u64>, fields: &[&[u8]]) -> Cmd {
    let mut command = of(name, key);
    command.arg(milliseconds);
    command.arg("FIELDS").arg(fields.len()).arg(fields);
    command
}

/// What asks how long fields live.
pub(super) fn left(key: &[u8], fields: &[&[u8]]) -> Cmd {
    about("HPTTL", key, None, fields)
}

/// How long each field lives, in milliseconds, by the answer to [`left`]; `None`: for good, or it is not there.
pub(super) fn times(reply: Option<&Reply>) -> Vec<Option<u64>> {
    let Some(Reply::Array(times)) = reply else { return Vec::new() };
    times.iter().map(|left| number(left).ok().and_then(|left| u64::try_from(left).ok())).collect()
}

/// What has fields live for as long as they did.
pub(super) fn lasting(key: &[u8], fields: &[&[u8]], times: &[Option<u64>]) -> Vec<Cmd> {
    let with_time = fields.iter().zip(times).filter_map(|(field, left)| Some((*field, (*left)?)));
    with_time.map(|(field, left)| about("HPEXPIRE", key, Some(left.max(1)), &[field])).collect()
}

/// What is known of a field besides its value.
///
/// # Errors
/// The server's.
pub(super) fn known(shared: &Shared, key: &[u8], field: &[u8]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    if !shared.abilities.field_ttls {
        return Ok(Vec::new());
    }
    let question = left(key, &[field]);
    let reply =
        shared.server.ask(At::Key(key), |session| Ok(session.ask(std::slice::from_ref(&question))?.pop()))?;
    // A key of another type has no fields.
    let reply = reply.and_then(Result::ok);
    let time = times(reply.as_ref()).into_iter().next().flatten();
    Ok(time.map(|left| (TTL, seconds(left).into_bytes())).into_iter().collect())
}

/// Sets how long a field lives, in seconds, or has it stay for good.
///
/// # Errors
/// `Invalid` for what is no time, `NotFound` where there is no such field.
pub(super) fn set(shared: &Shared, key: &[u8], field: &[u8], ttl: Option<&[u8]>) -> Result<()> {
    let command = match ttl {
        None => about("HPERSIST", key, None, &[field]),
        Some(text) => about("HPEXPIRE", key, Some(milliseconds(text)?), &[field]),
    };
    let reply = shared
        .server
        .ask(At::Key(key), |session| Ok(session.change(std::slice::from_ref(&command))?.pop()))?;
    shared.doubt(key);
    match reply.unwrap_or(Ok(Reply::Nil)).map_err(shared.refused(key))? {
        Reply::Array(done) if done.first() != Some(&Reply::Int(-2)) => Ok(()),
        _ => Err(missing(field)),
    }
}
