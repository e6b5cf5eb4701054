//! All that the Vfs sees of a store: a tree of raw byte segments, five required methods, the rest optional.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attributes::{Attributes, Xattrs};
pub use super::caps::{Atomic, Caps, Pace, Rename};
pub(super) use super::change::keeps_no_attributes;
pub use super::change::{Change, When};
use super::repeating::Repeating;
pub use super::version::{Tag, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment};
use crate::payload::Payload;

/// A store: what keeps values under keys. Every method may be called from any thread at any time; each returns
/// within the deadline the store was opened with (§8.1).
pub trait Store: Send + Sync + 'static {
    /// What this store can do; constant for its life.
    fn caps(&self) -> &Caps;

    /// What is at `key`: `None` where there is neither a value nor anything below. The root always exists.
    fn stat(&self, key: &Key) -> Result<Option<Stat>>;

    /// Hands out what lies directly below `dir`, from `from` on, until `each` breaks or the end is reached.
    ///
    /// `from` moves past an entry when `each` continues, and stays before it when `each` breaks, so that a
    /// listing goes on where it stopped, in another call. An entry that exists throughout is given exactly once
    /// (§2.6). `each` may be called with entries that this store collected before; it must not call the store.
    /// An empty marker (§2.3) is not given. A directory that does not exist has no entries.
    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// As [`Store::list`], and each entry's [`Stat`] has its attributes (§2.7). Where they come with the names anyway,
    /// this is `list` itself.
    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list(dir, from, each)
    }

    /// Hands out what lies directly below `dir` and starts with `prefix`, until `each` breaks, by the rules of
    /// [`Store::list`]. A store with an order need not walk over what comes before.
    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list(dir, &mut Cursor::default(), &mut |entry| {
            if entry.segment.bytes.starts_with(prefix) { each(entry) } else { ControlFlow::Continue(()) }
        })
    }

    /// The extended attributes of the file at `key`, or of the directory; none where there are none.
    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        let _ = (key, directory);
        Ok(Xattrs::new())
    }

    /// Whether attributes of the file at `key`, or of the directory, are kept: of what is there, or would be made there.
    ///
    /// # Errors
    /// As for reading.
    fn keeps_attributes(&self, key: &Key, directory: bool) -> Result<bool> {
        let _ = (key, directory);
        Ok(self.caps().attributes)
    }

    /// Opens the value at `key`: one version of it, readable as long as the [`Value`] lives (§3.1).
    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>>;

    /// Opens the value that `stat` speaks of, which this store told a moment ago, without asking for it now: where the
    /// store has another version by then, the first read is `Stale`. A store that cannot do that looks now.
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        let _ = stat;
        self.open(key)
    }

    /// For how long what was last told of `key` is still good, where a layer answers from memory; `None` where it was
    /// told just now.
    fn good_for(&self, key: &Key) -> Option<Duration> {
        let _ = key;
        None
    }

    /// The value that will be put at `key` has grown to these bytes, which are still being written: a store that takes
    /// long values in parts may send some ahead. What it did is worth nothing once the payload's
    /// [`Lineage`](crate::payload::Lineage) is another, and it keeps nothing then. It may wait until there is room to
    /// send; a failure is not told, the put does it all again.
    fn written_so_far(&self, key: &Key, body: &Payload) {
        let _ = (key, body);
    }

    /// Somebody is about to put `key`, who has seen that it has no value: what a put over a value has to ask before, it
    /// need not ask.
    fn seen_absent(&self, key: &Key) {
        let _ = key;
    }

    /// Carries out all `changes` in order: in one transaction where [`Caps::atomic`] says so. Returns when they
    /// are accepted: every program that uses the store sees them, or will before it can look (§4.4).
    ///
    /// Nothing is applied when an error is returned by a store with `Atomic::Batch`. `When` is checked inside
    /// the transaction: `Exists` for [`When::Absent`], `Stale` for [`When::Current`].
    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()>;

    /// Returns when everything accepted before would survive a power cut, as far as the store promises (§4.3).
    ///
    /// # Errors
    /// Also when bytes accepted for any key could not be committed and had to be kept elsewhere (§8.4), until that
    /// key is changed again.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// As [`Store::sync`], for whoever asks about one key: the failures of others are not told.
    ///
    /// # Errors
    /// As for [`Store::sync`], of this key.
    fn sync_key(&self, _key: &Key) -> Result<()> {
        self.sync()
    }

    /// Whether a value could be kept under this key at all, told without asking the store (§1.9).
    ///
    /// # Errors
    /// `NameTooLong`, `NameEncoding`, `Invalid`.
    fn check_key(&self, key: &Key) -> Result<()> {
        let _ = key;
        Ok(())
    }

    /// Whether a file could be made at this key, where a directory can be called what no file can (§1.9, §4.7).
    ///
    /// # Errors
    /// As for [`Store::check_key`].
    fn check_file(&self, key: &Key) -> Result<()> {
        self.check_key(key)
    }

    /// The longest value that this key can have, in bytes, where some are shorter than [`Caps::value_max`] (§4.8).
    fn value_max(&self, key: &Key) -> u64 {
        let _ = key;
        self.caps().value_max
    }

    /// The key in the store's own bytes, for `user.kvfs.key` (§1.10); of a directory, the prefix of what is below.
    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let _ = directory;
        key.segments().map(|segment| segment.bytes).collect::<Vec<_>>().join(&b'/')
    }

    /// The version that the value of `key` has by its last put through this store, which put these bytes: a put can stand on
    /// it, as on that of an open [`Value`]. `None` where it cannot be told.
    fn version_of(&self, key: &Key, body: &Payload) -> Result<Option<Version>> {
        let _ = (key, body);
        Ok(None)
    }

    /// How often changes by other programs were noticed since the store was opened, in what was asked of it so far;
    /// `None` where it cannot tell. While it stays the same, what was read once still holds.
    fn foreign_changes(&self) -> Option<u64> {
        None
    }

    /// The state of the whole store, by which a later mount can tell that nobody changed anything in between; `None`
    /// where it cannot be told. Good also after [`Store::close`].
    ///
    /// # Errors
    /// As for reading.
    fn era(&self) -> Result<Option<Era>> {
        Ok(None)
    }

    /// Takes over from an earlier mount when somebody else last changed anything; false, and nothing is done, where
    /// the store is in another state than `era`. Called once, before anything else is asked.
    ///
    /// # Errors
    /// As for reading.
    fn resume(&self, era: &Era) -> Result<bool> {
        let _ = era;
        Ok(false)
    }

    /// Tells of changes that other programs make, from a thread of the store's own, until the [`Watch`] drops. A store whose
    /// server tells of every change tells of this mount's own, too.
    fn watch(&self, tell: Tell) -> Result<Watch> {
        drop(tell);
        Err(Error::new(ErrorKind::Unsupported, "this store does not tell of changes"))
    }

    /// This moment of the store, read-only and unchanging.
    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Store>> {
        Err(Error::new(ErrorKind::Unsupported, "this store keeps no snapshots"))
    }

    /// The store as it was at an earlier moment, read-only and unchanging.
    ///
    /// # Errors
    /// `Unsupported` where what is replaced is not kept; `Invalid` for a moment that is still to come.
    fn past(self: Arc<Self>, moment: SystemTime) -> Result<Arc<dyn Store>> {
        let _ = moment;
        Err(Error::new(
            ErrorKind::Unsupported,
            "this store keeps no old versions: --snapshot takes no time here",
        ))
    }

    /// What the store knows of a value besides (§5.7): names that begin with `user.kvfs.`, and what they say. Nothing where
    /// there is no value.
    ///
    /// # Errors
    /// As for reading.
    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let _ = key;
        Ok(Vec::new())
    }

    /// Every version that the store keeps: below each key of this one, a value for each. `None` where it keeps none.
    fn history(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// How full it is, from memory, at once (§5.8).
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Rewrites the store without its free space; answers its size before and after, in bytes.
    ///
    /// # Errors
    /// `Busy` when somebody else has it open; `Unsupported` where there is nothing to gain.
    fn compact(&self) -> Result<(u64, u64)> {
        Err(Error::new(ErrorKind::Unsupported, "this store has nothing to compact"))
    }

    /// What `kvfs status` shows of the store besides its [`Caps`]: name and value, in order.
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What is gone with the mount, in sentences.
    fn lost_at_end(&self) -> Vec<String> {
        Vec::new()
    }

    /// Commits what is pending and lets go of the store; `sync` was called before. Called once, at unmount.
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// One version of one value, kept readable.
pub trait Value: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands the bytes `offset .. offset + size`, cut at the end of the value, to `sink`: in one call where the
    /// store can, in order otherwise; not at all where the range is empty. `sink` may read other values.
    ///
    /// # Errors
    /// `Stale` when this version is gone and was not kept; never a mixture (§3.1).
    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()>;

    /// What tells this version from every other of the same key; may read the whole value.
    fn version(&self) -> Result<Version>;

    /// Whether the store makes a longer value that begins as this one does without being sent its bytes: an append then
    /// costs what is appended. It is put under [`When::Current`], with this version at its beginning.
    fn is_continued(&self) -> bool {
        false
    }

    /// Whether the store gives another key exactly this value without being sent its bytes: a copy then costs a question. It
    /// is put under [`When::Always`] or [`When::Absent`], with all of it as the beginning of what is put.
    fn is_copied(&self) -> bool {
        false
    }
}

