//! What the store told of keys is good for a while (`--ttl`, §6.2): within that time, stat and absent names are
//! answered from memory, for stores that do not tell of other programs' changes.
//!
//! - Every answer counts from when it was asked for, and none is given out later than its time; the kernel, which keeps
//!   it too, is told what is left of that ([`Store::good_for`]).
//! - After a whole listing, a name that was not in it is absent. A folder whose names are asked for one after the other
//!   is listed ([`questions`]).
//! - What this mount changes is forgotten before the change and after it; an answer that was under way meanwhile is not
//!   remembered ([`marks`]).
//! - Opening a file asks the store always (§6.1): where a version was told, the value is opened as that one
//!   ([`Store::open_told`]), and its first read asks.

mod marks;
mod questions;
#[cfg(test)]
mod tests;
mod told;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::budget::Budget;
use crate::env;
use crate::error::Result;
use crate::key::Key;
use crate::store::api::{Change, Cursor, Entry, Stat, Store, Value};
use crate::store::attributes::FileType;
use marks::{Marks, Moment};
use questions::Questions;
use told::Told;

/// Answers about what never changes are kept for as long as there is room.
const FOREVER: Duration = Duration::from_secs(86_400);
/// So many listings that stopped in the middle are known.
const STOPPED_MOST: usize = 64;

/// A store, and what it told lately.
pub struct MetadataCache {
    store: Arc<dyn Store>,
    ttl: Duration,
    told: Mutex<Told>,
    marks: Marks,
    questions: Questions,
    stopped: Mutex<VecDeque<Stopped>>,
    /// Questions answered from memory.
    answered: AtomicU64,
    /// Questions that went to the store.
    asked: AtomicU64,
}

/// A listing that told all names so far and stopped.
struct Stopped {
    dir: Key,
    cursor: Cursor,
    began: Began,
}

/// How a listing began whose names were all told and remembered.
#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    generation: u64,
}

/// Gives out the entries of a listing.
type Each<'e> = dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'e;
/// Asks the store for a listing.
type List<'l> = dyn Fn(&mut Cursor, &mut Each<'_>) -> Result<()> + 'l;

