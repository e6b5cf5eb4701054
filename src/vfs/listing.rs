//! The store's names in an open directory, streamed (§2.6).
//!
//! A reply that the C library has no room for is read again from the middle, and names may have come and gone by
//! then. So the names of the last reply are remembered: those that were taken are not given again, whatever else
//! changed, and all others are.

use std::ops::ControlFlow;

use twox_hash::XxHash3_64;

use super::Vfs;
use super::dir::{DirectoryHandle, Given, Taker};
use super::lookup::Target;
use super::node::{Step, What};
use super::number;
use super::overlay::Shown;
use crate::error::Result;
use crate::key::{Segment, Word};
use crate::name;
use crate::store::api::{Cursor, Entry, Stat};

/// How far a listing has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// The offset of the next entry.
    pub next: u64,
    cursor: Cursor,
    /// The piece of long names given last (§1.8), where the store has an order: names with one piece are neighbours.
    piece: Option<Box<[u8]>>,
}

/// The store's names in one reply.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    /// Where it began.
    start: Position,
    /// Hashes of the names given, in order; one for each offset from the start.
    given: Vec<u64>,
    /// Hashes of the names passed over, since they were given in a reply before.
    passed: Vec<u64>,
}

/// More names than this are not remembered as given before: those of a few replies, in bounded memory.
const SKIPPED_MOST: usize = 1 << 17;

/// More directories than this are not remembered as given. A listing that long misses one that loses its last key
/// before it is listed, rather than give another one twice.
const DIRECTORIES_MOST: usize = 1 << 18;

/// A name of the store's on its way to the kernel.
struct Listed<'a> {
    name: &'a [u8],
    segment: Segment<'a>,
    stat: Stat,
    /// Whether it is the `%more` directory of a long name, and perhaps of others.
    is_piece: bool,
    /// The offset of the entry after it.
    next: u64,
}

/// What became of a name that was offered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offered {
    /// It was given.
    Taken,
    /// It is not to be given.
    Passed,
    /// The listing stops before it.
    Stop,
}

impl Vfs {
    /// Gives the store's names from the position on.
    pub(super) fn give_stored(
        &self,
        directory: &mut DirectoryHandle,
        attributes: bool,
        take: &mut Taker<'_>,
    ) -> Result<()> {
        let mut reply = Reply { start: directory.at.clone(), ..Reply::default() };
        let passed = &mut reply.passed;
        // Otherwise the number that the key gives is the number that `stat` shows.
        let renumbered = self.table.lock().renumbered;
        let mut skip = std::mem::take(&mut directory.skip);
        let mut directories = std::mem::take(&mut directory.directories);
        let mut given = |hash: u64, what: &What, next: u64| {
            reply.given.push(hash);
            if *what == What::Directory && directories.len() < DIRECTORIES_MOST {
                directories.insert(hash, next);
            }
        };
        let outcome = loop {
            let mut ask = None;
            let walked = self.walk(directory, attributes, &mut |directory, listed| {
                let hash = XxHash3_64::oneshot(listed.name);
                if !skip.is_empty() && skip.remove(&hash) {
                    passed.push(hash);
                    return Offered::Passed;
                }
                if attributes && self.must_look_up(directory, listed) {
                    ask = Some((Box::<[u8]>::from(listed.name), listed.what()));
                    return Offered::Stop;
                }
                let taken = if attributes {
                    self.give_with_attributes(directory, listed, take)
                } else {
                    self.give_plainly(directory, listed, renumbered, take)
                };
                if !taken {
                    return Offered::Stop;
                }
                given(hash, &listed.what(), listed.next);
                Offered::Taken
            });
            let (Ok(()), Some((name, what))) = (&walked, ask) else { break walked };
            // Asked here, since a store is not to be called from inside its listing.
            if !self.give_looked_up(directory, &name, take) {
                break Ok(());
            }
            given(XxHash3_64::oneshot(&name), &what, directory.at.next + 1);
            if let Err(error) = self.step_over(directory, &name) {
                break Err(error);
            }
        };
        directory.reply = reply;
        directory.skip = skip;
        directory.directories = directories;
        if outcome.is_ok() && directory.at.cursor.done {
            self.give_late(directory, attributes, take);
        }
        outcome
    }

    /// Gives the directories that live in the mount alone by now, at the end of the store's names, and did not when the
    /// listing began: the store may have lost them before the listing came to them (§2.4).
    fn give_late(&self, directory: &mut DirectoryHandle, attributes: bool, take: &mut Taker<'_>) {
        let in_mount = self.overlay.read().shown(&directory.place.key);
        for (encoded, shown) in in_mount {
            let before = directory.place.more.as_deref().unwrap_or_default();
            let Some(name) = name::shown(&encoded, before) else { continue };
            let hash = XxHash3_64::oneshot(&name);
            let known = directory.own_names.contains(&encoded)
                || directory.own_names.contains(&*name)
                || directory.directories.contains_key(&hash)
                || directory.directories.len() >= DIRECTORIES_MOST;
            if shown != Shown::Directory || known {
                continue;
            }
            let given = if attributes {
                self.give_looked_up(directory, &name, take)
            } else {
                self.give_own(directory, &name, shown, take)
            };
            if !given {
                return;
            }
            directory.at.next += 1;
            directory.reply.given.push(hash);
            directory.directories.insert(hash, directory.at.next);
        }
    }

    /// Moves over one name that was given otherwise.
    fn step_over(&self, directory: &mut DirectoryHandle, name: &[u8]) -> Result<()> {
        let next = directory.at.next + 1;
        let mut over = false;
        let outcome = self.walk(directory, false, &mut |_, listed| {
            if over || listed.name != name {
                return Offered::Stop;
            }
            over = true;
            Offered::Taken
        });
        directory.at.next = next;
        outcome
    }

