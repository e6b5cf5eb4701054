//! The spool: bytes that were accepted or written and could not be put into their store (§8.4). Each is one file,
//! readable by its owner alone, until somebody takes it out with `kvfs recover` or it could be put after all.
//!
//! ```text
//!  {"store":"lmdb:/srv/db","key":["6e616d6573","616461"],"when":1763000000,"reason":"...","size":5}\n
//!  Grace
//! ```
//!
//! The first line is JSON, the rest the bytes. The spool has no limit of its own but the disk's: it holds what
//! would be lost otherwise.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::env::{self, Folders};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{Version, When};

/// A header longer than this is not one of ours: a path, a key and a sentence fit many times over.
const HEADER_MAX: u64 = 1 << 20;
/// What the name of a finished file ends in; a file without it was being written when its daemon died.
const SUFFIX: &str = ".kept";

/// The folder of kept bytes.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

/// One kept value, or one deletion that could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name in the spool.
    pub id: String,
    /// The store it belongs to, as it was mounted.
    pub store: String,
    /// Its key there.
    pub key: Key,
    /// When it was kept.
    pub when: SystemTime,
    /// Why it could not be put: a sentence.
    pub reason: String,
    /// Under which condition it may be put without overwriting what somebody else wrote meanwhile.
    pub base: When,
    /// Whether the key was to be deleted; there are no bytes then.
    pub deletion: bool,
    /// Length of the bytes.
    pub size: u64,
}

/// The first line of a kept file.
#[derive(Serialize, Deserialize)]
struct Header {
    store: String,
    key: Vec<String>,
    when: u64,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    #[serde(default)]
    deletion: bool,
    size: u64,
}

impl Spool {
    /// The spool of this user.
    pub fn of_user() -> Spool {
        Spool::at(&Folders::get().state)
    }

    /// The spool below this state folder.
    pub fn at(state: &Path) -> Spool {
        Spool { folder: state.join("spool") }
    }

    /// Keeps the bytes of `key` of `store`; answers the name under which they are. They survive a power cut.
    ///
    /// # Errors
    /// The folder's: `NoSpace`, `Denied`. Nothing is kept then.
    pub fn keep(&self, store: &str, key: &Key, body: &Payload, base: &When, reason: &str) -> Result<String> {
        self.store(store, key, Some(body), base, reason)
    }

    /// Keeps that `key` of `store` was to be deleted.
    ///
    /// # Errors
    /// As for [`Spool::keep`].
    pub fn keep_deletion(&self, store: &str, key: &Key, base: &When, reason: &str) -> Result<String> {
        self.store(store, key, None, base, reason)
    }

    fn store(
        &self,
        store: &str,
        key: &Key,
        body: Option<&Payload>,
        base: &When,
        reason: &str,
    ) -> Result<String> {
        env::private_folder(&self.folder)?;
        let since = env::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = Header {
            store: store.to_owned(),
            key: key.segments().map(segment_to_text).collect(),
            when: since.as_secs(),
            reason: reason.to_owned(),
            base: base_to_text(base),
            deletion: body.is_none(),
            size: body.map_or(0, Payload::len),
        };
        let id = self.fresh_id(since);
        let unfinished = self.folder.join(&id);
        let written = write_file(&unfinished, &header, body)
            .and_then(|()| fs::rename(&unfinished, self.file(&id)))
            .and_then(|()| File::open(&self.folder)?.sync_all());
        written.map_err(|error| {
            // What could be written is of no use; that it stays is no harm but space.
            let _ = fs::remove_file(&unfinished);
            Error::io(format_args!("keeping bytes in {}", self.folder.display()), &error)
        })?;
        Ok(id)
    }

    /// What is kept, oldest first. A file that is not one of ours is left out.
    ///
    /// # Errors
    /// The folder's; a folder that is not there is empty.
    pub fn list(&self) -> Result<Vec<Kept>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(self.folder.display(), &error)),
        };
        let mut kept: Vec<Kept> = entries
            .flatten()
            .filter_map(|entry| {
                let id = entry.file_name().to_str()?.strip_suffix(SUFFIX)?.to_owned();
                self.open(&id).ok().map(|(kept, _)| kept)
            })
            .collect();
        kept.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(kept)
    }

    /// Opens what is kept under `id`: its header, and the file, which stands at the first byte of the value.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` for a file that is not one of ours.
    pub fn open(&self, id: &str) -> Result<(Kept, File)> {
        let path = self.checked_file(id)?;
        let file = File::open(&path).map_err(|e| Error::io(path.display(), &e))?;
        let mut line = Vec::new();
        BufReader::new((&file).take(HEADER_MAX))
            .read_until(b'\n', &mut line)
            .map_err(|e| Error::io(path.display(), &e))?;
        let damaged =
            || Error::new(ErrorKind::Invalid, format!("{} is not a file of the spool", path.display()));
        let header: Header = serde_json::from_slice(&line).map_err(|_| damaged())?;
        let mut key = Key::root();
        for text in &header.key {
            let (bytes, word) = segment_of_text(text).ok_or_else(damaged)?;
            key.push(Segment { bytes: &bytes, word });
        }
        (&file).seek(SeekFrom::Start(line.len() as u64)).map_err(|e| Error::io(path.display(), &e))?;
        let kept = Kept {
            id: id.to_owned(),
            store: header.store,
            key,
            when: UNIX_EPOCH + Duration::from_secs(header.when),
            reason: header.reason,
            base: base_of_text(header.base.as_deref()).ok_or_else(damaged)?,
            deletion: header.deletion,
            size: header.size,
        };
        Ok((kept, file))
    }

    /// Drops what is kept under `id`.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&self, id: &str) -> Result<()> {
        let path = self.checked_file(id)?;
        fs::remove_file(&path).map_err(|e| Error::io(path.display(), &e))
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}{SUFFIX}"))
    }

    /// The file of an identifier that a person gave: a plain name, never a path.
    fn checked_file(&self, id: &str) -> Result<PathBuf> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return Err(Error::new(ErrorKind::NotFound, format!("nothing is kept under {id:?}")));
        }
        Ok(self.file(id))
    }

    /// A name that sorts by time and that no other daemon and no other thread takes.
    fn fresh_id(&self, since: Duration) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{:x}-{count:x}", since.as_nanos() as u64, std::process::id())
    }
}

