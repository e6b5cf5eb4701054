//! From a [`MountSpec`] to a running mount: store, Vfs, session. The only place that composes them.

mod stack;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::config::source::Place;
use crate::config::{Exclusive, MountSpec};
use crate::device::{self, Device, MountFlags, Unmount};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::fresh::Fresh;
use crate::fuse::{self, Session};
use crate::layer::own_files::OwnFiles;
use crate::layer::scratch::Usual;
use crate::layer::stamps::Stamps;
use crate::mount_point::{MountPoint, keep_off_store};
use crate::mount_users;
use crate::spool::Spool;
use crate::store::api::{Pace, Store};
use crate::store::driver::Opening;
use crate::vfs::{self, Vfs};
use crate::view;

pub use stack::{cost_of_attributes, drop_attributes, open_store, opening};

/// How long one round of waiting for pending writes takes, between looks whether anybody still waits.
const FLUSH_ROUND: Duration = Duration::from_secs(2);
/// What an answer may take beyond the deadline of the requests in it.
const END_MARGIN: Duration = Duration::from_secs(10);
/// What a store has at least to close.
const CLOSE_MIN: Duration = Duration::from_secs(2);

/// A running mount.
pub struct Mount {
    spec: MountSpec,
    /// The source as people see it: with its place, without secrets.
    shown: String,
    point: MountPoint,
    /// What the Vfs shows: the store, or its snapshot.
    vfs: Arc<Vfs>,
    /// The store that was opened; closed last.
    store: Arc<dyn Store>,
    /// What a snapshot keeps of the values that were read.
    stamps: Option<Arc<Stamps>>,
    /// Who keeps attributes, and why.
    attributes: String,
    since: SystemTime,
    end: Mutex<End>,
    /// Told when `end` becomes [`End::Over`].
    ended: Condvar,
}

/// How far the end of a mount has come. The lock is never held over a call of the Vfs or the store.
#[derive(Clone, Debug)]
enum End {
    /// Mounted; the end may take until this long after the unmount.
    Ahead(Duration),
    /// Unmounted, and the last bytes are being put.
    Under,
    /// Everything is closed.
    Over(Ending),
}

/// How a mount ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Whether some bytes are not in the store, or the store did not close.
    pub failed: bool,
    /// What there is to say about it.
    pub sentences: Vec<String>,
}

impl Ending {
    fn note(&mut self, failure: Option<String>) {
        self.failed |= failure.is_some();
        self.sentences.extend(failure);
    }
}

impl Mount {
    /// Opens the store and mounts it. The kernel's first request is answered when this returns: the mount works.
    ///
    /// # Errors
    /// What is wrong with the source, the mount point or the right to mount; nothing is left behind then.
    pub fn start(spec: MountSpec) -> Result<(Arc<Mount>, Session)> {
        Budget::set_global(spec.memory);
        let place = spec.source.resolve()?;
        place.check(&spec)?;
        let device = Device::find()?;
        let point = MountPoint::prepare(&spec.mount_point, place.is_in_place(&spec.mount_point))?;
        Mount::start_at(spec, &place, device, &point).inspect_err(|_| point.undo()).map(|(parts, session)| {
            let Parts { spec, shown, vfs, store, stamps, attributes } = parts;
            let end = Mutex::new(End::Ahead(spec.timeout));
            let since = env::now();
            let ended = Condvar::new();
            let mount = Mount { spec, shown, point, vfs, store, stamps, attributes, since, end, ended };
            (Arc::new(mount), session)
        })
    }

