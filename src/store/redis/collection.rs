//! Collections: a directory each, with a file for each part (§7.1). What all types have in common; each has its own file.

use redis::{Cmd, Value as Reply, cmd};

use super::link::Lost;
use super::server::At;
use super::session::Session;
use super::shared::{Shared, number, shown};
use super::types::Type;
use super::{field, hash, list, set, stream, zset};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Segment, Word};
use crate::store::api::{Version, When};
use crate::store::repeating::Page;

/// What a type does in its own way. `key` is the server's, `name` a part's.
pub(super) trait Parts: Sync {
    /// The value of one part, or what tells that there is none.
    fn get(&self, key: &[u8], name: &[u8]) -> Option<Cmd>;

    /// The bytes of the file that the answer to [`Parts::get`] makes; `None` where there is no such part.
    ///
    /// # Errors
    /// `Io` for an answer that makes no sense.
    fn file(&self, reply: Reply) -> Result<Option<Vec<u8>>>;

    /// A page of the parts, from where the last one ended.
    ///
    /// # Errors
    /// `Io` for an answer that makes no sense.
    fn page(&self, session: &mut Session<'_>, key: &[u8], from: &[u8]) -> Result<Result<Page>, Lost>;

    /// Whether a file that is there is what was put as `body`.
    ///
    /// # Errors
    /// As for [`Parts::put`].
    fn is_same(&self, there: &[u8], body: &[u8]) -> Result<bool> {
        Ok(there == body)
    }

    /// The commands that make a part of these bytes; `there`: whether it is there, `count`: how many parts there are.
    ///
    /// # Errors
    /// `Invalid` for bytes that make no such part; `NotPermitted`.
    fn put(&self, key: &[u8], part: Segment<'_>, body: &[u8], there: bool, count: u64) -> Result<Vec<Cmd>>;

    /// The command that removes a part, of so many.
    ///
    /// # Errors
    /// `NotPermitted`.
    fn delete(&self, key: &[u8], name: &[u8], count: u64) -> Result<Cmd>;

    /// How many parts there are.
    fn count(&self, key: &[u8]) -> Cmd;
}

/// How a type does it.
pub(super) fn parts(kind: Type) -> &'static dyn Parts {
    match kind {
        Type::List => &list::Lists,
        Type::Set => &set::Sets,
        Type::Zset => &zset::Zsets,
        Type::Stream => &stream::Streams,
        Type::Hash | Type::String | Type::Json | Type::Other => &hash::Hashes,
    }
}

/// The file of one part; `None` where there is none.
///
/// # Errors
/// The server's.
pub(super) fn open(shared: &Shared, key: &[u8], kind: Type, part: Segment<'_>) -> Result<Option<Vec<u8>>> {
    let parts = parts(kind);
    let Some(get) =
        Some(part).filter(|part| part.word == Word::None).and_then(|part| parts.get(key, part.bytes))
    else {
        return Ok(None);
    };
    let reply =
        shared.server.ask(At::Key(key), |session| Ok(session.ask(std::slice::from_ref(&get))?.pop()))?;
    match reply {
        Some(Ok(reply)) => parts.file(reply),
        Some(Err(error)) if error.code() == Some("WRONGTYPE") => Ok(None),
        Some(Err(error)) => Err(shared.refused(key)(error)),
        None => Ok(None),
    }
}

/// Whether a part's file that is there says what was put as `body`.
///
/// # Errors
/// As for putting.
pub(super) fn is_same(kind: Type, there: &[u8], body: &[u8]) -> Result<bool> {
    parts(kind).is_same(there, body)
}

/// A page of the parts.
///
/// # Errors
/// The server's.
pub(super) fn page(shared: &Shared, key: &[u8], kind: Type, from: &[u8]) -> Result<Page> {
    shared.server.ask(At::Key(key), |session| match parts(kind).page(session, key, from) {
        Err(Lost::Failed(error)) if error.code() == Some("WRONGTYPE") => {
            Ok(Ok(Page { parts: Vec::new(), next: None }))
        }
        page => page,
    })?
}

/// What a change does to the parts of a collection.
pub(super) enum Deed<'d> {
    Put(Segment<'d>, &'d [u8]),
    Delete(&'d [u8]),
}

/// Changes one part of a collection, which is made by its first one, as one transaction.
///
/// # Errors
/// `Exists` where the key is of another type, and by [`When::Absent`]; `Stale` by [`When::Current`]; `NotPermitted` and
/// `Invalid` of the type.
pub(super) fn change(shared: &Shared, key: &[u8], kind: Type, deed: &Deed<'_>, when: &When) -> Result<()> {
    let parts = parts(kind);
    let name = match deed {
        Deed::Put(part, _) if part.word == Word::None => Some(part.bytes),
        Deed::Put(..) => None,
        Deed::Delete(name) => Some(*name),
    };
    let get = name.map(|name| parts.get(key, name));
    let look = match &get {
        Some(Some(get)) => get.clone(),
        Some(None) => return Err(Error::new(ErrorKind::Invalid, format!("{} has no such part", shown(key)))),
        None => cmd("PING"),
    };
    // An edit would have a field stay for good.
    let has_times = kind == Type::Hash && shared.abilities.field_ttls;
    let fields: Vec<&[u8]> = name.into_iter().filter(|_| has_times).collect();
    let commands = |found: Option<Type>, there: Reply, count: u64, left: Option<Reply>| {
        let (there, count) = match found {
            None => (None, 0),
            Some(found) if found == kind => (name.map_or(Ok(None), |_| parts.file(there))?, count),
            Some(_) => {
                return Err(Error::new(ErrorKind::Exists, format!("{} has another type", shown(key))));
            }
        };
        match (when, &there) {
            (When::Absent, Some(_)) => return Err(ErrorKind::Exists.into()),
            (When::Current(version), there)
                if there.as_ref().is_none_or(|there| Version::of_content(there) != *version) =>
            {
                return Err(super::strings::stale(key));
            }
            _ => {}
        }
        match deed {
            Deed::Put(part, body) => {
                let mut commands = parts.put(key, *part, body, there.is_some(), count)?;
                commands.extend(field::lasting(key, &fields, &field::times(left.as_ref())));
                Ok(commands)
            }
            Deed::Delete(_) if there.is_none() => Ok(Vec::new()),
            Deed::Delete(name) => Ok(vec![parts.delete(key, name, count)?]),
        }
    };
    let attempt = |session: &mut Session<'_>| {
        let left = (!fields.is_empty()).then(|| field::left(key, &fields));
        let questions = [look.clone(), parts.count(key)].into_iter().chain(left);
        let (found, mut replies) = session.look(key, questions)?;
        let mut next = || replies.next().and_then(Result::ok);
        let there = next().unwrap_or(Reply::Nil);
        let count = next().and_then(|count| number(&count).ok()).unwrap_or(0) as u64;
        match commands(found, there, count, next()) {
            Ok(commands) if !commands.is_empty() => session.transact_all(&commands, shared.refused(key)),
            outcome => session.settle_for(outcome.map(drop)),
        }
    };
    let outcome = shared.server.carry_out(key, None, attempt, || is_done(shared, key, kind, deed));
    shared.doubt(key);
    outcome
}

/// After a lost answer: whether it was done.
fn is_done(shared: &Shared, key: &[u8], kind: Type, deed: &Deed<'_>) -> Result<bool> {
    match deed {
        Deed::Put(part, body) if part.word == Word::None => {
            let there = open(shared, key, kind, *part)?;
            there.map_or(Ok(false), |there| parts(kind).is_same(&there, body))
        }
        // Who looks cannot tell it from what others add.
        Deed::Put(..) => {
            let sentence =
                format!("{}: the answer was lost, and whether it was added is not known", shown(key));
            Err(Error::new(ErrorKind::Uncertain, sentence))
        }
        Deed::Delete(name) => Ok(open(shared, key, kind, Segment::plain(name))?.is_none()),
    }
}
