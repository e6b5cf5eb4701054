//! Which store a sidecar belongs to, how its paths were made, and in which state the store was when all that is
//! recorded was known to hold.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Attrs;
use super::keys::{AGE, ORIGIN, key_of};
use super::record::Record;
use super::sidecar::{self, FORMAT, Sidecar, close_envelope, read, write};
use super::trust::new_epoch;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Era, Store};

/// Records that are compared, where it is doubtful whether a sidecar is this store's: at most, and at least for an
/// answer.
const SAMPLE_MAX: usize = 64;
const SAMPLE_MIN: usize = 8;
/// Records that are looked at for a sample.
const LOOKED_AT_MAX: usize = 1024;

/// What a sidecar was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// What splits the store's keys.
    pub separator: Option<Vec<u8>>,
    /// Which store it is, in its own words; nothing where it has none.
    pub store: Vec<u8>,
    /// Whether any record has an inode number, which listings show.
    pub numbered: bool,
}

/// The state of the store in which all holds that was recorded in `epoch`. Removed with the first record that is
/// written after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Age {
    era: Era,
    epoch: u64,
}

fn unusable(sidecar: &Sidecar, why: &str) -> Error {
    sidecar::unusable(sidecar.home(), ErrorKind::Invalid, why)
}

fn encode(what: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(what).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))
}

impl Attrs {
    /// What a new sidecar of this store begins with.
    fn new_origin(&self) -> Result<Origin> {
        let era = self.store.era()?;
        let store = era.map(|era| era.identity).unwrap_or_default();
        Ok(Origin { separator: self.separator.clone(), store, numbered: false })
    }

    /// Makes the sidecar, if there is none.
    ///
    /// # Errors
    /// The home's.
    pub(super) fn make_sidecar(&self) -> Result<()> {
        if !self.is_bare() {
            return Ok(());
        }
        let origin = encode(&self.new_origin()?)?;
        let origin = close_envelope(None, &origin);
        self.sidecar.make(|map| write(map, [(ORIGIN.to_vec(), Some(origin))].into_iter()))
    }

    /// Notes that listings have numbers to show.
    ///
    /// # Errors
    /// The sidecar's.
    pub(super) fn note_numbers(&self) -> Result<()> {
        if self.sidecar.is_numbered() {
            return Ok(());
        }
        let origin = self.sidecar.get(ORIGIN)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(origin) = origin {
            let origin = Origin { numbered: true, ..origin };
            self.sidecar.write(&[(ORIGIN.to_vec(), Some(encode(&origin)?))])?;
        }
        self.sidecar.set_numbered();
        Ok(())
    }

    /// Notes that the store has become another file, as a compaction makes it.
    ///
    /// # Errors
    /// As for reading; the sidecar's.
    pub(super) fn note_identity(&self) -> Result<()> {
        let origin =
            self.sidecar.get(ORIGIN)?.and_then(|bytes| serde_json::from_slice::<Origin>(&bytes).ok());
        let (Some(origin), Some(era)) = (origin, self.store.era()?) else { return Ok(()) };
        adopt(&self.sidecar, &self.store, &Origin { store: era.identity, ..origin })
    }

    /// Notes the state of the store, in which all holds that was recorded, unless something is being changed.
    ///
    /// # Errors
    /// As for reading; the sidecar's.
    pub(super) fn note_age(&self) -> Result<()> {
        if self.is_bare() || !self.caps.write {
            return Ok(());
        }
        let Some(_nothing_under_way) = self.order.try_write() else { return Ok(()) };
        let Some(era) = self.store.era()? else { return Ok(()) };
        let Some(epoch) = self.epoch() else { return Ok(()) };
        self.sidecar.set_age(encode(&Age { era, epoch })?)
    }
}

/// Looks whether what is at the sidecar's home is this store's, and answers the epoch that its records are to be
/// trusted from.
///
/// # Errors
/// One sentence: it is damaged, newer, another store's, or made with another separator.
pub(super) fn enter(sidecar: &Sidecar, store: &Arc<dyn Store>, separator: Option<&[u8]>) -> Result<u64> {
    let Some(map) = sidecar.map() else { return Ok(new_epoch()) };
    let stored = read(&**map, ORIGIN).map_err(|e| unusable(sidecar, &e.to_string()))?;
    let origin = match stored.as_deref() {
        // It was made, and its daemon died before it wrote anything.
        None if sidecar.keys(b"", None, 1)?.is_empty() => None,
        None => return Err(unusable(sidecar, "they do not say which store they are of")),
        Some([format, ..]) if *format > FORMAT => {
            return Err(unusable(sidecar, "a newer kvfs wrote them"));
        }
        Some([FORMAT, 0, bytes @ ..]) => serde_json::from_slice::<Origin>(bytes).ok(),
        Some(_) => None,
    };
    let era = store.era()?;
    let identity = era.map(|era| era.identity).unwrap_or_default();
    let Some(origin) = origin else {
        if stored.is_some() {
            return Err(unusable(sidecar, "they are damaged"));
        }
        let origin = Origin { separator: separator.map(<[u8]>::to_vec), store: identity, numbered: false };
        adopt(sidecar, store, &origin)?;
        return Ok(new_epoch());
    };
    if origin.separator.as_deref() != separator {
        let shown = |separator: Option<&[u8]>| {
            separator
                .map_or("no separator".into(), |bytes| format!("the separator \"{}\"", bytes.escape_ascii()))
        };
        let made = shown(origin.separator.as_deref());
        return Err(unusable(
            sidecar,
            &format!("they were made with {made}, and not with {}", shown(separator)),
        ));
    }
    if origin.numbered {
        sidecar.set_numbered();
    }
    if origin.store != identity {
        if is_of_another_store(sidecar, store)? {
            return Err(unusable(sidecar, "they are another store's"));
        }
        adopt(sidecar, store, &Origin { store: identity, ..origin })?;
        return Ok(new_epoch());
    }
    let age = sidecar.get(AGE)?.and_then(|bytes| serde_json::from_slice::<Age>(&bytes).ok());
    sidecar.found_age(age.is_some());
    match age {
        Some(age) if store.resume(&age.era)? => {
            Ok(age.epoch.wrapping_sub(store.foreign_changes().unwrap_or_default()))
        }
        _ => Ok(new_epoch()),
    }
}

/// Takes a sidecar for this store's own.
fn adopt(sidecar: &Sidecar, store: &Arc<dyn Store>, origin: &Origin) -> Result<()> {
    if !store.caps().write {
        return Ok(());
    }
    sidecar.write(&[(ORIGIN.to_vec(), Some(encode(origin)?)), (AGE.to_vec(), None)])
}

/// Whether none of the records looked at is of the value that the store has there. A copy of a store has a sidecar
/// that is as good as the original's.
fn is_of_another_store(sidecar: &Sidecar, store: &Arc<dyn Store>) -> Result<bool> {
    let mut compared = 0;
    let mut wholes = sidecar.keys(b"a", None, LOOKED_AT_MAX)?;
    wholes.truncate(LOOKED_AT_MAX);
    for whole in wholes {
        let record = sidecar.get(&whole)?.and_then(|bytes| Record::decode_attributes(&bytes));
        let Some(fingerprint) = record.and_then(|record| record.fingerprint) else { continue };
        let Some(key) = key_of(&whole[1..]) else { continue };
        if let Some(value) = store.open(&key)?
            && fingerprint.is_of(&*value)?
        {
            return Ok(false);
        }
        compared += 1;
        if compared >= SAMPLE_MAX {
            break;
        }
    }
    Ok(compared >= SAMPLE_MIN)
}
