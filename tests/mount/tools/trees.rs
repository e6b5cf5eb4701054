//! Whole trees in and out: tar, rsync, git, cp -a, python's shutil.

use crate::harness::on_every_mount;

/// Makes the tree that the tests of this file carry about, in the folder `$1`.
const MAKE_TREE: &str = r#"
    make_tree() {
        mkdir -p "$1"/{docs/deep/er,src,empty}
        seq 20000 > "$1/docs/numbers"
        head -c 2500000 /dev/urandom > "$1/src/random.bin"
        : > "$1/docs/deep/nothing"
        echo spaces > "$1/docs/deep/er/with spaces"
        printf 'x' > "$1/src/.hidden"
        for n in $(seq 60); do echo "file $n" > "$1/src/$n.txt"; done
        chmod 600 "$1/src/1.txt"; chmod 755 "$1/src/2.txt"
        ln -s ../docs/numbers "$1/src/link"
        find "$1" -type f -exec touch -d '2020-01-01 12:00:00.5' {} +
    }
"#;

on_every_mount! {
    /// tar out of the mount and into it
    fn tar(mount) {
        mount.bash(&(MAKE_TREE.to_owned() + r#"
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

    /// rsync -a twice: the second transfers nothing; into the mount and out of it
    fn rsync(mount) {
        mount.bash(&(MAKE_TREE.to_owned() + r#"
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

    /// cp -a and diff -r within the mount
    fn copies_of_a_tree(mount) {
        mount.bash(&(MAKE_TREE.to_owned() + r#"
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

    /// git init, add, commit, log, checkout, gc, fsck
    fn git(mount) {
        mount.bash(&(MAKE_TREE.to_owned() + r#"
            git init -q -b main repository
            cd repository
            git config gc.auto 0
            make_tree work && rmdir work/empty
            git add .
            git commit -q -m first
            sed -i 's/^1/one/' work/docs/numbers
            git mv work/src/3.txt work/src/moved.txt
            git commit -q -a -m second
            [ "$(git log --oneline | wc -l)" = 2 ]
            git checkout -q -b side HEAD~1
            [ -f work/src/3.txt ] && [ "$(head -n 1 work/docs/numbers)" = 1 ]
            git checkout -q main
            [ -f work/src/moved.txt ] && [ "$(head -n 1 work/docs/numbers)" = one ]
            [ -z "$(git status --porcelain)" ]
            git gc -q
            git fsck --full --strict 2>&1 | tee "$OUTSIDE/fsck"
            ! grep -Eq 'error|missing|corrupt|dangling' "$OUTSIDE/fsck"
            git clone -q --no-hardlinks . "$OUTSIDE/clone"
            diff -r work "$OUTSIDE/clone/work"
        "#));
    }

    /// python3: shutil.copytree, os.replace, os.walk, tempfile
    fn python_shutil(mount) {
        mount.bash(&(MAKE_TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree"
            python3 - "$OUTSIDE/tree" <<'PYTHON'
import filecmp, os, shutil, sys, tempfile
source = sys.argv[1]
shutil.copytree(source, "copy", symlinks=True)
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
