//! The Vfs without a kernel, over a store in memory that fails or lets something else happen on command.

mod attributes;
mod copying;
mod directories;
mod exchanging;
mod failing;
mod handles;
mod racing;
mod remote;
mod space;

use std::sync::Arc;
use std::time::Duration;

use super::attr::Attr;
use super::node::{Ino, ROOT, What};
use super::open::{Mode, Opened};
use super::{Caller, Options, Vfs};
use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::layer::attrs::Attrs;
use crate::layer::fault::Faulty;
use crate::payload::Payload;
use crate::spool::Spool;
use crate::store::api::{Change, Store, When};
use crate::store::driver::Opening;

/// This process: its close is the opener's own.
pub(super) fn caller() -> Caller {
    Caller { uid: 0, gid: 0, pid: std::process::id() }
}

/// The lock owner of closes by this process.
const OWNER: u64 = 7;

pub(super) const WRITE: Mode = Mode {
    write: true,
    write_only: false,
    past_pages: false,
    append: false,
    truncate: false,
    exclusive: false,
    synchronous: false,
};
pub(super) const READ: Mode = Mode { write: false, ..WRITE };
pub(super) const TRUNCATE: Mode = Mode { truncate: true, ..WRITE };

/// A Vfs, the store below it that can fail, and the store itself, as another program uses it.
pub(super) struct Rig {
    pub vfs: Arc<Vfs>,
    pub faulty: Arc<Faulty>,
    pub store: Arc<dyn Store>,
    pub spool: Spool,
    _state: tempfile::TempDir,
}

