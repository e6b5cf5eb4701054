//! The door: each request of the kernel is translated, handed to the [`Vfs`], and answered. Nothing is decided here
//! but how things are spelled in FUSE, and which errno an error is.
//!
//! Left out, and why:
//!
//! | operation | answer | reason |
//! |---|---|---|
//! | `link` | EPERM | a key has one name (§5.2) |
//! | `mknod` of devices | EPERM | a store keeps no devices (§5.2) |
//! | `getlk`, `setlk`, `flock` | the kernel's own | locks hold on one mount (§5.9); not asking for them is quicker and right |
//! | `access` | the kernel's own | `default_permissions` is always on |
//! | `bmap` | ENOSYS | there are no blocks |
//! | `ioctl` | ENOTTY | nothing to control |
//! | `tmpfile` | ENOSYS, by fuser: `O_TMPFILE` is EOPNOTSUPP | a put needs a name; programs make one and remove it |
//! | `statx` | ENOSYS, by fuser: the kernel asks for attributes | no store knows when a key was made: there is no btime |
//! | `poll` | ENOSYS: the kernel takes files for ready | they always are |
//! | `fallocate` that moves or unshares bytes | EOPNOTSUPP, by the kernel | a value would be moved byte by byte |
//! | `lseek` for holes, of a snapshot | ENOSYS: the kernel tells by the size | stored values are one piece of data |
//! | `rename` with WHITEOUT | EINVAL | a whiteout is a device, and a store keeps none |
//! | `syncfs` | never arrives | the kernel sends it to block devices only; `kvfs sync` is for that |

mod door;
mod errno;
mod session;
mod words;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use door::Door;
use fuser::{
    CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
pub use session::{Session, serve};
use words::{
    GENERATION, caller, clears_set_id, file_attr, file_type, mode, nothing, open_flags, statfs, time,
};

use crate::error::ErrorKind;
use crate::store::attributes::FileType;
use crate::vfs::{copy::Spot, report::Operation, setattr::Set, xattr::SetMode};
use errno::errno;

impl Filesystem for Door {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        session::configure(config);
        // FUSE_NOTIFY_INC_EPOCH came with protocol 7.44.
        self.vfs.trust.allow_epochs(config.kernel_abi() >= fuser::Version(7, 44));
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.count(Operation::Lookup);
        match self.vfs.lookup(parent.0, name.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Inode 0: the kernel may keep it that there is nothing of this name.
                reply.entry(&self.vfs.trust.ttl_of_absence(), &nothing(), GENERATION);
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
        self.attr(self.vfs.getattr(ino.0), reply);
    }

    fn setattr(
        &self,
        request: &Request,
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
        let (handle, clears_set_id) = (handle.map(|handle| handle.0), clears_set_id(request));
        let set = Set { mode, uid, gid, size, atime, mtime, handle, clears_set_id };
        self.attr(self.vfs.setattr(ino.0, set), reply);
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
        let file_type = match mode & libc::S_IFMT {
            0 | libc::S_IFREG => FileType::Regular,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            _ => return reply.error(Errno::EPERM),
        };
        let made = self.vfs.make_node(caller(request), parent.0, name.as_bytes(), mode, file_type);
        self.entry(made, reply);
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
        let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
        let keep_existing = flags == RenameFlags::RENAME_NOREPLACE;
        let outcome = if flags == RenameFlags::RENAME_EXCHANGE {
            self.vfs.exchange(parent.0, name, new_parent.0, new_name)
        } else if flags.is_empty() || keep_existing {
            self.vfs.rename(parent.0, name, new_parent.0, new_name, keep_existing)
        } else {
            return reply.error(Errno::EINVAL);
        };
        self.empty(outcome, reply);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        self.count(Operation::Link);
        reply.error(Errno::EPERM);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.count(Operation::Open);
        if self.vfs.trust.opens_by_itself() {
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
        self.give(ino.0, handle.0, offset, size, reply);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        open: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.count(Operation::Write);
        // Pages written back belong where they are, also in a file that others append to.
        let from_pages = flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let clears_suid = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let mut outcome = self.vfs.write(ino.0, handle.0, offset, data, from_pages, clears_suid);
        if mode(open.0).synchronous && !from_pages {
            outcome = outcome.and_then(|()| self.vfs.sync_direct_write(ino.0, handle.0));
        }
        match outcome {
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
        reply: ReplyDirectoryPlus,
    ) {
        self.count(Operation::Readdirplus);
        self.list_with_attributes(handle.0, offset, reply);
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
        statfs(self.vfs.store().usage(), reply);
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
                &self.vfs.ttl_of(&attr),
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
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.count(Operation::Fallocate);
        let Some(wanted) = words::fallocate(offset, length, mode) else {
            return reply.error(Errno::EOPNOTSUPP);
        };
        self.empty(self.vfs.fallocate(ino.0, handle.0, wanted, clears_set_id(request)), reply);
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.count(Operation::Lseek);
        if self.vfs.trust.is_immutable() {
            // Values have no holes: the kernel then tells by the size alone.
            return reply.error(Errno::ENOSYS);
        }
        self.seek(ino.0, handle.0, offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        from_handle: FileHandle,
        from_offset: u64,
        to: INodeNo,
        to_handle: FileHandle,
        to_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.count(Operation::CopyFileRange);
        let from = Spot { ino: from.0, handle: from_handle.0, offset: from_offset };
        let to = Spot { ino: to.0, handle: to_handle.0, offset: to_offset };
        match self.vfs.copy_range(from, to, length, clears_set_id(request)) {
            Ok(copied) => reply.written(copied as u32),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        self.count(Operation::Ioctl);
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        self.count(Operation::Poll);
        // The kernel then takes every file for ready, and does not ask again.
        reply.error(Errno::ENOSYS);
    }
}
