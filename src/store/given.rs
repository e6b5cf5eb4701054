//! The names that a listing has given, of a store that repeats itself (§2.6): each by a hash of 128 bits with a seed of its
//! own, in memory as long as they are few, then in a file without a name, so that memory does not grow with them.
//!
//! ```text
//!  bucket 0        | bucket 1        | ...      a bucket: SLOTS x (hash: 16 bytes, number: 8 bytes); no hash is 0
//! ```
//!
//! A hash belongs to the bucket that its first bits count; where that is full, there are twice as many buckets.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use twox_hash::XxHash3_128;

use crate::env::{self, Folders};
use crate::error::{Error, Result};

/// So many are kept in memory, which takes 4 MiB at most.
const NEAR_MOST: usize = 1 << 16;
/// A slot, in bytes.
const SLOT: usize = 24;
/// A bucket, in bytes: what is read at once.
const BUCKET: usize = 4096;
const SLOTS: usize = BUCKET / SLOT;
/// Buckets of a new file, as a power of two: half full with what was kept in memory.
const BITS: u32 = 10;

/// The names that were given, each with its number: how many were given before it.
#[derive(Debug)]
pub struct Given {
    seed: u64,
    near: HashMap<u128, u64>,
    /// All of them, once they are many.
    far: Option<Table>,
    /// How many there are.
    count: u64,
    near_most: usize,
}

impl Default for Given {
    fn default() -> Given {
        Given { seed: env::fresh_word(), near: HashMap::new(), far: None, count: 0, near_most: NEAR_MOST }
    }
}

impl Given {
    fn hash(&self, name: &[u8]) -> u128 {
        XxHash3_128::oneshot_with_seed(self.seed, name).max(1)
    }

    /// How many were given.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether this one was.
    ///
    /// # Errors
    /// The file's.
    pub fn has(&self, name: &[u8]) -> Result<bool> {
        let hash = self.hash(name);
        match &self.far {
            Some(table) => table.has(hash),
            None => Ok(self.near.contains_key(&hash)),
        }
    }

    /// Adds one that was not given before.
    ///
    /// # Errors
    /// `NoSpace`; the file's.
    pub fn add(&mut self, name: &[u8]) -> Result<()> {
        let (hash, number) = (self.hash(name), self.count);
        match &mut self.far {
            Some(table) => table.add(hash, number)?,
            None => drop(self.near.insert(hash, number)),
        }
        self.count += 1;
        if self.far.is_none() && self.near.len() > self.near_most {
            let mut table = Table::new()?;
            self.near.iter().try_for_each(|(hash, number)| table.add(*hash, *number))?;
            (self.near, self.far) = (HashMap::new(), Some(table));
        }
        Ok(())
    }

    /// Goes back to the moment when so many were given.
    ///
    /// # Errors
    /// The file's.
    pub fn go_back(&mut self, count: u64) -> Result<()> {
        if count >= self.count {
            return Ok(());
        }
        self.near.retain(|_, number| *number < count);
        if let Some(table) = &self.far {
            table.retain(count)?;
        }
        self.count = count;
        Ok(())
    }
}

/// The file.
#[derive(Debug)]
struct Table {
    file: File,
    /// How many buckets there are, as a power of two.
    bits: u32,
}

type Bucket = [u8; BUCKET];

/// The slots of a bucket that hold something.
fn slots(bucket: &Bucket) -> impl Iterator<Item = (u128, u64)> + '_ {
    bucket.as_chunks::<SLOT>().0.iter().map(of_slot).take_while(|(hash, _)| *hash != 0)
}

fn of_slot(slot: &[u8; SLOT]) -> (u128, u64) {
    let (mut hash, mut number) = ([0; 16], [0; 8]);
    hash.copy_from_slice(&slot[..16]);
    number.copy_from_slice(&slot[16..]);
    (u128::from_le_bytes(hash), u64::from_le_bytes(number))
}

