//! Listings in pages, each fetched ahead of whoever reads: what lies directly below one directory, as the ordered map
//! that [`crate::store::flat`] lists. A common prefix `a/` stands for all the keys below it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::stream::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::bucket::{Listing, Object, Page};
use super::folder_markers;
use super::reach::Reach;
use super::tree::Told;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::Value;
use crate::store::flat::{Edit, Found, Kv, Step};

/// Entries that are asked for in one page: the most that S3 gives.
pub(super) const PAGE: u32 = 1000;
/// Pages that are fetched ahead of the reader.
const AHEAD: usize = 2;
/// Objects that are asked for their headers at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Listings that stopped in the middle, and wait to be gone on with.
const WAITING_MOST: usize = 16;
/// So long a listing that stopped is worth going on with: what it has fetched grows old.
const WAITING_LONGEST: Duration = Duration::from_secs(10);

/// One entry of a page.
#[derive(Debug)]
pub(super) enum Item {
    Object(Object),
    /// A common prefix, with its marker where that was asked for.
    Prefix(String, Option<Object>),
    /// A marker of Hadoop's, of a directory that nothing else tells of.
    Folder(Object),
}

impl Item {
    pub(super) fn key(&self) -> &str {
        match self {
            Item::Object(object) | Item::Folder(object) => &object.key,
            Item::Prefix(prefix, _) => prefix,
        }
    }
}

/// A listing under way: what was fetched and may be asked for again, and what is being fetched.
struct Walk {
    prefix: String,
    /// In the order of the keys; nothing is missing between the first and the last.
    pages: VecDeque<Arc<[Item]>>,
    /// The place where the first page began.
    start: String,
    coming: mpsc::Receiver<Result<Vec<Item>>>,
    /// Whether the last page is among `pages`.
    complete: bool,
    since: Instant,
}

/// Listings that stopped in the middle.
#[derive(Default)]
pub(super) struct Waiting {
    walks: Mutex<VecDeque<Walk>>,
}

impl Waiting {
    /// The walk that has what comes at `from`, below `prefix`.
    fn take(&self, prefix: &str, from: &str) -> Option<Walk> {
        let mut walks = self.walks.lock();
        walks.retain(|walk| walk.since.elapsed() < WAITING_LONGEST);
        let has = |walk: &Walk| {
            let last = walk.pages.back().and_then(|page| page.last());
            walk.prefix == prefix
                && walk.start.as_str() <= from
                && (walk.complete || last.is_some_and(|item| from <= item.key()))
        };
        let found = walks.iter().rposition(has)?;
        walks.remove(found)
    }

    fn put(&self, mut walk: Walk, from: &str) {
        walk.since = env::instant();
        // What lies before the place where the reader began this time is not asked for again.
        while walk.pages.len() > 1
            && let Some(last) = walk.pages.front().and_then(|page| page.last())
            && last.key() < from
        {
            walk.start = last.key().to_owned();
            walk.pages.pop_front();
        }
        let mut walks = self.walks.lock();
        if walks.len() >= WAITING_MOST {
            walks.pop_front();
        }
        walks.push_back(walk);
    }
}

/// What takes the items of a listing.
type Each<'e> = dyn FnMut(&Item, Found) -> Step + 'e;

/// What lies directly below one directory, as an ordered map; only what listing needs of it works.
pub(super) struct Below {
    pub reach: Arc<Reach>,
    /// What the keys below begin with.
    pub prefix: String,
    /// What is told of the names that the last scan handed out. It stays until the next scan: what is asked in between is
    /// about these names.
    pub told: Mutex<Told>,
}

impl Below {
    fn begin(&self, from: &str) -> Result<Walk> {
        let (sender, coming) = mpsc::channel(AHEAD);
        let starts_anywhere = self.reach.bucket.abilities().starts_anywhere;
        let after = (starts_anywhere && from > self.prefix.as_str()).then(|| just_before(from)).flatten();
        let start = after.clone().unwrap_or_else(|| self.prefix.clone());
        let (reach, prefix) = (Arc::clone(&self.reach), self.prefix.clone());
        env::spawn(async move { fetch(&reach, &prefix, after, &sender).await })?;
        let prefix = self.prefix.clone();
        let (pages, since) = (VecDeque::new(), env::instant());
        Ok(Walk { prefix, pages, start, coming, complete: false, since })
    }

