//! A document that is mounted: as it was read last, read again where another program changed it, and written by each change.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::host::{Host, Mark, Read};
use super::tree::{Document, Edit, Progress, Splice};
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Reads a text of a format.
pub(super) type Format = fn(Vec<u8>) -> Result<Box<dyn Document>>;

/// How often a change is made again of what another program wrote meanwhile.
const ATTEMPTS: usize = 8;
/// So many changes back a listing is followed to where it stopped.
const MOVES: usize = 1 << 14;
/// So many parts have times of their own.
const TIMES: usize = 1 << 16;
/// So many new files have no type yet.
const UNTYPED: usize = 1 << 10;

/// See the module.
pub(super) struct Held {
    pub host: Box<dyn Host>,
    format: Format,
    /// Held by whoever changes the text, or reads it again; what could not be read, so that it is not read again before it
    /// changes. Taken before `state`.
    writer: Mutex<Option<(Mark, Error)>>,
    state: RwLock<State>,
    timeout: Duration,
}

/// What is known of a document.
pub(super) struct State {
    pub document: Box<dyn Document>,
    mark: Mark,
    /// When the text changed last by another program, or before it was mounted.
    modified: SystemTime,
    /// When parts were changed here, by their names: they alone, and all that lies in them.
    times: HashMap<Key, SystemTime>,
    /// Files that were made without bytes, whose first bytes say which type they are.
    pub untyped: HashSet<Key>,
    /// How often another program changed it.
    pub foreign_changes: u64,
    /// How often it was changed by anybody.
    pub edition: u64,
    /// The last changes made here: where, how long it was and how long it became. The last one led to `edition`.
    moves: VecDeque<(usize, usize, usize)>,
}

impl Held {
    /// Reads a document.
    ///
    /// # Errors
    /// `Invalid` with line and column where it is none; the keeper's.
    pub fn open(host: Box<dyn Host>, format: Format, timeout: Duration) -> Result<Held> {
        let Read { text, mark, modified } = host.read()?;
        let document = format(text).map_err(|error| error.context(host.shown()))?;
        let state = State::new(document, mark, modified);
        Ok(Held { host, format, writer: Mutex::default(), state: RwLock::new(state), timeout })
    }

