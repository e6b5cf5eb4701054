//! A store that fails, waits, or lets something else happen on command, before or after the effect of a call: what
//! tests of failures and of races stand on.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Change, Cursor, Entry, Stat, Store, Value, Version};

/// Which call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Store::stat`].
    Stat,
    /// [`Store::list`].
    List,
    /// [`Store::list_prefix`].
    ListPrefix,
    /// [`Store::open`].
    Open,
    /// [`Value::read`].
    Read,
    /// [`Store::apply`].
    Apply,
    /// [`Store::sync`] and [`Store::sync_key`].
    Sync,
}

/// When, in a call, something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the effect, which an error prevents.
    Before,
    /// After the effect, which an error does not undo.
    After,
}

/// What happens then: an error is the call's answer.
pub type Action = Box<dyn FnOnce() -> Result<()> + Send>;

struct Planned {
    call: Call,
    /// So many calls more, and it happens.
    left: usize,
    moment: Moment,
    action: Action,
}

/// What is to happen; shared with the values that were opened.
#[derive(Default)]
struct Plans(Mutex<Vec<Planned>>);

impl Plans {
    /// Counts a call, lets happen what is due, and carries the call out between.
    fn around<T>(&self, call: Call, effect: impl FnOnce() -> Result<T>) -> Result<T> {
        assert!(!LISTING.get(), "{call:?}: a store is called by whoever takes entries of its listing");
        // Taken out before they run: an action may call the store, and plan more.
        let due: Vec<Planned> = {
            let mut plans = self.0.lock();
            plans.iter_mut().filter(|plan| plan.call == call).for_each(|plan| plan.left -= 1);
            plans.extract_if(.., |plan| plan.left == 0).collect()
        };
        let (before, after): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|plan| plan.moment == Moment::Before);
        before.into_iter().try_for_each(|plan| (plan.action)())?;
        let answer = effect()?;
        after.into_iter().try_for_each(|plan| (plan.action)())?;
        Ok(answer)
    }
}

thread_local! {
    /// Whether this thread is handing out the entries of a listing.
    static LISTING: Cell<bool> = const { Cell::new(false) };
}

/// Hands out an entry of a listing, from which the store is not to be called.
fn give(entry: Entry<'_>, each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
    LISTING.set(true);
    let flow = each(entry);
    LISTING.set(false);
    flow
}

/// A store with a plan of what goes wrong. It panics where it is called from inside a listing, which
/// [`Store::list`] forbids.
pub struct Faulty {
    store: Arc<dyn Store>,
    plans: Arc<Plans>,
    /// How often [`Faulty::foreign`] was called.
    foreign: AtomicU64,
}

impl Faulty {
    /// `store`, with nothing planned.
    pub fn new(store: Arc<dyn Store>) -> Faulty {
        Faulty { store, plans: Arc::default(), foreign: AtomicU64::new(0) }
    }

    /// At the `nth` call of this kind from now on (the next is the first), `action` happens, once.
    pub fn plan(&self, call: Call, nth: usize, moment: Moment, action: Action) {
        self.plans.0.lock().push(Planned { call, left: nth.max(1), moment, action });
    }

    /// At the `nth` call of this kind from now on, the answer is this error, once.
    pub fn fail(&self, call: Call, nth: usize, moment: Moment, kind: ErrorKind) {
        self.plan(call, nth, moment, Box::new(move || Err(kind.into())));
    }

    /// Carries out another program's changes: past this layer and what is above, and noticed at once.
    ///
    /// # Errors
    /// The store's.
    pub fn foreign(&self, changes: &mut [Change<'_>]) -> Result<()> {
        let outcome = self.store.apply(changes);
        self.foreign.fetch_add(1, Ordering::AcqRel);
        outcome
    }

    /// Nothing is planned any more.
    pub fn heal(&self) {
        self.plans.0.lock().clear();
    }
}

/// A value whose reads are counted.
struct Counted {
    value: Box<dyn Value>,
    plans: Arc<Plans>,
}

impl Value for Counted {
    fn len(&self) -> u64 {
        self.value.len()
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.plans.around(Call::Read, || self.value.read(offset, size, sink))
    }

    fn version(&self) -> Result<Version> {
        self.value.version()
    }

    fn is_continued(&self) -> bool {
        self.value.is_continued()
    }

    fn is_copied(&self) -> bool {
        self.value.is_copied()
    }
}

impl Store for Faulty {
    passes_on!(
        caps,
        keeps_attributes,
        xattrs,
        check_file,
        check_key,
        value_max,
        raw_key,
        version_of,
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
        facts,
        close,
        seen_absent,
        written_so_far
    );

    fn foreign_changes(&self) -> Option<u64> {
        self.store.foreign_changes().map(|changes| changes + self.foreign.load(Ordering::Acquire))
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        self.plans.around(Call::Stat, || self.store.stat(key))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.plans.around(Call::List, || self.store.list(dir, from, &mut |entry| give(entry, each)))
    }

    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.plans
            .around(Call::List, || self.store.list_with_attributes(dir, from, &mut |entry| give(entry, each)))
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.plans
            .around(Call::ListPrefix, || self.store.list_prefix(dir, prefix, &mut |entry| give(entry, each)))
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        let value = self.plans.around(Call::Open, || self.store.open(key))?;
        Ok(value.map(|value| Box::new(Counted { value, plans: Arc::clone(&self.plans) }) as Box<dyn Value>))
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        self.plans.around(Call::Apply, || self.store.apply(changes))
    }

    fn sync(&self) -> Result<()> {
        self.plans.around(Call::Sync, || self.store.sync())
    }

    fn sync_key(&self, key: &Key) -> Result<()> {
        self.plans.around(Call::Sync, || self.store.sync_key(key))
    }
}
