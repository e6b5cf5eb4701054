//! §4.1: every ordinary way of writing, seen through file handles.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::harness::{needs_kvfs, noise, on_every_mount, refused, same_bytes};

on_every_mount! {
    /// Create, overwrite, empty files
    fn promise_4_1_create_and_overwrite(mount) {
        for content in [&b"first"[..], b"a longer second", b"3", b""] {
            fs::write(mount.at("f"), content).unwrap();
            assert_eq!(fs::read(mount.at("f")).unwrap(), content);
            assert_eq!(fs::metadata(mount.at("f")).unwrap().len(), content.len() as u64);
        }
        File::create(mount.at("empty")).unwrap();
        assert_eq!(fs::metadata(mount.at("empty")).unwrap().len(), 0);
        refused(libc::EISDIR, "writing a directory", fs::write(mount.point(), "x"));
    }

    /// O_APPEND, from two handles
    fn promise_4_1_append(mount) {
        let open = || OpenOptions::new().append(true).create(true).open(mount.at("log")).unwrap();
        let (mut one, mut two) = (open(), open());
        for number in 0..200 {
            let handle = if number % 2 == 0 { &mut one } else { &mut two };
            writeln!(handle, "line {number}").unwrap();
        }
        drop((one, two));
        let expected: String = (0..200).map(|number| format!("line {number}\n")).collect();
        assert_eq!(fs::read_to_string(mount.at("log")).unwrap(), expected);
    }

    /// pwrite anywhere, in any order
    fn promise_4_1_write_at_any_offset(mount) {
        let mut expected = noise(1, 3_000_000);
        fs::write(mount.at("f"), &expected).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(mount.at("f")).unwrap();
        for (number, offset) in [2_999_999, 0, 4095, 1_500_000, 4096, 131_071, 2_000_000, 7].into_iter().enumerate() {
            let bytes = noise(number as u64 + 10, 1 + number * 5000);
            file.write_all_at(&bytes, offset as u64).unwrap();
            expected.resize(expected.len().max(offset + bytes.len()), 0);
            expected[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        let mut found = vec![0; expected.len()];
        file.read_exact_at(&mut found, 0).unwrap();
        same_bytes("before the close", &found, &expected);
        drop(file);
        same_bytes("after the close", &fs::read(mount.at("f")).unwrap(), &expected);
    }

    /// Shorter, longer, by handle and by path
    fn promise_4_1_truncate_both_ways(mount) {
        let content = noise(2, 200_000);
        fs::write(mount.at("f"), &content).unwrap();
        let file = OpenOptions::new().write(true).open(mount.at("f")).unwrap();
        file.set_len(100_001).unwrap();
        assert_eq!(fs::metadata(mount.at("f")).unwrap().len(), 100_001);
        file.set_len(300_000).unwrap();
        drop(file);
        let mut expected = content[..100_001].to_vec();
        expected.resize(300_000, 0);
        same_bytes("by handle", &fs::read(mount.at("f")).unwrap(), &expected);
        nix::unistd::truncate(&mount.at("f"), 50_000).unwrap();
        nix::unistd::truncate(&mount.at("f"), 60_000).unwrap();
        expected.truncate(50_000);
        expected.resize(60_000, 0);
        same_bytes("by path", &fs::read(mount.at("f")).unwrap(), &expected);
    }

    /// A hole reads as zeros, at once and later
    fn promise_4_1_sparse_holes(mount) {
        let file = File::create_new(mount.at("f")).unwrap();
        file.write_all_at(b"end", 5_000_000).unwrap();
        file.write_all_at(b"start", 10).unwrap();
        drop(file);
        let mut expected = vec![0; 5_000_003];
        expected[10..15].copy_from_slice(b"start");
        expected[5_000_000..].copy_from_slice(b"end");
        same_bytes("a sparse file", &fs::read(mount.at("f")).unwrap(), &expected);
    }

    /// One of many creators wins
    fn promise_4_1_o_excl(mount) {
        File::create_new(mount.at("lock")).unwrap();
        refused(libc::EEXIST, "O_EXCL", File::create_new(mount.at("lock")));
        fs::create_dir(mount.at("d")).unwrap();
        refused(libc::EEXIST, "O_EXCL", File::create_new(mount.at("d")));
        for round in 0..20 {
            let path = mount.at(format!("race{round}"));
            let winners: usize = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..4).map(|_| scope.spawn(|| usize::from(File::create_new(&path).is_ok()))).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(winners, 1);
        }
    }

    /// O_TRUNC, also while another handle reads
    fn promise_4_1_o_trunc(mount) {
        fs::write(mount.at("f"), "something long").unwrap();
        let other = File::open(mount.at("f")).unwrap();
        let mut file = File::create(mount.at("f")).unwrap();
        assert_eq!(other.metadata().unwrap().len(), 0);
        file.write_all(b"new").unwrap();
        drop(file);
        let mut found = [0; 20];
        assert_eq!(other.read_at(&mut found, 0).unwrap(), 3);
        assert_eq!(&found[..3], b"new");
        File::create(mount.at("f")).unwrap();
        assert_eq!(fs::read(mount.at("f")).unwrap(), b"");
    }

    /// They share one buffer
    fn promise_4_1_several_handles_on_one_file(mount) {
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(mount.at("f")).unwrap();
        let handles: Vec<File> = (0..8).map(|_| open()).collect();
        for (number, handle) in handles.iter().enumerate() {
            handle.write_all_at(&[b'a' + number as u8; 1000], number as u64 * 1000).unwrap();
        }
        for handle in &handles {
            let mut found = vec![0; 8000];
            handle.read_exact_at(&mut found, 0).unwrap();
            assert!(found.chunks(1000).zip(b'a'..).all(|(chunk, byte)| chunk.iter().all(|&b| b == byte)));
        }
        drop(handles);
        assert_eq!(fs::read(mount.at("f")).unwrap().len(), 8000);
    }

    /// The handles read and write on, and nothing reaches the store
    fn promise_4_1_unlink_while_open(mount) {
        fs::write(mount.at("f"), "before").unwrap();
        let mut file = OpenOptions::new().read(true).write(true).open(mount.at("f")).unwrap();
        fs::remove_file(mount.at("f")).unwrap();
        refused(libc::ENOENT, "stat", fs::metadata(mount.at("f")));
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        let mut found = String::new();
        file.read_to_string(&mut found).unwrap();
        assert_eq!(found, "before");
        file.write_all(b" and after").unwrap();
        file.rewind().unwrap();
        found.clear();
        file.read_to_string(&mut found).unwrap();
        assert_eq!(found, "before and after");
        fs::write(mount.at("f"), "another").unwrap();
        file.set_len(3).unwrap();
        drop(file);
        assert_eq!(fs::read(mount.at("f")).unwrap(), b"another");
        assert_eq!(mount.bash("ls -A"), "f\n", "no trace of the unlinked file");
    }

    /// Replaces the value; the old file lives on in its handles
    fn promise_4_1_rename_over_an_existing_file(mount) {
        fs::write(mount.at("new"), "new").unwrap();
        fs::write(mount.at("old"), "old").unwrap();
        let old = File::open(mount.at("old")).unwrap();
        fs::rename(mount.at("new"), mount.at("old")).unwrap();
        assert_eq!(fs::read(mount.at("old")).unwrap(), b"new");
        let mut found = [0; 3];
        old.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"old");
        drop(old);
        assert_eq!(mount.bash("ls -A"), "old\n");
        fs::create_dir(mount.at("d")).unwrap();
        refused(libc::EISDIR, "a file over a directory", fs::rename(mount.at("old"), mount.at("d")));
        refused(libc::ENOTDIR, "a directory over a file", fs::rename(mount.at("d"), mount.at("old")));
        refused(libc::ENOENT, "nothing", fs::rename(mount.at("none"), mount.at("old")));
    }

    /// The handle follows the file to its new name
    fn promise_4_1_rename_while_open(mount) {
        let mut file = File::create(mount.at("before")).unwrap();
        file.write_all(b"one ").unwrap();
        fs::create_dir(mount.at("d")).unwrap();
        fs::rename(mount.at("before"), mount.at("d/after")).unwrap();
        file.write_all(b"two").unwrap();
        drop(file);
        assert_eq!(fs::read(mount.at("d/after")).unwrap(), b"one two");
        refused(libc::ENOENT, "the old name", fs::metadata(mount.at("before")));
        let mut file = OpenOptions::new().append(true).open(mount.at("d/after")).unwrap();
        file.write_all(b" three").unwrap();
        fs::rename(mount.at("d"), mount.at("e")).unwrap();
        file.write_all(b" four").unwrap();
        drop(file);
        assert_eq!(fs::read(mount.at("e/after")).unwrap(), b"one two three four");
        refused(libc::ENOENT, "the old folder", fs::metadata(mount.at("d")));
    }

    /// RENAME_NOREPLACE, RENAME_EXCHANGE: done or refused, never half done
    fn promise_4_1_rename_with_flags(mount) {
        fs::write(mount.at("a"), "a").unwrap();
        fs::write(mount.at("b"), "b").unwrap();
        let here = nix::fcntl::AT_FDCWD;
        let (a, b, c) = (mount.at("a"), mount.at("b"), mount.at("c"));
        let flags = nix::fcntl::RenameFlags::RENAME_NOREPLACE;
        assert_eq!(nix::fcntl::renameat2(here, &a, here, &b, flags), Err(nix::errno::Errno::EEXIST));
        nix::fcntl::renameat2(here, &a, here, &c, flags).unwrap();
        assert_eq!((fs::read(&b).unwrap(), fs::read(&c).unwrap()), (b"b".to_vec(), b"a".to_vec()));
        match nix::fcntl::renameat2(here, &b, here, &c, nix::fcntl::RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => assert_eq!((fs::read(&b).unwrap(), fs::read(&c).unwrap()), (b"a".to_vec(), b"b".to_vec())),
            Err(_) => assert_eq!((fs::read(&b).unwrap(), fs::read(&c).unwrap()), (b"b".to_vec(), b"a".to_vec())),
        }
    }

    /// EPERM, as 5.2 says of links and devices
    fn promise_4_1_hard_links_and_devices_are_refused(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), "1").unwrap();
        refused(libc::EPERM, "link", fs::hard_link(mount.at("f"), mount.at("g")));
        let made = nix::sys::stat::mknod(
            &mount.at("device"),
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::from_bits_truncate(0o600),
            nix::sys::stat::makedev(1, 3),
        );
        assert_eq!(made, Err(nix::errno::Errno::EPERM));
        assert_eq!(mount.bash("ls -A"), "f\n");
    }
}
