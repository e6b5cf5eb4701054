//! What every service does that a [`Bucket`] stands for, against a server on this machine (`scripts/servers`).

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;

use super::address::Address;
use super::bucket::{Body, Bucket, Condition, Copy, Headers, Listing, Object, Page};
use crate::env::{self, Deadline};
use crate::error::{ErrorKind, Result};

/// A server that ends with this process.
pub(super) struct Server {
    url: OnceLock<Option<(String, Child)>>,
    script: &'static str,
}

impl Server {
    pub(super) const fn new(script: &'static str) -> Server {
        Server { url: OnceLock::new(), script }
    }

    /// Where it is, started if need be; `None` where it is not installed.
    pub(super) fn url(&self) -> Option<&str> {
        let started = self.url.get_or_init(|| {
            let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(self.script);
            let mut child = Command::new(script)
                .arg("run")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut line = String::new();
            BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
            Some((line.trim_end().strip_prefix("ready ")?.to_owned(), child))
        });
        if started.is_none() {
            skip(&format!("{} is not installed (scripts/setup --buckets)", self.script));
        }
        started.as_ref().map(|(url, _)| url.as_str())
    }
}

/// Tells that this test is skipped: in the list of `scripts/test`, where there is one.
fn skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or_default());
    match std::env::var_os("KVFS_TEST_SKIPS") {
        Some(list) => OpenOptions::new().append(true).open(list).unwrap().write_all(line.as_bytes()).unwrap(),
        None => eprint!("skipped {line}"),
    }
}

/// The address of a bucket that no other test uses.
pub(super) fn address(account: Option<&str>, endpoint: String) -> Address {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    Address {
        bucket: format!("kvfs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
        account: account.map(str::to_owned),
        endpoint: Some(endpoint),
        region: None,
        profile: None,
        path_style: None,
        anonymous: account.is_none(),
        timeout: Duration::from_secs(20),
    }
}

pub(super) fn wait<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    env::wait(Deadline::after(Duration::from_secs(60)), future)
}

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

fn put(bucket: &dyn Bucket, key: &str, bytes: &[u8]) -> Object {
    try_put(bucket, key, bytes, &Headers::default(), &Condition::Always).unwrap()
}

fn try_put(
    bucket: &dyn Bucket,
    key: &str,
    bytes: &[u8],
    headers: &Headers,
    condition: &Condition,
) -> Result<Object> {
    wait(bucket.put(key, Body::Bytes(bytes.to_vec().into()), headers, condition))
}

fn get(bucket: &dyn Bucket, key: &str, start: u64, end: u64, version: Option<&str>) -> Result<Vec<u8>> {
    wait(async {
        let mut fetched = bucket.get(key, start, end, version).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = fetched.bytes.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    })
}

fn head(bucket: &dyn Bucket, key: &str) -> Option<Object> {
    wait(bucket.head(key)).unwrap()
}

fn pages(bucket: &dyn Bucket, prefix: &str, delimiter: Option<&str>, most: u32) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    loop {
        let token = pages.last().and_then(|page| page.next.clone());
        if token.is_none() && !pages.is_empty() {
            return pages;
        }
        let listing = Listing { prefix, delimiter, token: token.as_deref(), after: None, most };
        pages.push(wait(bucket.list(&listing)).unwrap());
    }
}

fn headers(content_type: &str, metadata: &[(&str, &str)]) -> Headers {
    let mut headers = Headers { content_type: Some(content_type.to_owned()), ..Headers::default() };
    headers.metadata =
        metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    headers
}

/// Keys that clients like to change on their way.
const NASTY: [&str; 16] = [
    "a//b",
    "/abs",
    "dir/",
    "dir",
    "a/../b",
    "a/./b",
    "tab\there",
    "plus+",
    "per%cent",
    "%2F",
    "\u{1F600}",
    " space ",
    "q?x=1&y#z",
    "a\\b",
    "ü",
    "a;b=c,d'\"<>&",
];

