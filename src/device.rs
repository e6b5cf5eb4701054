//! The system calls that mount and unmount: `/dev/fuse` and mount(2) for root, the set-uid helper `fusermount3`
//! for everybody else.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::error::{Error, ErrorKind, Result};
use crate::mount_table;

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
/// The longest read that the kernel asks for, in bytes; its own limit is 256 pages.
const MAX_READ: u32 = 1 << 20;
/// How far the kernel reads ahead in a file, in KiB; 128 is its default, too little for large values.
const READ_AHEAD_KIB: u32 = 1024;
/// How long the helper may take; it only opens a device and mounts.
const HELPER_TIMEOUT: Duration = Duration::from_secs(20);

/// How a file system is shown and guarded by the kernel. `nosuid`, `nodev` and `default_permissions` always hold.
#[derive(Clone, Copy, Debug)]
pub struct MountFlags<'a> {
    /// What the mount table shows as the device; without secrets.
    pub source: &'a str,
    /// Whether the kernel refuses every change.
    pub read_only: bool,
    /// Whether no file can be executed.
    pub no_exec: bool,
    /// Whether other users may look.
    pub allow_other: bool,
}

/// The way to mount that this process has.
#[derive(Debug)]
pub enum Device {
    /// The device itself: mount(2) works.
    Direct(File),
    /// The helper at this path mounts for us.
    Helper(PathBuf),
}

impl Device {
    /// Finds the way to mount; nothing is mounted yet.
    ///
    /// # Errors
    /// `NotFound` without `/dev/fuse` or without the helper, with what to install.
    pub fn find() -> Result<Device> {
        let direct = OpenOptions::new().read(true).write(true).open(DEVICE);
        if nix::unistd::geteuid().is_root()
            && let Ok(device) = direct
        {
            return Ok(Device::Direct(device));
        }
        // Looked at, not opened: the helper opens it with root's rights.
        if let Err(error) = fs::metadata(DEVICE) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "{DEVICE}: {error}: load the kernel module (modprobe fuse), or give the container the \
                     device (docker run --device {DEVICE} --cap-add SYS_ADMIN)"
                ),
            ));
        }
        helper().map(Device::Helper).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("{HELPER} is needed to mount as an ordinary user: install it (apt install fuse3)"),
            )
        })
    }

    /// Mounts over `mount_point` and answers the descriptor on which the kernel's requests arrive. It returns
    /// before the kernel's first request is answered.
    ///
    /// # Errors
    /// `Denied` or `NotPermitted` without the right, with what to do.
    pub fn mount(self, mount_point: &Path, flags: &MountFlags<'_>) -> Result<OwnedFd> {
        match self {
            Device::Direct(device) => mount_direct(device, mount_point, flags),
            Device::Helper(helper) => mount_by_helper(&helper, mount_point, flags),
        }
    }
}

fn helper() -> Option<PathBuf> {
    // Not from PATH: the environment of a daemon is often bare, and the helper is set-uid root.
    ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(HELPER))
        .find(|path| path.is_file())
}

fn mount_direct(device: File, mount_point: &Path, flags: &MountFlags<'_>) -> Result<OwnedFd> {
    let mut kernel = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    kernel.set(MsFlags::MS_RDONLY, flags.read_only);
    kernel.set(MsFlags::MS_NOEXEC, flags.no_exec);
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},{}",
        device.as_raw_fd(),
        nix::unistd::geteuid(),
        nix::unistd::getegid(),
        common_options(flags)
    );
    nix::mount::mount(
        Some(flags.source),
        mount_point,
        Some(mount_table::KIND),
        kernel,
        Some(data.as_str()),
    )
    .map_err(|errno| match errno {
        Errno::EPERM => Error::new(
            ErrorKind::NotPermitted,
            format!(
                "mounting on {} is not permitted: a container needs --cap-add SYS_ADMIN --device {DEVICE}",
                mount_point.display()
            ),
        ),
        Errno::ENODEV => Error::new(
            ErrorKind::NotFound,
            "the kernel knows no FUSE: load its module (modprobe fuse)".to_owned(),
        ),
        _ => Error::io(format_args!("mounting on {}", mount_point.display()), &errno.into()),
    })?;
    Ok(device.into())
}

fn common_options(flags: &MountFlags<'_>) -> String {
    let others = if flags.allow_other { ",allow_other" } else { "" };
    format!("default_permissions,max_read={MAX_READ}{others}")
}

