//! Bindings to the system's liblmdb 0.9.
