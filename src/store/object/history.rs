//! Old versions as stores: the bucket as it was at one moment, and all versions of all objects.
//!
//! In the latter every key is a directory, in which each of its versions is a value, and what lies below the key is beside
//! them: `a/2026-01-03T10:00:00Z-ID` is a version of `a`, `a/b/2026-…` one of `a/b`. What was removed is there, too.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, Listing, Object};
use super::past::{self, Past};
use super::reach::Reach;
use super::tree::Tree;
use super::value::Opened;
use super::versioned::{OldVersion, Versioned};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment};
use crate::store::api::{Caps, Change, Cursor, Entry, Kind, Stat, Store, Tag, Value};

/// Versions that are asked for in one page.
const PAGE: u32 = 1000;

/// The bucket as it was at `moment`.
///
/// # Errors
/// `Unsupported` where it keeps no versions; `Invalid` for a moment that is still to come.
pub(super) fn past(reach: &Arc<Reach>, caps: &Caps, moment: SystemTime) -> Result<Arc<dyn Store>> {
    let unsupported = |sentence: &'static str| Error::new(ErrorKind::Unsupported, sentence);
    let versions = Arc::clone(&reach.bucket).versioned().ok_or_else(|| {
        unsupported("this service does not tell when a version was replaced: --snapshot takes no time here")
    })?;
    if moment > env::now() {
        return Err(Error::new(ErrorKind::Invalid, "--snapshot: that time is still to come"));
    }
    match reach.wait(versions.keeps_versions()) {
        Ok(true) => {}
        Ok(false) => {
            return Err(unsupported(
                "this bucket keeps no old versions: switch its versioning on, and --snapshot can show it as it is \
                 from then on",
            ));
        }
        Err(error) if error.kind() == ErrorKind::Denied => {
            tracing::warn!("whether the bucket keeps old versions is not told ({error})");
        }
        Err(error) => return Err(error),
    }
    let tree = Tree {
        reach: Arc::new(over(reach, versions, Some(moment))),
        caps: Caps { write: false, immutable: true, branches: false, past: false, ..caps.clone() },
    };
    tree.check()?;
    Ok(Arc::new(tree))
}

/// The last moment before this second by our clock: services tell times in whole seconds, and what is put in the rest of this
/// one is not to come in later.
pub(super) fn just_now(now: SystemTime) -> SystemTime {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()).saturating_sub(Duration::from_nanos(1))
}

/// All versions; `None` where the service keeps none.
pub(super) fn of(reach: &Arc<Reach>, caps: &Caps) -> Option<Arc<dyn Store>> {
    let versions = Arc::clone(&reach.bucket).versioned()?;
    let caps = Caps {
        write: false,
        branches: false,
        past: false,
        attributes: false,
        ordered: false,
        ..caps.clone()
    };
    let keys = Tree { reach: Arc::new(over(reach, Arc::clone(&versions), None)), caps };
    Some(Arc::new(History { keys, versions }))
}

fn over(reach: &Arc<Reach>, versions: Arc<dyn Versioned>, moment: Option<SystemTime>) -> Reach {
    let bucket = Past { now: Arc::clone(&reach.bucket), versions, moment, headers: reach.style.is_some() };
    let mut past = reach.over(Arc::new(bucket) as Arc<dyn Bucket>, moment.unwrap_or(reach.opened));
    if moment.is_none() {
        past.style = None;
    }
    past
}

/// All versions of all objects.
struct History {
    /// Every key that there is or was, once.
    keys: Tree,
    versions: Arc<dyn Versioned>,
}

/// How far the versions of a directory's own key are listed.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    token: Option<String>,
    /// How many of that page were given.
    given: usize,
}

/// The name of a version: when it was put, and its id.
fn name(old: &OldVersion) -> String {
    format!("{}-{}", humantime::format_rfc3339_seconds(old.since), old.id)
}

/// Whether it may be one: what is not costs no question.
fn is_name(bytes: &[u8]) -> bool {
    let time = bytes.get(.."2026-01-03T10:00:00Z".len()).and_then(|time| str::from_utf8(time).ok());
    time.is_some_and(|time| humantime::parse_rfc3339(time).is_ok()) && bytes.get(20) == Some(&b'-')
}

impl History {
    fn reach(&self) -> &Arc<Reach> {
        &self.keys.reach
    }

    fn leaf(&self, old: &OldVersion) -> Stat {
        let mut stat = Stat::plain(Kind::Leaf, old.object.size, old.object.modified);
        stat.version = Tag::of(past::version_of(old).as_bytes());
        stat
    }

