//! An environment of our own in a folder of our own: what the state folder keeps of a store.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::Flock;
use parking_lot::Mutex;

use super::KEY_MAX;
use super::alone::alone;
use super::sidecar::{Map, open_map, remove_map};
use crate::error::{Error, ErrorKind, Result};
use crate::store::driver::{Commit, Opening};
use crate::store::flat::Kv;
use crate::store::home::Home;

/// A folder with an environment in it, for one daemon at a time.
pub(in crate::store) struct Own {
    folder: PathBuf,
    opening: Opening,
    map: Mutex<Option<Arc<Map>>>,
    /// Its drop lets others in.
    alone: Mutex<Option<Flock<File>>>,
}

impl Own {
    /// The environment in `folder`, which is made, for its owner alone, where its parent is; `opening` is that of the
    /// store it is about.
    ///
    /// # Errors
    /// `Busy` where another daemon has it; the system's.
    pub(in crate::store) fn new(folder: &Path, opening: &Opening) -> Result<Own> {
        let fail = |e: std::io::Error| Error::io(folder.display(), &e);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(fail)?;
        let alone = alone(File::open(folder).map_err(fail)?, ENDING).map_err(|errno| {
            let sentence = format!("{}: another daemon has it: {errno}", folder.display());
            Error::new(ErrorKind::Busy, sentence)
        })?;
        let opening = Opening {
            location: Some(folder.to_owned()),
            read_only: false,
            create: true,
            separator: None,
            commit: Commit::Auto,
            ..opening.clone()
        };
        Ok(Own { folder: folder.to_owned(), opening, map: Mutex::new(None), alone: Mutex::new(Some(alone)) })
    }
}

/// How long a daemon that ends is waited for: its stamps are put away after it has unmounted.
const ENDING: Duration = Duration::from_secs(5);

impl Home for Own {
    fn open(&self, create: bool) -> Result<Option<Arc<dyn Kv>>> {
        let mut map = self.map.lock();
        if map.is_none() {
            *map = open_map(&self.folder, self.folder.clone(), &self.opening, create)?;
        }
        Ok(map.clone().map(|map| map as Arc<dyn Kv>))
    }

    fn shown(&self) -> String {
        self.folder.display().to_string()
    }

    fn key_max(&self) -> usize {
        KEY_MAX as usize
    }

    fn snapshot(&self) -> Result<Box<dyn Home>> {
        let held = self.map.lock().as_ref().map(|map| map.held()).transpose()?;
        let (folder, opening) = (self.folder.clone(), self.opening.clone());
        Ok(Box::new(Own { folder, opening, map: Mutex::new(held.map(Arc::new)), alone: Mutex::new(None) }))
    }

    fn close(&self) -> Result<()> {
        let closed = self.map.lock().as_ref().map_or(Ok(()), |map| map.close());
        drop(self.alone.lock().take());
        closed
    }

    fn remove(&self) -> Result<bool> {
        remove_map(&self.folder, &self.folder)
    }
}
