//! What goes wrong with a server: it is not there, refuses, goes away and comes back.

use std::fs;

use crate::harness::{LIMIT, Mount, PATIENCE, put, until, watched};
use crate::server::{Database, Server};

#[test]
fn promise_8_2_a_mount_recovers_from_killed_connections() {
    watched(LIMIT, |place| {
        let database = Database::of(&Server::start().unwrap());
        let _ = database;
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let mut mount = database.mount(place, &[]);
        for round in 0..20 {
            let name = format!("k{round}");
            put(mount.at(&name), name.as_bytes()).unwrap();
            database.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            assert_eq!(fs::read(mount.at(&name)).unwrap(), name.as_bytes());
        }
        database.cli(&["SET", "theirs", "x"]);
        until(PATIENCE, "what others do shows", || fs::metadata(mount.at("theirs")).ok());
        mount.unmount();
    });
}

#[test]
fn each_refusal_at_mount_is_one_sentence() {
    watched(LIMIT, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let port = server.port;
        let refused = |source: &str, says: &str| {
            let point = place.at("refused");
            let sentence =
                Mount::refused_mount(place, &[source.as_ref(), point.as_os_str()]).sentence(source);
            assert!(sentence.contains(says), "{source}: {sentence}");
        };
        refused("redis://127.0.0.1:1/0", "refused");
        refused(&format!("redis://127.0.0.1:{port}/5000"), "DB index");
        refused(&format!("redis://:secret@127.0.0.1:{port}/0"), "--password-file");
        refused(&format!("redis://127.0.0.1:{port}/x"), "database");
        database.cli(&["CONFIG", "SET", "requirepass", "hidden"]);
        refused(&format!("redis://127.0.0.1:{port}/0"), "REDISCLI_AUTH");
        fs::write(place.at("password"), "hidden\n").unwrap();
        let options = ["--password-file", place.at("password").to_str().unwrap()].map(str::to_owned);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        fs::set_permissions(place.at("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let mut mount =
            Mount::of(place, crate::harness::Kind::Server, database.source().into(), "data", &options);
        put(mount.at("k"), b"v").unwrap();
        mount.unmount();
    });
}

#[test]
fn promise_4_8_a_full_server_is_enospc() {
    watched(LIMIT, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let mut mount = database.mount(place, &[]);
        put(mount.at("k"), b"v").unwrap();
        database.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        crate::harness::refused(libc::ENOSPC, "a put", put(mount.at("more"), &[1; 1000]));
        assert_eq!(fs::read(mount.at("k")).unwrap(), b"v");
        database.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        put(mount.at("more"), &[1; 1000]).unwrap();
        mount.unmount();
    });
}
