//! Short strings that were read lately, each with the connection on which the server tells of a change before it answers
//! anything later. One that is asked for again costs a `PING` there, and moves no value.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::cmd;

use super::server::Server;
use super::strings::Base;
use crate::budget::{Budget, Permit, Purpose};
use crate::store::version::Tag;

/// So many are kept.
const MOST: usize = 4096;

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
    /// Their keys, the oldest first.
    order: VecDeque<Box<[u8]>>,
}

struct Read {
    bytes: Arc<[u8]>,
    version: Tag,
    base: Base,
    _permit: Permit,
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

    /// Keeps a string that was just read, where there is room.
    pub(super) fn keep(&self, key: &[u8], bytes: &Arc<[u8]>, version: Tag, base: Base) {
        let mut kept = self.kept.lock();
        kept.strings.remove(key);
        if !base.followed.is_current() {
            return;
        }
        let cost = (bytes.len() + key.len()) as u64 + 256;
        let Some(permit) = Budget::global().try_take(Purpose::Metadata, cost) else {
            kept.strings.clear();
            kept.order.clear();
            return;
        };
        while kept.order.len() >= MOST {
            if let Some(oldest) = kept.order.pop_front() {
                kept.strings.remove(&oldest);
            }
        }
        kept.order.push_back(key.into());
        kept.strings.insert(key.into(), Read { bytes: Arc::clone(bytes), version, base, _permit: permit });
    }

    /// How often a string was known to be the newest.
    pub(super) fn same(&self) -> u64 {
        self.same.load(Ordering::Relaxed)
    }
}
