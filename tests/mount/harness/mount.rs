//! One mount of the real program.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use super::kernel::{Mounted, mounts_below};
use super::{Finished, LIMIT, PATIENCE, Place, binary, plain, skip, until, watched, within};

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `kvfs mount memory ./data`
    Memory,
    /// `kvfs mount lmdb ./data`
    InPlace,
    /// `kvfs mount lmdb:./store ./data`
    Apart,
    /// `kvfs mount folder:./store ./data`
    Folder,
    /// A bucket of a cloud service, mounted by [`Mount::of`].
    #[allow(dead_code, reason = "for tests/buckets")]
    Bucket,
    /// A server, mounted by [`Mount::of`].
    #[allow(dead_code, reason = "for tests/redis")]
    Server,
    /// A file of tensors, mounted by [`Mount::of`].
    #[allow(dead_code, reason = "for tests/tensors")]
    Model,
    /// A document, mounted by [`Mount::of`].
    #[allow(dead_code, reason = "for tests/documents")]
    Document,
}

/// A mount, in foreground, so that its daemon is a child of this process. Unmounted at drop.
pub struct Mount {
    /// The folder of the test.
    pub place: Place,
    /// What is mounted.
    pub kind: Kind,
    point: PathBuf,
    source: OsString,
    options: Vec<String>,
    daemon: Option<Child>,
}

impl Mount {
    /// Mounts `kind` with `options` on `data` below `place`; the store of [`Kind::Apart`] is `store`.
    pub fn new(place: &Place, kind: Kind, options: &[&str]) -> Mount {
        let source = match kind {
            Kind::Memory => "memory".into(),
            Kind::InPlace => "lmdb".into(),
            Kind::Apart | Kind::Folder => {
                let mut source = OsString::from(if kind == Kind::Apart { "lmdb:" } else { "folder:" });
                source.push(place.at("store"));
                source
            }
            Kind::Bucket | Kind::Server | Kind::Model | Kind::Document => {
                panic!("which one is for Mount::of to say")
            }
        };
        Mount::of(place, kind, source, "data", options)
    }

    /// Mounts `source` on the folder `point` below `place`.
    pub fn of(place: &Place, kind: Kind, source: OsString, point: &str, options: &[&str]) -> Mount {
        let mut mount = Mount {
            place: place.clone(),
            kind,
            point: place.at(point),
            source,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            daemon: None,
        };
        mount.start();
        mount
    }

    /// Runs `body` on a mount of its own, under the watchdog.
    pub fn try_on(kind: Kind, body: fn(&mut Mount)) {
        Mount::try_for(LIMIT, kind, body);
    }

    /// Runs `body` on a mount of its own, for at most `limit`.
    pub fn try_for(limit: Duration, kind: Kind, body: fn(&mut Mount)) {
        watched(limit, move |place| {
            if plain() && kind != Kind::Memory {
                skip("one plain folder is like another");
            }
            body(&mut Mount::new(place, kind, &[]));
        });
    }

