//! The map that attributes are kept in, which may not be there yet; its keys are [`super::keys`]'.
//!
//! What is longer than the map's keys is cut, and its end replaced by a hash; the value then begins with the whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use twox_hash::XxHash3_128;

use super::keys::{AGE, Whole};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::When;
use crate::store::flat::{Edit, Kv, Step};
use crate::store::home::Home;

/// The format of keys and values; a newer one is not read.
pub(super) const FORMAT: u8 = 1;
/// Bytes at the end of a cut key: NUL and the hash of the whole.
const TAIL: usize = 17;

/// A new value for a key of the sidecar, or `None` for one that goes.
pub(in crate::layer) type Edited = (Whole, Option<Vec<u8>>);

/// The sidecar of one store, which may not be there yet.
pub(in crate::layer) struct Sidecar {
    home: Box<dyn Home>,
    map: OnceLock<Arc<dyn Kv>>,
    making: Mutex<()>,
    /// Whether there may be names at all: most stores have none, and then nobody asks for them.
    names: AtomicBool,
    /// Whether there may be inode numbers, which listings show.
    numbered: AtomicBool,
    /// Whether the state of the store is noted: the first write after that removes the note.
    aged: Mutex<bool>,
    /// Writes so far, and how many of them would survive a power cut.
    written: AtomicU64,
    synced: AtomicU64,
}

impl Sidecar {
    /// The sidecar at `home`, opened where it is there already.
    ///
    /// # Errors
    /// The home's.
    pub fn new(home: Box<dyn Home>) -> Result<Sidecar> {
        let map = home.open(false).map_err(|error| unusable(&*home, error.kind(), &error.to_string()))?;
        let map = map.map_or_else(OnceLock::new, OnceLock::from);
        let (written, synced) = (AtomicU64::new(0), AtomicU64::new(0));
        let (names, numbered) = (AtomicBool::new(false), AtomicBool::new(false));
        let (making, aged) = (Mutex::new(()), Mutex::new(false));
        let sidecar = Sidecar { home, map, making, names, numbered, aged, written, synced };
        if sidecar.map().is_some() {
            let any = !sidecar.keys(b"n", None, 1)?.is_empty();
            sidecar.names.store(any, Ordering::Release);
        }
        Ok(sidecar)
    }

    /// Where it is.
    pub fn home(&self) -> &dyn Home {
        &*self.home
    }

    /// The map, where it is there.
    pub fn map(&self) -> Option<&Arc<dyn Kv>> {
        self.map.get()
    }

    /// Whether something may exist in it alone.
    pub fn has_names(&self) -> bool {
        self.names.load(Ordering::Acquire)
    }

    /// Whether there may be inode numbers.
    pub fn is_numbered(&self) -> bool {
        self.numbered.load(Ordering::Acquire)
    }

    /// There may be inode numbers from now on.
    pub fn set_numbered(&self) {
        self.numbered.store(true, Ordering::Release);
    }

    /// Notes the state of the store; what is written next removes the note.
    ///
    /// # Errors
    /// The map's.
    pub fn set_age(&self, age: Vec<u8>) -> Result<()> {
        let mut aged = self.aged.lock();
        if *aged && self.get(AGE)?.as_ref() == Some(&age) {
            return Ok(());
        }
        self.write_all(&[(AGE.to_vec(), Some(age))])?;
        *aged = true;
        Ok(())
    }

    /// Whether there is such a note from an earlier mount.
    pub fn found_age(&self, found: bool) {
        *self.aged.lock() = found;
    }

    /// Makes the map where there is none; `begin` writes what it begins with.
    ///
    /// # Errors
    /// The home's, and those of `begin`: it stays unmade for this mount then.
    pub fn make(&self, begin: impl FnOnce(&dyn Kv) -> Result<()>) -> Result<()> {
        let _one = self.making.lock();
        if self.map.get().is_some() {
            return Ok(());
        }
        let Some(map) = self.home.open(true)? else {
            return Err(Error::new(ErrorKind::Unsupported, "attributes have no place beside this store"));
        };
        begin(&*map)?;
        // Committed before anything stands on it: a sidecar that does not say whose it is would be refused later.
        map.sync()?;
        self.map.get_or_init(|| map);
        Ok(())
    }

    fn cut_at(&self) -> usize {
        self.home.key_max().saturating_sub(TAIL)
    }

    fn cut(&self, whole: &[u8]) -> Vec<u8> {
        if whole.len() <= self.home.key_max() {
            return whole.to_vec();
        }
        let mut cut = whole[..self.cut_at()].to_vec();
        cut.push(0);
        cut.extend_from_slice(&XxHash3_128::oneshot(whole).to_be_bytes());
        cut
    }

    /// What is kept under a key; `None` also where there is no sidecar.
    ///
    /// # Errors
    /// The map's.
    pub fn get(&self, whole: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(stored) = self.stored(whole)? else { return Ok(None) };
        let found = match open_envelope(&stored) {
            Some((None, body)) => Some(body),
            Some((Some(named), body)) => (named == whole).then_some(body),
            None => {
                self.warn_of_unreadable(whole);
                None
            }
        };
        Ok(found.map(<[u8]>::to_vec))
    }

