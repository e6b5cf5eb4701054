//! The services as kinds of store, and how a bucket is opened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::account::Account;
use super::address::Address;
use super::azure::Azure;
use super::bucket::{Abilities, Bucket, Condition};
use super::folder_markers;
use super::gcs::Gcs;
use super::headers_on_disk::HeadersOnDisk;
use super::honoured::Honoured;
use super::journal::Journal;
use super::metadata::{CONTENT_TYPE, Style};
use super::names::Names;
use super::reach::Reach;
use super::renaming::Progress;
use super::s3::S3 as S3Bucket;
use super::tree::Tree;
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Atomic, Caps, Pace, Rename, Store};
use crate::store::driver::{Addressing, AttributeStyle, Driver, Location, Opening};

/// What makes a bucket of one service of its address.
type Connect = fn(&Address) -> Result<Arc<dyn Bucket>>;

/// What a SOURCE of each service looks like.
const S3_FORM: &str = "s3://bucket/prefix";
const AZURE_FORM: &str = "az://account/container/prefix";
const GCS_FORM: &str = "gs://bucket/prefix";

/// `s3` for the list of stores.
pub static S3: Driver = Driver {
    kind: "s3",
    about: "buckets of Amazon S3, and of every server that speaks its protocol (--endpoint)",
    location: Location::Bucket(S3_FORM),
    caps: || Caps { past: true, ..caps("s3", 5 << 40) },
    open: open_s3,
    ..BUCKET
};

/// `az` for the list of stores.
pub static AZURE: Driver = Driver {
    kind: "az",
    about: "containers of Azure Blob storage",
    location: Location::Bucket(AZURE_FORM),
    caps: || Caps { attributes: true, ..caps("az", 190 << 40) },
    open: |opening| open("az", opening, |address| Ok(Arc::new(Azure::new(address)?)), Some(Style::Azure)),
    ..BUCKET
};

/// `gs` for the list of stores.
pub static GCS: Driver = Driver {
    kind: "gs",
    about: "buckets of Google Cloud Storage",
    location: Location::Bucket(GCS_FORM),
    caps: || Caps { attributes: true, past: true, ..caps("gs", 5 << 40) },
    open: |opening| open("gs", opening, |address| Ok(Arc::new(Gcs::new(address)?)), Some(Style::Gcs)),
    ..BUCKET
};

fn open_s3(opening: &Opening) -> Result<Arc<dyn Store>> {
    let style = match opening.service.attrs_style {
        AttributeStyle::S3fs => Style::S3fs,
        AttributeStyle::Rclone => Style::Rclone,
    };
    let connect: Connect = |address| Ok(Arc::new(S3Bucket::new(address)?));
    if opening.location.as_deref().is_none_or(|location| !location.as_os_str().is_empty()) {
        return open("s3", opening, connect, Some(style));
    }
    // No bucket is named: all of them.
    let service = S3Bucket::new(&of_bucket("", opening))?;
    let caps = mount_caps(service.abilities(), opening, opening.native_attributes);
    let timeout = opening.timeout;
    let list = move || env::wait(Deadline::after(timeout), super::s3::buckets(service.session()));
    let each = opening.clone();
    let open_one = move |bucket: &str| {
        open("s3", &Opening { location: Some(bucket.into()), ..each.clone() }, connect, Some(style))
    };
    Ok(Arc::new(Account::new(caps, list, open_one)?))
}

/// What all of them have in common.
const BUCKET: Driver = Driver {
    kind: "",
    about: "",
    same_as: None,
    location: Location::Bucket(""),
    caps: || caps("", 0),
    separator: "/",
    recognise: |_| false,
    own_files: &[],
    rights: None,
    open: |_| Err(Error::new(ErrorKind::Unsupported, "no service")),
    sidecar: |_| Ok(None),
};

fn caps(kind: &'static str, value_max: u64) -> Caps {
    Caps {
        kind,
        write: true,
        immutable: false,
        ordered: true,
        branches: true,
        attributes: false,
        folders: false,
        watch: false,
        snapshot: false,
        past: false,
        unlisted: "",
        settable: &[],
        collections: false,
        atomic: Atomic::Key,
        rename: Rename::Copy,
        pace: Pace::Network,
        value_max,
        key_max: 1024,
    }
}

