//! §4.4 and §8.3 on real environments: what a close accepted is found by every program that opens the environment
//! afterwards, and outlives a kill of the daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kvfs::env::Folders;
use kvfs::error::ErrorKind;
use kvfs::key::Key;
use kvfs::payload::Payload;
use kvfs::spool::Spool;
use kvfs::store;
use kvfs::store::api::{Change, Store, When};
use kvfs::store::driver::{Commit, Opening};

/// A file in the state folder of a child: its folders are a test's own.
const MARK: &str = "of-a-test";

fn open(folder: &Path, commit: Commit) -> Arc<dyn Store> {
    let opening = Opening {
        location: Some(folder.to_owned()),
        read_only: false,
        create: true,
        check: false,
        separator: Some(b"/".to_vec()),
        commit,
        timeout: Duration::from_secs(30),
        load: None,
        save: None,
    };
    (store::driver("lmdb").unwrap().open)(&opening).unwrap()
}

fn put(store: &dyn Store, key: &[u8], value: &[u8]) {
    let (key, body) = (Key::of([key]), Payload::of(value).unwrap());
    store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]).unwrap();
}

fn get(store: &dyn Store, key: &[u8]) -> Option<Vec<u8>> {
    let value = store.open(&Key::of([key])).unwrap()?;
    let mut bytes = Vec::new();
    value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    Some(bytes)
}

fn fact(store: &dyn Store, name: &str) -> String {
    store.facts().into_iter().find(|(fact, _)| *fact == name).map(|(_, value)| value).unwrap_or_default()
}

/// The number before `unit` in a sentence.
fn number(sentence: &str, unit: &str) -> u64 {
    let words: Vec<&str> = sentence.split([' ', ';', ',', '(']).filter(|word| !word.is_empty()).collect();
    let at = words.windows(unit.split(' ').count() + 1).position(|w| w[1..].join(" ") == unit);
    at.and_then(|at| words[at].parse().ok()).unwrap_or_else(|| panic!("no {unit:?} in {sentence:?}"))
}

/// A folder with an environment and the state of the daemons that use it.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let stage = Stage { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(stage.state()).unwrap();
        std::fs::write(stage.state().join(MARK), stage.store().as_os_str().as_encoded_bytes()).unwrap();
        stage
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs the test `role` of this file in a process of its own, which talks through its standard streams.
    fn spawn(&self, role: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", role, "--ignored", "--nocapture", "--test-threads=1"])
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
struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// The rest of its next line that begins with `said `; `None` at its end.
    fn hear(&mut self) -> Option<String> {
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

    fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    fn ends_well(mut self) {
        drop(self.child.stdin.take());
        while self.hear().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }

    /// Kills it; answers the last thing that it said, if anybody did not hear it.
    fn kill(mut self) -> Option<String> {
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

fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "said {what}").unwrap();
    out.flush().unwrap();
}

/// In a child: the environment's folder. `None` where a person ran the role by itself.
fn in_child() -> Option<PathBuf> {
    let mark = std::fs::read(Folders::get().state.join(MARK)).ok()?;
    Some(PathBuf::from(String::from_utf8(mark).unwrap()))
}

/// Whether a fresh `mdb_dump` finds `value` under `key`.
fn dump_has(folder: &Path, key: &str, value: &str) -> bool {
    let output = Command::new("mdb_dump").arg(folder).output().expect("lmdb-utils are installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump = String::from_utf8(output.stdout).unwrap();
    dump.contains(&format!("\n {}\n {}\n", hex::encode(key), hex::encode(value)))
}

/// Puts under a bulk of other puts, each followed at once by a program that opens the environment.
fn nobody_catches_a_put(times: u32) {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_daemon_under_load");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    for time in 0..times {
        let (key, value) = (format!("watched-{}", time % 7), format!("value {time}"));
        daemon.tell(&format!("{key} {value}"));
        assert_eq!(daemon.hear().as_deref(), Some("accepted"));
        assert!(dump_has(&stage.store(), &key, &value), "{value:?} was accepted and is not there");
    }
    daemon.tell("end");
    let fact = daemon.hear().unwrap();
    let (accepted, commits) = (number(&fact, "accepted ahead"), number(&fact, "commits"));
    assert!(accepted >= u64::from(times) / 2, "the write-behind was hardly used: {fact}");
    assert!(commits * 2 <= accepted, "puts shared their commits: {fact}");
    daemon.ends_well();
    assert!(dump_has(&stage.store(), "last", "one"), "unmounting commits what is pending");
}

#[test]
fn s4_4_no_program_catches_a_put_before_its_commit() {
    nobody_catches_a_put(200);
}

#[test]
#[ignore = "minutes: scripts/prove-commit runs it"]
fn prove_10000_opens() {
    nobody_catches_a_put(10_000);
}

/// The same through a real mount, whose folder is apart from the store: the close of one file, under a bulk of others,
/// and then a program that opens the environment.
fn nobody_catches_a_close(times: u32) {
    let stage = Stage::new();
    let point = stage.folder.path().join("point");
    std::fs::create_dir(&point).unwrap();
    let kvfs = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvfs"));
        command.env("KVFS_STATE_DIR", stage.state()).env("KVFS_RUNTIME_DIR", stage.folder.path().join("run"));
        command.args(arguments).status().unwrap()
    };
    let source = format!("lmdb:{}", stage.store().display());
    assert!(kvfs(&["mount".as_ref(), source.as_ref(), point.as_os_str()]).success());
    let unmount = OnDrop(|| assert!(kvfs(&["unmount".as_ref(), point.as_os_str()]).success()));
    let ending = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end_of_bulk = OnDrop(|| ending.store(true, Ordering::SeqCst));
        scope.spawn(|| {
            for number in (0..300).cycle().take_while(|_| !ending.load(Ordering::SeqCst)) {
                std::fs::write(point.join(format!("bulk-{number}")), [b'x'; 1000]).unwrap();
            }
        });
        for time in 0..times {
            let (key, value) = (format!("watched-{}", time % 7), format!("value {time}"));
            std::fs::write(point.join(&key), &value).unwrap();
            assert!(dump_has(&stage.store(), &key, &value), "{value:?} was closed and is not there");
        }
        drop(end_of_bulk);
    });
    std::fs::write(point.join("last"), "one").unwrap();
    drop(unmount);
    assert!(dump_has(&stage.store(), "last", "one"));
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
#[ignore = "minutes, and a mount: scripts/prove-commit runs it"]
fn prove_10000_opens_after_closes() {
    nobody_catches_a_close(10_000);
}

