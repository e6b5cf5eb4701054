//! Short strings that were read lately, each with the connection on which the server tells of a change before it answers
//! anything later. One that is asked for again costs a `PING` there, and moves no value.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::cmd;

use super::server::Server;
use super::strings::Base;
use crate::budget::{Budget, Permit, Purpose};
use crate::store::version::Tag;

/// What is left to reading ahead of its share of the memory, in bytes.
const LEFT: u64 = 2 << 20;
/// Room is taken in pieces of so many bytes.
const PIECE: u64 = 1 << 20;

/// Strings that were read lately.
#[derive(Default)]
pub(super) struct Recent {
    kept: Mutex<Kept>,
    /// How often one was still the newest.
    same: AtomicU64,
}

#[derive(Default)]
struct Kept {
    strings: HashMap<Box<[u8]>, Read>,
    /// Their keys, by the number of the reading: the oldest first.
    order: BTreeMap<u64, Box<[u8]>>,
    /// How many were read so far.
    count: u64,
    /// What they take in memory, about, in bytes.
    bytes: u64,
    room: Vec<Permit>,
}

struct Read {
    bytes: Arc<[u8]>,
    version: Tag,
    base: Base,
    number: u64,
    cost: u64,
}

impl Recent {
    /// The string at a key and its version, where it is known to be the newest now.
    pub(super) fn get(&self, server: &Server, key: &[u8]) -> Option<(Arc<[u8]>, Tag)> {
        let (bytes, version, base) = {
            let kept = self.kept.lock();
            let read = kept.strings.get(key)?;
            (Arc::clone(&read.bytes), read.version, read.base.clone())
        };
        // Where the connection is in use, another one reads it anew sooner.
        let asked = base.followed.is_current()
            && server.ask_on_if_free(base.which, |session| session.one(cmd("PING"))).is_ok()
            && base.followed.is_current();
        if asked {
            self.same.fetch_add(1, Ordering::Relaxed);
            return Some((bytes, version));
        }
        None
    }

    /// Keeps a string that was just read, in place of the oldest ones where there is no room.
    pub(super) fn keep(&self, key: &[u8], bytes: &Arc<[u8]>, version: Tag, base: Base) {
        let mut kept = self.kept.lock();
        kept.remove(key);
        let cost = (bytes.len() + 2 * key.len()) as u64 + 256;
        let most = Budget::global().most(Purpose::ReadAhead).saturating_sub(LEFT);
        if !base.followed.is_current() || cost > most {
            return;
        }
        kept.shrink(most - cost);
        while kept.bytes + cost > kept.room.len() as u64 * PIECE {
            match Budget::global().try_take(Purpose::ReadAhead, PIECE) {
                Some(permit) => kept.room.push(permit),
                None if kept.remove_oldest() => {}
                None => return,
            }
        }
        kept.bytes += cost;
        kept.count += 1;
        let number = kept.count;
        kept.order.insert(number, key.into());
        kept.strings.insert(key.into(), Read { bytes: Arc::clone(bytes), version, base, number, cost });
    }

    /// Somebody opens a long one, for which is read ahead: half of the room is left to that.
    pub(super) fn make_way(&self) {
        self.kept.lock().shrink(Budget::global().most(Purpose::ReadAhead) / 2);
    }

    /// How often a string was known to be the newest.
    pub(super) fn same(&self) -> u64 {
        self.same.load(Ordering::Relaxed)
    }
}

impl Kept {
    fn remove(&mut self, key: &[u8]) {
        if let Some(read) = self.strings.remove(key) {
            self.order.remove(&read.number);
            self.bytes -= read.cost;
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let Some((_, oldest)) = self.order.pop_first() else { return false };
        self.remove(&oldest);
        true
    }

    fn shrink(&mut self, most: u64) {
        while self.bytes > most && self.remove_oldest() {}
        self.room.truncate(self.bytes.div_ceil(PIECE) as usize + 1);
    }
}
