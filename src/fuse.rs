//! The door: each request of the kernel is translated, handed to the [`Vfs`], and answered. Nothing is decided here
//! but how things are spelled in FUSE, and which errno an error is.
//!
//! Left out, and why:
//!
//! | operation | answer | reason |
//! |---|---|---|
//! | `link` | EPERM | a key has one name (§5.2) |
//! | `mknod` of devices | EPERM | a store keeps no devices (§5.2) |
//! | `mknod` of FIFOs and sockets | EPERM | they come with attributes that last |
//! | `getlk`, `setlk`, `flock` | the kernel's own | locks hold on one mount (§5.9); not asking for them is quicker and right |
//! | `access` | the kernel's own | `default_permissions` is always on |
//! | `bmap` | ENOSYS | there are no blocks |
//! | `ioctl`, `poll` | ENOSYS | nothing to control; files are always ready |
//! | `lseek` (`SEEK_DATA`, `SEEK_HOLE`) | ENOSYS: the kernel takes a file as one piece of data | values have no holes |
//! | `copy_file_range` | ENOSYS: the kernel copies by reading and writing | a value is put whole when the file is closed |
//! | `fallocate` with a mode | EOPNOTSUPP | values have no holes to punch |
//! | `rename` with EXCHANGE or WHITEOUT | EINVAL | no store exchanges two keys at once |
//! | `syncfs` | never arrives | the kernel sends it to block devices only; `kvfs sync` is for that |

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, Notifier, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::error::{Error, ErrorKind, Result};
use crate::vfs::attr::Attr;
use crate::vfs::invalidate::{Invalidator, Kernel};
use crate::vfs::node::{Ino, What};
use crate::vfs::open::{Mode, Opened};
use crate::vfs::report::Operation;
use crate::vfs::setattr::{Set, Time};
use crate::vfs::xattr::SetMode;
use crate::vfs::{Caller, Vfs};

/// A request and its reply carry at most this many bytes; the kernel's own bound is 256 pages.
const MAX_WRITE: u32 = 1 << 20;
/// `st_blksize` of files: what `cp` and `cat` read at once.
const FILE_BLOCK: u32 = 128 << 10;
/// `st_blksize` of directories: the C library reads names in pieces of this size, so a listing takes few requests.
const DIRECTORY_BLOCK: u32 = 256 << 10;
/// The most names with attributes in one reply: the first reply of every listing is of this kind, and somebody waits
/// for its first name.
const PLUS_MOST: u32 = 512;
/// Inode numbers are not used again while the kernel knows them, so one generation does.
const GENERATION: Generation = Generation(0);

/// The one table of error numbers.
fn errno(error: &Error) -> Errno {
    match error.kind() {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::Exists => Errno::EEXIST,
        ErrorKind::NotEmpty => Errno::ENOTEMPTY,
        ErrorKind::NotDirectory => Errno::ENOTDIR,
        ErrorKind::IsDirectory => Errno::EISDIR,
        ErrorKind::NameTooLong => Errno::ENAMETOOLONG,
        ErrorKind::NameEncoding => Errno::EILSEQ,
        ErrorKind::Invalid => Errno::EINVAL,
        ErrorKind::ReadOnly => Errno::EROFS,
        ErrorKind::Denied => Errno::EACCES,
        ErrorKind::NotPermitted => Errno::EPERM,
        ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        ErrorKind::CrossDevice => Errno::EXDEV,
        ErrorKind::Stale => Errno::ESTALE,
        ErrorKind::TooBig => Errno::EFBIG,
        ErrorKind::NoSpace => Errno::ENOSPC,
        ErrorKind::TimedOut => Errno::ETIMEDOUT,
        ErrorKind::Busy => Errno::EBUSY,
        ErrorKind::NoAttribute => Errno::ENODATA,
        ErrorKind::Range => Errno::ERANGE,
        ErrorKind::BadHandle => Errno::EBADF,
        // Readers or handles ran out: the caller may try again, and nothing is broken.
        ErrorKind::Exhausted => Errno::EAGAIN,
        ErrorKind::Io => Errno::EIO,
    }
}

/// The file system as the kernel's requests meet it.
#[derive(Debug)]
struct Door {
    vfs: Arc<Vfs>,
}

/// A served mount.
#[derive(Debug)]
pub struct Session {
    session: fuser::BackgroundSession,
    _retries: Retries,
    _invalidator: Invalidator,
}

