//! Exchanging two names at once (`renameat2` with `RENAME_EXCHANGE`): files, directories, links, or one of each.
//!
//! A store has no word for it. Where it carries out several renames as one transaction, or is a tree of folders, three of
//! them by way of a key that nobody uses are an exchange, and nobody sees that key.

use smallvec::SmallVec;

use super::Vfs;
use super::lookup::Target;
use super::node::{Ino, Step, What};
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment};
use crate::store::api::{Atomic, Change, Rename, Stat};
use crate::store::attributes::Setting;

/// What the key on the way is called, with a number behind it: letters, which no separator is likely to be.
const ON_THE_WAY: &str = "kvfsexchange";

/// One of the two: its name, what the name stands for, and what is there.
struct Side<'n> {
    parent: Ino,
    name: &'n [u8],
    target: Target,
    what: What,
    stat: Option<Stat>,
}

impl Side<'_> {
    fn in_store(&self) -> bool {
        self.stat.is_some()
    }

    fn is_directory(&self) -> bool {
        self.what == What::Directory
    }

    /// Whether `other` has its name somewhere below this one.
    fn is_above(&self, other: &Side<'_>) -> bool {
        let deeper = other.target.key.len() > self.target.key.len() || other.target.step == Step::Value;
        self.target.step != Step::Value && deeper && other.target.key.starts_with(&self.target.key)
    }

    /// The rename of what is here to another key.
    fn rename<'k>(&'k self, from: &'k Key, to: &'k Key) -> Change<'k> {
        Change::Rename { from, to, tree: self.is_directory(), replace: false }
    }
}

impl Vfs {
    /// Exchanges two names.
    ///
    /// # Errors
    /// `NotFound` where either is nothing; `Invalid` where one lies below the other, where one cannot have the other's
    /// name, and where the store cannot do it at once.
    pub fn exchange(&self, parent: Ino, name: &[u8], other: Ino, other_name: &[u8]) -> Result<()> {
        self.check_writable()?;
        self.put_before_rename(parent, name)?;
        self.put_before_rename(other, other_name)?;
        let deadline = Deadline::after(self.options.timeout);
        let _steady = self.steady.try_write_until(deadline.at()).ok_or_else(|| {
            Error::new(ErrorKind::TimedOut, "an open did not end before the deadline of the exchange")
        })?;
        self.moving_names(|| self.exchange_held((parent, name), (other, other_name)))
    }

    /// Exchanges, for whoever holds all names.
    fn exchange_held(&self, one: (Ino, &[u8]), other: (Ino, &[u8])) -> Result<()> {
        let (one, other) = (self.side(one.0, one.1)?, self.side(other.0, other.1)?);
        let (a, b) = (&one.target, &other.target);
        let of_value = a.step == Step::Value || b.step == Step::Value;
        if a.key == b.key && (a.step == Step::Value) == (b.step == Step::Value) {
            return Ok(());
        }
        if one.is_above(&other) || other.is_above(&one) {
            return Err(Error::new(ErrorKind::Invalid, "one of the two lies below the other"));
        }
        self.check_takes(b, one.what)?;
        self.check_takes(a, other.what)?;
        self.exchange_in_store(&one, &other)?;
        self.overlay.write().exchange(&a.key, &b.key, of_value);
        self.touch_directory(&self.directory_of(a));
        self.touch_directory(&self.directory_of(b));
        let (own, others) = ((one.parent, one.name), (other.parent, other.name));
        self.table.lock().exchange((own, &a.step), (others, &b.step));
        Ok(())
    }

    fn side<'n>(&self, parent: Ino, name: &'n [u8]) -> Result<Side<'n>> {
        let target = self.target_to_take(parent, name)?;
        let (what, stat) = self.find(&target)?.ok_or(ErrorKind::NotFound)?;
        Ok(Side { parent, name, target, what, stat })
    }

    /// `Invalid` where something like this cannot have the name.
    fn check_takes(&self, target: &Target, what: What) -> Result<()> {
        if what != What::File && target.step == Step::Value {
            return Err(Error::new(ErrorKind::Invalid, "%value is a file: the directory's own value"));
        }
        if what == What::Directory { Ok(()) } else { self.check_file(target) }
    }

    fn exchange_in_store(&self, one: &Side<'_>, other: &Side<'_>) -> Result<()> {
        let renames = |side: &Side<'_>| match self.caps.rename {
            Rename::Tree => true,
            Rename::Leaf => !side.is_directory(),
            Rename::Copy | Rename::No => false,
        };
        let moved = [one, other].into_iter().filter(|side| side.in_store());
        let at_once = self.caps.atomic == Atomic::Batch || self.caps.folders;
        if !moved.into_iter().all(renames) || (one.in_store() && other.in_store() && !at_once) {
            return Err(Error::new(ErrorKind::Invalid, "this store cannot exchange them at once"));
        }
        let (a, b) = (&one.target.key, &other.target.key);
        let way = if one.in_store() && other.in_store() { Some(self.key_on_the_way(a, b)?) } else { None };
        let (own, others) = (self.setting_of_exchanged(one, other), self.setting_of_exchanged(other, one));
        let mut changes = SmallVec::<[Change<'_>; 5]>::new();
        match &way {
            Some(way) => changes.extend([one.rename(a, way), other.rename(b, a), one.rename(way, b)]),
            None if one.in_store() => changes.push(one.rename(a, b)),
            None if other.in_store() => changes.push(other.rename(b, a)),
            None => return Ok(()),
        }
        if self.caps.attributes {
            let set = |side: &Side<'_>, key, attributes| {
                side.in_store().then_some(Change::Set { key, directory: side.is_directory(), attributes })
            };
            changes.extend(set(one, b, &own).into_iter().chain(set(other, a, &others)));
        }
        self.store.apply(&mut changes)
    }

    /// What is exchanged keeps its number, as what is renamed does.
    fn setting_of_exchanged(&self, side: &Side<'_>, other: &Side<'_>) -> Setting {
        let old = (side.parent, side.name);
        self.setting_of_renamed(&side.target, &other.target, old, (side.what, side.stat))
    }

    /// A key that nobody uses, in the directory that both have in common: short, and in the same part of the store.
    fn key_on_the_way(&self, one: &Key, other: &Key) -> Result<Key> {
        let mut common = Key::root();
        let least = one.len().min(other.len()).saturating_sub(1);
        for (segment, own) in one.segments().zip(other.segments()).take(least) {
            if segment != own {
                break;
            }
            common.push(segment);
        }
        for number in 0_u64.. {
            let key = common.child(Segment::plain(format!("{ON_THE_WAY}{number}").as_bytes()));
            self.store.check_key(&key).map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
            if self.store.stat(&key)?.is_none() {
                return Ok(key);
            }
        }
        Err(ErrorKind::Exhausted.into())
    }
}
