//! Renames: copies on the server, then deletes. What is interrupted leaves the source whole (§4.5).

use std::collections::{HashMap, HashSet};

use futures::stream::{StreamExt, TryStreamExt};

use super::bucket::{Condition, Copy, Headers, Listing, Object, Range};
use super::folder_markers::folder_of;
use super::journal::Entry;
use super::metadata::{self, Holder};
use super::pages::PAGE;
use super::reach::LONG_WORK;
use super::renaming::Shown;
use super::tree::Tree;
use super::upload::{self, Unfinished};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::attributes::Setting;

/// Copies that are under way at the same time.
const AT_ONCE: usize = 16;

impl Tree {
    /// Moves a value, and with `tree` everything below it.
    pub(super) fn rename(
        &self,
        from: &Key,
        to: &Key,
        tree: bool,
        replace: bool,
        setting: &Setting,
    ) -> Result<()> {
        if from == to {
            return Err(Error::new(ErrorKind::Invalid, format!("{from:?} cannot be renamed to itself")));
        }
        if tree && to.starts_with(from) {
            let sentence = format!("{from:?} cannot be renamed into itself, to {to:?}");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let target = self.reach.names.fitting(to)?;
        let mut moves = Vec::new();
        let source = self.reach.names.existing(from);
        let (object, folder) = self.reach.wait(async {
            let object = async {
                match &source {
                    Some(source) => self.reach.bucket.head(source).await,
                    None => Ok(None),
                }
            };
            let folder = async { if tree { self.reach.unmet_folder_marker(from).await } else { Ok(None) } };
            futures::try_join!(object, folder)
        })?;
        let has_value = object.is_some();
        moves.extend(object.map(|object| (object, target.clone())));
        if tree {
            self.add_below(from, to, replace, &mut moves)?;
        }
        if let Some(folder) = folder {
            let renamed = self.way_of_folder_marker(to, replace)?;
            moves.push((folder, renamed));
        }
        // A value on its way there is guarded by the copy's condition.
        if !replace && !has_value && self.reach.wait(self.reach.bucket.head(&target))?.is_some() {
            return Err(Error::new(ErrorKind::Exists, format!("{target:?} is there already")));
        }
        if moves.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no {from:?}")));
        }
        // A file's new attributes go with its copy; a directory's are those of its marker.
        let renamed = if tree { self.reach.names.below(to) } else { Some(target.clone()) };
        let renamed = renamed.filter(|_| self.reach.style.is_some() && !setting.is_empty());
        let entry = self.begin_renaming(from, to, tree, &moves)?;
        let shown = self.reach.progress.begin(&moves[0].0.key, &target, moves.len());
        let renamed = renamed.as_deref().map(|key| (key, setting));
        let copied = self.copy_all(&moves, to, replace, tree, renamed, &shown);
        if let Err(error) = copied {
            // Nothing was removed: what was copied is taken back, as far as it goes.
            self.take_back(&moves, &shown);
            entry.into_iter().for_each(Entry::end);
            return Err(error);
        }
        let below = if tree { self.reach.names.below(from) } else { None };
        let removed = self.delete_all(moves.iter().map(|(object, _)| object), below.as_deref());
        // What could not be removed is told, and whoever hears it decides: the next mount does not go on by itself.
        entry.into_iter().for_each(Entry::end);
        removed
    }

    /// The key that Hadoop's marker of a renamed directory gets. An empty directory of that name gives way where it may; a
    /// file never does.
    fn way_of_folder_marker(&self, to: &Key, replace: bool) -> Result<String> {
        let renamed = self.reach.names.fitting_folder_marker(to)?;
        if let Some(there) = self.reach.wait(self.reach.bucket.head(&renamed))? {
            if !replace || folder_of(&there).is_none() {
                return Err(in_the_way(&renamed, replace));
            }
            self.remove_found(&there)?;
        }
        Ok(renamed)
    }