    fn start_at(
        spec: MountSpec,
        place: &Place,
        device: Device,
        point: &MountPoint,
    ) -> Result<(Parts, Session)> {
        let location = place.location_for(point.path());
        let path = location.as_ref().filter(|_| place.driver.location.is_path());
        for path in path.into_iter().chain(&spec.load).chain(&spec.save).chain(&spec.cache) {
            keep_off_store(point.path(), path)?;
        }
        let fresh = path.map(|path| Fresh::look(path));
        let mut shown = place.shown(point.path());
        if let Some(endpoint) = &spec.service.endpoint {
            // Buckets of one name on two servers are two.
            shown = format!("{shown} at {endpoint}");
        }
        let opening = opening(&spec, place, location);
        let (store, attributes) = open_store(&spec, place, &opening)?;
        let own_files = if place.is_in_place(point.path()) { place.driver.own_files } else { &[] };
        let composed = Parts::compose(spec, shown, (store.clone(), attributes), &opening, own_files);
        let mounted = composed.and_then(|parts| {
            let session = parts.mount(device, point)?;
            Ok((parts, session))
        });
        // A store without a place is only dropped: closing it would save it over the user's file.
        if mounted.is_err()
            && let Some(fresh) = fresh
        {
            fresh.restore(&*store);
        }
        mounted
    }

    /// What was asked for.
    pub fn spec(&self) -> &MountSpec {
        &self.spec
    }

    /// Where it is: absolute, without links.
    pub fn path(&self) -> &Path {
        self.point.path()
    }

    /// Serves until somebody unmounts it, then puts what is left and closes the store (§8.5).
    pub fn serve(&self, session: Session) {
        let outcome = session.wait();
        self.finish(outcome.err());
    }

    /// Puts what is left and closes the store, if nobody did so yet.
    pub fn finish(&self, failure: Option<Error>) {
        let time = {
            let mut end = self.end.lock();
            match std::mem::replace(&mut *end, End::Under) {
                End::Ahead(time) => time,
                other => {
                    *end = other;
                    return;
                }
            }
        };
        let mut ending = Ending::default();
        ending.note(failure.map(|e| format!("the connection to the kernel failed: {e}")));
        let deadline = Deadline::after(time);
        ending.note(self.flush_within(time).err().map(|e| format!("not everything could be put: {e}")));
        ending.sentences.extend(self.vfs.finish(deadline));
        ending.note(self.close_within(deadline.left().max(CLOSE_MIN)).err().map(|e| e.to_string()));
        for sentence in &ending.sentences {
            tracing::warn!("{}: {sentence}", self.path().display());
        }
        tracing::info!("{} is unmounted from {}", self.shown, self.path().display());
        *self.end.lock() = End::Over(ending);
        self.ended.notify_all();
    }

    /// Puts everything pending, and waits for it no longer than `time` and what a put takes that has begun: its bytes
    /// are free to be kept elsewhere only when it has ended.
    fn flush_within(&self, time: Duration) -> Result<()> {
        let vfs = self.vfs.clone();
        let flushed = in_thread("flush", move || vfs.flush(Deadline::after(time)))?;
        flushed.recv_timeout(time).unwrap_or_else(|_| {
            let put_under_way = self.vfs.report().dirty > 0;
            let more = if put_under_way { self.spec.timeout + END_MARGIN } else { CLOSE_MIN };
            flushed.recv_timeout(more).unwrap_or_else(|_| {
                let sentence = format!("{} does not commit in time", self.shown);
                Err(Error::new(ErrorKind::TimedOut, sentence))
            })
        })
    }

    /// Closes the store. One that does not close in time has what it accepted in its journal (§8.3).
    fn close_within(&self, time: Duration) -> Result<()> {
        let (store, stamps, deadline) = (self.store.clone(), self.stamps.clone(), Deadline::after(time));
        let closed = in_thread("close", move || {
            if let Some(Err(error)) = stamps.map(|stamps| stamps.finish(deadline)) {
                tracing::warn!("the next backup reads more than it need: {error}");
            }
            store.close()
        })?;
        let closed = closed.recv_timeout(time).unwrap_or_else(|_| {
            let sentence = "it takes too long; what it had accepted is put when it is mounted again";
            Err(Error::new(ErrorKind::TimedOut, sentence))
        });
        closed.map_err(|e| e.context(format_args!("closing {}", self.shown)))
    }

    /// Waits for the end, at most so long; `None` while it is mounted.
    pub fn wait(&self, time: Option<Duration>) -> Option<Ending> {
        let mut end = self.end.lock();
        let deadline = time.map(Deadline::after);
        loop {
            if let End::Over(ending) = &*end {
                return Some(ending.clone());
            }
            match deadline {
                None => self.ended.wait(&mut end),
                Some(deadline) if self.ended.wait_until(&mut end, deadline.at()).timed_out() => return None,
                Some(_) => {}
            }
        }
    }

