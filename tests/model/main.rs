//! A reference model of a mount, against the Vfs without a kernel and against a real mount, with another program that
//! changes the store in between.
//!
//! The model is a map of keys and a set of directories that stay; everything that POSIX shows is derived from them by
//! the sentences of SEMANTICS §1 and §2, so that it is the promises that are checked and not another file system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod direct;
mod mounted;
mod reference;

use kvfs::error::ErrorKind;
use proptest::prelude::*;

/// A path below the mount, by file names.
type Path = Vec<&'static str>;
/// What an operation answers.
type Answer<T> = Result<T, ErrorKind>;

/// Names that meet each other: a key and one below it, prefixes, bytes before and after the separator, a marker.
const NAMES: &[&str] = &["a", "b", "a!", "a0", "%empty", "%value", "c%25value"];

/// What can be done through a mount.
#[derive(Clone, Debug)]
enum Operation {
    Write(Path, u8, u16),
    WriteAt(Path, u16, u8, u8),
    Truncate(Path, u16),
    Create(Path),
    Remove(Path),
    MakeDirectory(Path),
    RemoveDirectory(Path),
    Rename(Path, Path),
    /// Another program puts a key, by its raw segments.
    ForeignPut(Path, u8, u16),
    /// Another program deletes a key.
    ForeignDelete(Path),
    /// The kernel forgets what it may forget.
    Forget,
}

/// A file system under test, or the model.
trait Tree {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Answer<()>;
    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> Answer<()>;
    fn truncate(&mut self, path: &Path, size: u64) -> Answer<()>;
    /// `O_CREAT | O_EXCL`, closed at once.
    fn create(&mut self, path: &Path) -> Answer<()>;
    fn remove(&mut self, path: &Path) -> Answer<()>;
    fn make_directory(&mut self, path: &Path) -> Answer<()>;
    fn remove_directory(&mut self, path: &Path) -> Answer<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> Answer<()>;
    fn foreign_put(&mut self, key: &Path, bytes: &[u8]);
    fn foreign_delete(&mut self, key: &Path);
    fn forget(&mut self) {}
    /// Every path with its content; `None` for a directory. Sorted.
    fn everything(&mut self) -> Vec<(String, Option<Vec<u8>>)>;
}

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec(prop::sample::select(NAMES), 1..=3)
}

/// Another program's keys: those without the spellings that only file names have.
fn key() -> impl Strategy<Value = Path> {
    prop::collection::vec(prop::sample::select(&["a", "b", "a!", "a0"][..]), 1..=3)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (path(), any::<u8>(), 0..9000_u16).prop_map(|(p, b, n)| Operation::Write(p, b, n)),
        2 => (path(), 0..9000_u16, any::<u8>(), 1..200_u8).prop_map(|(p, o, b, n)| Operation::WriteAt(p, o, b, n)),
        1 => (path(), 0..9000_u16).prop_map(|(p, n)| Operation::Truncate(p, n)),
        1 => path().prop_map(Operation::Create),
        3 => path().prop_map(Operation::Remove),
        2 => path().prop_map(Operation::MakeDirectory),
        2 => path().prop_map(Operation::RemoveDirectory),
        3 => (path(), path()).prop_map(|(from, to)| Operation::Rename(from, to)),
        2 => (key(), any::<u8>(), 0..9000_u16).prop_map(|(p, b, n)| Operation::ForeignPut(p, b, n)),
        2 => key().prop_map(Operation::ForeignDelete),
        1 => Just(Operation::Forget),
    ]
}

fn carry_out(tree: &mut dyn Tree, operation: &Operation) -> Answer<()> {
    let filled = |byte: u8, count: u16| vec![byte; usize::from(count)];
    match operation {
        Operation::Write(path, byte, count) => tree.write(path, &filled(*byte, *count)),
        Operation::WriteAt(path, offset, byte, count) => {
            tree.write_at(path, u64::from(*offset), &filled(*byte, u16::from(*count)))
        }
        Operation::Truncate(path, size) => tree.truncate(path, u64::from(*size)),
        Operation::Create(path) => tree.create(path),
        Operation::Remove(path) => tree.remove(path),
        Operation::MakeDirectory(path) => tree.make_directory(path),
        Operation::RemoveDirectory(path) => tree.remove_directory(path),
        Operation::Rename(from, to) => tree.rename(from, to),
        Operation::ForeignPut(key, byte, count) => {
            tree.foreign_put(key, &filled(*byte, *count));
            Ok(())
        }
        Operation::ForeignDelete(key) => {
            tree.foreign_delete(key);
            Ok(())
        }
        Operation::Forget => {
            tree.forget();
            Ok(())
        }
    }
}

fn compare(tree: &mut dyn Tree, operations: &[Operation]) -> Result<(), TestCaseError> {
    let mut model = reference::Reference::default();
    for (step, operation) in operations.iter().enumerate() {
        let expected = carry_out(&mut model, operation);
        let got = carry_out(tree, operation);
        prop_assert_eq!(got, expected, "step {}: {:?}", step, operation);
        prop_assert_eq!(tree.everything(), model.everything(), "after step {}: {:?}", step, operation);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_vfs_without_a_kernel_is_as_the_model(operations in prop::collection::vec(operation(), 1..25)) {
        compare(&mut direct::Direct::new(), &operations)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_real_mount_is_as_the_model(operations in prop::collection::vec(operation(), 1..25)) {
        compare(&mut mounted::Mounted::new(), &operations)?;
    }
}
