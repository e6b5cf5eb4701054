//! fsx: random operations on one file, each read compared with a model. `scripts/exercise` runs a million of each
//! variant.

use std::time::Duration;

use crate::harness::{Finished, Kind, Mount, finish, operations, tool};

/// Operations of one run, unless `KVFS_TEST_OPERATIONS` says otherwise.
const OPERATIONS: u64 = 20_000;

/// The rate below which a run is given up, in operations a second: a debug build on a busy machine does ten times that.
const SLOWEST: u64 = 50;

/// How large the file and each operation may be; reserving no bytes at all is EINVAL, on every file system.
const SIZES: &str = "flen = 262144\n[opsize]\nmin = 1\nmax = 65536\n[weights]\n";

/// Calls alone: all that maps memory is off.
const PLAIN: &str = "
close_open = 1
read = 10
write = 10
mapread = 0
mapwrite = 0
truncate = 5
fsync = 0.2
fdatasync = 0.2
sendfile = 2
posix_fadvise = 1
";

/// Maps beside calls.
const MAPPED: &str = "
close_open = 1
invalidate = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
truncate = 5
fsync = 0.2
fdatasync = 0.2
";

/// Space reserved, holes punched, ranges copied, maps and calls.
const ALLOCATED: &str = "
close_open = 1
read = 10
write = 10
mapread = 5
mapwrite = 5
truncate = 5
posix_fallocate = 5
punch_hole = 5
copy_file_range = 5
";

/// As often closed and opened again as anything else: what is read was put before.
const REOPENED: &str = "
close_open = 40
read = 10
write = 10
mapread = 5
mapwrite = 5
truncate = 5
copy_file_range = 2
";

/// Operations of one process of fsx: it never unmaps what it mapped, so that each truncation takes longer than the one
/// before, and at 65,530 mappings the kernel gives no more.
const AT_ONCE: u64 = 10_000;

fn exercise(kind: Kind, seed: u64, weights: &'static str) {
    let count = operations(OPERATIONS);
    let limit = Duration::from_secs(60 + count / SLOWEST);
    crate::harness::watched(limit, move |place| {
        let program = tool("bin/fsx");
        let mount = Mount::new(place, kind, &[]);
        let mix = place.at("fsx.toml");
        std::fs::write(&mix, format!("{SIZES}{weights}")).unwrap();
        for round in 0..count.div_ceil(AT_ONCE) {
            let (some, seed) = (AT_ONCE.min(count - round * AT_ONCE), seed + 100 * round);
            let mut command = place.command(&program);
            command.args(["-N", &some.to_string(), "-S", &seed.to_string(), "-f"]).arg(&mix);
            command.arg("-P").arg(place.at("outside")).arg(mount.at("fsx"));
            let Finished { code, out, err } = finish(&mut command);
            let last: Vec<&str> = err.lines().chain(out.lines()).rev().take(40).collect();
            assert_eq!(code, 0, "fsx -S {seed}, its last words first:\n{}", last.join("\n"));
        }
    });
}

/// Makes a variant one test a store.
macro_rules! on_both_stores {
    ($($memory:ident, $lmdb:ident: $seed:literal, $weights:ident;)*) => {$(
        #[test]
        fn $memory() {
            exercise(Kind::Memory, $seed, $weights);
        }

        #[test]
        fn $lmdb() {
            exercise(Kind::Apart, $seed, $weights);
        }
    )*};
}

on_both_stores! {
    fsx_plain_on_memory, fsx_plain_on_lmdb: 20, PLAIN;
    fsx_mapped_on_memory, fsx_mapped_on_lmdb: 21, MAPPED;
    fsx_allocated_on_memory, fsx_allocated_on_lmdb: 22, ALLOCATED;
    fsx_reopened_on_memory, fsx_reopened_on_lmdb: 23, REOPENED;
}
