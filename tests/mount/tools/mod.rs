//! Real tools at work in a mount. Each script holds on an ordinary file system too (`KVFS_TEST_PLAIN=1`).
//!
//! `$OUTSIDE` is a folder on the machine's own file system, `$PLACE` the test's folder.

mod archives;
mod backups;
mod building;
mod coreutils;
mod databases;
mod editors;
mod exerciser;
mod following;
mod lasting;
mod moments;
mod posix;
mod repositories;
mod rules;
mod search;
mod trees;

/// Bash functions that make the tree which many of these tests carry about, and compare two of its kind.
const TREE: &str = r#"
    # Makes the folder $1 with a tree in it.
    make_tree() {
        mkdir -p "$1"/{docs/deep/er,src,empty}
        seq 20000 > "$1/docs/numbers"
        head -c 2500000 /dev/urandom > "$1/src/random.bin"
        : > "$1/docs/deep/nothing"
        echo spaces > "$1/docs/deep/er/with spaces"
        printf 'x' > "$1/src/.hidden"
        for n in $(seq 60); do echo "file $n" > "$1/src/$n.txt"; done
        chmod 600 "$1/src/1.txt"; chmod 755 "$1/src/2.txt"; chmod 2770 "$1/empty"
        ln -s ../docs/numbers "$1/src/link"
        find "$1" -type f -exec touch -d '2020-01-01 12:00:00.5' {} +
        touch -h -d '2020-01-02 12:00:00.25' "$1/src/link"
        find "$1" -depth -type d -exec touch -d '2020-01-03 12:00:00.125' {} +
    }

    # Gives some of it extended attributes.
    note_tree() {
        setfattr -n user.note -v 'of a file' "$1/docs/numbers"
        setfattr -n user.binary -v 0x00ff00 "$1/src/1.txt"
        setfattr -n user.note -v 'of a folder' "$1/src"
    }

    # Gives all of it one time in whole seconds, for tools that know no others.
    whole_seconds() {
        find "$1" -depth -exec touch -h -d '2020-01-01 12:00:00' {} +
    }

    # What is in $1 with its attributes, whatever the order of its folders.
    list_tree() {
        (cd "$1" && find . -mindepth 1 \
            \( -type d -printf '%p %y %m %U:%G %T@\n' -o -printf '%p %y %s %m %U:%G %T@ %l\n' \) | sort)
        (cd "$1" && find . ! -type l -print0 | sort -z | xargs -0 getfattr -d)
    }

    # Compares content and attributes of $1 and $2.
    same_tree() {
        diff -r --no-dereference "$1" "$2"
        diff <(list_tree "$1") <(list_tree "$2")
    }
"#;
