//! A real mount, served by this process, over a store that another program changes and that tells of it.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use kvfs::device::{self, Device, MountFlags, Unmount};
use kvfs::env::Deadline;
use kvfs::error::{ErrorKind, Result, kind_of_io};
use kvfs::fuse::{self, Session};
use kvfs::key::Key;
use kvfs::layer::fault::Faulty;
use kvfs::store::api::{Caps, Change, Cursor, Entry, Event, Stat, Store, Tell, Value, Version, Watch};
use kvfs::store::attributes::Xattrs;
use kvfs::vfs::Vfs;
use kvfs::vfs::xattr::SetMode;

use rustix::fs::{CWD, FallocateFlags};

use crate::direct::{foreign_delete, foreign_put, memory, options, with_attributes};
use crate::{Answer, How, NOWHERE, Path, SET_TIMES, SLOTS, Seen, Set, Space, Tree, USUAL_MODE};

/// A store in memory that tells of changes made behind the mount's back.
struct Telling {
    inner: Arc<dyn Store>,
    tell: Mutex<Option<Tell>>,
}

impl Store for Telling {
    fn caps(&self) -> &Caps {
        self.inner.caps()
    }
    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        self.inner.stat(key)
    }
    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.list(dir, from, each)
    }
    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.list_with_attributes(dir, from, each)
    }
    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        self.inner.xattrs(key, directory)
    }
    fn foreign_changes(&self) -> Option<u64> {
        self.inner.foreign_changes()
    }
    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        self.inner.open(key)
    }
    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        self.inner.apply(changes)
    }
    fn check_key(&self, key: &Key) -> Result<()> {
        self.inner.check_key(key)
    }
    fn version_of(&self, key: &kvfs::key::Key, body: &kvfs::payload::Payload) -> Result<Option<Version>> {
        self.inner.version_of(key, body)
    }
    fn watch(&self, tell: Tell) -> Result<Watch> {
        *self.tell.lock().unwrap() = Some(tell);
        Ok(Watch(Box::new(())))
    }
}

/// A mounted file system.
pub struct Mount {
    pub folder: tempfile::TempDir,
    store: Arc<Telling>,
    /// The store below, which another program uses.
    pub below: Arc<Faulty>,
    pub vfs: Arc<Vfs>,
    session: Option<Session>,
}

impl Mount {
    pub fn new() -> Mount {
        let folder = tempfile::tempdir().unwrap();
        let below = memory();
        let store = Arc::new(Telling { inner: with_attributes(&below), tell: Mutex::new(None) });
        let vfs = Vfs::new(Arc::clone(&store) as Arc<dyn Store>, options());
        let flags = MountFlags { source: "memory", read_only: false, no_exec: false, allow_other: false };
        let descriptor = Device::find().unwrap().mount(folder.path(), &flags).unwrap();
        let session = Some(fuse::serve(Arc::clone(&vfs), descriptor, 4).unwrap());
        Mount { folder, store, below, vfs, session }
    }

    /// What the mount shows.
    pub fn layers(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store.inner)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        device::unmount(self.folder.path(), Unmount::WhenFree).unwrap();
        self.session.take().unwrap().wait().unwrap();
    }
}

/// A folder of a mount, through the kernel.
pub struct Mounted {
    root: PathBuf,
    slots: [Option<(File, How)>; SLOTS],
    told: u64,
    /// Whether others change its files at the same time.
    pub is_shared: bool,
    // Dropped last: what is open keeps it busy.
    mount: Arc<Mount>,
}

impl Mounted {
    pub fn new() -> Mounted {
        let mount = Arc::new(Mount::new());
        Mounted::below(&mount, mount.folder.path().to_owned())
    }

    /// The folder `root` of a mount.
    pub fn below(mount: &Arc<Mount>, root: PathBuf) -> Mounted {
        Mounted { root, slots: Default::default(), told: 0, is_shared: false, mount: Arc::clone(mount) }
    }

    fn path(&self, path: &Path) -> PathBuf {
        path.iter().fold(self.root.clone(), |folder, name| folder.join(name))
    }