    /// The next page of a walk; `None` at the end.
    fn next(&self, walk: &mut Walk) -> Result<Option<Arc<[Item]>>> {
        if walk.complete {
            return Ok(None);
        }
        let page = self.reach.wait(async { Ok(walk.coming.recv().await) })?;
        let Some(page) = page.transpose()? else {
            walk.complete = true;
            return Ok(None);
        };
        let page: Arc<[Item]> = page.into();
        walk.pages.push_back(Arc::clone(&page));
        Ok(Some(page))
    }

    /// Notes what an item tells besides size and time, by its name.
    fn tell(&self, item: &Item) {
        let name = &item.key().as_bytes()[self.prefix.len()..];
        match item {
            Item::Object(object) => {
                let mut told = self.told.lock();
                let told = told.entry(name.to_vec()).or_default();
                told.file = self.reach.attributes(object);
                told.version = object.tag();
            }
            Item::Prefix(_, Some(marker)) => {
                let name = name.strip_suffix(self.reach.names.separator().as_bytes()).unwrap_or(name);
                self.told.lock().entry(name.to_vec()).or_default().directory = self.reach.attributes(marker);
            }
            Item::Folder(_) => self.told.lock().entry(name.to_vec()).or_default().folder = true,
            Item::Prefix(_, None) => {}
        }
    }

    /// Hands the items of a page from `from` on to `each`; false where it stopped.
    fn offer(&self, page: &[Item], from: &mut String, each: &mut Each<'_>) -> bool {
        let first = page.partition_point(|item| item.key() < from.as_str());
        for item in &page[first..] {
            if item.key() < from.as_str() {
                continue;
            }
            let found = match item {
                Item::Object(object) | Item::Folder(object) => {
                    Found { size: object.size, modified: object.modified }
                }
                Item::Prefix(..) => Found { size: 0, modified: SystemTime::UNIX_EPOCH },
            };
            match each(item, found) {
                Step::Next => {}
                Step::Seek(to) => match String::from_utf8(to) {
                    Ok(to) => *from = to,
                    // No text begins like this: the first that comes after is the first after what is valid of it.
                    Err(error) => *from = text_at_or_after(error.as_bytes()),
                },
                Step::Stop => return false,
            }
        }
        true
    }

    /// Hands items out in order, from `from` on.
    fn walk(&self, from: &[u8], each: &mut Each<'_>) -> Result<()> {
        let begin = text_at_or_after(from);
        let mut from = begin.clone();
        let known = self.reach.waiting.take(&self.prefix, &from).filter(|_| from != self.prefix);
        let mut walk = match known {
            Some(walk) => walk,
            None => self.begin(&from)?,
        };
        for page in walk.pages.clone() {
            if !self.offer(&page, &mut from, each) {
                self.reach.waiting.put(walk, &begin);
                return Ok(());
            }
        }
        while let Some(page) = self.next(&mut walk)? {
            if !self.offer(&page, &mut from, each) {
                self.reach.waiting.put(walk, &begin);
                return Ok(());
            }
            // What was passed whole is not held: a directory may have millions.
            while walk.pages.len() > AHEAD + 2 {
                if let Some(last) = walk.pages.pop_front().as_deref().and_then(<[Item]>::last) {
                    walk.start = last.key().to_owned();
                }
            }
        }
        Ok(())
    }
}

