//! Keyspace notifications: how a server tells of changes that does not track (an old one, or a user without the right). They
//! are taken only where the server's settings have it tell of every kind of change. A flush is no event: it is counted.

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisResult, Value, cmd};

use super::restriction::escaped;

/// The kinds of events that have to be told: of all types, of keys as such, expired and evicted ones.
const CLASSES: &str = "g$lshztxe";
/// Commands after which all keys are others.
const FLUSHES: [&str; 3] = ["flushall", "flushdb", "swapdb"];

/// Has the server tell of changes in this database of keys that begin with `prefix`; false where its settings do not have
/// it tell of all, or do not show.
///
/// # Errors
/// The network's; where the user may not subscribe.
pub(super) async fn subscribe(
    connection: &mut MultiplexedConnection,
    database: i64,
    prefix: &[u8],
) -> RedisResult<bool> {
    let mut setting = cmd("CONFIG");
    setting.arg("GET").arg("notify-keyspace-events");
    let Ok(setting) = setting.query_async::<Vec<(String, String)>>(connection).await else {
        return Ok(false);
    };
    if !setting.first().is_some_and(|(_, classes)| is_all(classes)) {
        return Ok(false);
    }
    let pattern = [channel(database).as_bytes(), &escaped(prefix)].concat();
    connection.psubscribe(pattern).await.map(|()| true)
}

/// Whether events of these classes tell of every change of a key, by its name.
fn is_all(classes: &str) -> bool {
    classes.contains('K') && (classes.contains('A') || CLASSES.chars().all(|class| classes.contains(class)))
}

fn channel(database: i64) -> String {
    format!("__keyspace@{database}__:")
}

/// The key that a message tells of.
pub(super) fn key_of(push: &PushInfo, database: i64) -> Option<&[u8]> {
    let (PushKind::PMessage, [_, Value::BulkString(told), ..]) = (&push.kind, push.data.as_slice()) else {
        return None;
    };
    told.strip_prefix(channel(database).as_bytes())
}

/// How often all keys became others so far; `None` where the server does not tell.
pub(super) async fn flushes(connection: &mut MultiplexedConnection) -> Option<u64> {
    let mut info = cmd("INFO");
    info.arg("commandstats");
    let told: String = info.query_async(connection).await.ok()?;
    Some(count_flushes(&told))
}

fn count_flushes(commandstats: &str) -> u64 {
    let calls = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        FLUSHES.contains(&name).then(|| rest.split(',').next()?.parse::<u64>().ok()).flatten()
    };
    commandstats.lines().filter_map(calls).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_leave_something_out_are_not_taken() {
        assert!(is_all("AK") && is_all("AKE") && is_all("g$lshztxeK"));
        for some in ["", "A", "AE", "K", "Kg$lshzxe", "KEg$"] {
            assert!(!is_all(some), "{some}");
        }
    }

    #[test]
    fn flushes_are_counted() {
        let told = "# Commandstats\r\ncmdstat_flushdb:calls=2,usec=1\r\ncmdstat_get:calls=9,usec=1\r\ncmdstat_flushall:calls=1,usec=2\r\n";
        assert_eq!(count_flushes(told), 3);
    }

    #[test]
    fn a_message_names_its_key() {
        let told = |channel: &str| PushInfo {
            kind: PushKind::PMessage,
            data: ["__keyspace@3__:*", channel, "set"].map(|text| Value::BulkString(text.into())).to_vec(),
        };
        assert_eq!(key_of(&told("__keyspace@3__:a:b"), 3), Some(&b"a:b"[..]));
        assert_eq!(key_of(&told("__keyspace@3__:"), 3), Some(&b""[..]));
        assert_eq!(key_of(&told("__keyspace@0__:a"), 3), None);
    }
}
