//! Databases of every kind that LMDB has, made by other programs.

use super::*;

/// Bytes as `mdb_load -T` reads them.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Loads records into a database with these flags, as `mdb_dump` writes them.
fn load_dump(path: &Path, name: Option<&str>, flags: &[&str], records: &[(&[u8], &[u8])]) {
    let mut text = "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=104857600\n".to_owned();
    if let Some(name) = name {
        text += &format!("database={name}\n");
    }
    for flag in flags {
        text += &format!("{flag}=1\n");
    }
    text += "HEADER=END\n";
    for (key, value) in records {
        text += &format!(" {}\n {}\n", hex::encode(key), hex::encode(value));
    }
    text += "DATA=END\n";
    let mut child = Command::new("mdb_load").arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn db(name: &str, below: &[&[u8]]) -> Key {
    let mut key = Key::root().child(Segment { bytes: name.as_bytes(), word: Word::Db });
    below.iter().for_each(|segment| key.push(Segment::plain(segment)));
    key
}

fn shown(store: &dyn Store, dir: &Key) -> Vec<String> {
    names(store, dir).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_named_database_is_a_directory_beside_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    load_dump(folder.path(), Some("people"), &[], &[(b"ann", b"1"), (b"bob/age", b"2")]);
    load(
        folder.path(),
        &[],
        "plain\nvalue\nlength of a record\n123456789012345678901234567890123456789012345678\n",
    );
    let store = open(&opening(folder.path())).unwrap();
    assert_eq!(
        names(&*store, &Key::root()),
        [
            ("\"length of a record\"".into(), Kind::Leaf),
            ("\"plain\"".into(), Kind::Leaf),
            ("\"people\"%Db".into(), Kind::Branch)
        ]
    );
    for (prefix, count) in [("p", 2), ("pe", 1), ("pl", 1), ("q", 0)] {
        let mut found = 0;
        let each = &mut |_: crate::store::api::Entry<'_>| {
            found += 1;
            ControlFlow::Continue(())
        };
        store.list_prefix(&Key::root(), prefix.as_bytes(), each).unwrap();
        assert_eq!(found, count, "{prefix}");
    }
    assert_eq!(store.stat(&key("people")).unwrap(), None, "its record is no value");
    assert_eq!(get(&*store, &db("people", &[b"ann"])).unwrap(), b"1");
    assert_eq!(shown(&*store, &db("people", &[])), ["\"ann\"", "\"bob\""]);
    let body = Payload::of(b"x").unwrap();
    let over = store.apply(&mut [Change::Put { key: &key("people"), body: &body, when: When::Always }]);
    assert_eq!(over.unwrap_err().kind(), ErrorKind::Exists);
    store.apply(&mut [Change::Delete { key: &key("people"), when: When::Always }]).unwrap();
    assert_eq!(get(&*store, &db("people", &[b"bob", b"age"])).unwrap(), b"2");
    assert!(dump(folder.path(), Some("people")).contains(" ann\n 1\n"));
}

#[test]
fn databases_are_made_and_dropped_when_empty() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&opening(folder.path())).unwrap();
    let (new, inside) = (db("new", &[]), db("new", &[b"k"]));
    store.apply(&mut [Change::Branch { key: &new }]).unwrap();
    let again = store.apply(&mut [Change::Branch { key: &new }]).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Exists);
    let body = Payload::of(b"v").unwrap();
    store.apply(&mut [Change::Put { key: &inside, body: &body, when: When::Absent }]).unwrap();
    store.sync().unwrap();
    assert!(dump(folder.path(), Some("new")).contains(" k\n v\n"));
    let full = store.apply(&mut [Change::RemoveBranch { key: &new }]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::NotEmpty);
    store.apply(&mut [Change::Delete { key: &inside, when: When::Always }]).unwrap();
    store.apply(&mut [Change::RemoveBranch { key: &new }]).unwrap();
    assert_eq!(store.stat(&new).unwrap(), None);
    assert!(names(&*store, &Key::root()).is_empty());
    store.apply(&mut [Change::Branch { key: &db("other", &[]) }]).unwrap();
    assert_eq!(store.stat(&inside).unwrap(), None, "the handle that LMDB gives again is another database's");
    let moved = Change::Rename { from: &db("other", &[]), to: &new, tree: true, replace: false };
    assert_eq!(store.apply(&mut [moved]).unwrap_err().kind(), ErrorKind::CrossDevice);
}

