//! SOURCE: what is mounted, as it is written on the command line.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{MountSpec, join, text};
use crate::error::{Error, ErrorKind, Result};
use crate::mount_table;
use crate::store::api::Pace;
use crate::store::driver::{Driver, Location, Service};
use crate::store::{self, DRIVERS};

/// What is mounted: SOURCE on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A kind of store and what stands after `kind:`.
    Kind {
        /// As in [`DRIVERS`].
        kind: String,
        /// Where the store is; `None` for `kind` alone.
        location: Option<PathBuf>,
    },
    /// A path, whose content tells the kind.
    Path(PathBuf),
}

impl Source {
    /// Reads SOURCE: a URL, a known kind, `kind:location`, else a path. A path that looks like a kind or has a colon
    /// is written `./x`.
    ///
    /// # Errors
    /// `Invalid` for a kind that is not known, with those that are.
    pub fn parse(text: &OsStr) -> Result<Source> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, format!("an empty SOURCE; {}", known_kinds())));
        }
        let Some(colon) = bytes.iter().position(|&byte| byte == b':') else {
            return Ok(match text.to_str().filter(|text| is_known(text)) {
                Some(kind) => Source::Kind { kind: kind.to_owned(), location: None },
                None => Source::Path(text.into()),
            });
        };
        let (kind, location) = (&bytes[..colon], &bytes[colon + 1..]);
        let Ok(kind) = str::from_utf8(kind).map(str::to_owned) else { return Ok(Source::Path(text.into())) };
        if kind.contains('/') {
            return Ok(Source::Path(text.into()));
        }
        if kind == "file"
            && let Some(rest) = location.strip_prefix(b"//")
        {
            return local_folder(rest);
        }
        if !is_known(&kind) {
            return Err(unknown_kind(&kind, text));
        }
        let is_url = store::driver(&kind).is_some_and(|driver| driver.location.is_url());
        if let Some(rest) = location.strip_prefix(b"//") {
            if !is_url {
                let sentence = format!("a {kind} store has no URL: write {kind}:/path");
                return Err(Error::new(ErrorKind::Invalid, sentence));
            }
            return if is_bucket(&kind) { bucket(kind, rest) } else { server(kind, rest) };
        }
        if location.is_empty() && !is_url {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{kind}: names no place; write {kind}:/path"),
            ));
        }
        Ok(Source::Kind { kind, location: Some(OsStr::from_bytes(location).into()) })
    }

    /// The same with its path made absolute, from `folder` on.
    #[must_use]
    pub fn absolute(self, folder: &Path) -> Source {
        match self {
            Source::Kind { kind, location } => {
                let is_url = store::driver(&kind).is_some_and(|driver| driver.location.is_url());
                let absolute = |path: PathBuf| if is_url { path } else { join(folder, &path) };
                Source::Kind { kind, location: location.map(absolute) }
            }
            Source::Path(path) => Source::Path(join(folder, &path)),
        }
    }

    /// Whether it is a server, told by its kind.
    pub fn is_server(&self) -> bool {
        let Source::Kind { kind, .. } = self else { return false };
        store::driver(kind).is_some_and(|driver| matches!(driver.location, Location::Server(_)))
    }

    /// SOURCE as it is written on the command line.
    pub fn to_os_string(&self) -> OsString {
        match self {
            Source::Kind { kind, location: None } => kind.into(),
            Source::Kind { kind, location: Some(location) } => {
                let mut text = OsString::from(kind);
                text.push(":");
                text.push(location);
                text
            }
            Source::Path(path) => path.into(),
        }
    }
}

/// As a person and the mount table see it: without secrets (§8.7). No kind of store so far has any in its source.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_os_string().to_string_lossy())
    }
}

/// A source whose kind is known, and where it is.
pub struct Place {
    /// What opens it.
    pub driver: &'static Driver,
    location: Option<PathBuf>,
}

impl Source {
    /// Finds the kind, by looking at a path's content where no kind is named.
    ///
    /// # Errors
    /// `NotFound` or `Invalid` where nothing there is a store of a kind that this build has.
    pub fn resolve(&self) -> Result<Place> {
        match self {
            Source::Kind { kind, location } => match store::driver(kind) {
                Some(driver) => Ok(Place { driver, location: location.clone() }),
                None => Err(unknown_kind(kind, kind.as_ref())),
            },
            Source::Path(path) => {
                let what = path.display();
                if let Err(error) = std::fs::metadata(path) {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    let why = format!(
                        "no kind of store is called {name:?}, nor is there such a path ({what}: {error})"
                    );
                    return Err(Error::new(ErrorKind::NotFound, format!("{why}; {}", known_kinds())));
                }
                let found = DRIVERS.iter().find(|driver| (driver.recognise)(path));
                found.map(|driver| Place { driver, location: Some(path.clone()) }).ok_or_else(|| {
                    let sentence =
                        format!("{what} is no store that kvfs knows by its content; {}", known_kinds());
                    Error::new(ErrorKind::Invalid, sentence)
                })
            }
        }
    }
}

