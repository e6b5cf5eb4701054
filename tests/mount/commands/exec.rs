//! `kvfs exec`: a command in a mount that lives as long as it.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{LIMIT, PATIENCE, Place, binary, dump, load, mounts_below, needs_kvfs, until, watched};

fn source(place: &Place) -> String {
    format!("lmdb:{}", place.at("store").display())
}

#[test]
fn the_command_runs_in_the_mount_and_its_exit_code_is_returned() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let source = source(place);
        for code in [0, 1, 42, 127] {
            let script = format!("echo {code} > made; exit {code}");
            let finished = place.kvfs(["exec", &source, "--", "sh", "-c", &script]);
            assert_eq!((finished.code, finished.err.as_str()), (code, ""), "{finished:?}");
            assert_eq!(dump(place, &place.at("store"))[b"made".as_slice()], format!("{code}\n").into_bytes());
        }
        let finished = place.kvfs(["exec", &source, "--", "sh", "-c", "kill -KILL $$"]);
        assert_eq!(finished.code, 128 + 9, "{finished:?}");
        assert!(mounts_below(place.folder()).is_empty());
        let finished = place.kvfs(["exec", &source, "--", "no-such-command"]);
        assert_ne!(finished.code, 0);
        assert!(!finished.err.trim().is_empty());
        assert!(mounts_below(place.folder()).is_empty());
    });
}

#[test]
fn the_mount_point_is_fixed_by_the_source() {
    watched(LIMIT, |place| {
        needs_kvfs();
        load(place, &place.at("store"), &[("a", "1")]);
        let source = source(place);
        let first =
            place.kvfs_ok(["exec", "--snapshot", &source, "--", "sh", "-c", "pwd; echo $KVFS_MOUNT; cat a"]);
        let second =
            place.kvfs_ok(["exec", "--snapshot", &source, "--", "sh", "-c", "pwd; echo $KVFS_MOUNT; cat a"]);
        assert_eq!(first, second);
        let lines: Vec<&str> = first.lines().collect();
        assert!(lines[0] == lines[1] && lines[0].starts_with(place.runtime().to_str().unwrap()), "{lines:?}");
        assert_eq!(lines[2], "1");
        let at = place.at("here");
        let chosen = place.kvfs_ok(["exec", &source, "--at", at.to_str().unwrap(), "--", "pwd"]);
        assert_eq!(chosen.trim(), at.to_str().unwrap());
    });
}

#[test]
fn signals_are_passed_on() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut child = place
            .command(binary())
            .args(["exec", &source(place), "--", "bash", "-c"])
            .arg(r#"trap 'echo caught > caught; exit 7' TERM; touch "$OUTSIDE/ready"; while :; do read -rt 0.05 <> <(:) || :; done"#)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        until(PATIENCE, "the command runs", || place.at("outside/ready").exists().then_some(()));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(place.wait(&mut child, PATIENCE), 7);
        assert_eq!(dump(place, &place.at("store"))[b"caught".as_slice()], b"caught\n");
        assert!(mounts_below(place.folder()).is_empty());
    });
}
