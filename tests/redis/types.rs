//! Hashes, lists, sets, sorted sets and streams as directories, both ways beside `redis-cli` (§7.1).

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{LIMIT, PATIENCE, put, refused, until, watched};
use crate::server::Database;

#[test]
fn promise_7_1_a_hash_is_a_directory_of_its_fields() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["HSET", "user:1", "name", "Ann", "a/b", "odd", "", "empty"]);
        database.cli(&["SET", "user:1:x", "below"]);
        let mut mount = database.mount(place, &[]);
        assert_eq!(
            mount.bash("ls user user/1 'user/1%hash'"),
            "user:\n1\n1%hash\n\nuser/1:\nx\n\nuser/1%hash:\n%empty\na%2Fb\nname\n"
        );
        assert_eq!(
            mount.bash("cat 'user/1%hash/name' 'user/1%hash/a%2Fb' 'user/1%hash/%empty'"),
            "Annoddempty"
        );
        assert_eq!(mount.bash("stat -c %s 'user/1%hash/name'"), "3\n");
        mount.bash("cd 'user/1%hash'; printf Berta >name; printf 42 >age; rm %empty; mv a%2Fb c");
        assert_eq!(database.cli(&["HMGET", "user:1", "name", "age", "c"]), "Berta\n42\nodd");
        assert_eq!(database.cli(&["HLEN", "user:1"]), "3");
        mount.bash("mkdir 'new%hash'; printf v >'new%hash/f'");
        assert_eq!(database.cli(&["HGET", "new", "f"]), "v");
        // Its last field takes the hash with it, and the directory stays for the mount.
        mount.bash("rm 'new%hash/f'; test -d 'new%hash'");
        assert_eq!(database.cli(&["EXISTS", "new"]), "0");
        mount.bash("rmdir 'new%hash'; cp -r 'user/1%hash' 'user/2%hash'; mv 'user/2%hash' 'user/3%hash'");
        assert_eq!(database.cli(&["HLEN", "user:3"]), "3");
        mount.bash("rm -r 'user/3%hash'");
        assert_eq!(database.cli(&["EXISTS", "user:3"]), "0");
        let whole: serde_json::Value =
            serde_json::from_slice(&fs::read(mount.at("user/1%hash.json")).unwrap()).unwrap();
        assert_eq!(whole, serde_json::json!({"name": "Berta", "age": "42", "c": "odd"}));
        put(mount.at("user/4%hash.json"), br#"{"a": 1, "b": "two"}"#).unwrap();
        assert_eq!(database.cli(&["HMGET", "user:4", "a", "b"]), "1\ntwo");
        mount.unmount();
    });
}

#[test]
fn promise_7_1_a_list_grows_and_shrinks_at_its_end() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["RPUSH", "jobs", "one", "two", "three"]);
        let mut mount = database.mount(place, &[]);
        assert_eq!(mount.bash("cd 'jobs%list'; ls; cat 0 1 2"), "0\n1\n2\nonetwothree");
        mount.bash("cd 'jobs%list'; printf TWO >1; printf four >3; printf five >%push");
        assert_eq!(database.cli(&["LRANGE", "jobs", "0", "-1"]), "one\nTWO\nthree\nfour\nfive");
        refused(libc::EPERM, "removing the first", fs::remove_file(mount.at("jobs%list/0")));
        refused(libc::EINVAL, "an element far behind", put(mount.at("jobs%list/9"), b"x"));
        // What cannot be put is kept until it is removed.
        mount.bash("cd 'jobs%list'; rm 9; rm 4; rm 3");
        assert_eq!(database.cli(&["LLEN", "jobs"]), "3");
        assert_eq!(mount.bash("cat 'jobs%list.json'"), "[\n  \"one\",\n  \"TWO\",\n  \"three\"\n]\n");
        put(mount.at("jobs%list.json"), b"[\"a\", 2]").unwrap();
        assert_eq!(database.cli(&["LRANGE", "jobs", "0", "-1"]), "a\n2");
        mount.unmount();
    });
}

#[test]
fn promise_7_1_sets_and_sorted_sets_have_a_file_a_member() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["SADD", "tags", "red", "green"]);
        database.cli(&["ZADD", "rank", "1", "ann", "2.5", "bob"]);
        let mut mount = database.mount(place, &[]);
        assert_eq!(
            mount.bash("ls tags%set rank%zset; cat rank%zset/*"),
            "rank%zset:\nann\nbob\n\ntags%set:\ngreen\nred\n12.5"
        );
        mount.bash(
            "touch tags%set/blue; rm tags%set/red; echo 10 >rank%zset/ann; printf 1e300 >rank%zset/cid",
        );
        assert_eq!(database.cli(&["SISMEMBER", "tags", "blue"]), "1");
        assert_eq!(database.cli(&["SCARD", "tags"]), "2");
        assert_eq!(database.cli(&["ZSCORE", "rank", "ann"]), "10");
        assert_eq!(mount.bash("cat rank%zset/cid"), "1e300");
        refused(libc::EINVAL, "a member with bytes", put(mount.at("tags%set/x"), b"y"));
        refused(libc::EINVAL, "a score that is none", put(mount.at("rank%zset/x"), b"high"));
        mount.bash("rm tags%set/x rank%zset/x; mv rank%zset/cid rank%zset/dan");
        assert_eq!(database.cli(&["ZRANGE", "rank", "0", "-1"]), "bob\nann\ndan");
        mount.unmount();
    });
}

