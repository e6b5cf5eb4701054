//! One server: how it is reached, and as whom.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    RedisError, TlsCertificates,
};

use super::failure::failure;
use crate::error::Result;

/// A server, and how it is asked.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub way: Way,
    pub login: Arc<Login>,
    pub database: i64,
    /// What is spoken: sentinels know the older one alone, at times.
    pub protocol: ProtocolVersion,
}

/// Where it listens.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Way {
    Tcp { host: String, port: u16, tls: bool },
    Socket(PathBuf),
}

/// As whom the servers of a mount are asked. It has secrets, and is not shown.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
    /// Certificates other than those of this machine.
    pub certificates: Option<TlsCertificates>,
}

impl Endpoint {
    /// Another server of the same set.
    pub(super) fn sibling(&self, host: &str, port: u16) -> Endpoint {
        let tls = self.speaks_tls();
        Endpoint { way: Way::Tcp { host: host.to_owned(), port, tls }, ..self.clone() }
    }

    /// The same, asked as nobody.
    pub(super) fn without_login(&self) -> Endpoint {
        let login = Login { certificates: self.login.certificates.clone(), ..Login::default() };
        Endpoint { login: Arc::new(login), ..self.clone() }
    }

    /// Whether it is asked in TLS.
    pub(super) fn speaks_tls(&self) -> bool {
        matches!(self.way, Way::Tcp { tls: true, .. })
    }

    /// The host, as others of its set may name it.
    pub(super) fn host(&self) -> &str {
        match &self.way {
            Way::Tcp { host, .. } => host,
            Way::Socket(_) => "",
        }
    }

    /// What connects to it.
    ///
    /// # Errors
    /// `Unsupported` for what this build cannot reach; `Invalid` for certificates that are none.
    pub(super) fn client(&self) -> Result<Client> {
        let client = self.connection().and_then(|info| match &self.login.certificates {
            Some(certificates) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => {
                Client::build_with_tls(info, certificates.clone())
            }
            _ => Client::open(info),
        });
        client.map_err(|error| failure(self, &error))
    }

    fn connection(&self) -> Result<ConnectionInfo, RedisError> {
        let way = match &self.way {
            Way::Tcp { host, port, tls: false } => ConnectionAddr::Tcp(host.clone(), *port),
            Way::Tcp { host, port, tls: true } => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            Way::Socket(path) => ConnectionAddr::Unix(path.clone()),
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(self.protocol)
            .set_db(self.database)
            .set_skip_set_lib_name();
        if let Some(user) = &self.login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.login.password {
            settings = settings.set_password(password);
        }
        let info = way.into_connection_info()?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(info.set_tcp_settings(tcp).set_redis_settings(settings))
    }
}

/// Whether it is the same server, asked in the same way.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        self.way == other.way && self.database == other.database
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Way::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Way::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Without secrets (§8.7).
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Tcp { tls, .. } => {
                write!(f, "redis{}://{}/{}", if *tls { "s" } else { "" }, self.way, self.database)
            }
            Way::Socket(path) => write!(f, "redis:{}", path.display()),
        }
    }
}
