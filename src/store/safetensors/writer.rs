//! Changes of a model: each goes to the journal and is seen in the mount from then on; all of them are in the file after one
//! replacement (§4.2).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::edits::Transaction;
use super::header::Metadata;
use super::incoming::{Declared, Incoming};
use super::journal::{Data, Journal, Note, Noted, NotedMetadata, Record};
use super::layout::Layout;
use super::model::{Failed, Model, State};
use super::names::Form;
use super::replace::Filling;
use super::source::Source;
use super::tensor::{NEW, Tensor};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::{Version, When};
use crate::store::flat::Edit;
use crate::store::local_file::draft::Draft;
use crate::store::local_file::lock::Lock;
use crate::store::local_file::place::Stamp;

/// What whoever changes a model holds.
#[derive(Default)]
pub(super) struct Writer {
    /// Where the journal is; `None` where the model is read-only.
    pub home: Option<Home>,
    /// What was accepted and is not in the file.
    pub journal: Option<Journal>,
    /// The same in short.
    pub net: Net,
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

/// The place of a journal, which one daemon at a time has.
pub(super) struct Home {
    pub path: PathBuf,
    #[allow(dead_code, reason = "its drop lets another daemon have it")]
    lock: Lock,
}

impl Home {
    /// Takes the journal's place.
    ///
    /// # Errors
    /// `Busy` while another daemon has it; the folder's.
    pub fn take(path: PathBuf, shown: &str) -> Result<Home> {
        let lock = Lock::take(&path.with_extension("lock"), shown)?;
        Ok(Home { path, lock })
    }
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
    /// The journal, made where there is none; the file that it is about.
    fn journal<'w>(&self, writer: &'w mut Writer) -> Result<(&'w mut Journal, Arc<Source>)> {
        let home = writer.home.as_ref().ok_or_else(read_only)?;
        let state = self.state.read();
        let (Some(base), Some((_, stamp))) = (&state.files.single, state.files.watched.first()) else {
            return Err(read_only());
        };
        let journal = match writer.journal.take() {
            Some(journal) => journal,
            None => {
                Journal::create(&home.path, &self.location.place.path().join(&self.location.name), *stamp)?
            }
        };
        Ok((writer.journal.insert(journal), Arc::clone(base)))
    }

