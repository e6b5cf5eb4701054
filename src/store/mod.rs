//! The stores, by kind. The only `#[cfg(feature)]` lines of the tree are here.

pub mod api;
pub mod flat;
