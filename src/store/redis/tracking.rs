//! What the server tells of changes by anybody (`CLIENT TRACKING`, broadcasting; keyspace notifications where it has not that),
//! on a connection of its own (§6.2): the index doubts what was changed, and whoever watches is told.
//!
//! Of several servers each has one. They are asked each [`BEAT`] whether they are there. When one is lost, or there are
//! other servers than before, all that was known is forgotten, and found again when it is needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, cmd};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::endpoint::Endpoint;
use super::failure::failure;
use super::index::Turned;
use super::link::invalidated;
use super::notifications;
use super::shared::Shared;
use super::types::Type;
use crate::env::{self, Deadline};
use crate::error::Result;
use crate::key::{Key, Segment};
use crate::store::api::{Event, Tell, Watch};

/// How often the connection is asked whether it is there.
const BEAT: Duration = Duration::from_secs(1);
/// After so many of them it is looked at which servers there are, where there are several: a replica may be back.
const LOOKED_AT_EACH: u32 = 10;
/// How long its answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long is waited before it is made again.
const AGAIN: Duration = Duration::from_millis(200);
/// What is changed within so long is asked about together.
const GATHERED_FOR: Duration = Duration::from_millis(4);
/// At most so many messages wait; with more, nobody knows what has changed.
const QUEUE: usize = 4096;
/// With more changes in a second than these, for so many seconds, the server is not asked to tell of them for a while:
/// telling slows it down, and listening slows this down.
const BUSY: usize = 20_000;
const BUSY_FOR: u32 = 3;
const BUSY_REST: Duration = Duration::from_secs(30);

/// Who is told of changes.
pub(super) struct Tracking {
    shared: Arc<Shared>,
    telling: Mutex<Vec<Weak<Tell>>>,
    closing: AtomicBool,
    overflow: AtomicBool,
    /// Whether the server has so many changes that it is not asked to tell of them now.
    busy: AtomicBool,
    /// Whether it tells by notifications.
    notified: AtomicBool,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Tracking {
    /// Begins; waits for the first connection, so that what is known from here on is right. A server that does not tell
    /// is no error.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(shared: Arc<Shared>) -> Result<Arc<Tracking>> {
        let (telling, task, closing, overflow, busy, notified) = Default::default();
        let tracking = Arc::new(Tracking { shared, telling, closing, overflow, busy, notified, task });
        let first =
            env::wait(Deadline::after(tracking.shared.server.timeout()), connect(Arc::clone(&tracking)));
        let first = match first {
            Ok(first) => {
                tracking.shared.index.set_told(true);
                Some(first)
            }
            Err(error) => {
                tracing::warn!("changes by others show after a second: {error}");
                None
            }
        };
        let running = env::spawn(run(Arc::downgrade(&tracking), first))?;
        *tracking.task.lock() = Some(running);
        let settling = Arc::downgrade(&tracking);
        std::thread::Builder::new()
            .name("redis-settle".into())
            .spawn(move || settle(&settling))
            .map_err(|error| crate::error::Error::io("starting the thread that follows changes", &error))?;
        Ok(tracking)
    }

    /// Tells `tell` of every change until the watch drops.
    pub(super) fn add(&self, tell: Tell) -> Watch {
        let tell = Arc::new(tell);
        self.telling.lock().push(Arc::downgrade(&tell));
        if !self.shared.index.is_told() {
            tell(Event::Untold);
        }
        Watch(Box::new(tell))
    }

