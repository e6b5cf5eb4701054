//! The server of a mount, or all that belong together: each question goes to the one that has the key, and to another one
//! where that is not so any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use redis::{Cmd, RedisError, ServerErrorKind};
use tokio::sync::watch;

use super::address::{Address, Set};
use super::discovery::find_out;
use super::link::{Lost, Reply};
use super::node::{Counts, LINKS, Node, Role, Slot, Which};
use super::session::Session;
use super::topology::Topology;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::store::repeating::Answering;

/// How long is waited before something is tried once more.
const AGAIN: Duration = Duration::from_millis(50);
/// What was found out is believed for so long, whoever doubts it.
const BELIEVED: Duration = Duration::from_millis(100);
/// One of several servers gets this part of the time to answer: then another one may be in its place.
const TURNS: u32 = 3;

/// All servers of a mount.
pub(super) struct Server {
    address: Address,
    timeout: Duration,
    topology: RwLock<Arc<Topology>>,
    /// Held by who finds out which servers there are.
    finding: Mutex<()>,
    /// Told when there are other servers than before.
    turned: watch::Sender<()>,
    /// Held while a key is brought from one slot to another: who does that holds two connections.
    carrying: Mutex<()>,
    /// Whether a server has gone of whose last changes nobody knows whether they are on a disk.
    unsure: AtomicBool,
    counts: Arc<Counts>,
}

/// Which server is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'k> {
    /// The one that has this key.
    Key(&'k [u8]),
    /// The one of this number.
    Node(u64),
    /// Any.
    Any,
}

/// Another server than the one that should have the key, and whether it has it only for who asks so (`ASKING`).
struct Redirect {
    node: Arc<Node>,
    asking: bool,
}

