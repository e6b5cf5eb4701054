//! Other programs' changes, told to the kernel from a thread of their own (§6.4), and how long the kernel may keep
//! what it was told (§6.2).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::Vfs;
use super::node::{Ino, Table};
use crate::key::Key;
use crate::name;
use crate::store::api::{Caps, Event, Pace, Tell, Watch};

/// What is never changed by anyone may be kept for a day.
const FOREVER: Duration = Duration::from_secs(86_400);
/// Where the store tells of changes and the kernel can be told in time.
const WATCHED: Duration = Duration::from_secs(3_600);
/// Where the store tells of changes and the kernel knows more than can be told of in time (§6.2).
const CROWDED: Duration = Duration::from_millis(50);
/// How many inodes can be invalidated one by one within a few milliseconds.
const TELLABLE: usize = 5_000;

/// What the kernel may keep, and for how long.
#[derive(Debug)]
pub struct Trust {
    immutable: bool,
    /// Whether opening costs more than the kernel's word for it.
    far: bool,
    watched: AtomicBool,
    /// Whether the kernel drops every name at one word (Linux 6.16 and later).
    epochs: AtomicBool,
    /// Where the store does not tell.
    ttl: Duration,
    /// The same of absent names.
    ttl_of_absence: Duration,
}

impl Trust {
    pub(super) fn new(caps: &Caps, ttl: Duration, ttl_of_absence: Duration) -> Trust {
        Trust {
            immutable: caps.immutable,
            far: caps.pace == Pace::Network,
            watched: AtomicBool::new(false),
            epochs: AtomicBool::new(true),
            ttl,
            ttl_of_absence,
        }
    }

    /// Whether nothing ever changes.
    pub fn is_immutable(&self) -> bool {
        self.immutable
    }

    /// Whether the kernel opens files by itself, so that each read stands alone. Not where a value is read ahead: that
    /// is known by its handle.
    pub fn opens_by_itself(&self) -> bool {
        self.immutable && !self.far
    }

    /// Says whether the kernel drops every name at one word.
    pub fn allow_epochs(&self, can: bool) {
        self.epochs.store(can, Ordering::Relaxed);
    }

    /// How long the kernel may keep it that there is nothing of a name. No inode stands for an absent name, so one
    /// by one they cannot be told of.
    pub fn ttl_of_absence(&self) -> Duration {
        let watched = self.immutable || self.watched.load(Ordering::Relaxed);
        if watched { self.ttl(|| usize::MAX) } else { self.ttl_of_absence }
    }

    /// How long the kernel may keep a name or an attribute while it knows this many inodes, which is asked for
    /// only where it matters.
    pub fn ttl(&self, inodes: impl FnOnce() -> usize) -> Duration {
        if self.immutable {
            FOREVER
        } else if !self.watched.load(Ordering::Relaxed) {
            self.ttl
        } else if self.epochs.load(Ordering::Relaxed) || inodes() < TELLABLE {
            WATCHED
        } else {
            CROWDED
        }
    }
}

/// The way to the kernel, for notifications. Implemented by the door, and by tests.
pub trait Kernel: Send + 'static {
    /// Every name the kernel knows must be looked up again. False where the kernel cannot do that.
    fn new_epoch(&self) -> bool;
    /// This name must be looked up again.
    fn forget_name(&self, parent: Ino, name: &[u8]);
    /// The attributes and pages of this inode are not to be trusted.
    fn forget_inode(&self, ino: Ino);
}