    /// Carries out edits, all or none of them; `declared` is about what they put.
    ///
    /// # Errors
    /// `Invalid` for what cannot be a tensor; those of each [`Edit`]; `NoSpace`.
    pub fn edit(&self, form: Form, edits: &[Edit<'_>], declared: &Declared) -> Result<()> {
        let mut writer = self.hold()?;
        self.look(&mut writer)?;
        let versions: Vec<Version> = edits.iter().map(|_| writer.version()).collect();
        let (journal, base) = self.journal(&mut writer)?;
        let mut record = journal.begin();
        let mut puts = Vec::with_capacity(edits.len());
        for (edit, version) in edits.iter().zip(versions) {
            puts.push(match edit {
                Edit::Put { key, body: Some(body), .. } => {
                    let replaced = self.known().contents.of(form).get(key).cloned();
                    let name = self.names.name(key, form)?;
                    let put = match form {
                        Form::Npy => write_npy(&name, body, replaced.as_deref(), declared, &mut record)?,
                        Form::Raw => write_raw(&name, body, replaced.as_deref(), &mut record)?,
                    };
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
        let State { contents, .. } = &mut *state;
        let mut transaction = Transaction::begin(contents, &self.names, form);
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
        let tensors = transaction.notes(&base);
        if tensors.is_empty() {
            return Ok(());
        }
        record.end(&Note::Changes { tensors: tensors.clone(), metadata: None })?;
        transaction.keep();
        state.changed();
        writer.net.add(tensors, None);
        Ok(())
    }

    /// Gives a tensor another type or shape, of the same bytes.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where it would have another length.
    pub fn declare(&self, form: Form, key: &[u8], declared: &Declared) -> Result<()> {
        let old = self.current(super::model::About::One(key, form))?.contents.of(form).get(key).cloned();
        let old = old.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such tensor"))?;
        let dtype = declared.dtype.unwrap_or(old.dtype);
        let shape = declared.shape.clone().map_or_else(|| old.shape.clone(), Into::into);
        if shape.len() > super::header::DIMENSIONS_MAX
            || super::header::data_length(dtype, &shape) != Some(old.length)
        {
            let sentence =
                format!("{dtype} of shape {shape:?} has not the {} bytes that are there", old.length);
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let mut writer = self.hold()?;
        self.look(&mut writer)?;
        let version = writer.version();
        let (journal, base) = self.journal(&mut writer)?;
        let record = journal.begin();
        let tensor = old.seen_as(dtype, shape, version, env::now());
        let mut state = self.state.write();
        let mut transaction = Transaction::begin(&mut state.contents, &self.names, form);
        transaction.put(key, Arc::new(tensor), &When::Current(old.version.clone()))?;
        let tensors = transaction.notes(&base);
        record.end(&Note::Changes { tensors: tensors.clone(), metadata: None })?;
        transaction.keep();
        state.changed();
        writer.net.add(tensors, None);
        Ok(())
    }

    /// Replaces what stands under `__metadata__`.
    ///
    /// # Errors
    /// `NoSpace`; the journal's.
    pub fn set_metadata(&self, metadata: Option<Metadata>) -> Result<()> {
        let mut writer = self.hold()?;
        self.look(&mut writer)?;
        if !self.known().contents.fits_with(metadata.as_ref()) {
            let sentence = "the header of the file would be longer than the format has it";
            return Err(Error::new(ErrorKind::NoSpace, sentence));
        }
        let (journal, _) = self.journal(&mut writer)?;
        let noted = NotedMetadata(metadata.clone());
        journal.note(&Note::Changes { tensors: Vec::new(), metadata: Some(noted.clone()) })?;
        writer.net.add(Vec::new(), Some(noted));
        let mut state = self.state.write();
        state.contents.metadata = metadata;
        state.changed();
        Ok(())
    }

    /// Writes the file anew with all that was changed, and waits for the disk; nothing where nothing was.
    ///
    /// # Errors
    /// `NoSpace`, `Stale`; the system's. What was changed stays in the journal then.
    pub fn commit(&self) -> Result<()> {
        let mut writer = self.hold()?;
        if !self.known().pending {
            return writer.owed.take().map_or(Ok(()), Err);
        }
        // Where the file is not the one any more that the changes are about, they are kept elsewhere by this.
        self.look(&mut writer)?;
        let Some(journal) = writer.journal.as_mut().filter(|_| self.known().pending) else {
            return writer.owed.take().map_or(Ok(()), Err);
        };
        self.replace(journal)?;
        // From here on the journal is of no use: what is put next must not come behind the note that all of it is there.
        let synced = self.location.place.sync();
        writer.net = Net::default();
        writer.journal.take().map_or(Ok(()), Journal::remove)?;
        synced
    }

    /// Lets go of the journal: nothing is changed any more.
    pub fn end_writing(&self) {
        let pending = self.known().pending;
        let Ok(mut writer) = self.hold() else { return };
        writer.home = None;
        if let Some(journal) = writer.journal.take().filter(|_| !pending)
            && let Err(error) = journal.remove()
        {
            tracing::warn!("{error}");
        }
    }

    fn replace(&self, journal: &mut Journal) -> Result<()> {
        let (place, name) = (&self.location.place, &self.location.name);
        let (layout, base, stamp) = {
            let state = self.state.read();
            let (Some(base), Some((_, stamp))) = (&state.files.single, state.files.watched.first()) else {
                return Err(read_only());
            };
            (Layout::of(&state.contents)?, Arc::clone(base), *stamp)
        };
        let draft = Draft::new(place, name)?;
        Filling(&draft).fill(&layout, &base)?;
        draft.dress(base.file())?;
        let new = draft.sync()?;
        journal.note(&Note::Replaced(new))?;
        let mut state = self.state.write();
        // As late as possible: only another program can come between this look and the name.
        if place.stamp(name)? != stamp {
            let sentence =
                format!("another program changed {} while it was written anew", self.location.shown());
            return Err(Error::new(ErrorKind::Stale, sentence));
        }
        let file = draft.name_over()?;
        state.is_written(
            &layout,
            Arc::new(Source::new(file, self.location.shown(), Some(new))),
            new,
            &self.names,
        );
        Ok(())
    }
}

impl State {
    fn changed(&mut self) {
        self.pending = true;
        self.contents.changed = env::now();
    }

    /// From now on, all is in the new file.
    fn is_written(
        &mut self,
        layout: &Layout,
        source: Arc<Source>,
        stamp: Stamp,
        names: &super::names::Names,
    ) {
        let data = layout.head.len() as u64;
        for (begin, tensor) in &layout.tensors {
            let tensor = Tensor {
                source: Arc::clone(&source),
                at: data + begin,
                offsets: Some((*begin, begin + tensor.length)),
                order: *begin,
                ..Tensor::clone(tensor)
            };
            self.contents.set(names, &tensor.name.clone(), Some(Arc::new(tensor)));
        }
        self.files.replaced(source, stamp, data);
        self.pending = false;
    }
}

fn place_of(noted: &Noted) -> u64 {
    let (Data::File(at) | Data::Journal(at)) = noted.data;
    at
}

fn read_only() -> Error {
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
    Ok(Noted { dtype, shape, length, data: Data::Journal(at), order })
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
        order: *order,
    })
}
