//! A server, asked by many threads at once: a few connections, which are made again when they are lost (§8.2).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use redis::{Cmd, Value, cmd};

use super::address::Address;
use super::failure::{failure, is_loading};
use super::known::of;
use super::link::{Link, Lost, Plan, Reply};
use super::types::Type;
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};

/// Connections at most. Each is used by one thread at a time, from the question to the answer.
const LINKS: usize = 8;
/// After so long a connection is asked first whether it is there.
const IDLE: Duration = Duration::from_secs(1);
/// How long is waited before something is tried once more.
const AGAIN: Duration = Duration::from_millis(50);

/// A server.
pub(super) struct Server {
    address: Address,
    timeout: Duration,
    links: [Mutex<Slot>; LINKS],
    /// Where the next thread waits that finds all of them in use.
    next: AtomicUsize,
    /// Round trips so far.
    asked: AtomicU64,
    /// Connections that were made after the first of their place.
    reconnected: AtomicU64,
}

/// The place of a connection.
#[derive(Default)]
struct Slot {
    link: Option<Link>,
    /// How many connections were here.
    made: u64,
    /// When it was last used.
    used: Option<Instant>,
    /// Through which of the connections here something was changed last of which nobody knows whether it is on the
    /// server's disk.
    changed: Option<u64>,
}

/// Which connection: another one in its place is not it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which {
    slot: usize,
    made: u64,
}

/// What asks on one connection.
pub(super) struct Session<'s> {
    slot: MutexGuard<'s, Slot>,
    server: &'s Server,
    which: Which,
    pub deadline: Deadline,
}

impl Server {
    /// The server at `address`, asked nothing so far; every answer comes within `timeout`.
    pub(super) fn new(address: Address, timeout: Duration) -> Server {
        let (links, next) = Default::default();
        let (asked, reconnected) = Default::default();
        Server { address, timeout, links, next, asked, reconnected }
    }

    /// Connects once, so that what is wrong with the address or the rights is told at mount.
    ///
    /// # Errors
    /// What the server or the network refuse.
    pub(super) fn connect(&self) -> Result<()> {
        let link = Link::open(&self.address, Deadline::after(self.timeout))?;
        let mut slot = self.links[0].lock();
        slot.link = Some(link);
        slot.made += 1;
        Ok(())
    }

    /// Waits a moment, before something is tried again that failed.
    pub(super) fn rest(&self) {
        pause(AGAIN);
    }

