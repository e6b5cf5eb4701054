//! LMDB.
pub mod lock;
