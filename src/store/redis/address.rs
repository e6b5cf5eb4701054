//! The address of a server, as it stands in SOURCE: `[user@]host:port/database?prefix=…&match=…`, or the path of a
//! socket.

use std::fmt;
use std::path::{Path, PathBuf};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use crate::error::{Error, ErrorKind, Result};

/// Where servers listen who are told nothing else.
const PORT: u16 = 6379;
/// This machine.
const LOCAL: &str = "127.0.0.1";

/// How a server is reached, and what of it is shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    way: Way,
    user: Option<String>,
    password: Option<String>,
    database: i64,
    /// What the keys begin with that are shown; the rest of them is what the mount shows.
    pub prefix: Vec<u8>,
    /// The glob that keys match which are shown (`SCAN MATCH`).
    pub pattern: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
enum Way {
    Tcp { host: String, port: u16, tls: bool },
    Socket(PathBuf),
}

impl Address {
    /// Reads what stands behind `redis://`, or is the path of a socket; nothing is the server of this machine.
    ///
    /// # Errors
    /// `Invalid`, never with a password.
    pub(super) fn parse(location: Option<&Path>, tls: bool, password: Option<String>) -> Result<Address> {
        let text = match location {
            None => String::new(),
            Some(path) => path.to_str().map(str::to_owned).ok_or_else(|| wrong("is no UTF-8"))?,
        };
        let (place, query) = text.split_once('?').unwrap_or((&text, ""));
        let (prefix, pattern) = restrictions(query)?;
        let mut address = Address {
            way: Way::Tcp { host: LOCAL.to_owned(), port: PORT, tls },
            user: None,
            password,
            database: 0,
            prefix,
            pattern,
        };
        if place.starts_with('/') {
            address.way = Way::Socket(place.into());
            return Ok(address);
        }
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let host = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                return Err(wrong(
                    "has a password, which everybody would see: REDISCLI_AUTH or --password-file take it",
                ));
            }
            Some((user, host)) => {
                address.user = Some(user.to_owned()).filter(|user| !user.is_empty());
                host
            }
            None => authority,
        };
        let database = database.trim_end_matches('/');
        if !database.is_empty() {
            let number = database.parse().ok().filter(|number| *number >= 0);
            address.database = number.ok_or_else(|| wrong("names no database: that is a number"))?;
        }
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("has a port that is no number"))?)
            }
            _ => (host, PORT),
        };
        if !host.is_empty() {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            address.way = Way::Tcp { host, port, tls };
        } else if port != PORT {
            address.way = Way::Tcp { host: LOCAL.to_owned(), port, tls };
        }
        Ok(address)
    }

    /// The same for the client.
    ///
    /// # Errors
    /// `Unsupported` for what this build cannot reach.
    pub(super) fn connection(&self) -> Result<ConnectionInfo> {
        let way = match &self.way {
            Way::Tcp { host, port, tls: false } => ConnectionAddr::Tcp(host.clone(), *port),
            Way::Tcp { host, port, tls: true } => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            Way::Socket(path) => ConnectionAddr::Unix(path.clone()),
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.database)
            .set_skip_set_lib_name();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = way.into_connection_info().map_err(|error| super::failure::failure(self, &error))?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(info.set_tcp_settings(tcp).set_redis_settings(settings))
    }
}

/// Without secrets (§8.7).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Tcp { host, port, tls } => {
                write!(f, "redis{}://{host}:{port}/{}", if *tls { "s" } else { "" }, self.database)
            }
            Way::Socket(path) => write!(f, "redis:{}", path.display()),
        }
    }
}

/// The prefix and the glob of a query.
fn restrictions(query: &str) -> Result<(Vec<u8>, Option<String>)> {
    let (mut prefix, mut pattern) = (Vec::new(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("prefix", value)) => prefix = value.as_bytes().to_vec(),
            Some(("match", value)) => pattern = Some(value.to_owned()),
            _ => return Err(wrong("has a query that is neither ?prefix= nor ?match=")),
        }
    }
    Ok((prefix, pattern))
}

fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("the address of the server {why}; write {FORM}"))
}

/// What a SOURCE looks like.
pub(super) const FORM: &str = "redis://[user@]host:port/database";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address> {
        Address::parse(Some(Path::new(text)), false, None)
    }

    #[test]
    fn addresses_are_read_with_what_is_left_out() {
        let shown = |text: &str| parse(text).unwrap().to_string();
        assert_eq!(shown(""), "redis://127.0.0.1:6379/0");
        assert_eq!(shown("db"), "redis://db:6379/0");
        assert_eq!(shown("db:7000/3/"), "redis://db:7000/3");
        assert_eq!(shown("user@[::1]:7000"), "redis://::1:7000/0");
        assert_eq!(shown("/run/redis.sock"), "redis:/run/redis.sock");
        assert_eq!(shown(":7000"), "redis://127.0.0.1:7000/0");
        let restricted = parse("db/1?prefix=user:&match=*:x").unwrap();
        assert_eq!(
            (restricted.prefix.as_slice(), restricted.pattern.as_deref()),
            (&b"user:"[..], Some("*:x"))
        );
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