    /// Where it is.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// How long anybody waits for it.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Round trips, and connections made anew.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.reconnected.load(Ordering::Relaxed))
    }

    /// Asks on any connection, and once more where it was lost: for what may be done twice.
    ///
    /// # Errors
    /// `TimedOut`; what `work` answers.
    pub(super) fn ask<T>(&self, mut work: impl FnMut(&mut Session<'_>) -> Result<T, Lost>) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        let mut lost = 0;
        loop {
            match self.session(deadline).map(|mut session| session.give_up_if_lost(&mut work)) {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(lost @ (Lost::Failed(_) | Lost::Here(_)))) => return Err(lost.about(&self.address)),
                Ok(Err(lost @ Lost::Connection(_))) if deadline.passed() => {
                    return Err(lost.about(&self.address));
                }
                // As many as there are may have been lost before anybody asked.
                Ok(Err(Lost::Connection(_))) if lost < LINKS => lost += 1,
                Ok(Err(Lost::Connection(_))) => pause(AGAIN.min(deadline.left())),
                Err(error) if deadline.passed() || error.kind() != ErrorKind::Io => return Err(error),
                Err(_) => pause(AGAIN.min(deadline.left())),
            }
        }
    }

    /// Asks on any connection, and never twice: for what must not be done twice.
    ///
    /// # Errors
    /// `Uncertain` where the answer was lost.
    pub(super) fn ask_once<T>(&self, work: impl FnOnce(&mut Session<'_>) -> Result<T, Lost>) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        let mut work = Some(work);
        loop {
            let outcome = self.session(deadline).map(|mut session| {
                let work = work.take();
                session.give_up_if_lost(|session| match work {
                    Some(work) => work(session).map(Some),
                    None => Ok(None),
                })
            });
            match outcome {
                Ok(Ok(Some(answer))) => return Ok(answer),
                Ok(Ok(None)) => return Err(ErrorKind::Uncertain.into()),
                Ok(Err(lost @ (Lost::Failed(_) | Lost::Here(_)))) => return Err(lost.about(&self.address)),
                Ok(Err(lost @ Lost::Connection(_))) => {
                    let sentence = lost.about(&self.address).to_string();
                    return Err(Error::new(ErrorKind::Uncertain, sentence));
                }
                Err(error) if deadline.passed() || error.kind() != ErrorKind::Io => return Err(error),
                Err(_) => pause(AGAIN.min(deadline.left())),
            }
        }
    }

    /// Carries out a change: once more where others change its keys between look and transaction (`None`), until the
    /// deadline. Where the answer was lost, `is_done` looks whether it was done. `on`: on which connection, where it stands
    /// on what was read there.
    ///
    /// # Errors
    /// What `attempt` and `is_done` answer; `TimedOut`.
    pub(super) fn carry_out(
        &self,
        on: Option<Which>,
        mut attempt: impl FnMut(&mut Session<'_>) -> Result<Option<Result<()>>, Lost>,
        is_done: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Deadline::after(self.timeout);
        loop {
            let outcome = match on {
                Some(which) => self.ask_on(which, &mut attempt),
                None => self.ask_once(&mut attempt),
            };
            match outcome {
                Ok(Some(outcome)) => return outcome,
                Err(error) if error.kind() == ErrorKind::Uncertain => {
                    if is_done()? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
                Ok(None) => {}
            }
            if deadline.passed() {
                let sentence = format!(
                    "{}: others change the key so often that nothing came of it before the deadline (--timeout)",
                    self.address
                );
                return Err(Error::new(ErrorKind::TimedOut, sentence));
            }
        }
    }

    /// Waits until what was changed so far is in the server's append-only file, on the connections through which it was
    /// changed (`WAITAOF`, since 7.2). False where the server does not tell: by its age, by its settings, or since such a
    /// connection was lost.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn wait_for_disk(&self) -> Result<bool> {
        let deadline = Deadline::after(self.timeout);
        let late =
            || Error::new(ErrorKind::TimedOut, format!("{}: not on disk yet (--timeout)", self.address));
        let mut told = true;
        for slot in &self.links {
            let mut slot = slot.try_lock_until(deadline.at()).ok_or_else(late)?;
            let Some(through) = slot.changed.take() else { continue };
            let same = slot.made == through;
            let mut wait = cmd("WAITAOF");
            wait.arg(1).arg(0).arg(deadline.left().as_millis().max(1) as u64);
            let Some(link) = slot.link.as_mut().filter(|_| same) else {
                told = false;
                continue;
            };
            match link.ask([wait], deadline).map(|mut replies| replies.pop()) {
                Ok(Some(Ok(Value::Array(counts)))) if matches!(counts.first(), Some(Value::Int(1..))) => {}
                Ok(Some(Err(error))) => {
                    tracing::debug!("WAITAOF: {error}");
                    told = false;
                }
                Ok(_) => {
                    slot.changed = Some(through);
                    return Err(late());
                }
                Err(_) => {
                    slot.link = None;
                    told = false;
                }
            }
        }
        Ok(told)
    }

    /// Asks on the connection that something was read through, where nobody else uses it now.
    ///
    /// # Errors
    /// As for [`Server::ask_on`]; `Busy`.
    pub(super) fn ask_on_if_free<T>(
        &self,
        which: Which,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Lost>,
    ) -> Result<T> {
        let slot = self.links[which.slot].try_lock().ok_or(ErrorKind::Busy)?;
        self.ask_in(slot, which, Deadline::after(self.timeout), work)
    }

    /// Asks on the connection that something was read through.
    ///
    /// # Errors
    /// `Stale` where it is gone; `Uncertain` where it was lost by this.
    pub(super) fn ask_on<T>(
        &self,
        which: Which,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Lost>,
    ) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        let slot = self.links[which.slot].try_lock_until(deadline.at()).ok_or(ErrorKind::TimedOut)?;
        self.ask_in(slot, which, deadline, work)
    }

    fn ask_in<'s, T>(
        &'s self,
        slot: MutexGuard<'s, Slot>,
        which: Which,
        deadline: Deadline,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Lost>,
    ) -> Result<T> {
        if slot.made != which.made || slot.link.is_none() {
            return Err(ErrorKind::Stale.into());
        }
        let mut session = Session { slot, server: self, which, deadline };
        session.give_up_if_lost(work).map_err(|lost| match lost {
            Lost::Connection(_) => Error::new(ErrorKind::Uncertain, lost.about(&self.address).to_string()),
            Lost::Failed(_) | Lost::Here(_) => lost.about(&self.address),
        })
    }

    /// A connection that nobody uses; a new one where there is none.
    fn session(&self, deadline: Deadline) -> Result<Session<'_>> {
        let free = self.links.iter().enumerate().find_map(|(index, slot)| Some((index, slot.try_lock()?)));
        let (index, mut slot) = match free {
            Some(free) => free,
            None => {
                let index = self.next.fetch_add(1, Ordering::Relaxed) % LINKS;
                let slot = self.links[index].try_lock_until(deadline.at()).ok_or_else(|| {
                    Error::new(
                        ErrorKind::TimedOut,
                        format!("{}: every connection waits for an answer (--timeout)", self.address),
                    )
                })?;
                (index, slot)
            }
        };
        let idle = slot.used.is_some_and(|used| used.elapsed() > IDLE);
        slot.used = Some(env::instant());
        // One that nobody used for a while may be gone without a word, and then nobody knows what became of a command.
        if idle && slot.link.as_mut().is_some_and(|link| link.ask([cmd("PING")], deadline).is_err()) {
            slot.link = None;
        }
        if slot.link.is_none() {
            slot.link = Some(Link::open(&self.address, deadline)?);
            self.reconnected.fetch_add(u64::from(slot.made > 0), Ordering::Relaxed);
            slot.made += 1;
        }
        let which = Which { slot: index, made: slot.made };
        Ok(Session { slot, server: self, which, deadline })
    }
}

