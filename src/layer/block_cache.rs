//! Blocks of what was read from a store that takes long to answer, kept on disk for later reads and later mounts
//! (`--cache`).
//!
//! A block is known by the store, the key, the version of the value and its place in it: what changes has another
//! version, and the old blocks are evicted some time. So nothing is ever told to be wrong, and which version a value has
//! the store is always asked (§6.1).

mod blocks;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::budget::Budget;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Stat, Store, Value, Version};
use blocks::Blocks;

/// The size of a block, in bytes: small enough that a random read of 4 KiB fetches no more than 32 times that.
const BLOCK: u64 = 64 << 10;
/// So many blocks are fetched in one request.
const RUN_MOST: u64 = 64;

/// A store, and blocks of what was read from it.
pub struct BlockCache {
    store: Arc<dyn Store>,
    blocks: Option<Arc<Blocks>>,
}

impl BlockCache {
    /// `store`, which `identity` tells from every other, with at most `size` bytes of blocks in `folder`. Without them,
    /// where another mount of the same store has them.
    ///
    /// # Errors
    /// The folder's.
    pub fn new(
        store: Arc<dyn Store>,
        identity: &str,
        folder: &Path,
        size: u64,
        budget: &Budget,
    ) -> Result<BlockCache> {
        Ok(BlockCache { store, blocks: blocks::open_for(folder, size, identity, budget)? })
    }

    /// The value with its blocks, where it has a version; `asks` where its first read is to ask the store.
    fn cached(&self, key: &Key, value: Box<dyn Value>, asks: bool) -> Box<dyn Value> {
        match (&self.blocks, value.version()) {
            (Some(blocks), Ok(version)) => {
                let prefix = prefix_of(key, &version.0);
                Box::new(Cached { value, blocks: Arc::clone(blocks), prefix, asks: AtomicBool::new(asks) })
            }
            _ => value,
        }
    }
}

/// What the keys of all blocks of one version of one value begin with.
fn prefix_of(key: &Key, version: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(128);
    let mut add = |part: &[u8]| {
        prefix.extend_from_slice(&(part.len() as u32).to_le_bytes());
        prefix.extend_from_slice(part);
    };
    add(version);
    for segment in key.segments() {
        add(&[segment.word as u8]);
        add(segment.bytes);
    }
    prefix
}

/// A value, some of whose blocks are on disk.
struct Cached {
    value: Box<dyn Value>,
    blocks: Arc<Blocks>,
    prefix: Vec<u8>,
    /// Whether nobody asked yet if the store has this version.
    asks: AtomicBool,
}

impl Cached {
    fn key(&self, block: u64) -> Vec<u8> {
        let mut key = self.prefix.clone();
        key.extend_from_slice(&block.to_le_bytes());
        key
    }

    /// The bytes of a block, cut at the end of the value.
    fn range(&self, block: u64) -> Range<u64> {
        block * BLOCK..((block + 1) * BLOCK).min(self.value.len())
    }

    fn get(&self, block: u64) -> Option<blocks::Block> {
        let range = self.range(block);
        self.blocks.get(&self.key(block), (range.end - range.start) as usize)
    }

    /// Fetches these blocks in one request, keeps them, and hands out what is wanted of them.
    fn fetch(&self, run: Range<u64>, wanted: &Range<u64>, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let (start, end) = (self.range(run.start).start, self.range(run.end - 1).end);
        let mut at = start;
        let mut block = Vec::with_capacity(BLOCK as usize);
        self.value.read(start, end - start, &mut |mut bytes| {
            let (from, to) = (wanted.start.max(at), wanted.end.min(at + bytes.len() as u64));
            if from < to {
                sink(&bytes[(from - at) as usize..(to - at) as usize]);
            }
            while !bytes.is_empty() && at < end {
                let range = self.range(at / BLOCK);
                let (now, later) = bytes.split_at(bytes.len().min((range.end - at) as usize));
                block.extend_from_slice(now);
                at += now.len() as u64;
                bytes = later;
                if at == range.end {
                    let full = std::mem::replace(&mut block, Vec::with_capacity(BLOCK as usize));
                    self.blocks.put(self.key(range.start / BLOCK), full);
                }
            }
        })?;
        if at < end {
            return Err(Error::new(ErrorKind::Io, "the value ended before its length"));
        }
        Ok(())
    }
}

impl Value for Cached {
    fn len(&self) -> u64 {
        self.value.len()
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let wanted = offset..self.len().min(offset.saturating_add(size));
        if wanted.is_empty() {
            return Ok(());
        }
        if self.asks.load(Ordering::Acquire) {
            self.fetch(wanted.start / BLOCK..wanted.end.div_ceil(BLOCK), &wanted, sink)?;
            self.asks.store(false, Ordering::Release);
            return Ok(());
        }
        let (mut block, end) = (wanted.start / BLOCK, wanted.end.div_ceil(BLOCK));
        while block < end {
            if let Some(found) = self.get(block) {
                let range = self.range(block);
                let (from, to) = (wanted.start.max(range.start), wanted.end.min(range.end));
                sink(&found.value()[(from - range.start) as usize..(to - range.start) as usize]);
                block += 1;
                continue;
            }
            let last = end.min(block + RUN_MOST);
            let run_end = (block + 1..last).find(|block| self.blocks.has(&self.key(*block))).unwrap_or(last);
            self.fetch(block..run_end, &wanted, sink)?;
            block = run_end;
        }
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        self.value.version()
    }

    fn is_continued(&self) -> bool {
        self.value.is_continued()
    }

    fn is_copied(&self) -> bool {
        self.value.is_copied()
    }
}

impl Store for BlockCache {
    passes_on!(
        caps,
        keeps_attributes,
        stat,
        list,
        list_with_attributes,
        list_prefix,
        xattrs,
        good_for,
        apply,
        sync,
        sync_key,
        check_file,
        check_key,
        value_max,
        raw_key,
        version_of,
        foreign_changes,
        era,
        resume,
        watch,
        snapshot,
        past,
        history,
        lost_at_end,
        known,
        usage,
        compact,
        seen_absent,
        written_so_far
    );

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        Ok(self.store.open(key)?.map(|value| self.cached(key, value, false)))
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        // Where the first bytes are here, reading them would ask nobody.
        if let (Some(blocks), Some(version)) = (&self.blocks, &stat.version) {
            let mut first = prefix_of(key, version.as_bytes());
            first.extend_from_slice(&0u64.to_le_bytes());
            if blocks.has(&first) {
                return self.open(key);
            }
        }
        Ok(self.store.open_told(key, stat)?.map(|value| self.cached(key, value, true)))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = self.store.facts();
        let shown =
            self.blocks.as_ref().map_or_else(|| "another mount has it".to_owned(), |blocks| blocks.facts());
        facts.push(("block cache", shown));
        facts
    }

    fn close(&self) -> Result<()> {
        if let Some(blocks) = &self.blocks {
            blocks.close();
        }
        self.store.close()
    }
}
