//! §4.1: copies inside a mount are made by the daemon, without a trip through the mount.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use crate::harness::{Mount, needs_kvfs, noise, on_every_mount, refused, same_bytes};

fn copy(from: &File, at: u64, to: &File, to_at: u64, length: usize) -> io::Result<usize> {
    let (mut at, mut to_at) = (at, to_at);
    rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), length).map_err(io::Error::from)
}

fn writable(mount: &Mount, name: &str) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(mount.at(name)).unwrap()
}

/// How many requests of these kinds `act` sends.
fn sent(mount: &Mount, act: impl FnOnce()) -> BTreeMap<String, u64> {
    let before = mount.requests();
    act();
    let mut after = mount.requests();
    after.iter_mut().for_each(|(name, count)| *count -= before.get(name).copied().unwrap_or(0));
    after
}

on_every_mount! {
    /// Counted: not a byte of 64 MiB is read or written through the mount
    fn promise_4_1_a_copy_sends_no_bytes(mount) {
        needs_kvfs();
        let value = noise(1, 64 << 20);
        fs::write(mount.at("f"), &value).unwrap();
        for command in ["cp f g", "cp --reflink=auto f g", "cp --sparse=auto f g", "cp -a f g"] {
            let requests = sent(mount, || drop(mount.bash(&format!("rm -f g; {command}"))));
            let count = |name: &str| requests.get(name).copied().unwrap_or(0);
            assert_eq!((count("read"), count("write")), (0, 0), "{command}: {requests:?}");
            assert!((1..10).contains(&count("copyfilerange")), "{command}: {requests:?}");
            same_bytes(command, &fs::read(mount.at("g")).unwrap(), &value);
        }
    }

    /// Parts, behind the end, within one file
    fn promise_4_1_parts_are_copied(mount) {
        let value = noise(2, 3_000_000);
        fs::write(mount.at("f"), &value).unwrap();
        let (from, to) = (File::open(mount.at("f")).unwrap(), writable(mount, "g"));
        assert_eq!(copy(&from, 1_000, &to, 5, 10_000).unwrap(), 10_000);
        assert_eq!(copy(&from, 2_999_990, &to, 20_000, 10_000).unwrap(), 10);
        assert_eq!(copy(&from, 3_000_000, &to, 0, 10).unwrap(), 0);
        let mut expected = vec![0; 20_010];
        expected[5..10_005].copy_from_slice(&value[1_000..11_000]);
        expected[20_000..].copy_from_slice(&value[2_999_990..]);
        assert_eq!(to.metadata().unwrap().len(), 20_010);
        assert_eq!(copy(&to, 0, &to, 100_000, 20_010).unwrap(), 20_010);
        expected.resize(100_000, 0);
        expected.extend_from_within(..20_010);
        drop(to);
        same_bytes("the parts", &fs::read(mount.at("g")).unwrap(), &expected);
    }

    /// As Linux has it
    fn promise_4_1_copies_that_are_refused(mount) {
        fs::write(mount.at("f"), noise(1, 100_000)).unwrap();
        let file = writable(mount, "f");
        for (from, to) in [(0, 0), (0, 5_000), (5_000, 0)] {
            refused(libc::EINVAL, "overlapping ranges", copy(&file, from, &file, to, 10_000));
        }
        let appending = OpenOptions::new().append(true).open(mount.at("f")).unwrap();
        refused(libc::EBADF, "a handle that appends", copy(&file, 0, &appending, 0, 10));
        let reading = File::open(mount.at("f")).unwrap();
        refused(libc::EBADF, "a handle that reads", copy(&file, 0, &reading, 0, 10));
        refused(libc::EISDIR, "a directory", copy(&File::open(mount.point()).unwrap(), 0, &file, 0, 10));
        same_bytes("untouched", &fs::read(mount.at("f")).unwrap(), &noise(1, 100_000));
    }

    /// Refused before a byte is copied
    fn promise_4_8_a_copy_past_the_limit_is_efbig(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), noise(1, 100_000)).unwrap();
        let (from, to) = (File::open(mount.at("f")).unwrap(), writable(mount, "g"));
        refused(libc::EFBIG, "at 16 TiB", copy(&from, 0, &to, 16 << 40, 100_000));
        assert_eq!(to.metadata().unwrap().len(), 0);
    }

    /// Pages and mappings of both files: what was changed in one is copied, what was read of the other is new
    fn promise_4_1_a_copy_meets_pages_and_mappings(mount) {
        let script = "import mmap, os\n\
            def open(name):\n\
            \x20   file = os.open(name, os.O_RDWR | os.O_CREAT)\n\
            \x20   os.pwrite(file, name.encode() * 2_000_000, 0)\n\
            \x20   return file, mmap.mmap(file, 2_000_000)\n\
            one, source = open('a')\n\
            two, target = open('b')\n\
            source[70_000] = 7\n\
            assert target[70_000] == 98\n\
            target[500_000] = 8\n\
            at = 0\n\
            while at < 400_000:\n\
            \x20   at += os.copy_file_range(one, two, 400_000 - at, at, at)\n\
            assert target[70_000] == 7 and target[399_999] == 97\n\
            assert target[400_000] == 98 and target[500_000] == 8\n\
            os.close(one); os.close(two)\n\
            target.close(); source.close()\n";
        fs::write(mount.place.at("map.py"), script).unwrap();
        mount.bash("python3 \"$PLACE/map.py\"");
        let found = fs::read(mount.at("b")).unwrap();
        assert_eq!((found[70_000], found[399_999], found[400_000], found[500_000]), (7, 97, 98, 8));
    }

    /// The source is a version: whoever writes it anew meanwhile changes nothing
    fn promise_3_1_a_copy_while_the_source_is_written_anew(mount) {
        let value = noise(3, 5_000_000);
        fs::write(mount.at("f"), &value).unwrap();
        let (from, to) = (File::open(mount.at("f")).unwrap(), writable(mount, "g"));
        assert_eq!(copy(&from, 0, &to, 0, 1_000_000).unwrap(), 1_000_000);
        fs::write(mount.at("new"), noise(4, 5_000_000)).unwrap();
        fs::rename(mount.at("new"), mount.at("f")).unwrap();
        let mut at = 1_000_000;
        while at < value.len() {
            at += copy(&from, at as u64, &to, at as u64, value.len()).unwrap();
        }
        drop(to);
        same_bytes("the copy", &fs::read(mount.at("g")).unwrap(), &value);
    }

    /// By Python's own means
    fn promise_4_1_python_copies(mount) {
        fs::write(mount.at("f"), noise(5, 3_000_000)).unwrap();
        mount.bash("python3 -c 'import shutil; shutil.copyfile(\"f\", \"g\"); shutil.copy2(\"f\", \"h\")'; cmp f g; cmp f h");
        let file = File::open(mount.at("f")).unwrap();
        let mut bytes = vec![0; 3_000_000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        same_bytes("the source", &bytes, &noise(5, 3_000_000));
    }
}