/// Opens a bucket. `style`: in whose words its attributes are kept, where it keeps them.
fn open(kind: &str, opening: &Opening, connect: Connect, style: Option<Style>) -> Result<Arc<dyn Store>> {
    let location = opening
        .location
        .as_deref()
        .and_then(Path::to_str)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, "the name of a bucket and its prefix are UTF-8"))?;
    let (address, prefix) = address(kind, location, opening)?;
    let bucket = connect(&address)?;
    let abilities = bucket.abilities().clone();
    // Where listings do not carry them, attributes cost a request an entry, and are kept only where they are asked for.
    let style = style.filter(|_| abilities.listed_headers || opening.native_attributes);
    let server = address.endpoint.as_deref().unwrap_or_default();
    let source = format!("{}://{location} {server}", abilities.scheme);
    let names = Names::new(prefix, opening.separator.clone(), &abilities);
    let honoured = honoured(&*bucket, &names, &address, opening)?;
    let asks = style.is_some() && !abilities.listed_headers;
    let on_disk = opening.cache.as_ref().filter(|_| asks);
    let on_disk = on_disk.and_then(|folder| HeadersOnDisk::open(folder, &source, opening));
    let reach = Reach {
        on_disk: on_disk.map(Arc::new),
        ..reach(bucket, names, style, honoured, &source, opening.timeout)
    };
    let reach = Arc::new(reach);
    if !opening.read_only {
        forget_uploads(&reach);
    }
    let past = Arc::clone(&reach.bucket).versioned().is_some();
    let caps = Caps { past, ..mount_caps(&abilities, opening, style.is_some()) };
    let tree = Tree { reach, caps };
    tree.check()?;
    if tree.caps.write {
        tree.finish_renames();
    }
    Ok(Arc::new(tree))
}

fn reach(
    bucket: Arc<dyn Bucket>,
    names: Names,
    style: Option<Style>,
    honoured: Honoured,
    source: &str,
    timeout: Duration,
) -> Reach {
    Reach {
        names,
        style,
        listing_denied: AtomicBool::new(false),
        folder_markers: AtomicBool::new(false),
        honoured,
        recent: super::recent::Recent::default(),
        on_disk: None,
        ahead: super::ahead::Ahead::default(),
        uploads: Journal::of(source, "uploads"),
        renames: Journal::of(source, "renames"),
        progress: Progress::default(),
        waiting: super::pages::Waiting::default(),
        opened: env::now(),
        timeout,
        bucket,
    }
}

/// A store over a bucket of a test, whose conditions are looked up where it does not honour them.
#[cfg(test)]
pub(super) fn over(bucket: Arc<dyn Bucket>, honoured: Honoured, source: &str) -> Tree {
    let abilities = bucket.abilities().clone();
    let names = Names::new("", Some(b"/".to_vec()), &abilities);
    let opening = Opening::default();
    let reach = reach(bucket, names, Some(Style::Gcs), honoured, source, opening.timeout);
    Tree { reach: Arc::new(reach), caps: mount_caps(&abilities, &opening, true) }
}

/// Which conditions the server honours: all that the services' own do; of others it is found out.
fn honoured(bucket: &dyn Bucket, names: &Names, address: &Address, opening: &Opening) -> Result<Honoured> {
    if address.endpoint.is_none() {
        return Ok(Honoured::ALL);
    }
    if opening.read_only {
        return Ok(Honoured::NONE);
    }
    let key = names.fitting(&Key::of([format!(".kvfs-probe-{:016x}", env::fresh_word()).as_bytes()]))?;
    match env::wait(Deadline::after(opening.timeout), Honoured::probe(bucket, &key)) {
        Err(error) if error.kind() == ErrorKind::Denied => {
            tracing::warn!("which conditions the server honours is not known: writing is denied ({error})");
            Ok(Honoured::NONE)
        }
        outcome => outcome,
    }
}

fn mount_caps(abilities: &Abilities, opening: &Opening, attributes: bool) -> Caps {
    let branches = opening.separator.is_some();
    Caps {
        write: !opening.read_only,
        branches,
        attributes,
        key_max: abilities.key_max,
        unlisted: folder_markers::SUFFIX,
        settable: &[CONTENT_TYPE],
        ..caps(abilities.scheme, abilities.object_max)
    }
}

/// The bucket of `bucket/prefix`, and the prefix.
fn address<'l>(kind: &str, location: &'l str, opening: &Opening) -> Result<(Address, &'l str)> {
    let (account, rest) = if kind == "az" {
        let parts = location.split_once('/').filter(|(account, _)| !account.is_empty());
        let (account, rest) = parts.unwrap_or(("", ""));
        (Some(account.to_owned()), rest)
    } else {
        (None, location)
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        let which = match kind {
            "az" => AZURE_FORM,
            "gs" => GCS_FORM,
            _ => S3_FORM,
        };
        return Err(Error::new(ErrorKind::Invalid, format!("which bucket? Write {which}")));
    }
    Ok((Address { account, ..of_bucket(bucket, opening) }, prefix))
}

fn of_bucket(bucket: &str, opening: &Opening) -> Address {
    let service = &opening.service;
    Address {
        bucket: bucket.to_owned(),
        account: None,
        endpoint: service.endpoint.clone(),
        region: service.region.clone(),
        profile: service.profile.clone(),
        path_style: service.addressing.map(|addressing| addressing == Addressing::Path),
        anonymous: service.anonymous,
        timeout: opening.timeout,
    }
}

/// Aborts what daemons of this machine left behind that were killed.
fn forget_uploads(reach: &Reach) {
    reach.uploads.unfinished(|unfinished| {
        reach.wait(async {
            match &unfinished.upload {
                Some(upload) => reach.bucket.abort(&unfinished.key, upload).await,
                None => reach.bucket.delete(&unfinished.key, &Condition::Always).await,
            }
        })?;
        tracing::info!("{:?}: an upload that was interrupted is removed", unfinished.key);
        Ok(())
    });
}