fn write_file(path: &Path, header: &Header, body: Option<&Payload>) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut line = serde_json::to_vec(header)?;
    line.push(b'\n');
    file.write_all(&line)?;
    if let Some(body) = body {
        let mut failed = None;
        let handed = body.pieces(&mut |piece| {
            file.write_all(piece).map_err(|error| {
                let told = Error::io("the spool", &error);
                failed = Some(error);
                told
            })
        });
        if let Err(error) = handed {
            return Err(failed.unwrap_or_else(|| std::io::Error::other(error)));
        }
    }
    file.sync_all()
}

/// `6162` is the plain segment `ab`, `6162%1` the segment `ab` with the word of that number.
fn segment_to_text(segment: Segment<'_>) -> String {
    match segment.word {
        Word::None => hex::encode(segment.bytes),
        word => format!("{}%{}", hex::encode(segment.bytes), word as u8),
    }
}

fn segment_of_text(text: &str) -> Option<(Vec<u8>, Word)> {
    let (bytes, word) = match text.split_once('%') {
        Some((bytes, number)) => (bytes, word_of_number(number.parse().ok()?)?),
        None => (text, Word::None),
    };
    Some((hex::decode(bytes).ok()?, word))
}

fn word_of_number(number: u8) -> Option<Word> {
    const WORDS: [Word; 20] = [
        Word::None,
        Word::Db,
        Word::Hash,
        Word::HashJson,
        Word::List,
        Word::ListJson,
        Word::Set,
        Word::SetJson,
        Word::Zset,
        Word::ZsetJson,
        Word::Stream,
        Word::StreamJson,
        Word::Json,
        Word::Kvfs,
        Word::Raw,
        Word::HeaderJson,
        Word::MetadataJson,
        Word::Push,
        Word::Add,
        Word::Array,
    ];
    WORDS.into_iter().find(|word| *word as u8 == number)
}

fn base_to_text(base: &When) -> Option<String> {
    match base {
        When::Always => None,
        When::Absent => Some("absent".to_owned()),
        When::Current(version) => Some(hex::encode(&version.0)),
    }
}

fn base_of_text(text: Option<&str>) -> Option<When> {
    Some(match text {
        None => When::Always,
        Some("absent") => When::Absent,
        Some(version) => When::Current(Version(hex::decode(version).ok()?.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn bytes_that_could_not_be_put_are_kept_listed_given_out_and_dropped() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::at(state.path());
        assert_eq!(spool.list().unwrap(), []);
        let mut key = Key::of([&b"a\n%1"[..], b"", b"\xff"]);
        key.push(Segment { bytes: b"db", word: Word::Db });
        let body = Payload::of(b"line\nline\0").unwrap();
        let base = When::Current(Version::of_content(b"before"));
        let id = spool.keep("lmdb:/srv/db", &key, &body, &base, "the disk is full").unwrap();
        let gone = spool.keep_deletion("lmdb:/srv/db", &key, &When::Always, "it changed").unwrap();

        let listed = spool.list().unwrap();
        assert_eq!(listed.iter().map(|kept| &kept.id).collect::<Vec<_>>(), [&id, &gone]);
        assert!(listed[1].deletion && !listed[0].deletion);
        let (kept, mut file) = spool.open(&id).unwrap();
        assert_eq!((&kept.key, &kept.base, kept.size), (&key, &base, 10));
        assert_eq!((kept.store.as_str(), kept.reason.as_str()), ("lmdb:/srv/db", "the disk is full"));
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"line\nline\0");
        let mode = fs::metadata(spool.file(&id)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "§8.7");

        spool.remove(&id).unwrap();
        assert_eq!(spool.open(&id).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(spool.remove("../../etc/passwd").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn every_word_has_its_number() {
        for number in 0..=Word::Array as u8 {
            assert_eq!(word_of_number(number).map(|word| word as u8), Some(number));
        }
        assert_eq!(word_of_number(Word::Array as u8 + 1), None);
    }
}
