//! Values of a store that takes long to answer are fetched ahead of who reads them in order, several requests at once,
//! and in small pieces for who reads here and there ([`streams`]).
//!
//! - One open value is one version (§3.1), whoever reads it through however many handles: they share what is there.
//! - All buffers are of the daemon's budget. It is never waited for: without room nothing is fetched ahead, and a reader
//!   gets its bytes straight from the store. The more values are read in order at once, the smaller their windows.
//! - A value that was told ([`Store::open_told`]) is opened by fetching its first bytes: that is the question whether it
//!   is still the version that was told, and mostly the answer to the first read.

mod pieces;
mod streams;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::budget::{Budget, Purpose};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Stat, Store, Value, Version};
use pieces::{CHUNK, Found, Pieces};
use streams::{PIECE_LEAST, Streams, WINDOW_FIRST, WINDOW_MOST};

/// The first bytes of a value, which are fetched when it is opened as it was told.
const HEAD: u64 = 64 << 10;
/// Buffers that nobody read for so long go first where there is no room for others.
const IDLE: Duration = Duration::from_secs(1);

/// A store whose values are fetched ahead.
pub struct ReadAhead {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

/// What all values of a mount have in common.
struct Shared {
    budget: Arc<Budget>,
    timeout: Duration,
    /// The values that are open.
    open: Mutex<Vec<Weak<Ahead>>>,
    /// How many of them are read in order.
    ahead: AtomicU64,
    /// Bytes that readers asked for.
    read: AtomicU64,
    /// Bytes that the store was asked for.
    fetched: AtomicU64,
    /// Requests to the store.
    requests: AtomicU64,
}

/// An open value that is fetched ahead.
struct Ahead {
    value: Box<dyn Value>,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Told when bytes arrive, or do not.
    arrived: Condvar,
}

struct State {
    streams: Streams,
    pieces: Pieces,
    /// Whether it counts as read in order.
    counted: bool,
    used: Instant,
}

/// What a reader does next.
enum Next {
    /// It takes these bytes.
    Take(Arc<Vec<u8>>, Range<usize>),
    /// It fetches this piece, which has begun.
    Fetch(Range<u64>),
    /// It reads up to here straight from the store.
    Pass(u64),
}

impl ReadAhead {
    /// `store`, whose values are fetched ahead into buffers of `budget`; who waits for bytes does so for `timeout`.
    pub fn new(store: Arc<dyn Store>, budget: Arc<Budget>, timeout: Duration) -> ReadAhead {
        let (open, ahead) = Default::default();
        let (read, fetched, requests) = Default::default();
        ReadAhead {
            store,
            shared: Arc::new(Shared { budget, timeout, open, ahead, read, fetched, requests }),
        }
    }
}

impl Shared {
    fn open(self: &Arc<Shared>, value: Box<dyn Value>) -> Arc<Ahead> {
        let (streams, pieces) = Default::default();
        let state = Mutex::new(State { streams, pieces, counted: false, used: env::instant() });
        let ahead = Arc::new(Ahead { value, shared: Arc::clone(self), state, arrived: Condvar::new() });
        let mut open = self.open.lock();
        if open.len() == open.capacity() {
            open.retain(|value| value.strong_count() > 0);
        }
        open.push(Arc::downgrade(&ahead));
        ahead
    }

    /// The largest window that a value may have beside the others.
    fn window_most(&self) -> u64 {
        // What lies behind the front, and what was fetched too far, takes room as well.
        let share = self.budget.most(Purpose::ReadAhead) / 2 / self.ahead.load(Ordering::Relaxed).max(1);
        share.clamp(WINDOW_FIRST, WINDOW_MOST)
    }

    /// Takes the buffers of values that nobody reads. Called with the state of one of them locked.
    fn reclaim(&self) {
        let open: Vec<_> = self.open.lock().iter().filter_map(Weak::upgrade).collect();
        for ahead in open {
            if let Some(mut state) = ahead.state.try_lock()
                && state.used.elapsed() > IDLE
            {
                state.pieces.retain(|_, _| false);
                state.streams.stop();
                self.count(&mut state);
            }
        }
    }

