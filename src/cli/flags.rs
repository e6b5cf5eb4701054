//! The flags that every command which mounts has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};

use super::Failure;
use crate::config::moment::parse_moment;
use crate::config::text::{
    parse_addressing, parse_attrs, parse_attrs_style, parse_cache_size, parse_commit, parse_endpoint,
    parse_exclusive, parse_memory, parse_timeout, parse_ttl, parse_umask, parse_view,
};
use crate::config::{Exclusive, Moment, MountSpec, Password, ScratchNames, Separator, Source, View};
use crate::error::{Error, ErrorKind};
use crate::logging;
use crate::store::driver::{Addressing, AttributeStyle, Commit, KeepAttributes};

/// What a mount can be told.
#[derive(Debug, Args)]
pub struct MountFlags {
    /// Refuse every change
    #[arg(long, short = 'r', help_heading = "What is shown")]
    read_only: bool,

    /// Show one moment of the store, read-only, for backups: this one, or TIME where the store keeps old versions
    ///
    /// TIME is as in 2026-01-31T10:00:00Z, "2026-01-31 10:00" or 2026-01-31 (local time), or how long ago: 2h, 3days.
    /// Buckets with versioning show any time since that was switched on; LMDB and memory show the moment of the mount.
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "now",
        value_parser = parse_moment,
        help_heading = "What is shown"
    )]
    snapshot: Option<Moment>,

    /// Look at all of the store before it is mounted, and refuse a damaged one
    ///
    /// For LMDB: at every page. Without it a small file is looked at whole, of a larger one the first pages.
    #[arg(long, help_heading = "What is shown")]
    check: bool,

    /// Show values of a kind as directories: json (objects and arrays), tensor (safetensors files as .npy files); the mount is read-only
    ///
    /// json looks at each value of up to 4 MiB. tensor looks at those whose names end in .safetensors; reads are ranges of the
    /// value.
    #[arg(long, value_name = "KIND", value_parser = parse_view, help_heading = "What is shown")]
    view: Option<View>,
    /// End the file of each scalar in a document in a line end, which is not part of it
    ///
    /// Without it a string shows as it is, and the line end that is written to it becomes part of it.
    #[arg(long, help_heading = "What is shown")]
    newline: bool,

    /// What splits keys into directories; `none`: each key is one file
    ///
    /// Any bytes, with the escapes \\ \0 \t \n \r \xHH. Without it, keys are split as is usual for the kind of store:
    /// at `/` in LMDB.
    #[arg(long, value_name = "S|none", help_heading = "What is shown")]
    separator: Option<Separator>,

    /// When a written file is in the store: auto, close, durable, or a time such as 50ms
    ///
    /// auto: closes gather for milliseconds and are committed together; no other program can look in between.
    /// close: a close waits for its commit. durable: a close waits for the disk, too.
    /// A time: closes within it share one commit; this mount sees them at once, other programs within that time.
    /// fsync, `kvfs sync` and `kvfs unmount` wait for everything, always.
    #[arg(long, value_name = "WHEN", value_parser = parse_commit, help_heading = "When it is stored")]
    commit: Option<Commit>,

    /// When a file made with O_EXCL is there for others: close or open (empty: for lock files) [default: close]
    #[arg(long, value_name = "WHEN", value_parser = parse_exclusive, help_heading = "When it is stored")]
    excl: Option<Exclusive>,

    /// Files of these names stay in the mount until they are renamed: "*~,.*.sw?", or none
    ///
    /// What editors and copying programs make for a moment never reaches the store, and is gone with the mount; renamed
    /// to another name it is put there. Names that the store has already are its own. Patterns are a shell's, with commas
    /// between them. By default stores behind a network have .*.sw?,.*.swpx,4913,?*~,.#*,#*#,sed??????,.*.?????? and others none;
    /// six ? at the end are letters that look drawn at random, with a capital or a digit. A file over 8M is put all the same.
    #[arg(long, value_name = "PATTERNS|none", help_heading = "When it is stored")]
    scratch: Option<ScratchNames>,

    /// How long a request to the store may take [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout, help_heading = "When it is stored")]
    timeout: Option<Duration>,

    /// How long what a remote store told of names and attributes is good [default: 1s]
    ///
    /// For stores that do not tell of other programs' changes: within this time stat and absent names are answered
    /// from memory. Opening a file looks at the store always. 0s: every question goes to the store.
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, help_heading = "What is kept here")]
    ttl: Option<Duration>,

    /// What all buffers together may take: K, M, G, T are powers of 1024 [default: 256M]
    ///
    /// Bytes read ahead, uploads, files being written and remembered
    /// names; at least 64M. What is written and has no room here waits in a file.
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, help_heading = "What is kept here")]
    memory: Option<u64>,

    /// Keep blocks of what is read from a remote store in this folder, for later reads and later mounts
    ///
    /// Readable by its owner alone, checked when they are read back, and never taken for another version's. Each store
    /// has a folder of its own in it. What is wrong with it fails no read.
    #[arg(long, value_name = "DIR", help_heading = "What is kept here")]
    cache: Option<PathBuf>,

    /// What the blocks of one store may take on disk; at least 16M [default: 10G]
    #[arg(long, value_name = "SIZE", value_parser = parse_cache_size, help_heading = "What is kept here")]
    cache_size: Option<u64>,

    /// Fill a `memory` store from this file, in the format of mdb_dump
    #[arg(long, value_name = "FILE", help_heading = "When it is stored")]
    load: Option<PathBuf>,

    /// Copy a `memory` store to this file when it is unmounted, in the format of mdb_dump
    #[arg(long, value_name = "FILE", help_heading = "When it is stored")]
    save: Option<PathBuf>,

    /// The server of a bucket, where it is not the service's own: http://127.0.0.1:9000
    #[arg(long, value_name = "URL", value_parser = parse_endpoint, help_heading = "How a service is reached")]
    endpoint: Option<String>,

    /// The region of a bucket [default: the environment's, the profile's, else what the bucket tells]
    #[arg(long, value_name = "NAME", help_heading = "How a service is reached")]
    region: Option<String>,

    /// The profile in the service's own configuration
    #[arg(long, value_name = "NAME", help_heading = "How a service is reached")]
    profile: Option<String>,

    /// Where the bucket's name goes: path or virtual (in the host's name) [default: path with --endpoint]
    #[arg(long, value_name = "WHERE", value_parser = parse_addressing, help_heading = "How a service is reached")]
    addressing: Option<Addressing>,

    /// In whose words attributes are written to S3: s3fs or rclone; all are read [default: s3fs]
    #[arg(long, value_name = "STYLE", value_parser = parse_attrs_style, help_heading = "How a service is reached")]
    attrs_style: Option<AttributeStyle>,

    /// Ask without credentials: a public bucket
    #[arg(long, help_heading = "How a service is reached")]
    anonymous: bool,

    /// The file whose first line is the password of a server; readable by its owner alone [default: $REDISCLI_AUTH]
    #[arg(long, value_name = "FILE", help_heading = "How a service is reached")]
    password_file: Option<PathBuf>,

    /// Ask for the password of a server, on the terminal
    #[arg(long, conflicts_with = "password_file", help_heading = "How a service is reached")]
    ask_password: bool,

    /// Only keys that match this glob, of *, ? and [abc], as ?match= in the URL does
    #[arg(long = "match", value_name = "GLOB", help_heading = "How a service is reached")]
    matching: Option<String>,

    /// The certificate of this side of a TLS connection, as PEM, where a server asks for one
    #[arg(long, value_name = "FILE", help_heading = "How a service is reached")]
    cert: Option<PathBuf>,

    /// Its key, as PEM
    #[arg(long, value_name = "FILE", help_heading = "How a service is reached")]
    key: Option<PathBuf>,

    /// Who signs the certificates of servers, as PEM [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", help_heading = "How a service is reached")]
    cacert: Option<PathBuf>,

    /// Let directories of a server last: mkdir adds a key
    #[arg(long, help_heading = "How a service is reached")]
    markers: bool,

    /// Fail fsync where a server does not tell that what was put is on its disk (Redis 7.2 with an append-only file does)
    #[arg(long, help_heading = "When it is stored")]
    require_aof: bool,

    /// Let other users look; as an ordinary user only where /etc/fuse.conf says user_allow_other
    #[arg(long, help_heading = "Whose it is")]
    allow_other: bool,

    /// The owner that files show [default: who mounts]
    #[arg(long, value_name = "NUMBER", help_heading = "Whose it is")]
    uid: Option<u32>,

    /// The group that files show [default: who mounts]
    #[arg(long, value_name = "NUMBER", help_heading = "Whose it is")]
    gid: Option<u32>,

    /// Where mode, owner, times, links and extended attributes are kept: auto, native, sidecar or none
    ///
    /// native: by the store itself. sidecar: in a small database beside the store, made when it is first needed.
    /// none: nowhere; what would have to last is refused. auto is native where the store can, else sidecar where it
    /// has a place beside it (memory, lmdb), else none.
    #[arg(long, value_name = "WHERE", value_parser = parse_attrs, help_heading = "Whose it is")]
    attrs: Option<KeepAttributes>,

    /// Mode bits that files (0666) and directories (0777) lack [default: 022]
    #[arg(long, value_name = "OCTAL", value_parser = parse_umask, help_heading = "Whose it is")]
    umask: Option<u32>,

    /// The options of mount(8) and /etc/fstab, and those above by the same names: ro,commit=close,x-systemd.automount
    #[arg(short = 'o', value_name = "LIST", action = ArgAction::Append, help_heading = "Whose it is")]
    options: Vec<String>,

    /// What to log: error, warn, info, debug, trace, or kvfs::vfs=debug,... [default: $KVFS_LOG, else info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl MountFlags {
    /// What to log.
    pub fn level(&self) -> String {
        #[allow(clippy::disallowed_methods)]
        let variable = || std::env::var("KVFS_LOG").ok().filter(|level| !level.is_empty());
        self.log.clone().or_else(variable).unwrap_or_else(|| logging::LEVEL.to_owned())
    }

    /// The mount that the flags ask for, with every path absolute.
    pub fn into_spec(self, source: &OsString, mount_point: PathBuf) -> Result<MountSpec, Failure> {
        let source = Source::parse(source).map_err(Failure::Usage)?;
        let mut spec = MountSpec::new(source, mount_point);
        for list in &self.options {
            spec.apply_options(list).map_err(Failure::Usage)?;
        }
        spec.read_only |= self.read_only;
        spec.snapshot = self.snapshot.or(spec.snapshot);
        spec.check |= self.check;
        spec.view = self.view.or(spec.view);
        spec.newline |= self.newline;
        spec.allow_other |= self.allow_other;
        spec.separator = self.separator.or(spec.separator);
        spec.commit = self.commit.unwrap_or(spec.commit);
        spec.attrs = self.attrs.unwrap_or(spec.attrs);
        spec.timeout = self.timeout.unwrap_or(spec.timeout);
        spec.ttl = self.ttl.unwrap_or(spec.ttl);
        spec.memory = self.memory.unwrap_or(spec.memory);
        spec.cache = self.cache.or(spec.cache);
        spec.cache_size = self.cache_size.unwrap_or(spec.cache_size);
        spec.uid = self.uid.or(spec.uid);
        spec.gid = self.gid.or(spec.gid);
        spec.umask = self.umask.or(spec.umask);
        spec.load = self.load.or(spec.load);
        spec.save = self.save.or(spec.save);
        let service = &mut spec.service;
        service.endpoint = self.endpoint.or(service.endpoint.take());
        service.region = self.region.or(service.region.take());
        service.profile = self.profile.or(service.profile.take());
        service.addressing = self.addressing.or(service.addressing);
        service.anonymous |= self.anonymous;
        service.attrs_style = self.attrs_style.unwrap_or(service.attrs_style);
        service.password_file = self.password_file.or(service.password_file.take());
        service.matching = self.matching.or(service.matching.take());
        service.cert = self.cert.or(service.cert.take());
        service.key = self.key.or(service.key.take());
        service.cacert = self.cacert.or(service.cacert.take());
        service.markers |= self.markers;
        service.require_aof |= self.require_aof;
        spec.scratch = self.scratch.or(spec.scratch);
        spec.exclusive = self.excl.unwrap_or(spec.exclusive);
        if self.ask_password {
            ask_for_password(&spec.source)?;
        }
        Ok(spec.absolute(&working_folder()?))
    }
}