    /// Waits until everything written so far would survive a power cut, as far as the store promises.
    ///
    /// # Errors
    /// The first put that failed; `TimedOut`.
    pub fn sync(&self, time: Option<Duration>) -> Result<()> {
        self.vfs.flush(Deadline::after(time.unwrap_or(self.spec.timeout)))?;
        self.vfs.check_rejected()
    }

    /// Puts everything pending, then unmounts, and waits for the end (§8.5). With `time` it waits no longer than
    /// that for the puts, and bytes that are not put by then are kept (§8.4). `wanted` is asked now and then
    /// whether anybody still waits.
    ///
    /// # Errors
    /// `Busy` while programs use the mount, with their names; without `time` also the put that failed. It stays
    /// mounted then.
    pub fn unmount(&self, time: Option<Duration>, wanted: &dyn Fn() -> bool) -> Result<Ending> {
        match time {
            Some(time) => {
                // What fails now is tried once more after the unmount, and told then.
                drop(self.flush_within(time));
                self.hurry(time);
            }
            None => self.flush_patiently(wanted)?,
        }
        self.detach(Unmount::WhenFree).inspect_err(|_| self.hurry(self.spec.timeout))?;
        let time = time.unwrap_or(self.spec.timeout) + self.spec.timeout + 2 * END_MARGIN;
        self.wait(Some(time)).ok_or_else(|| {
            let sentence =
                format!("{} is unmounted, but its store does not close yet", self.path().display());
            Error::new(ErrorKind::TimedOut, sentence)
        })
    }

    /// From the unmount on, pending writes are waited for no longer than this.
    pub fn hurry(&self, time: Duration) {
        if let End::Ahead(ahead) = &mut *self.end.lock() {
            *ahead = time;
        }
    }

    fn flush_patiently(&self, wanted: &dyn Fn() -> bool) -> Result<()> {
        loop {
            match self.vfs.flush(Deadline::after(FLUSH_ROUND)) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::TimedOut && wanted() => {}
                Err(error) => {
                    let sentence = format!(
                        "{} stays mounted, since not everything could be put: {error}; remove the cause and try \
                         again, or unmount with --timeout 0s: what cannot be put is kept for `kvfs recover`",
                        self.path().display()
                    );
                    return Err(Error::new(error.kind(), sentence));
                }
            }
        }
    }

    /// Takes the mount out of the tree; the session ends by that.
    ///
    /// # Errors
    /// `Busy`, with the programs that use it.
    pub fn detach(&self, how: Unmount) -> Result<()> {
        match device::unmount(self.path(), how) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                let sentence = format!(
                    "{} stays mounted: {}",
                    self.path().display(),
                    mount_users::sentence(self.path())
                );
                Err(Error::new(ErrorKind::Busy, sentence))
            }
            // Somebody else unmounted it at the same time.
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(()),
            other => other,
        }
    }

    /// Rewrites the store without its free space; its size before and after, in bytes.
    ///
    /// # Errors
    /// The store's: `Busy`, `Unsupported`.
    pub fn compact(&self) -> Result<(u64, u64)> {
        self.vfs.flush(Deadline::after(self.spec.timeout))?;
        self.store.compact()
    }

    /// What `kvfs status` shows.
    pub fn status(&self) -> Status {
        let mut facts = vec![("attributes", self.attributes.clone())];
        facts.extend(self.vfs.store().facts());
        facts.extend(Budget::global().facts());
        Status {
            source: self.shown.clone(),
            mount_point: self.path().to_owned(),
            process: std::process::id(),
            since: humantime::format_rfc3339_seconds(self.since).to_string(),
            read_only: self.spec.read_only || !self.vfs.store().caps().write,
            commit: crate::config::text::commit_text(self.spec.commit),
            log: None,
            facts: facts.into_iter().map(|(name, value)| Fact { name: name.to_owned(), value }).collect(),
            report: serde_json::to_value(self.vfs.report()).unwrap_or_default(),
        }
    }
}

