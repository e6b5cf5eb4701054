//! The issue's bad input: one sentence that says what to do, an exit code, nothing created, nothing mounted.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{LIMIT, Place, binary, finish, mounts_below, needs_root, watched};

/// Everything below a folder, with kvfs's own folders left out.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == "runtime" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

/// Expects `kvfs mount` to fail with a sentence that has all of `words`, and to leave everything as it was.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], words: &[&str]) {
    let before = files(place.folder());
    let mounted = mounts_below(place.folder()).len();
    for foreground in [false, true] {
        let mut all = vec!["mount"];
        all.extend_from_slice(arguments);
        if foreground {
            all.push("--foreground");
        }
        let finished = place.kvfs(all);
        assert!(finished.code == 1 || finished.code == 2, "{arguments:?}: {finished:?}");
        let sentence = finished.sentence("bad input");
        for word in words {
            assert!(sentence.contains(word), "no {word:?} in {sentence:?}");
        }
        assert_eq!(files(place.folder()), before, "{arguments:?} left something behind");
        assert_eq!(mounts_below(place.folder()).len(), mounted, "{arguments:?} left a mount");
    }
}

#[test]
fn an_unknown_kind_lists_the_known_ones() {
    watched(LIMIT, |place| {
        refused(place, &["lmbd", "m"], &["lmbd", "memory", "kvfs stores"]);
        refused(place, &["lmbd:./store", "m"], &["lmbd", "memory", "kvfs stores"]);
        refused(place, &["nosuch://host/0", "m"], &["nosuch", "memory"]);
        refused(place, &["./nothing", "m"], &["nothing", "No such file"]);
        refused(place, &["memory:./x", "m"], &["memory", "no place"]);
        refused(place, &["memory:", "m"], &["memory"]);
        refused(place, &["--cache", "c", "memory", "m"], &["--cache", "memory"]);
        refused(place, &["", "m"], &["memory"]);
    });
}

/// §8.7
#[test]
fn an_unknown_url_is_not_repeated_with_its_password() {
    watched(LIMIT, |place| {
        let finished = place.kvfs(["mount", "nosuch://user:secret@host/0", "m"]);
        assert!(!finished.sentence("an unknown kind").contains("secret"));
    });
}

#[test]
fn a_mount_point_that_cannot_be_one_is_refused() {
    watched(LIMIT, |place| {
        fs::write(place.at("file"), "x").unwrap();
        fs::create_dir(place.at("full")).unwrap();
        fs::write(place.at("full/file"), "x").unwrap();
        std::os::unix::fs::symlink(place.at("nowhere"), place.at("link")).unwrap();
        refused(place, &["memory", "missing/below"], &["missing", "must exist"]);
        refused(place, &["memory", "file"], &["file", "not a directory"]);
        refused(place, &["memory", "file/below"], &["file"]);
        refused(place, &["memory", "full"], &["full", "not empty"]);
        refused(place, &["memory", "link"], &["link"]);
        refused(place, &["memory", "/proc/self/nothing"], &["/proc"]);
    });
}

/// §8.6
#[test]
fn kvfs_own_folders_are_no_mount_points() {
    watched(LIMIT, |place| {
        refused(place, &["memory", "state/below"], &["state", "own files"]);
        refused(place, &["memory", "runtime"], &["runtime", "own files"]);
        refused(place, &["memory", "."], &["own files"]);
        refused(place, &["memory", "m", "--save", "m/saved"], &["m/saved", "hidden"]);
    });
}

#[test]
fn a_busy_mount_point_is_refused_and_a_dead_one_cleaned_up() {
    watched(LIMIT, |place| {
        place.kvfs_ok(["mount", "memory", "m"]);
        refused(place, &["memory", "m"], &["m", "already", "kvfs unmount"]);
        let status = place.kvfs_ok(["status", "m", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let daemon = status["mounts"][0]["live"]["process"].as_i64().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon as i32), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        crate::harness::until(crate::harness::PATIENCE, "the daemon is dead", || {
            place.kvfs_ok(["status"]).contains("died").then_some(())
        });
        assert_ne!(place.kvfs(["status", "m"]).code, 0);
        place.kvfs_ok(["mount", "memory", "m"]);
        assert_eq!(mounts_below(&place.at("m")).len(), 1);
        assert_eq!(fs::read_dir(place.at("m")).unwrap().count(), 0);
        place.kvfs_ok(["unmount", "m"]);
        let sentence = place.kvfs(["unmount", "m"]).sentence("nothing to unmount");
        assert!(sentence.contains("not a mount of kvfs"), "{sentence}");
    });
}

#[test]
fn flags_that_a_store_does_not_have_are_refused() {
    watched(LIMIT, |place| {
        refused(place, &["memory", "m", "--load", "nothing.dump"], &["nothing.dump"]);
        refused(place, &["memory", "m", "--check"], &["nothing to check"]);
        refused(place, &["memory", "m", "--log", "kvfs=loud"], &["log level"]);
    });
}

#[test]
fn without_the_device_nothing_is_made() {
    watched(LIMIT, |place| {
        needs_root("hiding /dev/fuse");
        let before = files(place.folder());
        let hidden = r#"mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3; "$KVFS" mount memory m"#;
        let finished = finish(place.command("unshare").args(["--mount", "bash", "-c", hidden]));
        let sentence = finished.sentence("no /dev/fuse");
        assert!(sentence.contains("/dev/fuse") && sentence.contains("modprobe"), "{sentence}");
        assert_eq!(files(place.folder()), before);
    });
}

#[test]
fn without_the_right_to_mount_nothing_is_made() {
    watched(LIMIT, |place| {
        needs_root("giving up a capability");
        let before = files(place.folder());
        let mut command = place.command("setpriv");
        command.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]).arg(binary());
        let finished = finish(command.args(["mount", "memory", "m"]));
        let sentence = finished.sentence("no capability");
        assert!(sentence.contains("not permitted") && sentence.contains("SYS_ADMIN"), "{sentence}");
        assert_eq!(files(place.folder()), before);
        assert!(mounts_below(place.folder()).is_empty());
    });
}

#[test]
fn somebody_elses_runtime_folder_is_not_used() {
    watched(LIMIT, |place| {
        needs_root("giving a folder away");
        fs::set_permissions(place.at("runtime"), fs::Permissions::from_mode(0o777)).unwrap();
        std::os::unix::fs::chown(place.at("runtime"), Some(12345), None).unwrap();
        refused(place, &["memory", "m"], &["runtime", "somebody else"]);
    });
}
