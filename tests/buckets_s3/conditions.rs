//! Conditions: only where there is nothing, only over this version.

use kvfs::error::ErrorKind;
use kvfs::store::object::bucket::{Bucket, Condition};

use crate::server::{on_each, wait};

#[test]
fn promise_4_6_put_only_where_there_is_nothing() {
    on_each(|place| {
        let kind = |bytes: &str| place.put_if("k", bytes, &Condition::Absent).map_err(|error| error.kind());
        kind("first").unwrap();
        assert_eq!(kind("second").unwrap_err(), ErrorKind::Exists);
        assert_eq!(place.get("k").unwrap(), "first");
    });
}

#[test]
fn promise_4_6_of_many_who_make_a_key_one_succeeds() {
    on_each(|place| {
        let made = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|number| {
                    scope.spawn(move || place.put_if("k", &format!("{number}"), &Condition::Absent))
                })
                .collect();
            tries.into_iter().map(|attempt| attempt.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(made.iter().filter(|attempt| attempt.is_ok()).count(), 1, "{made:?}");
        for error in made.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
        }
    });
}

#[test]
fn promise_4_6_put_only_over_one_version() {
    on_each(|place| {
        // A server that does not look at this one may look at the next.
        let other = place.put("other", "").version;
        wait(place.bucket.delete("other", &Condition::Version(other))).unwrap();
        let over = |version: &str, bytes: &str| {
            let condition = Condition::Version(version.to_owned());
            place.put_if("k", bytes, &condition).map_err(|error| error.kind())
        };
        let first = place.put("k", "first").version;
        let second = over(&first, "second").unwrap().version;
        assert_eq!(over(&first, "third").unwrap_err(), ErrorKind::Stale);
        assert_eq!(place.get("k").unwrap(), "second");
        over(&second, "third").unwrap();
        place.delete("k").unwrap();
        assert_eq!(over(&second, "fourth").unwrap_err(), ErrorKind::Stale);
        assert!(place.head("k").is_none());
    });
}

#[test]
fn delete_only_one_version() {
    on_each(|place| {
        let first = place.put("k", "first").version;
        let second = place.put("k", "second").version;
        let delete = |version: &str| {
            let condition = Condition::Version(version.to_owned());
            wait(place.bucket.delete("k", &condition)).map_err(|error| error.kind())
        };
        if place.kind.delete_looks {
            assert_eq!(delete(&first).unwrap_err(), ErrorKind::Stale);
            assert!(place.head("k").is_some());
        }
        delete(&second).unwrap();
        assert!(place.head("k").is_none());
    });
}
