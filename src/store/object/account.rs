//! All buckets that somebody has, each a directory: `s3://` alone.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment};
use crate::payload::Payload;
use crate::store::api::{Caps, Change, Cursor, Entry, Kind, Stat, Store, Value, Version};
use crate::store::attributes::Xattrs;

/// How long a list of buckets is good.
const LIST_GOOD: Duration = Duration::from_secs(1);

/// Names and times of buckets.
pub(super) type Names = Vec<(String, SystemTime)>;

/// Opens a bucket by its name.
type Open = dyn Fn(&str) -> Result<Arc<dyn Store>> + Send + Sync;

/// The buckets of one account. They are made and removed by the service's own tools.
pub(super) struct Account {
    /// Lists the buckets.
    list: Box<dyn Fn() -> Result<Names> + Send + Sync>,
    /// Opens one.
    open: Box<Open>,
    opened: Mutex<HashMap<String, Arc<dyn Store>>>,
    listed: Mutex<Option<(Instant, Arc<Names>)>>,
    caps: Caps,
    since: SystemTime,
}

/// A key, taken apart.
enum Place {
    /// The account.
    Root,
    /// A bucket.
    Bucket(Arc<dyn Store>, SystemTime),
    /// Something in a bucket.
    Inside(Arc<dyn Store>, Key),
    /// Nothing there can be.
    Nowhere,
}

impl Account {
    pub(super) fn new(
        caps: Caps,
        list: impl Fn() -> Result<Names> + Send + Sync + 'static,
        open: impl Fn(&str) -> Result<Arc<dyn Store>> + Send + Sync + 'static,
    ) -> Result<Account> {
        let account = Account {
            list: Box::new(list),
            open: Box::new(open),
            opened: Mutex::default(),
            listed: Mutex::default(),
            caps,
            since: env::now(),
        };
        account.buckets()?;
        Ok(account)
    }

    fn buckets(&self) -> Result<Arc<Names>> {
        if let Some((since, list)) = &*self.listed.lock()
            && since.elapsed() < LIST_GOOD
        {
            return Ok(Arc::clone(list));
        }
        let mut list = (self.list)()?;
        list.sort();
        let list = Arc::new(list);
        *self.listed.lock() = Some((env::instant(), Arc::clone(&list)));
        Ok(list)
    }

    fn place(&self, key: &Key) -> Result<Place> {
        let mut segments = key.segments();
        let Some(first) = segments.next() else { return Ok(Place::Root) };
        let Ok(name) = str::from_utf8(first.bytes) else { return Ok(Place::Nowhere) };
        let list = self.buckets()?;
        let found = list.binary_search_by(|(bucket, _)| bucket.as_str().cmp(name));
        let Ok(found) = found else { return Ok(Place::Nowhere) };
        let (name, made) = &list[found];
        let known = self.opened.lock().get(name).cloned();
        let store = match known {
            Some(store) => store,
            None => {
                let store = (self.open)(name)?;
                self.opened.lock().entry(name.clone()).or_insert(store).clone()
            }
        };
        let mut inside = Key::root();
        segments.for_each(|segment| inside.push(segment));
        Ok(if inside.is_root() { Place::Bucket(store, *made) } else { Place::Inside(store, inside) })
    }

    /// The bucket that a change is about, and the key in it.
    fn inside(&self, key: &Key) -> Result<(Arc<dyn Store>, Key)> {
        match self.place(key)? {
            Place::Inside(store, key) => Ok((store, key)),
            Place::Root | Place::Bucket(..) => Err(not_here()),
            Place::Nowhere if key.len() == 1 => Err(not_here()),
            Place::Nowhere => Err(Error::new(ErrorKind::NotFound, format!("there is no bucket of {key:?}"))),
        }
    }
}

fn not_here() -> Error {
    Error::new(
        ErrorKind::NotPermitted,
        "here are buckets alone: the service's own tools make and remove them",
    )
}

