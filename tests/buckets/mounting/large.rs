//! Objects of many parts: streamed in both directions.

use super::on_every_bucket;
use crate::harness::{noise, same_bytes};

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
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut piece, at).unwrap();
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
