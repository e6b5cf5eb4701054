//! Strings: one file each. Short ones are read whole when they are opened; long ones in ranges, on one connection, on which
//! the server tells of a change before it answers anything later (§3.1).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::{Cmd, Value as Reply};
use smallvec::SmallVec;

use super::copying::Copied;
use super::known::of;
use super::link::{Followed, Lost, Plan};
use super::node::Which;
use super::server::At;
use super::session::Session;
use super::shared::{Shared, bytes, exists, shown};
use super::types::Type;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::{SharedBytes, Value, Version, When};
use crate::store::version::{Content, Tag};

/// Up to this length a string is read whole when it is opened, in bytes.
pub(super) const WHOLE_MOST: u64 = 1 << 20;
/// What is read of a long one with one question, and put with one command, in bytes.
pub(super) const PIECE: u64 = 1 << 20;
/// The longest string (`proto-max-bulk-len`), in bytes.
pub(super) const LONGEST: u64 = 512 << 20;

/// A long string, of which nothing is kept here.
struct Long {
    shared: Arc<Shared>,
    key: Vec<u8>,
    length: u64,
    base: Base,
    /// What tells it from every other open one.
    number: u64,
}

/// Through which connection something was read that is followed there.
#[derive(Clone)]
pub(super) struct Base {
    pub which: Which,
    pub followed: Arc<Followed>,
}

/// Long strings that are open, with their keys, by their numbers.
#[derive(Default)]
pub(super) struct LongOnes {
    open: Mutex<HashMap<u64, (Vec<u8>, Base)>>,
    next: AtomicU64,
}

/// What the version of a long string begins with; its number follows.
const FOLLOWED: &[u8] = b"followed ";

impl LongOnes {
    fn add(&self, key: &[u8], base: Base) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, (key.to_vec(), base));
        number
    }

    /// Where the version that is meant was read, where it is one of these.
    fn find(&self, version: &Version) -> Option<Option<Base>> {
        let number = number_of(version)?;
        Some(self.open.lock().get(&number).map(|(_, base)| base.clone()))
    }

    /// Of which key the version that is meant is, and where it was read, where it is one of these and open still.
    pub(super) fn source(&self, version: &Version) -> Option<(Vec<u8>, Base)> {
        self.open.lock().get(&number_of(version)?).cloned()
    }
}

fn number_of(version: &Version) -> Option<u64> {
    let number = version.0.strip_prefix(FOLLOWED)?;
    Some(u64::from_le_bytes(number.try_into().ok()?))
}

impl Drop for Long {
    fn drop(&mut self) {
        self.shared.long_ones.open.lock().remove(&self.number);
    }
}

/// What opening a key found.
enum Opened {
    Short(Vec<u8>, Base),
    Long(u64, Base),
    /// It changed while it was looked at.
    Changed,
    None,
    Other,
}

/// Opens the string at `key`, in one round trip; of a module's value, its `DUMP`.
///
/// # Errors
/// The server's.
pub(super) fn open(shared: &Arc<Shared>, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
    if !shared.restriction.has(key) {
        return Ok(None);
    }
    if let Some((bytes, version)) = shared.recent.get(&shared.server, key) {
        shared.index.note_read(key, bytes.len() as u64, version);
        return Ok(Some(Box::new(SharedBytes(bytes))));
    }
    let deadline = Deadline::after(shared.server.timeout());
    loop {
        let opened = shared.server.ask(At::Key(key), |session| {
            let which = session.which();
            let questions = [get_range(key, 0, WHOLE_MOST), of("STRLEN", key), of("TYPE", key)];
            let (replies, followed) = session.follow(key, &questions)?;
            let mut replies = replies.into_iter();
            let mut next = || replies.next().unwrap_or(Ok(Reply::Nil));
            let (range, length, kind) = (next(), next(), next().map_err(Lost::Failed)?);
            match Type::of_reply(&kind) {
                None => return Ok(Opened::None),
                Some(Type::Other) => return Ok(Opened::Other),
                Some(Type::String) => {}
                Some(_) => return Ok(Opened::None),
            }
            // Of another type a moment ago.
            let (Ok(range), Ok(Reply::Int(length))) = (range, length) else { return Ok(Opened::Changed) };
            let (range, length) = (bytes(range).unwrap_or_default(), length as u64);
            Ok(if length <= WHOLE_MOST && range.len() as u64 == length {
                Opened::Short(range, Base { which, followed })
            } else if length > WHOLE_MOST && followed.is_current() {
                Opened::Long(length, Base { which, followed })
            } else {
                Opened::Changed
            })
        })?;
        match opened {
            Opened::None => return Ok(None),
            Opened::Changed if deadline.passed() => {
                let sentence = format!("{} is changed all the time (--timeout)", shown(key));
                return Err(Error::new(ErrorKind::TimedOut, sentence));
            }
            Opened::Changed => {}
            Opened::Other => return dump(shared, key),
            Opened::Short(bytes, base) => {
                let version = Version::of_content(&bytes);
                let bytes: Arc<[u8]> = bytes.into();
                if let Some(version) = Tag::of(&version.0) {
                    shared.index.note_read(key, bytes.len() as u64, version);
                    shared.recent.keep(key, &bytes, version, base);
                }
                return Ok(Some(Box::new(SharedBytes(bytes))));
            }
            Opened::Long(length, base) => {
                shared.recent.make_way();
                let number = shared.long_ones.add(key, base.clone());
                let (shared, key) = (Arc::clone(shared), key.to_vec());
                return Ok(Some(Box::new(Long { shared, key, length, base, number })));
            }
        }
    }
}

