//! Bytes that an earlier mount could not put (§8.4): put when the store is back, where nobody changed the key since.

use std::io::Read;

use super::Vfs;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::spool::{Kept, Spool};
use crate::store::api::{Change, When};

impl Vfs {
    /// Puts what the spool keeps for this store. What cannot be put stays there.
    pub fn put_kept(&self) {
        let spool = &self.options.spool;
        if self.is_read_only() {
            return;
        }
        let all = spool.list().unwrap_or_else(|error| {
            tracing::warn!("what earlier mounts could not put cannot be read: {error}");
            Vec::new()
        });
        for kept in all.into_iter().filter(|kept| kept.store == self.options.source) {
            match self.put_one(spool, &kept) {
                Ok(()) => tracing::info!("{:?} is put, which could not be put before", kept.key),
                Err(error) => tracing::warn!(
                    "{:?}, which could not be put before, stays kept ({error}): kvfs recover save {}",
                    kept.key,
                    kept.id
                ),
            }
        }
    }

    fn put_one(&self, spool: &Spool, kept: &Kept) -> Result<()> {
        if kept.base == When::Always {
            return Err(Error::new(ErrorKind::Stale, "it is not known whether the key changed since"));
        }
        let (key, when) = (&kept.key, kept.base.clone());
        if kept.deletion {
            self.store.apply(&mut [Change::Delete { key, when }])?;
        } else {
            let body = read(spool, kept)?;
            self.store.apply(&mut [Change::Put { key, body: &body, when }])?;
        }
        self.store.sync()?;
        spool.remove(&kept.id)
    }

    /// The condition under which bytes may be put later: what they stand on, or, where they replace whatever is there,
    /// what is there now.
    pub(super) fn condition(&self, key: &Key, when: &When) -> When {
        if *when != When::Always {
            return when.clone();
        }
        match self.store.open(key) {
            Ok(None) => When::Absent,
            Ok(Some(value)) => value.version().map_or(When::Always, When::Current),
            Err(_) => When::Always,
        }
    }
}

fn read(spool: &Spool, kept: &Kept) -> Result<Payload> {
    let (_, mut file) = spool.open(&kept.id)?;
    let mut body = Payload::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut piece).map_err(|e| Error::io("the spool", &e))?;
        if count == 0 {
            break;
        }
        body.write(body.len(), &piece[..count])?;
    }
    if body.len() != kept.size {
        return Err(Error::new(ErrorKind::Io, "the kept file is not whole"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::tests::{Rig, key};

    #[test]
    fn promise_8_4_kept_bytes_are_put_again_if_the_key_has_not_changed_since() {
        let rig = Rig::new();
        let new = Payload::of(b"new").unwrap();
        rig.foreign_put("same", b"old");
        rig.foreign_put("changed", b"old");
        for name in ["same", "changed", "absent"] {
            let when = rig.vfs.condition(&key(name), &When::Always);
            rig.spool.keep("memory", &key(name), &new, &when, "a test").unwrap();
        }
        rig.spool.keep("other", &key("other"), &new, &When::Absent, "a test").unwrap();
        rig.foreign_put("changed", b"by another program");
        rig.vfs.put_kept();
        assert_eq!(rig.stored("same").as_deref(), Some(&b"new"[..]));
        assert_eq!(rig.stored("absent").as_deref(), Some(&b"new"[..]));
        assert_eq!(rig.stored("changed").as_deref(), Some(&b"by another program"[..]));
        assert_eq!(rig.stored("other"), None);
        let left: Vec<_> = rig.spool.list().unwrap().into_iter().map(|kept| kept.key).collect();
        assert_eq!(left, [key("changed"), key("other")]);
    }
}
