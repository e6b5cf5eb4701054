//! The control socket of a running mount: one line of JSON in, one out.
//!
//! Each mount has a socket in [`Folders::runtime`], named by a hash of its mount point, open to its user alone.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, recv};
use serde::{Deserialize, Serialize};

use crate::env::{self, Deadline, Folders};
use crate::error::{Error, ErrorKind, Result};
use crate::mount_table;

/// The longest line that is read, in bytes.
const LINE_MAX: u64 = 1 << 20;
/// How long a peer may take to send or to take its line.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many requests are answered at the same time; further ones are refused.
const REQUESTS_MAX: usize = 16;
/// How long a daemon that ends waits for its last answers to leave.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How long a new daemon waits for one that has unmounted there already, and is closing its store.
const LAST_DAEMON: Duration = Duration::from_secs(10);

/// What can be asked of a running mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// How it is: [`crate::mount::Status`].
    Status,
    /// Wait until everything written so far is in the store for good.
    Sync {
        /// Milliseconds to wait at most; the mount's own deadline where there are none.
        timeout: Option<u64>,
    },
    /// Put everything and unmount: answers sentences about what could not be done.
    Unmount {
        /// Milliseconds to wait for pending writes at most; as long as it takes where there are none.
        timeout: Option<u64>,
    },
    /// Rewrite the store without its free space: answers the size before and after.
    Compact,
}

/// What a daemon answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    /// What was asked for.
    Done(serde_json::Value),
    /// Why not.
    Failed {
        /// In a sentence.
        sentence: String,
        /// Whether it may work a little later: somebody uses the mount or the store.
        busy: bool,
    },
}

impl Reply {
    fn failed(error: &Error) -> Reply {
        Reply::Failed { sentence: error.to_string(), busy: error.kind() == ErrorKind::Busy }
    }
}

/// Answers a request; `wanted` tells whether the asker is still there.
pub type Answer = dyn Fn(Request, &dyn Fn() -> bool) -> Result<serde_json::Value> + Send + Sync;

/// The name that everything about the mount at this path has: sockets, logs, mount points of `kvfs exec`.
pub fn hash(path: &Path) -> String {
    format!("{:016x}", twox_hash::XxHash3_64::oneshot(path.as_os_str().as_bytes()))
}

/// The socket of the mount at this path.
pub fn socket(mount_point: &Path) -> PathBuf {
    Folders::get().runtime.join(hash(mount_point)).with_extension("sock")
}

/// Every socket of this user's mounts, dead ones too.
pub fn sockets() -> Vec<PathBuf> {
    let Ok(names) = fs::read_dir(&Folders::get().runtime) else { return Vec::new() };
    let mut sockets: Vec<PathBuf> = names.flatten().map(|name| name.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    sockets
}

/// A socket's path may have 107 bytes; this way its folder's length does not count.
fn short(path: &Path) -> std::io::Result<(OwnedFd, PathBuf)> {
    let (folder, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let folder: OwnedFd =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)?.into();
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, path))
}

/// Connects without waiting: a daemon that is stopped, with more askers than its backlog holds, is `WouldBlock`.
fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let (_folder, path) = short(socket)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(descriptor.as_raw_fd(), &UnixAddr::new(&path)?)?;
    let stream = UnixStream::from(descriptor);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Asks the daemon behind `socket`, and waits at most `time` for its answer.
///
/// # Errors
/// `NotFound` without a daemon, `TimedOut`, or what the daemon says.
pub fn ask(socket: &Path, request: &Request, time: Option<Duration>) -> Result<serde_json::Value> {
    let line = serde_json::to_string(request).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
    let path = socket.to_owned();
    let (answer, answered) = mpsc::sync_channel(1);
    // A thread of its own: the answer may never come.
    thread::Builder::new()
        .name("ask the daemon".to_owned())
        .spawn(move || drop(answer.send(exchange(&path, &line))))
        .map_err(|e| Error::io("asking the daemon", &e))?;
    let Some(time) = time else {
        return answered.recv().unwrap_or_else(|_| Err(ErrorKind::Io.into()));
    };
    answered
        .recv_timeout(time)
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "the daemon does not answer in time")))
}

fn exchange(socket: &Path, line: &str) -> Result<serde_json::Value> {
    let failed = |e: std::io::Error| Error::io("the daemon's control socket", &e);
    let mut stream = connect(socket).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            Error::new(ErrorKind::NotFound, "no daemon serves this mount")
        }
        _ => failed(error),
    })?;
    stream.write_all(line.as_bytes()).map_err(failed)?;
    stream.write_all(b"\n").map_err(failed)?;
    let mut reply = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut reply).map_err(failed)?;
    match serde_json::from_str(&reply) {
        Ok(Reply::Done(value)) => Ok(value),
        Ok(Reply::Failed { sentence, busy }) => {
            Err(Error::new(if busy { ErrorKind::Busy } else { ErrorKind::Io }, sentence))
        }
        Err(_) if reply.is_empty() => Err(Error::new(ErrorKind::Io, "the daemon ended before it answered")),
        Err(error) => Err(Error::new(ErrorKind::Io, format!("the daemon's answer is malformed: {error}"))),
    }
}

