//! Clusters and sentinels: servers that take each other's place.

use std::fs;
use std::sync::MutexGuard;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Kind, LIMIT, Mount, PATIENCE, Place, put, refused, until, watched};
use crate::server::{Server, shared_cluster};

/// What a failover of these servers takes, and more: two seconds until somebody is missed, and an election.
const FAILOVER: Duration = Duration::from_secs(60);

/// An empty cluster that no other test uses now.
struct Cluster {
    port: u16,
    _lock: Option<MutexGuard<'static, ()>>,
    _server: Option<Server>,
}

impl Cluster {
    /// The one that the tests share.
    fn shared() -> Cluster {
        let (port, lock) = shared_cluster();
        Cluster { port, _lock: Some(lock), _server: None }
    }

    /// One of its own, for a test that kills its nodes.
    fn own() -> Cluster {
        let server = Server::start_of("redis-cluster").unwrap();
        Cluster { port: server.port, _lock: None, _server: Some(server) }
    }

    fn source(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.port, self.port + 1)
    }

    fn mount(&self, place: &Place, options: &[&str]) -> Mount {
        Mount::of(place, Kind::Server, self.source().into(), "data", options)
    }

    fn cli(&self, command: &[&str]) -> String {
        crate::server::cli(self.port, &["-c"], command)
    }

    /// The primaries, by the cluster's own word.
    fn primaries(&self, asked: u16) -> Vec<u16> {
        let nodes = crate::server::cli(asked, &[], &["CLUSTER", "NODES"]);
        let primaries = nodes.lines().filter(|line| line.contains("master") && !line.contains("fail"));
        primaries
            .filter_map(|line| {
                line.split_whitespace().nth(1)?.split('@').next()?.rsplit(':').next()?.parse().ok()
            })
            .collect()
    }

    /// Signals a node.
    fn signal(&self, port: u16, signal: Signal) {
        kill(Pid::from_raw(crate::server::pid_of("redis-cluster", self.port, port)), signal).unwrap();
    }
}

#[test]
fn a_cluster_is_files_both_ways() {
    watched(LIMIT, |place| {
        let cluster = Cluster::shared();
        for number in 0..50 {
            cluster.cli(&["SET", &format!("user:{number}:name"), &format!("name {number}")]);
        }
        cluster.cli(&["HSET", "h", "field", "value"]);
        let mut mount = cluster.mount(place, &[]);
        assert_eq!(
            mount.bash("find user -type f | wc -l; cat user/7/name 'h%hash/field'"),
            "50\nname 7value"
        );
        mount.bash("for i in $(seq 100); do mkdir -p new; printf $i >new/$i; done");
        assert_eq!(cluster.cli(&["GET", "new:77"]), "77");
        assert_eq!(mount.bash("ls new | wc -l; cat new/77; rm -r new; ls"), "100\n77h%hash\nuser\n");
        assert_eq!(cluster.cli(&["EXISTS", "new:77"]), "0");
        cluster.cli(&["SET", "theirs", "x"]);
        until(PATIENCE, "what others do shows", || fs::metadata(mount.at("theirs")).ok());
        let status = mount.status().to_string();
        assert!(status.contains("1 replicas"), "{status}");
        mount.unmount();
    });
}

/// `a` and `b` are in slots of different nodes, as are 50 numbered names.
#[test]
fn a_rename_across_slots_keeps_value_and_time_to_live() {
    watched(LIMIT, |place| {
        let cluster = Cluster::shared();
        cluster.cli(&["SET", "a", "value", "EX", "1000"]);
        cluster.cli(&["SET", "there", "old", "EX", "500"]);
        let mut mount = cluster.mount(place, &[]);
        mount.bash("mv a b");
        assert_eq!((cluster.cli(&["GET", "b"]), cluster.cli(&["EXISTS", "a"])), ("value".into(), "0".into()));
        let left: i64 = cluster.cli(&["TTL", "b"]).parse().unwrap();
        assert!((900..=1000).contains(&left), "{left}");
        // An editor that saves by a rename: the time to live of what was there stays.
        mount.bash("printf new >saved; mv saved there; cat there");
        let left: i64 = cluster.cli(&["TTL", "there"]).parse().unwrap();
        assert!((400..=500).contains(&left), "{left}");
        refused(libc::EEXIST, "without replacing", {
            let (from, to) = (mount.at("there"), mount.at("b"));
            nix::fcntl::renameat2(
                nix::fcntl::AT_FDCWD,
                &from,
                nix::fcntl::AT_FDCWD,
                &to,
                nix::fcntl::RenameFlags::RENAME_NOREPLACE,
            )
            .map_err(std::io::Error::from)
        });
        mount.bash("for i in $(seq 50); do printf $i >x; mv x moved$i; done");
        for number in 1..=50 {
            assert_eq!(cluster.cli(&["GET", &format!("moved{number}")]), number.to_string());
        }
        // A directory is copied, and removed.
        mount
            .bash("mkdir d; for i in $(seq 20); do printf $i >d/$i; done; mv d e; ls e | wc -l; ! test -e d");
        assert_eq!(cluster.cli(&["GET", "e:20"]), "20");
        // One of a collection too.
        cluster.cli(&["HSET", "h", "f", "v"]);
        mount.bash("mv h%hash g%hash");
        assert_eq!(
            (cluster.cli(&["HGET", "g", "f"]), cluster.cli(&["EXISTS", "h"])),
            ("v".into(), "0".into())
        );
        mount.unmount();
    });
}

