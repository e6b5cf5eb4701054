//! The Vfs without a kernel: paths are looked up name by name, as the kernel does.

use std::sync::Arc;
use std::time::Duration;

use kvfs::error::{ErrorKind, Result};
use kvfs::payload::Payload;
use kvfs::spool::Spool;
use kvfs::store::api::{Change, Store, When};
use kvfs::store::driver::{Commit, Opening};
use kvfs::vfs::node::{Ino, ROOT, What};
use kvfs::vfs::open::Mode;
use kvfs::vfs::setattr::Set;
use kvfs::vfs::{Caller, Options, Vfs};

use crate::{Answer, Path, Tree};

const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 1 };

/// A Vfs over a store in memory.
pub struct Direct {
    pub vfs: Arc<Vfs>,
    pub store: Arc<dyn Store>,
}

/// A store in memory.
pub fn memory() -> Arc<dyn Store> {
    kvfs::env::Folders::keep_below(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")));
    let opening = Opening {
        location: None,
        read_only: false,
        create: true,
        separator: Some(b"/".to_vec()),
        commit: Commit::Auto,
        timeout: Duration::from_secs(5),
        load: None,
        save: None,
    };
    (kvfs::store::driver("memory").unwrap().open)(&opening).unwrap()
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
        source: String::from("memory"),
        spool: Spool::at(std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))),
    }
}

/// Puts a key as another program does.
pub fn foreign_put(store: &dyn Store, key: &Path, bytes: &[u8]) {
    let key = kvfs::key::Key::of(key.iter().map(|name| name.as_bytes()));
    let body = Payload::of(bytes).unwrap();
    store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
}

/// Deletes a key as another program does.
pub fn foreign_delete(store: &dyn Store, key: &Path) {
    let key = kvfs::key::Key::of(key.iter().map(|name| name.as_bytes()));
    store.apply(&mut [Change::Delete { key: &key, when: When::Always }]).unwrap();
}

impl Direct {
    pub fn new() -> Direct {
        let store = memory();
        Direct { vfs: Vfs::new(Arc::clone(&store), options()), store }
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
                        outcome = Err(ErrorKind::NotDirectory);
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

    fn with_file<T>(&self, path: &Path, mode: Mode, act: impl FnOnce(Ino, u64) -> Result<T>) -> Answer<T> {
        self.at(path, |directory, name| {
            let mut attr = self.vfs.lookup(directory, name)?;
            let mut opened = self.vfs.open(CALLER, attr.ino, mode);
            if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::Stale) {
                // As the kernel does: once more, from the name.
                self.vfs.forget(attr.ino, 1);
                attr = self.vfs.lookup(directory, name)?;
                opened = self.vfs.open(CALLER, attr.ino, mode);
            }
            let outcome = opened.and_then(|opened| {
                let outcome = act(attr.ino, opened.handle);
                let flushed = self.vfs.flush_handle(CALLER, attr.ino, opened.handle, 1);
                self.vfs.release(attr.ino, opened.handle);
                outcome.and_then(|value| flushed.map(|()| value))
            });
            self.vfs.forget(attr.ino, 1);
            outcome
        })
    }

    fn walk(&self, directory: Ino, prefix: &str, all: &mut Vec<(String, Option<Vec<u8>>)>) {
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
            if attr.what == What::Directory {
                all.push((path.clone(), None));
                self.walk(attr.ino, &format!("{path}/"), all);
            } else {
                all.push((path, Some(self.content(attr.ino, attr.size))));
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
            let (attr, opened) = self.vfs.create(CALLER, directory, name, 0o644, mode)?;
            let written = self.vfs.write(attr.ino, opened.handle, 0, bytes, false, false);
            let flushed = self.vfs.flush_handle(CALLER, attr.ino, opened.handle, 1);
            self.vfs.release(attr.ino, opened.handle);
            self.vfs.forget(attr.ino, 1);
            written.map_err(|e| e.context("write")).and(flushed.map_err(|e| e.context("flush")))
        })
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> Answer<()> {
        let mode = Mode { write: true, ..Mode::default() };
        self.with_file(path, mode, |ino, handle| self.vfs.write(ino, handle, offset, bytes, false, false))
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Answer<()> {
        self.at(path, |directory, name| {
            let attr = self.vfs.lookup(directory, name)?;
            let outcome = self.vfs.setattr(attr.ino, Set { size: Some(size), ..Set::default() });
            self.vfs.forget(attr.ino, 1);
            outcome.map(drop)
        })
    }

    fn create(&mut self, path: &Path) -> Answer<()> {
        let mode = Mode { write: true, exclusive: true, ..Mode::default() };
        self.at(path, |directory, name| {
            let (attr, opened) = self.vfs.create(CALLER, directory, name, 0o644, mode)?;
            let flushed = self.vfs.flush_handle(CALLER, attr.ino, opened.handle, 1);
            self.vfs.release(attr.ino, opened.handle);
            self.vfs.forget(attr.ino, 1);
            flushed
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

    fn foreign_put(&mut self, key: &Path, bytes: &[u8]) {
        foreign_put(&*self.store, key, bytes);
    }

    fn foreign_delete(&mut self, key: &Path) {
        foreign_delete(&*self.store, key);
    }

    fn everything(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        self.walk(ROOT, "", &mut all);
        all.sort();
        all
    }
}
