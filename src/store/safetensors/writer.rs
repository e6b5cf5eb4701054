//! Changes of a model: each goes to the journal and is seen in the mount from then on; all of them are in the files after the
//! next commit (§4.2).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::edits::Transaction;
use super::header::Metadata;
use super::home::Home;
use super::incoming::{Declared, Incoming};
use super::journal::{Base, Data, Journal, Note, Noted, NotedMetadata, Record};
use super::model::{About, Failed, Model, State};
use super::names::Form;
use super::tensor::{NEW, Tensor};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::{Version, When};
use crate::store::flat::Edit;

/// What whoever changes a model holds.
#[derive(Default)]
pub(super) struct Writer {
    /// The state folder; `None` where nobody wants to write.
    pub folder: Option<PathBuf>,
    /// Where the journal is; `None` where the model is read-only.
    pub home: Option<Home>,
    /// What was accepted and is not in the file.
    pub journal: Option<Journal>,
    /// The same in short.
    pub net: Net,
    /// The files with tensors that have to be written for it.
    pub touched: BTreeSet<usize>,
    /// Whether some of these were, and others could not be: before anything else is changed, this has to end.
    pub half: bool,
    /// What could not be put and is kept elsewhere; told once.
    pub owed: Option<Error>,
    pub failed: Option<Failed>,
    /// Changes so far, from a number on that nobody else has.
    serial: u128,
}

/// What the records of a journal come to.
#[derive(Default)]
pub(super) struct Net {
    pub tensors: BTreeMap<String, Option<Noted>>,
    pub metadata: Option<NotedMetadata>,
}

impl Net {
    /// Adds what a record says.
    pub fn add(&mut self, tensors: Vec<(String, Option<Noted>)>, metadata: Option<NotedMetadata>) {
        self.tensors.extend(tensors);
        self.metadata = metadata.or_else(|| self.metadata.take());
    }
}

impl Writer {
    fn version(&mut self) -> Version {
        if self.serial == 0 {
            self.serial = u128::from(env::fresh_word()) << 64;
        }
        self.serial += 1;
        Version(self.serial.to_le_bytes().as_slice().into())
    }
}

