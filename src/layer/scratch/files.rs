//! The scratch files of a mount, by directory and name.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::key::{Key, Segment};
use crate::payload::Payload;
use crate::store::api::{Kind, Stat, Value, Version};
use crate::store::attributes::{Attributes, FileType, Setting, Xattrs};

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Its bytes; a link's target.
    pub body: Arc<Payload>,
    pub attributes: Attributes,
    pub xattrs: Xattrs,
    modified: SystemTime,
}

impl File {
    pub(super) fn new(body: Payload, file_type: FileType, now: SystemTime) -> File {
        let attributes = Attributes { file_type, ..Attributes::default() };
        File { body: Arc::new(body), attributes, xattrs: Xattrs::new(), modified: now }
    }

    /// It has other bytes from `now` on.
    pub(super) fn replace(&mut self, body: Payload, now: SystemTime) {
        self.body = Arc::new(body);
        self.modified = now;
        self.attributes.mtime = None;
    }

    pub(super) fn set(&mut self, setting: &Setting) {
        setting.apply(&mut self.attributes);
        setting.apply_xattrs(&mut self.xattrs);
    }

    /// What was set, to be set on what it becomes.
    pub(super) fn setting(&self) -> Setting {
        let Attributes { mode, uid, gid, atime, mtime, ctime, ino, .. } = self.attributes;
        let xattrs = self.xattrs.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        Setting { mode, uid, gid, atime, mtime: mtime.or(Some(self.modified)), ctime, ino, xattrs }
    }

    /// A link's target.
    pub(super) fn target(&self) -> Result<Vec<u8>> {
        if self.attributes.file_type == FileType::Regular {
            return Ok(Vec::new());
        }
        let mut target = vec![0; self.body.len() as usize];
        self.body.read(0, &mut target)?;
        Ok(target)
    }

    pub(super) fn stat(&self) -> Stat {
        let mut stat = Stat::plain(Kind::Leaf, self.body.len(), self.modified);
        stat.file = self.attributes;
        stat
    }

    /// These bytes, also when the file has others later.
    pub(super) fn value(&self) -> Box<dyn Value> {
        Box::new(Bytes(Arc::clone(&self.body)))
    }
}

struct Bytes(Arc<Payload>);

impl Value for Bytes {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let size = size.min(self.len().saturating_sub(offset));
        if size == 0 {
            return Ok(());
        }
        if let Some(bytes) = self.0.as_slice() {
            sink(&bytes[offset as usize..(offset + size) as usize]);
            return Ok(());
        }
        let mut piece = vec![0; size as usize];
        let read = self.0.read(offset, &mut piece)?;
        sink(&piece[..read]);
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        Version::of_payload(&self.0)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<Key, BTreeMap<Box<[u8]>, File>>);

/// The directory and the name of a key that has one.
fn split(key: &Key) -> Option<(Key, &[u8])> {
    Some((key.parent()?, key.last()?.bytes))
}

impl Files {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether there is one directly in this directory.
    pub(super) fn any_in(&self, dir: &Key) -> bool {
        self.0.contains_key(dir)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&File> {
        // Mostly there are none.
        let (dir, name) = if self.is_empty() { return None } else { split(key)? };
        self.0.get(&dir)?.get(name)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut File> {
        let (dir, name) = split(key)?;
        self.0.get_mut(&dir)?.get_mut(name)
    }

    pub(super) fn insert(&mut self, key: &Key, file: File) {
        if let Some((dir, name)) = split(key) {
            self.0.entry(dir).or_default().insert(name.into(), file);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<File> {
        let (dir, name) = split(key)?;
        let files = self.0.get_mut(&dir)?;
        let removed = files.remove(name);
        if files.is_empty() {
            self.0.remove(&dir);
        }
        removed
    }

    pub(super) fn rename(&mut self, from: &Key, to: &Key) {
        if let Some(file) = self.remove(from) {
            self.insert(to, file);
        }
    }

    /// Whether there is one in this directory or below.
    pub(super) fn any_below(&self, dir: &Key) -> bool {
        !self.is_empty() && self.0.keys().any(|own| own.starts_with(dir))
    }

    /// The directory `from` is `to` now, with all below.
    pub(super) fn rename_tree(&mut self, from: &Key, to: &Key) {
        let moved: Vec<_> = self.0.extract_if(|dir, _| dir.starts_with(from)).collect();
        for (dir, files) in moved {
            let mut renamed = to.clone();
            dir.below(from.len()).segments().for_each(|segment| renamed.push(segment));
            self.0.insert(renamed, files);
        }
    }

    /// Those directly in a directory behind a name, in order.
    pub(super) fn after(&self, dir: &Key, last: Option<&[u8]>) -> Vec<(Box<[u8]>, Stat)> {
        let Some(files) = self.0.get(dir) else { return Vec::new() };
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        let range = files.range::<[u8], _>((behind, Bound::Unbounded));
        range.map(|(name, file)| (name.clone(), file.stat())).collect()
    }

    /// How many there are, with the names of `most` of them; nothing where there are none.
    pub(super) fn told(&self, most: usize) -> Option<String> {
        let mut all: Vec<(Key, u64)> = Vec::new();
        for (dir, files) in &self.0 {
            let files = files.iter();
            all.extend(files.map(|(name, file)| (dir.child(Segment::plain(name)), file.body.len())));
        }
        all.sort();
        let bytes: u64 = all.iter().map(|(_, bytes)| bytes).sum();
        let path = |key: &Key| {
            let names = key.segments().map(|segment| segment.bytes.escape_ascii().to_string());
            names.collect::<Vec<_>>().join("/")
        };
        let names: Vec<String> = all.iter().take(most).map(|(key, _)| path(key)).collect();
        let more = if all.len() > most { ", ..." } else { "" };
        (!all.is_empty()).then(|| format!("{} with {bytes} bytes: {}{more}", all.len(), names.join(", ")))
    }
}
