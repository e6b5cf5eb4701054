//! What happens to an environment while no transaction of this process runs: another map, another data file, the end.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Environment, Idle};
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::store::lmdb::failure::failure;
use crate::store::lmdb::header::Header;
use crate::store::lmdb::lock::OpeningLock;
use crate::store::lmdb::opening::{Access, open_data, open_raw, wait_for_opening_lock};
use crate::store::lmdb::transaction::Transaction;

impl Environment {
    /// Runs `work` while no read transaction runs in this process and none begins; called by the writer thread
    /// alone, so none of ours writes either. `end_pins` lets go of the transactions that open values hold.
    ///
    /// # Errors
    /// `Busy` when some run until the deadline; what `work` returns.
    pub(in crate::store::lmdb) fn quietly<R>(
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
        let calm = self.calm.lock();
        self.growing.store(false, Ordering::SeqCst);
        drop(calm);
        self.calmed.notify_all();
        result
    }

    /// Whether no transaction may begin for now.
    pub(in crate::store::lmdb) fn is_quiet(&self) -> bool {
        self.growing.load(Ordering::SeqCst)
    }

    /// Waits until transactions may begin again, at most until the deadline.
    pub(in crate::store::lmdb) fn wait_until_calm(&self, deadline: Deadline) {
        let mut calm = self.calm.lock();
        while self.is_quiet() && !self.calmed.wait_until(&mut calm, deadline.at()).timed_out() {}
    }

    /// Replaces the map by one that holds what another program has written; only inside
    /// [`Environment::quietly`].
    ///
    /// # Errors
    /// The system's, when so much address space cannot be had.
    pub(in crate::store::lmdb) fn grow(&self) -> Result<()> {
        self.look()?;
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
    pub(in crate::store::lmdb) fn reopen(
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
        self.registered.lock().rename(self.place.identity()?);
        let transaction = self.read_with_main()?;
        // A compacted copy counts its transactions from one again.
        self.changes.begin_at(transaction.id());
        transaction.commit()
    }

    /// Records the map size of before, if nobody else has the environment open (see `map.rs`); where none of our own
    /// transactions writes.
    pub(in crate::store::lmdb) fn restore_map_size(&self) {
        let Some(lock_file) = self.lock_file() else { return };
        let lock = OpeningLock::of(lock_file);
        let intact = self.access == Access::Write && self.look().is_ok();
        if !intact || !lock.alone().unwrap_or(false) {
            return;
        }
        let restored = Header::read(&self.data_file, &self.place.shown_data()).and_then(|header| {
            self.map_size.restore(&self.data_file, &header).map_err(|e| Error::io("its map size", &e))
        });
        if let Err(error) = restored.and(lock.share()) {
            tracing::warn!("{}: {error}", self.place.shown.display());
        }
    }
}
