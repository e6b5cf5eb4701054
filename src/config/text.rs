//! The values of options as text, for the command line and for text formats.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Exclusive, View};
use crate::budget;
use crate::error::{Error, ErrorKind, Result};
use crate::store::driver::{Addressing, AttributeStyle, Commit, KeepAttributes};

/// Reads `auto`, `close`, `durable` or a time such as `50ms`, at most a day.
///
/// # Errors
/// `Invalid`.
pub fn parse_commit(text: &str) -> Result<Commit> {
    Ok(match text {
        "auto" => Commit::Auto,
        "close" => Commit::Close,
        "durable" => Commit::Durable,
        _ => match humantime::parse_duration(text) {
            Ok(time) if !time.is_zero() && time <= Duration::from_secs(86400) => Commit::Within(time),
            _ => {
                let sentence = format!(
                    "commit {text:?}: there are auto, close, durable, or a time up to 1d such as 50ms"
                );
                return Err(Error::new(ErrorKind::Invalid, sentence));
            }
        },
    })
}

/// The text that [`parse_commit`] reads.
pub fn commit_text(commit: Commit) -> String {
    match commit {
        Commit::Auto => "auto".to_owned(),
        Commit::Close => "close".to_owned(),
        Commit::Durable => "durable".to_owned(),
        Commit::Within(time) => humantime::format_duration(time).to_string(),
    }
}

/// Reads `auto`, `native`, `sidecar` or `none`.
///
/// # Errors
/// `Invalid`.
pub fn parse_attrs(text: &str) -> Result<KeepAttributes> {
    Ok(match text {
        "auto" => KeepAttributes::Auto,
        "native" => KeepAttributes::Native,
        "sidecar" => KeepAttributes::Sidecar,
        "none" => KeepAttributes::None,
        _ => {
            let sentence = format!("attrs {text:?}: there are auto, native, sidecar and none");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
    })
}

/// The text that [`parse_attrs`] reads.
pub fn attrs_text(attrs: KeepAttributes) -> &'static str {
    match attrs {
        KeepAttributes::Auto => "auto",
        KeepAttributes::Native => "native",
        KeepAttributes::Sidecar => "sidecar",
        KeepAttributes::None => "none",
    }
}

/// Reads the address of a server: a URL without a user, a password, or anything behind the host and the path.
///
/// # Errors
/// `Invalid`; it does not repeat what may hold a secret.
pub fn parse_endpoint(text: &str) -> Result<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split('/').next()).filter(|host| !host.is_empty());
    match host {
        Some(host) if !host.contains('@') && !text.contains(['?', '#']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(Error::new(
            ErrorKind::Invalid,
            "an endpoint is http://HOST:PORT or https://HOST:PORT, without a user or a password",
        )),
    }
}

/// Reads when a file that is opened with `O_EXCL` is there for others.
///
/// # Errors
/// `Invalid`.
pub fn parse_exclusive(text: &str) -> Result<Exclusive> {
    match text {
        "close" => Ok(Exclusive::Close),
        "open" => Ok(Exclusive::Open),
        _ => Err(Error::new(ErrorKind::Invalid, format!("excl {text:?}: there are close and open"))),
    }
}

/// Reads which values are shown as trees.
///
/// # Errors
/// `Invalid`.
pub fn parse_view(text: &str) -> Result<View> {
    match text {
        "json" => Ok(View::Json),
        "tensor" => Ok(View::Tensor),
        _ => Err(Error::new(ErrorKind::Invalid, format!("view {text:?}: there are json and tensor"))),
    }
}

/// Reads in whose words attributes are written.
///
/// # Errors
/// `Invalid`.
pub fn parse_attrs_style(text: &str) -> Result<AttributeStyle> {
    match text {
        "s3fs" => Ok(AttributeStyle::S3fs),
        "rclone" => Ok(AttributeStyle::Rclone),
        _ => Err(Error::new(ErrorKind::Invalid, format!("attrs-style {text:?}: there are s3fs and rclone"))),
    }
}

/// Reads where a bucket's name stands in a request.
///
/// # Errors
/// `Invalid`.
pub fn parse_addressing(text: &str) -> Result<Addressing> {
    match text {
        "path" => Ok(Addressing::Path),
        "virtual" => Ok(Addressing::Virtual),
        _ => {
            let sentence = format!("addressing {text:?}: there are path and virtual");
            Err(Error::new(ErrorKind::Invalid, sentence))
        }
    }
}

/// Reads the deadline of requests: a time such as `30s`, from 10 ms to a day.
///
/// # Errors
/// `Invalid`.
pub fn parse_timeout(text: &str) -> Result<Duration> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_millis(10)..=Duration::from_secs(86400)).contains(&time) => Ok(time),
        _ => {
            let sentence = format!("timeout {text:?}: write a time from 10ms to 1d, such as 30s");
            Err(Error::new(ErrorKind::Invalid, sentence))
        }
    }
}

