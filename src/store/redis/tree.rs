//! A server as a [`Store`].

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::address::Set;
use super::index::UNTOLD;
use super::place::Place;
use super::shared::Shared;
use super::tracking::Tracking;
use super::types::Type;
use super::{change, collection, field, listing, strings, ttl, whole};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Word};
use crate::payload::Payload;
use crate::store::api::{
    Caps, Change, Cursor, Entry, Kind, SharedBytes, Stat, Store, Tell, Usage, Value, Version, Watch,
};
use crate::store::version::Tag;

/// A server, shown as files.
pub(super) struct Tree {
    shared: Arc<Shared>,
    tracking: Arc<Tracking>,
    caps: Caps,
    /// What the server said of itself when it was opened.
    about: Vec<(&'static str, String)>,
}

impl Tree {
    pub(super) fn new(
        shared: Arc<Shared>,
        tracking: Arc<Tracking>,
        caps: Caps,
        about: Vec<(&'static str, String)>,
    ) -> Tree {
        Tree { shared, tracking, caps, about }
    }

    /// The bytes of what is made anew for each question.
    fn made(&self, place: &Place<'_>) -> Result<Option<Vec<u8>>> {
        match place {
            Place::Element(key, kind, part) => collection::open(&self.shared, key, *kind, *part),
            Place::Whole(key, kind) => whole::open(&self.shared, key, *kind),
            Place::Plain(_) | Place::Collection(..) | Place::Nowhere => Ok(None),
        }
    }
}

impl Tree {
    /// The version of what was put with all of these bytes. What is made anew for each question may be written otherwise
    /// than it was put, and still be the same.
    fn version_of_whole(&self, place: &Place<'_>, body: &Payload) -> Result<Version> {
        let is_same = |there: &[u8]| -> Result<bool> {
            let body = strings::whole(body)?;
            match place {
                Place::Element(_, kind, _) => collection::is_same(*kind, there, &body),
                _ => Ok(whole::is_same(there, &body)),
            }
        };
        match self.made(place)? {
            Some(there) if is_same(&there)? => Ok(Version::of_content(&there)),
            _ => Version::of_payload(body),
        }
    }
}

impl Store for Tree {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        let shared = &self.shared;
        if key.is_root() {
            return Ok(Some(Stat::plain(Kind::Branch, 0, shared.index.modified())));
        }
        let place = Place::of(&shared.separator, key);
        match &place {
            Place::Plain(flat) => {
                let below = shared.separator.below(key);
                let (known, any) = shared.look(Some(flat), below.as_deref())?;
                let Some(known) = known.filter(|known| !known.kind.has_word()) else {
                    return Ok(any.then(|| Stat::plain(Kind::Branch, 0, shared.index.modified())));
                };
                let kind = if any { Kind::Both } else { Kind::Leaf };
                let version = known.version.as_deref().copied();
                Ok(Some(Stat { version, ..Stat::plain(kind, known.size, known.modified) }))
            }
            Place::Collection(flat, kind) => {
                let known = shared.known(flat)?.filter(|known| known.kind == *kind);
                Ok(known.map(|known| Stat::plain(Kind::Branch, 0, known.modified)))
            }
            Place::Element(flat, ..) | Place::Whole(flat, _) => {
                let Some(bytes) = self.made(&place)? else { return Ok(None) };
                let modified = shared.known(flat)?.map_or_else(env::now, |known| known.modified);
                let version = Tag::of(&Version::of_content(&bytes).0);
                Ok(Some(Stat { version, ..Stat::plain(Kind::Leaf, bytes.len() as u64, modified) }))
            }
            Place::Nowhere => Ok(None),
        }
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        listing::list(&self.shared, dir, from, each)
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        if key.is_root() {
            return Ok(None);
        }
        match Place::of(&self.shared.separator, key) {
            Place::Plain(flat) => strings::open(&self.shared, &flat),
            place => {
                let bytes = self.made(&place)?;
                Ok(bytes.map(|bytes| Box::new(SharedBytes(bytes.into())) as Box<dyn Value>))
            }
        }
    }

    fn good_for(&self, _key: &Key) -> Option<Duration> {
        (!self.shared.index.is_known()).then_some(UNTOLD)
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(Error::new(ErrorKind::ReadOnly, "this store is mounted read-only"));
        }
        changes.iter().try_for_each(|change| change::apply(&self.shared, change))
    }

    fn sync(&self) -> Result<()> {
        if self.shared.server.wait_for_disk()? || !self.shared.require_aof {
            return Ok(());
        }
        let sentence = "the server does not tell what is on its disk (WAITAOF, an append-only file); --require-aof asks for that";
        Err(Error::new(ErrorKind::Io, sentence))
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        change::fitting(&self.shared, key).map(drop)
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let plain = Place::of(&self.shared.separator, key);
        match (&plain, directory) {
            (Place::Plain(_), true) => self.shared.separator.below(key).unwrap_or_default(),
            _ => plain.flat().unwrap_or_default().to_vec(),
        }
    }

    fn version_of(&self, key: &Key, body: &Payload) -> Result<Option<Version>> {
        let place = Place::of(&self.shared.separator, key);
        match body.beginning() {
            None => self.version_of_whole(&place, body).map(Some),
            // All of it is a version that is open, of this key or of that which it is a copy of.
            Some((value, length)) if length == body.len() => {
                let version = value.version()?;
                let of = self.shared.long_ones.source(&version);
                let is_own = of.is_none_or(|(source, _)| place.flat() == Some(&source[..]));
                Ok(Some(version).filter(|_| is_own))
            }
            Some(_) => Ok(None),
        }
    }

    fn watch(&self, tell: Tell) -> Result<Watch> {
        Ok(self.tracking.add(tell))
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match Place::of(&self.shared.separator, key) {
            Place::Plain(flat) | Place::Collection(flat, _) | Place::Whole(flat, _) => {
                ttl::known(&self.shared, &flat)
            }
            Place::Element(flat, Type::Hash, part) if part.word == Word::None => {
                field::known(&self.shared, &flat, part.bytes)
            }
            Place::Element(..) | Place::Nowhere => Ok(Vec::new()),
        }
    }

    fn usage(&self) -> Usage {
        Usage { keys: self.shared.index.count(), ..Usage::default() }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let (asked, reconnected) = self.shared.server.counts();
        let mut facts = vec![("server", self.shared.server.address().to_string())];
        facts.extend(self.about.iter().cloned());
        let topology = self.shared.server.topology();
        if self.shared.server.address().set != Set::One {
            let nodes = topology.nodes().map(|node| {
                let replicas = topology.replicas_of(node.number()).unwrap_or(0);
                format!("{} ({replicas} replicas)", node.endpoint().way)
            });
            let name =
                if self.shared.server.address().from_replicas { "replicas asked" } else { "primaries" };
            facts.push((name, nodes.collect::<Vec<_>>().join(", ")));
        }
        facts.push(("changes by others", self.tracking.shown().to_owned()));
        facts.push(("keys", self.shared.index.shown()));
        let same = self.shared.recent.same();
        let shown =
            format!("{asked}, {reconnected} connections made anew, {same} strings known to be the newest");
        facts.push(("round trips", shown));
        facts
    }

    fn close(&self) -> Result<()> {
        self.tracking.stop();
        Ok(())
    }
}
