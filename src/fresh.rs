//! A store's place before the store was opened, so that a mount that fails leaves nothing behind.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::key::Key;
use crate::store::api::{Cursor, Store};

/// What was at a store's place before.
#[derive(Debug)]
pub struct Fresh {
    path: PathBuf,
    before: Before,
}

#[derive(Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    EmptyFolder,
    Something,
}

impl Fresh {
    /// Looks at the place.
    pub fn look(path: &Path) -> Fresh {
        let before = match fs::read_dir(path).map(|mut names| names.next().is_none()) {
            Ok(true) => Before::EmptyFolder,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Before::Nothing,
            _ => Before::Something,
        };
        Fresh { path: path.to_owned(), before }
    }

    /// Removes what opening `store` made, closing it first; nothing where something was there before, and nothing
    /// when the store has a key: then another program found it and uses it.
    pub fn restore(&self, store: &dyn Store) {
        let unused = self.before != Before::Something && is_empty(store);
        if let Err(error) = store.close() {
            tracing::warn!("closing {}: {error}", self.path.display());
        } else if unused && let Err(error) = self.remove() {
            tracing::warn!("{} was made and stays: {error}", self.path.display());
        }
    }

    fn remove(&self) -> std::io::Result<()> {
        if self.path.is_file() {
            return fs::remove_file(&self.path);
        }
        for entry in fs::read_dir(&self.path)? {
            fs::remove_file(entry?.path())?;
        }
        if self.before == Before::Nothing { fs::remove_dir(&self.path) } else { Ok(()) }
    }
}

fn is_empty(store: &dyn Store) -> bool {
    let mut found = false;
    let listed = store.list(&Key::root(), &mut Cursor::default(), &mut |_| {
        found = true;
        ControlFlow::Break(())
    });
    listed.is_ok() && !found
}