/// Answers the kernel on `device` until the file system is unmounted, with this many threads; returns when the first
/// request is answered.
///
/// # Errors
/// The device's: it is not mounted, or the kernel speaks another protocol.
pub fn serve(vfs: Arc<Vfs>, device: OwnedFd, threads: usize) -> Result<Session> {
    let failed = |error: io::Error| Error::io("the FUSE session", &error);
    let raw = device.try_clone().map_err(failed)?;
    let mut config = fuser::Config::default();
    config.n_threads = Some(threads.max(1));
    // A device of its own for each thread needs the right to open it, which fusermount3's users lack.
    config.clone_fd = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    // The kernel itself refuses other users unless the mount says otherwise.
    let acl = fuser::SessionACL::All;
    let door = Door { vfs: Arc::clone(&vfs) };
    let session = fuser::Session::from_fd(door, device, acl, config).map_err(failed)?;
    let notifier = session.notifier();
    let session = session.spawn().map_err(failed)?;
    let invalidator = Invalidator::start(&vfs, Box::new(Channel { notifier, raw }));
    Ok(Session { session, _retries: Retries::start(&vfs), _invalidator: invalidator })
}

/// How often a put that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Tries again what could not be put, until it drops.
#[derive(Debug)]
struct Retries(#[allow(dead_code, reason = "its drop ends the thread")] std::sync::mpsc::Sender<()>);

impl Retries {
    fn start(vfs: &Arc<Vfs>) -> Retries {
        let (sender, ended) = std::sync::mpsc::channel::<()>();
        let vfs = Arc::downgrade(vfs);
        let thread = std::thread::Builder::new().name("kvfs-retry".into()).spawn(move || {
            while ended.recv_timeout(RETRY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let Some(vfs) = vfs.upgrade() else { return };
                vfs.retry();
            }
        });
        if let Err(error) = thread {
            tracing::warn!("what cannot be put is tried again only by kvfs sync: {error}");
        }
        Retries(sender)
    }
}

impl Session {
    /// Waits until the file system is unmounted, by anyone.
    ///
    /// # Errors
    /// The session's last.
    pub fn wait(self) -> Result<()> {
        self.session.join().map_err(|error| Error::io("the FUSE session", &error))
    }
}

/// The way to tell the kernel.
struct Channel {
    notifier: Notifier,
    raw: OwnedFd,
}

impl Kernel for Channel {
    /// `FUSE_NOTIFY_INC_EPOCH`: a header alone, of 16 bytes: length, code, and no request (Linux 6.16, include/uapi/
    /// linux/fuse.h).
    fn new_epoch(&self) -> bool {
        const INC_EPOCH: i32 = 8;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&16_u32.to_ne_bytes());
        header[4..8].copy_from_slice(&INC_EPOCH.to_ne_bytes());
        !matches!(nix::unistd::write(self.raw.as_fd(), &header), Err(nix::errno::Errno::EINVAL))
    }

    fn forget_name(&self, parent: Ino, name: &[u8]) {
        if let Err(error) = self.notifier.inval_entry(INodeNo(parent), OsStr::from_bytes(name)) {
            tracing::debug!("the kernel did not take an invalidation: {error}");
        }
    }

    fn forget_inode(&self, ino: Ino) {
        if let Err(error) = self.notifier.inval_inode(INodeNo(ino), 0, 0) {
            tracing::debug!("the kernel did not take an invalidation: {error}");
        }
    }
}

impl Door {
    fn count(&self, operation: Operation) {
        self.vfs.counters.count(operation);
    }

    fn failed(&self, error: &Error) -> Errno {
        if matches!(error.kind(), ErrorKind::Io | ErrorKind::TimedOut | ErrorKind::NoSpace) {
            self.vfs.counters.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!("{error}");
        } else {
            tracing::debug!("{error}");
        }
        errno(error)
    }

