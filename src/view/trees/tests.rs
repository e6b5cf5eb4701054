use std::collections::BTreeMap;

use super::*;
use crate::store::api::When;
use crate::store::driver::Opening;

/// A file with two tensors of bytes.
fn model(first: &[u8]) -> Vec<u8> {
    let end = first.len();
    let mut text = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{end}],"data_offsets":[0,{end}]}},"b/c":{{"dtype":"U8","shape":[2],"data_offsets":[{end},{}]}}}}"#,
        end + 2
    );
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), first, b"bc"].concat()
}

fn key(path: &str) -> Key {
    Key::of(path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes))
}

fn put(store: &dyn Store, path: &str, bytes: &[u8]) {
    let body = Payload::of(bytes).unwrap();
    store.apply(&mut [Change::Put { key: &key(path), body: &body, when: When::Always }]).unwrap();
}

fn bytes_of(value: &dyn Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    bytes
}

fn names(store: &dyn Store, dir: &str, stop_after: usize) -> BTreeMap<Vec<u8>, Kind> {
    let (mut found, mut from) = (BTreeMap::new(), Cursor::default());
    loop {
        let mut given = 0;
        store
            .list(&key(dir), &mut from, &mut |entry| {
                if given == stop_after {
                    return ControlFlow::Break(());
                }
                given += 1;
                assert!(found.insert(entry.segment.bytes.to_vec(), entry.stat.kind).is_none());
                ControlFlow::Continue(())
            })
            .unwrap();
        if given < stop_after {
            return found;
        }
    }
}

fn views() -> (Arc<dyn Store>, Trees) {
    let store = (crate::store::memory::DRIVER.open)(&Opening::default()).unwrap();
    put(&*store, "plain", b"x");
    put(&*store, "dir/model.safetensors", &model(b"aaa"));
    put(&*store, "dir/broken.safetensors", b"not a model at all");
    for n in 0..600 {
        put(&*store, &format!("dir/n{n}"), b"n");
    }
    let view = Trees::new(Arc::clone(&store), Arc::new(crate::view::tensor::Tensors));
    (store, view)
}

#[test]
fn a_value_is_a_directory_of_its_tensors() {
    let (store, view) = views();
    for stop_after in [1, 7, 1000] {
        let listed = names(&view, "dir", stop_after);
        assert_eq!(listed.len(), 602);
        assert_eq!(listed[&b"model.safetensors"[..]], Kind::Branch);
        assert_eq!(listed[&b"broken.safetensors"[..]], Kind::Leaf);
    }
    let inside = names(&view, "dir/model.safetensors", 100);
    assert_eq!(inside.keys().collect::<Vec<_>>(), [&b"a.npy"[..], b"b/c.npy"]);
    let stat = view.stat(&key("dir/model.safetensors/a.npy")).unwrap().unwrap();
    let value = view.open(&key("dir/model.safetensors/a.npy")).unwrap().unwrap();
    assert_eq!((stat.size, &bytes_of(&*value)[128..]), (131, &b"aaa"[..]));
    let mut part = Vec::new();
    value.read(126, 4, &mut |piece| part.extend_from_slice(piece)).unwrap();
    assert_eq!(part, b" \naa");
    assert!(view.stat(&key("dir/model.safetensors/none.npy")).unwrap().is_none());
    let broken = view.open(&key("dir/broken.safetensors")).unwrap().unwrap();
    assert_eq!(bytes_of(&*broken), b"not a model at all");
    assert_eq!(view.known(&key("dir/model.safetensors/a.npy")).unwrap()[1].1, b"[3]");
    // Another version of the value has other tensors; who has the old one open keeps it, or is told.
    put(&*store, "dir/model.safetensors", &model(b"longer"));
    let mut old = Vec::new();
    let read = value.read(128, 3, &mut |piece| old.extend_from_slice(piece));
    assert!(read.is_err() || old == b"aaa");
    assert_eq!(view.stat(&key("dir/model.safetensors/a.npy")).unwrap().unwrap().size, 134);
    let new = view.open(&key("dir/model.safetensors/a.npy")).unwrap().unwrap();
    assert!(bytes_of(&*new).ends_with(b"longer"));
}

#[test]
fn nothing_is_written_through_a_view() {
    let (_, view) = views();
    let (body, at) = (Payload::of(b"x").unwrap(), key("new"));
    let refused = view.apply(&mut [Change::Put { key: &at, body: &body, when: When::Always }]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnly);
    assert!(!view.caps().write);
}
