//! A process that serves mounts until the last of them ends: signals, the control socket, the way into the
//! background.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{MountSpec, Password};
use crate::control::{Address, Answer, Request, Server};
use crate::device::Unmount;
use crate::env::Folders;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::Mount;
use crate::{control, mount_table};

/// How often a mount that is in use is tried again, once the daemon was told to end.
const BUSY_RETRY: Duration = Duration::from_millis(500);
/// What a daemon that is told to hurry leaves its mounts to put their last bytes.
const HURRY: Duration = Duration::from_secs(5);

/// As many files as a daemon may have open, where the system lets it.
const FILES_MAX: u64 = 1 << 20;

/// All that a daemon is told, by its standard input: the command line would show it to everybody (§8.7).
#[derive(Debug, Serialize, Deserialize)]
pub struct Orders {
    /// What to mount.
    pub mount: MountSpec,
    /// Where to log; to standard error without a file.
    pub log: Option<PathBuf>,
    /// What to log: see [`crate::logging::start`].
    pub level: String,
    /// Whether it ends when its standard input does: `kvfs exec` and its mount live and die together.
    pub until_hang_up: bool,
    /// A password that was typed for it.
    #[serde(default)]
    pub password: Option<Password>,
}

impl Orders {
    /// The log file of a mount in the background.
    pub fn log_file(mount_point: &Path) -> PathBuf {
        let path = mount_table::absolute(mount_point).unwrap_or_else(|_| mount_point.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        // For people who look for it; the hash is what makes it this mount's.
        let name: String = name.chars().map(plain).take(64).collect();
        Folders::get().logs().join(format!("{name}-{}.log", control::hash(&path)))
    }
}

/// What a daemon in the background tells the command that started it, once.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The mount at this path answers.
    Ready(#[serde(with = "crate::config::text::path")] PathBuf),
    /// Why there is none.
    Failed(String),
}

/// The mounts of this process. One so far; whatever is asked of the process is asked of each.
pub struct Daemon {
    mounts: Vec<Arc<Mount>>,
    servers: Vec<Server>,
}

impl Daemon {
    /// Mounts what is ordered and begins to serve it.
    ///
    /// # Errors
    /// As for [`Mount::start`].
    pub fn start(spec: MountSpec, log: Option<PathBuf>) -> Result<Daemon> {
        raise_file_limit();
        // Before the mount, so that no signal kills a daemon that has one.
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|e| Error::io("signals", &e))?;
        let path = mount_table::absolute(&spec.mount_point).map_err(|e| {
            e.context(format_args!("the folder of the mount point {} must exist", spec.mount_point.display()))
        })?;
        let address = Address::take(&path)?;
        let (mount, session) = Mount::start(spec)?;
        let served = mount.clone();
        spawn("session", move || served.serve(session))?;
        let server = Server::start(address, answer(mount.clone(), log))?;
        let daemon = Daemon { mounts: vec![mount], servers: vec![server] };
        daemon.obey(signals)?;
        Ok(daemon)
    }

    /// Where its mounts are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.mounts.iter().map(|mount| mount.path())
    }

    /// Ends every mount when there is nothing more to read.
    ///
    /// # Errors
    /// The system's, when no thread can be had.
    pub fn end_with(&self, mut input: impl Read + Send + 'static) -> Result<()> {
        let mounts = self.mounts.clone();
        spawn("hang-up", move || {
            while matches!(input.read(&mut [0; 64]), Ok(1..)) {}
            end(&mounts);
        })
    }

    /// Waits for the end of every mount; whether everything could be put and closed.
    pub fn wait(mut self) -> bool {
        let endings: Vec<_> = self.mounts.iter().filter_map(|mount| mount.wait(None)).collect();
        // Whoever asked for the end gets its answer first.
        self.servers.clear();
        !endings.iter().any(|ending| ending.failed)
    }

    fn obey(&self, mut signals: Signals) -> Result<()> {
        let mounts = self.mounts.clone();
        spawn("signals", move || {
            let mut asked = false;
            for signal in signals.forever() {
                if !asked {
                    asked = true;
                    tracing::info!("signal {signal}: putting what is pending, then unmounting");
                    let mounts = mounts.clone();
                    drop(spawn("end", move || end(&mounts)));
                } else {
                    tracing::warn!("signal {signal}: hurrying; programs in the mount lose it");
                    hurry(&mounts);
                }
            }
        })
    }
}

/// Every open file that is written may hold a descriptor of its own, and the usual limit is for interactive programs.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard.min(FILES_MAX), hard));
    if let Err(errno) = raised {
        tracing::debug!("the limit of open files stays: {errno}");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(|e| Error::io("a thread", &e))
}