/// A bucket of these; the caller sees to it that they fit.
fn bucket_of(slots: impl Iterator<Item = (u128, u64)>) -> Bucket {
    let mut bucket = [0; BUCKET];
    for (slot, (hash, number)) in bucket.as_chunks_mut::<SLOT>().0.iter_mut().zip(slots) {
        slot[..16].copy_from_slice(&hash.to_le_bytes());
        slot[16..].copy_from_slice(&number.to_le_bytes());
    }
    bucket
}

fn failure(error: &std::io::Error) -> Error {
    Error::io("the names that were listed", error)
}

impl Table {
    fn new() -> Result<Table> {
        let file = Folders::get().unlinked_file()?;
        file.set_len(BUCKET as u64 * (1 << BITS)).map_err(|error| failure(&error))?;
        Ok(Table { file, bits: BITS })
    }

    fn number_of(&self, hash: u128) -> u64 {
        (hash >> (u128::BITS - self.bits)) as u64
    }

    fn bucket(&self, number: u64) -> Result<Bucket> {
        let mut bucket = [0; BUCKET];
        self.file.read_exact_at(&mut bucket, number * BUCKET as u64).map_err(|error| failure(&error))?;
        Ok(bucket)
    }

    fn write(&self, number: u64, bucket: &Bucket) -> Result<()> {
        self.file.write_all_at(bucket, number * BUCKET as u64).map_err(|error| failure(&error))
    }

    fn has(&self, hash: u128) -> Result<bool> {
        let bucket = self.bucket(self.number_of(hash))?;
        Ok(slots(&bucket).any(|(there, _)| there == hash))
    }

    fn add(&mut self, hash: u128, number: u64) -> Result<()> {
        loop {
            let place = self.number_of(hash);
            let count = slots(&self.bucket(place)?).count();
            if count < SLOTS {
                let slot = &bucket_of([(hash, number)].into_iter())[..SLOT];
                let at = place * BUCKET as u64 + (count * SLOT) as u64;
                return self.file.write_all_at(slot, at).map_err(|error| failure(&error));
            }
            self.double()?;
        }
    }

    /// Makes two buckets of each, the last one first: none is written over before it was read.
    fn double(&mut self) -> Result<()> {
        let before = 1u64 << self.bits;
        self.file.set_len(BUCKET as u64 * before * 2).map_err(|error| failure(&error))?;
        self.bits += 1;
        for number in (0..before).rev() {
            let bucket = self.bucket(number)?;
            for half in [number * 2 + 1, number * 2] {
                let own = slots(&bucket).filter(|(hash, _)| self.number_of(*hash) == half);
                self.write(half, &bucket_of(own))?;
            }
        }
        Ok(())
    }

    /// Keeps those with a lower number.
    fn retain(&self, count: u64) -> Result<()> {
        (0..1u64 << self.bits).try_for_each(|number| {
            let bucket = self.bucket(number)?;
            self.write(number, &bucket_of(slots(&bucket).filter(|(_, number)| *number < count)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> Vec<u8> {
        format!("name {number}").into_bytes()
    }

    #[test]
    fn promise_2_6_the_names_seen_spill_to_an_unlinked_file() {
        let mut given = Given { near_most: 1000, ..Given::default() };
        for number in 0..200_000 {
            assert!(!given.has(&name(number)).unwrap());
            given.add(&name(number)).unwrap();
        }
        assert!(given.near.is_empty(), "memory is given back");
        assert!(given.far.as_ref().unwrap().bits > BITS, "the file grew");
        assert!((0..200_000).all(|number| given.has(&name(number)).unwrap()));
        assert!(!given.has(&name(200_000)).unwrap());
    }

    #[test]
    fn what_was_given_later_is_forgotten_by_who_goes_back() {
        for near_most in [1000, 10] {
            let mut given = Given { near_most, ..Given::default() };
            (0..100).for_each(|number| given.add(&name(number)).unwrap());
            given.go_back(40).unwrap();
            assert_eq!(given.count(), 40);
            assert!((0..100).all(|number| given.has(&name(number)).unwrap() == (number < 40)));
            given.add(&name(70)).unwrap();
            assert!(given.has(&name(70)).unwrap());
        }
    }
}
