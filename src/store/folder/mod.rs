//! `folder`: a folder of this machine as a store. Its files are the values, its directories are directories, and what
//! a file system keeps of them besides bytes is kept there: mode, owner, times, links, FIFOs, sockets, `user.` xattrs.
//!
//! | file | holds |
//! |---|---|
//! | `root` | the folder by its descriptor; keys to paths below it, which no link leads out of |
//! | `node` | what a file system says of a file, in the words of [`crate::store::api`] |
//! | `stamp` | what tells one version of a file from another, and which of them are the same |
//! | `value` | open files |
//! | `listing` | open directories |
//! | `draft` | new bytes on their way to a name |
//! | `change` | what [`Store::apply`] does |
//! | `setting` | attributes of files there are |

mod change;
mod draft;
mod listing;
mod node;
mod root;
mod setting;
mod stamp;
#[cfg(test)]
mod tests;
mod value;

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::api::{Atomic, Caps, Change, Cursor, Entry, Pace, Rename, Stat, Store, Usage, Value};
use super::attributes::Xattrs;
use super::driver::{Commit, Driver, Location, Opening};
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use listing::Listings;
use root::{Found, Root};
use stamp::Same;

/// The longest value, in bytes: below what ext4, the file system with the least, holds in a file.
const VALUE_MAX: u64 = 15 << 40;
/// The longest key, in bytes of its path.
const KEY_MAX: u32 = 16 << 10;

/// `folder` for the list of stores.
pub static DRIVER: Driver = Driver {
    kind: "folder",
    about: "a folder of this machine: its files are the values",
    same_as: None,
    location: Location::Folder,
    caps,
    separator: "/",
    recognise: |_| false,
    own_files: &[],
    rights: None,
    open,
    sidecar: |_| Ok(None),
};

fn caps() -> Caps {
    Caps {
        kind: "folder",
        write: true,
        immutable: false,
        ordered: false,
        branches: true,
        attributes: true,
        folders: true,
        watch: false,
        snapshot: false,
        past: false,
        unlisted: "",
        settable: &[],
        collections: false,
        atomic: Atomic::Key,
        rename: Rename::Tree,
        pace: Pace::Disk,
        value_max: VALUE_MAX,
        key_max: KEY_MAX,
    }
}

fn open(opening: &Opening) -> Result<Arc<dyn Store>> {
    let location = opening.location.as_deref();
    let location =
        location.ok_or_else(|| Error::new(ErrorKind::Invalid, "which folder? Write folder:/path"))?;
    Ok(Arc::new(Folder {
        root: Root::open(location, opening.create)?,
        caps: Caps { write: !opening.read_only, ..caps() },
        durable: opening.commit == Commit::Durable,
        timeout: opening.timeout,
        naming: Mutex::new(()),
        same: Arc::default(),
        listings: Listings::default(),
    }))
}

/// A folder.
pub struct Folder {
    root: Root,
    caps: Caps,
    /// Whether each change waits for the disk (`--commit durable`).
    durable: bool,
    timeout: std::time::Duration,
    /// Held by whoever looks at a name and then changes it.
    naming: Mutex<()>,
    same: Arc<Same>,
    listings: Listings,
}

impl Folder {
    fn hold_names(&self) -> Result<parking_lot::MutexGuard<'_, ()>> {
        let deadline = Deadline::after(self.timeout);
        self.naming.try_lock_until(deadline.at()).ok_or_else(|| {
            Error::new(ErrorKind::TimedOut, "another change of the folder did not end before the deadline")
        })
    }
}

impl Store for Folder {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        Ok(self.root.find(key)?.map(|found| match found {
            Found::Node(_, found) => node::stat(&found),
            Found::MountPoint => node::mount_point(),
        }))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.listings.list(&self.root, dir, from, each)
    }

    fn xattrs(&self, key: &Key, _directory: bool) -> Result<Xattrs> {
        match self.root.find(key)? {
            Some(Found::Node(file, found)) if node::has_xattrs(&found) => setting::xattrs(&file, key),
            _ => Ok(Xattrs::new()),
        }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        value::open(&self.root, key, &self.same)
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(Error::new(ErrorKind::ReadOnly, "this folder is mounted read-only"));
        }
        self.carry_out(changes)
    }

    fn sync(&self) -> Result<()> {
        self.root.sync_all()
    }

    fn sync_key(&self, key: &Key) -> Result<()> {
        self.root.sync(key)
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        root::check(key)
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let mut path = key.segments().map(|segment| segment.bytes).collect::<Vec<_>>().join(&b'/');
        if directory && !key.is_root() {
            path.push(b'/');
        }
        path
    }

    fn usage(&self) -> Usage {
        self.root.usage()
    }
}