/// What a module keeps, in the server's own form.
fn dump(shared: &Shared, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
    let dumped = shared.server.ask(At::Key(key), |session| session.one(of("DUMP", key)))?;
    Ok(bytes(dumped).map(|bytes| Box::new(SharedBytes(bytes.into())) as Box<dyn Value>))
}

pub(super) fn get_range(key: &[u8], offset: u64, size: u64) -> Cmd {
    let mut command = of("GETRANGE", key);
    command.arg(offset).arg(offset + size - 1);
    command
}

impl Long {
    fn stale(&self) -> Error {
        let sentence = format!("{} was changed by somebody else while it was open", shown(&self.key));
        Error::new(ErrorKind::Stale, sentence)
    }
}

impl Value for Long {
    fn len(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let end = self.length.min(offset.saturating_add(size));
        let mut at = offset;
        while at < end {
            let piece = PIECE.min(end - at);
            if !self.base.followed.is_current() {
                return Err(self.stale());
            }
            let read = self
                .shared
                .server
                .ask_on(self.base.which, |session| session.one(get_range(&self.key, at, piece)))
                .map_err(|error| if error.kind() == ErrorKind::Uncertain { self.stale() } else { error })?;
            let read = bytes(read).unwrap_or_default();
            // A change is told before the reply that it is in.
            if !self.base.followed.is_current() || read.len() as u64 != piece {
                return Err(self.stale());
            }
            sink(&read);
            at += piece;
        }
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        let mut version = SmallVec::from_slice(FOLLOWED);
        version.extend_from_slice(&self.number.to_le_bytes());
        Ok(Version(version))
    }

    fn is_continued(&self) -> bool {
        true
    }

    fn is_copied(&self) -> bool {
        true
    }
}

/// Puts a string; what it was is gone. Its time to live stays.
///
/// # Errors
/// `Exists` by [`When::Absent`], `Stale` by [`When::Current`]; where another type is there, `Exists`.
pub(super) fn put(shared: &Shared, key: &[u8], body: &Payload, when: &When) -> Result<()> {
    let short = body.len() <= PIECE;
    let making = shared.index.making(key);
    let outcome = match when {
        When::Absent if short => put_new(shared, key, body),
        // The server answers the old string, which is not to be a long one.
        When::Always if short && shared.index.size(key).is_some_and(|size| size <= PIECE) => {
            put_over(shared, key, body)
        }
        _ => match (continued(body, when)?, Copied::of(shared, key, body, when)) {
            (Some(there), _) => put_rest(shared, key, body, there, when),
            (None, Some(copied)) => copied.put(shared, key, when),
            (None, None) if body.beginning().is_some() => put_whole(shared, key, &body.brought_down()?, when),
            (None, None) => put_whole(shared, key, body, when),
        },
    };
    if making.is_some() && outcome.is_ok() {
        shared.index.note_made(key, body.len());
    }
    shared.doubt(key);
    outcome
}

