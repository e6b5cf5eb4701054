//! Which keys are shown: those that begin with a prefix, and match a glob (`?prefix=`, `?match=`).

use glob::Pattern;
use redis::{Cmd, cmd};

use super::address::Address;
use crate::error::{Error, ErrorKind, Result};

/// Which keys are shown.
#[derive(Debug, Default)]
pub(super) struct Restriction {
    /// What all of them begin with.
    pub prefix: Vec<u8>,
    /// The glob, as the server takes it, and here.
    pattern: Option<(String, Pattern)>,
}

impl Restriction {
    /// That of an address.
    ///
    /// # Errors
    /// `Invalid` for a glob that is none.
    pub(super) fn of(address: &Address) -> Result<Restriction> {
        let pattern = address.pattern.clone().map(|text| match Pattern::new(&text) {
            // What the server means by these, the globs here mean otherwise, and keys would be hidden for that.
            _ if text.contains('\\') || text.contains("[^") || text.contains("[!") || text.contains("**") => {
                let sentence = format!("?match={text}: only *, ? and [abc] are understood here");
                Err(Error::new(ErrorKind::Invalid, sentence))
            }
            Ok(pattern) => Ok((text, pattern)),
            Err(error) => Err(Error::new(ErrorKind::Invalid, format!("?match={text}: {error}"))),
        });
        Ok(Restriction { prefix: address.prefix.clone(), pattern: pattern.transpose()? })
    }

    /// Whether a key is shown.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
            && self.pattern.as_ref().is_none_or(|(_, pattern)| pattern.matches(&String::from_utf8_lossy(key)))
    }

    /// The question for a page of keys that begin with `prefix`, about `count` of them; there may come others, too.
    pub(super) fn scan(&self, prefix: &[u8], cursor: &[u8], count: usize) -> Cmd {
        let mut scan = cmd("SCAN");
        scan.arg(cursor);
        let prefix = if prefix.len() > self.prefix.len() { prefix } else { &self.prefix };
        match &self.pattern {
            Some((pattern, _)) => drop(scan.arg("MATCH").arg(pattern)),
            None if prefix.is_empty() => {}
            None => drop(scan.arg("MATCH").arg(escaped(prefix))),
        }
        scan.arg("COUNT").arg(count);
        scan
    }
}

/// The glob of all that begins with `prefix`.
pub(super) fn escaped(prefix: &[u8]) -> Vec<u8> {
    let mut glob = Vec::with_capacity(prefix.len() + 1);
    for &byte in prefix {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            glob.push(b'\\');
        }
        glob.push(byte);
    }
    glob.push(b'*');
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_no_glob() {
        assert_eq!(escaped(b"a*[1]:"), b"a\\*\\[1\\]:*");
        let restriction = Restriction { prefix: b"a*".to_vec(), pattern: None };
        assert!(restriction.has(b"a*b") && !restriction.has(b"ab"));
    }
}
