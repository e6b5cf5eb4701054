//! The tokens of JSON, with comments (`//` to the end of the line, `/* */`) and trailing commas, as editors write them. Nothing
//! here looks at more than one value, and nothing calls itself.

/// What is wrong, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: usize,
    pub why: &'static str,
}

pub(super) type Scanned<T> = Result<T, Wrong>;

fn wrong<T>(at: usize, why: &'static str) -> Scanned<T> {
    Err(Wrong { at, why })
}

/// Where the next token begins: behind white space and comments.
pub(super) fn blank(text: &[u8], mut at: usize) -> Scanned<usize> {
    loop {
        match text.get(at) {
            Some(b' ' | b'\n' | b'\r' | b'\t') => at += 1,
            Some(b'/') => at = comment(text, at)?,
            _ => return Ok(at),
        }
    }
}

/// The end of the comment that begins at `at`; of one to the end of the line, before the line end.
pub(super) fn comment(text: &[u8], at: usize) -> Scanned<usize> {
    match text.get(at + 1) {
        Some(b'/') => {
            let length = text[at..].iter().position(|byte| *byte == b'\n');
            let end = length.map_or(text.len(), |length| at + length);
            Ok(if text[..end].ends_with(b"\r") { end - 1 } else { end })
        }
        Some(b'*') => {
            let inside = &text[at + 2..];
            let length = inside.windows(2).position(|pair| pair == b"*/");
            length.map_or_else(|| wrong(at, "a comment without an end"), |length| Ok(at + 2 + length + 2))
        }
        _ => wrong(at, "a value or a comment is expected"),
    }
}

/// The end of the string whose quote is at `at`.
pub(super) fn string(text: &[u8], at: usize) -> Scanned<usize> {
    let mut next = at + 1;
    loop {
        match text.get(next) {
            Some(b'"') => return Ok(next + 1),
            Some(b'\\') => next = escape(text, next)?,
            Some(0..0x20) => return wrong(next, "a control character in a string"),
            Some(_) => next += 1,
            None => return wrong(at, "a string without an end"),
        }
    }
}

fn escape(text: &[u8], at: usize) -> Scanned<usize> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => wrong(at, "four hexadecimal digits are expected behind \\u"),
        },
        _ => wrong(at, "no escape of JSON"),
    }
}

/// The end of the number at `at`.
pub(super) fn number(text: &[u8], at: usize) -> Scanned<usize> {
    let digits = |mut at: usize| {
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut end = at + usize::from(text.get(at) == Some(&b'-'));
    let whole = end;
    end = digits(end);
    if end == whole || (text[whole] == b'0' && end > whole + 1) {
        return wrong(at, "no number of JSON");
    }
    if text.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits(fraction);
        if end == fraction {
            return wrong(at, "no number of JSON");
        }
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let exponent = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits(exponent);
        if end == exponent {
            return wrong(at, "no number of JSON");
        }
    }
    Ok(end)
}

/// The end of the scalar at `at`.
pub(super) fn scalar(text: &[u8], at: usize) -> Scanned<usize> {
    let word = |word: &[u8]| {
        if text[at..].starts_with(word) { Ok(at + word.len()) } else { wrong(at, "no value of JSON") }
    };
    let end = match text.get(at) {
        Some(b'"') => return string(text, at),
        Some(b'-' | b'0'..=b'9') => number(text, at)?,
        Some(b't') => word(b"true")?,
        Some(b'f') => word(b"false")?,
        Some(b'n') => word(b"null")?,
        Some(_) => return wrong(at, "a value is expected"),
        None => return wrong(at, "the text ends where a value is expected"),
    };
    match text.get(end) {
        Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-') => {
            wrong(at, "no value of JSON")
        }
        _ => Ok(end),
    }
}
