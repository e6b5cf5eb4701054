//! What the kernel knows: mounts, FUSE connections, processes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One FUSE or loop mount, as `/proc/self/mountinfo` lists it; never asked of the mount itself, which may hang.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Where it is.
    pub point: PathBuf,
    /// The minor number of its device, which names its FUSE connection.
    pub minor: u32,
    /// Its type: `fuse.kvfs`.
    pub kind: String,
    /// Its source, as `mount` shows it.
    pub source: String,
    /// Options of the mount point and of the file system.
    pub options: String,
}

/// The mounts at `folder` and below, the deepest and latest first.
pub fn mounts_below(folder: &Path) -> Vec<Mounted> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut found: Vec<Mounted> =
        table.lines().filter_map(parse).filter(|mount| mount.point.starts_with(folder)).collect();
    found.reverse();
    found
}

fn parse(line: &str) -> Option<Mounted> {
    let (mount, system) = line.split_once(" - ")?;
    let mount: Vec<&str> = mount.split(' ').collect();
    let system: Vec<&str> = system.split(' ').collect();
    Some(Mounted {
        point: unescape(mount.get(4)?).into(),
        minor: mount.get(2)?.split_once(':')?.1.parse().ok()?,
        kind: (*system.first()?).to_owned(),
        source: unescape(system.get(1)?),
        options: format!("{},{}", mount.get(5)?, system.get(2)?),
    })
}

fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

impl Mounted {
    fn connection(&self, file: &str) -> PathBuf {
        format!("/sys/fs/fuse/connections/{}/{file}", self.minor).into()
    }

    /// How many requests the kernel waits for; `?` where it does not say.
    pub fn waiting(&self) -> String {
        fs::read_to_string(self.connection("waiting")).map_or("?".into(), |count| count.trim().to_owned())
    }

    /// Ends the connection: every waiting request fails.
    pub fn abort(&self) {
        if self.kind.starts_with("fuse") {
            // Already gone is as good.
            let _ = fs::write(self.connection("abort"), "1");
        }
    }

    /// Takes the mount out of the tree, even when it is busy.
    pub fn detach(&self) {
        let mut command = if nix::unistd::geteuid().is_root() {
            let mut command = Command::new("umount");
            command.arg("-l");
            command
        } else {
            let mut command = Command::new("fusermount3");
            command.args(["-u", "-z"]);
            command
        };
        let _ = command.arg(&self.point).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The processes, this one apart, that run with `KVFS_RUNTIME_DIR` set to `folder`: all that a test started.
pub fn processes_of(folder: &Path) -> Vec<i32> {
    let mut mark = b"KVFS_RUNTIME_DIR=".to_vec();
    mark.extend_from_slice(folder.as_os_str().as_bytes());
    let own = std::process::id() as i32;
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&process| process != own)
        .filter(|process| {
            fs::read(format!("/proc/{process}/environ"))
                .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|one| one == mark))
        })
        .collect()
}

/// Ends all of [`processes_of`] at once.
pub fn kill_all_of(folder: &Path) {
    for process in processes_of(folder) {
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGKILL);
    }
}