    /// Tells the mount, as a store's watch does, and waits until it told the kernel.
    fn tell(&mut self, key: &Path) {
        self.told += 1;
        let event = if self.told.is_multiple_of(2) {
            Event::Everything
        } else {
            Event::Key(Key::of(key.iter().map(|name| name.as_bytes())))
        };
        (self.mount.store.tell.lock().unwrap().as_ref().unwrap())(event);
        let deadline = Deadline::after(Duration::from_secs(10));
        while self.mount.vfs.counters.invalidations.load(Ordering::Acquire) < self.told {
            assert!(!deadline.passed(), "the kernel was not told");
            std::thread::yield_now();
        }
    }

    fn slot(&self, slot: usize) -> Answer<&File> {
        self.slots[slot].as_ref().map(|(file, _)| file).ok_or(ErrorKind::BadHandle)
    }

    fn writable_slot(&self, slot: usize) -> Answer<&(File, How)> {
        let open = self.slots[slot].as_ref().filter(|(_, how)| *how != How::Read);
        open.ok_or(ErrorKind::BadHandle)
    }

    /// A path of a file: directories are refused as they are for writing, whatever is to be done.
    fn file(&self, path: &Path) -> Answer<PathBuf> {
        let path = self.path(path);
        if kind(fs::metadata(&path))?.is_dir() { Err(ErrorKind::IsDirectory) } else { Ok(path) }
    }

    fn walk(&self, folder: &std::path::Path, prefix: &str, all: &mut Vec<(String, Seen)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let found = fs::symlink_metadata(entry.path()).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(found.is_dir(), entry.file_type().unwrap().is_dir(), "{path}");
            if found.is_dir() {
                all.push((path.clone(), Seen::Directory));
                self.walk(&entry.path(), &format!("{path}/"), all);
            } else if found.is_symlink() {
                assert_eq!(fs::read_link(entry.path()).unwrap().to_str(), Some(NOWHERE));
                all.push((path, Seen::Link));
            } else {
                let bytes = fs::read(entry.path()).unwrap();
                let _open = File::open(entry.path()).unwrap();
                assert_eq!(bytes.len() as u64, found.len(), "{path}");
                let (mode, seconds) = (found.permissions().mode() & 0o7777, found.mtime() as u64);
                let set = Set {
                    mode: (mode != USUAL_MODE).then_some(mode),
                    time: (seconds < SET_TIMES).then_some(seconds),
                    attribute: self.mount.vfs.getxattr(found.ino(), b"user.x").ok().map(|value| value[0]),
                };
                all.push((path, Seen::File { bytes, set }));
            }
        }
    }
}

fn kind<T>(outcome: std::io::Result<T>) -> Answer<T> {
    outcome.map_err(|error| kind_of_io(&error))
}

