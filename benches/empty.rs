//! The yardstick of `scripts/bench`: a FUSE server that answers every request from a constant, with the same
//! crate and the same kernel options as kvfs. What it reaches is what the crate and the kernel allow here.
//!
//! `empty MOUNTPOINT [--snapshot] [--threads N] [--files N] [--keys N] [--large BYTES]` shows
//!
//! ```text
//! files/f000000 ...    --files files of 4 KiB
//! million/k0000000 ... --keys files without content
//! large                one file, opened for direct I/O
//! new/                 files made here are accepted and their bytes dropped
//! ```
//!
//! It prints `ready` when it is mounted, answers each line on its standard input with the requests counted so far
//! as one line of JSON, and unmounts at the end of the input, so that it goes when whoever started it goes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use clap::Parser;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr, Request,
    Session, TimeOrNow, WriteFlags,
};

/// What the server shows and how it is served.
#[derive(Parser, Clone)]
struct Options {
    /// An empty folder to mount on.
    mountpoint: Option<std::path::PathBuf>,
    /// As a snapshot mount: read-only, so that a READ makes no attribute stale, and OPEN, OPENDIR and FLUSH are
    /// answered with ENOSYS, so that the kernel stops asking.
    #[arg(long)]
    snapshot: bool,
    /// Threads that take requests, each with a descriptor of its own.
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// How many files of 4 KiB `files` shows.
    #[arg(long, default_value_t = 10_000)]
    files: u64,
    /// How many files `million` shows.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Length of `large` in bytes.
    #[arg(long, default_value_t = 1 << 30)]
    large: u64,
    /// Passed by `cargo bench` and ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

const ROOT: u64 = 1;
const FILES: u64 = 2;
const MILLION: u64 = 3;
const LARGE: u64 = 4;
const NEW: u64 = 5;
/// Inode numbers of `files/f…`, of `million/k…` and of what is made in `new` start here: 2^32 apart.
const FILES_BASE: u64 = 1 << 32;
const MILLION_BASE: u64 = 2 << 32;
const NEW_BASE: u64 = 3 << 32;

const FILE_SIZE: u64 = 4096;
const MAX_WRITE: u32 = 1 << 20;
/// What directories report as their block size: glibc's `readdir` takes a buffer of this size, and the kernel
/// passes the size on, so that a listing takes fewer requests.
const DIRECTORY_BLOCK: u32 = 1 << 20;
/// Entries in one READDIRPLUS reply. The kernel makes an inode of each before the first is seen, which takes
/// microseconds; the first request of every listing is one, also where nobody asks for attributes.
const ENTRIES_PLUS: u64 = 512;
const FOREVER: Duration = Duration::from_secs(1 << 30);

static ZEROS: [u8; MAX_WRITE as usize] = [0; MAX_WRITE as usize];

/// The kinds of request that are counted.
#[derive(Clone, Copy)]
enum Operation {
    Lookup,
    Forget,
    Getattr,
    Setattr,
    Open,
    Read,
    Write,
    Flush,
    Release,
    Fsync,
    Opendir,
    Readdir,
    Readdirplus,
    Releasedir,
    Getxattr,
    Create,
    Unlink,
}

const OPERATIONS: [&str; 17] = [
    "lookup",
    "forget",
    "getattr",
    "setattr",
    "open",
    "read",
    "write",
    "flush",
    "release",
    "fsync",
    "opendir",
    "readdir",
    "readdirplus",
    "releasedir",
    "getxattr",
    "create",
    "unlink",
];

#[derive(Default)]
struct Counters([AtomicU64; OPERATIONS.len()]);

impl Counters {
    fn count(&self, operation: Operation) {
        self.0[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn json(&self) -> serde_json::Value {
        let counts: BTreeMap<_, _> = OPERATIONS
            .iter()
            .zip(&self.0)
            .map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
            .collect();
        serde_json::json!(counts)
    }
}

struct Empty {
    options: Options,
    counters: Arc<Counters>,
    made: AtomicU64,
}

/// One of the constant directories that have many files: how they are named and numbered.
struct Family {
    letter: u8,
    digits: usize,
    base: u64,
    count: u64,
    size: u64,
}

impl Family {
    /// Writes the name of the file `index` to `buffer` and returns it.
    fn name<'a>(&self, mut index: u64, buffer: &'a mut [u8; 16]) -> &'a OsStr {
        buffer[0] = self.letter;
        for digit in buffer[1..=self.digits].iter_mut().rev() {
            *digit = b'0' + (index % 10) as u8;
            index /= 10;
        }
        OsStr::from_bytes(&buffer[..=self.digits])
    }

    fn index(&self, name: &[u8]) -> Option<u64> {
        let (letter, digits) = name.split_first()?;
        if *letter != self.letter || digits.len() != self.digits || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let index = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        (index < self.count).then_some(index)
    }
}

impl Empty {
    fn family(&self, directory: u64) -> Option<Family> {
        let Options { files, keys, .. } = self.options;
        match directory {
            FILES => {
                Some(Family { letter: b'f', digits: 6, base: FILES_BASE, count: files, size: FILE_SIZE })
            }
            MILLION => Some(Family { letter: b'k', digits: 7, base: MILLION_BASE, count: keys, size: 0 }),
            _ => None,
        }
    }

