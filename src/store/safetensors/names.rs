//! The names of tensors as flat keys, which [`crate::store::flat`] makes a tree of: a name is cut at the mount's separator,
//! its parts are joined by a byte that no name has, since names are UTF-8, and `.npy` ends the last one.
//!
//! | name, with the separator `.` | flat key | file |
//! |---|---|---|
//! | `h.0.weight` | `h` 0xFF `0` 0xFF `weight.npy` | `h/0/weight.npy` |
//! | `a/b` | `a/b.npy` | `a%2Fb.npy` |

use super::header::METADATA;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::flat::Separator;

/// What joins the parts of a flat key.
const JOINT: u8 = 0xFF;
/// What the file of a tensor ends in.
const SUFFIX: &[u8] = b".npy";

/// How tensors are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As numpy's files.
    Npy,
    /// As plain bytes, below `%raw`.
    Raw,
}

/// How names are cut.
#[derive(Debug)]
pub(super) struct Names {
    separator: Separator,
}

impl Names {
    pub fn new(separator: Option<Vec<u8>>) -> Names {
        Names { separator: Separator::new(separator) }
    }

    /// What joins the parts of flat keys, for [`crate::store::flat::Flat`]; `None` where names are not cut.
    pub fn joint(&self) -> Option<Vec<u8>> {
        self.separator.is_some().then(|| vec![JOINT])
    }

    /// The flat key of a tensor.
    pub fn flat(&self, name: &str, form: Form) -> Vec<u8> {
        let mut flat = Vec::with_capacity(name.len() + SUFFIX.len());
        let mut rest = name.as_bytes();
        while let Some(at) = self.separator.find(rest) {
            flat.extend_from_slice(&rest[..at]);
            flat.push(JOINT);
            rest = &rest[at + self.separator.as_bytes().len()..];
        }
        flat.extend_from_slice(rest);
        if form == Form::Npy {
            flat.extend_from_slice(SUFFIX);
        }
        flat
    }

    /// Refuses what joins the parts of flat keys in a part of a key, which is no text then.
    ///
    /// # Errors
    /// `NameEncoding`.
    pub fn check_text(&self, key: &Key) -> Result<()> {
        if !key.segments().any(|segment| segment.bytes.contains(&JOINT)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NameEncoding, format!("{key:?}: names of tensors are UTF-8")))
    }

    /// Whether there can be a tensor of this flat key, or one below it.
    ///
    /// # Errors
    /// As for [`Names::name`].
    pub fn check(&self, flat: &[u8], form: Form) -> Result<()> {
        let refusal = match self.name(flat, form) {
            Ok(_) => return Ok(()),
            Err(refusal) => refusal,
        };
        let below = [flat, &[JOINT], b"x"].concat();
        let fits = self.separator.is_some() && self.name(&below, Form::Raw).is_ok();
        if fits { Ok(()) } else { Err(refusal) }
    }

    /// What the names of all tensors below a flat key begin with.
    pub fn prefix(&self, flat: &[u8]) -> Vec<u8> {
        match self.separator.is_some() {
            true => flat.split(|byte| *byte == JOINT).collect::<Vec<_>>().join(self.separator.as_bytes()),
            false => flat.to_vec(),
        }
    }

    /// The name of the tensor that has this flat key.
    ///
    /// # Errors
    /// `Invalid` or `NameEncoding` where no tensor has it.
    pub fn name(&self, flat: &[u8], form: Form) -> Result<String> {
        let shown = || flat.escape_ascii();
        let stem = match form {
            Form::Npy => flat.strip_suffix(SUFFIX).ok_or_else(|| {
                let sentence = format!("\"{}\": a tensor is a file whose name ends in .npy", shown());
                Error::new(ErrorKind::Invalid, sentence)
            })?,
            Form::Raw => flat,
        };
        let parts: Vec<&[u8]> = match self.separator.is_some() {
            true => stem.split(|byte| *byte == JOINT).collect(),
            false => vec![stem],
        };
        let name = String::from_utf8(parts.join(self.separator.as_bytes())).map_err(|_| {
            Error::new(ErrorKind::NameEncoding, format!("\"{}\": names of tensors are UTF-8", shown()))
        })?;
        if self.flat(&name, form) != flat {
            let separator = self.separator.as_bytes().escape_ascii();
            let sentence = format!("\"{}\": a part of a name has no \"{separator}\"", shown());
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        if name == METADATA {
            let sentence = "__metadata__ is no tensor: %metadata.json has the metadata";
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_flat_key() {
        for separator in [None, Some("."), Some("/"), Some("::")] {
            let names = Names::new(separator.map(|text| text.as_bytes().to_vec()));
            for name in ["a", "a.b", "a..b", ".", "a/b", "", "a:::b", "é\0", "a.npy", "a.npy.b"] {
                for form in [Form::Npy, Form::Raw] {
                    let flat = names.flat(name, form);
                    assert_eq!(names.name(&flat, form).unwrap(), name, "{separator:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_name_of_a_tensor_is_refused() {
        let names = Names::new(Some(b".".to_vec()));
        for wrong in [&b"a"[..], b"a.b.npy", b"\xC3.npy", b"__metadata__.npy"] {
            names.name(wrong, Form::Npy).unwrap_err();
        }
        assert_eq!(names.flat("h.0", Form::Npy), b"h\xFF0.npy");
        names.check(b"h", Form::Npy).unwrap();
        for wrong in [&b"a.b"[..], b"\xC3"] {
            names.check(wrong, Form::Npy).unwrap_err();
        }
        Names::new(None).check(b"h", Form::Npy).unwrap_err();
    }
}
