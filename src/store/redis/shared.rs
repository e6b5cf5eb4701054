//! What all parts of an open store of this kind stand on.

use std::sync::Arc;

use redis::{RedisError, Value};

use super::index::Index;
use super::known::Known;
use super::listing::Gathered;
use super::recent::Recent;
use super::restriction::Restriction;
use super::server::{Server, refused};
use super::strings::LongOnes;
use crate::error::{Error, ErrorKind, Result};
use crate::store::flat::Separator;

/// A server and what is known of it.
pub(super) struct Shared {
    pub server: Arc<Server>,
    pub index: Index,
    pub restriction: Restriction,
    pub separator: Separator,
    /// Short strings that were read lately.
    pub recent: Recent,
    /// Long strings that are open.
    pub long_ones: LongOnes,
    /// Collections whose parts are being listed.
    pub gathered: Gathered,
    /// Whether `mkdir` adds a key that lasts (`--markers`).
    pub markers: bool,
    /// Whether `fsync` fails where the server does not tell that it is on disk (`--require-aof`).
    pub require_aof: bool,
}

impl Shared {
    /// What is known of a key.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn known(&self, key: &[u8]) -> Result<Option<Known>> {
        Ok(self.index.look(&self.server, &self.restriction, Some(key), None)?.0)
    }

    /// Asks about a key, and forgets what was known of it: for what is about to be changed, or was.
    pub(super) fn doubt(&self, key: &[u8]) {
        self.index.doubt(Some(std::iter::once(key)));
    }

    /// The refusal of a command about `key`.
    pub(super) fn refused(&self, key: &[u8]) -> impl FnOnce(RedisError) -> Error {
        refused(format!("{} of {}", shown(key), self.server.address()))
    }
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
