//! What the server knows of a key besides its value, as extended attributes (§5.7): when it expires, which can be set, its
//! type, how it is kept, how long nobody used it, and what it costs.

use redis::{Cmd, Value as Reply, cmd};

use super::known::of;
use super::server::At;
use super::shared::{Shared, bytes, missing, number};
use crate::error::{Error, ErrorKind, Result};

/// The time to live, in seconds, with up to three digits behind the point.
pub(super) const TTL: &str = "user.kvfs.ttl";
const TYPE: &str = "user.kvfs.type";
const ENCODING: &str = "user.kvfs.encoding";
const IDLE: &str = "user.kvfs.idle";
const MEMORY: &str = "user.kvfs.memory";

/// What is known of a key; nothing where there is none.
///
/// # Errors
/// The server's.
pub(super) fn known(shared: &Shared, key: &[u8]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let about = |name: &str, about: &str| {
        let mut command = cmd(name);
        command.arg(about).arg(key);
        command
    };
    let questions: [Cmd; 5] = [
        of("TYPE", key),
        of("PTTL", key),
        about("OBJECT", "ENCODING"),
        about("OBJECT", "IDLETIME"),
        about("MEMORY", "USAGE"),
    ];
    let mut replies = shared.server.ask(At::Key(key), |session| session.ask(&questions))?.into_iter();
    // What the server does not tell, by its settings or its rights, is not there.
    let mut next = || replies.next().and_then(Result::ok).unwrap_or(Reply::Nil);
    let (kind, left) = (bytes(next()), next());
    let Some(kind) = kind.filter(|kind| kind != b"none") else { return Ok(Vec::new()) };
    let mut known = vec![(TYPE, kind)];
    if let Some(left) = number(&left).ok().and_then(|left| u64::try_from(left).ok()) {
        known.push((TTL, seconds(left).into_bytes()));
    }
    for name in [ENCODING, IDLE, MEMORY] {
        known.extend(bytes(next()).map(|value| (name, value)));
    }
    Ok(known)
}

/// Milliseconds as seconds.
pub(super) fn seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Sets the time to live, in seconds, or has the key stay for good.
///
/// # Errors
/// `Invalid` for what is no time, `NotFound` where there is no key.
pub(super) fn set(shared: &Shared, key: &[u8], ttl: Option<&[u8]>) -> Result<()> {
    let command = match ttl {
        None => of("PERSIST", key),
        Some(text) => expire(key, milliseconds(text)?),
    };
    let questions = [command, of("EXISTS", key)];
    let mut replies = shared.server.ask(At::Key(key), |session| session.change(&questions))?.into_iter();
    let mut next = || replies.next().unwrap_or(Ok(Reply::Nil)).map_err(shared.refused(key));
    let (done, there) = (number(&next()?)?, number(&next()?)?);
    shared.doubt(key);
    if done == 0 && there == 0 {
        return Err(missing(key));
    }
    Ok(())
}

/// What has a key expire in so many milliseconds, at least one: none removes it.
pub(super) fn expire(key: &[u8], milliseconds: u64) -> Cmd {
    let mut command = of("PEXPIRE", key);
    command.arg(milliseconds.max(1));
    command
}

/// Seconds as milliseconds.
///
/// # Errors
/// `Invalid` for what is no time to live.
pub(super) fn milliseconds(text: &[u8]) -> Result<u64> {
    let wrong = || {
        let sentence = format!("\"{}\" is no time to live: that is a number of seconds", text.escape_ascii());
        Error::new(ErrorKind::Invalid, sentence)
    };
    let seconds: f64 =
        str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let milliseconds = (seconds * 1000.0).round();
    if (1.0..1e15).contains(&milliseconds) { Ok(milliseconds as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_told_as_it_is_set() {
        for (text, shown) in [("10", "10"), ("0.5", "0.5"), ("1.2345", "1.235"), (" 60\n", "60")] {
            assert_eq!(seconds(milliseconds(text.as_bytes()).unwrap()), shown);
        }
        for wrong in ["", "0", "-1", "x", "nan", "inf", "1e300"] {
            assert_eq!(milliseconds(wrong.as_bytes()).unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
        }
    }
}
