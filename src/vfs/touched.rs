//! When directories were changed last: each name that comes or goes makes its directory newer. Kept in the mount, and
//! recorded together, since a directory that fills changes with every file.

use super::Vfs;
use super::overlay::TOUCHED_MOST;
use crate::env;
use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Change, Pace};
use crate::store::attributes::Setting;

impl Vfs {
    /// Something came into, or went from, a directory.
    pub(super) fn touch_directory(&self, directory: &Key) {
        let full = {
            let mut overlay = self.overlay.write();
            let full = self.records_touched() && overlay.touched_count() >= TOUCHED_MOST;
            if !full {
                overlay.touch(directory, env::now());
            }
            full
        };
        if full {
            if let Err(error) = self.record_touched() {
                tracing::warn!("the times of some directories could not be recorded: {error}");
            }
            self.overlay.write().touch(directory, env::now());
        }
    }

    /// Whether the times of directories are to be set. A store of folders does so itself, and what another program
    /// changed there meanwhile must not look older than it is. In a bucket each would cost a request, and a marker where
    /// nobody made one (§2.2).
    fn records_touched(&self) -> bool {
        self.caps.attributes && !self.caps.folders && self.caps.pace != Pace::Network
    }

    /// Records the times of directories that were changed.
    ///
    /// # Errors
    /// The store's; nothing is forgotten then.
    pub(super) fn record_touched(&self) -> Result<()> {
        if !self.records_touched() || self.is_read_only() {
            return Ok(());
        }
        let all = self.overlay.read().all_touched();
        for (key, time) in all {
            let attributes = Setting { mtime: Some(time), ctime: Some(time), ..Setting::default() };
            match self.store.apply(&mut [Change::Set { key: &key, directory: true, attributes: &attributes }])
            {
                // The directory went meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                outcome => outcome?,
            }
            let mut overlay = self.overlay.write();
            if overlay.touched(&key) == time {
                overlay.untouch(&key);
            }
        }
        Ok(())
    }
}
