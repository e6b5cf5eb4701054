//! The stores, by kind. The only `#[cfg(feature)]` lines of the tree are here.

pub mod api;
pub mod attributes;
pub mod driver;
#[cfg(any(feature = "memory", test))]
pub mod dump;
pub mod flat;
pub mod home;
#[cfg(feature = "lmdb")]
pub mod lmdb;
#[cfg(any(feature = "memory", test))]
pub mod memory;

use driver::Driver;

/// Every kind of store in this build.
pub static DRIVERS: &[&Driver] = &[
    #[cfg(feature = "lmdb")]
    &lmdb::DRIVER,
    #[cfg(feature = "memory")]
    &memory::DRIVER,
];

/// The driver of this kind, if the build has it.
pub fn driver(kind: &str) -> Option<&'static Driver> {
    DRIVERS.iter().copied().find(|driver| driver.kind == kind)
}