    /// Tells that what is kept under a key makes no sense, and counts as nothing.
    pub fn warn_of_unreadable(&self, whole: &[u8]) {
        tracing::warn!(
            "{}: what is kept under \"{}\" cannot be read: it counts as absent",
            self.home.shown(),
            whole.escape_ascii()
        );
    }

    /// What is stored under a key, as it is.
    fn stored(&self, whole: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(map) = self.map.get() else { return Ok(None) };
        read(&**map, &self.cut(whole))
    }

    /// The keys that start with `prefix` and come after `after`, in order: `limit` at least where there are so many.
    ///
    /// # Errors
    /// The map's.
    pub fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Whole>> {
        let Some(map) = self.map.get() else { return Ok(Vec::new()) };
        let kept = |whole: &[u8]| whole.len().min(self.cut_at());
        let common = &prefix[..kept(prefix)];
        let mut from = after.unwrap_or(prefix);
        from = &from[..kept(from)];
        let (mut from, mut wholes) = (from.to_vec(), Vec::new());
        loop {
            let mut stored: Vec<Vec<u8>> = Vec::new();
            let mut more = false;
            map.scan(&from, &mut |key, _| {
                if !key.starts_with(common) {
                    return Step::Stop;
                }
                // Keys that are the same up to the cut are in no order among each other: all or none of them.
                let together = stored.last().is_some_and(|last| last[..kept(last)] == key[..kept(key)]);
                if stored.len() >= limit && !together {
                    more = true;
                    return Step::Stop;
                }
                stored.push(key.to_vec());
                Step::Next
            })?;
            from = stored.last().map(|last| [last, &[0][..]].concat()).unwrap_or_default();
            for key in stored {
                let whole = self.whole(&**map, key)?;
                if whole.starts_with(prefix) && after.is_none_or(|after| &*whole > after) {
                    wholes.push(whole);
                }
            }
            if !more || wholes.len() >= limit {
                wholes.sort_unstable();
                return Ok(wholes);
            }
        }
    }

    /// What a stored key was before it was cut.
    fn whole(&self, map: &dyn Kv, key: Vec<u8>) -> Result<Whole> {
        if key.len() < self.home.key_max() || key[self.cut_at()] != 0 {
            return Ok(key);
        }
        let stored = read(map, &key)?.unwrap_or_default();
        Ok(match open_envelope(&stored) {
            Some((Some(whole), _)) => whole.to_vec(),
            _ => key,
        })
    }

    /// Writes `edits`, in one transaction. The sidecar is there.
    ///
    /// # Errors
    /// The map's; nothing is written then.
    pub fn write(&self, edits: &[Edited]) -> Result<()> {
        let mut aged = self.aged.lock();
        if !*aged {
            drop(aged);
            return self.write_all(edits);
        }
        self.write_all(&[edits, &[(AGE.to_vec(), None)]].concat())?;
        *aged = false;
        Ok(())
    }

