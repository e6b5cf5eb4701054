//! The Vfs without a kernel: paths are looked up name by name, as the kernel does.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use kvfs::error::{ErrorKind, Result};
use kvfs::layer::attrs::Attrs;
use kvfs::layer::fault::Faulty;
use kvfs::payload::Payload;
use kvfs::spool::Spool;
use kvfs::store::api::{Change, Store, When};
use kvfs::store::driver::Opening;
use kvfs::vfs::copy::Spot;
use kvfs::vfs::node::{Ino, ROOT, What};
use kvfs::vfs::open::Mode;
use kvfs::vfs::setattr::{Set as SetAttributes, Time};
use kvfs::vfs::space::Fallocate;
use kvfs::vfs::xattr::SetMode;
use kvfs::vfs::{Caller, Options, Vfs};

use crate::{Answer, How, NOWHERE, Path, SET_TIMES, SLOTS, Seen, Set, Space, Tree, USUAL_MODE};

const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 1 };
/// The lock owner of every close.
const OWNER: u64 = 1;

/// A Vfs over a store in memory.
pub struct Direct {
    pub vfs: Arc<Vfs>,
    pub store: Arc<Faulty>,
    slots: [Option<(Ino, u64, How)>; SLOTS],
}

fn opening() -> Opening {
    Opening { timeout: Duration::from_secs(5), ..Opening::default() }
}

/// A store in memory, which another program uses by [`Faulty::foreign`].
pub fn memory() -> Arc<Faulty> {
    kvfs::env::Folders::keep_below(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")));
    let opening = opening();
    Arc::new(Faulty::new((kvfs::store::driver("memory").unwrap().open)(&opening).unwrap()))
}

/// A store whose attributes are kept beside it, in memory.
pub fn with_attributes(store: &Arc<Faulty>) -> Arc<dyn Store> {
    let opening = opening();
    let home = (kvfs::store::driver("memory").unwrap().sidecar)(&opening).unwrap().unwrap();
    Arc::new(Attrs::new(Arc::clone(store) as Arc<dyn Store>, home, opening.separator).unwrap())
}

/// The options of a mount for tests.
pub fn options() -> Options {
    Options {
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
        spool: Spool::at(std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))),
    }
}

