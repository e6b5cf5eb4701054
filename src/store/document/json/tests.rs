//! Any text, and what one change leaves of it.

use std::ops::ControlFlow;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Json;
use crate::error::ErrorKind;
use crate::store::document::tree::{Document, Edit, New, Node, Progress, Type};

fn read(text: &str) -> Json {
    Json::read(text.as_bytes().to_vec()).unwrap()
}

/// What the text says, as the tree has it.
fn value_of(json: &Json, node: &Node) -> Value {
    match node.kind {
        Type::Object | Type::Array => {
            let (mut object, mut array) = (Map::new(), Vec::new());
            json.children(node, Progress::default(), &mut |name, part, _| {
                let value = value_of(json, &part);
                match node.kind {
                    Type::Object => {
                        drop(object.insert(String::from_utf8(name.unwrap().to_vec()).unwrap(), value));
                    }
                    _ => array.push(value),
                }
                ControlFlow::Continue(())
            });
            if node.kind == Type::Object { Value::Object(object) } else { Value::Array(array) }
        }
        Type::String => Value::String(String::from_utf8(json.scalar(node).unwrap()).unwrap()),
        _ => serde_json::from_slice(&json.scalar(node).unwrap()).unwrap(),
    }
}

/// After one change.
fn edited(text: &str, edit: Edit<'_>) -> String {
    let mut json = read(text);
    if let Some(splice) = json.plan(&edit).unwrap() {
        let back = json.splice(splice).unwrap();
        let after = String::from_utf8(json.text().to_vec()).unwrap();
        json.splice(back).unwrap();
        assert_eq!(json.text(), text.as_bytes(), "a change is taken back");
        return after;
    }
    text.to_owned()
}

const NUMBER: New<'_> = New::Scalar(Type::Number, b"7");

#[test]
fn what_comes_and_goes_has_the_look_of_its_neighbours() {
    let set = |text: &str, path: &[&[u8]]| edited(text, Edit::Set(path, NUMBER));
    let remove = |text: &str, path: &[&[u8]]| edited(text, Edit::Remove(path));
    for (before, path, after) in [
        ("{}", "a", "{\n  \"a\": 7\n}"),
        ("{\"a\":1}", "b", "{\"a\":1,\"b\":7}"),
        ("{\"a\": 1}", "b", "{\"a\": 1, \"b\": 7}"),
        ("{\n\t\"a\" : 1\n}\n", "b", "{\n\t\"a\" : 1,\n\t\"b\" : 7\n}\n"),
        ("{\r\n  \"a\": 1\r\n}", "b", "{\r\n  \"a\": 1,\r\n  \"b\": 7\r\n}"),
        ("{\n  \"a\": 1, // one\n}", "b", "{\n  \"a\": 1, // one\n  \"b\": 7,\n}"),
        ("{\n  \"a\": 1 // one\n}", "b", "{\n  \"a\": 1, // one\n  \"b\": 7\n}"),
        ("{\n  // none\n}", "b", "{\n  // none\n  \"b\": 7\n}"),
        ("[1, 2]", "2", "[1, 2, 7]"),
        ("[]", "0", "[\n  7\n]"),
        ("{\"a\": 1.50}", "a", "{\"a\": 7}"),
    ] {
        assert_eq!(set(before, &[path.as_bytes()]), after);
    }
    assert_eq!(set("{\n  \"a\": {}\n}", &[b"a", b"b"]), "{\n  \"a\": {\n    \"b\": 7\n  }\n}");
    for (before, path, after) in [
        ("{\"a\": 1}", "a", "{}"),
        ("{\n  \"a\": 1\n}", "a", "{}"),
        ("{\n  \"a\": 1,\n  \"b\": 2\n}", "a", "{\n  \"b\": 2\n}"),
        ("{\n  \"a\": 1,\n  \"b\": 2\n}", "b", "{\n  \"a\": 1\n}"),
        ("{\n  \"a\": 1,\n  \"b\": 2,\n}", "b", "{\n  \"a\": 1,\n}"),
        ("{\n  \"a\": 1, // one\n  \"b\": 2\n}", "a", "{\n  \"b\": 2\n}"),
        ("{\n  \"a\": 1, // one\n  \"b\": 2\n}", "b", "{\n  \"a\": 1 // one\n}"),
        ("{\n  // all\n  \"a\": 1\n}", "a", "{\n  // all\n}"),
        ("[1, 2]", "1", "[1]"),
    ] {
        assert_eq!(remove(before, &[path.as_bytes()]), after);
    }
    let renamed = edited("{\"a\": 1, \"b\": 2}", Edit::Rename(&[b"a"], b"\"x"));
    assert_eq!(renamed, "{\"\\\"x\": 1, \"b\": 2}");
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (text, place) in [
        ("", "line 1, column 1"),
        ("5", "line 1, column 1"),
        ("{\n \"a\" 1}", "line 2, column 6"),
        ("[1 2]", "column 4"),
        ("[,]", "column 2"),
        ("[1,,2]", "column 4"),
        ("{\"a\":01}", "column 6"),
        ("{\"é\":tru}", "column 6"),
        ("[\"\t\"]", "column 3"),
        ("[1] x", "column 5"),
        ("[1", "column 3"),
        ("[/*]", "column 2"),
        ("{\"a\":1", "column 7"),
        ("[\"\\x\"]", "column 3"),
    ] {
        let Err(error) = Json::read(text.as_bytes().to_vec()) else { panic!("{text:?} is read") };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(place), "{text:?}: {error}");
    }
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    read(&deep(512));
    Json::read(deep(513).into_bytes()).err().unwrap();
    Json::read("[".repeat(10_000_000).into_bytes()).err().unwrap();
    Json::read(b"[\"\xff\"]".to_vec()).err().unwrap();
}