impl Store for Account {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        match self.place(key)? {
            Place::Root => Ok(Some(Stat::plain(Kind::Branch, 0, self.since))),
            Place::Bucket(_, made) => Ok(Some(Stat::plain(Kind::Branch, 0, made))),
            Place::Inside(store, key) => store.stat(&key),
            Place::Nowhere => Ok(None),
        }
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.done {
            return Ok(());
        }
        match self.place(dir)? {
            Place::Root => {
                for (name, made) in
                    self.buckets()?.iter().filter(|(name, _)| *name.as_bytes() >= *from.position)
                {
                    let stat = Stat::plain(Kind::Branch, 0, *made);
                    if each(Entry { segment: Segment::plain(name.as_bytes()), stat }).is_break() {
                        from.position = name.clone().into_bytes();
                        return Ok(());
                    }
                }
            }
            Place::Bucket(store, _) => return store.list(&Key::root(), from, each),
            Place::Inside(store, key) => return store.list(&key, from, each),
            Place::Nowhere => {}
        }
        from.done = true;
        Ok(())
    }

    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        match self.place(key)? {
            Place::Inside(store, key) => store.xattrs(&key, directory),
            _ => Ok(Xattrs::new()),
        }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match self.place(key)? {
            Place::Inside(store, key) => store.open(&key),
            _ => Ok(None),
        }
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        match self.place(key)? {
            Place::Inside(store, key) => store.open_told(&key, stat),
            _ => Ok(None),
        }
    }

    fn written_so_far(&self, key: &Key, body: &Payload) {
        if let Ok(Place::Inside(store, key)) = self.place(key) {
            store.written_so_far(&key, body);
        }
    }

    fn seen_absent(&self, key: &Key) {
        if let Ok(Place::Inside(store, key)) = self.place(key) {
            store.seen_absent(&key);
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        let Some(first) = changes.first() else { return Ok(()) };
        let (store, _) = self.inside(first.keys().0)?;
        let own = |key: &Key| -> Result<Key> {
            let (of, inside) = self.inside(key)?;
            if Arc::ptr_eq(&of, &store) { Ok(inside) } else { Err(ErrorKind::CrossDevice.into()) }
        };
        let owned = |change: &Change<'_>| -> Result<(Key, Key)> {
            let (key, to) = change.keys();
            let key = own(key)?;
            let to = to.map_or_else(|| Ok(key.clone()), own)?;
            Ok((key, to))
        };
        let keys = changes.iter().map(owned).collect::<Result<Vec<_>>>()?;
        let mut inside: Vec<Change<'_>> =
            changes.iter().zip(&keys).map(|(change, (key, to))| change.with_keys(key, to)).collect();
        store.apply(&mut inside)
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        let (store, key) = self.inside(key)?;
        store.check_key(&key)
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        match self.place(key) {
            Ok(Place::Inside(store, key)) => store.raw_key(&key, directory),
            _ => Vec::new(),
        }
    }

    fn version_of(&self, key: &Key, body: &Payload) -> Result<Option<Version>> {
        match self.place(key)? {
            Place::Inside(store, key) => store.version_of(&key, body),
            _ => Ok(None),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        self.opened.lock().values().flat_map(|store| store.facts()).collect()
    }

    fn close(&self) -> Result<()> {
        self.opened.lock().values().try_for_each(|store| store.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::api::When;
    use crate::store::driver::Opening;
    use crate::store::memory;

    fn account() -> Account {
        let opened = || (memory::DRIVER.open)(&Opening::default());
        let list = || Ok(vec![("b".to_owned(), env::now()), ("a".to_owned(), env::now())]);
        Account::new((memory::DRIVER.caps)(), list, move |_| opened()).unwrap()
    }

    fn key(path: &str) -> Key {
        Key::of(path.split('/').map(str::as_bytes))
    }

    fn names(account: &Account, dir: &Key, from: &mut Cursor, most: usize) -> Vec<String> {
        let mut names = Vec::new();
        let each = &mut |entry: Entry<'_>| {
            if names.len() == most {
                return ControlFlow::Break(());
            }
            names.push(String::from_utf8_lossy(entry.segment.bytes).into_owned());
            ControlFlow::Continue(())
        };
        account.list(dir, from, each).unwrap();
        names
    }

    #[test]
    fn buckets_are_directories_and_what_is_in_them_stays_in_them() {
        let account = account();
        let mut from = Cursor::default();
        assert_eq!(names(&account, &Key::root(), &mut from, 1), ["a"]);
        assert_eq!(names(&account, &Key::root(), &mut from, 9), ["b"]);
        assert_eq!(names(&account, &Key::root(), &mut from, 9), [""; 0], "it has ended");
        let (body, put) = (Payload::of(b"1").unwrap(), key("a/x"));
        account.apply(&mut [Change::Put { key: &put, body: &body, when: When::Always }]).unwrap();
        assert_eq!(names(&account, &key("a"), &mut Cursor::default(), 9), ["x"]);
        assert_eq!(names(&account, &key("b"), &mut Cursor::default(), 9), [""; 0]);
        let kind = |change: Change<'_>| account.apply(&mut [change]).unwrap_err().kind();
        let rename = |to| Change::Rename { from: &put, to, tree: false, replace: true };
        let (other, nowhere, beside) = (key("b/x"), key("c/x"), key("a/y"));
        assert_eq!(kind(rename(&other)), ErrorKind::CrossDevice);
        assert_eq!(kind(rename(&nowhere)), ErrorKind::NotFound);
        assert_eq!(kind(Change::Branch { key: &key("c") }), ErrorKind::NotPermitted);
        assert_eq!(kind(Change::RemoveBranch { key: &key("a") }), ErrorKind::NotPermitted);
        account.apply(&mut [rename(&beside)]).unwrap();
        assert!(account.stat(&beside).unwrap().is_some() && account.stat(&key("c")).unwrap().is_none());
    }
}
