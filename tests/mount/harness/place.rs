//! The folder of one test, and the commands that run with it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{binary, tool, until};

/// A test's own folder: its stores, mount points, and kvfs's own folders. Removed by the watchdog.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    /// What [`Place::export`] added, and [`Place::withhold`] took away.
    variables: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; 128+n for a signal.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained.
    pub err: String,
}

impl Place {
    /// The place in `folder`.
    pub fn new(folder: &Path) -> Place {
        let place = Place { folder: folder.to_owned(), variables: Arc::default() };
        for name in ["home", "outside", "runtime", "state", "scratch"] {
            fs::create_dir(place.at(name)).unwrap();
        }
        fs::set_permissions(place.at("runtime"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        fs::set_permissions(place.at("state"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        place
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in it.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// The `KVFS_RUNTIME_DIR` of everything started here.
    pub fn runtime(&self) -> PathBuf {
        self.at("runtime")
    }

    /// A command that sees kvfs's folders of this place, and nothing of the user's own settings.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("KVFS_RUNTIME_DIR", self.runtime())
            .env("KVFS_STATE_DIR", self.at("state"))
            .env("KVFS_SCRATCH_DIR", self.at("scratch"))
            .env("HOME", self.at("home"))
            .env("OUTSIDE", self.at("outside"))
            .env("PLACE", &self.folder)
            .env("KVFS", binary())
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Test")
            .env("GIT_AUTHOR_EMAIL", "test@example.org")
            .env("GIT_COMMITTER_NAME", "Test")
            .env("GIT_COMMITTER_EMAIL", "test@example.org")
            .stdin(Stdio::null());
        for (name, value) in &*self.variables.lock().unwrap() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Sets a variable for all that is started here from now on.
    #[allow(dead_code, reason = "for tests/buckets")]
    pub fn export(&self, name: &str, value: impl Into<String>) {
        self.variables.lock().unwrap().insert(name.to_owned(), Some(value.into()));
    }

    /// Has nothing that is started here from now on see a variable.
    #[allow(dead_code, reason = "for tests/buckets")]
    pub fn withhold(&self, name: &str) {
        self.variables.lock().unwrap().insert(name.to_owned(), None);
    }

    /// Runs kvfs with `arguments` to its end.
    pub fn kvfs<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        let mut command = self.command(binary());
        command.args(arguments);
        finish(&mut command)
    }

    /// Runs kvfs and expects it to succeed; answers what it printed.
    #[track_caller]
    pub fn kvfs_ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.kvfs(arguments).ok("kvfs")
    }

    /// Runs `script` in bash, in `folder`, and expects it to succeed; answers what it printed.
    #[track_caller]
    pub fn bash(&self, folder: &Path, script: &str) -> String {
        let mut command = self.command("bash");
        let told = format!("trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n{script}");
        command.args(["-eEuo", "pipefail", "-c", &told]).current_dir(folder);
        finish(&mut command).ok(script)
    }

    /// A python command with py-lmdb in it; skips the test where that is missing.
    pub fn python(&self, script: &str) -> Command {
        let mut command = self.command(tool("venv/bin/python"));
        command.args(["-c", script]);
        command
    }

    /// Waits for `child` to end, for at most `limit`.
    #[track_caller]
    pub fn wait(&self, child: &mut Child, limit: Duration) -> i32 {
        until(limit, "the command has ended", || {
            let status = child.try_wait().unwrap()?;
            Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
        })
    }
}

/// Runs `command` to its end. The watchdog bounds it.
pub fn finish(command: &mut Command) -> Finished {
    // Files, not pipes: a daemon that inherits a pipe would hold it open after the command has ended.
    let mut out = tempfile::tempfile().unwrap();
    let mut err = tempfile::tempfile().unwrap();
    let status = command
        .stdout(Stdio::from(out.try_clone().unwrap()))
        .stderr(Stdio::from(err.try_clone().unwrap()))
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    Finished {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        out: whole(&mut out),
        err: whole(&mut err),
    }
}

fn whole(file: &mut fs::File) -> String {
    use std::io::Seek;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Finished {
    /// Expects success; answers what was printed.
    #[track_caller]
    pub fn ok(self, what: &str) -> String {
        assert!(self.code == 0, "exit code {} of:\n{what}\nout: {}\nerr: {}", self.code, self.out, self.err);
        self.out
    }

    /// Expects a failure told in one sentence on standard error; answers the sentence.
    #[track_caller]
    pub fn sentence(self, what: &str) -> String {
        assert!(self.code != 0, "{what} succeeded: {}", self.out);
        assert!(self.code < 126, "{what} died of a signal: {}", self.code);
        let lines: Vec<&str> = self.err.lines().filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(lines.len(), 1, "{what}: expected one sentence, got:\n{}", self.err);
        assert!(!self.err.contains("panicked"), "{what}: {}", self.err);
        lines[0].to_owned()
    }
}
