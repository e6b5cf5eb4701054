//! The journal: what was accepted and is not in the file yet, in a file of the state folder, so that neither a kill of the
//! daemon nor a failed replacement loses it (§4.2, §8.3). It is where the bytes of such tensors are read from, too. It is
//! written without fsync: the page cache outlives the process, and before `fsync`, which replaces the file itself, nothing
//! is promised about power cuts.
//!
//! ```text
//!  length | {"files":[{"path":"/srv/model.safetensors", ...}]}      which versions of which files it is about
//!  head   | data of the tensors that were put | {"Changes":{...}}   a record: all of one request, at a multiple of 64
//!  head   | | {"Replaced":{"file":0, ...}}                          a file is about to become this version
//! ```
//!
//! A record's head, with lengths and hashes, is written last: one that is torn is none.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::dtype::ElementType;
use super::header::Metadata;
use super::source::Source;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::local_file::place::{Resolved, Stamp};

/// Records, and the data in them, begin at multiples of this, in bytes.
const ALIGNMENT: u64 = 64;
/// The head of a record.
const HEAD: u64 = 64;
/// What a head begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"kvfs-st1");
/// The folder of journals in the state folder.
const FOLDER: &str = "safetensors";
/// The longest description of a record, in bytes: one that removes all of the longest header there can be.
const TEXT_MAX: u64 = 1 << 30;

/// What one record says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Note {
    /// What was changed by one request.
    Changes {
        /// What there is of each of these names from then on.
        tensors: Vec<(String, Option<Noted>)>,
        /// What stands under `__metadata__` from then on.
        metadata: Option<NotedMetadata>,
    },
    /// A file is about to become this version, in which all that comes before is as far as it goes into that file.
    Replaced {
        /// Its number among those that the journal is about.
        file: usize,
        version: Stamp,
    },
}

/// A tensor in a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Noted {
    pub dtype: ElementType,
    pub shape: Vec<u64>,
    /// Length of the data, in bytes.
    pub length: u64,
    pub data: Data,
    /// Which of the files with tensors has it, or will have it.
    #[serde(default)]
    pub part: usize,
    /// Its place among the others, see [`super::tensor::Tensor::order`].
    pub order: u64,
}

/// Where the data of a tensor in a record begin.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Data {
    /// In the file, counted from its first byte.
    File(u64),
    /// In the journal, counted likewise.
    Journal(u64),
}

/// Metadata in a record: none, or these.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NotedMetadata(pub Option<Metadata>);

/// Which versions of which files a journal is about: the index of a sharded model comes first.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    files: Vec<Base>,
}

/// A file before the changes of a journal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// What it is called in the model's folder.
    pub link: String,
    /// Where it really is.
    pub path: String,
    pub version: Stamp,
}

impl Base {
    pub fn of(file: &Resolved) -> Base {
        let link = file.link.to_string_lossy().into_owned();
        Base { link, path: file.shown(), version: file.stamp }
    }
}

/// What a dead daemon left.
pub(super) struct Leftover {
    /// The files that it is about.
    pub files: Vec<Base>,
    /// The records, in order.
    pub notes: Vec<Note>,
    /// Bytes at the end that make no whole record.
    pub unreadable: u64,
    pub journal: Journal,
}

/// A journal that is being written.
pub(super) struct Journal {
    path: PathBuf,
    source: Arc<Source>,
    /// Where the next record begins.
    end: u64,
}

impl Journal {
    /// A new journal for these files, in place of one that nobody needs any more.
    ///
    /// # Errors
    /// The folder's: `NoSpace`, `Denied`.
    pub fn create(path: &Path, files: Vec<Base>) -> Result<Journal> {
        let io = |error: std::io::Error| Error::io(path.display(), &error);
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let text = serde_json::to_vec(&About { files }).map_err(|error| io(error.into()))?;
        let mut first = (text.len() as u64).to_le_bytes().to_vec();
        first.extend_from_slice(&text);
        file.write_all_at(&first, 0).map_err(io)?;
        Ok(Journal::over(path, file, first.len() as u64))
    }

    fn over(path: &Path, file: File, end: u64) -> Journal {
        let source = Arc::new(Source::new(file, path.display().to_string(), None));
        Journal { path: path.to_owned(), source, end: end.next_multiple_of(ALIGNMENT) }
    }

    /// Reads what a dead daemon left; `None` where there is nothing.
    ///
    /// # Errors
    /// `Invalid` for what is no journal; the system's.
    pub fn read(path: &Path) -> Result<Option<Leftover>> {
        let io = |error: std::io::Error| Error::io(path.display(), &error);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let size = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        let about = file.read_exact_at(&mut length, 0).ok().and_then(|()| {
            let length = u64::from_le_bytes(length);
            let text = text_at(&file, 8, length.min(size))?;
            Some((8 + length, serde_json::from_slice::<About>(&text).ok()?))
        });
        let Some((end, About { files })) = about else {
            let sentence = format!("{} is no journal: move it away", path.display());
            return Err(Error::new(ErrorKind::Invalid, sentence));
        };
        let mut journal = Journal::over(path, file, end);
        let mut notes = Vec::new();
        while let Some((note, next)) = journal.note_at(journal.end, size) {
            notes.push(note);
            journal.end = next;
        }
        let unreadable = size.saturating_sub(journal.end);
        Ok(Some(Leftover { files, notes, unreadable, journal }))
    }

