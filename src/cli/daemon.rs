//! `kvfs daemon`: the process behind a mount. Hidden, since `kvfs mount` starts it.

use clap::Args;

use super::{Failure, Outcome};

/// Serves the mount that standard input orders.
#[derive(Debug, Args)]
pub struct Daemon {
    /// The mount point, so that the process list shows it; not read.
    #[arg(value_name = "DIR")]
    _shown: Option<std::ffi::OsString>,
}

impl Daemon {
    pub fn run(self) -> Outcome {
        if crate::daemon::run_in_background()? { Ok(()) } else { Err(Failure::Code(1)) }
    }
}
