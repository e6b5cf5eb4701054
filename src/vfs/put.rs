//! How written bytes reach the store: one put carries all that was written to an inode, by whichever handle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{RwLockReadGuard, RwLockUpgradableReadGuard};

use super::Vfs;
use super::buffer::{Buffer, State};
use super::node::{Ino, Place};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Word};
use crate::payload::{MEMORY_MAX, Payload};
use crate::store::api::{Change, Kind, Pace, Stat, Tag, Value, When};
use crate::store::attributes::Setting;
use crate::store::fingerprint::Fingerprint;

/// Each time a file grows past a multiple of this, the store may send what there is, in bytes.
const SENT_AHEAD: u64 = 1 << 20;

/// At the end of a mount this many kept directories are looked at, to tell those that go.
const KEPT_CHECKED: usize = 10_000;

/// So long whoever comes later lets a rename go first that waits for the puts before it. With a put that takes longer
/// it goes on past the rename, which otherwise would stop the whole mount for as long as the put takes (§8.1).
const RENAMES_FIRST: Duration = Duration::from_millis(200);

/// As long as it lives, no name moves: the keys of now stay the keys.
pub(super) struct Unmoved<'v>(
    #[allow(dead_code, reason = "its drop lets names move")] RwLockReadGuard<'v, ()>,
);