    /// How changes by others come to be known, in words.
    pub(super) fn shown(&self) -> &'static str {
        if self.shared.index.is_told() && self.notified.load(Ordering::Acquire) {
            "by keyspace notifications, as they happen; a flush after a second"
        } else if self.shared.index.is_told() {
            "by the server, as they happen"
        } else if self.busy.load(Ordering::Acquire) {
            "after a second: there are too many of them to be told of each"
        } else {
            "the server does not tell: after a second"
        }
    }

    /// Ends.
    pub(super) fn stop(&self) {
        self.closing.store(true, Ordering::Release);
        self.shared.index.close();
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }

    fn tell(&self, event: &Event) {
        let telling: Vec<Arc<Tell>> = {
            let mut telling = self.telling.lock();
            telling.retain(|tell| tell.strong_count() > 0);
            telling.iter().filter_map(Weak::upgrade).collect()
        };
        telling.iter().for_each(|tell| tell(event.clone()));
    }

    /// Some keys were changed; `None`: nobody knows which.
    fn changed(&self, keys: Option<&[&[u8]]>) {
        let Some(keys) = keys else {
            self.shared.index.doubt(None::<std::iter::Empty<&[u8]>>);
            self.shared.direct.forget();
            self.tell(&Event::Everything);
            return;
        };
        let known = self.shared.index.is_known();
        // Whether it is being made first: by the time that its maker is done, its type is known.
        let index = &self.shared.index;
        let before: Vec<_> = keys.iter().map(|key| (index.is_making(key), index.kind(key))).collect();
        self.shared.index.doubt(Some(keys.iter().copied()));
        for (key, (making, before)) in
            keys.iter().zip(before).filter(|(key, _)| self.shared.restriction.has(key))
        {
            let making = before.is_none() && making;
            if known && (making || before.is_some_and(|kind| !kind.has_word())) {
                self.tell(&Event::Value(self.shared.separator.split(key)));
            } else if known {
                self.tell_of(key, before);
            } else {
                self.shared.direct.doubt(&self.shared, key);
                Type::all().for_each(|kind| self.tell_of(key, Some(kind)));
            }
        }
    }

    /// Tells of the files that a key of this type shows as.
    fn tell_of(&self, key: &[u8], kind: Option<Type>) {
        let plain = self.shared.separator.split(key);
        let named = kind.filter(|kind| kind.has_word()).map(|kind| (kind, with_word(&plain, kind)));
        self.tell(&match named {
            Some((kind, named)) if kind.is_collection() => Event::Below(named),
            Some((_, named)) => Event::Key(named),
            None => Event::Key(plain),
        });
    }

    /// Takes in a message; answers of how many keys it tells.
    fn take_in(&self, push: &PushInfo, database: i64) -> usize {
        if let Some(key) = notifications::key_of(push, database) {
            self.changed(Some(&[key]));
            return 1;
        }
        if push.kind != PushKind::Invalidate {
            return 0;
        }
        let keys = invalidated(push).map(Iterator::collect::<Vec<_>>);
        self.changed(keys.as_deref());
        keys.map_or(0, |keys| keys.len())
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The same key with the type in its last segment.
fn with_word(plain: &Key, kind: Type) -> Key {
    match (plain.parent(), plain.last()) {
        (Some(parent), Some(last)) => parent.child(Segment { bytes: last.bytes, word: kind.word() }),
        _ => plain.clone(),
    }
}

/// The connections on which the servers tell of changes.
struct Telling {
    connections: Vec<Told>,
    database: i64,
    pushes: Receiver<PushInfo>,
    /// Told when there are other servers than these.
    turned: watch::Receiver<()>,
}

/// One of them.
struct Told {
    connection: MultiplexedConnection,
    /// Where it tells by notifications: how often all keys became others so far.
    flushes: Option<u64>,
}

impl Told {
    /// Asks whether it is there; answers whether all keys are others now.
    async fn beat(&mut self) -> Result<bool, RedisError> {
        let Some(before) = self.flushes else {
            return cmd("PING").exec_async(&mut self.connection).await.map(|()| false);
        };
        let now = notifications::flushes(&mut self.connection).await;
        let now = now.ok_or((redis::ErrorKind::Io, "it does not tell of flushes any more"))?;
        self.flushes = Some(now);
        Ok(now != before)
    }
}

async fn connect(tracking: Arc<Tracking>) -> Result<Telling> {
    // Before it is asked which servers there are: none is missed.
    let turned = tracking.shared.server.turns();
    let topology = tracking.shared.server.topology();
    let (sender, pushes) = channel(QUEUE);
    let overflow = Arc::downgrade(&tracking);
    let take = move |push: PushInfo| {
        if sender.try_send(push).is_err()
            && let Some(tracking) = overflow.upgrade()
        {
            tracking.overflow.store(true, Ordering::Release);
        }
        Ok::<(), ()>(())
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
        .set_push_sender(take);
    let mut connections = Vec::new();
    let mut database = 0;
    for node in topology.nodes() {
        database = node.endpoint().database;
        connections.push(connect_with(node.endpoint(), &config, &tracking.shared.restriction.prefix).await?);
    }
    let notified = connections.iter().any(|told| told.flushes.is_some());
    tracking.notified.store(notified, Ordering::Release);
    Ok(Telling { connections, database, pushes, turned })
}

async fn connect_with(endpoint: &Endpoint, config: &AsyncConnectionConfig, prefix: &[u8]) -> Result<Told> {
    let about = |error: &redis::RedisError| failure(endpoint, error);
    let client = endpoint.client()?;
    let connecting = client.get_multiplexed_async_connection_with_config(config);
    let mut connection = connecting.await.map_err(|error| about(&error))?;
    let mut name = cmd("CLIENT");
    name.arg("SETNAME").arg("kvfs");
    let mut tracking_on = cmd("CLIENT");
    tracking_on.arg("TRACKING").arg("ON").arg("BCAST");
    if !prefix.is_empty() {
        tracking_on.arg("PREFIX").arg(prefix);
    }
    name.exec_async(&mut connection).await.map_err(|error| about(&error))?;
    let Err(refused) = tracking_on.exec_async(&mut connection).await else {
        return Ok(Told { connection, flushes: None });
    };
    let notified = notifications::subscribe(&mut connection, endpoint.database, prefix).await;
    let flushes = match notified {
        Ok(true) => notifications::flushes(&mut connection).await,
        _ => None,
    };
    if flushes.is_some() { Ok(Told { connection, flushes }) } else { Err(about(&refused)) }
}

/// Takes in what the server tells, for as long as somebody is there.
async fn run(tracking: Weak<Tracking>, mut first: Option<Telling>) {
    let mut told = first.is_some();
    loop {
        let telling = match first.take() {
            Some(telling) => Ok(telling),
            None => match tracking.upgrade() {
                Some(tracking) => connect(tracking).await,
                None => return,
            },
        };
        match telling {
            Ok(telling) => {
                let Some(here) = tracking.upgrade() else { return };
                if !told {
                    here.shared.index.set_told(true);
                    here.tell(&Event::Told);
                }
                here.busy.store(false, Ordering::Release);
                drop(here);
                let end = follow(&tracking, telling).await;
                let Some(here) = tracking.upgrade() else { return };
                here.busy.store(end == End::Busy, Ordering::Release);
                here.shared.index.set_told(false);
                here.tell(&Event::Untold);
                drop(here);
                match end {
                    End::Lost => tracing::warn!("the connection that tells of changes was lost"),
                    End::Busy => {
                        tracing::info!(
                            "more than {BUSY} changes a second: they show after a second for a while"
                        );
                        tokio::time::sleep(BUSY_REST).await;
                    }
                }
            }
            Err(error) => {
                tracing::debug!("the connection that tells of changes: {error}");
                // Another server may be in its place, and nobody else may be asking.
                let Some(finding) = find_out_again(&tracking) else { return };
                let _ = finding.await;
            }
        }
        told = false;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Finds out in a thread which servers there are; `None` where nobody is there any more.
fn find_out_again(tracking: &Weak<Tracking>) -> Option<JoinHandle<()>> {
    let server = Arc::clone(&tracking.upgrade()?.shared.server);
    Some(tokio::task::spawn_blocking(move || {
        server.find_out_again(&server.topology(), Deadline::after(server.timeout()));
    }))
}

/// Why nothing is told any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A connection was lost, or there are other servers.
    Lost,
    /// There were too many changes.
    Busy,
}

/// Takes in what the servers tell, until that ends.
async fn follow(tracking: &Weak<Tracking>, mut telling: Telling) -> End {
    let mut beat = tokio::time::interval(BEAT);
    let (mut changes, mut busy_for, mut beats) = (0, 0, 0);
    loop {
        tokio::select! {
            push = telling.pushes.recv() => {
                let (Some(push), Some(here)) = (push, tracking.upgrade()) else { return End::Lost };
                if push.kind == PushKind::Disconnection {
                    return End::Lost;
                }
                if here.overflow.swap(false, Ordering::AcqRel) {
                    changes += BUSY;
                    here.changed(None);
                }
                changes += here.take_in(&push, telling.database);
            }
            _ = telling.turned.changed() => return End::Lost,
            _ = beat.tick() => {
                busy_for = if changes > BUSY { busy_for + 1 } else { 0 };
                changes = 0;
                if busy_for >= BUSY_FOR {
                    return End::Busy;
                }
                beats += 1;
                if beats % LOOKED_AT_EACH == 0 && find_out_again(tracking).is_none() {
                    return End::Lost;
                }
                for told in &mut telling.connections {
                    match told.beat().await {
                        Ok(false) => {}
                        Ok(true) => {
                            let Some(here) = tracking.upgrade() else { return End::Lost };
                            here.changed(None);
                        }
                        Err(_) => return End::Lost,
                    }
                }
            }
        }
    }
}

/// Asks about what was changed, so that listings need not; tells of what shows as something else than before.
fn settle(tracking: &Weak<Tracking>) {
    loop {
        let Some(here) = tracking.upgrade() else { return };
        let (expired, next) = here.shared.index.expire(env::now());
        for key in &expired {
            here.tell_of(key, here.shared.index.kind(key));
        }
        let settled = here
            .shared
            .index
            .find_if_wanted(&here.shared)
            .and_then(|()| here.shared.index.settle(&here.shared));
        for Turned { key, before, now } in here.shared.index.take_turned() {
            here.tell_of(&key, before);
            if before.is_some_and(Type::has_word) || now.is_some_and(Type::has_word) {
                here.tell_of(&key, now);
            }
        }
        if here.closing.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = settled {
            tracing::debug!("what was changed could not be asked about: {error}");
            here.shared.server.rest();
            continue;
        }
        let until_next = next.and_then(|next| next.duration_since(env::now()).ok()).unwrap_or(BEAT).min(BEAT);
        here.shared.index.wait_for_work(until_next.max(Duration::from_millis(1)));
        std::thread::park_timeout(GATHERED_FOR);
    }
}
