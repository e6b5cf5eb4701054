//! What one thread an environment looks at: whether somebody else has committed, and how full the disk is.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::environment::Environment;
use crate::env;
use crate::error::{Error, Result};
use crate::store::api::{Event, Tell, Usage, Watch};

/// How often it looks while somebody watches: within 50 ms the kernel is told (§6.2).
const LOOK: Duration = Duration::from_millis(15);
/// How often it looks at the disk.
const DISK: Duration = Duration::from_secs(1);

/// Who is to be told of changes by others, and the figures last seen.
pub(super) struct Watchers {
    environment: Arc<Environment>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    watching: Vec<Weak<Watching>>,
    usage: Usage,
    closing: bool,
}

struct Watching {
    tell: Tell,
}

impl Watchers {
    pub(super) fn new(environment: Arc<Environment>) -> Arc<Watchers> {
        let usage = look_at_disk(&environment).unwrap_or_default();
        let state = Mutex::new(State { usage, ..State::default() });
        Arc::new(Watchers { environment, state, wake: Condvar::new() })
    }

    /// Tells `tell` of every change by others until the watch drops.
    pub(super) fn add(&self, tell: Tell) -> Watch {
        let watching = Arc::new(Watching { tell });
        self.state.lock().watching.push(Arc::downgrade(&watching));
        self.wake.notify_all();
        Watch(Box::new(watching))
    }

    /// How full the store is, as last seen.
    pub(super) fn usage(&self) -> Usage {
        self.state.lock().usage
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(self: &Arc<Self>) -> Result<JoinHandle<()>> {
        let watchers = Arc::clone(self);
        std::thread::Builder::new()
            .name("lmdb-watch".into())
            .spawn(move || watchers.run())
            .map_err(|e| Error::io("starting the watching thread", &e))
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.state.lock().closing = true;
        self.wake.notify_all();
    }

    fn run(&self) {
        let mut told = self.environment.changes().foreign();
        let mut disk_seen: Instant = env::instant();
        let mut state = self.state.lock();
        while !state.closing {
            let pause = if state.watching.is_empty() { DISK } else { LOOK };
            self.wake.wait_for(&mut state, pause);
            state.watching.retain(|watching| watching.strong_count() > 0);
            let watching: Vec<Arc<Watching>> = state.watching.iter().filter_map(Weak::upgrade).collect();
            drop(state);
            // Beginning a transaction is what notices: only what readers can see by now counts.
            let noticed = self
                .environment
                .look()
                .and_then(|()| if watching.is_empty() { Ok(()) } else { self.environment.read().map(drop) });
            if let Err(error) = noticed {
                tracing::debug!("looking for changes: {error}");
            }
            let seen = self.environment.changes().foreign();
            if seen != told {
                told = seen;
                watching.iter().for_each(|watching| (watching.tell)(Event::Everything));
            }
            let usage = (disk_seen.elapsed() >= DISK).then(|| look_at_disk(&self.environment));
            state = self.state.lock();
            if let Some(usage) = usage {
                disk_seen = env::instant();
                // What nothing can be read of any more is as full as it was.
                state.usage = usage.unwrap_or(state.usage);
            }
        }
    }
}

/// The environment's pages in use, and what the disk has left for it.
fn look_at_disk(environment: &Environment) -> Result<Usage> {
    let info = environment.info()?;
    let used = (info.me_last_pgno as u64 + 1) * environment.page_size;
    let in_map = (info.me_mapsize as u64).saturating_sub(used);
    let on_disk = nix::sys::statvfs::fstatvfs(environment.data_file())
        .map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
    let free = on_disk.map_or(in_map, |on_disk| on_disk.min(in_map));
    let keys = environment.stat().ok().map(|stat| stat.ms_entries as u64);
    Ok(Usage { total: Some(used + free), free: Some(free), keys })
}