    /// What lies below `from`, each with its new key.
    fn add_below(
        &self,
        from: &Key,
        to: &Key,
        replace: bool,
        moves: &mut Vec<(Object, String)>,
    ) -> Result<()> {
        let names = &self.reach.names;
        let Some(source) = names.below(from) else { return Ok(()) };
        let target = names.fitting_marker(to)?;
        // Where `from` lies below `to`, all that is there is to move away.
        if !source.starts_with(&target) {
            let there = self.reach.wait(self.first_below(&target, 2))?;
            let is_marker = |object: &Object| object.key == target && object.size == 0;
            if let Some(object) = there.iter().find(|object| !(replace && is_marker(object))) {
                return Err(in_the_way(&object.key, replace));
            }
        }
        for object in self.all_below(&source)? {
            let renamed = target.clone() + &object.key[source.len()..];
            if renamed.len() > names.key_max() {
                let sentence = format!("{renamed:?} is longer than a key can be; nothing is renamed");
                return Err(Error::new(ErrorKind::NameTooLong, sentence));
            }
            moves.push((object, renamed));
        }
        Ok(())
    }

    /// The objects below a prefix.
    pub(super) fn all_below(&self, prefix: &str) -> Result<Vec<Object>> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let listing =
                Listing { prefix, delimiter: None, token: token.as_deref(), after: None, most: PAGE };
            let page = self.reach.wait(self.reach.bucket.list(&listing))?;
            found.extend(page.objects);
            token = page.next;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Copies each object to its new key; the one at `renamed` with attributes that are set.
    fn copy_all(
        &self,
        moves: &[(Object, String)],
        to: &Key,
        replace: bool,
        tree: bool,
        renamed: Option<(&str, &Setting)>,
        shown: &Shown<'_>,
    ) -> Result<()> {
        let folder_marker = if tree { self.reach.names.folder_marker(to) } else { None };
        let folder_marker = folder_marker.as_deref();
        self.reach.wait_long(LONG_WORK * moves.len() as u64, async {
            let copies = moves.iter().map(|(object, target)| {
                // What was there of the marker's key is gone, or stays.
                let guarded = !replace || folder_marker == Some(target.as_str());
                let condition = if guarded { Condition::Absent } else { Condition::Always };
                async move {
                    let headers = match renamed.filter(|(key, _)| key == target) {
                        Some((_, setting)) => Some(self.headers_with(object, tree, setting).await?),
                        None => None,
                    };
                    self.copy_one(object, target, headers.as_ref(), condition).await?;
                    shown.copied(target);
                    Ok(())
                }
            });
            futures::stream::iter(copies).buffer_unordered(AT_ONCE).try_collect::<()>().await
        })
    }

    /// The headers of an object with attributes that are set.
    async fn headers_with(&self, object: &Object, directory: bool, setting: &Setting) -> Result<Headers> {
        let mut headers = match &object.headers {
            Some(headers) => headers.clone(),
            None => self.look(&object.key).await?.and_then(|found| found.headers).unwrap_or_default(),
        };
        if let Some(style) = self.reach.style {
            let kept = metadata::read(style, &headers);
            let holder = if directory { Holder::Directory } else { Holder::File(kept.attributes.file_type) };
            let limit = self.reach.bucket.abilities().metadata_max;
            metadata::write(style, &mut headers, setting, holder, limit)?;
        }
        Ok(headers)
    }

    /// Copies an object, with these headers in place of its own where they are given.
    pub(super) async fn copy_one(
        &self,
        object: &Object,
        target: &str,
        headers: Option<&Headers>,
        condition: Condition,
    ) -> Result<()> {
        let bucket = &self.reach.bucket;
        let condition = self.looked_up(target, condition, self.reach.honoured.copy_absent).await?;
        let copied = if object.size > bucket.abilities().copy_max {
            self.copy_in_parts(object, target, headers, condition).await
        } else {
            let copy = Copy {
                from: &object.key,
                source_version: object.known_version(),
                to: target,
                headers,
                condition,
            };
            self.copy_object(&copy).await
        };
        let mut copied =
            copied.map_err(|e| e.context(format_args!("copying {:?} to {target:?}", object.key)))?;
        (copied.key, copied.size) = (target.to_owned(), object.size);
        copied.headers = headers.cloned().or(copied.headers).or_else(|| object.headers.clone());
        self.reach.recent.put(&copied);
        Ok(())
    }

