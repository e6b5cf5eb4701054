//! The terminal: the one place that prints.

use std::fmt::Display;
use std::io::{self, Read, Write};

use crate::error::{Error, Result};

/// The exit code of a program that writes into a closed pipe: 128 and SIGPIPE.
const BROKEN_PIPE: i32 = 141;

/// Prints text and a newline. A reader that has seen enough (`kvfs status | head`) ends the program quietly.
///
/// # Errors
/// That of the output: a full disk.
pub fn print(text: impl Display) -> Result<()> {
    let mut output = io::stdout().lock();
    written(writeln!(output, "{text}").and_then(|()| output.flush()))
}

/// Prints bytes as they are, and a newline.
///
/// # Errors
/// As for [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    copy(&mut bytes.chain(&b"\n"[..]))
}

/// Copies bytes to standard output.
///
/// # Errors
/// As for [`print`], and those of `bytes`.
pub fn copy(bytes: &mut impl Read) -> Result<()> {
    let mut output = io::stdout().lock();
    written(io::copy(bytes, &mut output).and_then(|_| output.flush()))
}

fn written(outcome: io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(BROKEN_PIPE),
        outcome => outcome.map_err(|e| Error::io("standard output", &e)),
    }
}

/// Tells the user something on standard error. Where nobody can read it, there is nobody to tell.
pub fn tell(sentence: impl Display) {
    drop(writeln!(io::stderr().lock(), "kvfs: {sentence}"));
}

/// Lines up columns, two spaces apart; the last one is not padded.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A number of bytes for people: `511 bytes`, `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let exponent = (bytes.max(1).ilog2() / 10) as usize;
    match exponent.checked_sub(1).and_then(|index| UNITS.get(index)) {
        None => format!("{bytes} bytes"),
        Some(unit) => {
            let tenths = (u128::from(bytes) * 10) >> (10 * exponent);
            if tenths.is_multiple_of(10) {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), "x".to_owned()]];
        assert_eq!(columns(&rows), "a     b\nlong  x");
    }
}
