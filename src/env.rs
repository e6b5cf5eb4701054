//! The world outside: the clock, deadlines, and the folders that kvfs keeps things in. The one place where the
//! environment's variables, the wall clock and sleeping are met.

mod runtime;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, ErrorKind, Result};

pub use runtime::{another_runtime, spawn, spawn_blocking, wait};

/// A word that nobody else has, for names.
pub fn fresh_word() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// The wall clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The steady clock.
#[allow(clippy::disallowed_methods)]
pub fn instant() -> Instant {
    Instant::now()
}

/// A moment after which nobody waits any longer (§8.1).
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `timeout` from now.
    pub fn after(timeout: Duration) -> Deadline {
        Deadline(instant() + timeout)
    }

    /// The moment itself, for waits on a condition.
    pub fn at(&self) -> Instant {
        self.0
    }

    /// What is left; zero when it has passed.
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(instant())
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// A variable of the environment, by which other programs of a store are told the same; `None` where it is not set, empty
/// or no text.
#[allow(clippy::disallowed_methods)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first line of a file that holds a secret, which nobody but its owner may read (§8.7).
///
/// # Errors
/// `Denied` where others may read it; the system's.
pub fn secret(path: &Path) -> Result<String> {
    let about = |error: &std::io::Error| Error::io(path.display(), error);
    let mode = fs::metadata(path).map_err(|error| about(&error))?.mode();
    if mode & 0o077 != 0 {
        let sentence = format!("{} has a secret that others may read: chmod 600 it", path.display());
        return Err(Error::new(ErrorKind::Denied, sentence));
    }
    let text = fs::read_to_string(path).map_err(|error| about(&error))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Where kvfs keeps what is not in a store. All folders are 0700 and the user's own (§8.7).
#[derive(Debug, Clone)]
pub struct Folders {
    /// Sockets of running daemons and mount points of `kvfs exec`; gone after a reboot.
    pub runtime: PathBuf,
    /// Journals and spools: bytes accepted and not yet in a store. Survives a reboot.
    pub state: PathBuf,
    /// Spill files, unlinked as soon as they are made.
    pub scratch: PathBuf,
}

static FOLDERS: OnceLock<Folders> = OnceLock::new();

impl Folders {
    /// The folders of this user, by the XDG base directories; root's are under `/run`, `/var/lib` and `/var/tmp`.
    pub fn get() -> &'static Folders {
        FOLDERS.get_or_init(Folders::from_environment)
    }

    /// Keeps everything below `folder` instead, for this process: for programs that embed kvfs, and for tests. What was
    /// used once stays in use.
    pub fn keep_below(folder: &Path) -> &'static Folders {
        FOLDERS.get_or_init(|| Folders {
            runtime: folder.join("run"),
            state: folder.join("state"),
            scratch: folder.to_owned(),
        })
    }

    #[allow(clippy::disallowed_methods)]
    fn from_environment() -> Folders {
        let variable =
            |name: &str| std::env::var(name).ok().filter(|v| v.starts_with('/')).map(PathBuf::from);
        let uid = nix::unistd::geteuid();
        let home = variable("HOME").filter(|_| !uid.is_root());
        let runtime = variable("KVFS_RUNTIME_DIR")
            .or_else(|| variable("XDG_RUNTIME_DIR").filter(|_| !uid.is_root()).map(|d| d.join("kvfs")))
            .unwrap_or_else(|| {
                if uid.is_root() { "/run/kvfs".into() } else { format!("/tmp/kvfs-{uid}").into() }
            });
        let state = variable("KVFS_STATE_DIR")
            .or_else(|| cfg!(test).then(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp/state").into()))
            .or_else(|| variable("XDG_STATE_HOME").filter(|_| !uid.is_root()).map(|d| d.join("kvfs")))
            .unwrap_or_else(|| match home {
                Some(home) => home.join(".local/state/kvfs"),
                None if uid.is_root() => "/var/lib/kvfs".into(),
                None => format!("/var/tmp/kvfs-{uid}").into(),
            });
        let scratch =
            variable("KVFS_SCRATCH_DIR").or_else(|| variable("TMPDIR")).unwrap_or_else(|| "/var/tmp".into());
        Folders { runtime, state, scratch }
    }

    /// Where `kvfs exec` mounts: a folder for each source, with a fixed path.
    pub fn exec_mounts(&self) -> PathBuf {
        self.runtime.join("exec")
    }

    /// Where daemons in the background write their logs.
    pub fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    /// A file without a name, for reading and writing, that vanishes when it is closed.
    ///
    /// # Errors
    /// The scratch folder's: `NoSpace`, `Denied`.
    pub fn unlinked_file(&self) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE)
            .open(&self.scratch)
            .map_err(|e| Error::io(format_args!("a spill file in {}", self.scratch.display()), &e))
    }
}

/// Makes `folder` and what is missing above it, readable by its owner alone, and checks that it is the user's own.
///
/// # Errors
/// `Denied` when somebody else owns it; otherwise the system's.
pub fn private_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::io(folder.display(), &e))?;
    let found = fs::symlink_metadata(folder).map_err(|e| Error::io(folder.display(), &e))?;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("{} belongs to somebody else: remove it, or set another folder", folder.display()),
        ));
    }
    Ok(())
}
