//! What tells the bytes of a value from any others (§5.4, §5.5).

use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::store::api::Value;

/// How much of a value is looked at in one piece, in bytes.
const PIECE: u64 = 1 << 20;

/// Length and hash of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Length in bytes.
    pub len: u64,
    /// XXH3 of the bytes.
    pub hash: u64,
}

impl Fingerprint {
    /// Of bytes that are about to become a value.
    ///
    /// # Errors
    /// The spill file's.
    pub fn of_payload(body: &Payload) -> Result<Fingerprint> {
        if let Some(bytes) = body.as_slice() {
            return Ok(Fingerprint { len: body.len(), hash: XxHash3_64::oneshot(bytes) });
        }
        let mut hasher = XxHash3_64::new();
        body.pieces(&mut |piece| {
            hasher.write(piece);
            Ok(())
        })?;
        Ok(Fingerprint { len: body.len(), hash: hasher.finish() })
    }

    /// Of a value, read in pieces.
    ///
    /// # Errors
    /// As for reading.
    pub fn of_value(value: &dyn Value) -> Result<Fingerprint> {
        let mut hasher = XxHash3_64::new();
        let mut offset = 0;
        while offset < value.len() {
            let before = offset;
            value.read(offset, PIECE, &mut |piece| {
                hasher.write(piece);
                offset += piece.len() as u64;
            })?;
            if offset == before {
                return Err(Error::new(ErrorKind::Io, "the value ended before its length"));
            }
        }
        Ok(Fingerprint { len: value.len(), hash: hasher.finish() })
    }

    /// Whether it is that of `value`, whose bytes are read only where the length is the same.
    ///
    /// # Errors
    /// As for reading.
    pub fn is_of(self, value: &dyn Value) -> Result<bool> {
        Ok(self.len == value.len() && self == Fingerprint::of_value(value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::api::SharedBytes;

    #[test]
    fn a_payload_and_its_value_have_the_same_fingerprint() {
        for size in [0, 1, 5000, (3 << 20) + 7] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let body = Payload::of(&bytes).unwrap();
            let fingerprint = Fingerprint::of_payload(&body).unwrap();
            assert!(fingerprint.is_of(&SharedBytes(bytes.clone().into())).unwrap());
            assert!(!fingerprint.is_of(&SharedBytes([&bytes[..], b"x"].concat().into())).unwrap());
        }
    }
}
