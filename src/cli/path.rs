//! `kvfs path` and `kvfs key`: names without a mount (§1.10).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::Args;

use super::{Failure, Outcome, output};
use crate::config::Separator;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, Word};
use crate::{name, store::flat};

/// Tell the path of a key below a mount
///
/// The inverse of `kvfs key`. Where other keys lie below the key, its file is %value in the directory of this path.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kvfs path users/ada             users/ada
  kvfs path a//b                  a/%empty/b
  kvfs path --hex 61002f62        a%00/b")]
pub struct Path {
    /// The key, as its bytes are
    #[arg(value_name = "KEY")]
    key: OsString,

    /// What splits keys into directories; `none`: each key is one file
    #[arg(long, value_name = "S|none", default_value = "/")]
    separator: Separator,

    /// KEY is in hexadecimal digits: for bytes that a command line cannot hold
    #[arg(long)]
    hex: bool,
}

impl Path {
    pub fn run(self) -> Outcome {
        let flat_key = if self.hex { from_hex(self.key)? } else { self.key.into_vec() };
        let key = flat::Separator::new(self.separator.into_bytes()).split(&flat_key);
        Ok(output::print_bytes(&name::path(&key))?)
    }
}

fn from_hex(digits: OsString) -> Result<Vec<u8>, Failure> {
    hex::decode(digits.into_vec()).map_err(|error| {
        let sentence = format!("KEY is not in hexadecimal digits: {error}; two digits make a byte");
        Failure::Usage(Error::new(ErrorKind::Invalid, sentence))
    })
}

/// Tell the key of a path below a mount
///
/// The inverse of `kvfs path`. PATH begins at the mount point: for ./data/users/ada it is users/ada.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kvfs key a/%empty/b             a//b
  kvfs key --hex 'a%00/b'         61002f62")]
pub struct KeyOf {
    /// The path, from the mount point on
    #[arg(value_name = "PATH")]
    path: OsString,

    /// What joins directories to keys
    #[arg(long, value_name = "S|none", default_value = "/")]
    separator: Separator,

    /// Print the key in hexadecimal digits
    #[arg(long)]
    hex: bool,
}

impl KeyOf {
    pub fn run(self) -> Outcome {
        let shown = self.path.to_string_lossy().into_owned();
        let refuse = |why: &str| {
            Failure::Failed(Error::new(ErrorKind::Invalid, format!("no key is shown at {shown}: {why}")))
        };
        let key = name::key(&self.path.into_vec()).ok_or_else(|| refuse("a name in it stands for no key"))?;
        let (database, key) = below_databases(&key);
        let separator = flat::Separator::new(self.separator.into_bytes());
        let flat_key =
            separator.join(&key).ok_or_else(|| refuse("with this separator it would be split otherwise"))?;
        if let Some(database) = database {
            output::tell(format_args!("in the database {}", database.escape_ascii()));
        }
        let printed = if self.hex { hex::encode(flat_key).into_bytes() } else { flat_key };
        Ok(output::print_bytes(&printed)?)
    }
}

/// A named database at the top, and the key in it.
fn below_databases(key: &Key) -> (Option<Vec<u8>>, Key) {
    match key.segment(0) {
        Some(segment) if segment.word == Word::Db => (Some(segment.bytes.to_owned()), key.below(1)),
        _ => (None, key.clone()),
    }
}
