//! Backup software, with the mount as what is backed up and as where backups go: restic, borg, rdiff-backup.

use super::TREE;
use crate::harness::{Mount, on_every_mount, plain};

/// Bash functions that back the folder `$1` up and print what was found changed.
pub(super) const BACKUPS: &str = r#"
    export RESTIC_PASSWORD=secret RESTIC_CACHE_DIR="$PLACE/restic-cache" BORG_BASE_DIR="$PLACE/borg-base"
    export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes

    # To the repository $2: new, changed and unmodified files, and bytes added.
    restic_backup() {
        (cd "$1" && restic -q -r "$2" backup --json . | tail -n 1 | python3 -c 'import json, sys
told = json.load(sys.stdin)
print(*(told[name] for name in ("files_new", "files_changed", "files_unmodified", "data_added")))')
    }

    # To the archive $3 of the repository $2: the names of files that were added or found modified.
    borg_backup() {
        (cd "$1" && borg create --list --filter AMC "$2::$3" . 2>&1)
    }
"#;

/// How many READ requests `work` costs; 0 where there is no mount to ask.
pub(super) fn reads(mount: &mut Mount, work: impl FnOnce(&mut Mount)) -> u64 {
    let count = |mount: &Mount| if plain() { 0 } else { mount.requests().get("read").copied().unwrap_or(0) };
    let before = count(mount);
    work(mount);
    count(mount) - before
}

/// The second backup of an unchanged tree finds all unmodified, and reads no file.
fn second_restic(mount: &mut Mount) {
    mount.bash(&format!(
        r#"{TREE}{BACKUPS}
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree" && cp -a "$OUTSIDE/tree" tree
            for folder in tree "$OUTSIDE/tree"; do
                restic -q init -r "$folder.restic"
            done
            mv tree.restic "$OUTSIDE/mount.restic"
            first=$(restic_backup tree "$OUTSIDE/mount.restic")
            [ "${{first% *}}" = '65 0 0' ]
            restic_backup "$OUTSIDE/tree" "$OUTSIDE/tree.restic"
        "#
    ));
    let read = reads(mount, |mount| {
        mount.bash(&format!(
            r#"{BACKUPS}
            [ "$(restic_backup tree "$OUTSIDE/mount.restic")" = '0 0 65 0' ]
            [ "$(restic_backup "$OUTSIDE/tree" "$OUTSIDE/tree.restic")" = '0 0 65 0' ]
            "#
        ));
    });
    assert_eq!(read, 0, "READ requests of the second backup");
    mount.bash(&format!(
        r#"{TREE}{BACKUPS}
            echo more >> tree/src/3.txt
            again=$(restic_backup tree "$OUTSIDE/mount.restic")
            [ "${{again% *}}" = '0 1 64' ]
            restic -q -r "$OUTSIDE/mount.restic" restore latest --target "$OUTSIDE/back"
            same_tree tree "$OUTSIDE/back"
        "#
    ));
}

/// As above. borg never trusts the newest file of a backup, since it may have changed in the same tick: one is made for it.
fn second_borg(mount: &mut Mount) {
    mount.bash(&format!(
        r#"{TREE}{BACKUPS}
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree" && cp -a "$OUTSIDE/tree" tree
            touch tree/newest
            borg init -e none "$OUTSIDE/borg"
            [ "$(borg_backup tree "$OUTSIDE/borg" one | grep -c '^A ')" = 66 ]
        "#
    ));
    let read = reads(mount, |mount| {
        mount.bash(&format!(
            r#"{BACKUPS}
            [ -z "$(borg_backup tree "$OUTSIDE/borg" two | grep -v ' newest$')" ]
            "#
        ));
    });
    assert_eq!(read, 0, "READ requests of the second backup");
    mount.bash(&format!(
        r#"{TREE}{BACKUPS}
            echo more >> tree/src/3.txt
            [ "$(borg_backup tree "$OUTSIDE/borg" three | grep -v ' newest$')" = 'M src/3.txt' ]
            mkdir "$OUTSIDE/back" && cd "$OUTSIDE/back" && borg extract "$OUTSIDE/borg::three" && cd - > /dev/null
            same_tree tree "$OUTSIDE/back"
        "#
    ));
}

on_every_mount! {
    /// restic of the mount, twice
    fn restic_from_the_mount(mount) {
        second_restic(mount);
    }

    /// borg of the mount, twice
    fn borg_from_the_mount(mount) {
        second_borg(mount);
    }

    /// A restic repository in the mount: backup, check, forget, prune, and restore into the mount
    fn restic_into_the_mount(mount) {
        mount.bash(&(TREE.to_owned() + BACKUPS + r#"
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            restic -q init -r repository
            restic_backup "$OUTSIDE/tree" "$PWD/repository"
            rm "$OUTSIDE/tree/src/random.bin" && touch -d '2020-01-03 12:00:00.125' "$OUTSIDE/tree/src"
            restic_backup "$OUTSIDE/tree" "$PWD/repository"
            restic -q -r repository forget --keep-last 1 --prune
            restic -q -r repository check --read-data
            restic -q -r repository restore latest --target back
            same_tree "$OUTSIDE/tree" back
        "#));
    }

    /// A borg repository in the mount: create, prune, compact, check, and extract into the mount
    fn borg_into_the_mount(mount) {
        mount.bash(&(TREE.to_owned() + BACKUPS + r#"
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            borg init -e none repository
            borg_backup "$OUTSIDE/tree" "$PWD/repository" one > /dev/null
            rm "$OUTSIDE/tree/src/random.bin" && touch -d '2020-01-03 12:00:00.125' "$OUTSIDE/tree/src"
            borg_backup "$OUTSIDE/tree" "$PWD/repository" two > /dev/null
            borg prune --keep-last 1 repository && borg compact repository
            borg check --verify-data repository
            repository=$PWD/repository
            mkdir back && cd back && borg extract "$repository::two" && cd ..
            same_tree "$OUTSIDE/tree" back
        "#));
    }

    /// rdiff-backup out of the mount and into it, with an increment, verified and restored
    fn rdiff_backup(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree tree && whole_seconds tree
            for target in "$OUTSIDE/target" target; do
                cp -a tree source
                # Increments are a second apart at least.
                rdiff-backup --current-time $(($(date +%s) - 100)) backup source "$target"
                echo more >> source/src/3.txt && rm source/src/4.txt && whole_seconds source
                rdiff-backup backup source "$target"
                rdiff-backup verify "$target"
                rdiff-backup restore --at 1B "$target" "$target.before"
                # The times of links are not restored.
                touch -h -r tree/src/link "$target.before/src/link"
                same_tree tree "$target.before"
                rdiff-backup restore --at 0B "$target" "$target.after"
                touch -h -r tree/src/link "$target.after/src/link"
                same_tree source "$target.after"
                rm -r source
            done
        "#));
    }
}
