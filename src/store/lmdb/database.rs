//! One ordered database as a [`Kv`].

use std::sync::Arc;
use std::time::SystemTime;

use super::edit;
use super::engine::Engine;
use super::moment::{Moment, Snapshot};
use super::opening::Access;
use super::pending::Pending;
use super::table::{Name, Table, in_map_as_database, is_database};
use super::transaction::{Reading, Transaction};
use super::value::{Held, Opened, Slot, Unguarded};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{SharedBytes, Value};
use crate::store::flat::{Edit, Found, Kv, Step};

/// Values up to this many bytes are copied when they are opened: cheaper than holding their moment.
const COPY_MAX: usize = 4 << 10;

/// A database in which each key has one value, in the order that LMDB gives its keys.
pub(super) struct Database {
    engine: Arc<Engine>,
    moment: Moment,
    name: Name,
}

impl Database {
    pub(super) fn new(engine: Arc<Engine>, moment: Moment, name: Name) -> Database {
        Database { engine, moment, name }
    }

    /// Whether a record is a named database: not a value, and shown elsewhere.
    fn hides(&self, key: &[u8], value: &[u8]) -> bool {
        self.name == Name::Main && in_map_as_database(key, value)
    }

    /// Looks at what waits for its commit, of this database; before a transaction begins, so that a value which is
    /// committed in between is not missed. `None` where nothing does.
    fn waiting<R>(&self, look: impl FnOnce(&Pending, &[u8]) -> Option<R>) -> Option<R> {
        let behind = self.engine.behind().filter(|_| matches!(self.moment, Moment::Live))?;
        look(&behind.pending(), self.name.as_bytes())
    }
}

/// Opens the value that `find` points out in the database `name` as of `moment`, and keeps it readable.
pub(super) fn keep_value(
    engine: &Arc<Engine>,
    moment: &Moment,
    name: &Name,
    find: impl Fn(&Reading, Table) -> Result<Option<&[u8]>>,
) -> Result<Option<Box<dyn Value>>> {
    if let Moment::Fixed(snapshot) = moment {
        let held = engine.look(moment, name, |reading, table| {
            let keep = || Arc::<Snapshot>::clone(snapshot);
            // SAFETY: the pages of the snapshot's moment are not reused while its transaction runs, and the last
            // clone of the snapshot ends it.
            Ok(find(reading, table)?
                .map(|value| unsafe { Held::in_map(value, keep(), engine.environment()) }))
        })?;
        return Ok(held.flatten().map(|held| boxed(Arc::new(Slot::new(held)))));
    }
    let Some((reading, table)) = engine.enter(name)? else { return Ok(None) };
    let Some(value) = find(&reading, table)? else { return Ok(None) };
    if engine.environment().access == Access::Unlocked {
        return Ok(Some(Box::new(Unguarded {
            environment: Arc::clone(engine.environment()),
            address: value.as_ptr(),
            length: value.len(),
            moment: reading.id(),
        })));
    }
    if value.len() <= COPY_MAX {
        return Ok(Some(boxed(Arc::new(Slot::new(Held::copy(value))))));
    }
    let value: *const [u8] = value;
    // SAFETY: the value is in the map, of the moment of `reading`, which the pin goes on holding.
    let slot = unsafe { engine.pins().hold(reading, value) };
    Ok(Some(boxed(slot)))
}

/// Whether the key `next` may come after `key` in a database with these flags.
fn follows(reading: &impl Transaction, table: Table, key: &[u8], next: &[u8]) -> bool {
    if table.flags & (lmdb_sys::MDB_INTEGERKEY | lmdb_sys::MDB_REVERSEKEY) == 0 {
        return key < next;
    }
    reading.compare(table.handle, key, next).is_lt()
}

fn boxed(slot: Arc<Slot>) -> Box<dyn Value> {
    Box::new(Opened(slot))
}

