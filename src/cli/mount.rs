//! `kvfs mount`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::flags::MountFlags;
use super::{Failure, Outcome, launch, output};
use crate::config::MountSpec;
use crate::error::{Error, ErrorKind};
use crate::mount::cost_of_attributes;
use crate::{daemon, logging};

/// Show a store as files
///
/// Opens the store SOURCE and mounts it on the folder MOUNTPOINT, which is made if it is missing. The mount is
/// served by a process in the background; the command returns when the mount answers.
#[derive(Debug, Args)]
#[command(
    override_usage = "kvfs mount [OPTIONS] SOURCE MOUNTPOINT",
    after_long_help = AFTER_HELP
)]
pub struct Mount {
    /// What to mount: `kind`, `kind:location`, a URL, or a path
    ///
    /// `lmdb` without a location mounts the store in MOUNTPOINT in its own place; `lmdb:./store` mounts it elsewhere;
    /// `memory` starts empty. A URL is percent-decoded: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://account/container/prefix`; a folder of this machine is `file:///path`. A path tells its kind by its content;
    /// one that looks like a kind or has a colon is written ./x. `kvfs stores` lists the kinds.
    #[arg(value_name = "SOURCE")]
    source: OsString,

    /// The folder to mount on: empty, missing, or the store's own
    #[arg(value_name = "MOUNTPOINT")]
    mount_point: Option<PathBuf>,

    #[command(flatten)]
    flags: MountFlags,

    /// Stay in the foreground, log to standard error; ctrl-C unmounts
    #[arg(long, short = 'f')]
    foreground: bool,
}

const AFTER_HELP: &str = "\
Examples:
  kvfs mount lmdb ./data                      in place, until kvfs unmount ./data
  kvfs mount lmdb:./store ./data              apart: programs that start later can open ./store
  kvfs mount lmdb:./store ./data --snapshot   one moment, read-only
  kvfs mount s3://bucket ./b --snapshot 2h    a bucket with versioning as it was two hours ago
  kvfs mount memory ./m --save keys.dump      a scratch store, kept in a file at the end
  kvfs mount -o ro,allow_other lmdb:/srv/s /mnt/s

In /etc/fstab, where this program is linked as /sbin/mount.kvfs:
  lmdb:/srv/store  /mnt/store  kvfs  nofail,allow_other  0 0

The end: `kvfs unmount DIR`, and umount and fusermount3 -u as well. See also: kvfs status, kvfs sync, kvfs exec.";

impl Mount {
    pub fn run(self) -> Outcome {
        let Some(mount_point) = self.mount_point else {
            return Err(Failure::Usage(no_mount_point(&self.source)));
        };
        let level = self.flags.level();
        let spec = self.flags.into_spec(&self.source, mount_point)?;
        let cost = spec.source.resolve().ok().and_then(|place| cost_of_attributes(&spec, place.driver));
        let tell = |cost| format!("attributes of this store cost {cost}");
        if self.foreground {
            return foreground(spec, &level, cost.map(tell).as_deref());
        }
        launch::launch(spec, level, false)?;
        if let Some(cost) = cost {
            output::tell(tell(cost));
        }
        Ok(())
    }
}

fn foreground(spec: MountSpec, level: &str, cost: Option<&str>) -> Outcome {
    logging::start(level, None).map_err(Failure::Usage)?;
    let daemon = daemon::Daemon::start(spec, None)?;
    for path in daemon.paths() {
        tracing::info!("mounted on {}; ctrl-C unmounts", path.display());
    }
    if let Some(cost) = cost {
        tracing::info!("{cost}");
    }
    if daemon.wait() { Ok(()) } else { Err(Failure::Code(1)) }
}

fn no_mount_point(source: &OsString) -> Error {
    let source = source.to_string_lossy();
    let sentence = format!(
        "where to? Name a folder: kvfs mount {source} ./folder (and for a store's own folder its kind first: \
         kvfs mount lmdb ./folder)"
    );
    Error::new(ErrorKind::Invalid, sentence)
}
