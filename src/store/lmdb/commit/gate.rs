//! What the write-behind knows besides the pending map, and how it foresees when a turn at the lock must end.

use std::time::{Duration, Instant};

use crate::env;
use crate::error::Error;
use crate::store::lmdb::journal::{Journal, Side};
use crate::store::lmdb::recover::Failures;

/// How long the lock may be exclusive at a stretch: what a newcomer waits at most, unless the disk stalls.
pub(super) const HOLD_MAX: Duration = Duration::from_millis(90);
/// How long a commit takes, before one was seen.
const COMMIT_TIME: Duration = Duration::from_millis(10);
/// How long a commit of many bytes should take: generations are made smaller or larger until it does.
const COMMIT_AIM: std::ops::Range<Duration> = Duration::from_millis(8)..Duration::from_millis(20);
/// A generation of so many bytes is committed at once, and no larger one gathers while another is committed.
const GENERATION: std::ops::RangeInclusive<usize> = (128 << 10)..=(4 << 20);

/// Everything but the pending map itself. `pending` changes only under this lock.
pub(super) struct Gate {
    pub(super) journal: Writing,
    /// The file of the open generation.
    pub(super) side: Side,
    pub(super) turn: Turn,
    /// The transaction that the open generation follows.
    pub(super) follows: u64,
    /// When the open generation got its first put.
    pub(super) opened: Option<Instant>,
    /// The open generation's number; all below `settled` are committed or kept.
    pub(super) number: u64,
    pub(super) settled: u64,
    /// Somebody waits for the open generation.
    pub(super) flush: bool,
    /// How many puts wait for their own commit or have it run: nothing is accepted meanwhile, so that each sees
    /// what came before it.
    pub(super) passing: u32,
    /// Bytes that surely fit still.
    pub(super) room: u64,
    /// How long a commit takes, lately.
    pub(super) commit_time: Duration,
    /// When the commit that runs began.
    pub(super) commit_began: Option<Instant>,
    /// Bytes of a generation, within [`GENERATION`].
    pub(super) generation_max: usize,
    /// Keys whose accepted bytes could not be committed, until a later change of theirs is.
    pub(super) failed: Failures,
    /// Why nothing is accepted any more, after a failed commit.
    pub(super) broken: Option<Error>,
    pub(super) closing: bool,
    pub(super) counts: Counts,
}

/// Where accepted puts are written down.
pub(super) enum Writing {
    /// In these files.
    Open(Journal),
    /// Nowhere now: nothing is pending, and the files are made again for the next put.
    Away,
    /// Nowhere any more: every put waits for its own commit.
    Off,
}

impl Writing {
    pub(super) fn open(&mut self) -> Option<&mut Journal> {
        match self {
            Writing::Open(journal) => Some(journal),
            Writing::Away | Writing::Off => None,
        }
    }

    /// Takes the journal out, and is `instead` from now on.
    pub(super) fn replace(&mut self, instead: Writing) -> Option<Journal> {
        match std::mem::replace(self, instead) {
            Writing::Open(journal) => Some(journal),
            Writing::Away | Writing::Off => None,
        }
    }
}

/// Whose turn it is at the opening lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// Newcomers', at least until then; the lock is shared.
    Shared(Instant),
    /// Ours since then; the lock is exclusive.
    Alone(Instant),
}

/// What was done, for `kvfs status` and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls accepted ahead of their commit.
    pub accepted: u64,
    /// Calls that waited for their own commit.
    pub direct: u64,
    /// Transactions committed behind closes.
    pub commits: u64,
    /// The longest time the lock was exclusive.
    pub longest_hold: Duration,
}

impl Gate {
    /// Nothing is pending.
    pub(super) fn new(journal: Journal) -> Gate {
        Gate {
            journal: Writing::Open(journal),
            side: Side::FIRST,
            turn: Turn::Shared(env::instant()),
            follows: 0,
            opened: None,
            number: 1,
            settled: 1,
            flush: false,
            passing: 0,
            room: 0,
            commit_time: COMMIT_TIME,
            commit_began: None,
            generation_max: 1 << 20,
            failed: Failures::new(),
            broken: None,
            closing: false,
            counts: Counts::default(),
        }
    }

    /// What `settled` must reach for all that is accepted now to be committed.
    pub(super) fn target(&self) -> u64 {
        self.number + u64::from(self.opened.is_some())
    }

    /// How long the next commit takes, rather too much than too little.
    pub(super) fn foreseen(&self) -> Duration {
        self.commit_time * 5 / 4
    }

    /// When all would be committed that is accepted until `now`.
    pub(super) fn would_end(&self, now: Instant) -> Instant {
        let foreseen = self.foreseen();
        self.commit_began.map_or(now, |began| now.max(began + foreseen)) + foreseen
    }

    /// When the open generation is to be committed; `None` while it is empty.
    pub(super) fn due(&self, gather: Duration) -> Option<Instant> {
        let gathered = self.opened? + gather;
        Some(match self.turn {
            Turn::Alone(since) => gathered.min(since + HOLD_MAX.saturating_sub(self.foreseen())),
            Turn::Shared(_) => gathered,
        })
    }

    /// Learns from a commit of `bytes` that took `time`.
    pub(super) fn learn(&mut self, bytes: usize, time: Duration) {
        self.commit_time = (self.commit_time * 3 + time) / 4;
        if bytes < self.generation_max / 2 {
            return;
        }
        let aim = if time > COMMIT_AIM.end {
            self.generation_max / 2
        } else if time < COMMIT_AIM.start {
            self.generation_max * 2
        } else {
            self.generation_max
        };
        self.generation_max = aim.clamp(*GENERATION.start(), *GENERATION.end());
    }
}