/// Puts a key as another program does.
pub fn foreign_put(store: &Faulty, key: &Path, bytes: &[u8]) {
    let key = kvfs::key::Key::of(key.iter().map(|name| name.as_bytes()));
    let body = Payload::of(bytes).unwrap();
    store.foreign(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
}

/// Deletes a key as another program does.
pub fn foreign_delete(store: &Faulty, key: &Path) {
    let key = kvfs::key::Key::of(key.iter().map(|name| name.as_bytes()));
    store.foreign(&mut [Change::Delete { key: &key, when: When::Always }]).unwrap();
}

impl Direct {
    pub fn new() -> Direct {
        let store = memory();
        Direct::over(with_attributes(&store), store)
    }

    /// A Vfs over `layers` on `store`, which another program uses.
    pub fn over(layers: Arc<dyn Store>, store: Arc<Faulty>) -> Direct {
        Direct { vfs: Vfs::new(layers, options()), store, slots: Default::default() }
    }

    /// Walks to a directory, hands it and the last name to `act`, and forgets what was looked up.
    fn at<T>(&self, path: &Path, act: impl FnOnce(Ino, &[u8]) -> Result<T>) -> Answer<T> {
        let (last, above) = path.split_last().unwrap();
        let mut walked = Vec::new();
        let mut directory = ROOT;
        let mut outcome = Ok(());
        for name in above {
            match self.vfs.lookup(directory, name.as_bytes()) {
                Ok(attr) => {
                    walked.push(attr.ino);
                    directory = attr.ino;
                    if attr.what != What::Directory {
                        let is_link = matches!(attr.what, What::Symlink);
                        outcome = Err(if is_link { ErrorKind::NotFound } else { ErrorKind::NotDirectory });
                        break;
                    }
                }
                Err(error) => {
                    outcome = Err(error.kind());
                    break;
                }
            }
        }
        let outcome = outcome.and_then(|()| act(directory, last.as_bytes()).map_err(|error| error.kind()));
        for ino in walked.into_iter().rev() {
            self.vfs.forget(ino, 1);
        }
        outcome
    }

    /// Looks a file up and opens it; where it is sent back, it looks the name up again, as the kernel does.
    fn open_at(&self, directory: Ino, name: &[u8], mode: Mode) -> Result<(Ino, u64)> {
        let ino = self.file_at(directory, name)?;
        let mut outcome = self.vfs.open(CALLER, ino, mode).map(|opened| (ino, opened.handle));
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Stale) {
            self.vfs.forget(ino, 1);
            let ino = self.file_at(directory, name)?;
            outcome = self.vfs.open(CALLER, ino, mode).map(|opened| (ino, opened.handle));
            return outcome.inspect_err(|_| self.vfs.forget(ino, 1));
        }
        outcome.inspect_err(|_| self.vfs.forget(ino, 1))
    }

    /// The inode of a file, as a path that ends there finds it; a link leads nowhere.
    fn file_at(&self, directory: Ino, name: &[u8]) -> Result<Ino> {
        let attr = self.vfs.lookup(directory, name)?;
        let refused = match attr.what {
            What::File => return Ok(attr.ino),
            What::Directory => ErrorKind::IsDirectory,
            What::Symlink | What::Fifo | What::Socket => ErrorKind::NotFound,
        };
        self.vfs.forget(attr.ino, 1);
        Err(refused.into())
    }

    fn close_file(&self, ino: Ino, handle: u64) -> Result<()> {
        let flushed = self.vfs.flush_handle(CALLER, ino, handle, OWNER);
        self.vfs.release(ino, handle);
        self.vfs.forget(ino, 1);
        flushed
    }

    fn with_file<T>(&self, path: &Path, mode: Mode, act: impl FnOnce(Ino, u64) -> Result<T>) -> Answer<T> {
        self.at(path, |directory, name| {
            let (ino, handle) = self.open_at(directory, name, mode)?;
            let outcome = act(ino, handle);
            let closed = self.close_file(ino, handle);
            outcome.and_then(|value| closed.map(|()| value))
        })
    }

    /// What is set on a file, as far as it was set.
    fn set_of(&self, ino: Ino) -> Set {
        let attr = self.vfs.getattr(ino).unwrap();
        let seconds = attr.mtime.duration_since(UNIX_EPOCH).unwrap().as_secs();
        Set {
            mode: (attr.mode != USUAL_MODE).then_some(attr.mode),
            time: (seconds < SET_TIMES).then_some(seconds),
            attribute: self.vfs.getxattr(ino, b"user.x").ok().map(|value| value[0]),
        }
    }

    fn is_link(&self, directory: Ino, name: &[u8]) -> bool {
        self.vfs.lookup(directory, name).is_ok_and(|attr| {
            self.vfs.forget(attr.ino, 1);
            matches!(attr.what, What::Symlink)
        })
    }

    fn slot(&self, slot: usize) -> Answer<(Ino, u64, How)> {
        self.slots[slot].ok_or(ErrorKind::BadHandle)
    }

    fn writable_slot(&self, slot: usize) -> Answer<(Ino, u64, How)> {
        self.slot(slot).and_then(
            |open| {
                if open.2 == How::Read { Err(ErrorKind::BadHandle) } else { Ok(open) }
            },
        )
    }

    fn walk(&self, directory: Ino, prefix: &str, all: &mut Vec<(String, Seen)>) {
        let handle = self.vfs.opendir(directory).unwrap();
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            // Small pages, now with and now without attributes.
            let mut given = 0;
            let attributes = offset % 2 == 0;
            let mut looked_up = Vec::new();
            self.vfs
                .readdir(handle, offset, attributes, &mut |entry| {
                    if given == 3 {
                        return false;
                    }
                    given += 1;
                    offset = entry.next;
                    looked_up.extend(entry.attr.map(|attr| attr.ino));
                    names.push(String::from_utf8(entry.name.to_vec()).unwrap());
                    true
                })
                .unwrap();
            for ino in looked_up {
                self.vfs.forget(ino, 1);
            }
            if given == 0 {
                break;
            }
        }
        self.vfs.releasedir(handle);
        assert_eq!(names[..2], [".", ".."]);
        for name in &names[2..] {
            let path = format!("{prefix}{name}");
            let attr =
                self.vfs.lookup(directory, name.as_bytes()).unwrap_or_else(|e| panic!("{path}: {e:?}"));
            match &attr.what {
                What::Directory => {
                    all.push((path.clone(), Seen::Directory));
                    self.walk(attr.ino, &format!("{path}/"), all);
                }
                What::Fifo | What::Socket => panic!("{path}: nobody made it"),
                What::Symlink => {
                    assert_eq!(self.vfs.readlink(attr.ino).unwrap(), NOWHERE.as_bytes());
                    all.push((path, Seen::Link));
                }
                What::File => {
                    let seen =
                        Seen::File { bytes: self.content(attr.ino, attr.size), set: self.set_of(attr.ino) };
                    all.push((path, seen));
                }
            }
            self.vfs.forget(attr.ino, 1);
        }
    }

    fn content(&self, ino: Ino, size: u64) -> Vec<u8> {
        let opened = self.vfs.open(CALLER, ino, Mode::default()).unwrap();
        let mut bytes = Vec::new();
        self.vfs.read(ino, opened.handle, 0, size + 10, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        self.vfs.release(ino, opened.handle);
        assert_eq!(bytes.len() as u64, size);
        bytes
    }
}

