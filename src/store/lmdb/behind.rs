//! Write-behind for one environment: what [`super::commit`] asks of it, and when it may be used at all.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::statfs::{self, FsType};

use super::commit::{Passage, Settings, WriteBehind};
use super::engine::Engine;
use super::environment::Environment;
use super::journal::{self, Journal};
use super::lock::OpeningLock;
use super::moment::Moment;
use super::opening::Access;
use super::pending::{Bytes, Entry, Generation};
use super::record::Identity;
use super::recover::{Recovered, recover};
use super::resolve::{Committed, Done, Held};
use super::table::{Name, Table, in_map_as_database};
use super::transaction::{Transaction, Writing};
use super::writer::Work;
use crate::env::{Deadline, Folders};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::spool::Spool;
use crate::store::api::{Version, When};
use crate::store::driver::{Commit, Opening};
use crate::store::flat::{Found, Separator, Step};

/// Flags of a database whose keys are in the order of their bytes, with one value each.
const PLAIN: u32 = 0;
/// File systems whose locks or pages may be another machine's or another daemon's, by the numbers of statfs(2).
const REMOTE: [i64; 12] = [
    0x6969,      // NFS
    0x517B,      // SMB
    0xFE53_4D42, // SMB2
    0xFF53_4D42, // CIFS
    0x6573_5546, // FUSE
    0x0102_1997, // 9P
    0x00C3_6400, // Ceph
    0x5346_414F, // AFS
    0x6B41_4653, // kAFS
    0x0BD0_0BD0, // Lustre
    0x0116_1970, // GFS2
    0x7461_636F, // OCFS2
];

/// The environment as the write-behind sees it. The engine owns the write-behind, so this holds it weakly.
pub(super) struct Below {
    engine: Weak<Engine>,
    environment: Arc<Environment>,
    separator: Separator,
    timeout: Duration,
}

impl Below {
    fn engine(&self) -> Result<Arc<Engine>> {
        self.engine.upgrade().ok_or_else(|| Error::new(ErrorKind::Io, "the store is closed"))
    }
}

/// What an engine has besides its writer, once it was started for writing.
pub(super) struct Ahead {
    /// `None` where every put waits for its own commit.
    pub(super) behind: Option<WriteBehind<Below>>,
    /// What became of an earlier daemon's journal.
    pub(super) recovered: Recovered,
}

/// Puts what an earlier daemon left in its journal, and starts the write-behind if `opening` asks for it and the
/// environment's lock can be relied on.
///
/// # Errors
/// The environment's; bytes of a journal that can be kept nowhere.
pub(super) fn start(engine: &Arc<Engine>, opening: &Opening) -> Result<Ahead> {
    let environment = Arc::clone(engine.environment());
    let below = Below {
        engine: Arc::downgrade(engine),
        environment: Arc::clone(&environment),
        separator: Separator::new(opening.separator.clone()),
        timeout: opening.timeout,
    };
    let mut ahead = Ahead { behind: None, recovered: Recovered::default() };
    let state = &Folders::get().state;
    let identity = identity_of(&environment);
    if environment.access != Access::Write {
        if journal::exists(state, &identity) {
            tracing::warn!("{}: puts of an earlier mount wait until it is mounted for writing", below.name());
        }
        return Ok(ahead);
    }
    let spool = Spool::at(state);
    recover_orphans(&below, &spool, state, &identity, &mut ahead.recovered)?;
    let within = match opening.commit {
        Commit::Within(time) => Some(time),
        _ => None,
    };
    let wanted = matches!(opening.commit, Commit::Auto | Commit::Within(_)) && is_local(&environment);
    if !wanted && !journal::exists(state, &identity) {
        return Ok(ahead);
    }
    let (mut journal, leftover) = match Journal::open(state, &identity) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!("{}: every put waits for its own commit: {error}", below.name());
            return Ok(ahead);
        }
    };
    if leftover.unreadable > 0 {
        let copies = journal.copy_to(&state.join("spool"))?;
        tracing::error!("{}: its journal is damaged, a copy is kept in {copies:?}", below.name());
    }
    ahead.recovered += recover(&below, &spool, &leftover, true)?;
    if !wanted {
        journal.remove()?;
        return Ok(ahead);
    }
    journal.clear_all()?;
    let settings = Settings { within, timeout: opening.timeout, journal, spool };
    ahead.behind = Some(WriteBehind::start(below, settings)?);
    Ok(ahead)
}

/// Which data file it is.
pub(super) fn identity_of(environment: &Environment) -> Identity {
    let (device, inode) = environment.identity();
    // By its path: after a compaction the descriptor held is the old file's.
    let made = std::fs::metadata(environment.place.data()).and_then(|found| found.created()).ok();
    let born = made.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    Identity { device, inode, born, path: environment.place.shown.clone() }
}

