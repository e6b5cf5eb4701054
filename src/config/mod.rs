//! What to mount, where and how: one struct, whichever door it came through (flags, `-o`, a file). Parsing does
//! no I/O.

pub mod separator;
pub mod source;
pub mod text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::separator::Separator;
pub use self::source::Source;
use self::text::{parse_commit, parse_number, parse_timeout, parse_umask};
use crate::error::{Error, ErrorKind, Result};
use crate::store::driver::Commit;

/// The deadline of every request to a store where the user names none (§8.1).
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Mode bits that files and directories lack where the user names no umask.
pub const UMASK: u32 = 0o022;

/// One mount, complete: nothing below this reads the command line or the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MountSpec {
    /// What is mounted.
    pub source: Source,
    /// Where; absolute once [`MountSpec::absolute`] was called.
    #[serde(with = "text::path")]
    pub mount_point: PathBuf,
    /// Whether everything in it is refused that would change the store.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it shows one moment of the store; implies `read_only`.
    #[serde(default)]
    pub snapshot: bool,
    /// What splits keys into directories; `None`: what the kind of store usually has.
    #[serde(default)]
    pub separator: Option<Separator>,
    /// How puts become commits (§4.4).
    #[serde(default, with = "text::commit")]
    pub commit: Commit,
    /// The deadline of every request to the store (§8.1).
    #[serde(default = "default_timeout", with = "text::duration")]
    pub timeout: Duration,
    /// Whether users other than the mounting one may look.
    #[serde(default)]
    pub allow_other: bool,
    /// Whether no file can be executed.
    #[serde(default)]
    pub no_exec: bool,
    /// The owner that files show; `None`: who mounts.
    #[serde(default)]
    pub uid: Option<u32>,
    /// The group that files show; `None`: who mounts.
    #[serde(default)]
    pub gid: Option<u32>,
    /// Mode bits that files (0666) and directories (0777) lack.
    #[serde(default)]
    pub umask: Option<u32>,
    /// A file to fill a `memory` store from.
    #[serde(default, with = "text::optional_path")]
    pub load: Option<PathBuf>,
    /// A file to copy a `memory` store to when it is unmounted.
    #[serde(default, with = "text::optional_path")]
    pub save: Option<PathBuf>,
}

fn default_timeout() -> Duration {
    TIMEOUT
}

/// The options of `-o` that mount(8) passes on and that change nothing here: what they ask for holds anyway, or
/// concerns mount(8) alone.
const PASSED: &[&str] = &[
    "rw",
    "defaults",
    "nosuid",
    "nodev",
    "exec",
    "noatime",
    "nodiratime",
    "relatime",
    "async",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "_netdev",
    "nofail",
];

/// The options of `-o` that mean something here.
const OPTIONS: &[&str] = &[
    "ro",
    "snapshot",
    "separator=",
    "commit=",
    "timeout=",
    "allow_other",
    "noexec",
    "uid=",
    "gid=",
    "umask=",
    "load=",
    "save=",
];

impl MountSpec {
    /// A mount of `source` at `mount_point` with nothing else said.
    pub fn new(source: Source, mount_point: PathBuf) -> MountSpec {
        MountSpec {
            source,
            mount_point,
            read_only: false,
            snapshot: false,
            separator: None,
            commit: Commit::default(),
            timeout: TIMEOUT,
            allow_other: false,
            no_exec: false,
            uid: None,
            gid: None,
            umask: None,
            load: None,
            save: None,
        }
    }

    /// Takes the options of one `-o LIST`, as mount(8) and /etc/fstab write them; `\,` is a comma in a value.
    ///
    /// # Errors
    /// `Invalid` for an option that is not known (with those that are), or a value that makes no sense.
    pub fn apply_options(&mut self, list: &str) -> Result<()> {
        for option in split_options(list) {
            self.apply_option(&option)?;
        }
        Ok(())
    }

    fn apply_option(&mut self, option: &str) -> Result<()> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let name = name.replace('-', "_");
        match (name.as_str(), value) {
            ("ro" | "read_only", None) => self.read_only = true,
            ("snapshot", None) => self.snapshot = true,
            ("allow_other", None) => self.allow_other = true,
            ("noexec", None) => self.no_exec = true,
            ("separator", Some(value)) => self.separator = Some(value.parse()?),
            ("commit", Some(value)) => self.commit = parse_commit(value)?,
            ("timeout", Some(value)) => self.timeout = parse_timeout(value)?,
            ("uid", Some(value)) => self.uid = Some(parse_number("uid", value, 10)?),
            ("gid", Some(value)) => self.gid = Some(parse_number("gid", value, 10)?),
            ("umask", Some(value)) => self.umask = Some(parse_umask(value)?),
            ("load", Some(value)) => self.load = Some(value.into()),
            ("save", Some(value)) => self.save = Some(value.into()),
            (name, _) if PASSED.contains(&name) || option.starts_with("x-") || option.is_empty() => {}
            _ => {
                let sentence = format!(
                    "-o {option}: no such option; there are {}, and those of mount(8): {}, x-*",
                    OPTIONS.join(", "),
                    PASSED.join(", ")
                );
                return Err(Error::new(ErrorKind::Invalid, sentence));
            }
        }
        Ok(())
    }

    /// The same with every path made absolute, from `folder` on.
    #[must_use]
    pub fn absolute(mut self, folder: &Path) -> MountSpec {
        self.source = self.source.absolute(folder);
        self.mount_point = join(folder, &self.mount_point);
        self.load = self.load.map(|path| join(folder, &path));
        self.save = self.save.map(|path| join(folder, &path));
        self
    }

    /// The mode of files and of directories that the store gives no mode for.
    pub fn modes(&self) -> (u32, u32) {
        let umask = self.umask.unwrap_or(UMASK);
        (0o666 & !umask, 0o777 & !umask)
    }
}

/// The path below `folder` unless it is absolute, without `.` in it. `..` stays: what it means, links decide.
fn join(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path).components().collect()
}

/// Splits at commas that no backslash precedes.
fn split_options(list: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        match (character, options.last_mut()) {
            (',', _) => options.push(String::new()),
            ('\\', Some(option)) => match characters.next() {
                Some(',') => option.push(','),
                Some(other) => option.extend(['\\', other]),
                None => option.push('\\'),
            },
            (_, Some(option)) => option.push(character),
            (_, None) => {}
        }
    }
    options
}
