//! A store mounted in place, over its own folder: names of its own files cannot be made in the mount.
//!
//! A program that opens the store only now looks for `data.mdb` in its folder and meets the mount instead. Where it
//! could make that file there, it would go on with an empty store of its own, inside the one it was to open.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Change, Store};

/// The store below, without the right to make its own files at the root.
pub struct OwnFiles {
    store: Arc<dyn Store>,
    names: &'static [&'static str],
}

impl OwnFiles {
    /// `store`, in which nothing can be made at the root that is called as one of `names`.
    pub fn new(store: Arc<dyn Store>, names: &'static [&'static str]) -> OwnFiles {
        OwnFiles { store, names }
    }

    /// Keys that are there already can be read, overwritten and removed: they are the store's.
    fn refuse_new(&self, key: &Key) -> Result<()> {
        let Some(segment) = key.segment(0).filter(|_| key.len() == 1) else { return Ok(()) };
        let Some(name) = self.names.iter().find(|name| name.as_bytes() == segment.bytes) else {
            return Ok(());
        };
        if self.store.stat(key)?.is_some() {
            return Ok(());
        }
        let sentence = format!(
            "a program wants to make {name} here: it means the store itself, which this mount covers; mount the \
             store elsewhere (kvfs mount KIND:FOLDER MOUNTPOINT) for programs that open it later"
        );
        tracing::warn!("{sentence}");
        Err(Error::new(ErrorKind::Busy, sentence))
    }
}

impl Store for OwnFiles {
    passes_on!(
        caps,
        keeps_attributes,
        stat,
        list,
        list_with_attributes,
        xattrs,
        list_prefix,
        open,
        open_told,
        good_for,
        sync,
        sync_key,
        value_max,
        raw_key,
        version_of,
        foreign_changes,
        era,
        resume,
        watch,
        snapshot,
        past,
        history,
        lost_at_end,
        known,
        usage,
        compact,
        facts,
        close,
        seen_absent,
        written_so_far
    );

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        for change in changes.iter() {
            match change {
                Change::Put { key, .. }
                | Change::Branch { key }
                | Change::Make { key, .. }
                | Change::Rename { to: key, .. } => self.refuse_new(key)?,
                Change::Delete { .. } | Change::RemoveBranch { .. } | Change::Set { .. } => {}
            }
        }
        self.store.apply(changes)
    }

    fn check_file(&self, key: &Key) -> Result<()> {
        self.refuse_new(key)?;
        self.store.check_file(key)
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        self.refuse_new(key)?;
        self.store.check_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;
    use crate::store::api::When;
    use crate::store::driver::{Commit, Opening};

    fn put(store: &dyn Store, path: &[&[u8]]) -> Result<()> {
        let body = Payload::of(b"x").unwrap();
        let key = Key::of(path.iter().copied());
        store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }])
    }

    #[test]
    fn own_names_are_busy_at_the_root_and_nowhere_else() {
        let opening = Opening {
            commit: Commit::Close,
            timeout: std::time::Duration::from_secs(1),
            ..Opening::default()
        };
        let store = (crate::store::memory::DRIVER.open)(&opening).unwrap();
        put(&*store, &[b"lock.mdb"]).unwrap();
        let layer = OwnFiles::new(store, &["data.mdb", "lock.mdb"]);
        assert_eq!(put(&layer, &[b"data.mdb"]).unwrap_err().kind(), ErrorKind::Busy);
        put(&layer, &[b"lock.mdb"]).unwrap();
        put(&layer, &[b"a", b"data.mdb"]).unwrap();
        put(&layer, &[b"data.mdb2"]).unwrap();
        let (from, to) = (Key::of([&b"data.mdb2"[..]]), Key::of([&b"data.mdb"[..]]));
        let rename = Change::Rename { from: &from, to: &to, tree: false, replace: false };
        assert_eq!(layer.apply(&mut [rename]).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(layer.apply(&mut [Change::Branch { key: &to }]).unwrap_err().kind(), ErrorKind::Busy);
        assert!(layer.stat(&to).unwrap().is_none());
    }
}
