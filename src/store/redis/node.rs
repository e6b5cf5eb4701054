//! One server, asked by many threads at once: a few connections, which are made again when they are lost (§8.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use redis::{Value, cmd};

use super::endpoint::Endpoint;
use super::link::Link;
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};

/// Connections at most. Each is used by one thread at a time, from the question to the answer.
pub(super) const LINKS: usize = 8;
/// After so long a connection is asked first whether it is there.
const IDLE: Duration = Duration::from_secs(1);

/// A server.
pub(super) struct Node {
    endpoint: Endpoint,
    role: Role,
    /// Tells it from every other of this process.
    number: u64,
    links: [Mutex<Slot>; LINKS],
    /// Where the next thread waits that finds all of them in use.
    next: AtomicUsize,
    counts: Arc<Counts>,
}

/// What a server is among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The only one that is known.
    Alone,
    /// One that others may take the place of.
    Primary,
    /// One that follows a primary, and is only read.
    Replica,
}

/// What was asked so far, of all servers of a mount.
#[derive(Default)]
pub(super) struct Counts {
    /// Round trips.
    pub asked: AtomicU64,
    /// Connections that were made after the first of their place.
    pub reconnected: AtomicU64,
}

/// The place of a connection.
#[derive(Default)]
pub(super) struct Slot {
    pub link: Option<Link>,
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
    pub node: u64,
    slot: usize,
    made: u64,
}

impl Slot {
    /// Something is changed through the connection that is here.
    pub(super) fn note_change(&mut self) {
        self.changed = Some(self.made);
    }
}

impl Node {
    /// The server at `endpoint`, asked nothing so far.
    pub(super) fn new(endpoint: Endpoint, role: Role, counts: Arc<Counts>) -> Node {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (links, next) = Default::default();
        Node { endpoint, role, number, links, next, counts }
    }

    /// Where it is.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What it is among others.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Tells it from every other of this process.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// A round trip more.
    pub(super) fn count_question(&self) {
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that nobody uses; a new one where there is none.
    ///
    /// # Errors
    /// What the server or the network refuse; `TimedOut`.
    pub(super) fn take(&self, deadline: Deadline) -> Result<(MutexGuard<'_, Slot>, Which)> {
        let free = self.links.iter().enumerate().find_map(|(index, slot)| Some((index, slot.try_lock()?)));
        let (index, mut slot) = match free {
            Some(free) => free,
            None => {
                let index = self.next.fetch_add(1, Ordering::Relaxed) % LINKS;
                let slot = self.links[index].try_lock_until(deadline.at()).ok_or_else(|| {
                    Error::new(
                        ErrorKind::TimedOut,
                        format!("{}: every connection waits for an answer (--timeout)", self.endpoint),
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
            slot.link = Some(Link::open(&self.endpoint, self.role, deadline)?);
            self.counts.reconnected.fetch_add(u64::from(slot.made > 0), Ordering::Relaxed);
            slot.made += 1;
        }
        let which = Which { node: self.number, slot: index, made: slot.made };
        Ok((slot, which))
    }

    /// The connection that something was read through, once nobody uses it any more.
    ///
    /// # Errors
    /// `Stale` where it is gone; `TimedOut`.
    pub(super) fn take_again(&self, which: Which, deadline: Deadline) -> Result<MutexGuard<'_, Slot>> {
        let slot = self.links[which.slot].try_lock_until(deadline.at()).ok_or(ErrorKind::TimedOut)?;
        same(slot, which)
    }

    /// As [`Node::take_again`], where nobody uses it now.
    ///
    /// # Errors
    /// `Stale`; `Busy`.
    pub(super) fn take_if_free(&self, which: Which) -> Result<MutexGuard<'_, Slot>> {
        same(self.links[which.slot].try_lock().ok_or(ErrorKind::Busy)?, which)
    }

    /// Waits until what was changed so far is in the server's append-only file, on the connections through which it was
    /// changed (`WAITAOF`, since 7.2). False where the server does not tell: by its age, by its settings, or since such a
    /// connection was lost.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn wait_for_disk(&self, deadline: Deadline) -> Result<bool> {
        let late =
            || Error::new(ErrorKind::TimedOut, format!("{}: not on disk yet (--timeout)", self.endpoint));
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

    /// Whether something was changed here of which nobody knows whether it is on the server's disk.
    pub(super) fn has_changes(&self) -> bool {
        // One that is in use may be used for a change.
        self.links.iter().any(|slot| slot.try_lock().is_none_or(|slot| slot.changed.is_some()))
    }
}

fn same(slot: MutexGuard<'_, Slot>, which: Which) -> Result<MutexGuard<'_, Slot>> {
    if slot.made == which.made && slot.link.is_some() { Ok(slot) } else { Err(ErrorKind::Stale.into()) }
}
