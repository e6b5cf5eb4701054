//! What to mount, where and how: one struct, whichever door it came through (flags, `-o`, a file). Parsing does
//! no I/O.

pub mod moment;
pub mod password;
pub mod scratch;
pub mod separator;
pub mod source;
pub mod text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::moment::Moment;
use self::moment::parse_moment;
pub use self::password::Password;
pub use self::scratch::ScratchNames;
pub use self::separator::Separator;
pub use self::source::Source;
use self::text::{
    parse_addressing, parse_attrs, parse_attrs_style, parse_cache_size, parse_commit, parse_endpoint,
    parse_exclusive, parse_memory, parse_number, parse_timeout, parse_ttl, parse_umask, parse_view,
};
use crate::budget;
use crate::error::{Error, ErrorKind, Result};
use crate::store::driver::{Commit, KeepAttributes, Service, TIMEOUT};

/// Mode bits that files and directories lack where the user names no umask.
pub const UMASK: u32 = 0o022;

/// How long an answer of a store that does not tell of changes is good (§6.2), where the user names no time.
pub const TTL: Duration = Duration::from_secs(1);
/// What the disk cache of blocks may take where the user names no size, in bytes.
pub const CACHE_SIZE: u64 = 10 << 30;

/// When a file that is opened with `O_EXCL` is there for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exclusive {
    /// At its close: who comes second learns it there.
    #[default]
    Close,
    /// At its open, empty: for lock files.
    Open,
}

/// Values of a store that are shown as trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// Those that are JSON objects or arrays, as directories of their parts.
    Json,
    /// Those that are safetensors files, as directories of tensors.
    Tensor,
}

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
    /// The one moment of the store that it shows; implies `read_only`.
    #[serde(default, with = "moment::serial")]
    pub snapshot: Option<Moment>,
    /// Whether all of the store is looked at before it is mounted, and refused where it is damaged (§8.8).
    #[serde(default)]
    pub check: bool,
    /// Which values are shown as trees.
    #[serde(default)]
    pub view: Option<View>,
    /// What splits keys into directories; `None`: what the kind of store usually has.
    #[serde(default)]
    pub separator: Option<Separator>,
    /// How puts become commits (§4.4).
    #[serde(default, with = "text::commit")]
    pub commit: Commit,
    /// Where mode, owner, times, links and extended attributes are kept (§5.1).
    #[serde(default, with = "text::attrs")]
    pub attrs: KeepAttributes,
    /// The deadline of every request to the store (§8.1).
    #[serde(default = "default_timeout", with = "text::duration")]
    pub timeout: Duration,
    /// How long an answer of a store that does not tell of changes is good (§6.2).
    #[serde(default = "default_ttl", with = "text::ttl")]
    pub ttl: Duration,
    /// What all buffers of the daemon may take, in bytes.
    #[serde(default = "default_memory", with = "text::memory")]
    pub memory: u64,
    /// A folder in which blocks of what was read are kept, for this mount and later ones.
    #[serde(default, with = "text::optional_path")]
    pub cache: Option<PathBuf>,
    /// What these blocks may take, in bytes.
    #[serde(default = "default_cache_size", with = "text::cache_size")]
    pub cache_size: u64,
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
    /// When a file that must not exist is there for others.
    #[serde(default)]
    pub exclusive: Exclusive,
    /// Which names are scratch files (§4.7); `None`: what the kind of store usually has.
    #[serde(default)]
    pub scratch: Option<ScratchNames>,
    /// Whether the file of a scalar in a document ends in a line end that is not part of it.
    #[serde(default)]
    pub newline: bool,
    /// How the store's service is reached.
    #[serde(default)]
    pub service: Service,
}

fn default_timeout() -> Duration {
    TIMEOUT
}

fn default_ttl() -> Duration {
    TTL
}

fn default_memory() -> u64 {
    budget::DEFAULT
}

