//! `kvfs exec`: a mount for as long as one command runs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::flags::MountFlags;
use super::launch::{Launched, launch};
use super::{Failure, Outcome, ask, output, unmount};
use crate::config::Source;
use crate::control;
use crate::env::{self, Deadline, Folders};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::Ending;
use crate::mount_table;
use crate::store::driver::Location;

/// Passed on to the command.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// How long processes that the command left behind may keep the mount busy.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// How often a busy mount is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Mount a store, run a command in it, unmount
///
/// The mount point is a folder whose path depends on SOURCE alone, so that backup programs find their last snapshot by
/// its path; --at names another. The command runs in it (a relative COMMAND is looked up there), with the path in
/// $KVFS_MOUNT. Signals are passed on to it. When it ends, everything is put and the mount ends; the mount also ends
/// when kvfs exec is killed.
///
/// The exit code is the command's; 128 and the signal's number where one killed it; 127 or 126 where it cannot be
/// started; 1 where it succeeded but something could not be put.
#[derive(Debug, Args)]
#[command(
    override_usage = "kvfs exec [OPTIONS] SOURCE -- COMMAND [ARGUMENT]...",
    after_long_help = "\
Examples:
  kvfs exec lmdb:./store --snapshot -- tar cf /backup/store.tar .
  kvfs exec lmdb:./store -- sh -c 'grep -rl ada . | wc -l'
  kvfs exec lmdb --at ./data -- rsync -a ./ backup:data/"
)]
pub struct Exec {
    /// What to mount, as for `kvfs mount`
    #[arg(value_name = "SOURCE")]
    source: OsString,

    /// Mount on this folder instead; a store's own folder is mounted over by naming only its kind
    #[arg(long, value_name = "DIR")]
    at: Option<PathBuf>,

    #[command(flatten)]
    flags: MountFlags,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    pub fn run(self) -> Outcome {
        let level = self.flags.level();
        let fixed = self.at.is_none();
        let mut spec = self.flags.into_spec(&self.source, self.at.unwrap_or_default())?;
        if fixed {
            spec.mount_point = fixed_mount_point(&spec.source)?;
        }
        let Launched { path, lifeline } = launch(spec, level, true)?;
        let ran = run_in(&path, &self.command);
        let ended = end(&path);
        // The daemon of a mount that is still in use ends it when it is free.
        drop(lifeline);
        let put = match ended {
            Ok(ending) => unmount::finish(&ending).is_ok(),
            // Somebody else unmounted it.
            Err(error) if mount_table::at(&path).is_ok_and(|entry| entry.is_none()) => {
                output::tell(format_args!("{} was unmounted meanwhile: {error}", path.display()));
                true
            }
            Err(error) => {
                output::tell(error);
                false
            }
        };
        if fixed {
            // Left where the mount is still in use.
            drop(fs::remove_dir(&path));
        }
        match ran? {
            0 if put => Ok(()),
            0 => Err(Failure::Code(1)),
            code => Err(Failure::Code(code)),
        }
    }
}

/// The mount point that belongs to a source.
fn fixed_mount_point(source: &Source) -> Result<PathBuf, Failure> {
    if let Source::Kind { kind, location: None } = source
        && crate::store::driver(kind).is_some_and(|driver| driver.location == Location::FolderInPlace)
    {
        let sentence = format!("which {kind}? Write {kind}:/path, or name its own folder with --at");
        return Err(Failure::Usage(Error::new(ErrorKind::Invalid, sentence)));
    }
    let folder = Folders::get().exec_mounts();
    env::private_folder(&folder)?;
    Ok(folder.join(control::hash(Path::new(&source.to_os_string()))))
}

/// Unmounts; what the command left running in the mount has a few seconds to end.
fn end(path: &Path) -> Result<Ending> {
    let deadline = Deadline::after(STRAGGLERS);
    loop {
        match ask::patiently(path, unmount::request(None)) {
            Err(error) if error.kind() == ErrorKind::Busy && !deadline.passed() => {
                std::thread::park_timeout(RETRY);
            }
            ended => return ended,
        }
    }
}

/// Runs the command in the mount; its exit code as a shell has it.
fn run_in(path: &Path, command: &[OsString]) -> Result<u8> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::new(ErrorKind::Invalid, "no command"));
    };
    let failed = |error: std::io::Error| Error::io("signals", &error);
    let early = Early::catch().map_err(failed)?;
    let child = match Command::new(program).args(arguments).current_dir(path).env("KVFS_MOUNT", path).spawn()
    {
        Ok(child) => child,
        Err(error) => {
            output::tell(format_args!("{}: {error}", program.to_string_lossy()));
            return Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    // After the spawn, since a program starts with the signals blocked that its parent has blocked.
    let failed = |e: nix::Error| Error::io("signals", &e.into());
    let process = Pid::from_raw(child.id().cast_signed());
    let mut mask: SigSet = PASSED_ON.into_iter().collect();
    mask.add(Signal::SIGCHLD);
    let before = SigSet::thread_get_mask().map_err(failed)?;
    mask.thread_block().map_err(failed)?;
    early.pass_on(process);
    let code = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)
        .map_err(failed)
        .and_then(|signals| wait(child, &signals));
    // From here on they end this program again, and with it the mount.
    drop(early);
    before.thread_set_mask().map_err(failed)?;
    code
}

/// Signals that come before they are blocked: the command may have begun already, and waits for them. A handler does not
/// reach the command, as a mask would.
struct Early {
    seen: Vec<(Signal, Arc<AtomicBool>)>,
    over: Arc<AtomicBool>,
}

impl Early {
    fn catch() -> std::io::Result<Early> {
        let over = Arc::<AtomicBool>::default();
        let mut seen = Vec::new();
        for signal in PASSED_ON {
            let flag = Arc::<AtomicBool>::default();
            signal_hook::flag::register_conditional_default(signal as i32, Arc::clone(&over))?;
            signal_hook::flag::register(signal as i32, Arc::clone(&flag))?;
            seen.push((signal, flag));
        }
        Ok(Early { seen, over })
    }

    fn pass_on(&self, process: Pid) {
        for (signal, _) in self.seen.iter().filter(|(_, seen)| seen.load(Ordering::Acquire)) {
            // It may be gone at this moment.
            let _ = kill(process, *signal);
        }
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Waits for the command, and passes signals on. Those of the terminal go to the whole group: it has them already.
fn wait(mut child: Child, signals: &SignalFd) -> Result<u8> {
    let process = Pid::from_raw(child.id().cast_signed());
    loop {
        if let Some(status) = child.try_wait().map_err(|e| Error::io("the command", &e))? {
            return Ok(code(status));
        }
        let Ok(Some(signal)) = signals.read_signal() else { continue };
        let number = signal.ssi_signo.cast_signed();
        if number == libc::SIGCHLD || signal.ssi_code == libc::SI_KERNEL {
            continue;
        }
        if let Ok(signal) = Signal::try_from(number) {
            // It may be gone at this moment.
            let _ = kill(process, signal);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}