#[test]
#[ignore = "a role of the tests here"]
fn role_daemon_under_load() {
    let Some(folder) = in_child() else { return };
    let store = open(&folder, Commit::Auto);
    let ending = AtomicBool::new(false);
    let bulk = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ending.load(Ordering::SeqCst) {
                let number = bulk.fetch_add(1, Ordering::SeqCst);
                put(&*store, format!("bulk-{}", number % 300).as_bytes(), &[b'x'; 1000]);
            }
        });
        while bulk.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        say("ready");
        for line in std::io::stdin().lines() {
            let line = line.unwrap();
            let Some((key, value)) = line.split_once(' ') else { break };
            put(&*store, key.as_bytes(), value.as_bytes());
            say("accepted");
        }
        ending.store(true, Ordering::SeqCst);
    });
    say(fact(&*store, "commit"));
    put(&*store, b"last", b"one");
    store.sync().unwrap();
    store.close().unwrap();
}

/// Kills a daemon in the middle of its puts, and looks for each one that it had accepted.
fn a_kill_loses_nothing(times: u32) {
    let stage = Stage::new();
    let (mut last, mut replayed) = (0_u64, 0);
    for time in 0..times {
        let mut daemon = stage.spawn("role_counting_daemon");
        assert_eq!(daemon.hear().as_deref(), Some("ready"));
        daemon.tell(&(last + 1).to_string());
        // Long enough for some generations, and never the same moment of one.
        let until = last + 50 + u64::from(time) * 37 % 900;
        while last < until {
            last = daemon.hear().unwrap().parse().unwrap();
        }
        if let Some(unheard) = daemon.kill() {
            last = unheard.parse().unwrap();
        }
        let mut heir = stage.spawn("role_heir");
        heir.tell(&last.to_string());
        assert_eq!(heir.hear().as_deref(), Some("all there"), "after kill {time} at {last}");
        replayed += number(&heir.hear().unwrap(), "put");
        last = heir.hear().unwrap().parse().unwrap();
        heir.ends_well();
    }
    assert!(replayed > 0, "no kill ever came between accept and commit");
}

#[test]
fn s8_3_a_kill_loses_nothing_that_was_accepted() {
    a_kill_loses_nothing(20);
}

