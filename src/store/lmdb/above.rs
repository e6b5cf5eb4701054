//! A scan of what is committed with what waits above it: in order, each key once.

use std::collections::VecDeque;
use std::ops::Bound;

use super::pending::{Bytes, SharedGeneration};
use crate::error::Result;
use crate::store::flat::{Found, Step};

/// Keys taken from the generations at a time: few at first, since most scans stop at once.
const CHUNK: std::ops::RangeInclusive<usize> = 8..=256;

/// What waits above a scan that is about to begin.
///
/// It holds the generations as they were when it was made, and takes keys from them as the scan goes on. They lose
/// nothing while it does, also when they are committed meanwhile: so a key that waited before the scan's transaction
/// began is found here, and one that was committed before is found there. A key that is accepted while the scan
/// goes on may be found or not, as in any listing (§2.6).
#[derive(Debug)]
pub struct Above {
    /// The newest first.
    generations: Vec<SharedGeneration>,
    database: Bytes,
    /// Where the next chunk begins; `None` at the end.
    next: Option<Bound<Vec<u8>>>,
    chunk: usize,
    /// Keys with their new values, or `None` for those that are gone.
    taken: VecDeque<(Bytes, Option<Found>)>,
}

impl Above {
    /// What waits in `generations` (the newest first) of `database`, from `from` on.
    pub fn new(generations: Vec<SharedGeneration>, database: &[u8], from: &[u8]) -> Above {
        let next = Some(Bound::Included(from.to_vec()));
        Above { generations, database: database.into(), next, chunk: *CHUNK.start(), taken: VecDeque::new() }
    }

    /// Whether nothing waits from here on: the scan needs no merging.
    pub fn is_empty(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Hands out what `below` scans with this above it: in order, each key once, the waiting change before the
    /// committed one, nothing for a key that is gone. `below` starts where this does, gives keys in the order of
    /// their bytes, and follows the steps it is told; so does this (see [`Step::Seek`]).
    ///
    /// # Errors
    /// Those of `below`.
    pub fn merge(
        self,
        below: impl FnOnce(&mut dyn FnMut(&[u8], Found) -> Step) -> Result<()>,
        each: &mut dyn FnMut(&[u8], Found) -> Step,
    ) -> Result<()> {
        let mut merge = Merge { above: self, skip: None, stopped: false, each };
        below(&mut |key, found| merge.committed(key, found))?;
        merge.rest();
        Ok(())
    }

    fn peek(&mut self) -> Option<&Bytes> {
        while self.taken.is_empty() {
            let from = self.next.take()?;
            self.take(&from);
        }
        self.taken.front().map(|(key, _)| key)
    }

    /// Takes a chunk from where the last one ended. Of a key in several generations the newest counts.
    fn take(&mut self, from: &Bound<Vec<u8>>) {
        let locked: Vec<_> = self.generations.iter().map(|generation| generation.read()).collect();
        let range = (from.as_ref().map(Vec::as_slice), Bound::Unbounded);
        let mut sources: Vec<_> =
            locked.iter().map(|generation| generation.range(&self.database, range).peekable()).collect();
        while self.taken.len() < self.chunk {
            let Some(least) = sources.iter_mut().filter_map(|source| Some(source.peek()?.0)).min().cloned()
            else {
                return;
            };
            let mut newest = None;
            for source in &mut sources {
                if let Some((_, entry)) = source.next_if(|(key, _)| **key == least) {
                    newest = newest.or(Some(entry.found()));
                }
            }
            self.taken.push_back((least, newest.flatten()));
        }
        self.next = self.taken.back().map(|(key, _)| Bound::Excluded(key.to_vec()));
        self.chunk = (self.chunk * 4).min(*CHUNK.end());
    }

    /// Passes over the keys before `to`.
    fn skip(&mut self, to: &[u8]) {
        let passed = self.taken.partition_point(|(key, _)| **key < *to);
        self.taken.drain(..passed);
        if self.taken.is_empty() && self.next.is_some() {
            // What was taken lies before `to`, so the next chunk begins there, or later.
            self.next = Some(Bound::Included(to.to_vec()));
        }
    }
}

struct Merge<'a> {
    above: Above,
    /// Where the caller asked to go on last: keys before it are passed over.
    skip: Option<Vec<u8>>,
    stopped: bool,
    each: &'a mut dyn FnMut(&[u8], Found) -> Step,
}

