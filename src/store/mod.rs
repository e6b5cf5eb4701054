//! The stores, by kind. The only `#[cfg(feature)]` lines of the tree are here (and in `layer/mod.rs`, for the block
//! cache).

pub mod api;
pub mod attributes;
pub mod caps;
pub mod change;
#[cfg(feature = "documents")]
pub mod document;
pub mod driver;
#[cfg(any(feature = "memory", test))]
pub mod dump;
pub(crate) mod fingerprint;
pub mod flat;
#[cfg(feature = "folder")]
pub mod folder;
pub mod given;
pub mod home;
#[cfg(feature = "lmdb")]
pub mod lmdb;
#[cfg(any(feature = "documents", feature = "safetensors"))]
mod local_file;
#[cfg(any(feature = "memory", test))]
pub mod memory;
#[cfg(feature = "object")]
pub mod object;
#[cfg(feature = "redis")]
pub mod redis;
pub mod repeating;
#[cfg(feature = "safetensors")]
pub mod safetensors;
#[cfg(any(feature = "folder", feature = "documents", feature = "safetensors"))]
mod unnamed;
pub mod version;

use std::path::Path;

use driver::{Driver, Opening};
use home::Home;

use crate::error::Result;

/// Every kind of store in this build.
pub static DRIVERS: &[&Driver] = &[
    #[cfg(feature = "lmdb")]
    &lmdb::DRIVER,
    #[cfg(feature = "memory")]
    &memory::DRIVER,
    #[cfg(feature = "folder")]
    &folder::DRIVER,
    #[cfg(feature = "object")]
    &object::driver::S3,
    #[cfg(feature = "object")]
    &object::driver::AZURE,
    #[cfg(feature = "object")]
    &object::driver::GCS,
    #[cfg(feature = "redis")]
    &redis::REDIS,
    #[cfg(feature = "redis")]
    &redis::REDISS,
    #[cfg(feature = "redis")]
    &redis::UNIX,
    #[cfg(feature = "redis")]
    &redis::CLUSTER,
    #[cfg(feature = "redis")]
    &redis::CLUSTER_TLS,
    #[cfg(feature = "redis")]
    &redis::SENTINEL,
    #[cfg(feature = "redis")]
    &redis::SENTINEL_TLS,
    #[cfg(feature = "safetensors")]
    &safetensors::DRIVER,
    #[cfg(feature = "documents")]
    &document::JSON,
    #[cfg(feature = "documents")]
    &document::TOML,
];

/// A map of our own in `folder`, for what is kept of the store that `opening` opens; `None` where the build has none that
/// lasts.
///
/// # Errors
/// `Busy` where another daemon has it; the system's.
pub fn own_map(folder: &Path, opening: &Opening) -> Result<Option<Box<dyn Home>>> {
    #[cfg(feature = "lmdb")]
    return Ok(Some(Box::new(lmdb::own::Own::new(folder, opening)?)));
    #[cfg(not(feature = "lmdb"))]
    {
        let _ = (folder, opening);
        Ok(None)
    }
}

/// The driver of this kind, if the build has it.
pub fn driver(kind: &str) -> Option<&'static Driver> {
    DRIVERS.iter().copied().find(|driver| driver.kind == kind)
}
