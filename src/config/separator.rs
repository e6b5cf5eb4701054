//! The separator of a mount, in the form that a command line can hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// What splits keys into directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Separator {
    /// Nothing: each key is one file.
    None,
    /// These bytes, at least one.
    Bytes(Vec<u8>),
}

impl Separator {
    /// The bytes, if there are any.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Separator::None => None,
            Separator::Bytes(bytes) => Some(bytes),
        }
    }
}

impl FromStr for Separator {
    type Err = Error;

    /// Reads `none`, or bytes with the escapes `\\`, `\0`, `\t`, `\n`, `\r` and `\xHH`.
    fn from_str(text: &str) -> Result<Separator> {
        let wrong = |why: &str| Error::new(ErrorKind::Invalid, format!("the separator {text:?} {why}"));
        if text == "none" {
            return Ok(Separator::None);
        }
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            if character != '\\' {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            let escape = rest.chars().next().ok_or_else(|| wrong("ends in a lone backslash: write \\\\"))?;
            rest = &rest[escape.len_utf8()..];
            bytes.push(match escape {
                '\\' => b'\\',
                '0' => 0,
                't' => b'\t',
                'n' => b'\n',
                'r' => b'\r',
                'x' => {
                    let digits = rest.get(..2).ok_or_else(|| wrong("has no two digits after \\x"))?;
                    rest = &rest[2..];
                    u8::from_str_radix(digits, 16).map_err(|_| wrong("has no two digits after \\x"))?
                }
                _ => return Err(wrong("has an unknown escape: there are \\\\ \\0 \\t \\n \\r \\xHH")),
            });
        }
        if bytes.is_empty() {
            return Err(wrong("is empty: `none` makes each key one file"));
        }
        Ok(Separator::Bytes(bytes))
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Separator::Bytes(bytes) = self else { return f.write_str("none") };
        if bytes == b"none" {
            return f.write_str("\\x6eone");
        }
        for &byte in bytes {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                0x20..=0x7e => write!(f, "{}", byte as char)?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Separator {
    type Error = Error;

    fn try_from(text: String) -> Result<Separator> {
        text.parse()
    }
}

impl From<Separator> for String {
    fn from(separator: Separator) -> String {
        separator.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_bytes() {
        let bytes = |text: &str| text.parse::<Separator>().unwrap().into_bytes();
        assert_eq!(bytes(r"\0\t\n\r\\\x41:"), Some(b"\0\t\n\r\\A:".to_vec()));
        assert_eq!(bytes("·"), Some("·".as_bytes().to_vec()));
        assert_eq!(bytes("none"), None);
        for wrong in ["", r"\", r"\q", r"\x4", r"\xzz", r"\x·"] {
            assert!(wrong.parse::<Separator>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_separator_is_read_as_it_was_written(bytes in prop::collection::vec(any::<u8>(), 1..9)) {
            let separator = Separator::Bytes(bytes);
            prop_assert_eq!(separator.to_string().parse::<Separator>().unwrap(), separator);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            drop(text.parse::<Separator>());
        }
    }

    #[test]
    fn a_separator_may_be_called_none() {
        let separator = Separator::Bytes(b"none".to_vec());
        assert_eq!(separator.to_string().parse::<Separator>().unwrap(), separator);
    }
}
