//! §4.1 and §4.8: room asked for ahead, ranges that become zeros, and where the holes are.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::fcntl::FallocateFlags as Flags;
use nix::unistd::{Whence, lseek};

use crate::harness::{PATIENCE, needs_kvfs, noise, on_every_mount, refused, same_bytes, skip, until};

const KEEP_SIZE: Flags = Flags::FALLOC_FL_KEEP_SIZE;
const ZERO: Flags = Flags::FALLOC_FL_ZERO_RANGE;

fn punching() -> Flags {
    Flags::FALLOC_FL_PUNCH_HOLE | KEEP_SIZE
}

fn fallocate(file: &File, flags: Flags, offset: i64, length: i64) -> io::Result<()> {
    nix::fcntl::fallocate(file, flags, offset, length).map_err(io::Error::from)
}

fn seek(file: &File, offset: i64, whence: Whence) -> io::Result<i64> {
    lseek(file, offset, whence).map_err(io::Error::from)
}

/// The pieces of data of a file, from end to end.
fn data(file: &File) -> Vec<(i64, i64)> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    while let Ok(from) = seek(file, at, Whence::SeekData) {
        at = seek(file, from, Whence::SeekHole).unwrap();
        pieces.push((from, at));
    }
    refused(libc::ENXIO, "data past the end", seek(file, at, Whence::SeekData));
    pieces
}

