//! One open LMDB environment: the safe side of `MDB_env`.

use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lmdb_sys::{MDB_dbi, MDB_env, MDB_txn};
use parking_lot::{Condvar, Mutex, RwLock};

use super::check;
use super::engine::Engine;
use super::failure::{check, failure};
use super::header::Header;
use super::place::Place;
use super::registry::Registered;
use super::transaction::{Reading, Transaction, Writing};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};

/// Named databases that one mount can use before it must be mounted anew: LMDB's handles are never given back
/// while transactions run. Each costs a few bytes a transaction.
pub const DATABASES_MAX: u32 = 1024;
/// Reader slots of a lock file that we make; that of one that exists holds. LMDB's own default.
const READERS: u32 = 126;
/// Transactions kept for reuse, with their reader slots: at least one a session thread.
const POOL_MAX: usize = 16;
/// The least map reserved, in bytes.
const MAP_MIN: u64 = 1 << 30;
/// The largest map reserved, in bytes: an eighth of what a process can address.
const MAP_MAX: u64 = 16 << 40;

/// What an environment lets us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and write, with the lock file.
    Write,
    /// Read, with a slot in the lock file that keeps writers from reusing what is being read.
    Read,
    /// Read without a lock file: a writer would not know of us, so what is read is checked afterwards.
    Unlocked,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Access::Write => "read and write",
            Access::Read => "read",
            Access::Unlocked => "read, without a lock file",
        })
    }
}

/// How an environment is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Whether nothing is to be written.
    pub read_only: bool,
    /// The map to reserve, in bytes; `None` is as large as the file system.
    pub map_size: Option<u64>,
    /// Until when a program that holds the opening lock is waited for.
    pub deadline: Deadline,
}

/// An open environment. It closes when this drops, and no transaction of it is left then.
pub struct Environment {
    /// `None` after a compaction could not open it again. Held for reading during each call that is not part of a
    /// transaction, for writing while it is closed and opened. Lock order: `handles`, `raw`, `pool`.
    raw: RwLock<Option<NonNull<MDB_env>>>,
    /// What it lets us do.
    pub access: Access,
    /// Where it is.
    pub place: Place,
    /// Page size in bytes.
    pub page_size: u64,
    /// Flags of the main database, known once the environment was opened.
    main_flags: OnceLock<u32>,
    /// Longest key in bytes.
    pub key_max: u32,
    /// Reset read transactions; each keeps its reader slot.
    pool: Mutex<Vec<Idle>>,
    /// Read transactions that run, and whether none may begin since the map is being replaced.
    active: AtomicUsize,
    growing: AtomicBool,
    /// Whether another program's data reaches beyond our map.
    outgrown: AtomicBool,
    /// How often a handle was opened: a transaction that began before one was does not know it.
    handles_opened: AtomicU64,
    /// `mdb_dbi_open` allows one transaction at a time; whoever opens a handle holds this to its end.
    pub(super) handles: Mutex<()>,
    /// The last transaction that is our own, or was noticed.
    known: AtomicU64,
    /// When a change by somebody else was last noticed, in nanoseconds since 1970.
    modified: AtomicU64,
    /// How many times that was.
    foreign: AtomicU64,
    data_file: File,
    /// Opened before the environment and closed after it, see `registry`; `None` without a lock file.
    lock_file: Option<File>,
    /// Last: the next opener of this environment waits for it.
    registered: Mutex<Registered>,
}

/// A reset transaction in the pool.
struct Idle(NonNull<MDB_txn>);
// SAFETY: with MDB_NOTLS a read transaction belongs to no thread; a reset one is used by none.
unsafe impl Send for Idle {}

// SAFETY: liblmdb's environment functions may be called from any thread; the exceptions (`mdb_dbi_open`,
// `mdb_env_set_mapsize`) are serialised by `handles` and `growing`.
unsafe impl Send for Environment {}
// SAFETY: as above.
unsafe impl Sync for Environment {}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("place", &self.place.shown).field("access", &self.access).finish()
    }
}

