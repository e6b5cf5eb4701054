//! `kvfs exec`, as far as `memory` shows it.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{LIMIT, PATIENCE, binary, mounts_below, until, watched};

#[test]
fn the_exit_code_is_the_commands() {
    watched(LIMIT, |place| {
        for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -USR1 $$", 138)]
        {
            let finished = place.kvfs(["exec", "memory", "--", "sh", "-c", script]);
            assert_eq!(finished.code, code, "{script}: {finished:?}");
        }
        assert_eq!(place.kvfs(["exec", "memory", "--", "no-such-command"]).code, 127);
        assert_eq!(place.kvfs(["exec", "memory", "--", "/etc/passwd"]).code, 126);
        assert_eq!(place.kvfs(["exec", "./nothing", "--", "true"]).code, 1);
        assert_eq!(fs::read_dir(place.runtime().join("exec")).unwrap().count(), 0);
    });
}

#[test]
fn the_command_runs_in_the_mount() {
    watched(LIMIT, |place| {
        let script = r#"test "$(pwd)" = "$KVFS_MOUNT" && echo 1 > f && cat f && stat -f -c %T ."#;
        assert_eq!(place.kvfs_ok(["exec", "memory", "--", "sh", "-c", script]), "1\nfuseblk\n");
        let at = place.kvfs_ok(["exec", "memory", "--at", "here", "--", "pwd"]);
        assert_eq!(at.trim_end(), place.at("here").to_str().unwrap());
        let read_only = place.kvfs(["exec", "memory", "--read-only", "--", "touch", "f"]);
        assert_eq!(read_only.code, 1, "{read_only:?}");
    });
}

#[test]
fn what_the_command_leaves_running_has_time_to_end() {
    watched(LIMIT, |place| {
        let script = r"sleep 1 & exit 3";
        assert_eq!(place.kvfs(["exec", "memory", "--", "sh", "-c", script]).code, 3);
        assert!(mounts_below(place.folder()).is_empty());
    });
}

#[test]
fn signals_are_passed_on_and_the_mount_ends_with_the_command() {
    watched(LIMIT, |place| {
        let script = r#"trap 'touch "$OUTSIDE/caught"; exit 7' TERM; touch "$OUTSIDE/ready"; while :; do sleep 0.05; done"#;
        let mut child =
            place.command(binary()).args(["exec", "memory", "--", "bash", "-c", script]).spawn().unwrap();
        until(PATIENCE, "the command runs", || place.at("outside/ready").exists().then_some(()));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(place.wait(&mut child, PATIENCE), 7);
        assert!(place.at("outside/caught").exists());
        assert!(mounts_below(place.folder()).is_empty());
    });
}

#[test]
fn the_mount_ends_when_exec_is_killed() {
    watched(LIMIT, |place| {
        let script = r#"touch "$OUTSIDE/ready"; exec sleep 1"#;
        let mut child =
            place.command(binary()).args(["exec", "memory", "--", "bash", "-c", script]).spawn().unwrap();
        until(PATIENCE, "the command runs", || place.at("outside/ready").exists().then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        until(PATIENCE, "it is unmounted", || mounts_below(place.folder()).is_empty().then_some(()));
    });
}
