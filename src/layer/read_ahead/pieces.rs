//! The stretches of a value that are there, or are being fetched.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::budget::Permit;

/// Bytes arrive in chunks of this size, in bytes, so that a reader does not wait for a whole piece.
pub(super) const CHUNK: usize = 128 << 10;

/// A stretch that one request fetches.
#[derive(Debug)]
struct Piece {
    end: u64,
    /// What arrived: each of [`CHUNK`] bytes but the last.
    chunks: Vec<Arc<Vec<u8>>>,
    arrived: u64,
    fetching: bool,
    _permit: Permit,
}

/// All stretches of one value; they do not overlap. By where they start.
#[derive(Debug, Default)]
pub(super) struct Pieces(BTreeMap<u64, Piece>);

/// What there is at an offset.
#[derive(Debug)]
pub(super) enum Found {
    /// These bytes of a chunk.
    Bytes(Arc<Vec<u8>>, Range<usize>),
    /// They are under way.
    Coming,
    /// Nothing up to here.
    Gap(u64),
}

impl Pieces {
    /// What there is at `at`, of the bytes before `end`.
    pub fn find(&self, at: u64, end: u64) -> Found {
        let Some((start, piece)) = self.around(at) else {
            let next = self.0.range(at..).next().map_or(end, |(start, _)| *start);
            return Found::Gap(next.min(end));
        };
        if at >= start + piece.arrived {
            return Found::Coming;
        }
        let within = (at - start) as usize;
        let chunk = &piece.chunks[within / CHUNK];
        let from = within % CHUNK;
        let to = chunk.len().min(from + (end - at) as usize);
        Found::Bytes(Arc::clone(chunk), from..to)
    }

    /// The end of what is there or comes without a gap from `at` on.
    pub fn covered(&self, mut at: u64) -> u64 {
        while let Some((_, piece)) = self.around(at) {
            at = piece.end;
        }
        at
    }

    /// The largest range around a gap at `at`, within `most`, in which nothing is there nor comes.
    pub fn free_around(&self, at: u64, most: Range<u64>) -> Range<u64> {
        let before = self.0.range(..at).next_back().map_or(0, |(_, piece)| piece.end);
        let after = self.0.range(at..).next().map_or(u64::MAX, |(start, _)| *start);
        most.start.max(before)..most.end.min(after)
    }

    /// Begins to fetch a range in which nothing is there nor comes.
    pub fn begin(&mut self, range: Range<u64>, permit: Permit) {
        let piece = Piece { end: range.end, chunks: Vec::new(), arrived: 0, fetching: true, _permit: permit };
        self.0.insert(range.start, piece);
    }

    /// The next chunk of the piece that starts at `start`.
    pub fn arrive(&mut self, start: u64, chunk: Arc<Vec<u8>>) {
        if let Some(piece) = self.0.get_mut(&start) {
            piece.arrived += chunk.len() as u64;
            piece.chunks.push(chunk);
        }
    }

    /// Nothing more comes of the piece that starts at `start`; it goes where not all came.
    pub fn finish(&mut self, start: u64) {
        if let Some(piece) = self.0.get_mut(&start) {
            piece.fetching = false;
            if start + piece.arrived < piece.end {
                self.0.remove(&start);
            }
        }
    }

    /// Keeps what is being fetched, and what `keep` says of the rest.
    pub fn retain(&mut self, keep: impl Fn(u64, u64) -> bool) {
        self.0.retain(|start, piece| piece.fetching || keep(*start, piece.end));
    }

    fn around(&self, at: u64) -> Option<(u64, &Piece)> {
        let (start, piece) = self.0.range(..=at).next_back()?;
        (at < piece.end).then_some((*start, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Purpose};

    #[test]
    fn bytes_are_found_as_they_arrive_and_gaps_between_them() {
        let budget = Budget::new(0);
        let permit = |bytes| budget.try_take(Purpose::ReadAhead, bytes).unwrap();
        let mut pieces = Pieces::default();
        let size = CHUNK as u64;
        pieces.begin(100..100 + 2 * size, permit(2 * size));
        assert!(matches!(pieces.find(0, 50), Found::Gap(50)));
        assert!(matches!(pieces.find(0, 500), Found::Gap(100)));
        assert!(matches!(pieces.find(100, 500), Found::Coming));
        assert_eq!(pieces.covered(100), 100 + 2 * size);
        assert_eq!(pieces.free_around(50, 0..1 << 20), 0..100);
        pieces.arrive(100, Arc::new(vec![7; CHUNK]));
        let Found::Bytes(chunk, range) = pieces.find(150, 200) else { panic!("nothing is there") };
        assert_eq!((chunk.len(), range), (CHUNK, 50..100));
        assert!(matches!(pieces.find(100 + size, 1 << 20), Found::Coming));
        pieces.retain(|_, _| false);
        assert!(matches!(pieces.find(100, 101), Found::Bytes(..)), "what is being fetched stays");
        pieces.finish(100);
        assert!(matches!(pieces.find(100, 101), Found::Gap(101)), "what is not whole goes");
        assert_eq!(budget.used(Purpose::ReadAhead), 0);
    }
}
