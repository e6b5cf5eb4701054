//! Doors for the programs in `fuzz/`, in builds for them alone: texts that anybody could have written, and what must hold of
//! whatever is made of them.

#![allow(clippy::expect_used, reason = "what does not hold is found by a panic")]

use std::ops::ControlFlow;

use serde::de::IgnoredAny;

use super::json::Json;
use super::toml::Toml;
use super::tree::{Document, Edit, New, Node, Progress, Type};

/// So many values of a text are looked at.
const LOOKED_AT: usize = 200;

/// A text of JSON.
pub fn json(text: &[u8]) {
    match Json::read(text.to_vec()) {
        Ok(json) => holds(Box::new(json)),
        Err(error) => {
            let begins = matches!(text.first(), Some(b'{' | b'['));
            // What it passes over it takes for text.
            let text = str::from_utf8(text).unwrap_or_default();
            let is_json = begins && serde_json::from_str::<IgnoredAny>(text).is_ok();
            assert!(!is_json, "it is JSON: {error}");
        }
    }
}

/// A text of TOML.
pub fn toml(text: &[u8]) {
    if let Ok(toml) = Toml::read(text.to_vec()) {
        holds(Box::new(toml));
    }
}

/// What must hold of every document: its parts are found by their names, and one scalar that is set differs there only.
fn holds(mut document: Box<dyn Document>) {
    let before = document.text().to_vec();
    let mut left: Vec<(Vec<Vec<u8>>, Node)> = vec![(Vec::new(), document.root())];
    let mut scalar = None;
    let mut looked_at = 0;
    while let Some((path, node)) = left.pop() {
        looked_at += 1;
        if looked_at > LOOKED_AT {
            break;
        }
        if !node.kind.has_parts() {
            let said = document.scalar(&node);
            assert!(said.is_some() || node.kind == Type::String, "only a string has no text");
            scalar = scalar.or((!path.is_empty()).then_some(path));
            continue;
        }
        let mut given = 0;
        document.children(&node, Progress::default(), &mut |name, part, _| {
            let index = given.to_string();
            let own = if node.kind == Type::Array { Some(index.as_bytes()) } else { name };
            given += 1;
            if let Some(own) = own.filter(|_| left.len() < LOOKED_AT) {
                let found = document.child(&node, own).expect("a part is found by its name");
                // Of two of one name the last one counts.
                assert!(found.span.start >= part.span.start, "{}", own.escape_ascii());
                left.push(([&*path, &[own.to_vec()]].concat(), found));
            }
            ControlFlow::Continue(())
        });
        assert!(given <= document.count(&node), "more parts are given than there are");
    }
    let (Some(path), None) = (scalar, document.refusal()) else { return };
    let path: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
    let Ok(Some(splice)) = document.plan(&Edit::Set(&path, New::Scalar(Type::Number, b"7"))) else { return };
    let range = splice.range.clone();
    let back = document.splice(splice).expect("what was planned is done");
    let after = document.text();
    assert_eq!(after.get(..range.start), before.get(..range.start));
    assert!(after.ends_with(&before[range.end..]), "the rest stays");
    document.splice(back).expect("it is taken back");
    assert_eq!(document.text(), before);
}