/// Every key is there under its own name and no other: by itself, and in the listing.
pub(super) fn keys_stay_as_they_are(bucket: &dyn Bucket) {
    let mut possible = Vec::new();
    for key in NASTY {
        match kind(try_put(bucket, key, key.as_bytes(), &Headers::default(), &Condition::Always)) {
            None => possible.push(key),
            // It says so, and is not taken for another one.
            refused => assert_eq!(refused, Some(ErrorKind::NameEncoding), "{key:?}"),
        }
    }
    put(bucket, "a/b", b"what others must not be taken for");
    for key in NASTY {
        assert_eq!(head(bucket, key).is_some(), possible.contains(&key), "{key:?}");
    }
    wait(bucket.delete("a/b", &Condition::Always)).unwrap();
    for &key in &possible {
        assert_eq!(get(bucket, key, 0, 100, None).unwrap(), key.as_bytes(), "{key:?}");
        assert_eq!(head(bucket, key).unwrap().size, key.len() as u64, "{key:?}");
    }
    let listed: Vec<String> = pages(bucket, "", None, 1000)
        .into_iter()
        .flat_map(|page| page.objects)
        .map(|found| found.key)
        .collect();
    let expected: BTreeSet<&str> = possible.iter().copied().collect();
    assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    assert_eq!(listed.len(), possible.len());
    for key in possible {
        let copied = format!("copies/{key}");
        let copy = Copy {
            from: key,
            source_version: None,
            to: &copied,
            headers: None,
            condition: Condition::Always,
        };
        wait(bucket.copy(&copy)).unwrap();
        assert_eq!(get(bucket, &copied, 0, 100, None).unwrap(), key.as_bytes(), "{key:?}");
        wait(bucket.delete(key, &Condition::Always)).unwrap();
        assert!(head(bucket, key).is_none(), "{key:?}");
    }
}

/// What is listed is what `head` says, headers included; pages and prefixes cover all once.
pub(super) fn pages_cover_everything_once(bucket: &dyn Bucket) {
    let keys = ["a", "a/1", "a/2", "a/b/c", "b/", "b/1", "c", "d//e"];
    for key in keys {
        let headers = headers("text/x-kvfs", &[("mode", "33188"), ("key", "k")]);
        try_put(bucket, key, key.as_bytes(), &headers, &Condition::Always).unwrap();
    }
    let names = |pages: &[Page]| {
        let objects = pages.iter().flat_map(|page| &page.objects).map(|found| found.key.clone());
        let mut names: Vec<String> = objects.collect();
        names.extend(pages.iter().flat_map(|page| page.prefixes.clone()));
        names.sort();
        names
    };
    for most in [1, 2, 3, 1000] {
        assert_eq!(names(&pages(bucket, "", None, most)), keys, "{most} a page");
        assert_eq!(names(&pages(bucket, "", Some("/"), most)), ["a", "a/", "b/", "c", "d/"], "{most} a page");
        assert_eq!(names(&pages(bucket, "a/", Some("/"), most)), ["a/1", "a/2", "a/b/"], "{most} a page");
        assert_eq!(names(&pages(bucket, "b/", Some("/"), most)), ["b/", "b/1"], "{most} a page");
    }
    assert!(pages(bucket, "nothing", Some("/"), 10)[0].objects.is_empty());
    for listed in pages(bucket, "", None, 1000).into_iter().flat_map(|page| page.objects) {
        let mut own = head(bucket, &listed.key).unwrap();
        let time = |object: &Object| object.modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(time(&listed), time(&own));
        own.modified = listed.modified;
        assert_eq!(listed, own);
    }
    if bucket.abilities().starts_anywhere {
        let listing = Listing { prefix: "", delimiter: None, token: None, after: Some("b/"), most: 1000 };
        assert_eq!(names(&[wait(bucket.list(&listing)).unwrap()]), ["b/1", "c", "d//e"]);
        let listing =
            Listing { prefix: "", delimiter: Some("/"), token: None, after: Some("a/"), most: 1000 };
        assert_eq!(names(&[wait(bucket.list(&listing)).unwrap()]), ["b/", "c", "d/"]);
    }
}

