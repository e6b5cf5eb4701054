//! Asking the daemons of mounts, and saying what is waited for.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::output;
use crate::control::{self, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::Status;
use crate::mount_table::{self, MountEntry};

/// How often a command that waits looks what for.
const LOOK: Duration = Duration::from_secs(2);
/// How long a daemon may take to say how it is: `kvfs status` answers within a second, whatever they do.
pub const STATUS_TIMEOUT: Duration = Duration::from_millis(700);

/// How the mount behind `socket` is.
///
/// # Errors
/// `NotFound` without a daemon, `TimedOut` when it does not answer.
pub fn status(socket: &Path) -> Result<Status> {
    understood(control::ask(socket, &Request::Status, Some(STATUS_TIMEOUT))?)
}

/// Asks the daemon of the mount at `path` for as long as it takes, and says now and then what it waits for (§8.5).
///
/// # Errors
/// What the daemon says; `NotFound` when none can be asked.
pub fn patiently<T: DeserializeOwned>(path: &Path, request: Request) -> Result<T> {
    let socket = control::socket(path);
    let (answer, answered) = mpsc::sync_channel(1);
    let asked = socket.clone();
    thread::Builder::new()
        .name("ask patiently".to_owned())
        .spawn(move || drop(answer.send(control::ask(&asked, &request, None))))
        .map_err(|e| Error::io("asking the daemon", &e))?;
    let mut told = String::new();
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(answer) => return understood(answer?),
            Err(RecvTimeoutError::Disconnected) => return Err(ErrorKind::Io.into()),
            Err(RecvTimeoutError::Timeout) => {
                let sentence = waiting_for(path, &socket);
                if sentence != told {
                    output::tell(&sentence);
                    told = sentence;
                }
            }
        }
    }
}

fn understood<T: DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| {
        let sentence =
            format!("the daemon is of another version of kvfs: its answer is not understood ({error})");
        Error::new(ErrorKind::Invalid, sentence)
    })
}

fn waiting_for(path: &Path, socket: &Path) -> String {
    let path = path.display();
    let Ok(status) = status(socket) else {
        return format!("{path}: its daemon does not answer; waiting");
    };
    let files = match status.report.get("dirty").and_then(serde_json::Value::as_u64) {
        Some(1) => "1 file to be put into ".to_owned(),
        Some(files @ 2..) => format!("{files} files to be put into "),
        _ => String::new(),
    };
    let why = status.report.get("failing").and_then(|failing| failing.get(0)?.as_str());
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{path}: waiting for {files}{}{why}", status.source)
}

/// The kvfs mount at exactly this path.
///
/// # Errors
/// `Invalid` when there is none, with those that are.
pub fn mount_at(path: &Path) -> Result<MountEntry> {
    match mount_table::at(path)? {
        Some(entry) if entry.is_kvfs() => Ok(entry),
        _ => Err(no_mount(path)),
    }
}

/// The kvfs mount that this path is in.
///
/// # Errors
/// `Invalid` when there is none, with those that are.
pub fn mount_around(path: &Path) -> Result<MountEntry> {
    let mounts = mount_table::read()?;
    let around = mounts.into_iter().filter(|entry| path.starts_with(&entry.mount_point));
    // The deepest one, and of several at one place the last.
    let deepest = around.max_by_key(|entry| entry.mount_point.components().count());
    deepest.filter(MountEntry::is_kvfs).ok_or_else(|| no_mount(path))
}

fn no_mount(path: &Path) -> Error {
    let mounts = mount_table::read().unwrap_or_default();
    let ours = mounts.iter().filter(|entry| entry.is_kvfs());
    let ours: Vec<String> = ours.map(|entry| entry.mount_point.display().to_string()).collect();
    let ours = if ours.is_empty() { "there are none".to_owned() } else { ours.join(", ") };
    Error::new(
        ErrorKind::Invalid,
        format!("{} is not a mount of kvfs; mounts of kvfs: {ours}", path.display()),
    )
}
