//! What a batch of changes means: what the store is told, and what follows for the sidecar when the store has done
//! it. Made before anything is changed, so that what cannot be is refused as a whole.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::Attrs;
use super::draft::Draft;
use super::keys::record_key;
use super::record::{Name, Record};
use super::renaming::{Intent, Moving, move_itself};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::store::api::{Change, Cursor, Kind, When};
use crate::store::attributes::{Attributes, FileType, Setting};
use crate::store::fingerprint::Fingerprint;

/// A batch, thought through.
pub(super) struct Plan<'c> {
    attrs: &'c Attrs,
    /// What the store is told.
    pub store: Vec<Change<'c>>,
    /// What follows for the sidecar.
    pub steps: Vec<Step<'c>>,
    /// Names as they are after the changes so far.
    names: Draft<'c>,
    /// Whether there is a sidecar, or will be.
    keeps: bool,
    /// Whether something is renamed in the store.
    stored: bool,
}

/// What one change means for the sidecar.
pub(super) enum Step<'c> {
    /// There are new bytes; `fresh` where there was no value.
    Put { key: &'c Key, fingerprint: Fingerprint, fresh: bool },
    /// The value is gone.
    Delete { key: &'c Key },
    /// The store has made a directory.
    Made { key: &'c Key },
    /// Something exists here from now on.
    Name { key: &'c Key, name: Name },
    /// It does no longer.
    Unname { key: &'c Key },
    /// The directory is gone, with what is kept of it.
    Remove { key: &'c Key },
    /// Attributes are set; `value` is the fingerprint of what is there, where times are.
    Set { key: &'c Key, directory: bool, special: bool, setting: &'c Setting, value: Option<Fingerprint> },
    /// All that is kept moves.
    Move(Moving),
}

/// What is at a key after the changes so far.
struct Presence {
    value: bool,
    below: bool,
    /// Where that was before them, if it was there.
    origin: Option<Key>,
}

/// What is asked about a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Value,
    Below,
    Both,
    Origin,
}

impl Presence {
    fn anything(&self) -> bool {
        self.value || self.below
    }
}

/// `key`, which is `from` or below it, as it is called below `to`.
pub(super) fn moved(key: &Key, from: &Key, to: &Key) -> Key {
    let mut moved = to.clone();
    key.below(from.len()).segments().for_each(|segment| moved.push(segment));
    moved
}

fn exists(key: &Key) -> Error {
    Error::new(ErrorKind::Exists, format!("{key:?} is there already"))
}

impl<'c> Plan<'c> {
    /// What `changes` mean.
    ///
    /// # Errors
    /// Those of each change that the store is not asked about; as for reading.
    pub fn of(attrs: &'c Attrs, changes: &'c [Change<'c>]) -> Result<Plan<'c>> {
        let wants = |change: &Change<'_>| {
            matches!(change, Change::Set { .. } | Change::Make { .. } | Change::Branch { .. })
        };
        let keeps = !attrs.is_bare() || changes.iter().any(wants);
        let mut plan = Plan {
            attrs,
            store: Vec::with_capacity(changes.len()),
            steps: Vec::new(),
            names: Draft::new(&attrs.sidecar),
            keeps,
            stored: false,
        };
        changes.iter().try_for_each(|change| plan.add(change))?;
        Ok(plan)
    }

    fn add(&mut self, change: &'c Change<'c>) -> Result<()> {
        match change {
            Change::Put { key, body, when } => {
                self.store.push(Change::Put { key, body, when: when.clone() });
                if self.keeps {
                    let fingerprint = Fingerprint::of_payload(body)?;
                    self.put(key, fingerprint, when)?;
                }
                Ok(())
            }
            Change::Delete { key, when } => self.delete(key, when),
            Change::Rename { from, to, tree, replace } => self.rename(from, to, *tree, *replace),
            Change::Branch { key } => self.branch(key),
            Change::RemoveBranch { key } => self.remove_branch(key),
            Change::Make { key, file_type, target } => self.make(key, *file_type, target),
            Change::Set { key, directory, attributes } => self.set(key, *directory, attributes),
        }
    }

    fn put(&mut self, key: &'c Key, fingerprint: Fingerprint, when: &When) -> Result<()> {
        if let Some(Name::Special { .. }) = self.names.name(key)? {
            if *when == When::Absent {
                return Err(exists(key));
            }
            self.unname(key)?;
        }
        // Something may be kept still of a value that another program deleted.
        let fresh = match when {
            When::Absent => true,
            When::Current(_) => false,
            When::Always => {
                self.attrs.sidecar.get(&record_key(key, false))?.is_some()
                    && !self.presence(key, Of::Value)?.value
            }
        };
        self.steps.push(Step::Put { key, fingerprint, fresh });
        Ok(())
    }

    fn unname(&mut self, key: &'c Key) -> Result<()> {
        self.names.remove_name(key)?;
        self.steps.push(Step::Unname { key });
        Ok(())
    }

    fn delete(&mut self, key: &'c Key, when: &When) -> Result<()> {
        if self.keeps {
            if let Some(Name::Special { .. }) = self.names.name(key)? {
                self.unname(key)?;
                if *when == When::Always && !self.presence(key, Of::Value)?.value {
                    return Ok(());
                }
            }
            self.steps.push(Step::Delete { key });
        }
        self.store.push(Change::Delete { key, when: when.clone() });
        Ok(())
    }

    /// A directory that lasts: a name in the sidecar, so that the store gets no key for it (§2.2).
    fn branch(&mut self, key: &'c Key) -> Result<()> {
        let last = key.last().map(|last| last.word);
        let below = key.child(Segment::plain(b"a"));
        if last != Some(Word::None) || self.attrs.store.check_key(&below).is_err() {
            self.store.push(Change::Branch { key });
            self.steps.push(Step::Made { key });
            return Ok(());
        }
        self.refuse_taken(key)?;
        self.name(key, Name::Directory)
    }

    fn make(&mut self, key: &'c Key, file_type: FileType, target: &'c [u8]) -> Result<()> {
        if file_type == FileType::Regular || key.last().is_none_or(|last| last.word != Word::None) {
            let sentence = format!("{key:?} cannot be a link, a FIFO or a socket");
            return Err(Error::new(
                if key.is_root() { ErrorKind::Exists } else { ErrorKind::Invalid },
                sentence,
            ));
        }
        self.attrs.store.check_key(key)?;
        self.refuse_taken(key)?;
        let attributes = Attributes { file_type, ..Attributes::default() };
        let record = Record { attributes, ..Record::default() };
        self.name(key, Name::Special { target: target.into(), record })
    }

    fn refuse_taken(&self, key: &Key) -> Result<()> {
        if self.names.name(key)?.is_some() || self.presence(key, Of::Both)?.anything() {
            return Err(exists(key));
        }
        Ok(())
    }

    fn name(&mut self, key: &'c Key, name: Name) -> Result<()> {
        let mut above = key.parent();
        while let Some(directory) = above {
            if let Some(Name::Special { .. }) = self.names.name(&directory)?
                && !self.presence(&directory, Of::Both)?.anything()
            {
                return Err(Error::new(ErrorKind::NotDirectory, format!("{directory:?} is no directory")));
            }
            above = directory.parent();
        }
        self.names.set_name(key, &name)?;
        self.steps.push(Step::Name { key, name });
        Ok(())
    }

    fn remove_branch(&mut self, key: &'c Key) -> Result<()> {
        if !self.keeps || key.is_root() {
            self.store.push(Change::RemoveBranch { key });
            return Ok(());
        }
        let presence = self.presence(key, Of::Both)?;
        let name = self.names.name(key)?;
        if let Some(Name::Special { .. }) = name
            && !presence.anything()
        {
            return Err(Error::new(ErrorKind::NotDirectory, format!("{key:?} is no directory")));
        }
        let inside = presence.origin.as_ref().map_or(Ok(false), |origin| self.names.has_names_in(origin))?;
        if inside || (presence.anything() && !self.attrs.store.caps().branches) {
            return Err(Error::new(ErrorKind::NotEmpty, format!("{key:?} is not empty")));
        }
        // Also where there is nothing: the store refuses then what comes in between.
        if presence.anything() || name.is_none() {
            self.store.push(Change::RemoveBranch { key });
        }
        self.names.remove_name(key)?;
        self.steps.push(Step::Remove { key });
        Ok(())
    }

    fn set(&mut self, key: &'c Key, directory: bool, setting: &'c Setting) -> Result<()> {
        let name = self.names.name(key)?;
        let there = match (directory, &name) {
            (true, Some(Name::Directory)) => true,
            (true, _) => key.is_root() || self.presence(key, Of::Below)?.below,
            (false, _) => self.presence(key, Of::Value)?.value,
        };
        // What is no file of bytes is hidden by a value of another program.
        let special = !directory && !there && matches!(name, Some(Name::Special { .. }));
        if !there && !special {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no {key:?}")));
        }
        let times = setting.mtime.is_some() || setting.ctime.is_some();
        let value = if times && !directory && !special {
            self.fingerprint(key, setting.mtime.is_some())?
        } else {
            None
        };
        self.steps.push(Step::Set { key, directory, special, setting, value });
        Ok(())
    }

    /// The fingerprint of the value at `key`, read only where nobody knows it and a time of its content is `needed` or
    /// kept: `chmod` of a value that another program put does not read it.
    fn fingerprint(&self, key: &Key, needed: bool) -> Result<Option<Fingerprint>> {
        let put = self.steps.iter().rev().find_map(|step| match step {
            Step::Put { key: put, fingerprint, .. } if *put == key => Some(Some(*fingerprint)),
            Step::Move(moving) if key.starts_with(&moving.to) => Some(None),
            _ => None,
        });
        if let Some(Some(put)) = put {
            return Ok(Some(put));
        }
        let Some(origin) = self.presence(key, Of::Origin)?.origin else { return Ok(None) };
        let record = self.attrs.sidecar.get(&record_key(&origin, false))?;
        let record = record.and_then(|bytes| Record::decode_attributes(&bytes));
        let fingerprint = record.as_ref().and_then(|record| record.fingerprint);
        if record.is_some_and(|record| record.has_times() && self.attrs.holds(&record))
            && fingerprint.is_some()
            || (fingerprint.is_none() && !needed)
        {
            return Ok(fingerprint);
        }
        let value = self.attrs.store.open(&origin)?;
        value.map(|value| Fingerprint::of_value(&*value)).transpose()
    }

    /// What the store has at `key` when it has done all so far; of the rest nothing is meant.
    fn presence(&self, key: &Key, of: Of) -> Result<Presence> {
        let mut key = Cow::Borrowed(key);
        let (mut value, mut below) = (None, None);
        for step in self.steps.iter().rev() {
            match step {
                Step::Put { key: put, .. } if **put == *key => drop(value.get_or_insert(true)),
                Step::Put { key: put, .. } if put.starts_with(&key) => drop(below.get_or_insert(true)),
                Step::Delete { key: gone } if **gone == *key => drop(value.get_or_insert(false)),
                Step::Remove { key: gone } if **gone == *key => drop(below.get_or_insert(false)),
                Step::Made { key: made } if **made == *key => drop(below.get_or_insert(true)),
                Step::Move(moving) => {
                    let Moving { from, to, tree, value: valued } = moving;
                    if *tree && key.starts_with(to) {
                        key = Cow::Owned(moved(&key, to, from));
                    } else if *tree && key.starts_with(from) {
                        let (value, below) = (value.unwrap_or(false), below.unwrap_or(false));
                        return Ok(Presence { value, below, origin: None });
                    } else if *to == *key {
                        value.get_or_insert(*valued);
                        key = Cow::Owned(from.clone());
                    } else if *from == *key && *valued {
                        value.get_or_insert(false);
                    } else if *valued && to.starts_with(&key) {
                        below.get_or_insert(true);
                    }
                }
                _ => {}
            }
        }
        let known = match of {
            Of::Value => value.is_some(),
            Of::Below => below.is_some(),
            Of::Both => value.is_some() && below.is_some(),
            Of::Origin => true,
        };
        let kind = if known { None } else { self.attrs.store.stat(&key)?.map(|stat| stat.kind) };
        Ok(Presence {
            value: value.unwrap_or(kind.is_some_and(Kind::has_value)),
            below: below.unwrap_or(kind.is_some_and(Kind::is_directory)),
            origin: Some(key.into_owned()),
        })
    }

    fn rename(&mut self, from: &'c Key, to: &'c Key, tree: bool, replace: bool) -> Result<()> {
        if !self.keeps {
            self.store.push(Change::Rename { from, to, tree, replace });
            return Ok(());
        }
        if from == to || (tree && to.starts_with(from)) {
            let sentence = format!("{from:?} cannot be renamed to {to:?}");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let (source, name) = (self.presence(from, Of::Both)?, self.names.name(from)?);
        let stored = if tree { source.anything() } else { source.value };
        let special = !source.anything() && matches!(name, Some(Name::Special { .. }));
        self.check_target(to, tree && !special, special, replace)?;
        if stored || name.is_none() || !(tree || special) {
            self.store.push(Change::Rename { from, to, tree, replace });
        } else {
            self.rename_beside(to, special, replace)?;
        }
        let moving =
            Moving { from: from.clone(), to: to.clone(), tree: tree && !special, value: source.value };
        move_itself(&mut self.names, &moving)?;
        self.stored |= stored;
        self.steps.push(Step::Move(moving));
        Ok(())
    }

    /// Whether what the sidecar alone has at `to` may go.
    fn check_target(&self, to: &Key, tree: bool, special: bool, replace: bool) -> Result<()> {
        let name = self.names.name(to)?;
        match name {
            Some(Name::Directory) if special => {
                Err(Error::new(ErrorKind::IsDirectory, format!("{to:?} is a directory")))
            }
            Some(Name::Directory) if tree && !replace => Err(exists(to)),
            Some(Name::Directory) if tree => {
                let origin = self.presence(to, Of::Origin)?.origin;
                match origin.map_or(Ok(false), |origin| self.names.has_names_in(&origin))? {
                    true => Err(Error::new(ErrorKind::NotEmpty, format!("{to:?} is not empty"))),
                    false => Ok(()),
                }
            }
            Some(Name::Special { .. }) if !replace && !self.presence(to, Of::Both)?.anything() => {
                Err(exists(to))
            }
            _ => Ok(()),
        }
    }

    /// What exists in the sidecar alone moves: the store is told what it must give up, if anything.
    fn rename_beside(&mut self, to: &'c Key, special: bool, replace: bool) -> Result<()> {
        self.attrs.store.check_key(to)?;
        let target = self.presence(to, Of::Both)?;
        if target.anything() && !replace {
            return Err(exists(to));
        }
        if special && target.below {
            return Err(Error::new(ErrorKind::IsDirectory, format!("{to:?} is a directory")));
        }
        if special && target.value {
            self.store.push(Change::Delete { key: to, when: When::Always });
        }
        if !special && target.below {
            let mut inside = false;
            self.attrs.store.list(to, &mut Cursor::default(), &mut |_| {
                inside = true;
                ControlFlow::Break(())
            })?;
            if inside {
                return Err(Error::new(ErrorKind::NotEmpty, format!("{to:?} is not empty")));
            }
        }
        Ok(())
    }

    /// The renames, and whether any of them moves something in the store.
    pub fn intent(&self) -> Option<Intent> {
        let moves = self.steps.iter().filter_map(|step| match step {
            Step::Move(moving) => Some(moving.clone()),
            _ => None,
        });
        let moves: Vec<Moving> = moves.collect();
        (!moves.is_empty()).then(|| Intent::of(moves, self.stored))
    }
}