    /// Counts the value among those that are read in order, or not any more.
    fn count(&self, state: &mut State) {
        match (state.counted, state.streams.run_ahead()) {
            (false, true) => drop(self.ahead.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.ahead.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        state.counted = state.streams.run_ahead();
    }
}

impl Ahead {
    /// Hands `range` to `sink`, which is within the value and not empty.
    fn give(self: &Arc<Ahead>, range: Range<u64>, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.shared.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.run_ahead(&range);
        let deadline = Deadline::after(self.shared.timeout);
        let mut at = range.start;
        while at < range.end {
            match self.next(at, range.end, deadline)? {
                Next::Take(chunk, bytes) => {
                    sink(&chunk[bytes.clone()]);
                    at += bytes.len() as u64;
                }
                Next::Fetch(piece) => {
                    // Taken from here: who reads elsewhere may have let go of the piece by now.
                    let mut from = piece.start;
                    let end = range.end.min(piece.end);
                    for chunk in self.fetch(piece)? {
                        let (start, to) = (from.max(at), (from + chunk.len() as u64).min(end));
                        if start < to {
                            sink(&chunk[(start - from) as usize..(to - from) as usize]);
                        }
                        from += chunk.len() as u64;
                    }
                    at = end;
                }
                Next::Pass(end) => {
                    self.count_request(end - at);
                    self.value.read(at, end - at, sink)?;
                    at = end;
                }
            }
        }
        Ok(())
    }

    /// Notes a read, and begins to fetch what the next ones will ask for.
    fn run_ahead(self: &Arc<Ahead>, range: &Range<u64>) {
        let begun = {
            let mut state = self.state.lock();
            state.used = env::instant();
            let begun = self.begin_ahead(&mut state, range);
            let State { streams, pieces, .. } = &mut *state;
            pieces.retain(|start, end| streams.need(start, end));
            self.shared.count(&mut state);
            begun
        };
        for piece in begun {
            let ahead = Arc::clone(self);
            let start = piece.start;
            // Where it fails, whoever needs the bytes asks for them once more, and is told.
            let spawned = env::spawn_blocking(move || drop(ahead.fetch(piece)));
            if spawned.is_err() {
                self.finish(start);
            }
        }
    }

    fn begin_ahead(&self, state: &mut State, range: &Range<u64>) -> Vec<Range<u64>> {
        let most = self.shared.window_most();
        let stream = state.streams.note(range.start, range.end);
        stream.window = stream.window.min(most);
        let (window, size) = (stream.window, stream.piece());
        let target = stream.front.saturating_add(window).min(self.value.len());
        let mut from = state.pieces.covered(stream.front);
        let mut begun = Vec::new();
        while from < target {
            let piece =
                state.pieces.free_around(from, from..((from / size + 1) * size).min(self.value.len()));
            let bytes = piece.end - piece.start;
            let room = || self.shared.budget.try_take(Purpose::ReadAhead, bytes);
            let Some(permit) = room().or_else(|| {
                self.shared.reclaim();
                room()
            }) else {
                stream.window = window / 2;
                break;
            };
            state.pieces.begin(piece.clone(), permit);
            from = state.pieces.covered(piece.end);
            begun.push(piece);
        }
        if from >= target && !begun.is_empty() {
            stream.window = (2 * window).min(most);
        }
        begun
    }

    /// Waits for what is at `at`, or says how to get it.
    fn next(&self, at: u64, end: u64, deadline: Deadline) -> Result<Next> {
        let mut state = self.state.lock();
        loop {
            match state.pieces.find(at, end) {
                Found::Bytes(chunk, bytes) => return Ok(Next::Take(chunk, bytes)),
                Found::Coming => {
                    if self.arrived.wait_until(&mut state, deadline.at()).timed_out() {
                        let sentence =
                            "bytes that are being fetched do not arrive before the deadline (--timeout)";
                        return Err(Error::new(ErrorKind::TimedOut, sentence));
                    }
                }
                Found::Gap(gap_end) => {
                    let aligned = at / PIECE_LEAST * PIECE_LEAST
                        ..gap_end.next_multiple_of(PIECE_LEAST).min(self.value.len());
                    let piece = state.pieces.free_around(at, aligned);
                    let permit = self.shared.budget.try_take(Purpose::ReadAhead, piece.end - piece.start);
                    let Some(permit) = permit else { return Ok(Next::Pass(gap_end)) };
                    state.pieces.begin(piece.clone(), permit);
                    return Ok(Next::Fetch(piece));
                }
            }
        }
    }

    /// Fetches a piece that has begun: its chunks.
    fn fetch(&self, piece: Range<u64>) -> Result<Vec<Arc<Vec<u8>>>> {
        let (start, size) = (piece.start, (piece.end - piece.start) as usize);
        self.count_request(size as u64);
        let mut left = size;
        let mut chunks = Vec::new();
        let mut chunk = Vec::with_capacity(CHUNK.min(left));
        let outcome = self.value.read(start, size as u64, &mut |mut bytes| {
            while !bytes.is_empty() && left > 0 {
                let (now, later) = bytes.split_at(bytes.len().min(CHUNK.min(left) - chunk.len()));
                chunk.extend_from_slice(now);
                bytes = later;
                if chunk.len() == CHUNK.min(left) {
                    left -= chunk.len();
                    let full = Arc::new(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK.min(left))));
                    chunks.push(Arc::clone(&full));
                    self.state.lock().pieces.arrive(start, full);
                    self.arrived.notify_all();
                }
            }
        });
        self.finish(start);
        if left == 0 {
            return Ok(chunks);
        }
        outcome?;
        Err(Error::new(ErrorKind::Io, "the value ended before its length"))
    }

