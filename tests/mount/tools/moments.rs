//! Backups of a store that another program writes, one moment after the other: `kvfs exec --snapshot SOURCE -- restic ...`.

use super::backups::BACKUPS;
use crate::harness::{Foreign, Kind, LIMIT, Mount, Place, dump, load, needs_kvfs, watched};

/// Keys of the store.
const KEYS: usize = 300;
/// Keys that the other program changes in between.
const CHANGED: usize = 7;

/// Backs the store up as of now: new, changed and unmodified files, and the bytes that were added. Those are never compared:
/// restic records the number of the file system's device, which the kernel gives anew to each mount.
fn back_up(place: &Place) -> Vec<u64> {
    let out = place.bash(
        place.folder(),
        &format!(
            r#"{BACKUPS}
            [ -e outside/repository ] || restic -q init -r "$PLACE/outside/repository"
            export -f restic_backup
            "$KVFS" exec --snapshot "lmdb:$PLACE/store" -- bash -c 'restic_backup . "$PLACE/outside/repository"'
            "#
        ),
    );
    out.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn key(index: usize) -> String {
    format!("folder {}/key {index}", index % 10)
}

fn value(index: usize) -> String {
    format!("value {index} ").repeat(500)
}

#[test]
fn promise_5_5_a_backup_reads_again_what_another_program_changed_and_nothing_else() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let all: Vec<(String, String)> = (0..KEYS).map(|index| (key(index), value(index))).collect();
        let pairs: Vec<(&str, &str)> = all.iter().map(|(key, value)| (&**key, &**value)).collect();
        load(place, &place.at("store"), &pairs);
        let first = back_up(place);
        assert_eq!(first[..3], [KEYS as u64, 0, 0]);
        assert_eq!(back_up(place)[..3], [0, 0, KEYS as u64], "nobody changed anything");
        // While another program has it open and changes it.
        let mut foreign = Foreign::open(place, &place.at("store"));
        for index in 0..CHANGED {
            foreign.put(key(index * 11), format!("other {index}"));
        }
        let unmodified = (KEYS - CHANGED) as u64;
        assert_eq!(back_up(place)[..3], [0, CHANGED as u64, unmodified]);
        assert_eq!(back_up(place)[..3], [0, 0, KEYS as u64]);
        // And through a mount, which has times of its own for what it writes.
        drop(foreign);
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        std::fs::write(mount.at(key(5)), "by a mount").unwrap();
        assert_eq!(back_up(place)[..3], [0, 1, KEYS as u64 - 1], "beside a mount that goes on");
        std::fs::write(mount.at(key(6)), "by a mount").unwrap();
        mount.unmount();
        assert_eq!(back_up(place)[..3], [0, 1, KEYS as u64 - 1]);
        let mut foreign = Foreign::open(place, &place.at("store"));
        foreign.put(key(7), "other");
        assert_eq!(back_up(place)[..3], [0, 1, KEYS as u64 - 1]);
        place.bash(
            place.folder(),
            &format!(r#"{BACKUPS} restic -q -r "$PLACE/outside/repository" restore latest --target "$OUTSIDE/back""#),
        );
        let stored = dump(place, &place.at("store"));
        for (key, value) in stored {
            let restored = place.at("outside/back").join(String::from_utf8(key).unwrap());
            assert_eq!(std::fs::read(&restored).unwrap(), value, "{}", restored.display());
        }
    });
}
