//! `lmdb` as a tree: the main database's own keys at the root, and beside them each named database as a directory
//! with the word [`Word::Db`] (`name%db/`).
//!
//! What a database shows as depends on its flags, and on whether they tell the truth:
//!
//! | flags | shown by |
//! |---|---|
//! | none | [`Flat`]: keys cut at the separator |
//! | `INTEGERKEY`, `REVERSEKEY` | `rows`: a file a key |
//! | `DUPSORT` | `duplicates`: a directory a key, an empty file a value |
//! | any, in another order | `unordered`: the same, read-only |

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::database::Database;
use super::duplicates::Duplicates;
use super::engine::Engine;
use super::moment::Moment;
use super::rows::Rows;
use super::table::Name;
use super::unordered::Unordered;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{
    Caps, Change, Cursor, Entry, Era, Kind, Stat, Store, Tell, Usage, Value, Version, Watch,
    keeps_no_attributes,
};
use crate::store::flat::Flat;

/// Names of databases kept from one listing to the next; with more, each listing looks for them anew.
const NAMES_MAX: usize = 4096;
/// Flags of a main database with which LMDB allows no others.
const NO_DATABASES: u32 = lmdb_sys::MDB_DUPSORT | lmdb_sys::MDB_INTEGERKEY;
/// The part of the root's listing that has the named databases; the main database's keys come before it.
const DATABASES: u32 = 1;

/// An environment as a store.
pub(super) struct Lmdb {
    engine: Arc<Engine>,
    moment: Moment,
    caps: Caps,
    separator: Option<Vec<u8>>,
    shown: Mutex<HashMap<Name, Shown>>,
    names: Mutex<Option<Names>>,
}

/// How a database is shown.
#[derive(Clone)]
struct Shown {
    flags: u32,
    unordered: bool,
    store: Arc<dyn Store>,
}

/// The names of all databases, good while nobody else changes anything.
struct Names {
    foreign_changes: u64,
    names: Vec<Box<[u8]>>,
}

/// A database as a store, and a key in it.
type Inside<'k> = (Arc<dyn Store>, Cow<'k, Key>);

/// Where a key leads.
enum Place<'k> {
    /// Into a database: the main one, or a named one and what is below its directory.
    In(Name, Cow<'k, Key>),
    /// Nowhere: a word that this store does not have.
    Nowhere,
}

impl Lmdb {
    pub(super) fn new(
        engine: Arc<Engine>,
        moment: Moment,
        caps: Caps,
        separator: Option<Vec<u8>>,
    ) -> Result<Lmdb> {
        let lmdb = Lmdb {
            engine,
            moment,
            caps,
            separator,
            shown: Mutex::new(HashMap::new()),
            names: Mutex::new(None),
        };
        if lmdb.engine.order(&Name::Main).is_broken() || lmdb.main()?.1.unordered {
            tracing::warn!(
                "{}: its main database is in an order of its program's own: it is shown read-only",
                lmdb.engine.environment().place.shown.display()
            );
        }
        Ok(lmdb)
    }

    /// How the database `name` is shown; `None` where there is none.
    fn shown(&self, name: &Name) -> Result<Option<Arc<dyn Store>>> {
        if *name == Name::Main {
            return Ok(Some(self.main()?.1.store));
        }
        let Some(flags) = self.engine.look(&self.moment, name, |_, table| Ok(table.flags))? else {
            self.shown.lock().remove(name);
            return Ok(None);
        };
        self.shown_as(name, flags).map(|shown| Some(shown.store))
    }

    fn main(&self) -> Result<(Name, Shown)> {
        Ok((Name::Main, self.shown_as(&Name::Main, self.engine.environment().main_flags())?))
    }

    fn shown_as(&self, name: &Name, flags: u32) -> Result<Shown> {
        let order = self.engine.order(name);
        let known = self.shown.lock().get(name).cloned();
        if let Some(known) =
            known.filter(|known| known.flags == flags && known.unordered == order.is_broken())
        {
            return Ok(known);
        }
        self.engine.look(&self.moment, name, |reading, table| order.sample(reading, table))?;
        let shown =
            Shown { flags, unordered: order.is_broken(), store: self.show(name, flags, order.is_broken()) };
        self.shown.lock().insert(name.clone(), shown.clone());
        Ok(shown)
    }

    fn show(&self, name: &Name, flags: u32, unordered: bool) -> Arc<dyn Store> {
        let (engine, moment) = (Arc::clone(&self.engine), self.moment.clone());
        if unordered {
            return Arc::new(Unordered::new(engine, moment, name.clone(), &self.caps));
        }
        if flags & lmdb_sys::MDB_DUPSORT != 0 {
            return Arc::new(Duplicates::new(engine, moment, name.clone(), &self.caps));
        }
        let database = Database::new(engine, moment, name.clone());
        if flags & (lmdb_sys::MDB_INTEGERKEY | lmdb_sys::MDB_REVERSEKEY) != 0 {
            return Arc::new(Rows::new(database, flags, &self.caps));
        }
        Arc::new(Flat::new(database, self.caps.clone(), self.separator.clone()))
    }

