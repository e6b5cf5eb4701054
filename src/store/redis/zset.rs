//! Sorted sets: a file for each member, whose content is its score.

use redis::{Cmd, Value as Reply};

use super::collection::Parts;
use super::hash::{nonsense, plain, with};
use super::known::of;
use super::link::Lost;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Segment;
use crate::store::repeating::Page;

/// Members that are asked for at once.
const TOGETHER: usize = 1000;

/// See the module.
pub(super) struct Zsets;

/// The shortest text that reads back as the same score.
pub(super) fn text(score: f64) -> String {
    let plain = score == 0.0 || !score.is_finite() || (1e-7..1e17).contains(&score.abs());
    match score {
        _ if score.is_infinite() => String::from(if score > 0.0 { "inf" } else { "-inf" }),
        _ if plain => score.to_string(),
        _ => format!("{score:e}"),
    }
}

/// The score that a file's text means; one line end at its end does not count.
///
/// # Errors
/// `Invalid` for what is no number.
pub(super) fn score(body: &[u8]) -> Result<f64> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let number = str::from_utf8(body).ok().and_then(|text| text.parse::<f64>().ok());
    number.filter(|number| !number.is_nan()).ok_or_else(|| {
        let sentence = format!("\"{}\" is no score: that is a number", body.escape_ascii());
        Error::new(ErrorKind::Invalid, sentence)
    })
}

impl Parts for Zsets {
    fn get(&self, key: &[u8], name: &[u8]) -> Option<Cmd> {
        Some(with(of("ZSCORE", key), name))
    }

    fn file(&self, reply: Reply) -> Result<Option<Vec<u8>>> {
        match reply {
            Reply::Nil => Ok(None),
            Reply::Double(score) => Ok(Some(text(score).into_bytes())),
            other => {
                let score: f64 =
                    redis::from_redis_value(other).map_err(|error| nonsense("ZSCORE", &error))?;
                Ok(Some(text(score).into_bytes()))
            }
        }
    }

    fn page(&self, session: &mut Session<'_>, key: &[u8], from: &[u8]) -> Result<Result<Page>, Lost> {
        let mut scan = of("ZSCAN", key);
        scan.arg(if from.is_empty() { b"0" } else { from }).arg("COUNT").arg(TOGETHER);
        let (next, pairs): (Vec<u8>, Vec<(Vec<u8>, f64)>) = match redis::from_redis_value(session.one(scan)?)
        {
            Ok(page) => page,
            Err(error) => return Ok(Err(nonsense("ZSCAN", &error))),
        };
        let parts = pairs.into_iter().map(|(name, score)| (name, text(score).len() as u64)).collect();
        Ok(Ok(Page { parts, next: Some(next).filter(|next| next != b"0") }))
    }

    fn is_same(&self, there: &[u8], body: &[u8]) -> Result<bool> {
        Ok(score(there)? == score(body)?)
    }

    fn put(&self, key: &[u8], part: Segment<'_>, body: &[u8], _there: bool, _count: u64) -> Result<Vec<Cmd>> {
        plain(part)?;
        let mut add = of("ZADD", key);
        add.arg(text(score(body)?)).arg(part.bytes);
        Ok(vec![add])
    }

    fn delete(&self, key: &[u8], name: &[u8], _count: u64) -> Result<Cmd> {
        Ok(with(of("ZREM", key), name))
    }

    fn count(&self, key: &[u8]) -> Cmd {
        of("ZCARD", key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scores_are_short_and_lose_one_line_end() {
        for (number, shown) in
            [(1.0, "1"), (0.1, "0.1"), (-0.0, "-0"), (1e300, "1e300"), (f64::INFINITY, "inf")]
        {
            assert_eq!(text(number), shown);
        }
        assert_eq!(score(b"2.5\n").unwrap(), 2.5);
        for wrong in [&b""[..], b"2\n\n", b"x", b"nan", b"1 "] {
            assert_eq!(score(wrong).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    proptest! {
        #[test]
        fn every_score_is_read_as_it_was_written(number in any::<f64>().prop_filter("a number", |n| !n.is_nan())) {
            prop_assert_eq!(score(text(number).as_bytes()).unwrap().to_bits(), number.to_bits());
        }
    }
}