#[test]
fn promise_7_1_a_stream_has_a_file_an_entry() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["XADD", "log", "1-1", "level", "info", "text", "hello"]);
        let mut mount = database.mount(place, &[]);
        assert_eq!(
            mount.bash("cd 'log%stream'; ls; cat 1-1"),
            "1-1\n{\"level\":\"info\",\"text\":\"hello\"}"
        );
        mount.bash("echo '{\"level\": \"warn\"}' >'log%stream/%add'");
        assert_eq!(database.cli(&["XLEN", "log"]), "2");
        refused(libc::EPERM, "changing an entry", put(mount.at("log%stream/1-1"), b"{\"a\":\"b\"}"));
        mount.bash("rm 'log%stream/1-1'");
        assert_eq!(database.cli(&["XLEN", "log"]), "1");
        mount.unmount();
    });
}

#[test]
fn a_json_string_is_a_directory_where_that_is_asked_for() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["SET", "session:1", r#"{"user": {"name": "Ann"}, "n": 1.50}"#]);
        database.cli(&["HSET", "h", "field", "[7]", "text", "x"]);
        let mut mount = database.mount(place, &["--view", "json"]);
        assert_eq!(
            mount.bash("find . -type f | sort"),
            "./h%hash/field/0\n./h%hash/text\n./session/1/n\n./session/1/user/name\n"
        );
        assert_eq!(mount.bash("cat session/1/n session/1/user/name h%hash/field/0"), "1.50Ann7");
        // Another version of it is another tree, at once.
        database.cli(&["SET", "session:1", r#"{"user": {"name": "Berta", "age": 3}}"#]);
        until(PATIENCE, "the change is told", || {
            (mount.bash("ls session/1 session/1/user") == "session/1:\nuser\n\nsession/1/user:\nage\nname\n")
                .then_some(())
        });
        assert_eq!(mount.bash("cat session/1/user/name"), "Berta");
        database.cli(&["SET", "session:1", "no JSON"]);
        until(PATIENCE, "it is a file", || mount.at("session/1").is_file().then_some(()));
        assert_eq!(mount.bash("cat session/1"), "no JSON");
        mount.unmount();
    });
}

#[test]
fn a_value_of_another_type_is_never_replaced_unseen() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["HSET", "k", "f", "v"]);
        database.cli(&["SET", "s", "string"]);
        let mut mount = database.mount(place, &[]);
        refused(libc::EEXIST, "a string over a hash", put(mount.at("k"), b"x"));
        refused(libc::EEXIST, "a hash over a string", fs::create_dir(mount.at("s%hash")));
        refused(libc::EEXIST, "a list over a hash", put(mount.at("k%list.json"), b"[1]"));
        refused(libc::EEXIST, "a rename over a hash", fs::rename(mount.at("s"), mount.at("k")));
        assert_eq!(database.cli(&["HGET", "k", "f"]), "v");
        assert_eq!(database.cli(&["GET", "s"]), "string");
        mount.unmount();
    });
}

/// §2.6: what is there throughout is given once, however the table turns in the server: it grows and shrinks here.
#[test]
fn promise_2_6_a_set_that_others_change_is_listed_once_each() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let members = |from: u32, what: &str, command: &str| {
            let (to, step) = (from + 2000, format!("redis.call('{command}', 'set', '{what}' .. i)"));
            database.cli(&["EVAL", &format!("for i={from},{to} do {step} end return 0"), "0"]);
        };
        (0..30_000).step_by(2000).for_each(|from| members(from, "stays", "SADD"));
        let all = database.cli(&["SCARD", "set"]).parse::<usize>().unwrap();
        let mut mount = database.mount(place, &[]);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for command in ["SADD", "SREM"].iter().cycle() {
                    for from in (0..200_000).step_by(2000) {
                        if stop.load(Ordering::Acquire) {
                            return;
                        }
                        members(from, "comes", command);
                    }
                }
            });
            for _ in 0..2 {
                let mut stays = BTreeSet::new();
                let mut others = BTreeSet::new();
                for entry in fs::read_dir(mount.at("set%set")).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    let names = if name.starts_with("stays") { &mut stays } else { &mut others };
                    assert!(names.insert(name.clone()), "{name} is given twice");
                }
                assert_eq!(stays.len(), all);
            }
            stop.store(true, Ordering::Release);
        });
        mount.unmount();
    });
}

/// §2.6: the first names arrive before the last are read, in few round trips.
#[test]
fn promise_2_6_the_first_names_of_a_long_collection_come_first() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let fill = "for i=1,100000 do redis.call('HSET', 'h', 'field' .. i, i) end return 0";
        database.cli(&["EVAL", fill, "0"]);
        let mut mount = database.mount(place, &[]);
        let calls = || {
            let stats = database.cli(&["INFO", "commandstats"]);
            let line =
                stats.lines().find_map(|line| line.strip_prefix("cmdstat_hscan:calls=")).unwrap_or("0");
            line.split(',').next().unwrap().parse::<u32>().unwrap()
        };
        let before = calls();
        let mut names = fs::read_dir(mount.at("h%hash")).unwrap();
        names.next().unwrap().unwrap();
        let first = calls() - before;
        assert!(first <= 20, "{first} pages before the first name");
        assert_eq!(names.count(), 99_999);
        // 500 fields a page, and what the listing asks for once more.
        let all = calls() - before;
        assert!(all <= 250, "{all} pages");
        mount.unmount();
    });
}

#[test]
fn large_collections_are_listed_once_each() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&[
            "EVAL",
            "for i=1,20000 do redis.call('HSET','h',i,i) redis.call('SET','s:'..i,i) end",
            "0",
        ]);
        let mut mount = database.mount(place, &[]);
        assert_eq!(
            mount.bash("ls 'h%hash' | sort -u | wc -l; ls 'h%hash' | wc -l; ls s | wc -l"),
            "20000\n20000\n20000\n"
        );
        mount.unmount();
    });
}
