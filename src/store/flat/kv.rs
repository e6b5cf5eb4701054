//! [`Kv`]: what an ordered map of byte strings offers to [`super::Flat`].

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::{Usage, Value, Watch, When};

/// An ordered map of byte strings. The methods without a body are required, the rest are what [`super::Flat`] passes on.
pub trait Kv: Send + Sync + 'static {
    /// What is known of the value at `key`; `None` where there is none.
    fn get(&self, key: &[u8]) -> Result<Option<Found>>;

    /// Opens the value at `key`: one version of it (§3.1).
    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>>;

    /// Hands out keys in the order of their bytes, from `from` (inclusive) on, all of one moment. `each` is quick,
    /// and must not call the store.
    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()>;

    /// Whether there is a key that begins with `prefix`.
    fn any_below(&self, prefix: &[u8]) -> Result<bool> {
        let mut any = false;
        self.scan(prefix, &mut |key, _| {
            any = key.starts_with(prefix);
            Step::Stop
        })?;
        Ok(any)
    }

    /// Carries out all `edits`, in order, in one transaction; nothing is applied when an error is returned.
    ///
    /// # Errors
    /// Those of each [`Edit`]; `NameTooLong`, `NoSpace` and the like are the store's own.
    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()>;

    /// Whether the map could hold a value under this key, told without looking; its length has been checked.
    ///
    /// # Errors
    /// `NameEncoding`, as for a key of no bytes where there can be none.
    fn check_key(&self, key: &[u8]) -> Result<()> {
        let _ = key;
        Ok(())
    }

    /// The last change of the whole map, by anyone, that cannot be ruled out: what directories are as new as.
    fn changed(&self) -> SystemTime {
        env::now()
    }

    /// See [`super::Store::sync`].
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// See [`super::Store::sync_key`].
    fn sync_key(&self, _key: &[u8]) -> Result<()> {
        self.sync()
    }

    /// See [`super::Store::foreign_changes`].
    fn foreign_changes(&self) -> Option<u64> {
        None
    }

    /// See [`super::Store::watch`]; `None` tells that something changed, and nobody knows what.
    fn watch(&self, tell: TellKey) -> Result<Watch> {
        drop(tell);
        Err(Error::new(ErrorKind::Unsupported, "this store does not tell of changes"))
    }

    /// This moment of the map, unchanging.
    fn snapshot(&self) -> Result<Self>
    where
        Self: Sized,
    {
        Err(Error::new(ErrorKind::Unsupported, "this store keeps no snapshots"))
    }

    /// See [`super::Store::usage`].
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// See [`super::Store::compact`].
    fn compact(&self) -> Result<(u64, u64)> {
        Err(Error::new(ErrorKind::Unsupported, "this store has nothing to compact"))
    }

    /// See [`super::Store::facts`].
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// See [`super::Store::close`].
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Called with the flat key that changed, or with `None` when nobody knows which did.
pub type TellKey = Arc<dyn Fn(Option<&[u8]>) + Send + Sync>;

/// What is known of a value without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Length in bytes.
    pub size: u64,
    /// See [`crate::store::api::Stat::modified`].
    pub modified: SystemTime,
}

/// What a scan does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next key.
    Next,
    /// The first key that equals these bytes or comes after them; they lie ahead of the key just given.
    Seek(Vec<u8>),
    /// Nothing more.
    Stop,
}

/// Hands out the entries of an ordered map in memory from `from` on, as [`Kv::scan`] does.
pub fn walk<K: Borrow<[u8]> + Ord, V>(
    map: &BTreeMap<K, V>,
    from: &[u8],
    each: &mut dyn FnMut(&[u8], &V) -> Step,
) {
    let from_on = |from: &[u8]| map.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
    let mut rest = from_on(from);
    while let Some((key, value)) = rest.next() {
        match each(key.borrow(), value) {
            Step::Next => {}
            Step::Seek(to) => rest = from_on(&to),
            Step::Stop => break,
        }
    }
}

/// One change of a flat map, or a condition of one.
#[derive(Debug)]
pub enum Edit<'a> {
    /// The value at `key` becomes `body`.
    Put {
        /// The flat key.
        key: Vec<u8>,
        /// Its new bytes; `None` is the empty value (a marker).
        body: Option<&'a Payload>,
        /// Under which condition.
        when: When,
    },
    /// The key goes; absent is no error with [`When::Always`] and [`When::Absent`].
    Delete {
        /// The flat key.
        key: Vec<u8>,
        /// Under which condition.
        when: When,
    },
    /// The value at `from` moves to `to`, and every key that starts with `below.0` to `below.1` and the rest of it.
    /// `NotFound` when nothing moves; `Exists` with a value at `to`, unless `replace`.
    Move {
        /// The old flat key, which need not exist where something moves by `below`.
        from: Vec<u8>,
        /// The new flat key, another one.
        to: Vec<u8>,
        /// The old and the new prefix; neither is a prefix of the other. Keys in the way are replaced.
        below: Option<(Vec<u8>, Vec<u8>)>,
        /// Whether a value at `to` may go; only a value replaces it.
        replace: bool,
    },
    /// Changes nothing; fails where there is a key in `none`.
    Expect {
        /// The keys that must not exist.
        none: Keys,
        /// The kind of failure when one does.
        otherwise: ErrorKind,
    },
}

/// A set of flat keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This key.
    At(Vec<u8>),
    /// Every key that starts with these bytes, they themselves included.
    Prefix(Vec<u8>),
    /// The same, but for the prefix itself where its value is empty: what a directory holds besides its marker.
    Inside(Vec<u8>),
}

impl Keys {
    /// The key or prefix that they are about, for a sentence.
    pub fn bytes(&self) -> &[u8] {
        let (Keys::At(bytes) | Keys::Prefix(bytes) | Keys::Inside(bytes)) = self;
        bytes
    }
}