    fn finish(&self, start: u64) {
        self.state.lock().pieces.finish(start);
        self.arrived.notify_all();
    }

    fn count_request(&self, bytes: u64) {
        self.shared.fetched.fetch_add(bytes, Ordering::Relaxed);
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.streams.stop();
        self.shared.count(&mut state);
    }
}

/// What the Vfs holds of an open value; fetches that are under way hold the rest.
struct Handle(Arc<Ahead>);

impl Value for Handle {
    fn len(&self) -> u64 {
        self.0.value.len()
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let range = offset..self.len().min(offset.saturating_add(size));
        if range.is_empty() { Ok(()) } else { self.0.give(range, sink) }
    }

    fn version(&self) -> Result<Version> {
        self.0.value.version()
    }

    fn is_continued(&self) -> bool {
        self.0.value.is_continued()
    }

    fn is_copied(&self) -> bool {
        self.0.value.is_copied()
    }
}

impl Store for ReadAhead {
    passes_on!(
        caps,
        keeps_attributes,
        stat,
        list,
        list_with_attributes,
        list_prefix,
        xattrs,
        good_for,
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

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let value = self.store.open(key)?;
        Ok(value.map(|value| Box::new(Handle(self.shared.open(value))) as Box<dyn Value>))
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        // Of no bytes, there is no first read that could ask.
        if stat.size == 0 {
            return self.open(key);
        }
        let Some(value) = self.store.open_told(key, stat)? else { return Ok(None) };
        let ahead = self.shared.open(value);
        let head = 0..ahead.value.len().min(HEAD);
        let fetched = match self.shared.budget.try_take(Purpose::ReadAhead, head.end) {
            Some(permit) => {
                ahead.state.lock().pieces.begin(head.clone(), permit);
                ahead.fetch(head).map(drop)
            }
            None => ahead.value.read(0, 1, &mut |_| {}),
        };
        match fetched {
            Ok(()) => Ok(Some(Box::new(Handle(ahead)))),
            Err(error) if matches!(error.kind(), ErrorKind::Stale | ErrorKind::NotFound) => self.open(key),
            Err(error) => Err(error),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { read, fetched, requests, .. } = &*self.shared;
        let shown =
            format!("{} bytes read, {} fetched in {} requests", count(read), count(fetched), count(requests));
        let mut facts = self.store.facts();
        facts.push(("reading ahead", shown));
        facts
    }
}
