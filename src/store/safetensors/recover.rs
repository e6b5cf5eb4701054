//! What a journal becomes: at a mount, what a dead daemon left in it (§8.3); and where the file is another one by now than
//! the changes are about, values in the spool (§8.4).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::files::Part;
use super::header::{Described, Texts, data_length};
use super::home::Home;
use super::journal::{Base, Data, Journal, Leftover, Note, Noted};
use super::model::{Model, State};
use super::names::Form;
use super::npy;
use super::source::Source;
use super::tensor::{Range, Tensor};
use super::writer::{Net, Writer};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::spool::Spool;
use crate::store::api::When;
use crate::store::flat::Separator;
use crate::store::local_file::place::{Resolved, Stamp};

/// Why changes are in the spool.
const WHY: &str = "another program replaced the file before this was written to it";

/// Changes that a dead daemon may have carried out in some files and not in others.
#[derive(Default)]
pub(super) struct Unfinished<'l> {
    /// What there is to be of each name in the end.
    tensors: BTreeMap<&'l str, Option<&'l Noted>>,
    /// The files as they were before, and their versions after.
    files: &'l [Base],
    replaced: Vec<(usize, Stamp)>,
}

/// What became of a file that a journal is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is as it was.
    Old,
    /// All is in it.
    New,
    /// Another program replaced it.
    Foreign,
}

impl<'l> Unfinished<'l> {
    /// What a journal knows of a model.
    pub fn of(leftover: Option<&'l Leftover>) -> Unfinished<'l> {
        let Some(Leftover { files, notes, .. }) = leftover else { return Unfinished::default() };
        let (mut tensors, mut replaced) = (BTreeMap::new(), Vec::new());
        for note in notes {
            match note {
                Note::Changes { tensors: changed, .. } => {
                    tensors.extend(changed.iter().map(|(name, noted)| (&**name, noted.as_ref())));
                }
                Note::Replaced { file, version } => replaced.push((*file, *version)),
            }
        }
        Unfinished { tensors, files, replaced }
    }

    /// What became of the file of this number among all.
    fn fate(&self, number: usize, file: &Resolved) -> Fate {
        let is_new = |(own, version): &(usize, Stamp)| *own == number && file.stamp.is_still(version);
        let old = self.files.get(number).filter(|old| old.path == file.shown());
        match old {
            Some(_) if self.replaced.iter().any(is_new) => Fate::New,
            Some(old) if file.stamp.is_still(&old.version) => Fate::Old,
            _ => Fate::Foreign,
        }
    }

    /// Which tensors are to be looked for in the file with tensors of this number, where the index that names them is still
    /// the old one: of those that were changed, what a new file has.
    pub fn adjust<'n>(&self, index: &Resolved, part: &Resolved, number: usize, wanted: &mut HashSet<&'n str>)
    where
        'l: 'n,
    {
        if self.replaced.is_empty() || self.fate(0, index) != Fate::Old {
            return;
        }
        wanted.retain(|name| !self.tensors.contains_key(name));
        if self.fate(number + 1, part) == Fate::New {
            let here =
                self.tensors.iter().filter(|(_, noted)| noted.is_some_and(|noted| noted.part == number));
            wanted.extend(here.map(|(name, _)| *name));
        }
    }
}