    fn entry(&self, outcome: Result<Attr>, reply: ReplyEntry) {
        match outcome {
            Ok(attr) => reply.entry(&self.vfs.ttl(), &file_attr(&attr), GENERATION),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn empty(&self, outcome: Result<()>, reply: ReplyEmpty) {
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn sized(&self, outcome: Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
        match outcome {
            Ok(value) if size == 0 => reply.size(value.len() as u32),
            Ok(value) if value.len() <= size as usize => reply.data(&value),
            Ok(_) => reply.error(Errno::ERANGE),
            Err(error) => reply.error(self.failed(&error)),
        }
    }
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

fn file_attr(attr: &Attr) -> FileAttr {
    let directory = attr.what == What::Directory;
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: UNIX_EPOCH,
        kind: file_type(&attr.what),
        perm: (attr.mode & 0o7777) as u16,
        // A directory with one link is one whose subdirectories are not counted: `find` then looks at each.
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: if directory { DIRECTORY_BLOCK } else { FILE_BLOCK },
        flags: 0,
    }
}

fn file_type(what: &What) -> FileType {
    match what {
        What::File => FileType::RegularFile,
        What::Directory => FileType::Directory,
        What::Symlink(_) => FileType::Symlink,
    }
}

fn mode(flags: i32) -> Mode {
    Mode {
        write: flags & libc::O_ACCMODE != libc::O_RDONLY,
        write_only: flags & libc::O_ACCMODE == libc::O_WRONLY,
        past_pages: false,
        append: flags & libc::O_APPEND != 0,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
    }
}

fn open_flags(opened: Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep);
    flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct);
    flags.set(FopenFlags::FOPEN_NOFLUSH, opened.silent);
    flags
}

fn time(time: TimeOrNow) -> Time {
    match time {
        TimeOrNow::Now => Time::Now,
        TimeOrNow::SpecificTime(time) => Time::At(time),
    }
}

impl Filesystem for Door {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            // Without it the kernel asks for `security.capability` before the first write to each file.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
        ];
        for flag in wanted {
            if config.add_capabilities(flag).is_err() {
                tracing::debug!("the kernel lacks {flag:?}");
            }
        }
        // The answer to a value out of bounds is the nearest that the kernel takes.
        let nearest = config.set_max_write(MAX_WRITE).or_else(|nearest| config.set_max_write(nearest));
        let ahead = config.set_max_readahead(MAX_WRITE).or_else(|nearest| config.set_max_readahead(nearest));
        let background = config.set_max_background(64).or_else(|nearest| config.set_max_background(nearest));
        tracing::debug!(?nearest, ?ahead, ?background, "session");
        // FUSE_NOTIFY_INC_EPOCH came with protocol 7.44.
        self.vfs.trust.allow_epochs(config.kernel_abi() >= fuser::Version(7, 44));
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.count(Operation::Lookup);
        match self.vfs.lookup(parent.0, name.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Inode 0: the kernel may keep it that there is nothing of this name.
                let nothing = Attr {
                    ino: 0,
                    what: What::File,
                    size: 0,
                    mode: 0,
                    uid: 0,
                    gid: 0,
                    links: 0,
                    atime: UNIX_EPOCH,
                    mtime: UNIX_EPOCH,
                    ctime: UNIX_EPOCH,
                };
                reply.entry(&self.vfs.trust.ttl_of_absence(), &file_attr(&nothing), GENERATION);
            }
            outcome => self.entry(outcome, reply),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.count(Operation::Forget);
        self.vfs.forget(ino.0, count);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.count(Operation::Getattr);
        match self.vfs.getattr(ino.0) {
            Ok(attr) => reply.attr(&self.vfs.ttl(), &file_attr(&attr)),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.count(Operation::Setattr);
        let (atime, mtime) = (atime.map(time), mtime.map(time));
        let set = Set { mode, uid, gid, size, atime, mtime, handle: handle.map(|handle| handle.0) };
        match self.vfs.setattr(ino.0, set) {
            Ok(attr) => reply.attr(&self.vfs.ttl(), &file_attr(&attr)),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.count(Operation::Readlink);
        match self.vfs.readlink(ino.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        self.count(Operation::Mknod);
        if mode & libc::S_IFMT != libc::S_IFREG && mode & libc::S_IFMT != 0 {
            return reply.error(Errno::EPERM);
        }
        self.entry(self.vfs.make_node(caller(request), parent.0, name.as_bytes(), mode), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.count(Operation::Mkdir);
        self.entry(self.vfs.mkdir(caller(request), parent.0, name.as_bytes(), mode), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.count(Operation::Unlink);
        self.empty(self.vfs.unlink(parent.0, name.as_bytes()), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.count(Operation::Rmdir);
        self.empty(self.vfs.rmdir(parent.0, name.as_bytes()), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.count(Operation::Symlink);
        let target = target.as_os_str().as_bytes();
        self.entry(self.vfs.symlink(caller(request), parent.0, name.as_bytes(), target), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.count(Operation::Rename);
        if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
            return reply.error(Errno::EINVAL);
        }
        let keep_existing = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
        self.empty(self.vfs.rename(parent.0, name, new_parent.0, new_name, keep_existing), reply);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        self.count(Operation::Link);
        reply.error(Errno::EPERM);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.count(Operation::Open);
        if self.vfs.trust.is_immutable() {
            // The kernel then opens by itself and reads what it has without asking.
            return reply.error(Errno::ENOSYS);
        }
        match self.vfs.open(caller(request), ino.0, mode(flags.0)) {
            Ok(opened) => reply.opened(FileHandle(opened.handle), open_flags(opened)),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.count(Operation::Read);
        // A piece that is all that was asked for goes from the store's memory to the kernel; others are gathered.
        let mut reply = Some(reply);
        let mut gathered = Vec::new();
        let outcome = self.vfs.read(ino.0, handle.0, offset, u64::from(size), &mut |bytes| {
            if bytes.len() == size as usize
                && let Some(reply) = reply.take()
            {
                reply.data(bytes);
            } else {
                gathered.extend_from_slice(bytes);
            }
        });
        if let Some(reply) = reply {
            match outcome {
                Ok(()) => reply.data(&gathered),
                Err(error) => reply.error(self.failed(&error)),
            }
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.count(Operation::Write);
        // Pages written back belong where they are, also in a file that others append to.
        let from_pages = flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let clears_suid = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        match self.vfs.write(ino.0, handle.0, offset, data, from_pages, clears_suid) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.count(Operation::Flush);
        if self.vfs.trust.is_immutable() {
            // The kernel does not ask again: nothing is ever written here.
            return reply.error(Errno::ENOSYS);
        }
        self.empty(self.vfs.flush_handle(caller(request), ino.0, handle.0, owner.0), reply);
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.count(Operation::Release);
        self.vfs.release(ino.0, handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.count(Operation::Fsync);
        self.empty(self.vfs.fsync(ino.0), reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.count(Operation::Opendir);
        match self.vfs.opendir(ino.0) {
            Ok(handle) => {
                let mut flags = FopenFlags::empty();
                if self.vfs.trust.is_immutable() {
                    flags |= FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
                }
                reply.opened(FileHandle(handle), flags);
            }
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.count(Operation::Readdir);
        let outcome = self.vfs.readdir(handle.0, offset, false, &mut |given| {
            let name = OsStr::from_bytes(given.name);
            !reply.add(INodeNo(given.ino), given.next, file_type(given.what), name)
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.count(Operation::Readdirplus);
        let ttl = self.vfs.ttl();
        let mut left = PLUS_MOST;
        let outcome = self.vfs.readdir(handle.0, offset, true, &mut |given| {
            if left == 0 {
                return false;
            }
            left -= 1;
            let name = OsStr::from_bytes(given.name);
            let (attr, ttl) = match given.attr {
                Some(attr) => (file_attr(attr), ttl),
                // The dots: the kernel takes the type and the number from here, and nothing else.
                None => (dot_attr(given.ino), Duration::ZERO),
            };
            !reply.add(INodeNo(given.ino), given.next, name, &ttl, &attr, GENERATION)
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.count(Operation::Releasedir);
        self.vfs.releasedir(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.count(Operation::Fsyncdir);
        self.empty(self.vfs.fsyncdir(), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.count(Operation::Statfs);
        const BLOCK: u64 = 4_096;
        /// What is shown as free where nobody knows: enough that no tool refuses to write.
        const UNKNOWN: u64 = 1 << 50;
        let usage = self.vfs.store().usage();
        let total = usage.total.unwrap_or(UNKNOWN) / BLOCK;
        let free = usage.free.unwrap_or(UNKNOWN).min(usage.total.unwrap_or(UNKNOWN)) / BLOCK;
        let files = usage.keys.unwrap_or(0);
        reply.statfs(total, free, free, files, u64::from(u32::MAX), BLOCK as u32, 255, BLOCK as u32);
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        self.count(Operation::Setxattr);
        let mode = match flags {
            libc::XATTR_CREATE => SetMode::Create,
            libc::XATTR_REPLACE => SetMode::Replace,
            _ => SetMode::Any,
        };
        self.empty(self.vfs.setxattr(ino.0, name.as_bytes(), value, mode), reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.count(Operation::Getxattr);
        self.sized(self.vfs.getxattr(ino.0, name.as_bytes()), size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.count(Operation::Listxattr);
        self.sized(self.vfs.listxattr(ino.0), size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.count(Operation::Removexattr);
        self.empty(self.vfs.removexattr(ino.0, name.as_bytes()), reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        permissions: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.count(Operation::Create);
        match self.vfs.create(caller(request), parent.0, name.as_bytes(), permissions, mode(flags)) {
            Ok((attr, opened)) => reply.created(
                &self.vfs.ttl(),
                &file_attr(&attr),
                GENERATION,
                FileHandle(opened.handle),
                open_flags(opened),
            ),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.count(Operation::Fallocate);
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        self.empty(self.vfs.allocate(ino.0, offset, length), reply);
    }
}

fn dot_attr(ino: Ino) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: DIRECTORY_BLOCK,
        flags: 0,
    }
}
