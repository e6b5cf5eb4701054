//! The servers, and buckets on them.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use kvfs::env::{self, Deadline};
use kvfs::error::Result;
use kvfs::store::object::address::Address;
use kvfs::store::object::bucket::{Body, Bucket, Condition, Fetched, Headers, Listing, Object, Page};
use kvfs::store::object::s3::{S3, make_bucket};

/// No test takes longer.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The deadline of each request.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A kind of server, and what it does otherwise than Amazon.
#[derive(Debug)]
pub struct Kind {
    /// Of its script in `scripts/servers`.
    pub name: &'static str,
    /// Whether it looks at `If-Match` of DeleteObject.
    pub delete_looks: bool,
    /// Whether it looks at `If-None-Match` of CompleteMultipartUpload.
    pub complete_looks: bool,
    /// Whether it looks at `If-Match` of CompleteMultipartUpload.
    pub complete_looks_at_versions: bool,
    /// Whether it looks at the source's version before it copies.
    pub copy_looks_at_source: bool,
    /// Whether it looks at `If-None-Match` of CopyObject.
    pub copy_looks: bool,
    /// Whether it looks at signatures.
    pub signatures: bool,
    /// Whether keys may have line feeds.
    pub line_feeds: bool,
    /// Whether it says so when an upload is not there.
    pub knows_uploads: bool,
}

/// Amazon's rules.
const AMAZON: Kind = Kind {
    name: "amazon",
    delete_looks: true,
    complete_looks: true,
    complete_looks_at_versions: true,
    copy_looks_at_source: true,
    copy_looks: true,
    signatures: true,
    line_feeds: true,
    knows_uploads: true,
};

pub static MOTO: Kind = Kind {
    name: "moto",
    complete_looks_at_versions: false,
    copy_looks_at_source: false,
    copy_looks: false,
    signatures: false,
    line_feeds: false,
    knows_uploads: false,
    ..AMAZON
};

pub static CEPH: Kind = Kind {
    name: "ceph",
    delete_looks: false,
    complete_looks: false,
    complete_looks_at_versions: false,
    copy_looks: false,
    ..AMAZON
};

/// Every server that a test runs against.
pub static SERVERS: [&Kind; 2] = [&MOTO, &CEPH];

static RUNNING: Mutex<Vec<(&'static str, String, Option<Child>)>> = Mutex::new(Vec::new());

/// Where a server answers: it is started once for all tests, and ends with them, since its standard input does. One that
/// runs already can be named: `KVFS_TEST_CEPH=http://127.0.0.1:17480`.
#[allow(clippy::disallowed_methods, reason = "the environment of the tests")]
fn endpoint(kind: &Kind) -> String {
    let mut running = RUNNING.lock().unwrap();
    if let Some((_, url, _)) = running.iter().find(|(name, ..)| *name == kind.name) {
        return url.clone();
    }
    let named = std::env::var(format!("KVFS_TEST_{}", kind.name.to_uppercase())).ok();
    let (url, child) = named.map_or_else(|| start(kind), |url| (url, None));
    running.push((kind.name, url.clone(), child));
    url
}

fn start(kind: &Kind) -> (String, Option<Child>) {
    let script = format!("{}/scripts/servers/{}", env!("CARGO_MANIFEST_DIR"), kind.name);
    let mut child = Command::new(&script)
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{script}: {e}"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url =
        line.strip_prefix("ready ").unwrap_or_else(|| panic!("{script} said {line:?}; is it installed?"));
    (url.trim().to_owned(), Some(child))
}

/// A bucket of a test's own.
pub struct Place {
    pub kind: &'static Kind,
    pub address: Address,
    pub bucket: S3,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn stamp() -> u128 {
    static STAMP: OnceLock<u128> = OnceLock::new();
    *STAMP.get_or_init(|| env::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis())
}

impl Place {
    pub fn address(kind: &Kind) -> Address {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Address {
            bucket: format!("kvfs-{}-{number}", stamp()),
            account: None,
            endpoint: Some(endpoint(kind)),
            region: None,
            profile: None,
            path_style: None,
            anonymous: false,
            timeout: TIMEOUT,
        }
    }

    pub fn open(address: &Address) -> S3 {
        S3::with_keys(address, "kvfs", "kvfssecret").unwrap()
    }

    pub fn new(kind: &'static Kind) -> Place {
        let address = Place::address(kind);
        let bucket = Place::open(&address);
        wait(make_bucket(bucket.session())).unwrap();
        Place { kind, address, bucket }
    }

    pub fn put(&self, key: &str, bytes: &str) -> Object {
        self.put_if(key, bytes, &Condition::Always).unwrap()
    }

    pub fn put_if(&self, key: &str, bytes: &str, condition: &Condition) -> Result<Object> {
        wait(self.bucket.put(key, body(bytes), &Headers::default(), condition))
    }

    pub fn head(&self, key: &str) -> Option<Object> {
        wait(self.bucket.head(key)).unwrap()
    }

    pub fn get(&self, key: &str) -> Result<String> {
        wait(async { text(self.bucket.get(key, 0, u64::from(u32::MAX), None).await?).await })
    }

    pub fn delete(&self, key: &str) -> Result<()> {
        wait(self.bucket.delete(key, &Condition::Always))
    }

    pub fn page(&self, listing: &Listing<'_>) -> Page {
        wait(self.bucket.list(listing)).unwrap()
    }

    /// Every key and common prefix, in pages of `most`.
    pub fn all(&self, prefix: &str, delimiter: Option<&str>, most: u32) -> (Vec<String>, Vec<String>) {
        let (mut keys, mut prefixes, mut token) = (Vec::new(), Vec::new(), None::<String>);
        loop {
            let page = self.page(&Listing { prefix, delimiter, token: token.as_deref(), after: None, most });
            assert!(page.objects.len() + page.prefixes.len() <= most as usize);
            keys.extend(page.objects.into_iter().map(|object| object.key));
            prefixes.extend(page.prefixes);
            token = page.next;
            if token.is_none() {
                return (keys, prefixes);
            }
        }
    }
}

pub fn body(bytes: &str) -> Body {
    Body::Bytes(bytes.to_owned().into())
}

/// All bytes that arrive, as text.
pub async fn text(mut fetched: Fetched) -> Result<String> {
    let mut whole = Vec::new();
    while let Some(piece) = fetched.bytes.next().await {
        whole.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8(whole).unwrap())
}

pub fn wait<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    env::wait(Deadline::after(LIMIT), future)
}

/// Runs a test against each server; all failures are told.
pub fn on_each(test: impl Fn(&Place)) {
    for kind in SERVERS {
        eprintln!("on {}", kind.name);
        test(&Place::new(kind));
    }
}
