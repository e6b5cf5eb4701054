//! Extended attributes: what somebody set, and what the store knows (`user.kvfs.*`, §5.7).

use std::collections::BTreeMap;

use super::Vfs;
use super::node::{Ino, Place, What};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::attributes::{Setting, Xattrs};

/// What the store knows of a key; read-only.
const OWN: &str = "user.kvfs.";
/// The raw key (§1.10).
const KEY: &str = "user.kvfs.key";
/// The version of the value, in hexadecimal.
const VERSION: &str = "user.kvfs.version";
/// Why the last put of the file failed (§7.2).
const ERROR: &str = "user.kvfs.error";
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
            return self.own_attribute(ino, &place, name);
        }
        self.xattrs(ino, &place)?.remove(name).map(Vec::from).ok_or_else(|| ErrorKind::NoAttribute.into())
    }

    /// What somebody set, and what is to be put with the bytes of a file.
    pub(super) fn xattrs(&self, ino: Ino, place: &Place) -> Result<Xattrs> {
        if place.more.is_some() {
            return Ok(Xattrs::new());
        }
        if !place.linked {
            return Ok(self.nameless(ino).unwrap_or_default().xattrs);
        }
        let mut xattrs = self.store.xattrs(&place.key, place.what == What::Directory)?;
        if let Some(buffer) = self.buffer_of(ino) {
            buffer.state.read().pending.apply_xattrs(&mut xattrs);
        }
        Ok(xattrs)
    }

    fn own_attribute(&self, ino: Ino, place: &Place, name: &[u8]) -> Result<Vec<u8>> {
        if place.more.is_some() || !place.linked {
            return Err(ErrorKind::NoAttribute.into());
        }
        let told = place.what == What::File || (place.what == What::Directory && self.caps.collections);
        let own = match std::str::from_utf8(name) {
            Ok(KEY) => false,
            Ok(TYPE) => self.caps.collections,
            _ => true,
        };
        if told && own {
            let pending =
                self.buffer_of(ino).and_then(|buffer| buffer.state.read().pending.xattrs.get(name).cloned());
            if let Some(set) = pending {
                return set.map(Vec::from).ok_or_else(|| ErrorKind::NoAttribute.into());
            }
            let known = self.store.known(&place.key)?;
            if let Some((_, told)) = known.into_iter().find(|(own, _)| own.as_bytes() == name) {
                return Ok(told);
            }
        }
        match std::str::from_utf8(name) {
            Ok(KEY) => Ok(self.store.raw_key(&place.key, place.what == What::Directory)),
            Ok(TYPE) if place.what == What::File => Ok(self.caps.kind.as_bytes().to_vec()),
            Ok(ERROR) if place.what == What::File => {
                let told = self.buffer_of(ino).and_then(|buffer| buffer.state.read().error.clone());
                told.map(|error| error.to_string().into_bytes()).ok_or_else(|| ErrorKind::NoAttribute.into())
            }
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
        let xattrs = self.xattrs(ino, &place)?;
        Ok(xattrs.keys().flat_map(|name| [name, &b"\0"[..]].concat()).collect())
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `Unsupported` outside `user.`, and where no attributes are kept; `NotPermitted` for what the store knows;
    /// `Exists`, `NoAttribute` by `mode`; `NoSpace` over 64 KiB in all.
    pub fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: SetMode) -> Result<()> {
        self.change_xattr(ino, name, Some(value), mode)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `NoAttribute`, and as for setting.
    pub fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<()> {
        self.change_xattr(ino, name, None, SetMode::Replace)
    }

    /// The kernel lets one at a time change the attributes of an inode, so that nothing comes between look and change.
    fn change_xattr(&self, ino: Ino, name: &[u8], value: Option<&[u8]>, mode: SetMode) -> Result<()> {
        self.check_writable()?;
        check_namespace(name)?;
        if name.starts_with(OWN.as_bytes()) {
            return self.change_own(ino, name, value);
        }
        if !self.keeps_attributes(&self.place(ino)?)? {
            return Err(self.keeps_no_attributes(ErrorKind::Unsupported));
        }
        let names = self.hold_names()?;
        let place = self.place(ino)?;
        if place.more.is_some() || !matches!(place.what, What::File | What::Directory) {
            return Err(ErrorKind::NotPermitted.into());
        }
        let mut xattrs = self.xattrs(ino, &place)?;
        match (mode, xattrs.remove(name).is_some()) {
            (SetMode::Create, true) => return Err(ErrorKind::Exists.into()),
            (SetMode::Replace, false) => return Err(ErrorKind::NoAttribute.into()),
            _ => {}
        }
        let others: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if value.is_some_and(|value| others + name.len() + value.len() > TOTAL_MAX) {
            let sentence = "over 64 KiB of extended attributes on one file";
            return Err(Error::new(ErrorKind::NoSpace, sentence));
        }
        let change = BTreeMap::from([(name.into(), value.map(Box::from))]);
        let setting = Setting { xattrs: change, ctime: Some(env::now()), ..Setting::default() };
        self.set_attributes(ino, setting, &names)
    }

    /// Sets what the store knows of a file, where that can be set; without a value it is as if nobody had.
    fn change_own(&self, ino: Ino, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        let names = self.hold_names()?;
        let place = self.place(ino)?;
        let settable = self.caps.settable.iter().any(|own| own.as_bytes() == name);
        let has_some = place.what == What::File || (place.what == What::Directory && self.caps.collections);
        if !settable || !has_some || !place.linked {
            return Err(Error::new(ErrorKind::NotPermitted, "user.kvfs. attributes are the store's own"));
        }
        let change = BTreeMap::from([(name.into(), value.map(Box::from))]);
        self.set_attributes(ino, Setting { xattrs: change, ..Setting::default() }, &names)
    }
}

/// ACLs, capabilities and labels are refused plainly: the kernel and `ls` then stop asking for them.
fn check_namespace(name: &[u8]) -> Result<()> {
    if name.starts_with(b"user.") { Ok(()) } else { Err(ErrorKind::Unsupported.into()) }
}
