//! A database whose keys are not cut: one segment each, in LMDB's own order. Integer keys are decimal numbers.

use std::ops::ControlFlow;

use super::database::Database;
use super::number::Form;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{
    Caps, Change, Cursor, Entry, Kind, Stat, Store, Value, Version, When, keeps_no_attributes,
};
use crate::store::flat::{Edit, Kv, Step};

/// A database with `MDB_INTEGERKEY` or `MDB_REVERSEKEY`.
pub(super) struct Rows {
    kv: Database,
    integers: bool,
    caps: Caps,
}

impl Rows {
    pub(super) fn new(kv: Database, flags: u32, caps: &Caps) -> Rows {
        let caps = Caps { ordered: false, branches: false, ..caps.clone() };
        Rows { kv, integers: flags & lmdb_sys::MDB_INTEGERKEY != 0, caps }
    }

    /// How its keys are written; numbers are as wide as those that are there.
    fn form(&self) -> Result<Form> {
        if !self.integers {
            return Ok(Form::Bytes);
        }
        let mut form = Form::number(None);
        self.kv.scan(&[], &mut |key, _| {
            form = Form::number(Some(key));
            Step::Stop
        })?;
        Ok(form)
    }

    fn stored(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let Some(segment) = key.last().filter(|segment| key.len() == 1 && segment.word == Word::None) else {
            return Ok(None);
        };
        Ok(self.form()?.stored(segment.bytes).map(std::borrow::Cow::into_owned))
    }

    fn fitting(&self, key: &Key) -> Result<Vec<u8>> {
        self.stored(key)?.ok_or_else(|| {
            let what =
                if self.integers { "decimal numbers" } else { "single names: nothing lies below them" };
            Error::new(ErrorKind::NameEncoding, format!("{key:?}: the keys of this database are {what}"))
        })
    }
}

impl Store for Rows {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        if key.is_root() {
            return Ok(Some(Stat::plain(Kind::Branch, 0, self.kv.changed())));
        }
        let Some(stored) = self.stored(key)? else { return Ok(None) };
        let found = self.kv.get(&stored)?;
        Ok(found.map(|found| Stat::plain(Kind::Leaf, found.size, found.modified)))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut done = true;
        if dir.is_root() && !from.done {
            let form = self.form()?;
            let start = std::mem::take(&mut from.position);
            self.kv.scan(&start, &mut |key, found| {
                let segment = form.segment(key);
                let stat = Stat::plain(Kind::Leaf, found.size, found.modified);
                if each(Entry { segment: Segment::plain(&segment), stat }).is_break() {
                    from.position = key.to_vec();
                    done = false;
                    return Step::Stop;
                }
                Step::Next
            })?;
        }
        from.done = done;
        Ok(())
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match self.stored(key)? {
            Some(stored) => self.kv.open(&stored),
            None => Ok(None),
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        let mut edits = Vec::with_capacity(changes.len());
        for change in changes.iter() {
            match change {
                Change::Put { key, body, when } => {
                    let key = self.fitting(key)?;
                    edits.push(Edit::Put { key, body: Some(body), when: when.clone() });
                }
                Change::Delete { key, when } => match (self.stored(key)?, when) {
                    (Some(key), when) => edits.push(Edit::Delete { key, when: when.clone() }),
                    (None, When::Current(_)) => return Err(ErrorKind::Stale.into()),
                    (None, _) => {}
                },
                Change::Rename { from, to, replace, .. } => {
                    let missing = || Error::new(ErrorKind::NotFound, format!("there is no {from:?}"));
                    let from = self.stored(from)?.ok_or_else(missing)?;
                    let to = self.fitting(to)?;
                    edits.push(Edit::Move { from, to, below: None, replace: *replace });
                }
                Change::Branch { key } => {
                    if key.is_root() || self.stat(key)?.is_some() {
                        return Err(ErrorKind::Exists.into());
                    }
                    return Err(Error::new(ErrorKind::Unsupported, "this database has no directories"));
                }
                Change::RemoveBranch { .. } => {}
                Change::Make { .. } | Change::Set { .. } => return Err(keeps_no_attributes()),
            }
        }
        if edits.is_empty() { Ok(()) } else { self.kv.write(&mut edits) }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        let stored = self.fitting(key)?;
        if stored.len() > self.caps.key_max as usize {
            let sentence =
                format!("a key of {} bytes: LMDB holds at most {}", stored.len(), self.caps.key_max);
            return Err(Error::new(ErrorKind::NameTooLong, sentence));
        }
        self.kv.check_key(&stored)
    }

    fn raw_key(&self, key: &Key, _directory: bool) -> Vec<u8> {
        self.stored(key).ok().flatten().unwrap_or_default()
    }

    fn version_of(&self, _key: &Key, body: &Payload) -> Result<Option<Version>> {
        Version::of_payload(body).map(Some)
    }

    fn sync(&self) -> Result<()> {
        self.kv.sync()
    }
}
