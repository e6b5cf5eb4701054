//! Reading files and their attributes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use kvfs::env;

use crate::Measured;

/// Length of the many files.
pub const FILE_SIZE: usize = 4096;

/// The name of the small file `index`.
pub fn small(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("f{index:06}"))
}

/// All paths in an order that no key order follows: a fixed stride without a common factor with `count`.
fn scattered(folder: &Path, count: u64) -> Vec<PathBuf> {
    const STRIDE: u64 = 7_919; // a prime
    (0..count).map(|turn| small(folder, turn * STRIDE % count)).collect()
}

/// Opens, reads and closes `count` files, shared out among `readers` threads.
///
/// # Errors
/// The file system's; a file of another length than [`FILE_SIZE`].
pub fn read(folder: &Path, count: u64, readers: u64) -> io::Result<Measured> {
    let paths = scattered(folder, count);
    let start = env::instant();
    thread::scope(|scope| {
        let shares = paths.chunks(count.div_ceil(readers) as usize);
        let threads: Vec<_> =
            shares.map(|share| scope.spawn(|| share.iter().try_for_each(|path| whole(path)))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a reader panicked"))?)
    })?;
    Ok(Measured { operations: count, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}

/// Opens, reads and closes a file.
fn whole(path: &Path) -> io::Result<()> {
    let mut buffer = [0; FILE_SIZE];
    let length = File::open(path)?.read(&mut buffer)?;
    if length != FILE_SIZE {
        return Err(io::Error::other(format!("{} has {length} bytes", path.display())));
    }
    Ok(())
}

/// Reads `count` pieces of [`FILE_SIZE`] of `file`, scattered over all of it.
///
/// # Errors
/// The file system's; a file that is shorter than it says.
pub fn random(file: &Path, count: u64) -> io::Result<Measured> {
    let start = env::instant();
    let opened = File::open(file)?;
    let pieces = opened.metadata()?.len() / FILE_SIZE as u64;
    let mut buffer = [0; FILE_SIZE];
    for turn in 0..count {
        let piece = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) % pieces;
        opened.read_exact_at(&mut buffer, piece * FILE_SIZE as u64)?;
    }
    Ok(Measured { operations: count, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}

/// Asks for the attributes of `count` files `rounds` times.
///
/// # Errors
/// The file system's.
pub fn stat(folder: &Path, count: u64, rounds: u64) -> io::Result<Measured> {
    let paths = scattered(folder, count);
    let mut bytes = 0;
    let start = env::instant();
    for _ in 0..rounds {
        for path in &paths {
            bytes += fs::symlink_metadata(path)?.len();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if bytes != FILE_SIZE as u64 * count * rounds {
        return Err(io::Error::other(format!("the files in {} are not of 4 KiB", folder.display())));
    }
    Ok(Measured { operations: count * rounds, seconds, ..Measured::default() })
}

/// Reads `file` in blocks of `block` bytes.
///
/// # Errors
/// The file system's; fewer or more bytes than the attributes say.
pub fn stream(file: &Path, block: usize) -> io::Result<Measured> {
    let mut buffer = vec![1; block];
    let start = env::instant();
    let mut opened = File::open(file)?;
    let mut bytes = 0;
    loop {
        let length = opened.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        bytes += length as u64;
    }
    let seconds = start.elapsed().as_secs_f64();
    let expected = opened.metadata()?.len();
    if bytes != expected {
        return Err(io::Error::other(format!("{} gave {bytes} of {expected} bytes", file.display())));
    }
    Ok(Measured { operations: bytes, seconds, ..Measured::default() })
}