    fn place<'k>(&self, key: &'k Key) -> Place<'k> {
        match key.segment(0) {
            Some(first) if first.word == Word::Db => match Name::named(first.bytes) {
                Some(name) => Place::In(name, Cow::Owned(key.below(1))),
                None => Place::Nowhere,
            },
            _ => Place::In(Name::Main, Cow::Borrowed(key)),
        }
    }

    /// The store that `key` leads into, and the key there.
    fn enter<'k>(&self, key: &'k Key) -> Result<Option<Inside<'k>>> {
        match self.place(key) {
            Place::In(name, rest) => Ok(self.shown(&name)?.map(|store| (store, rest))),
            Place::Nowhere => Ok(None),
        }
    }

    /// The names of the databases, from `from` on.
    fn list_databases(
        &self,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.learn_names()?;
        let modified = self.moment.changed(&self.engine);
        let stat = Stat::plain(Kind::Branch, 0, modified);
        let known = self.names.lock().as_ref().map(|known| {
            let start = known.names.partition_point(|name| **name < *from.position);
            known.names[start..].to_vec()
        });
        let mut next = None;
        let mut give = |name: &[u8]| {
            let step = each(Entry { segment: Segment { bytes: name, word: Word::Db }, stat });
            if step.is_break() {
                next = Some(name.to_vec());
            }
            step
        };
        match known {
            Some(names) => drop(names.iter().try_for_each(|name| give(name))),
            None => {
                let start = from.position.clone();
                self.engine.look(&self.moment, &Name::Main, |reading, _| {
                    Name::each_in(reading, &start, &mut |name| give(name.as_bytes()))
                })?;
            }
        }
        from.done = next.is_none();
        from.position = next.unwrap_or_default();
        Ok(())
    }

    /// Looks for all named databases where that is not known: they lie among the main database's keys.
    fn learn_names(&self) -> Result<()> {
        let foreign_changes = match self.moment {
            Moment::Live => self.engine.foreign_changes()?,
            Moment::Fixed(_) => 0,
        };
        if self.names.lock().as_ref().is_some_and(|known| known.foreign_changes == foreign_changes) {
            return Ok(());
        }
        let mut names = Vec::new();
        self.engine.look(&self.moment, &Name::Main, |reading, _| {
            Name::each_in(reading, &[], &mut |name| {
                names.push(name.into_bytes().into_boxed_slice());
                if names.len() > NAMES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })?;
        // An order of the program's own may not be that of the bytes.
        names.sort_unstable();
        *self.names.lock() = (names.len() <= NAMES_MAX).then_some(Names { foreign_changes, names });
        Ok(())
    }

    /// The name of the database at `key`, which LMDB could hold.
    fn check_name(&self, key: &Key) -> Result<Name> {
        let bytes = key.last().map_or(&[][..], |segment| segment.bytes);
        if bytes.len() > self.caps.key_max as usize {
            let sentence = "the name of an LMDB database is a key of the main one, and as long at most";
            return Err(Error::new(ErrorKind::NameTooLong, sentence));
        }
        Name::to_make(bytes)
    }

    /// Makes or drops a named database.
    fn change_database(&self, change: &Change<'_>) -> Result<()> {
        let result = match change {
            Change::Branch { key } => self.engine.make_database(&self.check_name(key)?),
            Change::RemoveBranch { key } => match self.place(key) {
                Place::In(name, _) => self.engine.drop_database(&name),
                Place::Nowhere => Ok(()),
            },
            Change::Rename { .. } => Err(Error::new(
                ErrorKind::CrossDevice,
                "LMDB cannot rename a database: make another and move its keys",
            )),
            Change::Make { .. } | Change::Set { .. } => Err(keeps_no_attributes()),
            Change::Put { .. } | Change::Delete { .. } => {
                Err(Error::new(ErrorKind::IsDirectory, "a named database is a directory, not a value"))
            }
        };
        self.names.lock().take();
        result
    }
}

fn is_database(key: &Key) -> bool {
    key.len() == 1 && key.last().is_some_and(|segment| segment.word == Word::Db)
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        // Where nobody called `close`. What cannot be committed stays in the journal, or is in the spool.
        if matches!(self.moment, Moment::Live)
            && let Err(error) = self.engine.settle()
        {
            tracing::error!("{}: {error}", self.engine.environment().place.shown.display());
        }
    }
}