#[test]
#[ignore = "minutes: scripts/prove-commit runs it"]
fn prove_300_kills() {
    a_kill_loses_nothing(300);
}

/// Each key is written once, `count` always, and a temporary name is moved over `moved`, as editors do.
#[test]
#[ignore = "a role of the tests here"]
fn role_counting_daemon() {
    let Some(folder) = in_child() else { return };
    let store = open(&folder, Commit::Auto);
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    for number in line.trim().parse::<u64>().unwrap().. {
        let text = number.to_string();
        put(&*store, format!("key-{number}").as_bytes(), text.as_bytes());
        put(&*store, b"temporary", text.as_bytes());
        let (from, to) = (Key::of([&b"temporary"[..]]), Key::of([&b"moved"[..]]));
        store.apply(&mut [Change::Rename { from: &from, to: &to, tree: false, replace: true }]).unwrap();
        say(number);
    }
}

#[test]
#[ignore = "a role of the tests here"]
fn role_heir() {
    let Some(folder) = in_child() else { return };
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let last: u64 = line.trim().parse().unwrap();
    let store = open(&folder, Commit::Auto);
    for number in 1..=last {
        let value = get(&*store, format!("key-{number}").as_bytes());
        assert_eq!(value, Some(number.to_string().into_bytes()), "key {number} of {last}");
    }
    // One more may have been accepted, whose answer nobody heard.
    let moved: u64 = String::from_utf8(get(&*store, b"moved").unwrap()).unwrap().parse().unwrap();
    assert!(moved == last || moved == last + 1, "{moved} was moved last, {last} was heard last");
    assert_eq!(Spool::of_user().list().unwrap(), [], "nothing was in doubt");
    say("all there");
    say(fact(&*store, "journal"));
    let mut reached = last;
    while get(&*store, format!("key-{}", reached + 1).as_bytes()).is_some() {
        reached += 1;
    }
    say(reached);
    store.close().unwrap();
}

#[test]
fn s4_4_with_another_program_attached_each_put_is_committed_when_it_returns() {
    let stage = Stage::new();
    let mut ours = stage.spawn("role_echo_auto");
    assert_eq!(ours.hear().as_deref(), Some("ready"));
    let mut other = stage.spawn("role_echo_close");
    assert_eq!(other.hear().as_deref(), Some("ready"));
    for time in 0..50 {
        let (writer, reader) = if time % 2 == 0 { (&mut ours, &mut other) } else { (&mut other, &mut ours) };
        writer.tell(&format!("put k{time} v{time}"));
        assert_eq!(writer.hear().as_deref(), Some("accepted"));
        reader.tell(&format!("get k{time}"));
        assert_eq!(reader.hear(), Some(format!("v{time}")), "put {time}");
    }
    ours.tell("fact");
    let fact = ours.hear().unwrap();
    assert_eq!(number(&fact, "accepted ahead"), 0, "{fact}");
    other.ends_well();
    ours.tell("put alone again");
    assert_eq!(ours.hear().as_deref(), Some("accepted"));
    ours.tell("fact");
    let fact = ours.hear().unwrap();
    assert_eq!(number(&fact, "accepted ahead"), 1, "{fact}");
    ours.ends_well();
    for time in 0..50 {
        assert!(dump_has(&stage.store(), &format!("k{time}"), &format!("v{time}")));
    }
    assert!(dump_has(&stage.store(), "alone", "again"));
}

fn echo(commit: Commit) {
    let Some(folder) = in_child() else { return };
    let store = open(&folder, commit);
    say("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        match *line.split(' ').collect::<Vec<_>>() {
            ["put", key, value] => {
                let (key, body) = (Key::of([key.as_bytes()]), Payload::of(value.as_bytes()).unwrap());
                let put = Change::Put { key: &key, body: &body, when: When::Always };
                say(store
                    .apply(&mut [put])
                    .map_or_else(|error| error.to_string(), |()| "accepted".to_owned()));
            }
            ["get", key] => {
                let value = get(&*store, key.as_bytes()).unwrap_or_default();
                say(String::from_utf8(value).unwrap());
            }
            ["compact"] => say(store.compact().is_ok()),
            ["fill"] => fill(&*store),
            _ => say(fact(&*store, "commit")),
        }
    }
    store.close().unwrap();
}

