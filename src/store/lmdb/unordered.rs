//! A database in an order of its program's own (`mdb_set_compare`), which LMDB does not tell: no key can be
//! searched for, so it is walked from the start for every question, and only that program can write to it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::cursor::Cursor as Walk;
use super::database::keep_value;
use super::engine::Engine;
use super::moment::Moment;
use super::table::{Name, Table, is_database};
use super::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::store::api::{Caps, Change, Cursor, Entry, Kind, SharedBytes, Stat, Store, Value};

/// Names after the place where a listing stopped that are kept to find it again, should some be deleted.
const AHEAD: usize = 32;

/// A database in an unknown order.
pub(super) struct Unordered {
    engine: Arc<Engine>,
    moment: Moment,
    name: Name,
    caps: Caps,
}

impl Unordered {
    pub(super) fn new(engine: Arc<Engine>, moment: Moment, name: Name, caps: &Caps) -> Unordered {
        let caps = Caps { write: false, ordered: false, branches: false, ..caps.clone() };
        Unordered { engine, moment, name, caps }
    }

    fn stat_of(&self, kind: Kind, size: usize) -> Stat {
        Stat::plain(kind, size as u64, self.moment.changed(&self.engine))
    }

    /// Hands out the keys and their (first) values, in the database's own order.
    fn each_key<'t>(
        &self,
        walk: &mut Walk<'t>,
        each: &mut dyn FnMut(&'t [u8], &'t [u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut at = walk.go(lmdb_sys::MDB_FIRST)?;
        while let Some((key, value)) = at {
            let hidden = self.name == Name::Main && is_database((key, value));
            if !hidden && each(key, value).is_break() {
                break;
            }
            at = walk.go(lmdb_sys::MDB_NEXT_NODUP)?;
        }
        Ok(())
    }

    /// Puts `walk` on `key`; answers its (first) value.
    fn find<'t>(&self, walk: &mut Walk<'t>, key: &[u8]) -> Result<Option<&'t [u8]>> {
        let mut found = None;
        self.each_key(walk, &mut |at, value| {
            if at == key {
                found = Some(value);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The names directly below `dir` (keys, or the duplicates of one) and the sizes of their values.
    fn each_name<'t>(
        &self,
        walk: &mut Walk<'t>,
        table: Table,
        dir: &Key,
        each: &mut dyn FnMut(&'t [u8], Kind, usize) -> ControlFlow<()>,
    ) -> Result<()> {
        let duplicates = has_duplicates(table);
        if dir.is_root() {
            let kind = if duplicates { Kind::Branch } else { Kind::Leaf };
            return self
                .each_key(walk, &mut |key, value| each(key, kind, if duplicates { 0 } else { value.len() }));
        }
        let Some(key) = plain(dir, 1).filter(|_| duplicates) else { return Ok(()) };
        let mut at = self.find(walk, key)?;
        while let Some(value) = at {
            if each(value, Kind::Leaf, 0).is_break() {
                break;
            }
            at = walk.go(lmdb_sys::MDB_NEXT_DUP)?.map(|(_, value)| value);
        }
        Ok(())
    }

    fn stat_in(&self, reading: &impl Transaction, table: Table, key: &Key) -> Result<Option<(Kind, usize)>> {
        let Some(parent) = key.parent() else { return Ok(Some((Kind::Branch, 0))) };
        let Some(name) = plain(key, key.len()) else { return Ok(None) };
        let mut found = None;
        self.each_name(&mut reading.cursor(table.handle)?, table, &parent, &mut |at, kind, size| {
            if at == name {
                found = Some((kind, size));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The number of names below `dir` that come before the place in `position`.
    fn skip(&self, reading: &impl Transaction, table: Table, dir: &Key, position: &[u8]) -> Result<usize> {
        let Some((index, ahead)) = read_position(position) else { return Ok(0) };
        let wanted: HashMap<&[u8], usize> =
            ahead.iter().enumerate().map(|(rank, name)| (*name, rank)).collect();
        let (mut count, mut best) = (0, None);
        self.each_name(&mut reading.cursor(table.handle)?, table, dir, &mut |name, _, _| {
            if let Some(rank) = wanted.get(name)
                && best.is_none_or(|(earlier, _)| *rank < earlier)
            {
                best = Some((*rank, count));
            }
            count += 1;
            if best.is_some_and(|(rank, _)| rank == 0) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(best.map_or(index, |(_, place)| place))
    }
}

impl Store for Unordered {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        let found =
            self.engine.look(&self.moment, &self.name, |reading, table| self.stat_in(reading, table, key))?;
        Ok(found.flatten().map(|(kind, size)| self.stat_of(kind, size)))
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
        let position = std::mem::take(&mut from.position);
        let mut next: Option<(usize, Vec<Vec<u8>>)> = None;
        self.engine.look(&self.moment, &self.name, |reading, table| {
            let skip = self.skip(reading, table, dir, &position)?;
            let mut index = 0;
            self.each_name(&mut reading.cursor(table.handle)?, table, dir, &mut |name, kind, size| {
                if let Some((_, ahead)) = &mut next {
                    ahead.push(name.to_vec());
                    return if ahead.len() < AHEAD {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    };
                }
                let entry = Entry { segment: Segment::plain(name), stat: self.stat_of(kind, size) };
                if index >= skip && each(entry).is_break() {
                    next = Some((index, vec![name.to_vec()]));
                }
                index += 1;
                ControlFlow::Continue(())
            })
        })?;
        from.done = next.is_none();
        if let Some((index, ahead)) = next {
            from.position = write_position(index, &ahead);
        }
        Ok(())
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let Some(stat) = self.stat(key)?.filter(|stat| stat.kind == Kind::Leaf) else { return Ok(None) };
        let Some(name) = plain(key, 1).filter(|_| key.len() == 1) else {
            let empty = stat.size == 0;
            return Ok(empty.then(|| Box::new(SharedBytes(Arc::default())) as Box<dyn Value>));
        };
        keep_value(&self.engine, &self.moment, &self.name, |reading, table| {
            self.find(&mut reading.cursor(table.handle)?, name)
        })
    }

    fn check_key(&self, _: &Key) -> Result<()> {
        self.refuse()
    }

    fn raw_key(&self, key: &Key, _directory: bool) -> Vec<u8> {
        key.last().map(|segment| segment.bytes.to_vec()).unwrap_or_default()
    }

    fn apply(&self, _: &mut [Change<'_>]) -> Result<()> {
        self.refuse()
    }
}

impl Unordered {
    fn refuse(&self) -> Result<()> {
        Err(Error::new(
            ErrorKind::ReadOnly,
            format!(
                "{} is in an order of its program's own, which LMDB does not tell: only that program can write to it",
                self.name
            ),
        ))
    }
}

fn has_duplicates(table: Table) -> bool {
    table.flags & lmdb_sys::MDB_DUPSORT != 0
}

/// The last of the `count` segments of `key`, where all are plain.
fn plain(key: &Key, count: usize) -> Option<&[u8]> {
    if key.len() != count || key.segments().any(|segment| segment.word != Word::None) {
        return None;
    }
    key.last().map(|segment| segment.bytes)
}

/// Where a listing goes on: how many names came before, and the next ones.
fn write_position(index: usize, ahead: &[Vec<u8>]) -> Vec<u8> {
    let mut position = (index as u64).to_le_bytes().to_vec();
    for name in ahead {
        position.extend_from_slice(&(name.len() as u32).to_le_bytes());
        position.extend_from_slice(name);
    }
    position
}

fn read_position(position: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let (index, mut rest) = position.split_first_chunk::<8>()?;
    let mut ahead = Vec::new();
    while let Some((length, names)) = rest.split_first_chunk::<4>() {
        let (name, after) = names.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        ahead.push(name);
        rest = after;
    }
    Some((usize::try_from(u64::from_le_bytes(*index)).ok()?, ahead))
}