impl Environment {
    /// Opens the environment at `place`, or makes it where that is new.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file, the lock file, their permissions or the disk.
    pub(super) fn open(place: Place, registered: Registered, ask: Ask) -> Result<Arc<Environment>> {
        let opened = match open_files(&place, &registered, ask) {
            Ok(opened) => opened,
            Err(error) => {
                place.undo();
                return Err(error);
            }
        };
        let Files { data_file, lock_file, header, access, raw } = opened;
        let modified = data_file.metadata().and_then(|found| found.modified()).unwrap_or(UNIX_EPOCH);
        let environment = Arc::new(Environment {
            raw: RwLock::new(Some(raw)),
            access,
            page_size: header.map_or(4096, |header| header.page_size),
            // SAFETY: the environment is open.
            key_max: unsafe { lmdb_sys::mdb_env_get_maxkeysize(raw.as_ptr()) }.unsigned_abs(),
            main_flags: OnceLock::new(),
            pool: Mutex::new(Vec::new()),
            active: AtomicUsize::new(0),
            growing: AtomicBool::new(false),
            outgrown: AtomicBool::new(false),
            handles_opened: AtomicU64::new(0),
            handles: Mutex::new(()),
            known: AtomicU64::new(0),
            modified: AtomicU64::new(nanoseconds(modified)),
            foreign: AtomicU64::new(0),
            data_file,
            lock_file,
            registered: Mutex::new(registered),
            place,
        });
        environment.begin_using()?;
        Ok(environment)
    }

    /// What follows opening: stale readers go, and the main database's order is set.
    fn begin_using(self: &Arc<Self>) -> Result<()> {
        if self.access != Access::Unlocked {
            let mut dead: c_int = 0;
            // SAFETY: the environment is open; `dead` outlives the call.
            self.call("checking readers", |raw| unsafe { lmdb_sys::mdb_reader_check(raw, &raw mut dead) })?;
            if dead > 0 {
                tracing::info!(
                    "{}: cleared {dead} reader slots of dead programs",
                    self.place.shown.display()
                );
            }
        }
        let transaction = self.read_with_main()?;
        let flags = transaction.flags(Environment::MAIN)?;
        self.main_flags.get_or_init(|| flags);
        self.known.store(transaction.id(), Ordering::Release);
        if !self.place.new {
            self.check_pages(transaction.id())?;
        }
        transaction.commit()
    }

    /// Looks at the pages of a moment that a read transaction holds.
    fn check_pages(&self, moment: u64) -> Result<()> {
        let shown = self.place.shown_data();
        let header = Header::read(&self.data_file, &shown)?;
        // Somebody committed in between: then the pages are theirs, and good enough for them.
        if header.transaction != moment {
            return Ok(());
        }
        check::pages(&self.data_file, &header).map_err(|e| e.context(shown.display()))
    }

    /// Flags of the main database.
    pub fn main_flags(&self) -> u32 {
        self.main_flags.get().copied().unwrap_or(0)
    }

    /// Begins a read transaction: the newest moment of the environment.
    ///
    /// # Errors
    /// `Exhausted` when every reader slot is taken; `Busy` while the map is being replaced.
    pub fn read(self: &Arc<Self>) -> Result<Reading> {
        let reading = self.read_uncounted()?;
        self.notice(reading.id())?;
        Ok(reading)
    }

    /// As [`Environment::read`], without looking for changes by others.
    fn read_uncounted(self: &Arc<Self>) -> Result<Reading> {
        self.active.fetch_add(1, Ordering::SeqCst);
        if self.growing.load(Ordering::SeqCst) {
            self.active.fetch_sub(1, Ordering::SeqCst);
            return Err(Error::new(ErrorKind::Busy, "the map is being replaced by a larger one: try again"));
        }
        match self.begin_read() {
            Ok(raw) => Ok(Reading::new(Arc::clone(self), raw)),
            Err(code) => {
                self.active.fetch_sub(1, Ordering::SeqCst);
                Err(failure(code, format_args!("reading {}", self.place.shown.display())))
            }
        }
    }

