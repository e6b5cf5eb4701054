//! Extended attributes: what was set in the mount, and what the store knows (`user.kvfs.*`, §5.7).

use super::Vfs;
use super::node::{Ino, Place, What};
use crate::env;
use crate::error::{Error, ErrorKind, Result};

/// What the store knows of a key; read-only.
const OWN: &str = "user.kvfs.";
/// The raw key (§1.10).
const KEY: &str = "user.kvfs.key";
/// The version of the value, in hexadecimal.
const VERSION: &str = "user.kvfs.version";
/// The kind of store.
const TYPE: &str = "user.kvfs.type";

/// The most bytes of attributes that one file may have, names included.
const TOTAL_MAX: usize = 64 << 10;

/// How an attribute is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetMode {
    /// Whether it is there or not.
    Any,
    /// It must not be there.
    Create,
    /// It must be there.
    Replace,
}

impl Vfs {
    /// An extended attribute.
    ///
    /// # Errors
    /// `NoAttribute`; `Unsupported` outside `user.`.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        check_namespace(name)?;
        let place = self.place(ino)?;
        if name.starts_with(OWN.as_bytes()) {
            return self.own_attribute(&place, name);
        }
        let value = self.attributes(ino, &place, |set| set.xattrs.get(name).map(|value| value.to_vec()));
        value.flatten().ok_or_else(|| ErrorKind::NoAttribute.into())
    }

    fn own_attribute(&self, place: &Place, name: &[u8]) -> Result<Vec<u8>> {
        if place.more.is_some() || !place.linked {
            return Err(ErrorKind::NoAttribute.into());
        }
        match std::str::from_utf8(name) {
            Ok(KEY) => Ok(self.store.raw_key(&place.key, place.what == What::Directory)),
            Ok(TYPE) if place.what == What::File => Ok(self.caps.kind.as_bytes().to_vec()),
            Ok(VERSION) if place.what == What::File => {
                let value = self.store.open(&place.key)?.ok_or(ErrorKind::NoAttribute)?;
                Ok(format!("{:?}", value.version()?).into_bytes())
            }
            _ => Err(ErrorKind::NoAttribute.into()),
        }
    }

    /// The names of the extended attributes, each followed by NUL. The store's own are not listed, so that a copy
    /// does not try to set them.
    ///
    /// # Errors
    /// `Stale` for a number that is not known.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let place = self.place(ino)?;
        let names = self.attributes(ino, &place, |set| {
            set.xattrs.keys().flat_map(|name| [name, &b"\0"[..]].concat()).collect()
        });
        Ok(names.unwrap_or_default())
    }

    /// Sets an extended attribute, for the life of the mount.
    ///
    /// # Errors
    /// `Unsupported` outside `user.`; `NotPermitted` for what the store knows; `Exists`, `NoAttribute` by `mode`;
    /// `NoSpace` over 64 KiB in all.
    pub fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: SetMode) -> Result<()> {
        self.check_writable()?;
        check_namespace(name)?;
        check_settable(name)?;
        let names = self.hold_names()?;
        let place = self.place(ino)?;
        if place.more.is_some() || matches!(place.what, What::Symlink(_)) {
            return Err(ErrorKind::NotPermitted.into());
        }
        self.change_attributes(ino, &place, &names, |set| {
            match (mode, set.xattrs.contains_key(name)) {
                (SetMode::Create, true) => return Err(ErrorKind::Exists.into()),
                (SetMode::Replace, false) => return Err(ErrorKind::NoAttribute.into()),
                _ => {}
            }
            let others = set.xattrs.iter().filter(|(other, _)| ***other != *name);
            let total: usize = others.map(|(name, value)| name.len() + value.len()).sum();
            if total + name.len() + value.len() > TOTAL_MAX {
                let sentence = "over 64 KiB of extended attributes on one file";
                return Err(Error::new(ErrorKind::NoSpace, sentence));
            }
            set.xattrs.insert(name.into(), value.into());
            set.ctime = Some(env::now());
            Ok(())
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `NoAttribute`, and as for setting.
    pub fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        check_namespace(name)?;
        check_settable(name)?;
        let names = self.hold_names()?;
        let place = self.place(ino)?;
        if self.attributes(ino, &place, |set| set.xattrs.contains_key(name)) != Some(true) {
            return Err(ErrorKind::NoAttribute.into());
        }
        self.change_attributes(ino, &place, &names, |set| {
            set.xattrs.remove(name);
            set.ctime = Some(env::now());
        });
        Ok(())
    }
}

/// ACLs, capabilities and labels are refused plainly: the kernel and `ls` then stop asking for them.
fn check_namespace(name: &[u8]) -> Result<()> {
    if name.starts_with(b"user.") { Ok(()) } else { Err(ErrorKind::Unsupported.into()) }
}

fn check_settable(name: &[u8]) -> Result<()> {
    if name.starts_with(OWN.as_bytes()) {
        return Err(Error::new(ErrorKind::NotPermitted, "user.kvfs. attributes are the store's own"));
    }
    Ok(())
}
