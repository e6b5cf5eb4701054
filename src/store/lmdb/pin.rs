//! Pins: read transactions that keep open values in the map. Values opened at one moment share one, so a pin
//! costs one reader slot however many files are open; and since a pin also keeps every page from being reused
//! that later commits free, a janitor ends it about a second after the store has moved on, and keeps the values
//! still open elsewhere.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::mman::{MapFlags, ProtFlags};
use parking_lot::{Condvar, Mutex};

use super::environment::Environment;
use super::transaction::{Reading, Transaction};
use super::value::{Held, Slot};
use crate::env::{self, Folders};
use crate::error::{Error, Result};

/// Pins at a time; when more moments are needed, the oldest is copied out.
const PINS_MAX: usize = 8;
/// How long a pin outlives its moment.
const AFTER: Duration = Duration::from_secs(1);
/// How often the janitor looks, while there are pins.
const LOOK: Duration = Duration::from_millis(250);
/// Values up to this length are copied to memory, larger ones to a spill file.
const MEMORY_MAX: usize = 64 << 10;
/// Values of one pin copied to memory, together; the rest goes to its spill file.
const MEMORY_TOTAL_MAX: usize = 8 << 20;

/// One moment that open values hold.
struct Pin {
    id: u64,
    /// Never locked: it makes the transaction shareable, and ends it when the last value lets go.
    _reading: Mutex<Reading>,
    values: Mutex<Vec<Weak<Slot>>>,
}

/// The pins of one environment.
pub(super) struct Pins {
    environment: Arc<Environment>,
    state: Mutex<State>,
    /// Told when there is a first pin, and at the end.
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Oldest first. The values hold the pins; where all are closed, the pin is gone.
    live: Vec<Living>,
    closing: bool,
}

struct Living {
    pin: Weak<Pin>,
    /// When a newer moment was first seen.
    outdated: Option<Instant>,
}

impl Pins {
    pub(super) fn new(environment: Arc<Environment>) -> Arc<Pins> {
        Arc::new(Pins { environment, state: Mutex::new(State::default()), wake: Condvar::new() })
    }

    /// Keeps `value` readable.
    ///
    /// # Safety
    /// `value` is in the map, a value of the moment that `reading` shows.
    pub(super) unsafe fn hold(&self, reading: Reading, value: *const [u8]) -> Arc<Slot> {
        let mut state = self.state.lock();
        let newest = state.live.last().and_then(|living| living.pin.upgrade());
        let (pin, ended) = match newest {
            // The same moment has the same pages: the pin that has it keeps them, and `reading` can end.
            Some(pin) if pin.id == reading.id() => (pin, Some(reading)),
            _ => (self.begin(&mut state, reading), None),
        };
        // SAFETY: the caller's promise; either transaction of that moment has run until now.
        let value = unsafe { &*value };
        // SAFETY: no writer reuses the pages of a moment while a read transaction of it runs; the pin is one until
        // its last clone drops.
        let held = unsafe { Held::in_map(value, Arc::<Pin>::clone(&pin), &self.environment) };
        let slot = Arc::new(Slot::new(held));
        let mut values = pin.values.lock();
        if values.len() == values.capacity() {
            values.retain(|value| value.strong_count() > 0);
        }
        values.push(Arc::downgrade(&slot));
        drop(values);
        let oldest = if state.live.len() > PINS_MAX { state.live[0].pin.upgrade() } else { None };
        drop(state);
        drop(ended);
        if let Some(oldest) = oldest {
            self.retire(oldest);
        }
        slot
    }

    fn begin(&self, state: &mut State, reading: Reading) -> Arc<Pin> {
        state.live.retain(|living| living.pin.strong_count() > 0);
        let pin =
            Arc::new(Pin { id: reading.id(), _reading: Mutex::new(reading), values: Mutex::new(Vec::new()) });
        state.live.push(Living { pin: Arc::downgrade(&pin), outdated: None });
        if state.live.len() == 1 {
            self.wake.notify_all();
        }
        pin
    }

    /// Copies out the values of every pin.
    pub(super) fn retire_all(&self) {
        loop {
            let pin = self.state.lock().live.iter().find_map(|living| living.pin.upgrade());
            match pin {
                Some(pin) => self.retire(pin),
                None => return,
            }
        }
    }