on_every_mount! {
    /// Small values and large ones; pages that were read before show it too
    fn promise_4_1_ranges_become_zeros(mount) {
        for (name, length) in [("small", 20_000), ("large", 5_000_000)] {
            let mut expected = noise(3, length);
            fs::write(mount.at(name), &expected).unwrap();
            let file = OpenOptions::new().read(true).write(true).open(mount.at(name)).unwrap();
            same_bytes("before", &fs::read(mount.at(name)).unwrap(), &expected);
            for (flags, offset, count) in [
                (punching(), 4_000, 9_000),
                (ZERO, 1, 10),
                (ZERO | KEEP_SIZE, length - 5, 100),
                (punching(), length + 10, 10),
                (ZERO, length - 100, 200),
                (Flags::empty(), 0, length + 300),
                (KEEP_SIZE, 0, length + 1000),
            ] {
                fallocate(&file, flags, offset as i64, count as i64).unwrap();
                let end = offset + count;
                if !flags.contains(KEEP_SIZE) && end > expected.len() {
                    expected.resize(end, 0);
                }
                if !(flags & (ZERO | punching()) & !KEEP_SIZE).is_empty() && offset < expected.len() {
                    let end = end.min(expected.len());
                    expected[offset..end].fill(0);
                }
                let mut found = vec![0; expected.len() + 10];
                let count = file.read_at(&mut found, 0).unwrap();
                let rest = file.read_at(&mut found[count..], count as u64).unwrap();
                same_bytes("by the handle", &found[..count + rest], &expected);
                assert_eq!(fs::metadata(mount.at(name)).unwrap().len(), expected.len() as u64);
            }
            drop(file);
            same_bytes("after the close", &fs::read(mount.at(name)).unwrap(), &expected);
        }
    }

    /// A mapping shows it at once
    fn promise_4_1_a_punched_hole_shows_in_a_mapping(mount) {
        let script = "import mmap, os\n\
            file = os.open('f', os.O_RDWR | os.O_CREAT)\n\
            os.write(file, b'x' * 3_000_000)\n\
            map = mmap.mmap(file, 3_000_000)\n\
            assert map[1_000_000] == 120\n\
            map[2_000_000] = 7\n\
            import ctypes\n\
            libc = ctypes.CDLL(None, use_errno=True)\n\
            call = libc.fallocate64 if hasattr(libc, 'fallocate64') else libc.fallocate\n\
            call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]\n\
            assert call(file, 3, 500_000, 1_000_000) == 0\n\
            assert map[1_000_000] == 0 and map[400_000] == 120 and map[2_000_000] == 7\n\
            map[1_000_001] = 9\n\
            map.flush()\n\
            os.close(file)\n";
        fs::write(mount.place.at("map.py"), script).unwrap();
        mount.bash("python3 \"$PLACE/map.py\"");
        let found = fs::read(mount.at("f")).unwrap();
        assert_eq!((found[400_000], found[1_000_000], found[1_000_001], found[2_000_000]), (120, 0, 9, 7));
    }

    /// What moves the bytes behind it, or makes no sense
    fn promise_4_1_what_no_value_can_do_is_refused(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), noise(1, 10_000)).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(mount.at("f")).unwrap();
        for flags in [Flags::FALLOC_FL_COLLAPSE_RANGE, Flags::FALLOC_FL_INSERT_RANGE, Flags::FALLOC_FL_UNSHARE_RANGE] {
            refused(libc::EOPNOTSUPP, "fallocate", fallocate(&file, flags, 4096, 4096));
        }
        refused(libc::EOPNOTSUPP, "a punch that may grow", fallocate(&file, Flags::FALLOC_FL_PUNCH_HOLE, 0, 10));
        refused(libc::EINVAL, "no length", fallocate(&file, Flags::empty(), 0, 0));
        let reader = File::open(mount.at("f")).unwrap();
        refused(libc::EBADF, "a handle for reading", fallocate(&reader, Flags::empty(), 0, 10));
        same_bytes("untouched", &fs::read(mount.at("f")).unwrap(), &noise(1, 10_000));
    }

    /// More than any machine has, at once
    fn promise_4_8_room_for_more_than_a_value_can_have_is_efbig(mount) {
        needs_kvfs();
        if mount.kind == crate::harness::Kind::Folder {
            skip("what a file can have, the disk of this machine may not");
        }
        let file = File::create_new(mount.at("f")).unwrap();
        refused(libc::EFBIG, "100 GiB", fallocate(&file, Flags::empty(), 0, 100 << 30));
        refused(libc::EFBIG, "100 GiB, of no length", fallocate(&file, KEEP_SIZE, 0, 100 << 30));
        assert_eq!(file.metadata().unwrap().len(), 0);
        // As much as fits takes neither memory nor disk until it is put.
        fallocate(&file, Flags::empty(), 0, 1 << 30).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1 << 30);
        let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 300 << 10, "{kib} KiB");
        file.set_len(10).unwrap();
        drop(file);
        assert_eq!(fs::read(mount.at("f")).unwrap(), [0; 10]);
    }

    /// Times tell of changed bytes
    fn promise_4_1_zeros_are_a_change(mount) {
        fs::write(mount.at("f"), noise(1, 10_000)).unwrap();
        let file = OpenOptions::new().write(true).open(mount.at("f")).unwrap();
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        for (flags, offset, changes) in [(punching(), 5, true), (ZERO, 50, true), (Flags::empty(), 10_000, true)] {
            file.set_modified(past).unwrap();
            let before = file.metadata().unwrap();
            assert_eq!(before.mtime(), 1_000);
            fallocate(&file, flags, offset, 10).unwrap();
            let after = file.metadata().unwrap();
            assert_eq!(after.mtime() != 1_000, changes);
            assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
        }
    }

    /// A value is one piece; a large file being written has the holes it was written with
    fn promise_4_1_holes_are_told(mount) {
        needs_kvfs();
        fs::write(mount.at("value"), noise(1, 5_000_000)).unwrap();
        fs::write(mount.at("empty"), "").unwrap();
        let value = File::open(mount.at("value")).unwrap();
        assert_eq!(data(&value), [(0, 5_000_000)]);
        assert_eq!(seek(&value, 17, Whence::SeekData).unwrap(), 17);
        for whence in [Whence::SeekData, Whence::SeekHole] {
            for offset in [5_000_000, 5_000_001, -1] {
                refused(libc::ENXIO, "past the end", seek(&value, offset, whence));
            }
            refused(libc::ENXIO, "of nothing", seek(&File::open(mount.at("empty")).unwrap(), 0, whence));
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(mount.at("f")).unwrap();
        file.write_all_at(&[1; 4096], 4 << 20).unwrap();
        file.set_len(8 << 20).unwrap();
        assert_eq!(data(&file), [(4 << 20, (4 << 20) + 4096)]);
        assert_eq!(data(&File::open(mount.at("f")).unwrap()), [(4 << 20, (4 << 20) + 4096)]);
        drop(file);
        // It lies in the store whole, once the kernel has told of the close.
        until(PATIENCE, "one piece", || {
            (data(&File::open(mount.at("f")).unwrap()) == [(0, 8 << 20)]).then_some(())
        });
    }

    /// `cp` looks for holes: bytes that a mapping changed must not be taken for one
    fn promise_4_1_a_changed_mapping_is_no_hole(mount) {
        let script = "import mmap, os, subprocess\n\
            file = os.open('f', os.O_RDWR | os.O_CREAT)\n\
            os.ftruncate(file, 8 << 20)\n\
            os.pwrite(file, b'x', 4 << 20)\n\
            map = mmap.mmap(file, 8 << 20)\n\
            map[1 << 20] = 7\n\
            subprocess.run(['cp', '--sparse=auto', 'f', 'g'], check=True)\n\
            copy = open('g', 'rb').read()\n\
            assert len(copy) == 8 << 20 and copy[1 << 20] == 7 and copy[4 << 20] == 120\n";
        fs::write(mount.place.at("map.py"), script).unwrap();
        mount.bash("python3 \"$PLACE/map.py\"");
    }

    /// `cp --sparse` and `dd conv=sparse` both ways
    fn promise_4_1_tools_that_know_holes(mount) {
        mount.bash(
            "truncate -s 6M sparse; dd if=/dev/urandom of=sparse bs=64K count=1 seek=40 conv=notrunc status=none
             for how in auto always never; do cp --sparse=$how sparse $how; cmp sparse $how; done
             cp --sparse=always sparse \"$PLACE/outside/x\"; cmp sparse \"$PLACE/outside/x\"
             cp --sparse=auto \"$PLACE/outside/x\" back; cmp sparse back
             dd if=sparse of=dd bs=4K conv=sparse status=none; cmp sparse dd
             tar cSf t.tar sparse; tar xOSf t.tar | cmp - sparse
             fallocate -l 100K new; test $(stat -c %s new) = 102400
             fallocate -p -o 64K -l 2M back; fallocate -d sparse; fallocate -z -o 0 -l 10 dd; cmp sparse always",
        );
    }
}
