//! Layers: stores over a store.

pub mod own_files;
