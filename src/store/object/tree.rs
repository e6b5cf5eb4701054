//! A bucket as a [`Store`].

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::bucket::{Listing, Object};
use super::change;
use super::folder_markers::SUFFIX;
use super::history;
use super::metadata;
use super::pages::Below;
use super::reach::Reach;
use super::value::Opened;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment};
use crate::payload::Payload;
use crate::store::api::{Caps, Change, Cursor, Entry, Kind, Stat, Store, Tag, Value, Version};
use crate::store::attributes::{Attributes, Xattrs};
use crate::store::flat;

/// Keys that are looked at when a bucket is mounted.
const FIRST_LOOK: u32 = 100;

/// A bucket, below its prefix.
pub(super) struct Tree {
    pub reach: Arc<Reach>,
    pub caps: Caps,
}

impl Tree {
    /// The first keys below a prefix, at most so many; its marker is the first of them.
    pub(super) async fn first_below(&self, prefix: &str, most: u32) -> Result<Vec<Object>> {
        let listing = Listing { prefix, delimiter: None, token: None, after: None, most };
        match self.reach.bucket.list(&listing).await {
            // Who may read and not list sees what he names (and the mount said so).
            Err(error) if error.kind() == ErrorKind::Denied && self.reach.listing_denied() => Ok(Vec::new()),
            page => Ok(page?.objects),
        }
    }

    /// The object at a key, remembered with its headers.
    pub(super) async fn look(&self, raw: &str) -> Result<Option<Object>> {
        let found = self.reach.bucket.head(raw).await?;
        match &found {
            Some(object) => self.reach.recent.saw(object),
            None => self.reach.recent.lost(raw),
        }
        Ok(found)
    }

    /// The marker of a directory, where its attributes are kept and a listing does not tell them.
    async fn look_marker(&self, prefix: Option<&str>) -> Result<Option<Object>> {
        let untold = self.reach.style.is_some() && !self.reach.bucket.abilities().listed_headers;
        match prefix.filter(|_| untold) {
            Some(prefix) => self.look(prefix).await,
            None => Ok(None),
        }
    }

    /// Whether the bucket answers at all, told at mount in one sentence. Listing may be denied where reading is allowed:
    /// then paths still open.
    ///
    /// # Errors
    /// The service's, in its words.
    pub(super) fn check(&self) -> Result<()> {
        let prefix = self.reach.names.below(&Key::root()).unwrap_or_default();
        let found = self.reach.wait(self.first_below(&prefix, FIRST_LOOK));
        if let Ok(found) = &found {
            self.reach.meet_folder_markers(found);
        }
        match found {
            Err(error) if error.kind() == ErrorKind::Denied => {
                self.reach.listing_denied.store(true, Ordering::Relaxed);
                tracing::warn!("listing is denied: only whole paths can be opened ({error})");
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    fn stat_root(&self) -> Result<Stat> {
        let mut stat = Stat::plain(Kind::Branch, 0, self.reach.opened);
        if let (Some(_), Some(prefix)) = (self.reach.style, self.reach.names.below(&Key::root()))
            && !prefix.is_empty()
            && let Some(marker) = self.reach.wait(self.look(&prefix))?
        {
            stat.directory = self.reach.attributes(&marker);
        }
        Ok(stat)
    }
}

impl Store for Tree {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        if key.is_root() {
            return self.stat_root().map(Some);
        }
        let (raw, below) = (self.reach.names.existing(key), self.reach.names.below(key));
        // Questions asked at once: the value of `a`, whether there is anything below `a/`, and what its marker says.
        let asked = self.reach.wait(async {
            let below = below.as_deref();
            let value = async {
                match &raw {
                    Some(raw) => self.look(raw).await,
                    None => Ok(None),
                }
            };
            let first = async {
                match below {
                    Some(prefix) => Ok(self.first_below(prefix, 1).await?.pop()),
                    None => Ok(None),
                }
            };
            futures::try_join!(value, first, self.look_marker(below), self.reach.folder_marker(key))
        });
        let (object, first, marker, folder) = match asked {
            // Who may not list is denied what is not there, too: what is not a file may be a directory on the way to one.
            Err(error) if error.kind() == ErrorKind::Denied && self.reach.listing_denied() => {
                return Ok(Some(Stat::plain(Kind::Branch, 0, self.reach.opened)));
            }
            asked => asked?,
        };
        let marker = marker.or_else(|| first.clone().filter(|first| Some(&first.key) == below.as_ref()));
        let kind = match (&object, &first) {
            (None, None) => {
                return Ok(folder.map(|folder| Stat::plain(Kind::Branch, 0, folder.modified)));
            }
            (Some(_), None) => Kind::Leaf,
            (Some(_), Some(_)) => Kind::Both,
            (None, Some(_)) => Kind::Branch,
        };
        let modified = object.as_ref().or(marker.as_ref()).map_or(self.reach.opened, |found| found.modified);
        let mut stat = Stat::plain(kind, object.as_ref().map_or(0, |object| object.size), modified);
        stat.version = object.as_ref().and_then(Object::tag);
        stat.file = object.map(|object| self.reach.attributes(&object)).unwrap_or_default();
        stat.directory = marker.map(|marker| self.reach.attributes(&marker)).unwrap_or_default();
        Ok(Some(stat))
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
        let (separator, key_max) = (self.reach.names.separator(), self.reach.names.key_max());
        let below = Below { reach: Arc::clone(&self.reach), prefix, told: Mutex::default() };
        let prefix = below.prefix.clone().into_bytes();
        let directory = flat::Directory { kv: &below, separator, prefix, key_max };
        flat::list(&directory, from, &mut |mut entry| {
            if let Some(told) = below.told.lock().get(entry.segment.bytes) {
                entry.stat.file = told.file;
                entry.stat.directory = told.directory;
                entry.stat.version = told.version;
                let folder = entry.segment.bytes.strip_suffix(SUFFIX.as_bytes());
                if let Some(folder) = folder.filter(|_| told.folder && entry.stat.kind == Kind::Leaf) {
                    entry.segment = Segment::plain(folder);
                    entry.stat = Stat::plain(Kind::Branch, 0, entry.stat.modified);
                }
            }
            each(entry)
        })
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
            match entry.segment.bytes {
                bytes if bytes.starts_with(prefix) => each(entry),
                // A directory whose marker comes behind its name.
                bytes if bytes < prefix => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })
    }

    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        let names = &self.reach.names;
        let raw = if directory { names.below(key) } else { names.existing(key) };
        let (Some(style), Some(raw)) = (self.reach.style, raw) else { return Ok(Xattrs::new()) };
        let found = self.reach.wait(self.look(&raw))?;
        Ok(found
            .and_then(|found| found.headers)
            .map(|headers| metadata::read(style, &headers).xattrs)
            .unwrap_or_default())
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let Some(raw) = self.reach.names.existing(key) else { return Ok(None) };
        let found = self.reach.wait(self.look(&raw)).map_err(|e| Reach::about(&raw, e))?;
        match found {
            Some(object) => Ok(Some(Box::new(Opened::of(&self.reach, &object)?))),
            None => Ok(None),
        }
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        match (self.reach.names.existing(key), &stat.version) {
            (Some(raw), Some(version)) => {
                Ok(Some(Box::new(Opened::told(&self.reach, raw, stat.size, version))))
            }
            _ => self.open(key),
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(Error::new(ErrorKind::ReadOnly, "this store is mounted read-only"));
        }
        self.change(changes)
    }

