//! Strings of JSON, and what they say.

use std::borrow::Cow;

/// What a string says; `token` has its quotes and is well-formed. `None` for half of a surrogate pair, which is no text.
pub(super) fn decode(token: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inside = &token[1..token.len() - 1];
    if !inside.contains(&b'\\') {
        return Some(Cow::Borrowed(inside));
    }
    let mut said = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        said.extend_from_slice(&rest[..at]);
        let kind = rest[at + 1];
        rest = &rest[at + 2..];
        let byte = match kind {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, after) = character(rest)?;
                said.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            other => other,
        };
        said.push(byte);
    }
    said.extend_from_slice(rest);
    Some(Cow::Owned(said))
}

/// The character whose digits come behind `\u`, and what follows them.
fn character(rest: &[u8]) -> Option<(char, &[u8])> {
    let unit = |digits: &[u8]| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
    let (digits, rest) = rest.split_at_checked(4)?;
    let first = unit(digits)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some((char::from_u32(first)?, rest));
    }
    let (digits, rest) = rest.strip_prefix(b"\\u")?.split_at_checked(4)?;
    let second = unit(digits)?.checked_sub(0xDC00).filter(|unit| *unit < 0x400)?;
    Some((char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + second)?, rest))
}

/// The string that says `text`, with its quotes.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut token = Vec::with_capacity(text.len() + 2);
    token.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => token.extend_from_slice(&[b'\\', byte]),
            b'\n' => token.extend_from_slice(b"\\n"),
            b'\r' => token.extend_from_slice(b"\\r"),
            b'\t' => token.extend_from_slice(b"\\t"),
            8 => token.extend_from_slice(b"\\b"),
            12 => token.extend_from_slice(b"\\f"),
            0..0x20 => token.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => token.push(byte),
        }
    }
    token.push(b'"');
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_say_what_they_are_made_of() {
        for text in ["", "a", "\"\\/\u{8}\u{c}\n\r\t\0\u{1f}", "é€😀"] {
            assert_eq!(decode(&encode(text)).unwrap(), text.as_bytes(), "{text:?}");
        }
        assert_eq!(decode(br#""\ud83d\ude00\u00e9\/""#).unwrap(), "😀é/".as_bytes());
    }

    #[test]
    fn half_of_a_pair_is_no_text() {
        for token in [&br#""\ud83d""#[..], br#""\ude00""#, br#""\ud83dx""#, br#""\ud83d\u0041""#] {
            assert_eq!(decode(token), None);
        }
    }
}
