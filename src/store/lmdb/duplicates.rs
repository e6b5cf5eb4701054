//! A database with duplicates (`MDB_DUPSORT`): a key is a directory of empty files that are named by its values.
//!
//! | in the tree | in LMDB |
//! |---|---|
//! | the empty file `Key["k", "v"]` | the value `v` among those of `k` |
//! | the directory `Key["k"]` | `k`, which exists as long as it has a value |
//! | a directory that was made: the marker `Key["k", ""]`, not listed (§2.3) | the empty value of `k`, which LMDB drops when there is another |

use std::ops::ControlFlow;
use std::sync::Arc;

use super::engine::Engine;
use super::moment::Moment;
use super::number::Form;
use super::table::{Name, Table};
use super::transaction::{Transaction, Writing};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{
    Caps, Change, Cursor, Entry, Kind, SharedBytes, Stat, Store, Value, Version, When, keeps_no_attributes,
};

/// A database with `MDB_DUPSORT`.
pub(super) struct Duplicates {
    engine: Arc<Engine>,
    moment: Moment,
    name: Name,
    caps: Caps,
}

/// What a key of the tree is here.
enum At {
    Root,
    Key(Vec<u8>),
    Value(Vec<u8>, Vec<u8>),
    /// Nothing can be there.
    Nowhere,
}

impl Duplicates {
    pub(super) fn new(engine: Arc<Engine>, moment: Moment, name: Name, caps: &Caps) -> Duplicates {
        let caps = Caps { ordered: false, value_max: 0, ..caps.clone() };
        Duplicates { engine, moment, name, caps }
    }

    fn stat_of(&self, kind: Kind) -> Stat {
        Stat::plain(kind, 0, self.moment.changed(&self.engine))
    }

    fn has(transaction: &impl Transaction, table: Table, at: &At) -> Result<bool> {
        Ok(match at {
            At::Root => true,
            At::Nowhere => false,
            At::Key(key) => transaction.get(table.handle, key)?.is_some(),
            At::Value(key, value) => has_value(transaction, table, key, value)?,
        })
    }

    fn change(&self, writing: &mut Writing<'_>, table: Table, change: &Change<'_>) -> Result<()> {
        let forms = forms(writing, table)?;
        match change {
            Change::Put { key, body, when } => {
                let (key, value) = value_of(forms, key)?;
                if !body.is_empty() {
                    return Err(Error::new(
                        ErrorKind::TooBig,
                        "the files of a database with duplicates are empty: their names are the values",
                    ));
                }
                check(has_value(writing, table, &key, &value)?, when)?;
                self.put(writing, table, &key, &value)
            }
            Change::Delete { key, when } => {
                let At::Value(key, value) = locate(forms, key) else { return check(false, when) };
                let there = has_value(writing, table, &key, &value)?;
                check(there, when)?;
                if there { remove(writing, table, &key, &value) } else { Ok(()) }
            }
            Change::Rename { from, to, tree, replace } => {
                self.rename(writing, table, (locate(forms, from), locate(forms, to)), *tree, *replace)
            }
            Change::Branch { key } => {
                let At::Key(bytes) = locate(forms, key) else {
                    return Err(Error::new(ErrorKind::Unsupported, "no directory can be here"));
                };
                if writing.get(table.handle, &bytes)?.is_some() {
                    return Err(exists(key));
                }
                if table.flags & lmdb_sys::MDB_DUPFIXED != 0 {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the values of this database have one length, so a key without a value cannot be made",
                    ));
                }
                self.put(writing, table, &bytes, &[])
            }
            Change::RemoveBranch { key } => {
                let At::Key(bytes) = locate(forms, key) else { return Ok(()) };
                if !only_marker(writing, table, &bytes)? {
                    return Err(Error::new(ErrorKind::NotEmpty, format!("{key:?} has values")));
                }
                writing.delete(table.handle, &bytes, None).map(drop)
            }
            Change::Make { .. } | Change::Set { .. } => Err(keeps_no_attributes()),
        }
    }

    fn rename(
        &self,
        writing: &mut Writing<'_>,
        table: Table,
        (from, to): (At, At),
        tree: bool,
        replace: bool,
    ) -> Result<()> {
        match (from, to) {
            (At::Value(from, value), At::Value(to, new)) => {
                if !has_value(writing, table, &from, &value)? {
                    return Err(ErrorKind::NotFound.into());
                }
                if !replace && has_value(writing, table, &to, &new)? {
                    return Err(ErrorKind::Exists.into());
                }
                self.put(writing, table, &to, &new)?;
                remove(writing, table, &from, &value)
            }
            (At::Key(from), At::Key(to)) if tree => {
                if writing.get(table.handle, &from)?.is_none() {
                    return Err(ErrorKind::NotFound.into());
                }
                if writing.get(table.handle, &to)?.is_some()
                    && !(replace && only_marker(writing, table, &to)?)
                {
                    return Err(ErrorKind::NotEmpty.into());
                }
                while let Some(value) = writing.get(table.handle, &from)?.map(<[u8]>::to_vec) {
                    self.put(writing, table, &to, &value)?;
                    remove(writing, table, &from, &value)?;
                }
                Ok(())
            }
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "a key and a value of this database are not the same thing",
            )),
        }
    }

    fn put(&self, writing: &mut Writing<'_>, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        fits(writing, key, value)?;
        if value.is_empty() && !only_marker(writing, table, key)? {
            return Err(Error::new(ErrorKind::Unsupported, "LMDB has no empty value beside others"));
        }
        self.engine.order(&self.name).check(writing, table, key)?;
        writing.put(table.handle, key, value, lmdb_sys::MDB_NODUPDATA).map(drop)
    }

    fn list_keys(
        &self,
        transaction: &impl Transaction,
        table: Table,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (form, _) = forms(transaction, table)?;
        let stat = self.stat_of(Kind::Branch);
        let mut cursor = transaction.cursor(table.handle)?;
        let mut at = cursor.seek(&from.position)?;
        while let Some((key, _)) = at {
            if each(Entry { segment: Segment::plain(&form.segment(key)), stat }).is_break() {
                from.position = key.to_vec();
                return Ok(());
            }
            at = cursor.go(lmdb_sys::MDB_NEXT_NODUP)?;
        }
        from.done = true;
        Ok(())
    }

    fn list_values(
        &self,
        transaction: &impl Transaction,
        table: Table,
        key: &[u8],
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (_, form) = forms(transaction, table)?;
        let stat = self.stat_of(Kind::Leaf);
        let mut cursor = transaction.cursor(table.handle)?;
        let mut at = if from.position.is_empty() {
            cursor.go_to(lmdb_sys::MDB_SET_KEY, key, &[])?
        } else {
            cursor.go_to(lmdb_sys::MDB_GET_BOTH_RANGE, key, &from.position)?
        };
        while let Some((_, value)) = at {
            let segment = form.segment(value);
            let entry = Entry { segment: Segment::plain(&segment), stat };
            if !value.is_empty() && each(entry).is_break() {
                from.position = value.to_vec();
                return Ok(());
            }
            at = cursor.go(lmdb_sys::MDB_NEXT_DUP)?;
        }
        from.done = true;
        Ok(())
    }
}