/// Puts until there is no room, and says how many were accepted.
fn fill(store: &dyn Store) {
    let body = Payload::of(&[b'f'; 3000]).unwrap();
    for number in 0.. {
        let key = Key::of([format!("fill-{number}").as_bytes()]);
        if let Err(error) = store.apply(&mut [Change::Put { key: &key, body: &body, when: When::Always }]) {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            return say(number);
        }
    }
}

#[test]
#[ignore = "a role of the tests here"]
fn role_echo_auto() {
    echo(Commit::Auto);
}

#[test]
#[ignore = "a role of the tests here"]
fn role_echo_close() {
    echo(Commit::Close);
}

#[test]
#[ignore = "a role of the tests here"]
fn role_echo_within_an_hour() {
    echo(Commit::Within(Duration::from_secs(3600)));
}

#[test]
fn s8_3_a_change_by_another_program_after_the_kill_is_not_overwritten_and_ours_is_kept() {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_echo_within_an_hour");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    daemon.tell("put contested ours");
    assert_eq!(daemon.hear().as_deref(), Some("accepted"));
    daemon.tell("get contested");
    assert_eq!(daemon.hear().as_deref(), Some("ours"), "seen in the mount at once");
    assert!(!dump_has(&stage.store(), "contested", "ours"), "not committed yet");
    daemon.kill();
    let mut load =
        Command::new("mdb_load").args(["-T"]).arg(stage.store()).stdin(Stdio::piped()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(b"contested\ntheirs\n").unwrap();
    assert!(load.wait().unwrap().success());

    let mut heir = stage.spawn("role_echo_auto");
    assert_eq!(heir.hear().as_deref(), Some("ready"));
    heir.tell("get contested");
    assert_eq!(heir.hear().as_deref(), Some("theirs"));
    heir.ends_well();
    let spool = Spool::at(&stage.state());
    let kept = spool.list().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].key, Key::of([&b"contested"[..]]));
    let (_, mut file) = spool.open(&kept[0].id).unwrap();
    let mut bytes = String::new();
    std::io::Read::read_to_string(&mut file, &mut bytes).unwrap();
    assert_eq!(bytes, "ours");
}

#[test]
fn s8_3_a_kill_after_a_compaction_loses_nothing_either() {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_echo_within_an_hour");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    for (order, answer) in [("put k before", "accepted"), ("compact", "true"), ("put k after", "accepted")] {
        daemon.tell(order);
        assert_eq!(daemon.hear().as_deref(), Some(answer));
    }
    daemon.kill();
    assert!(dump_has(&stage.store(), "k", "before"), "what was pending is committed before it is compacted");
    let mut heir = stage.spawn("role_echo_auto");
    assert_eq!(heir.hear().as_deref(), Some("ready"));
    heir.tell("get k");
    assert_eq!(heir.hear().as_deref(), Some("after"));
    heir.ends_well();
    assert_eq!(Spool::at(&stage.state()).list().unwrap(), []);
}

/// Needs the right to mount a small file system; without it there is nothing to see.
#[test]
fn s4_8_on_a_full_disk_the_close_says_so_and_nothing_accepted_is_missing() {
    let stage = Stage::new();
    std::fs::create_dir(stage.store()).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "kvfs-test"])
        .arg(stage.store())
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return;
    }
    let disk = stage.store();
    let _unmount = OnDrop(|| drop(Command::new("umount").arg(&disk).status()));
    let mut daemon = stage.spawn("role_echo_auto");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    daemon.tell("fill");
    let accepted: u64 = daemon.hear().unwrap().parse().unwrap();
    assert!(accepted > 100, "{accepted} fitted into 4 MiB");
    daemon.tell("put k after-all");
    let _either = daemon.hear();
    daemon.ends_well();
    let dump = Command::new("mdb_dump").arg("-p").arg(stage.store()).output().unwrap();
    let dump = String::from_utf8_lossy(&dump.stdout);
    for number in 0..accepted {
        assert!(dump.contains(&format!("\n fill-{number}\n")), "{number} of {accepted}");
    }
    assert_eq!(Spool::at(&stage.state()).list().unwrap(), []);
}

#[test]
fn s4_4_within_a_time_the_fsync_is_a_commit() {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_echo_within_an_hour");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    daemon.tell("put k v");
    assert_eq!(daemon.hear().as_deref(), Some("accepted"));
    daemon.ends_well();
    assert!(dump_has(&stage.store(), "k", "v"));
}
