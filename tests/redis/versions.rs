//! The oldest and the newest servers (scripts/servers): what there is of each type, and what not all of them have.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::harness::{LIMIT, Mount, PATIENCE, close, noise, put, refused, until, watched};
use crate::server::{Database, Server};

/// Each with whether the fields of a hash have times to live.
const VERSIONS: [(&str, bool); 3] = [("redis-6", false), ("redis-8", true), ("valkey-9", true)];

fn on_each(body: fn(&Database, &mut Mount, bool)) {
    for (name, field_ttls) in VERSIONS {
        watched(LIMIT, move |place| {
            let server = Server::start_of(name).unwrap();
            let database = Database::of(&server);
            let mut mount = database.mount(place, &[]);
            body(&database, &mut mount, field_ttls);
            mount.unmount();
        });
    }
}

/// A time to live in seconds, where there is one.
fn ttl(mount: &Mount, name: &str) -> Option<f64> {
    let told = xattr::get(mount.at(name), "user.kvfs.ttl").unwrap()?;
    Some(String::from_utf8(told).unwrap().parse().unwrap())
}

#[test]
fn every_type_is_there_in_every_version() {
    on_each(|database, mount, _| {
        database.cli(&["SET", "s:1", "one", "EX", "900"]);
        database.cli(&["HSET", "h", "f", "v"]);
        database.cli(&["RPUSH", "l", "a", "b"]);
        database.cli(&["SADD", "m", "x"]);
        database.cli(&["ZADD", "z", "1.5", "x"]);
        database.cli(&["XADD", "e", "1-1", "f", "v"]);
        assert_eq!(mount.bash("ls"), "e%stream\nh%hash\nl%list\nm%set\ns\nz%zset\n");
        assert_eq!(
            mount.bash("cat s/1 h%hash/f l%list/1 z%zset/x; ls m%set e%stream"),
            "onevb1.5e%stream:\n1-1\n\nm%set:\nx\n"
        );
        mount.bash("printf 2 >s/1; printf w >h%hash/g; printf c >l%list/%push; touch m%set/y; printf 3 >z%zset/y; mv s/1 s/2");
        assert_eq!(database.cli(&["GET", "s:2"]), "2");
        assert!(ttl(mount, "s/2").is_some_and(|left| left > 800.0));
        assert_eq!(database.cli(&["HGET", "h", "g"]), "w");
        assert_eq!(database.cli(&["LRANGE", "l", "0", "-1"]), "a\nb\nc");
        assert_eq!(database.cli(&["SCARD", "m"]), "2");
        assert_eq!(database.cli(&["ZSCORE", "z", "y"]), "3");
        // Long ones, and what others change.
        put(mount.at("long"), &noise(1, 3 << 20)).unwrap();
        mount.bash("cp long copy; cmp long copy; printf more >>copy");
        assert_eq!(database.cli(&["STRLEN", "copy"]), ((3 << 20) + 4).to_string());
        database.cli(&["SET", "s:2", "by others"]);
        assert_eq!(mount.bash("cat s/2"), "by others");
        let started = kvfs::env::instant();
        database.cli(&["SET", "s:2", "by others again"]);
        until(PATIENCE, "the size is told", || {
            (std::fs::metadata(mount.at("s/2")).unwrap().len() == 15).then_some(())
        });
        assert!(started.elapsed() < Duration::from_secs(1), "the server tells");
    });
}

