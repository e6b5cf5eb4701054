//! The `kvfs` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvfs::cli::run()
}
