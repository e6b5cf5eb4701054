//! The model: keys, and directories that stay.

use std::collections::{BTreeMap, BTreeSet};

use kvfs::error::ErrorKind;

use crate::{Answer, Path, Tree};

type Name = Vec<&'static str>;

/// A store and what the mount adds to it.
#[derive(Debug, Default)]
pub struct Reference {
    keys: BTreeMap<Name, Vec<u8>>,
    /// Directories that stay without a key: markers (§2.2), and those from which something was removed (§2.4).
    kept: BTreeSet<Name>,
    /// Markers: `name/%empty` resolves to one (§2.3).
    markers: BTreeSet<Name>,
}

/// What a path stands for.
enum Place {
    Key(Name),
    /// `name/%value`.
    Value(Name),
}

impl Reference {
    fn is_directory(&self, key: &Name) -> bool {
        key.is_empty()
            || self.below(key)
            || self.kept.iter().chain(&self.markers).any(|kept| kept.starts_with(key))
    }

    fn below(&self, key: &Name) -> bool {
        self.keys.keys().any(|k| k.len() > key.len() && k.starts_with(key))
    }

    /// Resolves a path whose directories must be there.
    fn place(&self, path: &Path) -> Answer<Place> {
        let (last, above) = path.split_last().unwrap();
        for depth in 1..=above.len() {
            let name = above[..depth].to_vec();
            if name.last() == Some(&"%value") {
                let owner = name[..depth - 1].to_vec();
                let is_value =
                    !owner.is_empty() && self.is_directory(&owner) && self.keys.contains_key(&owner);
                return Err(if is_value { ErrorKind::NotDirectory } else { ErrorKind::NotFound });
            }
            if !self.is_directory(&name) {
                return Err(if self.file(&Place::Key(name)).is_some() {
                    ErrorKind::NotDirectory
                } else {
                    ErrorKind::NotFound
                });
            }
        }
        Ok(if *last == "%value" { Place::Value(above.to_vec()) } else { Place::Key(path.clone()) })
    }

    /// The content of the file at a place.
    fn file(&self, place: &Place) -> Option<Vec<u8>> {
        match place {
            Place::Key(key) if self.is_directory(key) => None,
            Place::Key(key) => self.keys.get(key).cloned().or_else(|| self.marker(key).then(Vec::new)),
            Place::Value(key) if key.is_empty() => None,
            Place::Value(key) => self.keys.get(key).cloned(),
        }
    }

    /// Whether this is the marker of the directory above, as `name/%empty`.
    fn marker(&self, key: &Name) -> bool {
        key.len() > 1 && key.last() == Some(&"%empty") && self.markers.contains(&key[..key.len() - 1])
    }

    fn is_directory_place(&self, place: &Place) -> bool {
        matches!(place, Place::Key(key) if self.is_directory(key))
    }

    fn key(place: &Place) -> &Name {
        match place {
            Place::Key(key) | Place::Value(key) => key,
        }
    }

    fn parent(place: &Place) -> Name {
        match place {
            Place::Key(key) => key[..key.len() - 1].to_vec(),
            Place::Value(key) => key.clone(),
        }
    }

    fn put(&mut self, place: &Place, bytes: Vec<u8>) {
        let key = Self::key(place).clone();
        // The value of `name/%empty` is the marker's value: with bytes it is a file like others.
        if self.marker(&key) || (key.len() > 1 && key.last() == Some(&"%empty") && bytes.is_empty()) {
            let directory = key[..key.len() - 1].to_vec();
            if bytes.is_empty() {
                self.keys.remove(&key);
                self.markers.insert(directory);
                return;
            }
            self.markers.remove(&directory);
        }
        self.keys.insert(key, bytes);
    }

    fn take(&mut self, place: &Place) -> Option<Vec<u8>> {
        let key = Self::key(place).clone();
        if self.marker(&key) {
            self.markers.remove(&key[..key.len() - 1]);
            return Some(Vec::new());
        }
        self.keys.remove(&key)
    }

    fn keep(&mut self, directory: Name) {
        if !directory.is_empty() {
            self.kept.insert(directory);
        }
    }

