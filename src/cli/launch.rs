//! Starting a daemon in the background: this program again, with its orders on a pipe.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use crate::config::{MountSpec, Password};
use crate::daemon::{Orders, Report};
use crate::error::{Error, ErrorKind, Result};
use crate::mount_point::{ANSWER_TIMEOUT, Health, health};
use crate::mount_table;

use super::Failure;

/// A mount that answers.
pub struct Launched {
    /// Where it is: absolute, without links.
    pub path: PathBuf,
    /// The daemon's standard input: with `until_hang_up`, the mount ends when this drops.
    pub lifeline: Option<ChildStdin>,
}

/// Starts a daemon and waits until its mount answers. A new process, not a fork of this one: a store must be opened by
/// the process that serves it.
///
/// # Errors
/// What the daemon says; nothing is mounted then.
pub fn launch(spec: MountSpec, level: String, until_hang_up: bool) -> Result<Launched, Failure> {
    let log = Orders::log_file(&spec.mount_point);
    let shown = spec.mount_point.clone();
    let password = Password::typed().cloned();
    let orders = Orders { mount: spec, log: Some(log.clone()), level, until_hang_up, password };
    let orders = serde_json::to_string(&orders).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
    let failed = |e: std::io::Error| Error::io("starting the daemon", &e);
    let mut daemon = Command::new("/proc/self/exe")
        .arg0("kvfs")
        .arg("daemon")
        .arg(shown)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut lifeline = daemon.stdin.take();
    if let Some(pipe) = &mut lifeline {
        // Where the daemon died already, its exit status says more than the broken pipe.
        drop(pipe.write_all(orders.as_bytes()).and_then(|()| pipe.write_all(b"\n")));
    }
    match report(&mut daemon) {
        Some(Report::Ready(path)) => {
            check(&path)?;
            Ok(Launched { path, lifeline: lifeline.filter(|_| until_hang_up) })
        }
        Some(Report::Failed(sentence)) => {
            drop(daemon.wait());
            Err(Error::new(ErrorKind::Io, sentence).into())
        }
        None => {
            let status = daemon.wait().map_err(failed)?;
            let sentence = format!("the daemon {} before it was ready; see {}", how(status), log.display());
            Err(Error::new(ErrorKind::Io, sentence).into())
        }
    }
}

/// The one line that the daemon says; `None` when it dies before.
fn report(daemon: &mut Child) -> Option<Report> {
    let mut line = String::new();
    BufReader::new(daemon.stdout.take()?.take(1 << 16)).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Sees for itself that the mount is there and answers.
fn check(path: &Path) -> Result<()> {
    let there = mount_table::at(path)?.is_some_and(|entry| entry.is_kvfs());
    if there && health(path, ANSWER_TIMEOUT) == Health::Live {
        return Ok(());
    }
    let sentence = format!("{} was mounted, but does not answer; see kvfs status", path.display());
    Err(Error::new(ErrorKind::Io, sentence))
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
