//! Ordinary users: the same as root, through fusermount3.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::harness::{Finished, LIMIT, Place, finish, needs_root, skip, watched};

/// Runs `script` as the user kvfs-test, made if need be, with kvfs's folders in `place`.
fn as_user(place: &Place, script: &str) -> Finished {
    needs_root("becoming another user");
    let found = finish(place.command("id").args(["-u", "kvfs-test"]));
    if found.code != 0 {
        let made = finish(place.command("useradd").args(["--user-group", "--no-create-home", "kvfs-test"]));
        made.ok("useradd");
    }
    if fs::metadata("/dev/fuse").map_or(0, |device| device.permissions().mode()) & 0o006 != 0o006 {
        skip("only root may open /dev/fuse on this machine");
    }
    let user: u32 = finish(place.command("id").args(["-u", "kvfs-test"])).ok("id").trim().parse().unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(place.folder(), Some(user), Some(user)).unwrap();
    for name in ["home", "outside", "runtime", "state", "scratch"] {
        chown(place.at(name), Some(user), Some(user)).unwrap();
    }
    // The build's folder may be closed to the user.
    let program = place.at("outside/kvfs");
    fs::copy(crate::harness::binary(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.command("setpriv");
    command.args(["--reuid=kvfs-test", "--regid=kvfs-test", "--init-groups", "bash", "-euc", script]);
    finish(command.env("KVFS", program))
}

#[test]
fn a_user_mounts_and_unmounts() {
    watched(LIMIT, |place| {
        let script = r#"
            "$KVFS" mount memory m; echo hello > m/f; cat m/f; stat -c %U m/f
            grep -o 'nosuid,nodev.*fuse.kvfs memory' /proc/self/mountinfo | wc -l
            "$KVFS" unmount m
            "$KVFS" mount memory 'a,suid\b c'; fusermount3 -u 'a,suid\b c'
            "$KVFS" exec memory -- sh -c 'echo 1 > f; cat f'"#;
        let finished = as_user(place, script);
        assert_eq!(finished.ok(script), "hello\nkvfs-test\n1\n1\n");
    });
}

#[test]
fn a_user_is_told_what_only_the_administrator_may() {
    watched(LIMIT, |place| {
        let other = place.at("others");
        fs::create_dir(&other).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
        let finished = as_user(place, r#"exec "$KVFS" mount memory others"#);
        finished.sentence("another user's folder");
        assert_eq!(as_user(place, r#"exec "$KVFS" mount memory /proc/1/x"#).code, 1);
        if fs::read_to_string("/etc/fuse.conf")
            .is_ok_and(|conf| conf.lines().any(|l| l == "user_allow_other"))
        {
            skip("this machine lets users pass --allow-other");
        }
        let finished = as_user(place, r#"exec "$KVFS" mount memory m --allow-other"#);
        let sentence = finished.sentence("--allow-other");
        assert!(sentence.contains("user_allow_other"), "{sentence}");
        assert!(!place.at("m").exists());
    });
}

#[test]
fn a_users_mount_is_roots_to_end() {
    watched(LIMIT, |place| {
        as_user(place, r#""$KVFS" mount memory m"#).ok("mount");
        let mut root = place.command(crate::harness::binary());
        // Root's own folders: it has no socket of this mount.
        root.env("KVFS_RUNTIME_DIR", place.at("rootside")).env("KVFS_STATE_DIR", place.at("rootside"));
        fs::create_dir(place.at("rootside")).unwrap();
        fs::set_permissions(place.at("rootside"), fs::Permissions::from_mode(0o700)).unwrap();
        let status = finish(root.arg("status")).ok("status");
        assert!(status.contains("another user's"), "{status}");
        let mut root = place.command(crate::harness::binary());
        root.env("KVFS_RUNTIME_DIR", place.at("rootside")).args(["unmount", "m"]);
        finish(&mut root).ok("unmount by root");
    });
}
