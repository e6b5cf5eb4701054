//! The address of a server, or of servers that belong together, as it stands in SOURCE:
//! `[user@]host:port/database?prefix=…&match=…`, or the path of a socket.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use redis::ProtocolVersion;

use super::endpoint::{Endpoint, Login, Way};
use crate::error::{Error, ErrorKind, Result};

/// Where servers listen who are told nothing else.
const PORT: u16 = 6379;
/// Where sentinels do.
const SENTINEL_PORT: u16 = 26379;
/// This machine.
const LOCAL: &str = "127.0.0.1";

/// How the servers are reached, and what of them is shown.
#[derive(Clone)]
pub(super) struct Address {
    /// The servers that are named, at least one.
    pub seeds: Vec<Endpoint>,
    pub set: Set,
    /// Whether replicas are asked, and never a primary.
    pub from_replicas: bool,
    /// What the keys begin with that are shown; the rest of them is what the mount shows.
    pub prefix: Vec<u8>,
    /// The glob that keys match which are shown (`SCAN MATCH`).
    pub pattern: Option<String>,
}

/// What the servers are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// One server.
    One,
    /// Sentinels, who know where the primary of this name is.
    Sentinels { primary: String, database: i64 },
    /// Nodes of a cluster, who know the others.
    Cluster,
}

/// What kind of address is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    One,
    Sentinels,
    Cluster,
}

impl Form {
    /// What a SOURCE of it looks like, behind the kind.
    pub(super) const fn shown(self) -> &'static str {
        match self {
            Form::One => "redis://[user@]host:port/database",
            Form::Sentinels => "redis+sentinel://[user@]host:port,host:port/PRIMARY/database",
            Form::Cluster => "redis+cluster://[user@]host:port,host:port",
        }
    }

    fn wrong(self, why: &str) -> Error {
        Error::new(ErrorKind::Invalid, format!("the address of the server {why}; write {}", self.shown()))
    }
}

impl Address {
    /// Reads what stands behind `redis://` and the like, or is the path of a socket; nothing is the server of this machine.
    ///
    /// # Errors
    /// `Invalid`, never with a password.
    pub(super) fn parse(form: Form, location: Option<&Path>, tls: bool, login: Login) -> Result<Address> {
        let text = match location {
            None => String::new(),
            Some(path) => path.to_str().map(str::to_owned).ok_or_else(|| form.wrong("is no UTF-8"))?,
        };
        let (place, query) = text.split_once('?').unwrap_or((&text, ""));
        let query = Query::read(form, query)?;
        let (user, hosts, path) = match place.starts_with('/') {
            true if form == Form::One => (None, "", ""),
            true => return Err(form.wrong("is the path of a socket")),
            false => parts(form, place)?,
        };
        let login = Arc::new(Login { user, ..login });
        let protocol = if form == Form::Sentinels { ProtocolVersion::RESP2 } else { ProtocolVersion::RESP3 };
        let (set, database) = read_path(form, path.trim_end_matches('/'), query.database)?;
        let endpoint = |way| Endpoint { way, login: Arc::clone(&login), database, protocol };
        let seeds: Vec<Endpoint> = if place.starts_with('/') {
            vec![endpoint(Way::Socket(place.into()))]
        } else {
            let port = if form == Form::Sentinels { SENTINEL_PORT } else { PORT };
            let hosts = hosts.split(',').map(|host| Ok(endpoint(way(form, host, port, tls)?)));
            hosts.collect::<Result<_>>()?
        };
        if form == Form::One && seeds.len() > 1 {
            return Err(form.wrong("names several, which are redis+cluster:// or redis+sentinel://"));
        }
        let Query { prefix, pattern, from_replicas, .. } = query;
        if from_replicas && form == Form::One {
            return Err(form.wrong("is one server: mount the replica itself"));
        }
        Ok(Address { seeds, set, from_replicas, prefix, pattern })
    }
}

/// User, hosts, and what comes behind them.
fn parts(form: Form, place: &str) -> Result<(Option<String>, &str, &str)> {
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            let why = "has a password, which everybody would see: REDISCLI_AUTH, --password-file or --ask-password take it";
            return Err(form.wrong(why));
        }
        Some((user, hosts)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), hosts),
        None => (None, authority),
    };
    Ok((user, hosts, path))
}

fn way(form: Form, text: &str, default: u16, tls: bool) -> Result<Way> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| form.wrong("has a port that is no number"))?)
        }
        _ => (text, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { LOCAL } else { host };
    Ok(Way::Tcp { host: host.to_owned(), port, tls })
}

