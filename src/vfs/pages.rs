//! Which version the kernel's pages of a file are of.

use std::time::SystemTime;

use twox_hash::XxHash3_64;

use crate::store::api::Stat;

/// What tells the version that the kernel's pages are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    modified: SystemTime,
    /// A hash of the version, where versions are told: there is one of these for each inode, and times may be coarse.
    version: u64,
}

impl Pages {
    /// Pages of the version that `stat` is of.
    pub fn of(stat: &Stat) -> Pages {
        let version = stat.version.map_or(0, |version| XxHash3_64::oneshot(version.as_bytes()));
        Pages { modified: stat.modified, version }
    }
}
