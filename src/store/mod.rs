//! The stores, by kind. The only `#[cfg(feature)]` lines of the tree are here.

pub mod api;
pub mod driver;
pub mod flat;
#[cfg(feature = "lmdb")]
pub mod lmdb;

use driver::Driver;

/// Every kind of store in this build.
pub static DRIVERS: &[Driver] = &[];

/// The driver of this kind, if the build has it.
pub fn driver(kind: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.kind == kind)
}