/// That LMDB can hold a key and a duplicate of these lengths.
fn fits(transaction: &impl Transaction, key: &[u8], value: &[u8]) -> Result<()> {
    let longest = transaction.environment().key_max as usize;
    if key.is_empty() {
        return Err(Error::new(ErrorKind::NameEncoding, "LMDB has no empty key"));
    }
    if key.len() > longest || value.len() > longest {
        let sentence = format!("keys and values of this database have at most {longest} bytes");
        return Err(Error::new(ErrorKind::NameTooLong, sentence));
    }
    Ok(())
}

/// How keys and values are written as segments.
fn forms(transaction: &impl Transaction, table: Table) -> Result<(Form, Form)> {
    let numbers = lmdb_sys::MDB_INTEGERKEY | lmdb_sys::MDB_INTEGERDUP;
    let first = match table.flags & numbers {
        0 => return Ok((Form::Bytes, Form::Bytes)),
        _ => transaction.cursor(table.handle)?.go(lmdb_sys::MDB_FIRST)?,
    };
    let form = |flag: u32, sample: Option<&[u8]>| {
        if table.flags & flag != 0 { Form::number(sample) } else { Form::Bytes }
    };
    Ok((
        form(lmdb_sys::MDB_INTEGERKEY, first.map(|(key, _)| key)),
        form(lmdb_sys::MDB_INTEGERDUP, first.map(|(_, value)| value)),
    ))
}

fn locate((keys, values): (Form, Form), key: &Key) -> At {
    if key.is_root() {
        return At::Root;
    }
    if key.len() > 2 || key.segments().any(|segment| segment.word != Word::None) {
        return At::Nowhere;
    }
    let stored = |form: Form, index: usize| Some(form.stored(key.segment(index)?.bytes)?.into_owned());
    match (stored(keys, 0), key.len(), stored(values, 1)) {
        (Some(key), 1, _) => At::Key(key),
        (Some(key), _, Some(value)) => At::Value(key, value),
        _ => At::Nowhere,
    }
}

