//! Renaming in the model, and exchanging two names: what is at each is lifted, and set down at the other.

use std::collections::{BTreeMap, BTreeSet};

use kvfs::error::ErrorKind;

use super::{Name, Place, Reference};
use crate::{Answer, Set};

/// What was at a place, by the names below it.
#[derive(Default)]
struct Lifted {
    file: Option<Vec<u8>>,
    keys: BTreeMap<Name, Vec<u8>>,
    sets: BTreeMap<Name, Set>,
    links: BTreeSet<Name>,
    kept: BTreeSet<Name>,
    markers: BTreeSet<Name>,
}

impl Reference {
    pub(super) fn rename_file(&mut self, from: &Place, to: &Place) -> Answer<()> {
        if self.is_directory_place(to) {
            return Err(ErrorKind::IsDirectory);
        }
        if to.key().is_empty() || (self.is_link(from) && matches!(to, Place::Value(_))) {
            return Err(ErrorKind::Invalid);
        }
        if from.key() == to.key() {
            return Ok(());
        }
        self.take(to);
        self.links.remove(to.key());
        if self.links.remove(from.key()) {
            self.links.insert(to.key().clone());
        } else {
            let (key, new) = (from.key().clone(), to.key().clone());
            let set = self.sets.remove(&key);
            // Not taken: whoever has it open has it open under its new name.
            self.open.rename(|name| (*name == key).then(|| new.clone()));
            let bytes = self.take(from).ok_or(ErrorKind::NotFound)?;
            self.put(to, bytes);
            self.sets.extend(set.map(|set| (new, set)));
        }
        self.keep(from.parent());
        Ok(())
    }

    pub(super) fn rename_directory(&mut self, from: &Name, to: &Place) -> Answer<()> {
        let to = match to {
            Place::Key(to) if to == from => return Ok(()),
            to if to.key().starts_with(from) => return Err(ErrorKind::Invalid),
            Place::Value(_) if self.is_taken(to) => return Err(ErrorKind::NotDirectory),
            Place::Value(_) => return Err(ErrorKind::Invalid),
            Place::Key(to) => to,
        };
        if self.is_directory(to) {
            if from.starts_with(to) || !self.is_empty(to) {
                return Err(ErrorKind::NotEmpty);
            }
        } else if self.is_taken(&Place::Key(to.clone())) {
            return Err(ErrorKind::NotDirectory);
        }
        self.markers.remove(to);
        self.kept.remove(to);
        let moved = |name: &Name| -> Name {
            if name.starts_with(from) {
                to.iter().chain(&name[from.len()..]).copied().collect()
            } else {
                name.clone()
            }
        };
        self.keys = std::mem::take(&mut self.keys).into_iter().map(|(k, v)| (moved(&k), v)).collect();
        self.sets = std::mem::take(&mut self.sets).into_iter().map(|(k, v)| (moved(&k), v)).collect();
        for set in [&mut self.kept, &mut self.markers, &mut self.links] {
            *set = set.iter().map(moved).collect();
        }
        self.open.rename(|name| Some(moved(name)));
        self.keep(from[..from.len() - 1].to_vec());
        Ok(())
    }

    /// Exchanges what is at two places.
    pub(super) fn exchange_places(&mut self, one: &Place, other: &Place) -> Answer<()> {
        if !self.is_taken(one) || !self.is_taken(other) {
            return Err(ErrorKind::NotFound);
        }
        if one == other {
            return Ok(());
        }
        let both = [(one, other), (other, one)];
        let takes_no_more = |(what, place): (&Place, &Place)| {
            matches!(place, Place::Value(_)) && (self.is_directory_place(what) || self.is_link(what))
        };
        if both.into_iter().any(|(one, other)| one.is_above(other) || takes_no_more((one, other))) {
            return Err(ErrorKind::Invalid);
        }
        let values = matches!(one, Place::Value(_)) || matches!(other, Place::Value(_));
        self.open.rename(|name| {
            both.iter().find_map(|(from, to)| {
                let below = name.strip_prefix(from.key().as_slice())?;
                (!values || below.is_empty()).then(|| [to.key(), below].concat())
            })
        });
        let (own, others) = (self.lift(one), self.lift(other));
        self.set_down(one, others);
        self.set_down(other, own);
        Ok(())
    }

    /// Takes away what is at a place, and for a directory all that is below, by the names below.
    fn lift(&mut self, place: &Place) -> Lifted {
        let key = place.key().clone();
        if !self.is_directory_place(place) {
            let is_link = self.is_link(place) && self.links.remove(&key);
            let bytes = if self.marker(&key) {
                self.markers.remove(&key[..key.len() - 1]);
                Some(Vec::new())
            } else if is_link {
                None
            } else {
                self.keys.remove(&key)
            };
            let set = self.sets.remove(&key);
            return Lifted {
                file: bytes,
                links: is_link.then(Vec::new).into_iter().collect(),
                sets: set.map(|set| (Vec::new(), set)).into_iter().collect(),
                ..Lifted::default()
            };
        }
        let below = |name: &Name| name.strip_prefix(key.as_slice()).map(<[_]>::to_vec);
        fn split<T>(
            map: &mut BTreeMap<Name, T>,
            below: &impl Fn(&Name) -> Option<Name>,
        ) -> BTreeMap<Name, T> {
            let (lifted, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
                std::mem::take(map).into_iter().partition(|(name, _)| below(name).is_some());
            *map = left;
            lifted.into_iter().filter_map(|(name, value)| Some((below(&name)?, value))).collect()
        }
        let names = |set: &mut BTreeSet<Name>| {
            let lifted = set.iter().filter_map(below).collect();
            set.retain(|name| below(name).is_none());
            lifted
        };
        Lifted {
            file: None,
            keys: split(&mut self.keys, &below),
            sets: split(&mut self.sets, &below),
            links: names(&mut self.links),
            kept: names(&mut self.kept),
            markers: names(&mut self.markers),
        }
    }

    /// Puts down at a place what was lifted elsewhere.
    fn set_down(&mut self, place: &Place, lifted: Lifted) {
        let at = |name: Name| [place.key().clone(), name].concat();
        if let Some(bytes) = lifted.file {
            self.put(place, bytes);
        }
        self.keys.extend(lifted.keys.into_iter().map(|(name, bytes)| (at(name), bytes)));
        self.sets.extend(lifted.sets.into_iter().map(|(name, set)| (at(name), set)));
        self.links.extend(lifted.links.into_iter().map(at));
        self.kept.extend(lifted.kept.into_iter().map(at));
        self.markers.extend(lifted.markers.into_iter().map(at));
    }
}
