//! A document that is mounted: as it was read last, read again where another program changed it, and written by each change.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::host::{Host, Mark, Read};
use super::tree::{Document, Edit, Progress, Splice};
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// Reads a text of a format.
pub(super) type Format = fn(Vec<u8>) -> Result<Box<dyn Document>>;

/// How often a change is made again of what another program wrote meanwhile.
const ATTEMPTS: usize = 8;
/// So many changes back a listing is followed to where it stopped.
const MOVES: usize = 1 << 14;

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
    pub modified: SystemTime,
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
        let (foreign_changes, edition, moves) = Default::default();
        let state = State { document, mark, modified, foreign_changes, edition, moves };
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
                *state = State { document, mark, modified, foreign_changes, edition, moves: VecDeque::new() };
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
            let mut changing = Changing { document: &mut *state.document, done: Vec::new() };
            let outcome = act(&mut changing);
            let Changing { done, .. } = changing;
            if outcome.is_ok() && done.is_empty() {
                return Ok(());
            }
            let written = outcome.and_then(|()| {
                let State { document, mark, .. } = &*state;
                self.host.replace(document.text(), mark).inspect_err(|_| attempts += 1)
            });
            match written {
                Ok((mark, modified)) => {
                    state.is_written(&done, mark, modified);
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
    fn is_written(&mut self, done: &[Splice], mark: Mark, modified: SystemTime) {
        (self.mark, self.modified) = (mark, modified);
        for back in done {
            if self.moves.len() == MOVES {
                self.moves.pop_front();
            }
            self.edition += 1;
            self.moves.push_back((back.range.start, back.text.len(), back.range.len()));
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
        }
        Ok(())
    }
}
