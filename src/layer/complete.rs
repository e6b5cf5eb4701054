//! Each layer names every method of [`crate::store::api::Store`]: a default in place of what the store below does is a
//! feature that is lost without a word.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Defaults that are meant: the layer and the method.
const MEANT: [(&str, &str); 6] = [
    // Opened as they are looked up: a special file has no version that the store below could tell.
    ("Attrs", "open_told"),
    ("Attrs", "good_for"),
    // A snapshot does not change.
    ("Stamps", "open_told"),
    ("Stamps", "good_for"),
    // Nothing is told twice, so that each question can fail.
    ("Faulty", "open_told"),
    ("Faulty", "good_for"),
];

/// The text between the brace that opens at or after `start` and the one that closes it.
fn block(source: &str, start: usize) -> &str {
    let open = start + source[start..].find('{').unwrap();
    let mut depth = 0;
    for (at, byte) in source.bytes().enumerate().skip(open) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 {
            return &source[open..at];
        }
    }
    panic!("a block without an end");
}

/// The methods that are written out in a block.
fn methods(block: &str) -> BTreeSet<&str> {
    let written = block.split("\n    fn ").skip(1);
    written.map(|rest| &rest[..rest.find(['(', '<']).unwrap()]).collect()
}

#[test]
fn each_layer_names_every_method_of_a_store() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let api = fs::read_to_string(root.join("store/api.rs")).unwrap();
    let all = methods(block(&api, api.find("pub trait Store").unwrap()));
    assert!(all.len() > 20, "api.rs is written differently: {all:?}");
    let mut layers = 0;
    for entry in fs::read_dir(root.join("layer")).unwrap() {
        let path = entry.unwrap().path();
        // `mod.rs` has an example in a comment.
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("mod.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let Some(start) = source.find("\nimpl Store for ") else { continue };
        let layer = source[start..].split_whitespace().nth(3).unwrap();
        let implemented = block(&source, start);
        let mut named = methods(implemented);
        for list in implemented.split("passes_on!(").skip(1) {
            named.extend(list[..list.find(')').unwrap()].split(',').map(str::trim));
        }
        let missing: Vec<_> =
            all.difference(&named).filter(|method| !MEANT.contains(&(layer, method))).collect();
        assert!(missing.is_empty(), "{layer} leaves out {missing:?}");
        layers += 1;
    }
    assert!(layers >= 7, "only {layers} layers were found");
}