/// Deletes the string, or what a module keeps; absent is no error with [`When::Always`].
///
/// # Errors
/// `Stale` by [`When::Current`].
pub(super) fn delete(shared: &Shared, key: &[u8], when: &When) -> Result<()> {
    let plan = Plan { count: 1, command: &|_| Ok(of("DEL", key)) };
    let holds = |session: &mut Session<'_>, kind| {
        Ok(match (kind, when) {
            (Some(Type::String), When::Current(version)) => stands_on(shared, session, key, version)?,
            (_, When::Current(_)) => Holds::No(Err(stale(key))),
            (Some(Type::String | Type::Other), _) => Holds::Yes,
            // A collection of the same name is another file.
            (_, When::Always | When::Absent) => Holds::No(Ok(())),
        })
    };
    let is_done = || Ok(length(shared, key)?.is_none());
    let outcome = guarded(shared, key, when, &plan, &holds, &is_done);
    shared.doubt(key);
    outcome
}

/// All bytes, in pieces.
fn put_whole(shared: &Shared, key: &[u8], body: &Payload, when: &When) -> Result<()> {
    let plan = Plan {
        count: body.len().div_ceil(PIECE).max(1) as usize,
        command: &|index| {
            let piece = piece(body, index as u64 * PIECE)?;
            let mut command = of(if index == 0 { "SET" } else { "APPEND" }, key);
            command.arg(piece);
            if index == 0 {
                command.arg("KEEPTTL");
            }
            Ok(command)
        },
    };
    put_guarded(shared, key, when, &plan, &|| ends_with(shared, key, body, 0))
}

/// All but the first `there` bytes, which the string has already.
fn put_rest(shared: &Shared, key: &[u8], body: &Payload, there: u64, when: &When) -> Result<()> {
    let plan = Plan {
        count: (body.len() - there).div_ceil(PIECE) as usize,
        command: &|index| {
            let at = there + index as u64 * PIECE;
            let mut command = of("SETRANGE", key);
            command.arg(at).arg(piece(body, at)?);
            Ok(command)
        },
    };
    put_guarded(shared, key, when, &plan, &|| ends_with(shared, key, body, there))
}

/// The bytes of a payload from here on, as many as one command has.
fn piece(body: &Payload, at: u64) -> Result<Vec<u8>> {
    let mut piece = vec![0; PIECE.min(body.len() - at) as usize];
    body.read(at, &mut piece)?;
    Ok(piece)
}

/// Whether the string is as long as the payload, and the same from here on.
fn ends_with(shared: &Shared, key: &[u8], body: &Payload, from: u64) -> Result<bool> {
    let mut at = from;
    if length(shared, key)? != Some(body.len()) {
        return Ok(false);
    }
    while at < body.len() {
        let expected = piece(body, at)?;
        let range = get_range(key, at, expected.len() as u64);
        if bytes(shared.server.ask(At::Key(key), |session| session.one(range.clone()))?) != Some(expected) {
            return Ok(false);
        }
        at += PIECE;
    }
    Ok(true)
}

/// How long the string is; `None` where there is nothing.
fn length(shared: &Shared, key: &[u8]) -> Result<Option<u64>> {
    let questions = [of("EXISTS", key), of("STRLEN", key)];
    let replies = shared.server.ask(At::Key(key), |session| session.ask(&questions))?;
    Ok(match replies.as_slice() {
        [Ok(Reply::Int(1)), Ok(Reply::Int(length))] => Some(*length as u64),
        _ => None,
    })
}

/// How many bytes of the string that is there stay as they are, where what follows is put in their place.
fn continued(body: &Payload, when: &When) -> Result<Option<u64>> {
    let (Some((value, there)), When::Current(version)) = (body.beginning(), when) else { return Ok(None) };
    // No command makes a string shorter.
    let grows = body.len() >= value.len();
    Ok(Some(there).filter(|_| grows).filter(|_| value.version().is_ok_and(|base| base == *version)))
}

/// Where nothing is.
fn put_new(shared: &Shared, key: &[u8], body: &Payload) -> Result<()> {
    let mut set = set(key, body)?;
    set.arg("NX");
    let attempt = |session: &mut Session<'_>| {
        Ok(Some(match session.change(std::slice::from_ref(&set))?.pop() {
            Some(Ok(Reply::Nil)) => Err(exists(key)),
            Some(Err(error)) => Err(shared.refused(key)(error)),
            _ => Ok(()),
        }))
    };
    shared.server.carry_out(key, None, attempt, || match length(shared, key)? {
        None => Ok(false),
        // What is there is what was put, or somebody else's.
        Some(_) if ends_with(shared, key, body, 0)? => Ok(true),
        Some(_) => Err(exists(key)),
    })
}

