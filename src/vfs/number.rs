//! The hash that an inode number starts from: of the segments, one after the other, so that a listing hashes its
//! directory once (§5.6).

use twox_hash::XxHash3_64;

use crate::key::{Key, Segment};

/// The hash of a directory's key, to which its children add.
pub fn of_key(key: &Key) -> u64 {
    key.segments().fold(0, below)
}

/// The hash of a segment below a directory.
pub fn below(directory: u64, segment: Segment<'_>) -> u64 {
    XxHash3_64::oneshot_with_seed(directory ^ ((segment.word as u64) << 56), segment.bytes)
}

/// The number of a file with this hash.
pub fn of_file(hash: u64) -> u64 {
    spread(hash)
}

/// The number of a directory with this hash.
pub fn of_directory(hash: u64) -> u64 {
    spread(hash ^ 0x6469_7265_6374_6f72)
}

/// The number that a key's own hash gives: of its directory, or of its file.
pub fn of(key: &Key, directory: bool) -> u64 {
    let hash = of_key(key);
    if directory { of_directory(hash) } else { of_file(hash) }
}

/// The number of a `%more` directory below one with this hash.
pub fn of_more(hash: u64, prefix: &[u8]) -> u64 {
    spread(XxHash3_64::oneshot_with_seed(hash ^ 0x006d_6f72_652f_6d6f, prefix))
}

/// Inode numbers stay positive as signed numbers, which some tools store them in.
fn spread(hash: u64) -> u64 {
    (hash >> 1).max(2)
}
