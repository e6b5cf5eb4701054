//! `kvfs unmount`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::Args;

use super::{Failure, Outcome, output};
use crate::config::text::parse_wait;
use crate::control::{self, Request};
use crate::device;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::{Ending, Status};
use crate::mount_point::{Health, health};
use crate::mount_table::{self, MountEntry};

/// How often a command that waits looks what for.
const LOOK: Duration = Duration::from_secs(2);
/// How long a daemon may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_millis(800);

/// End a mount
///
/// Waits until everything that was written is in the store, saying what it waits for, then unmounts, closes the store,
/// and returns. A mount whose daemon died is cleaned up: what it had accepted is put when the store is mounted again.
///
/// It fails, and the mount stays, while a program uses it, or when a file cannot be put.
#[derive(Debug, Args)]
pub struct Unmount {
    /// The mount point
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Stop waiting after this time: what is not put by then is kept for `kvfs recover`
    #[arg(long, value_name = "TIME", value_parser = parse_wait)]
    timeout: Option<Duration>,
}

impl Unmount {
    pub fn run(self) -> Outcome {
        let path = mount_table::absolute(&self.folder)?;
        let entry = find(&path)?;
        if health(&path) == Health::Dead {
            device::unmount(&path, device::Unmount::Detach)?;
            control::tidy(&control::socket(&path));
            output::tell(format_args!(
                "{} is cleaned up: its daemon had died; what it had accepted is put when {} is mounted again",
                path.display(),
                entry.source
            ));
            return Ok(());
        }
        match unmount(&path, self.timeout) {
            Ok(ending) => finish(&ending),
            // Another user's mount: its daemon puts what is pending when it sees the end.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(device::unmount(&path, device::Unmount::WhenFree)?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Says how a mount ended, and makes an exit code of it.
pub fn finish(ending: &Ending) -> Outcome {
    for sentence in &ending.sentences {
        output::tell(sentence);
    }
    if ending.failed { Err(Failure::Code(1)) } else { Ok(()) }
}

/// The kvfs mount at this path.
///
/// # Errors
/// `Invalid` when there is none, with those that are.
pub fn find(path: &Path) -> Result<MountEntry> {
    let mounts = mount_table::read()?;
    if let Some(entry) = mounts.iter().rfind(|entry| entry.mount_point == path)
        && entry.is_kvfs()
    {
        return Ok(entry.clone());
    }
    let others: Vec<_> = mounts
        .iter()
        .filter(|entry| entry.is_kvfs())
        .map(|entry| entry.mount_point.display().to_string())
        .collect();
    let others = if others.is_empty() { "there are none".to_owned() } else { others.join(", ") };
    let sentence = format!("{} is not a mount of kvfs; mounts of kvfs: {others}", path.display());
    Err(Error::new(ErrorKind::Invalid, sentence))
}

/// Asks the daemon to put everything and to unmount, and says every now and then what it waits for (§8.5).
///
/// # Errors
/// What the daemon says; `NotFound` when none can be asked.
pub fn unmount(path: &Path, timeout: Option<Duration>) -> Result<Ending> {
    let timeout = timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let socket = control::socket(path);
    let (answer, answered) = mpsc::sync_channel(1);
    let asked = socket.clone();
    thread::Builder::new()
        .name("unmount".to_owned())
        .spawn(move || drop(answer.send(control::ask(&asked, &Request::Unmount { timeout }, None))))
        .map_err(|e| Error::io("asking the daemon", &e))?;
    let value = wait(path, &socket, &answered)?;
    serde_json::from_value(value).map_err(|e| Error::new(ErrorKind::Io, format!("the daemon's answer: {e}")))
}

fn wait(
    path: &Path,
    socket: &Path,
    answered: &Receiver<Result<serde_json::Value>>,
) -> Result<serde_json::Value> {
    let mut told = String::new();
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => return Err(ErrorKind::Io.into()),
            Err(RecvTimeoutError::Timeout) => {
                let sentence = waiting_for(path, socket);
                if sentence != told {
                    output::tell(&sentence);
                    told = sentence;
                }
            }
        }
    }
}

fn waiting_for(path: &Path, socket: &Path) -> String {
    let path = path.display();
    let status = control::ask(socket, &Request::Status, Some(STATUS_TIMEOUT))
        .and_then(|value| serde_json::from_value::<Status>(value).map_err(|_| ErrorKind::Io.into()));
    let Ok(status) = status else {
        return format!("{path}: its daemon does not answer; waiting");
    };
    match status.report.get("dirty_files").and_then(serde_json::Value::as_u64) {
        Some(files @ 1..) => format!("{path}: waiting for {files} files to be put into {}", status.source),
        _ => format!("{path}: waiting for {} to commit and to close", status.source),
    }
}
