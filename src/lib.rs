//! # kvfs: any key-value store as files
//!
//! A *Store* ([`store::api::Store`]) is a tree of raw byte segments; a *Layer* is a Store over a Store; the
//! *Vfs* ([`vfs`]) is POSIX over one Store; FUSE ([`fuse`]) is only a door.
//!
//! - [`design`]: the floors of the house and the decisions behind them.
//! - [`semantics`]: what a mount promises, sentence by sentence.

#[doc = include_str!("DESIGN.md")]
pub mod design {}
#[doc = include_str!("SEMANTICS.md")]
pub mod semantics {}

pub mod budget;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod device;
pub mod env;
pub mod error;
pub mod fresh;
pub mod fuse;
pub mod key;
#[macro_use]
pub mod layer;
pub mod logging;
pub mod mount;
pub mod mount_point;
pub mod mount_table;
pub mod mount_users;
pub mod name;
pub mod payload;
pub mod spool;
pub mod store;
pub mod vfs;
pub mod view;