#[test]
fn a_name_that_comes_twice_makes_it_read_only_and_the_last_one_is_seen() {
    let json = read("{\"a\": 1, \"\\u0061\": 2}");
    assert!(json.refusal().unwrap().contains("line 1, column 10"), "{:?}", json.refusal());
    assert_eq!(value_of(&json, &json.root()), json!({"a": 2}));
    assert_eq!(read("{\"a\": {\"b\": 1}, \"b\": 1}").refusal(), None);
}

#[test]
fn an_array_changes_at_its_end_alone() {
    let json = read("[1, 2, 3]");
    let kind = |edit: Edit<'_>| json.plan(&edit).unwrap_err().kind();
    assert_eq!(kind(Edit::Remove(&[b"1"])), ErrorKind::NotPermitted);
    assert_eq!(kind(Edit::Rename(&[b"2"], b"3")), ErrorKind::NotPermitted);
    assert_eq!(kind(Edit::Set(&[b"4"], NUMBER)), ErrorKind::Invalid);
    assert_eq!(kind(Edit::Set(&[b"03"], NUMBER)), ErrorKind::Invalid);
}

#[test]
fn a_value_of_its_own_has_no_indentation_and_gets_the_one_of_its_place() {
    let text = "{\n  \"a\": {\n    \"b\": [\n      1\n    ]\n  }\n}\n";
    let json = read(text);
    let a = json.child(&json.root(), b"a").unwrap();
    let source = json.source(&a);
    assert_eq!(source, b"{\n  \"b\": [\n    1\n  ]\n}\n");
    assert_eq!(json.plan(&Edit::Set(&[b"a"], New::Source(&source))).unwrap(), None);
}