/// Whatever string is there, or none. The server refuses where another type is, since it is to answer the old string.
fn put_over(shared: &Shared, key: &[u8], body: &Payload) -> Result<()> {
    let mut set = set(key, body)?;
    set.arg("KEEPTTL").arg("GET");
    let done =
        shared.server.ask(At::Key(key), |session| Ok(session.change(std::slice::from_ref(&set))?.pop()))?;
    match done {
        Some(Err(error)) if error.code() == Some("WRONGTYPE") => Err(other_type(key)),
        Some(Err(error)) => Err(shared.refused(key)(error)),
        _ => Ok(()),
    }
}

/// Whether a condition holds; where it does not, what comes of that.
enum Holds {
    Yes,
    No(Result<()>),
}

/// Looks whether a condition holds of the type that is there.
type Condition<'c> = dyn Fn(&mut Session<'_>, Option<Type>) -> Result<Holds, Lost> + 'c;

/// Puts by a plan, where the condition holds and there is a string, or nothing.
fn put_guarded(
    shared: &Shared,
    key: &[u8],
    when: &When,
    plan: &Plan<'_>,
    is_done: &dyn Fn() -> Result<bool>,
) -> Result<()> {
    let holds = |session: &mut Session<'_>, kind| {
        Ok(match (kind, when) {
            (None | Some(Type::String), When::Always) | (None, When::Absent) => Holds::Yes,
            (Some(Type::String), When::Current(version)) => stands_on(shared, session, key, version)?,
            (_, When::Current(_)) => Holds::No(Err(stale(key))),
            (Some(Type::String), When::Absent) => Holds::No(Err(exists(key))),
            (Some(_), When::Always | When::Absent) => Holds::No(Err(other_type(key))),
        })
    };
    guarded(shared, key, when, plan, &holds, is_done)
}

/// Carries out a plan as one transaction where `holds` says so of the type that is there; nothing between can change the
/// key unnoticed. After a lost answer `is_done` tells whether it was done.
fn guarded(
    shared: &Shared,
    key: &[u8],
    when: &When,
    plan: &Plan<'_>,
    holds: &Condition<'_>,
    is_done: &dyn Fn() -> Result<bool>,
) -> Result<()> {
    let on = match when {
        When::Current(version) => match shared.long_ones.find(version) {
            Some(Some(base)) => Some(base.which),
            Some(None) => return Err(stale(key)),
            None => None,
        },
        _ => None,
    };
    let attempt = |session: &mut Session<'_>| {
        let (kind, _) = session.look(key, [])?;
        match holds(session, kind)? {
            Holds::Yes => session.transact(plan, shared.refused(key)),
            Holds::No(outcome) => session.settle_for(outcome),
        }
    };
    shared.server.carry_out(key, on, attempt, is_done)
}

/// Whether the string, which is watched, is of this version.
fn stands_on(
    shared: &Shared,
    session: &mut Session<'_>,
    key: &[u8],
    version: &Version,
) -> Result<Holds, Lost> {
    let same = match shared.long_ones.find(version) {
        // A change is told before the reply to what was asked after it.
        Some(base) => base.is_some_and(|base| base.followed.is_current()),
        None => has_content(session, key, version)?,
    };
    Ok(if same { Holds::Yes } else { Holds::No(Err(stale(key))) })
}

/// Whether the string is of this version by its content. Asked for in pieces: it may be a long one.
fn has_content(session: &mut Session<'_>, key: &[u8], version: &Version) -> Result<bool, Lost> {
    let mut content = Content::default();
    let mut at = 0;
    loop {
        let piece = bytes(session.one(get_range(key, at, PIECE))?).unwrap_or_default();
        content.add(&piece);
        at += piece.len() as u64;
        if (piece.len() as u64) < PIECE {
            return Ok(content.version() == *version);
        }
    }
}

fn set(key: &[u8], body: &Payload) -> Result<Cmd> {
    let mut set = of("SET", key);
    match body.as_slice() {
        Some(bytes) => set.arg(bytes),
        None => set.arg(whole(body)?),
    };
    Ok(set)
}

/// All bytes of a payload.
///
/// # Errors
/// The spill file's.
pub(super) fn whole(body: &Payload) -> Result<Vec<u8>> {
    let mut all = vec![0; body.len() as usize];
    body.read(0, &mut all)?;
    Ok(all)
}

/// The failure of a change that stands on a version which is gone.
pub(super) fn stale(key: &[u8]) -> Error {
    Error::new(ErrorKind::Stale, format!("{} was changed by somebody else in the meantime", shown(key)))
}

/// The failure of a change that would replace a collection.
pub(super) fn other_type(key: &[u8]) -> Error {
    Error::new(ErrorKind::Exists, format!("{} has another type: it is no string", shown(key)))
}
