//! Listing directories.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use kvfs::env;
use rustix::fs::{Mode, OFlags, RawDir};

use crate::Measured;

/// The buffer that glibc's `opendir` takes for a directory of this block size.
fn buffer_of_glibc(folder: &Path) -> io::Result<usize> {
    use std::os::unix::fs::MetadataExt;
    Ok((fs::metadata(folder)?.blksize() as usize).clamp(32 << 10, 1 << 20))
}

/// Counts the names in `folder`.
///
/// # Errors
/// The file system's.
pub fn names(folder: &Path, buffer: Option<usize>) -> io::Result<Measured> {
    let size = buffer.map_or_else(|| buffer_of_glibc(folder), Ok)?;
    let mut buffer = vec![MaybeUninit::uninit(); size];
    let start = env::instant();
    let directory =
        rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut count = 0;
    let mut first = None;
    while let Some(entry) = entries.next() {
        first.get_or_insert_with(|| start.elapsed());
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            count += 1;
        }
    }
    Ok(Measured {
        operations: count,
        seconds: start.elapsed().as_secs_f64(),
        first_seconds: first.map(|time| time.as_secs_f64()),
        ..Measured::default()
    })
}

/// Lists `folder` and looks at each entry as it comes.
///
/// # Errors
/// The file system's.
pub fn long(folder: &Path) -> io::Result<Measured> {
    let start = env::instant();
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        fs::symlink_metadata(entry?.path())?;
        count += 1;
    }
    Ok(Measured { operations: count, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}