/// Ends every mount, each as soon as nobody uses it any more.
fn end(mounts: &[Arc<Mount>]) {
    for mount in mounts {
        let mut told = None;
        loop {
            if let Err(error) = mount.unmount(Some(mount.spec().timeout), &|| true)
                && told.replace(error.kind()) != Some(error.kind())
            {
                tracing::warn!("{error}; it is tried again, and a second signal ends it at once");
            }
            if mount.wait(Some(BUSY_RETRY)).is_some() {
                break;
            }
        }
    }
}

/// Ends every mount at once; bytes that cannot be put in a few seconds are kept (§8.4).
fn hurry(mounts: &[Arc<Mount>]) {
    for mount in mounts {
        mount.hurry(HURRY);
        if let Err(error) = mount.detach(Unmount::Detach) {
            tracing::warn!("{error}");
        }
    }
    for mount in mounts {
        if mount.wait(Some(HURRY)).is_none() {
            // Somebody still has a file open: the connection ends with this process.
            mount.finish(None);
        }
    }
}

fn answer(mount: Arc<Mount>, log: Option<PathBuf>) -> Arc<Answer> {
    let value = |value: serde_json::Result<serde_json::Value>| {
        value.map_err(|e| Error::new(ErrorKind::Io, format!("the answer cannot be written: {e}")))
    };
    Arc::new(move |request, wanted| match request {
        Request::Status => {
            let mut status = mount.status();
            status.log = log.clone();
            value(serde_json::to_value(status))
        }
        Request::Sync { timeout } => {
            mount.sync(timeout.map(Duration::from_millis))?;
            Ok(serde_json::Value::Null)
        }
        Request::Unmount { timeout } => {
            value(serde_json::to_value(mount.unmount(timeout.map(Duration::from_millis), wanted)?))
        }
        Request::Compact => value(serde_json::to_value(mount.compact()?)),
    })
}

/// The daemon's side of going to the background: reads its orders from standard input, mounts, reports to standard
/// output, and serves. The exit code tells whether everything could be done.
///
/// # Errors
/// Only what can no longer be reported.
pub fn run_in_background() -> Result<bool> {
    let mut orders: Orders = {
        let mut line = String::new();
        BufReader::new(std::io::stdin().take(1 << 20))
            .read_line(&mut line)
            .map_err(|e| Error::io("the daemon's orders", &e))?;
        serde_json::from_str(&line).map_err(|e| {
            Error::new(ErrorKind::Invalid, format!("the daemon's orders: {e}; kvfs mount starts daemons"))
        })?
    };
    if let Some(password) = orders.password.take() {
        password.remember();
    }
    let started = leave(&orders).and_then(|()| Daemon::start(orders.mount, orders.log));
    let daemon = match started {
        Ok(daemon) => daemon,
        Err(error) => {
            report(&Report::Failed(error.to_string()))?;
            return Ok(false);
        }
    };
    for path in daemon.paths() {
        tracing::info!("mounted on {}", path.display());
    }
    let path = daemon.paths().next().map(Path::to_owned).unwrap_or_default();
    if orders.until_hang_up {
        daemon.end_with(std::io::stdin())?;
    }
    if report(&Report::Ready(path)).is_err() {
        tracing::warn!("nobody waits for this mount any more: unmounting");
        end(&daemon.mounts);
    }
    close_terminal(orders.until_hang_up)?;
    Ok(daemon.wait())
}

/// Leaves the terminal and the working folder behind, and starts the log.
fn leave(orders: &Orders) -> Result<()> {
    // Fails where this process leads its group already, which is as good.
    let _ = nix::unistd::setsid();
    nix::unistd::chdir("/").map_err(|errno| Error::io("/", &errno.into()))?;
    crate::logging::start(&orders.level, orders.log.as_deref())
}

fn report(report: &Report) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("the command that waits for this daemon", &e);
    let line = serde_json::to_string(report).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
    let mut output = std::io::stdout();
    output.write_all(line.as_bytes()).and_then(|()| output.write_all(b"\n")).map_err(failed)?;
    output.flush().map_err(failed)
}

/// Nobody reads the output or the errors of a daemon; who started it must not wait for them to end.
fn close_terminal(keep_input: bool) -> Result<()> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|e| Error::io("/dev/null", &e))?;
    let input = if keep_input { Ok(()) } else { nix::unistd::dup2_stdin(&null) };
    input
        .and_then(|()| nix::unistd::dup2_stdout(&null))
        .and_then(|()| nix::unistd::dup2_stderr(&null))
        .map_err(|errno| Error::io("/dev/null", &errno.into()))
}
