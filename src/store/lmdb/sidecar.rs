//! The sidecar of an environment: another environment, in `.kvfs` inside the folder of the first, or in `FILE.kvfs`
//! beside a single file. It is reached through the folder's descriptor, which an in-place mount does not hide.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::Flock;
use parking_lot::Mutex;

use super::KEY_MAX;
use super::alone::alone;
use super::check::Extent;
use super::database::Database;
use super::engine::{Engine, Terms};
use super::moment::Moment;
use super::place::Place;
use super::registry::FileId;
use super::table::Name;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Usage, Value};
use crate::store::driver::{Commit, Opening};
use crate::store::flat::{Edit, Found, Kv, Step};
use crate::store::home::Home;

/// Where the sidecar of one environment is.
pub(super) struct Beside {
    /// The environment's own place.
    place: Place,
    opening: Opening,
    map: Mutex<Option<Arc<Map>>>,
    /// Whether it is one moment: what was not there then does not come.
    fixed: bool,
    /// Until it is closed.
    one_writer: Mutex<Option<Arc<OneWriter>>>,
}

/// The main database of an environment of our own.
pub(super) struct Map {
    database: Database,
    moment: Moment,
    engine: Arc<Engine>,
}

/// The right to write attributes of one environment: one process has it, for all its mounts (§8.6).
struct OneWriter {
    #[allow(dead_code, reason = "its drop gives the right up")]
    file: Flock<File>,
}

/// How long a daemon that was killed is waited for.
const ENDING: Duration = Duration::from_secs(1);

static WRITERS: LazyLock<Mutex<HashMap<FileId, Weak<OneWriter>>>> = LazyLock::new(Mutex::default);

impl OneWriter {
    /// Takes the right to write beside the environment at `place`. `None` where its file system keeps no such locks.
    fn take(place: &Place) -> Result<Option<Arc<OneWriter>>> {
        let fail = |e: std::io::Error| Error::io(place.shown.display(), &e);
        // LMDB has no locks on its data file, which closing a descriptor of it could drop.
        let path = if place.single { place.data() } else { place.through_folder() };
        let file = File::open(path).map_err(fail)?;
        let found = file.metadata().map_err(fail)?;
        let identity = (found.dev(), found.ino());
        let mut writers = WRITERS.lock();
        writers.retain(|_, writer| writer.strong_count() > 0);
        if let Some(writer) = writers.get(&identity).and_then(Weak::upgrade) {
            return Ok(Some(writer));
        }
        let file = match alone(file, ENDING) {
            Ok(file) => file,
            Err(Errno::EWOULDBLOCK) => {
                let sentence = format!(
                    "another daemon has {} mounted for writing (kvfs status), and attributes have one writer: \
                     unmount it, or mount with --read-only or --attrs none",
                    place.shown.display()
                );
                return Err(Error::new(ErrorKind::Busy, sentence));
            }
            Err(errno) => {
                tracing::warn!(
                    "{}: nothing keeps a second daemon from writing attributes: {errno}",
                    place.shown.display()
                );
                return Ok(None);
            }
        };
        let writer = Arc::new(OneWriter { file });
        writers.insert(identity, Arc::downgrade(&writer));
        Ok(Some(writer))
    }
}

impl Beside {
    /// The place beside the environment that `opening` opens, which is open already.
    ///
    /// # Errors
    /// `Busy` where another process writes there.
    pub(super) fn of(opening: &Opening) -> Result<Beside> {
        let Some(path) = &opening.location else {
            return Err(Error::new(ErrorKind::Invalid, "an LMDB environment has a place"));
        };
        let place = Place::find(path, false)?;
        let one_writer = if opening.read_only { None } else { OneWriter::take(&place)? };
        // Nobody else has it open, so it can always gather; and nobody waits for the disk but with the store.
        let opening = Opening { commit: Commit::Auto, separator: None, ..opening.clone() };
        Ok(Beside { place, opening, map: Mutex::new(None), fixed: false, one_writer: Mutex::new(one_writer) })
    }

    fn path(&self, of: &Path) -> PathBuf {
        if !self.place.single {
            return of.join(".kvfs");
        }
        let mut name = self.place.shown.file_name().unwrap_or_default().to_os_string();
        name.push(".kvfs");
        of.join(name)
    }

    fn shown_path(&self) -> PathBuf {
        let shown = &self.place.shown;
        let parent = shown.parent().filter(|parent| !parent.as_os_str().is_empty());
        if self.place.single { self.path(parent.unwrap_or(Path::new("."))) } else { self.path(shown) }
    }

    fn open_map(&self, create: bool) -> Result<Option<Arc<Map>>> {
        open_map(&self.path(&self.place.through_folder()), self.shown_path(), &self.opening, create)
    }
}