/// The helper mounts and sends the descriptor through a socket, which it finds as its standard input: so no
/// descriptor has to survive the exec by flags that another thread's child could inherit.
fn mount_by_helper(helper: &Path, mount_point: &Path, flags: &MountFlags<'_>) -> Result<OwnedFd> {
    let what = || format!("mounting on {} by {HELPER}", mount_point.display());
    let (ours, theirs) = UnixStream::pair().map_err(|e| Error::io(what(), &e))?;
    ours.set_read_timeout(Some(HELPER_TIMEOUT)).map_err(|e| Error::io(what(), &e))?;
    let mut options =
        format!("fsname={},subtype=kvfs,nosuid,nodev,{}", escape_option(flags.source), common_options(flags));
    options.push_str(if flags.read_only { ",ro" } else { "" });
    options.push_str(if flags.no_exec { ",noexec" } else { "" });
    let mut command = Command::new(helper);
    command.arg("-o").arg(options).arg("--").arg(mount_point).env("_FUSE_COMMFD", "0");
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| Error::io(what(), &e))?;
    // The child's end is closed here, or a helper that fails would leave us waiting for it.
    drop(command);
    let device = receive(&ours);
    drop(ours);
    if device.is_err() {
        // Gone already unless the time is up; then it is not to mount any more.
        drop(child.kill());
    }
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        drop(errors.by_ref().take(4096).read_to_string(&mut said));
    }
    let status = child.wait().map_err(|e| Error::io(what(), &e))?;
    match device {
        Ok(device) if status.success() => Ok(device),
        Ok(_) | Err(_) if !said.trim().is_empty() => Err(helper_failure(&what(), &said)),
        Ok(_) => Err(Error::new(ErrorKind::Io, format!("{}: it ended with {status}", what()))),
        Err(errno) => Err(Error::io(what(), &errno.into())),
    }
}

fn helper_failure(what: &str, said: &str) -> Error {
    let said = said.trim().lines().next().unwrap_or_default();
    let said = said.rsplit_once("fusermount3: ").map_or(said, |(_, sentence)| sentence);
    if said.contains("user_allow_other") {
        let sentence =
            "--allow-other needs the line user_allow_other in /etc/fuse.conf: ask the administrator";
        return Error::new(ErrorKind::NotPermitted, sentence);
    }
    if said.contains(DEVICE) && said.contains("Permission denied") {
        let sentence = format!("only root may open {DEVICE} here: as root, chmod 666 {DEVICE}");
        return Error::new(ErrorKind::Denied, sentence);
    }
    Error::new(ErrorKind::Denied, format!("{what}: {said}"))
}

/// Commas separate options, and a backslash takes its meaning from the byte after it.
fn escape_option(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

/// Takes the one descriptor that comes with the one byte.
fn receive(socket: &UnixStream) -> nix::Result<OwnedFd> {
    let mut byte = [0];
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part
            && let Some(&descriptor) = descriptors.first()
        {
            // SAFETY: the kernel made this descriptor for us in this very recvmsg, so that it is open and nobody
            // else owns it; the list is not looked at again.
            return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
    Err(Errno::EPIPE)
}

/// How an unmount treats those who still use the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// It fails with `Busy`.
    WhenFree,
    /// The mount leaves the tree at once, and ends when the last user is gone. Only for mounts whose bytes
    /// are safe: dead ones, and those whose daemon is told to hurry.
    Detach,
}

/// Unmounts the uppermost mount at `mount_point`.
///
/// # Errors
/// `Busy` while a program uses it, `Invalid` when nothing is mounted there, `NotPermitted` for another user's.
pub fn unmount(mount_point: &Path, how: Unmount) -> Result<()> {
    let flags = match how {
        Unmount::WhenFree => MntFlags::UMOUNT_NOFOLLOW,
        Unmount::Detach => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
    };
    let what = || format!("unmounting {}", mount_point.display());
    match nix::mount::umount2(mount_point, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => match helper() {
            Some(helper) => unmount_by_helper(&helper, mount_point, how).map_err(|e| e.context(what())),
            None => Err(Error::new(ErrorKind::NotFound, format!("{}: install fuse3 for {HELPER}", what()))),
        },
        Err(errno) => Err(Error::io(what(), &errno.into())),
    }
}

fn unmount_by_helper(helper: &Path, mount_point: &Path, how: Unmount) -> Result<()> {
    let mut command = Command::new(helper);
    command.arg("-u");
    if how == Unmount::Detach {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(mount_point)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::io(helper.display(), &e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let busy = said.contains("busy");
    let kind = if busy { ErrorKind::Busy } else { ErrorKind::NotPermitted };
    Err(Error::new(kind, said.trim().lines().next().unwrap_or("it failed").to_owned()))
}

/// Lets the kernel read further ahead in the files of this mount, where this process may say so. To be called
/// when the kernel's first request was answered, which sets the default.
pub fn read_ahead(mount_point: &Path) {
    let Ok(Some(entry)) = mount_table::at(mount_point) else { return };
    let (major, minor) = entry.device;
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(&setting, READ_AHEAD_KIB.to_string()) {
        tracing::debug!("{setting}: {error}: large values are read in smaller steps");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_cannot_make_options() {
        assert_eq!(escape_option(r"lmdb:/a,suid\b"), r"lmdb:/a\,suid\\b");
    }

    #[test]
    fn a_helper_that_hangs_up_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(receive(&ours).unwrap_err(), Errno::EPIPE);
    }
}
