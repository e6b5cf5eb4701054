//! What lives in the mount alone, for its life: attributes, symbolic links, directories kept after their last file
//! went (§2.4), files created and not yet put. A tree like the store's, so that a rename moves a whole branch.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::key::{Key, Segment};
use crate::name;
use crate::store::api::Stat;

/// Attributes that were set, or that writing set; what is `None` follows the mount and the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<SystemTime>,
    /// Last change of the content, with what guards it.
    pub mtime: Option<Guarded>,
    /// Last change of content or attributes.
    pub ctime: Option<SystemTime>,
    /// Extended attributes, by their full names.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// A time of change, and the content it belongs to (§5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The time.
    pub time: SystemTime,
    /// When it was last known to be true: a store that changed later must be asked.
    pub known: SystemTime,
    /// Length in bytes and hash of the content; `None` for a directory.
    pub content: Option<(u64, u64)>,
    /// Whether somebody set it; otherwise writing did.
    pub asked: bool,
}

/// Whether a recorded time of change is that of the value there is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It is.
    Yes,
    /// The value changed since.
    No,
    /// It is if the bytes are the recorded ones.
    WithTheSameBytes,
}

impl Guarded {
    /// What can be told without the bytes.
    pub fn holds(&self, stat: Option<Stat>) -> Holds {
        match (stat, self.content) {
            (None, _) => Holds::Yes,
            (Some(stat), _) if stat.modified <= self.known => Holds::Yes,
            (Some(stat), Some((size, _))) if size == stat.size => Holds::WithTheSameBytes,
            // Of a directory the mount knows only its own changes.
            _ => Holds::No,
        }
    }
}

/// What the mount knows of one key.
#[derive(Debug, Default)]
pub struct Record {
    /// Attributes of the value's file.
    pub file: Option<Box<Attributes>>,
    /// Attributes of the directory.
    pub directory: Option<Box<Attributes>>,
    /// The target, where the key is a symbolic link.
    pub symlink: Option<Box<[u8]>>,
    /// Whether a directory is here although the store has none.
    pub kept: bool,
    /// Whether a file is here that was created and is not in the store yet.
    pub new: bool,
    /// Whether the directory here has a `%value` that was created and is not in the store yet (§1.7).
    pub new_value: bool,
    /// How many links, new files and values, and kept directories there are here and below.
    inside: i64,
    /// By file name.
    children: BTreeMap<Box<[u8]>, Record>,
}

impl Record {
    fn is_empty(&self) -> bool {
        self.file.is_none()
            && self.directory.is_none()
            && self.symlink.is_none()
            && !self.kept
            && !self.new
            && !self.new_value
            && self.children.is_empty()
    }

    fn own(&self) -> i64 {
        [self.symlink.is_some(), self.new, self.new_value, self.kept].into_iter().map(i64::from).sum()
    }

    /// Whether the mount shows something here that the store may not have.
    pub fn shows(&self) -> Option<Shown> {
        if self.symlink.is_some() {
            Some(Shown::Symlink)
        } else if self.new {
            Some(Shown::File)
        } else if self.inside > 0 {
            Some(Shown::Directory)
        } else {
            None
        }
    }

    fn count(&self, of: &dyn Fn(&Record) -> bool) -> usize {
        usize::from(of(self)) + self.children.values().map(|child| child.count(of)).sum::<usize>()
    }
}

/// What the mount alone shows at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A file not yet put.
    File,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
}

/// So many times that writing set are recorded before those of the round before are dropped: the store's own, never
/// older, take their place (§5.5).
const TIMES_IN_A_ROUND: usize = 1 << 17;

/// Everything that lives in the mount alone.
#[derive(Debug)]
pub struct Overlay {
    root: Record,
    /// Times that writing set in this round, and when it began.
    times: usize,
    round: SystemTime,
}

impl Default for Overlay {
    fn default() -> Overlay {
        Overlay { root: Record::default(), times: 0, round: SystemTime::UNIX_EPOCH }
    }
}

/// What would be lost with the mount, for its report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Keys with a mode, owner, time or extended attribute that was set.
    pub attributes: usize,
    /// Symbolic links.
    pub symlinks: usize,
    /// Directories that stay although their last key may be gone (§2.4).
    pub directories: usize,
}

