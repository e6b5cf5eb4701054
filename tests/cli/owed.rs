//! §8.4 and §8.5: what cannot be put, on a disk of 4 MiB.

use std::fs;

use crate::harness::{Finished, LIMIT, Place, finish, needs_root, watched};

/// Runs `script` in bash where `small` is a file system that is full soon.
fn on_a_small_disk(place: &Place, script: &str) -> Finished {
    needs_root("mounting a small disk");
    fs::create_dir(place.at("small")).unwrap();
    let begin = "mount -t tmpfs -o size=4m none small; head -c 6000000 /dev/urandom > outside/large";
    finish(place.command("unshare").args(["--mount", "bash", "-euc", &format!("{begin}\n{script}")]))
}

#[test]
fn a_mount_stays_while_something_is_owed_and_a_deadline_keeps_the_bytes() {
    watched(LIMIT, |place| {
        let script = r#"
            "$KVFS" mount lmdb:small/store m
            cp outside/large m/name 2>/dev/null && echo "the disk is not full"
            "$KVFS" unmount m 2> outside/refused && echo "it was unmounted"
            grep -c "stays mounted.*name.*--timeout 0s" outside/refused
            cat m/name | wc -c
            "$KVFS" unmount --timeout 0s m 2> outside/kept && echo "it says nothing"
            grep -c "kept: kvfs recover save" outside/kept
            "$KVFS" status | grep -c "1 value (5.7 MiB)"
            id=$("$KVFS" recover list | awk '$NF && NR == 2 { print $1 }')
            "$KVFS" recover save "$id" saved; cmp saved outside/large
            "$KVFS" recover save "$id" saved 2>/dev/null && echo "it was overwritten"
            "$KVFS" recover save "$id" - | cmp - outside/large
            "$KVFS" recover drop "$id"; "$KVFS" recover list"#;
        let out = on_a_small_disk(place, script).ok(script);
        assert_eq!(out, "1\n6000000\n1\n1\nnothing is kept\n");
    });
}

#[test]
fn exec_fails_where_a_last_put_failed() {
    watched(LIMIT, |place| {
        let script = r#"
            code=0
            "$KVFS" exec lmdb:small/store -- sh -c 'cp "$OUTSIDE/large" name; exit 0' 2>/dev/null || code=$?
            echo "$code"
            until "$KVFS" recover list | grep -q name; do read -rt 0.05 <> <(:) || :; done"#;
        assert_eq!(on_a_small_disk(place, script).ok(script), "1\n");
    });
}