/// A slot that is given from one node to another while its keys are used: nothing is hidden or lost.
#[test]
fn a_slot_that_moves_is_followed() {
    watched(LIMIT, |place| {
        let cluster = Cluster::shared();
        for number in 0..20 {
            cluster.cli(&["SET", &format!("{{tag}}{number}"), &number.to_string()]);
        }
        let mut mount = cluster.mount(place, &[]);
        assert_eq!(mount.bash("ls | wc -l"), "20\n");
        let slot = cluster.cli(&["CLUSTER", "KEYSLOT", "tag"]);
        let nodes = cluster.cli(&["CLUSTER", "NODES"]);
        let id = |port: u16| {
            let line = nodes.lines().find(|line| line.contains(&format!("127.0.0.1:{port}@"))).unwrap();
            line.split(' ').next().unwrap().to_owned()
        };
        let on = |port: u16, command: &[&str]| crate::server::cli(port, &[], command);
        let primaries = cluster.primaries(cluster.port);
        let source = *primaries
            .iter()
            .find(|port| on(**port, &["CLUSTER", "COUNTKEYSINSLOT", &slot]) == "20")
            .unwrap();
        let target = *primaries.iter().find(|port| **port != source).unwrap();
        on(target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(source)]);
        on(source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target)]);
        let check = |mount: &Mount| {
            for number in 0..20 {
                let name = format!("{{tag}}{number}");
                let read = fs::read_to_string(mount.at(&name)).unwrap();
                assert_eq!(read, number.to_string());
                put(mount.at(&name), number.to_string().as_bytes()).unwrap();
            }
            assert_eq!(mount.bash("ls | wc -l; cat * | wc -c"), "20\n30\n");
        };
        for number in 0..10 {
            let (port, key) = (target.to_string(), format!("{{tag}}{number}"));
            on(source, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
        }
        check(&mount);
        // What is made in the middle is made where the slot goes.
        put(mount.at("{tag}new"), b"new").unwrap();
        fs::remove_file(mount.at("{tag}new")).unwrap();
        for number in 10..20 {
            let (port, key) = (target.to_string(), format!("{{tag}}{number}"));
            on(source, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
        }
        for number in 0..10 {
            let (port, key) = (target.to_string(), format!("{{tag}}{number}"));
            on(source, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
        }
        for port in [target, source] {
            on(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &id(target)]);
        }
        check(&mount);
        mount.unmount();
    });
}

/// Copies files one after the other, kills a server in the middle, and looks whether each is there whose close was answered
/// with success.
fn copy_through(mount: &Mount, files: usize, at: usize, strike: impl FnOnce()) -> Vec<usize> {
    let mut strike = Some(strike);
    let mut accepted = Vec::new();
    for number in 0..files {
        if number == at
            && let Some(strike) = strike.take()
        {
            strike();
        }
        match put(mount.at(format!("f{number}")), format!("bytes of {number}").as_bytes()) {
            Ok(()) => accepted.push(number),
            Err(error) => eprintln!("f{number}: {error}"),
        }
    }
    accepted
}

#[test]
fn promise_4_4_a_failover_in_the_middle_of_a_copy_loses_nothing_accepted() {
    watched(LIMIT * 2, |place| {
        let cluster = Cluster::own();
        let mut mount = cluster.mount(place, &[]);
        let victim = cluster.primaries(cluster.port)[0];
        let other = cluster.primaries(cluster.port)[1];
        let accepted = copy_through(&mount, 10_000, 3_000, || cluster.signal(victim, Signal::SIGKILL));
        assert_eq!(accepted.len(), 10_000, "each is put within the deadline");
        for number in &accepted {
            let read = fs::read_to_string(mount.at(format!("f{number}"))).unwrap();
            assert_eq!(read, format!("bytes of {number}"));
        }
        assert!(!cluster.primaries(other).contains(&victim));
        assert_eq!(mount.bash("ls | wc -l"), "10000\n");
        mount.unmount();
    });
}