impl Tree for Direct {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Answer<()> {
        let mode = Mode { write: true, truncate: true, ..Mode::default() };
        self.at(path, |directory, name| {
            let (ino, handle) = match self.open_at(directory, name, mode) {
                Err(error) if error.kind() == ErrorKind::NotFound && !self.is_link(directory, name) => {
                    let (attr, opened) = self.vfs.create(CALLER, directory, name, 0o644, mode)?;
                    (attr.ino, opened.handle)
                }
                opened => opened?,
            };
            let written = self.vfs.write(ino, handle, 0, bytes, false, false);
            let closed = self.close_file(ino, handle);
            written.and(closed)
        })
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> Answer<()> {
        let mode = Mode { write: true, ..Mode::default() };
        self.with_file(path, mode, |ino, handle| self.vfs.write(ino, handle, offset, bytes, false, false))
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Answer<()> {
        self.at(path, |directory, name| {
            let ino = self.file_at(directory, name)?;
            let outcome = self.vfs.setattr(ino, SetAttributes { size: Some(size), ..Default::default() });
            self.vfs.forget(ino, 1);
            outcome.map(drop)
        })
    }

    fn create(&mut self, path: &Path) -> Answer<()> {
        let mode = Mode { write: true, exclusive: true, ..Mode::default() };
        self.at(path, |directory, name| {
            let (attr, opened) = self.vfs.create(CALLER, directory, name, 0o644, mode)?;
            self.close_file(attr.ino, opened.handle)
        })
    }

    fn remove(&mut self, path: &Path) -> Answer<()> {
        self.at(path, |directory, name| self.vfs.unlink(directory, name))
    }

    fn make_directory(&mut self, path: &Path) -> Answer<()> {
        self.at(path, |directory, name| {
            let attr = self.vfs.mkdir(CALLER, directory, name, 0o755)?;
            self.vfs.forget(attr.ino, 1);
            Ok(())
        })
    }

    fn remove_directory(&mut self, path: &Path) -> Answer<()> {
        self.at(path, |directory, name| self.vfs.rmdir(directory, name))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Answer<()> {
        self.at(from, |old, name| {
            // The kernel looks the source up after both directories.
            let renamed = self.at(to, |new, new_name| {
                self.vfs.lookup(old, name).map(|attr| self.vfs.forget(attr.ino, 1))?;
                self.vfs.rename(old, name, new, new_name, false)
            });
            renamed.map_err(kvfs::error::Error::from)
        })
    }

    fn exchange(&mut self, one: &Path, other: &Path) -> Answer<()> {
        self.at(one, |directory, name| {
            // The kernel looks both up after both directories.
            let exchanged = self.at(other, |other, other_name| {
                for (directory, name) in [(directory, name), (other, other_name)] {
                    self.vfs.lookup(directory, name).map(|attr| self.vfs.forget(attr.ino, 1))?;
                }
                self.vfs.exchange(directory, name, other, other_name)
            });
            exchanged.map_err(kvfs::error::Error::from)
        })
    }

    fn link(&mut self, path: &Path) -> Answer<()> {
        self.at(path, |directory, name| {
            let attr = self.vfs.symlink(CALLER, directory, name, NOWHERE.as_bytes())?;
            self.vfs.forget(attr.ino, 1);
            Ok(())
        })
    }

    fn set(&mut self, path: &Path, set: Set) -> Answer<()> {
        self.at(path, |directory, name| {
            let ino = self.file_at(directory, name)?;
            let mtime = set.time.map(|seconds| Time::At(UNIX_EPOCH + Duration::from_secs(seconds)));
            let mut outcome = self
                .vfs
                .setattr(ino, SetAttributes { mode: set.mode, mtime, ..Default::default() })
                .map(drop);
            if let Some(byte) = set.attribute {
                outcome = outcome.and(self.vfs.setxattr(ino, b"user.x", &[byte], SetMode::Any));
            }
            self.vfs.forget(ino, 1);
            outcome
        })
    }

    fn open(&mut self, slot: usize, path: &Path, how: How) -> Answer<()> {
        let _ = self.close(slot);
        let mode = Mode {
            write: how != How::Read,
            append: how == How::Append,
            exclusive: how == How::Create,
            ..Mode::default()
        };
        let (ino, handle) = self.at(path, |directory, name| {
            if how != How::Create {
                return self.open_at(directory, name, mode);
            }
            let (attr, opened) = self.vfs.create(CALLER, directory, name, 0o644, mode)?;
            Ok((attr.ino, opened.handle))
        })?;
        self.slots[slot] = Some((ino, handle, how));
        Ok(())
    }

    fn close(&mut self, slot: usize) -> Answer<()> {
        let (ino, handle, _) = self.slots[slot].take().ok_or(ErrorKind::BadHandle)?;
        self.close_file(ino, handle).map_err(|error| error.kind())
    }

    fn write_open(&mut self, slot: usize, offset: u64, bytes: &[u8]) -> Answer<()> {
        let (ino, handle, _) = self.writable_slot(slot)?;
        self.vfs.write(ino, handle, offset, bytes, false, false).map_err(|error| error.kind())
    }

    fn truncate_open(&mut self, slot: usize, size: u64) -> Answer<()> {
        let (ino, handle, _) = self.writable_slot(slot)?;
        let set = SetAttributes { size: Some(size), handle: Some(handle), ..Default::default() };
        self.vfs.setattr(ino, set).map(drop).map_err(|error| error.kind())
    }

    fn space_open(&mut self, slot: usize, space: Space) -> Answer<()> {
        let (ino, handle, _) = self.writable_slot(slot)?;
        let Space { offset, length, zeros, keep_size } = space;
        let wanted = Fallocate { offset, length, zeros, keep_size };
        self.vfs.fallocate(ino, handle, wanted, false).map_err(|error| error.kind())
    }

    fn copy_open(&mut self, slot: usize, offset: u64, to: usize, to_offset: u64, length: u64) -> Answer<u64> {
        let (ino, handle, _) = self.slot(slot)?;
        let from = Spot { ino, handle, offset };
        let (ino, handle, _) = self.writable_slot(to)?;
        let to = Spot { ino, handle, offset: to_offset };
        self.vfs.copy_range(from, to, length, false).map_err(|error| error.kind())
    }

    fn read_open(&mut self, slot: usize) -> Answer<Vec<u8>> {
        let (ino, handle, _) = self.slot(slot)?;
        let mut bytes = Vec::new();
        self.vfs
            .read(ino, handle, 0, 1 << 20, &mut |piece| bytes.extend_from_slice(piece))
            .map_err(|error| error.kind())?;
        assert_eq!(self.vfs.getattr(ino).unwrap().size, bytes.len() as u64);
        Ok(bytes)
    }

    fn sync_open(&mut self, slot: usize) -> Answer<()> {
        let (ino, ..) = self.slot(slot)?;
        self.vfs.fsync(ino).map_err(|error| error.kind())
    }

    fn foreign_put(&mut self, key: &Path, bytes: &[u8]) {
        foreign_put(&self.store, key, bytes);
    }

    fn foreign_delete(&mut self, key: &Path) {
        foreign_delete(&self.store, key);
    }

    fn everything(&mut self) -> Vec<(String, Seen)> {
        let mut all = Vec::new();
        self.walk(ROOT, "", &mut all);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn check_end(&mut self) {
        let report = self.vfs.report();
        assert_eq!((report.dirty, report.open, report.inodes), (0, 0, 1), "{report:?}");
    }
}