impl Overlay {
    /// What is known of this key.
    pub fn get(&self, key: &Key) -> Option<&Record> {
        if self.root.children.is_empty() && !key.is_root() {
            return None;
        }
        key.segments().try_fold(&self.root, |record, segment| record.children.get(&*name::encode(segment)))
    }

    fn get_mut(&mut self, key: &Key) -> Option<&mut Record> {
        key.segments()
            .try_fold(&mut self.root, |record, segment| record.children.get_mut(&*name::encode(segment)))
    }

    /// Changes what lives at this key, and keeps the counts above it right.
    pub fn change(&mut self, key: &Key, change: impl FnOnce(&mut Record)) {
        let record = self.at(key);
        let before = record.own();
        change(record);
        let delta = record.own() - before;
        self.count_along(key, delta);
        self.prune(key);
    }

    /// Adds `delta` to the counts from the root to `key`.
    fn count_along(&mut self, key: &Key, delta: i64) {
        if delta == 0 {
            return;
        }
        let mut record = &mut self.root;
        record.inside += delta;
        for segment in key.segments() {
            record = record.children.entry(name::encode(segment).as_ref().into()).or_default();
            record.inside += delta;
        }
    }

    fn at(&mut self, key: &Key) -> &mut Record {
        key.segments().fold(&mut self.root, |record, segment| {
            record.children.entry(name::encode(segment).as_ref().into()).or_default()
        })
    }

    /// Attributes of the file, or of the directory, at this key, made if they are new.
    pub fn attributes(&mut self, key: &Key, directory: bool) -> &mut Attributes {
        let record = self.at(key);
        if directory { record.directory.get_or_insert_default() } else { record.file.get_or_insert_default() }
    }

