//! The tree of a file: what a change of it makes of the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::JSON;
use super::change::TYPE;
use crate::env::Folders;
use crate::error::{ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{Change, Cursor, Kind, Store, When};
use crate::store::attributes::Setting;
use crate::store::driver::Opening;

struct Case {
    store: Arc<dyn Store>,
    path: PathBuf,
    #[allow(dead_code, reason = "its drop removes the file")]
    folder: TempDir,
}

fn open(path: &Path, newline: bool) -> Arc<dyn Store> {
    Folders::keep_below(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp").as_path());
    let opening = Opening { location: Some(path.into()), newline, ..Opening::default() };
    (JSON.open)(&opening).unwrap()
}

fn case(text: &str) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, text).unwrap();
    Case { store: open(&path, false), path, folder }
}

/// `a/b%array/0`: the words that documents have.
fn key(path: &str) -> Key {
    let mut key = Key::root();
    for name in path.split('/') {
        let (bytes, word) = crate::name::decode(name.as_bytes()).unwrap();
        key.push(Segment { bytes: &bytes, word });
    }
    key
}

impl Case {
    fn put_when(&self, path: &str, text: &str, when: When) -> Result<()> {
        let body = Payload::of(text.as_bytes()).unwrap();
        self.store.apply(&mut [Change::Put { key: &key(path), body: &body, when }])
    }

    fn put(&self, path: &str, text: &str) -> Result<()> {
        self.put_when(path, text, When::Always)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.store.apply(&mut [Change::Delete { key: &key(path), when: When::Always }])
    }

    fn rename(&self, from: &str, to: &str, tree: bool) -> Result<()> {
        let (from, to) = (&key(from), &key(to));
        self.store.apply(&mut [Change::Rename { from, to, tree, replace: !tree }])
    }

    fn set_type(&self, path: &str, kind: &str) -> Result<()> {
        let mut setting = Setting::default();
        setting.xattrs.insert(TYPE.as_bytes().into(), Some(kind.as_bytes().into()));
        self.store.apply(&mut [Change::Set { key: &key(path), directory: false, attributes: &setting }])
    }

    fn type_of(&self, path: &str) -> String {
        let known = self.store.known(&key(path)).unwrap();
        String::from_utf8(known.into_iter().next().unwrap().1).unwrap()
    }