    /// The version that `key` is the name of, and the object's key.
    fn version(&self, key: &Key) -> Result<Option<(String, OldVersion)>> {
        let Some(last) = key.segments().last().filter(|last| is_name(last.bytes)) else { return Ok(None) };
        let Some(raw) = key.parent().and_then(|of| self.reach().names.existing(&of)) else {
            return Ok(None);
        };
        let wanted = |old: &OldVersion| name(old).as_bytes() == last.bytes;
        let found = self.reach().wait(past::find(&*self.versions, &raw, wanted))?;
        Ok(found.map(|old| (raw, old)))
    }

    /// Whether there is or was an object of this key, or one below it.
    fn is_directory(&self, key: &Key) -> Result<bool> {
        if key.is_root() {
            return Ok(true);
        }
        let names = &self.reach().names;
        let (own, below) = (names.existing(key), names.below(key));
        self.reach().wait(async {
            let own = async {
                match &own {
                    Some(raw) => past::find(&*self.versions, raw, |_| true).await,
                    None => Ok(None),
                }
            };
            let below = async {
                match &below {
                    Some(prefix) => self.keys.first_below(prefix, 1).await,
                    None => Ok(Vec::new()),
                }
            };
            let (own, below) = futures::try_join!(own, below)?;
            Ok(own.is_some() || !below.is_empty())
        })
    }

    /// Gives the versions of the directory's own key; whether all were taken.
    fn list_versions(
        &self,
        raw: &str,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        let failed = |e: serde_json::Error| Error::new(ErrorKind::Io, e.to_string());
        let mut place: Place = match from.position.as_slice() {
            [] => Place::default(),
            position => serde_json::from_slice(position).map_err(failed)?,
        };
        loop {
            let token = place.token.as_deref();
            let listing = Listing { prefix: raw, delimiter: None, token, after: None, most: PAGE };
            let page = self.reach().wait(self.versions.list_versions(&listing))?;
            // The key itself comes before all that begin with it.
            let ended = page.next.is_none() || page.versions.iter().any(|old| old.object.key != raw);
            let own = page.versions.iter().filter(|old| old.object.key == raw);
            for old in own.skip(place.given) {
                let name = name(old);
                let entry = Entry { segment: Segment::plain(name.as_bytes()), stat: self.leaf(old) };
                if each(entry).is_break() {
                    from.position = serde_json::to_vec(&place).map_err(failed)?;
                    return Ok(false);
                }
                place.given += 1;
            }
            if ended {
                return Ok(true);
            }
            place = Place { token: page.next, given: 0 };
        }
    }
}

/// The parts of a listing.
const OF_THE_KEY: u32 = 0;
const BELOW: u32 = 1;

impl Store for History {
    fn caps(&self) -> &Caps {
        &self.keys.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        if let Some((_, old)) = self.version(key)? {
            return Ok(Some(self.leaf(&old)));
        }
        let directory = Stat::plain(Kind::Branch, 0, self.reach().opened);
        Ok(self.is_directory(key)?.then_some(directory))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.part == OF_THE_KEY {
            let own = self.reach().names.existing(dir).filter(|_| !dir.is_root());
            if let Some(raw) = own
                && !self.list_versions(&raw, from, each)?
            {
                return Ok(());
            }
            *from = Cursor { part: BELOW, ..Cursor::default() };
        }
        let mut below = Cursor { part: 0, ..from.clone() };
        let opened = self.reach().opened;
        self.keys.list(dir, &mut below, &mut |entry| {
            each(Entry { stat: Stat::plain(Kind::Branch, 0, opened), ..entry })
        })?;
        *from = Cursor { part: BELOW, ..below };
        Ok(())
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let Some((_, old)) = self.version(key)? else { return Ok(None) };
        let object = Object { version: past::version_of(&old), ..old.object };
        Ok(Some(Box::new(Opened::of(self.reach(), &object)?)))
    }

    fn apply(&self, _: &mut [Change<'_>]) -> Result<()> {
        Err(Error::new(ErrorKind::ReadOnly, "old versions cannot be changed"))
    }

    fn check_key(&self, _: &Key) -> Result<()> {
        Err(Error::new(ErrorKind::ReadOnly, "old versions cannot be changed"))
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let of = if directory { Some(key.clone()) } else { key.parent() };
        of.and_then(|of| self.reach().names.existing(&of)).unwrap_or_default().into_bytes()
    }
}

#[cfg(test)]
mod tests;
