//! One ordered database as a [`Kv`].

use std::sync::Arc;
use std::time::SystemTime;

use super::edit;
use super::engine::{Engine, Moment};
use super::environment::Access;
use super::table::{Name, in_map_as_database, is_database};
use super::transaction::Transaction;
use super::value::{Held, Opened, Slot, Unguarded};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::Value;
use crate::store::flat::{Edit, Found, Kv, Step};

/// Values up to this many bytes are copied when they are opened: cheaper than holding their moment.
const COPY_MAX: usize = 4 << 10;

/// A database whose keys are in the order of their bytes, each with one value.
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

    fn found(&self, value: &[u8]) -> Found {
        Found { size: value.len() as u64, modified: self.changed() }
    }
}

/// Opens the value of `key` in the database `name` as of `moment`; `hides` tells records that are no values.
pub(super) fn open_value(
    engine: &Arc<Engine>,
    moment: &Moment,
    name: &Name,
    key: &[u8],
    hides: impl Fn(&[u8]) -> bool,
) -> Result<Option<Box<dyn Value>>> {
    if let Moment::Fixed(snapshot) = moment {
        let held = engine.look(moment, name, |reading, table| {
            let value = reading.get(table.handle, key)?.filter(|value| !hides(value));
            // SAFETY: the pages of the snapshot's moment are not reused while its transaction runs, and the last
            // clone of the snapshot ends it.
            Ok(value
                .map(|value| unsafe { Held::new(value, Arc::<super::engine::Snapshot>::clone(snapshot)) }))
        })?;
        return Ok(held.flatten().map(|held| boxed(Arc::new(Slot::new(held)))));
    }
    let Some((reading, table)) = engine.enter(name)? else { return Ok(None) };
    let Some(value) = reading.get(table.handle, key)?.filter(|value| !hides(value)) else { return Ok(None) };
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
    let slot = engine.pins().hold(reading, |reading| reading.get(table.handle, key))?;
    Ok(slot.map(boxed))
}

fn boxed(slot: Arc<Slot>) -> Box<dyn Value> {
    Box::new(Opened(slot))
}

impl Kv for Database {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let found = self.engine.look(&self.moment, &self.name, |reading, table| {
            let value = reading.get(table.handle, key)?;
            Ok(value.filter(|value| !self.hides(key, value)).map(|value| value.len() as u64))
        })?;
        // After the transaction, which notices what others changed.
        Ok(found.flatten().map(|size| Found { size, modified: self.changed() }))
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        open_value(&self.engine, &self.moment, &self.name, key, |value| self.hides(key, value))
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        self.engine.look(&self.moment, &self.name, |reading, table| {
            let modified = self.changed();
            let mut cursor = reading.cursor(table.handle)?;
            let mut at = cursor.seek(from)?;
            while let Some((key, value)) = at {
                let hidden = self.name == Name::Main && is_database((key, value));
                let step =
                    if hidden { Step::Next } else { each(key, Found { size: value.len() as u64, modified }) };
                at = match step {
                    Step::Next => cursor.go(lmdb_sys::MDB_NEXT)?,
                    Step::Seek(to) => cursor.seek(&to)?,
                    Step::Stop => break,
                };
            }
            Ok(())
        })?;
        Ok(())
    }

    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        if matches!(self.moment, Moment::Fixed(_)) || self.engine.environment().access != Access::Write {
            return Err(Error::new(ErrorKind::ReadOnly, "this environment is open for reading only"));
        }
        let main = self.name == Name::Main;
        self.engine.change(&self.name, &mut |writing, table| {
            edits.iter().try_for_each(|edit| edit::carry_out(writing, table.handle, main, edit))
        })
    }

    fn changed(&self) -> SystemTime {
        match &self.moment {
            Moment::Live => self.engine.environment().modified(),
            Moment::Fixed(snapshot) => snapshot.modified,
        }
    }

    fn sync(&self) -> Result<()> {
        self.engine.environment().sync()
    }
}