impl Merge<'_> {
    /// Meets a committed key: first what waits before it, then the key itself, unless something waits for it.
    fn committed(&mut self, key: &[u8], found: Found) -> Step {
        while self.above.peek().is_some_and(|waiting| **waiting < *key) {
            self.give_waiting();
            if self.stopped {
                return Step::Stop;
            }
        }
        if self.above.peek().is_some_and(|waiting| **waiting == *key) {
            self.give_waiting();
        } else {
            self.give(key, Some(found));
        }
        match &self.skip {
            _ if self.stopped => Step::Stop,
            Some(to) if key < to.as_slice() => Step::Seek(to.clone()),
            _ => Step::Next,
        }
    }

    /// What waits after the last committed key.
    fn rest(&mut self) {
        while !self.stopped && !self.above.is_empty() {
            self.give_waiting();
        }
    }

    fn give_waiting(&mut self) {
        if let Some((key, found)) = self.above.taken.pop_front() {
            self.give(&key, found);
        }
    }

    fn give(&mut self, key: &[u8], found: Option<Found>) {
        let Some(found) = found else { return };
        if self.skip.as_ref().is_some_and(|to| key < to.as_slice()) {
            return;
        }
        match (self.each)(key, found) {
            Step::Next => {}
            Step::Seek(to) => {
                self.above.skip(&to);
                self.skip = Some(to);
            }
            Step::Stop => self.stopped = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::super::pending::{Entry, Pending};
    use super::*;
    use crate::store::api::When;
    use proptest::prelude::*;

    fn entry(value: Option<&[u8]>) -> Entry {
        Entry { value: value.map(Bytes::from), base: When::Always, modified: SystemTime::UNIX_EPOCH }
    }

    /// A scan of a committed map that honours steps by the words of [`Step`], one by one.
    fn scan(
        committed: &BTreeMap<Vec<u8>, u64>,
        from: &[u8],
        each: &mut dyn FnMut(&[u8], Found) -> Step,
    ) -> Result<()> {
        let mut skip: Option<Vec<u8>> = None;
        for (key, size) in committed.range(from.to_vec()..) {
            if skip.as_ref().is_some_and(|to| key < to) {
                continue;
            }
            match each(key, Found { size: *size, modified: SystemTime::UNIX_EPOCH }) {
                Step::Next => {}
                Step::Seek(to) => skip = Some(to),
                Step::Stop => break,
            }
        }
        Ok(())
    }

    type Scan<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8], Found) -> Step) -> Result<()>;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"ab/"[..]), 1..5)
    }

    proptest! {
        /// Pending over committed is the same as one map to which everything was committed, for every scan.
        #[test]
        fn a_merged_scan_is_the_scan_of_the_whole(
            committed in prop::collection::btree_map(key(), 0u64..9, 0..12),
            sealed in prop::collection::vec((key(), prop::option::of(0usize..9)), 0..40),
            open in prop::collection::vec((key(), prop::option::of(0usize..9)), 0..40),
            from in key(),
            stop_after in 0usize..60,
            seek_at_slash: bool,
        ) {
            let mut pending = Pending::default();
            let mut whole = committed.clone();
            for (half, changes) in [&sealed, &open].into_iter().enumerate() {
                for (key, size) in changes {
                    let bytes = size.map(|size| vec![0; size]);
                    pending.insert(b"", key, entry(bytes.as_deref()));
                    match size {
                        Some(size) => whole.insert(key.clone(), *size as u64),
                        None => whole.remove(key),
                    };
                }
                if half == 0 {
                    pending.seal();
                }
            }
            let walk = |scan: Scan<'_>| {
                let mut seen = Vec::new();
                scan(&mut |key, found| {
                    seen.push((key.to_vec(), found.size));
                    match key.iter().position(|b| *b == b'/') {
                        _ if seen.len() > stop_after => Step::Stop,
                        Some(slash) if seek_at_slash => Step::Seek([&key[..slash], b"0"].concat()),
                        _ => Step::Next,
                    }
                }).unwrap();
                seen
            };
            let expected = walk(&mut |each| scan(&whole, &from, each));
            let merged = walk(&mut |each| {
                pending.above(b"", &from).merge(|below| scan(&committed, &from, below), each)
            });
            prop_assert_eq!(merged, expected);
        }
    }
}
