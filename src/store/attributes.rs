//! What a file or directory is besides its name and its bytes (§5): type, mode, owner, times, number, extended
//! attributes. What a store keeps of it, and what is to be set.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// What kind of file stands under a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Bytes.
    #[default]
    Regular,
    /// A symbolic link; its value is its target.
    Symlink,
    /// A named pipe; it has no value.
    Fifo,
    /// The name of a socket; it has no value.
    Socket,
}

/// Attributes as they are kept; what is `None` follows the mount and the store. Small enough to come along with each
/// name of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// What kind of file it is; of a directory, nothing is meant.
    pub file_type: FileType,
    /// Permission bits, set-id bits and the sticky bit: the lowest twelve of a mode.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access, where somebody set it.
    pub atime: Option<SystemTime>,
    /// Last change of the content; only where it is known to be of the value there is now (§5.5).
    pub mtime: Option<SystemTime>,
    /// Last change of content or attributes; only where it is known to be not older than that.
    pub ctime: Option<SystemTime>,
    /// The inode number, where it is another than the key gives: the file was renamed, or had met a clash (§5.6).
    pub ino: Option<u64>,
}

/// Extended attributes, by their full names (`user.x`).
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Attributes to be set; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Permission bits, set-id bits and the sticky bit.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<SystemTime>,
    /// Last change of the content.
    pub mtime: Option<SystemTime>,
    /// Last change of content or attributes.
    pub ctime: Option<SystemTime>,
    /// Inode number.
    pub ino: Option<u64>,
    /// Extended attributes, each with its new value, or `None` for one that goes.
    pub xattrs: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
}

impl Setting {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Setting::default()
    }

    /// What of it is set of these extended attributes, and nothing else.
    #[must_use]
    pub fn of_xattrs(&self, names: &[&str]) -> Setting {
        let named = |name: &[u8]| names.iter().any(|own| own.as_bytes() == name);
        let xattrs = self.xattrs.iter().filter(|(name, _)| named(name));
        Setting {
            xattrs: xattrs.map(|(name, value)| (name.clone(), value.clone())).collect(),
            ..Setting::default()
        }
    }

    /// The same, then `newer`.
    pub fn add(&mut self, newer: Setting) {
        self.mode = newer.mode.or(self.mode);
        self.uid = newer.uid.or(self.uid);
        self.gid = newer.gid.or(self.gid);
        self.atime = newer.atime.or(self.atime);
        self.mtime = newer.mtime.or(self.mtime);
        self.ctime = newer.ctime.or(self.ctime);
        self.ino = newer.ino.or(self.ino);
        self.xattrs.extend(newer.xattrs);
    }

    /// Sets all but the extended attributes.
    pub fn apply(&self, attributes: &mut Attributes) {
        attributes.mode = self.mode.or(attributes.mode);
        attributes.uid = self.uid.or(attributes.uid);
        attributes.gid = self.gid.or(attributes.gid);
        attributes.atime = self.atime.or(attributes.atime);
        attributes.mtime = self.mtime.or(attributes.mtime);
        attributes.ctime = self.ctime.or(attributes.ctime);
        attributes.ino = self.ino.or(attributes.ino);
    }

    /// Sets the extended attributes.
    pub fn apply_xattrs(&self, xattrs: &mut Xattrs) {
        for (name, value) in &self.xattrs {
            match value {
                Some(value) => drop(xattrs.insert(name.clone(), value.clone())),
                None => drop(xattrs.remove(name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_settings_one_after_the_other_are_their_sum() {
        let name = |name: &str| Box::<[u8]>::from(name.as_bytes());
        let first = Setting {
            mode: Some(0o600),
            uid: Some(1),
            xattrs: BTreeMap::from([(name("a"), Some(name("1"))), (name("b"), Some(name("2")))]),
            ..Setting::default()
        };
        let second = Setting {
            mode: Some(0o640),
            gid: Some(2),
            xattrs: BTreeMap::from([(name("a"), None), (name("c"), Some(name("3")))]),
            ..Setting::default()
        };
        let (mut one_by_one, mut xattrs) = (Attributes::default(), Xattrs::new());
        for setting in [&first, &second] {
            setting.apply(&mut one_by_one);
            setting.apply_xattrs(&mut xattrs);
        }
        let mut sum = first.clone();
        sum.add(second);
        let (mut together, mut together_xattrs) = (Attributes::default(), Xattrs::new());
        sum.apply(&mut together);
        sum.apply_xattrs(&mut together_xattrs);
        assert_eq!((together, together_xattrs), (one_by_one, xattrs));
        assert_eq!(together.mode, Some(0o640));
        assert!(Setting::default().is_empty() && !sum.is_empty());
    }
}
