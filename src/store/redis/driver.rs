//! The kinds of store, and how servers are opened.

use std::path::Path;
use std::sync::Arc;

use redis::{ClientTlsConfig, TlsCertificates, cmd};

use super::abilities::Abilities;
use super::address::{Address, Form, Set};
use super::direct::Direct;
use super::endpoint::Login;
use super::index::Index;
use super::recent::Recent;
use super::restriction::Restriction;
use super::server::{At, Server};
use super::shared::{Shared, bytes};
use super::strings::{LONGEST, LongOnes};
use super::tracking::Tracking;
use super::tree::Tree;
use super::{listing, ttl};
use crate::config::Password;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Atomic, Caps, Pace, Rename, Store};
use crate::store::driver::{Driver, Location, Opening, Service};
use crate::store::flat::Separator;

/// What a user of the server must be allowed: a line for `ACL SETUSER`. Without `INFO` it is mounted, too, and less is told.
const RIGHTS: &str = "on >PASSWORD ~* +@read +@write +@connection +@transaction +info -@dangerous";
/// The same of servers that belong together, where a rename brings a key from one to another.
const RIGHTS_OF_SETS: &str = "on >PASSWORD ~* +@read +@write +@connection +@transaction +info -@dangerous +restore +wait +waitaof +cluster|info +cluster|slots";

/// The variable from which `redis-cli` takes its password.
const PASSWORD: &str = "REDISCLI_AUTH";

/// `redis` for the list of stores.
pub static REDIS: Driver = Driver {
    kind: "redis",
    about: "a Redis or Valkey server: strings are files, hashes and other collections are directories",
    same_as: None,
    location: Location::Server(Form::One.shown()),
    caps: || caps("redis"),
    separator: ":",
    recognise: |_| false,
    own_files: &[],
    rights: Some(RIGHTS),
    open: |opening| open("redis", Form::One, false, opening),
    sidecar: |_| Ok(None),
};

/// `rediss` for the list of stores.
pub static REDISS: Driver = Driver {
    kind: "rediss",
    about: "the same, with TLS",
    same_as: Some("redis"),
    location: Location::Server("rediss://[user@]host:port/database"),
    caps: || caps("rediss"),
    open: |opening| open("rediss", Form::One, true, opening),
    ..REDIS
};

/// `unix` for the list of stores.
pub static UNIX: Driver = Driver {
    kind: "unix",
    about: "the same, by a socket of this machine",
    same_as: Some("redis"),
    location: Location::Server("unix:/path?db=NUMBER"),
    caps: || caps("unix"),
    open: |opening| open("unix", Form::One, false, opening),
    ..REDIS
};

/// `redis+cluster` for the list of stores.
pub static CLUSTER: Driver = Driver {
    kind: "redis+cluster",
    about: "a cluster of them, by any of its nodes",
    same_as: Some("redis"),
    location: Location::Server(Form::Cluster.shown()),
    caps: || caps_of_cluster("redis+cluster"),
    rights: Some(RIGHTS_OF_SETS),
    open: |opening| open("redis+cluster", Form::Cluster, false, opening),
    ..REDIS
};

/// `rediss+cluster` for the list of stores.
pub static CLUSTER_TLS: Driver = Driver {
    kind: "rediss+cluster",
    about: "the same, with TLS",
    same_as: Some("redis"),
    location: Location::Server("rediss+cluster://[user@]host:port,host:port"),
    caps: || caps_of_cluster("rediss+cluster"),
    open: |opening| open("rediss+cluster", Form::Cluster, true, opening),
    ..CLUSTER
};

/// `redis+sentinel` for the list of stores.
pub static SENTINEL: Driver = Driver {
    kind: "redis+sentinel",
    about: "the primary that sentinels watch",
    same_as: Some("redis"),
    location: Location::Server(Form::Sentinels.shown()),
    caps: || caps("redis+sentinel"),
    rights: Some(RIGHTS_OF_SETS),
    open: |opening| open("redis+sentinel", Form::Sentinels, false, opening),
    ..REDIS
};

/// `rediss+sentinel` for the list of stores.
pub static SENTINEL_TLS: Driver = Driver {
    kind: "rediss+sentinel",
    about: "the same, with TLS",
    same_as: Some("redis"),
    location: Location::Server("rediss+sentinel://[user@]host:port,host:port/PRIMARY/database"),
    caps: || caps("rediss+sentinel"),
    open: |opening| open("rediss+sentinel", Form::Sentinels, true, opening),
    ..SENTINEL
};

fn caps(kind: &'static str) -> Caps {
    Caps {
        kind,
        write: true,
        immutable: false,
        ordered: false,
        branches: true,
        attributes: false,
        folders: false,
        watch: true,
        snapshot: false,
        past: false,
        unlisted: ".json",
        settable: &[ttl::TTL],
        collections: true,
        atomic: Atomic::Key,
        rename: Rename::Tree,
        pace: Pace::Network,
        value_max: LONGEST,
        key_max: listing::KEY_MAX as u32,
    }
}

/// Of a directory that is renamed the keys come to other slots, each by itself.
fn caps_of_cluster(kind: &'static str) -> Caps {
    Caps { rename: Rename::Leaf, ..caps(kind) }
}