    /// The record that begins at `at`, and where the next one does.
    fn note_at(&self, at: u64, size: u64) -> Option<(Note, u64)> {
        let mut head = [0; 48];
        self.source.file().read_exact_at(&mut head, at).ok()?;
        let mut words = head.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let [magic, data, text, data_hash, text_hash, hash] =
            std::array::from_fn(|_| words.next().unwrap_or(0));
        let begin = at + HEAD;
        let end = begin.checked_add(data)?.checked_add(text)?;
        if magic != MAGIC || hash != XxHash3_64::oneshot(&head[..40]) || end > size || text > TEXT_MAX {
            return None;
        }
        let mut hasher = XxHash3_64::new();
        self.source.read(begin, data, &mut |piece| hasher.write(piece)).ok()?;
        let json = text_at(self.source.file(), begin + data, text)?;
        if hasher.finish() != data_hash || XxHash3_64::oneshot(&json) != text_hash {
            return None;
        }
        Some((serde_json::from_slice(&json).ok()?, end.next_multiple_of(ALIGNMENT)))
    }

    /// The file, to read data from.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Begins a record; nothing of it is there before [`Record::end`].
    pub fn begin(&mut self) -> Record<'_> {
        let begin = self.end + HEAD;
        Record { journal: self, begin, end: begin, hasher: Some(XxHash3_64::new()), done: false }
    }

    /// Writes down something that has no data.
    ///
    /// # Errors
    /// As for [`Record::end`].
    pub fn note(&mut self, note: &Note) -> Result<()> {
        self.begin().end(note)
    }

    /// Waits until it is on the disk with all its data: what several files are replaced by must be known also after a power
    /// cut between two of them.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync(&self) -> Result<()> {
        let folder = self.path.parent().map(File::open).transpose();
        let synced =
            self.source.file().sync_all().and_then(|()| folder?.map_or(Ok(()), |folder| folder.sync_all()));
        synced.map_err(|error| self.failure(&error))
    }

    /// Cuts what makes no whole record, so that it is not taken for the data of another.
    ///
    /// # Errors
    /// The file system's.
    pub fn cut(&self) -> Result<()> {
        self.source.file().set_len(self.end).map_err(|error| self.failure(&error))
    }

    /// Ends the journal: all of it is in the file, or kept elsewhere. Who has its tensors open reads on.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|error| Error::io(self.path.display(), &error))
    }
}

fn text_at(file: &File, at: u64, length: u64) -> Option<Vec<u8>> {
    let mut text = vec![0; usize::try_from(length.min(TEXT_MAX)).ok()?];
    file.read_exact_at(&mut text, at).ok()?;
    Some(text)
}

/// A record that is being written.
pub(super) struct Record<'a> {
    journal: &'a mut Journal,
    begin: u64,
    end: u64,
    /// Of what was written in order; `None` where something was not.
    hasher: Option<XxHash3_64>,
    done: bool,
}

impl Record<'_> {
    /// The file, to read data from.
    pub fn source(&self) -> &Arc<Source> {
        &self.journal.source
    }

    /// Room for the data of a tensor: answers where it begins.
    pub fn place(&mut self) -> u64 {
        let place = self.end.next_multiple_of(ALIGNMENT);
        if place > self.end {
            self.hash(&vec![0; (place - self.end) as usize]);
            self.end = place;
        }
        place
    }

    fn hash(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.write(bytes);
        }
    }

    /// Writes data at `at`, which is the end or lies before it or behind.
    ///
    /// # Errors
    /// `NoSpace`; the file system's.
    pub fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.journal.source.file().write_all_at(bytes, at).map_err(|error| self.journal.failure(&error))?;
        if at == self.end {
            self.hash(bytes);
        } else {
            self.hasher = None;
        }
        self.end = self.end.max(at + bytes.len() as u64);
        Ok(())
    }

    /// Ends the record.
    ///
    /// # Errors
    /// `NoSpace`; the file system's. Nothing of it is there then.
    pub fn end(mut self, note: &Note) -> Result<()> {
        let (file, begin, end) = (self.journal.source.file(), self.begin, self.end);
        let text = serde_json::to_vec(note).map_err(|error| self.journal.failure(&error.into()))?;
        let data_hash = match self.hasher.take() {
            Some(hasher) => hasher.finish(),
            None => {
                let mut hasher = XxHash3_64::new();
                self.journal.source.read(begin, end - begin, &mut |piece| hasher.write(piece))?;
                hasher.finish()
            }
        };
        let words = [MAGIC, end - begin, text.len() as u64, data_hash, XxHash3_64::oneshot(&text)];
        let mut head = words.map(u64::to_le_bytes).as_flattened().to_vec();
        head.extend_from_slice(&XxHash3_64::oneshot(&head).to_le_bytes());
        file.write_all_at(&text, end)
            .and_then(|()| file.write_all_at(&head, begin - HEAD))
            .map_err(|error| self.journal.failure(&error))?;
        self.journal.end = (end + text.len() as u64).next_multiple_of(ALIGNMENT);
        self.done = true;
        Ok(())
    }
}

impl Journal {
    fn failure(&self, error: &std::io::Error) -> Error {
        Error::io(format_args!("the journal {}", self.path.display()), error)
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.done {
            // What stays of it without a head is none, and only takes room.
            let _ = self.journal.source.file().set_len(self.journal.end);
        }
    }
}

/// The journal of the model at `path`, in the state folder.
///
/// # Errors
/// The folder's.
pub(super) fn path_of(state: &Path, path: &str) -> Result<PathBuf> {
    env::private_folder(state)?;
    env::private_folder(&state.join(FOLDER))?;
    Ok(state.join(FOLDER).join(name_of(path)))
}

/// Whether there is a journal of the model at `path`.
pub(super) fn exists(state: &Path, path: &str) -> bool {
    state.join(FOLDER).join(name_of(path)).exists()
}

fn name_of(path: &str) -> String {
    format!("{:016x}.journal", XxHash3_64::oneshot(path.as_bytes()))
}
