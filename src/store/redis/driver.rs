//! The kinds of store, and how a server is opened.

use std::sync::Arc;

use redis::cmd;

use super::address::{Address, FORM};
use super::index::Index;
use super::recent::Recent;
use super::restriction::Restriction;
use super::server::Server;
use super::shared::{Shared, bytes};
use super::strings::{LONGEST, LongOnes};
use super::tracking::Tracking;
use super::tree::Tree;
use super::{listing, ttl};
use crate::env;
use crate::error::Result;
use crate::store::api::{Atomic, Caps, Pace, Rename, Store};
use crate::store::driver::{Driver, Location, Opening};
use crate::store::flat::Separator;

/// What a user of the server must be allowed: a line for `ACL SETUSER`. Without `INFO` it is mounted, too, and less is told.
const RIGHTS: &str = "on >PASSWORD ~* +@read +@write +@connection +@transaction +info -@dangerous";

/// The variable from which `redis-cli` takes its password.
const PASSWORD: &str = "REDISCLI_AUTH";

/// `redis` for the list of stores.
pub static REDIS: Driver = Driver {
    kind: "redis",
    about: "a Redis or Valkey server: strings are files, hashes and other collections are directories",
    location: Location::Server(FORM),
    caps: || caps("redis"),
    separator: ":",
    recognise: |_| false,
    own_files: &[],
    rights: Some(RIGHTS),
    open: |opening| open("redis", false, opening),
    sidecar: |_| Ok(None),
};

/// `rediss` for the list of stores.
pub static REDISS: Driver = Driver {
    kind: "rediss",
    about: "the same, with TLS",
    location: Location::Server("rediss://[user@]host:port/database"),
    caps: || caps("rediss"),
    open: |opening| open("rediss", true, opening),
    ..REDIS
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

fn open(kind: &'static str, tls: bool, opening: &Opening) -> Result<Arc<dyn Store>> {
    let password = match &opening.service.password_file {
        Some(file) => Some(env::secret(file)?),
        None => env::variable(PASSWORD),
    };
    let address = Address::parse(opening.location.as_deref(), tls, password)?;
    let restriction = Restriction::of(&address)?;
    let server = Arc::new(Server::new(address, opening.timeout));
    server.connect()?;
    let about = ask_about_itself(&server)?;
    let separator = Separator::new(opening.separator.clone());
    let caps = Caps { write: !opening.read_only, branches: separator.is_some(), ..caps(kind) };
    let shared = Arc::new(Shared {
        server,
        index: Index::new(),
        restriction,
        separator,
        recent: Recent::default(),
        long_ones: LongOnes::default(),
        gathered: listing::Gathered::default(),
        markers: opening.service.markers,
        require_aof: opening.service.require_aof,
    });
    let tracking = Tracking::start(Arc::clone(&shared))?;
    Ok(Arc::new(Tree::new(shared, tracking, caps, about)))
}

/// What the server says of itself: which it is, and what of its keys outlives it.
///
/// # Errors
/// What it or the network refuse: the first question of a mount.
fn ask_about_itself(server: &Server) -> Result<Vec<(&'static str, String)>> {
    let mut info = cmd("INFO");
    info.arg("everything");
    let reply = server.ask(|session| session.ask(&[cmd("PING"), info.clone()]))?;
    let mut replies = reply.into_iter();
    if let Some(Err(error)) = replies.next() {
        return Err(super::failure::failure(server.address(), &error));
    }
    // A server that does not let this user see it is mounted nevertheless.
    let told = replies.next().and_then(Result::ok).and_then(bytes_of_text).unwrap_or_default();
    let field = |name: &str| {
        told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::to_owned)
    };
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

fn bytes_of_text(reply: redis::Value) -> Option<String> {
    match reply {
        redis::Value::VerbatimString { text, .. } => Some(text),
        other => bytes(other).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}