impl Place {
    /// Whether the store's own folder is mounted over.
    pub fn is_in_place(&self, mount_point: &Path) -> bool {
        if !self.driver.location.is_path() {
            return false;
        }
        let real = |path: &Path| mount_table::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.location_for(mount_point).is_some_and(|location| real(&location) == real(mount_point))
    }

    /// Where the store is: a kind with a folder and without a location is at the mount point.
    pub fn location_for(&self, mount_point: &Path) -> Option<PathBuf> {
        match (self.driver.location, &self.location) {
            (Location::FolderInPlace, None) => Some(mount_point.to_owned()),
            (_, location) => location.clone(),
        }
    }

    /// The location that was named.
    ///
    /// # Errors
    /// `Invalid` where only the kind was.
    pub fn named_location(&self) -> Result<&Path> {
        let kind = self.driver.kind;
        self.location.as_deref().ok_or_else(|| {
            let why = match self.driver.location {
                Location::None => format!("{kind} has no place, and nothing to compact"),
                Location::FolderInPlace | Location::Folder | Location::File => {
                    format!("which {kind}? Write {kind}:/path")
                }
                Location::Bucket(form) => format!("which bucket? Write {form}"),
                Location::Server(form) => format!("which server? Write {form}"),
            };
            Error::new(ErrorKind::Invalid, why)
        })
    }

    /// The source as people and the mount table see it: the kind, and its place without secrets (§8.7).
    pub fn shown(&self, mount_point: &Path) -> String {
        match self.location_for(mount_point) {
            Some(location) if self.driver.location.is_url() && !location.is_absolute() => {
                format!("{}://{}", self.driver.kind, location.display())
            }
            Some(location) => format!("{}:{}", self.driver.kind, location.display()),
            None => self.driver.kind.to_owned(),
        }
    }

    /// Refuses what this kind of store does not have.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self, spec: &MountSpec) -> Result<()> {
        let kind = self.driver.kind;
        let placeless = self.driver.location == Location::None;
        if self.driver.location.is_bucket() {
            self.named_location()?;
        } else {
            let for_servers = Service {
                password_file: spec.service.password_file.clone(),
                matching: spec.service.matching.clone(),
                cert: spec.service.cert.clone(),
                key: spec.service.key.clone(),
                cacert: spec.service.cacert.clone(),
                markers: spec.service.markers,
                require_aof: spec.service.require_aof,
                ..Service::default()
            };
            if spec.service != for_servers {
                let sentence = format!("{kind} is no service: --endpoint and the like are for buckets");
                return Err(Error::new(ErrorKind::Invalid, sentence));
            }
        }
        let is_server = matches!(self.driver.location, Location::Server(_));
        let Service { password_file, matching, cert, key, cacert, markers, require_aof, .. } = &spec.service;
        let has_some =
            matching.is_some() || [password_file, cert, key, cacert].iter().any(|file| file.is_some());
        if !is_server && (has_some || *markers || *require_aof) {
            let sentence = format!(
                "--password-file, --match, --cert, --key, --cacert, --markers and --require-aof are for servers; {kind} is none"
            );
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let sentence = match &self.location {
            Some(location) if placeless => {
                format!("{kind} has no place: leave out {}", location.display())
            }
            _ if !placeless && (spec.load.is_some() || spec.save.is_some()) => {
                format!("--load and --save are for stores without a place; {kind} keeps its keys itself")
            }
            _ if spec.cache.is_some() && (self.driver.caps)().pace != Pace::Network => {
                format!("--cache is for stores behind a network; {kind} is here")
            }
            // What shows scalars has types that can be set.
            _ if spec.newline && !(self.driver.caps)().settable.contains(&"user.kvfs.type") => {
                format!("--newline is for documents; {kind} is none")
            }
            _ if placeless && spec.check => format!("{kind} has no place, and nothing to check"),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Invalid, sentence))
    }
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::path::serialize(Path::new(&self.to_os_string()), serializer)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
        let source = text::path::deserialize(deserializer)?;
        Source::parse(source.as_os_str()).map_err(serde::de::Error::custom)
    }
}

