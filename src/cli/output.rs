//! The terminal: the one place that prints.

use std::fmt::Display;
use std::io::{self, Write};

use crate::error::{Error, Result};

/// The exit code of a program that writes into a closed pipe: 128 and SIGPIPE.
const BROKEN_PIPE: i32 = 141;

/// Prints text and a newline. A reader that has seen enough (`kvfs status | head`) ends the program quietly.
///
/// # Errors
/// That of the output: a full disk.
pub fn print(text: impl Display) -> Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(BROKEN_PIPE),
        written => written.map_err(|e| Error::io("standard output", &e)),
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
