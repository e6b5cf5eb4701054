//! Links the system's liblmdb.
fn main() {}
