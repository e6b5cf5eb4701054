//! One stamp, and its bytes: `length u64 | hash u64 | seconds i64 | nanoseconds u32 | state u64`, little-endian.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::fingerprint::Fingerprint;

/// What a value was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Of its bytes.
    pub fingerprint: Fingerprint,
    /// The time that its file showed.
    pub modified: SystemTime,
    /// The last state of the store in which it was known to be so.
    pub era: u64,
}

impl Stamp {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let since = self.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut bytes = Vec::with_capacity(36);
        bytes.extend_from_slice(&self.fingerprint.len.to_le_bytes());
        bytes.extend_from_slice(&self.fingerprint.hash.to_le_bytes());
        bytes.extend_from_slice(&since.as_secs().to_le_bytes());
        bytes.extend_from_slice(&since.subsec_nanos().to_le_bytes());
        bytes.extend_from_slice(&self.era.to_le_bytes());
        bytes
    }

    /// What these bytes say; `None` where they say nothing.
    pub fn decode(bytes: &[u8]) -> Option<Stamp> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (nanoseconds, rest) = rest.split_first_chunk()?;
        let era = rest.first_chunk().filter(|_| rest.len() == 8)?;
        let nanoseconds = u32::from_le_bytes(*nanoseconds);
        let since = (nanoseconds < 1_000_000_000)
            .then(|| Duration::new(u64::from_le_bytes(*seconds), nanoseconds))?;
        Some(Stamp {
            fingerprint: Fingerprint { len: u64::from_le_bytes(*len), hash: u64::from_le_bytes(*hash) },
            modified: UNIX_EPOCH.checked_add(since)?,
            era: u64::from_le_bytes(*era),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let fingerprint = Fingerprint { len: 7, hash: 8 };
        let modified = UNIX_EPOCH + Duration::new(9, 10);
        let stamp = Stamp { fingerprint, modified, era: u64::MAX };
        let bytes = stamp.encode();
        assert_eq!(Stamp::decode(&bytes), Some(stamp));
        for cut in 0..bytes.len() {
            assert_eq!(Stamp::decode(&bytes[..cut]), None);
        }
        assert_eq!(Stamp::decode(&[&bytes[..], b"x"].concat()), None);
    }
}