impl Vfs {
    /// Holds all names where they are. Not to be held twice by one thread: a rename that waits in between would
    /// wait for the first, and the second, for a while, for it.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn hold_names(&self) -> Result<Unmoved<'_>> {
        let deadline = Deadline::after(self.options.timeout);
        let held = self.tree.try_read_for(RENAMES_FIRST.min(deadline.left()));
        held.or_else(|| self.tree.try_read_recursive_until(deadline.at())).map(Unmoved).ok_or_else(busy)
    }

    /// A file that grows by long writes to a store of the network: it may be sent while it is still being written.
    pub(super) fn send_ahead(&self, ino: Ino, before: u64, state: &State) {
        let (Pace::Network, Some(data)) = (self.caps.pace, state.data()) else { return };
        if before / SENT_AHEAD == data.len() / SENT_AHEAD {
            return;
        }
        let key = self.table.lock().key(ino);
        if let Some(key) = key {
            self.store.written_so_far(&key, data);
        }
    }

    /// Puts what was written; returns an earlier put's error as long as it stands (§4.2).
    pub(super) fn put_and_answer(&self, ino: Ino, buffer: &Arc<Buffer>) -> Result<()> {
        let outcome = self.put_if_dirty(ino, buffer);
        if self.is_placeholder(ino, &buffer.state.read()) {
            return Ok(());
        }
        outcome?;
        match &buffer.state.read().error {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Puts what was written and is not put.
    pub(super) fn put_if_dirty(&self, ino: Ino, buffer: &Arc<Buffer>) -> Result<()> {
        let names = self.hold_names()?;
        self.put_where_it_is(ino, buffer, &names)
    }

    /// The same, for whoever holds the names.
    pub(super) fn put_where_it_is(&self, ino: Ino, buffer: &Arc<Buffer>, _: &Unmoved<'_>) -> Result<()> {
        let deadline = Deadline::after(self.options.timeout);
        let _putting = buffer.putting.try_lock_until(deadline.at()).ok_or_else(busy)?;
        let Some(place) = self.place_of_buffer(ino, buffer) else { return Ok(()) };
        // Nobody writes from here to the end, so that what is marked as put is what was put; all can read.
        let state = buffer.state.upgradable_read();
        let (true, Some(data)) = (state.dirty, state.data()) else { return Ok(()) };
        let foreign_changes = self.store.foreign_changes();
        let outcome = self
            .apply_put(&place, &state, data)
            .map_err(|error| error.context(format_args!("putting {:?}", place.key)));
        let len = data.len();
        let continued = outcome.is_ok() && data.beginning().is_some();
        let now_there = if continued { self.value_put(&place, data) } else { None };
        let mut state = RwLockUpgradableReadGuard::upgrade(state);
        match outcome {
            Ok(()) => {
                self.counters.puts.fetch_add(1, Ordering::Relaxed);
                state.put(foreign_changes);
                if let Some(value) = now_there {
                    state.stand_on(value);
                }
                self.overlay.write().not_new(&place.key);
                if let Some(node) = self.table.lock().get_mut(ino) {
                    node.told = len;
                    node.puts += 1;
                }
                Ok(())
            }
            Err(error) => {
                self.counters.errors.fetch_add(1, Ordering::Relaxed);
                // What is tried again every few seconds is said once.
                let said = state.error.as_ref().is_some_and(|before| before.to_string() == error.to_string());
                let is_new = self.overlay.read().get(&place.key).is_some_and(|record| record.new);
                state.begun = is_new && state.is_empty() && is_rejection(&error);
                if !said && !state.begun {
                    tracing::error!("{error}; its bytes are kept");
                }
                state.error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Where the bytes of a buffer belong; `None` where they belong nowhere any more: the file was removed, and its
    /// number may be another file's by now.
    fn place_of_buffer(&self, ino: Ino, buffer: &Arc<Buffer>) -> Option<Place> {
        let table = self.table.lock();
        let own = table.get(ino)?.buffer.as_ref().is_some_and(|current| Arc::ptr_eq(current, buffer));
        if own { table.place(ino).filter(|place| place.linked) } else { None }
    }

    fn apply_put(&self, place: &Place, state: &State, data: &Payload) -> Result<()> {
        if let Some(error) = state.error.as_ref().filter(|error| is_added_perhaps(error, &place.key)) {
            return Err(error.clone());
        }
        let put = Change::Put { key: &place.key, body: data, when: state.when.clone() };
        let attributes =
            Setting { mtime: Some(state.modified), ctime: Some(state.changed), ..state.pending.clone() };
        let refusal = match self.apply_with(put, &place.key, false, &attributes) {
            Err(error) if is_refusal(&error) => error,
            outcome => return outcome,
        };
        // An earlier put that failed may have been carried out all the same: then its bytes are there (§8.1).
        if state.error.is_none() || !self.store_has(place, state, data)? {
            return Err(refusal);
        }
        if !self.store.keeps_attributes(&place.key, false)? {
            return Ok(());
        }
        self.store.apply(&mut [Change::Set { key: &place.key, directory: false, attributes: &attributes }])
    }

    /// The version that was put just now; `None` where it cannot be had: then reading what it begins with fails, as of any
    /// version that is gone.
    fn value_put(&self, place: &Place, data: &Payload) -> Option<Arc<dyn Value>> {
        let version = self.store.version_of(&place.key, data).ok()?.and_then(|version| Tag::of(&version.0));
        let value = match version {
            Some(_) => {
                let stat = Stat { version, ..Stat::plain(Kind::Leaf, data.len(), env::now()) };
                self.store.open_told(&place.key, &stat)
            }
            None => self.store.open(&place.key),
        };
        value.ok()?.filter(|value| value.len() == data.len()).map(Arc::from)
    }

    /// Before the key of a file or a directory goes: what files that are open for writing there have in the store alone
    /// is copied here.
    ///
    /// # Errors
    /// `Stale` where it is gone; the scratch folder's.
    pub(super) fn bring_down(&self, ino: Ino) -> Result<()> {
        // Only stores that take long to answer have values that are continued there.
        if self.caps.pace != Pace::Network {
            return Ok(());
        }
        let Some(above) = self.table.lock().key(ino) else { return Ok(()) };
        let open: Vec<Ino> =
            self.handles.lock().values().filter(|handle| handle.writable).map(|handle| handle.ino).collect();
        for ino in open {
            let key = self.table.lock().key(ino);
            if let Some(buffer) = self.buffer_of(ino)
                && key.is_some_and(|key| key.starts_with(&above))
                && buffer.state.read().data().is_some_and(|data| data.beginning().is_some())
            {
                buffer.state.write().bring_down()?;
            }
        }
        Ok(())
    }

    /// Whether the store has these bytes. What begins with a version of this key that is gone by then is told by what
    /// follows it.
    fn store_has(&self, place: &Place, state: &State, data: &Payload) -> Result<bool> {
        let Some(value) = self.store.open(&place.key)? else { return Ok(false) };
        let beginning = match (data.beginning(), &state.when) {
            (None, _) => return Fingerprint::of_payload(data)?.is_of(&*value),
            (Some((_, beginning)), When::Current(_)) => beginning,
            // Of another key, which is still there, or reading it fails.
            (Some(_), _) => 0,
        };
        let (mut at, mut same) = (beginning, value.len() == data.len());
        let mut piece = vec![0; MEMORY_MAX as usize];
        while same && at < data.len() {
            let read = data.read(at, &mut piece)?;
            let mut seen = 0;
            value.read(at, read as u64, &mut |bytes| {
                same &= piece.get(seen..seen + bytes.len()) == Some(bytes);
                seen += bytes.len();
            })?;
            same &= seen == read;
            at += read as u64;
        }
        Ok(same)
    }

    /// The put of the last close, whose error nobody hears.
    pub(super) fn put_last(&self, ino: Ino, buffer: &Arc<Buffer>) {
        let Err(error) = self.put_if_dirty(ino, buffer) else { return };
        if buffer.state.read().rejection().is_some() {
            return;
        }
        tracing::error!("the last close of a file could not put it: {error}");
        if self.is_final(ino, &error) {
            self.give_up(ino, buffer);
        }
    }

    /// Whether trying again cannot help, or must not be.
    fn is_final(&self, ino: Ino, error: &Error) -> bool {
        is_refusal(error) || self.table.lock().key(ino).is_some_and(|key| is_added_perhaps(error, &key))
    }

    /// Keeps in the spool what was refused because somebody else changed the key, so that the mount shows the key as
    /// it is (§4.6). As long as somebody may write to it, or where the spool cannot take it, it stays.
    fn give_up(&self, ino: Ino, buffer: &Arc<Buffer>) {
        let deadline = Deadline::after(self.options.timeout);
        let Some(_putting) = buffer.putting.try_lock_until(deadline.at()) else { return };
        let Some(place) = self.place_of_buffer(ino, buffer) else { return };
        let mut state = buffer.state.write();
        let (true, Some(data)) = (state.dirty, state.data()) else { return };
        if self.has_writer(ino) {
            return;
        }
        match self.keep_in_spool(&place, &state, data) {
            Ok(sentence) => tracing::error!("{sentence}"),
            Err(sentence) => {
                tracing::error!("{sentence}");
                return;
            }
        }
        state.dirty = false;
        self.overlay.write().not_new(&place.key);
        self.distrust(ino);
    }

    /// The kernel is to ask again what this file is before it opens it.
    pub(super) fn distrust(&self, ino: Ino) {
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.told = u64::MAX;
            node.pages = None;
        }
    }

    /// Tries again what could not be put, of files that are closed (§8.4).
    pub fn retry(&self) {
        for (ino, buffer) in self.dirty() {
            let rejected = buffer.state.try_read().is_some_and(|state| state.rejection().is_some());
            if rejected || self.table.lock().get(ino).is_none_or(|node| node.opens > 0) {
                continue;
            }
            if self.put_if_dirty(ino, &buffer).is_err_and(|error| self.is_final(ino, &error)) {
                self.give_up(ino, &buffer);
            }
            self.let_go(ino);
        }
    }

    /// Before the first write after a put: what is written stands on what was put (§4.6).
    pub(super) fn stand_on_put(&self, ino: Ino, state: &mut State) -> Result<()> {
        if state.settled {
            let key = self.table.lock().key(ino);
            if let (Some(key), Some(data)) = (key, state.data()) {
                let version = self.store.version_of(&key, data)?;
                state.when = version.map_or(When::Always, When::Current);
            }
            state.settled = false;
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
        let Some(node) = table.get_mut(ino) else { return };
        let owed = state.dirty && node.linked && state.data().is_some();
        if node.opens > 0 || owed || !node.buffer.as_ref().is_some_and(|own| Arc::ptr_eq(own, &buffer)) {
            return;
        }
        node.buffer = None;
        node.reading = None;
        table.collect(ino);
    }

    /// Puts every file that has bytes to put, and waits until the store has them for good. What it rejected before is no
    /// matter of waiting: see [`Vfs::rejected`].
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
            self.let_go(ino);
            if buffer.state.try_read().is_none_or(|state| state.rejection().is_none()) {
                outcome = outcome.and(put);
            }
        }
        outcome.and(self.record_touched()).and(self.store.sync())
    }

    /// The end of the mount: puts what can be put, keeps in the spool what cannot (§8.4), and says what was lost with
    /// the mount, in sentences.
    pub fn finish(&self, deadline: Deadline) -> Vec<String> {
        let mut sentences = Vec::new();
        for (ino, buffer) in self.dirty() {
            if deadline.passed() || self.put_if_dirty(ino, &buffer).is_err() {
                sentences.extend(self.keep_at_the_end(ino, &buffer));
            }
        }
        if let Err(error) = self.record_touched() {
            sentences.push(format!("the times of some directories could not be recorded: {error}"));
        }
        let (mut lost, kept) = {
            let overlay = self.overlay.read();
            (overlay.counts(), overlay.kept(KEPT_CHECKED))
        };
        lost.directories = kept.iter().filter(|key| matches!(self.store.stat(key), Ok(None))).count();
        if lost.directories > 0 {
            let count = lost.directories;
            sentences.push(format!(
                "gone with the mount, in which alone they lived: {count} directories without a key"
            ));
        }
        sentences.extend(self.store.lost_at_end());
        sentences
    }

    /// Keeps what could not be put in time; nothing is said of a file that was removed while it was open.
    fn keep_at_the_end(&self, ino: Ino, buffer: &Arc<Buffer>) -> Option<String> {
        let place = self.place_of_buffer(ino, buffer)?;
        // A put that hangs lets others read.
        let Some(state) = buffer.state.try_read() else {
            return Some(format!("{:?} is still being written", place.key));
        };
        let (true, Some(data)) = (state.dirty, state.data()) else { return None };
        if state.begun && state.is_empty() {
            return Some(format!(
                "gone with the mount, in which alone it lived: {:?}, which is empty",
                place.key
            ));
        }
        Some(self.keep_in_spool(&place, &state, data).unwrap_or_else(|sentence| sentence))
    }

    /// Keeps bytes that cannot be put; the sentence says where, or, as an error, that it failed.
    fn keep_in_spool(&self, place: &Place, state: &State, data: &Payload) -> Result<String, String> {
        let reason =
            state.error.as_ref().map_or_else(|| String::from("the deadline passed"), Error::to_string);
        let when = self.condition(&place.key, &state.when);
        let spool = &self.options.spool;
        let keep = |data: &Payload| spool.keep(&self.options.source, &place.key, data, &when, &reason);
        let mut could_not = format!("{:?} could not be put ({reason})", place.key);
        let kept = keep(data).or_else(|error| {
            let Some((_, length)) = data.beginning() else { return Err(error) };
            could_not.push_str(&format!(
                "; zeros stand for its first {length} bytes, which nobody wrote here, and whose version is gone"
            ));
            keep(&data.without_beginning()?)
        });
        kept.map(|id| format!("{could_not}; its bytes are kept: kvfs recover save {id}"))
            .map_err(|error| format!("{could_not}, nor kept: {error}"))
    }

    pub(super) fn dirty(&self) -> Vec<(Ino, Arc<Buffer>)> {
        let all: Vec<_> = {
            let table = self.table.lock();
            table.iter().filter_map(|(ino, node)| Some((ino, node.buffer.clone()?))).collect()
        };
        all.into_iter()
            .filter(|(_, buffer)| {
                // A file being written to holds its state; it counts as dirty.
                buffer.state.try_read().is_none_or(|state| state.dirty && state.data().is_some())
            })
            .collect()
    }
}

/// Whether the store has no place for such bytes at all (§7.2): trying again cannot help.
pub(super) fn is_rejection(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid
}

/// Whether a put was refused for what the key had become by somebody else: trying again cannot help.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Stale | ErrorKind::Exists)
}

/// Whether bytes may be there that were added to what is at this key: nobody can look, and added again they are there twice.
fn is_added_perhaps(error: &Error, key: &Key) -> bool {
    let adds = key.last().is_some_and(|last| matches!(last.word, Word::Push | Word::Add));
    adds && error.kind() == ErrorKind::Uncertain
}

fn busy() -> Error {
    Error::new(ErrorKind::TimedOut, "another change of the same file did not end before the deadline")
}
