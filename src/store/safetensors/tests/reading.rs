use std::fs;
use std::os::unix::fs::FileExt;

use ::safetensors::tensor::Dtype;

use super::*;
use crate::error::ErrorKind;
use crate::store::api::Kind;
use crate::store::safetensors::files::recognise;

const ROWS: &[Row<'_>] = &[
    ("h.0.weight", Dtype::F32, &[2, 1], &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("h.0", Dtype::U8, &[3], &[7, 8, 9]),
    ("h.1.weight", Dtype::BF16, &[1], &[1, 2]),
    ("a/b", Dtype::F8_E4M3, &[], &[5]),
    ("none", Dtype::I64, &[0, 4], &[]),
];

#[test]
fn promise_7_3_tensors_are_files_of_numpy_and_plain_bytes() {
    let case = Case::new(ROWS);
    let store = case.open();
    let files = all(&*store, &Key::root());
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["a/b.npy", "h/0.npy", "h/0/weight.npy", "h/1/weight.npy", "none.npy"],
    );
    for (name, dtype, shape, bytes) in ROWS {
        let path = name.replace('.', "/");
        let file = &files[&format!("{path}.npy")];
        assert_eq!(&file[file.len() - bytes.len()..], *bytes);
        assert_eq!((file.len() - bytes.len()) % 64, 0, "aligned as numpy has it");
        let plain = raw(&name.split('.').collect::<Vec<_>>());
        assert_eq!(bytes_of(&*store.open(&plain).unwrap().unwrap()).unwrap(), *bytes);
        let known = store.known(&key(&format!("{}.npy", path.replace("a/b", "a%2Fb")))).unwrap();
        assert_eq!(known[0].1, dtype.to_string().into_bytes());
        assert_eq!(known[1].1, format!("{shape:?}").into_bytes());
    }
    assert_eq!(store.stat(&key("h")).unwrap().unwrap().kind, Kind::Branch);
    assert_eq!(store.raw_key(&key("h/0/weight.npy"), false), b"h.0.weight");
    assert_eq!(store.raw_key(&key("h/0"), true), b"h.0.");
}

#[test]
fn what_is_not_listed_is_found_by_name() {
    let case = Case::new(ROWS);
    let store = case.open();
    assert_eq!(value(&*store, "%metadata.json").unwrap(), b"{\n  \"format\": \"pt\"\n}\n");
    let header = value(&*store, "%header.json").unwrap();
    assert_eq!(header, fs::read(&case.path).unwrap()[8..8 + header.len()]);
    assert_eq!(store.stat(&key("%header.json")).unwrap().unwrap().size, header.len() as u64);
    assert_eq!(store.stat(&key("%raw")).unwrap().unwrap().kind, Kind::Branch);
    assert_eq!(
        store.stat(&raw(&["h", "0"])).unwrap().unwrap().kind,
        Kind::Both,
        "a tensor, and others below it"
    );
    assert!(store.stat(&key("%header.json/x")).unwrap().is_none());
    assert_eq!(all(&*store, &raw(&[])).len(), ROWS.len());
}

#[test]
fn promise_6_1_a_file_that_is_replaced_is_read_again_and_open_tensors_stay() {
    let case = Case::new(ROWS);
    let store = case.open();
    let open = store.open(&key("h/0/weight.npy")).unwrap().unwrap();
    let beside = case.folder.path().join("new");
    fs::write(&beside, file_of(&[("other", Dtype::U8, &[1], &[1])], &[])).unwrap();
    fs::rename(&beside, &case.path).unwrap();
    assert!(store.stat(&key("none.npy")).unwrap().is_none());
    assert_eq!(all(&*store, &Key::root()).keys().collect::<Vec<_>>(), ["other.npy"]);
    assert_eq!(store.foreign_changes(), Some(1));
    assert!(bytes_of(&*open).unwrap().ends_with(&[1, 2, 3, 4, 5, 6, 7, 8]), "§3.1");
    assert_eq!(value(&*store, "%metadata.json").unwrap(), b"{}\n");
}

