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
        let overlay = self.overlay.read();
        overlay
            .get(&place.key)
            .and_then(|record| {
                if place.what == What::Directory { record.directory.as_ref() } else { record.file.as_ref() }
            })
            .and_then(|set| set.xattrs.get(name))
            .map(|value| value.to_vec())
            .ok_or_else(|| ErrorKind::NoAttribute.into())
    }

    fn own_attribute(&self, place: &Place, name: &[u8]) -> Result<Vec<u8>> {
        if place.more.is_some() {
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
        let overlay = self.overlay.read();
        let Some(record) = overlay.get(&place.key) else { return Ok(Vec::new()) };
        let set = if place.what == What::Directory { &record.directory } else { &record.file };
        let mut names = Vec::new();
        for name in set.iter().flat_map(|set| set.xattrs.keys()) {
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(names)
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
        let place = self.place(ino)?;
        if place.more.is_some() || matches!(place.what, What::Symlink(_)) {
            return Err(ErrorKind::NotPermitted.into());
        }
        let mut overlay = self.overlay.write();
        let set = overlay.attributes(&place.key, place.what == What::Directory);
        match (mode, set.xattrs.contains_key(name)) {
            (SetMode::Create, true) => return Err(ErrorKind::Exists.into()),
            (SetMode::Replace, false) => return Err(ErrorKind::NoAttribute.into()),
            _ => {}
        }
        let total: usize =
            set.xattrs.iter().filter(|(n, _)| ***n != *name).map(|(n, v)| n.len() + v.len()).sum();
        if total + name.len() + value.len() > TOTAL_MAX {
            return Err(Error::new(ErrorKind::NoSpace, "over 64 KiB of extended attributes on one file"));
        }
        set.xattrs.insert(name.into(), value.into());
        set.ctime = Some(env::now());
        Ok(())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `NoAttribute`, and as for setting.
    pub fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        check_namespace(name)?;
        check_settable(name)?;
        let place = self.place(ino)?;
        let mut overlay = self.overlay.write();
        let set = overlay.attributes(&place.key, place.what == What::Directory);
        set.xattrs.remove(name).ok_or(ErrorKind::NoAttribute)?;
        set.ctime = Some(env::now());
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
