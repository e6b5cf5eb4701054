//! Blocks of values in a folder, by foyer: bounded, evicted when it is full, checksummed, there again after a restart.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCacheEntry,
    HybridCachePolicy, PsyncIoEngineConfig, RecoverMode,
};
use nix::fcntl::{Flock, FlockArg};

use crate::budget::{Budget, Permit, Purpose};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};

/// The folder is divided into so many files, about; one of them is evicted at a time.
const FILES: u64 = 128;
/// Such a file has at least and at most so many bytes.
const FILE_SIZES: (u64, u64) = (1 << 20, 1 << 30);
/// Less room than this is not worth a cache, in bytes.
const LEAST: u64 = 4 << 20;
/// Threads that read and write the folder. They are not those of other waits: who reads ahead waits for them.
const THREADS: usize = 4;
/// A disk that takes longer than this to answer is not asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long opening may take, which looks through all files.
const OPENING: Duration = Duration::from_secs(60);

/// A block that was found.
pub(super) type Block = HybridCacheEntry<Vec<u8>, Vec<u8>>;

type Cache = HybridCache<Vec<u8>, Vec<u8>>;

/// The blocks in one folder. Nothing that is wrong with it is an error of who reads: then there is no block.
pub(super) struct Blocks {
    /// There until it drops.
    cache: Option<Cache>,
    /// Whether it was closed, or its disk is full or does not answer: it is not used any more.
    given_up: AtomicBool,
    /// Blocks found.
    pub hits: AtomicU64,
    /// Blocks not found.
    pub misses: AtomicU64,
    /// Times that the folder failed.
    failures: AtomicU64,
    _permit: Option<Permit>,
    _lock: Flock<File>,
}

impl Blocks {
    /// Opens the blocks in `folder`, which is made, for at most `size` bytes.
    ///
    /// # Errors
    /// `Busy` where another daemon has it; the folder's.
    pub fn open(folder: &Path, size: u64, budget: &Budget) -> Result<Blocks> {
        env::private_folder(folder)?;
        let failed =
            |error: &std::io::Error| Error::io(format_args!("the cache in {}", folder.display()), error);
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(|e| failed(&e))?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join("lock"));
        let lock = Flock::lock(lock.map_err(|e| failed(&e))?, FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => {
                Error::new(ErrorKind::Busy, format!("another mount uses the cache in {}", folder.display()))
            }
            errno => failed(&errno.into()),
        })?;
        // Two queues of a third of this each, and what was found last.
        let memory = budget.total() / 64 * 5;
        let permit = budget.try_take(Purpose::ReadAhead, memory);
        let size = size.min(room_for(folder)?);
        let cache = Some(env::wait(Deadline::after(OPENING), build(folder, size, memory as usize))?);
        let (given_up, hits, misses, failures) = Default::default();
        Ok(Blocks { cache, given_up, hits, misses, failures, _permit: permit, _lock: lock })
    }

    /// Whether there is such a block, perhaps.
    pub fn has(&self, key: &Vec<u8>) -> bool {
        self.guarded(|cache| cache.contains(key)).unwrap_or(false)
    }

    /// The block of this key and length.
    pub fn get(&self, key: &Vec<u8>, length: usize) -> Option<Block> {
        if !self.has(key) {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let found = self.guarded(|cache| {
            env::wait(Deadline::after(PATIENCE), async {
                cache.get(key).await.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
            })
        });
        let found = found.unwrap_or(Ok(None)).unwrap_or_else(|error| {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("the cache cannot be read: {error}");
            if error.kind() == ErrorKind::TimedOut {
                self.give_up("its disk does not answer");
            }
            None
        });
        let found = found.filter(|block| block.value().len() == length);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps a block, where there is room in the queue to the disk.
    pub fn put(&self, key: Vec<u8>, block: Vec<u8>) {
        drop(self.guarded(|cache| cache.insert(key, block)));
    }

    /// Asks the cache, as long as it works: it asserts that its disk takes what it writes, and is not whole any more
    /// where that fails.
    fn guarded<T>(&self, ask: impl FnOnce(&Cache) -> T) -> Option<T> {
        let cache = self.cache.as_ref().filter(|_| !self.given_up.load(Ordering::Relaxed))?;
        let answer = catch_unwind(AssertUnwindSafe(|| ask(cache)));
        if answer.is_err() {
            self.give_up("it failed: its disk may be full");
        }
        answer.ok()
    }

    fn give_up(&self, why: &str) {
        if !self.given_up.swap(true, Ordering::Relaxed) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the cache is not used any more: {why}");
        }
    }

    /// Writes what is on its way to the disk, as far as there is time; nothing is kept any more from then on.
    pub fn close(&self) {
        let closed = self.guarded(|cache| {
            env::wait(Deadline::after(PATIENCE), async {
                cache.close().await.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
            })
        });
        self.given_up.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = closed {
            tracing::warn!("some of the cache is not kept for the next mount: {error}");
        }
    }

    /// What `kvfs status` shows.
    pub fn facts(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} blocks found, {} not; {} failures{}",
            count(&self.hits),
            count(&self.misses),
            count(&self.failures),
            if self.given_up.load(Ordering::Relaxed) { "; not used any more" } else { "" }
        )
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.close();
        let cache = self.cache.take();
        // It closes itself once more, and may assert what does not hold.
        drop(catch_unwind(AssertUnwindSafe(|| drop(cache))));
    }
}

