//! From edits to plain puts and deletes: conditions are checked against what waits and what is committed, moves
//! become a put and a delete, so that what is accepted can be written down and committed without a question left.

use super::journal::Journal;
use super::lock::OpeningLock;
use super::pending::{Bytes, Entry, Generation, Pending};
use super::record::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Version, When};
use crate::store::flat::{Edit, Found, Keys, Step};

/// A longer value is not accepted ahead of its commit: it is put at once, and its close waits.
pub const VALUE_MAX: u64 = 1 << 20;

/// What an environment holds under a key.
#[derive(Clone, Copy, Debug)]
pub enum Held<'a> {
    /// No record.
    Nothing,
    /// A plain value.
    Value(&'a [u8]),
    /// A record that puts must not touch: a named database.
    Other,
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Done {
    /// The last transaction now.
    pub transaction: u64,
    /// Database and key of the entries that were left out.
    pub refused: Vec<(Bytes, Bytes)>,
}

/// The environment as the write-behind needs it: what is committed, and how to commit more.
pub trait Committed: Send + Sync + 'static {
    /// Whether puts to this database may wait: it can be written, its keys have one value each and the order of
    /// their bytes.
    fn takes(&self, database: &[u8]) -> bool;

    /// The lock that every program takes to open the environment; `None` where there is none to rely on.
    fn opening_lock(&self) -> Option<OpeningLock<'_>>;

    /// Whether what cannot be committed is kept for a person to recover (§8.4).
    fn is_for_people(&self) -> bool {
        true
    }

    /// The longest key, in bytes.
    fn key_max(&self) -> usize;

    /// Shows what is committed under `key`.
    fn look(&self, database: &[u8], key: &[u8], with: &mut dyn FnMut(Held<'_>)) -> Result<()>;

    /// Hands out the committed keys from `from` on, in order.
    fn scan(&self, database: &[u8], from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()>;

    /// The last transaction.
    fn last_transaction(&self) -> Result<u64>;

    /// How many bytes of new pages surely fit, in the map and on the disk.
    fn room(&self) -> u64;

    /// Commits the changes in one transaction, synced as this store promises. An entry whose [`Entry::base`] does not
    /// hold any more is left out, unless its value is there already. Waits for a program that has the write
    /// transaction until the store's deadline.
    ///
    /// # Errors
    /// `Stale` when `follows` is not the last transaction; `TimedOut`, `NoSpace` and the like. Nothing is committed
    /// then, as far as anybody can tell.
    fn commit(&self, generation: &Generation, follows: Option<u64>) -> Result<Done>;

    /// Opens the journal again after it was put away.
    ///
    /// # Errors
    /// `Busy` when another daemon has it, or has left something in it.
    fn open_journal(&self) -> Result<Journal>;

    /// The key of a record as the mount shows it, for the spool.
    fn key_of(&self, database: &[u8], key: &[u8]) -> Key;

    /// The store as a person named it.
    fn name(&self) -> String;
}

/// The changes that `edits` come to; `None` where they are not for waiting: large values, trees that move, keys
/// that the store itself must judge.
///
/// # Errors
/// Those of [`Edit`]: a condition does not hold.
pub fn resolve<C: Committed + ?Sized>(
    committed: &C,
    pending: &Pending,
    database: &[u8],
    edits: &[Edit<'_>],
) -> Result<Option<Vec<Change>>> {
    let mut resolver = Resolver { committed, pending, database, changes: Vec::with_capacity(edits.len()) };
    for edit in edits {
        match resolver.edit(edit) {
            Ok(()) => {}
            Err(Refusal::Direct) => return Ok(None),
            Err(Refusal::Failed(error)) => return Err(error),
        }
    }
    Ok(Some(resolver.changes))
}

/// How many bytes of keys and values `edits` put, at most; `None` where they are not for waiting.
pub fn weigh(edits: &[Edit<'_>]) -> Option<usize> {
    let mut bytes = 0;
    for edit in edits {
        bytes += match edit {
            Edit::Put { key, body, .. } => {
                let length = body.map_or(0, Payload::len);
                if length > VALUE_MAX {
                    return None;
                }
                key.len() + length as usize
            }
            Edit::Delete { key, .. } => key.len(),
            Edit::Move { below: Some(_), .. } => return None,
            Edit::Move { from, to, .. } => from.len() + to.len() + VALUE_MAX as usize,
            Edit::Expect { .. } => 0,
        };
    }
    Some(bytes)
}

enum Refusal {
    Direct,
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Failed(error)
    }
}

struct Resolver<'a, C: ?Sized> {
    committed: &'a C,
    pending: &'a Pending,
    database: &'a [u8],
    /// What the edits so far come to; later edits of the same call see them.
    changes: Vec<Change>,
}

impl<C: Committed + ?Sized> Resolver<'_, C> {
    fn edit(&mut self, edit: &Edit<'_>) -> Result<(), Refusal> {
        match edit {
            Edit::Put { key, body, when } => {
                self.check(key, when)?;
                self.change(key, Some(bytes_of(*body)?), when.clone());
            }
            Edit::Delete { key, when } => {
                if self.check(key, when)? {
                    self.change(key, None, when.clone());
                }
            }
            Edit::Move { below: Some(_), .. } => return Err(Refusal::Direct),
            Edit::Move { from, to, below: None, replace } => self.rename(from, to, *replace)?,
            Edit::Expect { none, otherwise } => {
                if self.any(none)? {
                    let sentence = format!("there is a key where none was expected: {none:?}");
                    return Err(Error::new(*otherwise, sentence).into());
                }
            }
        }
        Ok(())
    }

    /// Whether `key` has a value, once `when` is found to hold.
    fn check(&self, key: &[u8], when: &When) -> Result<bool, Refusal> {
        let mut version = None;
        let present = self.value(key, &mut |bytes| {
            if matches!(when, When::Current(_)) {
                version = Some(Version::of_content(bytes));
            }
        })?;
        match when {
            When::Absent if present => {
                let sentence = format!("there is a \"{}\" already", key.escape_ascii());
                Err(Error::new(ErrorKind::Exists, sentence).into())
            }
            When::Current(expected) if version.as_ref() != Some(expected) => {
                let sentence = format!("\"{}\" has changed in the meantime", key.escape_ascii());
                Err(Error::new(ErrorKind::Stale, sentence).into())
            }
            _ => Ok(present),
        }
    }

    /// Shows the newest value of `key` to `with`; whether there is one.
    fn value(&self, key: &[u8], with: &mut dyn FnMut(&[u8])) -> Result<bool, Refusal> {
        if key.is_empty() || key.len() > self.committed.key_max() {
            return Err(Refusal::Direct);
        }
        let earlier = self.changes.iter().rev().find(|change| *change.key == *key);
        let waiting = match earlier {
            Some(change) => Some(change.value.clone()),
            None => self.pending.get(self.database, key).map(|entry| entry.value),
        };
        if let Some(value) = waiting {
            value.as_deref().into_iter().for_each(with);
            return Ok(value.is_some());
        }
        let mut found = Ok(false);
        self.committed.look(self.database, key, &mut |held| match held {
            Held::Nothing => {}
            Held::Value(bytes) => {
                with(bytes);
                found = Ok(true);
            }
            Held::Other => found = Err(Refusal::Direct),
        })?;
        found
    }

    fn rename(&mut self, from: &[u8], to: &[u8], replace: bool) -> Result<(), Refusal> {
        let target = if replace { When::Always } else { When::Absent };
        self.check(to, &target)?;
        let mut moved: Option<Result<Bytes, Refusal>> = None;
        self.value(from, &mut |bytes| {
            let fits = bytes.len() as u64 <= VALUE_MAX;
            moved = Some(if fits { Ok(bytes.into()) } else { Err(Refusal::Direct) });
        })?;
        let Some(bytes) = moved.transpose()? else {
            let sentence = format!("there is no \"{}\" to rename", from.escape_ascii());
            return Err(Error::new(ErrorKind::NotFound, sentence).into());
        };
        let source = When::Current(Version::of_content(&bytes));
        self.change(to, Some(bytes), target);
        self.change(from, None, source);
        Ok(())
    }

    /// Whether there is a key in `none`: what waits is looked at as one with what is committed.
    fn any(&self, none: &Keys) -> Result<bool, Refusal> {
        let (prefix, inside) = match none {
            Keys::At(key) => return self.value(key, &mut |_| {}),
            Keys::Prefix(prefix) => (prefix, false),
            Keys::Inside(prefix) => (prefix, true),
        };
        // What earlier edits of the same call did below a prefix is left to the store itself.
        if self.changes.iter().any(|change| change.key.starts_with(prefix)) {
            return Err(Refusal::Direct);
        }
        let mut any = false;
        let mut see = |key: &[u8], found: Found| {
            if inside && key == prefix.as_slice() && found.size == 0 {
                return Step::Next;
            }
            any = key.starts_with(prefix);
            Step::Stop
        };
        let above = self.pending.above(self.database, prefix);
        above.merge(|each| self.committed.scan(self.database, prefix, each), &mut see)?;
        Ok(any)
    }

    fn change(&mut self, key: &[u8], value: Option<Bytes>, base: When) {
        self.changes.push(Change { database: self.database.into(), key: key.into(), value, base });
    }
}

/// The payload's bytes, copied once; they are few.
fn bytes_of(body: Option<&Payload>) -> Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::default()) };
    if let Some(bytes) = body.as_slice() {
        return Ok(bytes.into());
    }
    let mut bytes = Vec::with_capacity(body.len() as usize);
    body.pieces(&mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes.into())
}

impl From<&Change> for Entry {
    fn from(change: &Change) -> Entry {
        Entry { value: change.value.clone(), base: change.base.clone(), modified: crate::env::now() }
    }
}