/// The right to answer for a mount point: its socket, bound before the store is opened, so that of two daemons
/// only one gets further.
#[derive(Debug)]
pub struct Address {
    path: PathBuf,
    listener: UnixListener,
}

impl Address {
    /// Binds the socket of the mount at this path; one that a dead daemon left is replaced, and one whose mount has
    /// ended or not yet begun is waited for.
    ///
    /// # Errors
    /// `Busy` when a running daemon has it.
    pub fn take(mount_point: &Path) -> Result<Address> {
        let path = socket(mount_point);
        env::private_folder(&Folders::get().runtime)?;
        let deadline = Deadline::after(LAST_DAEMON);
        loop {
            let turn = turn()?;
            if remove_dead(&path) == Found::Nothing {
                return Address::bind(path);
            }
            drop(turn);
            let is_mounted = mount_table::at(mount_point)?.is_some_and(|entry| entry.is_kvfs());
            if is_mounted || deadline.passed() {
                let sentence = format!(
                    "a running kvfs has {} already: end it with `kvfs unmount {}`",
                    mount_point.display(),
                    mount_point.display()
                );
                return Err(Error::new(ErrorKind::Busy, sentence));
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn bind(path: PathBuf) -> Result<Address> {
        let listener = short(&path).and_then(|(_folder, short)| {
            let listener = UnixListener::bind(&short)?;
            fs::set_permissions(&short, Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let listener = listener.map_err(|e| Error::io(path.display(), &e))?;
        Ok(Address { path, listener })
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{}: {error}", self.path.display());
        }
    }
}

/// Whether a daemon was behind a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Live,
    Nothing,
}

/// Taken by whoever binds or removes a socket, so that nobody removes one that was bound a moment ago.
fn turn() -> Result<Flock<File>> {
    let path = Folders::get().runtime.join("sockets.lock");
    let failed = |e: std::io::Error| Error::io(path.display(), &e);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
}

fn remove_dead(socket: &Path) -> Found {
    match connect(socket) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            drop(fs::remove_file(socket));
            Found::Nothing
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Nothing,
        _ => Found::Live,
    }
}

/// Removes the socket of a daemon that died.
pub fn tidy(socket: &Path) {
    if turn().is_ok() {
        remove_dead(socket);
    }
}

/// Answers at an [`Address`] until it is stopped.
pub struct Server {
    address: Arc<Address>,
    accepting: Option<thread::JoinHandle<()>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    under_way: AtomicUsize,
}

impl Server {
    /// Answers every request by `answer`, each on a thread of its own.
    ///
    /// # Errors
    /// The system's, when no thread can be had.
    pub fn start(address: Address, answer: Arc<Answer>) -> Result<Server> {
        let (address, state) = (Arc::new(address), Arc::new(State::default()));
        let (accepting_address, accepting_state) = (address.clone(), state.clone());
        let accepting = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(&accepting_address.listener, &accepting_state, &answer))
            .map_err(|e| Error::io("the control socket", &e))?;
        Ok(Server { address, accepting: Some(accepting), state })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::Release);
        // The accept returns for this connection, and sees that it is to stop.
        drop(connect(&self.address.path));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        let deadline = Deadline::after(LAST_ANSWERS);
        while self.state.under_way.load(Ordering::Acquire) > 0 && !deadline.passed() {
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

fn accept(listener: &UnixListener, state: &Arc<State>, answer: &Arc<Answer>) {
    for stream in listener.incoming() {
        if state.stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: a rest, or this thread would spin until there are some.
            thread::park_timeout(Duration::from_millis(50));
            continue;
        };
        if state.under_way.fetch_add(1, Ordering::AcqRel) >= REQUESTS_MAX {
            state.under_way.fetch_sub(1, Ordering::AcqRel);
            let refusal = Error::new(ErrorKind::Busy, "the daemon answers too many requests already");
            drop(reply(&stream, &Reply::failed(&refusal)));
            continue;
        }
        let (state_there, answer) = (state.clone(), answer.clone());
        let spawned = thread::Builder::new().name("answer".to_owned()).spawn(move || {
            if let Err(error) = respond(&stream, &*answer) {
                tracing::debug!("control socket: {error}");
            }
            state_there.under_way.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            state.under_way.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn respond(stream: &UnixStream, answer: &Answer) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LINE_TIMEOUT))?;
    stream.set_write_timeout(Some(LINE_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
    if line.is_empty() {
        return Ok(());
    }
    let there = || is_there(stream);
    let answered = match serde_json::from_str::<Request>(&line) {
        Ok(request) => answer(request, &there),
        Err(error) => {
            Err(Error::new(ErrorKind::Invalid, format!("a request that is not understood: {error}")))
        }
    };
    reply(stream, &answered.map_or_else(|error| Reply::failed(&error), Reply::Done))
}

/// Whether the asker has not hung up.
fn is_there(stream: &UnixStream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    !matches!(recv(stream.as_fd().as_raw_fd(), &mut [0], flags), Ok(0))
}

fn reply(mut stream: &UnixStream, reply: &Reply) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}