impl Session<'_> {
    /// Which connection this is.
    pub(super) fn which(&self) -> Which {
        self.which
    }

    /// The connection.
    pub(super) fn link(&mut self) -> Result<&mut Link, Lost> {
        self.server.asked.fetch_add(1, Ordering::Relaxed);
        self.slot.link.as_mut().ok_or_else(|| {
            Lost::Connection(redis::RedisError::from((redis::ErrorKind::Io, "the connection is gone")))
        })
    }

    /// Sends commands together; while the server loads its data, again until it has.
    pub(super) fn ask(&mut self, commands: &[Cmd]) -> Result<Vec<Reply>, Lost> {
        let deadline = self.deadline;
        loop {
            let replies = self.link()?.ask(commands, deadline)?;
            let loading = replies.iter().any(|reply| reply.as_ref().is_err_and(is_loading));
            if !loading || deadline.passed() {
                return Ok(replies);
            }
            pause(AGAIN.min(deadline.left()));
        }
    }

    /// As [`Session::ask`], for commands that change something.
    pub(super) fn change(&mut self, commands: &[Cmd]) -> Result<Vec<Reply>, Lost> {
        self.slot.changed = Some(self.slot.made);
        self.ask(commands)
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
    pub(super) fn one(&mut self, command: Cmd) -> Result<redis::Value, Lost> {
        let mut replies = self.ask(&[command])?;
        replies.pop().unwrap_or(Ok(redis::Value::Nil)).map_err(Lost::Failed)
    }

    /// Carries out commands in one transaction: `None` where a key that is watched has changed, else what came of it.
    pub(super) fn transact(
        &mut self,
        plan: &Plan<'_>,
        refused: impl FnOnce(redis::RedisError) -> Error,
    ) -> Result<Option<Result<()>>, Lost> {
        let deadline = self.deadline;
        self.slot.changed = Some(self.slot.made);
        let Some(replies) = self.link()?.transact(plan, deadline)? else { return Ok(None) };
        let first = replies.into_iter().find_map(Result::err);
        Ok(Some(first.map_or(Ok(()), |error| Err(refused(error)))))
    }

    /// As [`Session::transact`], of commands that are made already.
    pub(super) fn transact_all(
        &mut self,
        commands: &[Cmd],
        refused: impl FnOnce(redis::RedisError) -> Error,
    ) -> Result<Option<Result<()>>, Lost> {
        self.transact(&Plan { count: commands.len(), command: &|index| Ok(commands[index].clone()) }, refused)
    }

    /// Gives up what is watched; an outcome that needs no transaction.
    pub(super) fn settle_for<T>(&mut self, outcome: T) -> Result<Option<T>, Lost> {
        self.one(cmd("UNWATCH"))?;
        Ok(Some(outcome))
    }

    fn give_up_if_lost<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Lost>) -> Result<T, Lost> {
        work(self).inspect_err(|lost| match lost {
            Lost::Connection(_) | Lost::Here(_) => self.slot.link = None,
            // Keys may be watched still.
            Lost::Failed(_) => {
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
pub(super) fn refused(what: impl std::fmt::Display) -> impl FnOnce(redis::RedisError) -> Error {
    move |error| failure(what, &error)
}

fn pause(time: Duration) {
    Condvar::new().wait_for(&mut Mutex::new(()).lock(), time);
}