    fn begin_read(&self) -> Result<NonNull<MDB_txn>, c_int> {
        let idle = self.pool.lock().pop();
        if let Some(Idle(raw)) = idle {
            // SAFETY: `raw` is a reset read transaction of this environment that nobody else has.
            let code = unsafe { lmdb_sys::mdb_txn_renew(raw.as_ptr()) };
            if code == lmdb_sys::MDB_SUCCESS {
                return Ok(raw);
            }
            if code == lmdb_sys::MDB_MAP_RESIZED {
                self.outgrown.store(true, Ordering::SeqCst);
            }
            // SAFETY: as above; a failed renewal leaves it reset, and ending it frees it once.
            unsafe { lmdb_sys::mdb_txn_abort(raw.as_ptr()) };
            return Err(code);
        }
        self.begin(lmdb_sys::MDB_RDONLY)
    }

    fn begin(&self, flags: u32) -> Result<NonNull<MDB_txn>, c_int> {
        let guard = self.raw.read();
        let environment = (*guard).ok_or(lmdb_sys::MDB_PANIC)?;
        // The writer waits here for other programs, and is the only one who ever takes `raw` for writing.
        drop(guard);
        let mut raw = ptr::null_mut();
        // SAFETY: the environment is open, and `active` or being the writer keeps it so; `raw` outlives the call.
        let code =
            unsafe { lmdb_sys::mdb_txn_begin(environment.as_ptr(), ptr::null_mut(), flags, &raw mut raw) };
        if code == lmdb_sys::MDB_MAP_RESIZED {
            self.outgrown.store(true, Ordering::SeqCst);
        }
        NonNull::new(raw).filter(|_| code == lmdb_sys::MDB_SUCCESS).ok_or(code)
    }

    /// Takes back a read transaction: kept for reuse, or ended.
    pub(super) fn give_back(&self, raw: NonNull<MDB_txn>) {
        // SAFETY: `raw` is a running read transaction of this environment that its only user gives back.
        unsafe { lmdb_sys::mdb_txn_reset(raw.as_ptr()) };
        let mut pool = self.pool.lock();
        if pool.len() < POOL_MAX {
            pool.push(Idle(raw));
        } else {
            drop(pool);
            // SAFETY: as above; it is not used after this.
            unsafe { lmdb_sys::mdb_txn_abort(raw.as_ptr()) };
        }
        self.ended();
    }

    /// Counts a read transaction that ended otherwise.
    pub(super) fn ended(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }

    /// Begins the write transaction; waits for whoever has it, without a limit: the writer thread alone calls it.
    ///
    /// # Errors
    /// LMDB's.
    pub(super) fn write(&self) -> Result<Writing<'_>> {
        let raw = self
            .begin(0)
            .map_err(|code| failure(code, format_args!("writing to {}", self.place.shown.display())))?;
        let writing = Writing::new(self, raw);
        self.notice(writing.id() - 1)?;
        Ok(writing)
    }

    /// Looks whether transaction `id` is later than any that we know: then somebody else changed something.
    ///
    /// # Errors
    /// `Io` when the data file has become shorter than its pages: reading it would kill the process.
    pub(super) fn notice(&self, id: u64) -> Result<()> {
        if id <= self.known.load(Ordering::Acquire) || self.known.fetch_max(id, Ordering::AcqRel) >= id {
            return Ok(());
        }
        self.modified.fetch_max(nanoseconds(env::now()), Ordering::AcqRel);
        self.foreign.fetch_add(1, Ordering::AcqRel);
        self.whole()
    }

    /// Whether the file still reaches to the pages of its newest transaction.
    fn whole(&self) -> Result<()> {
        let size = self.data_file.metadata().map_err(|e| Error::io(self.place.shown.display(), &e))?.len();
        if size < 2 * self.page_size {
            return Err(Error::new(
                ErrorKind::Io,
                format!(
                    "{} was truncated: unmount it and restore the file",
                    self.place.shown_data().display()
                ),
            ));
        }
        Ok(())
    }

    /// Lets other mounts in this process share the environment.
    pub(super) fn publish(&self, engine: &Arc<Engine>) {
        self.registered.lock().publish(engine);
    }

    /// Marks transaction `id` as our own, before its commit shows it: so no reader takes it for somebody else's.
    pub(super) fn own(&self, id: u64) {
        self.known.fetch_max(id, Ordering::AcqRel);
    }

    /// A commit marked by [`Environment::own`] failed: the same id may now become somebody else's, unnoticed, so
    /// that is assumed.
    pub(super) fn disown(&self) {
        self.modified.fetch_max(nanoseconds(env::now()), Ordering::AcqRel);
        self.foreign.fetch_add(1, Ordering::AcqRel);
    }

    /// When somebody else last changed something, as far as is known: a moment after the change.
    pub fn modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.modified.load(Ordering::Acquire))
    }

    /// How often changes by others were noticed.
    pub fn foreign_changes(&self) -> u64 {
        self.foreign.load(Ordering::Acquire)
    }

    /// The last transaction that a reader can see. `mdb_env_info` would say earlier than that, since it looks at
    /// the meta page, which is written (and awaited on the disk) before readers are let see it.
    ///
    /// # Errors
    /// As for [`Environment::read`].
    pub fn last_transaction(self: &Arc<Self>) -> Result<u64> {
        Ok(self.read_uncounted()?.id())
    }

    /// Runs `work` while no read transaction runs in this process and none begins; called by the writer thread
    /// alone, so none of ours writes either. `end_pins` lets go of the transactions that open values hold.
    ///
    /// # Errors
    /// `Busy` when some run until the deadline; what `work` returns.
    pub(super) fn quietly<R>(
        &self,
        deadline: Deadline,
        end_pins: &dyn Fn(),
        work: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        self.growing.store(true, Ordering::SeqCst);
        let pause = Mutex::new(());
        let result = loop {
            end_pins();
            if self.active.load(Ordering::SeqCst) == 0 {
                break work();
            }
            if deadline.passed() {
                break Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "{} is being read: unmount its snapshots, or try again",
                        self.place.shown.display()
                    ),
                ));
            }
            Condvar::new().wait_for(&mut pause.lock(), Duration::from_millis(1));
        };
        self.growing.store(false, Ordering::SeqCst);
        result
    }

    /// Replaces the map by one that holds what another program has written; only inside
    /// [`Environment::quietly`].
    ///
    /// # Errors
    /// The system's, when so much address space cannot be had.
    pub(super) fn grow(&self) -> Result<()> {
        // SAFETY: the environment is open, and no transaction of this process runs.
        self.call("mapping the data file", |raw| unsafe { lmdb_sys::mdb_env_set_mapsize(raw, 0) })?;
        self.outgrown.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Lets `replace` exchange the data file, then closes the environment and opens it with the new one; only
    /// inside [`Environment::quietly`], with the opening lock held exclusively. Newcomers can come in once the old
    /// environment is closed, which drops that lock, and find the new file.
    ///
    /// # Errors
    /// What `replace` returns: nothing was done then. When opening fails, everything fails until the mount ends.
    pub(super) fn reopen(
        self: &Arc<Self>,
        deadline: Deadline,
        replace: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let _handles = self.handles.lock();
        let mut guard = self.raw.write();
        let Some(raw) = *guard else { return Err(failure(lmdb_sys::MDB_PANIC, self.place.shown.display())) };
        let map_size = Self::info_of(raw)?.me_mapsize as u64;
        replace()?;
        *guard = None;
        for Idle(transaction) in self.pool.lock().drain(..) {
            // SAFETY: a reset read transaction of this environment that nobody uses.
            unsafe { lmdb_sys::mdb_txn_abort(transaction.as_ptr()) };
        }
        // SAFETY: no transaction is left, `raw` was taken out of `self.raw`, and nobody calls meanwhile.
        unsafe { lmdb_sys::mdb_env_close(raw.as_ptr()) };
        let (new, _) = open_data(&self.place, false)?;
        // SAFETY: both descriptors are open. Ours keeps its number and becomes one of the new file, in one step.
        if unsafe { libc::dup3(new.as_raw_fd(), self.data_file.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
            return Err(Error::io(self.place.shown_data().display(), &io::Error::last_os_error()));
        }
        if let Some(lock_file) = &self.lock_file {
            wait_for_opening_lock(lock_file, deadline).map_err(|e| e.context(self.place.shown.display()))?;
        }
        *guard = Some(open_raw(&self.place, self.access, map_size)?);
        drop(guard);
        self.registered.lock().rename(identity(&self.place)?);
        let transaction = self.read_with_main()?;
        // A compacted copy counts its transactions from one again.
        self.known.store(transaction.id(), Ordering::Release);
        transaction.commit()
    }

    /// A read transaction in which the main database was opened: that sets its comparison, which every use of it
    /// needs. While no other transaction can begin, or before any can.
    fn read_with_main(self: &Arc<Self>) -> Result<Reading> {
        self.active.fetch_add(1, Ordering::SeqCst);
        let transaction = match self.begin(lmdb_sys::MDB_RDONLY) {
            Ok(raw) => Reading::new(Arc::clone(self), raw),
            Err(code) => {
                self.active.fetch_sub(1, Ordering::SeqCst);
                return Err(failure(code, self.place.shown.display()));
            }
        };
        transaction.open_database(None)?;
        Ok(transaction)
    }

    /// Whether another program's data reaches beyond our map: nothing can be read until that is replaced.
    pub(super) fn is_outgrown(&self) -> bool {
        self.outgrown.load(Ordering::SeqCst)
    }

    /// How often a handle was opened: a transaction that began before one was does not know it.
    pub(super) fn handles_opened(&self) -> u64 {
        self.handles_opened.load(Ordering::SeqCst)
    }

    /// Counts a handle that was opened, after its transaction is committed.
    pub(super) fn opened_handle(&self) {
        self.handles_opened.fetch_add(1, Ordering::SeqCst);
    }

    /// A call of the environment that is not part of a transaction.
    fn call(&self, what: &str, call: impl FnOnce(*mut MDB_env) -> c_int) -> Result<()> {
        let guard = self.raw.read();
        let code = guard.map_or(lmdb_sys::MDB_PANIC, |raw| call(raw.as_ptr()));
        check(code, format_args!("{what} of {}", self.place.shown.display()))
    }

    /// Whether the disk has no room for a page more.
    pub(super) fn disk_is_full(&self) -> bool {
        nix::sys::statvfs::fstatvfs(&self.data_file)
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < 1 << 20)
    }

    fn info_of(raw: NonNull<MDB_env>) -> Result<lmdb_sys::MDB_envinfo> {
        let mut info = lmdb_sys::MDB_envinfo {
            me_mapaddr: ptr::null_mut(),
            me_mapsize: 0,
            me_last_pgno: 0,
            me_last_txnid: 0,
            me_maxreaders: 0,
            me_numreaders: 0,
        };
        // SAFETY: the environment is open; `info` outlives the call.
        check(unsafe { lmdb_sys::mdb_env_info(raw.as_ptr(), &raw mut info) }, "the environment's figures")?;
        Ok(info)
    }

    /// Length of the map, the last page in use, reader slots there are, and reader slots ever used.
    ///
    /// # Errors
    /// LMDB's.
    pub fn info(&self) -> Result<lmdb_sys::MDB_envinfo> {
        let guard = self.raw.read();
        let raw = (*guard).ok_or_else(|| failure(lmdb_sys::MDB_PANIC, self.place.shown.display()))?;
        Self::info_of(raw)
    }

    /// Figures of the main database.
    ///
    /// # Errors
    /// LMDB's.
    pub fn stat(&self) -> Result<lmdb_sys::MDB_stat> {
        let mut stat = lmdb_sys::MDB_stat::default();
        // SAFETY: the environment is open; `stat` outlives the call.
        self.call("the figures", |raw| unsafe { lmdb_sys::mdb_env_stat(raw, &raw mut stat) })?;
        Ok(stat)
    }

    /// Forces everything committed to the disk, also where other programs commit without waiting.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> Result<()> {
        if self.access != Access::Write {
            return Ok(());
        }
        // SAFETY: the environment is open.
        self.call("syncing", |raw| unsafe { lmdb_sys::mdb_env_sync(raw, 1) })
    }

    /// Writes a copy without free pages to `file`.
    ///
    /// # Errors
    /// `NoSpace` and the like.
    pub(super) fn copy_compact(&self, file: &File) -> Result<()> {
        // SAFETY: the environment is open, and so is `file` throughout the call.
        self.call("a copy", |raw| unsafe {
            lmdb_sys::mdb_env_copyfd2(raw, file.as_raw_fd(), lmdb_sys::MDB_CP_COMPACT)
        })
    }

    /// The data file.
    pub fn data_file(&self) -> &File {
        &self.data_file
    }

    /// Our own descriptor of the lock file. Never opened again, never closed before the environment.
    pub fn lock_file(&self) -> Option<BorrowedFd<'_>> {
        self.lock_file.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    /// Device and inode of the data file.
    pub fn identity(&self) -> super::registry::FileId {
        self.registered.lock().data_file()
    }

    /// The main database's handle.
    pub const MAIN: MDB_dbi = 1;
}