/// A primary that is paused while another one takes its place, and comes back: what it was sent in between is not taken for
/// stored.
#[test]
fn promise_8_1_a_paused_primary_is_left_for_the_one_in_its_place() {
    watched(LIMIT * 2, |place| {
        let cluster = Cluster::own();
        let mut mount = cluster.mount(place, &[]);
        put(mount.at("k"), b"before").unwrap();
        let victim = cluster.primaries(cluster.port)[1];
        let accepted = copy_through(&mount, 3_000, 1_000, || cluster.signal(victim, Signal::SIGSTOP));
        assert_eq!(accepted.len(), 3_000);
        cluster.signal(victim, Signal::SIGCONT);
        until(FAILOVER, "it follows the other one", || {
            crate::server::cli(victim, &[], &["ROLE"]).starts_with("slave").then_some(())
        });
        for number in &accepted {
            let read = fs::read_to_string(mount.at(format!("f{number}"))).unwrap();
            assert_eq!(read, format!("bytes of {number}"));
        }
        mount.unmount();
    });
}

/// Cuts a node off from the other nodes, and not from clients, as long as it lives.
struct Cut(String);

impl Cut {
    /// Skips the test where this machine cannot.
    fn new(cluster: &Cluster, node: u16) -> Cut {
        let table = format!("kvfs_{}", cluster.port);
        let source = format!("ip saddr 127.0.1.{}", node - cluster.port + 1);
        let reached = format!("ip saddr 127.0.1.0/24 tcp dport {{ {node}, {} }}", node + 6);
        // What comes back on a link that somebody else opened.
        let answers = format!("ip daddr 127.0.1.0/24 tcp sport {{ {node}, {} }}", node + 6);
        let rules =
            [source, reached, answers].map(|rule| format!("add rule ip {table} out {rule} drop\n")).concat();
        let script = format!(
            "add table ip {table}\nadd chain ip {table} out {{ type filter hook output priority 0; }}\n{rules}"
        );
        let done = std::process::Command::new("nft").arg(script).output();
        if !done.as_ref().is_ok_and(|done| done.status.success()) {
            crate::harness::skip(format!("links cannot be cut here: {done:?}"));
        }
        Cut(table)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::process::Command::new("nft").arg(format!("delete table ip {}", self.0)).status();
    }
}

/// A primary that is cut off from the others with its clients: it takes changes as before, and none of them is taken for
/// stored, since another one is in its place.
#[test]
fn promise_4_4_a_partition_in_the_middle_of_a_copy_loses_nothing_accepted() {
    watched(LIMIT * 2, |place| {
        let cluster = Cluster::own();
        let mut mount = cluster.mount(place, &[]);
        let primaries = cluster.primaries(cluster.port);
        let (victim, other) = (primaries[0], primaries[1]);
        let mut cut = None;
        let accepted = copy_through(&mount, 10_000, 3_000, || cut = Some(Cut::new(&cluster, victim)));
        assert_eq!(accepted.len(), 10_000, "each is put within the deadline");
        assert!(!cluster.primaries(other).contains(&victim), "another one is in its place");
        drop(cut);
        until(FAILOVER, "it follows the other one", || {
            crate::server::cli(victim, &[], &["ROLE"]).starts_with("slave").then_some(())
        });
        for number in &accepted {
            let read = fs::read_to_string(mount.at(format!("f{number}"))).unwrap();
            assert_eq!(read, format!("bytes of {number}"));
        }
        assert_eq!(mount.bash("ls | wc -l"), "10000\n");
        mount.unmount();
    });
}

/// A primary whose replica does not get its writes, as one that is cut off with its clients: what only it has is not
/// accepted, since another one may be in its place.
#[test]
fn promise_4_4_what_no_replica_has_is_not_accepted() {
    watched(LIMIT * 2, |place| {
        let cluster = Cluster::own();
        let mut mount = cluster.mount(place, &[]);
        let primaries = cluster.primaries(cluster.port);
        // All replicas stand still; that takes two seconds to be noticed, and then nobody can vote for another primary, but
        // the primaries know that their replicas have failed, and accept alone.
        let replicas: Vec<u16> =
            (cluster.port..cluster.port + 6).filter(|port| !primaries.contains(port)).collect();
        replicas.iter().for_each(|port| cluster.signal(*port, Signal::SIGSTOP));
        let began = kvfs::env::instant();
        put(mount.at("k"), b"v").unwrap();
        assert!(began.elapsed() > Duration::from_millis(500), "it waits until the replicas are given up");
        replicas.iter().for_each(|port| cluster.signal(*port, Signal::SIGCONT));
        assert_eq!(fs::read(mount.at("k")).unwrap(), b"v");
        mount.unmount();
    });
}