#[test]
fn many_parts_are_found_by_name_and_by_index() {
    let names: Vec<String> = (0..10_000).map(|number| format!("\"n{number}\": [{number}, {{}}]")).collect();
    let json = read(&format!("{{{}}}", names.join(", ")));
    let root = json.root();
    assert_eq!(json.count(&root), 10_000);
    for number in [0, 1, 63, 64, 9_999] {
        let found = json.child(&root, format!("n{number}").as_bytes()).unwrap();
        let first = json.child(&found, b"0").unwrap();
        assert_eq!(json.scalar(&first).unwrap(), number.to_string().as_bytes());
    }
    assert_eq!(json.child(&root, b"n10000"), None);
    let elements: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let json = read(&format!("[{}]", elements.join(",")));
    for number in [0, 63, 64, 65, 9_999] {
        let found = json.child(&json.root(), number.to_string().as_bytes()).unwrap();
        assert_eq!(json.scalar(&found).unwrap(), number.to_string().as_bytes());
    }
    assert_eq!(json.child(&json.root(), b"10000"), None);
    let long = "x".repeat(1000);
    let json = read(&format!("[[\"{long}\", [\"{long}]\"]], 2]"));
    let two = json.child(&json.root(), b"1").unwrap();
    assert_eq!(json.scalar(&two).unwrap(), b"2");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::String),
        "[\\x00-\\x7f]{0,200}".prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 200, 90, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..90).prop_map(Value::Array),
            prop::collection::btree_map("\\PC{0,5}", inner, 0..90)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

fn any_document() -> impl Strategy<Value = String> {
    let document = any_value().prop_filter("no scalar", |value| value.is_object() || value.is_array());
    (document, any::<bool>()).prop_map(|(value, pretty)| {
        if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() }
    })
}

/// All parts, with the way to each.
fn all(json: &Json, node: &Node, above: &[Vec<u8>], found: &mut Vec<(Vec<Vec<u8>>, Node)>) {
    json.children(node, Progress::default(), &mut |name, part, _| {
        let path = [above, &[name.unwrap().to_vec()]].concat();
        if part.kind.has_parts() {
            all(json, &part, &path, found);
        }
        found.push((path, part));
        ControlFlow::Continue(())
    });
}

fn at<'v>(value: &'v mut Value, path: &[&[u8]]) -> &'v mut Value {
    path.iter().fold(value, |value, name| {
        let name = str::from_utf8(name).unwrap();
        match value {
            Value::Array(array) => &mut array[name.parse::<usize>().unwrap()],
            other => &mut other[name],
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_text_is_read_as_others_read_it(text in any_document()) {
        let json = read(&text);
        prop_assert_eq!(value_of(&json, &json.root()), serde_json::from_str::<Value>(&text).unwrap());
    }

    #[test]
    fn one_part_changed_changes_nothing_else(
        text in any_document(),
        which in any::<prop::sample::Index>(),
        new in "\\PC{0,8}",
        removed in any::<bool>(),
    ) {
        let mut json = read(&text);
        let mut found = Vec::new();
        all(&json, &json.root(), &[], &mut found);
        prop_assume!(!found.is_empty());
        let (path, node) = &found[which.index(found.len())];
        let path: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        if removed {
            let (last, above) = path.split_last().unwrap();
            let parent = at(&mut value, above);
            let last = str::from_utf8(last).unwrap();
            match parent {
                Value::Array(array) if array.len() - 1 == last.parse::<usize>().unwrap() => drop(array.pop()),
                Value::Array(_) => return Ok(()),
                other => drop(other.as_object_mut().unwrap().remove(last)),
            }
            let splice = json.plan(&Edit::Remove(&path)).unwrap().unwrap();
            json.splice(splice).unwrap();
        } else {
            *at(&mut value, &path) = Value::String(new.clone());
            if let Some(splice) = json.plan(&Edit::Set(&path, New::Scalar(Type::String, new.as_bytes()))).unwrap() {
                prop_assert_eq!(&splice.range, &node.span);
                json.splice(splice).unwrap();
            }
            let after = json.text();
            prop_assert_eq!(&after[..node.span.start], &text.as_bytes()[..node.span.start]);
            let rest = &text.as_bytes()[node.span.end..];
            prop_assert!(after.ends_with(rest));
        }
        prop_assert_eq!(serde_json::from_slice::<Value>(json.text()).unwrap(), value.clone());
        prop_assert_eq!(value_of(&json, &json.root()), value);
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise_than_by_saying_so(text in "[\\[\\]{}:,\"\\\\/*a0 \\n]{0,40}") {
        let _ = Json::read(text.into_bytes());
    }
}
