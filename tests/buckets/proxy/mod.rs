//! A proxy between kvfs and a server: counts requests, and lets go wrong what networks and services let go wrong.

mod connection;
mod fault;
mod message;
mod operation;
mod tests;

use std::collections::BTreeMap;
use std::io::Result;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub use fault::Fault;
use fault::Rule;
use nix::sys::socket::{setsockopt, sockopt};

/// For ever, as a number of times.
pub const ALWAYS: u64 = u64::MAX;

/// A proxy in front of one server, on a port of its own. It ends with its last connection, at the latest when it drops.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the connections of one proxy share.
struct Shared {
    server: SocketAddr,
    rules: Mutex<Vec<Rule>>,
    /// Each request so far: its operation, and `METHOD target`.
    seen: Mutex<Vec<(&'static str, String)>>,
    /// Bytes of answers' bodies that were announced to clients.
    announced: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
    /// Both ends of every connection, by numbers, to be cut when the proxy ends.
    streams: Mutex<BTreeMap<u64, TcpStream>>,
    next_stream: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Whether requests get no answer at all.
    silent: bool,
    /// Requests that wait for an answer which does not come.
    unanswered: usize,
    ended: bool,
}

impl Proxy {
    /// A proxy in front of the server at `url`, `http://127.0.0.1:PORT`.
    pub fn new(url: &str) -> Proxy {
        let server = url.strip_prefix("http://").unwrap_or(url).parse().expect("an address of this machine");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            rules: Mutex::default(),
            seen: Mutex::default(),
            announced: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
            streams: Mutex::default(),
            next_stream: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Proxy { address, shared }
    }

    /// Where kvfs is to go.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the next `times` requests of `operation` (empty: any) whose target contains `target` meet `fault`. Of several
    /// rules that apply the oldest counts. Answers how many times are left.
    pub fn inject(&self, operation: &'static str, target: &str, times: u64, fault: Fault) -> Arc<AtomicU64> {
        let left = Arc::new(AtomicU64::new(times));
        let rule = Rule { operation, target: target.to_owned(), fault, left: Arc::clone(&left) };
        self.shared.rules.lock().unwrap().push(rule);
        left
    }

    /// Forgets all rules.
    pub fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Lets the server seem dead, or alive again: requests that waited then meet a reset.
    pub fn silence(&self, silent: bool) {
        self.shared.state.lock().unwrap().silent = silent;
        self.shared.changed.notify_all();
    }

    /// How many requests wait for an answer that does not come.
    pub fn unanswered(&self) -> usize {
        self.shared.state.lock().unwrap().unanswered
    }

    /// How many requests of each operation there were since [`Proxy::forget`].
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for (operation, _) in &*self.shared.seen.lock().unwrap() {
            *counts.entry(*operation).or_default() += 1;
        }
        counts
    }

    /// Each request since [`Proxy::forget`], as `operation: METHOD target`.
    pub fn requests(&self) -> Vec<String> {
        self.shared
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|(operation, line)| format!("{operation}: {line}"))
            .collect()
    }

    /// Bytes that answers announced since [`Proxy::forget`].
    pub fn announced(&self) -> u64 {
        self.shared.announced.load(Ordering::SeqCst)
    }

    /// Counts from nothing again.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
        self.shared.announced.store(0, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().ended = true;
        self.shared.changed.notify_all();
        for stream in self.shared.streams.lock().unwrap().values() {
            // Gone already is as good.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.state.lock().unwrap().ended {
            return;
        }
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        // A connection that breaks is what this is for.
        std::thread::spawn(move || {
            let _ = connection::serve(&shared, client);
        });
    }
}

impl Shared {
    /// The fault that befalls a request, which is counted.
    fn meet(&self, operation: &'static str, method: &str, target: &str) -> Option<Fault> {
        self.seen.lock().unwrap().push((operation, format!("{method} {target}")));
        if self.state.lock().unwrap().silent {
            return Some(Fault::Silence);
        }
        let rules = self.rules.lock().unwrap();
        rules.iter().find(|rule| rule.takes(operation, target)).map(|rule| rule.fault.clone())
    }

    /// Waits for so long, or until the proxy ends.
    fn delay(&self, time: Duration) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_timeout_while(state, time, |state| !state.ended).unwrap());
    }

    /// Waits with a request that nobody answers until the silence ends, the client has gone, or the proxy ends.
    fn keep_silent(&self, client: &TcpStream) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        let was_silent = state.silent;
        state.unanswered += 1;
        // A client that gives up is only seen by looking.
        client.set_nonblocking(true)?;
        let mut byte = [0];
        while !state.ended && state.silent == was_silent && !matches!(client.peek(&mut byte), Ok(0)) {
            state = self.changed.wait_timeout(state, Duration::from_millis(20)).unwrap().0;
        }
        state.unanswered -= 1;
        Ok(())
    }

    /// Remembers a connection while it is used, so that it is cut when the proxy ends.
    fn watch(&self, stream: &TcpStream) -> Result<Watched<'_>> {
        let number = self.next_stream.fetch_add(1, Ordering::SeqCst);
        self.streams.lock().unwrap().insert(number, stream.try_clone()?);
        Ok(Watched { shared: self, number })
    }
}

/// A connection that is in use: the copy that is remembered of it, which keeps it open, goes with this.
struct Watched<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.shared.streams.lock().unwrap().remove(&self.number);
    }
}

/// Lets the connection be reset when it is closed: what is under way is lost.
fn reset(stream: &TcpStream) -> Result<()> {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &at_once)?;
    Ok(())
}
