//! The journal: what was accepted and is not committed yet, in two files of the state folder, so that a kill of
//! the daemon loses nothing (§8.3). It is appended without fsync: the page cache outlives the process, and no
//! promise about power cuts is made before `fsync`, which waits for the commit itself.
//!
//! Each generation of [`super::pending`] has one of the two files, which is emptied when its commit is done while
//! the next generation already goes into the other.
//!
//! The format is [`super::record`]'s.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::record::{self, Change, Head, Identity, Leftover};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use nix::fcntl::{Flock, FlockArg};

/// Both files together never grow over this: the bound of the pending map, with room for many overwrites.
const FILE_MAX: u64 = 64 << 20;
/// A file that grew over this is cut when it is emptied; a smaller one is written over.
const KEPT_MAX: u64 = 8 << 20;

/// The journal of one environment, held by one daemon.
#[derive(Debug)]
pub struct Journal {
    halves: [Half; 2],
    identity: Identity,
    sequence: u64,
    record: Vec<u8>,
}

#[derive(Debug)]
struct Half {
    path: PathBuf,
    file: Flock<File>,
    /// Where the next record goes.
    end: u64,
    /// The length of the head; 0 where it is not this environment's.
    head: u64,
}

/// Which of the two files: the one that gathers and the one being committed take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side(usize);

impl Side {
    /// The one to start with.
    pub const FIRST: Side = Side(0);

    /// The other one.
    #[must_use]
    pub fn other(self) -> Side {
        Side(1 - self.0)
    }
}

impl Journal {
    /// Opens the journal of an environment below the state folder `state`, and reads what a dead daemon left in it,
    /// which stays in the files until [`Journal::clear`].
    ///
    /// # Errors
    /// `Busy` while another daemon holds it; the folder's otherwise.
    pub fn open(state: &Path, identity: &Identity) -> Result<(Journal, Leftover)> {
        env::private_folder(&folder_of(state))?;
        let (mut leftover, mut sequence) = (Leftover::default(), 0);
        let mut open = |side: &str| -> Result<Half> {
            let path = path_of(state, identity, side);
            let file = lock(&path, true)?;
            let found = read(&file, &path)?;
            let end = file.metadata().map_err(|e| Error::io(path.display(), &e))?.len();
            // Also above what was damaged, or nobody could tell old records from new ones.
            sequence = sequence.max(found.as_ref().map_or(0, |found| found.head.first));
            let head = found.as_ref().filter(|found| found.head.identity == *identity);
            let head = head.map_or(0, |found| found.head.length as u64);
            leftover.add(found.map(|found| found.leftover).unwrap_or_default());
            Ok(Half { path, file, end, head })
        };
        let halves = [open("a")?, open("b")?];
        leftover.batches.sort_by_key(|batch| batch.sequence);
        sequence = leftover.batches.last().map_or(0, |batch| batch.sequence + 1).max(sequence);
        let mut journal = Journal { halves, identity: identity.clone(), sequence, record: Vec::new() };
        if leftover.batches.is_empty() {
            journal.clear_all()?;
        }
        Ok((journal, leftover))
    }

    /// Writes down `changes`, accepted while `follows` was the last transaction or was about to be: one `write`.
    ///
    /// # Errors
    /// `NoSpace` and the like; what was written down before is not touched.
    pub fn append(&mut self, side: Side, follows: u64, changes: &[Change]) -> Result<()> {
        self.record.clear();
        record::encode(&mut self.record, self.sequence, follows, changes)?;
        let half = &mut self.halves[side.0];
        if half.end + self.record.len() as u64 > FILE_MAX {
            return Err(Error::new(ErrorKind::NoSpace, "the journal is full until the next commit is done"));
        }
        // Half a record is cut as torn when the journal is read, and written over by the next one.
        write_at(&half.file, &half.path, &self.record, half.end)?;
        half.end += self.record.len() as u64;
        self.sequence += 1;
        Ok(())
    }

