//! What the sidecar keeps of one file or directory, and its bytes:
//!
//! ```text
//! record: fields u16 | each field that is there, in the order of the bits | extended attributes
//! time:   seconds since 1970 i64 | nanoseconds u32
//! extended attributes: each: length u32, name, length u32, value
//! name:   type u8 | length u32, target | record
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::attributes::{Attributes, FileType, Xattrs};
use crate::store::fingerprint::Fingerprint;

/// What is kept of one file or directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Its attributes; `mtime` and `ctime` are those of the bytes that `fingerprint` tells.
    pub attributes: Attributes,
    /// The value that the times belong to; none for a directory, and where there are no times.
    pub fingerprint: Option<Fingerprint>,
    /// In which epoch the times were last known to hold.
    pub epoch: u64,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// What exists in the sidecar alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A directory; what is kept of it is kept as for any other.
    Directory,
    /// A file that is none of bytes: its record has the type.
    Special {
        /// The target of a symbolic link.
        target: Box<[u8]>,
        /// What is kept of it.
        record: Record,
    },
}

const MODE: u16 = 1;
const UID: u16 = 1 << 1;
const GID: u16 = 1 << 2;
const ATIME: u16 = 1 << 3;
const MTIME: u16 = 1 << 4;
const CTIME: u16 = 1 << 5;
const INO: u16 = 1 << 6;
const FINGERPRINT: u16 = 1 << 7;

const TYPES: [(u8, Option<FileType>); 4] = [
    (b'd', None),
    (b'l', Some(FileType::Symlink)),
    (b'p', Some(FileType::Fifo)),
    (b's', Some(FileType::Socket)),
];

impl Record {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.attributes == Attributes::default() && self.xattrs.is_empty()
    }

    /// Whether it has times that hold only for some bytes, or some epoch.
    pub fn has_times(&self) -> bool {
        self.attributes.mtime.is_some() || self.attributes.ctime.is_some()
    }

    /// Forgets the times: they belong to something else than what is there now.
    pub fn drop_times(&mut self) {
        self.attributes.mtime = None;
        self.attributes.ctime = None;
        self.fingerprint = None;
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        self.encode_into(&mut bytes);
        bytes
    }

    fn encode_into(&self, bytes: &mut Vec<u8>) {
        let Attributes { file_type: _, mode, uid, gid, atime, mtime, ctime, ino } = self.attributes;
        let start = bytes.len();
        bytes.extend_from_slice(&[0, 0]);
        let mut fields = 0;
        for (bit, number) in [(MODE, mode), (UID, uid), (GID, gid)] {
            if let Some(number) = number {
                fields |= bit;
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        for (bit, time) in [(ATIME, atime), (MTIME, mtime), (CTIME, ctime)] {
            if let Some(time) = time {
                fields |= bit;
                let (seconds, nanoseconds) = parts_of(time);
                bytes.extend_from_slice(&seconds.to_le_bytes());
                bytes.extend_from_slice(&nanoseconds.to_le_bytes());
            }
        }
        if let Some(ino) = ino {
            fields |= INO;
            bytes.extend_from_slice(&ino.to_le_bytes());
        }
        if let Some(Fingerprint { len, hash }) = self.fingerprint {
            fields |= FINGERPRINT;
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&hash.to_le_bytes());
        }
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes[start..start + 2].copy_from_slice(&fields.to_le_bytes());
        for (name, value) in &self.xattrs {
            for part in [name, value] {
                bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
    }

    /// The record with these bytes; `None` where they are none.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let mut rest = Rest(bytes);
        let mut record = Record::decode_head(&mut rest)?;
        while !rest.0.is_empty() {
            let name = rest.counted()?;
            record.xattrs.insert(name.into(), rest.counted()?.into());
        }
        Some(record)
    }

    /// As [`Record::decode`], without the extended attributes, which a listing does not ask for.
    pub fn decode_attributes(bytes: &[u8]) -> Option<Record> {
        Record::decode_head(&mut Rest(bytes))
    }

    fn decode_head(rest: &mut Rest<'_>) -> Option<Record> {
        let fields = u16::from_le_bytes(rest.array()?);
        let has = |bit| fields & bit != 0;
        let mut record = Record::default();
        let attributes = &mut record.attributes;
        for (bit, number) in
            [(MODE, &mut attributes.mode), (UID, &mut attributes.uid), (GID, &mut attributes.gid)]
        {
            if has(bit) {
                *number = Some(u32::from_le_bytes(rest.array()?));
            }
        }
        for (bit, time) in
            [(ATIME, &mut attributes.atime), (MTIME, &mut attributes.mtime), (CTIME, &mut attributes.ctime)]
        {
            if has(bit) {
                let seconds = i64::from_le_bytes(rest.array()?);
                *time = Some(time_of(seconds, u32::from_le_bytes(rest.array()?))?);
            }
        }
        if has(INO) {
            attributes.ino = Some(u64::from_le_bytes(rest.array()?));
        }
        if has(FINGERPRINT) {
            let len = u64::from_le_bytes(rest.array()?);
            record.fingerprint = Some(Fingerprint { len, hash: u64::from_le_bytes(rest.array()?) });
        }
        record.epoch = u64::from_le_bytes(rest.array()?);
        Some(record)
    }
}

impl Name {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (file_type, target, record) = match self {
            Name::Directory => (None, &[][..], &Record::default()),
            Name::Special { target, record } => (Some(record.attributes.file_type), &**target, record),
        };
        let letter = TYPES.iter().find(|(_, is)| *is == file_type).map_or(b'd', |(letter, _)| *letter);
        let mut bytes = vec![letter];
        bytes.extend_from_slice(&(target.len() as u32).to_le_bytes());
        bytes.extend_from_slice(target);
        record.encode_into(&mut bytes);
        bytes
    }

    /// The name with these bytes; `None` where they are none.
    pub fn decode(bytes: &[u8]) -> Option<Name> {
        let mut rest = Rest(bytes);
        let [letter] = rest.array()?;
        let file_type = TYPES.iter().find(|(is, _)| *is == letter)?.1;
        let target = rest.counted()?.into();
        let mut record = Record::decode(rest.0)?;
        Some(match file_type {
            None => Name::Directory,
            Some(file_type) => {
                record.attributes.file_type = file_type;
                Name::Special { target, record }
            }
        })
    }
}

