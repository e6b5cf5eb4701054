//! A served mount: its threads, its way to tell the kernel, and what is tried again meanwhile.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{INodeNo, InitFlags, KernelConfig, Notifier};

use super::Door;
use crate::error::{Error, Result};
use crate::vfs::Vfs;
use crate::vfs::invalidate::{Invalidator, Kernel};
use crate::vfs::node::Ino;

/// A request and its reply carry at most this many bytes; the kernel's own bound is 256 pages.
const MAX_WRITE: u32 = 1 << 20;

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
        match self.session.join() {
            // An unmount that came while a thread was taking a request from the queue; otherwise it is ENODEV, which
            // the session itself takes as its end.
            Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
            outcome => outcome.map_err(|error| Error::io("the FUSE session", &error)),
        }
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

/// Asks the kernel for what makes the mount quick.
pub(super) fn configure(config: &mut KernelConfig) {
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
}
