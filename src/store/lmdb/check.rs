//! Looks at a data file's pages before liblmdb does, which trusts them: a page that is not what its parent says,
//! or lies beyond the end of the file, would end the whole process (an assertion, SIGSEGV or SIGBUS).
//!
//! ```text
//! page   0 number u64 | 8 pad u16 | 10 flags u16 | 12 lower u16 | 14 upper u16 | 16 places of nodes u16... | nodes
//! node   0 low u16 | 2 high u16 | 4 flags u16 | 6 key length u16 | 8 key | data
//!        branch: low, high and flags are the child's number; leaf: low and high are the data's length
//! tree   0 pad u32 | 4 flags u16 | 6 depth u16 | 8 branch, leaf, overflow pages, entries u64 | 40 root u64
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::header::{Header, NO_PAGE, Tree, half, long, word};
use crate::error::{Error, ErrorKind, Result};

const HEADER: usize = 16;
const NODE: usize = 8;
const TREE: usize = 48;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const FIXED: u16 = 0x20;
const BIG: u16 = 0x01;
const SUBTREE: u16 = 0x02;
const DUPLICATES: u16 = 0x04;
/// Levels that LMDB's cursors have room for.
const DEPTH_MAX: u16 = 32;
/// Files up to this many bytes are looked at whole.
const WHOLE: u64 = 16 << 20;
/// Pages looked at in larger ones, unless they are shorter than their pages in use.
const PAGES: u64 = 256;
/// So many pages are looked at between two words in the log.
const PROGRESS: u64 = 1 << 18;

/// How much of a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of a small or short file, the first pages of another.
    First,
    /// Every page, one in memory for each level of the trees.
    All,
}

/// Walks the trees of `header` in `file`, called `shown` in sentences.
///
/// Call it where nobody writes, or in a read transaction of the header's moment.
///
/// # Errors
/// `Io`: damaged or truncated, and where.
pub(super) fn pages(file: &File, header: &Header, extent: Extent, shown: &Path) -> Result<()> {
    let all = extent == Extent::All || header.is_short() || header.file_size <= WHOLE;
    let in_file = header.file_size / header.page_size;
    let left = if all { in_file } else { PAGES };
    let in_file = in_file.min(header.last_page + 1);
    let mut walk = Walk {
        file,
        header,
        shown,
        in_file,
        left,
        all,
        seen: 0,
        database: String::from("the main database"),
    };
    walk.tree(header.main, Role::Main)?;
    walk.database = String::from("the list of free pages");
    walk.tree(header.free, Role::Free)?;
    if extent == Extent::All {
        tracing::info!("{}: every page is as it should be ({} in use)", shown.display(), walk.seen);
    }
    Ok(())
}

struct Walk<'a> {
    file: &'a File,
    header: &'a Header,
    shown: &'a Path,
    in_file: u64,
    /// Pages that may still be looked at. No page is in two trees, so a file has no more than its length.
    left: u64,
    all: bool,
    /// Pages that were looked at, those of large values included.
    seen: u64,
    /// Whose tree is walked.
    database: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Free,
    Main,
    Named,
    Duplicates,
}