#[test]
fn a_database_dropped_by_another_program_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    load_dump(folder.path(), Some("gone"), &[], &[(b"a", b"1")]);
    let store = open(&opening(folder.path())).unwrap();
    assert_eq!(get(&*store, &db("gone", &[b"a"])).unwrap(), b"1");
    let status = Command::new("mdb_drop").args(["-d", "-s", "gone"]).arg(folder.path()).status();
    // Debian's lmdb-utils has no mdb_drop before 0.9.31: without it another program cannot be had here.
    if !status.is_ok_and(|status| status.success()) {
        return;
    }
    assert_eq!(store.stat(&db("gone", &[b"a"])).unwrap(), None);
    assert!(names(&*store, &Key::root()).is_empty());
}

#[test]
fn integer_keys_are_decimal_numbers() {
    for width in [4, 8] {
        let folder = tempfile::tempdir().unwrap();
        let number =
            |n: u64| if width == 4 { (n as u32).to_ne_bytes().to_vec() } else { n.to_ne_bytes().to_vec() };
        let (two, ten) = (number(2), number(300));
        load_dump(folder.path(), Some("ids"), &["integerkey"], &[(&two, b"two"), (&ten, b"more")]);
        let store = open(&opening(folder.path())).unwrap();
        assert_eq!(shown(&*store, &db("ids", &[])), ["\"2\"", "\"300\""], "width {width}");
        assert_eq!(get(&*store, &db("ids", &[b"300"])).unwrap(), b"more");
        let body = Payload::of(b"new").unwrap();
        let put = |name: &[u8]| {
            store.apply(&mut [Change::Put { key: &db("ids", &[name]), body: &body, when: When::Always }])
        };
        put(b"7").unwrap();
        assert_eq!(put(b"07").unwrap_err().kind(), ErrorKind::NameEncoding);
        assert_eq!(put(b"seven").unwrap_err().kind(), ErrorKind::NameEncoding);
        store.sync().unwrap();
        assert!(dump(folder.path(), Some("ids")).contains(&format!(" {}\n new", escaped(&number(7)))));
        assert_eq!(shown(&*store, &db("ids", &[])), ["\"2\"", "\"7\"", "\"300\""]);
        assert_eq!(store.check_key(&db("ids", &[b"x"])).unwrap_err().kind(), ErrorKind::NameEncoding);
    }
}

#[test]
fn duplicates_are_empty_files_in_the_directory_of_their_key() {
    let folder = tempfile::tempdir().unwrap();
    load_dump(folder.path(), None, &["dupsort"], &[(b"k/1", b"a"), (b"k/1", b"b"), (b"z", b"c")]);
    let store = open(&opening(folder.path())).unwrap();
    assert_eq!(shown(&*store, &Key::root()), ["\"k/1\"", "\"z\""]);
    let one = Key::of([&b"k/1"[..]]);
    assert_eq!(names(&*store, &one), [("\"a\"".into(), Kind::Leaf), ("\"b\"".into(), Kind::Leaf)]);
    let value = |name: &str| Key::of([&b"k/1"[..], name.as_bytes()]);
    assert_eq!(get(&*store, &value("a")).unwrap(), b"");
    let (empty, full) = (Payload::new(), Payload::of(b"x").unwrap());
    store.apply(&mut [Change::Put { key: &value("c"), body: &empty, when: When::Absent }]).unwrap();
    let refused = store.apply(&mut [Change::Put { key: &value("d"), body: &full, when: When::Always }]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooBig);
    store.apply(&mut [Change::Delete { key: &value("a"), when: When::Always }]).unwrap();
    assert_eq!(shown(&*store, &one), ["\"b\"", "\"c\""]);
    let new = key("new");
    store.apply(&mut [Change::Branch { key: &new }]).unwrap();
    assert_eq!(store.stat(&new).unwrap().unwrap().kind, Kind::Branch);
    assert!(names(&*store, &new).is_empty());
    let moved = Change::Rename { from: &one, to: &new, tree: true, replace: true };
    store.apply(&mut [moved]).unwrap();
    assert_eq!(shown(&*store, &new), ["\"b\"", "\"c\""]);
    let not_empty = store.apply(&mut [Change::RemoveBranch { key: &new }]).unwrap_err();
    assert_eq!(not_empty.kind(), ErrorKind::NotEmpty);
    assert!(dump(folder.path(), None).contains(" new\n b\n new\n c\n"));
}

