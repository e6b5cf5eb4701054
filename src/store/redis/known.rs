//! What is known of one key, and how the server is asked for it.

use std::time::{Duration, SystemTime};

use redis::{Cmd, Value, cmd};

use super::link::Reply;
use super::types::Type;
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
pub(super) const QUESTIONS: usize = 3;

/// What is asked about `key`.
pub(super) fn questions(key: &[u8]) -> [Cmd; QUESTIONS] {
    [of("TYPE", key), of("STRLEN", key), of("PTTL", key)]
}

/// What was answered, at the moment `now`; `None` where there is nothing.
pub(super) fn answer(replies: &[Reply], now: SystemTime) -> Option<Known> {
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
