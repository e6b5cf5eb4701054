//! Making files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread;

use kvfs::env;

use crate::Measured;
use crate::files::{FILE_SIZE, small};

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    close(file)
}

/// Closes `file` and returns what close returned, which dropping it would swallow.
fn close(file: File) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    nix::unistd::close(file.into_raw_fd()).map_err(io::Error::from)
}

/// Makes `count` files of 4 KiB in `folder`, shared out among `writers` threads.
///
/// # Errors
/// The file system's, also those of close.
pub fn create(folder: &Path, count: u64, writers: u64) -> io::Result<Measured> {
    let bytes = [b'x'; FILE_SIZE];
    let start = env::instant();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || {
                    (writer..count)
                        .step_by(writers as usize)
                        .try_for_each(|index| write_new(&small(folder, index), &bytes))
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a writer panicked"))?)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    File::open(folder)?.sync_all()?;
    let synced_seconds = Some(start.elapsed().as_secs_f64());
    Ok(Measured { operations: count, seconds, synced_seconds, ..Measured::default() })
}

/// Writes `size` bytes to `file` in blocks of 1 MiB, and closes it.
///
/// # Errors
/// The file system's, also those of close.
pub fn write(file: &Path, size: u64) -> io::Result<Measured> {
    let block = vec![7; 1 << 20];
    let start = env::instant();
    let mut opened = File::create(file)?;
    let mut left = size;
    while left > 0 {
        let length = left.min(block.len() as u64);
        opened.write_all(&block[..length as usize])?;
        left -= length;
    }
    close(opened)?;
    Ok(Measured { operations: size, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}

/// Removes all that is in `folder`.
///
/// # Errors
/// The file system's.
pub fn remove(folder: &Path) -> io::Result<Measured> {
    let start = env::instant();
    let mut operations = 0;
    let paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    for path in paths {
        fs::remove_file(path)?;
        operations += 1;
    }
    Ok(Measured { operations, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}

/// Makes `files/`, `million/`, `large` and `new/` below `folder`, as `benches/empty.rs` shows them.
///
/// # Errors
/// The file system's.
pub fn prepare(folder: &Path, files: u64, keys: u64, large: u64) -> io::Result<Measured> {
    let start = env::instant();
    let (small_files, million) = (folder.join("files"), folder.join("million"));
    for made in [&small_files, &million, &folder.join("new")] {
        fs::create_dir_all(made)?;
    }
    for index in 0..files {
        write_new(&small(&small_files, index), &[b'x'; FILE_SIZE])?;
    }
    for index in 0..keys {
        File::create_new(million.join(format!("k{index:07}")))?;
    }
    let mut writer = BufWriter::with_capacity(1 << 20, File::create_new(folder.join("large"))?);
    for _ in 0..large / FILE_SIZE as u64 {
        writer.write_all(&[b'x'; FILE_SIZE])?;
    }
    writer.into_inner()?.sync_all()?;
    let operations = files + keys + 1;
    Ok(Measured { operations, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}