/// Watches the store and tells the kernel, until it drops.
pub struct Invalidator {
    // Dropped in this order: no more events, then the thread's queue ends.
    _watch: Option<Watch>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// At most this many events wait; more are one "everything".
const QUEUE: usize = 1_024;
/// What is told within so long is passed on together: who tells of each change does not wake the thread for each.
const GATHERED_FOR: Duration = Duration::from_millis(4);

impl Invalidator {
    /// Starts watching. A store that does not tell is trusted for a short time only, which is no error.
    pub fn start(vfs: &Arc<Vfs>, kernel: Box<dyn Kernel>) -> Invalidator {
        let none = Invalidator { _watch: None, thread: None };
        if vfs.trust.immutable || !vfs.caps.watch {
            return none;
        }
        let (sender, receiver) = mpsc::sync_channel::<Event>(QUEUE);
        let overflow = Arc::new(AtomicBool::new(false));
        let tell: Tell = {
            let (overflow, vfs) = (Arc::clone(&overflow), Arc::downgrade(vfs));
            Arc::new(move |event| {
                if matches!(event, Event::Untold | Event::Told)
                    && let Some(vfs) = vfs.upgrade()
                {
                    vfs.trust.watched.store(event == Event::Told, Ordering::Relaxed);
                }
                if sender.try_send(event).is_err() {
                    overflow.store(true, Ordering::Release);
                }
            })
        };
        let thread = {
            let vfs = Arc::downgrade(vfs);
            std::thread::Builder::new().name("kvfs-invalidate".into()).spawn(move || {
                while let Ok(event) = receiver.recv() {
                    std::thread::park_timeout(GATHERED_FOR);
                    let Some(vfs) = vfs.upgrade() else { return };
                    // What came while the kernel was told is told at once: it may take long to tell of everything.
                    let mut events: Vec<Event> = std::iter::once(event).chain(receiver.try_iter()).collect();
                    let count = events.len() as u64;
                    let lost = overflow.swap(false, Ordering::AcqRel);
                    let all =
                        |event: &Event| matches!(event, Event::Everything | Event::Untold | Event::Told);
                    if lost || events.iter().any(all) {
                        events = vec![Event::Everything];
                    }
                    events.iter().for_each(|event| vfs.tell_kernel(&*kernel, event));
                    vfs.counters.invalidations.fetch_add(count, Ordering::Release);
                }
            })
        };
        // The store may say at once that it does not tell now.
        vfs.trust.watched.store(true, Ordering::Relaxed);
        let failed = match (vfs.store.watch(tell), thread) {
            (Ok(watch), Ok(thread)) => return Invalidator { _watch: Some(watch), thread: Some(thread) },
            (Err(error), _) => error.to_string(),
            (_, Err(error)) => error.to_string(),
        };
        vfs.trust.watched.store(false, Ordering::Relaxed);
        tracing::warn!("changes by other programs show after the time of --ttl: {failed}");
        none
    }
}

impl std::fmt::Debug for Invalidator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invalidator")
    }
}

impl Drop for Invalidator {
    fn drop(&mut self) {
        self._watch = None;
        if let Some(thread) = self.thread.take() {
            // The queue's sender went with the watch, so the thread ends after its last event.
            drop(thread);
        }
    }
}

impl Vfs {
    fn tell_kernel(&self, kernel: &dyn Kernel, event: &Event) {
        match event {
            Event::Key(key) => {
                let known = known_path(&self.table.lock(), key);
                for (parent, name, ino) in known {
                    kernel.forget_name(parent, &name);
                    if let Some(ino) = ino {
                        kernel.forget_inode(ino);
                    }
                }
            }
            Event::Value(key) => {
                let known = known_path(&self.table.lock(), key);
                // The file of its own name, or that in the directory of its name.
                let own = known.into_iter().skip(key.len().saturating_sub(1));
                own.filter_map(|(_, _, ino)| ino).for_each(|ino| kernel.forget_inode(ino));
            }
            Event::Below(key) => {
                let (known, inside) = {
                    let table = self.table.lock();
                    let known = known_path(&table, key);
                    let at = known.last().filter(|_| known.len() == key.len()).and_then(|(_, _, ino)| *ino);
                    (known, at.map(|at| table.children(at)).unwrap_or_default())
                };
                // With the directory's name the kernel drops what it holds below it, absent names too.
                for (parent, name, ino) in known.into_iter().chain(inside) {
                    kernel.forget_name(parent, &name);
                    if let Some(ino) = ino {
                        kernel.forget_inode(ino);
                    }
                }
            }
            Event::Everything | Event::Untold | Event::Told => {
                if self.trust.epochs.load(Ordering::Relaxed) {
                    if kernel.new_epoch() {
                        // It has no name that would be looked up again.
                        kernel.forget_inode(super::node::ROOT);
                        return;
                    }
                    self.trust.epochs.store(false, Ordering::Relaxed);
                }
                let known: Vec<_> = {
                    let table = self.table.lock();
                    table.iter().map(|(ino, node)| (ino, node.parent, node.name.clone())).collect()
                };
                for (ino, parent, name) in known {
                    if ino != super::node::ROOT {
                        kernel.forget_name(parent, &name);
                    }
                    kernel.forget_inode(ino);
                }
            }
        }
    }
}

