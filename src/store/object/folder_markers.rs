//! Hadoop's markers: an empty object `a_$folder$` says that there is a directory `a`.
//!
//! A listing meets the marker behind most of what begins with `a`, so that whether `a` or `a/` is there too was told before:
//! in the same page, or it is asked for. A name that is looked up is asked for its marker only where one was met, so
//! that buckets without such markers are asked no more. A directory that is removed or renamed always is.

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use futures::stream::{StreamExt, TryStreamExt};

use super::bucket::{Listing, Object};
use super::pages::Item;
use super::reach::Reach;
use crate::error::Result;
use crate::key::Key;

/// What the key of a marker ends in.
pub(super) const SUFFIX: &str = "_$folder$";
/// Markers that are asked about at the same time.
const ASKED_AT_ONCE: usize = 32;

/// The key that would be the directory's, were it a value; `None` where it is no marker. A marker is empty: what has bytes
/// is a file.
pub(super) fn folder_of(object: &Object) -> Option<&str> {
    let folder = object.key.strip_suffix(SUFFIX).filter(|_| object.size == 0)?;
    (!folder.is_empty()).then_some(folder)
}

impl Reach {
    /// The marker of a directory that is looked up, where markers like it were met in this bucket.
    pub(super) async fn folder_marker(&self, key: &Key) -> Result<Option<Object>> {
        match self.folder_markers.load(Ordering::Relaxed) {
            true => self.unmet_folder_marker(key).await,
            false => Ok(None),
        }
    }

    /// The marker of a directory that is to go from where it is, also where none was met: it would be there again with
    /// the listing that meets it.
    pub(super) async fn unmet_folder_marker(&self, key: &Key) -> Result<Option<Object>> {
        let Some(raw) = self.names.folder_marker(key) else { return Ok(None) };
        let found = self.bucket.head(&raw).await?.filter(|object| folder_of(object).is_some());
        if found.is_some() {
            self.folder_markers.store(true, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// Notes that this bucket has such markers, if one is among them.
    pub(super) fn meet_folder_markers(&self, objects: &[Object]) {
        if self.names.delimiter().is_some() && objects.iter().any(|object| folder_of(object).is_some()) {
            self.folder_markers.store(true, Ordering::Relaxed);
        }
    }
}

/// The items of a page below `prefix` with markers as what they say: a directory that is told otherwise too goes, and where
/// there is a value of that name the marker is a file. `begins`, `ends`: nothing lies before the page, nothing behind it.
pub(super) async fn read(
    reach: &Reach,
    prefix: &str,
    items: Vec<Item>,
    begins: bool,
    ends: bool,
) -> Result<Vec<Item>> {
    let Some(delimiter) = reach.names.delimiter() else { return Ok(items) };
    let is_marker = |item: &Item| match item {
        Item::Object(object) => folder_of(object).is_some_and(|folder| folder.len() > prefix.len()),
        _ => false,
    };
    if !items.iter().any(is_marker) {
        return Ok(items);
    }
    reach.folder_markers.store(true, Ordering::Relaxed);
    let first = items.first().map(Item::key).unwrap_or_default();
    let last = items.last().map(Item::key).unwrap_or_default();
    let has = |key: &str| items.binary_search_by(|item| item.key().cmp(key)).is_ok();
    let mut asked = Vec::new();
    for item in &items {
        let Item::Object(object) = item else { continue };
        let Some(folder) = folder_of(object).filter(|folder| folder.len() > prefix.len()) else { continue };
        let below = format!("{folder}{delimiter}");
        // What is below a directory comes behind its marker where the separator does.
        let covered = (begins || first <= folder) && (ends || below.as_str() <= last);
        let known = covered.then(|| (has(folder), has(&below)));
        asked.push(async move {
            match known {
                Some(known) => Ok(known),
                None => is_there(reach, folder, &below).await,
            }
        });
    }
    let told: Vec<(bool, bool)> = futures::stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await?;
    let mut told = told.into_iter();
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        let answer = if is_marker(&item) { told.next() } else { None };
        match (item, answer) {
            (Item::Object(marker), Some((false, false))) => read.push(Item::Folder(marker)),
            // Listed by what is in it.
            (_, Some((false, true))) => {}
            (item, _) => read.push(item),
        }
    }
    Ok(read)
}

/// Whether there is an object `folder`, and anything below it.
async fn is_there(reach: &Reach, folder: &str, below: &str) -> Result<(bool, bool)> {
    let listing = Listing { prefix: below, delimiter: None, token: None, after: None, most: 1 };
    let (object, page) = futures::try_join!(reach.bucket.head(folder), reach.bucket.list(&listing))?;
    Ok((object.is_some(), !page.objects.is_empty()))
}
