//! A test's folder, and the processes in it: each is this program again, in one of its roles.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use kvfs::env::Folders;

/// A file in the state folder of a child: its folders are a test's own.
const MARK: &str = "of-a-test";

/// A folder with an environment and the state of the daemons that use it.
pub struct Stage {
    pub folder: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Stage {
        let stage = Stage { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(stage.state()).unwrap();
        std::fs::write(stage.state().join(MARK), stage.store().as_os_str().as_encoded_bytes()).unwrap();
        stage
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs the test `role` of [`super::roles`] in a process of its own, which talks through its standard streams.
    pub fn spawn(&self, role: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("roles::{role}"), "--ignored", "--nocapture", "--test-threads=1"])
            .env("KVFS_STATE_DIR", self.state())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Process { child, said }
    }
}

/// A process of the test's; it is killed when the test fails.
pub struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// The rest of its next line that begins with `said `; `None` at its end.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.trim_end().split_once("said ") {
                return Some(said.to_owned());
            }
        }
    }

    pub fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    pub fn ends_well(mut self) {
        drop(self.child.stdin.take());
        while self.hear().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }

    /// Kills it; answers the last thing that it said, if anybody did not hear it.
    pub fn kill(mut self) -> Option<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.hear()).last()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "said {what}").unwrap();
    out.flush().unwrap();
}

/// In a child: the environment's folder. `None` where a person ran the role by itself.
pub fn in_child() -> Option<PathBuf> {
    let mark = std::fs::read(Folders::get().state.join(MARK)).ok()?;
    Some(PathBuf::from(String::from_utf8(mark).unwrap()))
}

/// Does something when it drops: also where a test fails.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