/// Takes up journals of data files that were here before this one.
fn recover_orphans(
    below: &Below,
    spool: &Spool,
    state: &Path,
    identity: &Identity,
    recovered: &mut Recovered,
) -> Result<()> {
    let orphans = journal::orphans(state, identity).unwrap_or_else(|error| {
        tracing::warn!("{}: journals of earlier mounts cannot be looked for: {error}", below.name());
        Vec::new()
    });
    for (path, leftover) in orphans {
        *recovered += recover(below, spool, &leftover, false)?;
        std::fs::remove_file(&path).map_err(|e| Error::io(path.display(), &e))?;
    }
    Ok(())
}

impl Engine {
    /// The write-behind, where puts need not wait for their own commit.
    pub(super) fn behind(&self) -> Option<&WriteBehind<Below>> {
        self.ahead()?.behind.as_ref()
    }

    /// Waits until nothing is pending, and keeps it so until the answer drops.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn pass(&self) -> Result<Option<Passage<'_, Below>>> {
        self.behind().map(|behind| behind.pass(self.deadline())).transpose()
    }

    /// Waits until all that was accepted before is committed.
    ///
    /// # Errors
    /// `TimedOut`; that of an earlier commit whose bytes are kept in the spool.
    pub(super) fn settle(&self) -> Result<()> {
        self.behind().map_or(Ok(()), |behind| behind.sync(self.deadline()))
    }

    /// As [`Engine::settle`], for whoever asks about one key of a database.
    ///
    /// # Errors
    /// As for [`Engine::settle`], of this key.
    pub(super) fn settle_key(&self, database: &[u8], key: &[u8]) -> Result<()> {
        self.behind().map_or(Ok(()), |behind| behind.sync_key(database, key, self.deadline()))
    }

    /// Commits what is pending and removes the journal until the next put: a mount ends, or the data file is
    /// replaced.
    ///
    /// # Errors
    /// As for [`Engine::settle`].
    pub(super) fn put_away(&self) -> Result<()> {
        self.behind().map_or(Ok(()), |behind| behind.put_away(self.deadline()))
    }

    /// Ends the write-behind: what is pending is committed, or stays in the journal for the next mount.
    pub(super) fn end_ahead(&self) {
        let ended = self.behind().map_or(Ok(()), |behind| behind.close(self.deadline()));
        if let Err(error) = ended {
            tracing::error!("{}: {error}", self.environment().place.shown.display());
        }
    }

    /// What `kvfs status` shows of commits.
    pub(super) fn commit_facts(&self) -> Vec<(&'static str, String)> {
        let Some(ahead) = self.ahead() else { return Vec::new() };
        let mode = ahead.behind.as_ref().map_or("close".to_owned(), WriteBehind::fact);
        vec![("commit", mode), ("journal", ahead.recovered.to_string())]
    }
}

/// Whether locks on the environment's files are this machine's alone.
fn is_local(environment: &Environment) -> bool {
    let Some(lock_file) = environment.lock_file() else { return false };
    [environment.data_file().as_fd(), lock_file]
        .into_iter()
        .all(|file| statfs::fstatfs(file).is_ok_and(|found| !is_remote(found.filesystem_type())))
}

fn is_remote(kind: FsType) -> bool {
    // The numbers have 32 bits; some systems extend their sign.
    REMOTE.contains(&(kind.0 & 0xFFFF_FFFF))
}

/// The database of this name; the main one has none.
fn named(database: &[u8]) -> Option<Name> {
    if database.is_empty() { Some(Name::Main) } else { Name::named(database) }
}

impl Committed for Below {
    fn takes(&self, database: &[u8]) -> bool {
        let Ok(engine) = self.engine() else { return false };
        let Some(name) = named(database) else { return false };
        !engine.order(&name).is_broken()
            && matches!(engine.enter(&name), Ok(Some((_, table))) if table.flags == PLAIN)
    }

