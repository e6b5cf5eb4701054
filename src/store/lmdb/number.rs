//! Integer keys and duplicates (`MDB_INTEGERKEY`, `MDB_INTEGERDUP`) as decimal names.
//!
//! LMDB keeps them as native integers, all of one width in a database: 4 bytes (`unsigned int`) or 8 (`size_t`).
//! The name is the number without leading zeros: `0`, `17`, `4294967296`.

use std::borrow::Cow;

/// How the keys, or the duplicates, of a database are written as segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Bytes,
    /// As decimal numbers of this many bytes.
    Number(usize),
}

/// The width of numbers in a database that has none yet: `size_t`.
const WIDTH: usize = 8;

impl Form {
    /// The form of numbers as wide as `sample`, one that is there.
    pub(super) fn number(sample: Option<&[u8]>) -> Form {
        match sample.map(<[u8]>::len) {
            Some(width @ (4 | 8)) => Form::Number(width),
            // LMDB compares integers of other widths, but no number is spelt by them.
            Some(_) => Form::Bytes,
            None => Form::Number(WIDTH),
        }
    }

    /// The segment of stored bytes.
    pub(super) fn segment(self, stored: &[u8]) -> Cow<'_, [u8]> {
        match (self, stored.len()) {
            (Form::Number(4), 4) => {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(stored);
                Cow::Owned(u32::from_ne_bytes(bytes).to_string().into_bytes())
            }
            (Form::Number(8), 8) => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(stored);
                Cow::Owned(u64::from_ne_bytes(bytes).to_string().into_bytes())
            }
            _ => Cow::Borrowed(stored),
        }
    }

    /// The bytes to store for a segment; `None` where it is no such number.
    pub(super) fn stored(self, segment: &[u8]) -> Option<Cow<'_, [u8]>> {
        let Form::Number(width) = self else { return Some(Cow::Borrowed(segment)) };
        let text = std::str::from_utf8(segment).ok()?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
            return None;
        }
        match width {
            4 => text.parse::<u32>().ok().map(|number| Cow::Owned(number.to_ne_bytes().to_vec())),
            _ => text.parse::<u64>().ok().map(|number| Cow::Owned(number.to_ne_bytes().to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_told_from_each_other_both_ways() {
        for number in [0u64, 1, 9, 10, u64::from(u32::MAX), u64::MAX] {
            let form = Form::Number(8);
            let stored = number.to_ne_bytes();
            let segment = form.segment(&stored);
            assert_eq!(segment, number.to_string().as_bytes());
            assert_eq!(form.stored(&segment).unwrap(), &stored[..]);
        }
        assert_eq!(Form::Number(4).segment(&7u32.to_ne_bytes()), &b"7"[..]);
        for wrong in ["", "01", "-1", "+1", " 1", "4294967296", "x"] {
            assert_eq!(Form::Number(4).stored(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
