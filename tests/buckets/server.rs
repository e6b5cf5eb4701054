//! The servers, each started by its script when the first test asks for it, and ended with this process, however that ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::harness::watched;

/// A service, and the server that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// S3: Ceph's gateway.
    Ceph,
    /// S3: moto, which has every condition as AWS has it.
    Moto,
    /// Azure: Azurite.
    Azure,
    /// Google: a stand-in.
    Google,
}

/// A server that runs.
pub struct Server {
    /// Where it is.
    pub url: String,
    /// The script that ends it when the other end of its standard input closes. Nobody waits for it.
    _script: Child,
}

const COUNT: usize = 4;
/// One that does not start is not started again by each test that needs it.
static SERVERS: [OnceLock<Result<Server, String>>; COUNT] = [const { OnceLock::new() }; COUNT];

impl Service {
    /// All of them.
    pub const ALL: [Service; COUNT] = [Service::Ceph, Service::Moto, Service::Azure, Service::Google];

    fn script(self) -> &'static str {
        ["ceph", "moto", "azurite", "gcs"][self as usize]
    }

    /// In the words of `foreign`.
    pub fn protocol(self) -> &'static str {
        match self {
            Service::Ceph | Service::Moto => "s3",
            Service::Azure => "azure",
            Service::Google => "google",
        }
    }

    /// As on kvfs's command line.
    pub fn scheme(self) -> &'static str {
        match self {
            Service::Ceph | Service::Moto => "s3",
            Service::Azure => "az",
            Service::Google => "gs",
        }
    }

    /// Its server, started if need be.
    pub fn server(self) -> &'static Server {
        let started = SERVERS[self as usize].get_or_init(|| Server::start(self.script()));
        started.as_ref().unwrap_or_else(|why| panic!("{why}"))
    }
}

/// Starts servers before a test's own time begins.
pub fn start(services: &[Service]) {
    for service in services {
        service.server();
    }
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Server {
    #[allow(
        clippy::zombie_processes,
        reason = "a script that fails has ended; the others end with this process"
    )]
    fn start(script: &str) -> Result<Server, String> {
        let log =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{script}-{}.log", std::process::id()));
        let mut child = Command::new(repository("scripts/servers").join(script))
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(url) = line.trim_end().strip_prefix("ready ") else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!(
                "scripts/servers/{script} did not start (scripts/setup --buckets): {line}{said}"
            ));
        };
        let _ = std::fs::remove_file(&log);
        Ok(Server { url: url.to_owned(), _script: child })
    }
}

/// Whether a process with this id still runs anything.
fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_server_ends_with_whoever_started_it() {
    watched(crate::LIMIT, |place| {
        // The shell that started it is killed, which tells nobody.
        let script = repository("scripts/servers/gcs");
        let mut starter = place
            .command("bash")
            .args(["-c", "mkfifo hold; exec 9<>hold; \"$0\" run <hold 9>&- >out; :"])
            .arg(script)
            .spawn()
            .unwrap();
        let url = crate::harness::until(crate::harness::PATIENCE, "it is ready", || {
            let said = std::fs::read_to_string(place.at("out")).ok()?;
            said.strip_prefix("ready http://")
                .map(|url| url.trim_end().to_owned())
                .filter(|url| !url.is_empty())
        });
        assert!(std::net::TcpStream::connect(&url).is_ok());
        let port = url.rsplit(':').next().unwrap();
        let folder = repository("target/servers/run").join(format!("gcs-{port}"));
        let script = std::fs::read_to_string(folder.join("pid")).unwrap().trim().to_owned();
        starter.kill().unwrap();
        starter.wait().unwrap();
        crate::harness::until(crate::harness::PATIENCE, "it has ended, and left nothing", || {
            (std::net::TcpStream::connect(&url).is_err() && !folder.exists() && !runs(&script)).then_some(())
        });
    });
}
