//! A collection as one file of JSON, for programs that want all of it (`key%hash.json`): an object of a hash's fields or of
//! a sorted set's scores, a list of elements or members, an object of a stream's entries. And what is JSON in the server
//! itself (`key%json`), which keeps what it means, not how it was written.

use redis::{Cmd, Value as Reply};
use serde::de::IgnoredAny;
use serde_json::{Map, Number, Value as Json};

use super::hash::nonsense;
use super::known::of;
use super::server::At;
use super::session::Session;
use super::shared::{Shared, bytes, number, shown};
use super::ttl::expire;
use super::types::Type;
use super::{field, text, zset};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Version, When};

/// The file; `None` where no collection of this type is there.
///
/// # Errors
/// The server's.
pub(super) fn open(shared: &Shared, key: &[u8], kind: Type) -> Result<Option<Vec<u8>>> {
    if kind == Type::Json && !shared.abilities.json {
        return Ok(None);
    }
    let all = all_of(key, kind);
    match shared.server.ask(At::Key(key), |session| Ok(session.ask(std::slice::from_ref(&all))?.pop()))? {
        Some(Ok(reply)) => file(kind, reply),
        Some(Err(error)) if error.code() == Some("WRONGTYPE") => Ok(None),
        Some(Err(error)) => Err(shared.refused(key)(error)),
        None => Ok(None),
    }
}

fn all_of(key: &[u8], kind: Type) -> Cmd {
    let (name, arguments): (_, &[&str]) = match kind {
        Type::List => ("LRANGE", &["0", "-1"]),
        Type::Set => ("SMEMBERS", &[]),
        Type::Zset => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
        Type::Stream => ("XRANGE", &["-", "+"]),
        Type::Json => ("JSON.GET", &["INDENT", "  ", "SPACE", " ", "NEWLINE", "\n"]),
        Type::Hash | Type::String | Type::Other => ("HGETALL", &[]),
    };
    let mut command = of(name, key);
    arguments.iter().for_each(|argument| {
        command.arg(argument);
    });
    command
}

/// The file of all that there is; `None` of nothing.
fn file(kind: Type, reply: Reply) -> Result<Option<Vec<u8>>> {
    if kind == Type::Json {
        return Ok(bytes(reply).map(|text| [&*text, b"\n"].concat()));
    }
    let read = || -> Result<Json, redis::ParsingError> {
        Ok(match kind {
            Type::List => redis::from_redis_value::<Vec<Vec<u8>>>(reply)?
                .iter()
                .map(|one| text::of_bytes(one))
                .collect(),
            Type::Set => {
                let mut members: Vec<Vec<u8>> = redis::from_redis_value(reply)?;
                members.sort();
                members.iter().map(|one| text::of_bytes(one)).collect()
            }
            Type::Zset => {
                let scores: Vec<(Vec<u8>, f64)> = redis::from_redis_value(reply)?;
                let pairs: Vec<_> =
                    scores.into_iter().map(|(name, score)| (name, zset::text(score).into_bytes())).collect();
                numbers(text::of_pairs(&pairs))
            }
            Type::Stream => {
                type Entry = (String, Vec<(Vec<u8>, Vec<u8>)>);
                let entries: Vec<Entry> = redis::from_redis_value(reply)?;
                Json::Object(entries.into_iter().map(|(id, fields)| (id, text::of_pairs(&fields))).collect())
            }
            Type::Hash | Type::String | Type::Json | Type::Other => {
                text::of_pairs(&redis::from_redis_value::<Vec<_>>(reply)?)
            }
        })
    };
    let json = read().map_err(|error| nonsense("a collection", &error))?;
    let empty = json.as_object().is_some_and(Map::is_empty) || json.as_array().is_some_and(Vec::is_empty);
    Ok((!empty).then(|| format!("{json:#}\n").into_bytes()))
}

/// Scores as numbers, where JSON has such.
fn numbers(json: Json) -> Json {
    let number = |value: Json| match value.as_str().and_then(|text| text.parse::<f64>().ok()) {
        Some(score) if score == score.trunc() && score.abs() < 9e15 => Json::from(score as i64),
        Some(score) => Number::from_f64(score).map_or(value, Json::Number),
        None => value,
    };
    match json {
        Json::Object(object) => {
            Json::Object(object.into_iter().map(|(name, value)| (name, number(value))).collect())
        }
        other => other,
    }
}

