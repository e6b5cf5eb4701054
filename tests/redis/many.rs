//! More keys than the index has room for, and servers that do not tell of changes: what is answered without an index (§2.6).

use std::fs;

use crate::harness::{Kind, LIMIT, Mount, PATIENCE, put, refused, until, watched};
use crate::server::{Database, Server};

/// Keys of one directory: more than one walk keeps.
const MANY: usize = 150_000;

#[test]
fn promise_2_6_more_keys_than_there_is_room_for_are_listed_once_each() {
    watched(LIMIT * 2, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let fill = "for i=1,ARGV[1] do redis.call('SET', 'many:' .. i, 'value') end
            for i=1,2000 do redis.call('SET', 'd' .. i .. ':x:' .. i, i) end";
        database.cli(&["EVAL", fill, "0", &MANY.to_string()]);
        database.cli(&["MSET", "both", "value", "both:below", "b", "d1:x", "dx", ":", "odd", "", "nothing"]);
        database.cli(&["HSET", "many:h", "f", "v"]);
        database.cli(&["EXPIRE", "d2000:x:2000", "100000"]);
        let mut mount = database.mount(place, &["--memory", "64M"]);
        let keys = || mount.status().to_string().contains("more than --memory has room for").then_some(());
        assert_eq!(
            mount.bash("ls -f many | grep -v '^\\.' | sort | uniq | wc -l"),
            format!("{}\n", MANY + 1)
        );
        until(PATIENCE, "status says so", keys);
        assert_eq!(mount.bash("ls -f many | wc -l"), format!("{}\n", MANY + 3));
        assert_eq!(mount.bash("ls | wc -l; ls d1 d1/x; cat d1/x/%value both/%value both/below"), {
            "2003\nd1:\nx\n\nd1/x:\n%value\n1\ndxvalueb"
        });
        assert_eq!(mount.bash("cat many/77 'many/h%hash/f'; stat -c %s many/149999"), "valuev5\n");
        // What is asked for by its name is found, where its directory was met.
        assert_eq!(mount.bash("cat d1777/x/1777; ! test -e many/0; ! test -e nowhere"), "1777");
        assert_eq!(mount.bash("getfattr --only-values -n user.kvfs.ttl d2000/x/2000 | cut -c1-2"), "99\n");
        // What is done here shows at once, what others do within the second.
        mount.bash("mkdir -p new/deep; printf x >new/deep/file; mv many/77 new/77; ls new; rm many/1");
        assert_eq!(mount.bash("ls new; ls -f many | wc -l"), format!("77\ndeep\n{}\n", MANY + 1));
        assert_eq!(database.cli(&["MGET", "new:deep:file", "new:77", "many:77"]), "x\nvalue\n");
        database.cli(&["SET", "many:theirs", "t"]);
        until(PATIENCE, "what others do shows", || {
            (mount.bash("cat many/theirs 2>/dev/null; ls -f many | wc -l") == format!("t{}\n", MANY + 2))
                .then_some(())
        });
        refused(libc::ENOTEMPTY, "a directory with keys", fs::remove_dir(mount.at("d3")));
        mount.bash("rm -r d3; mv d4 moved");
        assert_eq!(database.cli(&["EXISTS", "d3:x:3", "d4:x:4"]), "0");
        assert_eq!(database.cli(&["GET", "moved:x:4"]), "4");
        mount.unmount();
    });
}

