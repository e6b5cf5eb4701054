//! §4.7: what programs make for a moment lives in the mount, until it is renamed to a name of a file.

use std::fs;

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