/// Does something that may take longer than anybody waits; the receiver may be dropped.
fn in_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<mpsc::Receiver<T>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(sender.send(work())))
        .map_err(|e| Error::io("a thread", &e))?;
    Ok(receiver)
}

/// What `kvfs status` shows of one mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// SOURCE, without secrets.
    pub source: String,
    /// Where it is mounted.
    #[serde(with = "crate::config::text::path")]
    pub mount_point: PathBuf,
    /// The daemon's process id.
    pub process: u32,
    /// When it was mounted: RFC 3339, in UTC.
    pub since: String,
    /// Whether every change is refused.
    pub read_only: bool,
    /// How puts become commits, as asked for.
    pub commit: String,
    /// The log file of a daemon in the background.
    pub log: Option<PathBuf>,
    /// What the store tells of itself, in its order.
    pub facts: Vec<Fact>,
    /// What the Vfs counts: requests by operation, open files, inodes.
    pub report: serde_json::Value,
}

/// Something that a store tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    /// What it is about.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// A mount whose kernel side is still missing.
struct Parts {
    spec: MountSpec,
    shown: String,
    vfs: Arc<Vfs>,
    store: Arc<dyn Store>,
    stamps: Option<Arc<Stamps>>,
    attributes: String,
}

impl Parts {
    fn compose(
        spec: MountSpec,
        source: String,
        (store, attributes): (Arc<dyn Store>, String),
        opening: &Opening,
        own_files: &'static [&'static str],
    ) -> Result<Parts> {
        let mut shown = stack::shown(&store, &spec)?;
        let is_snapshot = spec.snapshot.is_some();
        let stamps = if is_snapshot { stack::stamped(&shown, &source, opening) } else { None };
        if let Some(stamps) = &stamps {
            shown = stamps.clone();
        }
        let (file_mode, directory_mode) = spec.modes();
        let uid = spec.uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let gid = spec.gid.unwrap_or_else(|| nix::unistd::getegid().as_raw());
        let usual = Usual { mode: file_mode, uid, gid };
        shown = stack::behind_network(shown, &spec, &source)?;
        if let Some(view) = spec.view {
            shown = view::over(view, spec.newline, shown)?;
        }
        shown = stack::with_scratch(shown, &spec, usual);
        // What lies over the store is closed with it; over a snapshot, it ends when it is dropped.
        let store = if is_snapshot { store } else { shown.clone() };
        if !own_files.is_empty() {
            shown = Arc::new(OwnFiles::new(shown, own_files));
        }
        let options = vfs::Options {
            uid,
            gid,
            file_mode,
            directory_mode,
            read_only: spec.read_only || is_snapshot || !shown.caps().write,
            timeout: spec.timeout,
            ttl: spec.ttl,
            ttl_of_absence: stack::ttl_of_absence(&spec, shown.caps()),
            source: source.clone(),
            exclusive_at_open: spec.exclusive == Exclusive::Open,
            spool: Spool::of_user(),
        };
        Ok(Parts { spec, shown: source, vfs: Vfs::new(shown, options), store, stamps, attributes })
    }

    fn mount(&self, device: Device, point: &MountPoint) -> Result<Session> {
        let flags = MountFlags {
            source: &self.shown,
            read_only: self.spec.read_only || self.spec.snapshot.is_some() || !self.vfs.store().caps().write,
            no_exec: self.spec.no_exec,
            allow_other: self.spec.allow_other,
        };
        let descriptor = device.mount(point.path(), &flags)?;
        let threads = threads(self.vfs.store().caps().pace);
        self.vfs.put_kept();
        match fuse::serve(self.vfs.clone(), descriptor, threads) {
            Ok(session) => {
                device::read_ahead(point.path());
                Ok(session)
            }
            Err(error) => {
                // Nobody answers: waiting for users to leave would be for ever.
                if let Err(left) = device::unmount(point.path(), Unmount::Detach) {
                    tracing::warn!("{left}");
                }
                Err(error)
            }
        }
    }
}

/// How many threads serve the mount: one blocks for as long as its request takes.
fn threads(pace: Pace) -> usize {
    match pace {
        Pace::Memory => std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
        Pace::Disk => 8,
        Pace::Network => 32,
    }
}
