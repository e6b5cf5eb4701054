//! Whole trees in and out: tar, rsync, cp -a, python's shutil.

use super::TREE;
use crate::harness::on_every_mount;

on_every_mount! {
    /// tar out of the mount and into it
    fn tar(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree"
            tar -C "$OUTSIDE" -cf - tree | tar -xf -
            diff -r "$OUTSIDE/tree" tree
            [ "$(stat -c %a tree/src/1.txt)" = 600 ]
            tar -cf "$OUTSIDE/back.tar" tree
            mkdir "$OUTSIDE/back" && tar -C "$OUTSIDE/back" -xf "$OUTSIDE/back.tar"
            diff -r "$OUTSIDE/tree" "$OUTSIDE/back/tree"
            tar -cf inside.tar tree
            tar -df inside.tar
        "#));
    }

    /// tar --xattrs both ways keeps all that ext4 keeps
    fn tar_with_attributes(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            tar --xattrs -C "$OUTSIDE" -cf - tree | tar --xattrs -xpf -
            same_tree "$OUTSIDE/tree" tree
            mkdir "$OUTSIDE/back"
            tar --xattrs -cf - tree | tar --xattrs -C "$OUTSIDE/back" -xpf -
            same_tree "$OUTSIDE/tree" "$OUTSIDE/back/tree"
        "#));
    }

    /// rsync -a twice: the second transfers nothing; into the mount and out of it
    fn rsync(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree"
            rsync -a "$OUTSIDE/tree/" tree/
            diff -r "$OUTSIDE/tree" tree
            again=$(rsync -ai --no-group "$OUTSIDE/tree/" tree/)
            [ -z "$again" ] || { echo "transferred again: $again" >&2; exit 1; }
            rsync -a tree/ "$OUTSIDE/back/"
            diff -r "$OUTSIDE/tree" "$OUTSIDE/back"
            again=$(rsync -ai --no-group tree/ "$OUTSIDE/back/")
            [ -z "$again" ] || { echo "transferred back again: $again" >&2; exit 1; }
            echo changed >> "$OUTSIDE/tree/docs/numbers"
            rm "$OUTSIDE/tree/src/5.txt"
            rsync -a --delete "$OUTSIDE/tree/" tree/
            diff -r "$OUTSIDE/tree" tree
            rsync -a --inplace --no-whole-file "$OUTSIDE/tree/" tree/
            diff -r "$OUTSIDE/tree" tree
        "#));
    }

    /// rsync -aX --delete: the second run transfers nothing, into the mount and out of it
    fn rsync_with_attributes(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            transferred() {
                rsync -aX --delete --stats "$1/" "$2/" | sed -n 's/^Number of regular files transferred: //p'
            }
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            [ "$(transferred "$OUTSIDE/tree" tree)" = 65 ]
            same_tree "$OUTSIDE/tree" tree
            [ "$(transferred "$OUTSIDE/tree" tree)" = 0 ]
            [ "$(transferred tree "$OUTSIDE/back")" = 65 ]
            same_tree "$OUTSIDE/tree" "$OUTSIDE/back"
            [ "$(transferred tree "$OUTSIDE/back")" = 0 ]
            rm tree/src/7.txt && echo more >> tree/src/8.txt
            [ "$(transferred "$OUTSIDE/tree" tree)" = 2 ]
            same_tree "$OUTSIDE/tree" tree
            touch tree/new && mkdir tree/folder
            [ "$(transferred "$OUTSIDE/tree" tree)" = 0 ]
            same_tree "$OUTSIDE/tree" tree
        "#));
    }

    /// cp -a into the mount, within it, and out of it
    fn copies_with_attributes(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            cp -a "$OUTSIDE/tree" one
            same_tree "$OUTSIDE/tree" one
            cp -a one two
            same_tree one two
            cp -a two "$OUTSIDE/back"
            same_tree "$OUTSIDE/tree" "$OUTSIDE/back"
        "#));
    }

    /// cp -a and diff -r within the mount
    fn copies_of_a_tree(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree one
            cp -a one two
            diff -r one two
            mv two three
            diff -r one three
            [ ! -e two ]
            [ "$(stat -c %Y three/docs/numbers)" = "$(date -d '2020-01-01 12:00:00' +%s)" ]
            rm -r three one
            [ -z "$(ls -A)" ]
        "#));
    }

    /// python3: shutil.copytree, os.replace, os.walk, tempfile
    fn python_shutil(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree"
            python3 - "$OUTSIDE/tree" <<'PYTHON'
import filecmp, os, shutil, sys, tempfile
source = sys.argv[1]
shutil.copytree(source, "copy", symlinks=True)
for folder, folders, files in os.walk(source):
    for name in folders + files:
        one = os.lstat(os.path.join(folder, name))
        other = os.lstat(os.path.join("copy", os.path.relpath(folder, source), name))
        assert (one.st_mode, one.st_mtime_ns) == (other.st_mode, other.st_mtime_ns), name
compared = filecmp.dircmp(source, "copy")
assert not compared.left_only and not compared.right_only and not compared.diff_files
assert sum(len(files) for _, _, files in os.walk("copy")) == 66
with tempfile.NamedTemporaryFile(dir=".", delete=False) as file:
    file.write(b"replaced")
os.replace(file.name, "copy/docs/numbers")
assert open("copy/docs/numbers", "rb").read() == b"replaced"
shutil.move("copy", "moved")
shutil.rmtree("moved")
assert os.listdir(".") == []
PYTHON
        "#));
    }
}
