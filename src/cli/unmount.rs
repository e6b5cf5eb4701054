//! `kvfs unmount`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Failure, Outcome, ask, output};
use crate::config::text::parse_wait;
use crate::control::{self, Request};
use crate::device;
use crate::error::ErrorKind;
use crate::mount::Ending;
use crate::mount_point::{ANSWER_TIMEOUT, Health, health};
use crate::mount_table::{self, MountEntry};
use crate::store;
use crate::store::driver::Location;

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
        let entry = ask::mount_at(&path)?;
        if health(&path, ANSWER_TIMEOUT) == Health::Dead {
            device::unmount(&path, device::Unmount::Detach)?;
            control::tidy(&control::socket(&path));
            output::tell(format_args!(
                "{} is cleaned up: its daemon had died; {}",
                path.display(),
                after(&entry)
            ));
            return Ok(());
        }
        match ask::patiently(&path, request(self.timeout)) {
            Ok(ending) => finish(&ending),
            // Another user's mount: its daemon puts what is pending when it sees the end.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(device::unmount(&path, device::Unmount::WhenFree)?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What becomes of the bytes of a mount whose daemon died (§8.3).
fn after(entry: &MountEntry) -> String {
    let placeless = store::driver(&entry.source).is_some_and(|driver| driver.location == Location::None);
    if placeless {
        return format!("its keys are gone with it, as {} is kept in memory", entry.source);
    }
    format!("what it had accepted is put when {} is mounted again", entry.source)
}

/// The request to unmount, with the time to wait for pending writes.
pub fn request(timeout: Option<Duration>) -> Request {
    Request::Unmount { timeout: timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)) }
}

/// Says how a mount ended, and makes an exit code of it.
pub fn finish(ending: &Ending) -> Outcome {
    for sentence in &ending.sentences {
        output::tell(sentence);
    }
    if ending.failed { Err(Failure::Code(1)) } else { Ok(()) }
}
