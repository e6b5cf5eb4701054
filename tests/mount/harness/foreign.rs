//! Other programs on the same LMDB environment: py-lmdb in a process of its own, and LMDB's own tools.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::place::{Place, finish};

/// A Python program that has an environment open and does what it is told, line by line.
pub struct Foreign {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Foreign {
    /// Opens the environment at `store` with py-lmdb; skips the test where that is missing.
    pub fn open(place: &Place, store: &Path) -> Foreign {
        let mut child = place
            .python(include_str!("foreign.py"))
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut foreign = Foreign { child, orders, answers };
        assert_eq!(foreign.answer(), "ready");
        foreign
    }

    #[track_caller]
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the Python program has ended");
        line.trim_end().to_owned()
    }

    /// Gives an order without waiting for its answer.
    pub fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().unwrap();
        orders.write_all(order.as_bytes()).unwrap();
        orders.write_all(b"\n").unwrap();
        orders.flush().unwrap();
    }

    /// Gives an order and answers what comes back.
    #[track_caller]
    pub fn ask(&mut self, order: &str) -> String {
        self.order(order);
        let answer = self.answer();
        assert!(!answer.starts_with("error"), "{order:.80}: {answer}");
        answer
    }

    /// Commits `value` under `key`.
    #[track_caller]
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.ask(&format!("put {} {}", hex(key), hex(value)));
    }

    /// Commits the removal of `key`; answers whether it was there.
    #[track_caller]
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> bool {
        self.ask(&format!("delete {}", hex(key))) == "True"
    }

    /// The value under `key` in a fresh transaction.
    #[track_caller]
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let answer = self.ask(&format!("get {}", hex(key)));
        (answer != "absent").then(|| ::hex::decode(answer.trim_start_matches('=')).unwrap())
    }

    /// All keys of the main database.
    #[track_caller]
    pub fn keys(&mut self) -> Vec<Vec<u8>> {
        let answer = self.ask("keys");
        answer.split(' ').filter(|key| !key.is_empty()).map(|key| ::hex::decode(&key[1..]).unwrap()).collect()
    }

    /// Begins a write transaction and sits on it until [`Foreign::release`].
    #[track_caller]
    pub fn hold(&mut self) {
        self.ask("hold");
    }

    /// Aborts the write transaction of [`Foreign::hold`].
    #[track_caller]
    pub fn release(&mut self) {
        self.ask("release");
    }
}

/// `=` and the bytes in hexadecimal, so that no bytes are still a word.
fn hex(bytes: impl AsRef<[u8]>) -> String {
    format!("={}", ::hex::encode(bytes))
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a fresh `mdb_dump` process sees in `store`.
#[track_caller]
pub fn dump(place: &Place, store: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut command = place.command("mdb_dump");
    if store.is_file() {
        command.arg("-n");
    }
    command.arg(store);
    let out = finish(&mut command).ok("mdb_dump");
    let mut lines = out.lines().skip_while(|line| *line != "HEADER=END").skip(1);
    let mut found = BTreeMap::new();
    while let Some(key) = lines.next().and_then(|line| line.strip_prefix(' ')) {
        let value = lines.next().and_then(|line| line.strip_prefix(' ')).expect("a value after its key");
        found.insert(::hex::decode(key).unwrap(), ::hex::decode(value).unwrap());
    }
    found
}

/// Makes the environment `store` with `pairs` in it, by `mdb_load`.
#[track_caller]
pub fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(place: &Place, store: &Path, pairs: &[(K, V)]) {
    let mut text = String::from("VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=1073741824\nHEADER=END\n");
    for (key, value) in pairs {
        text.push_str(&format!(" {}\n {}\n", ::hex::encode(key), ::hex::encode(value)));
    }
    text.push_str("DATA=END\n");
    std::fs::create_dir_all(store).unwrap();
    let input = place.at("load.txt");
    std::fs::write(&input, text).unwrap();
    let mut command = place.command("mdb_load");
    command.arg(OsStr::new("-f")).arg(&input).arg(store);
    finish(&mut command).ok("mdb_load");
}