/// A value in memory, shared by all that read it.
#[derive(Clone, Debug)]
pub struct SharedBytes(pub Arc<[u8]>);

impl Value for SharedBytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let end = self.len().min(offset.saturating_add(size));
        if offset < end {
            sink(&self.0[offset as usize..end as usize]);
        }
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        Ok(Version::of_content(&self.0))
    }
}

/// What can be known of a key without reading its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Whether there is a value, something below, or both.
    pub kind: Kind,
    /// Length of the value in bytes; 0 where there is none.
    pub size: u64,
    /// The last change of the value, or of the store where it keeps no times; never older than the last change
    /// that the store cannot rule out (§5.5).
    pub modified: SystemTime,
    /// What is kept of the value's file besides its bytes; in listings only where it was asked for.
    pub file: Attributes,
    /// What is kept of the directory, likewise.
    pub directory: Attributes,
    /// The version of the value, where the store tells it along with the rest: that of [`Value::version`].
    pub version: Option<Tag>,
}

impl Stat {
    /// What has no attributes of its own.
    pub fn plain(kind: Kind, size: u64, modified: SystemTime) -> Stat {
        let (file, directory) = (Attributes::default(), Attributes::default());
        Stat { kind, size, modified, file, directory, version: None }
    }
}

/// The state of a whole store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Era {
    /// What tells this store from every other, in its own words.
    pub identity: Vec<u8>,
    /// What tells this state from every other, in the store's own words.
    pub mark: Vec<u8>,
    /// When somebody else last changed something, as far as is known: at or after the change.
    pub modified: SystemTime,
}

