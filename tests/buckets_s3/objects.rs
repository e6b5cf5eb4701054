//! Objects: ranges, headers, versions.

use kvfs::error::ErrorKind;
use kvfs::store::object::bucket::{Bucket, Condition, Headers};

use crate::server::{Place, body, on_each, text, wait};

fn range(place: &Place, key: &str, start: u64, end: u64, version: Option<&str>) -> Result<String, ErrorKind> {
    wait(async { text(place.bucket.get(key, start, end, version).await?).await })
        .map_err(|error| error.kind())
}

#[test]
fn ranges_are_read() {
    on_each(|place| {
        let version = place.put("k", "0123456789").version;
        assert_eq!(range(place, "k", 0, 10, None).unwrap(), "0123456789");
        assert_eq!(range(place, "k", 3, 5, None).unwrap(), "34");
        assert_eq!(range(place, "k", 9, 10, Some(&version)).unwrap(), "9");
        assert_eq!(range(place, "k", 8, 1000, Some(&version)).unwrap(), "89");
        assert_eq!(range(place, "k", 5, 5, Some(&version)).unwrap(), "");
        assert_eq!(range(place, "k", 10, 12, None).unwrap_err(), ErrorKind::PastEnd);
        assert_eq!(range(place, "none", 0, 1, None).unwrap_err(), ErrorKind::NotFound);
        assert_eq!(range(place, "none", 0, 0, None).unwrap_err(), ErrorKind::NotFound);
        place.put("empty", "");
        assert_eq!(range(place, "empty", 0, 0, None).unwrap(), "");
    });
}

#[test]
fn promise_3_1_a_version_is_read_or_nothing() {
    on_each(|place| {
        let old = place.put("k", "old").version;
        assert_eq!(range(place, "k", 0, 3, Some(&old)).unwrap(), "old");
        let new = place.put("k", "new").version;
        assert_ne!(old, new);
        assert_eq!(range(place, "k", 0, 3, Some(&old)).unwrap_err(), ErrorKind::Stale);
        assert_eq!(range(place, "k", 0, 3, Some(&new)).unwrap(), "new");
        place.delete("k").unwrap();
        assert_eq!(range(place, "k", 0, 3, Some(&new)).unwrap_err(), ErrorKind::Stale);
        assert_eq!(range(place, "k", 0, 0, Some(&new)).unwrap_err(), ErrorKind::Stale);
    });
}

#[test]
fn headers_come_back() {
    on_each(|place| {
        let mut headers =
            Headers { content_type: Some("text/x-test; charset=utf-8".into()), ..Headers::default() };
        headers.http.insert("cache-control".into(), "max-age=60".into());
        headers.http.insert("content-language".into(), "de".into());
        headers.metadata.insert("mtime".into(), "1700000000.5".into());
        headers.metadata.insert("mode".into(), "33188".into());
        headers.metadata.insert("name".into(), "\u{fc}\u{1f600} tab\t".into());
        let put = wait(place.bucket.put("k", body("x"), &headers, &Condition::Always)).unwrap();
        let found = place.head("k").unwrap();
        assert_eq!(found.version, put.version);
        let told = found.headers.unwrap();
        assert_eq!(told.metadata, headers.metadata);
        assert_eq!(told.content_type, headers.content_type);
        for (name, value) in &headers.http {
            assert_eq!(told.http.get(name), Some(value), "{name}");
        }
        assert_eq!(found.class.as_deref(), Some("STANDARD"));
    });
}

#[test]
fn absent_is_absent_and_deleting_it_no_error() {
    on_each(|place| {
        assert!(place.head("k").is_none());
        place.delete("k").unwrap();
        place.put("k", "");
        place.delete("k").unwrap();
        place.delete("k").unwrap();
        assert!(place.head("k").is_none());
    });
}

#[test]
fn a_mebibyte_goes_there_and_back() {
    on_each(|place| {
        let bytes: String = (0..300_000).map(|number| format!("{number:x} ")).collect();
        place.put("k", &bytes);
        assert_eq!(place.get("k").unwrap(), bytes);
        let counters = place.bucket.session().client().counters();
        assert!(counters.received() >= bytes.len() as u64 && counters.sent() == bytes.len() as u64);
    });
}
