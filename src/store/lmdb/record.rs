//! The records of the journal: their bytes, and how they are read again after a daemon died.
//!
//! ```text
//!  file    = head record*
//!  head    = "kvfsJrn1" first:u64 device:u64 inode:u64 born:u64 length:u16 path   the environment it belongs to
//!  record  = "kvfsBtch" length:u32 checksum:u64 body                              XXH3-64 of the body
//!  body    = sequence:u64 follows:u64 count:u32 change*                           follows: a transaction id
//!  change  = base:u8 kind:u8 database:u16 key:u32 value:u32 version:u16           the lengths of what comes next
//!            name-of-database key value version-of-the-base
//! ```
//!
//! Numbers are little-endian. A record without changes only says which transaction the earlier ones follow. A record
//! whose sequence is below the head's `first` is done with: a file is emptied by that number alone, and its pages
//! are written over, which costs a third of appending to a file that was cut.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use twox_hash::XxHash3_64;

use super::pending::Bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Version, When};

const FILE_MAGIC: &[u8; 8] = b"kvfsJrn1";
const RECORD_MAGIC: &[u8; 8] = b"kvfsBtch";
/// Magic, length and checksum before a record's body.
const RECORD_HEAD: usize = 8 + 4 + 8;

/// One accepted change, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The database; empty is the main one.
    pub database: Bytes,
    /// The key in it.
    pub key: Bytes,
    /// The new bytes; `None`: the key goes.
    pub value: Option<Bytes>,
    /// Under which condition it was accepted.
    pub base: When,
}

/// Changes that were accepted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its place among all batches of both files.
    pub sequence: u64,
    /// The transaction that was the last one when it was accepted, or the one that was about to be.
    pub follows: u64,
    /// What was accepted, in order.
    pub changes: Vec<Change>,
    /// Whether a damaged record lies before it: something accepted earlier is unknown.
    pub after_damage: bool,
}

/// What a dead daemon left: batches in the order they were accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftover {
    /// The batches that are whole.
    pub batches: Vec<Batch>,
    /// Bytes between records that made none: damage.
    pub unreadable: u64,
}

/// Which environment a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device of its data file.
    pub device: u64,
    /// The inode of its data file.
    pub inode: u64,
    /// When the data file was made, in nanoseconds since 1970, since inodes are used again; 0 where nobody knows.
    pub born: u64,
    /// Where it was opened.
    pub path: PathBuf,
}

impl Identity {
    /// Whether both are the same data file, wherever it is.
    pub fn is_file_of(&self, other: &Identity) -> bool {
        (self.device, self.inode, self.born) == (other.device, other.inode, other.born)
    }
}

impl Leftover {
    /// Adds what another file of the same journal holds.
    pub fn add(&mut self, other: Leftover) {
        self.batches.extend(other.batches);
        self.unreadable += other.unreadable;
    }
}

/// Where `first` is in a file.
pub const FIRST_AT: u64 = FILE_MAGIC.len() as u64;

/// What a journal file of this environment begins with, before its first record.
pub fn head(identity: &Identity, first: u64) -> Vec<u8> {
    let path = identity.path.as_os_str().as_bytes();
    let path = &path[..path.len().min(u16::MAX as usize)];
    let mut head = Vec::with_capacity(42 + path.len());
    head.extend_from_slice(FILE_MAGIC);
    head.extend_from_slice(&first.to_le_bytes());
    head.extend_from_slice(&identity.device.to_le_bytes());
    head.extend_from_slice(&identity.inode.to_le_bytes());
    head.extend_from_slice(&identity.born.to_le_bytes());
    head.extend_from_slice(&(path.len() as u16).to_le_bytes());
    head.extend_from_slice(path);
    head
}

/// The head of a journal file.
#[derive(Debug)]
pub struct Head {
    /// The environment that the file belongs to.
    pub identity: Identity,
    /// The sequence of the first record that counts.
    pub first: u64,
    /// The length of the head in bytes.
    pub length: usize,
}

/// The head of a journal file; `None` where there is no whole one.
pub fn read_head(bytes: &[u8]) -> Option<Head> {
    let mut parts = Parts(bytes);
    if parts.take(8)? != FILE_MAGIC {
        return None;
    }
    let (first, device, inode, born) = (parts.u64()?, parts.u64()?, parts.u64()?, parts.u64()?);
    let path_length = parts.u16()?;
    let path = std::ffi::OsStr::from_bytes(parts.take(path_length.into())?);
    let identity = Identity { device, inode, born, path: path.into() };
    Some(Head { identity, first, length: bytes.len() - parts.0.len() })
}

