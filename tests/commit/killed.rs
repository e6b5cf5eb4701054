//! §8.3: a kill of the daemon loses nothing that was accepted.

use std::io::Write;
use std::process::{Command, Stdio};

use kvfs::key::Key;
use kvfs::spool::Spool;

use crate::stage::Stage;
use crate::store::{dump_has, number};

/// Kills a daemon in the middle of its puts, and looks for each one that it had accepted.
fn a_kill_loses_nothing(times: u32) {
    let stage = Stage::new();
    let (mut last, mut replayed) = (0_u64, 0);
    for time in 0..times {
        let mut daemon = stage.spawn("role_counting_daemon");
        assert_eq!(daemon.hear().as_deref(), Some("ready"));
        daemon.tell(&(last + 1).to_string());
        // Long enough for some generations, and never the same moment of one.
        let until = last + 50 + u64::from(time) * 37 % 900;
        while last < until {
            last = daemon.hear().unwrap().parse().unwrap();
        }
        if let Some(unheard) = daemon.kill() {
            last = unheard.parse().unwrap();
        }
        let mut heir = stage.spawn("role_heir");
        heir.tell(&last.to_string());
        assert_eq!(heir.hear().as_deref(), Some("all there"), "after kill {time} at {last}");
        replayed += number(&heir.hear().unwrap(), "put");
        last = heir.hear().unwrap().parse().unwrap();
        heir.ends_well();
    }
    assert!(replayed > 0, "no kill ever came between accept and commit");
}

#[test]
fn promise_8_3_a_kill_loses_nothing_that_was_accepted() {
    a_kill_loses_nothing(20);
}

#[test]
#[ignore = "minutes: scripts/prove-commit runs it"]
fn prove_300_kills() {
    a_kill_loses_nothing(300);
}

#[test]
fn promise_8_3_a_change_by_another_program_after_the_kill_is_not_overwritten_and_ours_is_kept() {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_echo_within_an_hour");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    daemon.tell("put contested ours");
    assert_eq!(daemon.hear().as_deref(), Some("accepted"));
    daemon.tell("get contested");
    assert_eq!(daemon.hear().as_deref(), Some("ours"), "seen in the mount at once");
    assert!(!dump_has(&stage.store(), "contested", "ours"), "not committed yet");
    daemon.kill();
    let mut load =
        Command::new("mdb_load").args(["-T"]).arg(stage.store()).stdin(Stdio::piped()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(b"contested\ntheirs\n").unwrap();
    assert!(load.wait().unwrap().success());

    let mut heir = stage.spawn("role_echo_auto");
    assert_eq!(heir.hear().as_deref(), Some("ready"));
    heir.tell("get contested");
    assert_eq!(heir.hear().as_deref(), Some("theirs"));
    heir.ends_well();
    let spool = Spool::at(&stage.state());
    let kept = spool.list().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].key, Key::of([&b"contested"[..]]));
    let (_, mut file) = spool.open(&kept[0].id).unwrap();
    let mut bytes = String::new();
    std::io::Read::read_to_string(&mut file, &mut bytes).unwrap();
    assert_eq!(bytes, "ours");
}

#[test]
fn promise_8_3_a_kill_after_a_compaction_loses_nothing_either() {
    let stage = Stage::new();
    let mut daemon = stage.spawn("role_echo_within_an_hour");
    assert_eq!(daemon.hear().as_deref(), Some("ready"));
    for (order, answer) in [("put k before", "accepted"), ("compact", "true"), ("put k after", "accepted")] {
        daemon.tell(order);
        assert_eq!(daemon.hear().as_deref(), Some(answer));
    }
    daemon.kill();
    // The second one may be committed as well: an hour is the longest that it may wait.
    let committed = ["before", "after"].iter().any(|value| dump_has(&stage.store(), "k", value));
    assert!(committed, "what was pending is committed before it is compacted");
    let mut heir = stage.spawn("role_echo_auto");
    assert_eq!(heir.hear().as_deref(), Some("ready"));
    heir.tell("get k");
    assert_eq!(heir.hear().as_deref(), Some("after"));
    heir.ends_well();
    assert_eq!(Spool::at(&stage.state()).list().unwrap(), []);
}
