//! Strings mounted, and used by ordinary tools, beside `redis-cli`.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use crate::harness::{LIMIT, Mount, PATIENCE, field, noise, put, refused, same_bytes, until, watched};
use crate::server::{Database, Server};

#[test]
fn strings_are_files_both_ways() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["MSET", "user:1:name", "Ann", "user:2:name", "Bob", "plain", "x"]);
        let mut mount = database.mount(place, &[]);
        assert_eq!(mount.bash("find . -type f | sort"), "./plain\n./user/1/name\n./user/2/name\n");
        assert_eq!(mount.bash("cat user/1/name; grep -rl Bob ."), "Ann./user/2/name\n");
        assert_eq!(mount.bash("stat -c %s plain user/1/name"), "1\n3\n");
        mount.bash(
            "mkdir -p cart/7; printf apples >cart/7/items; cp -r user people; rm user/1/name; mv plain moved",
        );
        assert_eq!(database.cli(&["GET", "cart:7:items"]), "apples");
        assert_eq!(database.cli(&["MGET", "people:1:name", "people:2:name", "moved"]), "Ann\nBob\nx");
        assert_eq!(database.cli(&["EXISTS", "user:1:name", "plain"]), "0");
        mount.bash("mv people folk; printf more >>cart/7/items; sed -i s/Ann/Anna/ folk/1/name");
        assert_eq!(
            database.cli(&["MGET", "folk:1:name", "folk:2:name", "cart:7:items"]),
            "Anna\nBob\napplesmore"
        );
        assert_eq!(database.cli(&["EXISTS", "people:1:name", "people:2:name"]), "0");
        mount.unmount();
    });
}

#[test]
fn promise_6_1_a_change_by_another_program_is_read_at_once() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        for round in 0..200 {
            // Of the same length, so that nothing but the bytes tells.
            let value = format!("{round:05}");
            database.cli(&["SET", "k", &value]);
            assert_eq!(fs::read_to_string(mount.at("k")).unwrap(), value, "round {round}");
        }
        mount.unmount();
    });
}

#[test]
fn promise_6_2_what_others_do_shows_without_an_open() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        let size = |name: &str| fs::metadata(mount.at(name)).ok().map(|found| found.len());
        assert_eq!((size("a"), size("b")), (None, None));
        let soon = |what: &str, holds: &dyn Fn() -> bool| {
            until(Duration::from_secs(2), what, || holds().then_some(()));
        };
        database.cli(&["SET", "a", "12345"]);
        soon("it has come", &|| size("a") == Some(5));
        database.cli(&["APPEND", "a", "678"]);
        soon("it has grown", &|| size("a") == Some(8));
        database.cli(&["RENAME", "a", "b"]);
        soon("it has moved", &|| size("a").is_none() && size("b") == Some(8));
        database.cli(&["HSET", "h", "f", "1"]);
        soon("a hash has come", &|| size("h%hash/f") == Some(1));
        database.cli(&["HSET", "h", "f", "22", "g", "3"]);
        soon("it has changed", &|| size("h%hash/f") == Some(2) && size("h%hash/g") == Some(1));
        database.cli(&["DEL", "h"]);
        soon("it has gone", &|| size("h%hash").is_none());
        database.cli(&["SET", "short", "x", "PX", "300"]);
        soon("it is there", &|| size("short").is_some());
        soon("it has expired", &|| size("short").is_none());
        mount.unmount();
    });
}

#[test]
fn promise_3_1_a_long_string_is_one_version_or_stale() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &["--memory", "64M"]);
        let first = noise(1, 20 << 20);
        put(mount.at("long"), &first).unwrap();
        same_bytes("what was put", &fs::read(mount.at("long")).unwrap(), &first);
        assert_eq!(database.cli(&["STRLEN", "long"]), (20 << 20).to_string());
        let mut file = fs::File::open(mount.at("long")).unwrap();
        let mut head = vec![0; 4096];
        file.read_exact(&mut head).unwrap();
        same_bytes("its beginning", &head, &first[..4096]);
        database.cli(&["SETRANGE", "long", "0", "changed"]);
        file.seek(SeekFrom::Start(15 << 20)).unwrap();
        refused(libc::ESTALE, "reading on", file.read_exact(&mut head));
        drop(file);
        let mut again = fs::File::open(mount.at("long")).unwrap();
        again.read_exact(&mut head).unwrap();
        assert_eq!(&head[..7], b"changed");
        drop(again);
        mount.unmount();
    });
}

