//! How written bytes reach the store: one put carries all that was written to an inode, by whichever handle.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Vfs;
use super::buffer::{Buffer, State};
use super::node::Ino;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::spool::Spool;
use crate::store::api::{Change, When};

/// At the end of a mount this many kept directories are looked at, to tell those that go.
const KEPT_CHECKED: usize = 10_000;

impl Vfs {
    /// Puts what was written; returns an earlier put's error as long as it stands (§4.2).
    pub(super) fn put_and_answer(&self, ino: Ino, buffer: &Buffer) -> Result<()> {
        self.put_if_dirty(ino, buffer)?;
        match &buffer.state.read().error {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Puts what was written and is not put.
    pub(super) fn put_if_dirty(&self, ino: Ino, buffer: &Buffer) -> Result<()> {
        let deadline = Deadline::after(self.options.timeout);
        let _tree = self.tree.try_read_until(deadline.at()).ok_or_else(busy)?;
        let _putting = buffer.putting.try_lock_until(deadline.at()).ok_or_else(busy)?;
        self.put_locked(ino, buffer)
    }

    /// Puts, for whoever holds `tree` and `putting`.
    pub(super) fn put_locked(&self, ino: Ino, buffer: &Buffer) -> Result<()> {
        let Some(place) = self.table.lock().place(ino) else { return Ok(()) };
        if !place.linked {
            return Ok(());
        }
        let state = buffer.state.read();
        if !state.dirty {
            return Ok(());
        }
        let Some(data) = state.data() else { return Ok(()) };
        let generation = state.generation;
        let when = state.when.clone();
        let outcome = self
            .store
            .apply(&mut [Change::Put { key: &place.key, body: data, when }])
            .and_then(|()| self.record_put(&place.key, data, state.modified, state.modified_asked))
            .map_err(|error| error.context(format_args!("putting {:?}", place.key)));
        let len = data.len();
        drop(state);
        let mut state = buffer.state.write();
        match outcome {
            Ok(()) => {
                self.counters.puts.fetch_add(1, Ordering::Relaxed);
                state.put(generation);
                drop(state);
                if let Some(node) = self.table.lock().get_mut(ino) {
                    node.told = len;
                }
                Ok(())
            }
            Err(error) => {
                self.counters.errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!("{error}; its bytes are kept");
                state.error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The put of the last close, whose error nobody hears. What was refused because somebody else changed the key goes
    /// to the spool, so that the mount shows the key as it is (§4.6); what failed otherwise is owed and tried again.
    pub(super) fn put_last(&self, ino: Ino, buffer: &Buffer) {
        let refused = self.put_if_dirty(ino, buffer).is_err_and(|error| {
            tracing::error!("the last close of a file could not put it: {error}");
            matches!(error.kind(), ErrorKind::Stale | ErrorKind::Exists)
        });
        let last = self.table.lock().get(ino).is_some_and(|node| node.opens <= 1);
        if refused && last {
            tracing::error!("{}", self.keep_in_spool(ino, buffer));
            buffer.state.write().dirty = false;
        }
    }

    /// Tries again what could not be put, of files that are closed (§8.4).
    pub fn retry(&self) {
        for (ino, buffer) in self.dirty() {
            let closed = self.table.lock().get(ino).is_some_and(|node| node.opens == 0);
            if closed && self.put_if_dirty(ino, &buffer).is_ok() {
                self.let_go(ino);
            }
        }
    }

    /// Before the first write after a put: what is written stands on what was put (§4.6).
    pub(super) fn stand_on_put(&self, state: &mut State) -> Result<()> {
        if state.settled {
            state.settled = false;
            if let Some(data) = state.data() {
                let version = self.store.version_of(data)?;
                state.when = version.map_or(When::Always, When::Current);
            }
        }
        Ok(())
    }

    /// Lets go of a buffer that nobody writes to and that the store has; keeps one whose bytes are owed.
    pub(super) fn let_go(&self, ino: Ino) {
        let buffer = self.buffer_of(ino);
        let Some(buffer) = buffer else {
            self.table.lock().collect(ino);
            return;
        };
        let state = buffer.state.read();
        let mut table = self.table.lock();
        let Some(node) = table.get(ino) else { return };
        let owed = state.dirty && node.linked && state.data().is_some();
        if node.opens > 0 || owed {
            return;
        }
        if let Some(node) = table.get_mut(ino) {
            node.buffer = None;
            node.reading = None;
        }
        table.collect(ino);
    }

    /// Puts every file that has bytes to put, and waits until the store has them for good.
    ///
    /// # Errors
    /// The first put's that failed, after all were tried; the store's.
    pub fn flush(&self, deadline: Deadline) -> Result<()> {
        let mut outcome = Ok(());
        for (ino, buffer) in self.dirty() {
            if deadline.passed() {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    "the deadline passed with files still to be put",
                ));
            }
            let put = self.put_if_dirty(ino, &buffer);
            outcome = outcome.and(put);
        }
        outcome.and(self.store.sync())
    }

    /// The end of the mount: puts what can be put, keeps in the spool what cannot (§8.4), and says what was lost with
    /// the mount, in sentences.
    pub fn finish(&self, deadline: Deadline) -> Vec<String> {
        let mut sentences = Vec::new();
        for (ino, buffer) in self.dirty() {
            if !deadline.passed() && self.put_if_dirty(ino, &buffer).is_ok() {
                continue;
            }
            sentences.push(self.keep_in_spool(ino, &buffer));
        }
        let mut lost = self.overlay.read().counts();
        let kept = self.overlay.read().kept(KEPT_CHECKED);
        lost.directories = kept.iter().filter(|key| matches!(self.store.stat(key), Ok(None))).count();
        for (count, what) in [
            (lost.attributes, "files had a mode, owner, time or extended attribute"),
            (lost.symlinks, "symbolic links"),
            (lost.directories, "directories without a key"),
        ] {
            if count > 0 {
                sentences.push(format!("gone with the mount, in which alone they lived: {count} {what}"));
            }
        }
        sentences
    }

    fn keep_in_spool(&self, ino: Ino, buffer: &Buffer) -> String {
        let Ok(place) = self.place(ino) else { return String::from("a file without a name was not put") };
        let Some(state) = buffer.state.try_read() else {
            return format!("{:?} is still being put", place.key);
        };
        let (Some(data), true) = (state.data(), place.linked) else {
            return format!("{:?} was removed while it was open", place.key);
        };
        let reason =
            state.error.as_ref().map_or_else(|| String::from("the deadline passed"), Error::to_string);
        let when = self.condition(&place.key, &state.when);
        match Spool::of_user().keep(&self.options.source, &place.key, data, &when, &reason) {
            Ok(id) => format!(
                "{:?} could not be put ({reason}); its bytes are kept: kvfs recover save {id}",
                place.key
            ),
            Err(error) => format!("{:?} could not be put ({reason}), nor kept: {error}", place.key),
        }
    }

    pub(super) fn dirty(&self) -> Vec<(Ino, Arc<Buffer>)> {
        let all: Vec<_> = {
            let table = self.table.lock();
            table.iter().filter_map(|(ino, node)| Some((ino, node.buffer.clone()?))).collect()
        };
        all.into_iter()
            .filter(|(_, buffer)| {
                // A file being put holds its state; it counts as dirty.
                buffer.state.try_read().is_none_or(|state| state.dirty && state.data().is_some())
            })
            .collect()
    }
}

fn busy() -> Error {
    Error::new(ErrorKind::TimedOut, "another change of the same file did not end before the deadline")
}