    /// What is there now.
    ///
    /// # Errors
    /// What is wrong with the text that is there now; `NotFound` where it is gone; `TimedOut`.
    pub fn current(&self) -> Result<RwLockReadGuard<'_, State>> {
        let mark = self.host.mark()?;
        {
            let state = self.state.try_read_until(self.deadline().at()).ok_or_else(|| self.busy())?;
            if state.mark == mark {
                return Ok(state);
            }
        }
        let mut writer = self.hold()?;
        self.look(&mut writer)?;
        Ok(self.state.read())
    }

    /// What was known last, without looking; `None` while it is being changed.
    pub fn known(&self) -> Option<RwLockReadGuard<'_, State>> {
        self.state.try_read()
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    fn hold(&self) -> Result<MutexGuard<'_, Option<(Mark, Error)>>> {
        self.writer.try_lock_until(self.deadline().at()).ok_or_else(|| self.busy())
    }

    fn busy(&self) -> Error {
        Error::new(ErrorKind::TimedOut, format!("{} is still being written", self.host.shown()))
    }

    /// Reads the text again where another program changed it.
    fn look(&self, failed: &mut Option<(Mark, Error)>) -> Result<()> {
        let mark = self.host.mark()?;
        if self.state.read().mark == mark {
            return Ok(());
        }
        if let Some((_, error)) = failed.as_ref().filter(|(of, _)| *of == mark) {
            return Err(error.clone());
        }
        let Read { text, mark, modified } = self.host.read()?;
        match (self.format)(text) {
            Ok(document) => {
                *failed = None;
                tracing::info!("{}: another program changed it", self.host.shown());
                let mut state = self.state.write();
                let (foreign_changes, edition) = (state.foreign_changes + 1, state.edition + 1);
                let untyped = std::mem::take(&mut state.untyped);
                *state = State { foreign_changes, edition, untyped, ..State::new(document, mark, modified) };
                Ok(())
            }
            Err(error) => {
                let error = error.context(self.host.shown());
                tracing::warn!("{error}");
                *failed = Some((mark, error.clone()));
                Err(error)
            }
        }
    }

    /// Carries out changes and writes the text: all of them, or none. Where another program wrote meanwhile, they are made
    /// of what it wrote.
    ///
    /// # Errors
    /// Those of `act`; `ReadOnly` for a document that cannot be changed; `Stale` where others write all the time; the
    /// keeper's.
    pub fn change(&self, act: &dyn Fn(&mut Changing<'_>) -> Result<()>) -> Result<()> {
        let mut failed = self.hold()?;
        let mut attempts = 0;
        loop {
            self.look(&mut failed)?;
            let mut state = self.state.write();
            if let Some(why) = state.document.refusal() {
                let sentence = format!("{} is read-only: {why}", self.host.shown());
                return Err(Error::new(ErrorKind::ReadOnly, sentence));
            }
            let State { document, untyped, .. } = &mut *state;
            let untyped = untyped.clone();
            let mut changing =
                Changing { document: &mut **document, done: Vec::new(), keys: Vec::new(), untyped };
            let outcome = act(&mut changing);
            let Changing { done, keys, untyped, .. } = changing;
            if outcome.is_ok() && done.is_empty() {
                return Ok(());
            }
            let written = outcome.and_then(|()| {
                let State { document, mark, .. } = &*state;
                self.host.replace(document.text(), mark).inspect_err(|_| attempts += 1)
            });
            match written {
                Ok((mark, modified)) => {
                    state.untyped = untyped;
                    state.is_written(&done, keys, (mark, modified));
                    return Ok(());
                }
                Err(error) => {
                    let again = attempts > 0 && attempts < ATTEMPTS && error.kind() == ErrorKind::Stale;
                    for back in done.into_iter().rev() {
                        state.document.splice(back)?;
                    }
                    if !again {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl State {
    fn new(document: Box<dyn Document>, mark: Mark, modified: SystemTime) -> State {
        let (times, untyped, foreign_changes, edition, moves) = Default::default();
        State { document, mark, modified, times, untyped, foreign_changes, edition, moves }
    }

    fn is_written(&mut self, done: &[Splice], keys: Vec<Key>, (mark, modified): (Mark, SystemTime)) {
        self.mark = mark;
        if self.times.len() + keys.len() > TIMES {
            self.times.clear();
            self.modified = modified;
        }
        self.times.extend(keys.into_iter().map(|key| (key, modified)));
        for back in done {
            if self.moves.len() == MOVES {
                self.moves.pop_front();
            }
            self.edition += 1;
            self.moves.push_back((back.range.start, back.text.len(), back.range.len()));
        }
    }

    /// When the value at a key changed last, as far as another change can be ruled out (§5.5).
    pub fn modified(&self, key: &Key) -> SystemTime {
        if self.times.is_empty() {
            return self.modified;
        }
        let mut key = plain(key);
        let mut latest = self.modified;
        loop {
            latest = self.times.get(&key).map_or(latest, |time| latest.max(*time));
            if key.is_root() {
                return latest;
            }
            key.pop();
        }
    }

    /// Where a listing goes on that had come so far in this edition; `None` where that is not known any more.
    pub fn follow(&self, edition: u64, progress: Progress) -> Option<Progress> {
        let behind = usize::try_from(self.edition.checked_sub(edition)?).ok()?;
        let first = self.moves.len().checked_sub(behind)?;
        let mut at = progress.at;
        for &(start, old, new) in self.moves.range(first..) {
            if at >= start + old {
                at = at - old + new;
            } else if at > start {
                at = start + new;
            }
        }
        Some(Progress { at, ..progress })
    }
}

/// A document while it is being changed.
pub(super) struct Changing<'d> {
    pub document: &'d mut dyn Document,
    /// What takes the changes back, the first one first.
    done: Vec<Splice>,
    /// What was changed.
    keys: Vec<Key>,
    untyped: HashSet<Key>,
}

/// The key without its words: the names alone.
fn plain(key: &Key) -> Key {
    Key::of(super::find::names(key))
}

impl Changing<'_> {
    /// Makes one change.
    ///
    /// # Errors
    /// Those of [`Document::plan`].
    pub fn edit(&mut self, edit: &Edit<'_>) -> Result<()> {
        if let Some(splice) = self.document.plan(edit)? {
            let back = self.document.splice(splice)?;
            self.done.push(back);
            self.keys.push(match edit {
                Edit::Set(path, _) | Edit::Remove(path) => Key::of(path.iter().copied()),
                Edit::Rename(path, name) => {
                    let (_, above) = path.split_last().unwrap_or((name, &[]));
                    Key::of(above.iter().copied().chain([*name]))
                }
            });
        }
        Ok(())
    }

    /// Whether a file was made without bytes, and has got none since.
    pub fn is_untyped(&self, key: &Key) -> bool {
        self.untyped.contains(&plain(key))
    }

    /// Remembers, or forgets, that a file was made without bytes.
    pub fn set_untyped(&mut self, key: &Key, untyped: bool) {
        if !untyped {
            self.untyped.remove(&plain(key));
        } else if self.untyped.len() < UNTYPED {
            self.untyped.insert(plain(key));
        }
    }
}
