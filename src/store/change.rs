//! What a store is asked to change, and under which condition.

use super::api::Version;
use super::attributes::{FileType, Setting};
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::payload::Payload;

/// One change; a slice of them is one call of [`Store::apply`](super::api::Store::apply).
#[derive(Debug)]
pub enum Change<'a> {
    /// The value of `key` becomes `body`.
    Put {
        /// Whose value.
        key: &'a Key,
        /// Its new bytes.
        body: &'a Payload,
        /// Under which condition.
        when: When,
    },
    /// The value of `key` goes; what lies below stays. Absent is no error with [`When::Always`].
    Delete {
        /// Whose value.
        key: &'a Key,
        /// Under which condition.
        when: When,
    },
    /// The value of `from` moves to `to`; with `tree` everything below it too. What is at `to` is replaced where
    /// `replace`, else it is `Exists`; below a `to` that is a tree there is nothing but a marker (the caller's care).
    Rename {
        /// The old key; `NotFound` when nothing is there.
        from: &'a Key,
        /// The new key.
        to: &'a Key,
        /// Whether everything below moves too.
        tree: bool,
        /// Whether a value at `to` may go.
        replace: bool,
    },
    /// Makes a directory that lasts: a marker or a native branch (§2.2). `Exists` where something is there.
    Branch {
        /// The directory.
        key: &'a Key,
    },
    /// Removes the marker of a directory; `NotEmpty` when there is more below it (§2.5). Absent is no error.
    RemoveBranch {
        /// The directory.
        key: &'a Key,
    },
    /// Makes a file that is none of bytes (§5.2). `Exists` where something is there.
    Make {
        /// Where.
        key: &'a Key,
        /// Which type; not [`FileType::Regular`].
        file_type: FileType,
        /// The target of a symbolic link; of others, nothing.
        target: &'a [u8],
    },
    /// Sets attributes of the file at `key`, or of the directory, where [`Caps::attributes`](super::api::Caps::attributes) says that they are kept.
    /// Right behind a change that makes or puts the same key it is part of that: they are seen together.
    Set {
        /// Whose attributes.
        key: &'a Key,
        /// Whether the directory is meant, and not the value's file.
        directory: bool,
        /// What is set.
        attributes: &'a Setting,
    },
}

impl<'a> Change<'a> {
    /// The keys that it names: of a rename the old one and the new one.
    pub fn keys(&self) -> (&'a Key, Option<&'a Key>) {
        match self {
            Change::Put { key, .. } | Change::Delete { key, .. } => (key, None),
            Change::Branch { key } | Change::RemoveBranch { key } => (key, None),
            Change::Make { key, .. } | Change::Set { key, .. } => (key, None),
            Change::Rename { from, to, .. } => (from, Some(to)),
        }
    }

    /// The same change.
    pub fn again(&self) -> Change<'a> {
        let (key, to) = self.keys();
        self.with_keys(key, to.unwrap_or(key))
    }

    /// The same change with other keys; `to` is a rename's new one.
    pub fn with_keys<'b>(&self, key: &'b Key, to: &'b Key) -> Change<'b>
    where
        'a: 'b,
    {
        match self {
            Change::Put { body, when, .. } => Change::Put { key, body, when: when.clone() },
            Change::Delete { when, .. } => Change::Delete { key, when: when.clone() },
            Change::Rename { tree, replace, .. } => {
                Change::Rename { from: key, to, tree: *tree, replace: *replace }
            }
            Change::Branch { .. } => Change::Branch { key },
            Change::RemoveBranch { .. } => Change::RemoveBranch { key },
            Change::Make { file_type, target, .. } => Change::Make { key, file_type: *file_type, target },
            Change::Set { directory, attributes, .. } => {
                Change::Set { key, directory: *directory, attributes }
            }
        }
    }
}

/// What a store that keeps no attributes answers to [`Change::Make`] and [`Change::Set`].
pub(super) fn keeps_no_attributes() -> Error {
    Error::new(ErrorKind::Unsupported, "this store keeps no attributes")
}

/// The condition of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// None.
    Always,
    /// The key has no value.
    Absent,
    /// The key's value is this version still.
    Current(Version),
}
