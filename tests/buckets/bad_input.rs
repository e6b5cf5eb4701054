//! What is wrong with a bucket, or with who asks for it, is one sentence at mount, with what to do.

use std::ffi::{OsStr, OsString};

use serde_json::json;

use crate::LIMIT;
use crate::bucket::{Bucket, CREDENTIALS};
use crate::foreign::ask;
use crate::harness::{Mount, Place, until, watched};
use crate::proxy::{ALWAYS, Fault};
use crate::server::{Service, start};

/// The sentence with which `kvfs mount SOURCE` fails.
#[track_caller]
fn sentence(place: &Place, source: &OsStr, options: &[String]) -> String {
    let mut arguments: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    let point = place.at("data");
    arguments.extend([source, point.as_os_str()]);
    let finished = Mount::refused_mount(place, &arguments);
    assert!(!finished.err.contains("kvfssecret"), "a secret: {}", finished.err);
    finished.sentence(&source.to_string_lossy())
}

#[track_caller]
fn says(sentence: &str, words: &[&str]) {
    let small = sentence.to_lowercase();
    for word in words {
        assert!(small.contains(&word.to_lowercase()), "no {word:?} in: {sentence}");
    }
}

#[test]
fn a_bucket_that_does_not_exist() {
    start(&Service::ALL);
    watched(LIMIT, |place| {
        for service in Service::ALL {
            let bucket = Bucket { service, name: "not-there-at-all".into() };
            bucket.authorise(place);
            let options = bucket.options(&service.server().url);
            says(&sentence(place, &bucket.source(""), &options), &["not-there-at-all"]);
        }
    });
}

#[test]
fn no_credentials_and_wrong_ones() {
    Service::Ceph.server();
    watched(LIMIT, |place| {
        let bucket = Bucket::new(Service::Ceph);
        let options = bucket.options(&Service::Ceph.server().url);
        // The suites of stores in this process have credentials.
        CREDENTIALS.iter().for_each(|(name, _)| place.withhold(name));
        place.export("AWS_EC2_METADATA_DISABLED", "true");
        place.export("AWS_REGION", "us-east-1");
        says(&sentence(place, &bucket.source(""), &options), &["credentials"]);
        bucket.authorise(place);
        place.export("AWS_ACCESS_KEY_ID", "nobody");
        says(&sentence(place, &bucket.source(""), &options), &[&bucket.name]);
        place.export("AWS_ACCESS_KEY_ID", "kvfs");
        place.export("AWS_SECRET_ACCESS_KEY", "wrong");
        says(&sentence(place, &bucket.source(""), &options), &[&bucket.name, "signature"]);
    });
}

/// A region that is wrong, and a clock: told by answers that AWS gives and the servers here do not.
#[test]
fn a_wrong_region_and_a_wrong_clock() {
    Service::Moto.server();
    watched(LIMIT, |place| {
        let bucket = Bucket::new(Service::Moto);
        bucket.authorise(place);
        let proxy = bucket.proxy();
        let mut options = bucket.options(&proxy.url());
        proxy.inject("", "", ALWAYS, Fault::refused(403, "RequestTimeTooSkewed"));
        says(&sentence(place, &bucket.source(""), &options), &["clock"]);
        proxy.heal();
        options.extend(["--region".to_owned(), "us-east-1".to_owned()]);
        let elsewhere = Fault::refused(301, "PermanentRedirect").with("x-amz-bucket-region", "eu-north-1");
        proxy.inject("", "", ALWAYS, elsewhere);
        says(&sentence(place, &bucket.source(""), &options), &["region", "eu-north-1"]);
    });
}

/// A server whose certificate nobody vouches for, and one that does not listen.
#[test]
fn a_certificate_that_fails_and_a_server_that_is_not_there() {
    watched(LIMIT, |place| {
        let bucket = Bucket { service: Service::Moto, name: "any".into() };
        bucket.authorise(place);
        place.bash(
            place.folder(),
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=elsewhere 2>/dev/null",
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = place
            .command("openssl")
            .args(["s_server", "-quiet", "-www", "-key", "key.pem", "-cert", "cert.pem", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until(LIMIT, "it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let options = bucket.options(&format!("https://127.0.0.1:{port}"));
        let told = sentence(place, &bucket.source(""), &options);
        server.kill().unwrap();
        server.wait().unwrap();
        says(&told, &["certificate"]);
        let options =
            [bucket.options(&format!("http://127.0.0.1:{port}")), vec!["--timeout".into(), "1s".into()]]
                .concat();
        says(&sentence(place, &bucket.source(""), &options), &[&format!("127.0.0.1:{port}")]);
    });
}

/// Where listing is denied and reading is not, paths still open.
#[test]
fn denied_listing_with_allowed_reads() {
    Service::Ceph.server();
    watched(LIMIT, |place| {
        let bucket = Bucket::new(Service::Ceph);
        bucket.put("known/file", "bytes");
        let statements = json!([{
            "Effect": "Allow",
            "Principal": { "AWS": ["arn:aws:iam:::user/guest"] },
            "Action": ["s3:GetObject"],
            "Resource": [format!("arn:aws:s3:::{}/*", bucket.name)],
        }]);
        ask(bucket.service, "policy", json!({ "bucket": bucket.name, "statements": statements }));
        bucket.authorise(place);
        place.export("AWS_ACCESS_KEY_ID", "guest");
        place.export("AWS_SECRET_ACCESS_KEY", "guestsecret");
        let options = bucket.options(&bucket.service.server().url);
        let options: Vec<&str> = options.iter().map(String::as_str).chain(["--read-only"]).collect();
        let mount = Mount::of(place, crate::harness::Kind::Bucket, bucket.source(""), "data", &options);
        assert_eq!(std::fs::read(mount.at("known/file")).unwrap(), b"bytes");
        let denied = std::fs::read_dir(mount.point()).and_then(|mut entries| entries.next().transpose());
        crate::harness::refused(nix::libc::EACCES, "the listing", denied);
        says(&mount.log(), &["listing"]);
    });
}

/// A password in the address is refused, and not repeated.
#[test]
fn promise_8_7_a_secret_in_the_address() {
    watched(LIMIT, |place| {
        let told = sentence(place, &OsString::from("s3://user:kvfssecret@bucket/prefix"), &[]);
        says(&told, &["password"]);
    });
}
