//! Which moment of a store is shown: `now`, a time, or how long ago.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// One moment of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When it is mounted.
    Now,
    /// This time.
    At(SystemTime),
    /// So long before it is mounted.
    Ago(Duration),
}

impl Moment {
    /// The earlier moment that is meant; `None`: now.
    pub fn past(self, now: SystemTime) -> Option<SystemTime> {
        match self {
            Moment::Now => None,
            Moment::At(time) => Some(time),
            Moment::Ago(time) => Some(now.checked_sub(time).unwrap_or(SystemTime::UNIX_EPOCH)),
        }
    }

    /// The text that [`parse_moment`] reads.
    pub fn text(self) -> String {
        match self {
            Moment::Now => "now".to_owned(),
            Moment::At(time) => humantime::format_rfc3339(time).to_string(),
            Moment::Ago(time) => humantime::format_duration(time).to_string(),
        }
    }
}

/// Reads `now`, a time (`2026-01-31T10:00:00Z`; without a zone it is local, without a time of day the day's beginning), or
/// how long ago (`2h`, `3days`).
///
/// # Errors
/// `Invalid`.
pub fn parse_moment(text: &str) -> Result<Moment> {
    if text == "now" {
        return Ok(Moment::Now);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Moment::At(time.into()));
    }
    if let Ok(local) = text.parse::<civil::DateTime>()
        && let Ok(time) = local.to_zoned(TimeZone::system())
    {
        return Ok(Moment::At(time.timestamp().into()));
    }
    humantime::parse_duration(text).map(Moment::Ago).map_err(|_| {
        let sentence = format!(
            "snapshot {text:?}: write a time such as 2026-01-31T10:00:00Z or \"2026-01-31 10:00\", or how long ago: 2h"
        );
        Error::new(ErrorKind::Invalid, sentence)
    })
}

/// In files: `true`, `false`, or what [`parse_moment`] reads.
pub(super) mod serial {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Now(bool),
        Text(String),
    }

    pub fn serialize<S: serde::Serializer>(
        moment: &Option<Moment>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match moment {
            None => Written::Now(false),
            Some(Moment::Now) => Written::Now(true),
            Some(moment) => Written::Text(moment.text()),
        }
        .serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Moment>, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Now(now) => Ok(now.then_some(Moment::Now)),
            Written::Text(text) => parse_moment(&text).map(Some).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        let at = |seconds| Moment::At(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(parse_moment("now").unwrap(), Moment::Now);
        assert_eq!(parse_moment("2009-02-13T23:31:30Z").unwrap(), at(1_234_567_890));
        assert_eq!(parse_moment("2009-02-14 01:31:30+02:00").unwrap(), at(1_234_567_890));
        assert_eq!(parse_moment("90min").unwrap(), Moment::Ago(Duration::from_secs(5400)));
        for text in ["2009-02-13", "2009-02-13T23:31", "2009-02-13 23:31:30"] {
            assert!(matches!(parse_moment(text).unwrap(), Moment::At(_)), "{text}");
        }
        for text in ["", "./data", "yesterday", "2009-13-01", "lmdb:./store", "-2h"] {
            assert_eq!(parse_moment(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
        for moment in [Moment::Now, at(1_234_567_890), Moment::Ago(Duration::from_secs(5400))] {
            assert_eq!(parse_moment(&moment.text()).unwrap(), moment);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        assert_eq!(Moment::Ago(Duration::from_secs(400)).past(now), at(9_600).past(now));
        assert_eq!(Moment::Now.past(now), None);
    }
}
