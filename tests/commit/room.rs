//! §4.8: a disk that fills up.

use std::process::{Command, Stdio};

use kvfs::spool::Spool;

use crate::stage::{OnDrop, Stage};

/// Needs the right to mount a small file system; without it there is nothing to see.
#[test]
fn promise_4_8_on_a_full_disk_the_close_says_so_and_nothing_accepted_is_missing() {
    let stage = Stage::new();
    std::fs::create_dir(stage.store()).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "kvfs-test"])
        .arg(stage.store())
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return;
    }
    let disk = stage.store();
    let _unmount = OnDrop(|| drop(Command::new("umount").arg(&disk).status()));
    let mut daemon = stage.spawn("role_echo_auto");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    daemon.tell("fill");
    let accepted: u64 = daemon.hear().unwrap().parse().unwrap();
    assert!(accepted > 100, "{accepted} fitted into 4 MiB");
    daemon.tell("put k after-all");
    let _either = daemon.hear();
    daemon.ends_well();
    let dump = Command::new("mdb_dump").arg("-p").arg(stage.store()).output().unwrap();
    let dump = String::from_utf8_lossy(&dump.stdout);
    for number in 0..accepted {
        assert!(dump.contains(&format!("\n fill-{number}\n")), "{number} of {accepted}");
    }
    assert_eq!(Spool::at(&stage.state()).list().unwrap(), []);
}
