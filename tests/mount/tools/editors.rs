//! Editors, which save in their own ways, and maps of memory.

use crate::harness::on_every_mount;

on_every_mount! {
    /// vim writes a backup, renames, writes anew; with a swap file beside
    fn vim(mount) {
        mount.bash(r#"
            seq 100 > text
            vim -es -u NONE -c 'set swapfile backup backupskip=' -c '%s/^5/five/' -c 'wq' text < /dev/null
            [ "$(grep -c '^five' text)" = 11 ]
            [ "$(sed -n 5p text~)" = 5 ]
            vim -es -u NONE -c 'set backupcopy=yes' -c 'normal Gonew line' -c 'wq' text < /dev/null
            [ "$(tail -n 1 text)" = 'new line' ]
            vim -es -u NONE -c 'set backupcopy=no nobackup writebackup backupskip=' -c '1d' -c 'wq' text < /dev/null
            [ "$(head -n 1 text)" = 2 ]
            rm text~
            vim -es -u NONE -c 'normal ifresh' -c 'wq' sub-new < /dev/null
            [ "$(cat sub-new)" = fresh ]
            [ "$(ls -A | tr '\n' ' ')" = "sub-new text " ]
        "#);
    }

    /// emacs saves with a backup by renaming and by copying, a lock link beside, and keeps the mode
    fn emacs(mount) {
        mount.bash(r#"
            edit() {
                emacs -Q -batch --eval "(progn (setq backup-enable-predicate #'stringp) $1 (find-file \"text\") (goto-char (point-max)) (insert \"$2\\n\")
                    (or (file-locked-p buffer-file-name) (error \"no lock\")) (save-buffer))" 2> "$OUTSIDE/said" ||
                    { cat "$OUTSIDE/said" >&2; return 1; }
            }
            seq 3 > text && chmod 640 text
            edit '(setq create-lockfiles t)' renamed
            [ "$(tr '\n' ' ' < text)" = "1 2 3 renamed " ] && [ "$(wc -l < text~)" = 3 ]
            edit '(setq backup-by-copying t version-control t)' copied
            [ "$(tail -n 1 text)" = copied ] && [ "$(tail -n 1 text.~1~)" = renamed ]
            edit '(setq make-backup-files nil write-region-inhibit-fsync nil)' synced
            [ "$(tail -n 1 text)" = synced ]
            [ "$(stat -c %a text)" = 640 ]
            [ "$(ls -A | tr '\n' ' ')" = "text text.~1~ text~ " ]
        "#);
    }

    /// A shared writable map of memory reaches the file, and a map for reading sees it
    fn maps_of_memory(mount) {
        mount.bash(r#"
            head -c 300000 /dev/urandom > map
            cp map "$OUTSIDE/map"
            for file in map "$OUTSIDE/map"; do
                python3 - "$file" <<'PYTHON'
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    with mmap.mmap(file.fileno(), 0) as writable:
        writable[0:5] = b"first"
        writable[150000:150006] = b"middle"
        writable[-4:] = b"last"
        writable.flush()
with open(sys.argv[1], "rb") as file:
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as readable:
        assert readable[0:5] == b"first" and readable[150000:150006] == b"middle" and readable[-4:] == b"last"
PYTHON
            done
            cmp map "$OUTSIDE/map"
        "#);
    }

    /// A map that outlives the last close is written at the unmap
    fn a_map_written_after_the_close(mount) {
        mount.bash(r#"
            head -c 100000 /dev/zero > late
            python3 - late <<'PYTHON'
import mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
writable = mmap.mmap(descriptor, 0)
os.close(descriptor)
writable[50000:50004] = b"late"
writable.close()
PYTHON
            [ "$(dd if=late bs=1 skip=50000 count=4 status=none)" = late ]
        "#);
    }
}
