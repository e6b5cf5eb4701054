//! What a data file says of itself, read without liblmdb: a file that liblmdb would die of is refused before it
//! sees it.
//!
//! ```text
//! page 0, and again on page 1 (the newer transaction holds):
//!    0  page number u64 | pad u16 | flags u16 (0x08: a meta page) | lower u16 | upper u16
//!   16  magic u32 BEEFC0DE | version u32 1 | address u64 | map size u64
//!   40  free list: page size u32 | flags u16 | depth u16 | branch, leaf, overflow pages, entries, root u64
//!   88  main:      pad u32       | flags u16 | depth u16 | branch, leaf, overflow pages, entries, root u64
//!  136  last page u64 | transaction u64
//! ```
//! Numbers are in the machine's byte order; so are LMDB's files.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::registry;
use crate::error::{Error, ErrorKind, Result};

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
const META_FLAG: u16 = 0x08;
/// Bytes from the start of a meta page to the end of its meta.
const META_END: usize = 152;
/// Where in a meta page the map size is.
pub(super) const MAP_SIZE: u64 = 32;
/// No page: the root of an empty tree.
pub(super) const NO_PAGE: u64 = u64::MAX;

/// The newest meta page of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Page size in bytes.
    pub page_size: u64,
    /// The map size that its writers asked for, in bytes.
    pub map_size: u64,
    /// The last page in use.
    pub last_page: u64,
    /// The transaction that wrote it.
    pub transaction: u64,
    /// The main database.
    pub main: Tree,
    /// The free list.
    pub free: Tree,
    /// Length of the file in bytes.
    pub file_size: u64,
}

/// One tree of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The length of keys where all have one (of duplicates), the page size in the free list's.
    pub pad: u32,
    /// Its height.
    pub depth: u16,
    /// Its root page; [`u64::MAX`] where it is empty.
    pub root: u64,
}

impl Tree {
    /// The tree described by these 48 bytes.
    pub(super) fn read(bytes: &[u8]) -> Tree {
        Tree { pad: word(bytes, 0), depth: half(bytes, 6), root: long(bytes, 40) }
    }
}

impl Header {
    /// Reads and checks the header of the data file `file`, called `path` in sentences.
    ///
    /// # Errors
    /// `Invalid` for what is not an LMDB data file, `Unsupported` for another version of one, `Io` for a
    /// truncated one; each says what it is.
    pub fn read(file: &File, path: &Path) -> Result<Header> {
        let refuse = |kind, why: String| Err(Error::new(kind, format!("{}: {why}", path.display())));
        let metadata = file.metadata().map_err(|e| Error::io(path.display(), &e))?;
        if !metadata.is_file() {
            return refuse(ErrorKind::Invalid, "not an LMDB data file: it is not a regular file".to_owned());
        }
        let mut page = [0; META_END];
        let length = read_up_to(file, &mut page, 0).map_err(|e| Error::io(path.display(), &e))?;
        if length < META_END || word(&page, 16) != MAGIC || half(&page, 10) & META_FLAG == 0 {
            let what = describe(&page[..length]);
            return refuse(ErrorKind::Invalid, format!("not an LMDB data file: it is {what}"));
        }
        let version = word(&page, 20);
        if version != VERSION {
            return refuse(
                ErrorKind::Unsupported,
                format!(
                    "an LMDB data file of version {version}; this build reads version {VERSION}: dump it with \
                         the mdb_dump of the program that wrote it, and mdb_load it"
                ),
            );
        }
        let page_size = u64::from(word(&page, 40));
        if !page_size.is_power_of_two() || !(2048..=65536).contains(&page_size) {
            return refuse(
                ErrorKind::Io,
                format!("damaged: a page size of {page_size} bytes; restore the file"),
            );
        }
        let mut second = [0; META_END];
        let length = read_up_to(file, &mut second, page_size).map_err(|e| Error::io(path.display(), &e))?;
        if length < META_END {
            return refuse(
                ErrorKind::Io,
                "truncated within its first two pages; restore the file".to_owned(),
            );
        }
        if word(&second, 16) != MAGIC || word(&second, 20) != VERSION || half(&second, 10) & META_FLAG == 0 {
            return refuse(
                ErrorKind::Io,
                "damaged: its second page is not a meta page; restore it".to_owned(),
            );
        }
        let newest = if long(&second, 144) > long(&page, 144) { &second } else { &page };
        let header = Header {
            page_size,
            map_size: long(newest, MAP_SIZE as usize),
            last_page: long(newest, 136),
            transaction: long(newest, 144),
            main: Tree::read(&newest[88..]),
            free: Tree::read(&newest[40..]),
            file_size: metadata.len(),
        };
        header.plausible().map_err(|e| e.context(path.display()))?;
        Ok(header)
    }

