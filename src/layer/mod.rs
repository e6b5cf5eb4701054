//! Layers: stores over a store.

pub mod fault;
pub mod own_files;