/// Fetches page after page, until nobody wants them any more.
async fn fetch(reach: &Reach, prefix: &str, after: Option<String>, pages: &mpsc::Sender<Result<Vec<Item>>>) {
    let mut token: Option<String> = None;
    loop {
        let listing = Listing {
            prefix,
            delimiter: reach.names.delimiter(),
            token: token.as_deref(),
            after: after.as_deref().filter(|_| token.is_none()),
            most: PAGE,
        };
        let begins = token.is_none() && after.is_none();
        let page = reach.bucket.list(&listing).await;
        token = page.as_ref().ok().and_then(|page| page.next.clone());
        let ended = token.is_none();
        let items = match page {
            Ok(page) => match folder_markers::read(reach, prefix, in_order(page), begins, ended).await {
                Ok(items) => with_headers(reach, items).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if pages.send(items).await.is_err() || ended {
            return;
        }
    }
}

/// Objects and prefixes of a page in one order, that of the keys' bytes.
fn in_order(page: Page) -> Vec<Item> {
    let mut items: Vec<Item> = page.objects.into_iter().map(Item::Object).collect();
    items.extend(page.prefixes.into_iter().map(|prefix| Item::Prefix(prefix, None)));
    items.sort_by(|one, other| one.key().cmp(other.key()));
    items
}

/// The same with the headers that tell attributes: where listings do not carry them, each object is asked, many at a
/// time; markers of directories always are.
async fn with_headers(reach: &Reach, items: Vec<Item>) -> Result<Vec<Item>> {
    if reach.style.is_none() {
        return Ok(items);
    }
    let learned = Mutex::new(Vec::new());
    let asked = items.into_iter().map(|item| async {
        Ok::<_, Error>(match item {
            Item::Object(object) if object.headers.is_none() => {
                Item::Object(with_own_headers(reach, object, &learned).await?)
            }
            Item::Prefix(prefix, None) => {
                let marker = reach.bucket.head(&prefix).await?;
                Item::Prefix(prefix, marker)
            }
            known => known,
        })
    });
    let items = futures::stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await?;
    let learned = learned.into_inner();
    if let Some(on_disk) = reach.on_disk.clone().filter(|_| !learned.is_empty()) {
        env::spawn_blocking(move || on_disk.put(&learned))?;
    }
    Ok(items)
}

/// An object of a listing with its headers, which are remembered or asked for; those that were asked for are `learned`.
async fn with_own_headers(reach: &Reach, object: Object, learned: &Mutex<Vec<Object>>) -> Result<Object> {
    let known = reach.recent.object(&object.key);
    let same = |known: &Object| known.version == object.version && known.headers.is_some();
    if let Some(known) = known.filter(same) {
        return Ok(known);
    }
    if let Some(headers) = reach.on_disk.as_ref().and_then(|on_disk| on_disk.get(&object)) {
        let object = Object { headers: Some(headers), ..object };
        reach.recent.saw(&object);
        return Ok(object);
    }
    match reach.bucket.head(&object.key).await? {
        Some(found) => {
            reach.recent.saw(&found);
            learned.lock().push(found.clone());
            Ok(found)
        }
        None => Ok(object),
    }
}

/// A text before `from` with little between them: services begin a listing behind a key.
fn just_before(from: &str) -> Option<String> {
    let last = from.chars().next_back()?;
    let mut before = from[..from.len() - last.len_utf8()].to_owned();
    // The neighbour of the last character, and behind it the last that there is; below U+0021 nobody knows what
    // becomes of it on the way.
    if let Some(neighbour) = (0x21..last as u32).rev().find_map(char::from_u32) {
        before.push(neighbour);
        before.push(char::MAX);
    }
    (!before.is_empty()).then_some(before)
}

/// The first text that is not before `bytes`.
fn text_at_or_after(bytes: &[u8]) -> String {
    let valid = match str::from_utf8(bytes) {
        Ok(text) => return text.to_owned(),
        Err(error) => error.valid_up_to(),
    };
    // What follows is no whole character: the next one, of which these bytes are the beginning or come before.
    let mut text = String::from_utf8_lossy(&bytes[..valid]).into_owned();
    let next = (0..=char::MAX as u32).filter_map(char::from_u32).find(|next| {
        let mut buffer = [0; 4];
        next.encode_utf8(&mut buffer).as_bytes() >= &bytes[valid..]
    });
    text.push(next.unwrap_or(char::MAX));
    text
}

impl Kv for Below {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let Ok(key) = str::from_utf8(key) else { return Ok(None) };
        let object = self.reach.wait(self.reach.bucket.head(key))?;
        Ok(object.map(|object| Found { size: object.size, modified: object.modified }))
    }

    fn open(&self, _key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        Err(Error::new(ErrorKind::Unsupported, "a listing opens nothing"))
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        self.told.lock().clear();
        self.walk(from, &mut |item, found| {
            self.tell(item);
            each(item.key().as_bytes(), found)
        })
    }

    fn any_below(&self, prefix: &[u8]) -> Result<bool> {
        let mut any = false;
        self.walk(prefix, &mut |item, _| {
            any = item.key().as_bytes().starts_with(prefix);
            Step::Stop
        })?;
        Ok(any)
    }

    fn write(&self, _edits: &mut [Edit<'_>]) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "a listing writes nothing"))
    }

    fn changed(&self) -> SystemTime {
        self.reach.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_begins_shortly_before_a_place() {
        for from in ["a", "a/b", "a0", "ü", "p/\u{10000}", "!"] {
            let before = just_before(from).unwrap_or_default();
            assert!(before.as_str() < from, "{before:?} {from:?}");
        }
        assert_eq!(just_before("p/a0").unwrap(), "p/a/\u{10ffff}");
        assert_eq!(just_before(" "), None);
        assert_eq!(text_at_or_after(b"p/a"), "p/a");
        assert_eq!(text_at_or_after(b"p/\x80"), "p/\u{80}");
        assert_eq!(text_at_or_after(b"p/\xc3"), "p/\u{c0}");
    }
}
