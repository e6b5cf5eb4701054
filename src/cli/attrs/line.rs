//! What is kept of one file or directory, as a line of JSON.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::name;
use crate::store::attributes::{Attributes, FileType, Setting, Xattrs};

/// One line of `kvfs attrs export`.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// From the mount point on.
    path: Bytes,
    #[serde(rename = "type")]
    file_type: Type,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Bytes>,
    /// Octal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    atime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, Bytes>,
}

/// The type of a file, by the words of find(1) and stat(1).
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
}

/// Text, or the bytes one by one where they are not UTF-8.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        String::from_utf8(bytes).map_or_else(|error| Bytes::Bytes(error.into_bytes()), Bytes::Text)
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Vec<u8> {
        match bytes {
            Bytes::Text(text) => text.into_bytes(),
            Bytes::Bytes(bytes) => bytes,
        }
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which key.
    pub key: Key,
    /// What stands there.
    pub file_type: Type,
    /// Where a symbolic link leads.
    pub target: Vec<u8>,
    /// What is to be set.
    pub setting: Setting,
}

impl Line {
    /// The line for what is kept at `key`; `None` where that is nothing.
    pub fn of(
        key: &Key,
        directory: bool,
        kept: &Attributes,
        xattrs: Xattrs,
        target: Option<Vec<u8>>,
        lasts: bool,
    ) -> Option<Line> {
        let file_type = match kept.file_type {
            _ if directory => Type::Directory,
            FileType::Regular => Type::File,
            FileType::Symlink => Type::Symlink,
            FileType::Fifo => Type::Fifo,
            FileType::Socket => Type::Socket,
        };
        let line = Line {
            path: name::path(key).into(),
            file_type,
            target: target.map(Bytes::from),
            mode: kept.mode.map(|mode| format!("{mode:04o}")),
            uid: kept.uid,
            gid: kept.gid,
            atime: kept.atime.map(decimal),
            mtime: kept.mtime.map(decimal),
            xattrs: xattrs
                .into_iter()
                .map(|(name, value)| (String::from_utf8_lossy(&name).into_owned(), value.into_vec().into()))
                .collect(),
        };
        let bare =
            (&line.mode, line.uid, line.gid, &line.atime, &line.mtime) == (&None, None, None, &None, &None);
        let nothing = bare && line.xattrs.is_empty() && !lasts;
        (!nothing || !matches!(file_type, Type::File | Type::Directory)).then_some(line)
    }

    /// What it asks for.
    ///
    /// # Errors
    /// `Invalid` for a path that no key has, a mode that is not octal, a time that is not a decimal number.
    pub fn wanted(self) -> Result<Wanted> {
        let path: Vec<u8> = self.path.into();
        let invalid =
            |what: &str| Error::new(ErrorKind::Invalid, format!("\"{}\": {what}", path.escape_ascii()));
        let key = name::key(&path).ok_or_else(|| invalid("no key is shown at this path"))?;
        let mode = self.mode.map(|mode| u32::from_str_radix(&mode, 8).ok().filter(|&mode| mode <= 0o7777));
        let time = |text: Option<String>| {
            text.map(|text| from_decimal(&text).ok_or_else(|| invalid("a time is SECONDS.NANOSECONDS")))
                .transpose()
        };
        let setting = Setting {
            mode: mode
                .map(|mode| mode.ok_or_else(|| invalid("a mode has up to four octal digits")))
                .transpose()?,
            uid: self.uid,
            gid: self.gid,
            atime: time(self.atime)?,
            mtime: time(self.mtime)?,
            xattrs: self
                .xattrs
                .into_iter()
                .map(|(name, value)| (name.into_bytes().into(), Some(Vec::from(value).into())))
                .collect(),
            ..Setting::default()
        };
        let target = self.target.map(Vec::from).unwrap_or_default();
        Ok(Wanted { key, file_type: self.file_type, target, setting })
    }
}

/// Seconds since 1970 with nine decimals.
fn decimal(time: SystemTime) -> String {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => format!("{}.{:09}", since.as_secs(), since.subsec_nanos()),
        Err(before) => format!("-{}.{:09}", before.duration().as_secs(), before.duration().subsec_nanos()),
    }
}

fn from_decimal(text: &str) -> Option<SystemTime> {
    let (before, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(seconds) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    let since = Duration::new(seconds.parse().ok()?, nanoseconds);
    if before { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_kept() {
        let key = Key::of([&b"a\xff"[..], b"%value"]);
        let kept = Attributes {
            mode: Some(0o4755),
            uid: Some(7),
            mtime: Some(UNIX_EPOCH + Duration::new(5, 6)),
            atime: Some(UNIX_EPOCH - Duration::new(5, 6)),
            ..Attributes::default()
        };
        let xattrs = Xattrs::from([(b"user.x"[..].into(), b"\xfe"[..].into())]);
        let line = Line::of(&key, false, &kept, xattrs, None, false).unwrap();
        let text = serde_json::to_string(&line).unwrap();
        let read = serde_json::from_str::<Line>(&text).unwrap().wanted().unwrap();
        assert_eq!((&read.key, read.file_type), (&key, Type::File));
        let mut again = Attributes::default();
        read.setting.apply(&mut again);
        assert_eq!(again, kept);
        assert_eq!(read.setting.xattrs.len(), 1);
        assert!(Line::of(&key, false, &Attributes::default(), Xattrs::new(), None, false).is_none());
        assert!(Line::of(&key, true, &Attributes::default(), Xattrs::new(), None, true).is_some());
    }

    #[test]
    fn lines_that_make_no_sense_are_refused() {
        for wrong in [
            r#"{"path": "a", "type": "file", "mode": "9"}"#,
            r#"{"path": "a", "type": "file", "mode": "17777"}"#,
            r#"{"path": "a", "type": "file", "mtime": "yesterday"}"#,
            r#"{"path": "a", "type": "file", "mtime": "1.1234567890"}"#,
            r#"{"path": "a/%more", "type": "file"}"#,
        ] {
            let line: Line = serde_json::from_str(wrong).unwrap();
            assert_eq!(line.wanted().unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
        }
        assert!(serde_json::from_str::<Line>(r#"{"path": "a", "type": "device"}"#).is_err());
    }
}
