//! What tells one version of a value from another.

use std::fmt;

use crate::error::Result;
use crate::payload::Payload;

/// What tells one version of a value from another: an etag, a revision, a hash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(pub smallvec::SmallVec<[u8; 24]>);

impl Version {
    /// The version of a value that is told apart by its content: its length and a 128-bit XXH3 of its bytes, for
    /// stores that keep no versions.
    pub fn of_content(bytes: &[u8]) -> Version {
        let mut version = smallvec::SmallVec::new();
        version.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        version.extend_from_slice(&twox_hash::XxHash3_128::oneshot(bytes).to_le_bytes());
        Version(version)
    }
}

impl Version {
    /// The same of a payload.
    ///
    /// # Errors
    /// The spill file's.
    pub fn of_payload(body: &Payload) -> Result<Version> {
        if let Some(bytes) = body.as_slice() {
            return Ok(Version::of_content(bytes));
        }
        let mut content = Content::default();
        body.pieces(&mut |piece| {
            content.add(piece);
            Ok(())
        })?;
        Ok(content.version())
    }
}

/// A value that is told apart by its content, and comes in pieces.
#[derive(Default)]
pub struct Content {
    hasher: twox_hash::xxhash3_128::Hasher,
    length: u64,
}

impl Content {
    /// The next bytes.
    pub fn add(&mut self, piece: &[u8]) {
        self.hasher.write(piece);
        self.length += piece.len() as u64;
    }

    /// The version of all bytes so far, as [`Version::of_content`] has it.
    pub fn version(&self) -> Version {
        let mut version = smallvec::SmallVec::new();
        version.extend_from_slice(&self.length.to_le_bytes());
        version.extend_from_slice(&self.hasher.finish_128().to_le_bytes());
        Version(version)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A [`Version`] that comes along with a [`Stat`], which is copied much and allocates nothing: a short one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    length: u8,
    bytes: [u8; Tag::MAX],
}

impl Tag {
    /// The longest, in bytes: the ETag of an upload in 10,000 parts has 40.
    pub const MAX: usize = 47;

    /// The same version; `None` for one that is too long.
    pub fn of(version: &[u8]) -> Option<Tag> {
        let mut bytes = [0; Tag::MAX];
        bytes.get_mut(..version.len())?.copy_from_slice(version);
        Some(Tag { length: version.len() as u8, bytes })
    }

    /// The version's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether it is this version.
    pub fn is(&self, version: &Version) -> bool {
        self.as_bytes() == version.0.as_slice()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_version_comes_along_and_a_long_one_does_not() {
        let etag = Tag::of(b"\"d41d8cd98f00b204e9800998ecf8427e-10000\"").unwrap();
        assert!(etag.is(&Version(etag.as_bytes().into())));
        assert!(!etag.is(&Version::of_content(b"x")));
        assert_ne!(Tag::of(b"a"), Tag::of(b"a\0"));
        assert_eq!(Tag::of(&[7; Tag::MAX + 1]), None);
    }
}
