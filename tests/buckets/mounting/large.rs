//! Objects of many parts: streamed in both directions.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::on_every_bucket;
use crate::LIMIT;
use crate::bucket::Bucket;
use crate::harness::{noise, same_bytes, watched};
use crate::server::Service;

on_every_bucket! {
    /// §3.2, §4.2.
    fn promise_3_2_large_objects_go_both_ways(bucket, mount) {
        let bytes = noise(7, 41 << 20);
        crate::harness::put(mount.at("large"), &bytes).unwrap();
        same_bytes("what others see", &bucket.get("large").unwrap(), &bytes);
        assert_eq!(bucket.uploads(), Vec::<String>::new());
        mount.remount();
        same_bytes("what is read", &std::fs::read(mount.at("large")).unwrap(), &bytes);
        let file = std::fs::File::open(mount.at("large")).unwrap();
        for n in 0..50_u64 {
            let at = n * 7_919 * 104_729 % (bytes.len() as u64 - 5000);
            let mut piece = vec![0; 5000];
            file.read_exact_at(&mut piece, at).unwrap();
            same_bytes("a piece", &piece, &bytes[at as usize..][..5000]);
        }
        mount.bash("cp large copy; mv copy moved; tail -c 1000 moved | cmp - <(tail -c 1000 large); rm large");
        same_bytes("the copy", &bucket.get("moved").unwrap(), &bytes);
    }

    /// What is not written from its beginning to its end arrives whole as well.
    fn promise_4_1_a_large_object_is_changed_in_its_middle(bucket, mount) {
        let mut bytes = noise(8, 20 << 20);
        bucket.put("large", &bytes);
        mount.bash("printf changed | dd of=large bs=1 seek=12345678 conv=notrunc status=none");
        bytes[12_345_678..][..7].copy_from_slice(b"changed");
        same_bytes("what others see", &bucket.get("large").unwrap(), &bytes);
        mount.bash("printf end >>large");
        bytes.extend_from_slice(b"end");
        same_bytes("what others see", &bucket.get("large").unwrap(), &bytes);
    }
}

/// An append to a long object costs what is appended, again and again, and its file can be renamed and removed meanwhile.
#[test]
fn promise_4_1_an_append_neither_fetches_nor_sends_what_is_there() {
    for service in [Service::Ceph, Service::Moto, Service::Google] {
        service.server();
        watched(LIMIT, move |place| {
            let bucket = Bucket::new(service);
            let mut bytes = noise(9, 24 << 20);
            bucket.put("d/log", &bytes);
            let proxy = bucket.proxy();
            let mount = bucket.mount_through(place, &proxy, &[]);
            assert_eq!(fs::metadata(mount.at("d/log")).unwrap().len(), bytes.len() as u64);
            proxy.forget();
            let mut log = OpenOptions::new().append(true).open(mount.at("d/log")).unwrap();
            for line in ["one\n", "two\n"] {
                log.write_all(line.as_bytes()).unwrap();
                log.sync_all().unwrap();
                bytes.extend_from_slice(line.as_bytes());
                same_bytes("what others see", &bucket.get("d/log").unwrap(), &bytes);
            }
            assert!(proxy.announced() < 1 << 20, "{service:?}: {:?}", proxy.requests());
            // What is in the bucket alone comes along.
            fs::rename(mount.at("d"), mount.at("e")).unwrap();
            log.write_all(b"three\n").unwrap();
            log.sync_all().unwrap();
            bytes.extend_from_slice(b"three\n");
            same_bytes("what others see", &bucket.get("e/log").unwrap(), &bytes);
            log.write_all(b"four\n").unwrap();
            bytes.extend_from_slice(b"four\n");
            let reader = File::open(mount.at("e/log")).unwrap();
            fs::remove_file(mount.at("e/log")).unwrap();
            let mut tail = [0; 1000];
            reader.read_exact_at(&mut tail, bytes.len() as u64 - 1000).unwrap();
            assert_eq!(tail, bytes[bytes.len() - 1000..], "{service:?}");
            drop((log, reader));
            assert_eq!(bucket.keys(), Vec::<String>::new(), "{service:?}");
            assert_eq!(bucket.uploads(), Vec::<String>::new(), "{service:?}");
        });
    }
}
