//! The model: keys, directories that stay, links, and what was set.

mod moving;

use std::collections::{BTreeMap, BTreeSet};

use kvfs::error::ErrorKind;

use crate::open_files::{File, OpenFiles};
use crate::{Answer, How, Path, Seen, Set, Space, Tree};

type Name = Vec<&'static str>;

/// A store and what the mount adds to it.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    keys: BTreeMap<Name, Vec<u8>>,
    /// Directories that stay without a key: made ones (§2.2), and those from which something was removed (§2.4).
    kept: BTreeSet<Name>,
    /// Markers that somebody put: `name/%empty` resolves to one (§2.3).
    markers: BTreeSet<Name>,
    /// Symbolic links.
    links: BTreeSet<Name>,
    /// What was set, by the key of the file.
    sets: BTreeMap<Name, Set>,
    open: OpenFiles,
}

/// What a path stands for.
#[derive(PartialEq, Eq)]
enum Place {
    Key(Name),
    /// `name/%value`.
    Value(Name),
}

impl Place {
    fn key(&self) -> &Name {
        match self {
            Place::Key(key) | Place::Value(key) => key,
        }
    }

    /// Whether `other` is a name somewhere below this one.
    fn is_above(&self, other: &Place) -> bool {
        let Place::Key(key) = self else { return false };
        is_strictly_below(other.key(), key) || (other.key() == key && matches!(other, Place::Value(_)))
    }

    fn parent(&self) -> Name {
        match self {
            Place::Key(key) => key[..key.len() - 1].to_vec(),
            Place::Value(key) => key.clone(),
        }
    }
}

fn is_strictly_below(name: &Name, above: &Name) -> bool {
    name.len() > above.len() && name.starts_with(above)
}

fn resized(mut bytes: Vec<u8>, size: u64) -> Vec<u8> {
    bytes.resize(size as usize, 0);
    bytes
}

fn written(mut old: Vec<u8>, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    old.resize(old.len().max(end), 0);
    old[start..end].copy_from_slice(bytes);
    old
}

impl Reference {
    fn is_directory(&self, key: &Name) -> bool {
        key.is_empty()
            || self.keys.keys().chain(&self.links).any(|name| is_strictly_below(name, key))
            || self.kept.iter().chain(&self.markers).any(|kept| kept.starts_with(key))
    }

    /// Whether a directory has nothing in it, a value of its own included (§2.5).
    fn is_empty(&self, key: &Name) -> bool {
        let names = self.keys.keys().chain(&self.links).chain(&self.kept).chain(&self.markers);
        !self.keys.contains_key(key) && !names.into_iter().any(|name| is_strictly_below(name, key))
    }

    /// With the directories that `other` keeps, and no more.
    pub fn keeping_what(self, other: &Reference) -> Reference {
        Reference { kept: other.kept.clone(), ..self }
    }

    /// Whether another program's change of this key would meet what lives in the mount alone, or is being written:
    /// what it meets there is not what the model is about.
    pub fn is_touchy(&self, key: &Name) -> bool {
        let writing = self.open.names(true);
        let mut touchy = writing.iter().chain(&self.links).chain(self.sets.keys());
        touchy.any(|name| name.starts_with(key) || key.starts_with(name))
    }

    /// Resolves a path whose directories must be there. A link leads nowhere.
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

    fn is_link(&self, place: &Place) -> bool {
        matches!(place, Place::Key(key) if self.links.contains(key))
    }

    /// Whether this is the marker of the directory above, as `name/%empty`.
    fn marker(&self, key: &Name) -> bool {
        key.len() > 1 && key.last() == Some(&"%empty") && self.markers.contains(&key[..key.len() - 1])
    }

    fn is_directory_place(&self, place: &Place) -> bool {
        matches!(place, Place::Key(key) if self.is_directory(key))
    }

    /// Whether anything has this name.
    fn is_taken(&self, place: &Place) -> bool {
        self.is_directory_place(place) || self.file(place).is_some() || self.is_link(place)
    }

    fn put(&mut self, place: &Place, bytes: Vec<u8>) {
        let key = place.key().clone();
        if let Some(set) = self.sets.get_mut(&key) {
            set.time = None;
        }
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

    /// Takes a file away; whoever has it open keeps it, and what was set on it is forgotten.
    fn take(&mut self, place: &Place) -> Option<Vec<u8>> {
        let key = place.key().clone();
        self.sets.remove(&key);
        if self.marker(&key) {
            self.markers.remove(&key[..key.len() - 1]);
            return Some(Vec::new());
        }
        let bytes = self.keys.remove(&key)?;
        self.open.lose(&key, &bytes);
        Some(bytes)
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
            if !create || self.is_link(&place) {
                return Err(ErrorKind::NotFound);
            }
            if place.key().is_empty() {
                return Err(ErrorKind::Invalid);
            }
        }
        self.put(&place, change(old.unwrap_or_default()));
        Ok(())
    }

