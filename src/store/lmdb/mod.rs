//! LMDB.
pub mod lock;
pub mod pending;
