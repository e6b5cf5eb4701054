//! Files that the bytes of tensors are in.

use std::cell::Cell;
use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;

use rustix::fs::Advice;

use crate::error::{Error, ErrorKind, Result};
use crate::store::local_file::place::Stamp;

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;

thread_local! {
    /// Room for a piece, since to make it takes as long as to read it.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An open file, kept as long as somebody reads from it, whatever has its name by then.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// For people.
    shown: String,
    /// The version that it is, where others could write into it.
    stamp: Option<Stamp>,
}

impl Source {
    /// A file; with a stamp, one that others could write into, of which nothing is read ahead that nobody asks for.
    pub fn new(file: File, shown: String, stamp: Option<Stamp>) -> Source {
        if stamp.is_some() {
            // Advice: where it is not taken, more is read from the disk.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
        }
        Source { file, shown, stamp }
    }

    /// Has the disk begin to read what will be asked for.
    pub fn will_need(&self, at: u64, size: u64) {
        // Advice, as above.
        let _ = rustix::fs::fadvise(&self.file, at, NonZeroU64::new(size), Advice::WillNeed);
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// For people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Refuses a file that was written into since it was opened.
    ///
    /// # Errors
    /// `Stale`; the system's.
    pub fn check(&self) -> Result<()> {
        let Some(stamp) = self.stamp else { return Ok(()) };
        let found = rustix::fs::fstat(&self.file).map_err(|errno| Error::io(&self.shown, &errno.into()))?;
        if Stamp::of(&found) == stamp {
            return Ok(());
        }
        let sentence = format!("{}: another program wrote into the file after it was opened", self.shown);
        Err(Error::new(ErrorKind::Stale, sentence))
    }

    /// Hands out these bytes, in pieces. `sink` may read again.
    ///
    /// # Errors
    /// `Stale` where they are no longer what they were (§3.1); the system's.
    pub fn read(&self, at: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut room = ROOM.take();
        let outcome = self.read_into(&mut room, at, size, sink);
        ROOM.set(room);
        outcome
    }

    fn read_into(&self, room: &mut Vec<u8>, at: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let longest = size.min(PIECE) as usize;
        if room.len() < longest {
            room.resize(longest, 0);
        }
        let (mut at, end) = (at, at + size);
        while at < end {
            let piece = &mut room[..(end - at).min(PIECE) as usize];
            let read = self.file.read_exact_at(piece, at);
            // Looked at behind the bytes: what was the version then was it before.
            self.check()?;
            read.map_err(|error| Error::io(&self.shown, &error))?;
            sink(piece);
            at += piece.len() as u64;
        }
        Ok(())
    }
}
