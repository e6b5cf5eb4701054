//! A sidecar under fire: its daemon is killed at any point, and no time belongs to other bytes afterwards (§5.4, §8.3).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use super::*;

/// Where the daemon that is killed finds its store.
const STORE: &str = "KVFS_TEST_STORE";
const FILES: u64 = 12;

/// The daemon: puts values that are numbers, each with the time of that number, renames them and lets them change
/// places. It says each number once it is put.
#[test]
#[ignore = "runs in a process of its own, which is killed"]
#[allow(clippy::disallowed_methods)]
fn burns() {
    let path = PathBuf::from(std::env::var(STORE).unwrap());
    let mounted = Mounted::open(&path);
    // Killed between two renames, the daemon before has left all of it there.
    let (away, home) = (key("moved"), key("dir"));
    if mounted.stat("moved").is_some() {
        let back = Change::Rename { from: &away, to: &home, tree: true, replace: false };
        mounted.attrs.apply(&mut [back]).unwrap();
    }
    let first = mounted.attrs.list_numbers().into_iter().max().unwrap_or_default() + 1;
    for number in first.. {
        let (file, other) =
            (key(&format!("dir/{}", number % FILES)), key(&format!("dir/{}", number * 7 % FILES)));
        let body = Payload::of(number.to_string().as_bytes()).unwrap();
        let setting = Setting { mode: Some(0o600), mtime: Some(time(number)), ..Setting::default() };
        let put = Change::Put { key: &file, body: &body, when: When::Always };
        let set = Change::Set { key: &file, directory: false, attributes: &setting };
        mounted.attrs.apply(&mut [put, set]).unwrap();
        println!("\nput {number}");
        std::io::stdout().flush().unwrap();
        if number % 3 == 0 && file != other {
            let rename = Change::Rename { from: &file, to: &other, tree: false, replace: true };
            mounted.attrs.apply(&mut [rename]).unwrap();
        }
        if number % 5 == 0 {
            let (from, to) = (key("dir"), key("moved"));
            mounted
                .attrs
                .apply(&mut [Change::Rename { from: &from, to: &to, tree: true, replace: false }])
                .unwrap();
            mounted
                .attrs
                .apply(&mut [Change::Rename { from: &to, to: &from, tree: true, replace: false }])
                .unwrap();
        }
        if number % 50 == 0 {
            mounted.attrs.sync().unwrap();
        }
    }
}

trait Numbers {
    fn list_numbers(&self) -> Vec<u64>;
}

impl Numbers for Attrs {
    /// The numbers that are there; each with its own time, or with none.
    fn list_numbers(&self) -> Vec<u64> {
        let mut found: BTreeMap<Key, Attributes> = BTreeMap::new();
        for dir in ["dir", "moved"] {
            let (dir, mut cursor) = (key(dir), Cursor::default());
            self.list_with_attributes(&dir, &mut cursor, &mut |entry| {
                found.insert(dir.child(entry.segment), entry.stat.file);
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        let number = |(key, file): (Key, Attributes)| {
            let mut text = Vec::new();
            let value = self.open(&key).unwrap().unwrap();
            value.read(0, 99, &mut |piece| text.extend_from_slice(piece)).unwrap();
            let number = String::from_utf8(text).unwrap().parse().unwrap();
            assert!(file.mtime.is_none_or(|mtime| mtime == time(number)), "{key:?}: {number}, {file:?}");
            number
        };
        found.into_iter().map(number).collect()
    }
}

#[test]
fn promise_8_3_200_kills_leave_no_time_of_other_bytes() {
    let times = 200;
    let (_folder, path) = folder();
    let mut with_times = 0;
    for round in 0..times {
        let mut daemon = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fire::burns", "--ignored", "--nocapture", "--test-threads=1"])
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        let mut last = 0;
        // After as many puts as no two rounds have, so that it dies at every point of what follows one.
        for _ in 0..1 + round * 7 % 61 {
            let said = lines.find_map(|line| line.unwrap().strip_prefix("put ").map(|n| n.parse().unwrap()));
            last = said.expect("the daemon lives");
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let mounted = Mounted::open(&path);
        let numbers = mounted.attrs.list_numbers();
        let newest = numbers.iter().max().copied();
        assert!(newest >= Some(last), "{last} was accepted in round {round}: {numbers:?}");
        let mtime = |n: u64| mounted.stat(&format!("dir/{n}"))?.file.mtime;
        with_times += (0..FILES).filter_map(mtime).count();
        mounted.close();
    }
    assert!(with_times > times, "times last over a kill: {with_times}");
}