/// A key of plain segments, spelled as a path.
pub(super) fn key(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

impl Rig {
    pub fn new() -> Rig {
        Rig::keeping(true)
    }

    /// A Vfs whose store keeps attributes, or does not.
    pub fn keeping(attributes: bool) -> Rig {
        let opening = Opening { timeout: Duration::from_secs(5), ..Opening::default() };
        let store = (crate::store::memory::DRIVER.open)(&opening).unwrap();
        let faulty = Arc::new(Faulty::new(Arc::clone(&store)));
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::at(state.path());
        let options = Options {
            uid: 0,
            gid: 0,
            file_mode: 0o644,
            directory_mode: 0o755,
            read_only: false,
            timeout: Duration::from_secs(5),
            ttl: Duration::from_secs(1),
            ttl_of_absence: Duration::from_secs(1),
            source: String::from("memory"),
            exclusive_at_open: false,
            spool: spool.clone(),
        };
        let below = Arc::clone(&faulty) as Arc<dyn Store>;
        let layers = if attributes {
            let home = (crate::store::memory::DRIVER.sidecar)(&opening).unwrap().unwrap();
            Arc::new(Attrs::new(below, home, opening.separator.clone()).unwrap())
        } else {
            below
        };
        let vfs = Vfs::new(layers, options);
        Rig { vfs, faulty, store, spool, _state: state }
    }

    /// Another program puts a key.
    pub fn foreign_put(&self, path: &str, bytes: &[u8]) {
        let body = Payload::of(bytes).unwrap();
        let put = Change::Put { key: &key(path), body: &body, when: When::Always };
        self.faulty.foreign(&mut [put]).unwrap();
    }

    /// Another program deletes a key.
    pub fn foreign_delete(&self, path: &str) {
        self.faulty.foreign(&mut [Change::Delete { key: &key(path), when: When::Always }]).unwrap();
    }

    /// What the store has.
    pub fn stored(&self, path: &str) -> Option<Vec<u8>> {
        let value = self.store.open(&key(path)).unwrap()?;
        let mut bytes = Vec::new();
        value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        Some(bytes)
    }

    /// The directory above a path, with a lookup counted for each name, and the last name.
    pub fn above<'p>(&self, path: &'p str) -> (Ino, &'p [u8]) {
        let mut directory = ROOT;
        let mut names = path.split('/').map(str::as_bytes).peekable();
        loop {
            let name = names.next().unwrap();
            if names.peek().is_none() {
                return (directory, name);
            }
            directory = self.vfs.lookup(directory, name).unwrap().ino;
        }
    }

    pub fn look(&self, path: &str) -> Result<Attr> {
        let (directory, name) = self.above(path);
        self.vfs.lookup(directory, name)
    }

    /// Whether there is a file or directory of this name.
    pub fn exists(&self, path: &str) -> bool {
        match self.look(path) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => panic!("{path}: {error:?}"),
        }
    }

    /// Opens as the kernel does: where it is sent back, once more from the name.
    pub fn open(&self, path: &str, mode: Mode) -> Result<(Ino, u64)> {
        let attr = self.look(path)?;
        match self.vfs.open(caller(), attr.ino, mode) {
            Err(error) if error.kind() == ErrorKind::Stale => {
                let attr = self.look(path)?;
                self.vfs.open(caller(), attr.ino, mode).map(|opened| (attr.ino, opened.handle))
            }
            opened => opened.map(|opened| (attr.ino, opened.handle)),
        }
    }

    pub fn create(&self, path: &str, mode: Mode) -> Result<(Ino, u64)> {
        let (directory, name) = self.above(path);
        let (attr, opened): (Attr, Opened) = self.vfs.create(caller(), directory, name, 0o644, mode)?;
        Ok((attr.ino, opened.handle))
    }

    pub fn write(&self, file: (Ino, u64), offset: u64, bytes: &[u8]) -> Result<()> {
        self.vfs.write(file.0, file.1, offset, bytes, false, false)
    }

    pub fn read(&self, file: (Ino, u64)) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.vfs.read(file.0, file.1, 0, 1 << 20, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    pub fn flush(&self, file: (Ino, u64)) -> Result<()> {
        self.vfs.flush_handle(caller(), file.0, file.1, OWNER)
    }

    pub fn close(&self, file: (Ino, u64)) -> Result<()> {
        let flushed = self.flush(file);
        self.vfs.release(file.0, file.1);
        flushed
    }

    /// Writes a whole file through the mount.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let file = self.create(path, TRUNCATE).unwrap();
        self.write(file, 0, bytes).unwrap();
        self.close(file).unwrap();
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        let (directory, name) = self.above(path);
        self.vfs.unlink(directory, name)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let ((old, name), (new, new_name)) = (self.above(from), self.above(to));
        self.vfs.rename(old, name, new, new_name, false)
    }

    pub fn exchange(&self, one: &str, other: &str) -> Result<()> {
        let ((parent, name), (other, other_name)) = (self.above(one), self.above(other));
        self.vfs.exchange(parent, name, other, other_name)
    }

    pub fn symlink(&self, path: &str, target: &str) {
        let (directory, name) = self.above(path);
        self.vfs.symlink(caller(), directory, name, target.as_bytes()).unwrap();
    }

    pub fn mkdir(&self, path: &str) {
        let (directory, name) = self.above(path);
        self.vfs.mkdir(caller(), directory, name, 0o755).unwrap();
    }

    /// The names in a directory, without the dots.
    pub fn names(&self, directory: Ino) -> Vec<String> {
        let handle = self.vfs.opendir(directory).unwrap();
        let names = self.names_from(handle, 0, usize::MAX, false).0;
        self.vfs.releasedir(handle);
        names.into_iter().filter(|name| name != "." && name != "..").collect()
    }

    /// At most `most` names from an offset on, in one reply, and the offset after each.
    pub fn names_from(
        &self,
        handle: u64,
        offset: u64,
        most: usize,
        attributes: bool,
    ) -> (Vec<String>, Vec<u64>) {
        let (mut names, mut offsets) = (Vec::new(), Vec::new());
        self.vfs
            .readdir(handle, offset, attributes, &mut |given| {
                if names.len() == most {
                    return false;
                }
                names.push(String::from_utf8(given.name.to_vec()).unwrap());
                offsets.push(given.next);
                true
            })
            .unwrap();
        (names, offsets)
    }

    /// How many inodes the kernel would know after it forgot all that it was told of.
    pub fn inodes_when_all_is_forgotten(&self) -> usize {
        let all: Vec<(Ino, u64)> =
            self.vfs.table.lock().iter().map(|(ino, node)| (ino, node.lookups)).collect();
        for (ino, lookups) in all {
            if ino != ROOT {
                self.vfs.forget(ino, lookups);
            }
        }
        self.vfs.table.lock().len()
    }

    pub fn kind(&self, path: &str) -> What {
        self.look(path).unwrap().what
    }
}

/// The kind of an answer's error.
pub(super) fn refused<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
    answer.unwrap_err().kind()
}