/// Replaces the collection, or makes it, as one transaction; its time to live stays.
///
/// # Errors
/// `Invalid` for what is no such JSON; `Exists` where the key is of another type; `Stale`; `NotPermitted` for a stream.
pub(super) fn put(shared: &Shared, key: &[u8], kind: Type, body: &[u8], when: &When) -> Result<()> {
    let making = command(key, kind, body)?;
    let names = if kind == Type::Hash && shared.abilities.field_ttls { names(body)? } else { Vec::new() };
    let fields: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let attempt = |session: &mut Session<'_>| {
        let times = (!fields.is_empty()).then(|| field::left(key, &fields));
        let questions = [of("PTTL", key), all_of(key, kind)].into_iter().chain(times);
        let (found, mut replies) = session.look(key, questions)?;
        let mut next = || replies.next().and_then(Result::ok).unwrap_or(Reply::Nil);
        let (left, there, times) = (next(), next(), next());
        let refused = match (found, when) {
            (Some(found), _) if found != kind => {
                Some(Error::new(ErrorKind::Exists, format!("{} has another type", shown(key))))
            }
            (Some(_), When::Absent) => Some(ErrorKind::Exists.into()),
            (_, When::Current(version)) => {
                let there = file(kind, there).ok().flatten();
                let same = there.is_some_and(|there| Version::of_content(&there) == *version);
                (!same).then(|| super::strings::stale(key))
            }
            _ => None,
        };
        if let Some(error) = refused {
            return session.settle_for(Err(error));
        }
        let mut all = vec![making.clone()];
        if kind != Type::Json {
            all.insert(0, of("DEL", key));
        }
        if let Some(left) = number(&left).ok().filter(|left| *left > 0) {
            all.push(expire(key, left.unsigned_abs()));
        }
        all.extend(field::lasting(key, &fields, &field::times(Some(&times))));
        session.transact_all(&all, shared.refused(key))
    };
    let outcome = shared.server.carry_out(key, None, attempt, || {
        Ok(open(shared, key, kind)?.is_some_and(|there| is_same(&there, body)))
    });
    shared.doubt(key);
    outcome
}

/// Whether a file that is there says what was put as `body`.
pub(super) fn is_same(there: &[u8], body: &[u8]) -> bool {
    let json = |bytes: &[u8]| serde_json::from_slice::<Json>(bytes).ok();
    there == body || json(there).is_some_and(|there| Some(there) == json(body))
}

/// The lengths of the files of these keys, which are JSON in the server; 0 where one is gone.
///
/// # Errors
/// The servers'.
pub(super) fn lengths(shared: &Shared, keys: &[Box<[u8]>]) -> Result<Vec<u64>> {
    let replies = shared.server.ask_about(keys, |key| [all_of(key, Type::Json)])?;
    let length = |replies: Vec<super::link::Reply>| match replies.into_iter().next() {
        Some(Ok(reply)) => file(Type::Json, reply).ok().flatten().map_or(0, |file| file.len() as u64),
        _ => 0,
    };
    Ok(replies.into_iter().map(length).collect())
}

fn read(body: &[u8]) -> Result<Json> {
    serde_json::from_slice(body).map_err(|error| no_json(&error))
}

fn no_json(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("no JSON: {error}"))
}

/// The fields of the hash that a file is.
fn names(body: &[u8]) -> Result<Vec<Vec<u8>>> {
    Ok(text::pairs(&read(body)?)?.into_iter().map(|(name, _)| name).collect())
}

/// The command that makes a collection of what a file says.
fn command(key: &[u8], kind: Type, body: &[u8]) -> Result<Cmd> {
    if kind == Type::Json {
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| no_json(&error))?;
        let mut command = of("JSON.SET", key);
        command.arg("$").arg(body);
        return Ok(command);
    }
    let json = read(body)?;
    let list = || {
        let list = json.as_array().filter(|list| !list.is_empty());
        list.ok_or_else(|| Error::new(ErrorKind::Invalid, "a list belongs here, with at least one element"))
    };
    let name = match kind {
        Type::List => "RPUSH",
        Type::Set => "SADD",
        Type::Zset => "ZADD",
        Type::Stream => {
            let sentence = "the entries of a stream cannot be replaced: write new ones to %add";
            return Err(Error::new(ErrorKind::NotPermitted, sentence));
        }
        Type::Hash | Type::String | Type::Json | Type::Other => "HSET",
    };
    let mut command = of(name, key);
    match kind {
        Type::List | Type::Set => {
            for element in list()? {
                command.arg(text::bytes(element)?);
            }
        }
        Type::Zset => {
            for (member, score) in text::pairs(&json)? {
                command.arg(zset::text(zset::score(&score)?)).arg(member);
            }
        }
        _ => {
            for (field, value) in text::pairs(&json)? {
                command.arg(field).arg(value);
            }
        }
    }
    Ok(command)
}
