//! What goes wrong is told in a sentence (§8).

use kvfs::error::ErrorKind;
use kvfs::store::object::address::Address;
use kvfs::store::object::bucket::{Bucket, Listing};
use kvfs::store::object::s3::{S3, buckets, make_bucket, remove_bucket};

use crate::server::{Place, SERVERS, on_each, wait};

const WHOLE: Listing<'static> = Listing { prefix: "", delimiter: None, token: None, after: None, most: 10 };

#[test]
fn a_bucket_that_is_not_there_is_told() {
    for kind in SERVERS {
        let bucket = Place::open(&Place::address(kind));
        let told = wait(bucket.list(&WHOLE)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::NotFound, "{told}");
        assert!(
            told.to_string().contains("NoSuchBucket") && told.to_string().contains("s3://kvfs-"),
            "{told}"
        );
        assert!(!told.to_string().contains("kvfssecret"));
    }
}

#[test]
fn wrong_keys_are_told() {
    on_each(|place| {
        if !place.kind.signatures {
            return;
        }
        let wrong_secret = S3::with_keys(&place.address, "kvfs", "other").unwrap();
        let told = wait(wrong_secret.list(&WHOLE)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Unauthenticated);
        assert!(
            told.to_string().contains("SignatureDoesNotMatch") && told.to_string().contains("profile"),
            "{told}"
        );
        let nobody = S3::with_keys(&place.address, "nobody", "other").unwrap();
        let told = wait(nobody.list(&WHOLE)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Unauthenticated);
        assert!(told.to_string().contains("InvalidAccessKeyId"), "{told}");
        assert_eq!(wait(nobody.head("k")).unwrap_err().kind(), ErrorKind::Denied);
        let anonymous = S3::new(&Address { anonymous: true, ..place.address.clone() }).unwrap();
        assert_eq!(wait(anonymous.list(&WHOLE)).unwrap_err().kind(), ErrorKind::Denied);
    });
}

#[test]
fn buckets_are_made_listed_and_removed() {
    on_each(|place| {
        let service = Place::open(&Address { bucket: String::new(), ..place.address.clone() });
        let names = || {
            wait(buckets(service.session())).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert!(names().contains(&place.address.bucket));
        let told = wait(buckets(place.bucket.session())).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Invalid);
        place.put("k", "");
        assert_eq!(wait(remove_bucket(place.bucket.session())).unwrap_err().kind(), ErrorKind::NotEmpty);
        place.delete("k").unwrap();
        wait(remove_bucket(place.bucket.session())).unwrap();
        assert!(!names().contains(&place.address.bucket));
        wait(make_bucket(place.bucket.session())).unwrap();
    });
}
