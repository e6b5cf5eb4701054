//! A model that is mounted: its files as they were read last, read again where another program replaced one, and what was
//! changed since.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::contents::Contents;
use super::files::{Files, Location};
use super::home::Home;
use super::names::{Form, Names};
use super::recover::Unfinished;
use super::rights;
use super::writer::Writer;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{SharedBytes, Value};
use crate::store::local_file::place::Stamp;

/// A model.
pub(super) struct Model {
    pub location: Location,
    pub names: Names,
    /// As it is mounted: `safetensors:/srv/model.safetensors`.
    pub source: String,
    pub(super) state: RwLock<State>,
    /// Held by whoever changes something, or reads the files again. Taken before `state`.
    writer: Mutex<Writer>,
    timeout: Duration,
}

/// What is known of a model.
pub(super) struct State {
    pub files: Files,
    pub contents: Contents,
    /// How often another program changed a file.
    pub foreign_changes: u64,
    /// Whether there is something in the contents that is not in the files yet.
    pub pending: bool,
    /// Why it cannot be written though nobody asked for that.
    pub refusal: Option<String>,
}

/// Files that could not be read; they are not read again before they change.
pub(super) struct Failed {
    stamps: Vec<Stamp>,
    error: Error,
}

/// What a question is about.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// One tensor, by its flat key.
    One(&'a [u8], Form),
    /// All of them.
    All,
}

impl Model {
    /// A model that was read.
    pub fn new(
        location: Location,
        names: Names,
        source: String,
        (files, contents): (Files, Contents),
        timeout: Duration,
    ) -> Model {
        let state = RwLock::new(State { files, contents, foreign_changes: 0, pending: false, refusal: None });
        Model { location, names, source, state, writer: Mutex::default(), timeout }
    }

    /// What is there, as far as a question is about it: a file that was replaced is read again before.
    ///
    /// # Errors
    /// What is wrong with the file that is there now; `NotFound` where it is gone; `TimedOut`.
    pub fn current(&self, about: About<'_>) -> Result<RwLockReadGuard<'_, State>> {
        {
            let state = self.state.read();
            if state.is_current(&self.location, about)? {
                return Ok(state);
            }
        }
        let mut writer = self.hold()?;
        self.look(&mut writer)?;
        Ok(self.state.read())
    }

    /// It cannot be written, for this reason.
    pub fn refuse(&self, refusal: String) {
        self.state.write().refusal = Some(refusal);
    }

    /// What was known last, without looking.
    pub fn known(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// Holds off all other changes.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn hold(&self) -> Result<MutexGuard<'_, Writer>> {
        self.writer.try_lock_until(Deadline::after(self.timeout).at()).ok_or_else(|| {
            let sentence = format!("{} is still being written anew", self.location.shown());
            Error::new(ErrorKind::TimedOut, sentence)
        })
    }

    /// Reads the files again where another program changed one. What was changed here and is not in the file is kept
    /// elsewhere then (§8.4).
    ///
    /// # Errors
    /// As for [`Model::current`].
    pub fn look(&self, writer: &mut Writer) -> Result<()> {
        let before = {
            let state = self.state.read();
            if state.is_current(&self.location, About::All)? {
                return Ok(());
            }
            state.files.stamps(&self.location.place)?
        };
        if let Some(Failed { error, .. }) = writer.failed.as_ref().filter(|failed| failed.stamps == before) {
            return Err(error.clone());
        }
        match Files::read(&self.location, &self.names, &Unfinished::default()) {
            Ok((files, contents)) => {
                writer.failed = None;
                tracing::info!("{}: another program changed it", self.location.shown());
                self.keep_aside(writer, true)?;
                let refusal = self.move_home(writer, &files);
                let mut state = self.state.write();
                let foreign_changes = state.foreign_changes + 1;
                *state = State { files, contents, foreign_changes, pending: false, refusal };
                Ok(())
            }
            Err(error) => {
                tracing::warn!("{error}");
                writer.failed = Some(Failed { stamps: before, error: error.clone() });
                Err(error)
            }
        }
    }

    /// Has the journal and the locks be those of the files that are there now; answers why they cannot be written, where a
    /// link leads elsewhere, for example.
    fn move_home(&self, writer: &mut Writer, files: &Files) -> Option<String> {
        let folder = writer.folder.as_ref()?;
        if let Some(refusal) = rights::refusal(&self.location, files) {
            writer.home = None;
            return Some(refusal);
        }
        let moved = files.first().map(|first| first.shown()).and_then(|path| match &mut writer.home {
            Some(home) => home.cover(files),
            None => writer.home.insert(Home::take(folder, &path)?).cover(files),
        });
        let error = moved.err()?;
        writer.home = None;
        Some(format!("{} is read-only from now on: {error}", self.location.shown()))
    }

    /// The text of the header as it is in the file, or will be in the next one.
    ///
    /// # Errors
    /// As for [`Model::current`], and those of [`Model::next_header`].
    pub fn header(&self) -> Result<Box<dyn Value>> {
        let state = self.current(About::All)?;
        if !state.pending {
            return Ok(state.files.header());
        }
        Ok(Box::new(SharedBytes(self.next_header(&state)?.into())))
    }
}

impl State {
    fn is_current(&self, location: &Location, about: About<'_>) -> Result<bool> {
        let which = match about {
            About::One(flat, form) => self.contents.of(form).get(flat).map(|tensor| tensor.file),
            About::All => None,
        };
        self.files.are_current(&location.place, which)
    }
}