/// What is left to decode.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (counted, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(counted)
    }
}

/// Seconds since 1970, of times before it the next lower one, and nanoseconds from there.
fn parts_of(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -(before.as_secs() as i64);
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    }
}

fn time_of(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    (nanoseconds < 1_000_000_000).then_some(())?;
    time?.checked_add(Duration::from_nanos(nanoseconds.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times() -> impl Strategy<Value = Option<SystemTime>> {
        prop::option::of((-5_000_000_000i64..50_000_000_000, 0u32..1_000_000_000))
            .prop_map(|parts| parts.and_then(|(seconds, nanoseconds)| time_of(seconds, nanoseconds)))
    }

    fn records() -> impl Strategy<Value = Record> {
        let numbers = prop::array::uniform3(prop::option::of(any::<u32>()));
        let times = [times(), times(), times()];
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let xattrs = prop::collection::btree_map(bytes(), bytes(), 0..4);
        let rest = (prop::option::of(any::<u64>()), prop::option::of(any::<(u64, u64)>()), any::<u64>());
        (numbers, times, rest, xattrs).prop_map(|(numbers, times, (ino, fingerprint, epoch), xattrs)| {
            let [mode, uid, gid] = numbers;
            let [atime, mtime, ctime] = times;
            let file_type = FileType::Regular;
            Record {
                attributes: Attributes { file_type, mode, uid, gid, atime, mtime, ctime, ino },
                fingerprint: fingerprint.map(|(len, hash)| Fingerprint { len, hash }),
                epoch,
                xattrs: xattrs.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn every_record_comes_back(record in records(), target in prop::collection::vec(any::<u8>(), 0..99)) {
            let bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes), Some(record.clone()));
            let head = Record::decode_attributes(&bytes).unwrap();
            prop_assert_eq!(head.attributes, record.attributes);
            for file_type in [FileType::Symlink, FileType::Fifo, FileType::Socket] {
                let mut record = record.clone();
                record.attributes.file_type = file_type;
                let name = Name::Special { target: target.clone().into(), record };
                prop_assert_eq!(Name::decode(&name.encode()), Some(name));
            }
            prop_assert_eq!(Name::decode(&Name::Directory.encode()), Some(Name::Directory));
        }

        #[test]
        fn other_bytes_are_no_record_and_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Record::decode(&bytes), Name::decode(&bytes), Record::decode_attributes(&bytes));
        }
    }

    #[test]
    fn times_before_1970_and_far_ahead_are_kept_to_the_nanosecond() {
        for time in [
            UNIX_EPOCH - Duration::new(1, 1),
            UNIX_EPOCH - Duration::from_secs(7),
            UNIX_EPOCH + Duration::new(1 << 40, 999_999_999),
        ] {
            let (seconds, nanoseconds) = parts_of(time);
            assert_eq!(time_of(seconds, nanoseconds), Some(time));
        }
    }
}
