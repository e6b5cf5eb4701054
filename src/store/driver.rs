//! How a kind of store is opened: what each store gives to the list in `store/mod.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::{Caps, Store};
use super::home::Home;
use crate::error::Result;

/// One kind of store, as the command line knows it.
pub struct Driver {
    /// The name on the command line: `lmdb`.
    pub kind: &'static str,
    /// One line for `kvfs stores`.
    pub about: &'static str,
    /// The kind that this one is in all but how it is reached.
    pub same_as: Option<&'static str>,
    /// What stands after `kind:`.
    pub location: Location,
    /// What a freshly opened writable store of this kind can do.
    pub caps: fn() -> Caps,
    /// The separator that splits its keys where the user names none.
    pub separator: &'static str,
    /// Whether the file or folder at this path is a store of this kind, told by its content.
    pub recognise: fn(&std::path::Path) -> bool,
    /// The files in its folder, which nobody may make in a mount that covers it.
    pub own_files: &'static [&'static str],
    /// What its service must allow, in the service's own words.
    pub rights: Option<&'static str>,
    /// Opens it.
    pub open: fn(&Opening) -> Result<Arc<dyn Store>>,
    /// Where attributes are kept beside it, where they can be; called when it is open, and before anything is mounted
    /// over it.
    pub sidecar: Beside,
}

/// Answers where attributes are kept beside a store, which is not made by that.
pub type Beside = fn(&Opening) -> Result<Option<Box<dyn Home>>>;

/// What stands after `kind:` in a SOURCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nothing: the store has no place.
    None,
    /// A folder or a file; without one the mount point is the store's folder ("in place").
    FolderInPlace,
    /// A folder, always.
    Folder,
    /// A file, or a folder of them that belong together.
    File,
    /// A bucket of a service and a prefix in it, as a URL of this form: `s3://bucket/prefix`.
    Bucket(&'static str),
    /// A server, as a URL of this form; without one, that of this machine.
    Server(&'static str),
}

impl Location {
    /// Whether it is a path of this machine's file system.
    pub fn is_path(self) -> bool {
        matches!(self, Location::FolderInPlace | Location::Folder | Location::File)
    }

    /// Whether it is written as a URL.
    pub fn is_url(self) -> bool {
        matches!(self, Location::Bucket(_) | Location::Server(_))
    }

    /// Whether it is a bucket of a service.
    pub fn is_bucket(self) -> bool {
        matches!(self, Location::Bucket(_))
    }
}

/// How a service of the network is reached, as far as somebody says so; the rest comes from the service's own
/// environment and files. It has no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Service {
    /// The server, where it is not the service's usual one: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The profile in the service's own configuration.
    pub profile: Option<String>,
    /// Where a bucket's name stands in a request.
    pub addressing: Option<Addressing>,
    /// Whether requests go without credentials.
    pub anonymous: bool,
    /// In whose words attributes are written, where there are several (S3).
    pub attrs_style: AttributeStyle,
    /// A file whose first line is the password of a server.
    pub password_file: Option<PathBuf>,
    /// The glob of the keys of a server that are shown.
    pub matching: Option<String>,
    /// A file with this side's certificate, as PEM.
    pub cert: Option<PathBuf>,
    /// A file with its key, as PEM.
    pub key: Option<PathBuf>,
    /// A file with the certificates that servers' are signed by, as PEM, where those of the machine are not meant.
    pub cacert: Option<PathBuf>,
    /// Whether `mkdir` adds a key to a server, so that the directory lasts.
    pub markers: bool,
    /// Whether `fsync` fails where a server does not tell that what was put is on its disk.
    pub require_aof: bool,
}

/// In whose words attributes are written to S3; all are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttributeStyle {
    /// Those of s3fs.
    #[default]
    S3fs,
    /// Those of rclone.
    Rclone,
}

/// Where a bucket's name stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// In the path.
    Path,
    /// In the host's name.
    Virtual,
}

/// All that opening a store needs; complete, so that no store reads the environment or the command line.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Where it is: an absolute path, or `bucket/prefix`; `None` for a kind without a place.
    pub location: Option<PathBuf>,
    /// Whether nothing may be written, not even a lock file's table where that can be avoided.
    pub read_only: bool,
    /// Whether it may be made where there is none.
    pub create: bool,
    /// Whether all of it is looked at first, however long that takes, and refused where it is damaged (§8.8).
    pub check: bool,
    /// The separator that splits keys into segments; `None`: every key is one segment.
    pub separator: Option<Vec<u8>>,
    /// How puts become commits (§4.4).
    pub commit: Commit,
    /// The deadline of every request (§8.1).
    pub timeout: Duration,
    /// A file to fill the store from before it is used (`memory`).
    pub load: Option<PathBuf>,
    /// A file to copy the store to when it closes (`memory`).
    pub save: Option<PathBuf>,
    /// How its service is reached.
    pub service: Service,
    /// Whether it is to keep attributes itself though that costs requests (§5.1).
    pub native_attributes: bool,
    /// Whether the file of a scalar in a document ends in a line end that is not part of it.
    pub newline: bool,
    /// A folder for what is remembered of it on disk.
    pub cache: Option<PathBuf>,
}

impl Default for Opening {
    /// As a mount opens it that names nothing else.
    fn default() -> Opening {
        Opening {
            location: None,
            read_only: false,
            create: true,
            check: false,
            separator: Some(b"/".to_vec()),
            commit: Commit::Auto,
            timeout: TIMEOUT,
            load: None,
            save: None,
            service: Service::default(),
            native_attributes: false,
            newline: false,
            cache: None,
        }
    }
}

/// The deadline of every request to a store where the user names none (§8.1).
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Where mode, owner, times, links and extended attributes are kept (§5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAttributes {
    /// By the store where it does so itself, beside it where it has a place for that, else nowhere.
    #[default]
    Auto,
    /// By the store itself.
    Native,
    /// In a small database beside the store.
    Sidecar,
    /// Nowhere: what would have to last is refused (§5.3).
    None,
}

/// How a put becomes a commit (§4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// Closes gather for milliseconds, and nobody can look in between; as `Close` while others have it open.
    #[default]
    Auto,
    /// A close waits for its commit, shared with whoever closes at the same time.
    Close,
    /// A close also waits for the disk.
    Durable,
    /// Closes within this time share a commit; seen in the mount at once, by others within the time.
    Within(Duration),
}