/// Every whole record from the sequence `first` on. Where one is damaged, the next one is looked for by its magic
/// bytes; behind the last one are a torn record, or what an earlier use of the file left.
pub fn read_records(bytes: &[u8], first: u64) -> Leftover {
    let mut leftover = Leftover::default();
    let (mut at, mut end, mut least) = (0, 0, first);
    while at < bytes.len() {
        let Some((mut batch, length)) =
            read_record(&bytes[at..]).filter(|(batch, _)| batch.sequence >= least)
        else {
            let next = bytes[at + 1..].windows(RECORD_MAGIC.len()).position(|window| window == RECORD_MAGIC);
            at = next.map_or(bytes.len(), |distance| at + 1 + distance);
            continue;
        };
        leftover.unreadable += (at - end) as u64;
        batch.after_damage = leftover.unreadable > 0;
        least = batch.sequence + 1;
        if batch.changes.is_empty() {
            leftover.batches.iter_mut().for_each(|earlier| earlier.follows = batch.follows);
        } else {
            leftover.batches.push(batch);
        }
        at += length;
        end = at;
    }
    leftover
}

fn read_record(bytes: &[u8]) -> Option<(Batch, usize)> {
    let mut parts = Parts(bytes);
    if parts.take(8)? != RECORD_MAGIC {
        return None;
    }
    let length = parts.u32()? as usize;
    let checksum = parts.u64()?;
    let body = parts.take(length)?;
    if XxHash3_64::oneshot(body) != checksum {
        return None;
    }
    let mut parts = Parts(body);
    let (sequence, follows, count) = (parts.u64()?, parts.u64()?, parts.u32()?);
    let changes = (0..count).map(|_| read_change(&mut parts)).collect::<Option<Vec<_>>>()?;
    Some((Batch { sequence, follows, changes, after_damage: false }, RECORD_HEAD + length))
}

fn read_change(parts: &mut Parts<'_>) -> Option<Change> {
    let (base, kind) = (parts.u8()?, parts.u8()?);
    let (database, key, value, version) = (parts.u16()?, parts.u32()?, parts.u32()?, parts.u16()?);
    let database = parts.take(database.into())?.into();
    let key = parts.take(key as usize)?.into();
    let value = parts.take(value as usize)?;
    let version = parts.take(version.into())?;
    Some(Change {
        database,
        key,
        value: (kind == 1).then(|| value.into()),
        base: match base {
            0 => When::Always,
            1 => When::Absent,
            _ => When::Current(Version(version.into())),
        },
    })
}

/// Appends the record of a batch.
///
/// # Errors
/// `TooBig` for a key or value that no store of this kind holds.
pub fn encode(record: &mut Vec<u8>, sequence: u64, follows: u64, changes: &[Change]) -> Result<()> {
    record.extend_from_slice(RECORD_MAGIC);
    record.extend_from_slice(&[0; RECORD_HEAD - RECORD_MAGIC.len()]);
    record.extend_from_slice(&sequence.to_le_bytes());
    record.extend_from_slice(&follows.to_le_bytes());
    record.extend_from_slice(&(changes.len() as u32).to_le_bytes());
    for change in changes {
        let value = change.value.as_deref().unwrap_or_default();
        let (base, version): (u8, &[u8]) = match &change.base {
            When::Always => (0, &[]),
            When::Absent => (1, &[]),
            When::Current(version) => (2, &version.0),
        };
        record.extend_from_slice(&[base, change.value.is_some().into()]);
        record.extend_from_slice(&length::<u16>(change.database.len())?.to_le_bytes());
        record.extend_from_slice(&length::<u32>(change.key.len())?.to_le_bytes());
        record.extend_from_slice(&length::<u32>(value.len())?.to_le_bytes());
        record.extend_from_slice(&length::<u16>(version.len())?.to_le_bytes());
        record.extend_from_slice(&change.database);
        record.extend_from_slice(&change.key);
        record.extend_from_slice(value);
        record.extend_from_slice(version);
    }
    let body = &record[RECORD_HEAD..];
    let (size, checksum) = (length::<u32>(body.len())?, XxHash3_64::oneshot(body));
    record[8..12].copy_from_slice(&size.to_le_bytes());
    record[12..20].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

fn length<T: TryFrom<usize>>(length: usize) -> Result<T> {
    T::try_from(length).map_err(|_| Error::new(ErrorKind::TooBig, "a change is too long for the journal"))
}

/// What is left to read of a file.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A hostile or rotten file is never a panic, and never more than its own bytes.
        #[test]
        fn any_bytes_can_be_read(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic {
                bytes.splice(0..0, RECORD_MAGIC.iter().copied());
            }
            prop_assert!(read_records(&bytes, 0).unreadable <= bytes.len() as u64);
        }
    }
}
