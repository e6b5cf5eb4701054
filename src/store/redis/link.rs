//! One connection to a server. What is read through it can be followed: the server tells of its next change by a push
//! that comes before any later reply (`CLIENT TRACKING`, not broadcasting, opted in read by read).

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use redis::{Cmd, Connection, PushInfo, PushKind, RedisError, RedisResult, Value, cmd};

use super::endpoint::Endpoint;
use super::failure::{failure, is_lost};
use super::node::Role;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// So many values are followed at once; the oldest are let go of then, all of them.
const FOLLOWED_MOST: usize = 1 << 14;
/// What is sent with one call of the system, in bytes; a longer command is sent by itself.
const SENT_AT_ONCE: usize = 64 << 10;
/// The least that a wait may be: the system takes no wait of no time.
const INSTANT: Duration = Duration::from_millis(1);
/// How long one of several servers may take to be connected with; another one may be in its place.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// What a server answers to one command: a value, or that it refuses.
pub(super) type Reply = RedisResult<Value>;

/// Replies, and what tells whether the value that the first of them has is still the one there is.
pub(super) type Follow = (Vec<Reply>, Arc<Followed>);

/// Whether a value that was read is still the one there is.
#[derive(Debug)]
pub(super) struct Followed(AtomicBool);

impl Followed {
    /// Whether nobody has changed it, as of the last reply on its connection.
    pub(super) fn is_current(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection.
pub(super) struct Link {
    connection: Connection,
    pushes: Receiver<PushInfo>,
    /// Whether values can be followed here.
    tracks: bool,
    /// The values that are followed, by their keys.
    followed: HashMap<Box<[u8]>, Arc<Followed>>,
}

/// Why there are no replies.
#[derive(Debug)]
pub(super) enum Lost {
    /// The connection was lost: the commands may have been carried out, or not.
    Connection(RedisError),
    /// The server refused, or the client did not understand.
    Failed(RedisError),
    /// What was to be sent could not be read; nothing is done.
    Here(Error),
    /// The server does not answer for the key, or not now; nothing is done.
    Elsewhere(RedisError),
    /// There is no connection; nothing is done.
    Unreachable(Error),
}

/// The commands of a transaction, each made when it is sent, so that long ones take the memory of one.
pub(super) struct Plan<'p> {
    pub count: usize,
    pub command: &'p dyn Fn(usize) -> Result<Cmd>,
}

/// What a server without TLS does with a greeting in it: it waits for the rest.
fn unanswered(endpoint: &Endpoint, error: &RedisError) -> Option<Error> {
    let sentence =
        format!("{endpoint} does not answer in TLS (--timeout): redis:// is for a server without it");
    (error.is_timeout() && endpoint.speaks_tls()).then(|| Error::new(ErrorKind::TimedOut, sentence))
}

fn reply_of(value: Value) -> Reply {
    match value {
        Value::ServerError(refusal) => Err(refusal.into()),
        value => Ok(value),
    }
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// What the server or the network refuse.
    pub(super) fn open(endpoint: &Endpoint, role: Role, deadline: Deadline) -> Result<Link> {
        let about = |error: &RedisError| failure(endpoint, error);
        let patience =
            if role == Role::Alone { deadline.left() } else { deadline.left().min(CONNECTED_WITHIN) };
        let mut connection = endpoint
            .client()?
            .get_connection_with_timeout(patience.max(INSTANT))
            .map_err(|error| unanswered(endpoint, &error).unwrap_or_else(|| about(&error)))?;
        let (sender, pushes) = channel();
        connection.set_push_sender(sender);
        let mut link = Link { connection, pushes, tracks: false, followed: HashMap::new() };
        let mut name = cmd("CLIENT");
        name.arg("SETNAME").arg("kvfs");
        // Since 7.2: what is looked at here does not count as used by those who evict.
        let mut no_touch = cmd("CLIENT");
        no_touch.arg("NO-TOUCH").arg("ON");
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("OPTIN");
        // A replica of a cluster answers for its slots only when it was told that.
        let readonly = (role == Role::Replica).then(|| cmd("READONLY"));
        let greeting = [name, no_touch, tracking].into_iter().chain(readonly);
        let replies = link.ask(greeting, deadline).map_err(|lost| lost.about(endpoint))?;
        link.tracks = replies.get(2).is_some_and(Result::is_ok);
        Ok(link)
    }

    /// Sends commands together, and answers their replies in order. After an error the connection is of no more use.
    pub(super) fn ask(
        &mut self,
        commands: impl IntoIterator<Item = impl Borrow<Cmd>>,
        deadline: Deadline,
    ) -> Result<Vec<Reply>, Lost> {
        self.limit(deadline)?;
        let replies = self.send_all(commands).and_then(|sent| (0..sent).map(|_| self.reply()).collect());
        self.take_in_pushes();
        replies.map_err(Lost::of)
    }

    /// Sends commands in pieces, so that long ones take the memory of one; answers how many there were.
    fn send_all(&mut self, commands: impl IntoIterator<Item = impl Borrow<Cmd>>) -> RedisResult<usize> {
        let (mut packed, mut sent) = (Vec::new(), 0);
        for command in commands {
            command.borrow().write_packed_command(&mut packed);
            sent += 1;
            if packed.len() >= SENT_AT_ONCE {
                self.connection.send_packed_command(&packed)?;
                packed.clear();
            }
        }
        if !packed.is_empty() {
            self.connection.send_packed_command(&packed)?;
        }
        Ok(sent)
    }

    /// The next reply; pushes that come before it go their own way.
    fn reply(&mut self) -> RedisResult<Reply> {
        loop {
            match self.connection.recv_response()? {
                Value::Push { .. } => {}
                value => return Ok(reply_of(value)),
            }
        }
    }

    /// Carries out a plan in one transaction, `asking` for a slot that the server is being given; `None` where a key that is watched has changed.
    pub(super) fn transact(
        &mut self,
        plan: &Plan<'_>,
        asking: bool,
        deadline: Deadline,
    ) -> Result<Option<Vec<Reply>>, Lost> {
        self.limit(deadline)?;
        let mut failed = None;
        let queued = (0..plan.count).map_while(|index| match (plan.command)(index) {
            Ok(command) => Some(command),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        // The server keeps the word for all of a transaction.
        let asking = asking.then(|| cmd("ASKING"));
        let opening = asking.into_iter().chain([cmd("MULTI")]);
        let sent = self.send_all(opening.chain(queued));
        if let Some(error) = failed {
            // Without EXEC nothing is done; the connection is given up in the middle.
            return Err(Lost::Here(error));
        }
        let sent = sent.and_then(|sent| Ok(sent + self.send_all([cmd("EXEC")])?));
        let replies = sent.and_then(|sent| (0..sent).map(|_| self.reply()).collect::<RedisResult<Vec<_>>>());
        self.take_in_pushes();
        let mut replies = replies.map_err(Lost::of)?;
        let done = replies.pop();
        // A command that is refused before it is queued has the server drop all of them.
        if let Some(error) = replies.into_iter().find_map(Result::err) {
            return Err(Lost::Failed(error));
        }
        match done {
            Some(Ok(Value::Array(done))) => Ok(Some(done.into_iter().map(reply_of).collect())),
            Some(Ok(_)) | None => Ok(None),
            Some(Err(error)) => Err(Lost::Failed(error)),
        }
    }

    /// As [`Link::ask`] for commands of which the first one reads `key`, whose value is followed from there on.
    pub(super) fn follow(
        &mut self,
        key: &[u8],
        commands: &[Cmd],
        deadline: Deadline,
    ) -> Result<Follow, Lost> {
        let mut opting = cmd("CLIENT");
        opting.arg("CACHING").arg("YES");
        let opting = Some(opting).filter(|_| self.tracks);
        let skipped = usize::from(self.tracks);
        if self.followed.len() >= FOLLOWED_MOST {
            self.lose_all();
        }
        let followed = Arc::new(Followed(AtomicBool::new(self.tracks)));
        // Before the command: a push that comes right behind its reply is taken in along with it.
        if let Some(older) = self.followed.insert(key.into(), Arc::clone(&followed)) {
            // The push of an older question may still come, and counts for both then.
            older.0.store(false, Ordering::Release);
        }
        let mut replies = self.ask(opting.iter().chain(commands), deadline)?;
        Ok((replies.split_off(skipped.min(replies.len())), followed))
    }

    /// What was read without being followed.
    pub(super) fn unfollowed() -> Arc<Followed> {
        Arc::new(Followed(AtomicBool::new(false)))
    }

    fn limit(&self, deadline: Deadline) -> Result<(), Lost> {
        let left = Some(deadline.left().max(INSTANT));
        let limited =
            self.connection.set_read_timeout(left).and_then(|()| self.connection.set_write_timeout(left));
        limited.map_err(Lost::Connection)
    }

    fn take_in_pushes(&mut self) {
        while let Ok(push) = self.pushes.try_recv() {
            match push.kind {
                PushKind::Invalidate => match invalidated(&push) {
                    Some(keys) => {
                        for key in keys {
                            if let Some(followed) = self.followed.remove(key) {
                                followed.0.store(false, Ordering::Release);
                            }
                        }
                    }
                    None => self.lose_all(),
                },
                PushKind::Disconnection => self.lose_all(),
                _ => {}
            }
        }
    }

    /// Nothing that was read is known to be current any more.
    fn lose_all(&mut self) {
        for (_, followed) in self.followed.drain() {
            followed.0.store(false, Ordering::Release);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.lose_all();
    }
}

impl Lost {
    fn of(error: RedisError) -> Lost {
        if is_lost(&error) { Lost::Connection(error) } else { Lost::Failed(error) }
    }

    /// The failure of `what`: whether it was done is not known where the connection was lost.
    pub(super) fn about(&self, what: impl std::fmt::Display) -> Error {
        match self {
            Lost::Connection(error) if error.is_timeout() => {
                Error::new(ErrorKind::TimedOut, format!("{what}: no answer before the deadline (--timeout)"))
            }
            Lost::Connection(error) | Lost::Failed(error) | Lost::Elsewhere(error) => failure(what, error),
            Lost::Here(error) | Lost::Unreachable(error) => error.clone(),
        }
    }
}

/// The keys that a push tells of; `None` means all.
pub(super) fn invalidated(push: &PushInfo) -> Option<impl Iterator<Item = &[u8]>> {
    match push.data.first() {
        Some(Value::Array(keys)) => Some(keys.iter().filter_map(|key| match key {
            Value::BulkString(bytes) => Some(bytes.as_slice()),
            Value::SimpleString(text) => Some(text.as_bytes()),
            _ => None,
        })),
        _ => None,
    }
}