/// Whether a key has a value, keys below it, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value and nothing below: a file.
    Leaf,
    /// Something below (or a marker) and no value: a directory.
    Branch,
    /// `a` and `a/b` are both keys: a directory with a `%value` (§1.7).
    Both,
}

impl Kind {
    /// Whether there is a value.
    pub fn has_value(self) -> bool {
        self != Kind::Branch
    }

    /// Whether it shows as a directory.
    pub fn is_directory(self) -> bool {
        self != Kind::Leaf
    }
}

/// One name in a listing.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The segment below the directory.
    pub segment: Segment<'a>,
    /// What it is.
    pub stat: Stat,
}

/// How far a listing has come. Stores keep what they need in it; the Vfs keeps it and looks at nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Where to go on: the store's own words (a flat key, a continuation token); empty at the start.
    pub position: Vec<u8>,
    /// Names given already that the order of the store will meet again, as the lengths of what they are in the
    /// position: each is a prefix of it.
    pub given: Vec<u32>,
    /// Which part of a listing of several parts this is.
    pub part: u32,
    /// Whether the end was reached.
    pub done: bool,
    /// What was given already, where the store tells names more than once and in no order.
    pub repeating: Option<Repeating>,
    /// How far the names have come that a layer keeps beside the store.
    pub beside: Vec<u8>,
    /// The last name given of those that live in the mount alone; they come first.
    pub scratch: Option<Box<[u8]>>,
}

/// How full a store is; `None` where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes there are in all.
    pub total: Option<u64>,
    /// Bytes still free.
    pub free: Option<u64>,
    /// Keys.
    pub keys: Option<u64>,
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The value of this key changed, came or went.
    Key(Key),
    /// The value of this key is another, or will be found gone: what it shows as was there before, and is told by
    /// [`Event::Key`] where it is not any more.
    Value(Key),
    /// What lies below this key changed, came or went, or it itself did; nobody knows what of it.
    Below(Key),
    /// Something changed; nobody knows what.
    Everything,
    /// From here on changes are not told, until [`Event::Told`]: what is known is good for a short time only.
    Untold,
    /// From here on changes are told again; nobody knows what changed before.
    Told,
}

/// Called by a store's watch, from a thread of the store's own; it must return at once.
pub type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// A running watch; it ends when this drops.
pub struct Watch(pub Box<dyn Send + Sync>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
