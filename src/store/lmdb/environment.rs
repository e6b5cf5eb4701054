//! One open LMDB environment: the safe side of `MDB_env`.

mod intact;
mod quiet;

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use lmdb_sys::{MDB_dbi, MDB_env, MDB_txn};
use parking_lot::{Condvar, Mutex, RwLock};

use super::changes::Changes;
use super::check::{self, Extent};
use super::engine::Engine;
use super::failure::{check, failure};
use super::header::Header;
use super::map::MapSize;
use super::opening::{Access, Ask, Files, open_files};
use super::place::Place;
use super::registry::Registered;
use super::transaction::{Reading, Transaction, Writing};
use intact::Intact;

use crate::error::{Error, ErrorKind, Result};

/// Transactions kept for reuse, with their reader slots: at least one a session thread.
const POOL_MAX: usize = 16;
/// Moments that are tried, for one to check whose header is there still.
const CHECKS_MAX: usize = 1000;
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
    /// Told when transactions may begin again; for whoever waits with `calm`.
    calmed: Condvar,
    calm: Mutex<()>,
    /// Whether another program's data reaches beyond our map.
    outgrown: AtomicBool,
    /// How often a handle was opened: a transaction that began before one was does not know it.
    handles_opened: AtomicU64,
    /// `mdb_dbi_open` allows one transaction at a time; whoever opens a handle holds this to its end.
    pub(super) handles: Mutex<()>,
    changes: Changes,
    map_size: MapSize,
    intact: Intact,
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
        let Files { data_file, lock_file, header, access, map_size, raw } = opened;
        let found = data_file.metadata().map_err(|e| Error::io(place.shown.display(), &e))?;
        let modified = found.modified().unwrap_or(UNIX_EPOCH);
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
            calmed: Condvar::new(),
            calm: Mutex::new(()),
            outgrown: AtomicBool::new(false),
            handles_opened: AtomicU64::new(0),
            handles: Mutex::new(()),
            changes: Changes::since(modified),
            map_size,
            intact: Intact::new(header.map_or(0, |header| header.file_size)),
            data_file,
            lock_file,
            registered: Mutex::new(registered),
            place,
        });
        environment.begin_using(ask.extent)?;
        Ok(environment)
    }

    /// What follows opening: stale readers go, and the main database's order is set.
    fn begin_using(self: &Arc<Self>, extent: Extent) -> Result<()> {
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
        self.changes.begin_at(transaction.id());
        transaction.commit()?;
        if self.place.new { Ok(()) } else { self.check_pages(extent) }
    }

    /// Looks at the pages of a moment, which a read transaction holds meanwhile.
    ///
    /// # Errors
    /// `Io`: what is damaged, and where; `Busy` where others commit all the time.
    pub(super) fn check_pages(self: &Arc<Self>, extent: Extent) -> Result<()> {
        let shown = self.place.shown_data();
        for _ in 0..CHECKS_MAX {
            let reading = self.read_uncounted()?;
            let header = Header::read(&self.data_file, &shown)?;
            if header.transaction == reading.id() {
                return check::pages(&self.data_file, &header, extent, &shown);
            }
            // Somebody committed in between: the pages are theirs, and as far as nobody asks for more, good enough.
            if extent == Extent::First {
                return Ok(());
            }
        }
        let sentence = format!("{} cannot be checked while others commit all the time", shown.display());
        Err(Error::new(ErrorKind::Busy, sentence))
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
        self.intact()?;
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
        self.begun(self.begin_read())
    }

    /// A read transaction that was counted in `active` before it began.
    fn begun(self: &Arc<Self>, raw: Result<NonNull<MDB_txn>, c_int>) -> Result<Reading> {
        raw.map(|raw| Reading::new(Arc::clone(self), raw)).map_err(|code| {
            self.active.fetch_sub(1, Ordering::SeqCst);
            failure(code, format_args!("reading {}", self.place.shown.display()))
        })
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
        self.look()?;
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
    /// `Io` when the data file is not what it should be: reading it would kill the process.
    pub(super) fn notice(&self, id: u64) -> Result<()> {
        if self.changes.notice(id) { self.look_at_commit(id) } else { Ok(()) }
    }

    /// Whose commits were seen, and when.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Lets other mounts in this process share the environment.
    pub(super) fn publish(&self, engine: &Arc<Engine>) {
        self.registered.lock().publish(engine);
    }

    /// The last transaction that a reader can see. `mdb_env_info` would say earlier than that, since it looks at
    /// the meta page, which is written (and awaited on the disk) before readers are let see it.
    ///
    /// # Errors
    /// As for [`Environment::read`].
    pub fn last_transaction(self: &Arc<Self>) -> Result<u64> {
        self.intact()?;
        Ok(self.read_uncounted()?.id())
    }

    /// A read transaction in which the main database was opened: that sets its comparison, which every use of it
    /// needs. While no other transaction can begin, or before any can.
    fn read_with_main(self: &Arc<Self>) -> Result<Reading> {
        self.active.fetch_add(1, Ordering::SeqCst);
        let transaction = self.begun(self.begin(lmdb_sys::MDB_RDONLY))?;
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
        self.intact()?;
        let guard = self.raw.read();
        let raw = (*guard).ok_or_else(|| failure(lmdb_sys::MDB_PANIC, self.place.shown.display()))?;
        Self::info_of(raw)
    }

    /// Figures of the main database.
    ///
    /// # Errors
    /// LMDB's.
    pub fn stat(&self) -> Result<lmdb_sys::MDB_stat> {
        self.intact()?;
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
        self.restore_map_size();
        // SAFETY: transactions hold the environment, so none is left, and it closes once. Fields drop after this:
        // our lock file's descriptor outlives the environment, then the registry lets others in.
        unsafe { lmdb_sys::mdb_env_close(raw.as_ptr()) };
    }
}