#[test]
fn a_listing_of_duplicates_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<String> = (0..500).map(|n| format!("{n:04}")).collect();
    let records: Vec<(&[u8], &[u8])> = values.iter().map(|value| (&b"key"[..], value.as_bytes())).collect();
    load_dump(folder.path(), None, &["dupsort"], &records);
    let store = open(&opening(folder.path())).unwrap();
    let mut cursor = Cursor::default();
    let mut seen = Vec::new();
    while !cursor.done {
        let mut room = 7;
        store
            .list(&key("key"), &mut cursor, &mut |entry| {
                if room == 0 {
                    return ControlFlow::Break(());
                }
                room -= 1;
                seen.push(String::from_utf8(entry.segment.bytes.to_vec()).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    assert_eq!(seen, values);
}

#[test]
fn keys_compared_from_their_ends_are_one_name_each() {
    let folder = tempfile::tempdir().unwrap();
    load_dump(folder.path(), Some("r"), &["reversekey"], &[(b"a/z", b"1"), (b"b/y", b"2"), (b"c/x", b"3")]);
    let store = open(&opening(folder.path())).unwrap();
    assert_eq!(shown(&*store, &db("r", &[])), ["\"c/x\"", "\"b/y\"", "\"a/z\""]);
    assert_eq!(get(&*store, &db("r", &[b"b/y"])).unwrap(), b"2");
    let body = Payload::of(b"4").unwrap();
    store.apply(&mut [Change::Put { key: &db("r", &[b"d/w"]), body: &body, when: When::Always }]).unwrap();
    assert_eq!(shown(&*store, &db("r", &[]))[0], "\"d/w\"");
}

/// Makes an environment whose main database is in falling order, as a program with a comparison of its own would.
fn make_falling(path: &Path, count: usize) {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    unsafe extern "C" fn falling(
        a: *const lmdb_sys::MDB_val,
        b: *const lmdb_sys::MDB_val,
    ) -> std::ffi::c_int {
        // SAFETY: LMDB passes two values that live during the call.
        let (a, b) = (unsafe { &*a }, unsafe { &*b });
        // SAFETY: as above, with their bytes.
        let a = unsafe { super::super::transaction::slice_of(a) };
        // SAFETY: as above.
        let b = unsafe { super::super::transaction::slice_of(b) };
        b.cmp(a) as std::ffi::c_int
    }

    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut environment = std::ptr::null_mut();
    let mut transaction = std::ptr::null_mut();
    let mut database = 0;
    // SAFETY: the calls that lmdb.h prescribes, in their order, with pointers to locals that outlive them.
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one sequence of calls")]
    unsafe {
        assert_eq!(lmdb_sys::mdb_env_create(&raw mut environment), 0);
        assert_eq!(lmdb_sys::mdb_env_set_mapsize(environment, 1 << 26), 0);
        assert_eq!(lmdb_sys::mdb_env_open(environment, path.as_ptr(), 0, 0o644), 0);
        assert_eq!(lmdb_sys::mdb_txn_begin(environment, std::ptr::null_mut(), 0, &raw mut transaction), 0);
        assert_eq!(lmdb_sys::mdb_dbi_open(transaction, std::ptr::null(), 0, &raw mut database), 0);
        assert_eq!(lmdb_sys::mdb_set_compare(transaction, database, falling), 0);
        for index in 0..count {
            let (key, value) = (format!("k/{index:06}"), format!("value {index}"));
            let mut at = super::super::transaction::value_of(key.as_bytes());
            let mut bytes = super::super::transaction::value_of(value.as_bytes());
            assert_eq!(lmdb_sys::mdb_put(transaction, database, &raw mut at, &raw mut bytes, 0), 0);
        }
        assert_eq!(lmdb_sys::mdb_txn_commit(transaction), 0);
        lmdb_sys::mdb_env_close(environment);
    }
}

#[test]
fn an_order_of_the_programs_own_is_read_and_listed_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    make_falling(folder.path(), 3000);
    let store = open(&opening(folder.path())).unwrap();
    let mut cursor = Cursor::default();
    let mut seen = Vec::new();
    while !cursor.done {
        let mut room = 700;
        store
            .list(&Key::root(), &mut cursor, &mut |entry| {
                if room == 0 {
                    return ControlFlow::Break(());
                }
                room -= 1;
                seen.push(entry.segment.bytes.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    assert_eq!(seen.len(), 3000);
    assert_eq!(seen[0], b"k/002999");
    for index in [0, 1, 1500, 2999] {
        let whole = Key::of([format!("k/{index:06}").as_bytes()]);
        assert_eq!(get(&*store, &whole).unwrap(), format!("value {index}").as_bytes());
    }
    assert_eq!(store.stat(&Key::of([&b"absent"[..]])).unwrap(), None);
    let error = put(&*store, "new", b"1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    assert!(error.to_string().contains("order"), "{error}");
    assert!(store.facts().iter().any(|(name, _)| name.contains("order")));
}

#[test]
fn a_single_file_is_an_environment_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.lmdb");
    load(&file, &["-n"], "a/b\n1\n");
    assert!(recognise(&file));
    let store = open(&opening(&file)).unwrap();
    put(&*store, "a/c", b"2").unwrap();
    store.sync().unwrap();
    assert_eq!(shown(&*store, &key("a")), ["\"b\"", "\"c\""]);
    assert!(dump(&file, None).contains(" a/c\n 2\n"));
    assert!(folder.path().join("store.lmdb-lock").exists());
}
