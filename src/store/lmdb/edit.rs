//! The edits of a flat map, carried out in a write transaction.

use super::environment::Environment;
use super::order::Order;
use super::table::{Table, in_map_as_database, is_database};
use super::transaction::{Transaction, Writing};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::{Version, When};
use crate::store::flat::{Edit, Keys};

/// Values from this many bytes on are written only where there is memory for them.
const LARGE: usize = 64 << 20;

/// Carries out `edit` in `table`; in the main database, records of named databases are no values and stay.
pub(super) fn carry_out(
    writing: &mut Writing<'_>,
    table: Table,
    main: bool,
    order: &Order,
    edit: &Edit<'_>,
) -> Result<()> {
    let mut target = Target { writing, table, main, order };
    match edit {
        Edit::Put { key, body, when } => {
            target.check(key, when)?;
            target.put(key, *body)
        }
        Edit::Delete { key, when } => {
            target.check(key, when)?;
            if target.is_value(key)? {
                target.writing.delete(table.handle, key, None)?;
            }
            Ok(())
        }
        Edit::Move { from, to, below, replace } => target.rename(from, to, below.as_ref(), *replace),
        Edit::Expect { none, otherwise } => {
            if target.any(none)? {
                let sentence = format!("there is a key where none was expected: {none:?}");
                return Err(Error::new(*otherwise, sentence));
            }
            Ok(())
        }
    }
}

struct Target<'w, 'e> {
    writing: &'w mut Writing<'e>,
    table: Table,
    main: bool,
    order: &'w Order,
}

impl Target<'_, '_> {
    fn value(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        let value = self.writing.get(self.table.handle, key)?;
        Ok(value.filter(|value| !(self.main && in_map_as_database(key, value))))
    }

    fn is_value(&self, key: &[u8]) -> Result<bool> {
        Ok(self.value(key)?.is_some())
    }

    fn check(&self, key: &[u8], when: &When) -> Result<()> {
        match when {
            When::Always => Ok(()),
            When::Absent if self.is_value(key)? => Err(exists(key)),
            When::Absent => Ok(()),
            When::Current(version) => match self.value(key)? {
                Some(value) if Version::of_content(value) == *version => Ok(()),
                _ => Err(Error::new(
                    ErrorKind::Stale,
                    format!("\"{}\" has changed in the meantime", key.escape_ascii()),
                )),
            },
        }
    }

    /// That a value can be at `key`.
    fn fits(&self, key: &[u8]) -> Result<()> {
        if key.is_empty() {
            return Err(Error::new(ErrorKind::NameEncoding, "LMDB has no empty key"));
        }
        let longest = self.writing.environment().key_max as usize;
        if key.len() > longest {
            let sentence = format!("a key of {} bytes: LMDB holds at most {longest}", key.len());
            return Err(Error::new(ErrorKind::NameTooLong, sentence));
        }
        if self.main && !self.is_value(key)? && self.writing.get(Environment::MAIN, key)?.is_some() {
            return Err(Error::new(
                ErrorKind::Exists,
                format!("\"{}\" is a named database, and cannot be a value too", key.escape_ascii()),
            ));
        }
        self.order.check(self.writing, self.table, key)
    }

    fn put(&mut self, key: &[u8], body: Option<&Payload>) -> Result<()> {
        self.fits(key)?;
        let length = usize::try_from(body.map_or(0, Payload::len)).unwrap_or(usize::MAX);
        has_memory(length)?;
        self.writing.put_with(self.table.handle, key, length, |room| {
            let mut filled = 0;
            if let Some(body) = body {
                body.pieces(&mut |piece| {
                    room[filled..filled + piece.len()].copy_from_slice(piece);
                    filled += piece.len();
                    Ok(())
                })?;
            }
            if filled < room.len() {
                return Err(Error::new(ErrorKind::Io, "a spill file is shorter than it was"));
            }
            Ok(())
        })
    }

    fn rename(
        &mut self,
        from: &[u8],
        to: &[u8],
        below: Option<&(Vec<u8>, Vec<u8>)>,
        replace: bool,
    ) -> Result<()> {
        if !replace && self.is_value(to)? {
            return Err(exists(to));
        }
        let mut moved = false;
        if self.is_value(from)? {
            self.move_value(from, to)?;
            moved = true;
        }
        if let Some((old, new)) = below {
            let mut position = old.clone();
            while let Some(key) = self.next_value(&position, old)? {
                self.move_value(&key, &[new, &key[old.len()..]].concat())?;
                moved = true;
                position = key;
            }
        }
        if moved {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, format!("there is no \"{}\" to rename", from.escape_ascii())))
    }

    fn move_value(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        self.fits(to)?;
        self.writing.copy(self.table.handle, from, to)?;
        self.writing.delete(self.table.handle, from, None)?;
        Ok(())
    }

    /// The first value whose key is not below `from` and starts with `prefix`.
    fn next_value(&self, from: &[u8], prefix: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut cursor = self.writing.cursor(self.table.handle)?;
        let mut at = cursor.seek(from)?;
        while let Some(record) = at {
            if !record.0.starts_with(prefix) {
                return Ok(None);
            }
            if !(self.main && is_database(record)) {
                return Ok(Some(record.0.to_vec()));
            }
            at = cursor.go(lmdb_sys::MDB_NEXT)?;
        }
        Ok(None)
    }

    fn any(&self, keys: &Keys) -> Result<bool> {
        let (prefix, marker) = match keys {
            Keys::At(key) => return self.is_value(key),
            Keys::Prefix(prefix) => (prefix, false),
            Keys::Inside(prefix) => (prefix, self.value(prefix)?.is_some_and(<[u8]>::is_empty)),
        };
        let mut from = prefix.clone();
        if marker {
            // The least key after the marker.
            from.push(0);
        }
        Ok(self.next_value(&from, prefix)?.is_some())
    }
}

/// That the memory is there in which LMDB builds a large value until its commit: without it the system would end
/// the daemon, and with it every mount.
fn has_memory(length: usize) -> Result<()> {
    if length < LARGE {
        return Ok(());
    }
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<usize>().ok()
    });
    if available.is_some_and(|kib| kib << 10 < length + length / 8) {
        let sentence = format!("a value of {length} bytes needs as much memory until it is committed");
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("{sentence}, and there is less: end other programs"),
        ));
    }
    Ok(())
}

fn exists(key: &[u8]) -> Error {
    Error::new(ErrorKind::Exists, format!("\"{}\" is there already", key.escape_ascii()))
}