#[test]
fn replicas_are_read_where_that_is_asked_for() {
    watched(LIMIT, |place| {
        let cluster = Cluster::shared();
        for number in 0..20 {
            cluster.cli(&["SET", &format!("k{number}"), &number.to_string()]);
        }
        let source = format!("{}?read=replicas", cluster.source());
        let mut mount = Mount::of(place, Kind::Server, source.into(), "data", &[]);
        until(PATIENCE, "the replicas have all", || (mount.bash("ls | wc -l") == "20\n").then_some(()));
        assert_eq!(fs::read_to_string(mount.at("k7")).unwrap(), "7");
        refused(libc::EROFS, "a put", put(mount.at("k7"), b"x"));
        cluster.cli(&["SET", "k7", "seven"]);
        until(PATIENCE, "what others do shows", || {
            (fs::read_to_string(mount.at("k7")).unwrap() == "seven").then_some(())
        });
        mount.unmount();
    });
}

#[test]
fn sentinels_tell_where_the_primary_is() {
    watched(LIMIT * 2, |place| {
        let server = Server::start_of("redis-sentinel").unwrap();
        let port = server.port;
        let source = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/main", port + 3, port + 4);
        let mut mount = Mount::of(place, Kind::Server, source.into(), "data", &[]);
        let accepted = copy_through(&mount, 3_000, 1_000, || {
            kill(Pid::from_raw(crate::server::pid_of("redis-sentinel", port, port)), Signal::SIGKILL)
                .unwrap();
        });
        assert_eq!(accepted.len(), 3_000, "each is put within the deadline");
        for number in &accepted {
            let read = fs::read_to_string(mount.at(format!("f{number}"))).unwrap();
            assert_eq!(read, format!("bytes of {number}"));
        }
        mount.unmount();
    });
}

#[test]
fn sentinels_that_ask_for_no_password_lead_to_servers_that_do() {
    watched(LIMIT, |place| {
        let server = Server::start_of("redis-sentinel").unwrap();
        let port = server.port;
        let cli = crate::server::cli;
        for sentinel in port + 3..port + 6 {
            cli(sentinel, &[], &["SENTINEL", "SET", "main", "auth-pass", "hidden"]);
        }
        for server in port..port + 3 {
            cli(server, &[], &["CONFIG", "SET", "masterauth", "hidden"]);
            cli(server, &[], &["CONFIG", "SET", "requirepass", "hidden"]);
        }
        let source = format!("redis+sentinel://127.0.0.1:{}/main", port + 3);
        let point = place.at("refused");
        let refused = Mount::refused_mount(place, &[source.as_ref(), point.as_os_str()]).sentence(&source);
        assert!(refused.contains("REDISCLI_AUTH"), "{refused}");
        place.export("REDISCLI_AUTH", "hidden");
        let mut mount = Mount::of(place, Kind::Server, source.into(), "data", &[]);
        put(mount.at("k"), b"v").unwrap();
        assert_eq!(mount.bash("cat k"), "v");
        mount.unmount();
    });
}

#[test]
fn each_wrong_set_is_one_sentence() {
    watched(LIMIT, |place| {
        let cluster = Cluster::shared();
        let single = crate::server::shared().port;
        let refused = |source: &str, says: &str| {
            let point = place.at("refused");
            let sentence =
                Mount::refused_mount(place, &[source.as_ref(), point.as_os_str()]).sentence(source);
            assert!(sentence.contains(says), "{source}: {sentence}");
        };
        refused(&format!("redis://127.0.0.1:{}", cluster.port), "redis+cluster://127.0.0.1");
        refused(&format!("redis+cluster://127.0.0.1:{single}"), "no node of a cluster");
        refused(&format!("redis+sentinel://127.0.0.1:{single}/main"), "no sentinel");
        refused("redis+cluster://127.0.0.1:1,127.0.0.1:2", "refused");
        refused(&format!("redis+cluster://127.0.0.1:{}/3", cluster.port), "one");
    });
}
