//! Uploads in parts.

use kvfs::error::ErrorKind;
use kvfs::store::object::bucket::{Body, Bucket, Condition, Headers, Range};

use crate::server::{Place, body, on_each, wait};

const KEY: &str = "a//up/../load +%";
const PART: usize = 5 << 20;

fn part(byte: u8, size: usize) -> Body {
    Body::Bytes(vec![byte; size].into())
}

fn complete(place: &Place, upload: &str, parts: &[String], condition: &Condition) -> Result<u64, ErrorKind> {
    let headers = Headers::default();
    wait(place.bucket.complete(KEY, upload, parts, &headers, condition)).map(|object| object.size).map_err(
        |error| {
            eprintln!("{error}");
            error.kind()
        },
    )
}

#[test]
fn parts_become_an_object() {
    on_each(|place| {
        let mut headers = Headers { content_type: Some("text/x-test".into()), ..Headers::default() };
        headers.metadata.insert("mtime".into(), "5".into());
        let upload = wait(place.bucket.begin(KEY, &headers)).unwrap();
        let second = wait(place.bucket.part(KEY, &upload, 2, body("end"))).unwrap();
        let first = wait(place.bucket.part(KEY, &upload, 1, part(b'x', PART))).unwrap();
        assert!(place.head(KEY).is_none());
        let parts = [first, second];
        assert_eq!(complete(place, &upload, &parts, &Condition::Always).unwrap(), PART as u64 + 3);
        let found = place.head(KEY).unwrap();
        assert_eq!(found.size, PART as u64 + 3);
        let told = found.headers.unwrap();
        assert_eq!((told.content_type, told.metadata), (headers.content_type, headers.metadata));
        assert!(place.get(KEY).unwrap().ends_with("xxend"));
        let again = complete(place, &upload, &parts, &Condition::Always);
        // Amazon answers a repetition as the first; others have forgotten it.
        assert!(matches!(again, Ok(_) | Err(ErrorKind::NotFound | ErrorKind::Uncertain)), "{again:?}");
    });
}

#[test]
fn a_part_can_be_a_range_of_an_object() {
    on_each(|place| {
        let upload = wait(place.bucket.begin("source", &Headers::default())).unwrap();
        let whole = wait(place.bucket.part("source", &upload, 1, part(b's', PART + 7))).unwrap();
        let none = Headers::default();
        let parts = [whole];
        let made = place.bucket.complete("source", &upload, &parts, &none, &Condition::Always);
        let version = wait(made).unwrap().version;
        let upload = wait(place.bucket.begin(KEY, &Headers::default())).unwrap();
        let range = Range { key: "source", version: &version, start: 7, end: PART as u64 + 7 };
        let first = wait(place.bucket.copy_part(KEY, &upload, 1, &range)).unwrap();
        let second = wait(place.bucket.part(KEY, &upload, 2, body("end"))).unwrap();
        complete(place, &upload, &[first, second], &Condition::Always).unwrap();
        let found = place.get(KEY).unwrap();
        assert_eq!(found.len(), PART + 3);
        assert!(found.starts_with("ss") && found.ends_with("send"));
        place.put("source", &"o".repeat(PART + 7));
        let upload = wait(place.bucket.begin(KEY, &Headers::default())).unwrap();
        let late = wait(place.bucket.copy_part(KEY, &upload, 1, &range));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Stale);
        wait(place.bucket.abort(KEY, &upload)).unwrap();
    });
}

#[test]
fn an_upload_that_is_aborted_is_gone() {
    on_each(|place| {
        let upload = wait(place.bucket.begin(KEY, &Headers::default())).unwrap();
        let tag = wait(place.bucket.part(KEY, &upload, 1, body("x"))).unwrap();
        wait(place.bucket.abort(KEY, &upload)).unwrap();
        wait(place.bucket.abort(KEY, &upload)).unwrap();
        let late = complete(place, &upload, &[tag], &Condition::Always).unwrap_err();
        // Amazon knows it not; Ceph and moto fail inside.
        assert!(matches!(late, ErrorKind::NotFound | ErrorKind::Uncertain), "{late:?}");
        if place.kind.knows_uploads {
            let late = wait(place.bucket.part(KEY, &upload, 1, body("x"))).unwrap_err();
            assert_eq!(late.kind(), ErrorKind::NotFound, "{late}");
        }
        assert!(place.head(KEY).is_none());
    });
}

#[test]
fn promise_4_6_an_upload_is_completed_under_a_condition() {
    on_each(|place| {
        let upload = wait(place.bucket.begin(KEY, &Headers::default())).unwrap();
        let tag = wait(place.bucket.part(KEY, &upload, 1, body("x"))).unwrap();
        let old = place.put(KEY, "there").version;
        place.put(KEY, "there now");
        let parts = std::slice::from_ref(&tag);
        if place.kind.complete_looks {
            assert_eq!(complete(place, &upload, parts, &Condition::Absent).unwrap_err(), ErrorKind::Exists);
            assert_eq!(place.get(KEY).unwrap(), "there now");
        }
        if place.kind.complete_looks_at_versions {
            let stale = complete(place, &upload, parts, &Condition::Version(old));
            assert_eq!(stale.unwrap_err(), ErrorKind::Stale);
            assert_eq!(place.get(KEY).unwrap(), "there now");
        }
        let now = place.head(KEY).unwrap().version;
        complete(place, &upload, &[tag], &Condition::Version(now)).unwrap();
        assert_eq!(place.get(KEY).unwrap(), "x");
    });
}