/// The names on the way to `key` that the kernel may hold, present or absent.
fn known_path(table: &Table, key: &Key) -> Vec<(Ino, Vec<u8>, Option<Ino>)> {
    let mut known = Vec::new();
    let mut at = super::node::ROOT;
    for segment in key.segments() {
        let encoded = name::encode(segment);
        let child = table.child(at, &encoded);
        known.push((at, encoded.into_owned(), child));
        match child {
            Some(child) => at = child,
            None => return known,
        }
    }
    if let Some(value) = table.child(at, name::VALUE) {
        known.push((at, name::VALUE.to_vec(), Some(value)));
    }
    known
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::vfs::tests::{Rig, key};

    /// A kernel that notes what it is told.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<String>>>, bool);

    impl Kernel for Noted {
        fn new_epoch(&self) -> bool {
            self.0.lock().unwrap().push(String::from("epoch"));
            self.1
        }
        fn forget_name(&self, _: Ino, name: &[u8]) {
            self.0.lock().unwrap().push(String::from_utf8(name.to_vec()).unwrap());
        }
        fn forget_inode(&self, ino: Ino) {
            self.0.lock().unwrap().push(format!("inode {}", if ino == 1 { "root" } else { "other" }));
        }
    }

    #[test]
    fn promise_6_2_the_kernel_is_told_what_it_may_hold_of_a_key() {
        let rig = Rig::new();
        rig.foreign_put("d/a", b"");
        rig.look("d").unwrap();
        let kernel = Noted::default();
        rig.vfs.tell_kernel(&kernel, &Event::Key(key("d/a")));
        // It may hold that `a` is absent, though no inode stands for that.
        assert_eq!(*kernel.0.lock().unwrap(), ["d", "inode other", "a"]);
    }

    #[test]
    fn promise_6_2_a_value_that_is_another_keeps_its_name() {
        let rig = Rig::new();
        rig.foreign_put("d/a", b"");
        let directory = rig.look("d").unwrap();
        let kernel = Noted::default();
        rig.vfs.tell_kernel(&kernel, &Event::Value(key("d/a")));
        assert!(kernel.0.lock().unwrap().is_empty(), "no inode stands for it");
        rig.vfs.lookup(directory.ino, b"a").unwrap();
        rig.vfs.tell_kernel(&kernel, &Event::Value(key("d/a")));
        assert_eq!(*kernel.0.lock().unwrap(), ["inode other"]);
    }

    #[test]
    fn promise_6_2_what_lies_below_a_directory_is_told_with_it() {
        let rig = Rig::new();
        rig.foreign_put("d/a", b"");
        rig.foreign_put("d/b", b"");
        let directory = rig.look("d").unwrap();
        rig.vfs.lookup(directory.ino, b"a").unwrap();
        let kernel = Noted::default();
        rig.vfs.tell_kernel(&kernel, &Event::Below(key("d")));
        assert_eq!(*kernel.0.lock().unwrap(), ["d", "inode other", "a", "inode other"]);
    }

    #[test]
    fn promise_6_2_the_root_is_told_with_every_name() {
        let rig = Rig::new();
        rig.foreign_put("a", b"");
        rig.look("a").unwrap();
        let kernel = Noted(Arc::default(), true);
        rig.vfs.tell_kernel(&kernel, &Event::Everything);
        assert_eq!(*kernel.0.lock().unwrap(), ["epoch", "inode root"]);
        // Without epochs, one by one, and epochs are not tried again.
        let kernel = Noted::default();
        rig.vfs.tell_kernel(&kernel, &Event::Everything);
        rig.vfs.tell_kernel(&kernel, &Event::Everything);
        let mut told = kernel.0.lock().unwrap().clone();
        told[1..].sort();
        assert_eq!(told, ["epoch", "a", "a", "inode other", "inode other", "inode root", "inode root"]);
    }
}
