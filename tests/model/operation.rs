//! What can be done through a mount.

use proptest::prelude::*;

use crate::{Answer, How, Path, SLOTS, Set, Space, Tree};

/// Names that meet each other: a key and one below it, prefixes, bytes before and after the separator, a marker.
const NAMES: &[&str] = &["a", "b", "a!", "a0", "%empty", "%value", "c%25value"];
/// Names of files that are held open, or that something is set on: a marker comes and goes with its bytes.
const FILES: &[&str] = &["a", "b", "a!", "%value"];
/// Another program's keys: without the spellings that only file names have.
const KEYS: &[&str] = &["a", "b", "a!", "a0"];

#[derive(Clone, Debug)]
pub enum Operation {
    Write(Path, u8, u16),
    WriteAt(Path, u16, u8, u8),
    Truncate(Path, u16),
    Create(Path),
    Remove(Path),
    MakeDirectory(Path),
    RemoveDirectory(Path),
    Rename(Path, Path),
    Exchange(Path, Path),
    Link(Path),
    Set(Path, Set),
    Open(usize, Path, How),
    Close(usize),
    WriteOpen(usize, u16, u8, u8),
    TruncateOpen(usize, u16),
    SpaceOpen(usize, Space),
    /// From a slot and an offset, to a slot and an offset, so many bytes.
    CopyOpen((usize, u16), (usize, u16), u16),
    ReadOpen(usize),
    SyncOpen(usize),
    /// Another program puts a key, by its raw segments.
    ForeignPut(Path, u16),
    /// Another program deletes a key.
    ForeignDelete(Path),
    /// The kernel forgets what it may forget.
    Forget,
}

impl Operation {
    /// The key that another program changes.
    pub fn foreign_key(&self) -> Option<&Path> {
        match self {
            Operation::ForeignPut(key, _) | Operation::ForeignDelete(key) => Some(key),
            _ => None,
        }
    }
}

fn of(names: &'static [&'static str]) -> impl Strategy<Value = Path> {
    prop::collection::vec(prop::sample::select(names), 1..=3)
}

/// Operations that hold nothing open.
pub fn of_paths() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (of(NAMES), any::<u8>(), 0..9000_u16).prop_map(|(p, b, n)| Operation::Write(p, b, n)),
        2 => (of(NAMES), 0..9000_u16, any::<u8>(), 1..200_u8)
            .prop_map(|(p, o, b, n)| Operation::WriteAt(p, o, b, n)),
        1 => (of(NAMES), 0..9000_u16).prop_map(|(p, n)| Operation::Truncate(p, n)),
        1 => of(NAMES).prop_map(Operation::Create),
        3 => of(NAMES).prop_map(Operation::Remove),
        2 => of(NAMES).prop_map(Operation::MakeDirectory),
        2 => of(NAMES).prop_map(Operation::RemoveDirectory),
        3 => (of(NAMES), of(NAMES)).prop_map(|(from, to)| Operation::Rename(from, to)),
        3 => (of(NAMES), of(NAMES)).prop_map(|(one, other)| Operation::Exchange(one, other)),
        2 => (of(KEYS), 0..9000_u16).prop_map(|(p, n)| Operation::ForeignPut(p, n)),
        2 => of(KEYS).prop_map(Operation::ForeignDelete),
        1 => Just(Operation::Forget),
    ]
}

fn space() -> impl Strategy<Value = Space> {
    (0..2500_u64, 1..2500_u64, any::<bool>(), any::<bool>())
        .prop_map(|(offset, length, zeros, keep_size)| Space { offset, length, zeros, keep_size })
}