impl Drop for Environment {
    fn drop(&mut self) {
        for Idle(raw) in self.pool.get_mut().drain(..) {
            // SAFETY: a reset read transaction of this environment that nobody uses.
            unsafe { lmdb_sys::mdb_txn_abort(raw.as_ptr()) };
        }
        let Some(raw) = self.raw.get_mut().take() else { return };
        // SAFETY: transactions hold the environment, so none is left, and it closes once. Fields drop after this:
        // our lock file's descriptor outlives the environment, then the registry lets others in.
        unsafe { lmdb_sys::mdb_env_close(raw.as_ptr()) };
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// An environment as it was opened.
struct Files {
    data_file: File,
    lock_file: Option<File>,
    header: Option<Header>,
    access: Access,
    raw: NonNull<MDB_env>,
}

fn open_files(place: &Place, registered: &Registered, ask: Ask) -> Result<Files> {
    let (data_file, writable) = open_data(place, ask.read_only)?;
    let header = if place.new { None } else { Some(Header::read(&data_file, &place.shown_data())?) };
    // Without a lock file nobody has it open, and a damaged one is refused before anything is made.
    if let Some(header) = &header
        && !place.lock().exists()
    {
        check::pages(&data_file, header).map_err(|e| e.context(place.shown_data().display()))?;
    }
    let (lock_file, access) = open_lock(place, ask.read_only, writable)?;
    if let Some(lock_file) = &lock_file {
        let found = lock_file.metadata().map_err(|e| Error::io(place.shown.display(), &e))?;
        registered.set_lock_file((found.dev(), found.ino()));
        wait_for_opening_lock(lock_file, ask.deadline).map_err(|e| e.context(place.shown.display()))?;
    }
    let raw = open_raw(place, access, map_size(&data_file, header.as_ref(), ask.map_size))?;
    Ok(Files { data_file, lock_file, header, access, raw })
}

/// Opens the data file for looking at it, and tells whether it can be written.
fn open_data(place: &Place, read_only: bool) -> Result<(File, bool)> {
    let shown = place.shown_data();
    let path = place.data();
    if !read_only {
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => return Ok((file, true)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                if OpenOptions::new().read(true).open(&path).is_ok() {
                    return Err(Error::new(
                        ErrorKind::Denied,
                        format!("{} may be read but not written: mount it with --read-only", shown.display()),
                    ));
                }
            }
            Err(_) => {}
        }
    }
    let file = OpenOptions::new()
        .read(true)
        .open(&path)
        .map_err(|e| Error::io(format_args!("cannot open {}", shown.display()), &e))?;
    Ok((file, false))
}

/// Opens the lock file, and tells what can be done with the environment.
fn open_lock(place: &Place, read_only: bool, writable: bool) -> Result<(Option<File>, Access)> {
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o664).open(place.lock());
    let error = match opened {
        Ok(file) => return Ok((Some(file), if writable { Access::Write } else { Access::Read })),
        Err(error) => error,
    };
    let shown = place.shown.display();
    match error.raw_os_error() {
        // Nobody can write to read-only media, so nobody needs to know of a reader.
        Some(libc::EROFS) => Ok((None, Access::Unlocked)),
        Some(libc::EACCES | libc::EPERM) if read_only => {
            tracing::warn!(
                "{shown}: its lock file cannot be written, so writers do not know of this mount: what they replace \
                 while it is read is reported as stale"
            );
            Ok((None, Access::Unlocked))
        }
        Some(libc::EACCES | libc::EPERM) => Err(Error::new(
            ErrorKind::Denied,
            format!(
                "the lock file of {shown} cannot be written: ask for the right to, or mount with --read-only"
            ),
        )),
        _ => Err(Error::io(format_args!("the lock file of {shown}"), &error)),
    }
}

