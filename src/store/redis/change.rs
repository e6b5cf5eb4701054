//! What is changed, one change after the other: each is one command, or one transaction with a look before it.

use std::sync::Arc;

use super::collection::{self, Deed};
use super::keys::Typed;
use super::known::of;
use super::place::Place;
use super::session::Session;
use super::shared::{Shared, exists, shown};
use super::types::Type;
use super::{field, renaming, strings, ttl, whole};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Word};
use crate::payload::Payload;
use crate::store::api::{Change, When, keeps_no_attributes};
use crate::store::attributes::Setting;
use crate::store::flat::Keys;

/// Carries out one change.
///
/// # Errors
/// See [`crate::store::api::Store::apply`].
pub(super) fn apply(shared: &Arc<Shared>, change: &Change<'_>) -> Result<()> {
    match change {
        Change::Put { key, body, when } => put(shared, key, body, when),
        Change::Delete { key, when } => delete(shared, key, when),
        Change::Rename { from, to, tree, replace } => renaming::rename(shared, from, to, *tree, *replace),
        Change::Branch { key } => make_branch(shared, key),
        Change::RemoveBranch { key } => remove_branch(shared, key),
        Change::Set { key, attributes, .. } => set(shared, key, attributes),
        Change::Make { .. } => Err(keeps_no_attributes()),
    }
}

/// Where a key can be made.
///
/// # Errors
/// `Invalid`, `NameTooLong`, `NotPermitted`.
pub(super) fn fitting<'k>(shared: &Shared, key: &'k Key) -> Result<Place<'k>> {
    let place = if key.is_root() { Place::Nowhere } else { Place::of(&shared.separator, key) };
    let Some(flat) = place.flat() else {
        return Err(Error::new(ErrorKind::Invalid, format!("{key:?}: no key of the server is shown there")));
    };
    if flat.len() > super::listing::KEY_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, format!("a key of {} bytes", flat.len())));
    }
    if matches!(place, Place::Whole(_, Type::Json)) && !shared.abilities.json {
        let sentence = format!("{} has no JSON documents: that takes a module", shared.server.address());
        return Err(Error::new(ErrorKind::Unsupported, sentence));
    }
    if !shared.restriction.has(flat) {
        let sentence =
            format!("{} is none of the keys that this mount shows (?prefix=, ?match=)", shown(flat));
        return Err(Error::new(ErrorKind::NotPermitted, sentence));
    }
    Ok(place)
}

/// Whether anything could be there.
fn exists_here(shared: &Shared, key: &Key) -> bool {
    fitting(shared, key).is_ok()
}

fn put(shared: &Arc<Shared>, key: &Key, body: &Payload, when: &When) -> Result<()> {
    if body.len() > strings::LONGEST {
        let sentence =
            format!("{key:?} would have {} bytes: a value has at most {}", body.len(), strings::LONGEST);
        return Err(Error::new(ErrorKind::TooBig, sentence));
    }
    match fitting(shared, key)? {
        Place::Plain(flat) => strings::put(shared, &flat, body, when),
        Place::Element(flat, kind, part) => {
            let body = strings::whole(body)?;
            collection::change(shared, &flat, kind, &Deed::Put(part, &body), when)
        }
        Place::Whole(flat, kind) => whole::put(shared, &flat, kind, &strings::whole(body)?, when),
        Place::Collection(..) | Place::Nowhere => {
            Err(Error::new(ErrorKind::IsDirectory, format!("{key:?} is a directory")))
        }
    }
}

fn delete(shared: &Arc<Shared>, key: &Key, when: &When) -> Result<()> {
    match Place::of(&shared.separator, key) {
        _ if !exists_here(shared, key) => match when {
            When::Always | When::Absent => Ok(()),
            When::Current(_) => Err(ErrorKind::Stale.into()),
        },
        Place::Plain(flat) => strings::delete(shared, &flat, when),
        Place::Element(flat, kind, part) => {
            collection::change(shared, &flat, kind, &Deed::Delete(part.bytes), when)
        }
        Place::Whole(flat, kind) => remove_whole(shared, &flat, kind),
        Place::Collection(..) | Place::Nowhere => Ok(()),
    }
}

