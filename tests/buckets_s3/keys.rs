//! Every legal key is reachable (§1).

use kvfs::store::object::bucket::{Bucket, Condition, Copy};

use crate::server::{Place, on_each, wait};

/// Keys that somebody normalises somewhere.
const KEYS: &[&str] = &[
    " lead",
    "#a?b&c=d",
    "%",
    "%2F",
    "-",
    ".",
    "..",
    "../a",
    "./a",
    "/",
    "//",
    "/abs",
    "a",
    "a b",
    "a%2Fb",
    "a&b<c>\"d'",
    "a+b",
    "a/",
    "a/../b",
    "a/./b",
    "a//b",
    "a/b",
    "a:b@c",
    "a;b,c",
    "a\\b",
    "dir/",
    "trail ",
    "~tilde",
    "\u{fc}",
    "\u{1f600}/x",
];
const CONTROL: &[&str] = &["\u{1}", "a\nb", "a\rb", "a\tb", "\u{7f}"];

fn keys(place: &Place) -> Vec<&'static str> {
    let mut keys = KEYS.to_vec();
    keys.extend(CONTROL.iter().filter(|key| place.kind.line_feeds || !key.contains('\n')));
    keys.sort_unstable();
    keys
}

#[test]
fn promise_1_1_every_key_is_put_read_listed_copied_and_deleted() {
    on_each(|place| {
        let keys = keys(place);
        for key in &keys {
            place.put(key, key);
        }
        for key in &keys {
            assert_eq!(place.get(key).unwrap(), *key, "{key:?}");
            assert_eq!(
                place.head(key).unwrap_or_else(|| panic!("{key:?}")).size,
                key.len() as u64,
                "{key:?}"
            );
        }
        assert_eq!(place.all("", None, 7).0, keys);
        for key in &keys {
            let to = format!("copy/{key}");
            let copy = Copy {
                from: key,
                source_version: None,
                to: &to,
                headers: None,
                condition: Condition::Always,
            };
            wait(place.bucket.copy(&copy)).unwrap_or_else(|e| panic!("{key:?}: {e}"));
            assert_eq!(place.get(&to).unwrap(), *key, "{to:?}");
        }
        for key in &keys {
            place.delete(key).unwrap();
            assert!(place.head(key).is_none(), "{key:?}");
        }
        let copies: Vec<String> = keys.iter().map(|key| format!("copy/{key}")).collect();
        assert_eq!(place.all("", None, 1000).0, copies);
    });
}

#[test]
fn promise_1_1_every_key_is_removed_in_one_batch() {
    on_each(|place| {
        let keys = keys(place);
        for key in &keys {
            place.put(key, "");
        }
        place.put("stays", "");
        let failed = wait(place.bucket.delete_batch(&keys)).unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(place.all("", None, 1000).0, ["stays"]);
        assert!(wait(place.bucket.delete_batch(&["stays", "never was"])).unwrap().is_empty());
        assert!(place.head("stays").is_none());
    });
}
