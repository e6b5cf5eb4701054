//! What a journal becomes: at a mount, what a dead daemon left in it (§8.3); and where the file is another one by now than
//! the changes are about, values in the spool (§8.4).

use std::path::Path;
use std::sync::Arc;

use super::header::{Described, LENGTH, Texts, data_length};
use super::journal::{Data, Journal, Leftover, Note, Noted};
use super::model::Model;
use super::names::Form;
use super::source::Source;
use super::tensor::{Range, Tensor};
use super::writer::{Home, Net, Writer};
use super::{journal, npy};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::spool::Spool;
use crate::store::api::When;
use crate::store::flat::Separator;

/// Why changes are in the spool.
const WHY: &str = "another program replaced the file before this was written to it";

impl Model {
    /// Has the model written to: takes its journal's place in the state folder, and carries on with what a dead daemon left.
    ///
    /// # Errors
    /// `Busy` while another daemon writes to it; the folder's.
    pub fn begin_writing(&self, state: &Path) -> Result<()> {
        let shown = self.location.shown();
        let path = journal::path_of(state, &shown)?;
        let mut writer = self.hold()?;
        let home = writer.home.insert(Home::take(path, &shown)?);
        let Some(leftover) = Journal::read(&home.path)? else { return Ok(()) };
        let Leftover { base, notes, unreadable, journal } = leftover;
        if unreadable > 0 {
            tracing::warn!("{shown}: {unreadable} bytes of its journal make no whole change");
        }
        let stamp = self.known().files.watched.first().map(|(_, stamp)| *stamp);
        let is_now = |version: &crate::store::local_file::place::Stamp| {
            stamp.is_some_and(|stamp| stamp.is_still(version))
        };
        if notes.iter().any(|note| matches!(note, Note::Replaced(version) if is_now(version))) {
            return journal.remove();
        }
        let mut net = Net::default();
        for note in notes {
            if let Note::Changes { tensors, metadata } = note {
                net.add(tensors, metadata);
            }
        }
        let count = net.tensors.len() + usize::from(net.metadata.is_some());
        if count == 0 {
            return journal.remove();
        }
        journal.cut()?;
        writer.net = net;
        writer.journal = Some(journal);
        if is_now(&base) {
            self.carry_on(&mut writer)?;
            tracing::warn!("{shown}: {count} changes that its last mount could not write are there again");
            return Ok(());
        }
        self.state.write().pending = true;
        self.keep_aside(&mut writer, None)
    }

    /// Has the contents be as the journal says.
    fn carry_on(&self, writer: &mut Writer) -> Result<()> {
        let Some(journal) = writer.journal.as_ref() else { return Ok(()) };
        let mut state = self.state.write();
        let Some(base) = state.files.single.clone() else { return Ok(()) };
        let data = LENGTH + state.files.header_length();
        for (name, noted) in &writer.net.tensors {
            let tensor = noted.as_ref().map(|noted| {
                let version =
                    crate::store::api::Version::of_content(format!("{name}{}", env::fresh_word()).as_bytes());
                tensor_of((name, noted), (&base, data), journal, version)
            });
            state.contents.set(&self.names, name, tensor.transpose()?.map(Arc::new));
        }
        if let Some(metadata) = &writer.net.metadata {
            state.contents.metadata.clone_from(&metadata.0);
        }
        state.pending = true;
        Ok(())
    }

    /// Moves what is not in the file to the spool, and ends the journal. Nothing where there is nothing. `base` is the file
    /// that the changes are about, where somebody has it open.
    ///
    /// # Errors
    /// The spool's: the journal stays then.
    pub fn keep_aside(&self, writer: &mut Writer, base: Option<&Arc<Source>>) -> Result<()> {
        let pending = self.known().pending;
        let Some(journal) = writer.journal.as_ref() else { return Ok(()) };
        if pending {
            let spool = Spool::of_user();
            let keep = |key: &Key, body: Option<Payload>| match body {
                Some(body) => spool.keep(&self.source, key, &body, &When::Always, WHY),
                None => spool.keep_deletion(&self.source, key, &When::Always, WHY),
            };
            for (name, noted) in &writer.net.tensors {
                let body = match noted {
                    Some(noted) => match (npy_of(noted, journal.source(), base), noted.data) {
                        (Ok(body), _) => Some(body),
                        // Its bytes were never here, but in a file that somebody took away.
                        (Err(error), Data::File(_)) => {
                            tracing::warn!(
                                "{name:?}, which had got its name here, is lost with the old file: {error}"
                            );
                            continue;
                        }
                        (Err(error), Data::Journal(_)) => return Err(error),
                    },
                    None => None,
                };
                keep(&self.key(name), body)?;
            }
            if let Some(metadata) = &writer.net.metadata {
                let json = serde_json::to_vec_pretty(&Texts(metadata.0.clone().unwrap_or_default()));
                let json =
                    json.map_err(|error| Error::new(ErrorKind::Io, format!("the metadata: {error}")))?;
                let mut key = Key::root();
                key.push(Segment { bytes: b"", word: Word::MetadataJson });
                keep(&key, Some(Payload::of(&json)?))?;
            }
            let sentence = format!(
                "{}: {WHY}; {} changes are kept: kvfs recover lists them",
                self.location.shown(),
                writer.net.tensors.len() + usize::from(writer.net.metadata.is_some())
            );
            tracing::error!("{sentence}");
            writer.owed = Some(Error::new(ErrorKind::Stale, sentence));
        }
        writer.net = Net::default();
        self.state.write().pending = false;
        writer.journal.take().map_or(Ok(()), Journal::remove)
    }

    /// The key of a tensor.
    fn key(&self, name: &str) -> Key {
        Separator::new(self.names.joint()).split(&self.names.flat(name, Form::Npy))
    }
}

/// A tensor of a journal; `data` is where the data of the file begin.
fn tensor_of(
    (name, noted): (&str, &Noted),
    (base, data): (&Arc<Source>, u64),
    journal: &Journal,
    version: crate::store::api::Version,
) -> Result<Tensor> {
    let damaged =
        || Error::new(ErrorKind::Invalid, format!("the journal of {} is damaged at {name:?}", base.shown()));
    if data_length(noted.dtype, &noted.shape) != Some(noted.length) {
        return Err(damaged());
    }
    let now = env::now();
    match noted.data {
        Data::Journal(at) => {
            Ok(Tensor::pending((name, noted), Arc::clone(journal.source()), at, version, now))
        }
        Data::File(at) => {
            let begin = at.checked_sub(data).ok_or_else(damaged)?;
            let (dtype, shape) = (noted.dtype, noted.shape.clone().into());
            let end = begin + noted.length;
            let described = Described { name: name.to_owned(), dtype, shape, begin, end };
            let tensor = Tensor::new(described, (Arc::clone(base), at), version, now);
            Ok(Tensor { order: noted.order, ..tensor })
        }
    }
}

/// A tensor of a journal as a file of numpy.
fn npy_of(noted: &Noted, journal: &Arc<Source>, base: Option<&Arc<Source>>) -> Result<Payload> {
    let (source, at) = match noted.data {
        Data::Journal(at) => (journal, at),
        Data::File(at) => (base.ok_or(ErrorKind::NotFound)?, at),
    };
    let mut body = Payload::of(&npy::head(noted.dtype, &noted.shape, noted.length))?;
    let range = Range { source: Arc::clone(source), at, length: noted.length };
    let mut outcome = Ok(());
    range.read(0, noted.length, &mut |piece| {
        if outcome.is_ok() {
            outcome = body.write(body.len(), piece);
        }
    })?;
    outcome.map(|()| body)
}
