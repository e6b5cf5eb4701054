//! `redis`: a Redis or Valkey server. Strings are files; a hash, list, set, sorted set or stream is a directory whose name
//! ends in its type, with a file for each part.
//!
//! ```text
//! kernel's question ──> tree ──┬─> listing, view ──> index ─────┐
//!                              ├─> strings                      ├──> server ──> link ──> the server
//!                              └─> change ──> collection, … ────┘
//! server ──> topology (which node has the key) ──> node (its connections) ──> session ──> link
//! the server ──> tracking ──> index (what is doubtful), and who watches
//! ```
//!
//! - [`index`] has all keys in order; what the server tells ([`tracking`]) keeps it right, so that looking asks nothing.
//! - Opening a file always asks ([`strings`]), and a long value is followed on the connection that reads it ([`link`]).
//! - What is changed is one command, or a transaction with a look before it ([`change`]).

mod abilities;
mod address;
mod change;
mod collection;
mod copying;
mod crossing;
mod direct;
mod discovery;
mod driver;
mod endpoint;
mod failure;
mod field;
mod finding;
mod hash;
mod index;
mod keys;
mod known;
mod link;
mod list;
mod listing;
mod node;
mod notifications;
mod place;
mod recent;
mod renaming;
mod restriction;
mod server;
mod session;
mod set;
mod shared;
mod stream;
mod strings;
mod text;
mod topology;
mod tracking;
mod tree;
mod ttl;
mod types;
mod view;
mod whole;
mod zset;

pub use driver::{CLUSTER, CLUSTER_TLS, REDIS, REDISS, SENTINEL, SENTINEL_TLS, UNIX};
