//! Several threads on one real mount: each has names of its own, where everything is as if it were alone, and all
//! have some in common, where nothing may break.

use std::sync::Arc;

use kvfs::error::ErrorKind;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::direct::Direct;
use crate::mounted::{Mount, Mounted};
use crate::operation::{self, Operation, carry_out};
use crate::reference::Reference;
use crate::{Path, SLOTS, Seen, Tree};

const OWN: [&str; 4] = ["own0", "own1", "own2", "own3"];
const SHARED: &str = "shared";
/// Operations of one thread.
const COUNT: usize = 400;

/// The same operation in a folder of the thread's own.
fn inside(folder: &'static str, operation: Operation) -> Operation {
    let at = |path: Path| -> Path { std::iter::once(folder).chain(path).collect() };
    match operation {
        Operation::Write(path, byte, count) => Operation::Write(at(path), byte, count),
        Operation::WriteAt(path, offset, byte, count) => Operation::WriteAt(at(path), offset, byte, count),
        Operation::Truncate(path, size) => Operation::Truncate(at(path), size),
        Operation::Create(path) => Operation::Create(at(path)),
        Operation::Remove(path) => Operation::Remove(at(path)),
        Operation::MakeDirectory(path) => Operation::MakeDirectory(at(path)),
        Operation::RemoveDirectory(path) => Operation::RemoveDirectory(at(path)),
        Operation::Rename(from, to) => Operation::Rename(at(from), at(to)),
        Operation::Exchange(one, other) => Operation::Exchange(at(one), at(other)),
        Operation::Link(path) => Operation::Link(at(path)),
        Operation::Set(path, set) => Operation::Set(at(path), set),
        Operation::Open(slot, path, how) => Operation::Open(slot, at(path), how),
        // Another program would be heard of by all threads at once.
        Operation::ForeignPut(..) | Operation::ForeignDelete(_) => Operation::Forget,
        other => other,
    }
}

fn random(count: usize) -> Vec<Operation> {
    let mut runner = TestRunner::default();
    (0..count).map(|_| operation::of_all().new_tree(&mut runner).unwrap().current()).collect()
}

/// What a thread sees of its own folder.
fn of_folder(all: Vec<(String, Seen)>, folder: &str) -> Vec<(String, Seen)> {
    all.into_iter().filter(|(path, _)| path.starts_with(folder)).collect()
}

fn alone(mount: &Arc<Mount>, folder: &'static str) {
    let mut model = Reference::default();
    let mut tree = Mounted::below(mount, mount.folder.path().to_owned());
    let mut others = Mounted::below(mount, mount.folder.path().to_owned());
    others.is_shared = true;
    model.make_directory(&vec![folder]).unwrap();
    tree.make_directory(&vec![folder]).unwrap();
    let mut seen = Mounted::below(mount, mount.folder.path().join(folder));
    for (step, (operation, other)) in random(COUNT).into_iter().zip(random(COUNT)).enumerate() {
        let operation = inside(folder, operation);
        let expected = carry_out(&mut model, &operation, step);
        assert_eq!(carry_out(&mut tree, &operation, step), expected, "{folder}, step {step}: {operation:?}");
        if step % 10 == 0 {
            let now: Vec<_> = seen
                .everything()
                .into_iter()
                .map(|(path, seen)| (format!("{folder}/{path}"), seen))
                .collect();
            let model = of_folder(model.everything(), &format!("{folder}/"));
            assert_eq!(now, model, "{folder}, step {step}: {operation:?}");
        }
        let other = inside(SHARED, other);
        if let Err(error) = carry_out(&mut others, &other, step) {
            let broken = [ErrorKind::Io, ErrorKind::TimedOut, ErrorKind::Busy, ErrorKind::Exhausted];
            assert!(!broken.contains(&error), "{other:?}: {error:?}");
        }
    }
    for slot in 0..SLOTS {
        assert_eq!(tree.close(slot), model.close(slot));
        let _ = others.close(slot);
    }
    let now: Vec<_> =
        seen.everything().into_iter().map(|(path, seen)| (format!("{folder}/{path}"), seen)).collect();
    assert_eq!(now, of_folder(model.everything(), &format!("{folder}/")));
}

#[test]
fn threads_beside_each_other_are_as_alone() {
    let mount = Arc::new(Mount::new());
    std::fs::create_dir(mount.folder.path().join(SHARED)).unwrap();
    let threads = OWN.map(|folder| {
        let mount = Arc::clone(&mount);
        std::thread::spawn(move || alone(&mount, folder))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // What the mount shows is what the store has.
    let files = |all: Vec<(String, Seen)>| -> Vec<(String, Vec<u8>)> {
        let file = |(path, seen)| match seen {
            Seen::File { bytes, .. } => Some((path, bytes)),
            Seen::Directory | Seen::Link => None,
        };
        all.into_iter().filter_map(file).collect()
    };
    let stored = files(Direct::over(mount.layers(), Arc::clone(&mount.below)).everything());
    assert_eq!(files(Mounted::below(&mount, mount.folder.path().to_owned()).everything()), stored);
    let report = mount.vfs.report();
    assert_eq!((report.dirty, report.failing.len()), (0, 0), "{report:?}");
}
