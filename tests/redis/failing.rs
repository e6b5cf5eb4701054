//! What goes wrong with a server: it is not there, refuses, goes away and comes back.

use std::fs;

use crate::harness::{LIMIT, Mount, PATIENCE, put, until, watched};
use crate::server::{Database, Server};

#[test]
fn promise_8_2_a_mount_recovers_from_killed_connections() {
    watched(LIMIT, |place| {
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
            let arguments = [source.as_ref(), point.as_os_str(), "--timeout".as_ref(), "3s".as_ref()];
            let sentence = Mount::refused_mount(place, &arguments).sentence(source);
            assert!(sentence.contains(says), "{source}: {sentence}");
        };
        refused("redis://127.0.0.1:1/0", "refused");
        refused(&format!("redis://127.0.0.1:{port}/5000"), "DB index");
        refused(&format!("redis://:secret@127.0.0.1:{port}/0"), "--password-file");
        refused(&format!("redis://127.0.0.1:{port}/x"), "database");
        refused(&format!("rediss://127.0.0.1:{port}/0"), "does not answer in TLS");
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
        // Typed: `script` is the terminal.
        let typed = |password: &str| {
            let point = place.at("typed");
            let source = database.source();
            let command = format!("$KVFS mount --ask-password {source} {}", point.display());
            let script = format!("(sleep 1; echo {password}) | script -qec '{command}' /dev/null");
            place.command("bash").arg("-c").arg(script).output().unwrap()
        };
        let said = typed("wrong");
        assert!(
            !said.status.success() && String::from_utf8_lossy(&said.stdout).contains("Password for"),
            "{said:?}"
        );
        let said = typed("hidden");
        assert!(said.status.success(), "{said:?}");
        assert!(!String::from_utf8_lossy(&said.stdout).contains("hidden"), "{said:?}");
        assert_eq!(fs::read(place.at("typed/k")).unwrap(), b"v");
        let unmounted = std::process::Command::new("umount").arg(place.at("typed")).status().unwrap();
        assert!(unmounted.success());
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

#[test]
fn the_rights_that_are_named_suffice_and_what_is_denied_is_eacces() {
    watched(LIMIT, |place| {
        let server = Server::start().unwrap();
        let database = Database::of(&server);
        let told = place.kvfs_ok(["stores", "redis"]);
        let line = told.lines().find_map(|line| line.trim().strip_prefix("a user needs")).unwrap().trim();
        let line = line.replace("PASSWORD", "hidden");
        let mut rights = vec!["ACL", "SETUSER", "ann"];
        rights.extend(line.split(' '));
        database.cli(&rights);
        place.export("REDISCLI_AUTH", "hidden");
        let source = database.source().replace("redis://", "redis://ann@");
        let mut mount = Mount::of(place, crate::harness::Kind::Server, source.into(), "data", &[]);
        mount.bash(
            "printf v >k; mkdir h%hash; printf 1 >h%hash/f; ls -lR; cat k h%hash/f h%hash.json; mv k l; rm l",
        );
        xattr::set(mount.at("h%hash"), "user.kvfs.ttl", b"100").unwrap();
        assert!(!mount.bash("getfattr -n user.kvfs.memory h%hash").is_empty());
        let status = mount.status().to_string();
        assert!(status.contains("as they happen") && !status.contains("hidden"), "{status}");
        database.cli(&["ACL", "SETUSER", "ann", "-set"]);
        crate::harness::refused(libc::EACCES, "a put", put(mount.at("k"), b"v"));
        fs::remove_file(mount.at("k")).unwrap();
        mount.unmount();
    });
}

#[test]
#[allow(clippy::zombie_processes, reason = "it ends with the thread of this test")]
fn a_server_is_reached_by_tls_where_its_certificate_is_known() {
    watched(LIMIT, |place| {
        place.bash(
            place.folder(),
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE 2>/dev/null",
        );
        let serve = |clients: &str| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port().to_string();
            drop(listener);
            place
                .command("setpriv")
                .args([
                    "--pdeathsig",
                    "KILL",
                    "redis-server",
                    "--port",
                    "0",
                    "--save",
                    "",
                    "--tls-port",
                    &port,
                ])
                .args(["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"])
                .args(["--tls-ca-cert-file", "cert.pem", "--tls-auth-clients", clients])
                .args(["--bind", "127.0.0.1"])
                .current_dir(place.folder())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            until(PATIENCE, "the server listens", || {
                std::net::TcpStream::connect(format!("127.0.0.1:{port}")).ok()
            });
            format!("rediss://localhost:{port}/0")
        };
        // By files that are named, where the server asks for a certificate, too.
        let source = serve("yes");
        let files = ["cert.pem", "key.pem"].map(|name| place.at(name).to_str().unwrap().to_owned());
        let point = place.at("refused");
        let arguments = [source.as_ref(), point.as_os_str(), "--cacert".as_ref(), files[0].as_ref()];
        let sentence = Mount::refused_mount(place, &arguments).sentence(&source);
        assert!(sentence.contains("CertificateRequired"), "{sentence}");
        let options = ["--cacert", &files[0], "--cert", &files[0], "--key", &files[1]];
        let mut mount = Mount::of(place, crate::harness::Kind::Server, source.into(), "named", &options);
        put(mount.at("k"), b"v").unwrap();
        mount.unmount();
        // By what this machine trusts.
        let source = serve("no");
        let sentence = Mount::refused_mount(place, &[source.as_ref(), point.as_os_str()]).sentence(&source);
        assert!(sentence.contains("certificate"), "{sentence}");
        place.export("SSL_CERT_FILE", place.at("cert.pem").to_str().unwrap());
        let mut mount = Mount::of(place, crate::harness::Kind::Server, source.into(), "data", &[]);
        put(mount.at("k"), b"v").unwrap();
        assert_eq!(fs::read(mount.at("k")).unwrap(), b"v");
        mount.unmount();
    });
}
