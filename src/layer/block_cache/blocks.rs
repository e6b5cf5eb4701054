//! Blocks of values in a folder, by foyer: bounded, evicted when it is full, checksummed, there again after a restart.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
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
/// Threads that read and write the folder. They are not those of other waits: who reads ahead waits for them.
const THREADS: usize = 4;
/// A disk that takes longer than this to answer is not asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long opening may take, which looks through all files.
const OPENING: Duration = Duration::from_secs(60);

/// A block that was found.
pub(super) type Block = HybridCacheEntry<Vec<u8>, Vec<u8>>;

/// The blocks in one folder. Nothing that is wrong with it is an error of who reads: then there is no block.
pub(super) struct Blocks {
    cache: HybridCache<Vec<u8>, Vec<u8>>,
    /// Whether the disk did not answer, or it was closed, so that it is not asked any more.
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
        let cache = env::wait(Deadline::after(OPENING), build(folder, size, memory as usize))?;
        let (given_up, hits, misses, failures) = Default::default();
        Ok(Blocks { cache, given_up, hits, misses, failures, _permit: permit, _lock: lock })
    }

    /// Whether there is such a block, perhaps.
    pub fn has(&self, key: &Vec<u8>) -> bool {
        self.cache.contains(key)
    }

    /// The block of this key and length.
    pub fn get(&self, key: &Vec<u8>, length: usize) -> Option<Block> {
        if self.given_up.load(Ordering::Relaxed) || !self.cache.contains(key) {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let found = env::wait(Deadline::after(PATIENCE), async {
            self.cache.get(key).await.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
        });
        let found = found.unwrap_or_else(|error| {
            self.failures.fetch_add(1, Ordering::Relaxed);
            if error.kind() == ErrorKind::TimedOut && !self.given_up.swap(true, Ordering::Relaxed) {
                tracing::warn!("the disk of the cache does not answer: it is not used any more");
            }
            tracing::debug!("the cache cannot be read: {error}");
            None
        });
        let found = found.filter(|block| block.value().len() == length);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps a block, where there is room in the queue to the disk.
    pub fn put(&self, key: Vec<u8>, block: Vec<u8>) {
        if !self.given_up.load(Ordering::Relaxed) {
            drop(self.cache.insert(key, block));
        }
    }

    /// Writes what is on its way to the disk, as far as there is time; nothing is kept any more from then on.
    pub fn close(&self) {
        if self.given_up.swap(true, Ordering::Relaxed) {
            return;
        }
        let closed = env::wait(Deadline::after(PATIENCE), async {
            self.cache.close().await.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
        });
        if let Err(error) = closed {
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
    }
}

async fn build(folder: &Path, size: u64, memory: usize) -> Result<HybridCache<Vec<u8>, Vec<u8>>> {
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
