//! How it is found out which server has which keys: a cluster's nodes tell of each other, sentinels of the primary they
//! watch.
//!
//! Those who were cut off from the others tell what was true before. So all that can be reached are asked, and the answer
//! of the latest epoch counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ProtocolVersion, Value, cmd};

use super::address::{Address, Set};
use super::endpoint::Endpoint;
use super::failure::failure;
use super::link::{Link, Lost, Reply};
use super::node::{Counts, Node, Role};
use super::topology::{Range, Topology};
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// How long one of them may take to answer, where there are others.
const PATIENCE: Duration = Duration::from_secs(2);

/// Finds out which server has which keys; `before`: what was known so far, whose connections are kept.
///
/// # Errors
/// `Io` where nobody who answers knows; `Invalid` for servers of another kind.
pub(super) fn find_out(
    address: &Address,
    before: Option<&Topology>,
    counts: &Arc<Counts>,
    deadline: Deadline,
) -> Result<Topology> {
    let role = if address.from_replicas { Role::Replica } else { Role::Primary };
    let nodes = |endpoint: Endpoint| {
        let known = before.and_then(|before| before.nodes().find(|node| *node.endpoint() == endpoint));
        known.cloned().unwrap_or_else(|| Arc::new(Node::new(endpoint, role, Arc::clone(counts))))
    };
    match &address.set {
        Set::One => {
            let seed = address.seeds.first().ok_or(ErrorKind::Invalid)?;
            Ok(Topology::of_one(Arc::new(Node::new(seed.clone(), Role::Alone, Arc::clone(counts))), 0))
        }
        Set::Cluster => {
            let mut asked: Vec<Endpoint> = address.seeds.clone();
            for node in before.into_iter().flat_map(Topology::nodes) {
                if !asked.contains(node.endpoint()) {
                    asked.push(node.endpoint().clone());
                }
            }
            let questions = [command("CLUSTER", &["INFO"]), command("CLUSTER", &["SLOTS"])];
            let answers = ask_all(&asked, &questions, deadline, |endpoint, replies| {
                let shards = shards(endpoint, replies.get(1))?;
                Ok((epoch_of_info(replies.first()), shards))
            })?;
            Ok(Topology::of_cluster(&ranges(address, answers, nodes)))
        }
        Set::Sentinels { primary, database } => {
            let questions =
                [command("SENTINEL", &["MASTER", primary]), command("SENTINEL", &["REPLICAS", primary])];
            let watched = ask_all(&address.seeds, &questions, deadline, |endpoint, replies| {
                watched(endpoint, primary, replies)
            })?;
            let chosen = watched.replicas.first().filter(|_| address.from_replicas);
            let (host, port) = chosen.unwrap_or(&watched.primary);
            let seed = address.seeds.first().ok_or(ErrorKind::Invalid)?;
            let sibling = seed.sibling(host, *port);
            let endpoint = Endpoint { database: *database, protocol: ProtocolVersion::RESP3, ..sibling };
            Ok(Topology::of_one(nodes(endpoint), watched.replicas.len()))
        }
    }
}

fn command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = cmd(name);
    command.arg(arguments);
    command
}

/// Asks all of them at the same time; answers what was told with the latest epoch.
fn ask_all<T: Send>(
    endpoints: &[Endpoint],
    questions: &[Cmd],
    deadline: Deadline,
    read: impl Fn(&Endpoint, &[Reply]) -> Result<(u64, T)> + Sync,
) -> Result<T> {
    let ask_as = |endpoint: &Endpoint| {
        let deadline = Deadline::after(deadline.left().min(PATIENCE));
        let mut link = Link::open(endpoint, Role::Primary, deadline)?;
        let replies = link.ask(questions, deadline).map_err(|lost: Lost| lost.about(endpoint))?;
        read(endpoint, &replies)
    };
    // Sentinels often let everybody ask, whatever the servers want, and refuse a password that they have not.
    let ask = |endpoint: &Endpoint| match endpoint.protocol {
        ProtocolVersion::RESP2 => match ask_as(&endpoint.without_login()) {
            Err(error) if error.kind() == ErrorKind::Unauthenticated => ask_as(endpoint),
            answer => answer,
        },
        _ => ask_as(endpoint),
    };
    let ask = &ask;
    let answers: Vec<Result<(u64, T)>> = std::thread::scope(|scope| {
        let asking: Vec<_> = endpoints.iter().map(|endpoint| scope.spawn(move || ask(endpoint))).collect();
        asking.into_iter().filter_map(|asked| asked.join().ok()).collect()
    });
    let (mut best, mut failed) = (None, None);
    for answer in answers {
        match answer {
            Ok((epoch, told)) if best.as_ref().is_none_or(|(latest, _)| epoch > *latest) => {
                best = Some((epoch, told));
            }
            Ok(_) => {}
            // One that says what is wrong is worth more than one that cannot be reached.
            Err(error) => match &failed {
                Some(Error { .. }) if error.kind() == ErrorKind::Io => {}
                _ => failed = Some(error),
            },
        }
    }
    match (best, failed) {
        (Some((_, told)), _) => Ok(told),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::new(ErrorKind::Io, "no server was asked")),
    }
}

