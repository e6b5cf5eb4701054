//! LMDB.
pub mod commit;
pub mod journal;
pub mod lock;
pub mod pending;
pub mod record;
pub mod recover;
pub mod resolve;