/// Takes LMDB's opening lock as LMDB does (exclusive if nobody has it open, else shared), but not for ever:
/// `mdb_env_open` then finds it taken by its own process and waits for nobody.
fn wait_for_opening_lock(lock_file: &File, deadline: Deadline) -> Result<()> {
    let pause = Mutex::new(());
    loop {
        for kind in [libc::F_WRLCK, libc::F_RDLCK] {
            let mut wanted = libc::flock {
                l_type: kind as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: 0,
                l_len: 1,
                l_pid: 0,
            };
            // SAFETY: the descriptor is open, and `wanted` is a flock that outlives the call.
            let code = unsafe { libc::fcntl(lock_file.as_raw_fd(), libc::F_SETLK, &raw mut wanted) };
            if code == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) {
                return Err(Error::io("its lock file cannot be locked", &error));
            }
        }
        if deadline.passed() {
            return Err(Error::new(
                ErrorKind::Busy,
                "another program holds its opening lock: end that program, or try again",
            ));
        }
        Condvar::new().wait_for(&mut pause.lock(), Duration::from_millis(2));
    }
}

/// How much address space to reserve: as much as the file system could hold, so that growth never needs another
/// map, which held readers would forbid. LMDB writes a map larger than the recorded one into the next meta
/// page; see DESIGN.md for what that means to other programs.
fn map_size(data_file: &File, header: Option<&Header>, asked: Option<u64>) -> u64 {
    let disk = nix::sys::statvfs::fstatvfs(data_file)
        .map_or(0, |disk| disk.blocks().saturating_mul(disk.fragment_size()).next_multiple_of(MAP_MIN));
    let recorded = header.map_or(0, |header| header.map_size.min(MAP_MAX));
    let used = header.map_or(0, |header| (header.last_page + 1) * header.page_size);
    let mut size = asked.unwrap_or_else(|| disk.clamp(MAP_MIN, MAP_MAX).max(recorded));
    while size / 2 >= used.max(1 << 20) && !can_map(size) {
        size /= 2;
    }
    size.max(used)
}