#[test]
fn promise_6_2_a_server_that_does_not_tell_is_followed_within_a_second() {
    watched(LIMIT, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        database.cli(&["ACL", "SETUSER", "ann", "on", "nopass", "~*", "+@all", "-client|tracking"]);
        database.cli(&["MSET", "a:b", "1", "c", "2"]);
        let source = format!("redis://ann@127.0.0.1:{}/0", server.port);
        place.export("REDISCLI_AUTH", "any");
        let mut mount = Mount::of(place, Kind::Server, source.into(), "data", &[]);
        assert_eq!(mount.bash("ls . a; cat a/b c"), ".:\na\nc\n\na:\nb\n12");
        assert!(mount.status().to_string().contains("after a second"));
        for round in 0..3 {
            let (key, name) = (format!("a:new{round}"), format!("a/new{round}"));
            database.cli(&["SET", &key, "x"]);
            until(PATIENCE, "a new key shows", || fs::metadata(mount.at(&name)).ok());
            database.cli(&["SET", &key, "longer"]);
            assert_eq!(fs::read(mount.at(&name)).unwrap(), b"longer", "an open asks always");
            put(mount.at(&name), b"mine").unwrap();
            assert_eq!(mount.bash(&format!("ls a | grep -c new{round}; cat {name}")), "1\nmine");
            database.cli(&["DEL", &key]);
            until(PATIENCE, "it goes", || fs::metadata(mount.at(&name)).is_err().then_some(()));
        }
        mount.unmount();
    });
}

#[test]
fn promise_6_2_keyspace_notifications_tell_where_tracking_may_not() {
    watched(LIMIT, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        database.cli(&["CONFIG", "SET", "notify-keyspace-events", "KA"]);
        database.cli(&["ACL", "SETUSER", "ann", "on", "nopass", "~*", "&*", "+@all", "-client|tracking"]);
        database.cli(&["MSET", "u:a:b", "1", "u:c", "2", "other", "3"]);
        let source = format!("redis://ann@127.0.0.1:{}/0?prefix=u:", server.port);
        place.export("REDISCLI_AUTH", "any");
        let mut mount = Mount::of(place, Kind::Server, source.into(), "data", &[]);
        assert_eq!(mount.bash("cd u; ls . a; cat a/b c"), ".:\na\nc\n\na:\nb\n12");
        assert!(mount.status().to_string().contains("keyspace notifications"), "{}", mount.status());
        for round in 0..20 {
            // Stated before, so that the kernel has it.
            assert_eq!(fs::metadata(mount.at("u/c")).unwrap().len(), 1);
            let started = kvfs::env::instant();
            database.cli(&["SET", "u:c", "longer"]);
            until(PATIENCE, "the size is told", || {
                (fs::metadata(mount.at("u/c")).unwrap().len() == 6).then_some(())
            });
            assert!(started.elapsed().as_millis() < 900, "told, not looked for: {round}");
            database.cli(&["SET", "u:c", "2"]);
            until(PATIENCE, "and back", || (fs::metadata(mount.at("u/c")).unwrap().len() == 1).then_some(()));
        }
        database.cli(&["SET", "u:late", "x", "PX", "100"]);
        until(PATIENCE, "a new key shows", || fs::metadata(mount.at("u/late")).ok());
        until(PATIENCE, "and expires", || fs::metadata(mount.at("u/late")).is_err().then_some(()));
        database.cli(&["FLUSHDB"]);
        until(PATIENCE, "a flush", || (mount.bash("ls").is_empty()).then_some(()));
        mount.unmount();
    });
}

#[test]
fn a_busy_server_is_not_asked_to_tell_of_each_change() {
    watched(LIMIT * 2, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let mut mount = database.mount(place, &[]);
        put(mount.at("k"), b"v").unwrap();
        let mut writer = std::process::Command::new("redis-benchmark")
            .args(["-p", &server.port.to_string(), "-P", "50", "-c", "4", "-r", "1000", "-n", "100000000"])
            .args(["-q", "SET", "busy:__rand_int__", "x"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until(LIMIT, "the mount gives way", || {
            mount.status().to_string().contains("too many of them").then_some(())
        });
        database.cli(&["SET", "k", "theirs"]);
        assert_eq!(fs::read(mount.at("k")).unwrap(), b"theirs", "an open asks always");
        put(mount.at("k"), b"mine").unwrap();
        assert_eq!(database.cli(&["GET", "k"]), "mine");
        until(PATIENCE, "what others do shows", || (mount.bash("ls busy | wc -l") == "1000\n").then_some(()));
        writer.kill().unwrap();
        writer.wait().unwrap();
        mount.unmount();
    });
}
