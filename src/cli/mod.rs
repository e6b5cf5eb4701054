//! The command line: one file a command.

mod ask;
mod attrs;
mod compact;
mod daemon;
mod exec;
mod flags;
mod fstab;
mod launch;
mod mount;
mod output;
mod path;
mod recover;
mod status;
mod stores;
mod sync;
mod unmount;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;

/// Wrong use of the command line, as clap has it.
const USAGE: u8 = 2;

/// Shows key-value stores as files.
#[derive(Debug, Parser)]
#[command(
    name = "kvfs",
    version,
    about = "Any key-value store as files",
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = false,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const LONG_ABOUT: &str = "\
kvfs shows a key-value store as files: every key is a file, every file is a key. What works on files works on the \
store: cat, cp, mv, rm, grep -r, find, vim, sed -i, tar, rsync. Other programs that use the store at the same time see \
plain keys and plain values, and kvfs sees their changes.";

const AFTER_HELP: &str = "\
First minute:
  kvfs mount lmdb ./data          show the LMDB environment in ./data as files, in its own place
  ls ./data; cat ./data/some/key
  kvfs unmount ./data             data.mdb is there again

More:
  kvfs mount lmdb:./store ./m     the same beside it, so that other programs can open it meanwhile
  kvfs mount memory ./m           a store in memory, empty
  kvfs exec lmdb:./store --snapshot -- tar cf /backup/store.tar .
  kvfs help mount                 every option, with its meaning

Files:
  /run/kvfs, $XDG_RUNTIME_DIR/kvfs         sockets of running mounts (KVFS_RUNTIME_DIR)
  /var/lib/kvfs, ~/.local/state/kvfs       journals, bytes to recover, logs (KVFS_STATE_DIR)
  /var/tmp, $TMPDIR                        large values while they are written (KVFS_SCRATCH_DIR)

Exit codes: 0 when it is done, 1 when it failed, 2 for wrong usage; `kvfs exec` has the exit code of its command.";

#[derive(Debug, Subcommand)]
enum Command {
    Mount(mount::Mount),
    #[command(visible_alias = "umount")]
    Unmount(unmount::Unmount),
    Exec(exec::Exec),
    Status(status::Status),
    Sync(sync::Sync),
    Stores(stores::Stores),
    Path(path::Path),
    Key(path::KeyOf),
    Attrs(attrs::Attrs),
    Compact(compact::Compact),
    Recover(recover::Recover),
    #[command(hide = true)]
    Daemon(daemon::Daemon),
}

/// Why a command ends with an exit code other than 0.
enum Failure {
    /// The command line makes no sense: 2.
    Usage(Error),
    /// It could not be done: 1.
    Failed(Error),
    /// Everything is said already.
    Code(u8),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Failed(error)
    }
}

/// What a command gives back.
type Outcome = std::result::Result<(), Failure>;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let outcome = match fstab::translate(&arguments) {
        Ok(Some(arguments)) => parse(arguments),
        Ok(None) => parse(flags::with_moment_joined(arguments)),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Code(code)) => ExitCode::from(code),
        Err(Failure::Failed(error)) => {
            output::tell(error);
            ExitCode::FAILURE
        }
        Err(Failure::Usage(error)) => {
            output::tell(error);
            ExitCode::from(USAGE)
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Outcome {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command.run(),
        Err(error) => {
            // Help and version too; where it cannot be written there is nobody to tell.
            drop(error.print());
            match u8::try_from(error.exit_code()) {
                Ok(0) => Ok(()),
                code => Err(Failure::Code(code.unwrap_or(USAGE))),
            }
        }
    }
}

impl Command {
    fn run(self) -> Outcome {
        match self {
            Command::Mount(mount) => mount.run(),
            Command::Unmount(unmount) => unmount.run(),
            Command::Exec(exec) => exec.run(),
            Command::Status(status) => status.run(),
            Command::Sync(sync) => sync.run(),
            Command::Stores(stores) => stores.run(),
            Command::Path(path) => path.run(),
            Command::Key(key) => key.run(),
            Command::Attrs(attrs) => attrs.run(),
            Command::Compact(compact) => compact.run(),
            Command::Recover(recover) => recover.run(),
            Command::Daemon(daemon) => daemon.run(),
        }
    }
}
