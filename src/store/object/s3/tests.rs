//! S3 against a server that answers by a script: what no server for tests does.

use std::time::Duration;

use super::*;
use crate::env::{self, Deadline};
use crate::error::ErrorKind;
use crate::store::object::client::script::{Answer, Server};

const LIMIT: Duration = Duration::from_secs(20);

fn address(server: &Server, region: Option<&str>) -> Address {
    Address {
        bucket: "b".into(),
        account: None,
        endpoint: Some(server.origin.clone()),
        region: region.map(str::to_owned),
        profile: None,
        path_style: None,
        anonymous: false,
        timeout: LIMIT,
    }
}

fn bucket(server: &Server) -> S3 {
    S3::with_keys(&address(server, None), "id", "not-to-be-told").unwrap()
}

fn wait<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    env::wait(Deadline::after(LIMIT), future)
}

const WHOLE: Listing<'static> = Listing { prefix: "", delimiter: None, token: None, after: None, most: 1000 };
const EMPTY: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const GONE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const FOUND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: \"e1\"\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n";
const MOVED: &str = "HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n";

#[test]
fn the_bucket_tells_its_region() {
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
    for answer in [Answer::Full(MOVED), Answer::Status(400, malformed)] {
        let server = Server::new([answer, Answer::ok(EMPTY), Answer::ok(EMPTY)]);
        let bucket = bucket(&server);
        wait(bucket.list(&WHOLE)).unwrap();
        wait(bucket.list(&WHOLE)).unwrap();
        let seen = server.seen();
        assert!(seen[0].contains("/us-east-1/s3/aws4_request"), "{}", seen[0]);
        assert!(seen[1].contains("/eu-west-1/s3/aws4_request"), "{}", seen[1]);
        assert!(seen[2].contains("/eu-west-1/s3/aws4_request"), "{}", seen[2]);
    }
}

#[test]
fn a_wrong_region_is_told_with_the_right_one() {
    let server = Server::new([Answer::Full(MOVED)]);
    let bucket = S3::with_keys(&address(&server, Some("us-west-2")), "id", "not-to-be-told").unwrap();
    let told = wait(bucket.list(&WHOLE)).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Invalid);
    for word in ["eu-west-1", "us-west-2", "--region"] {
        assert!(told.to_string().contains(word), "{told}");
    }
}

#[test]
fn etags_are_written_as_the_server_takes_them() {
    let server = Server::new([REFUSED, FOUND, FOUND, FOUND].map(Answer::Full));
    let bucket = bucket(&server);
    let over = Condition::Version("e1".into());
    let put = || wait(bucket.put("k", Body::Bytes("x".into()), &Headers::default(), &over));
    put().unwrap();
    put().unwrap();
    let seen = server.seen();
    let tags: Vec<_> =
        seen.iter().map(|head| head.lines().find(|line| line.starts_with("if-match"))).collect();
    assert_eq!(tags, [Some("if-match: \"e1\""), None, Some("if-match: e1"), Some("if-match: e1")]);

    // That a server does not look at one request says nothing of the next.
    let server = Server::new([FOUND, REFUSED, FOUND, FOUND].map(Answer::Full));
    let bucket = self::bucket(&server);
    wait(bucket.delete("k", &over)).unwrap();
    wait(bucket.put("k", Body::Bytes("x".into()), &Headers::default(), &over)).unwrap();

    let server = Server::new([REFUSED, GONE].map(Answer::Full));
    let bucket = self::bucket(&server);
    let told = wait(bucket.put("k", Body::Bytes("x".into()), &Headers::default(), &over)).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Stale);
}

#[test]
fn promise_8_1_an_error_after_the_status_is_no_success() {
    let late =
        "<?xml version=\"1.0\"?>\n  <Error><Code>InternalError</Code><Message>We failed</Message></Error>";
    let server = Server::new([Answer::ok(late)]);
    let copy = Copy {
        from: "a",
        source_version: None,
        to: "b",
        headers: Some(&Headers::default()),
        condition: Condition::Always,
    };
    let told = wait(bucket(&server).copy(&copy)).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Uncertain);
    assert!(told.to_string().contains("InternalError We failed"), "{told}");

    let server = Server::new([Answer::ok("<Error><Code>PreconditionFailed</Code></Error>")]);
    let bucket = bucket(&server);
    let headers = Headers::default();
    let done = bucket.complete("k", "u", &[], &headers, &Condition::Absent);
    assert_eq!(wait(done).unwrap_err().kind(), ErrorKind::Exists);
    let server = Server::new([Answer::Partial("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n   ")]);
    assert_eq!(wait(self::bucket(&server).copy(&copy)).unwrap_err().kind(), ErrorKind::Uncertain);
}

#[test]
fn a_plus_in_a_listing_is_asked_about_once() {
    const PAGE: &str = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents>\
                        <Key>a+b</Key><LastModified>2020-01-01T00:00:00Z</LastModified><Size>1</Size></Contents></ListBucketResult>";
    let keys = |answers: Vec<Answer>| {
        let server = Server::new(answers);
        let bucket = bucket(&server);
        let list = || wait(bucket.list(&WHOLE)).unwrap().objects.remove(0).key;
        let keys = (list(), list());
        (keys, server.seen().len())
    };
    let page = || Answer::ok(PAGE);
    assert_eq!(keys(vec![page(), page(), page()]), (("a b".into(), "a b".into()), 3));
    assert_eq!(keys(vec![page(), Answer::ok(EMPTY), page(), page()]), (("a+b".into(), "a+b".into()), 4));
}

#[test]
fn a_listing_that_would_never_end_is_an_error() {
    let server =
        Server::new([Answer::ok("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")]);
    assert_eq!(wait(bucket(&server).list(&WHOLE)).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_server_without_ranges_or_conditions_is_noticed() {
    let server = Server::new([FOUND, FOUND].map(Answer::Full));
    let bucket = bucket(&server);
    assert_eq!(wait(bucket.get("k", 1, 2, None)).err().unwrap().kind(), ErrorKind::Io);
    assert_eq!(wait(bucket.get("k", 0, 3, Some("e0"))).err().unwrap().kind(), ErrorKind::Stale);
}

#[test]
fn bodies_are_signed_where_the_connection_does_not_keep_them() {
    let server = Server::new([Answer::Full(FOUND)]);
    let (bucket, headers) = (bucket(&server), Headers::default());
    let put = bucket.put("a//../b", Body::Bytes("x".into()), &headers, &Condition::Absent);
    assert_eq!(wait(put).unwrap().version, "e1");
    let head = &server.seen()[0];
    assert!(head.starts_with("PUT /b/a//../b HTTP/1.1"), "{head}");
    assert!(
        head.contains(
            "x-amz-content-sha256: 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        )
    );
    assert!(head.contains("if-none-match: *") && !head.contains("not-to-be-told"), "{head}");
}
