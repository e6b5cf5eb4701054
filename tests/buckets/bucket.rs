//! A bucket of one test: what other clients see and write in it, and mounts of it.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::foreign::{self, Seen, ask};
use crate::harness::{Kind, Mount, Place};
use crate::proxy::Proxy;
use crate::server::Service;

/// A bucket that no other test uses.
pub struct Bucket {
    /// Where.
    pub service: Service,
    /// What it is called.
    pub name: String,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl Bucket {
    /// An empty one.
    pub fn new(service: Service) -> Bucket {
        Bucket::make(service, false)
    }

    /// An empty one that keeps old versions.
    pub fn versioned(service: Service) -> Bucket {
        Bucket::make(service, true)
    }

    fn make(service: Service, versioning: bool) -> Bucket {
        let name = format!("kvfs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let mut order = json!({ "bucket": name });
        if versioning {
            order["versioning"] = true.into();
        }
        ask(service, "make", order);
        Bucket { service, name }
    }

    /// Puts an object as other clients do.
    #[track_caller]
    pub fn put(&self, key: &str, body: impl AsRef<[u8]>) {
        self.put_with(key, body, &[]);
    }

    /// Puts an object with metadata.
    #[track_caller]
    pub fn put_with(&self, key: &str, body: impl AsRef<[u8]>, metadata: &[(&str, &str)]) {
        let metadata: serde_json::Map<_, _> =
            metadata.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        let body = hex::encode(body);
        let order = json!({ "bucket": self.name, "key": key, "body": body, "metadata": metadata });
        ask(self.service, "put", order);
    }

    /// The bytes that other clients see; `None` where there is no object.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let found = ask(self.service, "get", json!({ "bucket": self.name, "key": key }));
        found.as_str().map(|text| hex::decode(text).unwrap())
    }

    /// What other clients know of an object.
    #[track_caller]
    pub fn head(&self, key: &str) -> Option<Seen> {
        foreign::head(self.service, &self.name, key)
    }

    /// All keys, in the server's order.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let found = ask(self.service, "keys", json!({ "bucket": self.name }));
        serde_json::from_value(found).unwrap()
    }

    /// Removes an object.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        ask(self.service, "delete", json!({ "bucket": self.name, "key": key }));
    }

    /// The keys of uploads in parts that are under way.
    #[track_caller]
    pub fn uploads(&self) -> Vec<String> {
        let found = ask(self.service, "uploads", json!({ "bucket": self.name }));
        serde_json::from_value(found).unwrap()
    }

    /// SOURCE of the whole bucket, or of what is below `prefix`.
    pub fn source(&self, prefix: &str) -> OsString {
        let account = if self.service == Service::Azure { "devstoreaccount1/" } else { "" };
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{}://{account}{}{slash}{prefix}", self.service.scheme(), self.name).into()
    }

    /// The options that lead to the server at `url`.
    pub fn options(&self, url: &str) -> Vec<String> {
        let mut options = vec!["--endpoint".to_owned(), url.to_owned()];
        match self.service {
            Service::Azure => options[1].push_str("/devstoreaccount1"),
            Service::Google => options.push("--anonymous".into()),
            Service::Ceph | Service::Moto => {}
        }
        options
    }

    /// Gives everything that is started in `place` from now on the credentials of this bucket's service.
    pub fn authorise(&self, place: &Place) {
        for (name, value) in CREDENTIALS {
            place.export(name, *value);
        }
    }

    /// Mounts all of it on `data` in `place`.
    pub fn mount(&self, place: &Place, options: &[&str]) -> Mount {
        self.mount_at(place, &self.service.server().url, "", options)
    }

    /// Mounts all of it through a proxy.
    pub fn mount_through(&self, place: &Place, proxy: &Proxy, options: &[&str]) -> Mount {
        self.mount_at(place, &proxy.url(), "", options)
    }

    /// Mounts what is below `prefix`, by the server or the proxy at `url`.
    pub fn mount_at(&self, place: &Place, url: &str, prefix: &str, options: &[&str]) -> Mount {
        self.authorise(place);
        let own = self.options(url);
        let all: Vec<&str> = own.iter().map(String::as_str).chain(options.iter().copied()).collect();
        Mount::of(place, Kind::Bucket, self.source(prefix), "data", &all)
    }

    /// A proxy in front of its server.
    pub fn proxy(&self) -> Proxy {
        Proxy::new(&self.service.server().url)
    }
}

/// What every client of the servers looks for in its environment. Azure's key is the one that Microsoft publishes.
pub const CREDENTIALS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "kvfs"),
    ("AWS_SECRET_ACCESS_KEY", "kvfssecret"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1"),
    (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    ),
];

/// What every server does alike when it is asked by other clients: the harness itself.
#[test]
fn what_others_put_others_see() {
    std::thread::scope(|scope| {
        for service in Service::ALL {
            scope.spawn(move || {
                let bucket = Bucket::new(service);
                assert_eq!(bucket.keys(), Vec::<String>::new());
                bucket.put_with("a/b", b"bytes\r\n\0", &[("mode", "33188")]);
                bucket.put("a", b"");
                assert_eq!(bucket.get("a/b").unwrap(), b"bytes\r\n\0", "{service:?}");
                let seen = bucket.head("a/b").unwrap();
                assert_eq!((seen.size, &*seen.metadata["mode"]), (8, "33188"), "{service:?}");
                assert!(!seen.tag.is_empty() && seen.modified > 1.7e9 && seen.content_type.is_some());
                assert_eq!(bucket.keys(), ["a", "a/b"], "{service:?}");
                bucket.delete("a");
                assert!(bucket.get("a").is_none() && bucket.head("a").is_none(), "{service:?}");
                assert!(bucket.uploads().is_empty());
            });
        }
    });
}
