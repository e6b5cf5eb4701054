//! The server, started by its script when the first test asks for it; each test has a database of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::harness::{Kind, Mount, Place, finish};

/// Databases of the server.
const DATABASES: u32 = 1000;

/// A server that runs until this process ends.
pub struct Server {
    /// Its port.
    pub port: u16,
    _script: Child,
}

static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();

/// The one that all tests share.
pub fn shared() -> &'static Server {
    SERVER.get_or_init(Server::start).as_ref().unwrap_or_else(|why| panic!("{why}"))
}

impl Server {
    /// One of its own, for a test that stops it.
    pub fn start() -> Result<Server, String> {
        Server::start_of("redis")
    }

    /// The same, of the script of this name.
    #[allow(clippy::zombie_processes, reason = "it ends with this process")]
    pub fn start_of(name: &str) -> Result<Server, String> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name);
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{:x}.log", kvfs::env::fresh_word()));
        let mut child = Command::new(script)
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        let port = line.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
        match port {
            Some(port) if line.starts_with("ready ") => Ok(Server { port, _script: child }),
            _ => Err(format!("scripts/servers/{name} did not start: {line}{said}")),
        }
    }
}

/// A cluster that the tests share, empty, for as long as the lock is held: its port.
pub fn shared_cluster() -> (u16, MutexGuard<'static, ()>) {
    static CLUSTER: OnceLock<Result<Server, String>> = OnceLock::new();
    static USED: Mutex<()> = Mutex::new(());
    let lock = USED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cluster = CLUSTER.get_or_init(|| Server::start_of("redis-cluster"));
    let port = cluster.as_ref().unwrap_or_else(|why| panic!("{why}")).port;
    cli(port, &["--cluster", "call", &format!("127.0.0.1:{port}")], &["FLUSHALL"]);
    (port, lock)
}

/// The process of one node of a set that was started by a script.
pub fn pid_of(name: &str, first: u16, port: u16) -> i32 {
    let run = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/servers/run");
    let file = run.join(format!("{name}-{first}")).join(format!("{port}.pid"));
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// What `redis-cli` answers to a command at a port, without its last line end.
pub fn cli(port: u16, options: &[&str], command: &[&str]) -> String {
    let mut program = Command::new("redis-cli");
    program.args(["-p", &port.to_string()]).args(options).args(command);
    let said = finish(&mut program).ok(&format!("redis-cli {command:?}"));
    said.strip_suffix('\n').unwrap_or(&said).to_owned()
}

/// An empty database of the shared server.
#[derive(Clone, Copy)]
pub struct Database {
    port: u16,
    number: u32,
}

impl Database {
    /// One that no other test uses.
    pub fn new() -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "the server has no more databases");
        Database { port: shared().port, number }
    }

    /// The first one of another server.
    pub fn of(server: &Server) -> Database {
        Database { port: server.port, number: 0 }
    }

    /// As on the command line.
    pub fn source(&self) -> String {
        format!("redis://127.0.0.1:{}/{}", self.port, self.number)
    }

    /// The same database, reached by another port.
    pub fn source_by(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}/{}", self.number)
    }

    /// The port of its server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Mounts it.
    pub fn mount(&self, place: &Place, options: &[&str]) -> Mount {
        Mount::of(place, Kind::Server, self.source().into(), "data", options)
    }

    /// Bytes that clients of the whole server sent and were sent so far.
    pub fn sent(&self) -> u64 {
        let stats = self.cli(&["INFO", "stats"]);
        let of =
            |name: &str| stats.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        of("total_net_input_bytes:").unwrap() + of("total_net_output_bytes:").unwrap()
    }

    /// What `redis-cli` answers to a command, without its last line end.
    pub fn cli(&self, command: &[&str]) -> String {
        cli(self.port, &["-n", &self.number.to_string()], command)
    }
}