/// Reads how long an answer is good: a time such as `1s`, at most a day; `0s`: every question goes to the store.
///
/// # Errors
/// `Invalid`.
pub fn parse_ttl(text: &str) -> Result<Duration> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= Duration::from_secs(86400) => Ok(time),
        _ => {
            let sentence = format!("ttl {text:?}: write a time up to 1d, such as 1s, or 0s");
            Err(Error::new(ErrorKind::Invalid, sentence))
        }
    }
}

/// Reads what all buffers may take: bytes, or with a suffix as in `256M`; at least 64M.
///
/// # Errors
/// `Invalid`.
pub fn parse_memory(text: &str) -> Result<u64> {
    parse_size("memory", text, budget::LEAST)
}

/// Reads what the disk cache may take: bytes, or with a suffix as in `10G`; at least 16M.
///
/// # Errors
/// `Invalid`.
pub fn parse_cache_size(text: &str) -> Result<u64> {
    parse_size("cache-size", text, 16 << 20)
}

/// The suffixes of sizes, each 1,024 times the one before.
const SIZES: &[&str] = &["", "K", "M", "G", "T"];

fn parse_size(name: &str, text: &str, least: u64) -> Result<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let suffix = text[digits.len()..].to_ascii_uppercase();
    let power = SIZES.iter().position(|size| *size == suffix);
    let bytes = digits
        .parse::<u64>()
        .ok()
        .zip(power)
        .and_then(|(number, power)| number.checked_mul(1 << (10 * power)));
    bytes.filter(|bytes| (least..=1 << 50).contains(bytes)).ok_or_else(|| {
        let sentence = format!("{name} {text:?}: write a size from {} on, such as 10G", size_text(least));
        Error::new(ErrorKind::Invalid, sentence)
    })
}

/// A size as it is read, with the largest suffix that divides it.
pub fn size_text(bytes: u64) -> String {
    let power = (bytes.max(1).trailing_zeros() as usize / 10).min(SIZES.len() - 1);
    format!("{}{}", bytes >> (10 * power), SIZES[power])
}

/// Reads how long a command waits: a time such as `10s`; `0s` does not wait at all.
///
/// # Errors
/// `Invalid`.
pub fn parse_wait(text: &str) -> Result<Duration> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= Duration::from_secs(86400) => Ok(time),
        _ => {
            let sentence = format!("timeout {text:?}: write a time up to 1d, such as 10s, or 0s");
            Err(Error::new(ErrorKind::Invalid, sentence))
        }
    }
}

/// Reads a umask: octal digits.
///
/// # Errors
/// `Invalid`.
pub fn parse_umask(text: &str) -> Result<u32> {
    match parse_number("umask", text, 8)? {
        umask if umask <= 0o777 => Ok(umask),
        _ => Err(Error::new(ErrorKind::Invalid, format!("umask {text:?}: at most 777"))),
    }
}

pub(super) fn parse_number(name: &str, text: &str, radix: u32) -> Result<u32> {
    let kind = if radix == 8 { "octal digits" } else { "a number" };
    u32::from_str_radix(text, radix)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("{name} {text:?}: write {kind}")))
}

/// Paths in text formats: a string, or an array of bytes where it is not UTF-8.
pub mod path {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Bytes(Vec<u8>),
    }

    /// Writes a path.
    ///
    /// # Errors
    /// The format's.
    pub fn serialize<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => Form::Text(text.to_owned()),
            None => Form::Bytes(path.as_os_str().as_bytes().to_owned()),
        }
        .serialize(serializer)
    }

    /// Reads a path.
    ///
    /// # Errors
    /// The format's.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into(),
            Form::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}

/// As [`path`], where there may be none.
pub(super) mod optional_path {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Wrapped(#[serde(with = "path")] PathBuf);

    pub fn serialize<S: serde::Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.clone().map(Wrapped).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
    }
}

/// [`Commit`] as [`parse_commit`] reads it.
pub(super) mod commit {
    use super::*;

    pub fn serialize<S: serde::Serializer>(commit: &Commit, serializer: S) -> Result<S::Ok, S::Error> {
        commit_text(*commit).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Commit, D::Error> {
        parse_commit(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// [`KeepAttributes`] as [`parse_attrs`] reads it.
pub(super) mod attrs {
    use super::*;

    pub fn serialize<S: serde::Serializer>(attrs: &KeepAttributes, serializer: S) -> Result<S::Ok, S::Error> {
        attrs_text(*attrs).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<KeepAttributes, D::Error> {
        parse_attrs(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A time as [`parse_ttl`] reads it.
pub(super) mod ttl {
    use super::*;

    pub use super::duration::serialize;

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_ttl(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A size as [`parse_memory`] reads it.
pub(super) mod memory {
    use super::*;

    pub fn serialize<S: serde::Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        size_text(*bytes).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        parse_memory(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A size as [`parse_cache_size`] reads it.
pub(super) mod cache_size {
    use super::*;

    pub use super::memory::serialize;

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        parse_cache_size(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A deadline as [`parse_timeout`] reads it.
pub(super) mod duration {
    use super::*;

    pub fn serialize<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        humantime::format_duration(*time).to_string().serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_timeout(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