    /// Mounts what was mounted before, or for the first time, and waits until it answers.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.daemon.is_none(), "mounted already");
        if plain() {
            fs::create_dir_all(&self.point).unwrap();
            return;
        }
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.place.command(binary());
        command.arg("mount").arg("--foreground").args(&self.options).arg(&self.source).arg(&self.point);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let point = self.point.clone();
        let ready = || {
            if let Some(status) = self.daemon.as_mut()?.try_wait().unwrap() {
                return Some(Err(status));
            }
            // Neither the folder below nor a dead mount that is about to be cleaned up opens as a FUSE folder.
            let opened = File::open(&point).ok()?;
            let kind = nix::sys::statfs::fstatfs(&opened).ok()?.filesystem_type();
            (kind == nix::sys::statfs::FUSE_SUPER_MAGIC).then_some(Ok(()))
        };
        if let Err(status) = until(PATIENCE, "it is mounted", ready) {
            self.daemon = None;
            panic!("the mount of {} ended with {status}: {}", self.source.display(), self.log());
        }
    }

    /// The mount point.
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// A path in the mount.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    /// The LMDB environment of a mount apart.
    pub fn store(&self) -> PathBuf {
        assert_eq!(self.kind, Kind::Apart, "in place the mount hides its store");
        self.place.at("store")
    }

    /// Runs `script` in bash, in the mount, and expects it to succeed.
    #[track_caller]
    pub fn bash(&self, script: &str) -> String {
        self.place.bash(&self.point, script)
    }

    fn log_path(&self) -> PathBuf {
        self.place.at(format!("{}.log", self.point.file_name().unwrap().display()))
    }

    /// What the daemon has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The daemon's process.
    pub fn pid(&self) -> i32 {
        self.daemon.as_ref().expect("mounted").id() as i32
    }

    /// What the kernel's table says of the mount.
    pub fn mounted(&self) -> Option<Mounted> {
        mounts_below(&self.point).into_iter().find(|mount| mount.point == self.point)
    }

    /// What `kvfs status --json` says of this mount.
    pub fn status(&self) -> serde_json::Value {
        let mut arguments = vec![OsString::from("status"), "--json".into()];
        arguments.push(self.point.clone().into());
        let out = self.place.kvfs_ok(arguments);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    /// How many requests of each operation the daemon has met.
    pub fn requests(&self) -> std::collections::BTreeMap<String, u64> {
        let status = self.status();
        let counts = field(&status, "requests").unwrap_or_else(|| panic!("no request counts in {status}"));
        counts
            .as_object()
            .expect("a map of counts")
            .iter()
            .map(|(name, count)| (name.clone(), count.as_u64().expect("a count")))
            .collect()
    }

    /// `kvfs unmount`, expected to succeed, and the daemon with it.
    #[track_caller]
    pub fn unmount(&mut self) {
        if plain() {
            return;
        }
        self.let_go().ok("kvfs unmount");
        assert_eq!(self.ended(), 0, "the daemon: {}", self.log());
        assert!(self.mounted().is_none(), "still mounted after kvfs unmount");
    }

    /// The same; what it says.
    pub fn unmount_saying(&mut self) -> String {
        let done = self.let_go();
        let said = done.err.clone();
        done.ok("kvfs unmount");
        assert_eq!(self.ended(), 0, "the daemon: {}", self.log());
        said
    }

    /// `kvfs unmount`, again while a process that another test has just forked holds this one's open files: they
    /// close when it starts its program.
    fn let_go(&self) -> Finished {
        let once = || self.place.kvfs([OsString::from("unmount"), self.point.clone().into()]);
        within(Duration::from_secs(5), || Some(once()).filter(|done| !done.err.contains("stays mounted: ")))
            .unwrap_or_else(once)
    }

    /// Waits for the daemon to end by itself; answers its exit code.
    #[track_caller]
    pub fn ended(&mut self) -> i32 {
        let mut daemon = self.daemon.take().expect("mounted");
        self.place.wait(&mut daemon, PATIENCE)
    }

    /// `kill -9` of the daemon: the mount point is dead afterwards.
    pub fn kill(&mut self) {
        if plain() {
            skip("a plain folder has no daemon");
        }
        let mut daemon = self.daemon.take().expect("mounted");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Unmounts and mounts again.
    #[track_caller]
    pub fn remount(&mut self) {
        self.unmount();
        if !plain() {
            self.start();
        }
    }

    /// Runs another `kvfs mount` that is to fail, in background; takes care that nothing stays of it if it does not.
    pub fn refused_mount(place: &Place, arguments: &[&std::ffi::OsStr]) -> Finished {
        let before = mounts_below(place.folder()).len();
        let mut all = vec![std::ffi::OsStr::new("mount")];
        all.extend_from_slice(arguments);
        let finished = place.kvfs(all);
        let after = mounts_below(place.folder()).len();
        assert_eq!(after, before, "{} was mounted: {finished:?}", arguments[0].display());
        finished
    }
}

/// The field `name` of `value`, or of what it holds.
pub fn field<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map.get(name).or_else(|| map.values().find_map(|v| field(v, name))),
        serde_json::Value::Array(list) => list.iter().find_map(|v| field(v, name)),
        _ => None,
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        if std::thread::panicking() {
            // What the daemon said is half of every failure's explanation.
            eprintln!("the daemon of {}: {}", self.point.display(), self.log());
        }
        let unmounted = self.let_go();
        let orderly = unmounted.code == 0;
        if !orderly {
            self.mounted().into_iter().for_each(|mount| {
                mount.abort();
                mount.detach();
            });
        }
        let ended = within(Duration::from_secs(5), || daemon.try_wait().unwrap()).is_some();
        if !ended {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if !std::thread::panicking() {
            assert!(orderly, "kvfs unmount failed: {}\n{}", unmounted.err, self.log());
            assert!(ended, "the daemon went on after its unmount: {}", self.log());
        }
    }
}
