//! Streams: a file for each entry, named by its id, whose content is its fields as JSON; what is written to `%add` becomes
//! the next entry. An entry cannot be changed, and can be removed.

use redis::{Cmd, Value as Reply};
use serde_json::Value as Json;

use super::collection::Parts;
use super::hash::{nonsense, with};
use super::known::of;
use super::link::Lost;
use super::session::Session;
use super::text;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Segment, Word};
use crate::store::repeating::Page;

/// Entries that are asked for at once.
const TOGETHER: usize = 200;

/// See the module.
pub(super) struct Streams;

/// An entry as the server tells it: its id, and its fields with their values.
type Entry = (String, Vec<(Vec<u8>, Vec<u8>)>);

/// Whether a name is an id as the server writes it.
fn is_id(name: &[u8]) -> bool {
    let number = |text: &str| text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
    let text = str::from_utf8(name).unwrap_or_default();
    text.split_once('-').is_some_and(|(time, count)| number(time) && number(count))
}

fn shown(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    text::of_pairs(fields).to_string().into_bytes()
}

/// The fields that a file says, with their values.
fn fields(body: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let json: Json = serde_json::from_slice(body)
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("an entry's fields are JSON: {error}")))?;
    text::pairs(&json)
}

impl Parts for Streams {
    fn get(&self, key: &[u8], name: &[u8]) -> Option<Cmd> {
        is_id(name).then(|| with(with(of("XRANGE", key), name), name))
    }

    fn file(&self, reply: Reply) -> Result<Option<Vec<u8>>> {
        if reply == Reply::Nil {
            return Ok(None);
        }
        let entries: Vec<Entry> =
            redis::from_redis_value(reply).map_err(|error| nonsense("XRANGE", &error))?;
        Ok(entries.first().map(|(_, fields)| shown(fields)))
    }

    fn page(&self, session: &mut Session<'_>, key: &[u8], from: &[u8]) -> Result<Result<Page>, Lost> {
        let mut range = of("XRANGE", key);
        range.arg(if from.is_empty() { b"-" } else { from }).arg("+").arg("COUNT").arg(TOGETHER);
        let entries: Vec<Entry> = match redis::from_redis_value(session.one(range)?) {
            Ok(entries) => entries,
            Err(error) => return Ok(Err(nonsense("XRANGE", &error))),
        };
        let last = entries.last().filter(|_| entries.len() == TOGETHER);
        let next = last.map(|(id, _)| format!("({id}").into_bytes());
        let parts = entries
            .iter()
            .map(|(id, fields)| (id.clone().into_bytes(), shown(fields).len() as u64))
            .collect();
        Ok(Ok(Page { parts, next }))
    }

    fn is_same(&self, there: &[u8], body: &[u8]) -> Result<bool> {
        Ok(fields(there)? == fields(body)?)
    }

    fn put(&self, key: &[u8], part: Segment<'_>, body: &[u8], there: bool, _count: u64) -> Result<Vec<Cmd>> {
        let id = match part.word {
            Word::Add => &b"*"[..],
            Word::None if there => {
                let sentence = "an entry of a stream cannot be changed: write a new one to %add";
                return Err(Error::new(ErrorKind::NotPermitted, sentence));
            }
            Word::None => part.bytes,
            _ => return Err(Error::new(ErrorKind::Invalid, "a stream has no such part")),
        };
        let mut add = with(of("XADD", key), id);
        for (field, value) in fields(body)? {
            add.arg(field).arg(value);
        }
        Ok(vec![add])
    }

    fn delete(&self, key: &[u8], name: &[u8], _count: u64) -> Result<Cmd> {
        Ok(with(of("XDEL", key), name))
    }

    fn count(&self, key: &[u8]) -> Cmd {
        of("XLEN", key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_the_server_writes() {
        assert!(is_id(b"0-1") && is_id(b"1700000000000-0"));
        for wrong in [&b"1"[..], b"1-", b"01-1", b"-", b"+", b"1-1-1", b"x-1"] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
    }
}