    /// The file names that the mount alone shows below this directory.
    pub fn shown(&self, directory: &Key) -> Vec<(Box<[u8]>, Shown)> {
        match self.get(directory) {
            Some(record) if record.inside > 0 => record
                .children
                .iter()
                .filter_map(|(name, child)| Some((name.clone(), child.shows()?)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Forgets the file at this key, and answers its attributes.
    pub fn remove_file(&mut self, key: &Key) -> Option<Box<Attributes>> {
        self.get_mut(key)?;
        let mut attributes = None;
        self.change(key, |record| {
            attributes = record.file.take();
            (record.symlink, record.new, record.new_value) = (None, false, false);
        });
        attributes
    }

    /// The file at this key is in the store, or never will be.
    pub fn not_new(&mut self, key: &Key) {
        if self.get_mut(key).is_some() {
            self.change(key, |record| (record.new, record.new_value) = (false, false));
        }
    }

    /// Forgets what was set on something that the store has no longer, and the mount alone does not show: on the
    /// value of a directory that is there, or on all that there was.
    pub fn remove_gone(&mut self, key: &Key, value_alone: bool) {
        let Some(record) = self.get_mut(key) else { return };
        if value_alone && !record.new_value {
            self.change(key, |record| record.file = None);
        } else if !value_alone && record.inside == 0 {
            self.remove_file(key);
            self.remove_directory(key);
        }
    }

    /// Records the time that a put set.
    pub fn record_put(&mut self, key: &Key, mtime: Guarded) {
        self.times += 1;
        if self.times > TIMES_IN_A_ROUND {
            self.drop_times_before(self.round);
            (self.times, self.round) = (0, mtime.known);
        }
        self.change(key, |record| {
            (record.new, record.new_value) = (false, false);
            let set = record.file.get_or_insert_default();
            (set.mtime, set.ctime) = (Some(mtime), Some(mtime.time));
        });
    }

    /// The file's recorded time of change is known to hold until then.
    pub fn holds_until(&mut self, key: &Key, moment: SystemTime) {
        let set = self.get_mut(key).and_then(|record| record.file.as_mut());
        if let Some(mtime) = set.and_then(|set| set.mtime.as_mut()) {
            mtime.known = mtime.known.max(moment);
        }
    }

    /// Drops attributes that are no more than a time that writing set, where it was last known to hold before `round`.
    fn drop_times_before(&mut self, round: SystemTime) {
        fn drop_in(record: &mut Record, round: SystemTime) {
            record.file.take_if(|set| {
                let time_only = Attributes {
                    mtime: set.mtime,
                    ctime: set.ctime,
                    atime: set.atime,
                    ..Attributes::default()
                };
                set.mtime.is_some_and(|mtime| !mtime.asked && mtime.known < round) && **set == time_only
            });
            record.children.values_mut().for_each(|child| drop_in(child, round));
            record.children.retain(|_, child| !child.is_empty());
        }
        drop_in(&mut self.root, round);
    }

    /// Forgets the directory at this key and whatever was set below it; the value's file at the key stays.
    pub fn remove_directory(&mut self, key: &Key) {
        let Some(record) = self.get_mut(key) else { return };
        record.directory = None;
        record.kept = false;
        record.children.clear();
        let delta = record.own() - record.inside;
        self.count_along(key, delta);
        self.prune(key);
    }

    /// Moves what is known of the file at `from`, which the store has or the mount alone, to `to`; answers the
    /// attributes of the file that was there.
    pub fn rename_file(&mut self, from: &Key, to: &Key) -> Option<Box<Attributes>> {
        let replaced = self.remove_file(to);
        let symlink = self.get_mut(from).and_then(|record| record.symlink.clone());
        let file = self.remove_file(from);
        if file.is_some() || symlink.is_some() {
            self.change(to, |record| (record.file, record.symlink) = (file, symlink));
        }
        replaced
    }

    /// Moves what is known of the directory at `from`, and of all below, to `to`.
    pub fn rename_tree(&mut self, from: &Key, to: &Key) {
        self.remove_directory(to);
        self.remove_file(to);
        let moved = self.take(from);
        self.hang(to, moved);
    }

    /// Exchanges what is known of two keys: of the files there alone, or of all that is there and below, where neither
    /// lies below the other.
    pub fn exchange(&mut self, one: &Key, other: &Key, files_alone: bool) {
        if files_alone {
            let mut take = |key| self.get_mut(key).and_then(|record| record.file.take());
            let (own, others) = (take(one), take(other));
            self.change(one, |record| record.file = others);
            self.change(other, |record| record.file = own);
        } else {
            let (own, others) = (self.take(one), self.take(other));
            self.hang(one, others);
            self.hang(other, own);
        }
    }

    /// Takes away the record of a key, with all below.
    fn take(&mut self, key: &Key) -> Record {
        let Some(record) = self.get_mut(key) else { return Record::default() };
        let taken = std::mem::take(record);
        self.count_along(key, -taken.inside);
        // `count_along` above ran over a record that is empty now and holds `-inside` alone.
        if let Some(emptied) = self.get_mut(key) {
            emptied.inside = 0;
        }
        self.prune(key);
        taken
    }

    /// Hangs up a record, with all below, at a key of which nothing is known.
    fn hang(&mut self, key: &Key, mut record: Record) {
        let inside = std::mem::take(&mut record.inside);
        *self.at(key) = record;
        self.count_along(key, inside);
        self.prune(key);
    }

    /// The directories that stay although their last key may be gone, at most `most` of them.
    pub fn kept(&self, most: usize) -> Vec<Key> {
        fn collect(record: &Record, key: &Key, most: usize, kept: &mut Vec<Key>) {
            if record.kept && kept.len() < most {
                kept.push(key.clone());
            }
            for (name, child) in record.children.iter().filter(|(_, child)| child.inside > 0) {
                if let Some((bytes, word)) = name::decode(name) {
                    collect(child, &key.child(Segment { bytes: &bytes, word }), most, kept);
                }
            }
        }
        let mut kept = Vec::new();
        collect(&self.root, &Key::root(), most, &mut kept);
        kept
    }

    /// What would be lost with the mount. Times that writing set do not count: the store's own take their place.
    pub fn counts(&self) -> Counts {
        let set = |a: &Option<Box<Attributes>>| {
            a.as_ref().is_some_and(|a| {
                a.mode.is_some()
                    || a.uid.is_some()
                    || a.gid.is_some()
                    || a.mtime.is_some_and(|mtime| mtime.asked)
                    || !a.xattrs.is_empty()
            })
        };
        Counts {
            attributes: self.root.count(&|record| set(&record.file) || set(&record.directory)),
            symlinks: self.root.count(&|record| record.symlink.is_some()),
            directories: self.root.count(&|record| record.kept),
        }
    }

    /// Drops records without content, from `key` up.
    fn prune(&mut self, key: &Key) {
        let mut at = key.clone();
        while let Some(last) = at.last().map(|segment| name::encode(segment).into_owned()) {
            at.pop();
            let Some(parent) = self.get_mut(&at) else { continue };
            if parent.children.get(&*last).is_some_and(Record::is_empty) {
                parent.children.remove(&*last);
            } else {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_tree_takes_along_what_the_mount_knows() {
        let mut overlay = Overlay::default();
        let key = |path: &str| Key::of(path.split('/').map(str::as_bytes));
        overlay.change(&key("a/b/link"), |record| record.symlink = Some(b"x"[..].into()));
        overlay.attributes(&key("a/b"), true).mode = Some(0o700);
        overlay.rename_tree(&key("a/b"), &key("c"));
        assert!(overlay.get(&key("a")).is_none());
        assert_eq!(overlay.shown(&key("c")), vec![(b"link"[..].into(), Shown::Symlink)]);
        assert_eq!(overlay.counts(), Counts { attributes: 1, symlinks: 1, directories: 0 });
        assert_eq!(overlay.shown(&Key::root()), vec![(b"c"[..].into(), Shown::Directory)]);
        overlay.remove_file(&key("c/link"));
        overlay.remove_directory(&key("c"));
        assert!(overlay.root.is_empty());
        assert_eq!(overlay.root.inside, 0);
    }

    #[test]
    fn two_exchanged_trees_take_along_what_the_mount_knows() {
        let mut overlay = Overlay::default();
        let key = |path: &str| Key::of(path.split('/').map(str::as_bytes));
        overlay.change(&key("a/b/link"), |record| record.symlink = Some(b"x"[..].into()));
        overlay.change(&key("a/b/kept"), |record| record.kept = true);
        overlay.attributes(&key("c"), false).mode = Some(0o600);
        for _ in 0..2 {
            overlay.exchange(&key("a/b"), &key("c"), false);
            assert_eq!(overlay.get(&key("a/b")).unwrap().file.as_ref().unwrap().mode, Some(0o600));
            assert_eq!(overlay.shown(&key("c")).len(), 2);
            assert_eq!(overlay.shown(&key("a")), vec![]);
            assert_eq!(overlay.root.inside, 2);
            overlay.exchange(&key("c"), &key("a/b"), false);
            assert_eq!(overlay.shown(&key("a/b")).len(), 2);
            assert_eq!(overlay.get(&key("c")).unwrap().file.as_ref().unwrap().mode, Some(0o600));
        }
        overlay.exchange(&key("a/b"), &key("c"), true);
        assert_eq!(overlay.get(&key("a/b")).unwrap().file.as_ref().unwrap().mode, Some(0o600));
        assert!(overlay.get(&key("c")).is_none(), "what is empty goes");
        assert_eq!(overlay.shown(&key("a/b")).len(), 2);
    }

    #[test]
    fn times_that_writing_set_are_bounded_and_what_was_asked_for_stays() {
        let mut overlay = Overlay::default();
        let key = |index: usize| Key::of([&b"d"[..], &index.to_le_bytes()]);
        let at = |index: usize| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 + index as u64);
        let put = |index| Guarded { time: at(index), known: at(index), content: Some((1, 1)), asked: false };
        overlay.record_put(&key(0), Guarded { asked: true, ..put(0) });
        overlay.record_put(&key(1), put(1));
        overlay.attributes(&key(1), false).mode = Some(0o600);
        for index in 2..4 * TIMES_IN_A_ROUND {
            overlay.record_put(&key(index), put(index));
        }
        let records = overlay.root.count(&|record| record.file.is_some());
        assert!(records <= 2 * TIMES_IN_A_ROUND + 3, "{records}");
        assert!(overlay.get(&key(0)).is_some() && overlay.get(&key(1)).is_some());
        assert!(overlay.get(&key(2)).is_none());
        assert!(overlay.get(&key(4 * TIMES_IN_A_ROUND - TIMES_IN_A_ROUND)).is_some());
    }
}
