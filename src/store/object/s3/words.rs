//! Texts in the values of headers: RFC 2047's encoded words, which S3 uses for what is not ASCII.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A text as a header's value: itself where it can be, else an encoded word.
pub(super) fn encode(text: &str) -> String {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.trim() == text
        && !text.contains("=?")
        && !text.contains("  ");
    if plain { text.to_owned() } else { format!("=?UTF-8?B?{}?=", STANDARD.encode(text)) }
}

/// What a header's value stands for. White space between two encoded words is theirs, not the text's.
pub(super) fn decode(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    let mut after_word = false;
    while let Some(start) = rest.find("=?") {
        let Some((word, used)) = word(&rest[start..]) else {
            text.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
            after_word = false;
            continue;
        };
        if !(after_word && rest[..start].trim().is_empty()) {
            text.push_str(&rest[..start]);
        }
        text.push_str(&word);
        rest = &rest[start + used..];
        after_word = true;
    }
    text.push_str(rest);
    text
}

/// The encoded word at the start of a text, and its length in bytes.
fn word(text: &str) -> Option<(String, usize)> {
    let mut fields = text.strip_prefix("=?")?.splitn(3, '?');
    let (charset, encoding, rest) = (fields.next()?, fields.next()?, fields.next()?);
    let content = &rest[..rest.find("?=")?];
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(content).ok()?,
        "Q" | "q" => quoted(content)?,
        _ => return None,
    };
    let decoded = match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "us-ascii" => String::from_utf8(bytes).ok()?,
        "iso-8859-1" => bytes.into_iter().map(char::from).collect(),
        _ => return None,
    };
    Some((decoded, 2 + charset.len() + 1 + encoding.len() + 1 + content.len() + 2))
}

fn quoted(content: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut left = content.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => hex::decode([left.next()?, left.next()?]).ok()?[0],
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for text in [
            "",
            "plain text/1.5",
            " space",
            "two  spaces",
            "tab\there",
            "ü😀",
            "=?UTF-8?B?eA==?=",
            "a=?b",
            "line\nbreak",
        ] {
            let value = encode(text);
            assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value:?}");
            assert_eq!(decode(&value), text, "{value:?}");
        }
    }

    #[test]
    fn the_words_of_others_are_read() {
        assert_eq!(decode("=?UTF-8?Q?a=C3=BC_b?="), "aü b");
        assert_eq!(decode("x =?utf-8?b?w7w=?= =?utf-8?b?w7w=?= y"), "x üü y");
        assert_eq!(decode("=?ISO-8859-1?Q?=FC?="), "ü");
        assert_eq!(decode("=?UTF-8?X?a?="), "=?UTF-8?X?a?=");
        assert_eq!(decode("=?"), "=?");
        assert_eq!(decode("=?UTF-8?Q?=Z"), "=?UTF-8?Q?=Z");
    }
}
