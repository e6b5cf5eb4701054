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
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::store::api::Store;
    use crate::store::driver::{Commit, Opening};
    use crate::vfs::Options;

    fn memory() -> Arc<dyn Store> {
        let opening = Opening {
            location: None,
            read_only: false,
            create: true,
            separator: Some(b"/".to_vec()),
            commit: Commit::Auto,
            timeout: Duration::from_secs(5),
            load: None,
            save: None,
        };
        (crate::store::driver("memory").unwrap().open)(&opening).unwrap()
    }

    #[test]
    fn promise_8_4_kept_bytes_are_put_again_if_the_key_has_not_changed_since() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::at(folder.path());
        let store = memory();
        let options = Options {
            uid: 0,
            gid: 0,
            file_mode: 0o644,
            directory_mode: 0o755,
            read_only: false,
            timeout: Duration::from_secs(5),
            source: String::from("memory"),
            spool: spool.clone(),
        };
        let vfs = Vfs::new(Arc::clone(&store), options);
        let body = |bytes: &[u8]| Payload::of(bytes).unwrap();
        let put = |key: &Key, bytes: &[u8]| {
            store.apply(&mut [Change::Put { key, body: &body(bytes), when: When::Always }]).unwrap();
        };
        let key = |name: &str| Key::of([name.as_bytes()]);
        put(&key("same"), b"old");
        put(&key("changed"), b"old");
        for name in ["same", "changed", "absent"] {
            let when = vfs.condition(&key(name), &When::Always);
            spool.keep("memory", &key(name), &body(b"new"), &when, "a test").unwrap();
        }
        spool.keep("other", &key("other"), &body(b"new"), &When::Absent, "a test").unwrap();
        put(&key("changed"), b"by another program");
        vfs.put_kept();
        let value = |name: &str| {
            let mut bytes = Vec::new();
            let value = store.open(&key(name)).unwrap()?;
            value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
            Some(bytes)
        };
        assert_eq!(value("same").as_deref(), Some(&b"new"[..]));
        assert_eq!(value("absent").as_deref(), Some(&b"new"[..]));
        assert_eq!(value("changed").as_deref(), Some(&b"by another program"[..]));
        assert_eq!(value("other"), None);
        let left: Vec<_> = spool.list().unwrap().into_iter().map(|kept| kept.key).collect();
        assert_eq!(left, [key("changed"), key("other")]);
    }
}
