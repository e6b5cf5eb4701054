//! §4.7: what programs make for a moment lives in the mount, until it is renamed to a name of a file.

use std::fs;

use rustix::fs::{CWD, RenameFlags};

use crate::harness::{Kind, LIMIT, Mount, needs_kvfs, watched};

const NAMES: &[&str] = &["--scratch", ".*.sw?,4913,?*~,.#*,#*#,sed??????,.*.??????"];

#[test]
fn promise_4_7_editors_leave_their_file_and_nothing_else_in_the_store() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, NAMES);
        fs::write(mount.at("notes"), "one\n").unwrap();
        fs::set_permissions(mount.at("notes"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        mount.bash("vim -es -u NONE -c 'set swapfile' -c '%s/one/two/' -c wq notes </dev/null");
        mount.bash("sed -i s/two/three/ notes; test \"$(cat notes)\" = three");
        mount.bash("printf four >$OUTSIDE/notes; rsync $OUTSIDE/notes .; test \"$(cat notes)\" = four");
        mount.bash("emacs -batch notes --eval '(progn (setq make-backup-files nil) (insert \"five \") (save-buffer))' 2>&1");
        assert_eq!(fs::read_to_string(mount.at("notes")).unwrap().trim(), "five four");
        mount.bash("test \"$(stat -c %a notes)\" = 640");
        // What is still open in an editor is seen by others in the mount, and by nobody else.
        mount.bash("printf 'swapped ' >.notes.swp; ln -s me@here .#notes; mkdir d; printf 1 >d/4913");
        assert_eq!(
            mount.bash("cat .notes.swp; readlink .#notes; ls -A").trim(),
            "swapped me@here\n.#notes\n.notes.swp\nd\nnotes"
        );
        assert!(fs::remove_dir(mount.at("d")).is_err());
        let said = mount.unmount_saying();
        assert!(said.contains("scratch files, 3 with"), "{said}");
        let again = Mount::new(place, Kind::Apart, &["--scratch", "none"]);
        assert_eq!(again.bash("ls -A").trim(), "d\nnotes");
    });
}

#[test]
fn promise_4_7_scratch_has_links_and_attributes_where_none_are_kept() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[NAMES, &["--attrs", "none"]].concat());
        mount.bash("printf one >notes; ln -s me@here .#notes; test \"$(readlink .#notes)\" = me@here");
        let refused = |command: &str| mount.bash(&format!("if {command} 2>/dev/null; then false; fi"));
        for command in ["ln -s me@here link", "mv -T .#notes link", "mv -fT .#notes notes", "mkfifo pipe"] {
            refused(command);
        }
        refused("chmod 600 notes");
        mount.bash("test -L .#notes; test \"$(cat notes; stat -c %a notes)\" = one644");
        mount.bash("mkfifo .pipe.swp; test -p .pipe.swp; rm .pipe.swp .#notes");
        mount.bash("printf two >.notes.AbCdEf; chmod 600 .notes.AbCdEf; touch -d 2001-02-03 .notes.AbCdEf");
        mount.bash("test \"$(stat -c '%a %y' .notes.AbCdEf | cut -c-14)\" = '600 2001-02-03'");
        let owner = if nix::unistd::geteuid().is_root() { "7:8" } else { "$(id -u):$(id -g)" };
        mount.bash(&format!(
            "owner={owner}; chown $owner .notes.AbCdEf; test \"$(stat -c %u:%g .notes.AbCdEf)\" = $owner"
        ));
        mount.bash("setfattr -n user.x -v 1 .notes.AbCdEf; getfattr -n user.x .notes.AbCdEf");
        // Only the bytes are the file's.
        mount
            .bash("mv -fT .notes.AbCdEf notes; test \"$(cat notes; stat -c %a:%u notes)\" = two644:$(id -u)");
        refused("getfattr -n user.x notes");
        mount.bash("test \"$(ls -A)\" = notes");
        // What takes such a name, and what is made with a mode of its own, is put all the same.
        mount.bash("mv notes notes~; (umask 077; head -c 9M /dev/zero >.long.AbCdEf); mv .long.AbCdEf long");
        assert_eq!(mount.bash("cat notes~; ls -A; stat -c %s long").trim(), "twolong\nnotes~\n9437184");
        let said = mount.unmount_saying();
        assert!(!said.contains("scratch"), "{said}");
    });
}

/// A store that exchanges its own names at once cannot do it with one that is in the mount alone.
#[test]
fn promise_4_7_scratch_changes_places_with_nothing() {
    watched(LIMIT, |place| {
        needs_kvfs();
        for kind in [Kind::Memory, Kind::Apart] {
            let mount = Mount::new(place, kind, NAMES);
            mount.bash("printf file >notes; printf scratch >.notes.swp");
            for (one, other) in [("notes", ".notes.swp"), (".notes.swp", "notes")] {
                let (one, other) = (mount.at(one), mount.at(other));
                let refused = rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
                assert_eq!(refused, Err(rustix::io::Errno::INVAL), "{kind:?}");
            }
            assert_eq!(mount.bash("cat notes .notes.swp; ls -A").trim(), "filescratch.notes.swp\nnotes");
        }
    });
}

/// As a rename within one file system has it: who may read it is what the new file says.
#[test]
fn promise_4_7_what_replaces_a_file_has_its_own_mode() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, NAMES);
        let owner = if nix::unistd::geteuid().is_root() { "7:8" } else { "$(id -u):$(id -g)" };
        mount.bash(&format!("printf old >a; chown {owner} a; chmod 600 a; setfattr -n user.x -v 1 a"));
        mount.bash("printf new >.a.AbCdEf; mv -fT .a.AbCdEf a");
        for _ in 0..2 {
            mount.bash("test \"$(cat a; stat -c %a:%u:%g a)\" = new644:$(id -u):$(id -g)");
            mount.bash("getfattr -n user.x a");
            mount.remount();
        }
    });
}