    fn attributes(&self, ino: u64) -> FileAttr {
        let size = match ino {
            LARGE => self.options.large,
            FILES_BASE..MILLION_BASE => FILE_SIZE,
            _ => 0,
        };
        let directory = matches!(ino, ROOT | FILES | MILLION | NEW);
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind: if directory { FileType::Directory } else { FileType::RegularFile },
            perm: if directory { 0o755 } else { 0o644 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: if directory { DIRECTORY_BLOCK } else { 4096 },
            flags: 0,
        }
    }

    fn find(&self, parent: u64, name: &[u8]) -> Option<u64> {
        match (parent, name) {
            (ROOT, b"files") => Some(FILES),
            (ROOT, b"million") => Some(MILLION),
            (ROOT, b"large") => Some(LARGE),
            (ROOT, b"new") => Some(NEW),
            _ => self.family(parent).and_then(|family| Some(family.base + family.index(name)?)),
        }
    }
}

impl Filesystem for Empty {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_ASYNC_DIO,
            // Without it the first write to each file asks for the attribute security.capability.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ];
        for flag in wanted {
            config
                .add_capabilities(flag)
                .map_err(|flag| io::Error::other(format!("this kernel lacks the FUSE option {flag:?}")))?;
        }
        config.set_max_write(MAX_WRITE).map_err(|_| io::Error::other("writes of 1 MiB are refused"))?;
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.counters.count(Operation::Lookup);
        match self.find(parent.0, name.as_bytes()) {
            Some(ino) => reply.entry(&FOREVER, &self.attributes(ino), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn forget(&self, _request: &Request, _ino: INodeNo, _lookups: u64) {
        self.counters.count(Operation::Forget);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        self.counters.count(Operation::Getattr);
        reply.attr(&FOREVER, &self.attributes(ino.0));
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.counters.count(Operation::Setattr);
        reply.attr(&FOREVER, &self.attributes(ino.0));
    }

    fn open(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Operation::Open);
        if self.options.snapshot {
            reply.error(Errno::ENOSYS);
        } else if ino.0 == LARGE {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
        }
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.counters.count(Operation::Read);
        let left = self.attributes(ino.0).size.saturating_sub(offset);
        let size = u64::from(size).min(left).min(ZEROS.len() as u64);
        reply.data(&ZEROS[..size as usize]);
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.counters.count(Operation::Write);
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.counters.count(Operation::Flush);
        if self.options.snapshot { reply.error(Errno::ENOSYS) } else { reply.ok() }
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.counters.count(Operation::Release);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.counters.count(Operation::Fsync);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.counters.count(Operation::Fsync);
        reply.ok();
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Operation::Opendir);
        if self.options.snapshot {
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::empty());
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.counters.count(Operation::Readdir);
        if let Some(family) = self.family(ino.0) {
            let mut buffer = [0; 16];
            for index in offset..family.count {
                let name = family.name(index, &mut buffer);
                if reply.add(INodeNo(family.base + index), index + 1, FileType::RegularFile, name) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.counters.count(Operation::Readdirplus);
        if let Some(family) = self.family(ino.0) {
            let mut buffer = [0; 16];
            let mut attributes = self.attributes(family.base);
            attributes.size = family.size;
            for index in offset..family.count.min(offset + ENTRIES_PLUS) {
                attributes.ino = INodeNo(family.base + index);
                let name = family.name(index, &mut buffer);
                if reply.add(attributes.ino, index + 1, name, &FOREVER, &attributes, Generation(0)) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.counters.count(Operation::Releasedir);
        reply.ok();
    }

    fn getxattr(&self, _: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        self.counters.count(Operation::Getxattr);
        reply.error(Errno::ENODATA);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        self.counters.count(Operation::Create);
        let ino = NEW_BASE + self.made.fetch_add(1, Ordering::Relaxed);
        let attributes = self.attributes(ino);
        reply.created(&FOREVER, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        self.counters.count(Operation::Unlink);
        reply.ok();
    }
}

fn serve(mountpoint: &std::path::Path, options: Options) -> io::Result<()> {
    let mut config = fuser::Config::default();
    config.mount_options = vec![
        MountOption::FSName("empty".into()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
        if options.snapshot { MountOption::RO } else { MountOption::RW },
    ];
    config.n_threads = Some(options.threads);
    config.clone_fd = true;
    let counters = Arc::new(Counters::default());
    let server = Empty { options, counters: counters.clone(), made: AtomicU64::new(0) };
    let session = Session::new(server, mountpoint, &config)?.spawn()?;
    let mut output = io::stdout();
    writeln!(output, "ready")?;
    for line in io::stdin().lock().lines() {
        line?;
        writeln!(output, "{}", counters.json())?;
    }
    match session.umount_and_join() {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()), // somebody else unmounted it
        ended => ended,
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(mountpoint) = options.mountpoint.clone() else {
        return ExitCode::SUCCESS; // `cargo bench` starts it so: it only makes sense under `scripts/bench`.
    };
    match serve(&mountpoint, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let place = mountpoint.display();
            // When nobody reads the sentence, the exit code still tells.
            writeln!(io::stderr(), "empty: cannot serve {place}: {error}").ok();
            ExitCode::FAILURE
        }
    }
}
