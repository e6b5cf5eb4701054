//! Ordinary users: the same as root, through fusermount3.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::{Mutex, PoisonError};

use crate::harness::{Finished, LIMIT, Place, finish, needs_root, watched};

/// What every script here begins with. The namespace is the script's own, so that a machine where only root may open
/// /dev/fuse (containers have no udev, which opens it to all) can be tested too, and stays as it is.
const BEGIN: &str = r#"
    rm -f "$OUTSIDE/fuse"; mknod -m 666 "$OUTSIDE/fuse" c 10 229; mount --bind "$OUTSIDE/fuse" /dev/fuse
    user() { setpriv --reuid=kvfs-test --regid=kvfs-test --init-groups bash -euc "$1"; }
"#;

/// Held while the user is made: the tests run beside each other.
static MAKING: Mutex<()> = Mutex::new(());

/// The number of the user kvfs-test, who is made where there is none.
fn user_number(place: &Place) -> u32 {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let found = finish(place.command("id").args(["-u", "kvfs-test"]));
    if found.code != 0 {
        let made = finish(place.command("useradd").args(["--user-group", "--no-create-home", "kvfs-test"]));
        made.ok("useradd");
    }
    finish(place.command("id").args(["-u", "kvfs-test"])).ok("id").trim().parse().unwrap()
}

/// Runs `script` as root in bash, where `user SCRIPT` does so as the user kvfs-test, who owns `place`.
fn with_user(place: &Place, script: &str) -> Finished {
    needs_root("becoming another user");
    let user = user_number(place);
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in [".", "home", "outside", "runtime", "state", "scratch"] {
        chown(place.at(name), Some(user), Some(user)).unwrap();
    }
    // The build's folder may be closed to the user.
    let program = place.at("outside/kvfs");
    fs::copy(crate::harness::binary(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.command("unshare");
    command.args(["--mount", "bash", "-euc", &format!("{BEGIN}{script}")]);
    finish(command.env("KVFS", program))
}

#[test]
fn a_user_mounts_and_unmounts() {
    watched(LIMIT, |place| {
        let script = r#"user '
            "$KVFS" mount memory m; echo hello > m/f; cat m/f; stat -c %U m/f
            grep " $PLACE/m " /proc/self/mountinfo | grep -c "nosuid,nodev.*fuse.kvfs memory"
            "$KVFS" unmount m
            "$KVFS" mount memory "a,suid\b c"; fusermount3 -u "a,suid\b c"
            "$KVFS" exec memory -- sh -c "echo 1 > f; cat f"'"#;
        assert_eq!(with_user(place, script).ok(script), "hello\nkvfs-test\n1\n1\n");
    });
}

#[test]
fn a_user_is_told_what_only_the_administrator_may() {
    watched(LIMIT, |place| {
        let script = r#"install -d -m 755 others; user 'exec "$KVFS" mount memory others'"#;
        with_user(place, script).sentence("another user's folder");
        let script = r#"user 'exec "$KVFS" mount memory /proc/1/x'"#;
        with_user(place, script).sentence("a folder that is nobody's");
        let script = r#"chmod 600 /dev/fuse; user 'exec "$KVFS" mount memory m'"#;
        let sentence = with_user(place, script).sentence("a device for root alone");
        assert!(sentence.contains("chmod 666 /dev/fuse"), "{sentence}");
        let script = r#"
            : > "$OUTSIDE/conf"; mount --bind "$OUTSIDE/conf" /etc/fuse.conf
            user 'exec "$KVFS" mount memory m --allow-other'"#;
        let sentence = with_user(place, script).sentence("--allow-other");
        assert!(sentence.contains("user_allow_other"), "{sentence}");
        assert!(!place.at("m").exists());
    });
}

#[test]
fn a_users_mount_is_roots_to_end() {
    watched(LIMIT, |place| {
        // Root's own folders: it has no socket of this mount.
        let script = r#"
            user '"$KVFS" mount memory m'
            install -d -m 700 rootside
            KVFS_RUNTIME_DIR=$PLACE/rootside "$KVFS" status | grep -A1 "$PLACE/m " | tail -1
            KVFS_RUNTIME_DIR=$PLACE/rootside "$KVFS" unmount m
            grep -c " $PLACE/m " /proc/self/mountinfo || :"#;
        let out = with_user(place, script).ok(script);
        assert_eq!(out, "  another user's, or mounted with another KVFS_RUNTIME_DIR\n0\n");
    });
}
