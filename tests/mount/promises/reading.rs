//! §3 Reading: one version, any order, maps.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use crate::harness::{Foreign, Kind, LIMIT, Mount, needs_kvfs, noise, on_every_mount, same_bytes, watched};

#[test]
fn promise_3_1_an_open_file_reads_one_version() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        for (round, length) in [(1, 3 << 20), (2, 100), (3, 5 << 20), (4, 0)] {
            let old = noise(round, 4 << 20);
            foreign.put("value", &old);
            let mut file = File::open(mount.at("value")).unwrap();
            let mut read = vec![0; 128 << 10];
            file.read_exact(&mut read).unwrap();
            foreign.put("value", noise(round + 100, length));
            foreign.put("other", "so that pages are used again");
            match file.read_to_end(&mut read) {
                Ok(_) => same_bytes("the version that was opened", &read, &old),
                // Allowed where a version was not kept; a mixture is not.
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{error}"),
            }
            assert_eq!(fs::read(mount.at("value")).unwrap(), noise(round + 100, length));
        }
    });
}

#[test]
fn promise_3_1_size_and_bytes_are_of_one_version_while_a_writer_goes_on() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("value", vec![0; 1000]);
        // Each version is its number, as often as its number says.
        for round in 1..=150_u16 {
            let byte = (round % 251) as u8;
            foreign.order(&format!(
                "put ={} ={}",
                hex::encode("value"),
                hex::encode(vec![byte; 1000 + 10 * usize::from(byte)])
            ));
            for _ in 0..4 {
                let mut file = File::open(mount.at("value")).unwrap();
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                let byte = bytes[0];
                assert!(bytes.iter().all(|&b| b == byte), "a mixture of versions");
                assert_eq!(bytes.len(), 1000 + 10 * usize::from(byte), "a version with another's size");
            }
            foreign.ask("get =00");
        }
    });
}

on_every_mount! {
    /// What one handle writes, another reads
    fn promise_3_1_writes_through_the_mount_are_seen_by_all_handles_at_once(mount) {
        let mut writer = File::options().read(true).write(true).create(true).truncate(true).open(mount.at("f")).unwrap();
        let reader = File::open(mount.at("f")).unwrap();
        writer.write_all(b"first").unwrap();
        let mut buffer = [0; 5];
        reader.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"first");
        writer.write_all_at(b"F", 0).unwrap();
        reader.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"First");
        writer.set_len(2).unwrap();
        assert_eq!(reader.read_at(&mut buffer, 0).unwrap(), 2);
        assert_eq!(reader.metadata().unwrap().len(), 2);
        assert_eq!(fs::metadata(mount.at("f")).unwrap().len(), 2);
    }
}

#[test]
fn promise_3_2_a_large_value_is_read_in_any_order_in_bounded_memory() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        const SIZE: usize = 256 << 20;
        foreign.ask(&format!("fill ={} 7 1 {SIZE}", hex::encode("large")));
        let anonymous = |process: i32| -> u64 {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let before = anonymous(mount.pid());
        let mut file = File::open(mount.at("large00000007")).unwrap();
        assert_eq!(file.metadata().unwrap().len(), SIZE as u64);
        let mut buffer = [0; 8192];
        let mut position: u64 = 1;
        for _ in 0..2000 {
            position =
                position.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let offset = (position >> 33) % (SIZE as u64 / 8192) * 8192;
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.read_exact(&mut buffer).unwrap();
            assert!(buffer.chunks(8).all(|chunk| chunk == b"00000007"));
        }
        let mut total = 0;
        file.rewind().unwrap();
        let mut large = vec![0; 1 << 20];
        loop {
            match file.read(&mut large).unwrap() {
                0 => break,
                length => total += length,
            }
        }
        assert_eq!(total, SIZE);
        let grown = anonymous(mount.pid()).saturating_sub(before);
        assert!(grown < 64 << 10, "reading 256 MiB took {grown} KiB");
    });
}

on_every_mount! {
    /// Maps for reading, private and shared; shared writable ones
    fn promise_3_3_mmap_for_reading_and_shared_writing(mount) {
        fs::write(mount.at("f"), noise(1, 100_000)).unwrap();
        mount.bash(r#"
            python3 - <<'PYTHON'
import mmap, os
content = open("f", "rb").read()
with open("f", "rb") as file:
    for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        with mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as view:
            assert view[:] == content
with open("f", "r+b") as file:
    with mmap.mmap(file.fileno(), 0) as one, mmap.mmap(file.fileno(), 0) as two:
        one[99_990:100_000] = b"0123456789"
        assert two[99_990:100_000] == b"0123456789"
        one.flush()
        assert os.pread(file.fileno(), 10, 99_990) == b"0123456789"
assert open("f", "rb").read() == content[:99_990] + b"0123456789"
PYTHON
        "#);
    }
}