    /// The file at a place that must be there.
    fn existing_file(&self, path: &Path) -> Answer<(Place, Vec<u8>)> {
        let place = self.place(path)?;
        if self.is_directory_place(&place) {
            return Err(ErrorKind::IsDirectory);
        }
        let bytes = self.file(&place).ok_or(ErrorKind::NotFound)?;
        Ok((place, bytes))
    }

    fn change_open(&mut self, slot: usize, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Answer<()> {
        let file = self.open.writable(slot)?.file.clone();
        let mut file = file.borrow_mut();
        match &mut *file {
            File::Nameless(bytes) => *bytes = change(std::mem::take(bytes)),
            File::Named(name) => {
                let old = self.keys.get(name).cloned().unwrap();
                self.put(&Place::Key(name.clone()), change(old));
            }
        }
        Ok(())
    }

    /// Another program's change: files that readers have open may come to be other files (§3.1).
    fn foreign(&mut self, change: impl FnOnce(&mut Reference)) {
        let read: Vec<_> = self
            .open
            .names(false)
            .into_iter()
            .map(|name| (self.keys.get(&name).cloned().unwrap(), self.is_directory(&name), name))
            .collect();
        change(self);
        for (bytes, was_directory, name) in read {
            if self.keys.get(&name) != Some(&bytes) || self.is_directory(&name) != was_directory {
                self.open.lose(&name, &bytes);
            }
        }
    }
}

impl Tree for Reference {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Answer<()> {
        self.changed(path, |_| bytes.to_vec(), true)
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> Answer<()> {
        self.changed(path, |old| written(old, offset, bytes), false)
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Answer<()> {
        // To cut a file to its length is no change.
        if let Ok((_, bytes)) = self.existing_file(path)
            && bytes.len() as u64 == size
            && size > 0
        {
            return Ok(());
        }
        self.changed(path, |old| resized(old, size), false)
    }

    fn create(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_taken(&place) {
            return Err(ErrorKind::Exists);
        }
        self.changed(path, |old| old, true)
    }

    fn remove(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_directory_place(&place) {
            return Err(ErrorKind::IsDirectory);
        }
        if !self.links.remove(place.key()) {
            self.file(&place).ok_or(ErrorKind::NotFound)?;
            self.take(&place);
        }
        self.keep(place.parent());
        Ok(())
    }

    fn make_directory(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_taken(&place) {
            return Err(ErrorKind::Exists);
        }
        match place {
            Place::Key(key) => {
                self.kept.insert(key);
                Ok(())
            }
            Place::Value(_) => Err(ErrorKind::Invalid),
        }
    }

    fn remove_directory(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if !self.is_directory_place(&place) {
            return Err(if self.is_taken(&place) { ErrorKind::NotDirectory } else { ErrorKind::NotFound });
        }
        if !self.is_empty(place.key()) {
            return Err(ErrorKind::NotEmpty);
        }
        self.markers.remove(place.key());
        self.kept.remove(place.key());
        self.keep(place.parent());
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Answer<()> {
        let is_above = from.len() > to.len() && from.starts_with(to);
        let from = self.place(from)?;
        let to_place = self.place(to)?;
        if is_above && self.is_taken(&from) {
            return Err(ErrorKind::NotEmpty);
        }
        if self.is_directory_place(&from) {
            return self.rename_directory(from.key(), &to_place);
        }
        if !self.is_taken(&from) {
            return Err(ErrorKind::NotFound);
        }
        self.rename_file(&from, &to_place)
    }

    fn exchange(&mut self, one: &Path, other: &Path) -> Answer<()> {
        let (one, other) = (self.place(one)?, self.place(other)?);
        self.exchange_places(&one, &other)
    }

    fn link(&mut self, path: &Path) -> Answer<()> {
        let place = self.place(path)?;
        if self.is_taken(&place) {
            return Err(ErrorKind::Exists);
        }
        match place {
            Place::Key(key) => {
                self.links.insert(key);
                Ok(())
            }
            Place::Value(_) => Err(ErrorKind::Invalid),
        }
    }

    fn set(&mut self, path: &Path, set: Set) -> Answer<()> {
        let (place, _) = self.existing_file(path)?;
        let own = self.sets.entry(place.key().clone()).or_default();
        own.mode = set.mode.or(own.mode);
        own.time = set.time.or(own.time);
        own.attribute = set.attribute.or(own.attribute);
        Ok(())
    }

    fn open(&mut self, slot: usize, path: &Path, how: How) -> Answer<()> {
        let _ = self.open.close(slot);
        if how == How::Create {
            self.create(path)?;
        }
        let (place, _) = self.existing_file(path)?;
        self.open.open(slot, place.key(), how);
        Ok(())
    }

    fn close(&mut self, slot: usize) -> Answer<()> {
        self.open.close(slot)
    }

    fn write_open(&mut self, slot: usize, offset: u64, bytes: &[u8]) -> Answer<()> {
        let append = self.open.writable(slot)?.how == How::Append;
        self.change_open(slot, |old| {
            let offset = if append { old.len() as u64 } else { offset };
            written(old, offset, bytes)
        })
    }

    fn truncate_open(&mut self, slot: usize, size: u64) -> Answer<()> {
        let same = self.read_open(slot).is_ok_and(|bytes| bytes.len() as u64 == size && size > 0);
        self.open.writable(slot)?;
        if same { Ok(()) } else { self.change_open(slot, |old| resized(old, size)) }
    }

    fn space_open(&mut self, slot: usize, space: Space) -> Answer<()> {
        self.open.writable(slot)?;
        let len = self.read_open(slot)?.len() as u64;
        let end = space.offset + space.length;
        let (zeros, grows) = (space.zeros && space.offset < len, !space.keep_size && end > len);
        if !zeros && !grows {
            return Ok(());
        }
        self.change_open(slot, |mut bytes| {
            if zeros {
                bytes[space.offset as usize..end.min(len) as usize].fill(0);
            }
            if grows { resized(bytes, end) } else { bytes }
        })
    }

    fn copy_open(&mut self, slot: usize, offset: u64, to: usize, to_offset: u64, length: u64) -> Answer<u64> {
        let source = self.read_open(slot)?;
        let target = self.open.writable(to)?;
        if target.how == How::Append {
            return Err(ErrorKind::BadHandle);
        }
        let length = length.min((source.len() as u64).saturating_sub(offset));
        let same = std::rc::Rc::ptr_eq(&self.open.get(slot)?.file, &target.file);
        if same && offset.abs_diff(to_offset) < length {
            return Err(ErrorKind::Invalid);
        }
        if length > 0 {
            let bytes = &source[offset as usize..(offset + length) as usize];
            self.change_open(to, |old| written(old, to_offset, bytes))?;
        }
        Ok(length)
    }

    fn read_open(&mut self, slot: usize) -> Answer<Vec<u8>> {
        Ok(match &*self.open.get(slot)?.file.borrow() {
            File::Nameless(bytes) => bytes.clone(),
            File::Named(name) => self.keys.get(name).cloned().unwrap(),
        })
    }

    fn sync_open(&mut self, slot: usize) -> Answer<()> {
        self.open.get(slot).map(drop)
    }

    fn foreign_put(&mut self, key: &Path, bytes: &[u8]) {
        self.foreign(|own| drop(own.keys.insert(key.clone(), bytes.to_vec())));
    }

    fn foreign_delete(&mut self, key: &Path) {
        self.foreign(|own| drop(own.keys.remove(key)));
    }

    fn everything(&mut self) -> Vec<(String, Seen)> {
        let mut all = BTreeMap::new();
        let file = |name: &Name, bytes: &[u8]| Seen::File {
            bytes: bytes.to_vec(),
            set: self.sets.get(name).copied().unwrap_or_default(),
        };
        let names = self.keys.keys().chain(&self.kept).chain(&self.markers).chain(&self.links);
        for name in names {
            for depth in 1..=name.len() {
                let above = name[..depth].to_vec();
                if self.is_directory(&above) {
                    all.insert(above.join("/"), Seen::Directory);
                    if let Some(value) = self.keys.get(&above) {
                        all.insert(format!("{}/%value", above.join("/")), file(&above, value));
                    }
                } else if let Some(value) = self.keys.get(&above) {
                    all.insert(above.join("/"), file(&above, value));
                } else if self.links.contains(&above) {
                    all.insert(above.join("/"), Seen::Link);
                }
            }
        }
        all.into_iter().collect()
    }
}