fn open(kind: &'static str, form: Form, tls: bool, opening: &Opening) -> Result<Arc<dyn Store>> {
    let mut address = Address::parse(form, opening.location.as_deref(), tls, login(&opening.service, tls)?)?;
    let matching = opening.service.matching.clone();
    if matching.is_some() && address.pattern.is_some() {
        return Err(Error::new(ErrorKind::Invalid, "--match and ?match= are the same: write one of them"));
    }
    address.pattern = matching.or(address.pattern);
    let restriction = Restriction::of(&address)?;
    let write = !opening.read_only && !address.from_replicas;
    let server = Arc::new(Server::connect(address, opening.timeout)?);
    let mut about = ask_about_itself(&server)?;
    let abilities = Abilities::ask(&server)?;
    about.extend(abilities.shown().map(|lacks| ("what it lacks", lacks)));
    let separator = Separator::new(opening.separator.clone());
    let caps = if form == Form::Cluster { caps_of_cluster(kind) } else { caps(kind) };
    let caps = Caps { write, branches: separator.is_some(), ..caps };
    let shared = Arc::new(Shared {
        server,
        abilities,
        index: Index::new(),
        direct: Direct::default(),
        restriction,
        separator,
        recent: Recent::default(),
        long_ones: LongOnes::default(),
        markers: opening.service.markers,
        require_aof: opening.service.require_aof,
    });
    let tracking = Tracking::start(Arc::clone(&shared))?;
    Ok(Arc::new(Tree::new(shared, tracking, caps, about)))
}

/// As whom, by the files that are named, or the environment.
///
/// # Errors
/// The system's; `Invalid`.
fn login(service: &Service, tls: bool) -> Result<Login> {
    let password = match &service.password_file {
        Some(file) => Some(env::secret(file)?),
        None => Password::typed().map(|typed| typed.text().to_owned()).or_else(|| env::variable(PASSWORD)),
    };
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| Error::io(path.display().to_string(), &error));
    let client_tls = match (&service.cert, &service.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        (None, None) => None,
        _ => return Err(Error::new(ErrorKind::Invalid, "--cert and --key belong together")),
    };
    let root_cert = service.cacert.as_deref().map(read).transpose()?;
    let named = client_tls.is_some() || root_cert.is_some();
    if named && !tls {
        let sentence = "--cert, --key and --cacert are for TLS: write rediss://";
        return Err(Error::new(ErrorKind::Invalid, sentence));
    }
    let certificates = named.then_some(TlsCertificates { client_tls, root_cert });
    Ok(Login { user: None, password, certificates })
}

/// What the server says of itself: which it is, and what of its keys outlives it.
///
/// # Errors
/// What it or the network refuse: the first question of a mount. `Invalid` for a server of another kind.
fn ask_about_itself(server: &Server) -> Result<Vec<(&'static str, String)>> {
    let mut info = cmd("INFO");
    info.arg("everything");
    let reply = server.ask(At::Any, |session| session.ask(&[cmd("PING"), info.clone()]))?;
    let mut replies = reply.into_iter();
    if let Some(Err(error)) = replies.next() {
        return Err(super::failure::failure(server.address(), &error));
    }
    // A server that does not let this user see it is mounted nevertheless.
    let told = replies.next().and_then(Result::ok).and_then(bytes_of_text).unwrap_or_default();
    let field = |name: &str| {
        told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::to_owned)
    };
    check_kind(server.address(), field("redis_mode").or_else(|| field("server_mode")).as_deref())?;
    let mut about = Vec::new();
    let valkey = field("valkey_version").map(|version| format!("Valkey {version}"));
    about.extend(
        valkey.or_else(|| field("redis_version").map(|v| format!("Redis {v}"))).map(|v| ("version", v)),
    );
    about.extend(field("role").map(|role| ("role", role)));
    let keeps = match (field("aof_enabled").as_deref(), field("rdb_last_save_time").as_deref()) {
        (Some("1"), _) => Some("an append-only file"),
        (Some(_), Some(_)) => {
            Some("snapshots, where its settings say so: what came after the last one goes with it")
        }
        _ => None,
    };
    about.extend(keeps.map(|keeps| ("what outlives the server", keeps.to_owned())));
    Ok(about)
}

/// Refuses a server that is asked in another way.
fn check_kind(address: &Address, mode: Option<&str>) -> Result<()> {
    let seed = address.seeds.first().map(|seed| seed.way.to_string()).unwrap_or_default();
    let sentence = match (&address.set, mode) {
        (Set::One, Some("cluster")) => {
            format!(
                "{address} is a node of a cluster, and has a part of the keys: mount redis+cluster://{seed}"
            )
        }
        (Set::One, Some("sentinel")) => {
            format!(
                "{address} is a sentinel: mount redis+sentinel://{seed}/PRIMARY, by the name that it watches"
            )
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Invalid, sentence))
}

fn bytes_of_text(reply: redis::Value) -> Option<String> {
    match reply {
        redis::Value::VerbatimString { text, .. } => Some(text),
        other => bytes(other).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}