#[test]
fn promise_3_1_a_file_that_is_written_into_is_stale_to_who_has_it_open() {
    let case = Case::new(ROWS);
    let store = case.open();
    let open = store.open(&key("h/0/weight.npy")).unwrap().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&case.path).unwrap();
    file.write_all_at(&[9], fs::metadata(&case.path).unwrap().len() - 1).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(kind(bytes_of(&*open)), Some(ErrorKind::Stale));
    assert_eq!(value(&*store, "h/1/weight.npy").map(|file| file.len()), Some(130), "it is read again");
}

#[test]
fn a_file_that_becomes_none_is_an_error_and_one_again_is_read() {
    let case = Case::new(ROWS);
    let store = case.open();
    let whole = fs::read(&case.path).unwrap();
    fs::write(&case.path, &whole[..whole.len() - 1]).unwrap();
    for _ in 0..2 {
        assert_eq!(kind(store.stat(&key("none.npy"))), Some(ErrorKind::Invalid));
    }
    fs::remove_file(&case.path).unwrap();
    assert_eq!(kind(store.stat(&key("none.npy"))), Some(ErrorKind::NotFound));
    fs::write(&case.path, &whole).unwrap();
    assert!(store.stat(&key("none.npy")).unwrap().is_some());
}

#[test]
fn what_is_no_safetensors_file_is_refused_with_a_sentence() {
    let case = Case::new(ROWS);
    for (bytes, told) in [
        (&b"{}"[..], "more than its 2 bytes"),
        (&[0xFF; 20], "at most 100000000"),
        (&[50, 0, 0, 0, 0, 0, 0, 0, b'{'], "a header of 50 bytes in a file of 9"),
        (&[1, 0, 0, 0, 0, 0, 0, 0, b'{'], "its header: "),
    ] {
        fs::write(&case.path, bytes).unwrap();
        let refusal = open(&case.path, None).err().unwrap().to_string();
        assert!(refusal.contains(told), "{refusal}");
        assert!(refusal.contains("model.safetensors"), "{refusal}");
    }
    assert!(recognise(&case.path), "by its name, so that it is told what is wrong");
}

#[test]
fn a_model_of_several_files_is_one_tree() {
    let case = Case::new(ROWS);
    let folder = case.folder.path();
    fs::rename(&case.path, folder.join("model-1.safetensors")).unwrap();
    fs::write(folder.join("model-2.safetensors"), file_of(&[("z", Dtype::U8, &[1], &[4])], &[])).unwrap();
    let index = folder.join("model.safetensors.index.json");
    let weights = |more: &str| {
        format!(
            r#"{{"metadata":{{"total_size":15}},"weight_map":{{"h.0":"model-1.safetensors","z":"model-2.safetensors"{more}}}}}"#
        )
    };
    fs::write(&index, weights("")).unwrap();
    for path in [&index, &folder.to_owned()] {
        assert!(recognise(path));
        let store = open(path, Some("/")).unwrap();
        assert_eq!(all(&*store, &Key::root()).keys().collect::<Vec<_>>(), ["h.0.npy", "z.npy"]);
        assert_eq!(value(&*store, "%header.json").unwrap(), weights("").into_bytes());
        assert_eq!(value(&*store, "%metadata.json").unwrap(), b"{\n  \"total_size\": \"15\"\n}\n");
        assert!(store.caps().write);
        let beside = folder.join("new");
        fs::write(&beside, file_of(&[("z", Dtype::U8, &[2], &[5, 6])], &[])).unwrap();
        fs::rename(&beside, folder.join("model-2.safetensors")).unwrap();
        assert!(value(&*store, "z.npy").unwrap().ends_with(&[5, 6]));
    }
    for (more, told) in [
        (r#","y":"model-2.safetensors""#, "\"y\" is not in model-2"),
        (r#","y":"../model-2.safetensors""#, "no name of a file beside it"),
        (r#","z":"model-1.safetensors""#, "twice"),
        (r#","y":"model-3.safetensors""#, "model-3.safetensors"),
    ] {
        fs::write(&index, weights(more)).unwrap();
        let refusal = open(&index, None).err().unwrap().to_string();
        assert!(refusal.contains(told), "{refusal}");
    }
}
