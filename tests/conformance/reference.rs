//! What a flat store is, in the plainest words: values by key, and a key that ends in an empty segment is a marker
//! where its value is empty. With attributes, directories are made beside the values. Where it is a tree of folders, a
//! key is a value or a directory, and directories are made on the way to a value.

use std::collections::{BTreeMap, BTreeSet};

use kvfs::error::ErrorKind;
use kvfs::key::{Key, Segment};
use kvfs::store::api::Kind;

type Outcome = Result<(), ErrorKind>;

#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub values: BTreeMap<Key, Vec<u8>>,
    /// Directories that were made, and those above them; `None` where a marker is made instead.
    pub made: Option<BTreeSet<Key>>,
    /// Whether it is a tree of folders.
    pub folders: bool,
}

fn marker(dir: &Key) -> Key {
    dir.child(Segment::plain(b""))
}

/// A directory that was made, and those above it: they last as it does.
fn add(made: &mut BTreeSet<Key>, dir: Key) {
    let mut dir = Some(dir);
    while let Some(key) = dir.filter(|key| !key.is_root()) {
        dir = key.parent();
        made.insert(key);
    }
}

impl Reference {
    fn below<'a>(&'a self, dir: &'a Key) -> impl Iterator<Item = (&'a Key, &'a Vec<u8>)> {
        self.values.iter().filter(move |(key, _)| key.len() > dir.len() && key.starts_with(dir))
    }

    fn made(&self) -> impl Iterator<Item = &Key> {
        self.made.iter().flatten()
    }

    fn made_below(&self, dir: &Key) -> bool {
        self.made().any(|key| key.len() > dir.len() && key.starts_with(dir))
    }

    /// What keeps a directory from being removed: all below it but an empty marker.
    fn inside(&self, dir: &Key) -> bool {
        self.below(dir).any(|(key, value)| *key != marker(dir) || !value.is_empty()) || self.made_below(dir)
    }

    pub fn kind(&self, key: &Key) -> Option<Kind> {
        let made = self.made().any(|made| made == key) || self.made_below(key);
        let below = key.is_root() || self.below(key).next().is_some() || made;
        match (self.values.contains_key(key), below) {
            (true, true) => Some(Kind::Both),
            (true, false) => Some(Kind::Leaf),
            (false, true) => Some(Kind::Branch),
            (false, false) => None,
        }
    }

    pub fn names(&self, dir: &Key) -> BTreeSet<Vec<u8>> {
        let hidden = |key: &Key, value: &[u8]| !dir.is_root() && value.is_empty() && *key == marker(dir);
        self.below(dir)
            .filter(|(key, value)| !hidden(key, value))
            .map(|(key, _)| key)
            .chain(self.made().filter(|key| key.len() > dir.len() && key.starts_with(dir)))
            .filter_map(|key| Some(key.segment(dir.len())?.bytes.to_vec()))
            .collect()
    }

    /// What a tree of folders says of a name that is to be made.
    fn check_folders(&self, key: &Key) -> Outcome {
        if self.folders && key.segments().any(|segment| segment.bytes.is_empty()) {
            return Err(ErrorKind::NameEncoding);
        }
        let below_a_value = |value: &Key| key.len() > value.len() && key.starts_with(value);
        if self.folders && self.values.keys().any(below_a_value) {
            return Err(ErrorKind::NotDirectory);
        }
        Ok(())
    }

    /// The directories above a name are made.
    fn make_above(&mut self, key: &Key) {
        if let (true, Some(made), Some(above)) = (self.folders, &mut self.made, key.parent()) {
            add(made, above);
        }
    }

    pub fn put(&mut self, key: &Key, value: &[u8], absent: bool) -> Outcome {
        self.check_folders(key)?;
        if self.folders && self.kind(key) == Some(Kind::Branch) {
            return Err(if absent { ErrorKind::Exists } else { ErrorKind::IsDirectory });
        }
        if absent && self.values.contains_key(key) {
            return Err(ErrorKind::Exists);
        }
        self.values.insert(key.clone(), value.to_vec());
        self.make_above(key);
        Ok(())
    }

    pub fn rename(&mut self, from: &Key, to: &Key, tree: bool, replace: bool) -> Outcome {
        if self.folders && to.segments().any(|segment| segment.bytes.is_empty()) {
            return Err(ErrorKind::NameEncoding);
        }
        if from == to || (tree && to.starts_with(from)) {
            return Err(ErrorKind::Invalid);
        }
        if self.folders {
            self.check_folder_rename(from, to, tree, replace)?;
        }
        if tree && replace && self.inside(to) {
            return Err(ErrorKind::NotEmpty);
        }
        let made_to = self.made().any(|made| made == to) || self.made_below(to);
        if tree && !replace && (self.below(to).next().is_some() || made_to) {
            return Err(ErrorKind::Exists);
        }
        if !replace && self.values.contains_key(to) {
            return Err(ErrorKind::Exists);
        }
        let moved: Vec<Key> = self
            .values
            .keys()
            .filter(|key| *key == from || (tree && key.starts_with(from)))
            .cloned()
            .collect();
        let names: Vec<Key> = self.made().filter(|key| tree && key.starts_with(from)).cloned().collect();
        if moved.is_empty() && names.is_empty() {
            return Err(ErrorKind::NotFound);
        }
        self.rename_made(from, to, tree, &names);
        self.make_above(to);
        for old in moved {
            let mut new = to.clone();
            old.below(from.len()).segments().for_each(|segment| new.push(segment));
            if let Some(value) = self.values.remove(&old) {
                self.values.insert(new, value);
            }
        }
        Ok(())
    }

    /// As `rename` of a file system has it.
    fn check_folder_rename(&self, from: &Key, to: &Key, tree: bool, replace: bool) -> Outcome {
        let source = self.kind(from).filter(|kind| tree || *kind == Kind::Leaf);
        let source = source.ok_or(ErrorKind::NotFound)?;
        self.check_folders(to)?;
        match (source, self.kind(to)) {
            (_, None) => Ok(()),
            (_, Some(_)) if !replace => Err(ErrorKind::Exists),
            (_, Some(_)) if from.starts_with(to) => Err(ErrorKind::NotEmpty),
            (Kind::Leaf, Some(Kind::Branch)) => Err(ErrorKind::IsDirectory),
            (Kind::Branch, Some(Kind::Leaf)) => Err(ErrorKind::NotDirectory),
            (Kind::Branch, Some(_)) if self.inside(to) => Err(ErrorKind::NotEmpty),
            _ => Ok(()),
        }
    }

    fn rename_made(&mut self, from: &Key, to: &Key, tree: bool, names: &[Key]) {
        let Some(made) = self.made.as_mut().filter(|_| tree) else { return };
        made.remove(to);
        for old in names {
            made.remove(old);
            let mut new = to.clone();
            old.below(from.len()).segments().for_each(|segment| new.push(segment));
            add(made, new);
        }
    }

    pub fn make(&mut self, dir: &Key) -> Outcome {
        self.check_folders(dir)?;
        if self.kind(dir).is_some() {
            return Err(ErrorKind::Exists);
        }
        if let Some(made) = &mut self.made {
            add(made, dir.clone());
            return Ok(());
        }
        self.values.insert(marker(dir), Vec::new());
        Ok(())
    }

    pub fn remove(&mut self, dir: &Key) -> Outcome {
        if self.values.contains_key(dir) || self.inside(dir) {
            return Err(ErrorKind::NotEmpty);
        }
        self.values.remove(&marker(dir));
        self.made.as_mut().map(|made| made.remove(dir));
        Ok(())
    }
}