    fn read(&self, path: &str) -> Option<String> {
        let value = self.store.open(&key(path)).unwrap()?;
        let mut bytes = Vec::new();
        value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        assert_eq!(self.store.stat(&key(path)).unwrap().unwrap().size, bytes.len() as u64);
        Some(String::from_utf8(bytes).unwrap())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let dir = if path.is_empty() { Key::root() } else { key(path) };
        let mut names = Vec::new();
        self.store
            .list(&dir, &mut Cursor::default(), &mut |entry| {
                names.push(String::from_utf8(crate::name::encode(entry.segment).into_owned()).unwrap());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        names
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().unwrap().kind()
}

#[test]
fn a_file_is_a_tree_in_its_own_order() {
    let case = case(r#"{"z": "text\n", "a": [1, {"b": null}], "": {"x/y": 1e400, "half": "\ud800"}}"#);
    assert_eq!(case.names(""), ["z", "a%array", "%empty"]);
    assert_eq!(case.names("a%array"), ["1", "0"]);
    assert_eq!(case.names("%empty"), ["x%2Fy", "half%json"]);
    assert_eq!(case.read("z").unwrap(), "text\n");
    assert_eq!(case.read("%empty/x%2Fy").unwrap(), "1e400");
    assert_eq!(case.read("%empty/half%json").unwrap(), "\"\\ud800\"\n");
    assert_eq!(case.read("a%array/1/b").unwrap(), "null");
    assert_eq!(case.read("a%json").unwrap(), "[1, {\"b\": null}]\n");
    for absent in ["a", "z%array", "a%array/2", "a%array/01", "z/x", "%empty%array"] {
        assert_eq!(case.store.stat(&key(absent)).unwrap(), None, "{absent}");
    }
    assert_eq!(case.store.stat(&key("a%array")).unwrap().unwrap().kind, Kind::Branch);
    assert_eq!((case.type_of("z"), case.type_of("a%array")), ("string".into(), "array".into()));
    assert_eq!(case.store.raw_key(&key("%empty/x%2Fy"), false), b"//x~1y");
}

#[test]
fn a_leaf_keeps_its_type_and_a_new_one_has_that_of_its_text() {
    let case = case("{\n  \"port\": 80,\n  \"name\": \"x\",\n  \"on\": true\n}\n");
    case.put("port", "8080\n").unwrap();
    case.put("name", "5\n").unwrap();
    assert_eq!(case.text(), "{\n  \"port\": 8080,\n  \"name\": \"5\\n\",\n  \"on\": true\n}\n");
    let before = case.text();
    for (path, wrong) in [("port", "80a"), ("port", ""), ("on", "5"), ("on", "TRUE")] {
        assert_eq!(kind(case.put(path, wrong)), ErrorKind::Invalid, "{path} {wrong}");
    }
    assert_eq!(case.text(), before, "what is refused changes nothing");
    for (text, of) in
        [("7\n", "number"), ("true", "boolean"), ("null\n", "null"), ("07", "string"), ("", "string")]
    {
        case.put("new", text).unwrap();
        assert_eq!(case.type_of("new"), of, "{text:?}");
        case.delete("new").unwrap();
    }
    assert_eq!(case.text(), before);
    case.set_type("port", "string").unwrap();
    assert!(case.text().contains("\"port\": \"8080\""));
    case.put("port", "1").unwrap();
    assert!(case.text().contains("\"port\": \"1\""), "5 and \"5\" are two values");
    case.set_type("port", "number").unwrap();
    assert!(case.text().contains("\"port\": 1,"));
    assert_eq!(kind(case.set_type("name", "number")), ErrorKind::Invalid);
    assert_eq!(kind(case.set_type("name", "object")), ErrorKind::Invalid);
    case.put_when("made", "12", When::Absent).unwrap();
    assert_eq!(kind(case.put_when("made", "13", When::Absent)), ErrorKind::Exists);
    case.rename("made", "name", false).unwrap();
    assert!(case.text().contains("\"name\": \"12\""), "renamed over, it keeps its type");
}

#[test]
fn a_file_that_is_made_without_bytes_has_the_type_of_its_first_ones() {
    let case = case("{}");
    case.put_when("a", "", When::Absent).unwrap();
    assert_eq!(case.text(), "{\n  \"a\": \"\"\n}");
    case.put("a", "").unwrap();
    case.put("a", "7\n").unwrap();
    assert_eq!(case.text(), "{\n  \"a\": 7\n}");
    assert_eq!(kind(case.put("a", "")), ErrorKind::Invalid);
    case.put("b", "x").unwrap();
    case.put("b", "").unwrap();
    case.put("b", "7").unwrap();
    assert_eq!(case.type_of("b"), "string", "it had one");
}

#[test]
fn a_change_of_one_part_is_no_change_of_another() {
    let case = case("{\"a\": {\"x\": 1}, \"b\": 1}");
    let time = |path: &str| case.store.stat(&key(path)).unwrap().unwrap().modified;
    let before = (time("a/x"), time("b"));
    case.put("b", "2").unwrap();
    assert_eq!(time("a/x"), before.0);
    assert!(time("b") >= before.1);
    case.put("c%json", "{\"x\": 2}").unwrap();
    let (made, old) = (time("c/x"), time("a/x"));
    assert!(made >= old);
    assert_eq!(
        case.store.apply(&mut [Change::RemoveBranch { key: &key("a") }]).unwrap_err().kind(),
        ErrorKind::NotEmpty
    );
    case.delete("a%json").unwrap();
    case.rename("c", "a", true).unwrap();
    assert!(time("a/x") >= made, "what is there is not what was there");
}

#[test]
fn a_type_is_put_along_with_the_bytes() {
    let case = case("{}");
    let body = Payload::of(b"5").unwrap();
    let mut setting = Setting::default();
    setting.xattrs.insert(TYPE.as_bytes().into(), Some(b"string".as_slice().into()));
    let of = key("a");
    case.store
        .apply(&mut [
            Change::Put { key: &of, body: &body, when: When::Always },
            Change::Set { key: &of, directory: false, attributes: &setting },
        ])
        .unwrap();
    assert_eq!(case.text(), "{\n  \"a\": \"5\"\n}");
}

#[test]
fn directories_are_objects_and_arrays() {
    let case = case("{\"a\": {\"x\": 1}, \"l\": [1, 2]}");
    let make = |path: &str| case.store.apply(&mut [Change::Branch { key: &key(path) }]);
    let remove = |path: &str| case.store.apply(&mut [Change::RemoveBranch { key: &key(path) }]);
    make("o").unwrap();
    make("m%array").unwrap();
    assert_eq!(case.text(), "{\"a\": {\"x\": 1}, \"l\": [1, 2], \"o\": {}, \"m\": []}");
    for taken in ["o", "o%array", "m", "l"] {
        assert_eq!(kind(make(taken)), ErrorKind::Exists, "{taken}");
    }
    assert_eq!(kind(case.put("l", "5")), ErrorKind::Exists);
    assert_eq!(kind(remove("a")), ErrorKind::NotEmpty);
    remove("o").unwrap();
    remove("m%array").unwrap();
    case.rename("a", "b", true).unwrap();
    assert_eq!(case.text(), "{\"b\": {\"x\": 1}, \"l\": [1, 2]}", "it stays in its place");
    case.put("l%array/2", "3").unwrap();
    case.put("l%array/%push", "4").unwrap();
    assert_eq!(kind(case.delete("l%array/0")), ErrorKind::NotPermitted);
    case.delete("l%array/3").unwrap();
    assert_eq!(kind(case.put("l%array/7", "4")), ErrorKind::Invalid);
    case.rename("l%array/2", "b/three", false).unwrap();
    assert_eq!(case.text(), "{\"b\": {\"x\": 1, \"three\": 3}, \"l\": [1, 2]}");
    assert_eq!(kind(case.rename("l%array", "k", true)), ErrorKind::Invalid);
    case.rename("l%array", "b/l%array", true).unwrap();
    assert_eq!(case.text(), "{\"b\": {\"x\": 1, \"three\": 3, \"l\": [1, 2]}}");
}

#[test]
fn a_subtree_is_read_and_written_as_one_file() {
    let case = case("{\n  \"a\": {\n    \"b\": [1]\n  }\n}\n");
    assert_eq!(case.read("a%json").unwrap(), "{\n  \"b\": [1]\n}\n");
    case.put("a%json", "{\n  \"c\": 1.0\n}\n").unwrap();
    assert_eq!(case.text(), "{\n  \"a\": {\n    \"c\": 1.0\n  }\n}\n");
    case.put("n%json", "[\"\\ud800\"]").unwrap();
    assert_eq!(case.names("n%array"), ["0%json"]);
    let refused = case.put("a%json", "{\n \"c\": }").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("line 2, column 7"), "{refused}");
    case.delete("n%json").unwrap();
    case.delete("a%json").unwrap();
    assert_eq!(case.text(), "{}\n");
}

#[test]
fn a_batch_is_done_as_a_whole_or_not_at_all() {
    let case = case("{\"a\": 1}");
    let (a, b) = (key("a"), key("b"));
    let (two, bad) = (Payload::of(b"2").unwrap(), Payload::of(b"x").unwrap());
    let refused = case.store.apply(&mut [
        Change::Put { key: &b, body: &two, when: When::Always },
        Change::Put { key: &a, body: &bad, when: When::Always },
    ]);
    assert_eq!(kind(refused), ErrorKind::Invalid);
    assert_eq!(case.text(), "{\"a\": 1}");
    assert_eq!(case.read("b"), None);
}

#[test]
fn another_program_is_seen_and_what_it_wrote_stays() {
    let case = case("{\"a\": 1, \"b\": 1}");
    let version = case.store.open(&key("a")).unwrap().unwrap().version().unwrap();
    fs::write(&case.path, "{\"a\": 1, \"b\": 22}").unwrap();
    case.put_when("a", "5", When::Current(version.clone())).unwrap();
    assert_eq!(case.text(), "{\"a\": 5, \"b\": 22}", "a change of another part is no conflict");
    assert_eq!(kind(case.put_when("a", "6", When::Current(version))), ErrorKind::Stale);
    fs::write(&case.path, "{\"a\": ").unwrap();
    assert_eq!(kind(case.store.stat(&key("a"))), ErrorKind::Invalid);
    assert_eq!(kind(case.put("a", "6")), ErrorKind::Invalid);
    fs::write(&case.path, "{\"a\": 7}").unwrap();
    assert_eq!(case.read("a").unwrap(), "7");
    fs::remove_file(&case.path).unwrap();
    assert_eq!(kind(case.store.stat(&key("a"))), ErrorKind::NotFound);
}

#[test]
fn two_mounts_of_one_file_write_in_turns() {
    let case = case("{}");
    let other = open(&case.path, false);
    let write = |store: &Arc<dyn Store>, of: &str| {
        for number in 0..20 {
            let body = Payload::of(b"1").unwrap();
            let key = key(&format!("{of}{number}"));
            store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Absent }]).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write(&case.store, "a"));
        scope.spawn(|| write(&other, "b"));
    });
    let text: serde_json::Value = serde_json::from_str(&case.text()).unwrap();
    assert_eq!(text.as_object().unwrap().len(), 40, "{text}");
}