    /// Empties one file: what is in it is committed, or kept elsewhere.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear(&mut self, side: Side) -> Result<()> {
        let half = &mut self.halves[side.0];
        if half.head == 0 || half.end > KEPT_MAX {
            let head = record::head(&self.identity, self.sequence);
            half.file.set_len(0).map_err(|e| Error::io(half.path.display(), &e))?;
            write_at(&half.file, &half.path, &head, 0)?;
            half.head = head.len() as u64;
        } else {
            write_at(&half.file, &half.path, &self.sequence.to_le_bytes(), record::FIRST_AT)?;
        }
        half.end = half.head;
        Ok(())
    }

    /// Empties both files.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear_all(&mut self) -> Result<()> {
        self.clear(Side::FIRST)?;
        self.clear(Side::FIRST.other())
    }

    /// Copies the files to `folder`, for a person to look at; answers where.
    ///
    /// # Errors
    /// The file system's.
    pub fn copy_to(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        env::private_folder(folder)?;
        let copy = |half: &Half| {
            let since = env::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let name = half.path.file_name().unwrap_or_default().to_string_lossy();
            let path = folder.join(format!("journal-{name}-{since}"));
            fs::copy(&half.path, &path).map_err(|e| Error::io(path.display(), &e))?;
            Ok(path)
        };
        self.halves.iter().map(copy).collect()
    }

    /// Ends the journal: its files go. For a mount that has nothing pending.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(self) -> Result<()> {
        for half in &self.halves {
            fs::remove_file(&half.path).map_err(|e| Error::io(half.path.display(), &e))?;
        }
        Ok(())
    }
}

/// Whether there is a journal of this environment.
pub fn exists(state: &Path, identity: &Identity) -> bool {
    ["a", "b"].iter().any(|side| path_of(state, identity, side).exists())
}

fn path_of(state: &Path, identity: &Identity, side: &str) -> PathBuf {
    folder_of(state).join(format!("{:x}-{:x}-{:x}.{side}", identity.device, identity.inode, identity.born))
}

/// Takes the journals of environments that were opened at `path` and are not `identity`: the data file was replaced,
/// or the device has another number since a reboot. Those that a daemon still holds are left alone. The caller
/// keeps their bytes elsewhere before it removes the files.
///
/// # Errors
/// The folder's; a folder that is not there has none.
pub fn orphans(state: &Path, identity: &Identity) -> Result<Vec<(PathBuf, Leftover)>> {
    let folder = folder_of(state);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(folder.display(), &error)),
    };
    let mut orphans = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        // Locked by a living daemon, or not ours to read: not an orphan.
        let Ok(file) = lock(&path, false) else { continue };
        let Some(found) = read(&file, &path)? else { continue };
        let other = &found.head.identity;
        if !other.is_file_of(identity) && other.path == identity.path {
            orphans.push((path, found.leftover));
        }
    }
    orphans.sort_by_key(|(_, leftover)| leftover.batches.first().map(|batch| batch.sequence));
    Ok(orphans)
}

fn folder_of(state: &Path) -> PathBuf {
    state.join("journal")
}

/// Opens a file of the journal for this daemon alone; the lock ends with the daemon, however it ends.
fn lock(path: &Path, create: bool) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io(format_args!("the journal {}", path.display()), &e))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        Error::io(format_args!("the journal {} is held by another daemon", path.display()), &errno.into())
    })
}

fn write_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
    file.write_all_at(bytes, offset)
        .map_err(|e| Error::io(format_args!("the journal {}", path.display()), &e))
}

/// A journal file that was read.
struct Found {
    head: Head,
    leftover: Leftover,
}

