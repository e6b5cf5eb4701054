//! git: its own repository in the mount, and clones both ways.

use super::TREE;
use crate::harness::{Kind, on_every_mount};

on_every_mount! {
    /// git init, add, commit, log, checkout, gc, fsck
    fn git(mount) {
        mount.bash(&(TREE.to_owned() + r#"
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

    /// git clone into the mount, from the mount, and within it; the index of a clone needs no refreshing
    fn git_clones(mount) {
        // A folder's `ctime` is that of the put (docs/folder.md), and git looks before it closes: it compares whole
        // seconds, and one may end in between.
        let trust = if mount.kind == Kind::Folder { "trust=false" } else { "trust=true" };
        mount.bash(&(TREE.to_owned() + trust + r#"
            git init -q -b main "$OUTSIDE/origin"
            make_tree "$OUTSIDE/origin/work"
            git -C "$OUTSIDE/origin" add . && git -C "$OUTSIDE/origin" commit -q -m first
            git clone -q "$OUTSIDE/origin" one
            git clone -q one two
            git clone -q two "$OUTSIDE/three"
            for clone in one two "$OUTSIDE/three"; do
                git -C "$clone" fsck --full --strict
                [ -z "$(git -C "$clone" -c core.trustctime=$trust diff-files)" ]
                [ -z "$(git -C "$clone" status --porcelain)" ]
                diff -r --no-dereference -x empty "$OUTSIDE/origin/work" "$clone/work"
            done
            echo more >> one/work/src/1.txt
            git -C one commit -q -a -m second
            git -C two pull -q
            [ "$(tail -n 1 two/work/src/1.txt)" = more ]
            git -C two gc -q --prune=now && git -C two fsck --full --strict
        "#));
    }
}