/// §3.1, §4.6
pub(super) fn conditions_are_checked(bucket: &dyn Bucket) {
    let put_if =
        |bytes: &[u8], condition: &Condition| try_put(bucket, "k", bytes, &Headers::default(), condition);
    assert!(head(bucket, "k").is_none());
    let nowhere = Condition::Version("1".to_owned());
    assert_eq!(kind(put_if(b"x", &nowhere)), Some(ErrorKind::Stale), "there is nothing");
    let one = put_if(b"one", &Condition::Absent).unwrap();
    assert_eq!(head(bucket, "k").unwrap().version, one.version);
    assert_eq!(kind(put_if(b"x", &Condition::Absent)), Some(ErrorKind::Exists));
    let first = Condition::Version(one.version.clone());
    let two = put_if(b"two", &first).unwrap();
    assert_ne!(two.version, one.version);
    assert_eq!(kind(put_if(b"x", &first)), Some(ErrorKind::Stale));
    assert_eq!(kind(get(bucket, "k", 0, 3, Some(&one.version))), Some(ErrorKind::Stale));
    assert_eq!(get(bucket, "k", 0, 3, Some(&two.version)).unwrap(), b"two");
    assert_eq!(kind(get(bucket, "k", 0, 0, Some(&one.version))), Some(ErrorKind::Stale));
    assert_eq!(kind(wait(bucket.delete("k", &first))), Some(ErrorKind::Stale));
    wait(bucket.delete("k", &Condition::Version(two.version.clone()))).unwrap();
    assert_eq!(kind(get(bucket, "k", 0, 3, Some(&two.version))), Some(ErrorKind::Stale));
    assert_eq!(kind(get(bucket, "k", 0, 3, None)), Some(ErrorKind::NotFound));
    assert_eq!(kind(get(bucket, "k", 0, 0, None)), Some(ErrorKind::NotFound));
    wait(bucket.delete("k", &Condition::Always)).unwrap();
    assert_eq!(wait(bucket.delete_batch(&["k", "other"])).unwrap().len(), 0);
}

pub(super) fn ranges_are_cut(bucket: &dyn Bucket) {
    let bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    put(bucket, "large", &bytes);
    for (start, end) in [(0, 3 << 20), (5, 6), (1 << 20, (2 << 20) + 7), ((3 << 20) - 1, 4 << 20)] {
        let expected = &bytes[start as usize..bytes.len().min(end as usize)];
        assert!(get(bucket, "large", start, end, None).unwrap() == expected, "{start}..{end}");
    }
    assert!(get(bucket, "large", 7, 7, None).unwrap().is_empty());
    put(bucket, "empty", b"");
    assert!(get(bucket, "empty", 0, 0, None).unwrap().is_empty());
    assert_eq!(head(bucket, "empty").unwrap().size, 0);
}

/// A copy has what its source has, or exactly what is given instead.
pub(super) fn copies_carry_their_headers(bucket: &dyn Bucket) {
    let mut own = headers("text/plain", &[("mode", "33188"), ("mtime", "1.5")]);
    own.http.insert("cache-control".to_owned(), "no-store".to_owned());
    own.http.insert("content-disposition".to_owned(), "inline".to_owned());
    let source = try_put(bucket, "from", b"bytes", &own, &Condition::Always).unwrap();
    assert_eq!(source.headers.as_ref(), Some(&own));
    let plain =
        Copy { from: "from", source_version: None, to: "to", headers: None, condition: Condition::Absent };
    let made = wait(bucket.copy(&plain)).unwrap();
    let found = head(bucket, "to").unwrap();
    assert_eq!((&found.version, found.size), (&made.version, 5));
    assert_eq!(found.headers.as_ref(), Some(&own));
    assert_eq!(kind(wait(bucket.copy(&plain))), Some(ErrorKind::Exists));

    let others = [
        headers("text/html", &[("mode", "33261")]),
        headers("text/html", &[]),
        Headers { metadata: own.metadata.clone(), ..headers("text/plain", &[]) },
    ];
    for given in &others {
        for to in ["to", "from"] {
            let before = head(bucket, to).unwrap();
            let condition = Condition::Version(before.version.clone());
            let copy = Copy { from: "from", source_version: None, to, headers: Some(given), condition };
            let made = wait(bucket.copy(&copy)).unwrap();
            let found = head(bucket, to).unwrap();
            assert_eq!(found.headers.as_ref(), Some(given), "{to}");
            assert_eq!(found.version, made.version, "{to}");
            assert_eq!(get(bucket, to, 0, 5, None).unwrap(), b"bytes");
            if made.version != before.version {
                assert_eq!(kind(wait(bucket.copy(&copy))), Some(ErrorKind::Stale), "{to}");
            }
        }
    }
    let missing = Copy { from: "nothing", condition: Condition::Always, ..plain.clone() };
    assert_eq!(kind(wait(bucket.copy(&missing))), Some(ErrorKind::NotFound));
    let changed =
        Copy { source_version: Some(&source.version), condition: Condition::Always, ..plain.clone() };
    put(bucket, "from", b"other");
    assert_eq!(kind(wait(bucket.copy(&changed))), Some(ErrorKind::Stale));
    let now = head(bucket, "from").unwrap().version;
    let same = Copy { source_version: Some(&now), condition: Condition::Always, ..plain };
    wait(bucket.copy(&same)).unwrap();
}

