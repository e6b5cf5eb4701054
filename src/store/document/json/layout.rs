//! Line ends and indentation, as a text has them.

use std::ops::Range;

/// The line end that the text has.
pub(super) fn line_end(text: &[u8]) -> &'static [u8] {
    let first = text.iter().position(|byte| *byte == b'\n');
    if first.is_some_and(|at| at > 0 && text[at - 1] == b'\r') { b"\r\n" } else { b"\n" }
}

/// What the line that `at` is in is indented with.
pub(super) fn indentation(text: &[u8], at: usize) -> &[u8] {
    let begin = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    white(&text[begin..at])
}

/// The white space that `line` begins with.
fn white(line: &[u8]) -> &[u8] {
    let length = line.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    &line[..length]
}

/// The value at `span` without the indentation of the line that it begins in, where all its lines have that.
pub(super) fn outdented(text: &[u8], span: Range<usize>) -> Vec<u8> {
    let value = &text[span.clone()];
    let base = indentation(text, span.start);
    let mut rest = value.split(|byte| *byte == b'\n').skip(1);
    if base.is_empty() || !rest.all(|line| line.starts_with(base)) {
        return value.to_vec();
    }
    let mut lines = value.split(|byte| *byte == b'\n');
    let mut all = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        all.push(b'\n');
        all.extend_from_slice(&line[base.len()..]);
    }
    all
}

/// A value with each line but the first one indented by `base`.
pub(super) fn indented(value: &[u8], base: &[u8]) -> Vec<u8> {
    let mut lines = value.split(|byte| *byte == b'\n');
    let mut all = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        all.push(b'\n');
        if !matches!(line, b"" | b"\r") {
            all.extend_from_slice(base);
        }
        all.extend_from_slice(line);
    }
    all
}
