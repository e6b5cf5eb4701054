//! How a value is read: in order, by whom and how far, or here and there.

use smallvec::SmallVec;

/// So many places of a value are followed at once: programs that read one file each in order, and the kernel, which asks
/// for several pieces at the same time.
const STREAMS: usize = 8;
/// The first window, in bytes: what the kernel reads ahead by itself.
pub(super) const WINDOW_FIRST: u64 = 128 << 10;
/// The largest window, in bytes.
pub(super) const WINDOW_MOST: u64 = 16 << 20;
/// What is fetched around a read that follows none, in bytes, at multiples of it.
pub(super) const PIECE_LEAST: u64 = 32 << 10;
/// The largest piece that one request fetches ahead, in bytes.
const PIECE_MOST: u64 = 4 << 20;
/// Behind the front this much is kept at most, in bytes: requests come a little out of order.
const BEHIND_MOST: u64 = 2 << 20;
/// Requests of this size are the kernel's for a program that reads on, in bytes; it sends several at once.
const LARGE: u64 = 128 << 10;
/// So many large requests overtake each other.
const AT_ONCE: u64 = 8;

/// A place from which a value is read on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// How far it was read.
    pub front: u64,
    /// How far ahead of that is fetched; 0 until a second read follows the first.
    pub window: u64,
    /// When it was last read, in reads.
    used: u64,
}

impl Stream {
    /// What one request fetches: several are under way at once.
    pub fn piece(&self) -> u64 {
        (self.window / 4).next_power_of_two().clamp(WINDOW_FIRST, PIECE_MOST)
    }

    /// Whether bytes may still be read by this stream.
    pub fn needs(&self, start: u64, end: u64) -> bool {
        let behind = self.window.clamp(PIECE_LEAST, BEHIND_MOST);
        start < self.front + (2 * self.window).max(PIECE_LEAST) && end + behind > self.front
    }

    /// How far a read is from where this stream is, if it may be part of it.
    fn distance(&self, offset: u64, end: u64) -> Option<u64> {
        let large = if end - offset >= LARGE { AT_ONCE * (end - offset) } else { 0 };
        let slack = self.window.max(large);
        let distance = if offset > self.front { offset - self.front } else { self.front.saturating_sub(end) };
        (distance <= slack).then_some(distance)
    }
}

/// The places from which one value is read on.
#[derive(Debug)]
pub(super) struct Streams {
    all: SmallVec<[Stream; STREAMS]>,
    reads: u64,
}

impl Default for Streams {
    fn default() -> Streams {
        // Somebody reads from the beginning, mostly.
        Streams { all: [Stream::default()].into_iter().collect(), reads: 0 }
    }
}

impl Streams {
    /// Notes a read that is not empty; answers the stream that it is part of.
    pub fn note(&mut self, offset: u64, end: u64) -> &mut Stream {
        self.reads += 1;
        let near = self.all.iter().enumerate();
        let near = near.filter_map(|(at, stream)| Some((stream.distance(offset, end)?, at))).min();
        let at = match near {
            Some((_, at)) => {
                let stream = &mut self.all[at];
                // The first read from the beginning starts one too, where it is the kernel's for one that reads on.
                if stream.window == 0 && (stream.used > 0 || end - offset >= LARGE) {
                    stream.window = WINDOW_FIRST;
                }
                at
            }
            None if self.all.len() < STREAMS => {
                self.all.push(Stream::default());
                self.all.len() - 1
            }
            None => {
                let oldest = self.all.iter().enumerate().min_by_key(|(_, stream)| stream.used);
                let at = oldest.map_or(0, |(at, _)| at);
                self.all[at] = Stream::default();
                at
            }
        };
        let stream = &mut self.all[at];
        stream.front = stream.front.max(end);
        stream.used = self.reads;
        stream
    }

    /// Whether anybody may still read these bytes.
    pub fn need(&self, start: u64, end: u64) -> bool {
        self.all.iter().any(|stream| stream.needs(start, end))
    }

    /// Whether anything is fetched ahead.
    pub fn run_ahead(&self) -> bool {
        self.all.iter().any(|stream| stream.window > 0)
    }

    /// Nothing is fetched ahead any more, until somebody reads on.
    pub fn stop(&mut self) {
        self.all.iter_mut().for_each(|stream| stream.window = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn reads_that_follow_each_other_are_one_stream_and_others_are_not() {
        let mut streams = Streams::default();
        assert_eq!(streams.note(0, 4096).window, 0);
        assert_eq!(streams.note(4096, 8192).window, WINDOW_FIRST);
        assert_eq!(streams.note(500 * MIB, 500 * MIB + 4096).window, 0);
        assert_eq!(streams.note(300 * MIB, 300 * MIB + 4096).window, 0);
        // The first goes on where it was.
        let first = streams.note(8192, 12288);
        assert_eq!((first.front, first.window), (12288, WINDOW_FIRST));
        assert!(streams.need(500 * MIB - 4096, 500 * MIB + 28672));
        assert!(!streams.need(400 * MIB, 401 * MIB));
    }

    #[test]
    fn large_requests_out_of_order_are_one_stream() {
        let mut streams = Streams::default();
        for at in [2, 0, 1, 4, 3, 7, 5, 6] {
            assert!(streams.note(at * MIB, (at + 1) * MIB).window > 0, "{at}");
        }
        assert_eq!(streams.all.len(), 1);
        assert_eq!(streams.all[0].front, 8 * MIB);
    }

    #[test]
    fn small_reads_here_and_there_run_nothing_ahead() {
        let mut streams = Streams::default();
        for n in 0..1000u64 {
            let at = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (1 << 30) / 4096 * 4096;
            streams.note(at, at + 4096);
        }
        assert!(streams.all.len() <= STREAMS);
        assert!(!streams.run_ahead());
    }
}