/// The number of the last election that a node knows of.
fn epoch_of_info(reply: Option<&Reply>) -> u64 {
    let text = match reply {
        Some(Ok(Value::VerbatimString { text, .. })) => text.clone(),
        Some(Ok(Value::BulkString(bytes))) => String::from_utf8_lossy(bytes).into_owned(),
        _ => return 0,
    };
    let epoch =
        text.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:")?.trim().parse().ok());
    epoch.unwrap_or(0)
}

/// Where a server listens.
type HostPort = (String, u16);

/// Slots with those who have them: the primary first.
struct Shard {
    first: usize,
    last: usize,
    servers: Vec<Endpoint>,
}

/// What `CLUSTER SLOTS` answers: first and last slot, then each server as its host, its port, and more.
fn shards(asked: &Endpoint, reply: Option<&Reply>) -> Result<Vec<Shard>> {
    let slots = match reply {
        Some(Ok(Value::Array(slots))) => slots,
        Some(Err(error)) if error.code() == Some("ERR") => {
            let sentence = format!("{asked} is no node of a cluster: mount it as {asked}");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Some(Err(error)) => return Err(failure(asked, error)),
        _ => return Err(nonsense(asked)),
    };
    let shard = |slot: &Value| {
        let Value::Array(parts) = slot else { return None };
        let [Value::Int(first), Value::Int(last), servers @ ..] = parts.as_slice() else { return None };
        let server = |server: &Value| {
            let Value::Array(parts) = server else { return None };
            let [host, Value::Int(port), ..] = parts.as_slice() else { return None };
            // Where a node does not know its own name, it is the one that was asked.
            let host = text(host).filter(|host| !host.is_empty()).unwrap_or_else(|| asked.host().to_owned());
            Some(asked.sibling(&host, u16::try_from(*port).ok()?))
        };
        let servers = servers.iter().map(server).collect::<Option<Vec<_>>>()?;
        Some(Shard { first: *first as usize, last: *last as usize, servers })
    };
    let shards = slots.iter().map(shard).collect::<Option<Vec<_>>>().ok_or_else(|| nonsense(asked))?;
    if shards.is_empty() {
        return Err(Error::new(ErrorKind::Io, format!("{asked}: its cluster has no slots yet")));
    }
    Ok(shards)
}

/// The node of each shard that is asked.
fn ranges(address: &Address, shards: Vec<Shard>, node: impl Fn(Endpoint) -> Arc<Node>) -> Vec<Range> {
    // A node has many ranges.
    let mut nodes: HashMap<String, Arc<Node>> = HashMap::new();
    let mut ranges = Vec::new();
    for Shard { first, last, servers } in shards {
        let replicas = servers.len().saturating_sub(1);
        let chosen = if address.from_replicas { servers.get(1).or(servers.first()) } else { servers.first() };
        let Some(endpoint) = chosen else { continue };
        let node = nodes.entry(endpoint.way.to_string()).or_insert_with(|| node(endpoint.clone()));
        ranges.push(Range { first, last, node: Arc::clone(node), replicas });
    }
    ranges
}

/// What a sentinel knows.
struct Watched {
    primary: HostPort,
    /// Those that answer it.
    replicas: Vec<HostPort>,
}

fn watched(asked: &Endpoint, name: &str, replies: &[Reply]) -> Result<(u64, Watched)> {
    let primary = match replies.first() {
        Some(Ok(reply)) => fields(reply).ok_or_else(|| nonsense(asked))?,
        Some(Err(error)) if error.to_string().contains("No such master") => {
            let sentence = format!("{asked} watches no primary of the name \"{name}\"");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Some(Err(error)) if error.to_string().contains("unknown command") => {
            let sentence = format!("{asked} is no sentinel: mount it as {asked}");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Some(Err(error)) => return Err(failure(asked, error)),
        None => return Err(nonsense(asked)),
    };
    let place = |fields: &HashMap<String, String>| {
        Some((fields.get("ip")?.clone(), fields.get("port")?.parse().ok()?))
    };
    let epoch = primary.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    let is_there = |fields: &HashMap<String, String>| {
        let flags = fields.get("flags").map_or("", String::as_str);
        !flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"))
    };
    let replicas = match replies.get(1) {
        Some(Ok(Value::Array(replicas))) => replicas.as_slice(),
        _ => &[],
    };
    let replicas = replicas.iter().filter_map(fields).filter(is_there).filter_map(|fields| place(&fields));
    let watched =
        Watched { primary: place(&primary).ok_or_else(|| nonsense(asked))?, replicas: replicas.collect() };
    Ok((epoch, watched))
}

/// Names with their values, one after the other.
fn fields(reply: &Value) -> Option<HashMap<String, String>> {
    let all: Vec<&Value> = match reply {
        Value::Array(all) => all.iter().collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(name, value)| [name, value]).collect(),
        _ => return None,
    };
    all.chunks_exact(2).map(|pair| Some((text(pair[0])?, text(pair[1])?))).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

fn nonsense(asked: &Endpoint) -> Error {
    Error::new(ErrorKind::Io, format!("{asked}: what it tells of the others makes no sense"))
}
