//! `kvfs compact`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Outcome, ask, output};
use crate::config::Source;
use crate::config::source::Place;
use crate::control::{self, Request};
use crate::error::Error;
use crate::mount_table;
use crate::store::driver::{Commit, Opening};

/// Give a store's free space back to the disk
///
/// LMDB files never shrink by themselves. This rewrites the store without its free pages, atomically: a crash leaves the
/// old one. It is refused while another program has the store open. A mounted store is rewritten by its daemon, and
/// stays mounted.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kvfs compact ./data           a mount, or a folder with a store
  kvfs compact lmdb:./store")]
pub struct Compact {
    /// A store, or a mount
    #[arg(value_name = "SOURCE|DIR")]
    source: OsString,
}

impl Compact {
    pub fn run(self) -> Outcome {
        let folder = PathBuf::from(&self.source);
        let mounted = mount_table::absolute(&folder).and_then(|path| ask::mount_at(&path));
        let sizes = match mounted {
            Ok(mount) => ask::patiently(&mount.mount_point, Request::Compact)?,
            Err(_) => compact(&self.source)?,
        };
        let (before, after): (u64, u64) = sizes;
        let line = format!("{} before, {} after", output::size(before), output::size(after));
        Ok(output::print(line)?)
    }
}

fn compact(source: &OsString) -> Result<(u64, u64), Failure> {
    let folder = std::path::absolute(".").map_err(|e| Error::io("the working folder", &e))?;
    let source = Source::parse(source).map_err(Failure::Usage)?.absolute(&folder);
    let place = source.resolve()?;
    if let Some(mount_point) = mounted_elsewhere(&place) {
        return Ok(ask::patiently(&mount_point, Request::Compact)?);
    }
    let store = (place.driver.open)(&Opening {
        location: Some(place.named_location()?.to_owned()),
        create: false,
        separator: None,
        commit: Commit::Close,
        ..Opening::default()
    })?;
    let compacted = store.compact();
    store.close()?;
    Ok(compacted?)
}

/// Where one of this user's daemons has this store mounted.
fn mounted_elsewhere(place: &Place) -> Option<PathBuf> {
    let shown = place.shown(Path::new("/"));
    let statuses = control::sockets().into_iter().filter_map(|socket| ask::status(&socket).ok());
    statuses.into_iter().find(|status| status.source == shown).map(|status| status.mount_point)
}