fn default_cache_size() -> u64 {
    CACHE_SIZE
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
    "check",
    "view=",
    "separator=",
    "commit=",
    "attrs=",
    "timeout=",
    "ttl=",
    "memory=",
    "cache=",
    "cache_size=",
    "allow_other",
    "noexec",
    "uid=",
    "gid=",
    "umask=",
    "load=",
    "save=",
    "excl=",
    "scratch=",
    "newline",
    "attrs-style=",
    "endpoint=",
    "region=",
    "profile=",
    "addressing=",
    "anonymous",
    "password-file=",
    "match=",
    "cert=",
    "key=",
    "cacert=",
    "markers",
    "require-aof",
];

impl MountSpec {
    /// A mount of `source` at `mount_point` with nothing else said.
    pub fn new(source: Source, mount_point: PathBuf) -> MountSpec {
        MountSpec {
            source,
            mount_point,
            read_only: false,
            snapshot: None,
            check: false,
            view: None,
            separator: None,
            commit: Commit::default(),
            attrs: KeepAttributes::default(),
            timeout: TIMEOUT,
            ttl: TTL,
            memory: budget::DEFAULT,
            cache: None,
            cache_size: CACHE_SIZE,
            allow_other: false,
            no_exec: false,
            uid: None,
            gid: None,
            umask: None,
            load: None,
            save: None,
            exclusive: Exclusive::default(),
            scratch: None,
            newline: false,
            service: Service::default(),
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
            ("snapshot", None) => self.snapshot = Some(Moment::Now),
            ("snapshot", Some(value)) => self.snapshot = Some(parse_moment(value)?),
            ("check", None) => self.check = true,
            ("view", Some(value)) => self.view = Some(parse_view(value)?),
            ("newline", None) => self.newline = true,
            ("allow_other", None) => self.allow_other = true,
            ("noexec", None) => self.no_exec = true,
            ("separator", Some(value)) => self.separator = Some(value.parse()?),
            ("commit", Some(value)) => self.commit = parse_commit(value)?,
            ("attrs", Some(value)) => self.attrs = parse_attrs(value)?,
            ("timeout", Some(value)) => self.timeout = parse_timeout(value)?,
            ("ttl", Some(value)) => self.ttl = parse_ttl(value)?,
            ("memory", Some(value)) => self.memory = parse_memory(value)?,
            ("cache", Some(value)) => self.cache = Some(value.into()),
            ("cache_size", Some(value)) => self.cache_size = parse_cache_size(value)?,
            ("uid", Some(value)) => self.uid = Some(parse_number("uid", value, 10)?),
            ("gid", Some(value)) => self.gid = Some(parse_number("gid", value, 10)?),
            ("umask", Some(value)) => self.umask = Some(parse_umask(value)?),
            ("load", Some(value)) => self.load = Some(value.into()),
            ("save", Some(value)) => self.save = Some(value.into()),
            ("excl", Some(value)) => self.exclusive = parse_exclusive(value)?,
            ("scratch", Some(value)) => self.scratch = Some(value.parse()?),
            ("attrs_style", Some(value)) => self.service.attrs_style = parse_attrs_style(value)?,
            ("endpoint", Some(value)) => self.service.endpoint = Some(parse_endpoint(value)?),
            ("region", Some(value)) => self.service.region = Some(value.to_owned()),
            ("profile", Some(value)) => self.service.profile = Some(value.to_owned()),
            ("addressing", Some(value)) => self.service.addressing = Some(parse_addressing(value)?),
            ("anonymous", None) => self.service.anonymous = true,
            ("password_file", Some(value)) => self.service.password_file = Some(value.into()),
            ("match", Some(value)) => self.service.matching = Some(value.to_owned()),
            ("cert", Some(value)) => self.service.cert = Some(value.into()),
            ("key", Some(value)) => self.service.key = Some(value.into()),
            ("cacert", Some(value)) => self.service.cacert = Some(value.into()),
            ("markers", None) => self.service.markers = true,
            ("require_aof", None) => self.service.require_aof = true,
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
        self.cache = self.cache.map(|path| join(folder, &path));
        self.load = self.load.map(|path| join(folder, &path));
        self.save = self.save.map(|path| join(folder, &path));
        let service = &mut self.service;
        let files = [&mut service.password_file, &mut service.cert, &mut service.key, &mut service.cacert];
        for path in files.into_iter().flatten() {
            *path = join(folder, path);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MountSpec {
        MountSpec::new(Source::parse("memory".as_ref()).unwrap(), "m".into())
    }

    #[test]
    fn options_of_mount_8_are_taken() {
        let mut spec = spec();
        spec.apply_options(
            "rw,nosuid,_netdev,x-systemd.automount,,ro,check,commit=50ms,timeout=5s,allow-other,attrs=none,ttl=0s,memory=1G,cache=c,cache-size=50M",
        )
        .unwrap();
        spec.apply_options(r"uid=7,gid=8,umask=027,separator=\,,noexec,load=a\,b").unwrap();
        assert!(spec.check && spec.read_only && spec.allow_other && spec.no_exec && spec.snapshot.is_none());
        assert_eq!(spec.commit, Commit::Within(Duration::from_millis(50)));
        assert_eq!(spec.timeout, Duration::from_secs(5));
        assert_eq!(spec.attrs, KeepAttributes::None);
        assert_eq!((spec.ttl, spec.memory), (Duration::ZERO, 1 << 30));
        assert_eq!((spec.cache.clone(), spec.cache_size), (Some("c".into()), 50 << 20));
        assert_eq!((spec.uid, spec.gid, spec.modes()), (Some(7), Some(8), (0o640, 0o750)));
        assert_eq!(spec.separator, Some(Separator::Bytes(b",".to_vec())));
        assert_eq!(spec.load, Some("a,b".into()));
    }

    #[test]
    fn unknown_options_are_refused_with_those_that_are_known() {
        for list in [
            "sideways",
            "ro=1",
            "commit",
            "commit=soon",
            "attrs=some",
            "uid=root",
            "umask=1777",
            "timeout=0s",
            "ttl=2d",
            "memory=1M",
            "memory=lots",
            "view=pictures",
            "cache-size=1k",
            "suid",
        ] {
            let error = spec().apply_options(list).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{list}");
        }
        assert!(spec().apply_options("sideways").unwrap_err().to_string().contains("allow_other"));
    }

    #[test]
    fn paths_become_absolute() {
        let mut spec = spec();
        spec.save = Some("./saved".into());
        spec.load = Some("/l".into());
        let spec = spec.absolute(Path::new("/home/ada"));
        assert_eq!(spec.mount_point, Path::new("/home/ada/m"));
        assert_eq!(spec.save.as_deref(), Some(Path::new("/home/ada/saved")));
        assert_eq!(spec.load.as_deref(), Some(Path::new("/l")));
    }

    #[test]
    fn orders_reach_the_daemon_unchanged() {
        use std::os::unix::ffi::OsStrExt;
        let mut spec = spec();
        spec.mount_point = std::ffi::OsStr::from_bytes(b"/not \xff utf-8").into();
        spec.separator = Some(Separator::Bytes(b"\0\\\xff:".to_vec()));
        spec.commit = Commit::Within(Duration::from_millis(1500));
        spec.save = Some("/saved".into());
        spec.ttl = Duration::ZERO;
        (spec.memory, spec.cache_size) = ((100 << 20) + 1, 3 << 40);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<MountSpec>(&text).unwrap(), spec);
        let short = r#"{"source": "memory", "mount-point": "/m"}"#;
        let read: MountSpec = serde_json::from_str(short).unwrap();
        assert_eq!(read, MountSpec::new(Source::parse("memory".as_ref()).unwrap(), "/m".into()));
        assert!(serde_json::from_str::<MountSpec>(&short.replace("mount-point", "mount_point")).is_err());
    }
}
