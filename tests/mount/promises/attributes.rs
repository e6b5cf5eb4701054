//! §5.6 to §5.9: inode numbers, xattrs of kvfs, statfs, locks.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use crate::harness::{Foreign, Kind, LIMIT, Mount, PATIENCE, needs_kvfs, on_every_mount, until, watched};

#[test]
fn promise_5_6_inode_numbers_are_the_same_across_remounts() {
    watched(LIMIT, |place| {
        needs_kvfs();
        for kind in [Kind::InPlace, Kind::Apart] {
            let point = if kind == Kind::InPlace { "in-place" } else { "apart" };
            let mut source = std::ffi::OsString::from("lmdb");
            if kind == Kind::Apart {
                source = format!("lmdb:{}", place.at("store").display()).into();
            }
            let mut mount = Mount::of(place, kind, source, point, &[]);
            fs::create_dir(mount.at("d")).unwrap();
            for name in ["a", "b", "d/c"] {
                fs::write(mount.at(name), name).unwrap();
            }
            let numbers = |mount: &Mount| {
                ["a", "b", "d", "d/c"].map(|name| fs::metadata(mount.at(name)).unwrap().ino())
            };
            let before = numbers(&mount);
            mount.remount();
            assert_eq!(numbers(&mount), before);
            let listed: Vec<u64> = fs::read_dir(mount.point())
                .unwrap()
                .map(|entry| std::os::unix::fs::DirEntryExt::ino(&entry.unwrap()))
                .collect();
            assert!(before[..3].iter().all(|number| listed.contains(number)), "{before:?} in {listed:?}");
        }
    });
}

on_every_mount! {
    /// While the kernel knows the file
    fn promise_5_6_a_renamed_file_keeps_its_number(mount) {
        fs::write(mount.at("a"), "1").unwrap();
        let file = File::open(mount.at("a")).unwrap();
        let number = fs::metadata(mount.at("a")).unwrap().ino();
        fs::rename(mount.at("a"), mount.at("b")).unwrap();
        assert_eq!(fs::metadata(mount.at("b")).unwrap().ino(), number);
        fs::write(mount.at("a"), "2").unwrap();
        assert_ne!(fs::metadata(mount.at("a")).unwrap().ino(), number, "two live files with one number");
        assert_eq!(file.metadata().unwrap().ino(), number);
    }

    /// What the store knows of a value
    fn promise_5_7_xattrs_show_what_the_store_knows(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), "one").unwrap();
        let get = |name: &str| xattr::get(mount.at("f"), name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(get("user.kvfs.key").as_deref(), Some(&b"f"[..]));
        let version = get("user.kvfs.version").expect("a version");
        // Not listed: whoever copies all attributes would try to set them on the copy.
        let names: Vec<_> = xattr::list(mount.at("f")).unwrap().collect();
        assert!(names.is_empty(), "{names:?}");
        fs::write(mount.at("f"), "two").unwrap();
        assert_ne!(get("user.kvfs.version").expect("a version"), version);
        assert_eq!(get("user.kvfs.no-such-thing"), None);
    }

    /// Real figures where the store has them, at once
    fn promise_5_8_statfs_answers(mount) {
        let figures = nix::sys::statvfs::statvfs(mount.point()).unwrap();
        assert!(figures.block_size() > 0);
        assert!(figures.name_max() >= 255);
        if mount.kind != Kind::Memory {
            assert!(figures.blocks() > 0 && figures.blocks_free() > 0);
        }
    }

    /// flock between processes
    fn promise_5_9_flock_between_processes(mount) {
        mount.bash(r#"
            touch lock
            exec 9< lock
            flock -x 9
            ! flock -n -x lock true
            ! flock -n -s lock true
            flock -u 9
            flock -n -x lock true
            flock -s 9
            flock -n -s lock true
            ! flock -n -x lock true
        "#);
    }

    /// fcntl locks on ranges
    fn promise_5_9_fcntl_locks_between_processes(mount) {
        mount.bash(r#"
            python3 - <<'PYTHON'
import fcntl, os
file = open("lock", "w+b")
fcntl.lockf(file, fcntl.LOCK_EX, 100, 0)
def other(start):
    child = os.fork()
    if child == 0:
        try:
            mine = open("lock", "r+b")
            fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, start)
            os._exit(0)
        except BlockingIOError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not other(50)
assert other(100)
fcntl.lockf(file, fcntl.LOCK_UN, 100, 0)
assert other(50)
PYTHON
        "#);
    }
}

on_every_mount! {
    /// Locks of an open file, which other descriptors meet in the same process too
    fn promise_5_9_locks_of_open_files(mount) {
        mount.bash(r#"
            python3 - <<'PYTHON'
import errno, fcntl, os, struct
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
def lock(file, kind, start, length):
    try:
        fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", kind, 0, start, length, 0))
        return True
    except OSError as error:
        assert error.errno == errno.EAGAIN, error
        return False
one = os.open("lock", os.O_RDWR | os.O_CREAT)
two = os.open("lock", os.O_RDWR)
assert lock(one, fcntl.F_WRLCK, 0, 100)
assert not lock(two, fcntl.F_WRLCK, 50, 10) and lock(two, fcntl.F_RDLCK, 100, 10)
found = struct.unpack("hhqqi4x", fcntl.fcntl(two, F_OFD_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0)))
assert found[:4] == (fcntl.F_WRLCK, 0, 0, 100), found
child = os.fork()
if child == 0:
    three = os.open("lock", os.O_RDWR)
    # The descriptor that was inherited is the same open file, another one is not.
    os._exit(0 if lock(one, fcntl.F_WRLCK, 0, 100) and not lock(three, fcntl.F_RDLCK, 0, 1) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
os.close(one)
assert lock(two, fcntl.F_WRLCK, 0, 0)
PYTHON
        "#);
    }
}

#[test]
fn promise_5_8_statfs_answers_while_a_put_waits() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &["--timeout", "3s"]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.hold();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut file = File::create(mount.at("f"))?;
                file.write_all(b"waits")?;
                crate::harness::close(file)
            });
            let mut answers = 0;
            until(PATIENCE, "the put has ended", || {
                nix::sys::statvfs::statvfs(mount.point()).unwrap();
                answers += 1;
                writer.is_finished().then_some(())
            });
            assert!(answers > 10, "statfs answered {answers} times while the put waited");
            assert!(writer.join().unwrap().is_err(), "the put cannot have succeeded");
        });
        foreign.release();
    });
}
