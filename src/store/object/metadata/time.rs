//! Times as words: seconds with a fraction, or RFC 3339; to the nanosecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::Style;

const SECOND: u32 = 1_000_000_000;

/// Reads a time in either form.
pub(super) fn read(style: Style, text: &str) -> Option<SystemTime> {
    let text = text.trim();
    seconds(style, text).or_else(|| {
        let moment = text.parse::<Timestamp>().ok()?;
        at(
            moment.as_nanosecond().div_euclid(SECOND.into()),
            moment.as_nanosecond().rem_euclid(SECOND.into()) as u32,
        )
    })
}

/// Seconds since 1970, with a decimal fraction. Before 1970 s3fs counts the fraction forward (`-1.5` is half a second
/// before 1970) and everybody else backward.
fn seconds(style: Style, text: &str) -> Option<SystemTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || !all_digits(digits) || !all_digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse::<u32>().ok()?;
    let whole_seconds = whole.parse::<i64>().ok()?;
    if whole.starts_with('-') && style != Style::S3fs && nanoseconds > 0 {
        return at(i128::from(whole_seconds) - 1, SECOND - nanoseconds);
    }
    at(whole_seconds.into(), nanoseconds)
}

/// The moment so many seconds after 1970, rounded down, and nanoseconds after that.
fn at(seconds: i128, nanoseconds: u32) -> Option<SystemTime> {
    let whole = Duration::from_secs(u64::try_from(seconds.unsigned_abs()).ok()?);
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second?.checked_add(Duration::from_nanos(nanoseconds.into()))
}

/// Seconds since 1970, rounded down, and nanoseconds after that.
fn since_1970(moment: SystemTime) -> (i64, u32) {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds.saturating_sub(1), SECOND - nanoseconds),
            }
        }
    }
}

pub(super) fn whole_seconds(moment: SystemTime) -> i64 {
    since_1970(moment).0
}

/// `2024-01-02T03:04:05.123456789Z`; `None` beyond the year 9999.
pub(super) fn rfc_3339(moment: SystemTime) -> Option<String> {
    let (seconds, nanoseconds) = since_1970(moment);
    let moment =
        Timestamp::from_nanosecond(i128::from(seconds) * i128::from(SECOND) + i128::from(nanoseconds));
    moment.ok().map(|moment| format!("{moment:.9}"))
}

/// The word `name` in this style; `None` where it cannot be told.
pub(super) fn write(style: Style, name: &str, moment: SystemTime) -> Option<String> {
    let (seconds, nanoseconds) = since_1970(moment);
    match style {
        Style::S3fs if nanoseconds == 0 => Some(seconds.to_string()),
        Style::S3fs => Some(format!("{seconds}.{nanoseconds:09}")),
        Style::Rclone if name == "mtime" => Some(match (seconds, nanoseconds) {
            (_, 0) => seconds.to_string(),
            (..0, _) => format!("-{}.{:09}", -(seconds + 1), SECOND - nanoseconds),
            _ => format!("{seconds}.{nanoseconds:09}"),
        }),
        Style::Rclone | Style::Gcs | Style::Azure => rfc_3339(moment),
    }
}
