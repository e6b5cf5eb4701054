//! Long strings as copies of others, which the server makes by itself (`COPY`): no byte of them comes here.

use redis::{Cmd, Value as Reply};

use super::known::of;
use super::server::At;
use super::session::Session;
use super::shared::{Shared, exists, number, shown};
use super::strings::{Base, PIECE, get_range, other_type};
use super::ttl::expire;
use super::types::Type;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::When;

/// A string that another key is to have, too.
pub(super) struct Copied {
    source: Vec<u8>,
    base: Base,
}

impl Copied {
    /// What a payload is a copy of, where all of it is the version of another key that one command can copy here.
    pub(super) fn of(shared: &Shared, key: &[u8], body: &Payload, when: &When) -> Option<Copied> {
        let (value, length) = body.beginning()?;
        if length != body.len() || length != value.len() || matches!(when, When::Current(_)) {
            return None;
        }
        let (source, base) = shared.long_ones.source(&value.version().ok()?)?;
        let together = source != key && shared.server.topology().are_together(&source, key);
        together.then_some(Copied { source, base })
    }

    /// Copies, on the connection that follows the source, which nobody has changed since it was opened. The time to live
    /// of what is replaced stays; that of the source does not come along, as it does not with its bytes.
    ///
    /// # Errors
    /// `Stale` where the source was changed; `Exists` by [`When::Absent`], or where the key has another type.
    pub(super) fn put(&self, shared: &Shared, key: &[u8], when: &When) -> Result<()> {
        let attempt = |session: &mut Session<'_>| {
            let (kind, mut replies) = session.look(key, [of("WATCH", &self.source), of("PTTL", key)])?;
            let left = replies.nth(1).and_then(Result::ok);
            match (kind, when) {
                (Some(Type::String), When::Absent) => return session.settle_for(Err(exists(key))),
                (None | Some(Type::String), _) => {}
                (Some(_), _) => return session.settle_for(Err(other_type(key))),
            }
            // A change is told before the reply to what was asked after it.
            if !self.base.followed.is_current() {
                return session.settle_for(Err(self.stale()));
            }
            let mut copy = of("COPY", &self.source);
            copy.arg(key).arg("REPLACE");
            session.transact_all(&[copy, lasting(key, left.as_ref())], shared.refused(key))
        };
        let outcome =
            shared.server.carry_out(key, Some(self.base.which), attempt, || self.is_done(shared, key));
        outcome.map_err(|error| if error.kind() == ErrorKind::Stale { self.stale() } else { error })
    }

    /// After a lost answer: whether the key has what the source has.
    fn is_done(&self, shared: &Shared, key: &[u8]) -> Result<bool> {
        let mut at = 0;
        loop {
            let range = |key: &[u8]| [of("STRLEN", key), get_range(key, at, PIECE)];
            let questions: Vec<Cmd> = [range(&self.source), range(key)].into_iter().flatten().collect();
            let replies = shared.server.ask(At::Key(key), |session| session.ask(&questions))?;
            let replies =
                replies.into_iter().collect::<Result<Vec<Reply>, _>>().map_err(shared.refused(key))?;
            let (source, copy) = replies.split_at(2);
            if source != copy {
                return Ok(false);
            }
            at += PIECE;
            if at >= number(&source[0])?.unsigned_abs() {
                return Ok(true);
            }
        }
    }

    fn stale(&self) -> Error {
        let sentence = format!("{} was changed by somebody else while it was copied", shown(&self.source));
        Error::new(ErrorKind::Stale, sentence)
    }
}

/// What gives a key the time to live that it had, by the answer to `PTTL`.
fn lasting(key: &[u8], left: Option<&Reply>) -> Cmd {
    let left = left.and_then(|left| number(left).ok()).and_then(|left| u64::try_from(left).ok());
    left.map_or_else(|| of("PERSIST", key), |left| expire(key, left))
}