    fn changed(&mut self, path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>, create: bool) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_directory_place(&place) {
            return Err(ErrorKind::IsDirectory);
        }
        let old = self.file(&place);
        if old.is_none() {
            if !create {
                return Err(ErrorKind::NotFound);
            }
            if Self::key(&place).is_empty() {
                return Err(ErrorKind::Invalid);
            }
        }
        self.put(&place, change(old.unwrap_or_default()));
        Ok(())
    }

    fn rename_file(&mut self, from: &Place, to: &Place) -> Answer<()> {
        if self.is_directory_place(to) {
            return Err(ErrorKind::IsDirectory);
        }
        if Self::key(to).is_empty() {
            return Err(ErrorKind::Invalid);
        }
        if Self::key(from) == Self::key(to) {
            return Ok(());
        }
        let bytes = self.take(from).ok_or(ErrorKind::NotFound)?;
        self.put(to, bytes);
        self.keep(Self::parent(from));
        Ok(())
    }

    fn rename_directory(&mut self, from: &Name, to: &Place) -> Answer<()> {
        let Place::Key(to) = to else { return Err(ErrorKind::Invalid) };
        if to == from {
            return Ok(());
        }
        if to.starts_with(from) {
            return Err(ErrorKind::Invalid);
        }
        if self.is_directory(to) {
            if from.starts_with(to) || !self.is_empty(to) {
                return Err(ErrorKind::NotEmpty);
            }
        } else if self.file(&Place::Key(to.clone())).is_some() {
            return Err(ErrorKind::NotDirectory);
        }
        self.markers.remove(to);
        self.kept.remove(to);
        let moved = |name: &Name| -> Name { to.iter().chain(&name[from.len()..]).copied().collect() };
        let keys: Vec<Name> = self.keys.keys().filter(|key| key.starts_with(from)).cloned().collect();
        for key in keys {
            let bytes = self.keys.remove(&key).unwrap();
            self.keys.insert(moved(&key), bytes);
        }
        for set in [&mut self.kept, &mut self.markers] {
            *set = set
                .iter()
                .map(|name| if name.starts_with(from) { moved(name) } else { name.clone() })
                .collect();
        }
        self.keep(from[..from.len() - 1].to_vec());
        Ok(())
    }

    /// Whether a directory has nothing in it, a value of its own included (§2.5).
    fn is_empty(&self, key: &Name) -> bool {
        !self.keys.contains_key(key)
            && !self.below(key)
            && !self
                .kept
                .iter()
                .chain(&self.markers)
                .any(|kept| kept.len() > key.len() && kept.starts_with(key))
    }
}

impl Tree for Reference {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Answer<()> {
        self.changed(path, |_| bytes.to_vec(), true)
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> Answer<()> {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let change = |mut old: Vec<u8>| {
            old.resize(old.len().max(end), 0);
            old[start..end].copy_from_slice(bytes);
            old
        };
        self.changed(path, change, false)
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Answer<()> {
        let change = |mut old: Vec<u8>| {
            old.resize(size as usize, 0);
            old
        };
        self.changed(path, change, false)
    }

    fn create(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_directory_place(&place) || self.file(&place).is_some() {
            return Err(ErrorKind::Exists);
        }
        self.changed(path, |old| old, true)
    }

    fn remove(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_directory_place(&place) {
            return Err(ErrorKind::IsDirectory);
        }
        self.file(&place).ok_or(ErrorKind::NotFound)?;
        self.take(&place);
        self.keep(Self::parent(&place));
        Ok(())
    }

    fn make_directory(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_directory_place(&place) || self.file(&place).is_some() {
            return Err(ErrorKind::Exists);
        }
        match place {
            Place::Key(key) => {
                self.markers.insert(key);
                Ok(())
            }
            Place::Value(_) => Err(ErrorKind::Invalid),
        }
    }

    fn remove_directory(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        let Place::Key(key) = &place else {
            return Err(if self.file(&place).is_some() {
                ErrorKind::NotDirectory
            } else {
                ErrorKind::NotFound
            });
        };
        if !self.is_directory(key) {
            return Err(if self.file(&place).is_some() {
                ErrorKind::NotDirectory
            } else {
                ErrorKind::NotFound
            });
        }
        if !self.is_empty(key) {
            return Err(ErrorKind::NotEmpty);
        }
        self.markers.remove(key);
        self.kept.remove(key);
        self.keep(Self::parent(&place));
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Answer<()> {
        let is_above = from.len() > to.len() && from.starts_with(to);
        let from = self.place(from)?;
        let to_place = self.place(to)?;
        if is_above && (self.is_directory_place(&from) || self.file(&from).is_some()) {
            return Err(ErrorKind::NotEmpty);
        }
        if self.is_directory_place(&from) {
            return self.rename_directory(Self::key(&from), &to_place);
        }
        self.file(&from).ok_or(ErrorKind::NotFound)?;
        self.rename_file(&from, &to_place)
    }

    fn foreign_put(&mut self, key: &Path, bytes: &[u8]) {
        self.keys.insert(key.clone(), bytes.to_vec());
    }

    fn foreign_delete(&mut self, key: &Path) {
        self.keys.remove(key);
    }

    fn everything(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut all = BTreeMap::new();
        let names = self.keys.keys().chain(&self.kept).chain(&self.markers);
        for name in names {
            for depth in 1..=name.len() {
                let above = name[..depth].to_vec();
                if self.is_directory(&above) {
                    all.insert(above.join("/"), None);
                    if let Some(value) = self.keys.get(&above) {
                        all.insert(format!("{}/%value", above.join("/")), Some(value.clone()));
                    }
                } else if let Some(value) = self.keys.get(&above) {
                    all.insert(above.join("/"), Some(value.clone()));
                }
            }
        }
        all.into_iter().collect()
    }
}
