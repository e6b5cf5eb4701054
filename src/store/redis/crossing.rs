//! A rename from one slot of a cluster to another, which no command does: `DUMP` here, `RESTORE` there, then the old key is
//! removed where nobody changed it meanwhile. Whoever stops in the middle leaves both, and loses nothing.

use redis::Value as Reply;

use super::known::of;
use super::link::Lost;
use super::server::At;
use super::session::Session;
use super::shared::{Shared, bytes, exists, missing, number};
use super::strings::other_type;
use super::types::Type;
use crate::error::{Error, ErrorKind, Result};

/// What was found of the old key.
struct Carried {
    dump: Vec<u8>,
    expires: Option<Expiry>,
}

/// When a key expires, in milliseconds.
#[derive(Clone, Copy)]
enum Expiry {
    /// By the server's clock.
    At(i64),
    /// From now on: all that a server before 7.0 tells.
    In(i64),
}

/// Carries the value of `old` over to `new`, with its time to live; `is_file`: whether what is of this type is meant.
///
/// # Errors
/// `NotFound`; `Exists` without `replace`, and for another type; `CrossDevice` between servers that do not understand each
/// other's `DUMP`; `TimedOut`.
pub(super) fn carry(
    shared: &Shared,
    old: &[u8],
    new: &[u8],
    replace: bool,
    is_file: &dyn Fn(Type) -> bool,
) -> Result<()> {
    let _carrying = shared.server.carrying()?;
    // Whether what is at the new key was brought there by an earlier try.
    let mut brought = false;
    let attempt = |source: &mut Session<'_>| {
        let carried = match look(source, old, is_file)? {
            Some(carried) => carried,
            None if brought => return source.settle_for(Ok(())),
            None => {
                let taken = !replace && shared.known(new).ok().flatten().is_some_and(|new| is_file(new.kind));
                let refusal = if taken { exists(new) } else { missing(old) };
                return source.settle_for(Err(refusal));
            }
        };
        if let Err(error) = restore(shared, new, &carried, replace || brought, is_file) {
            return source.settle_for(Err(error));
        }
        brought = true;
        source.transact_all(&[of("DEL", old)], shared.refused(old))
    };
    // After a lost answer the next try finds out.
    let outcome = shared.server.carry_out(old, None, attempt, || Ok(false));
    shared.doubt(old);
    shared.doubt(new);
    outcome
}

/// Watches the old key, and reads it; `None` where nothing is there that is meant.
fn look(
    source: &mut Session<'_>,
    key: &[u8],
    is_file: &dyn Fn(Type) -> bool,
) -> Result<Option<Carried>, Lost> {
    let questions = [of("DUMP", key), of("PEXPIRETIME", key), of("PTTL", key)];
    let (kind, mut replies) = source.look(key, questions)?;
    let mut next = || replies.next().unwrap_or(Ok(Reply::Nil));
    let (dump, at, left) = (next().map_err(Lost::Failed)?, next(), next());
    let Some(dump) = bytes(dump).filter(|_| kind.is_some_and(is_file)) else { return Ok(None) };
    let expires = match (at, left) {
        (Ok(Reply::Int(at)), _) => Some(Expiry::At(at)).filter(|_| at > 0),
        (_, Ok(Reply::Int(left))) => Some(Expiry::In(left)).filter(|_| left > 0),
        _ => None,
    };
    Ok(Some(Carried { dump, expires }))
}

/// Puts what was read at the new key. Where it does not expire, and what it replaces does, it takes over that time.
fn restore(
    shared: &Shared,
    key: &[u8],
    carried: &Carried,
    replace: bool,
    is_file: &dyn Fn(Type) -> bool,
) -> Result<()> {
    let attempt = |target: &mut Session<'_>| {
        let (there, mut replies) = target.look(key, [of("PTTL", key)])?;
        match there {
            Some(kind) if !is_file(kind) => return target.settle_for(Err(other_type(key))),
            Some(_) if !replace => {
                return target.settle_for(Err(exists(key)));
            }
            _ => {}
        }
        let left = replies.next().and_then(Result::ok).and_then(|left| number(&left).ok()).unwrap_or(-1);
        let mut restore = of("RESTORE", key);
        let expires = match carried.expires {
            Some(Expiry::At(time) | Expiry::In(time)) => time,
            None => left.max(0),
        };
        restore.arg(expires).arg(&carried.dump).arg("REPLACE");
        if let Some(Expiry::At(_)) = carried.expires {
            restore.arg("ABSTTL");
        }
        target.transact_all(&[restore], |error| match error.detail() {
            Some(detail) if detail.contains("payload") => {
                let sentence = "the servers do not understand each other's DUMP: copied, and removed";
                Error::new(ErrorKind::CrossDevice, sentence)
            }
            _ => shared.refused(key)(error),
        })
    };
    let is_done = || {
        let there = shared.server.ask(At::Key(key), |session| session.one(of("DUMP", key)))?;
        Ok(bytes(there).as_ref() == Some(&carried.dump))
    };
    shared.server.carry_out(key, None, attempt, is_done)
}