impl Walk<'_> {
    fn tree(&mut self, tree: Tree, role: Role) -> Result<()> {
        if tree.root == NO_PAGE {
            return Ok(());
        }
        if tree.depth == 0 || tree.depth > DEPTH_MAX {
            return Err(self.damaged(tree.root));
        }
        self.page(tree.root, tree.depth, tree, role)
    }

    /// One page and all below it; `depth` counts down to 1 at the leaves.
    fn page(&mut self, number: u64, depth: u16, tree: Tree, role: Role) -> Result<()> {
        let Some(page) = self.read(number)? else { return Ok(()) };
        let flags = half(&page, 10);
        let lower = usize::from(half(&page, 12));
        let upper = usize::from(half(&page, 14));
        let kind = if depth == 1 { LEAF } else { BRANCH };
        let count = lower.saturating_sub(HEADER) / 2;
        let shaped = lower >= HEADER && lower % 2 == 0 && lower <= upper && upper <= page.len();
        if flags & (BRANCH | LEAF | OVERFLOW) != kind || !shaped || long(&page, 0) != number || count == 0 {
            return Err(self.damaged(number));
        }
        if flags & FIXED != 0 {
            let fits = role == Role::Duplicates && HEADER + count * tree.pad as usize <= page.len();
            return if fits { Ok(()) } else { Err(self.damaged(number)) };
        }
        if kind == BRANCH && count < 2 && role != Role::Free {
            return Err(self.damaged(number));
        }
        for index in 0..count {
            let node = node_at(&page, HEADER + 2 * index, upper).ok_or_else(|| self.damaged(number))?;
            if kind == BRANCH {
                let child = u64::from(node.low) | u64::from(node.high) << 16 | u64::from(node.flags) << 32;
                self.page(child, depth - 1, tree, role)?;
            } else {
                self.leaf(number, &node, role)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, number: u64, node: &Node<'_>, role: Role) -> Result<()> {
        let length = usize::from(node.low) | usize::from(node.high) << 16;
        if node.flags & !(BIG | SUBTREE | DUPLICATES) != 0
            || (node.key.is_empty() && role != Role::Duplicates)
        {
            return Err(self.damaged(number));
        }
        if node.flags & BIG != 0 {
            let plain = node.flags == BIG && node.rest.len() >= 8;
            return if plain {
                self.overflow(long(node.rest, 0), length, role)
            } else {
                Err(self.damaged(number))
            };
        }
        let Some(data) = node.rest.get(..length) else { return Err(self.damaged(number)) };
        match (node.flags & SUBTREE != 0, node.flags & DUPLICATES != 0) {
            (true, duplicates) => {
                if length != TREE {
                    return Err(self.damaged(number));
                }
                if duplicates {
                    return self.tree(Tree::read(data), Role::Duplicates);
                }
                let name = format!("the database \"{}\"", node.key.escape_ascii());
                let above = std::mem::replace(&mut self.database, name);
                self.tree(Tree::read(data), Role::Named)?;
                self.database = above;
                Ok(())
            }
            (false, true) if !sub_page_is_whole(data) => Err(self.damaged(number)),
            (false, false) if role == Role::Free && !self.is_free_list(node.key, data) => {
                Err(self.damaged(number))
            }
            _ => Ok(()),
        }
    }

    /// A value on pages of its own.
    fn overflow(&mut self, number: u64, length: usize, role: Role) -> Result<()> {
        let Some(page) = self.read(number)? else { return Ok(()) };
        let count = u64::from(word(&page, 12));
        let room = count.saturating_mul(self.header.page_size);
        let whole = half(&page, 10) & (BRANCH | LEAF | OVERFLOW) == OVERFLOW
            && long(&page, 0) == number
            && room >= (HEADER + length) as u64
            && number.saturating_add(count) <= self.in_file;
        if !whole {
            return Err(self.damaged(number));
        }
        self.count(count - 1);
        if role == Role::Free {
            let mut list = vec![0; length];
            self.file
                .read_exact_at(&mut list, number * self.header.page_size + HEADER as u64)
                .map_err(|e| Error::io(format_args!("page {number} of {}", self.shown.display()), &e))?;
            if !self.is_free_list(&[0; 8], &list) {
                return Err(self.damaged(number));
            }
        }
        Ok(())
    }

    /// A list of free pages: how many, then their numbers, falling.
    fn is_free_list(&self, key: &[u8], list: &[u8]) -> bool {
        if key.len() != 8 || list.len() < 8 {
            return false;
        }
        let count = usize::try_from(long(list, 0)).unwrap_or(usize::MAX);
        let Some(numbers) = count.checked_mul(8).and_then(|length| list.get(8..8 + length)) else {
            return false;
        };
        let mut before = self.header.last_page + 1;
        numbers.chunks_exact(8).all(|number| {
            let number = long(number, 0);
            let falls = number >= 2 && number < before;
            before = number;
            falls
        })
    }

    fn read(&mut self, number: u64) -> Result<Option<Vec<u8>>> {
        if number < 2 || number >= self.in_file {
            return Err(if number >= 2 && number <= self.header.last_page {
                self.truncated(number)
            } else {
                self.damaged(number)
            });
        }
        if self.left == 0 {
            return if self.all { Err(self.damaged(number)) } else { Ok(None) };
        }
        self.left -= 1;
        self.count(1);
        let mut page = vec![0; usize::try_from(self.header.page_size).unwrap_or(0)];
        self.file
            .read_exact_at(&mut page, number * self.header.page_size)
            .map_err(|e| Error::io(format_args!("page {number} of {}", self.shown.display()), &e))?;
        Ok(Some(page))
    }

    /// Counts pages, and says now and then how many there were.
    fn count(&mut self, pages: u64) {
        let before = self.seen / PROGRESS;
        self.seen += pages;
        if self.seen / PROGRESS > before {
            let (shown, seen) = (self.shown.display(), self.seen);
            tracing::info!("{shown}: {seen} pages are checked, of at most {}", self.in_file);
        }
    }

    fn damaged(&self, page: u64) -> Error {
        self.refused(format_args!("damaged: page {page} is not what it should be"))
    }

    fn truncated(&self, page: u64) -> Error {
        self.refused(format_args!("truncated: {} bytes, and page {page} lies beyond", self.header.file_size))
    }

    fn refused(&self, what: std::fmt::Arguments<'_>) -> Error {
        let (shown, database) = (self.shown.display(), &self.database);
        Error::new(ErrorKind::Io, format!("{shown}: {what} (of {database}); restore the file"))
    }
}

struct Node<'p> {
    low: u16,
    high: u16,
    flags: u16,
    key: &'p [u8],
    /// From the data to the end of the page.
    rest: &'p [u8],
}

/// The node whose place is at `at`; nodes lie from `upper` to the end.
fn node_at(page: &[u8], at: usize, upper: usize) -> Option<Node<'_>> {
    let place = usize::from(half(page, at));
    if place < upper || place + NODE > page.len() {
        return None;
    }
    let node = &page[place..];
    let (key, rest) = node[NODE..].split_at_checked(usize::from(half(node, 6)))?;
    Some(Node { low: half(node, 0), high: half(node, 2), flags: half(node, 4), key, rest })
}

/// A few duplicates of a key, kept like a page in its node.
fn sub_page_is_whole(page: &[u8]) -> bool {
    if page.len() < HEADER {
        return false;
    }
    let (flags, lower, upper) = (half(page, 10), usize::from(half(page, 12)), usize::from(half(page, 14)));
    if lower < HEADER || lower > upper || upper > page.len() || flags & LEAF == 0 {
        return false;
    }
    let count = (lower - HEADER) / 2;
    if flags & FIXED != 0 {
        return HEADER + count * usize::from(half(page, 8)) <= page.len();
    }
    (0..count).all(|index| node_at(page, HEADER + 2 * index, upper).is_some())
}
