//! A reference model of a mount, against the Vfs without a kernel and against a real mount, with another program that
//! changes the store in between.
//!
//! The model is a map of keys and a set of directories that stay; everything that POSIX shows is derived from them by
//! the sentences of SEMANTICS §1 to §5, so that it is the promises that are checked and not another file system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod direct;
mod failing;
mod mounted;
mod open_files;
mod operation;
mod reference;
mod together;

use kvfs::error::ErrorKind;
use operation::{Operation, carry_out};
use proptest::prelude::*;

/// A path below the mount, by file names.
type Path = Vec<&'static str>;
/// What an operation answers.
type Answer<T> = Result<T, ErrorKind>;

/// What is seen of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Directory,
    /// Symbolic links all lead nowhere.
    Link,
    File {
        bytes: Vec<u8>,
        set: Set,
    },
}

/// What was set on a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set {
    /// Permission bits, where they are not the mount's own.
    mode: Option<u32>,
    /// Time of change in seconds, where it was set: those are long past.
    time: Option<u64>,
    /// The extended attribute `user.x`.
    attribute: Option<u8>,
}

/// What `fallocate` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    offset: u64,
    length: u64,
    zeros: bool,
    keep_size: bool,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Read,
    Write,
    Append,
    /// A new one, for reading and writing.
    Create,
}

/// The permission bits of files on which none were set.
const USUAL_MODE: u32 = 0o644;
/// Times before this were set, others are of today.
const SET_TIMES: u64 = 1_000_000;
/// Where symbolic links lead.
const NOWHERE: &str = "nowhere/at/all";
/// Open files that live across operations.
const SLOTS: usize = 3;

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
    fn exchange(&mut self, one: &Path, other: &Path) -> Answer<()>;
    fn link(&mut self, path: &Path) -> Answer<()>;
    /// Sets what is `Some` on a file.
    fn set(&mut self, path: &Path, set: Set) -> Answer<()>;
    /// Opens a file; what the slot had open before is closed.
    fn open(&mut self, slot: usize, path: &Path, how: How) -> Answer<()>;
    /// Closes a file; an empty slot is `BadHandle`, here and below.
    fn close(&mut self, slot: usize) -> Answer<()>;
    fn write_open(&mut self, slot: usize, offset: u64, bytes: &[u8]) -> Answer<()>;
    fn truncate_open(&mut self, slot: usize, size: u64) -> Answer<()>;
    /// `fallocate`.
    fn space_open(&mut self, slot: usize, space: Space) -> Answer<()>;
    /// `copy_file_range` to another slot, or the same; answers how many bytes were copied.
    fn copy_open(&mut self, slot: usize, offset: u64, to: usize, to_offset: u64, length: u64) -> Answer<u64>;
    fn read_open(&mut self, slot: usize) -> Answer<Vec<u8>>;
    fn sync_open(&mut self, slot: usize) -> Answer<()>;
    fn foreign_put(&mut self, key: &Path, bytes: &[u8]);
    fn foreign_delete(&mut self, key: &Path);
    fn forget(&mut self) {}
    /// Every path with what is there. Sorted.
    fn everything(&mut self) -> Vec<(String, Seen)>;
    /// Called at the end, with everything closed.
    fn check_end(&mut self) {}
}

fn compare(tree: &mut dyn Tree, operations: &[Operation]) -> Result<(), TestCaseError> {
    let mut model = reference::Reference::default();
    for (step, operation) in operations.iter().enumerate() {
        if operation.foreign_key().is_some_and(|key| model.is_touchy(key)) {
            continue;
        }
        let expected = carry_out(&mut model, operation, step);
        let got = carry_out(tree, operation, step);
        prop_assert_eq!(got, expected, "step {}: {:?}", step, operation);
        prop_assert_eq!(tree.everything(), model.everything(), "after step {}: {:?}", step, operation);
    }
    for slot in 0..SLOTS {
        prop_assert_eq!(tree.close(slot), model.close(slot), "the last close of {}", slot);
    }
    prop_assert_eq!(tree.everything(), model.everything(), "at the end");
    tree.check_end();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_vfs_without_a_kernel_is_as_the_model(operations in prop::collection::vec(operation::of_paths(), 1..25)) {
        compare(&mut direct::Direct::new(), &operations)?;
    }

    #[test]
    fn open_files_without_a_kernel_are_as_the_model(operations in prop::collection::vec(operation::of_all(), 1..40)) {
        compare(&mut direct::Direct::new(), &operations)?;
    }

    #[test]
    fn a_store_that_fails_loses_nothing(operations in failing::operations()) {
        failing::check(&operations)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_real_mount_is_as_the_model(operations in prop::collection::vec(operation::of_paths(), 1..25)) {
        compare(&mut mounted::Mounted::new(), &operations)?;
    }

    #[test]
    fn open_files_of_a_real_mount_are_as_the_model(operations in prop::collection::vec(operation::of_all(), 1..40)) {
        compare(&mut mounted::Mounted::new(), &operations)?;
    }
}