/// Reads a whole file; `None` for one without a head: empty, or torn when it was made.
fn read(file: &File, path: &Path) -> Result<Option<Found>> {
    let length = file.metadata().map_err(|e| Error::io(path.display(), &e))?.len();
    if length > 2 * FILE_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{} is no journal of kvfs: it is too long", path.display()),
        ));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io(path.display(), &e))?;
    Ok(record::read_head(&bytes).map(|head| {
        let leftover = record::read_records(&bytes[head.length..], head.first);
        Found { head, leftover }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::pending::Bytes;
    use super::*;
    use crate::store::api::{Version, When};

    fn identity(inode: u64) -> Identity {
        Identity { device: 7, inode, born: 9, path: "/srv/db".into() }
    }

    fn change(key: &[u8], value: Option<&[u8]>) -> Change {
        Change {
            database: Bytes::from(&b""[..]),
            key: key.into(),
            value: value.map(Bytes::from),
            base: When::Always,
        }
    }

    /// Appends three records to one file, answers it and the offsets at which records end.
    fn three_records(state: &Path) -> (PathBuf, Vec<u64>) {
        let (mut journal, leftover) = Journal::open(state, &identity(1)).unwrap();
        assert_eq!(leftover, Leftover::default());
        let mut ends = vec![journal.halves[0].end];
        for key in [b"one", b"two", b"six"] {
            journal.append(Side::FIRST, 41, &[change(key, Some(b"kvfsBtch")), change(b"x", None)]).unwrap();
            ends.push(journal.halves[0].end);
        }
        (journal.halves[0].path.clone(), ends)
    }

    fn keys(leftover: &Leftover) -> Vec<&[u8]> {
        leftover.batches.iter().map(|batch| &*batch.changes[0].key).collect()
    }

    #[test]
    fn what_was_appended_is_found_by_the_next_daemon_in_order_and_only_by_it() {
        let state = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(state.path(), &identity(1)).unwrap();
        let base = When::Current(Version::of_content(b"old"));
        let first = Change { base, database: (*b"users").into(), ..change(b"\0k", Some(b"")) };
        journal.append(Side::FIRST, 41, &[first.clone(), change(b"gone", None)]).unwrap();
        journal.append(Side::FIRST.other(), 42, &[change(b"b", Some(b"2"))]).unwrap();
        journal.append(Side::FIRST, 41, &[change(b"c", Some(b"3"))]).unwrap();
        let busy = Journal::open(state.path(), &identity(1)).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy);
        drop(journal);

        let (mut journal, leftover) = Journal::open(state.path(), &identity(1)).unwrap();
        assert_eq!(leftover.batches[0].changes, [first, change(b"gone", None)]);
        assert_eq!(keys(&leftover), [&b"\0k"[..], b"b", b"c"]);
        assert_eq!(leftover.batches.iter().map(|batch| batch.follows).collect::<Vec<_>>(), [41, 42, 41]);
        journal.clear(Side::FIRST).unwrap();
        drop(journal);
        let (journal, leftover) = Journal::open(state.path(), &identity(1)).unwrap();
        assert_eq!(keys(&leftover), [b"b"]);
        drop(journal);
        let (mut journal, _) = Journal::open(state.path(), &identity(1)).unwrap();
        journal.clear_all().unwrap();
        // Written over, up to the middle of what was there.
        journal.append(Side::FIRST, 43, &[change(b"new", Some(b"5"))]).unwrap();
        drop(journal);
        let (journal, leftover) = Journal::open(state.path(), &identity(1)).unwrap();
        assert_eq!((keys(&leftover), leftover.unreadable), (vec![&b"new"[..]], 0));
        journal.remove().unwrap();
        assert_eq!(fs::read_dir(state.path().join("journal")).unwrap().count(), 0);
    }

    #[test]
    fn a_torn_end_is_cut_wherever_it_is_torn() {
        let state = tempfile::tempdir().unwrap();
        let (path, ends) = three_records(state.path());
        for torn in ends[2]..ends[3] {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(torn).unwrap();
            let (_, leftover) = Journal::open(state.path(), &identity(1)).unwrap();
            assert_eq!(keys(&leftover), [b"one", b"two"], "torn at {torn}");
            assert_eq!(leftover.unreadable, 0, "nothing accepted is missing");
            fs::remove_file(&path).unwrap();
            three_records(state.path());
        }
    }

    #[test]
    fn a_damaged_record_costs_itself_alone_and_marks_what_follows() {
        let state = tempfile::tempdir().unwrap();
        let (path, ends) = three_records(state.path());
        let whole = fs::read(&path).unwrap();
        for at in ends[1]..ends[2] {
            let mut bytes = whole.clone();
            bytes[at as usize] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let (_, leftover) = Journal::open(state.path(), &identity(1)).unwrap();
            assert_eq!(keys(&leftover), [b"one", b"six"], "damaged at {at}");
            assert_eq!(leftover.unreadable, ends[2] - ends[1]);
            assert_eq!(leftover.batches.iter().map(|b| b.after_damage).collect::<Vec<_>>(), [false, true]);
        }
    }

    #[test]
    fn a_record_without_changes_corrects_what_the_earlier_ones_follow() {
        let state = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(state.path(), &identity(1)).unwrap();
        journal.append(Side::FIRST, 42, &[change(b"a", None)]).unwrap();
        journal.append(Side::FIRST, 41, &[]).unwrap();
        drop(journal);
        let (_, leftover) = Journal::open(state.path(), &identity(1)).unwrap();
        assert_eq!((leftover.batches.len(), leftover.batches[0].follows), (1, 41));
    }

    #[test]
    fn journals_of_a_replaced_data_file_are_found_by_its_path() {
        let state = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(state.path(), &identity(1)).unwrap();
        journal.append(Side::FIRST, 1, &[change(b"a", Some(b"1"))]).unwrap();
        assert_eq!(orphans(state.path(), &identity(2)).unwrap(), [], "held by a living daemon");
        drop(journal);
        assert_eq!(orphans(state.path(), &identity(1)).unwrap(), []);
        let found = orphans(state.path(), &identity(2)).unwrap();
        assert_eq!(found.iter().map(|(_, leftover)| keys(leftover).len()).sum::<usize>(), 1);
    }
}
