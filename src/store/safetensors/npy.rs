//! The `.npy` format (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>): what stands before the data,
//! written as numpy itself writes it, byte for byte, and read as numpy writes it.
//!
//! ```text
//!  \x93NUMPY 1 0 118 0 {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }      ...  \n | data
//!  0             8     10                                                                       128
//! ```

mod read;

use std::fmt::Write as _;

pub(super) use read::Array;

use super::dtype::ElementType;

/// What a file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The data begin at a multiple of this, so that they can be mapped.
const ALIGNMENT: usize = 64;
/// numpy leaves room for the first extent to grow to so many digits.
const GROWTH: usize = 21;
/// What stands before the text: the magic, a version of two bytes, a length of two.
const FIXED: usize = MAGIC.len() + 4;

/// What stands before the data of a tensor. It has at most 64 dimensions, so that the length fits version 1.0.
pub(super) fn head(dtype: ElementType, shape: &[u64], length: u64) -> Vec<u8> {
    let packed = [length];
    let shape = if dtype.is_packed() { &packed } else { shape };
    let mut text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': (", dtype.descr());
    for (index, extent) in shape.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{extent}");
    }
    text.push_str(if shape.len() == 1 { ",), }" } else { "), }" });
    if let Some(first) = shape.first() {
        let digits = first.checked_ilog10().unwrap_or(0) as usize + 1;
        text.extend(std::iter::repeat_n(' ', GROWTH.saturating_sub(digits)));
    }
    let end = (FIXED + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.extend(std::iter::repeat_n(' ', end - FIXED - text.len() - 1));
    text.push('\n');
    let mut head = Vec::with_capacity(end);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&[1, 0]);
    head.extend_from_slice(&(text.len() as u16).to_le_bytes());
    head.extend_from_slice(text.as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use ::safetensors::tensor::Dtype;

    use super::*;

    #[test]
    fn a_head_is_what_numpy_writes() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        let expected = format!("\u{93}NUMPY\u{1}\0v\0{text:<117}\n");
        let expected: Vec<u8> = expected.chars().map(|char| char as u8).collect();
        assert_eq!(head(ElementType(Dtype::F32), &[2, 3], 24), expected);
        for shape in [&[][..], &[0], &[7], &[1; 64], &[u64::MAX / 8]] {
            let head = head(ElementType(Dtype::F64), shape, 0);
            assert_eq!((head.len() % ALIGNMENT, head.last()), (0, Some(&b'\n')));
        }
        let packed = head(ElementType(Dtype::F4), &[4, 2], 4);
        assert!(String::from_utf8_lossy(&packed).contains("'|V1', 'fortran_order': False, 'shape': (4,)"));
    }
}