    /// Keeps the values of `pin` elsewhere, so that its transaction ends (at the latest when the reads that are
    /// going on are done).
    fn retire(&self, pin: Arc<Pin>) {
        self.state.lock().live.retain(|living| !std::ptr::eq(living.pin.as_ptr(), Arc::as_ptr(&pin)));
        if self.environment.intact().is_err() {
            // There is nothing left to keep, and whoever reads on is told why.
            return;
        }
        // From here on no value joins the pin.
        let slots: Vec<Arc<Slot>> =
            std::mem::take(&mut *pin.values.lock()).iter().filter_map(Weak::upgrade).collect();
        let mut memory = 0;
        let (small, large): (Vec<_>, Vec<_>) = slots.into_iter().partition(|slot| {
            let length = usize::try_from(slot.len()).unwrap_or(usize::MAX);
            let fits = length <= MEMORY_MAX && memory + length <= MEMORY_TOTAL_MAX;
            memory += if fits { length } else { 0 };
            fits
        });
        for slot in small {
            let copy = slot.held().and_then(|held| held.bytes().map(Held::copy).ok());
            slot.move_to(copy);
        }
        if !large.is_empty()
            && let Err(error) = spill(&large)
        {
            tracing::warn!(
                "{}: {} open values of an earlier moment could not be kept, reading them on is an error: {error}",
                self.environment.place.shown.display(),
                large.len()
            );
            for slot in large {
                slot.move_to(None);
            }
        }
    }

    /// How many moments are held now.
    pub(super) fn count(&self) -> usize {
        self.state.lock().live.iter().filter(|living| living.pin.strong_count() > 0).count()
    }

    /// Starts the janitor's thread.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(self: &Arc<Self>) -> Result<JoinHandle<()>> {
        let pins = Arc::clone(self);
        std::thread::Builder::new()
            .name("lmdb-janitor".into())
            .spawn(move || pins.keep_house())
            .map_err(|e| Error::io("starting the janitor's thread", &e))
    }

    /// Ends the janitor's thread.
    pub(super) fn stop(&self) {
        self.state.lock().closing = true;
        self.wake.notify_all();
    }

    fn keep_house(&self) {
        let mut state = self.state.lock();
        while !state.closing {
            if state.live.is_empty() {
                self.wake.wait(&mut state);
                continue;
            }
            self.wake.wait_for(&mut state, LOOK);
            state.live.retain(|living| living.pin.strong_count() > 0);
            let due = self.due(&mut state);
            drop(state);
            due.into_iter().for_each(|pin| self.retire(pin));
            state = self.state.lock();
        }
    }

    /// The pins whose moment passed long enough ago.
    fn due(&self, state: &mut State) -> Vec<Arc<Pin>> {
        if state.live.is_empty() {
            return Vec::new();
        }
        let Ok(newest) = self.environment.last_transaction() else { return Vec::new() };
        let now = env::instant();
        let mut due = Vec::new();
        for living in &mut state.live {
            let Some(pin) = living.pin.upgrade() else { continue };
            if pin.id >= newest {
                continue;
            }
            if now.duration_since(*living.outdated.get_or_insert(now)) >= AFTER {
                due.push(pin);
            }
        }
        due
    }
}

/// A spill file's map: read-only, of an unlinked file that nobody else can open.
struct Spill {
    address: NonNull<std::ffi::c_void>,
    length: NonZeroUsize,
}

// SAFETY: the mapping is only read, and it belongs to no thread.
unsafe impl Send for Spill {}
// SAFETY: as above.
unsafe impl Sync for Spill {}

impl Drop for Spill {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `spill` made; the values in it hold this.
        if let Err(error) = unsafe { nix::sys::mman::munmap(self.address, self.length.get()) } {
            tracing::error!("a spill file stays mapped: {error}");
        }
    }
}

/// Copies the values of `slots` to one unlinked file, and lets them read from there.
fn spill(slots: &[Arc<Slot>]) -> Result<()> {
    let fail = |e: &std::io::Error| Error::io("the spill file", e);
    let file = Folders::get().unlinked_file()?;
    let mut offset = 0;
    for slot in slots {
        if let Some(held) = slot.held() {
            file.write_all_at(held.bytes()?, offset).map_err(|e| fail(&e))?;
            offset += slot.len();
        }
    }
    let Some(length) = usize::try_from(offset).ok().and_then(NonZeroUsize::new) else { return Ok(()) };
    // SAFETY: a new mapping at an address of the system's choice.
    let mapped = unsafe {
        nix::sys::mman::mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file.as_fd(), 0)
    };
    let address = mapped.map_err(|e| fail(&e.into()))?;
    let spill = Arc::new(Spill { address, length });
    // SAFETY: the mapping is as long, and the file has these bytes and is written no more.
    let all = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), length.get()) };
    let mut start = 0;
    for slot in slots {
        if slot.held().is_none() {
            continue;
        }
        let end = start + usize::try_from(slot.len()).unwrap_or(0);
        // SAFETY: `all` is mapped and unchanged until the spill drops.
        let held = unsafe { Held::new(&all[start..end], Arc::<Spill>::clone(&spill)) };
        slot.move_to(Some(held));
        start = end;
    }
    Ok(())
}
