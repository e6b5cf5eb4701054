//! The stores of a mount, one over the other: the store itself, what keeps its attributes, what a snapshot remembers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::budget::Budget;
use crate::config::source::Place;
use crate::config::{MountSpec, ScratchNames, Separator};
use crate::env::{self, Folders};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::layer;
use crate::layer::attrs::Attrs;
use crate::layer::metadata_cache::MetadataCache;
use crate::layer::own_folder::OwnFolder;
use crate::layer::read_ahead::ReadAhead;
use crate::layer::scratch::{Scratch, Usual};
use crate::layer::stamps::Stamps;
use crate::store;
use crate::store::api::{Caps, Pace, Store};
use crate::store::driver::{Driver, KeepAttributes, Opening};
use crate::store::home::Home;

/// Who keeps the attributes of a store (§5.1), and why, in words for `kvfs status`.
struct Keeper {
    /// Where they are kept beside the store.
    home: Option<Box<dyn Home>>,
    why: String,
}

impl Keeper {
    fn choose(spec: &MountSpec, driver: &Driver, opening: &Opening, caps: &Caps) -> Result<Keeper> {
        let kind = driver.kind;
        let asked = |what: &str| format!("{what}, as asked for");
        let usual = |what: &str| format!("{what}, as is usual for {kind}");
        let keeper = |home, why| Ok(Keeper { home, why });
        match spec.attrs {
            KeepAttributes::None => keeper(None, asked("none")),
            KeepAttributes::Native if caps.attributes => {
                let cost = cost_of_attributes(spec, driver).map(|cost| format!(": {cost}"));
                keeper(None, asked("native") + &cost.unwrap_or_default())
            }
            KeepAttributes::Native => {
                let sentence =
                    format!("{kind} keeps no attributes itself: mount it with --attrs sidecar, or none");
                Err(Error::new(ErrorKind::Invalid, sentence))
            }
            KeepAttributes::Auto if caps.attributes => keeper(None, usual("native")),
            KeepAttributes::Auto | KeepAttributes::Sidecar => match (driver.sidecar)(opening)? {
                Some(home) if spec.attrs == KeepAttributes::Auto => keeper(Some(home), usual("sidecar")),
                Some(home) => keeper(Some(home), asked("sidecar")),
                None if spec.attrs == KeepAttributes::Auto => keeper(None, usual("none")),
                None => {
                    let sentence = format!("{kind} has no place for a sidecar: mount it with --attrs none");
                    Err(Error::new(ErrorKind::Invalid, sentence))
                }
            },
        }
    }
}

/// What it costs, in words, that a store keeps attributes itself which does not tell them in its listings.
pub fn cost_of_attributes(spec: &MountSpec, driver: &Driver) -> Option<&'static str> {
    let asks = spec.attrs == KeepAttributes::Native && !(driver.caps)().attributes;
    let cost = match spec.cache {
        Some(_) => "one request for each object that is listed for the first time, and for each folder",
        None => {
            "one request for each object that is listed for the first time in this mount, and for each folder; --cache \
             remembers them on disk"
        }
    };
    asks.then_some(cost)
}

/// Opens a store, with what keeps its attributes; tells in words who does.
///
/// # Errors
/// What is wrong with it, or with what is kept beside it.
pub fn open_store(spec: &MountSpec, place: &Place, opening: &Opening) -> Result<(Arc<dyn Store>, String)> {
    let store = (place.driver.open)(opening)?;
    let Keeper { home, why } = Keeper::choose(spec, place.driver, opening, store.caps())?;
    Ok(match home {
        Some(home) => (Arc::new(Attrs::new(store, home, opening.separator.clone())?), why),
        None => (store, why),
    })
}

/// Forgets what is kept beside a store; answers what there is to say about it.
///
/// # Errors
/// `Invalid` where the store keeps attributes itself; `Busy` while it is mounted.
pub fn drop_attributes(place: &Place, opening: &Opening) -> Result<String> {
    let home = (place.driver.sidecar)(opening)?.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{} has no sidecar that could be dropped", place.driver.kind))
    })?;
    let shown = home.shown();
    Ok(if home.remove()? { format!("{shown} is removed") } else { format!("there is no {shown}") })
}

