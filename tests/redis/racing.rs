//! Others who change the same keys, kill the connections, or stop the server, in the middle of everything (§4.6, §8.1).

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{LIMIT, Mount, close, put, watched};
use crate::server::{Database, Server};

/// Appends a line; whether the close accepted it.
fn append(mount: &Mount, name: &str, line: &str) -> bool {
    let Ok(mut file) = OpenOptions::new().append(true).create(true).open(mount.at(name)) else {
        return false;
    };
    let written = file.write_all(line.as_bytes());
    written.and(close(file)).is_ok()
}

#[test]
fn promise_8_1_connections_are_killed_in_the_middle_of_everything() {
    watched(LIMIT * 2, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let mut mount = database.mount(place, &[]);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    database.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                }
            });
            for round in 0..100 {
                let (text, name) = (round.to_string(), format!("f{round}"));
                put(mount.at(&name), text.as_bytes()).unwrap();
                fs::rename(mount.at(&name), mount.at(format!("g{round}"))).unwrap();
                fs::create_dir_all(mount.at("h%hash")).unwrap();
                put(mount.at(format!("h%hash/{round}")), text.as_bytes()).unwrap();
                fs::create_dir_all(mount.at("l%list")).unwrap();
                put(mount.at(format!("l%list/{round}")), text.as_bytes()).unwrap();
                fs::create_dir_all(mount.at("z%zset")).unwrap();
                put(mount.at(format!("z%zset/{round}")), text.as_bytes()).unwrap();
                fs::create_dir_all(mount.at("s%set")).unwrap();
                put(mount.at(format!("s%set/{round}")), b"").unwrap();
                if round % 3 == 0 {
                    fs::remove_file(mount.at(format!("g{round}"))).unwrap();
                    fs::remove_file(mount.at(format!("h%hash/{round}"))).unwrap();
                }
                assert!(append(&mount, "log", &format!("{round}\n")), "round {round}");
            }
            stop.store(true, Ordering::Release);
        });
        let expected = |kept: &dyn Fn(&u32) -> bool| {
            (0..100u32).filter(kept).map(|round| round.to_string()).collect::<Vec<_>>()
        };
        let all = expected(&|_| true);
        assert_eq!(database.cli(&["LRANGE", "l", "0", "-1"]), all.join("\n"));
        assert_eq!(database.cli(&["ZRANGE", "z", "0", "-1"]), all.join("\n"));
        assert_eq!(database.cli(&["GET", "log"]), format!("{}\n", all.join("\n")));
        assert_eq!(database.cli(&["SCARD", "s"]), "100");
        let kept = expected(&|round| round % 3 != 0);
        assert_eq!(database.cli(&["HLEN", "h"]), kept.len().to_string());
        for round in &kept {
            assert_eq!(database.cli(&["GET", &format!("g{round}")]), *round);
        }
        assert_eq!(database.cli(&["EXISTS", "g0", "g3", "f1"]), "0");
        mount.unmount();
    });
}

#[test]
fn promise_4_6_others_who_change_the_same_keys_lose_nothing_and_neither_does_the_mount() {
    watched(LIMIT * 2, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        database.cli(&["RPUSH", "l", "first"]);
        database.cli(&["SADD", "s", "first"]);
        let stop = AtomicBool::new(false);
        let mut accepted = Vec::new();
        let theirs = thread::scope(|scope| {
            let foreign = scope.spawn(|| {
                let mut round = 0;
                while !stop.load(Ordering::Acquire) {
                    database.cli(&["RPUSH", "l", &format!("theirs{round}")]);
                    database.cli(&["SADD", "s", &format!("theirs{round}")]);
                    database.cli(&["APPEND", "log", &format!("theirs{round}\n")]);
                    database.cli(&[
                        "HSET",
                        "h",
                        &format!("theirs{round}"),
                        "x",
                        "shared",
                        &round.to_string(),
                    ]);
                    round += 1;
                }
                round
            });
            for round in 0..150 {
                let line = format!("ours{round}");
                let pushed = put(mount.at("l%list/%push"), line.as_bytes()).is_ok();
                put(mount.at(format!("s%set/{line}")), b"").unwrap();
                let field = fs::create_dir_all(mount.at("h%hash")).is_ok()
                    && put(mount.at(format!("h%hash/{line}")), b"x").is_ok();
                let appended = append(&mount, "log", &format!("{line}\n"));
                accepted.push((line, pushed, field, appended));
            }
            stop.store(true, Ordering::Release);
            foreign.join().unwrap()
        });
        let lines = |command: &[&str]| database.cli(command).lines().map(str::to_owned).collect::<Vec<_>>();
        let (list, set) = (lines(&["LRANGE", "l", "0", "-1"]), lines(&["SMEMBERS", "s"]));
        let (log, fields) = (lines(&["GET", "log"]), lines(&["HKEYS", "h"]));
        for all in [&list, &log] {
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "nothing is there twice");
        }
        for round in 0..theirs {
            let line = format!("theirs{round}");
            assert!([&list, &set, &log, &fields].iter().all(|all| all.contains(&line)), "{line}");
        }
        let mut appends = 0;
        for (line, pushed, field, appended) in &accepted {
            assert!(set.contains(line), "{line}");
            assert!(!pushed || list.contains(line), "{line} was accepted in the list");
            assert!(!field || fields.contains(line), "{line} was accepted in the hash");
            assert!(!appended || log.contains(line), "{line} was accepted in the log");
            appends += usize::from(*appended);
        }
        assert!(appends > 0 && theirs > 0, "{appends} appends beside {theirs} rounds");
        mount.unmount();
    });
}

#[test]
fn promise_8_1_a_server_that_stands_still_for_ten_seconds_is_waited_for() {
    watched(LIMIT, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let mut mount = database.mount(place, &[]);
        put(mount.at("k"), b"before").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| database.cli(&["DEBUG", "SLEEP", "10"]));
            for round in 0..20 {
                put(mount.at(format!("f{round}")), b"v").unwrap();
                assert_eq!(fs::read(mount.at("k")).unwrap(), b"before");
            }
        });
        put(mount.at("k"), b"after").unwrap();
        assert_eq!(database.cli(&["GET", "k"]), "after");
        assert_eq!(mount.bash("ls | wc -l"), "21\n");
        mount.unmount();
    });
}
