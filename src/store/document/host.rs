//! Where the text of a document lies.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use twox_hash::XxHash3_64;

use crate::env::{Deadline, Folders};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::Usage;
use crate::store::local_file::draft::Draft;
use crate::store::local_file::lock::Lock;
use crate::store::local_file::place::{Place, Stamp};
use crate::store::local_file::rights;

/// The longest text that is read, in bytes: all of it is in memory.
pub(super) const TEXT_MAX: u64 = 1 << 30;

/// What tells a version of a text from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Of a file.
    File(Stamp),
    /// Of what stays as it is.
    Fixed,
}

/// A text that was read.
pub(super) struct Read {
    pub text: Vec<u8>,
    pub mark: Mark,
    pub modified: SystemTime,
}

/// What keeps the text of a document.
pub(super) trait Host: Send + Sync {
    /// For people.
    fn shown(&self) -> String;

    /// The version that is there now.
    ///
    /// # Errors
    /// `NotFound`; the keeper's.
    fn mark(&self) -> Result<Mark>;

    /// All of it, of one version.
    ///
    /// # Errors
    /// `NotFound`, `TooBig`; `Busy` where it was changed all the time; the keeper's.
    fn read(&self) -> Result<Read>;

    /// Replaces the version `of` by a new text, at once; answers what [`Host::read`] would say of it now.
    ///
    /// # Errors
    /// `Stale` where another version is there; `NoSpace`; the keeper's. The old text is there then.
    fn replace(&self, text: &[u8], of: &Mark) -> Result<(Mark, SystemTime)>;

    /// Waits until what was replaced would survive a power cut.
    ///
    /// # Errors
    /// The keeper's.
    fn sync(&self) -> Result<()>;

    /// Why it cannot be replaced, in a sentence.
    fn refusal(&self) -> Option<String>;

    /// How full its place is.
    fn usage(&self) -> Usage;
}

/// A file of this machine.
pub(super) struct LocalFile {
    place: Place,
    name: OsString,
    /// The file of the lock that whoever replaces it holds for that time.
    lock: PathBuf,
    timeout: Duration,
}

/// How often a file is read again that changes meanwhile.
const READS: usize = 5;
/// How long to wait before a lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

impl LocalFile {
    /// The file that a path leads to. Links are followed, and stay.
    ///
    /// # Errors
    /// `NotFound`; the system's.
    pub fn find(path: &Path, timeout: Duration) -> Result<LocalFile> {
        let (place, name) = Place::of_file(path)?;
        let folder = Folders::get().state.join("documents");
        crate::env::private_folder(&Folders::get().state)?;
        crate::env::private_folder(&folder)?;
        let hash = XxHash3_64::oneshot(place.path().join(&name).as_os_str().as_encoded_bytes());
        let lock = folder.join(format!("{hash:016x}.lock"));
        Ok(LocalFile { place, name, lock, timeout })
    }

    /// Held while a version is replaced: of two mounts of one file each sees what the other one wrote.
    fn hold(&self) -> Result<Lock> {
        let deadline = Deadline::after(self.timeout);
        loop {
            match Lock::take(&self.lock, &self.shown()) {
                Err(error) if error.kind() == ErrorKind::Busy && !deadline.left().is_zero() => {
                    std::thread::park_timeout(LOCK_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }
}

impl Host for LocalFile {
    fn shown(&self) -> String {
        self.place.shown(&self.name)
    }

    fn mark(&self) -> Result<Mark> {
        self.place.stamp(&self.name).map(Mark::File)
    }

    fn read(&self) -> Result<Read> {
        for _ in 0..READS {
            let (file, stamp) = self.place.file(&self.name)?;
            if stamp.size > TEXT_MAX {
                let sentence = format!("{}: a document has at most 1 GiB", self.shown());
                return Err(Error::new(ErrorKind::TooBig, sentence));
            }
            let mut text = vec![0; stamp.size as usize];
            let read = file.read_exact_at(&mut text, 0);
            // Looked at behind the bytes: what was the version then was it before.
            let found = rustix::fs::fstat(&file).map_err(|errno| self.place.failure(&self.name, errno))?;
            if Stamp::of(&found) == stamp {
                read.map_err(|error| Error::io(self.shown(), &error))?;
                return Ok(Read { text, mark: Mark::File(stamp), modified: stamp.time() });
            }
        }
        let sentence = format!("{}: another program writes into it all the time", self.shown());
        Err(Error::new(ErrorKind::Busy, sentence))
    }

    fn replace(&self, text: &[u8], of: &Mark) -> Result<(Mark, SystemTime)> {
        let _lock = self.hold()?;
        let stale = || {
            let sentence = format!("another program changed {} meanwhile", self.shown());
            Error::new(ErrorKind::Stale, sentence)
        };
        let (old, there) = self.place.file(&self.name)?;
        if Mark::File(there) != *of {
            return Err(stale());
        }
        if let Some(why) = rights::refusal(&self.place, &self.name, &old) {
            return Err(Error::new(ErrorKind::ReadOnly, format!("{}: {why}", self.shown())));
        }
        let draft = Draft::new(&self.place, &self.name)?;
        write_all(draft.file(), text).map_err(|error| draft.failure(&error))?;
        draft.dress(&old)?;
        let new = draft.sync()?;
        // As late as possible: only another program can come between this look and the name.
        if self.mark()? != *of {
            return Err(stale());
        }
        draft.name_over()?;
        Ok((Mark::File(new), new.time()))
    }

    fn sync(&self) -> Result<()> {
        self.place.sync()
    }

    fn refusal(&self) -> Option<String> {
        let (file, _) = self.place.file(&self.name).ok()?;
        let why = rights::refusal(&self.place, &self.name, &file)?;
        Some(format!("{} is mounted read-only: {why}", self.shown()))
    }

    fn usage(&self) -> Usage {
        let room = self.place.usage(0);
        Usage { keys: None, ..room }
    }
}

fn write_all(mut file: &File, text: &[u8]) -> std::io::Result<()> {
    file.write_all(text)
}