/// Has somebody type the password, which nobody sees.
fn ask_for_password(source: &Source) -> Result<(), Failure> {
    if !source.is_server() {
        let sentence = format!("--ask-password is for servers; {source} is none");
        return Err(Failure::Usage(Error::new(ErrorKind::Invalid, sentence)));
    }
    let prompt = format!("Password for {source}: ");
    let password = rpassword::prompt_password(prompt)
        .map_err(|error| Error::io("asking for the password on the terminal", &error))?;
    Password::new(password).remember();
    Ok(())
}

fn working_folder() -> Result<PathBuf, Error> {
    std::path::absolute(Path::new(".")).map_err(|e| Error::io("the working folder", &e))
}

/// `--snapshot TIME` as `--snapshot=TIME`: a value that may be missing has to be joined, since what follows can be SOURCE. What
/// reads as a time is one.
pub fn with_moment_joined(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(arguments.len());
    let mut open = true;
    for argument in arguments {
        // Behind `--` stands another program's command line.
        open &= argument != "--";
        match joined.last_mut().filter(|last| open && *last == "--snapshot") {
            Some(last) if argument.to_str().is_some_and(|text| parse_moment(text).is_ok()) => {
                last.push("=");
                last.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_behind_snapshot_belongs_to_it() {
        let joined = |line: &str| {
            let arguments = line.split(' ').map(OsString::from).collect();
            let joined: Vec<_> = with_moment_joined(arguments);
            joined.iter().map(|argument| argument.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(joined("kvfs mount --snapshot 2h s3://b m"), "kvfs mount --snapshot=2h s3://b m");
        for same in [
            "kvfs mount --snapshot lmdb:./s m",
            "kvfs mount s m --snapshot",
            "kvfs exec s -- x --snapshot 2h",
        ] {
            assert_eq!(joined(same), same);
        }
    }
}
