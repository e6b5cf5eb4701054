//! The life of a daemon: status, hanging, hurrying, sockets.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{LIMIT, PATIENCE, Place, mounts_below, until, watched};

fn daemon(place: &Place, point: &str) -> Pid {
    let status = place.kvfs_ok(["status", point, "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    Pid::from_raw(status["mounts"][0]["live"]["process"].as_i64().unwrap() as i32)
}

fn is_running(process: Pid) -> bool {
    // A zombie that nobody has waited for yet has ended.
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn sockets(place: &Place) -> usize {
    let names = fs::read_dir(place.runtime()).unwrap();
    names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|e| e == "sock")).count()
}

#[test]
fn status_tells_of_every_mount_and_names_its_log() {
    watched(LIMIT, |place| {
        let folder = place.folder().to_str().unwrap();
        assert!(!place.kvfs_ok(["status"]).contains(folder));
        place.kvfs_ok(["mount", "memory", "one"]);
        place.kvfs_ok(["mount", "memory", "two", "--read-only", "--commit", "50ms"]);
        fs::write(place.at("one/f"), "x").unwrap();
        let all = place.kvfs_ok(["status"]);
        assert!(all.contains("/one  memory") && all.contains("/two  memory"), "{all}");
        let one = place.kvfs_ok(["status", "one/f"]);
        assert!(!one.contains("/two") && one.contains("create 1"), "{one}");
        let two = place.kvfs_ok(["status", "two"]);
        assert!(two.contains("read-only") && two.contains("50ms"), "{two}");
        let log = two.lines().find_map(|line| line.trim().strip_prefix("log ")).unwrap().trim().to_owned();
        assert!(fs::read_to_string(&log).unwrap().contains("mounted on"));
        assert_eq!(fs::write(place.at("two/f"), "x").unwrap_err().raw_os_error(), Some(libc::EROFS));
        let elsewhere = place.kvfs(["status", "."]).sentence("no mount");
        assert!(elsewhere.contains("/one") && elsewhere.contains("/two"), "{elsewhere}");
        place.kvfs_ok(["sync", "one/f"]);
        place.kvfs_ok(["unmount", "one"]);
        place.kvfs_ok(["unmount", "two"]);
        assert!(!place.kvfs_ok(["status"]).contains(folder));
        assert_eq!(sockets(place), 0);
    });
}

/// §8.1
#[test]
fn status_answers_within_a_second_though_a_daemon_hangs() {
    watched(LIMIT, |place| {
        place.kvfs_ok(["mount", "memory", "live"]);
        for number in 0..5 {
            place.kvfs_ok(["mount", "memory", &format!("hung{number}")]);
        }
        let hung: Vec<Pid> = (0..5).map(|number| daemon(place, &format!("hung{number}"))).collect();
        for process in &hung {
            kill(*process, Signal::SIGSTOP).unwrap();
        }
        let start = kvfs::env::instant();
        let status = place.kvfs_ok(["status"]);
        let took = start.elapsed();
        for process in &hung {
            kill(*process, Signal::SIGCONT).unwrap();
        }
        assert!(took < Duration::from_secs(1), "{took:?}");
        let silent = status.matches("its daemon does not answer").count();
        assert!(silent >= 5, "{status}");
        assert!(status.contains("/live  memory\n  access"), "{status}");
        for name in ["live", "hung0", "hung1", "hung2", "hung3", "hung4"] {
            place.kvfs_ok(["unmount", name]);
        }
    });
}

#[test]
fn a_daemon_told_to_end_waits_until_it_is_free_and_a_second_signal_hurries_it() {
    watched(LIMIT, |place| {
        place.kvfs_ok(["mount", "memory", "m"]);
        let process = daemon(place, "m");
        let held = fs::File::create(place.at("m/f")).unwrap();
        let sentence = place.kvfs(["unmount", "m"]).sentence("a busy mount");
        assert!(sentence.contains("used by"), "{sentence}");
        kill(process, Signal::SIGTERM).unwrap();
        let log = || fs::read_dir(place.at("state/log")).unwrap().next().unwrap().unwrap().path();
        until(PATIENCE, "it says what it waits for", || {
            fs::read_to_string(log()).unwrap().contains("used by").then_some(())
        });
        fs::write(place.at("m/g"), "it still works").unwrap();
        kill(process, Signal::SIGTERM).unwrap();
        until(PATIENCE, "it is gone", || (!is_running(process)).then_some(()));
        assert!(mounts_below(place.folder()).is_empty());
        drop(held);
    });
}

#[test]
fn a_plain_umount_ends_the_daemon() {
    watched(LIMIT, |place| {
        place.kvfs_ok(["mount", "memory", "m"]);
        let process = daemon(place, "m");
        let umount = if nix::unistd::geteuid().is_root() { "umount m" } else { "fusermount3 -u m" };
        place.bash(place.folder(), umount);
        until(PATIENCE, "it has ended", || (!is_running(process)).then_some(()));
        assert_eq!(sockets(place), 0);
    });
}

#[test]
fn the_socket_takes_no_nonsense() {
    watched(LIMIT, |place| {
        place.kvfs_ok(["mount", "memory", "m"]);
        let socket = kvfs::control::hash(&place.at("m").canonicalize().unwrap());
        let socket = place.runtime().join(socket).with_extension("sock");
        for line in ["\n", "nonsense\n", "{\"verb\":\"explode\"}\n", "[1,"] {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            assert!(answer.contains("not understood"), "{line:?}: {answer}");
        }
        let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        drop(silent);
        until(PATIENCE, "it answers again", || (place.kvfs(["status", "m"]).code == 0).then_some(()));
        place.kvfs_ok(["unmount", "m"]);
    });
}

#[test]
fn the_process_list_and_the_mount_table_show_the_place_and_nothing_else() {
    watched(LIMIT, |place| {
        place.kvfs_ok(["mount", "memory", "m", "--save", "secret-place.dump"]);
        let line = fs::read(format!("/proc/{}/cmdline", daemon(place, "m"))).unwrap();
        let line = String::from_utf8(line).unwrap().replace('\0', " ");
        assert_eq!(line, format!("kvfs daemon {} ", place.at("m").display()));
        let folder = fs::read_link(format!("/proc/{}/cwd", daemon(place, "m"))).unwrap();
        assert_eq!(folder, Path::new("/"));
        place.kvfs_ok(["unmount", "m"]);
    });
}