/// Hands out what is committed in the database `name` as of `moment`, from `from` on.
pub(super) fn scan(
    engine: &Engine,
    moment: &Moment,
    name: &Name,
    from: &[u8],
    each: &mut dyn FnMut(&[u8], Found) -> Step,
) -> Result<()> {
    engine.look(moment, name, |reading, table| {
        let modified = moment.changed(engine);
        let mut cursor = reading.cursor(table.handle)?;
        let mut at = cursor.seek(from)?;
        while let Some((key, value)) = at {
            let hidden = *name == Name::Main && is_database((key, value));
            let step =
                if hidden { Step::Next } else { each(key, Found { size: value.len() as u64, modified }) };
            at = match step {
                Step::Next => cursor.go(lmdb_sys::MDB_NEXT)?,
                Step::Seek(to) => cursor.seek(&to)?,
                Step::Stop => break,
            };
            if at.is_some_and(|(next, _)| !follows(reading, table, key, next)) {
                return Err(engine.order(name).met_disorder());
            }
        }
        Ok(())
    })?;
    Ok(())
}

impl Kv for Database {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let modified = || self.moment.changed_key(&self.engine, &self.name, key);
        if let Some(found) = self.waiting(|pending, name| pending.get(name, key).map(|entry| entry.found())) {
            return Ok(found.map(|found| Found { modified: modified(), ..found }));
        }
        let found = self.engine.look(&self.moment, &self.name, |reading, table| {
            let value = reading.get(table.handle, key)?;
            Ok(value.filter(|value| !self.hides(key, value)).map(|value| value.len() as u64))
        })?;
        // After the transaction, which notices what others changed.
        Ok(found.flatten().map(|size| Found { size, modified: modified() }))
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        if let Some(value) = self.waiting(|pending, name| pending.get(name, key).map(|e| e.value)) {
            return Ok(value.map(|bytes| Box::new(SharedBytes(bytes)) as Box<dyn Value>));
        }
        keep_value(&self.engine, &self.moment, &self.name, |reading, table| {
            Ok(reading.get(table.handle, key)?.filter(|value| !self.hides(key, value)))
        })
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        let below = |each: &mut dyn FnMut(&[u8], Found) -> Step| {
            scan(&self.engine, &self.moment, &self.name, from, each)
        };
        let above = self.waiting(|pending, name| {
            let mut above = pending.above(name, from);
            (!above.is_empty()).then_some(above)
        });
        let mut each = |key: &[u8], found: Found| {
            let modified = self.moment.changed_key(&self.engine, &self.name, key);
            each(key, Found { modified, ..found })
        };
        match above {
            Some(above) => above.merge(below, &mut each),
            None => below(&mut each),
        }
    }

    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        if matches!(self.moment, Moment::Fixed(_)) || self.engine.environment().access != Access::Write {
            return Err(Error::new(ErrorKind::ReadOnly, "this environment is open for reading only"));
        }
        self.engine.times().write(self.name.as_bytes(), edits);
        let main = self.name == Name::Main;
        let order = self.engine.order(&self.name);
        let now = |edits: &mut [Edit<'_>]| {
            self.engine.change_now(&self.name, &mut |writing, table| {
                edits.iter().try_for_each(|edit| edit::carry_out(writing, table, main, &order, edit))
            })
        };
        match self.engine.behind() {
            Some(behind) => behind.write(self.name.as_bytes(), edits, now),
            None => now(edits),
        }
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        if key.is_empty() {
            return Err(Error::new(ErrorKind::NameEncoding, "LMDB has no empty key"));
        }
        Ok(())
    }

    fn changed(&self) -> SystemTime {
        self.moment.changed(&self.engine)
    }

    fn sync(&self) -> Result<()> {
        self.engine.settle()?;
        self.engine.environment().sync()
    }

    fn sync_key(&self, key: &[u8]) -> Result<()> {
        self.engine.settle_key(self.name.as_bytes(), key)?;
        self.engine.environment().sync()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        self.engine.commit_facts()
    }

    fn close(&self) -> Result<()> {
        self.engine.settle()
    }
}
