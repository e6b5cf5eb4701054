//! What lives in the mount alone, for its life: directories kept after their last file went (§2.4), files created and
//! not yet put, and when directories were changed last. A tree like the store's, so that a rename moves a whole branch.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::key::{Key, Segment};
use crate::name;

/// What the mount knows of one key.
#[derive(Debug, Default)]
pub struct Record {
    /// When something last came into the directory here or went from it, through this mount.
    pub touched: Option<SystemTime>,
    /// Whether a directory is here although the store has none.
    pub kept: bool,
    /// Whether a file is here that was created and is not in the store yet.
    pub new: bool,
    /// Whether the directory here has a `%value` that was created and is not in the store yet (§1.7).
    pub new_value: bool,
    /// How many new files and values, and kept directories there are here and below.
    inside: i64,
    /// By file name.
    children: BTreeMap<Box<[u8]>, Record>,
}

impl Record {
    fn is_empty(&self) -> bool {
        self.touched.is_none() && !self.kept && !self.new && !self.new_value && self.children.is_empty()
    }

    fn own(&self) -> i64 {
        [self.new, self.new_value, self.kept].into_iter().map(i64::from).sum()
    }

    /// Whether the mount shows something here that the store may not have.
    pub fn shows(&self) -> Option<Shown> {
        if self.new {
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
    /// A directory.
    Directory,
}

/// So many directories' times are known each for itself; with more, all of them count as changed at the newest.
pub(super) const TOUCHED_MOST: usize = 1 << 16;

/// Everything that lives in the mount alone.
#[derive(Debug)]
pub struct Overlay {
    root: Record,
    /// How many directories have a time.
    touched: usize,
    /// No directory without a time was changed after this.
    others_touched: SystemTime,
}

impl Default for Overlay {
    fn default() -> Overlay {
        Overlay { root: Record::default(), touched: 0, others_touched: SystemTime::UNIX_EPOCH }
    }
}

/// What would be lost with the mount, for its report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
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

    /// Something came into this directory, or went from it.
    pub fn touch(&mut self, directory: &Key, now: SystemTime) {
        if self.touched >= TOUCHED_MOST {
            self.others_touched = now;
            self.forget_touched();
        }
        let record = self.at(directory);
        let is_new = record.touched.replace(now).is_none();
        self.touched += usize::from(is_new);
    }

    /// When something last came into this directory or went from it, or may have.
    pub fn touched(&self, directory: &Key) -> SystemTime {
        self.get(directory).and_then(|record| record.touched).unwrap_or(self.others_touched)
    }

    /// How many directories have a time of their own.
    pub fn touched_count(&self) -> usize {
        self.touched
    }

    /// The time of this directory is known otherwise from here on.
    pub fn untouch(&mut self, directory: &Key) {
        if let Some(record) = self.get_mut(directory)
            && record.touched.take().is_some()
        {
            self.touched = self.touched.saturating_sub(1);
            self.prune(directory);
        }
    }

    /// The directories with a time.
    pub fn all_touched(&self) -> Vec<(Key, SystemTime)> {
        let mut all = Vec::with_capacity(self.touched);
        walk(&self.root, &Key::root(), &|_| true, &mut |key, record| {
            all.extend(record.touched.map(|time| (key.clone(), time)));
            true
        });
        all
    }

    fn forget_touched(&mut self) {
        fn forget_in(record: &mut Record) {
            record.touched = None;
            record.children.values_mut().for_each(forget_in);
            record.children.retain(|_, child| !child.is_empty());
        }
        forget_in(&mut self.root);
        self.touched = 0;
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

    /// The file at this key is in the store, or never will be.
    pub fn not_new(&mut self, key: &Key) {
        if self.get_mut(key).is_some() {
            self.change(key, |record| (record.new, record.new_value) = (false, false));
        }
    }

    /// Forgets the directory at this key and what is known below it; a new file at the key stays.
    pub fn remove_directory(&mut self, key: &Key) {
        let Some(record) = self.get_mut(key) else { return };
        let touched = record.count(&|record| record.touched.is_some());
        record.touched = None;
        record.kept = false;
        record.children.clear();
        let delta = record.own() - record.inside;
        self.touched = self.touched.saturating_sub(touched);
        self.count_along(key, delta);
        self.prune(key);
    }

    /// Moves what is known of the directory at `from`, and of all below, to `to`.
    pub fn rename_tree(&mut self, from: &Key, to: &Key) {
        self.remove_directory(to);
        self.not_new(to);
        let moved = self.take(from);
        self.hang(to, moved);
    }

    /// Exchanges what is known of two keys: of the files there alone, or of all that is there and below, where neither
    /// lies below the other.
    pub fn exchange(&mut self, one: &Key, other: &Key, files_alone: bool) {
        if !files_alone {
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
        let mut kept = Vec::new();
        walk(&self.root, &Key::root(), &|record| record.inside > 0, &mut |key, record| {
            if record.kept {
                kept.push(key.clone());
            }
            kept.len() < most
        });
        kept
    }

    /// What would be lost with the mount.
    pub fn counts(&self) -> Counts {
        Counts { directories: self.root.count(&|record| record.kept) }
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

/// Visits `record` and what `into` lets in below, until `visit` answers false.
fn walk(
    record: &Record,
    key: &Key,
    into: &dyn Fn(&Record) -> bool,
    visit: &mut dyn FnMut(&Key, &Record) -> bool,
) -> bool {
    visit(key, record)
        && record.children.iter().filter(|(_, child)| into(child)).all(|(name, child)| {
            name::decode(name).is_none_or(|(bytes, word)| {
                walk(child, &key.child(Segment { bytes: &bytes, word }), into, visit)
            })
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(path: &str) -> Key {
        Key::of(path.split('/').map(str::as_bytes))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_renamed_tree_takes_along_what_the_mount_knows() {
        let mut overlay = Overlay::default();
        overlay.change(&key("a/b/file"), |record| record.new = true);
        overlay.change(&key("a/b/d"), |record| record.kept = true);
        overlay.touch(&key("a/b"), at(5));
        overlay.rename_tree(&key("a/b"), &key("c"));
        assert!(overlay.get(&key("a")).is_none());
        assert_eq!(
            overlay.shown(&key("c")),
            vec![(b"d"[..].into(), Shown::Directory), (b"file"[..].into(), Shown::File)]
        );
        assert_eq!(overlay.counts(), Counts { directories: 1 });
        assert_eq!(overlay.kept(9), [key("c/d")]);
        assert_eq!(overlay.touched(&key("c")), at(5));
        assert_eq!(overlay.shown(&Key::root()), vec![(b"c"[..].into(), Shown::Directory)]);
        overlay.not_new(&key("c/file"));
        overlay.remove_directory(&key("c"));
        assert!(overlay.root.is_empty());
        assert_eq!((overlay.root.inside, overlay.touched), (0, 0));
    }

    #[test]
    fn two_exchanged_trees_take_along_what_the_mount_knows() {
        let mut overlay = Overlay::default();
        overlay.change(&key("a/b/file"), |record| record.new = true);
        overlay.change(&key("a/b/kept"), |record| record.kept = true);
        overlay.touch(&key("c"), at(5));
        for _ in 0..2 {
            overlay.exchange(&key("a/b"), &key("c"), false);
            assert_eq!(overlay.touched(&key("a/b")), at(5));
            assert_eq!(overlay.shown(&key("c")).len(), 2);
            assert_eq!(overlay.shown(&key("a")), vec![]);
            assert_eq!(overlay.root.inside, 2);
            overlay.exchange(&key("c"), &key("a/b"), false);
            assert_eq!(overlay.shown(&key("a/b")).len(), 2);
            assert_eq!(overlay.touched(&key("c")), at(5));
        }
        overlay.exchange(&key("a/b"), &key("c"), true);
        assert_eq!(overlay.touched(&key("c")), at(5));
        assert_eq!(overlay.shown(&key("a/b")).len(), 2);
    }

    #[test]
    fn the_times_of_directories_are_bounded_and_never_too_old() {
        let mut overlay = Overlay::default();
        let numbered = |index: usize| Key::of([&b"d"[..], &index.to_le_bytes()]);
        for index in 0..3 * TOUCHED_MOST {
            overlay.touch(&numbered(index), at(index as u64));
        }
        assert!(overlay.all_touched().len() <= TOUCHED_MOST);
        for index in 0..3 * TOUCHED_MOST {
            assert!(overlay.touched(&numbered(index)) >= at(index as u64), "{index}");
        }
        overlay.untouch(&numbered(3 * TOUCHED_MOST - 1));
        assert_eq!(overlay.all_touched().len(), overlay.touched);
    }
}