/// §7.2: a document is one file, checked at close.
#[test]
fn promise_7_2_a_document_is_a_file_where_the_server_has_them() {
    on_each(|database, mount, _| {
        if !database.cli(&["MODULE", "LIST"]).contains("ReJSON") {
            assert!(mount.status().to_string().contains("JSON documents"), "it is told");
            let _ = put(mount.at("doc%json"), b"{}");
            assert_eq!(database.cli(&["DBSIZE"]), "0");
            let _ = std::fs::remove_file(mount.at("doc%json"));
            return;
        }
        database.cli(&[
            "JSON.SET",
            "user:1",
            "$",
            r#"{"name": "Ann", "big": 12345678901234567890.5, "list": [1, 2]}"#,
        ]);
        database.cli(&["EXPIRE", "user:1", "900"]);
        database.cli(&["SET", "user:2", "a string"]);
        assert_eq!(mount.bash("ls user"), "1%json\n2\n");
        let shown = "{\n  \"name\": \"Ann\",\n  \"big\": 12345678901234567890.5,\n  \"list\": [\n    1,\n    2\n  ]\n}\n";
        assert_eq!(mount.bash("cat 'user/1%json'"), shown);
        assert_eq!(mount.bash("stat -c %s 'user/1%json'").trim(), shown.len().to_string());
        assert!(!mount.at("user/1").exists(), "it has no name without the word");
        mount.bash("sed -i s/Ann/Berta/ 'user/1%json'; cp 'user/1%json' 'user/3%json'; mv 'user/3%json' 'user/4%json'");
        let compact = r#"{"name":"Berta","big":12345678901234567890.5,"list":[1,2]}"#;
        for key in ["user:1", "user:4"] {
            assert_eq!(database.cli(&["JSON.GET", key]), compact, "{key}");
        }
        assert!(ttl(mount, "user/1%json").is_some_and(|left| left > 800.0), "an edit keeps it");
        refused(libc::EINVAL, "no JSON", put(mount.at("user/4%json"), b"{\"name\": }"));
        assert_eq!(database.cli(&["JSON.GET", "user:4"]), compact);
        // What is written in other words is the same document: the next write stands on it.
        let mut file = OpenOptions::new().write(true).truncate(true).open(mount.at("user/1%json")).unwrap();
        for text in [&b"[1,     2"[..], b", 3]"] {
            file.write_all(text).unwrap();
            if text.ends_with(b"]") {
                file.sync_all().unwrap();
            }
        }
        file.set_len(0).unwrap();
        file.write_all_at(b"[7]", 0).unwrap();
        close(file).unwrap();
        assert_eq!(database.cli(&["JSON.GET", "user:1"]), "[7]");
        database.cli(&["JSON.SET", "user:1", "$", "8"]);
        assert_eq!(mount.bash("cat 'user/1%json'"), "8\n");
        mount.bash("rm 'user/1%json'");
        assert_eq!(database.cli(&["EXISTS", "user:1"]), "0");
        mount.bash("rm 'user/4%json'; test ! -e 'user/4%json'; echo '{\"new\": true}' >'new%json'");
        assert_eq!(database.cli(&["JSON.GET", "new"]), r#"{"new":true}"#);
        refused(libc::EEXIST, "a key of another type", put(mount.at("user/2%json"), b"{}"));
    });
}

#[test]
fn what_a_server_lacks_is_told() {
    on_each(|_, mount, field_ttls| {
        let status = mount.status().to_string();
        for lacking in ["times to live of hash fields", "looking that does not count as use"] {
            assert_eq!(status.contains(lacking), !field_ttls, "{lacking}: {status}");
        }
    });
}

/// §5.7: of a field of a hash as of a key; kept by edits in every way.
#[test]
fn promise_5_7_a_field_has_a_time_to_live_where_the_server_has_it() {
    on_each(|database, mount, field_ttls| {
        database.cli(&["HSET", "h", "f", "v", "g", "w"]);
        assert_eq!(ttl(mount, "h%hash/f"), None);
        let set = xattr::set(mount.at("h%hash/f"), "user.kvfs.ttl", b"900");
        if !field_ttls {
            assert_eq!(set.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
            return;
        }
        set.unwrap();
        let lasts = |name: &str| ttl(mount, name).is_some_and(|left| (800.0..=900.0).contains(&left));
        assert!(lasts("h%hash/f"));
        assert_eq!(ttl(mount, "h%hash/g"), None);
        mount.bash("printf new >h%hash/f");
        assert!(lasts("h%hash/f"), "an edit");
        mount.bash("printf newer >h%hash/f.tmp; mv h%hash/f.tmp h%hash/f");
        assert!(lasts("h%hash/f"), "an editor's rename");
        put(mount.at("h%hash.json"), br#"{"f": "newest", "g": "x"}"#).unwrap();
        assert!(lasts("h%hash/f"), "all of it");
        assert_eq!(database.cli(&["HGET", "h", "f"]), "newest");
        mount.bash("mv h%hash/f h%hash/k");
        assert!(lasts("h%hash/k"), "another name");
        xattr::remove(mount.at("h%hash/k"), "user.kvfs.ttl").unwrap();
        assert_eq!(ttl(mount, "h%hash/k"), None);
        assert_eq!(database.cli(&["HPTTL", "h", "FIELDS", "1", "k"]), "-1");
        xattr::set(mount.at("h%hash/k"), "user.kvfs.ttl", b"0.2").unwrap();
        until(PATIENCE, "the field expires", || (!mount.at("h%hash/k").exists()).then_some(()));
        assert_eq!(mount.bash("ls h%hash"), "g\n");
    });
}
