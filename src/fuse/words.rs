//! The words of FUSE for what the Vfs says, and the other way round.

use std::time::UNIX_EPOCH;

use fuser::{FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyStatfs, Request, TimeOrNow};

use crate::store::api::Usage;
use crate::vfs::Caller;
use crate::vfs::attr::Attr;
use crate::vfs::node::{Ino, What};
use crate::vfs::open::{Mode, Opened};
use crate::vfs::setattr::Time;

/// Inode numbers are not used again while the kernel knows them, so one generation does.
pub(super) const GENERATION: Generation = Generation(0);
/// `st_blksize` of files: what `cp` and `cat` read at once.
const FILE_BLOCK: u32 = 128 << 10;
/// `st_blksize` of directories: the C library reads names in pieces of this size, so a listing takes few requests.
const DIRECTORY_BLOCK: u32 = 256 << 10;

pub(super) fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

/// Whether a cut by the caller takes set-id bits away. The kernel says so by a flag that fuser does not hand on; it sets it
/// for whoever lacks CAP_FSETID, and root alone has that as a rule.
pub(super) fn clears_set_id(request: &Request) -> bool {
    request.uid() != 0
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
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

pub(super) fn file_type(what: &What) -> FileType {
    match what {
        What::File => FileType::RegularFile,
        What::Directory => FileType::Directory,
        What::Symlink(_) => FileType::Symlink,
    }
}

pub(super) fn mode(flags: i32) -> Mode {
    Mode {
        write: flags & libc::O_ACCMODE != libc::O_RDONLY,
        write_only: flags & libc::O_ACCMODE == libc::O_WRONLY,
        past_pages: false,
        append: flags & libc::O_APPEND != 0,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
    }
}

pub(super) fn open_flags(opened: Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep);
    flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct);
    flags.set(FopenFlags::FOPEN_NOFLUSH, opened.silent);
    flags
}

pub(super) fn time(time: TimeOrNow) -> Time {
    match time {
        TimeOrNow::Now => Time::Now,
        TimeOrNow::SpecificTime(time) => Time::At(time),
    }
}

/// The attributes of `.` and `..`, of which the kernel takes the type and the number alone.
pub(super) fn dot_attr(ino: Ino) -> FileAttr {
    FileAttr { kind: FileType::Directory, blksize: DIRECTORY_BLOCK, nlink: 1, ..nothing_at(ino) }
}

/// What an absent name has for attributes.
pub(super) fn nothing() -> FileAttr {
    nothing_at(0)
}

fn nothing_at(ino: Ino) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: FILE_BLOCK,
        flags: 0,
    }
}

/// Answers how full a store is.
pub(super) fn statfs(usage: Usage, reply: ReplyStatfs) {
    const BLOCK: u64 = 4_096;
    /// What is shown as free where nobody knows: enough that no tool refuses to write.
    const UNKNOWN: u64 = 1 << 50;
    let total = usage.total.unwrap_or(UNKNOWN) / BLOCK;
    let free = usage.free.unwrap_or(UNKNOWN).min(usage.total.unwrap_or(UNKNOWN)) / BLOCK;
    let files = usage.keys.unwrap_or(0);
    reply.statfs(total, free, free, files, u64::from(u32::MAX), BLOCK as u32, 255, BLOCK as u32);
}
