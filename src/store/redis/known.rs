//! What is known of one key, and how the server is asked for it.

use std::time::{Duration, SystemTime};

use redis::{Cmd, Value, cmd};

use super::link::Reply;
use super::server::Server;
use super::types::Type;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::version::Tag;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Its type.
    pub kind: Type,
    /// Length in bytes, of a string.
    pub size: u64,
    /// When it was last changed, as far as anybody noticed; the server keeps no times.
    pub modified: SystemTime,
    /// When it expires, where it does.
    pub expires: Option<SystemTime>,
    /// The version that was read last, while nobody told of a change.
    pub version: Option<Box<Tag>>,
}

/// Commands for one key.
const QUESTIONS: usize = 3;

/// What is asked about `key`.
fn questions(key: &[u8]) -> [Cmd; QUESTIONS] {
    [of("TYPE", key), of("STRLEN", key), of("PTTL", key)]
}

/// What was answered, at the moment `now`; `None` where there is nothing.
fn answer(replies: &[Reply], now: SystemTime) -> Option<Known> {
    let kind = Type::of_reply(replies.first()?.as_ref().ok()?)?;
    let number = |reply: Option<&Reply>| match reply {
        Some(Ok(Value::Int(number))) => u64::try_from(*number).ok(),
        _ => None,
    };
    let size = number(replies.get(1)).unwrap_or(0);
    let expires = number(replies.get(2)).map(|left| now + Duration::from_millis(left));
    Some(Known { kind, size, modified: now, expires, version: None })
}

/// A command about one key.
pub(super) fn of(name: &str, key: &[u8]) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}

/// What the servers tell of these keys, in order.
///
/// # Errors
/// The servers'.
pub(super) fn ask_about(server: &Server, keys: &[Box<[u8]>]) -> Result<Vec<Option<Known>>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let replies = server.ask_about(keys, questions)?;
    let now = env::now();
    Ok(replies.iter().map(|replies| answer(replies, now)).collect())
}

/// A page of a `SCAN`: where the next one begins, and keys.
///
/// # Errors
/// `Io` for an answer that makes no sense.
pub(super) fn page_of(reply: Value) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    redis::from_redis_value(reply).map_err(|error| Error::new(ErrorKind::Io, format!("SCAN: {error}")))
}
