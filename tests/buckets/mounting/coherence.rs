//! What other programs change is seen (§6), and an open file stays as it was (§3.1).

use std::io::{Read, Seek};

use super::on_every_bucket;
use crate::harness::{PATIENCE, noise, until};

on_every_bucket! {
    /// §6.1.
    fn promise_6_1_a_change_is_seen_at_the_next_open(bucket, mount) {
        bucket.put("k", "old");
        assert_eq!(std::fs::read(mount.at("k")).unwrap(), b"old");
        for n in 0..5 {
            let value = format!("new {n}").repeat(n + 1);
            bucket.put("k", &value);
            assert_eq!(std::fs::read_to_string(mount.at("k")).unwrap(), value);
        }
    }

    /// §6.2: names follow within the TTL.
    fn promise_6_2_names_follow(bucket, mount) {
        assert!(!mount.at("late").exists() && std::fs::read_dir(mount.point()).unwrap().count() == 0);
        bucket.put("late", "bytes");
        until(PATIENCE, "it is there", || mount.at("late").exists().then_some(()));
        until(PATIENCE, "it is listed", || (std::fs::read_dir(mount.point()).unwrap().count() == 1).then_some(()));
        bucket.delete("late");
        until(PATIENCE, "it has gone", || (!mount.at("late").exists()).then_some(()));
        until(PATIENCE, "it is unlisted", || (std::fs::read_dir(mount.point()).unwrap().count() == 0).then_some(()));
    }

    /// §3.1: one version, or ESTALE; never a mixture.
    fn promise_3_1_an_open_file_is_one_version(bucket, mount) {
        for size in [10, 300_000, 5 << 20] {
            let (old, new) = (noise(1, size), noise(2, size));
            bucket.put("k", &old);
            let mut open = std::fs::File::open(mount.at("k")).unwrap();
            let mut first = vec![0; 5];
            open.read_exact(&mut first).unwrap();
            bucket.put("k", &new);
            open.rewind().unwrap();
            let mut bytes = Vec::new();
            match open.read_to_end(&mut bytes) {
                Ok(_) => assert!(bytes == old, "{size} bytes: a mixture, or another version"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(nix::libc::ESTALE), "{size} bytes: {error}");
                    assert!(old.starts_with(&bytes), "{size} bytes: a mixture before ESTALE");
                }
            }
            assert!(std::fs::read(mount.at("k")).unwrap() == new, "{size} bytes: not the new version");
        }
    }

    /// §4.6: a write into what somebody else has replaced is refused, and kept.
    fn promise_4_6_a_partial_write_over_a_changed_object_is_stale(bucket, mount) {
        use std::io::Write;
        bucket.put("k", "original");
        let mut open = std::fs::File::options().append(true).open(mount.at("k")).unwrap();
        open.write_all(b" and more").unwrap();
        bucket.put("k", "by another program");
        crate::harness::refused(nix::libc::ESTALE, "the close", crate::harness::close(open));
        assert_eq!(bucket.get("k").unwrap(), b"by another program");
        // Until somebody takes or drops them: an unmount that is to wait for that does not.
        mount.place.kvfs([std::ffi::OsStr::new("unmount"), "--timeout".as_ref(), "0s".as_ref(), mount.point().as_os_str()]);
        mount.ended();
        assert!(mount.place.kvfs_ok(["recover", "list"]).contains('k'));
    }
}