    /// A copy of what one request does not copy; its headers are sent again.
    async fn copy_in_parts(
        &self,
        object: &Object,
        target: &str,
        headers: Option<&Headers>,
        condition: Condition,
    ) -> Result<Object> {
        let bucket = &self.reach.bucket;
        let headers = match headers.or(object.headers.as_ref()) {
            Some(headers) => headers.clone(),
            None => bucket.head(&object.key).await?.and_then(|found| found.headers).unwrap_or_default(),
        };
        let entry = self.reach.uploads.begin()?;
        let upload = bucket.begin(target, &headers).await?;
        entry.note(&Unfinished { key: target.to_owned(), upload: Some(upload.clone()) })?;
        let outcome = self.copy_parts(object, target, &upload, &headers, &condition).await;
        if outcome.is_err() {
            bucket.abort(target, &upload).await?;
        }
        entry.end();
        outcome
    }

    async fn copy_parts(
        &self,
        object: &Object,
        target: &str,
        upload: &str,
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        let bucket = &self.reach.bucket;
        let abilities = bucket.abilities();
        let length = upload::part_length(object.size, abilities).max(abilities.copy_max.min(1 << 30));
        let part = |number: u64| async move {
            let start = number * length;
            let range = Range {
                key: &object.key,
                version: &object.version,
                start,
                end: object.size.min(start + length),
            };
            bucket.copy_part(target, upload, number as u32 + 1, &range).await
        };
        let parts = 0..object.size.div_ceil(length);
        let tags = futures::stream::iter(parts.map(part)).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
        bucket.complete(target, upload, &tags, headers, condition).await
    }

    /// Removes objects that were copied, each as long as it is what was copied. Those below the prefix `below` come in
    /// order; what lies beside it is removed by itself.
    pub(super) fn delete_all<'o>(
        &self,
        objects: impl Iterator<Item = &'o Object>,
        below: Option<&str>,
    ) -> Result<()> {
        let is_below = |object: &&Object| below.is_some_and(|below| object.key.starts_with(below));
        let (inside, beside): (Vec<&Object>, Vec<&Object>) = objects.partition(is_below);
        let removed = self.delete_inside(&inside);
        // What fails leaves nothing else behind.
        beside.into_iter().fold(removed, |removed, object| removed.and(self.delete_inside(&[object])))
    }

    fn delete_inside(&self, objects: &[&Object]) -> Result<()> {
        objects.iter().for_each(|object| self.reach.recent.lost(&object.key));
        let bucket = &self.reach.bucket;
        let replaced = self.replaced_since(objects)?;
        let failed = |key: &str, error: Error| {
            error.context(format_args!("{key:?} is copied, and could not be removed where it was"))
        };
        self.reach.wait_long(objects.len() as u64, async {
            if let [object] = *objects {
                let condition = Condition::Version(object.version.clone());
                return self.delete_object(&object.key, &condition).await.map_err(|e| failed(&object.key, e));
            }
            for batch in objects.chunks(bucket.abilities().batch.max(AT_ONCE)) {
                let keys: Vec<&str> = batch.iter().map(|object| object.key.as_str()).collect();
                let keys: Vec<&str> = keys.into_iter().filter(|key| !replaced.contains(*key)).collect();
                if let Some((key, error)) = bucket.delete_batch(&keys).await?.into_iter().next() {
                    return Err(failed(&key, error));
                }
            }
            match replaced.iter().next() {
                Some(key) => Err(failed(key, Error::new(ErrorKind::Stale, "somebody put it anew meanwhile"))),
                None => Ok(()),
            }
        })
    }

    /// The objects that have another version by now: many are removed without a condition, so they are listed once more
    /// before. One alone is removed under its version.
    fn replaced_since(&self, objects: &[&Object]) -> Result<HashSet<String>> {
        let (Some(first), Some(last)) = (objects.first(), objects.last()) else { return Ok(HashSet::new()) };
        if objects.len() == 1 {
            return Ok(HashSet::new());
        }
        let versions: HashMap<&str, &str> =
            objects.iter().map(|object| (object.key.as_str(), object.version.as_str())).collect();
        let common = first.key.bytes().zip(last.key.bytes()).take_while(|(one, other)| one == other).count();
        let common = (0..=common).rev().find(|&end| first.key.is_char_boundary(end)).unwrap_or(0);
        let now = self.all_below(&first.key[..common])?;
        let replaced = now.into_iter().filter(|object| {
            versions.get(object.key.as_str()).is_some_and(|version| *version != object.version)
        });
        Ok(replaced.map(|object| object.key).collect())
    }
}

fn in_the_way(key: &str, replace: bool) -> Error {
    let kind = if replace { ErrorKind::NotEmpty } else { ErrorKind::Exists };
    Error::new(kind, format!("{key:?} is in the way"))
}
