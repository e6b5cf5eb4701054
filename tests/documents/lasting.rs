//! What lasts: two mounts of one file, another program beside it, a kill at any moment, a full disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::Duration;

use kvfs::env::Deadline;

use crate::harness::{finish, needs_root, within};
use crate::{mount, with_document};

#[test]
fn two_mounts_and_another_program_lose_nothing_of_each_other() {
    with_document("{\"theirs\": 0}", |one, path| {
        let other = mount(&one.place, "other", &[]);
        std::thread::scope(|scope| {
            scope.spawn(|| one.bash("for n in $(seq 30); do echo $n > a$n; done"));
            scope.spawn(|| other.bash("for n in $(seq 30); do echo $n > b$n; done"));
        });
        let text: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(text.as_object().unwrap().len(), 61, "{text}");
        assert!((1..=30).all(|n| text[format!("a{n}")] == n && text[format!("b{n}")] == n), "{text}");
        let text = fs::read_to_string(&path).unwrap().replace("\"theirs\": 0", "\"theirs\": 17");
        fs::write(&path, text).unwrap();
        for mount in [&*one, &other] {
            let seen = || (mount.bash("cat theirs") == "17").then_some(());
            within(Duration::from_secs(3), seen).expect("what another program wrote is seen");
        }
        one.bash("echo 5 > a1");
        assert!(fs::read_to_string(&path).unwrap().contains("\"theirs\": 17"));
    });
}

#[test]
fn promise_4_6_a_part_that_another_program_changed_meanwhile_is_refused_and_the_bytes_are_kept() {
    with_document("{\"a\": \"one\", \"b\": 1}", |mount, path| {
        let told = mount.bash(&format!(
            "python3 - <<'SCRIPT'
import os, json
file = os.open('a', os.O_RDWR)
os.pwrite(file, b'X', 0)
document = json.load(open('{0}'))
document['a'] = 'two'
json.dump(document, open('{0}', 'w'))
try:
    os.close(file)
except OSError as error:
    print(error.errno)
SCRIPT",
            path.display()
        ));
        assert_eq!(told.trim(), (nix::errno::Errno::ESTALE as i32).to_string());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\": \"two\", \"b\": 1}");
        mount.unmount();
        assert!(mount.log().contains("kvfs recover save"), "{}", mount.log());
        let kept = mount.place.kvfs_ok(["recover", "list"]);
        assert!(kept.contains("json:"), "{kept}");
    });
}

#[test]
fn a_document_that_is_broken_for_a_while_comes_back() {
    with_document("{\"a\": 1}", |mount, path| {
        fs::write(&path, "{\"a\": ").unwrap();
        let refused = || fs::write(mount.at("b"), "2").is_err().then_some(());
        within(Duration::from_secs(3), refused).expect("nothing is written over it");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\": ");
        assert!(mount.log().contains("line 1, column 7"), "{}", mount.log());
        fs::write(&path, "{\"a\": 3}").unwrap();
        within(Duration::from_secs(3), || (mount.bash("cat a 2>/dev/null || true") == "3").then_some(()))
            .unwrap();
    });
}

#[test]
fn promise_8_3_a_kill_at_any_moment_leaves_a_whole_document_with_all_that_was_closed() {
    with_document("{\"filler\": {}}", |mount, path| {
        let filler: serde_json::Map<_, _> =
            (0..50_000).map(|n| (format!("n{n}"), serde_json::Value::from("x".repeat(40)))).collect();
        fs::write(&path, serde_json::json!({ "filler": filler }).to_string()).unwrap();
        let mut last = 0;
        for round in 1..=8_u64 {
            let mut command = mount.place.command("bash");
            let script = format!(
                "n={last}; while n=$((n+1)); python3 -c \"
import os
f = os.open('seen', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(f, b'$n'); os.close(f)\" 2>/dev/null; do echo $n > $OUTSIDE/closed; done"
            );
            let mut writer = command
                .current_dir(mount.point())
                .arg("-c")
                .arg(script)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Deadline::after(Duration::from_millis(300 + round * 37));
            within(Duration::from_secs(5), || deadline.passed().then_some(()));
            mount.kill();
            writer.wait().unwrap();
            let closed = fs::read_to_string(mount.place.at("outside/closed")).unwrap_or_default();
            let closed: u64 = closed.trim().parse().unwrap_or(0);
            let text: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(text["filler"].as_object().unwrap().len(), 50_000);
            let seen = text["seen"].as_u64().unwrap_or(0);
            assert!(seen >= closed, "closed {closed}, and {seen} is there");
            last = seen.max(closed);
            mount.start();
        }
        assert!(last > 0, "something was written");
        let left = fs::read_dir(mount.place.folder()).unwrap().flatten();
        let left = left.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".kvfs")).count();
        assert_eq!(left, 0, "nothing is left of what was not finished");
    });
}

#[test]
fn promise_8_4_a_full_disk_leaves_the_old_document() {
    with_document("{}", |mount, _| {
        needs_root("a disk of its own");
        mount.unmount();
        let place = mount.place.clone();
        place.bash(place.folder(), "mkdir disk && mount -t tmpfs -o size=256k tmpfs disk");
        let path = place.at("disk/d.json");
        let text = format!("{{\"a\": 1, \"filler\": \"{}\"}}", "x".repeat(100 << 10));
        fs::write(&path, &text).unwrap();
        fs::write(place.at("disk/full"), vec![0; 120 << 10]).unwrap();
        {
            let mut small = crate::harness::Mount::of(
                &place,
                crate::harness::Kind::Document,
                path.clone().into(),
                "small",
                &[],
            );
            let told = finish(place.command("python3").arg("-c").arg(format!(
                "import os
f = os.open('{}', os.O_WRONLY | os.O_TRUNC)
os.write(f, b'2')
try: os.close(f)
except OSError as error: print(error.errno)",
                small.at("a").display()
            )));
            assert_eq!(told.out.trim(), (nix::errno::Errno::ENOSPC as i32).to_string(), "{told:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            fs::remove_file(place.at("disk/full")).unwrap();
            small.unmount();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text.replacen("\"a\": 1", "\"a\": 2", 1));
        place.bash(place.folder(), "umount disk");
    });
}

#[test]
fn mode_owner_links_and_attributes_of_the_file_stay() {
    with_document("{\"a\": 1}", |mount, path| {
        mount.unmount();
        let place = mount.place.clone();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        xattr::set(&path, "user.origin", b"npm").unwrap();
        std::os::unix::fs::symlink("config.json", place.at("link.json")).unwrap();
        let source = place.at("link.json").into();
        let mut linked =
            crate::harness::Mount::of(&place, crate::harness::Kind::Document, source, "linked", &[]);
        linked.bash("echo 2 > a");
        linked.unmount();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\": 2}");
        assert!(fs::symlink_metadata(place.at("link.json")).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(xattr::get(&path, "user.origin").unwrap().unwrap(), b"npm");
        fs::hard_link(&path, place.at("second.json")).unwrap();
        let mut twice = crate::mount(&place, "twice", &[]);
        twice.bash("(echo 3 > a) 2>/dev/null && exit 1; cat a");
        assert!(twice.log().contains("hard link"), "{}", twice.log());
        twice.unmount();
    });
}