/// Removes a collection, where one of this type is there.
fn remove_whole(shared: &Shared, key: &[u8], kind: Type) -> Result<()> {
    let attempt = |session: &mut Session<'_>| match session.look(key, [])? {
        (Some(found), _) if found == kind => session.transact_all(&[of("DEL", key)], shared.refused(key)),
        _ => session.settle_for(Ok(())),
    };
    // Done twice, it is done once.
    let outcome = shared.server.carry_out(key, None, attempt, || Ok(false));
    shared.doubt(key);
    outcome
}

/// A directory: a key of its own with `--markers`; else it lives in the mount, which `Unsupported` says.
fn make_branch(shared: &Shared, key: &Key) -> Result<()> {
    if key.is_root() {
        return Err(Error::new(ErrorKind::Exists, "the root is there already"));
    }
    if !shared.separator.is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "without a separator every key is one file"));
    }
    match fitting(shared, key)? {
        Place::Plain(flat) => {
            let below = shared
                .separator
                .below(key)
                .ok_or_else(|| Error::new(ErrorKind::Invalid, "nothing can lie below this name"))?;
            let (known, any) = shared.look(Some(&flat), Some(&below))?;
            if any || known.is_some_and(|known| !known.kind.has_word()) {
                return Err(exists(&flat));
            }
            if !shared.markers {
                return Err(ErrorKind::Unsupported.into());
            }
            strings::put(shared, &below, &Payload::new(), &When::Absent)
        }
        Place::Collection(flat, kind) => match shared.known(&flat)? {
            None => Err(ErrorKind::Unsupported.into()),
            Some(known) if known.kind == kind => Err(exists(&flat)),
            Some(_) => Err(strings::other_type(&flat)),
        },
        Place::Element(..) | Place::Whole(..) | Place::Nowhere => {
            Err(Error::new(ErrorKind::NotPermitted, "a part of a collection is no directory"))
        }
    }
}

fn remove_branch(shared: &Shared, key: &Key) -> Result<()> {
    let not_empty = || Err(ErrorKind::NotEmpty.into());
    match fitting(shared, key)? {
        Place::Plain(flat) => {
            let Some(below) = shared.separator.below(key) else { return Ok(()) };
            let known = shared.known(&flat)?;
            let inside = Keys::Prefix(below.clone());
            let inside = shared.starting_with(&inside)?;
            let marker = |(name, _): &Typed| **name == *below;
            if known.is_some_and(|known| !known.kind.has_word()) || !inside.iter().all(marker) {
                return not_empty();
            }
            if inside.is_empty() {
                return Ok(());
            }
            if shared.known(&below)?.is_some_and(|known| known.size > 0) {
                return not_empty();
            }
            strings::delete(shared, &below, &When::Always)
        }
        Place::Collection(flat, kind) => match shared.known(&flat)? {
            Some(known) if known.kind == kind => not_empty(),
            _ => Ok(()),
        },
        Place::Element(..) | Place::Whole(..) | Place::Nowhere => Err(ErrorKind::NotDirectory.into()),
    }
}

/// The one attribute that can be set is the time to live.
fn set(shared: &Shared, key: &Key, attributes: &Setting) -> Result<()> {
    let kept = attributes.of_xattrs(&[ttl::TTL]);
    if kept.is_empty() || kept != *attributes {
        return Err(keeps_no_attributes());
    }
    let place = fitting(shared, key)?;
    kept.xattrs.values().try_for_each(|ttl| match &place {
        Place::Plain(flat) | Place::Collection(flat, _) | Place::Whole(flat, _) => {
            ttl::set(shared, flat, ttl.as_deref())
        }
        Place::Element(flat, Type::Hash, part) if part.word == Word::None && shared.abilities.field_ttls => {
            field::set(shared, flat, part.bytes, ttl.as_deref())
        }
        Place::Element(..) | Place::Nowhere => Err(keeps_no_attributes()),
    })
}
