//! Attributes as the metadata of objects, in the words of the programs that keep them there too.
//!
//! | | `S3fs` | `Rclone` | `Gcs` | `Azure` |
//! |---|---|---|---|---|
//! | `mode`, with the file type | decimal | octal | octal | octal |
//! | `uid`, `gid` | decimal | decimal | decimal | decimal |
//! | `mtime` | `1700000000.123456789` | `1700000000.123456789` | RFC 3339 | RFC 3339 |
//! | `atime`, `ctime` | as `mtime` | RFC 3339 | RFC 3339 | RFC 3339 |
//! | `xattr` | s3fs's | s3fs's | s3fs's | s3fs's |
//! | besides | | | `goog-reserved-file-mtime`, `gcsfuse_mtime`, `goog-reserved-posix-*` | `is_symlink`, `hdi_isfolder` |
//!
//! All of them are read in any style, however they are written; what cannot be read is as if it were not there. Words
//! of others stay as they are.

mod mode;
mod time;
mod xattr;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::bucket::Headers;
use crate::error::{Error, ErrorKind, Result};
use crate::store::attributes::{Attributes, FileType, Setting, Xattrs};

/// In whose words attributes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// S3, as s3fs.
    S3fs,
    /// S3, as rclone.
    Rclone,
    /// Google Cloud Storage, as rclone and gcsfuse.
    Gcs,
    /// Azure Blob, as rclone and blobfuse2: names are identifiers there, whatever their case.
    Azure,
}

/// What an object stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A file, of this type.
    File(FileType),
    /// A directory: its marker.
    Directory,
}

/// What the headers of an object tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its type is [`FileType::Regular`] for a directory.
    pub attributes: Attributes,
    /// Those that somebody set.
    pub xattrs: Xattrs,
    /// Whether it is a marker, by what it says itself; one whose key ends in `/` need not say it.
    pub is_directory: bool,
}

/// The extended attribute that is the content type (§5.7).
pub const CONTENT_TYPE: &str = "user.kvfs.content-type";

/// The word of Google's own tools for the time of last change, in whole seconds.
const GOOGLE_MTIME: &str = "goog-reserved-file-mtime";
/// The word of gcsfuse for it, as RFC 3339.
const GCSFUSE_MTIME: &str = "gcsfuse_mtime";
/// What all of Google's words for owner and permissions begin with.
const GOOGLE_POSIX: &str = "goog-reserved-posix-";
/// The word of blobfuse2 for a symbolic link.
const AZURE_SYMLINK: &str = "is_symlink";
/// The word of Azure's hierarchical namespaces for a directory.
const AZURE_FOLDER: &str = "hdi_isfolder";
/// What a directory's marker has as its content type, where s3fs or an older client made it.
const DIRECTORY_TYPES: [&str; 2] = ["application/x-directory", "httpd/unix-directory"];