impl Model {
    /// Has the model written to: carries on with what a dead daemon left in the journal.
    ///
    /// # Errors
    /// `Busy` while another daemon writes to it or to one of its files; the folder's.
    pub fn begin_writing(&self, state: &Path, mut home: Home, leftover: Option<Leftover>) -> Result<()> {
        home.cover(&self.known().files)?;
        let mut writer = self.hold()?;
        (writer.folder, writer.home) = (Some(state.to_owned()), Some(home));
        let Some(leftover) = leftover else { return Ok(()) };
        let shown = self.location.shown();
        let fates: Vec<Fate> = {
            let unfinished = Unfinished::of(Some(&leftover));
            let state = self.known();
            state.files.all().enumerate().map(|(number, file)| unfinished.fate(number, file)).collect()
        };
        let Leftover { notes, unreadable, journal, .. } = leftover;
        if unreadable > 0 {
            tracing::warn!("{shown}: {unreadable} bytes of its journal make no whole change");
        }
        if fates.first() == Some(&Fate::New) {
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
        (writer.net, writer.journal) = (net, Some(journal));
        let half = fates.contains(&Fate::New);
        if fates.contains(&Fate::Foreign) {
            self.state.write().pending = true;
            let parts = fates.iter().skip(1).enumerate();
            writer.touched = parts.filter(|(_, fate)| **fate != Fate::New).map(|(part, _)| part).collect();
            writer.half = half;
            self.keep_aside(&mut writer, false)?;
            // What is in new files stays, and the index has to name it.
            self.state.write().pending = half;
        } else {
            self.carry_on(&mut writer, &fates)?;
            tracing::warn!("{shown}: {count} changes that its last mount could not write are there again");
        }
        if half {
            writer.half = true;
            self.journal(&mut writer)?;
            // Until then, other programs see an index that does not fit the files. What fails is tried again later.
            if let Err(error) = self.commit_held(&mut writer, &|_| Ok(())) {
                tracing::error!("{shown}: some of its files are new and others are not yet: {error}");
            }
        }
        Ok(())
    }

    /// Has the contents be as the journal says, where the files are not.
    fn carry_on(&self, writer: &mut Writer, fates: &[Fate]) -> Result<()> {
        let Writer { journal: Some(journal), net, touched, .. } = writer else { return Ok(()) };
        let mut state = self.state.write();
        let State { files, contents, .. } = &mut *state;
        let index = files.index.as_ref();
        let is_new = |part: usize| fates.get(part + usize::from(index.is_some())) == Some(&Fate::New);
        for (name, noted) in &net.tensors {
            let old = index.and_then(|index| index.index.weight_map.get(name));
            let old = old.and_then(|old| files.parts.iter().position(|part| part.file.link == **old));
            let new = noted.as_ref().map(|noted| noted.part);
            touched.extend(old.into_iter().chain(new).filter(|part| !is_new(*part)));
            if new.is_some_and(is_new) {
                continue;
            }
            let tensor = noted.as_ref().map(|noted| {
                let version =
                    crate::store::api::Version::of_content(format!("{name}{}", env::fresh_word()).as_bytes());
                tensor_of((name, noted), files.parts.get(noted.part), journal, version)
            });
            contents.set(&self.names, name, tensor.transpose()?.map(Arc::new));
        }
        if let Some(metadata) = &net.metadata {
            contents.metadata.clone_from(&metadata.0);
        }
        state.pending = true;
        Ok(())
    }

    /// Moves what is not in the files to the spool, and ends the journal. Nothing where there is nothing. `open` tells whether
    /// the files that the changes are about are those that are known, still open.
    ///
    /// # Errors
    /// The spool's: the journal stays then.
    pub fn keep_aside(&self, writer: &mut Writer, open: bool) -> Result<()> {
        let (pending, bases) = {
            let state = self.known();
            let sources = state.files.parts.iter().map(|part| Arc::clone(&part.source));
            (state.pending, if open { sources.collect() } else { Vec::new() })
        };
        let Some(journal) = writer.journal.as_ref() else { return Ok(()) };
        if pending {
            let spool = Spool::of_user();
            let keep = |key: &Key, body: Option<Payload>| match body {
                Some(body) => spool.keep(&self.source, key, &body, &When::Always, WHY),
                None => spool.keep_deletion(&self.source, key, &When::Always, WHY),
            };
            for (name, noted) in &writer.net.tensors {
                let body = match noted {
                    // In its file already.
                    Some(noted) if writer.half && !writer.touched.contains(&noted.part) => continue,
                    Some(noted) => match (npy_of(noted, journal.source(), bases.get(noted.part)), noted.data)
                    {
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
        (writer.net, writer.touched, writer.half) = (Net::default(), [].into(), false);
        self.state.write().pending = false;
        writer.journal.take().map_or(Ok(()), Journal::remove)
    }

    /// The key of a tensor.
    fn key(&self, name: &str) -> Key {
        Separator::new(self.names.joint()).split(&self.names.flat(name, Form::Npy))
    }
}

/// A tensor of a journal, in a file that is as it was.
fn tensor_of(
    (name, noted): (&str, &Noted),
    part: Option<&Part>,
    journal: &Journal,
    version: crate::store::api::Version,
) -> Result<Tensor> {
    let damaged = || Error::new(ErrorKind::Invalid, format!("the journal is damaged at {name:?}"));
    let part = part.ok_or_else(damaged)?;
    if data_length(noted.dtype, &noted.shape) != Some(noted.length) {
        return Err(damaged());
    }
    let now = env::now();
    match noted.data {
        Data::Journal(at) => {
            Ok(Tensor::pending((name, noted), Arc::clone(journal.source()), at, version, now))
        }
        Data::File(at) => {
            let begin = at.checked_sub(part.data).ok_or_else(damaged)?;
            let (dtype, shape) = (noted.dtype, noted.shape.clone().into());
            let end = begin + noted.length;
            let described = Described { name: name.to_owned(), dtype, shape, begin, end };
            let tensor = Tensor::new(described, (Arc::clone(&part.source), at), version, now);
            Ok(Tensor { order: noted.order, file: noted.part, ..tensor })
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
