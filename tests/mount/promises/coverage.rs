//! Every promise has a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{LIMIT, skip, watched};

const SEMANTICS: &str = include_str!("../../../src/SEMANTICS.md");

/// Sections that hold for the stores there are.
fn holds(section: u32) -> bool {
    matches!(section, 1..=6 | 8)
}

/// The numbered sentences of SEMANTICS.md: a line that begins with `N.M` and a space.
fn promises() -> BTreeSet<(u32, u32)> {
    SEMANTICS
        .lines()
        .filter_map(|line| {
            let (section, sentence) = line.split_once(' ')?.0.split_once('.')?;
            Some((section.parse().ok()?, sentence.parse().ok()?))
        })
        .collect()
}

/// The promises that functions named `promise_N_M_...` quote, anywhere below `folder`.
fn quoted(folder: &Path) -> BTreeSet<(u32, u32)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(quoted(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            found.extend(source.split("fn promise_").skip(1).filter_map(|rest| {
                let mut numbers = rest.split('_').map(str::parse);
                Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
            }));
        }
    }
    found
}

#[test]
fn every_promise_is_quoted_by_a_test() {
    watched(LIMIT, |_| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        if fs::metadata(root.join("tests/mount")).is_err() {
            skip("the sources are not readable here");
        }
        let promises = promises();
        assert!(promises.len() > 50, "SEMANTICS.md is written differently: {promises:?}");
        let mut quoted = quoted(&root.join("tests"));
        quoted.extend(self::quoted(&root.join("src")));
        let unknown: Vec<_> = quoted.difference(&promises).collect();
        assert!(unknown.is_empty(), "tests quote promises that are not there: {unknown:?}");
        for (section, sentence) in promises.into_iter().filter(|&(section, _)| holds(section)) {
            assert!(quoted.contains(&(section, sentence)), "no test quotes {section}.{sentence}");
        }
    });
}
