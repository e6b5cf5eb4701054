//! Where the stores of the conformance suite are: in fresh buckets of the servers.

use std::path::Path;
use std::sync::Once;

use kvfs::store::driver::{Driver, Opening, Service as Reached};

use crate::bucket::Bucket;
use crate::server::Service;

/// The driver, and how an empty store on the server `kind` is opened.
pub fn find(kind: &str, _folder: &Path) -> Option<(&'static Driver, Opening)> {
    credentials();
    let service =
        Service::ALL.into_iter().find(|service| format!("{service:?}").eq_ignore_ascii_case(kind))?;
    let bucket = Bucket::new(service);
    let source = bucket.source("").into_string().unwrap();
    let (scheme, location) = source.split_once("://").unwrap();
    let options = bucket.options(&service.server().url);
    let reached = Reached {
        endpoint: Some(options[1].clone()),
        anonymous: options.iter().any(|option| option == "--anonymous"),
        ..Reached::default()
    };
    let opening = Opening { location: Some(location.into()), service: reached, ..Opening::default() };
    Some((kvfs::store::driver(scheme)?, opening))
}

static CREDENTIALS: Once = Once::new();

/// Stores in this process find the credentials where they look for them: in its environment.
fn credentials() {
    CREDENTIALS.call_once(|| {
        for (name, value) in crate::bucket::CREDENTIALS {
            // SAFETY: everything in this process reads the environment through std, which locks it: it resolves no names
            // and knows no time zones, for which the C library would look there.
            #[allow(clippy::disallowed_methods, reason = "clients take credentials from the environment")]
            unsafe {
                std::env::set_var(name, value);
            }
        }
    });
}
