//! What was accepted is lost neither by a kill nor by a failure, and who has the old file keeps it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use ::safetensors::tensor::Dtype;

use super::*;
use crate::env::Folders;
use crate::error::ErrorKind;
use crate::spool::Spool;
use crate::store::local_file::place::Stamp;
use crate::store::safetensors::journal::{Journal, Note, path_of};

const ROWS: &[Row<'_>] =
    &[("a", Dtype::U8, &[3], b"aaa"), ("b", Dtype::U8, &[2], b"bb"), ("c", Dtype::U8, &[1], b"c")];

/// Some changes of each kind.
fn change(store: &dyn Store) {
    put_bytes(store, "a.npy", b"AAAA");
    put_bytes(store, "new.npy", b"new");
    let (b, d, c) = (key("b.npy"), key("d.npy"), key("c.npy"));
    store.apply(&mut [Change::Rename { from: &b, to: &d, tree: false, replace: false }]).unwrap();
    store.apply(&mut [Change::Delete { key: &c, when: When::Always }]).unwrap();
    put(store, "%metadata.json", b"{\"k\":\"v\"}").unwrap();
}

/// Whether a file has all of them.
fn is_changed(file: &[u8]) -> bool {
    let rows = rows_of(file);
    let shown: Vec<_> = rows.iter().map(|(name, _, _, data)| (&**name, &**data)).collect();
    shown == [("a", &b"AAAA"[..]), ("d", b"bb"), ("new", b"new")]
        && file[8..].starts_with(b"{\"__metadata__\":{\"k\":\"v\"}")
}

fn journal_of(case: &Case) -> std::path::PathBuf {
    path_of(&Folders::get().state, &fs::canonicalize(&case.path).unwrap().display().to_string()).unwrap()
}

fn kept_of(case: &Case) -> Vec<String> {
    let store = format!("safetensors:{}", case.path.display());
    let spool = Spool::of_user();
    let kept = spool.list().unwrap().into_iter().filter(|kept| kept.store == store);
    kept.map(|kept| {
        spool.remove(&kept.id).unwrap();
        format!("{}{:?}", if kept.deletion { "-" } else { "+" }, kept.key)
    })
    .collect()
}

#[test]
fn promise_8_3_a_kill_loses_nothing_that_was_accepted() {
    let case = Case::new(ROWS);
    let before = fs::read(&case.path).unwrap();
    let store = case.open();
    change(&*store);
    assert_eq!(kind(open(&case.path, None).map(drop)), Some(ErrorKind::Busy));
    drop(store);
    assert_eq!(fs::read(&case.path).unwrap(), before);
    // Twice, and with something more in between.
    drop(case.open());
    let store = case.open();
    put_bytes(&*store, "more.npy", b"m");
    drop(store);
    let store = case.open();
    assert!(value(&*store, "a.npy").unwrap().ends_with(b"AAAA"));
    let more = key("more.npy");
    store.apply(&mut [Change::Delete { key: &more, when: When::Always }]).unwrap();
    store.close().unwrap();
    assert!(is_changed(&fs::read(&case.path).unwrap()));
    assert!(!journal_of(&case).exists());
}

#[test]
fn promise_8_3_a_record_that_is_torn_is_none() {
    let case = Case::new(ROWS);
    let store = case.open();
    put_bytes(&*store, "one.npy", b"1");
    let whole = fs::read(journal_of(&case)).unwrap();
    put_bytes(&*store, "two.npy", b"2");
    drop(store);
    let journal = fs::read(journal_of(&case)).unwrap();
    for cut in [whole.len() + 1, whole.len() + 70, journal.len() - 1] {
        fs::write(journal_of(&case), &journal[..cut]).unwrap();
        let store = case.open();
        assert!(value(&*store, "one.npy").is_some() && value(&*store, "two.npy").is_none(), "{cut}");
        drop(store);
    }
    let mut garbled = journal.clone();
    *garbled.last_mut().unwrap() ^= 1;
    fs::write(journal_of(&case), &garbled).unwrap();
    let store = case.open();
    assert!(value(&*store, "two.npy").is_none());
    store.close().unwrap();
}

#[test]
fn a_kill_at_any_step_of_the_replacement_leaves_the_old_file_or_the_new_one() {
    let stamp = |path: &Path| Stamp::of(&rustix::fs::stat(path).unwrap());
    // Before the new file has the name: the old one is there, and the journal.
    let case = Case::new(ROWS);
    let store = case.open();
    change(&*store);
    drop(store);
    let new = case.folder.path().join("new");
    fs::write(&new, b"what the new file would have been").unwrap();
    let mut leftover = Journal::read(&journal_of(&case)).unwrap().unwrap();
    leftover.journal.note(&Note::Replaced { file: 0, version: stamp(&new) }).unwrap();
    let journal = fs::read(journal_of(&case)).unwrap();
    let store = case.open();
    store.close().unwrap();
    assert!(is_changed(&fs::read(&case.path).unwrap()));
    // After it has it, and before the journal goes: nothing is done twice.
    let mut leftover = {
        fs::write(journal_of(&case), journal).unwrap();
        Journal::read(&journal_of(&case)).unwrap().unwrap()
    };
    leftover.journal.note(&Note::Replaced { file: 0, version: stamp(&case.path) }).unwrap();
    let store = case.open();
    assert!(!journal_of(&case).exists());
    store.close().unwrap();
    assert!(is_changed(&fs::read(&case.path).unwrap()));
    assert_eq!(kept_of(&case), Vec::<String>::new());
}

#[test]
fn promise_8_4_what_another_program_came_before_is_kept_elsewhere() {
    let case = Case::new(ROWS);
    let replace = || {
        let beside = case.folder.path().join("beside");
        fs::write(&beside, file_of(&[("other", Dtype::U8, &[1], b"o")], &[])).unwrap();
        fs::rename(&beside, &case.path).unwrap();
    };
    let expected = [
        "+[\"a.npy\"]",
        "-[\"b.npy\"]",
        "-[\"c.npy\"]",
        "+[\"d.npy\"]",
        "+[\"new.npy\"]",
        "+[\"\"%MetadataJson]",
    ];
    // While it is mounted.
    let store = case.open();
    change(&*store);
    replace();
    assert_eq!(kind(store.sync()), Some(ErrorKind::Stale));
    store.sync().unwrap();
    assert_eq!(all(&*store, &Key::root()).keys().collect::<Vec<_>>(), ["other.npy"]);
    assert_eq!(kept_of(&case), expected);
    // After a kill: the old file is gone, and with it what had got another name in it alone.
    fs::write(&case.path, file_of(ROWS, &[])).unwrap();
    assert!(value(&*store, "a.npy").is_some());
    change(&*store);
    drop(store);
    replace();
    let store = case.open();
    assert_eq!(all(&*store, &Key::root()).keys().collect::<Vec<_>>(), ["other.npy"]);
    let without_renamed: Vec<_> = expected.into_iter().filter(|kept| !kept.contains("d.npy")).collect();
    assert_eq!(kept_of(&case), without_renamed);
    drop(store.close());
    assert!(!journal_of(&case).exists());
}

#[test]
fn a_replacement_that_fails_leaves_all_as_it_was() {
    let case = Case::new(ROWS);
    let store = case.open();
    change(&*store);
    let gone = case.folder.path().join("gone");
    fs::rename(&case.path, &gone).unwrap();
    assert_eq!(kind(store.sync()), Some(ErrorKind::NotFound));
    fs::rename(&gone, &case.path).unwrap();
    assert!(value(&*store, "a.npy").unwrap().ends_with(b"AAAA"));
    store.sync().unwrap();
    assert!(is_changed(&fs::read(&case.path).unwrap()));
}

#[test]
fn links_mode_and_attributes_are_kept() {
    let case = Case::new(ROWS);
    let link = case.folder.path().join("link.safetensors");
    symlink("model.safetensors", &link).unwrap();
    fs::set_permissions(&case.path, Permissions::from_mode(0o640)).unwrap();
    let has_xattrs = xattr::set(&case.path, "user.note", b"kept").is_ok();
    let old = fs::File::open(&case.path).unwrap();
    let store = open(&link, None).unwrap();
    change(&*store);
    store.close().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(is_changed(&fs::read(&link).unwrap()));
    assert_eq!(fs::metadata(&case.path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!has_xattrs || xattr::get(&case.path, "user.note").unwrap().unwrap() == b"kept");
    let mut whole = Vec::new();
    std::io::Read::read_to_end(&mut &old, &mut whole).unwrap();
    assert_eq!(rows_of(&whole).len(), 3, "who has the old file open reads on");
}

#[test]
fn what_cannot_be_replaced_is_read_only_with_a_sentence() {
    let refused = |path: &Path, told: &str| {
        let store = open(path, None).unwrap();
        assert!(!store.caps().write);
        let refusal = put(&*store, "x.npy", &npy("'|u1'", "False", "()", &[0])).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::ReadOnly);
        assert!(refusal.to_string().contains(told), "{refusal}");
        store.sync().unwrap();
        store.close().unwrap();
    };
    let case = Case::new(ROWS);
    let other = case.folder.path().join("other");
    fs::hard_link(&case.path, &other).unwrap();
    refused(&case.path, "hard link");
    fs::remove_file(&other).unwrap();
    let blobs = case.folder.path().join("blobs");
    fs::create_dir(&blobs).unwrap();
    fs::rename(&case.path, blobs.join("0123")).unwrap();
    symlink("blobs/0123", &case.path).unwrap();
    refused(&case.path, "Hugging Face");
}
