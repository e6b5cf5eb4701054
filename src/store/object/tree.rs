//! A bucket as a [`Store`].

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::bucket::{Listing, Object};
use super::pages::Below;
use super::reach::Reach;
use super::value::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Caps, Change, Cursor, Entry, Kind, Stat, Store, Value, Version};
use crate::store::flat;

/// A bucket, below its prefix.
pub(super) struct Tree {
    pub reach: Arc<Reach>,
    pub caps: Caps,
}

impl Tree {
    /// Whether anything lies below a prefix: the first key there, and the marker itself where it is that.
    async fn any_below(&self, prefix: &str) -> Result<Option<Option<Object>>> {
        let listing = Listing { prefix, delimiter: None, token: None, after: None, most: 1 };
        let mut page = self.reach.bucket.list(&listing).await?;
        Ok((!page.objects.is_empty())
            .then(|| Some(page.objects.remove(0)).filter(|first| first.key == prefix)))
    }

    fn list_below(
        &self,
        below: &Below,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (separator, key_max) = (self.reach.names.separator(), self.reach.names.key_max());
        let prefix = below.prefix.clone().into_bytes();
        let directory = flat::Directory { kv: below, separator, prefix, key_max };
        flat::list(&directory, from, each)
    }
}

impl Store for Tree {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        if key.is_root() {
            return Ok(Some(Stat::plain(Kind::Branch, 0, self.reach.opened)));
        }
        let Some(raw) = self.reach.names.existing(key) else { return Ok(None) };
        let below = self.reach.names.below(key);
        // Two questions at once: the value of `a`, and whether there is anything below `a/`.
        let (object, below) = self.reach.wait(async {
            let below = async {
                match &below {
                    Some(prefix) => self.any_below(prefix).await,
                    None => Ok(None),
                }
            };
            futures::future::try_join(self.reach.bucket.head(&raw), below).await
        })?;
        Ok(match (object, below) {
            (None, None) => None,
            (Some(object), None) => Some(Stat::plain(Kind::Leaf, object.size, object.modified)),
            (Some(object), Some(_)) => Some(Stat::plain(Kind::Both, object.size, object.modified)),
            (None, Some(marker)) => {
                let modified = marker.map_or(self.reach.opened, |marker| marker.modified);
                Some(Stat::plain(Kind::Branch, 0, modified))
            }
        })
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(prefix) = self.reach.names.below(dir) else {
            from.done = true;
            return Ok(());
        };
        let below = Below { reach: Arc::clone(&self.reach), prefix, met: Mutex::default(), tell: false };
        self.list_below(&below, from, each)
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(below) = self.reach.names.below(dir) else { return Ok(()) };
        let position = [below.as_bytes(), prefix].concat();
        self.list(dir, &mut Cursor { position, ..Cursor::default() }, &mut |entry| {
            if entry.segment.bytes.starts_with(prefix) { each(entry) } else { ControlFlow::Break(()) }
        })
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let Some(raw) = self.reach.names.existing(key) else { return Ok(None) };
        Ok(Opened::open(&self.reach, raw)?.map(|opened| Box::new(opened) as Box<dyn Value>))
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(Error::new(ErrorKind::ReadOnly, "this store is mounted read-only"));
        }
        self.change(changes)
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        self.reach.names.fitting(key).map(drop)
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let raw = if directory { self.reach.names.below(key) } else { self.reach.names.existing(key) };
        raw.unwrap_or_default().into_bytes()
    }

    fn version_of(&self, key: &Key, _body: &Payload) -> Result<Option<Version>> {
        let version = self.reach.names.existing(key).and_then(|raw| self.reach.recent.version(&raw));
        Ok(version.map(|version| Version(version.as_bytes().into())))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let requests = self.reach.bucket.requests();
        let shown = requests.iter().map(|(operation, count)| format!("{operation} {count}"));
        vec![("requests", shown.collect::<Vec<_>>().join(", "))]
    }
}
