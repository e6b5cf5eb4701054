//! Reading what stands before the data of a `.npy` file: a dictionary as Python writes it, in which there are texts, `True`
//! and `False`, and a tuple of numbers.

use super::MAGIC;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;

/// The longest text, in bytes: numpy itself reads 10,000.
const TEXT_MAX: u32 = 64 << 10;

/// What a file says of its array.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Array {
    /// The type of its elements, in numpy's words: `<f4`.
    pub descr: String,
    /// Whether the first index goes fastest, and not the last.
    pub fortran_order: bool,
    pub shape: Vec<u64>,
    /// Where the data begin.
    pub data: u64,
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("it is no .npy file: {why}"))
}

impl Array {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// `Invalid` for what numpy does not write, and for types that it has no plain name for; the spill file's.
    pub fn read(body: &Payload) -> Result<Array> {
        let mut fixed = [0; 12];
        let read = body.read(0, &mut fixed)?;
        if read < 10 || !fixed.starts_with(MAGIC) {
            return Err(invalid("it does not begin as one"));
        }
        let (length, begin) = match fixed[6] {
            1 => (u32::from(u16::from_le_bytes([fixed[8], fixed[9]])), 10),
            2 | 3 => (u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]), 12),
            version => return Err(invalid(&format!("version {version} of the format is not known"))),
        };
        if length > TEXT_MAX {
            return Err(invalid(&format!("a head of {length} bytes")));
        }
        let mut text = vec![0; length as usize];
        if body.read(begin, &mut text)? < text.len() {
            return Err(invalid("it ends in its head"));
        }
        let text = std::str::from_utf8(&text).map_err(|_| invalid("its head is no text"))?;
        Literal { rest: text }.array(begin + u64::from(length))
    }
}

/// What is left to be read.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn array(mut self, data: u64) -> Result<Array> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let name = self.text()?;
            self.expect(':')?;
            match name {
                "descr" if self.rest.trim_start().starts_with('[') => {
                    return Err(invalid(
                        "a structured type has no place in a tensor: save its fields one by one",
                    ));
                }
                "descr" => descr = Some(self.text()?.to_owned()),
                "fortran_order" => fortran_order = Some(self.truth()?),
                "shape" => shape = Some(self.numbers()?),
                other => return Err(invalid(&format!("{other:?} is not known"))),
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(invalid("something stands behind its dictionary"));
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => {
                Ok(Array { descr, fortran_order, shape, data })
            }
            _ => Err(invalid("its type, order or shape is missing")),
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(invalid(&format!("its head has no {wanted:?} where one belongs")))
        }
    }

    fn text(&mut self) -> Result<&'a str> {
        let quote = if self.take('\'') { '\'' } else { self.expect('"').map(|()| '"')? };
        let (text, rest) =
            self.rest.split_once(quote).ok_or_else(|| invalid("a text in its head has no end"))?;
        self.rest = rest;
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool> {
        let rest = self.rest.trim_start();
        for (word, truth) in [("True", true), ("False", false)] {
            if let Some(rest) = rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(truth);
            }
        }
        Err(invalid("its order is neither True nor False"))
    }

    fn numbers(&mut self) -> Result<Vec<u64>> {
        self.expect('(')?;
        let mut numbers = Vec::new();
        while !self.take(')') {
            let rest = self.rest.trim_start();
            let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
            let (number, rest) = rest.split_at(digits);
            numbers.push(number.parse().map_err(|_| invalid("its shape is no tuple of numbers"))?);
            // Python 2 wrote long numbers so.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::head;
    use super::*;
    use crate::store::safetensors::dtype::ElementType;

    fn with_text(text: &str) -> Payload {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(text.len() as u16).to_le_bytes());
        file.extend_from_slice(text.as_bytes());
        Payload::of(&file).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[][..], &[0], &[7], &[2, 3]] {
            let dtype = ElementType::named("F32").unwrap();
            let file = head(dtype, shape, 0);
            let array = Array::read(&Payload::of(&file).unwrap()).unwrap();
            assert_eq!((&*array.descr, array.fortran_order, &*array.shape), ("<f4", false, shape));
            assert_eq!(array.data, file.len() as u64);
        }
        let odd = with_text("{\"shape\":(3L,),'descr' : '>i2','fortran_order':True}\n");
        let array = Array::read(&odd).unwrap();
        assert_eq!((&*array.descr, array.fortran_order, &*array.shape), (">i2", true, &[3][..]));
    }

    #[test]
    fn what_is_none_is_refused_with_a_sentence() {
        for (text, told) in [
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "structured"),
            ("{'descr': '<f4', 'shape': (1,)}", "missing"),
            ("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "neither"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "tuple"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "behind"),
            ("{'descr': '<f4", "no end"),
            ("{'odd': '<f4'}", "odd"),
            ("", "'{'"),
        ] {
            let refusal = Array::read(&with_text(text)).unwrap_err();
            assert!(refusal.to_string().contains(told), "{text}: {refusal}");
        }
        Array::read(&Payload::of(b"\x93NUMPY\x01\x00\xff\xff{").unwrap()).unwrap_err();
        Array::read(&Payload::of(b"PK").unwrap()).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}'(),:a-e0-9L TrueFalsdptn]{0,60}") {
            drop(Array::read(&with_text(&text)));
        }
    }
}
