//! Hashes: a file for each field, whose bytes are its value.

use redis::{Cmd, Value as Reply};

use super::collection::Parts;
use super::known::of;
use super::link::Lost;
use super::session::Session;
use super::shared::bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Segment, Word};
use crate::store::repeating::Page;

/// Fields that are asked for at once.
const TOGETHER: usize = 500;

/// Fields with their values.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// See the module.
pub(super) struct Hashes;

impl Parts for Hashes {
    fn get(&self, key: &[u8], name: &[u8]) -> Option<Cmd> {
        Some(with(of("HGET", key), name))
    }

    fn file(&self, reply: Reply) -> Result<Option<Vec<u8>>> {
        Ok(bytes(reply))
    }

    fn page(&self, session: &mut Session<'_>, key: &[u8], from: &[u8]) -> Result<Result<Page>, Lost> {
        let mut scan = of("HSCAN", key);
        scan.arg(if from.is_empty() { b"0" } else { from }).arg("COUNT").arg(TOGETHER);
        let (next, pairs): (Vec<u8>, Fields) = match redis::from_redis_value(session.one(scan)?) {
            Ok(page) => page,
            Err(error) => return Ok(Err(nonsense("HSCAN", &error))),
        };
        let parts = pairs.into_iter().map(|(name, value)| (name, value.len() as u64)).collect();
        Ok(Ok(Page { parts, next: Some(next).filter(|next| next != b"0") }))
    }

    fn put(&self, key: &[u8], part: Segment<'_>, body: &[u8], _there: bool, _count: u64) -> Result<Vec<Cmd>> {
        plain(part)?;
        let mut set = with(of("HSET", key), part.bytes);
        set.arg(body);
        Ok(vec![set])
    }

    fn delete(&self, key: &[u8], name: &[u8], _count: u64) -> Result<Cmd> {
        Ok(with(of("HDEL", key), name))
    }

    fn count(&self, key: &[u8]) -> Cmd {
        of("HLEN", key)
    }
}

/// The command with one more argument.
pub(super) fn with(mut command: Cmd, argument: &[u8]) -> Cmd {
    command.arg(argument);
    command
}

/// Refuses a part that is only a way to write.
///
/// # Errors
/// `Invalid`.
pub(super) fn plain(part: Segment<'_>) -> Result<()> {
    if part.word == Word::None {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "this type has no such part"))
}

/// The failure of an answer that makes no sense.
pub(super) fn nonsense(what: &str, error: &impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("{what}: {error}"))
}
