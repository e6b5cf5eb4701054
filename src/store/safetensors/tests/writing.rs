use std::fs;

use ::safetensors::tensor::Dtype;

use super::*;
use crate::error::ErrorKind;
use crate::store::api::Version;
use crate::store::attributes::Setting;

const ROWS: &[Row<'_>] = &[
    ("w.a", Dtype::F32, &[2], &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("w.b", Dtype::F32, &[1], &[9, 9, 9, 9]),
    ("f8", Dtype::F8_E4M3, &[2], &[7, 8]),
    ("f4", Dtype::F4, &[2, 2], &[5, 6]),
];

fn data_of(store: &dyn Store, name: &str) -> Vec<u8> {
    bytes_of(&*store.open(&raw(&name.split('.').collect::<Vec<_>>())).unwrap().unwrap()).unwrap()
}

fn known(store: &dyn Store, path: &str) -> (String, String) {
    let known = store.known(&key(path)).unwrap();
    let text = |at: usize| String::from_utf8(known[at].1.clone()).unwrap();
    (text(0), text(1))
}

#[test]
fn what_is_put_is_seen_at_once_and_in_the_file_after_a_sync() {
    let case = Case::new(ROWS);
    let store = case.open();
    let before = fs::read(&case.path).unwrap();
    put(&*store, "w/b.npy", &npy("'<f4'", "False", "(1,)", &[1, 1, 1, 1])).unwrap();
    put_bytes(&*store, "new/x.npy", b"abc");
    assert_eq!(data_of(&*store, "w.b"), [1, 1, 1, 1]);
    assert_eq!(known(&*store, "new/x.npy"), ("U8".into(), "[3]".into()));
    assert_eq!(fs::read(&case.path).unwrap(), before);
    let open = store.open(&key("w/a.npy")).unwrap().unwrap();
    let written = store.open(&key("new/x.npy")).unwrap().unwrap();
    let header = value(&*store, "%header.json").unwrap();
    store.sync().unwrap();
    let file = fs::read(&case.path).unwrap();
    assert_eq!(&file[8..8 + header.len()], header);
    let rows = rows_of(&file);
    // The order stays, and what is new comes last.
    let names: Vec<&str> = rows.iter().map(|(name, ..)| &**name).collect();
    assert_eq!(names, ["w.a", "w.b", "f8", "f4", "new.x"]);
    assert_eq!((&*rows[1].3, &*rows[4].3), (&[1, 1, 1, 1][..], &b"abc"[..]));
    assert!(bytes_of(&*open).unwrap().ends_with(&[1, 2, 3, 4, 5, 6, 7, 8]), "§3.1");
    assert!(bytes_of(&*written).unwrap().ends_with(b"abc"), "§3.1");
    assert_eq!(open.version().unwrap(), store.open(&key("w/a.npy")).unwrap().unwrap().version().unwrap());
    assert_eq!(store.foreign_changes(), Some(0));
    let modified = fs::metadata(&case.path).unwrap().modified().unwrap();
    store.sync().unwrap();
    store.close().unwrap();
    assert_eq!(fs::metadata(&case.path).unwrap().modified().unwrap(), modified, "nothing to write");
    assert_eq!(fs::read_dir(case.folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn types_and_orders_of_numpy_become_those_of_the_format() {
    let case = Case::new(ROWS);
    let store = case.open();
    let x = |descr: &str, order: &str, shape: &str, data: &[u8]| {
        put(&*store, "x.npy", &npy(descr, order, shape, data)).unwrap();
        let (dtype, shape) = known(&*store, "x.npy");
        (dtype, shape, data_of(&*store, "x"))
    };
    let row = |dtype: &str, shape: &str, data: &[u8]| (dtype.to_owned(), shape.to_owned(), data.to_vec());
    assert_eq!(x("'>i2'", "False", "(2,)", &[1, 2, 3, 4]), row("I16", "[2]", &[2, 1, 4, 3]));
    assert_eq!(
        x("'>c8'", "False", "()", &[1, 2, 3, 4, 5, 6, 7, 8]),
        row("C64", "[]", &[4, 3, 2, 1, 8, 7, 6, 5])
    );
    assert_eq!(x("'|u1'", "True", "(2, 3)", &[0, 3, 1, 4, 2, 5]), row("U8", "[2, 3]", &[0, 1, 2, 3, 4, 5]));
    assert_eq!(
        x("'>u2'", "True", "(2, 2)", &[0, 0, 0, 2, 0, 1, 0, 3]),
        row("U16", "[2, 2]", &[0, 0, 1, 0, 2, 0, 3, 0])
    );
    assert_eq!(x("'<V2'", "False", "(1,)", &[1, 2]), row("BF16", "[1]", &[1, 2]));
    assert_eq!(x("'|V2'", "False", "(1,)", &[1, 2]), row("BF16", "[1]", &[1, 2]));
    assert_eq!(x("'<f1'", "False", "(1,)", &[1]), row("F8_E5M2", "[1]", &[1]));
    assert_eq!(x("'|b1'", "False", "(1,)", &[1]), row("BOOL", "[1]", &[1]));
    assert_eq!(x("'<f8'", "True", "(0, 3)", &[]), row("F64", "[0, 3]", &[]));
    put(&*store, "f8.npy", &npy("'|V1'", "False", "(1, 1)", &[3])).unwrap();
    assert_eq!(known(&*store, "f8.npy"), ("F8_E4M3".into(), "[1, 1]".into()));
    put(&*store, "f4.npy", &npy("'|V1'", "False", "(2,)", &[3, 4])).unwrap();
    assert_eq!(known(&*store, "f4.npy"), ("F4".into(), "[2, 2]".into()));
}

#[test]
fn what_cannot_be_a_tensor_is_refused_and_changes_nothing() {
    let case = Case::new(ROWS);
    let store = case.open();
    let before = all(&*store, &Key::root());
    for (file, told) in [
        (npy("'|O'", "False", "(1,)", &[0; 8]), "objects"),
        (npy("[('a', '<f4')]", "False", "(1,)", &[0; 4]), "structured"),
        (npy("'<M8[ns]'", "False", "(1,)", &[0; 8]), "dates"),
        (npy("'<m8'", "False", "(1,)", &[0; 8]), "dates"),
        (npy("'<c16'", "False", "(1,)", &[0; 16]), "numbers of this length"),
        (npy("'<f16'", "False", "(1,)", &[0; 16]), "numbers of this length"),
        (npy("'<U1'", "False", "(1,)", &[0; 4]), "texts"),
        (npy("'|V1'", "False", "(1,)", &[0]), "user.kvfs.dtype"),
        (npy("'|V3'", "False", "(1,)", &[0; 3]), "elements of this type"),
        (npy("'<f4'", "False", "(2,)", &[0; 7]), "7 bytes"),
        (npy("'<f4'", "False", "(2,)", &[0; 9]), "9 bytes"),
        (npy("'<f4'", "False", "(18446744073709551615, 3)", &[0; 9]), "no file"),
        (Vec::new(), "no .npy file"),
    ] {
        let refusal = put(&*store, "x.npy", &file).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Invalid);
        assert!(refusal.to_string().contains(told), "{refusal}");
        assert!(refusal.to_string().contains("\"x\""), "{refusal}");
    }
    assert_eq!(
        kind(put(&*store, "f4.npy", &npy("'|V1'", "False", "(3,)", &[0; 3]))),
        Some(ErrorKind::Invalid)
    );
    assert_eq!(kind(put(&*store, "x", &npy("'|u1'", "False", "()", &[0]))), Some(ErrorKind::Invalid));
    assert_eq!(kind(put(&*store, "%header.json", b"{}")), Some(ErrorKind::NotPermitted));
    assert_eq!(kind(put(&*store, "%metadata.json", b"{\"a\":1}")), Some(ErrorKind::Invalid));
    assert_eq!(kind(store.check_file(&key("x"))), Some(ErrorKind::Invalid));
    store.check_key(&key("x")).unwrap();
    store.check_file(&key("x.npy")).unwrap();
    assert_eq!(all(&*store, &Key::root()), before);
    store.sync().unwrap();
    assert_eq!(rows_of(&fs::read(&case.path).unwrap()).len(), ROWS.len());
}

#[test]
fn types_that_numpy_does_not_tell_are_told_by_attributes() {
    let case = Case::new(ROWS);
    let store = case.open();
    let x = key("x.npy");
    let setting = |dtype: &str, shape: Option<&str>| {
        let mut setting = Setting::default();
        setting.xattrs.insert((*b"user.kvfs.dtype").into(), Some(dtype.as_bytes().into()));
        if let Some(shape) = shape {
            setting.xattrs.insert((*b"user.kvfs.shape").into(), Some(shape.as_bytes().into()));
        }
        setting
    };
    let body = Payload::of(&npy("'|V1'", "False", "(2,)", &[1, 2])).unwrap();
    let with = |setting: &Setting| {
        store.apply(&mut [
            Change::Put { key: &x, body: &body, when: When::Always },
            Change::Set { key: &x, directory: false, attributes: setting },
        ])
    };
    with(&setting("F8_E8M0", None)).unwrap();
    assert_eq!(known(&*store, "x.npy"), ("F8_E8M0".into(), "[2]".into()));
    assert_eq!(kind(with(&setting("F4", Some("[3]")))), Some(ErrorKind::Invalid));
    assert_eq!(kind(with(&setting("F32", None))), Some(ErrorKind::Invalid));
    assert_eq!(kind(with(&setting("F99", None))), Some(ErrorKind::Invalid));
    with(&setting("F4", Some("[4]"))).unwrap();
    assert_eq!(known(&*store, "x.npy"), ("F4".into(), "[4]".into()));
    // What is there is seen as another type of the same length.
    let b = key("w/b.npy");
    let set = |setting: &Setting| {
        store.apply(&mut [Change::Set { key: &b, directory: false, attributes: setting }])
    };
    set(&setting("I16", Some("[2, 1]"))).unwrap();
    assert_eq!(kind(set(&setting("F64", None))), Some(ErrorKind::Invalid));
    store.close().unwrap();
    let rows = rows_of(&fs::read(&case.path).unwrap());
    let b = rows.iter().find(|(name, ..)| name == "w.b").unwrap();
    assert_eq!((b.1, &*b.2, &*b.3), (Dtype::I16, &[2, 1][..], &[9, 9, 9, 9][..]));
}

#[test]
fn tensors_are_removed_and_renamed_alone_and_as_trees() {
    let case = Case::new(ROWS);
    let store = case.open();
    let (w, v, b, c) = (key("w"), key("v"), key("w/b.npy"), key("c.npy"));
    let rename =
        |from: &Key, to: &Key, tree, replace| store.apply(&mut [Change::Rename { from, to, tree, replace }]);
    rename(&b, &c, false, false).unwrap();
    rename(&w, &v, true, true).unwrap();
    let f8 = key("f8.npy");
    store.apply(&mut [Change::Delete { key: &f8, when: When::Always }]).unwrap();
    assert_eq!(kind(rename(&c, &key("c"), false, false)), Some(ErrorKind::Invalid));
    assert_eq!(kind(rename(&c, &key("v/a.npy"), false, false)), Some(ErrorKind::Exists));
    assert_eq!(kind(rename(&f8, &b, false, false)), Some(ErrorKind::NotFound));
    put_bytes(&*store, "t.npy", b"12345678");
    rename(&key("t.npy"), &key("v/a.npy"), false, true).unwrap();
    assert_eq!(kind(store.apply(&mut [Change::Branch { key: &w }])), Some(ErrorKind::Unsupported));
    assert_eq!(all(&*store, &Key::root()).keys().collect::<Vec<_>>(), ["c.npy", "f4.npy", "v/a.npy"]);
    store.sync().unwrap();
    let rows = rows_of(&fs::read(&case.path).unwrap());
    let shown: Vec<_> = rows.iter().map(|(name, _, _, data)| (&**name, &**data)).collect();
    assert_eq!(shown, [("v.a", &b"12345678"[..]), ("c", &[9, 9, 9, 9]), ("f4", &[5, 6])]);
}

#[test]
fn a_batch_is_all_or_nothing_and_conditions_are_checked() {
    let case = Case::new(ROWS);
    let store = case.open();
    let (b, x) = (key("w/b.npy"), key("x.npy"));
    let body = Payload::of(&npy("'|u1'", "False", "()", &[0])).unwrap();
    let put = |key, when| Change::Put { key, body: &body, when };
    let before = all(&*store, &Key::root());
    let failed = store.apply(&mut [put(&x, When::Always), put(&b, When::Absent)]);
    assert_eq!(kind(failed), Some(ErrorKind::Exists));
    assert_eq!(all(&*store, &Key::root()), before);
    let version = store.open(&b).unwrap().unwrap().version().unwrap();
    store.apply(&mut [put(&b, When::Current(version.clone()))]).unwrap();
    assert_eq!(kind(store.apply(&mut [put(&b, When::Current(version))])), Some(ErrorKind::Stale));
    let now = store.version_of(&b, &body).unwrap().unwrap();
    assert_eq!(store.open(&b).unwrap().unwrap().version().unwrap(), now);
    store.sync().unwrap();
    store.apply(&mut [put(&b, When::Current(now))]).unwrap();
    let absent = Change::Delete { key: &x, when: When::Current(Version::of_content(b"")) };
    assert_eq!(kind(store.apply(&mut [absent])), Some(ErrorKind::Stale));
}

#[test]
fn plain_bytes_and_metadata_can_be_written() {
    let case = Case::new(ROWS);
    let store = case.open();
    let raw_b = raw(&["w", "b"]);
    let put_raw = |bytes: &[u8]| {
        let body = Payload::of(bytes).unwrap();
        store.apply(&mut [Change::Put { key: &raw_b, body: &body, when: When::Always }])
    };
    put_raw(&[4, 3, 2, 1]).unwrap();
    assert_eq!(kind(put_raw(&[4, 3, 2])), Some(ErrorKind::Invalid));
    let delete = Change::Delete { key: &raw_b, when: When::Always };
    assert_eq!(kind(store.apply(&mut [delete])), Some(ErrorKind::NotPermitted));
    put(&*store, "%metadata.json", b"{\"z\": \"1\", \"a\": \"\xC3\xA9\"}").unwrap();
    store.sync().unwrap();
    let file = fs::read(&case.path).unwrap();
    assert!(file[8..].starts_with("{\"__metadata__\":{\"z\":\"1\",\"a\":\"é\"},\"w.a\":".as_bytes()));
    assert_eq!(rows_of(&file)[1].3, [4, 3, 2, 1]);
    let metadata = key("%metadata.json");
    store.apply(&mut [Change::Delete { key: &metadata, when: When::Always }]).unwrap();
    store.sync().unwrap();
    assert!(fs::read(&case.path).unwrap()[8..].starts_with(b"{\"w.a\":"));
}

#[test]
fn where_one_would_not_be_aligned_all_are_in_the_order_of_the_crate() {
    let case = Case::new(ROWS);
    let store = case.open();
    put_bytes(&*store, "w/a.npy", b"xyz");
    store.sync().unwrap();
    let rows = rows_of(&fs::read(&case.path).unwrap());
    let names: Vec<&str> = rows.iter().map(|(name, ..)| &**name).collect();
    assert_eq!(names, ["w.b", "f8", "w.a", "f4"]);
}
