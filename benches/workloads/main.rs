//! The measuring program of `scripts/bench`: does one piece of work on one folder, in a process of its own, and
//! prints how long it took as one line of JSON. It knows nothing of who serves the folder.

mod create;
mod files;
mod list;
mod raw;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// One measurement.
#[derive(Serialize, Default)]
struct Measured {
    /// How many files, entries or bytes.
    operations: u64,
    /// How long all of them took together.
    seconds: f64,
    /// How long the first took, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seconds: Option<f64>,
    /// How long it took until an fsync after the last returned, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    synced_seconds: Option<f64>,
}

#[derive(Parser)]
struct Arguments {
    /// Passed by `cargo bench` and ignored.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    work: Option<Work>,
}

#[derive(Subcommand)]
enum Work {
    /// Opens, reads and closes each of the files of 4 KiB, in a scattered order.
    Read {
        folder: PathBuf,
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        #[arg(long, default_value_t = 1)]
        readers: u64,
    },
    /// Reads pieces of 4 KiB here and there in a large file.
    Random {
        file: PathBuf,
        #[arg(long, default_value_t = 2_000)]
        count: u64,
    },
    /// Writes a file from its beginning to its end and closes it.
    Write {
        file: PathBuf,
        #[arg(long, default_value_t = 1 << 30)]
        size: u64,
    },
    /// Removes the files, as `rm -r` does: in the order in which they are listed.
    Remove { folder: PathBuf },
    /// Asks for the attributes of each of the files, in a scattered order, again and again.
    Stat {
        folder: PathBuf,
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        #[arg(long, default_value_t = 10)]
        rounds: u64,
    },
    /// Lists a folder without looking at the files, as `ls -U` does.
    List {
        folder: PathBuf,
        /// Bytes of the buffer; glibc takes a directory's block size, from 32 KiB to 1 MiB.
        #[arg(long)]
        buffer: Option<usize>,
    },
    /// Lists a folder and asks for the attributes of each file as it comes, as `ls -l` does.
    Long { folder: PathBuf },
    /// Reads a file from the start to the end.
    Stream {
        file: PathBuf,
        #[arg(long, default_value_t = 1 << 20)]
        block: usize,
    },
    /// Makes files of 4 KiB, each with open, write and close.
    Create {
        folder: PathBuf,
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        #[arg(long, default_value_t = 1)]
        writers: u64,
    },
    /// Makes the files that the other measurements read.
    Prepare {
        folder: PathBuf,
        #[arg(long, default_value_t = 10_000)]
        files: u64,
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        #[arg(long, default_value_t = 1 << 30)]
        large: u64,
    },
    /// Puts values of 4 KiB into an LMDB environment through liblmdb, each with a commit of its own.
    Put {
        environment: PathBuf,
        #[arg(long, default_value_t = 500)]
        count: u64,
        #[arg(long, default_value_t = 1)]
        writers: u64,
    },
    /// Makes an LMDB environment whose keys are the files that the other measurements read.
    Fill {
        environment: PathBuf,
        #[arg(long, default_value_t = 10_000)]
        files: u64,
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        #[arg(long, default_value_t = 1 << 30)]
        large: u64,
    },
    /// Has an LMDB environment open until the standard input ends.
    Hold { environment: PathBuf },
}

fn carry_out(work: Work) -> io::Result<Measured> {
    match work {
        Work::Read { folder, count, readers } => files::read(&folder, count, readers),
        Work::Random { file, count } => files::random(&file, count),
        Work::Write { file, size } => create::write(&file, size),
        Work::Remove { folder } => create::remove(&folder),
        Work::Stat { folder, count, rounds } => files::stat(&folder, count, rounds),
        Work::List { folder, buffer } => list::names(&folder, buffer),
        Work::Long { folder } => list::long(&folder),
        Work::Stream { file, block } => files::stream(&file, block),
        Work::Create { folder, count, writers } => create::create(&folder, count, writers),
        Work::Prepare { folder, files, keys, large } => create::prepare(&folder, files, keys, large),
        Work::Put { environment, count, writers } => raw::put(&environment, count, writers),
        Work::Fill { environment, files, keys, large } => raw::fill(&environment, files, keys, large),
        Work::Hold { environment } => raw::hold(&environment),
    }
}

fn main() -> ExitCode {
    let Some(work) = Arguments::parse().work else {
        return ExitCode::SUCCESS; // `cargo bench` starts it so: it only makes sense under `scripts/bench`.
    };
    let printed = carry_out(work).and_then(|measured| {
        let line = serde_json::to_string(&measured)?;
        writeln!(io::stdout(), "{line}")
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When nobody reads the sentence, the exit code still tells.
            writeln!(io::stderr(), "workloads: {error}").ok();
            ExitCode::FAILURE
        }
    }
}