    fn write_all(&self, edits: &[Edited]) -> Result<()> {
        let Some(map) = self.map.get() else { return Ok(()) };
        if edits.iter().any(|(whole, value)| whole.first() == Some(&b'n') && value.is_some()) {
            self.names.store(true, Ordering::Release);
        }
        write(&**map, edits.iter().map(|(whole, value)| (self.cut(whole), self.envelope(whole, value))))?;
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn envelope(&self, whole: &[u8], value: &Option<Vec<u8>>) -> Option<Vec<u8>> {
        let named = (whole.len() > self.home.key_max()).then_some(whole);
        value.as_ref().map(|body| close_envelope(named, body))
    }

    /// Replaces what is kept under a key, or removes it, if it is `old` still; false where it is not.
    ///
    /// # Errors
    /// The map's.
    pub fn replace(&self, whole: &[u8], old: &[u8], new: Option<Vec<u8>>) -> Result<bool> {
        let Some(map) = self.map.get() else { return Ok(false) };
        let Some(old) = self.envelope(whole, &Some(old.to_vec())) else { return Ok(false) };
        let when = When::Current(crate::store::api::Version::of_content(&old));
        let (key, body) = (self.cut(whole), self.envelope(whole, &new));
        let body = body.map(|body| Payload::of(&body)).transpose()?;
        let edit = match &body {
            Some(body) => Edit::Put { key, body: Some(body), when },
            None => Edit::Delete { key, when },
        };
        match map.write(&mut [edit]) {
            Ok(()) => {
                self.written.fetch_add(1, Ordering::AcqRel);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Stale | ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns when all that was written would survive a power cut.
    ///
    /// # Errors
    /// The map's.
    pub fn sync(&self) -> Result<()> {
        let Some(map) = self.map.get() else { return Ok(()) };
        let written = self.written.load(Ordering::Acquire);
        if self.synced.load(Ordering::Acquire) < written {
            map.sync()?;
            self.synced.fetch_max(written, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// Why there is no mount with these attributes, and what to do.
pub(super) fn unusable(home: &dyn Home, kind: ErrorKind, why: &str) -> Error {
    let sentence = format!(
        "the attributes at {} cannot be used: {why}; mount with --attrs none to go without them, or remove them with \
         kvfs attrs drop",
        home.shown()
    );
    // What a store says of damage is not an error of its medium here.
    Error::new(if kind == ErrorKind::Io { ErrorKind::Invalid } else { kind }, sentence)
}

/// All bytes of a value.
pub(super) fn read(map: &dyn Kv, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(value) = map.open(key)? else { return Ok(None) };
    let mut bytes = Vec::with_capacity(value.len() as usize);
    value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece))?;
    Ok(Some(bytes))
}

/// Puts and deletes, in one transaction.
pub(super) fn write(map: &dyn Kv, edits: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> Result<()> {
    let mut bodies = Vec::new();
    for (key, value) in edits {
        bodies.push((key, value.map(|value| Payload::of(&value)).transpose()?));
    }
    let mut edits: Vec<Edit<'_>> = Vec::with_capacity(bodies.len());
    for (key, body) in &bodies {
        edits.push(match body {
            Some(body) => Edit::Put { key: key.clone(), body: Some(body), when: When::Always },
            None => Edit::Delete { key: key.clone(), when: When::Always },
        });
    }
    if edits.is_empty() { Ok(()) } else { map.write(&mut edits) }
}

/// A value: the format, whether the whole key is with it (length u32 and bytes), what is kept.
pub(super) fn close_envelope(whole: Option<&[u8]>, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(body.len() + whole.map_or(0, <[u8]>::len) + 6);
    value.extend_from_slice(&[FORMAT, u8::from(whole.is_some())]);
    if let Some(whole) = whole {
        value.extend_from_slice(&(whole.len() as u32).to_le_bytes());
        value.extend_from_slice(whole);
    }
    value.extend_from_slice(body);
    value
}

/// The whole key, where it is there, and what is kept.
fn open_envelope(value: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    match value {
        [FORMAT, 0, body @ ..] => Some((None, body)),
        [FORMAT, 1, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk()?;
            let (whole, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            Some((Some(whole), body))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::home::InMemory;
    use crate::store::memory::Memory;

    fn sidecar(key_max: usize) -> Sidecar {
        let sidecar = Sidecar::new(Box::new(InMemory::new(Memory::new, key_max))).unwrap();
        sidecar.make(|_| Ok(())).unwrap();
        sidecar
    }

    #[test]
    fn keys_of_any_length_are_found_by_themselves_and_in_order() {
        let sidecar = sidecar(64);
        let mut wholes: Vec<Whole> = Vec::new();
        for length in [1, 40, 46, 47, 48, 63, 64, 65, 80, 200] {
            for last in [b'a', b'b', 0, 0xFF] {
                let mut whole = vec![b'x'; length];
                whole.push(last);
                wholes.push(whole);
            }
        }
        wholes.sort();
        let edits: Vec<Edited> = wholes.iter().map(|whole| (whole.clone(), Some(whole.clone()))).collect();
        sidecar.write(&edits).unwrap();
        for whole in &wholes {
            assert_eq!(sidecar.get(whole).unwrap().as_ref(), Some(whole));
        }
        assert_eq!(sidecar.keys(b"x", None, 1000).unwrap(), wholes);
        for limit in [1, 3, 7] {
            let mut found: Vec<Whole> = Vec::new();
            loop {
                let next = sidecar.keys(b"x", found.last().map(|last| &**last), limit).unwrap();
                if next.is_empty() {
                    break;
                }
                found.extend(next);
            }
            assert_eq!(found, wholes, "in pages of {limit}");
        }
        let prefix = vec![b'x'; 70];
        let below: Vec<_> = wholes.iter().filter(|whole| whole.starts_with(&prefix)).cloned().collect();
        assert_eq!(sidecar.keys(&prefix, None, 1).unwrap(), below);
    }

    #[test]
    fn something_is_replaced_only_as_long_as_it_is_what_it_was() {
        let sidecar = sidecar(64);
        for whole in [&b"a"[..], &[b'a'; 100]] {
            sidecar.write(&[(whole.to_vec(), Some(b"one".to_vec()))]).unwrap();
            assert!(!sidecar.replace(whole, b"other", None).unwrap());
            assert!(sidecar.replace(whole, b"one", Some(b"two".to_vec())).unwrap());
            assert_eq!(sidecar.get(whole).unwrap().unwrap(), b"two");
            assert!(sidecar.replace(whole, b"two", None).unwrap());
            assert_eq!(sidecar.get(whole).unwrap(), None);
            assert!(!sidecar.replace(whole, b"two", None).unwrap());
        }
    }
}