impl MetadataCache {
    /// `store`, whose answers are good for `ttl`; those of one that never changes, for good.
    pub fn new(store: Arc<dyn Store>, ttl: Duration, budget: Arc<Budget>) -> MetadataCache {
        let ttl = if store.caps().immutable { FOREVER } else { ttl };
        let unlisted = store.caps().unlisted;
        MetadataCache {
            told: Mutex::new(Told::new(ttl, unlisted, budget, env::instant())),
            store,
            ttl,
            marks: Marks::default(),
            questions: Questions::default(),
            stopped: Mutex::default(),
            answered: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// Lists, and remembers what is told; whether that is all there is to know of a name, `full` says.
    fn list_and_remember(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut Each<'_>,
        full: bool,
        list: &List<'_>,
    ) -> Result<()> {
        let now = env::instant();
        let moment = self.marks.moment();
        let mut began = self.began(dir, from, now);
        let mut stopped = false;
        list(from, &mut |entry| {
            if !self.remember_listed(dir, &entry, full, &moment, now) {
                began = None;
            }
            let flow = each(entry);
            stopped = flow.is_break();
            flow
        })?;
        let Some(began) = began else { return Ok(()) };
        if from.done && !stopped {
            self.told.lock().whole(dir, began.at, began.generation);
        } else {
            let mut all = self.stopped.lock();
            if all.len() >= STOPPED_MOST {
                all.pop_front();
            }
            all.push_back(Stopped { dir: dir.clone(), cursor: from.clone(), began });
        }
        Ok(())
    }

    /// Lists the folder of `key` where enough of its names were asked for; whether it did. Nobody is told of an error:
    /// the question that comes next is.
    fn list_what_is_asked_for(&self, key: &Key, now: Instant) -> bool {
        let Some(dir) = key.parent() else { return false };
        let Some(most) = self.questions.count(&dir, now, self.ttl) else { return false };
        let (mut cursor, mut names) = (Cursor::default(), 0);
        let outcome = self.list(&dir, &mut cursor, &mut |_| {
            names += 1;
            if names > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.questions.listed(&dir, names, outcome.is_ok() && names <= most);
        if let Err(error) = outcome {
            tracing::debug!("a folder whose names are asked for could not be listed: {error}");
        }
        true
    }

    /// How the listing began that goes on here, where all of its names so far are remembered.
    fn began(&self, dir: &Key, from: &Cursor, now: Instant) -> Option<Began> {
        if *from == Cursor::default() {
            return Some(Began { at: now, generation: self.told.lock().begin(dir) });
        }
        let mut stopped = self.stopped.lock();
        stopped.retain(|stopped| now.saturating_duration_since(stopped.began.at) <= self.ttl);
        stopped
            .iter()
            .rev()
            .find(|stopped| stopped.dir == *dir && stopped.cursor == *from)
            .map(|stopped| stopped.began)
    }

    fn remember_listed(
        &self,
        dir: &Key,
        entry: &Entry<'_>,
        full: bool,
        moment: &Moment,
        at: Instant,
    ) -> bool {
        let key = dir.child(entry.segment);
        let mut told = self.told.lock();
        // Looked at under the lock: whoever changes the key counts first, and forgets under the lock afterwards.
        let stat = Some(&entry.stat).filter(|_| full && self.marks.is_unchanged(&key, moment));
        told.put_listed(dir, entry.segment, stat, at, env::instant())
    }

    /// What was told of a value of bytes whose version came along.
    fn told_version(&self, key: &Key) -> Option<Stat> {
        let (stat, _) = self.told.lock().get(key, env::instant())?;
        stat.filter(|stat| {
            stat.version.is_some() && stat.kind.has_value() && stat.file.file_type == FileType::Regular
        })
    }

    fn forget(&self, changes: &[Change<'_>]) {
        for change in changes {
            match change {
                Change::Put { key, .. }
                | Change::Make { key, .. }
                | Change::Set { key, .. }
                | Change::Branch { key } => self.forget_made(key),
                Change::Delete { key, .. } | Change::RemoveBranch { key } => self.forget_gone(key),
                Change::Rename { from, to, tree: false, .. } => {
                    self.forget_gone(from);
                    self.forget_made(to);
                }
                Change::Rename { tree: true, .. } => {
                    self.marks.change_all();
                    self.told.lock().forget_all();
                    self.stopped.lock().clear();
                }
            }
        }
    }

    /// Something is made: what lies above it is a directory then, if it was none.
    fn forget_made(&self, key: &Key) {
        self.forget_with(key, Told::forget_unless_directory);
    }

    /// Something goes: what lies above it may go with it, where nothing else is known to be there.
    fn forget_gone(&self, key: &Key) {
        self.forget_with(key, Told::forget_unless_others);
    }

    fn forget_with(&self, key: &Key, forget_above: fn(&mut Told, &Key, Instant)) {
        let now = env::instant();
        self.marks.change(key);
        self.told.lock().forget(key, now);
        let mut above = key.clone();
        while !above.is_root() {
            above.pop();
            self.marks.change(&above);
            forget_above(&mut self.told.lock(), &above, now);
        }
    }
}

impl Store for MetadataCache {
    passes_on!(
        caps,
        keeps_attributes,
        list_prefix,
        xattrs,
        open_told,
        sync,
        sync_key,
        check_file,
        check_key,
        value_max,
        raw_key,
        version_of,
        foreign_changes,
        era,
        resume,
        watch,
        snapshot,
        past,
        history,
        lost_at_end,
        known,
        usage,
        compact,
        close,
        seen_absent,
        written_so_far
    );

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        let now = env::instant();
        if let Some((stat, _)) = self.told.lock().get(key, now) {
            self.answered.fetch_add(1, Ordering::Relaxed);
            return Ok(stat);
        }
        if self.list_what_is_asked_for(key, now)
            && let Some((stat, _)) = self.told.lock().get(key, env::instant())
        {
            return Ok(stat);
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let moment = self.marks.moment();
        let stat = self.store.stat(key)?;
        let mut told = self.told.lock();
        if self.marks.is_unchanged(key, &moment) {
            told.put(key, stat.as_ref(), now, env::instant());
        }
        Ok(stat)
    }

    fn list(&self, dir: &Key, from: &mut Cursor, each: &mut Each<'_>) -> Result<()> {
        // Without attributes, what a listing tells is not all that stat would.
        let full = !self.store.caps().attributes;
        self.list_and_remember(dir, from, each, full, &|from, each| self.store.list(dir, from, each))
    }

    fn list_with_attributes(&self, dir: &Key, from: &mut Cursor, each: &mut Each<'_>) -> Result<()> {
        let list = |from: &mut Cursor, each: &mut Each<'_>| self.store.list_with_attributes(dir, from, each);
        self.list_and_remember(dir, from, each, true, &list)
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let Some(stat) = self.told_version(key) else { return self.store.open(key) };
        let value = self.store.open_told(key, &stat)?;
        let same = match (&value, &stat.version) {
            (Some(value), Some(version)) => version.is(&value.version()?),
            _ => false,
        };
        if !same {
            self.told.lock().forget(key, env::instant());
        }
        Ok(value)
    }

    fn good_for(&self, key: &Key) -> Option<Duration> {
        let (_, left) = self.told.lock().get(key, env::instant())?;
        Some(left)
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        self.forget(changes);
        let outcome = self.store.apply(changes);
        self.forget(changes);
        outcome
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shown = format!(
            "{} questions answered from memory, {} asked; {} names known",
            count(&self.answered),
            count(&self.asked),
            self.told.lock().names()
        );
        let mut facts = self.store.facts();
        facts.push(("metadata cache", shown));
        facts
    }
}