/// All operations, with paths short enough to meet each other often.
pub fn of_all() -> impl Strategy<Value = Operation> {
    fn path() -> impl Strategy<Value = Path> {
        prop::collection::vec(prop::sample::select(FILES), 1..=2)
    }
    let how = prop::sample::select(&[How::Read, How::Write, How::Append, How::Create][..]);
    let set = prop_oneof![
        prop::sample::select(&[0o600, 0o640, 0o444][..])
            .prop_map(|mode| Set { mode: Some(mode), ..Set::default() }),
        (1..1000_u64).prop_map(|time| Set { time: Some(time), ..Set::default() }),
        any::<u8>().prop_map(|byte| Set { attribute: Some(byte), ..Set::default() }),
    ];
    prop_oneof![
        3 => (path(), any::<u8>(), 0..5000_u16).prop_map(|(p, b, n)| Operation::Write(p, b, n)),
        1 => (path(), 0..5000_u16, any::<u8>(), 1..200_u8)
            .prop_map(|(p, o, b, n)| Operation::WriteAt(p, o, b, n)),
        1 => (path(), 0..5000_u16).prop_map(|(p, n)| Operation::Truncate(p, n)),
        2 => path().prop_map(Operation::Remove),
        2 => path().prop_map(Operation::MakeDirectory),
        1 => path().prop_map(Operation::RemoveDirectory),
        3 => (path(), path()).prop_map(|(from, to)| Operation::Rename(from, to)),
        3 => (path(), path()).prop_map(|(one, other)| Operation::Exchange(one, other)),
        1 => path().prop_map(Operation::Link),
        2 => (path(), set).prop_map(|(p, set)| Operation::Set(p, set)),
        5 => (0..SLOTS, path(), how).prop_map(|(s, p, how)| Operation::Open(s, p, how)),
        2 => (0..SLOTS).prop_map(Operation::Close),
        5 => (0..SLOTS, 0..5000_u16, any::<u8>(), 1..200_u8)
            .prop_map(|(s, o, b, n)| Operation::WriteOpen(s, o, b, n)),
        1 => (0..SLOTS, 0..5000_u16).prop_map(|(s, n)| Operation::TruncateOpen(s, n)),
        4 => (0..SLOTS, space()).prop_map(|(s, space)| Operation::SpaceOpen(s, space)),
        2 => ((0..SLOTS, 0..5000_u16), (0..SLOTS, 0..5000_u16), 1..5000_u16)
            .prop_map(|(from, to, n)| Operation::CopyOpen(from, to, n)),
        4 => (0..SLOTS).prop_map(Operation::ReadOpen),
        1 => (0..SLOTS).prop_map(Operation::SyncOpen),
        2 => (prop::collection::vec(prop::sample::select(KEYS), 1..=2), 0..5000_u16)
            .prop_map(|(p, n)| Operation::ForeignPut(p, n)),
        1 => prop::collection::vec(prop::sample::select(KEYS), 1..=2).prop_map(Operation::ForeignDelete),
        1 => Just(Operation::Forget),
    ]
}

/// Carries an operation out; what was read is the answer.
pub fn carry_out(tree: &mut dyn Tree, operation: &Operation, step: usize) -> Answer<Vec<u8>> {
    let filled = |byte: u8, count: u16| vec![byte; usize::from(count)];
    let done = |answer: Answer<()>| answer.map(|()| Vec::new());
    match operation {
        Operation::Write(path, byte, count) => done(tree.write(path, &filled(*byte, *count))),
        Operation::WriteAt(path, offset, byte, count) => {
            done(tree.write_at(path, u64::from(*offset), &filled(*byte, u16::from(*count))))
        }
        Operation::Truncate(path, size) => done(tree.truncate(path, u64::from(*size))),
        Operation::Create(path) => done(tree.create(path)),
        Operation::Remove(path) => done(tree.remove(path)),
        Operation::MakeDirectory(path) => done(tree.make_directory(path)),
        Operation::RemoveDirectory(path) => done(tree.remove_directory(path)),
        Operation::Rename(from, to) => done(tree.rename(from, to)),
        Operation::Exchange(one, other) => done(tree.exchange(one, other)),
        Operation::Link(path) => done(tree.link(path)),
        Operation::Set(path, set) => done(tree.set(path, *set)),
        Operation::Open(slot, path, how) => done(tree.open(*slot, path, *how)),
        Operation::Close(slot) => done(tree.close(*slot)),
        Operation::WriteOpen(slot, offset, byte, count) => {
            done(tree.write_open(*slot, u64::from(*offset), &filled(*byte, u16::from(*count))))
        }
        Operation::TruncateOpen(slot, size) => done(tree.truncate_open(*slot, u64::from(*size))),
        Operation::SpaceOpen(slot, space) => done(tree.space_open(*slot, *space)),
        Operation::CopyOpen((slot, offset), (to, to_offset), length) => tree
            .copy_open(*slot, u64::from(*offset), *to, u64::from(*to_offset), u64::from(*length))
            .map(|copied| copied.to_le_bytes().to_vec()),
        Operation::ReadOpen(slot) => tree.read_open(*slot),
        Operation::SyncOpen(slot) => done(tree.sync_open(*slot)),
        Operation::ForeignPut(key, count) => {
            // Never the bytes that are there: whoever reads those would be right to read on.
            let mut bytes = format!("another program, step {step}: ").into_bytes();
            bytes.extend(filled(1, *count));
            tree.foreign_put(key, &bytes);
            Ok(Vec::new())
        }
        Operation::ForeignDelete(key) => {
            tree.foreign_delete(key);
            Ok(Vec::new())
        }
        Operation::Forget => {
            tree.forget();
            Ok(Vec::new())
        }
    }
}
