//! Snapshots that a backup can trust: a value that nobody changed since an earlier snapshot has the time that it had
//! there, although the store keeps no times and somebody changed other values (§5.5).
//!
//! What is read from a snapshot is *stamped*: the fingerprint of its bytes and the time that its file showed are kept
//! in the state folder, for each place that is mounted. A later snapshot of another state of the store compares the
//! value with its stamp when the file is looked at; where they are the same, the file shows the time of the stamp. So
//! backup software that remembers what it read reads again what was changed, and nothing else.
//!
//! A value is stamped by a thread of its own when its last byte was given out: its bytes are in memory then, and nobody
//! waits. What was only listed is not stamped, and costs nothing.

mod stamp;
mod stamper;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use super::attrs::keys::{Whole, key_of, record_key};
use super::attrs::sidecar::Sidecar;
use crate::env::Deadline;
use crate::error::Result;
use crate::key::Key;
use crate::store::api::{Cursor, Entry, Era, Stat, Store, Value};
use crate::store::attributes::FileType;
use crate::store::home::Home;
use stamp::Stamp;
use stamper::{Read, Stamper};

/// What was found out in this mount: so many answers are kept, then all are found out anew.
const ANSWERS_MOST: usize = 1 << 16;

/// A snapshot whose files show the times of earlier ones where their bytes are the same.
pub struct Stamps {
    store: Arc<dyn Store>,
    kept: Arc<Kept>,
    stamper: Stamper,
}

/// The stamps of one place.
struct Kept {
    map: Sidecar,
    /// The state of the store that is shown.
    era: u64,
    /// The time that a stamp of another state gives a value now; `None`: its bytes are others.
    answers: Mutex<HashMap<Whole, Option<SystemTime>>>,
}

impl Stamps {
    /// `store`, which is a snapshot of `era`, with the stamps at `home`.
    ///
    /// # Errors
    /// The home's; the system's, for the thread.
    pub fn new(store: Arc<dyn Store>, era: &Era, home: Box<dyn Home>) -> Result<Stamps> {
        let map = Sidecar::new(home)?;
        let era = XxHash3_64::oneshot(&era.mark);
        let kept = Arc::new(Kept { map, era, answers: Mutex::new(HashMap::new()) });
        let stamper = Stamper::start(Arc::clone(&store), Arc::clone(&kept))?;
        Ok(Stamps { store, kept, stamper })
    }

    /// Stamps what was read, forgets what is gone, as far as there is time, and puts the stamps away.
    ///
    /// # Errors
    /// The map's: a later backup then reads more than it need.
    pub fn finish(&self, deadline: Deadline) -> Result<()> {
        self.stamper.finish(deadline);
        let put = self.kept.map.map().map_or(Ok(()), |map| {
            self.kept.sweep(&*self.store, deadline)?;
            map.sync()
        });
        put.and(self.kept.map.home().close())
    }

    /// Gives the value's file the time of its stamp; false where its bytes must be looked at first.
    fn add_time(&self, key: &Key, stat: &mut Stat) -> Result<bool> {
        if !needs_time(stat) {
            return Ok(true);
        }
        let whole = record_key(key, false);
        let Some(stamp) = self.kept.stamp(&whole)? else { return Ok(true) };
        let time = if stamp.era == self.kept.era {
            Some(stamp.modified)
        } else {
            match self.kept.answers.lock().get(&whole) {
                Some(answer) => *answer,
                None => return Ok(false),
            }
        };
        set_time(stat, time);
        Ok(true)
    }

    /// Compares a value with its stamp, and remembers what was found.
    fn compare(&self, key: &Key) -> Result<Option<SystemTime>> {
        let whole = record_key(key, false);
        let Some(stamp) = self.kept.stamp(&whole)? else { return Ok(None) };
        let same = match self.store.open(key)? {
            Some(value) => stamp.fingerprint.is_of(&*value)?,
            None => false,
        };
        let answer = same.then_some(stamp.modified);
        let mut answers = self.kept.answers.lock();
        if answers.len() >= ANSWERS_MOST {
            answers.clear();
        }
        answers.insert(whole.clone(), answer);
        drop(answers);
        if same {
            self.kept.write(&[(whole.clone(), Some(Stamp { era: self.kept.era, ..stamp }.encode()))]);
        }
        Ok(answer)
    }
}