    fn opening_lock(&self) -> Option<OpeningLock<'_>> {
        self.environment.lock_file().map(OpeningLock::of)
    }

    fn is_for_people(&self) -> bool {
        !self.environment.place.own
    }

    fn key_max(&self) -> usize {
        self.environment.key_max as usize
    }

    fn look(&self, database: &[u8], key: &[u8], with: &mut dyn FnMut(Held<'_>)) -> Result<()> {
        let engine = self.engine()?;
        let Some(name) = named(database) else {
            with(Held::Nothing);
            return Ok(());
        };
        let seen = engine.look(&Moment::Live, &name, |reading, table| {
            with(held(reading.get(table.handle, key)?, key, name == Name::Main));
            Ok(())
        })?;
        if seen.is_none() {
            with(Held::Nothing);
        }
        Ok(())
    }

    fn scan(&self, database: &[u8], from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        let engine = self.engine()?;
        let Some(name) = named(database) else { return Ok(()) };
        super::database::scan(&engine, &Moment::Live, &name, from, each)
    }

    fn last_transaction(&self) -> Result<u64> {
        self.environment.last_transaction()
    }

    fn room(&self) -> u64 {
        let Ok(info) = self.environment.info() else { return 0 };
        let used = (info.me_last_pgno as u64 + 1) * self.environment.page_size;
        let in_map = (info.me_mapsize as u64).saturating_sub(used);
        let disk = nix::sys::statvfs::fstatvfs(self.environment.data_file());
        let on_disk = disk.map_or(0, |d| d.blocks_available().saturating_mul(d.fragment_size()));
        in_map.min(on_disk)
    }

    fn commit(&self, generation: &Generation, follows: Option<u64>) -> Result<Done> {
        let engine = self.engine()?;
        let mut tables: Vec<(&Bytes, Name, Table)> = Vec::new();
        for database in generation.databases() {
            let Some(name) = named(database) else { continue };
            if let Some((_, table)) = engine.enter(&name)? {
                tables.push((database, name, table));
            }
        }
        let opened = self.environment.handles_opened();
        let mut done = Done::default();
        let mut work = |writing: &mut Writing<'_>| {
            if follows.is_some_and(|follows| follows + 1 != writing.id()) {
                return Err(Error::new(ErrorKind::Stale, "another program has committed in the meantime"));
            }
            // A database may have gone, or be of another kind now.
            let mut usable = Vec::with_capacity(tables.len());
            for (database, name, table) in &tables {
                if name.flags_in(writing)? == Some(PLAIN) {
                    usable.push((*database, *table, engine.order(name)));
                }
            }
            done.refused.clear();
            for (database, key, entry) in generation.iter() {
                let table = usable.iter().find(|(name, _, _)| *name == database);
                let kept = match table {
                    Some((_, table, order)) => {
                        order.check(writing, *table, key).is_ok()
                            && carry_out(writing, *table, database.is_empty(), key, entry)?
                    }
                    None => false,
                };
                if !kept {
                    done.refused.push((Arc::clone(database), Arc::clone(key)));
                }
            }
            done.transaction = writing.id() - u64::from(writing.changes() == 0);
            Ok(())
        };
        engine.writer().submit(Deadline::after(self.timeout), Work::Write(opened, &mut work))?;
        Ok(done)
    }

    fn open_journal(&self) -> Result<Journal> {
        let (journal, leftover) = Journal::open(&Folders::get().state, &identity_of(&self.environment))?;
        if leftover.batches.is_empty() && leftover.unreadable == 0 {
            return Ok(journal);
        }
        Err(Error::new(ErrorKind::Busy, "another daemon left puts in the journal: unmount and mount again"))
    }

    fn key_of(&self, database: &[u8], key: &[u8]) -> Key {
        let mut shown = Key::root();
        if !database.is_empty() {
            shown.push(Segment { bytes: database, word: Word::Db });
        }
        for segment in self.separator.split(key).segments() {
            shown.push(segment);
        }
        shown
    }

    fn name(&self) -> String {
        format!("lmdb:{}", self.environment.place.shown.display())
    }
}

fn held<'a>(value: Option<&'a [u8]>, key: &[u8], main: bool) -> Held<'a> {
    match value {
        None => Held::Nothing,
        Some(value) if main && in_map_as_database(key, value) => Held::Other,
        Some(value) => Held::Value(value),
    }
}

/// Puts or deletes one entry; `false` where its condition does not hold, or a named database is in its place.
fn carry_out(writing: &mut Writing<'_>, table: Table, main: bool, key: &[u8], entry: &Entry) -> Result<bool> {
    let now = held(writing.get(table.handle, key)?, key, main);
    let (present, holds) = match (now, &entry.base) {
        (Held::Other, _) => return Ok(false),
        (Held::Nothing, base) => (false, !matches!(base, When::Current(_)) || entry.value.is_none()),
        (Held::Value(_), When::Always) => (true, true),
        (Held::Value(value), base) => {
            let expected = matches!(base, When::Current(version) if Version::of_content(value) == *version);
            (true, expected || entry.value.as_deref() == Some(value))
        }
    };
    if !holds {
        return Ok(false);
    }
    match &entry.value {
        Some(value) => drop(writing.put(table.handle, key, value, 0)?),
        None if present => drop(writing.delete(table.handle, key, None)?),
        None => {}
    }
    Ok(true)
}