impl Model {
    /// The journal, made where there is none.
    pub fn journal<'w>(&self, writer: &'w mut Writer) -> Result<&'w mut Journal> {
        let home = writer.home.as_ref().ok_or_else(|| self.refused())?;
        let journal = match writer.journal.take() {
            Some(journal) => journal,
            None => Journal::create(&home.path, self.known().files.all().map(Base::of).collect())?,
        };
        Ok(writer.journal.insert(journal))
    }

    /// Before a change: what there is now, and nothing that is half done.
    fn ready(&self, writer: &mut Writer) -> Result<()> {
        self.look(writer)?;
        if writer.half { self.commit_held(writer, &|_| Ok(())) } else { Ok(()) }
    }

    /// Why it cannot be written.
    pub fn refused(&self) -> Error {
        match &self.known().refusal {
            Some(refusal) => Error::new(ErrorKind::ReadOnly, refusal.clone()),
            None => read_only(),
        }
    }

    /// Carries out edits, all or none of them; `declared` is about what they put.
    ///
    /// # Errors
    /// `Invalid` for what cannot be a tensor; those of each [`Edit`]; `NoSpace`.
    pub fn edit(&self, form: Form, edits: &[Edit<'_>], declared: &Declared) -> Result<()> {
        let mut writer = self.hold()?;
        self.ready(&mut writer)?;
        let versions: Vec<Version> = edits.iter().map(|_| writer.version()).collect();
        let journal = self.journal(&mut writer)?;
        let mut record = journal.begin();
        let mut puts = Vec::with_capacity(edits.len());
        for (edit, version) in edits.iter().zip(versions) {
            puts.push(match edit {
                Edit::Put { key, body: Some(body), .. } => {
                    let replaced = self.known().contents.of(form).get(key).cloned();
                    let name = self.names.name(key, form)?;
                    let part = match &replaced {
                        Some(replaced) => replaced.file,
                        None => self.known().part_for(key, form, &name)?,
                    };
                    let put = match form {
                        Form::Npy => write_npy(&name, body, replaced.as_deref(), declared, &mut record)?,
                        Form::Raw => write_raw(&name, body, replaced.as_deref(), &mut record)?,
                    };
                    let put = Noted { part, ..put };
                    let source = Arc::clone(record.source());
                    Some(Arc::new(Tensor::pending(
                        (&name, &put),
                        source,
                        place_of(&put),
                        version,
                        env::now(),
                    )))
                }
                Edit::Put { body: None, .. } => {
                    let sentence = "a directory without tensors lives in the mount alone";
                    return Err(Error::new(ErrorKind::Unsupported, sentence));
                }
                _ => None,
            });
        }
        let mut state = self.state.write();
        let State { contents, files, .. } = &mut *state;
        let mut transaction = Transaction::begin((contents, files), &self.names, form);
        for (edit, put) in edits.iter().zip(puts) {
            match edit {
                Edit::Put { key, when, .. } => {
                    put.map_or(Ok(()), |tensor| transaction.put(key, tensor, when))?;
                }
                Edit::Delete { key, when } => transaction.delete(key, when)?,
                Edit::Move { from, to, below, replace } => {
                    transaction.rename(from, to, below.as_ref(), *replace)?;
                }
                Edit::Expect { none, otherwise } => transaction.expect(none, *otherwise)?,
            }
        }
        let (tensors, touched) = (transaction.notes(), transaction.touched());
        if tensors.is_empty() {
            return Ok(());
        }
        record.end(&Note::Changes { tensors: tensors.clone(), metadata: None })?;
        transaction.keep();
        state.changed();
        writer.net.add(tensors, None);
        writer.touched.extend(touched);
        Ok(())
    }

    /// Gives a tensor another type or shape, of the same bytes.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where it would have another length.
    pub fn declare(&self, form: Form, key: &[u8], declared: &Declared) -> Result<()> {
        let old = self.current(About::One(key, form))?.contents.of(form).get(key).cloned();
        let old = old.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such tensor"))?;
        let dtype = declared.dtype.unwrap_or(old.dtype);
        let shape = match &declared.shape {
            Some(shape) => shape.as_slice().into(),
            None if super::header::data_length(dtype, &old.shape) == Some(old.length) => old.shape.clone(),
            // Elements of another length have one dimension, until somebody tells their shape.
            None => [8 * old.length / dtype.bits()].as_slice().into(),
        };
        if shape.len() > super::header::DIMENSIONS_MAX
            || super::header::data_length(dtype, &shape) != Some(old.length)
        {
            let sentence =
                format!("{dtype} of shape {shape:?} has not the {} bytes that are there", old.length);
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let mut writer = self.hold()?;
        self.ready(&mut writer)?;
        let version = writer.version();
        let record = self.journal(&mut writer)?.begin();
        let mut state = self.state.write();
        let State { contents, files, .. } = &mut *state;
        // By a commit it may have come to lie elsewhere since.
        let same = contents.of(form).get(key).filter(|tensor| tensor.version == old.version).cloned();
        let old = same.ok_or_else(|| Error::new(ErrorKind::Stale, "it has changed in the meantime"))?;
        let tensor = old.seen_as(dtype, shape, version, env::now());
        let mut transaction = Transaction::begin((contents, files), &self.names, form);
        transaction.put(key, Arc::new(tensor), &When::Current(old.version.clone()))?;
        let (tensors, touched) = (transaction.notes(), transaction.touched());
        record.end(&Note::Changes { tensors: tensors.clone(), metadata: None })?;
        transaction.keep();
        state.changed();
        writer.net.add(tensors, None);
        writer.touched.extend(touched);
        Ok(())
    }

    /// Replaces what stands under `__metadata__`.
    ///
    /// # Errors
    /// `NoSpace`; the journal's.
    pub fn set_metadata(&self, metadata: Option<Metadata>) -> Result<()> {
        let mut writer = self.hold()?;
        self.ready(&mut writer)?;
        if !self.known().contents.fits_with(metadata.as_ref()) {
            let sentence = "the header of the file would be longer than the format has it";
            return Err(Error::new(ErrorKind::NoSpace, sentence));
        }
        let journal = self.journal(&mut writer)?;
        let noted = NotedMetadata(metadata.clone());
        journal.note(&Note::Changes { tensors: Vec::new(), metadata: Some(noted.clone()) })?;
        writer.net.add(Vec::new(), Some(noted));
        let mut state = self.state.write();
        state.contents.metadata = metadata;
        state.changed();
        Ok(())
    }

    /// Lets go of the journal: nothing is changed any more.
    pub fn end_writing(&self) {
        let pending = self.known().pending;
        let Ok(mut writer) = self.hold() else { return };
        (writer.folder, writer.home) = (None, None);
        if let Some(journal) = writer.journal.take().filter(|_| !pending)
            && let Err(error) = journal.remove()
        {
            tracing::warn!("{error}");
        }
    }
}

impl State {
    fn changed(&mut self) {
        self.pending = true;
        self.contents.changed = env::now();
    }

    /// The file that a new tensor goes to: that of its neighbour, of the two the one whose key begins like its own for longer,
    /// unless that file has the name already, unknown to the index.
    fn part_for(&self, key: &[u8], form: Form, name: &str) -> Result<usize> {
        let map = self.contents.of(form);
        let alike = |other: &[u8]| key.iter().zip(other).take_while(|(own, other)| own == other).count();
        let before = map.range(..key.to_vec()).next_back();
        let after = map.range(key.to_vec()..).next();
        let neighbours = [before, after].into_iter().flatten();
        // Of two that are alike as long, the first: the last one that `max_by_key` meets.
        let nearest =
            neighbours.rev().max_by_key(|(other, _)| alike(other)).map_or(0, |(_, tensor)| tensor.file);
        let all = std::iter::once(nearest).chain(0..self.files.parts.len());
        let mut free =
            all.filter(|part| *part < self.files.parts.len() && !self.files.has_unlisted(*part, name));
        free.next().ok_or_else(|| {
            let sentence = match self.files.parts.is_empty() {
                true => "the index names no file that a tensor could be put into".to_owned(),
                false => format!("every file has a {name:?} already, which the index does not name"),
            };
            Error::new(ErrorKind::Exists, sentence)
        })
    }
}

fn place_of(noted: &Noted) -> u64 {
    let (Data::File(at) | Data::Journal(at)) = noted.data;
    at
}

pub(super) fn read_only() -> Error {
    Error::new(ErrorKind::ReadOnly, "this model is mounted read-only: the log of the mount says why")
}

/// Writes down the data of a file of numpy.
fn write_npy(
    name: &str,
    body: &Payload,
    replaced: Option<&Tensor>,
    declared: &Declared,
    record: &mut Record<'_>,
) -> Result<Noted> {
    let incoming = Incoming::look(body, replaced, declared)
        .map_err(|error| error.context(format_args!("the tensor {name:?}")))?;
    let at = incoming.write(body, record)?;
    let Incoming { dtype, shape, length, .. } = incoming;
    if let Some(old) = replaced
        && (old.dtype, &*old.shape) != (dtype, &*shape)
    {
        tracing::warn!(
            "{name:?} was {} of shape {:?} and becomes {dtype} of shape {shape:?}",
            old.dtype,
            old.shape
        );
    }
    let order = replaced.map_or(NEW, |old| old.order);
    Ok(Noted { dtype, shape, length, data: Data::Journal(at), part: 0, order })
}

/// Writes down plain bytes, of a tensor that there is.
fn write_raw(
    name: &str,
    body: &Payload,
    replaced: Option<&Tensor>,
    record: &mut Record<'_>,
) -> Result<Noted> {
    let old = replaced.filter(|old| old.length == body.len()).ok_or_else(|| {
        let sentence = format!(
            "the tensor {name:?} has not {} bytes: plain bytes replace as many as there are, a .npy file tells its shape",
            body.len()
        );
        Error::new(ErrorKind::Invalid, sentence)
    })?;
    let at = record.place();
    let mut next = at;
    body.pieces(&mut |piece| {
        record.write_at(next, piece)?;
        next += piece.len() as u64;
        Ok(())
    })?;
    let Tensor { dtype, shape, length, order, .. } = old;
    Ok(Noted {
        dtype: *dtype,
        shape: shape.to_vec(),
        length: *length,
        data: Data::Journal(at),
        part: 0,
        order: *order,
    })
}