/// The environment in the folder `path`, called `shown` in sentences; made where `create` asks for it.
pub(super) fn open_map(
    path: &Path,
    shown: PathBuf,
    opening: &Opening,
    create: bool,
) -> Result<Option<Arc<Map>>> {
    let fail = |e: std::io::Error| Error::io(shown.display(), &e);
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => {
            let sentence = format!("{} is not a folder", shown.display());
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Ok(_) if !create && !path.join("data.mdb").exists() => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
            fs::DirBuilder::new().mode(0o700).create(path).map_err(fail)?;
            return open_environment(path, shown.clone(), opening, true).inspect_err(|_| {
                if let Err(error) = fs::remove_dir(path) {
                    tracing::warn!("{} was made and stays: {error}", shown.display());
                }
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    }
    open_environment(path, shown, opening, create)
}

fn open_environment(
    path: &Path,
    shown: PathBuf,
    opening: &Opening,
    create: bool,
) -> Result<Option<Arc<Map>>> {
    let place = Place::find(path, create)?.own_as(shown);
    let terms = Terms {
        read_only: opening.read_only,
        create,
        map_size: None,
        extent: if opening.check { Extent::All } else { Extent::First },
        timeout: opening.timeout,
    };
    let engine = Engine::open_place(place, terms, opening)?;
    engine.join();
    Ok(Some(Arc::new(Map::new(engine, Moment::Live))))
}

/// Removes the environment in the folder `path`, and the folder where nothing else is in it; false where there is none.
pub(super) fn remove_map(path: &Path, shown: &Path) -> Result<bool> {
    let fail = |e: std::io::Error| Error::io(shown.display(), &e);
    // Its own files alone: whatever else somebody put there keeps the folder.
    for name in ["data.mdb", "lock.mdb"] {
        match fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
    }
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fail(error)),
    }
}

impl Home for Beside {
    fn open(&self, create: bool) -> Result<Option<Arc<dyn Kv>>> {
        let mut map = self.map.lock();
        if map.is_none() && !self.fixed {
            *map = self.open_map(create && !self.opening.read_only)?;
        }
        Ok(map.clone().map(|map| map as Arc<dyn Kv>))
    }

    fn shown(&self) -> String {
        self.shown_path().display().to_string()
    }

    fn key_max(&self) -> usize {
        KEY_MAX as usize
    }

    fn snapshot(&self) -> Result<Box<dyn Home>> {
        let map = match &*self.map.lock() {
            Some(map) => Some(Arc::new(map.held()?)),
            None => None,
        };
        let place = self.place.again()?;
        let opening = Opening { read_only: true, ..self.opening.clone() };
        let one_writer = Mutex::new(None);
        Ok(Box::new(Beside { place, opening, map: Mutex::new(map), fixed: true, one_writer }))
    }

    fn close(&self) -> Result<()> {
        let closed = self.map.lock().as_ref().map_or(Ok(()), |map| map.close());
        drop(self.one_writer.lock().take());
        closed
    }

    fn remove(&self) -> Result<bool> {
        remove_map(&self.path(&self.place.through_folder()), &self.shown_path())
    }
}

impl Map {
    fn new(engine: Arc<Engine>, moment: Moment) -> Map {
        let database = Database::new(Arc::clone(&engine), moment.clone(), Name::Main);
        Map { database, moment, engine }
    }

    /// The newest moment, held.
    pub(super) fn held(&self) -> Result<Map> {
        let moment = match &self.moment {
            Moment::Live => Moment::Fixed(Arc::new(self.engine.snapshot()?)),
            fixed => fixed.clone(),
        };
        Ok(Map::new(Arc::clone(&self.engine), moment))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // Where nobody called `close`. What cannot be committed stays in the journal, or is in the spool.
        if matches!(self.moment, Moment::Live)
            && let Err(error) = self.engine.settle()
        {
            tracing::error!("{}: {error}", self.engine.environment().place.shown.display());
        }
    }
}

impl Kv for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.database.get(key)
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        self.database.open(key)
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        self.database.scan(from, each)
    }

    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        self.database.write(edits)
    }

    fn changed(&self) -> SystemTime {
        self.database.changed()
    }

    fn sync(&self) -> Result<()> {
        self.database.sync()
    }

    fn usage(&self) -> Usage {
        self.engine.watchers().usage()
    }

    fn compact(&self) -> Result<(u64, u64)> {
        self.engine.compact()
    }

    fn close(&self) -> Result<()> {
        match self.moment {
            Moment::Live => self.engine.leave(),
            Moment::Fixed(_) => Ok(()),
        }
    }
}