impl Server {
    /// Finds out which servers there are, and connects with the first, so that what is wrong with the address or the rights
    /// is told at mount.
    ///
    /// # Errors
    /// What the servers or the network refuse.
    pub(super) fn connect(address: Address, timeout: Duration) -> Result<Server> {
        let counts = Arc::<Counts>::default();
        let deadline = Deadline::after(timeout);
        let topology = Arc::new(find_out(&address, None, &counts, deadline)?);
        if let Some(node) = topology.nodes().next() {
            drop(node.take(deadline)?);
        }
        let (finding, carrying, unsure) = Default::default();
        let (topology, turned) = (RwLock::new(topology), watch::Sender::new(()));
        Ok(Server { address, timeout, topology, finding, turned, carrying, unsure, counts })
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

    /// Which server has which keys, as far as is known now.
    pub(super) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read())
    }

    /// What is told when there are other servers than before.
    pub(super) fn turns(&self) -> watch::Receiver<()> {
        self.turned.subscribe()
    }

    /// Round trips, and connections made anew.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.counts.asked.load(Ordering::Relaxed), self.counts.reconnected.load(Ordering::Relaxed))
    }

    /// Tells who answers for a key from whoever did before: another server, or the same one begun again.
    pub(super) fn answering(&self, key: &[u8]) -> Answering {
        let node = self.topology().node_of(key).map_or(0, |node| node.number());
        (node, self.counts.reconnected.load(Ordering::Relaxed))
    }

    /// Held by who brings a key from one slot to another.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn carrying(&self) -> Result<MutexGuard<'_, ()>> {
        self.carrying.try_lock_for(self.timeout).ok_or_else(|| {
            Error::new(
                ErrorKind::TimedOut,
                format!("{}: another rename takes long (--timeout)", self.address),
            )
        })
    }

    /// Asks, and once more where the connection was lost: for what may be done twice.
    ///
    /// # Errors
    /// `TimedOut`; what `work` answers.
    pub(super) fn ask<T>(
        &self,
        at: At<'_>,
        mut work: impl FnMut(&mut Session<'_>) -> Result<T, Lost>,
    ) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        let (mut redirect, mut lost) = (None, 0);
        loop {
            let failed = match self.attempt(at, &mut redirect, deadline, &mut work) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if self.is_final(&failed, deadline) {
                return Err(failed.about(&self.address));
            }
            match failed {
                Lost::Elsewhere(_) => {}
                // As many as there are may have been lost before anybody asked.
                Lost::Connection(_) if lost < LINKS => lost += 1,
                _ => pause(AGAIN.min(deadline.left())),
            }
        }
    }

    /// Asks, and never twice: for what must not be done twice.
    ///
    /// # Errors
    /// `Uncertain` where the answer was lost.
    fn ask_once<T>(
        &self,
        at: At<'_>,
        deadline: Deadline,
        work: &mut impl FnMut(&mut Session<'_>) -> Result<T, Lost>,
    ) -> Result<T> {
        let mut redirect = None;
        loop {
            let failed = match self.attempt(at, &mut redirect, deadline, work) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if let Lost::Connection(_) = failed {
                return Err(Error::new(ErrorKind::Uncertain, failed.about(&self.address).to_string()));
            }
            if self.is_final(&failed, deadline) {
                return Err(failed.about(&self.address));
            }
            if let Lost::Unreachable(_) = failed {
                pause(AGAIN.min(deadline.left()));
            }
        }
    }

    /// Whether asking again makes no sense.
    fn is_final(&self, failed: &Lost, deadline: Deadline) -> bool {
        match failed {
            Lost::Failed(_) | Lost::Here(_) => true,
            Lost::Unreachable(error) => {
                let other = error.kind() == ErrorKind::TimedOut && self.address.set != Set::One;
                deadline.passed() || !(error.kind() == ErrorKind::Io || other)
            }
            Lost::Connection(_) | Lost::Elsewhere(_) => deadline.passed(),
        }
    }

    /// Asks one server once. Where it turns out to be the wrong one, `redirect` says which is asked next.
    fn attempt<T>(
        &self,
        at: At<'_>,
        redirect: &mut Option<Redirect>,
        deadline: Deadline,
        work: &mut impl FnMut(&mut Session<'_>) -> Result<T, Lost>,
    ) -> Result<T, Lost> {
        let topology = self.topology();
        let (node, asking) = match redirect.take() {
            Some(Redirect { node, asking }) => (node, asking),
            None => match self.node(&topology, at) {
                Ok(node) => (Arc::clone(node), false),
                // It has gone: who means it and no other asks for something else now.
                Err(error) if matches!(at, At::Node(_)) => return Err(Lost::Here(error)),
                Err(error) => {
                    self.find_out_again(&topology, deadline);
                    return Err(Lost::Unreachable(error));
                }
            },
        };
        let turn = self.turn(deadline);
        let outcome = match node.take(turn) {
            Ok((slot, which)) => {
                let node = &*node;
                let mut session = Session { slot, node, server: self, which, asking, deadline: turn };
                session.give_up_if_lost(|session| work(session))
            }
            Err(error) => Err(Lost::Unreachable(error)),
        };
        match &outcome {
            Err(Lost::Elsewhere(error)) => *redirect = self.redirect(error, &topology, &node, deadline),
            Err(Lost::Connection(_) | Lost::Unreachable(_)) => self.find_out_again(&topology, deadline),
            _ => {}
        }
        outcome
    }

    /// The time that one server has to answer.
    fn turn(&self, deadline: Deadline) -> Deadline {
        match self.address.set {
            Set::One => deadline,
            _ => Deadline::after(deadline.left().min(self.timeout / TURNS)),
        }
    }

    fn node<'t>(&self, topology: &'t Topology, at: At<'_>) -> Result<&'t Arc<Node>> {
        let node = match at {
            At::Key(key) => topology.node_of(key),
            At::Node(number) => topology.node(number),
            At::Any => topology.nodes().next(),
        };
        node.ok_or_else(|| {
            Error::new(
                ErrorKind::Io,
                format!("{}: no server has the key, or the one that had it is gone", self.address),
            )
        })
    }

    /// Which server to ask where `node` does not answer for the key; `None`: whichever has it by then.
    fn redirect(
        &self,
        error: &RedisError,
        topology: &Arc<Topology>,
        node: &Node,
        deadline: Deadline,
    ) -> Option<Redirect> {
        let asking = match error.kind() {
            redis::ErrorKind::Server(ServerErrorKind::Ask) => true,
            redis::ErrorKind::Server(ServerErrorKind::Moved) => {
                self.find_out_again(topology, deadline);
                false
            }
            _ => {
                pause(AGAIN.min(deadline.left()));
                self.find_out_again(topology, deadline);
                return None;
            }
        };
        let (place, _) = error.redirect_node()?;
        let (host, port) = place.rsplit_once(':')?;
        let host = if host.is_empty() { node.endpoint().host() } else { host };
        let endpoint = node.endpoint().sibling(host, port.parse().ok()?);
        let topology = self.topology();
        let node = topology.nodes().find(|node| *node.endpoint() == endpoint).cloned();
        if node.is_none() {
            pause(AGAIN.min(deadline.left()));
        }
        node.map(|node| Redirect { node, asking })
    }

    /// Finds out which servers there are, where nobody has done that since `seen`; what fails leaves it as it is.
    pub(super) fn find_out_again(&self, seen: &Arc<Topology>, deadline: Deadline) {
        if self.address.set == Set::One {
            return;
        }
        let Some(_finding) = self.finding.try_lock_until(deadline.at()) else { return };
        let before = self.topology();
        if !Arc::ptr_eq(&before, seen) || before.found.elapsed() < BELIEVED {
            return;
        }
        match find_out(&self.address, Some(&before), &self.counts, deadline) {
            Ok(topology) => {
                let same = topology.has_nodes_of(&before);
                let stays = |node: &&Arc<Node>| topology.node(node.number()).is_some();
                if before.nodes().filter(|node| !stays(node)).any(|node| node.has_changes()) {
                    self.unsure.store(true, Ordering::Release);
                }
                *self.topology.write() = Arc::new(topology);
                if !same {
                    tracing::info!("{}: other servers answer now", self.address);
                    self.turned.send_replace(());
                }
            }
            Err(error) => tracing::debug!("which servers there are: {error}"),
        }
    }

    /// Does something with each server, again from the beginning where there are others meanwhile.
    ///
    /// # Errors
    /// What `work` answers.
    pub(super) fn of_all<T>(&self, mut work: impl FnMut(&Topology) -> Result<T>) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        loop {
            let topology = self.topology();
            match work(&topology) {
                Err(error)
                    if error.kind() == ErrorKind::Io
                        && !Arc::ptr_eq(&topology, &self.topology())
                        && !deadline.passed() => {}
                outcome => return outcome,
            }
        }
    }

    /// Asks about each of these keys, each of its server, in as few round trips as there are servers: the replies of each.
    ///
    /// # Errors
    /// As for [`Server::ask`].
    pub(super) fn ask_about<const N: usize>(
        &self,
        keys: &[Box<[u8]>],
        questions: impl Fn(&[u8]) -> [Cmd; N],
    ) -> Result<Vec<Vec<Reply>>> {
        self.of_all(|topology| self.ask_about_in(topology, keys, &questions))
    }

    fn ask_about_in<const N: usize>(
        &self,
        topology: &Topology,
        keys: &[Box<[u8]>],
        questions: &impl Fn(&[u8]) -> [Cmd; N],
    ) -> Result<Vec<Vec<Reply>>> {
        let mut answers: Vec<Vec<Reply>> = keys.iter().map(|_| Vec::new()).collect();
        let mut of_nodes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            if let Some(node) = topology.node_of(key) {
                of_nodes.entry(node.number()).or_default().push(index);
            }
        }
        for (node, mine) in of_nodes {
            let commands: Vec<Cmd> = mine.iter().flat_map(|&index| questions(&keys[index])).collect();
            let mut replies = self.ask(At::Node(node), |session| session.ask_each(&commands))?.into_iter();
            for index in mine {
                answers[index] = replies.by_ref().take(N).collect();
            }
        }
        let role = topology.nodes().next().map_or(Role::Alone, |node| node.role());
        for (key, answer) in keys.iter().zip(&mut answers) {
            let elsewhere =
                |reply: &Reply| reply.as_ref().is_err_and(|error| super::failure::is_elsewhere(error, role));
            if answer.is_empty() || answer.iter().any(elsewhere) {
                let commands = questions(key);
                *answer = self.ask(At::Key(key), |session| session.ask(&commands))?;
            }
        }
        Ok(answers)
    }

    /// Carries out a change of `key`: once more where others change it between look and transaction (`None`), until the
    /// deadline. Where the answer was lost, `is_done` looks whether it was done. `on`: on which connection, where it stands
    /// on what was read there.
    ///
    /// # Errors
    /// What `attempt` and `is_done` answer; `TimedOut`.
    pub(super) fn carry_out(
        &self,
        key: &[u8],
        on: Option<Which>,
        mut attempt: impl FnMut(&mut Session<'_>) -> Result<Option<Result<()>>, Lost>,
        is_done: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Deadline::after(self.timeout);
        loop {
            let outcome = match on {
                Some(which) => self.ask_on(which, &mut attempt),
                None => self.ask_once(At::Key(key), deadline, &mut attempt),
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

    /// Waits until what was changed so far is in the servers' append-only files; see [`Node::wait_for_disk`].
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn wait_for_disk(&self) -> Result<bool> {
        let deadline = Deadline::after(self.timeout);
        let mut told = !self.unsure.swap(false, Ordering::AcqRel);
        for node in self.topology().nodes() {
            told &= node.wait_for_disk(deadline)?;
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
        let topology = self.topology();
        let node = topology.node(which.node).ok_or(ErrorKind::Stale)?;
        self.ask_in(node, node.take_if_free(which)?, which, work)
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
        let topology = self.topology();
        let node = topology.node(which.node).ok_or(ErrorKind::Stale)?;
        let slot = node.take_again(which, Deadline::after(self.timeout))?;
        self.ask_in(node, slot, which, work)
    }

    fn ask_in<T>(
        &self,
        node: &Node,
        slot: MutexGuard<'_, Slot>,
        which: Which,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Lost>,
    ) -> Result<T> {
        let deadline = self.turn(Deadline::after(self.timeout));
        let mut session = Session { slot, node, server: self, which, asking: false, deadline };
        session.give_up_if_lost(work).map_err(|lost| match lost {
            Lost::Connection(_) => Error::new(ErrorKind::Uncertain, lost.about(&self.address).to_string()),
            // What was read there is the other server's now.
            Lost::Elsewhere(_) => ErrorKind::Stale.into(),
            lost => lost.about(&self.address),
        })
    }
}

fn pause(time: Duration) {
    Condvar::new().wait_for(&mut Mutex::new(()).lock(), time);
}