/// The store as the mount shows it: one moment of it, where that is asked for, else itself with the mount's own folder.
///
/// # Errors
/// `Unsupported` where it has no such moment.
pub(super) fn shown(store: &Arc<dyn Store>, spec: &MountSpec) -> Result<Arc<dyn Store>> {
    let now = env::now();
    match spec.snapshot.map(|moment| moment.past(now)) {
        None => Ok(OwnFolder::over(Arc::clone(store), now)),
        Some(None) => Arc::clone(store).snapshot(),
        Some(Some(moment)) => Arc::clone(store).past(moment),
    }
}

/// How the store is to be opened for a mount.
pub fn opening(spec: &MountSpec, place: &Place, location: Option<PathBuf>) -> Opening {
    let read_only = spec.read_only || spec.snapshot.is_some();
    let separator = match &spec.separator {
        Some(separator) => separator.clone().into_bytes(),
        None => Separator::Bytes(place.driver.separator.into()).into_bytes(),
    };
    Opening {
        location,
        read_only,
        create: !read_only,
        check: spec.check,
        separator,
        commit: spec.commit,
        timeout: spec.timeout,
        load: spec.load.clone(),
        save: spec.save.clone(),
        service: spec.service.clone(),
        native_attributes: spec.attrs == KeepAttributes::Native,
        newline: spec.newline,
        cache: spec.cache.clone(),
    }
}

/// What lies over a store that takes long to answer: its values are read ahead, kept on disk where that is wanted, and
/// what it tells is remembered for a while. `source` tells it from every other.
///
/// # Errors
/// The folder's that blocks are to be kept in.
pub(super) fn behind_network(
    mut store: Arc<dyn Store>,
    spec: &MountSpec,
    source: &str,
) -> Result<Arc<dyn Store>> {
    if store.caps().pace != Pace::Network {
        return Ok(store);
    }
    if let Some(folder) = &spec.cache {
        store = layer::with_blocks(store, source, folder, spec.cache_size)?;
    }
    let budget = Budget::global();
    let store = Arc::new(ReadAhead::new(store, Arc::clone(budget), spec.timeout));
    Ok(if caches_metadata(spec, store.caps()) {
        Arc::new(MetadataCache::new(store, spec.ttl, Arc::clone(budget)))
    } else {
        store
    })
}

/// A store that is written to, with scratch files in the mount alone, where names are theirs (§4.7).
pub(super) fn with_scratch(store: Arc<dyn Store>, spec: &MountSpec, usual: Usual) -> Arc<dyn Store> {
    // Slow, or of types that have no place for what programs make for a moment, or where it would be part of a document.
    let usual_here = || {
        let moment = Key::of([&b".name.Ab0Cd1"[..]]);
        let caps = store.caps();
        caps.pace == Pace::Network || caps.collections || store.check_file(&moment).is_err()
    };
    let default = || if usual_here() { ScratchNames::usual() } else { ScratchNames::none() };
    let names = spec.scratch.clone().unwrap_or_else(default);
    let written = store.caps().write && !spec.read_only;
    if written && !names.is_none() { Arc::new(Scratch::new(store, names, usual)) } else { store }
}

/// Whether what a store tells is remembered: where it takes long to answer, and does not tell of changes.
fn caches_metadata(spec: &MountSpec, caps: &Caps) -> bool {
    caps.pace == Pace::Network && !caps.watch && !spec.ttl.is_zero()
}

/// How long the kernel may keep it that there is nothing of a name. Where that is remembered here, it is asked for here:
/// kept in both places, one after the other, it would be believed for twice the time.
pub(super) fn ttl_of_absence(spec: &MountSpec, caps: &Caps) -> Duration {
    if caches_metadata(spec, caps) { Duration::ZERO } else { spec.ttl }
}

/// A snapshot whose files keep the times of earlier ones (§5.5). Where what is needed for that cannot be had, a backup
/// reads more than it need, and the mount goes on.
pub(super) fn stamped(snapshot: &Arc<dyn Store>, source: &str, opening: &Opening) -> Option<Arc<Stamps>> {
    let place = format!("{:016x}", XxHash3_64::oneshot(source.as_bytes()));
    let folder = Folders::get().state.join("snapshots").join(place);
    let stamps = || {
        let Some(era) = snapshot.era()? else { return Ok(None) };
        let Some(home) = store::own_map(&folder, opening)? else { return Ok(None) };
        Stamps::new(snapshot.clone(), &era, home).map(Some)
    };
    stamps().map(|stamps| stamps.map(Arc::new)).unwrap_or_else(|error: Error| {
        tracing::warn!("a later backup of this store reads more than it need: {error}");
        None
    })
}
