//! What tools find after the mount was unmounted and mounted again: nothing changed, where nobody changed anything.

use super::TREE;
use super::backups::{BACKUPS, reads};
use super::building::PROJECT;
use crate::harness::{Foreign, Kind, Mount, needs_kvfs};

/// One test on one kind of mount.
macro_rules! on_mount {
    ($name:ident, $kind:expr) => {
        #[test]
        fn $name() {
            Mount::try_on($kind, body);
        }
    };
}

/// Makes one test a kind of mount whose store lasts.
macro_rules! across_a_remount {
    ($($(#[doc = $about:literal])* fn $name:ident($mount:ident) $body:block)*) => {$(
        $(#[doc = $about])*
        mod $name {
            use super::*;
            fn body($mount: &mut Mount) $body
            on_mount!(in_place, Kind::InPlace);
            on_mount!(apart, Kind::Apart);
        }
    )*};
}

across_a_remount! {
    /// Modes, owners, times to the nanosecond, links and extended attributes
    fn promise_5_2_a_tree_is_as_it_was(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            cp -a "$OUTSIDE/tree" tree
            touch now && chmod 6711 now
            find . -printf '%p %i %C@ %T@\n' | sort > "$OUTSIDE/before"
        "#));
        mount.remount();
        mount.bash(&(TREE.to_owned() + r#"
            same_tree "$OUTSIDE/tree" tree
            [ "$(stat -c %a now)" = 6711 ]
            find . -printf '%p %i %C@ %T@\n' | sort | diff "$OUTSIDE/before" -
        "#));
    }

    /// FIFOs and sockets
    fn promise_5_2_special_files_are_as_they_were(mount) {
        mount.bash(r#"
            mkfifo -m 622 fifo && touch -d '2020-01-01 12:00:00.5' fifo
            python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
        "#);
        mount.remount();
        mount.bash(r#"
            [ "$(stat -c '%F %a %Y' fifo)" = "fifo 622 1577880000" ] && [ -S socket ]
            { echo through > fifo & } && [ "$(cat fifo)" = through ]
            rm fifo socket && [ -z "$(ls -A)" ]
        "#);
    }

    /// rsync -aX --delete transfers nothing, in either direction, and reads nothing
    fn rsync_transfers_nothing(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            rsync -aX "$OUTSIDE/tree/" tree/
        "#));
        mount.remount();
        let read = reads(mount, |mount| {
            mount.bash(r#"
                [ -z "$(rsync -aXi --delete "$OUTSIDE/tree/" tree/)" ]
                [ -z "$(rsync -aXi --delete tree/ "$OUTSIDE/tree/")" ]
            "#);
        });
        assert_eq!(read, 0, "READ requests");
    }

    /// restic finds every file unmodified and reads none
    fn restic_reads_nothing(mount) {
        mount.bash(&format!(r#"{TREE}{BACKUPS}
            make_tree tree && note_tree tree
            restic -q init -r "$OUTSIDE/restic"
            restic_backup tree "$OUTSIDE/restic"
        "#));
        mount.remount();
        let read = reads(mount, |mount| {
            mount.bash(&format!(r#"{BACKUPS}
                # The bytes added are those of folders: restic records the number of the device, which a mount gets anew.
                told=$(restic_backup tree "$OUTSIDE/restic")
                [ "${{told% *}}" = '0 0 65' ]
            "#));
        });
        assert_eq!(read, 0, "READ requests");
    }

    /// borg finds every file unmodified and reads none
    fn borg_reads_nothing(mount) {
        mount.bash(&format!(r#"{TREE}{BACKUPS}
            make_tree tree && note_tree tree && touch tree/newest
            borg init -e none "$OUTSIDE/borg"
            borg_backup tree "$OUTSIDE/borg" one > /dev/null
        "#));
        mount.remount();
        let read = reads(mount, |mount| {
            mount.bash(&format!(r#"{BACKUPS}
                [ -z "$(borg_backup tree "$OUTSIDE/borg" two | grep -v ' newest$')" ]
            "#));
        });
        assert_eq!(read, 0, "READ requests");
    }

    /// What another program changed meanwhile has another time, and what it did not change has its own (5.5)
    fn promise_5_5_a_change_while_it_was_unmounted_shows(mount) {
        needs_kvfs();
        mount.bash(r#"
            echo one > one; echo two > two && touch -d '2020-01-01' one two
        "#);
        mount.unmount();
        let store = if mount.kind == Kind::Apart { mount.store() } else { mount.point().to_owned() };
        let mut foreign = Foreign::open(&mount.place, &store);
        foreign.put("one", "eno\n");
        drop(foreign);
        mount.start();
        mount.bash(r#"
            [ "$(cat one)" = eno ]
            [ "$(find . -type f -newermt 2020-01-02)" = ./one ]
            [ "$(stat -c %Y two)" = "$(date -d 2020-01-01 +%s)" ]
        "#);
    }

    /// git's index needs no refreshing: no file is read
    fn git_status_reads_nothing(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            git init -q -b main . && make_tree work && git add . && git commit -q -m first
        "#));
        mount.remount();
        mount.bash("git diff-files --exit-code && [ -z \"$(git status --porcelain)\" ]");
    }

    /// A make after a remount does nothing
    fn make_does_nothing(mount) {
        mount.bash(&(PROJECT.to_owned() + "make -s"));
        mount.remount();
        mount.bash("cd project && make -q && [ \"$(./answer)\" = 84 ]");
    }
}