/// What `headers` tell of an object. Never fails: what is not understood is as if it were not there.
pub fn read(style: Style, headers: &Headers) -> Kept {
    let words = &headers.metadata;
    let word = |name: &str| words.get(name).map(String::as_str);
    let google = |name: &str| word(&format!("{GOOGLE_POSIX}{name}"));
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let mode = word("mode").and_then(mode::read);
    let octal = |text: &str| u32::from_str_radix(text.trim(), 8).ok().map(|mode| mode & mode::PERMISSIONS);
    let linked = word(AZURE_SYMLINK).is_some_and(is_true);
    let is_directory = mode.is_some_and(|mode| mode.holder == Some(Holder::Directory))
        || word(AZURE_FOLDER).is_some_and(is_true)
        || headers.content_type.as_deref().is_some_and(|kind| DIRECTORY_TYPES.contains(&kind));
    let file_type = match mode.and_then(|mode| mode.holder) {
        _ if is_directory => FileType::Regular,
        Some(Holder::File(file_type)) if file_type != FileType::Regular => file_type,
        _ if linked => FileType::Symlink,
        _ => FileType::Regular,
    };
    let attributes = Attributes {
        file_type,
        mode: mode.map(|mode| mode.permissions).or_else(|| google("mode").and_then(octal)),
        uid: word("uid").and_then(number).or_else(|| google("uid").and_then(number)),
        gid: word("gid").and_then(number).or_else(|| google("gid").and_then(number)),
        atime: word("atime").and_then(|text| time::read(style, text)),
        mtime: mtime(style, words),
        ctime: word("ctime").and_then(|text| time::read(style, text)),
        ino: None,
    };
    Kept { attributes, xattrs: word(xattr::WORD).map(xattr::read).unwrap_or_default(), is_directory }
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// The latest of all that tell it: each program writes its own word, and leaves the others as they were (§5.5).
fn mtime(style: Style, words: &BTreeMap<String, String>) -> Option<SystemTime> {
    let told = |name: &&str| words.get(*name).and_then(|text| time::read(style, text));
    ["mtime", GOOGLE_MTIME, GCSFUSE_MTIME].iter().filter_map(told).max()
}

/// Sets attributes in `headers`, of which all else stays as it is; on failure, all does. An inode number is not kept.
///
/// # Errors
/// `NoSpace` where all metadata together would pass `limit` bytes; `NameEncoding` for an extended attribute whose name
/// is not UTF-8; `Invalid` for a content type that is no header.
pub fn write(
    style: Style,
    headers: &mut Headers,
    setting: &Setting,
    holder: Holder,
    limit: usize,
) -> Result<()> {
    let before = read(style, headers);
    let mut changed = headers.clone();
    let words = &mut changed.metadata;
    write_mode(style, words, setting.mode, &before, holder);
    write_owner(words, "uid", setting.uid);
    write_owner(words, "gid", setting.gid);
    write_times(style, words, setting);
    let mut xattrs = setting.xattrs.clone();
    xattrs.remove(CONTENT_TYPE.as_bytes());
    if !xattrs.is_empty() {
        let mut all = before.xattrs;
        Setting { xattrs, ..Setting::default() }.apply_xattrs(&mut all);
        match xattr::write(&all)? {
            Some(text) => drop(words.insert(xattr::WORD.to_owned(), text)),
            None => drop(words.remove(xattr::WORD)),
        }
    }
    write_content_type(&mut changed, setting)?;
    let size: usize = changed.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > limit {
        let sentence = format!(
            "the attributes would take {size} bytes of the object's metadata, which has {limit}: remove some"
        );
        return Err(Error::new(ErrorKind::NoSpace, sentence));
    }
    *headers = changed;
    Ok(())
}

/// Sets the content type, where that is set; the headers stay as they are where it cannot be one.
///
/// # Errors
/// `Invalid`: no header can have this value.
pub fn write_content_type(headers: &mut Headers, setting: &Setting) -> Result<()> {
    if let Some(content_type) = setting.xattrs.get(CONTENT_TYPE.as_bytes()) {
        headers.content_type = content_type.as_ref().map(|bytes| header_value(bytes)).transpose()?;
    }
    Ok(())
}

fn write_mode(
    style: Style,
    words: &mut BTreeMap<String, String>,
    set: Option<u32>,
    before: &Kept,
    holder: Holder,
) {
    let was = if before.is_directory { Holder::Directory } else { Holder::File(before.attributes.file_type) };
    let special = matches!(holder, Holder::File(file_type) if file_type != FileType::Regular);
    let told = words.contains_key("mode") && was == holder;
    // A marker is known by its key; nothing else but the mode tells a file that is none of bytes.
    if set.is_none() && (told || (!special && was == holder)) {
        return;
    }
    if style == Style::Azure {
        if holder == Holder::File(FileType::Symlink) {
            words.insert(AZURE_SYMLINK.to_owned(), "true".to_owned());
        } else {
            words.remove(AZURE_SYMLINK);
        }
    }
    let permissions = set.or(before.attributes.mode).unwrap_or(match holder {
        Holder::Directory => 0o755,
        Holder::File(_) => 0o644,
    });
    words.insert("mode".to_owned(), mode::write(style, holder, permissions));
    if let Some(word) = words.get_mut(&format!("{GOOGLE_POSIX}mode")) {
        *word = format!("{:03o}", permissions & 0o777);
    }
}

fn write_owner(words: &mut BTreeMap<String, String>, name: &str, id: Option<u32>) {
    let Some(id) = id else { return };
    words.insert(name.to_owned(), id.to_string());
    if let Some(word) = words.get_mut(&format!("{GOOGLE_POSIX}{name}")) {
        *word = id.to_string();
    }
}

fn write_times(style: Style, words: &mut BTreeMap<String, String>, setting: &Setting) {
    for (name, set) in [("mtime", setting.mtime), ("atime", setting.atime), ("ctime", setting.ctime)] {
        if let Some(text) = set.and_then(|moment| time::write(style, name, moment)) {
            words.insert(name.to_owned(), text);
        }
    }
    let Some(mtime) = setting.mtime else { return };
    if style == Style::Gcs {
        words.insert(GOOGLE_MTIME.to_owned(), time::whole_seconds(mtime).to_string());
    }
    // Only where it is there: gcsfuse reads it before the others.
    if let Some(word) = words.get_mut(GCSFUSE_MTIME)
        && let Some(text) = time::rfc_3339(mtime)
    {
        *word = text;
    }
}

/// The value of an HTTP header.
fn header_value(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).ok().map(str::trim);
    let text = text.filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    text.map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "a content type is printable ASCII, such as text/plain; charset=utf-8")
    })
}

/// The content type of a new object, by the extension of its key; `None` where that tells nothing.
pub fn content_type(key: &str) -> Option<&'static str> {
    let name = key.rsplit('/').next()?;
    mime_guess::from_path(name).first_raw()
}
