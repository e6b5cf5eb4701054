//! LMDB.
pub mod journal;
pub mod lock;
pub mod pending;
pub mod record;