fn value_of(forms: (Form, Form), key: &Key) -> Result<(Vec<u8>, Vec<u8>)> {
    match locate(forms, key) {
        At::Value(key, value) => Ok((key, value)),
        _ => Err(Error::new(
            ErrorKind::NameEncoding,
            format!("{key:?}: in a database with duplicates, files are values in the directory of their key"),
        )),
    }
}

fn has_value(transaction: &impl Transaction, table: Table, key: &[u8], value: &[u8]) -> Result<bool> {
    let longest = transaction.environment().key_max as usize;
    if key.is_empty() || key.len() > longest || value.len() > longest {
        return Ok(false);
    }
    let mut cursor = transaction.cursor(table.handle)?;
    if value.is_empty() {
        // The least value there can be; LMDB finds it by that.
        let first = cursor.go_to(lmdb_sys::MDB_SET_KEY, key, &[])?;
        return Ok(first.is_some_and(|(_, first)| first.is_empty()));
    }
    Ok(cursor.go_to(lmdb_sys::MDB_GET_BOTH, key, value)?.is_some())
}

/// Whether `key` is absent, or has the empty value and no other.
fn only_marker(transaction: &impl Transaction, table: Table, key: &[u8]) -> Result<bool> {
    let mut cursor = transaction.cursor(table.handle)?;
    match cursor.go_to(lmdb_sys::MDB_SET_KEY, key, &[])? {
        None => Ok(true),
        Some((_, first)) => Ok(first.is_empty() && cursor.go(lmdb_sys::MDB_NEXT_DUP)?.is_none()),
    }
}

/// Deletes a value that is there. LMDB does not find an empty one, which is always alone.
fn remove(writing: &mut Writing<'_>, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
    let value = if value.is_empty() { None } else { Some(value) };
    writing.delete(table.handle, key, value).map(drop)
}

fn check(there: bool, when: &When) -> Result<()> {
    match when {
        When::Absent if there => Err(ErrorKind::Exists.into()),
        When::Current(version) if !there || *version != Version::of_content(&[]) => {
            Err(Error::new(ErrorKind::Stale, "the value has changed in the meantime"))
        }
        _ => Ok(()),
    }
}

fn exists(key: &Key) -> Error {
    Error::new(ErrorKind::Exists, format!("{key:?} is there already"))
}

impl Store for Duplicates {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        let kind = self.engine.look(&self.moment, &self.name, |reading, table| {
            let at = locate(forms(reading, table)?, key);
            let kind = if matches!(at, At::Value(..)) { Kind::Leaf } else { Kind::Branch };
            Ok(Self::has(reading, table, &at)?.then_some(kind))
        })?;
        Ok(kind.flatten().map(|kind| self.stat_of(kind)))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.done {
            return Ok(());
        }
        let there = self.engine.look(&self.moment, &self.name, |reading, table| {
            match locate(forms(reading, table)?, dir) {
                At::Root => self.list_keys(reading, table, from, each),
                At::Key(key) => self.list_values(reading, table, &key, from, each),
                At::Value(..) | At::Nowhere => {
                    from.done = true;
                    Ok(())
                }
            }
        })?;
        from.done |= there.is_none();
        Ok(())
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let stat = self.stat(key)?.filter(|stat| stat.kind == Kind::Leaf);
        Ok(stat.map(|_| Box::new(SharedBytes(Arc::default())) as Box<dyn Value>))
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        self.engine.change(&self.name, &mut |writing, table| {
            changes.iter().try_for_each(|change| self.change(writing, table, change))
        })
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        let checked = self.engine.look(&self.moment, &self.name, |reading, table| {
            let at = locate(forms(reading, table)?, key);
            let (key, value) = match &at {
                At::Key(key) => (&key[..], &[][..]),
                At::Value(key, value) => (&key[..], &value[..]),
                At::Root | At::Nowhere => {
                    let what = "its files are values in the directory of their key";
                    return Err(Error::new(ErrorKind::NameEncoding, format!("{}: {what}", self.name)));
                }
            };
            fits(reading, key, value)
        })?;
        checked.ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn raw_key(&self, key: &Key, _directory: bool) -> Vec<u8> {
        let raw = self.engine.look(&self.moment, &self.name, |reading, table| {
            Ok(match locate(forms(reading, table)?, key) {
                At::Key(bytes) | At::Value(_, bytes) => bytes,
                At::Root | At::Nowhere => Vec::new(),
            })
        });
        raw.ok().flatten().unwrap_or_default()
    }

    fn version_of(&self, _key: &Key, body: &Payload) -> Result<Option<Version>> {
        Version::of_payload(body).map(Some)
    }

    fn sync(&self) -> Result<()> {
        self.engine.environment().sync()
    }
}