#[test]
fn a_listing_goes_on_where_it_was_while_names_go() {
    let names: Vec<String> = (0..300).map(|number| format!("\"n{number}\": {number}")).collect();
    for foreign in [false, true] {
        let case = case(&format!("{{{}}}", names.join(", ")));
        let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
        while !cursor.done {
            let (mut batch, mut left) = (Vec::new(), 7);
            case.store
                .list(&Key::root(), &mut cursor, &mut |entry| {
                    if left == 0 {
                        return std::ops::ControlFlow::Break(());
                    }
                    left -= 1;
                    batch.push(String::from_utf8(entry.segment.bytes.to_vec()).unwrap());
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            for name in &batch {
                if !foreign {
                    case.delete(name).unwrap();
                }
            }
            if foreign {
                let text = case.text().replacen('{', "{\"more\": 1, ", usize::from(seen.is_empty()));
                fs::write(&case.path, text + " ").unwrap();
            }
            seen.extend(batch);
        }
        assert_eq!(seen.len(), 300, "{foreign}");
    }
}

#[test]
fn a_file_that_cannot_be_replaced_is_read_only_and_says_why() {
    let case = case("{\"a\": 1}");
    fs::hard_link(&case.path, case.path.with_extension("other")).unwrap();
    let store = open(&case.path, false);
    assert!(!store.caps().write);
    let told = store.facts().into_iter().find(|(name, _)| *name == "read-only").unwrap().1;
    assert!(told.contains("hard link"), "{told}");
    let twice = super::tests::case("{\"a\": 1, \"a\": 2}");
    assert!(!twice.store.caps().write);
    assert_eq!(kind(twice.put("a", "3")), ErrorKind::ReadOnly);
}

#[test]
fn a_link_is_followed_and_stays_and_the_mode_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let case = case("{\"a\": 1}");
    let link = case.path.with_extension("link");
    std::os::unix::fs::symlink(&case.path, &link).unwrap();
    fs::set_permissions(&case.path, fs::Permissions::from_mode(0o640)).unwrap();
    let store = open(&link, false);
    let body = Payload::of(b"2").unwrap();
    store.apply(&mut [Change::Put { key: &key("a"), body: &body, when: When::Always }]).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&case.path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(case.text(), "{\"a\": 2}");
    assert_eq!(fs::read_dir(case.folder.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn with_a_line_end_each_file_has_one_that_is_not_its_own() {
    let case = case("{\"a\": \"x\", \"n\": 1}");
    let case = Case { store: open(&case.path, true), ..case };
    assert_eq!((case.read("a").unwrap(), case.read("n").unwrap()), ("x\n".into(), "1\n".into()));
    case.put("a", "y\n").unwrap();
    case.put("b", "z\n").unwrap();
    assert_eq!(case.text(), "{\"a\": \"y\", \"n\": 1, \"b\": \"z\"}");
}

#[test]
fn a_word_of_another_store_is_no_name_here() {
    let case = case("{}");
    for wrong in ["a%hash", "a%list/0"] {
        assert_eq!(kind(case.store.check_key(&key(wrong))), ErrorKind::Invalid, "{wrong}");
    }
    let mut bytes = Key::root();
    bytes.push(Segment { bytes: b"\xff", word: Word::None });
    assert_eq!(kind(case.store.check_key(&bytes)), ErrorKind::NameEncoding);
}
