//! Help, wrong usage, and names without a mount.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::harness::{LIMIT, binary, finish, watched};

#[test]
fn help_of_every_command_has_a_usage_and_fits_a_terminal() {
    watched(LIMIT, |place| {
        for command in
            ["mount", "unmount", "exec", "status", "sync", "stores", "path", "key", "compact", "recover"]
        {
            let help = place.kvfs_ok([command, "--help"]);
            assert!(help.contains("Usage: kvfs "), "{command}: {help}");
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{command}: {help}");
        }
        let overview = place.kvfs_ok(["--help"]);
        assert!(overview.contains("kvfs mount lmdb ./data"), "{overview}");
        assert!(!overview.contains("daemon  "), "the hidden command is shown: {overview}");
        assert!(place.kvfs_ok(["--version"]).starts_with("kvfs "));
    });
}

#[test]
fn wrong_usage_is_exit_code_2() {
    watched(LIMIT, |place| {
        let wrong: [&[&str]; 17] = [
            &[],
            &["no-such-command"],
            &["mount"],
            &["mount", "memory"],
            &["mount", "--no-such-flag", "memory", "m"],
            &["mount", "--commit", "soon", "memory", "m"],
            &["mount", "--timeout", "0s", "memory", "m"],
            &["mount", "--umask", "9", "memory", "m"],
            &["mount", "--ttl", "soon", "memory", "m"],
            &["mount", "--memory", "1M", "memory", "m"],
            &["mount", "--cache-size", "9X", "memory", "m"],
            &["mount", "--separator", "", "memory", "m"],
            &["mount", "-o", "ro,sideways", "memory", "m"],
            &["mount", "nosuchkind:x", "m"],
            &["exec", "memory"],
            &["path", "--hex", "xyz"],
            &["unmount"],
        ];
        for arguments in wrong {
            let finished = place.kvfs(arguments);
            assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
            assert!(!finished.err.is_empty(), "{arguments:?}");
            assert!(!finished.err.contains("panicked"), "{}", finished.err);
        }
        assert!(!place.at("m").exists());
    });
}

/// §1.10
#[test]
fn names_are_translated_without_a_mount() {
    watched(LIMIT, |place| {
        let long = "x".repeat(600);
        for (key, path) in [
            ("users/ada", "users/ada"),
            ("a//b", "a/%empty/b"),
            ("", "%empty"),
            ("..", "%2E%2E"),
            ("100%", "100%"),
            ("new\nline", "new\nline"),
        ] {
            assert_eq!(place.kvfs_ok(["path", key]), format!("{path}\n"));
            assert_eq!(place.kvfs_ok(["key", path]), format!("{key}\n"));
        }
        let path = place.kvfs_ok(["path", &long]);
        assert!(path.contains("%more/") && path.split('/').all(|name| name.len() <= 256), "{path}");
        assert_eq!(place.kvfs_ok(["key", path.trim_end_matches('\n')]), format!("{long}\n"));
        assert_eq!(place.kvfs_ok(["path", "--hex", "61002f62ff"]).len(), "a%00/b?\n".len() + 2);
        assert_eq!(place.kvfs_ok(["key", "--hex", "a%00/b"]), "61002f62\n");
        assert_eq!(place.kvfs_ok(["path", "--separator", ":", "a:b/c"]), "a/b%2Fc\n");
        assert_eq!(place.kvfs_ok(["path", "--separator", "none", "a:b/c"]), "a:b%2Fc\n");
        assert_eq!(place.kvfs_ok(["key", "--separator", r"\x3a", "a/b%2Fc"]), "a:b/c\n");
        place.kvfs(["key", "x%more"]).sentence("a path that stands for no key");
        place.kvfs(["key", "--separator", "none", "a/b"]).sentence("a directory where keys are not split");
    });
}

#[test]
fn stores_are_listed_from_what_they_can_do() {
    watched(LIMIT, |place| {
        let table = place.kvfs_ok(["stores"]);
        for driver in kvfs::store::DRIVERS {
            assert!(table.contains(driver.about), "{table}");
            assert!(place.kvfs_ok(["stores", driver.kind]).contains(driver.about));
        }
        let sentence = place.kvfs(["stores", "nosuchkind"]).sentence("an unknown kind");
        assert!(sentence.contains("memory"), "{sentence}");
    });
}

#[test]
fn a_reader_that_has_enough_is_no_error_and_a_full_disk_is_one() {
    watched(LIMIT, |place| {
        let mut head = place.command("bash");
        head.args(["-c", r#"set -o pipefail; "$KVFS" stores | head -c 1; echo "${PIPESTATUS[0]}""#]);
        let finished = finish(&mut head);
        assert_eq!(finished.err, "");
        let full: Stdio = File::options().write(true).open("/dev/full").unwrap().into();
        let mut command: Command = place.command(binary());
        let output = command.arg("stores").stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("No space left"));
    });
}

#[test]
fn mount_8_and_fstab_find_a_helper() {
    watched(LIMIT, |place| {
        crate::harness::needs_root("mount(8)");
        let script = r#"
            ln -s "$KVFS" outside/mount.kvfs
            outside/mount.kvfs memory m -n -v -o rw,noatime,_netdev,nofail,x-systemd.automount,commit=close -t kvfs
            grep " $PLACE/m " /proc/self/mountinfo | grep -c 'fuse.kvfs memory rw'; echo 1 > m/f; umount m
            outside/mount.kvfs memory m -f; ls m | wc -l
            outside/mount.kvfs memory m -o ro; (touch m/f 2>&1 || true) | grep -o Read-only; umount m"#;
        let out = place.bash(place.folder(), script);
        assert_eq!(out, "1\n0\nRead-only\n");
        let mut helper = place.command(place.at("outside/mount.kvfs"));
        assert_eq!(finish(helper.args(["memory", "m", "-o", "sideways"])).code, 2);
    });
}