    /// Whether all of the pages in use can be in the file. A commit may leave its very last pages unwritten, when
    /// it allocated and freed them again, so a short file is not damaged for that alone.
    pub fn is_short(&self) -> bool {
        (self.last_page.saturating_add(1)).saturating_mul(self.page_size) > self.file_size
    }

    fn plausible(&self) -> Result<()> {
        let in_file = |root: u64| {
            root == NO_PAGE
                || root >= 2
                    && root <= self.last_page
                    && root.saturating_add(1).saturating_mul(self.page_size) <= self.file_size
        };
        if self.last_page < 1 || self.last_page > (1 << 47) / self.page_size {
            return Err(Error::new(ErrorKind::Io, "damaged: its last page cannot be; restore the file"));
        }
        if !in_file(self.main.root) || !in_file(self.free.root) {
            return Err(Error::new(
                ErrorKind::Io,
                format!(
                    "truncated: {} bytes, and the pages in use reach to {}; restore the file",
                    self.file_size,
                    (self.last_page + 1).saturating_mul(self.page_size)
                ),
            ));
        }
        Ok(())
    }
}

/// Whether the file at `path` begins as an LMDB data file. A lock file of ours is not even opened: see `registry`.
pub fn is_data_file(path: &Path) -> bool {
    let mut page = [0; META_END];
    let looked = std::fs::metadata(path).and_then(|found| {
        let readable = found.is_file() && !registry::is_lock_file(found.dev(), found.ino());
        if readable { read_up_to(&File::open(path)?, &mut page, 0) } else { Ok(0) }
    });
    looked.is_ok_and(|length| length == META_END && word(&page, 16) == MAGIC)
}

/// What a file is, by its first bytes: for the sentence that refuses it.
fn describe(start: &[u8]) -> String {
    let starts: [(&[u8], &str); 9] = [
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"PK\x03\x04", "a zip file"),
        (b"\xfd7zXZ", "an xz file"),
        (b"\x89HDF", "an HDF5 file"),
        (b"VERSION=", "the text of mdb_dump or db_dump: mdb_load reads it"),
        (b"\x7fELF", "a program"),
        (b"redb", "a redb database"),
    ];
    if start.is_empty() {
        return "empty".to_owned();
    }
    if let Some((_, what)) = starts.iter().find(|(bytes, _)| start.starts_with(bytes)) {
        return (*what).to_owned();
    }
    if start.len() >= 20 && word_be(start, 16) == MAGIC {
        return "an LMDB data file of a machine with another byte order: dump it there, and mdb_load it"
            .to_owned();
    }
    if start.len() >= 20 && word(start, 16) == MAGIC {
        return "an LMDB data file cut off in its first page".to_owned();
    }
    if start.len() >= 16 && word(start, 12) == 0x0005_3162 {
        return "a Berkeley DB database".to_owned();
    }
    if start.iter().all(|byte| *byte == 0) {
        return "all zeros".to_owned();
    }
    if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return "text".to_owned();
    }
    "something else".to_owned()
}

fn read_up_to(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < into.len() {
        match file.read_at(&mut into[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(super) fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array(bytes, at))
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, at))
}

fn word_be(bytes: &[u8], at: usize) -> u32 {
    if cfg!(target_endian = "little") {
        u32::from_be_bytes(array(bytes, at))
    } else {
        u32::from_le_bytes(array(bytes, at))
    }
}

pub(super) fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<Header> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.mdb");
        std::fs::write(&path, bytes).unwrap();
        Header::read(&File::open(&path).unwrap(), &path)
    }

    #[test]
    fn what_is_not_a_data_file_is_named() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "it is empty"),
            (b"SQLite format 3\0rest of it", "SQLite"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"hello, world\n", "it is text"),
            (&[0; 8192], "all zeros"),
        ];
        for (bytes, words) in cases {
            let error = of(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn another_version_and_a_cut_are_told() {
        let mut page = vec![0; 8192];
        page[10] = 8;
        page[16..20].copy_from_slice(&MAGIC.to_ne_bytes());
        page[20..24].copy_from_slice(&999u32.to_ne_bytes());
        assert_eq!(of(&page).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(of(&page[..100]).unwrap_err().to_string().contains("cut off"));
        page[20..24].copy_from_slice(&1u32.to_ne_bytes());
        assert_eq!(of(&page).unwrap_err().kind(), ErrorKind::Io);
    }
}