/// What the disk has for the blocks in a folder, in bytes: what they have, and most of what is free.
///
/// # Errors
/// `NoSpace` where that is next to nothing.
fn room_for(folder: &Path) -> Result<u64> {
    let failed = |error: &std::io::Error| Error::io(folder.display(), error);
    let disk = nix::sys::statvfs::statvfs(folder).map_err(|errno| failed(&errno.into()))?;
    let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
    let files = fs::read_dir(folder).map_err(|e| failed(&e))?;
    let had: u64 = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.blocks() * 512)).sum();
    match had + free / 10 * 9 {
        room if room >= LEAST => Ok(room),
        _ => Err(Error::new(
            ErrorKind::NoSpace,
            format!("the disk of {} has no room for a cache", folder.display()),
        )),
    }
}

async fn build(folder: &Path, size: u64, memory: usize) -> Result<Cache> {
    let failed = |error: foyer::Error| {
        Error::new(ErrorKind::Io, format!("the cache in {} cannot be used: {error}", folder.display()))
    };
    let device = FsDeviceBuilder::new(folder).with_capacity(size as usize).build().map_err(failed)?;
    let file = (size / FILES).next_power_of_two().clamp(FILE_SIZES.0, FILE_SIZES.1);
    let queue = memory / 5 * 2;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(file as usize)
        .with_buffer_pool_size(queue)
        .with_submit_queue_size_threshold(queue);
    HybridCacheBuilder::new()
        .with_name("kvfs")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(memory / 5)
        .with_shards(4)
        .with_weighter(|key: &Vec<u8>, block: &Vec<u8>| key.len() + block.len())
        .storage()
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine)
        // What cannot be read back is not there.
        .with_recover_mode(RecoverMode::Quiet)
        .with_spawner(env::another_runtime("kvfs-cache", THREADS)?.into())
        .build()
        .await
        .map_err(failed)
}

/// Opens the blocks of one store in its own folder below `folder`; none, and a line in the log, where another mount of
/// the same store has them.
///
/// # Errors
/// The folder's.
pub(super) fn open_for(
    folder: &Path,
    size: u64,
    identity: &str,
    budget: &Budget,
) -> Result<Option<Arc<Blocks>>> {
    let name = format!("blocks-{:032x}", twox_hash::XxHash3_128::oneshot(identity.as_bytes()));
    match Blocks::open(&folder.join(name), size, budget) {
        Ok(blocks) => Ok(Some(Arc::new(blocks))),
        Err(error) if error.kind() == ErrorKind::Busy => {
            tracing::warn!("{error}: this mount goes without");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