impl Store for Lmdb {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        match self.enter(key)? {
            Some((store, rest)) => store.stat(&rest),
            None => Ok(None),
        }
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.part != DATABASES {
            let Some((store, rest)) = self.enter(dir)? else {
                from.done = true;
                return Ok(());
            };
            store.list(&rest, from, each)?;
            if !from.done || !dir.is_root() {
                return Ok(());
            }
            *from = Cursor { part: DATABASES, ..Cursor::default() };
        }
        if from.done { Ok(()) } else { self.list_databases(from, each) }
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some((store, rest)) = self.enter(dir)? else { return Ok(()) };
        let mut flow = ControlFlow::Continue(());
        store.list_prefix(&rest, prefix, &mut |entry| {
            flow = each(entry);
            flow
        })?;
        if flow.is_break() || !dir.is_root() {
            return Ok(());
        }
        let mut from = Cursor { position: prefix.to_vec(), part: DATABASES, ..Cursor::default() };
        self.list_databases(&mut from, &mut |entry| {
            if entry.segment.bytes.starts_with(prefix) { each(entry) } else { ControlFlow::Break(()) }
        })
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match self.enter(key)? {
            Some((store, rest)) => store.open(&rest),
            None => Ok(None),
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(Error::new(ErrorKind::ReadOnly, "this environment is mounted for reading only"));
        }
        if let [change] = changes
            && (is_database(change.keys().0) || change.keys().1.is_some_and(is_database))
        {
            return self.change_database(change);
        }
        let mut name = None;
        let mut below = Vec::with_capacity(changes.len());
        for change in changes.iter() {
            let (key, other) = change.keys();
            for key in [Some(key), other].into_iter().flatten() {
                let Place::In(into, rest) = self.place(key) else {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("{key:?}: no database has this name"),
                    ));
                };
                if is_database(key) || name.get_or_insert_with(|| into.clone()) != &into {
                    let sentence = "one call changes one LMDB database: copy, and delete the original";
                    return Err(Error::new(ErrorKind::CrossDevice, sentence));
                }
                below.push(rest);
            }
        }
        let Some(name) = name else { return Ok(()) };
        let Some(store) = self.shown(&name)? else {
            return Err(Error::new(ErrorKind::NotFound, format!("{name} does not exist")));
        };
        let mut below = below.iter();
        let mut inner: Vec<Change<'_>> = changes
            .iter()
            .filter_map(|change| {
                let key = below.next()?;
                let other = if change.keys().1.is_some() { below.next()? } else { key };
                Some(change.with_keys(key, other))
            })
            .collect();
        store.apply(&mut inner)
    }

    fn sync(&self) -> Result<()> {
        self.engine.settle()?;
        self.engine.environment().sync()
    }

    fn sync_key(&self, key: &Key) -> Result<()> {
        match self.enter(key)? {
            Some((store, rest)) => store.sync_key(&rest),
            None => self.sync(),
        }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        let sentence = "no LMDB database has this name, and no key this type";
        let Place::In(name, rest) = self.place(key) else {
            return Err(Error::new(ErrorKind::NameEncoding, sentence));
        };
        if is_database(key) {
            return match self.engine.environment().main_flags() & NO_DATABASES {
                0 => self.check_name(key).map(drop),
                _ => Err(Error::new(ErrorKind::Invalid, "this environment cannot have named databases")),
            };
        }
        match self.shown(&name)? {
            Some(store) => store.check_key(&rest),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn value_max(&self, key: &Key) -> u64 {
        let plain = key.segment(0).is_none_or(|first| first.word != Word::Db);
        if plain && self.engine.environment().main_flags() & lmdb_sys::MDB_DUPSORT == 0 {
            return self.caps.value_max;
        }
        match self.enter(key) {
            Ok(Some((store, rest))) => store.value_max(&rest),
            _ => self.caps.value_max,
        }
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        if is_database(key) {
            return key.last().map(|segment| segment.bytes.to_vec()).unwrap_or_default();
        }
        match self.enter(key) {
            Ok(Some((store, rest))) => store.raw_key(&rest, directory),
            _ => Vec::new(),
        }
    }

    fn version_of(&self, _key: &Key, body: &Payload) -> Result<Option<Version>> {
        Version::of_payload(body).map(Some)
    }

    fn foreign_changes(&self) -> Option<u64> {
        Some(match self.moment {
            Moment::Live => self.engine.environment().changes().foreign(),
            Moment::Fixed(_) => 0,
        })
    }

    fn era(&self) -> Result<Option<Era>> {
        self.engine.era(&self.moment).map(Some)
    }

    fn resume(&self, era: &Era) -> Result<bool> {
        match self.moment {
            Moment::Live => self.engine.resume(era),
            Moment::Fixed(_) => Ok(false),
        }
    }

    fn watch(&self, tell: Tell) -> Result<Watch> {
        if matches!(self.moment, Moment::Fixed(_)) {
            return Err(Error::new(ErrorKind::Unsupported, "a snapshot does not change"));
        }
        Ok(self.engine.watchers().add(tell))
    }

    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Store>> {
        let moment = match &self.moment {
            Moment::Live => Moment::Fixed(Arc::new(self.engine.snapshot()?)),
            fixed => fixed.clone(),
        };
        let caps = Caps { write: false, immutable: true, branches: false, watch: false, ..self.caps.clone() };
        Ok(Arc::new(Lmdb::new(Arc::clone(&self.engine), moment, caps, self.separator.clone())?))
    }

    fn usage(&self) -> Usage {
        self.engine.watchers().usage()
    }

    fn compact(&self) -> Result<(u64, u64)> {
        self.engine.compact()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        self.engine.facts(&self.moment)
    }

    fn close(&self) -> Result<()> {
        match self.moment {
            Moment::Live => self.engine.leave(),
            Moment::Fixed(_) => Ok(()),
        }
    }
}
