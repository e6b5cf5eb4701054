//! A document that is a value of another store, as it was read: nothing is written to it.

use std::time::SystemTime;

use parking_lot::Mutex;

pub(crate) use super::Documents as Document;
use super::change::Lines;
use super::held::Held;
use super::host::{Host, Mark, Read};
use super::{caps, json};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Caps, Usage};
use crate::store::driver::TIMEOUT;

/// So much of a text says whether it may be a document, in bytes.
pub(crate) const BEGINNING: u64 = 512;

/// Whether a text that begins like this may be an object or an array.
pub(crate) fn may_begin(beginning: &[u8]) -> bool {
    let blank = |byte: &&u8| byte.is_ascii_whitespace() || matches!(byte, 0xEF | 0xBB | 0xBF);
    matches!(beginning.iter().find(|byte| !blank(byte)), Some(b'{' | b'['))
}

/// The document that a text of JSON is; `None` where it is none. `shown` says for people where it is; `newline`: whether each
/// file of a scalar ends in a line end that is not part of it.
pub(crate) fn document(
    text: Vec<u8>,
    modified: SystemTime,
    shown: String,
    newline: bool,
) -> Option<Document> {
    let host = Box::new(Fixed { shown, text: Mutex::new(text), modified });
    let held = Held::open(host, |text| Ok(Box::new(json::Json::read(text)?)), TIMEOUT).ok()?;
    let caps = Caps { write: false, ..caps("json") };
    Some(Document { held, caps, lines: Lines { added: newline }, refusal: None })
}

/// A text that stays as it is.
struct Fixed {
    shown: String,
    /// Given away to who reads it first.
    text: Mutex<Vec<u8>>,
    modified: SystemTime,
}

impl Host for Fixed {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn mark(&self) -> Result<Mark> {
        Ok(Mark::Fixed)
    }

    fn read(&self) -> Result<Read> {
        Ok(Read { text: std::mem::take(&mut *self.text.lock()), mark: Mark::Fixed, modified: self.modified })
    }

    fn replace(&self, _text: &[u8], _of: &Mark) -> Result<(Mark, SystemTime)> {
        Err(Error::new(ErrorKind::ReadOnly, "the parts of a value can only be read"))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn refusal(&self) -> Option<String> {
        None
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}
