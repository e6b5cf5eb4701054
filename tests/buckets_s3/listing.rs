//! Listings: pages, prefixes, delimiters, and where they begin.

use kvfs::store::object::bucket::Listing;

use crate::server::{on_each, wait};
use kvfs::store::object::bucket::Bucket;

const WHOLE: Listing<'static> = Listing { prefix: "", delimiter: None, token: None, after: None, most: 1000 };

#[test]
fn pages_are_as_long_as_asked_and_miss_nothing() {
    on_each(|place| {
        let mut keys: Vec<String> = (0..25).map(|number| format!("k{}/{number:02}", number % 3)).collect();
        keys.push("k0".into());
        keys.push("k0!".into());
        keys.sort_unstable();
        for key in &keys {
            place.put(key, key);
        }
        for most in [1, 2, 10, 27, 1000] {
            assert_eq!(place.all("", None, most).0, keys, "{most}");
            let (top, prefixes) = place.all("", Some("/"), most);
            assert_eq!((top.len(), prefixes.len()), (2, 3), "{most}: {top:?} {prefixes:?}");
            assert_eq!(prefixes, ["k0/", "k1/", "k2/"]);
        }
        let below: Vec<&String> = keys.iter().filter(|key| key.starts_with("k1/")).collect();
        assert_eq!(place.all("k1/", Some("/"), 3).0.iter().collect::<Vec<_>>(), below);
        assert_eq!(place.all("nothing", None, 10).0, [""; 0]);
    });
}

#[test]
fn a_listing_begins_after_any_key() {
    on_each(|place| {
        for key in ["a", "a/b", "a b", "b", "\u{fc}", "\u{1f600}"] {
            place.put(key, "");
        }
        let from = |after: &'static str, delimiter: Option<&'static str>| {
            let page = place.page(&Listing { after: Some(after), delimiter, ..WHOLE });
            let keys = page.objects.into_iter().map(|object| object.key);
            keys.chain(page.prefixes).collect::<Vec<_>>()
        };
        assert_eq!(from("a", None), ["a b", "a/b", "b", "\u{fc}", "\u{1f600}"]);
        assert_eq!(from("a/", None), ["a/b", "b", "\u{fc}", "\u{1f600}"]);
        assert_eq!(from("\u{fc}", None), ["\u{1f600}"]);
        assert_eq!(from("zz", Some("/")), ["\u{fc}", "\u{1f600}"]);
        assert_eq!(from("a/\u{10ffff}", Some("/")), ["b", "\u{fc}", "\u{1f600}"]);
    });
}

#[test]
fn a_listing_tells_size_time_and_the_version_that_head_tells() {
    on_each(|place| {
        place.put("k", "12345");
        let listed = place.page(&WHOLE).objects.remove(0);
        let asked = place.head("k").unwrap();
        assert_eq!((listed.size, &listed.version), (5, &asked.version));
        assert_eq!(listed.headers, None);
        assert!(!listed.archived);
        let apart = listed.modified.duration_since(asked.modified).unwrap_or_else(|e| e.duration());
        assert!(apart.as_secs() < 1, "{listed:?} {asked:?}");
        let age = kvfs::env::now().duration_since(asked.modified).unwrap_or_default();
        assert!(age.as_secs() < 120, "{age:?}");
    });
}

#[test]
fn many_keys_come_in_one_request_a_page() {
    on_each(|place| {
        for number in 0..30 {
            place.put(&format!("{number:03}"), "");
        }
        let asked = || {
            place
                .bucket
                .requests()
                .into_iter()
                .find(|(name, _)| *name == "ListObjectsV2")
                .map_or(0, |(_, n)| n)
        };
        let before = asked();
        assert_eq!(place.all("", None, 10).0.len(), 30);
        let pages = asked() - before;
        assert!((3..=4).contains(&pages), "{pages} requests");
        wait(place.bucket.list(&WHOLE)).unwrap();
        assert_eq!(asked() - before, pages + 1);
    });
}