/// Whether nobody recorded a time of this value's file.
fn needs_time(stat: &Stat) -> bool {
    stat.kind.has_value() && stat.file.mtime.is_none() && stat.file.file_type == FileType::Regular
}

fn set_time(stat: &mut Stat, time: Option<SystemTime>) {
    if let Some(time) = time {
        stat.file.mtime = Some(time);
        stat.file.ctime = Some(stat.file.ctime.map_or(time, |ctime| ctime.max(time)));
    }
}

impl Kept {
    fn stamp(&self, whole: &[u8]) -> Result<Option<Stamp>> {
        Ok(self.map.get(whole)?.and_then(|bytes| Stamp::decode(&bytes)))
    }

    /// Keeps stamps. Where that fails, a later backup reads more than it need.
    fn write(&self, stamps: &[(Whole, Option<Vec<u8>>)]) {
        let written = self.map.make(|_| Ok(())).and_then(|()| self.map.write(stamps));
        if let Err(error) = written {
            tracing::debug!("{}: stamps could not be kept: {error}", self.map.home().shown());
        }
    }

    /// Forgets the stamps of what is gone, where there are more than the store can have values.
    fn sweep(&self, store: &dyn Store, deadline: Deadline) -> Result<()> {
        let stamps = self.map.map().and_then(|map| map.usage().keys).unwrap_or(0);
        if store.usage().keys.is_none_or(|keys| stamps <= keys) {
            return Ok(());
        }
        let mut after: Option<Whole> = None;
        while !deadline.passed() {
            let page = self.map.keys(b"a", after.as_deref(), SWEPT_AT_ONCE)?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            let mut gone = Vec::new();
            for whole in page {
                let there = key_of(&whole[1..]).map_or(Ok(None), |key| store.stat(&key))?;
                if there.is_none_or(|stat| !stat.kind.has_value()) {
                    gone.push((whole, None));
                }
            }
            if !gone.is_empty() {
                self.map.write(&gone)?;
            }
            after = Some(last);
        }
        Ok(())
    }
}

/// So many stamps are looked at together.
const SWEPT_AT_ONCE: usize = 1024;

impl Store for Stamps {
    passes_on!(
        caps,
        keeps_attributes,
        list,
        list_prefix,
        xattrs,
        apply,
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
        let Some(mut stat) = self.store.stat(key)? else { return Ok(None) };
        if !self.add_time(key, &mut stat)? {
            set_time(&mut stat, self.compare(key)?);
        }
        Ok(Some(stat))
    }

    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        // The store is not called while it hands out entries: the listing is left where a value must be looked at.
        let mut looked_at: Option<(Key, Option<SystemTime>)> = None;
        loop {
            let (mut in_doubt, mut failure) = (None, None);
            self.store.list_with_attributes(dir, from, &mut |mut entry| {
                let key = dir.child(entry.segment);
                match looked_at.take_if(|(looked_at, _)| *looked_at == key) {
                    Some((_, time)) => set_time(&mut entry.stat, time),
                    None => match self.add_time(&key, &mut entry.stat) {
                        Ok(true) => {}
                        Ok(false) => {
                            in_doubt = Some(key);
                            return ControlFlow::Break(());
                        }
                        Err(error) => {
                            failure = Some(error);
                            return ControlFlow::Break(());
                        }
                    },
                }
                each(entry)
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
            let Some(key) = in_doubt else { return Ok(()) };
            let time = self.compare(&key)?;
            looked_at = Some((key, time));
        }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let value = self.store.open(key)?;
        Ok(value.map(|value| Box::new(Read::new(value, key.clone(), self.stamper.notes())) as Box<dyn Value>))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = self.store.facts();
        facts.push(("stamps of values read", self.kept.map.home().shown()));
        facts
    }
}