/// Waits for the kernel's last word of each file, which comes behind its close and puts what is written then.
fn nothing_is_open(mount: &Mount) {
    let open = || field(&mount.status(), "open").and_then(serde_json::Value::as_u64);
    until(PATIENCE, "the last word of each file", || (open() == Some(0)).then_some(()));
}

#[test]
fn promise_4_6_a_partial_write_over_a_changed_string_is_refused() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        for length in [100, 3 << 20] {
            let mut file = fs::File::create(mount.at("k")).unwrap();
            file.write_all(&noise(2, length)).unwrap();
            crate::harness::close(file).unwrap();
            nothing_is_open(&mount);
            let mut file = fs::OpenOptions::new().read(true).write(true).open(mount.at("k")).unwrap();
            file.seek(SeekFrom::Start(50)).unwrap();
            file.write_all(b"here").unwrap();
            database.cli(&["SETRANGE", "k", "0", "there"]);
            refused(libc::ESTALE, "the close", crate::harness::close(file));
            assert_eq!(database.cli(&["GETRANGE", "k", "0", "4"]), "there");
            assert_ne!(database.cli(&["GETRANGE", "k", "50", "53"]), "here");
            nothing_is_open(&mount);
        }
        mount.unmount();
    });
}

#[test]
fn an_append_to_a_long_string_sends_what_is_appended() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        let bytes = noise(3, 8 << 20);
        put(mount.at("log"), &bytes).unwrap();
        database.cli(&["CONFIG", "RESETSTAT"]);
        mount.bash("echo one >>log; echo two >>log");
        let stats = database.cli(&["INFO", "commandstats"]);
        assert!(stats.contains("cmdstat_setrange:calls=2"), "{stats}");
        let mut expected = bytes;
        expected.extend_from_slice(b"one\ntwo\n");
        same_bytes("the log", &fs::read(mount.at("log")).unwrap(), &expected);
        mount.unmount();
    });
}

/// Copies as `cp` and Python do, all of it; answers how many bytes there were.
fn copy_range(from: &Path, to: &Path) -> std::io::Result<u64> {
    let (from, to) = (fs::File::open(from)?, fs::File::create(to)?);
    let mut copied = 0;
    loop {
        match rustix::fs::copy_file_range(&from, None, &to, None, 1 << 40)? {
            0 => return crate::harness::close(to).map(|()| copied),
            more => copied += more as u64,
        }
    }
}

