//! fsx: random reads, writes, maps, truncations, punched holes, copies, closes and reopens of one file, each read
//! compared with a model.

use std::time::Duration;

use crate::harness::{Finished, Kind, Mount, finish, tool};

/// Operations of one run.
const OPERATIONS: &str = "100000";

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(600);

/// What is mixed: all that fsx knows.
const MIX: &str = "
flen = 262144
[opsize]
max = 65536
[weights]
close_open = 1
invalidate = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
truncate = 5
fsync = 0.2
fdatasync = 0.2
sendfile = 2
posix_fadvise = 1
copy_file_range = 2
posix_fallocate = 2
punch_hole = 3
";

fn exercise(mount: &mut Mount) {
    let mix = mount.place.at("fsx.toml");
    std::fs::write(&mix, MIX).unwrap();
    let artifacts = mount.place.at("outside");
    let mut command = mount.place.command(tool("bin/fsx"));
    command
        .args(["-N", OPERATIONS, "-S", "20", "-f"])
        .arg(&mix)
        .arg("-P")
        .arg(&artifacts)
        .arg(mount.at("fsx"));
    let Finished { code, out, err } = finish(&mut command);
    let last: Vec<&str> = err.lines().chain(out.lines()).rev().take(40).collect();
    assert_eq!(code, 0, "fsx, its last words first:\n{}", last.join("\n"));
}

#[test]
fn fsx_100_000_operations_on_memory() {
    Mount::try_for(LIMIT, Kind::Memory, exercise);
}

#[test]
fn fsx_100_000_operations_on_lmdb() {
    Mount::try_for(LIMIT, Kind::Apart, exercise);
}
