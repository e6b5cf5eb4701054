//! One environment and the threads that serve it, shared by all mounts of it in this process.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use lmdb_sys::MDB_dbi;
use parking_lot::Mutex;

use super::behind::{self, Ahead};
use super::check::Extent;
use super::environment::Environment;
use super::moment::{Moment, Snapshot};
use super::opening::{Access, Ask};
use super::order::Order;
use super::pin::Pins;
use super::place::Place;
use super::registry;
use super::table::{Name, Table};
use super::times::Times;
use super::transaction::{Reading, Transaction, Writing};
use super::watch::Watchers;
use super::writer::{Work, Writer};
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::store::driver::Opening;

/// How an environment is opened for a mount.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether nothing is to be written.
    pub read_only: bool,
    /// Whether a new environment may be made.
    pub create: bool,
    /// How much of it is looked at before it is trusted.
    pub extent: Extent,
    /// The map to reserve, in bytes; `None` is as large as the file system.
    pub map_size: Option<u64>,
    /// The deadline of each request.
    pub timeout: Duration,
}

/// An open environment with its writer, its pins and its handles.
pub struct Engine {
    /// Puts ahead of their commit; ends first, while the writer works still. Set once, before anybody has the engine.
    ahead: OnceLock<Ahead>,
    /// Before the environment, which the threads hold too.
    threads: Vec<JoinHandle<()>>,
    writer: Arc<Writer>,
    pins: Arc<Pins>,
    watchers: Arc<Watchers>,
    /// Handles of named databases, opened once and kept until the database is dropped.
    handles: Mutex<HashMap<Box<[u8]>, MDB_dbi>>,
    /// When we wrote which keys.
    times: Times,
    /// Mounts that have not closed.
    mounts: AtomicUsize,
    /// What is known of the orders of databases that were used.
    orders: Mutex<HashMap<Name, Arc<Order>>>,
    environment: Arc<Environment>,
    timeout: Duration,
}

impl Engine {
    /// The environment at `path`: the one that this process has open already, or opened now.
    ///
    /// # Errors
    /// One sentence: what the path is instead, who holds it, which right is missing.
    pub fn open(path: &Path, terms: Terms, opening: &Opening) -> Result<Arc<Engine>> {
        Engine::open_place(Place::find(path, terms.create && !terms.read_only)?, terms, opening)
    }

