//! What asks on one connection, for as long as it needs it for itself.

use parking_lot::MutexGuard;
use redis::{Cmd, RedisError, Value, cmd};

use super::failure::{failure, is_elsewhere};
use super::known::of;
use super::link::{Follow, Link, Lost, Plan, Reply};
use super::node::{Node, Role, Slot, Which};
use super::server::Server;
use super::types::Type;
use crate::env::Deadline;
use crate::error::{Error, Result};

/// How long a primary is asked at once whether a replica has what was changed, in milliseconds.
const CONFIRMED_WITHIN: u64 = 200;

/// What asks on one connection.
pub(super) struct Session<'s> {
    pub(super) slot: MutexGuard<'s, Slot>,
    pub(super) node: &'s Node,
    pub(super) server: &'s Server,
    pub(super) which: Which,
    /// Whether the server is to answer for a slot that it is being given (`ASKING`).
    pub(super) asking: bool,
    pub deadline: Deadline,
}

impl Session<'_> {
    /// Which connection this is.
    pub(super) fn which(&self) -> Which {
        self.which
    }

    fn link(&mut self) -> Result<&mut Link, Lost> {
        self.node.count_question();
        self.slot.link.as_mut().ok_or_else(|| {
            Lost::Connection(RedisError::from((redis::ErrorKind::Io, "the connection is gone")))
        })
    }

    /// Sends commands together; of each, what the server answers or refuses.
    pub(super) fn ask_each(&mut self, commands: &[Cmd]) -> Result<Vec<Reply>, Lost> {
        let deadline = self.deadline;
        if !self.asking {
            return self.link()?.ask(commands, deadline);
        }
        let asked = commands.iter().flat_map(|command| [cmd("ASKING"), command.clone()]);
        let replies = self.link()?.ask(asked, deadline)?;
        Ok(replies.into_iter().skip(1).step_by(2).collect())
    }

    /// Sends commands together, all of them about keys that this server has, or none.
    pub(super) fn ask(&mut self, commands: &[Cmd]) -> Result<Vec<Reply>, Lost> {
        let replies = self.ask_each(commands)?;
        self.all_here(replies)
    }

    /// As [`Session::ask`], for commands that change something.
    pub(super) fn change(&mut self, commands: &[Cmd]) -> Result<Vec<Reply>, Lost> {
        self.slot.note_change();
        let replies = self.ask(commands)?;
        self.confirm()?;
        Ok(replies)
    }

    /// As [`Session::ask`], for commands of which the first one reads `key`, whose value is followed from there on.
    pub(super) fn follow(&mut self, key: &[u8], commands: &[Cmd]) -> Result<Follow, Lost> {
        let deadline = self.deadline;
        // The server takes either word only right before the command.
        if self.asking {
            return Ok((self.ask(commands)?, Link::unfollowed()));
        }
        let (replies, followed) = self.link()?.follow(key, commands, deadline)?;
        Ok((self.all_here(replies)?, followed))
    }

    /// Watches `key` and looks at it: its type, and the replies to `questions`.
    pub(super) fn look(
        &mut self,
        key: &[u8],
        questions: impl IntoIterator<Item = Cmd>,
    ) -> Result<(Option<Type>, std::vec::IntoIter<Reply>), Lost> {
        let all: Vec<Cmd> = [of("WATCH", key), of("TYPE", key)].into_iter().chain(questions).collect();
        let mut replies = self.ask(&all)?.into_iter().skip(1).collect::<Vec<_>>().into_iter();
        let kind = replies.next().unwrap_or(Ok(Value::Nil)).map_err(Lost::Failed)?;
        Ok((Type::of_reply(&kind), replies))
    }

    /// As [`Session::ask`], for one command whose refusal is an error.
    pub(super) fn one(&mut self, command: Cmd) -> Result<Value, Lost> {
        let mut replies = self.ask(&[command])?;
        replies.pop().unwrap_or(Ok(Value::Nil)).map_err(Lost::Failed)
    }

    /// Carries out commands in one transaction: `None` where a key that is watched has changed, else what came of it.
    pub(super) fn transact(
        &mut self,
        plan: &Plan<'_>,
        refused: impl FnOnce(RedisError) -> Error,
    ) -> Result<Option<Result<()>>, Lost> {
        let (deadline, asking) = (self.deadline, self.asking);
        self.slot.note_change();
        let done = self.link()?.transact(plan, asking, deadline).map_err(|lost| match lost {
            Lost::Failed(error) if is_elsewhere(&error, self.node.role()) => Lost::Elsewhere(error),
            lost => lost,
        });
        let Some(replies) = done? else { return Ok(None) };
        self.confirm()?;
        let first = replies.into_iter().find_map(Result::err);
        Ok(Some(first.map_or(Ok(()), |error| Err(refused(error)))))
    }

    /// As [`Session::transact`], of commands that are made already.
    pub(super) fn transact_all(
        &mut self,
        commands: &[Cmd],
        refused: impl FnOnce(RedisError) -> Error,
    ) -> Result<Option<Result<()>>, Lost> {
        self.transact(&Plan { count: commands.len(), command: &|index| Ok(commands[index].clone()) }, refused)
    }

    /// Gives up what is watched; an outcome that needs no transaction.
    pub(super) fn settle_for<T>(&mut self, outcome: T) -> Result<Option<T>, Lost> {
        self.one(cmd("UNWATCH"))?;
        Ok(Some(outcome))
    }

    /// Waits until a replica has what was changed, where this is a primary that has one: another one may be in its place
    /// at any moment, and what only the old one had is gone then.
    fn confirm(&mut self) -> Result<(), Lost> {
        if self.node.role() != Role::Primary {
            return Ok(());
        }
        while let Some(replicas) = self.server.topology().replicas_of(self.node.number()) {
            if replicas == 0 {
                return Ok(());
            }
            let left = self.deadline.left().as_millis() as u64;
            let mut wait = cmd("WAIT");
            wait.arg(1).arg(left.clamp(1, CONFIRMED_WITHIN));
            match self.one(wait)? {
                Value::Int(1..) => return Ok(()),
                _ if self.deadline.passed() => break,
                // It may be cut off from the others, and another one in its place by now.
                _ => self.server.find_out_again(&self.server.topology(), self.deadline),
            }
        }
        let why = "no replica has the change, and what only the primary has is lost where another one takes its place";
        Err(Lost::Connection(RedisError::from((redis::ErrorKind::Io, why))))
    }

    /// The replies, where none of them says that the server does not answer for the key, or not now.
    fn all_here(&self, replies: Vec<Reply>) -> Result<Vec<Reply>, Lost> {
        let errors = replies.iter().filter_map(|reply| reply.as_ref().err());
        let elsewhere = errors.into_iter().find(|error| is_elsewhere(error, self.node.role())).cloned();
        elsewhere.map_or(Ok(replies), |error| Err(Lost::Elsewhere(error)))
    }

    /// Does what a session is for; a connection that is of no more use is given up.
    pub(super) fn give_up_if_lost<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Lost>,
    ) -> Result<T, Lost> {
        work(self).inspect_err(|lost| match lost {
            Lost::Connection(_) | Lost::Here(_) | Lost::Unreachable(_) => self.slot.link = None,
            // Keys may be watched still.
            Lost::Failed(_) | Lost::Elsewhere(_) => {
                let deadline = self.deadline;
                let unwatched = self.slot.link.as_mut().map(|link| link.ask([cmd("UNWATCH")], deadline));
                if !matches!(unwatched, Some(Ok(_))) {
                    self.slot.link = None;
                }
            }
        })
    }
}

/// The refusal of a command as the failure of `what`.
pub(super) fn refused(what: impl std::fmt::Display) -> impl FnOnce(RedisError) -> Error {
    move |error| failure(what, &error)
}
