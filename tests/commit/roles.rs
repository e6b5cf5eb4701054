//! What the processes of a test do: each role is a test that is run alone, in a process of its own, and returns at once
//! where a person runs it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kvfs::error::ErrorKind;
use kvfs::key::Key;
use kvfs::payload::Payload;
use kvfs::spool::Spool;
use kvfs::store::api::{Change, Store, When};
use kvfs::store::driver::Commit;

use crate::stage::{in_child, say};
use crate::store::{fact, get, open, put};

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
