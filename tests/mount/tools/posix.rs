//! pjdfstest: 398 tests of what POSIX asks of a file system, as root and as ordinary users. `posix.txt` names those that
//! fail, with the reasons; on ext4 none does. Run apart, for the answers in full:
//! `pjdfstest -c CONFIG -p MOUNT -s /dev/shm [PATTERN]`, with the configuration below.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Kind, Mount, Place, finish, needs_root, plain, skip, tool, watched};

/// What is expected to fail, under its reasons.
const FAILING: &str = include_str!("posix.txt");

/// How long a run may take; a value of 2 GiB is copied and hashed in it.
const LIMIT: Duration = Duration::from_secs(600);

/// So many tests there are, and so many of them remount.
const TESTS: usize = 398;
const OF_READ_ONLY: usize = 13;

/// Users that every Debian has, each in the group of its name, and all that ext4 has too.
const CONFIGURATION: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
allow_remount = REMOUNTS
[dummy_auth]
entries = [["daemon", "daemon"], ["bin", "bin"]]
"#;

/// The tests that are to fail on `store`, and why.
fn expected(store: &str) -> BTreeMap<&'static str, &'static str> {
    let mut tests = BTreeMap::new();
    let mut reason = None;
    for line in FAILING.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(heading) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let (only, why) = heading
                .split_once(": ")
                .filter(|(only, _)| matches!(*only, "lmdb" | "folder"))
                .unwrap_or((store, heading));
            reason = (only == store).then_some(why);
        } else if let Some(reason) = reason {
            tests.insert(line, reason);
        }
    }
    tests
}

fn conforms(kind: Kind, store: &'static str) {
    watched(LIMIT, move |place| {
        needs_root("pjdfstest");
        if plain() && kind != Kind::Memory {
            skip("one plain folder is like another");
        }
        // Ordinary users pass through here.
        for folder in [place.folder().to_owned(), place.at("outside")] {
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }
        let mount = Mount::new(place, kind, &["--allow-other"]);
        let expected = if plain() { BTreeMap::new() } else { expected(store) };
        compare(&run(&mount, false), TESTS, expected);
        if !plain() {
            // In a run of their own, since the others leave files open, with which no file system is remounted.
            let mut said = run(&mount, true);
            // A file of the test before may still be being closed, on a machine with much to do.
            if said.contains("mount point is busy") {
                said = run(&mount, true);
            }
            compare(&said, OF_READ_ONLY, BTreeMap::new());
        }
    });
}

/// What pjdfstest prints of all tests, or of those that make the mount read-only for a moment.
fn run(mount: &Mount, read_only: bool) -> String {
    let place = &mount.place;
    let configuration = place.at("pjdfstest.toml");
    fs::write(&configuration, CONFIGURATION.replace("REMOUNTS", &read_only.to_string())).unwrap();
    let mut command = place.command(tool("bin/pjdfstest"));
    command.arg("-c").arg(configuration).arg("-p").arg(mount.point());
    // Another file system, to which nothing can be renamed.
    command.args(["-s", "/dev/shm"]).envs([("NO_COLOR", "1"), ("RUST_BACKTRACE", "0")]);
    if read_only {
        command.arg("::erofs_");
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", remounting(place).display()));
    }
    finish(&mut command).out
}

/// A folder with a `mount` that remounts without asking the file system's own helper.
fn remounting(place: &Place) -> PathBuf {
    let folder = place.at("bin");
    fs::create_dir(&folder).unwrap();
    let command = folder.join("mount");
    fs::write(&command, "#!/bin/sh\nexec /bin/mount -i \"$@\"\n").unwrap();
    fs::set_permissions(command, Permissions::from_mode(0o755)).unwrap();
    folder
}

fn compare(out: &str, tests: usize, mut expected: BTreeMap<&str, &str>) {
    let mut wrong = Vec::new();
    let mut found = 0;
    let mut lines = out.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((test, outcome)) = line.split_once(' ').filter(|(test, _)| test.contains("::")) else {
            continue;
        };
        found += 1;
        let said = lines.peek().map_or("", |line| line.trim());
        match (outcome.trim(), expected.remove(test)) {
            ("ok", None) | ("FAILED", Some(_)) => {}
            // The kernel has the daemon truncate at `open(O_RDONLY|O_TRUNC)` (`FUSE_ATOMIC_O_TRUNC`) before it looks whether the
            // file is executed. The program dies of that, and where it is dead before the kernel looks, the open succeeds.
            ("FAILED", None) if test == "open::etxtbsy" && said.contains("`Ok` value") => {}
            ("ok", Some(reason)) => wrong.push(format!("{test} passes, though: {reason}")),
            // FUSE tells no limit of links.
            ("skipped", None) if test == "link::link_count_max" => {}
            ("skipped", None) if test.contains("::erofs_") && tests == TESTS => {}
            (outcome, _) => wrong.push(format!("{test} {outcome}: {said}")),
        }
    }
    wrong.extend(expected.keys().map(|test| format!("there is no {test}")));
    assert!(wrong.is_empty(), "{} of {found}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(found, tests, "{out}");
}

#[test]
fn posix_on_memory() {
    conforms(Kind::Memory, "memory");
}

#[test]
fn posix_on_folder() {
    conforms(Kind::Folder, "folder");
}

#[test]
fn posix_on_lmdb() {
    conforms(Kind::Apart, "lmdb");
}
