//! What all parts of an open store of this kind stand on.

use std::sync::Arc;

use redis::{RedisError, Value};

use super::abilities::Abilities;
use super::direct::Direct;
use super::index::Index;
use super::recent::Recent;
use super::restriction::Restriction;
use super::server::Server;
use super::session::refused;
use super::strings::LongOnes;
use crate::error::{Error, ErrorKind, Result};
use crate::store::flat::Separator;

/// A server and what is known of it.
pub(super) struct Shared {
    pub server: Arc<Server>,
    pub abilities: Abilities,
    pub index: Index,
    /// What is answered without it.
    pub direct: Direct,
    pub restriction: Restriction,
    pub separator: Separator,
    /// Short strings that were read lately.
    pub recent: Recent,
    /// Long strings that are open.
    pub long_ones: LongOnes,
    /// Whether `mkdir` adds a key that lasts (`--markers`).
    pub markers: bool,
    /// Whether `fsync` fails where the server does not tell that it is on disk (`--require-aof`).
    pub require_aof: bool,
}

impl Shared {
    /// The refusal of a command about `key`.
    pub(super) fn refused(&self, key: &[u8]) -> impl FnOnce(RedisError) -> Error {
        refused(format!("{} of {}", shown(key), self.server.address()))
    }
}

/// The failure of a change that needs a key which is not there.
pub(super) fn missing(key: &[u8]) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {}", shown(key)))
}

/// The failure of a change that would replace a key.
pub(super) fn exists(key: &[u8]) -> Error {
    Error::new(ErrorKind::Exists, format!("there is {} already", shown(key)))
}

/// A key for people.
pub(super) fn shown(key: &[u8]) -> String {
    format!("\"{}\"", key.escape_ascii())
}

/// A whole number.
///
/// # Errors
/// `Io` where it is none.
pub(super) fn number(reply: &Value) -> Result<i64> {
    match reply {
        Value::Int(number) => Ok(*number),
        other => {
            Err(Error::new(ErrorKind::Io, format!("the server answers {other:?} where a number belongs")))
        }
    }
}

/// Bytes; `None` where there is nothing.
pub(super) fn bytes(reply: Value) -> Option<Vec<u8>> {
    match reply {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        Value::Double(number) => Some(super::zset::text(number).into_bytes()),
        _ => None,
    }
}