/// What stands behind the hosts: the primary's name, where sentinels are asked, and the database; that of the seeds.
fn read_path(form: Form, path: &str, asked: Option<i64>) -> Result<(Set, i64)> {
    let number = |text: &str| match text {
        "" => Ok(asked.unwrap_or(0)),
        text => text
            .parse()
            .ok()
            .filter(|number| *number >= 0)
            .ok_or_else(|| form.wrong("names no database: that is a number")),
    };
    match form {
        Form::One => Ok((Set::One, number(path)?)),
        Form::Cluster if number(path)? != 0 => Err(form.wrong("names a database: a cluster has but one")),
        Form::Cluster => Ok((Set::Cluster, 0)),
        Form::Sentinels => {
            let (primary, database) = path.split_once('/').unwrap_or((path, ""));
            if primary.is_empty() {
                return Err(form.wrong("does not name the primary that the sentinels watch"));
            }
            Ok((Set::Sentinels { primary: primary.to_owned(), database: number(database)? }, 0))
        }
    }
}

/// Without secrets (§8.7).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = self.seeds.iter().any(|seed| matches!(seed.way, Way::Tcp { tls: true, .. }));
        let kind = if tls { "rediss" } else { "redis" };
        let seeds = self.seeds.iter().map(|seed| seed.way.to_string()).collect::<Vec<_>>().join(",");
        match (&self.set, self.seeds.first()) {
            (Set::Sentinels { primary, database }, _) => {
                write!(f, "{kind}+sentinel://{seeds}/{primary}/{database}")
            }
            (Set::Cluster, _) => write!(f, "{kind}+cluster://{seeds}"),
            (Set::One, Some(seed)) => write!(f, "{seed}"),
            (Set::One, None) => f.write_str(kind),
        }
    }
}

/// What stands behind `?`.
#[derive(Default)]
struct Query {
    prefix: Vec<u8>,
    pattern: Option<String>,
    database: Option<i64>,
    from_replicas: bool,
}

impl Query {
    fn read(form: Form, text: &str) -> Result<Query> {
        let mut query = Query::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("prefix", value)) => query.prefix = value.as_bytes().to_vec(),
                Some(("match", value)) => query.pattern = Some(value.to_owned()),
                Some(("db", value)) => {
                    let number = value.parse().ok().filter(|number| *number >= 0);
                    query.database =
                        Some(number.ok_or_else(|| form.wrong("names no database: that is a number"))?);
                }
                Some(("read", "replicas")) => query.from_replicas = true,
                _ => {
                    return Err(
                        form.wrong("has a query that is none of ?prefix=, ?match=, ?db=, ?read=replicas")
                    );
                }
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_as(form: Form, text: &str) -> Result<Address> {
        Address::parse(form, Some(Path::new(text)), false, Login::default())
    }

    fn parse(text: &str) -> Result<Address> {
        parse_as(Form::One, text)
    }

    #[test]
    fn addresses_are_read_with_what_is_left_out() {
        let shown = |text: &str| parse(text).unwrap().to_string();
        assert_eq!(shown(""), "redis://127.0.0.1:6379/0");
        assert_eq!(shown("db"), "redis://db:6379/0");
        assert_eq!(shown("db:7000/3/"), "redis://db:7000/3");
        assert_eq!(shown("user@[::1]:7000"), "redis://[::1]:7000/0");
        assert_eq!(shown("/run/redis.sock"), "redis:/run/redis.sock");
        assert_eq!(shown(":7000"), "redis://127.0.0.1:7000/0");
        let restricted = parse("db/1?prefix=user:&match=*:x").unwrap();
        assert_eq!(
            (restricted.prefix.as_slice(), restricted.pattern.as_deref()),
            (&b"user:"[..], Some("*:x"))
        );
        assert_eq!(parse("/run/redis.sock?db=3").unwrap().seeds[0].database, 3);
    }

    #[test]
    fn sets_of_servers_are_read() {
        let cluster = parse_as(Form::Cluster, "ann@a:7000,b,[::1]:7001").unwrap();
        assert_eq!(cluster.to_string(), "redis+cluster://a:7000,b:6379,[::1]:7001");
        assert_eq!(cluster.seeds[2].login.user.as_deref(), Some("ann"));
        let sentinels = parse_as(Form::Sentinels, "a,b:1/main/2?read=replicas").unwrap();
        assert_eq!(sentinels.to_string(), "redis+sentinel://a:26379,b:1/main/2");
        assert!(sentinels.from_replicas);
        for (form, wrong) in [
            (Form::Cluster, "a/1"),
            (Form::Cluster, "/run/x"),
            (Form::Sentinels, "a,b"),
            (Form::Sentinels, "a/main/x"),
            (Form::One, "a,b"),
            (Form::One, "a?read=replicas"),
        ] {
            assert_eq!(
                parse_as(form, wrong).err().map(|error| error.kind()),
                Some(ErrorKind::Invalid),
                "{wrong}"
            );
        }
    }

    #[test]
    fn promise_8_7_a_password_in_an_address_is_refused_and_not_repeated() {
        for wrong in ["user:secret@db", ":secret@db", "db/x", "db:port", "db/-1", "db?x=y"] {
            let error = parse(wrong).err().unwrap_or_else(|| panic!("{wrong}"));
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
