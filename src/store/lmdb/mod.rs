//! `lmdb`: LMDB environments, shared with other programs.

mod above;
mod alone;
mod behind;
mod changes;
mod check;
mod commit;
mod compact;
mod cursor;
mod database;
mod duplicates;
mod edit;
mod engine;
mod environment;
mod era;
mod facts;
mod failure;
mod header;
mod journal;
mod lock;
mod map;
mod moment;
mod number;
mod opening;
mod order;
pub(super) mod own;
mod pending;
mod pin;
mod pinned;
mod place;
mod record;
mod recover;
pub mod registry;
mod resolve;
mod rows;
mod sidecar;
mod table;
#[cfg(test)]
mod tests;
mod times;
mod transaction;
mod tree;
mod unordered;
mod value;
mod watch;
mod writer;

use std::path::Path;
use std::sync::Arc;

use check::Extent;
use engine::{Engine, Terms};
use moment::Moment;
use opening::Access;
use sidecar::Beside;
use tree::Lmdb;

use super::api::{Atomic, Caps, Pace, Rename, Store};
use super::driver::{Driver, Location, Opening};
use crate::error::{Error, ErrorKind, Result};

/// The longest value in bytes. LMDB keeps its length in 32 bits, but writes a value's pages, 16 bytes of header before
/// it, by one call, and Linux writes at most this many at once: a longer one fails at its commit.
const VALUE_MAX: u64 = 0x7fff_f000 - 16;
/// The longest key in bytes, in every LMDB 0.9 that was not built otherwise.
const KEY_MAX: u32 = 511;

/// `lmdb` for the list of stores.
pub static DRIVER: Driver = Driver {
    kind: "lmdb",
    about: "an LMDB environment, a folder or a file, shared with the programs that have it open",
    same_as: None,
    location: Location::FolderInPlace,
    caps,
    separator: "/",
    recognise,
    own_files: &["data.mdb", "lock.mdb"],
    rights: None,
    open,
    sidecar: |opening| Ok(Some(Box::new(Beside::of(opening)?))),
};

fn caps() -> Caps {
    Caps {
        kind: "lmdb",
        write: true,
        immutable: false,
        ordered: true,
        branches: true,
        attributes: false,
        folders: false,
        watch: true,
        snapshot: true,
        past: false,
        unlisted: "",
        settable: &[],
        collections: false,
        atomic: Atomic::Batch,
        rename: Rename::Tree,
        pace: Pace::Disk,
        value_max: VALUE_MAX,
        key_max: KEY_MAX,
    }
}

/// Whether `path` is an environment: a folder with a data file, or a data file.
fn recognise(path: &Path) -> bool {
    if path.is_dir() { header::is_data_file(&path.join("data.mdb")) } else { header::is_data_file(path) }
}

fn open(opening: &Opening) -> Result<Arc<dyn Store>> {
    let Some(path) = &opening.location else {
        return Err(Error::new(ErrorKind::Invalid, "lmdb needs a folder or a file: lmdb:PATH"));
    };
    let terms = Terms {
        read_only: opening.read_only,
        create: opening.create,
        extent: if opening.check { Extent::All } else { Extent::First },
        map_size: None,
        timeout: opening.timeout,
    };
    let engine = Engine::open(path, terms, opening)?;
    engine.join();
    let write = !opening.read_only && engine.environment().access == Access::Write;
    let branches = opening.separator.as_ref().is_some_and(|separator| !separator.is_empty());
    let caps = Caps { write, branches, key_max: engine.environment().key_max, ..caps() };
    Ok(Arc::new(Lmdb::new(engine, Moment::Live, caps, opening.separator.clone())?))
}
