//! `kvfs sync`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Outcome, ask};
use crate::config::text::parse_wait;
use crate::control::Request;
use crate::mount_table;

/// Wait until everything written is in the store for good
///
/// Puts what is pending in the mount and returns when it would survive a power cut, as far as the store promises that.
#[derive(Debug, Args)]
pub struct Sync {
    /// The mount point, or anything in the mount
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Fail after this time [default: the mount's own timeout]
    #[arg(long, value_name = "TIME", value_parser = parse_wait)]
    timeout: Option<Duration>,
}

impl Sync {
    pub fn run(self) -> Outcome {
        let mount = ask::mount_around(&mount_table::absolute(&self.folder)?)?;
        let timeout = self.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        ask::patiently::<()>(&mount.mount_point, Request::Sync { timeout })?;
        Ok(())
    }
}