    /// The environment at `place`, likewise.
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub(super) fn open_place(place: Place, terms: Terms, opening: &Opening) -> Result<Arc<Engine>> {
        let deadline = Deadline::after(terms.timeout);
        if place.new {
            place.make_data_file().inspect_err(|_| place.undo())?;
        }
        let registered = match registry::enter(place.identity()?, deadline)? {
            Ok(engine) if terms.read_only || engine.environment.access == Access::Write => {
                if terms.extent == Extent::All {
                    engine.environment.check_pages(Extent::All)?;
                }
                return Ok(engine);
            }
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{} is mounted read-only already: unmount it first", place.shown.display()),
                ));
            }
            Err(registered) => registered,
        };
        let Terms { read_only, extent, map_size, .. } = terms;
        let environment =
            Environment::open(place, registered, Ask { read_only, extent, map_size, deadline })?;
        let pins = Pins::new(Arc::clone(&environment));
        let writer = Writer::new(Arc::clone(&environment), Arc::clone(&pins));
        let watchers = Watchers::new(Arc::clone(&environment));
        let mut threads = vec![pins.start()?, watchers.start()?];
        if environment.access == Access::Write {
            threads.push(writer.start()?);
        }
        let engine = Arc::new(Engine {
            ahead: OnceLock::new(),
            threads,
            writer,
            pins,
            watchers,
            handles: Mutex::new(HashMap::new()),
            times: Times::default(),
            mounts: AtomicUsize::new(0),
            orders: Mutex::new(HashMap::new()),
            environment,
            timeout: terms.timeout,
        });
        let ahead = behind::start(&engine, opening)?;
        engine.ahead.get_or_init(|| ahead);
        engine.environment.publish(&engine);
        Ok(engine)
    }

    /// Counts a mount in.
    pub(super) fn join(&self) {
        self.mounts.fetch_add(1, Ordering::SeqCst);
    }

    /// Commits what is pending for a mount that ends; the last one leaves the map size as it was.
    ///
    /// # Errors
    /// `TimedOut`; that of a commit whose bytes are kept in the spool.
    pub(super) fn leave(&self) -> Result<()> {
        let last = self.mounts.fetch_sub(1, Ordering::SeqCst) == 1;
        self.put_away()?;
        if !last || self.environment.access != Access::Write {
            return Ok(());
        }
        let _nothing_waits = self.pass()?;
        let mut work = |environment: &Arc<Environment>| {
            environment.restore_map_size();
            Ok(())
        };
        self.writer.submit(self.deadline(), Work::Alone(&mut work))
    }

    /// The environment.
    pub fn environment(&self) -> &Arc<Environment> {
        &self.environment
    }

    /// The moments that open values hold.
    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// What is accepted ahead of its commit; `None` until the engine was opened.
    pub(super) fn ahead(&self) -> Option<&Ahead> {
        self.ahead.get()
    }

    /// Who is told of changes by others.
    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// How often changes by others were noticed, up to now.
    ///
    /// # Errors
    /// As for reading.
    pub(super) fn foreign_changes(&self) -> Result<u64> {
        drop(self.begin()?);
        Ok(self.environment.changes().foreign())
    }

    /// The writer.
    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// A deadline for a request that begins now.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// When we wrote which keys.
    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// What is known of the order of the database `name`; bounded by the handles there can be.
    pub(super) fn order(&self, name: &Name) -> Arc<Order> {
        let mut orders = self.orders.lock();
        if let Some(order) = orders.get(name) {
            return Arc::clone(order);
        }
        Arc::clone(orders.entry(name.clone()).or_default())
    }

    /// The databases whose order is not what their flags say.
    pub(super) fn broken_orders(&self) -> Vec<String> {
        let orders = self.orders.lock();
        orders.iter().filter(|(_, order)| order.is_broken()).map(|(name, _)| name.to_string()).collect()
    }

    /// Begins a read transaction: after the map was replaced where another program has outgrown it, and after a
    /// compaction that runs.
    pub(super) fn begin(&self) -> Result<Reading> {
        let deadline = self.deadline();
        loop {
            match self.environment.read() {
                Err(_) if self.environment.is_outgrown() && !deadline.passed() => self.grow()?,
                Err(error) if error.kind() == ErrorKind::Busy && !deadline.passed() => {
                    self.environment.wait_until_calm(deadline);
                }
                result => return result,
            }
        }
    }

    fn grow(&self) -> Result<()> {
        let deadline = self.deadline();
        if self.environment.access != Access::Write {
            return self.writer.grow(deadline);
        }
        self.writer.submit(
            deadline,
            Work::Alone(&mut |environment| {
                if environment.is_outgrown() { self.writer.grow(deadline) } else { Ok(()) }
            }),
        )
    }

    /// Looks into the database `name` at `moment`; `None` where there is no such database.
    ///
    /// # Errors
    /// What `look` returns.
    pub(super) fn look<R>(
        &self,
        moment: &Moment,
        name: &Name,
        look: impl FnOnce(&Reading, Table) -> Result<R>,
    ) -> Result<Option<R>> {
        if let Moment::Fixed(snapshot) = moment {
            self.environment.intact()?;
            let reading = snapshot.reading.lock();
            let Some(flags) = name.flags_in(&*reading)? else { return Ok(None) };
            let handle = self.handle(name).ok_or_else(|| unopened(name))?;
            return look(&reading, Table { handle, flags }).map(Some);
        }
        let (reading, table) = match self.enter(name)? {
            Some(entered) => entered,
            None => return Ok(None),
        };
        look(&reading, table).map(Some)
    }

    /// A read transaction of the newest moment, and the database `name` in it.
    pub(super) fn enter(&self, name: &Name) -> Result<Option<(Reading, Table)>> {
        loop {
            let reading = self.begin()?;
            let Some(flags) = name.flags_in(&reading)? else { return Ok(None) };
            // Looked up inside the transaction: handles are dropped only while none runs.
            if let Some(handle) = self.handle(name) {
                if reading.flags(handle)? != flags {
                    return Err(Error::new(
                        ErrorKind::Io,
                        format!(
                            "{name}: another program made it anew as another kind: unmount and mount again"
                        ),
                    ));
                }
                return Ok(Some((reading, Table { handle, flags })));
            }
            drop(reading);
            self.open_handle(name)?;
        }
    }

    fn handle(&self, name: &Name) -> Option<MDB_dbi> {
        match name {
            Name::Main => Some(Environment::MAIN),
            Name::Named(name) => self.handles.lock().get(name.as_bytes()).copied(),
        }
    }

    /// Opens the handle of a named database that exists; the next transaction has it.
    fn open_handle(&self, name: &Name) -> Result<()> {
        let Name::Named(text) = name else { return Ok(()) };
        let Some(_one_at_a_time) = self.environment.handles.try_lock_until(self.deadline().at()) else {
            return Err(Error::new(ErrorKind::TimedOut, format!("{name}: another database is being made")));
        };
        if self.handle(name).is_some() {
            return Ok(());
        }
        let reading = self.begin()?;
        let handle = match reading.open_database(Some(text)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        reading.commit()?;
        self.keep_handle(text, handle);
        Ok(())
    }

    fn keep_handle(&self, name: &CString, handle: MDB_dbi) {
        self.handles.lock().insert(name.as_bytes().into(), handle);
        self.environment.opened_handle();
    }

    /// Carries out `job` on the database `name` in a write transaction shared with others, after all that was
    /// accepted ahead of its commit.
    ///
    /// # Errors
    /// `NotFound` without such a database; `TimedOut`; what the job returns, and what the commit does.
    pub(super) fn change(
        &self,
        name: &Name,
        job: &mut (dyn FnMut(&mut Writing<'_>, Table) -> Result<()> + Send),
    ) -> Result<()> {
        let _nothing_waits = self.pass()?;
        self.change_now(name, job)
    }

    /// As [`Engine::change`], where nothing is pending.
    pub(super) fn change_now(
        &self,
        name: &Name,
        job: &mut (dyn FnMut(&mut Writing<'_>, Table) -> Result<()> + Send),
    ) -> Result<()> {
        let Some((reading, table)) = self.enter(name)? else { return Err(gone(name)) };
        drop(reading);
        let opened = self.environment.handles_opened();
        let mut work = |writing: &mut Writing<'_>| {
            // Dropped or made anew in the meantime?
            match name.flags_in(writing)? {
                Some(flags) if flags == table.flags && self.handle(name) == Some(table.handle) => {
                    job(writing, table)
                }
                _ => Err(gone(name)),
            }
        };
        self.writer
            .submit(self.deadline(), Work::Write(if *name == Name::Main { 0 } else { opened }, &mut work))
    }

    /// Makes the named database `name`.
    ///
    /// # Errors
    /// `Exists` where a database or a value has the name.
    pub(super) fn make_database(&self, name: &Name) -> Result<()> {
        let Name::Named(text) = name else { return Err(ErrorKind::Exists.into()) };
        let _nothing_waits = self.pass()?;
        let mut work = |environment: &Arc<Environment>| {
            let (mut writing, _one_at_a_time) = self.write_with_handles(environment)?;
            if writing.get(Environment::MAIN, text.as_bytes())?.is_some() {
                return Err(Error::new(ErrorKind::Exists, format!("{name}: the main database has this key")));
            }
            let handle = writing.make_database(text, 0)?;
            writing.commit()?;
            self.keep_handle(text, handle);
            Ok(())
        };
        self.writer.submit(self.deadline(), Work::Alone(&mut work))
    }

    /// Drops the named database `name` if it is empty; its absence is no error.
    ///
    /// # Errors
    /// `NotEmpty`; `Busy` while snapshots are mounted, since LMDB gives up the handle at once.
    pub(super) fn drop_database(&self, name: &Name) -> Result<()> {
        let deadline = self.deadline();
        let _nothing_waits = self.pass()?;
        let Some((reading, table)) = self.enter(name)? else { return Ok(()) };
        let Name::Named(text) = name else { return Err(ErrorKind::NotPermitted.into()) };
        drop(reading);
        let mut work = |environment: &Arc<Environment>| {
            let (mut writing, _one_at_a_time) = self.write_with_handles(environment)?;
            if name.flags_in(&writing)?.is_none() || self.handle(name) != Some(table.handle) {
                return Ok(());
            }
            if writing.stat(table.handle)?.ms_entries > 0 {
                return Err(Error::new(ErrorKind::NotEmpty, format!("{name} is not empty")));
            }
            environment.quietly(deadline, &|| self.pins.retire_all(), || {
                self.handles.lock().remove(text.as_bytes());
                writing.drop_database(table.handle)?;
                writing.commit()
            })
        };
        self.writer.submit(deadline, Work::Alone(&mut work))
    }

    /// The write transaction with the right to open handles in it: it must know all that are open, since LMDB gives
    /// a new one the first place that the transaction takes for free. Waiting for other programs, nobody is kept
    /// from opening handles.
    fn write_with_handles<'e>(
        &self,
        environment: &'e Environment,
    ) -> Result<(Writing<'e>, parking_lot::MutexGuard<'e, ()>)> {
        loop {
            let opened = environment.handles_opened();
            let writing = environment.write()?;
            let handles = environment.handles.lock();
            if environment.handles_opened() == opened {
                return Ok((writing, handles));
            }
        }
    }

    /// Holds the newest moment; every named database of it can be read.
    ///
    /// # Errors
    /// `Exhausted` with more named databases than handles.
    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        self.settle()?;
        loop {
            let reading = self.begin()?;
            let mut unopened = Vec::new();
            Name::each_in(&reading, &[], &mut |name| {
                let name = Name::Named(name);
                if self.handle(&name).is_none() {
                    unopened.push(name);
                }
                std::ops::ControlFlow::Continue(())
            })?;
            if unopened.is_empty() {
                return Ok(Snapshot {
                    id: reading.id(),
                    reading: Mutex::new(reading),
                    foreign_change: self.environment.changes().modified(),
                    times: self.times.frozen(),
                });
            }
            drop(reading);
            unopened.iter().try_for_each(|name| self.open_handle(name))?;
        }
    }

    /// Forgets every handle: the environment was closed and opened.
    pub(super) fn forget_handles(&self) {
        self.handles.lock().clear();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end_ahead();
        self.pins.stop();
        self.watchers.stop();
        if !self.writer.stop() {
            tracing::warn!(
                "{}: another program holds its write transaction, the writer waits for it in the background",
                self.environment.place.shown.display()
            );
            // The thread keeps the environment open until then.
            self.threads.truncate(2);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the LMDB store failed");
            }
        }
    }
}

fn gone(name: &Name) -> Error {
    Error::new(ErrorKind::NotFound, format!("{name}: another program removed it"))
}

fn unopened(name: &Name) -> Error {
    Error::new(ErrorKind::Exhausted, format!("{name}: its handle could not be opened"))
}