    fn written_so_far(&self, key: &Key, body: &Payload) {
        let Ok(raw) = self.reach.names.fitting(key) else { return };
        let headers = || Ok(self.headers_now(&raw)?.unwrap_or_else(|| change::new_headers(&raw)));
        if let Err(error) = self.reach.ahead.grown(&self.reach, &raw, body, headers) {
            tracing::debug!("{raw:?} is sent when it is closed: {error}");
        }
    }

    fn seen_absent(&self, key: &Key) {
        if let Some(raw) = self.reach.names.existing(key) {
            self.reach.recent.seen_absent(raw);
        }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        self.reach.names.fitting(key).map(drop)
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let raw = if directory { self.reach.names.below(key) } else { self.reach.names.existing(key) };
        raw.unwrap_or_default().into_bytes()
    }

    fn version_of(&self, key: &Key, _body: &Payload) -> Result<Option<Version>> {
        let version = self.reach.names.existing(key).and_then(|raw| self.reach.recent.version_put(&raw));
        Ok(version.map(|version| Version(version.as_bytes().into())))
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let Some(raw) = self.reach.names.existing(key) else { return Ok(Vec::new()) };
        let Some(object) = self.reach.wait(self.look(&raw))? else { return Ok(Vec::new()) };
        let content_type = object.headers.and_then(|headers| headers.content_type);
        let told = [
            (metadata::CONTENT_TYPE, content_type),
            ("user.kvfs.storage-class", object.class),
            ("user.kvfs.version", Some(object.version)),
        ];
        Ok(told.into_iter().filter_map(|(name, text)| Some((name, text?.into_bytes()))).collect())
    }

    /// A moment that is over: what is put from now on has a later time, also where times are whole seconds.
    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Store>> {
        history::past(&self.reach, &self.caps, history::just_now(env::now()))
    }

    fn past(self: Arc<Self>, moment: SystemTime) -> Result<Arc<dyn Store>> {
        history::past(&self.reach, &self.caps, moment)
    }

    fn history(&self) -> Option<Arc<dyn Store>> {
        history::of(&self.reach, &self.caps)
    }

    fn close(&self) -> Result<()> {
        self.reach.ahead.sweep(&self.reach);
        Ok(())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let requests = self.reach.bucket.requests();
        let shown = requests.iter().map(|(operation, count)| format!("{operation} {count}"));
        let conditions = match self.reach.honoured.missing() {
            None => "honoured".to_owned(),
            Some(missing) => format!("not honoured by this server, and looked up before: {missing}"),
        };
        let denied =
            self.reach.listing_denied().then(|| ("listing", "denied: whole paths can be opened".to_owned()));
        let mut facts = vec![("conditions", conditions), ("requests", shown.collect::<Vec<_>>().join(", "))];
        facts.extend(denied);
        facts.extend(self.reach.progress.facts());
        facts
    }
}

/// What listings tell of names besides size and time.
pub(super) type Told = HashMap<Vec<u8>, ToldOf>;

/// What a listing tells of one name besides size and time.
#[derive(Default)]
pub(super) struct ToldOf {
    /// Of its file.
    pub file: Attributes,
    /// Of its directory.
    pub directory: Attributes,
    /// Of its file.
    pub version: Option<Tag>,
    /// Whether it is a marker of Hadoop's, of a directory that nothing else tells of.
    pub folder: bool,
}