#[test]
fn a_long_string_is_copied_by_the_server() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        let bytes = noise(5, 6 << 20);
        put(mount.at("k"), &bytes).unwrap();
        database.cli(&["PEXPIRE", "k", "900000"]);
        let sent_whole = database.sent();
        assert_eq!(copy_range(&mount.at("k"), &mount.at("new")).unwrap(), 6 << 20);
        // What an open of a long one moves, and no more.
        let sent = database.sent() - sent_whole;
        assert!(sent < 3 << 20, "{sent}");
        same_bytes("the copy", &fs::read(mount.at("new")).unwrap(), &bytes);
        assert_eq!(database.cli(&["TTL", "new"]), "-1", "what was copied is its bytes");
        // Over another key, whose time to live stays.
        database.cli(&["SET", "old", "short", "EX", "500"]);
        copy_range(&mount.at("k"), &mount.at("old")).unwrap();
        let left: u64 = database.cli(&["TTL", "old"]).parse().unwrap();
        assert!((400..=500).contains(&left), "{left}");
        assert_eq!(database.cli(&["STRLEN", "old"]), (6 << 20).to_string());
        // What is written behind the copy is the copy's alone.
        let (from, mut to) =
            (fs::File::open(mount.at("k")).unwrap(), fs::File::create(mount.at("more")).unwrap());
        rustix::fs::copy_file_range(&from, None, &to, None, 1 << 40).unwrap();
        to.sync_all().unwrap();
        to.seek(SeekFrom::End(0)).unwrap();
        to.write_all(b"end").unwrap();
        crate::harness::close(to).unwrap();
        drop(from);
        assert_eq!(database.cli(&["GETRANGE", "more", "-3", "-1"]), "end");
        assert_eq!(database.cli(&["STRLEN", "k"]), (6 << 20).to_string());
        same_bytes("the longer copy", &fs::read(mount.at("more")).unwrap()[..6 << 20], &bytes);
        // The source as it was opened, or nothing.
        let (from, to) =
            (fs::File::open(mount.at("k")).unwrap(), fs::File::create(mount.at("late")).unwrap());
        rustix::fs::copy_file_range(&from, None, &to, None, 1 << 40).unwrap();
        database.cli(&["SETRANGE", "k", "0", "x"]);
        refused(libc::ESTALE, "the close", crate::harness::close(to));
        drop(from);
        nothing_is_open(&mount);
        assert_eq!(database.cli(&["STRLEN", "late"]), "0");
        mount.unmount();
    });
}

#[test]
fn a_time_to_live_is_an_attribute_and_outlives_edits() {
    watched(LIMIT, |place| {
        let database = Database::new();
        database.cli(&["SET", "k", "v", "EX", "1000"]);
        database.cli(&["HSET", "h", "f", "v"]);
        let mut mount = database.mount(place, &[]);
        let get = |name: &str| {
            let told = xattr::get(mount.at(name), "user.kvfs.ttl").unwrap()?;
            Some(String::from_utf8(told).unwrap().parse::<f64>().unwrap())
        };
        let lasts = |name: &str| get(name).is_some_and(|left| (900.0..=1000.0).contains(&left));
        assert!(lasts("k"), "{:?}", get("k"));
        mount.bash("printf new >k");
        assert!(lasts("k"), "{:?}", get("k"));
        mount.bash("printf newer >k.tmp; mv k.tmp k");
        assert!(lasts("k"), "{:?}", get("k"));
        assert_eq!(database.cli(&["GET", "k"]), "newer");
        mount.bash("sed -i s/newer/newest/ k");
        assert!(lasts("k"), "{:?}", get("k"));
        xattr::set(mount.at("k"), "user.kvfs.ttl", b"500").unwrap();
        assert!(!lasts("k") && get("k").is_some());
        xattr::remove(mount.at("k"), "user.kvfs.ttl").unwrap();
        assert_eq!(database.cli(&["TTL", "k"]), "-1");
        assert_eq!(get("k"), None);
        xattr::set(mount.at("h%hash"), "user.kvfs.ttl", b"950").unwrap();
        mount.bash("printf 2 >'h%hash/f'");
        assert!(lasts("h%hash"), "{:?}", get("h%hash"));
        let encoding = xattr::get(mount.at("k"), "user.kvfs.encoding").unwrap().unwrap();
        assert_eq!(encoding, b"embstr");
        mount.unmount();
    });
}

#[test]
fn promise_2_4_a_directory_lives_in_the_mount_until_a_key_is_below_it() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        mount.bash("mkdir -p a/b; test -d a/b");
        assert_eq!(database.cli(&["DBSIZE"]), "0");
        mount.bash("touch a/b/c");
        assert_eq!(database.cli(&["KEYS", "*"]), "a:b:c");
        mount.remount();
        assert_eq!(mount.bash("find ."), ".\n./a\n./a/b\n./a/b/c\n");
        mount.unmount();
        let mut lasting = database.mount(place, &["--markers"]);
        lasting.bash("mkdir d");
        assert_eq!(database.cli(&["EXISTS", "d:"]), "1");
        lasting.bash("rmdir d");
        assert_eq!(database.cli(&["EXISTS", "d:"]), "0");
        lasting.unmount();
    });
}

