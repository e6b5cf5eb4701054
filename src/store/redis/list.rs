//! Lists: a file for each element, named by its index. They grow and shrink at the end, since the rest would take other
//! names (§7.1); what is written to `%push` comes behind the last one.

use redis::{Cmd, Value as Reply};

use super::collection::Parts;
use super::hash::{nonsense, with};
use super::known::of;
use super::link::Lost;
use super::session::Session;
use super::shared::bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Segment, Word};
use crate::store::repeating::Page;

/// Elements that are asked for at once.
const TOGETHER: u64 = 200;

/// See the module.
pub(super) struct Lists;

/// The index that a name is; `None` where it is none, as for `01`.
fn index(name: &[u8]) -> Option<u64> {
    let text = str::from_utf8(name).ok()?;
    let index: u64 = text.parse().ok()?;
    (index.to_string() == text).then_some(index)
}

impl Parts for Lists {
    fn get(&self, key: &[u8], name: &[u8]) -> Option<Cmd> {
        index(name).map(|_| with(of("LINDEX", key), name))
    }

    fn file(&self, reply: Reply) -> Result<Option<Vec<u8>>> {
        Ok(bytes(reply))
    }

    fn page(&self, session: &mut Session<'_>, key: &[u8], from: &[u8]) -> Result<Result<Page>, Lost> {
        let first = index(from).unwrap_or(0);
        let mut range = of("LRANGE", key);
        range.arg(first).arg(first + TOGETHER - 1);
        let elements: Vec<Vec<u8>> = match redis::from_redis_value(session.one(range)?) {
            Ok(elements) => elements,
            Err(error) => return Ok(Err(nonsense("LRANGE", &error))),
        };
        let next = (elements.len() as u64 == TOGETHER).then(|| (first + TOGETHER).to_string().into_bytes());
        let named = (first..).zip(elements);
        let parts =
            named.map(|(index, bytes)| (index.to_string().into_bytes(), bytes.len() as u64)).collect();
        Ok(Ok(Page { parts, next }))
    }

    fn put(&self, key: &[u8], part: Segment<'_>, body: &[u8], there: bool, count: u64) -> Result<Vec<Cmd>> {
        if part.word == Word::Push {
            return Ok(vec![with(of("RPUSH", key), body)]);
        }
        match index(part.bytes).filter(|_| part.word == Word::None) {
            Some(_) if there => Ok(vec![with(with(of("LSET", key), part.bytes), body)]),
            Some(index) if index == count => Ok(vec![with(of("RPUSH", key), body)]),
            _ => {
                let sentence = format!("a list grows at its end: the next element is {count}, or %push");
                Err(Error::new(ErrorKind::Invalid, sentence))
            }
        }
    }

    fn delete(&self, key: &[u8], name: &[u8], count: u64) -> Result<Cmd> {
        if index(name).is_some_and(|index| index + 1 == count) {
            return Ok(of("RPOP", key));
        }
        let sentence = "only the last element of a list can be removed: the rest would take its names";
        Err(Error::new(ErrorKind::NotPermitted, sentence))
    }

    fn count(&self, key: &[u8]) -> Cmd {
        of("LLEN", key)
    }
}