/// Parts may come in any order; the object has what was said when it was begun.
pub(super) fn parts_become_an_object(bucket: &dyn Bucket) {
    let size = usize::try_from(bucket.abilities().part_min.max(1000)).unwrap();
    let (first, second) = (vec![1; size], vec![2; size + 7]);
    let given = headers("text/x-parts", &[("mode", "33188")]);
    let part = |upload: &str, number, bytes: &[u8]| {
        wait(bucket.part("big", upload, number, Body::Bytes(bytes.to_vec().into()))).unwrap()
    };
    let upload = wait(bucket.begin("big", &given)).unwrap();
    let (late, early) = (part(&upload, 2, &second), part(&upload, 1, &first));
    let again = part(&upload, 1, &first);
    assert_eq!(again.len(), early.len());
    let last = part(&upload, 3, b"end");
    assert!(head(bucket, "big").is_none(), "nothing is there before it is complete");
    let parts = [again, late, last];
    let made = wait(bucket.complete("big", &upload, &parts, &given, &Condition::Absent)).unwrap();
    let found = head(bucket, "big").unwrap();
    assert_eq!((found.size, &found.version), ((2 * size + 10) as u64, &made.version));
    assert_eq!(made.size, found.size);
    assert_eq!(found.headers, Some(given.clone()));
    let whole = [&first[..], &second, b"end"].concat();
    assert!(get(bucket, "big", 0, found.size, None).unwrap() == whole);

    let upload = wait(bucket.begin("big", &given)).unwrap();
    let parts = [part(&upload, 1, b"other")];
    let refused = wait(bucket.complete("big", &upload, &parts, &given, &Condition::Absent));
    assert_eq!(kind(refused), Some(ErrorKind::Exists));
    let upload = wait(bucket.begin("big", &given)).unwrap();
    let parts = [part(&upload, 1, b"other")];
    let current = Condition::Version(found.version);
    let made = wait(bucket.complete("big", &upload, &parts, &given, &current)).unwrap();
    assert_eq!(head(bucket, "big").unwrap().version, made.version);

    let upload = wait(bucket.begin("given up", &given)).unwrap();
    wait(bucket.part("given up", &upload, 1, Body::Bytes(first.into()))).unwrap();
    wait(bucket.abort("given up", &upload)).unwrap();
    wait(bucket.abort("given up", &upload)).unwrap();
    assert!(head(bucket, "given up").is_none());
}

/// What is wrong with a bucket is said in one sentence, which names it.
pub(super) fn a_bucket_that_is_not_there_is_told(bucket: &dyn Bucket, name: &str) {
    let listing = Listing { prefix: "", delimiter: Some("/"), token: None, after: None, most: 1 };
    let listed = wait(bucket.list(&listing)).unwrap_err();
    assert_eq!(listed.kind(), ErrorKind::NotFound);
    assert!(listed.to_string().contains(name) && !listed.to_string().contains('\n'), "{listed}");
    let read = get(bucket, "k", 0, 1, Some("1")).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::NotFound, "{read}");
}