/// A bucket and a prefix in it, as they stand in a URL. A password in it is refused, and not repeated (§8.7).
fn bucket(kind: String, rest: &[u8]) -> Result<Source> {
    let authority = rest.split(|&byte| byte == b'/').next().unwrap_or_default();
    if authority.contains(&b'@') {
        let sentence =
            format!("{kind}:// takes no user and no password: they come from the service's own files");
        return Err(Error::new(ErrorKind::Invalid, sentence));
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(rest).collect();
    Ok(Source::Kind { kind, location: Some(OsString::from_vec(decoded).into()) })
}

fn is_bucket(kind: &str) -> bool {
    store::driver(kind).is_some_and(|driver| driver.location.is_bucket())
}

/// A server, as it stands in a URL. A password in it is refused, and not repeated (§8.7).
fn server(kind: String, rest: &[u8]) -> Result<Source> {
    let authority = rest.split(|byte| b"/?".contains(byte)).next().unwrap_or_default();
    let user = authority.iter().rposition(|&byte| byte == b'@').map(|at| &authority[..at]);
    if user.is_some_and(|user| user.contains(&b':')) {
        let sentence = format!(
            "{kind}:// takes no password, which everybody would see: --password-file or REDISCLI_AUTH do"
        );
        return Err(Error::new(ErrorKind::Invalid, sentence));
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(rest).collect();
    Ok(Source::Kind { kind, location: Some(OsString::from_vec(decoded).into()) })
}

/// The folder of `file:///folder`, or `file://localhost/folder`.
fn local_folder(rest: &[u8]) -> Result<Source> {
    let path = rest.strip_prefix(b"localhost").unwrap_or(rest);
    if !path.starts_with(b"/") {
        return Err(Error::new(ErrorKind::Invalid, "a folder of this machine is file:///path"));
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(path).collect();
    Ok(Source::Kind { kind: "folder".to_owned(), location: Some(OsString::from_vec(decoded).into()) })
}

fn is_known(kind: &str) -> bool {
    DRIVERS.iter().any(|driver| driver.kind == kind)
}

/// The kinds of store in this build, in words.
pub fn known_kinds() -> String {
    let kinds: Vec<&str> = DRIVERS.iter().map(|driver| driver.kind).collect();
    format!("kinds of store: {} (kvfs stores tells more)", kinds.join(", "))
}

fn unknown_kind(kind: &str, text: &OsStr) -> Error {
    // Not the whole text: the location may hold a password.
    let path = if text.as_bytes().contains(&b'@') { "x:y" } else { &*text.to_string_lossy() };
    let sentence = format!(
        "no kind of store is called {kind:?}; {}; a path with a colon is written ./{path}",
        known_kinds()
    );
    Error::new(ErrorKind::Invalid, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Source> {
        Source::parse(text.as_ref())
    }

    fn kind(location: Option<&str>) -> Source {
        Source::Kind { kind: "memory".to_owned(), location: location.map(PathBuf::from) }
    }

    #[test]
    fn sources_are_read_in_the_order_of_the_design() {
        assert_eq!(parse("memory").unwrap(), kind(None));
        assert_eq!(parse("memory:./x:y%20").unwrap(), kind(Some("./x:y%20")));
        for path in ["./memory", "./a:b", "folder/a:b", "model.safetensors", "/memory"] {
            assert_eq!(parse(path).unwrap(), Source::Path(path.into()));
        }
        for wrong in ["", "nosuch:x", "nosuch://u:secret@host", "memory:", "memory://x", "a:b"] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong:?}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn urls_are_percent_decoded_and_have_no_password() {
        let location = |text: &str| match parse(text).unwrap() {
            Source::Kind { kind, location } => (kind, location.unwrap().to_str().unwrap().to_owned()),
            Source::Path(path) => panic!("{path:?}"),
        };
        assert_eq!(location("s3://b/a%20b//c%2F"), ("s3".into(), "b/a b//c/".into()));
        assert_eq!(location("s3:b/a%20b"), ("s3".into(), "b/a%20b".into()));
        assert_eq!(location("file:///a%20b"), ("folder".into(), "/a b".into()));
        for wrong in ["s3://key:secret@b/x", "file://host/x", "memory://x"] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn sources_are_written_as_they_are_read() {
        for text in ["memory", "memory:/x", "/some/path", "./x:y"] {
            assert_eq!(parse(text).unwrap().to_os_string(), OsString::from(text));
        }
        let absolute = parse("memory:./x").unwrap().absolute(Path::new("/home"));
        assert_eq!(absolute, kind(Some("/home/x")));
    }
}
