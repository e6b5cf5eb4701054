//! Whether the data file still is what liblmdb takes it for (§8.8): a program that reads a page of the map beyond the
//! end of the file is killed by SIGBUS, and liblmdb reads there without looking.
//!
//! So the file's length is looked at before the map is read: at most a millisecond before, since asking the system
//! takes as long as a small request. A commit by somebody else has its meta page looked at, too. What is cut off or
//! overwritten after that look, in the middle of a request, kills the daemon still.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Environment;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::lmdb::header::Header;

/// How long a look at the length counts.
const FRESH: Duration = Duration::from_millis(1);
/// A header may be read while it is written. What it says twice in a row is what it says.
const READS_MOST: usize = 10;

/// What was seen of the data file.
pub(super) struct Intact {
    /// The length that it had, in bytes.
    length: AtomicU64,
    began: Instant,
    /// When it was looked at last, in nanoseconds after `began`.
    looked: AtomicU64,
    /// Why nothing is read any more.
    damage: OnceLock<Error>,
}

impl Intact {
    /// A data file of `length` bytes, all of which were looked at.
    pub(super) fn new(length: u64) -> Intact {
        Intact {
            length: AtomicU64::new(length),
            began: env::instant(),
            looked: AtomicU64::new(0),
            damage: OnceLock::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Environment {
    /// Whether the map can be read, as far as is known since a millisecond ago.
    ///
    /// # Errors
    /// `Io` where the data file lost pages that are in use, from then on.
    pub(in crate::store::lmdb) fn intact(&self) -> Result<()> {
        if let Some(error) = self.damage() {
            return Err(error.clone());
        }
        let looked = self.intact.looked.load(Ordering::Relaxed);
        if self.intact.now().saturating_sub(looked) < FRESH.as_nanos() as u64 { Ok(()) } else { self.look() }
    }

    /// Whether the map can be read, as far as is known now.
    ///
    /// # Errors
    /// As for [`Environment::intact`].
    pub(in crate::store::lmdb) fn look(&self) -> Result<()> {
        if let Some(error) = self.damage() {
            return Err(error.clone());
        }
        let now = self.intact.now();
        let found = self.data_file.metadata().map_err(|e| Error::io(self.place.shown.display(), &e))?;
        if self.intact.length.fetch_max(found.len(), Ordering::Relaxed) > found.len() {
            // Another program with `MDB_WRITEMAP` and a smaller map cuts off what it does not use; so does compaction.
            match self.header() {
                Some(header) if !header.is_short() => {
                    self.intact.length.store(header.file_size, Ordering::Relaxed);
                }
                _ => return Err(self.damaged(&format!("cut to {} bytes", found.len()))),
            }
        }
        self.intact.looked.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Looks at the header with which somebody else committed transaction `id`, before what it says is trusted.
    ///
    /// # Errors
    /// As for [`Environment::intact`].
    pub(super) fn look_at_commit(&self, id: u64) -> Result<()> {
        self.look()?;
        match self.header() {
            Some(header) if header.transaction >= id => Ok(()),
            _ => Err(self.damaged("overwritten: its meta pages are not what they should be")),
        }
    }

    /// Why nothing is read any more.
    fn damage(&self) -> Option<&Error> {
        self.intact.damage.get()
    }

    /// What the file says of itself, if that makes sense.
    fn header(&self) -> Option<Header> {
        let path = self.place.shown_data();
        let mut before = None;
        for _ in 0..READS_MOST {
            match Header::read(&self.data_file, &path) {
                Ok(header) => return Some(header),
                Err(error) if before.as_deref() == Some(&*error.to_string()) => return None,
                Err(error) => before = Some(error.to_string()),
            }
        }
        None
    }

    /// From here on nothing is read. Whoever watches is told, so that the kernel drops what it keeps.
    fn damaged(&self, what: &str) -> Error {
        let error = self.intact.damage.get_or_init(|| {
            let path = self.place.shown_data();
            let sentence = format!(
                "{} was {what}: nothing of it is read any more; unmount it, and restore the file",
                path.display()
            );
            tracing::error!("{sentence}");
            Error::new(ErrorKind::Io, sentence)
        });
        self.changes.changed();
        error.clone()
    }
}