/// Whether that much address space is free.
fn can_map(size: u64) -> bool {
    let Some(length) = usize::try_from(size).ok().and_then(std::num::NonZeroUsize::new) else { return false };
    let flags = nix::sys::mman::MapFlags::MAP_PRIVATE | nix::sys::mman::MapFlags::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping without access touches no memory that exists.
    let mapped =
        unsafe { nix::sys::mman::mmap_anonymous(None, length, nix::sys::mman::ProtFlags::PROT_NONE, flags) };
    let Ok(address) = mapped else { return false };
    // SAFETY: exactly the mapping made above, which nobody uses.
    unsafe { nix::sys::mman::munmap(address, length.get()) }.is_ok()
}

/// `mdb_env_create`, its settings and `mdb_env_open`.
fn open_raw(place: &Place, access: Access, map_size: u64) -> Result<NonNull<MDB_env>> {
    let path = place.for_lmdb()?;
    let mut flags = lmdb_sys::MDB_NOTLS;
    if place.single {
        flags |= lmdb_sys::MDB_NOSUBDIR;
    }
    if access != Access::Write {
        flags |= lmdb_sys::MDB_RDONLY;
    }
    if access == Access::Unlocked {
        flags |= lmdb_sys::MDB_NOLOCK;
    }
    loop {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` outlives the call.
        check(unsafe { lmdb_sys::mdb_env_create(&raw mut raw) }, "LMDB")?;
        let Some(environment) = NonNull::new(raw) else {
            return Err(Error::new(ErrorKind::Exhausted, "LMDB: out of memory"));
        };
        // SAFETY: the environment was made and is not open.
        let code = unsafe { lmdb_sys::mdb_env_set_maxdbs(raw, DATABASES_MAX) };
        check(code, "LMDB")?;
        // SAFETY: as above.
        let code = unsafe { lmdb_sys::mdb_env_set_maxreaders(raw, READERS) };
        check(code, "LMDB")?;
        // SAFETY: as above.
        let code =
            unsafe { lmdb_sys::mdb_env_set_mapsize(raw, usize::try_from(map_size).unwrap_or(usize::MAX)) };
        check(code, "LMDB")?;
        // SAFETY: as above; the registry keeps this process from having it open twice; `path` is a C string.
        let code = unsafe { lmdb_sys::mdb_env_open(raw, path.as_ptr(), flags, 0o664) };
        if code == lmdb_sys::MDB_SUCCESS {
            set_close_on_exec(environment);
            return Ok(environment);
        }
        // SAFETY: an environment that failed to open may only be closed.
        unsafe { lmdb_sys::mdb_env_close(raw) };
        // A signal during the wait for the opening lock leaves its mark in errno, which LMDB takes for a failure.
        if code != libc::EINTR {
            return Err(failure(code, format_args!("cannot open {}", place.shown.display())));
        }
    }
}

/// LMDB leaves its data file's descriptor open across exec.
fn set_close_on_exec(environment: NonNull<MDB_env>) {
    let mut fd: c_int = -1;
    // SAFETY: the environment is open; `fd` outlives the call.
    let code = unsafe { lmdb_sys::mdb_env_get_fd(environment.as_ptr(), &raw mut fd) };
    if code == lmdb_sys::MDB_SUCCESS {
        // SAFETY: `fd` is the environment's own open descriptor; setting a flag on it changes nothing else.
        let done = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        if done != 0 {
            tracing::warn!("a data file's descriptor stays open across exec");
        }
    }
}

/// Makes the empty data file of a new environment, so that it has an inode to be known by; LMDB fills it.
pub(super) fn make_data_file(place: &Place) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o664)
        .open(place.data())
        .map(drop)
        .map_err(|e| Error::io(format_args!("cannot make {}", place.shown_data().display()), &e))
}

/// Device and inode of the data file, without opening it.
pub(super) fn identity(place: &Place) -> Result<super::registry::FileId> {
    fs::metadata(place.data())
        .map(|found| (found.dev(), found.ino()))
        .map_err(|e| Error::io(place.shown_data().display(), &e))
}