    /// Goes back to an offset within the last reply; false where it lies before. What was given before the offset is
    /// not given again, though names came and went.
    pub(super) fn go_back_in_reply(&self, directory: &mut DirectoryHandle, offset: u64) -> Result<bool> {
        let reply = std::mem::take(&mut directory.reply);
        let Some(before) = offset.checked_sub(reply.start.next).filter(|_| !reply.given.is_empty()) else {
            return Ok(false);
        };
        let mut skip = std::mem::take(&mut directory.skip);
        if skip.len() > SKIPPED_MOST {
            skip.clear();
        }
        skip.extend(reply.passed.iter().chain(reply.given.iter().take(before as usize)));
        directory.begin_at(Position { next: offset, ..reply.start });
        // As far as they are there still, they are stepped over for good.
        let outcome = self.walk(directory, false, &mut |_, listed| {
            if skip.remove(&XxHash3_64::oneshot(listed.name)) { Offered::Passed } else { Offered::Stop }
        });
        directory.skip = skip;
        outcome.map(|()| true)
    }

    /// Offers the store's names from the position on, and moves it over those that are not to be met again.
    fn walk(
        &self,
        directory: &mut DirectoryHandle,
        attributes: bool,
        offer: &mut dyn FnMut(&DirectoryHandle, &Listed<'_>) -> Offered,
    ) -> Result<()> {
        let Position { mut next, mut cursor, mut piece } = std::mem::take(&mut directory.at);
        let mut pieces = std::mem::take(&mut directory.pieces);
        let before = directory.place.more.as_deref().unwrap_or_default();
        let mut each = |entry: Entry<'_>| {
            let encoded = name::encode(entry.segment);
            if !directory.own_names.is_empty() && directory.own_names.contains(&*encoded) {
                return ControlFlow::Continue(());
            }
            let Some(name) = name::shown(&encoded, before) else { return ControlFlow::Continue(()) };
            let is_piece = name.len() != encoded.len() - before.len();
            let is_known = piece.as_deref() == Some(&*name)
                || directory.own_names.contains(&*name)
                || pieces.contains_key(&*name);
            if is_piece && is_known {
                return ControlFlow::Continue(());
            }
            let Entry { segment, stat } = entry;
            let offered = offer(directory, &Listed { name: &name, segment, stat, is_piece, next: next + 1 });
            if offered == Offered::Stop {
                return ControlFlow::Break(());
            }
            next += u64::from(offered == Offered::Taken);
            if is_piece && self.caps.ordered {
                piece = Some(Box::from(&*name));
            } else if is_piece {
                pieces.insert(Box::from(&*name), next);
            }
            ControlFlow::Continue(())
        };
        let key = &directory.place.key;
        let outcome = if attributes {
            self.store.list_with_attributes(key, &mut cursor, &mut each)
        } else {
            self.store.list(key, &mut cursor, &mut each)
        };
        directory.at = Position { next, cursor, piece };
        directory.pieces = pieces;
        outcome
    }

    /// Whether an entry's attributes take more than the listing tells: it is open here.
    fn must_look_up(&self, directory: &DirectoryHandle, listed: &Listed<'_>) -> bool {
        let table = self.table.lock();
        let known = table.child(directory.ino, listed.name).and_then(|ino| table.get(ino));
        listed.is_piece
            || known.is_some_and(|node| {
                node.buffer.is_some() || node.reading.as_ref().is_some_and(|read| read.strong_count() > 0)
            })
    }

    /// Gives a name of the store's with its attributes; a lookup is counted if it is taken.
    fn give_with_attributes(
        &self,
        directory: &DirectoryHandle,
        listed: &Listed<'_>,
        take: &mut Taker<'_>,
    ) -> bool {
        let Listed { name, segment, next, .. } = *listed;
        let is_plain = name == segment.bytes && segment.word == Word::None;
        let step = if is_plain { Step::Plain } else { Step::Coded(segment.bytes.into(), segment.word) };
        let target = Target { key: directory.place.key.child(segment), step };
        let attr = self.remember(directory.ino, name, target, listed.what(), Some(listed.stat));
        let taken = take(Given { ino: attr.ino, what: &attr.what, name, next, attr: Some(&attr) });
        if !taken {
            self.forget(attr.ino, 1);
        }
        taken
    }

    /// Gives a name of the store's with its number.
    fn give_plainly(
        &self,
        directory: &DirectoryHandle,
        listed: &Listed<'_>,
        renumbered: bool,
        take: &mut Taker<'_>,
    ) -> bool {
        let Listed { name, segment, next, .. } = *listed;
        let what = listed.what();
        let number = if listed.is_piece {
            let before = directory.place.more.as_deref().unwrap_or_default();
            let piece = name.strip_suffix(name::MORE).unwrap_or(name);
            number::of_more(directory.hash, &[before, piece].concat())
        } else {
            let below = number::below(directory.hash, segment);
            match what {
                What::Directory => listed.stat.directory.ino.unwrap_or(number::of_directory(below)),
                _ => listed.stat.file.ino.unwrap_or(number::of_file(below)),
            }
        };
        let known = if renumbered { self.table.lock().child(directory.ino, name) } else { None };
        take(Given { ino: known.unwrap_or(number), what: &what, name, next, attr: None })
    }
}

impl Listed<'_> {
    fn what(&self) -> What {
        if self.is_piece { What::Directory } else { What::of(&self.stat) }
    }
}