impl Tree for Mounted {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Answer<()> {
        kind(fs::write(self.path(path), bytes))
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> Answer<()> {
        let file = kind(File::options().read(true).write(true).open(self.path(path)))?;
        kind(file.write_all_at(bytes, offset))
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Answer<()> {
        kind(nix::unistd::truncate(&self.path(path), size as i64).map_err(std::io::Error::from))
    }

    fn create(&mut self, path: &Path) -> Answer<()> {
        kind(File::create_new(self.path(path)).map(drop))
    }

    fn remove(&mut self, path: &Path) -> Answer<()> {
        kind(fs::remove_file(self.path(path)))
    }

    fn make_directory(&mut self, path: &Path) -> Answer<()> {
        kind(fs::create_dir(self.path(path)))
    }

    fn remove_directory(&mut self, path: &Path) -> Answer<()> {
        kind(fs::remove_dir(self.path(path)))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Answer<()> {
        kind(fs::rename(self.path(from), self.path(to)))
    }

    fn exchange(&mut self, one: &Path, other: &Path) -> Answer<()> {
        let (one, other, flags) = (self.path(one), self.path(other), rustix::fs::RenameFlags::EXCHANGE);
        kind(rustix::fs::renameat_with(CWD, &one, CWD, &other, flags).map_err(std::io::Error::from))
    }

    fn link(&mut self, path: &Path) -> Answer<()> {
        kind(std::os::unix::fs::symlink(NOWHERE, self.path(path)))
    }

    fn set(&mut self, path: &Path, set: Set) -> Answer<()> {
        let path = self.file(path)?;
        if let Some(mode) = set.mode {
            kind(fs::set_permissions(&path, fs::Permissions::from_mode(mode)))?;
        }
        if let Some(seconds) = set.time {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            kind(File::open(&path).and_then(|file| file.set_modified(time)))?;
        }
        if let Some(byte) = set.attribute {
            // The standard library has no call for it. What is open is not forgotten.
            let file = kind(File::open(&path))?;
            let ino = kind(file.metadata())?.ino();
            let set = self.mount.vfs.setxattr(ino, b"user.x", &[byte], SetMode::Any);
            set.map_err(|error| error.kind())?;
        }
        Ok(())
    }

    fn open(&mut self, slot: usize, path: &Path, how: How) -> Answer<()> {
        self.slots[slot] = None;
        let mut options = File::options();
        options.read(true).write(how != How::Read).append(how == How::Append);
        let path = if how == How::Create { self.path(path) } else { self.file(path)? };
        let file = kind(options.create_new(how == How::Create).open(path))?;
        self.slots[slot] = Some((file, how));
        Ok(())
    }

    fn close(&mut self, slot: usize) -> Answer<()> {
        self.slots[slot].take().map(drop).ok_or(ErrorKind::BadHandle)
    }

    fn write_open(&mut self, slot: usize, offset: u64, bytes: &[u8]) -> Answer<()> {
        let (file, how) = self.writable_slot(slot)?;
        if *how == How::Append {
            let mut file: &File = file;
            return kind(std::io::Write::write_all(&mut file, bytes));
        }
        kind(file.write_all_at(bytes, offset))
    }

    fn truncate_open(&mut self, slot: usize, size: u64) -> Answer<()> {
        kind(self.writable_slot(slot)?.0.set_len(size))
    }

    fn space_open(&mut self, slot: usize, space: Space) -> Answer<()> {
        let mut flags = FallocateFlags::empty();
        flags.set(FallocateFlags::KEEP_SIZE, space.keep_size);
        // Of the two that make zeros, each in its turn.
        let punches = space.keep_size && space.offset.is_multiple_of(2);
        flags.set(FallocateFlags::PUNCH_HOLE, space.zeros && punches);
        flags.set(FallocateFlags::ZERO_RANGE, space.zeros && !punches);
        let (file, _) = self.writable_slot(slot)?;
        let outcome = rustix::fs::fallocate(file, flags, space.offset, space.length);
        kind(outcome.map_err(std::io::Error::from))
    }

    fn copy_open(&mut self, slot: usize, offset: u64, to: usize, to_offset: u64, length: u64) -> Answer<u64> {
        let (mut offset, mut to_offset) = (offset, to_offset);
        let (file, (to, _)) = (self.slot(slot)?, self.writable_slot(to)?);
        let copied =
            rustix::fs::copy_file_range(file, Some(&mut offset), to, Some(&mut to_offset), length as usize);
        kind(copied.map(|copied| copied as u64).map_err(std::io::Error::from))
    }

    fn read_open(&mut self, slot: usize) -> Answer<Vec<u8>> {
        let file = self.slot(slot)?;
        let size = kind(file.metadata())?.len();
        let mut bytes = vec![0; size as usize + 10];
        let mut length = 0;
        loop {
            match kind(file.read_at(&mut bytes[length..], length as u64))? {
                0 => break,
                count => length += count,
            }
        }
        assert!(self.is_shared || length as u64 == size, "{length} bytes of {size}");
        bytes.truncate(length);
        Ok(bytes)
    }

    fn sync_open(&mut self, slot: usize) -> Answer<()> {
        kind(self.slot(slot)?.sync_all())
    }

    fn foreign_put(&mut self, key: &Path, bytes: &[u8]) {
        foreign_put(&self.mount.below, key, bytes);
        self.tell(key);
    }

    fn foreign_delete(&mut self, key: &Path) {
        foreign_delete(&self.mount.below, key);
        self.tell(key);
    }

    fn forget(&mut self) {
        // Unused names and inodes, of every file system; a hint.
        if let Err(error) = fs::write("/proc/sys/vm/drop_caches", "2") {
            assert_eq!(kind_of_io(&error), ErrorKind::Denied);
        }
    }

    fn everything(&mut self) -> Vec<(String, Seen)> {
        let mut all = Vec::new();
        self.walk(&self.root, "", &mut all);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
