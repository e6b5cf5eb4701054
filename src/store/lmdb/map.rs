//! How much address space an environment's map takes, and what the file says of it afterwards.
//!
//! We reserve as much as the file system could hold, so that growth never needs another map, which the readers of a
//! process forbid. LMDB writes a larger size than the recorded one into the meta pages with the next commit, and
//! programs that ask for no size of their own take the recorded one (`mdb_stat`, `mdb_dump`; py-lmdb with
//! `map_size=0`): under a limit of their address space they would fail, and with `MDB_WRITEMAP` make the file that
//! long. So the last to close an environment records a modest size again.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::header::{Header, MAP_SIZE};

/// The least map reserved or recorded by us, in bytes.
const LEAST: u64 = 1 << 30;
/// The largest map reserved, in bytes: an eighth of what a process can address.
const LARGEST: u64 = 16 << 40;

/// The sizes of an environment's map, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapSize {
    /// What we map.
    pub(super) reserved: u64,
    /// What the file said before us.
    recorded: u64,
}

impl MapSize {
    /// The size to reserve for the environment in `data_file`, or `asked`.
    pub(super) fn choose(data_file: &File, header: Option<&Header>, asked: Option<u64>) -> MapSize {
        let disk = nix::sys::statvfs::fstatvfs(data_file)
            .map_or(0, |disk| disk.blocks().saturating_mul(disk.fragment_size()).next_multiple_of(LEAST))
            .clamp(LEAST, LARGEST);
        // The size of the whole disk is what we left, when we were killed.
        let recorded = header.map_or(0, |header| header.map_size.min(LARGEST));
        let recorded = if recorded == disk { 0 } else { recorded };
        let used = header.map_or(0, |header| (header.last_page + 1) * header.page_size);
        let mut reserved = asked.unwrap_or_else(|| disk.max(recorded));
        // Three times as much stays free for everything else, such as the stacks and heaps of threads.
        while reserved / 2 >= used.max(1 << 20) && !is_free(reserved.saturating_mul(4)) {
            reserved /= 2;
        }
        MapSize { reserved: reserved.max(used), recorded }
    }

    /// Records a modest size where ours is recorded: the one of before, or twice what is used where that is more.
    /// Only while nobody else has the environment open.
    pub(super) fn restore(&self, data_file: &File, header: &Header) -> std::io::Result<()> {
        if header.map_size != self.reserved {
            return Ok(());
        }
        let used = (header.last_page + 1) * header.page_size;
        let before = if self.recorded == 0 { LEAST } else { self.recorded };
        let modest = if used > before { used * 2 } else { before };
        for page in 0..2 {
            data_file.write_all_at(&modest.to_ne_bytes(), page * header.page_size + MAP_SIZE)?;
        }
        Ok(())
    }
}

/// Whether that much address space is free.
fn is_free(size: u64) -> bool {
    let Some(length) = usize::try_from(size).ok().and_then(NonZeroUsize::new) else { return false };
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping without access touches no memory that exists.
    let mapped = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) };
    let Ok(address) = mapped else { return false };
    // SAFETY: exactly the mapping made above, which nobody uses.
    unsafe { munmap(address, length.get()) }.is_ok()
}