#[test]
fn promise_4_3_fsync_waits_for_the_servers_disk_where_it_tells() {
    watched(LIMIT, |place| {
        let valkey = Server::start_of("valkey").unwrap();
        let database = Database::of(&valkey);
        let mut mount = database.mount(place, &["--require-aof"]);
        // At mount it is asked whether it tells.
        database.cli(&["CONFIG", "RESETSTAT"]);
        let mut file = fs::File::create(mount.at("k")).unwrap();
        file.write_all(b"v").unwrap();
        file.sync_all().unwrap();
        let stats = database.cli(&["INFO", "commandstats"]);
        assert!(stats.contains("cmdstat_waitaof:calls=1"), "{stats}");
        drop(file);
        mount.unmount();
        // Where the connection that wrote is gone, nobody knows.
        let mut mount = database.mount(place, &["--require-aof"]);
        crate::harness::put(mount.at("k"), b"w").unwrap();
        database.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let file = fs::OpenOptions::new().append(true).open(mount.at("k")).unwrap();
        refused(libc::EIO, "fsync", file.sync_all());
        file.sync_all().unwrap();
        drop(file);
        mount.unmount();
        // Debian's Redis does not tell.
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        fs::File::create(mount.at("k")).unwrap().sync_all().unwrap();
        mount.unmount();
        let mut mount = database.mount(place, &["--require-aof"]);
        let mut file = fs::File::create(mount.at("k")).unwrap();
        file.write_all(b"v").unwrap();
        refused(libc::EIO, "fsync", file.sync_all());
        drop(file);
        assert_eq!(database.cli(&["GET", "k"]), "v");
        mount.unmount();
    });
}

/// What the server tells of the mount's own puts costs the kernel no name: nothing is looked up twice.
#[test]
fn the_mounts_own_files_are_not_forgotten() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let mut mount = database.mount(place, &[]);
        mount.bash("mkdir d; touch d/first; ls d");
        let before = mount.requests();
        for number in 0..100 {
            put(mount.at(format!("d/f{number}")), b"some").unwrap();
        }
        until(PATIENCE, "each is told of", || {
            let told = field(&mount.status(), "invalidations").and_then(serde_json::Value::as_u64);
            (told >= Some(100)).then_some(())
        });
        for number in 0..100 {
            assert_eq!(fs::metadata(mount.at(format!("d/f{number}"))).unwrap().len(), 4);
        }
        let after = mount.requests();
        let more = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
        assert!(more("lookup") <= 110, "one before each is made: {}", more("lookup"));
        assert!(more("forget") <= 10, "{}", more("forget"));
        // What others do shows all the same.
        database.cli(&["DEL", "d:f7"]);
        until(PATIENCE, "it goes", || fs::metadata(mount.at("d/f7")).is_err().then_some(()));
        database.cli(&["SET", "d:f8", "longer"]);
        until(PATIENCE, "it grows", || (fs::metadata(mount.at("d/f8")).unwrap().len() == 6).then_some(()));
        mount.unmount();
    });
}

#[test]
fn promise_6_1_an_unchanged_string_costs_a_question_and_moves_no_value() {
    watched(LIMIT, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        database.cli(&["SET", "k", &"x".repeat(10_000)]);
        let mut mount = database.mount(place, &[]);
        let calls = |command: &str| {
            let stats = database.cli(&["INFO", "commandstats"]);
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
            line.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse::<u64>().unwrap())
        };
        fs::read(mount.at("k")).unwrap();
        let (reads, pings) = (calls("getrange"), calls("ping"));
        assert_eq!(reads, 1, "one for the first");
        for _ in 0..100 {
            assert_eq!(fs::read(mount.at("k")).unwrap().len(), 10_000);
        }
        assert_eq!(calls("getrange"), reads, "no value is moved");
        let pings = calls("ping") - pings;
        assert!((100..=120).contains(&pings), "{pings}");
        database.cli(&["SETRANGE", "k", "0", "y"]);
        assert_eq!(fs::read(mount.at("k")).unwrap()[0], b'y');
        mount.unmount();
    });
}
