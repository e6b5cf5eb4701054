use http::Method;

use super::*;
use crate::store::object::tests::{self as suite, Server, wait};

static GOOGLE: Server = Server::new("gcs");

/// A bucket, not made yet.
fn unmade() -> Option<(Gcs, String)> {
    let address = suite::address(None, GOOGLE.url()?.to_owned());
    Some((Gcs::new(&address).unwrap(), address.bucket))
}

fn bucket() -> Option<Gcs> {
    let (gcs, name) = unmade()?;
    let mut request = gcs.session.request("CreateBucket", Method::POST, "", "");
    request.path = "/storage/v1/b".to_owned();
    let request = request.body(format!("{{\"name\":\"{name}\"}}").into());
    wait(async { gcs.session.send(request).await.map(drop).map_err(Error::from) }).unwrap();
    Some(gcs)
}

macro_rules! suite {
    ($($test:ident),* $(,)?) => { $(
        #[test]
        fn $test() {
            if let Some(gcs) = bucket() {
                suite::$test(&gcs);
            }
        }
    )* };
}

suite! {
    keys_stay_as_they_are,
    pages_cover_everything_once,
    conditions_are_checked,
    ranges_are_cut,
    copies_carry_their_headers,
    parts_become_an_object,
}

#[test]
fn a_bucket_that_is_not_there_is_told() {
    if let Some((gcs, name)) = unmade() {
        suite::a_bucket_that_is_not_there_is_told(&gcs, &name);
    }
}

/// The stand-in copies 4 MiB a call.
#[test]
fn a_long_rewrite_goes_on_with_its_token() {
    let Some(gcs) = bucket() else { return };
    let bytes = vec![7; 9 << 20];
    let none = Headers::default();
    wait(gcs.put("from", Body::Bytes(bytes.into()), &none, &Condition::Always)).unwrap();
    let copy =
        Copy { from: "from", source_version: None, to: "to", headers: None, condition: Condition::Always };
    assert_eq!(wait(gcs.copy(&copy)).unwrap().size, 9 << 20);
    let count = gcs.requests().into_iter().find(|(operation, _)| *operation == "RewriteObject");
    assert_eq!(count, Some(("RewriteObject", 3)));
}

/// §1.9
#[test]
fn promise_1_9_keys_that_google_refuses_are_refused_and_absent() {
    let Some(gcs) = bucket() else { return };
    let none = Headers::default();
    for key in [".", "..", "line\nbreak", "carriage\rreturn", ".well-known/acme-challenge/x"] {
        let put = gcs.put(key, Body::Bytes("v".into()), &none, &Condition::Always);
        assert_eq!(wait(put).unwrap_err().kind(), ErrorKind::NameEncoding, "{key:?}");
        assert!(wait(gcs.head(key)).unwrap().is_none(), "{key:?}");
        wait(gcs.delete(key, &Condition::Always)).unwrap();
    }
}
