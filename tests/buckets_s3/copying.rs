//! Copies on the server.

use kvfs::error::ErrorKind;
use kvfs::store::object::bucket::{Bucket, Condition, Copy, Headers, Object};

use crate::server::{Place, body, on_each, wait};

fn copy(place: &Place, copy: &Copy<'_>) -> Result<Object, ErrorKind> {
    wait(place.bucket.copy(copy)).map_err(|error| {
        eprintln!("{error}");
        error.kind()
    })
}

const PLAIN: Copy<'static> =
    Copy { from: "a", source_version: None, to: "b", headers: None, condition: Condition::Always };

fn headers(value: &str) -> Headers {
    let mut headers = Headers { content_type: Some("text/x-test".into()), ..Headers::default() };
    headers.metadata.insert("word".into(), value.into());
    headers
}

#[test]
fn a_copy_takes_its_headers_along_or_gets_others() {
    on_each(|place| {
        wait(place.bucket.put("a", body("bytes"), &headers("\u{fc}"), &Condition::Always)).unwrap();
        let made = copy(place, &PLAIN).unwrap();
        let found = place.head("b").unwrap();
        assert_eq!(made.version, found.version);
        assert_eq!(found.headers.unwrap().metadata, headers("\u{fc}").metadata);
        assert_eq!(place.get("b").unwrap(), "bytes");
        let other = headers("other");
        copy(place, &Copy { to: "a", headers: Some(&other), ..PLAIN }).unwrap();
        let told = place.head("a").unwrap().headers.unwrap();
        assert_eq!((told.metadata, told.content_type), (other.metadata, other.content_type));
        assert_eq!(place.get("a").unwrap(), "bytes");
    });
}

#[test]
fn a_copy_is_of_one_version_or_none() {
    on_each(|place| {
        let first = place.put("a", "first").version;
        let second = place.put("a", "second").version;
        let late = copy(place, &Copy { source_version: Some(&first), ..PLAIN });
        assert_eq!(late.unwrap_err(), ErrorKind::Stale);
        assert!(!place.kind.copy_looks_at_source || place.head("b").is_none());
        copy(place, &Copy { source_version: Some(&second), ..PLAIN }).unwrap();
        assert_eq!(place.get("b").unwrap(), "second");
        assert_eq!(copy(place, &Copy { from: "none", ..PLAIN }).unwrap_err(), ErrorKind::NotFound);
        let given = headers("x");
        let none = Copy { from: "none", headers: Some(&given), ..PLAIN };
        assert_eq!(copy(place, &none).unwrap_err(), ErrorKind::NotFound);
    });
}

#[test]
fn a_copy_replaces_nothing_where_the_server_looks() {
    on_each(|place| {
        place.put("a", "new");
        place.put("b", "old");
        let made = copy(place, &Copy { condition: Condition::Absent, ..PLAIN });
        if place.kind.copy_looks {
            assert_eq!(made.unwrap_err(), ErrorKind::Exists);
            assert_eq!(place.get("b").unwrap(), "old");
        } else {
            made.unwrap();
        }
        copy(place, &Copy { to: "c", condition: Condition::Absent, ..PLAIN }).unwrap();
        assert_eq!(place.get("c").unwrap(), "new");
    });
}
