//! The everyday commands, one group a test.

use crate::harness::on_every_mount;

on_every_mount! {
    /// cat, cp, mv, rm, ls
    fn files_are_made_copied_moved_and_removed(mount) {
        mount.bash(r#"
            echo hello > a
            [ "$(cat a)" = hello ]
            cp a b && cmp a b
            cp --preserve=mode,timestamps a c
            mv b d
            [ ! -e b ] && [ "$(cat d)" = hello ]
            mv -f d a
            [ ! -e d ]
            [ "$(ls | tr '\n' ' ')" = "a c " ]
            rm a c
            [ -z "$(ls -A)" ]
        "#);
    }

    /// mkdir, rmdir, ls -R, rm -r
    fn folders_are_made_and_removed(mount) {
        mount.bash(r#"
            mkdir a && mkdir -p a/b/c/d
            echo 1 > a/b/c/d/file
            ! rmdir a/b 2> "$OUTSIDE/err"
            grep -q 'not empty' "$OUTSIDE/err"
            ! mkdir a 2> /dev/null
            [ "$(find a | wc -l)" = 5 ]
            rm a/b/c/d/file
            rmdir -p a/b/c/d
            [ ! -e a ]
            mkdir -p x/y && touch x/1 x/y/2 && rm -r x
            [ -z "$(ls -A)" ]
        "#);
    }

    /// touch, chmod, stat, ln -s, readlink: kept for the life of the mount
    fn attributes_hold_while_mounted(mount) {
        mount.bash(r#"
            touch -d '2001-02-03 04:05:06.789' old
            [ "$(stat -c %y old)" = '2001-02-03 04:05:06.789000000 +0000' ]
            echo '#!/bin/sh' > script && echo 'echo ran' >> script
            chmod 750 script
            [ "$(stat -c %a script)" = 750 ]
            ln -s script link
            [ "$(readlink link)" = script ] && [ -L link ]
            [ "$(cat link)" = "$(cat script)" ]
            ln -s nowhere dangling && [ ! -e dangling ] && [ -L dangling ]
            rm link dangling
            [ -f script ]
        "#);
    }

    /// dd, truncate, head, tail, wc, od
    fn parts_of_files_are_written_and_read(mount) {
        mount.bash(r#"
            seq 100000 > numbers
            [ "$(wc -l < numbers)" = 100000 ]
            [ "$(head -n 1 numbers)$(tail -n 1 numbers)" = 1100000 ]
            cp numbers "$OUTSIDE/numbers"
            for file in numbers "$OUTSIDE/numbers"; do
                printf XYZ | dd of="$file" bs=1 seek=4097 conv=notrunc status=none
                truncate -s 300000 "$file"
                truncate -s 400000 "$file"
                echo end >> "$file"
            done
            cmp numbers "$OUTSIDE/numbers"
            dd if=/dev/zero of=zeros bs=64K count=40 status=none
            [ "$(stat -c %s zeros)" = 2621440 ]
            [ "$(dd if=zeros bs=1000 skip=7 count=1 status=none | od -An -v -tx1 | tr -d ' 0\n' | wc -c)" = 0 ]
            truncate -s 0 zeros && [ ! -s zeros ]
        "#);
    }

    /// split, sort -o onto its input, tee -a, uniq, paste, shuf
    fn filters_write_what_they_read(mount) {
        mount.bash(r#"
            seq 5000 | shuf > lines
            sort -n -o lines lines
            seq 5000 | cmp - lines
            split -l 700 lines part.
            [ "$(ls part.* | wc -l)" = 8 ]
            cat part.* | cmp - lines
            echo one | tee -a log > /dev/null
            echo two | tee -a log > /dev/null
            [ "$(paste -sd, log)" = one,two ]
        "#);
    }

    /// cp --sparse, and holes read as zeros
    fn sparse_files_come_back_whole(mount) {
        mount.bash(r#"
            truncate -s 3M "$OUTSIDE/sparse"
            printf middle | dd of="$OUTSIDE/sparse" bs=1 seek=1500000 conv=notrunc status=none
            cp --sparse=always "$OUTSIDE/sparse" a && cmp a "$OUTSIDE/sparse"
            cp --sparse=never "$OUTSIDE/sparse" b && cmp b "$OUTSIDE/sparse"
            cp --sparse=always a c && cmp c "$OUTSIDE/sparse"
            cp --reflink=auto a d && cmp d "$OUTSIDE/sparse"
        "#);
    }

    /// A thousand files in one folder, by one process after another and by several at once
    fn many_files_at_once(mount) {
        mount.bash(r#"
            mkdir many
            make() { for n in $(seq "$1" 4 800); do echo "$n" > "many/$n"; done; }
            make 1 & make 2 & make 3 & make 4 & wait
            [ "$(ls many | wc -l)" = 800 ]
            for n in $(seq 800); do read -r found < "many/$n"; [ "$found" = "$n" ]; done
            rm -r many && [ ! -e many ]
        "#);
    }

    /// Names of any bytes go through the tools unharmed
    fn unusual_names_go_through_the_tools(mount) {
        mount.bash(r#"
            for name in ' ' $'new\nline' $'tab\t' .hidden ... -dash 'q"uote' '*' $'\xff\xfe' 漢字 'a  b' 'back\slash' "$(printf 'x%.0s' $(seq 255))"
            do
                echo "$name" > "./$name"
                echo "$name" | cmp - "./$name"
            done
            [ "$(find . -type f -print0 | tr -dc '\0' | wc -c)" = 13 ]
            mkdir "$OUTSIDE/copy" && cp -r . "$OUTSIDE/copy" && diff -r . "$OUTSIDE/copy"
            find . -type f -print0 | xargs -0 rm
            [ -z "$(ls -A)" ]
        "#);
    }

    /// A path hundreds of folders deep would pass the key limit of LMDB; 60 are fine everywhere
    fn deep_paths(mount) {
        mount.bash(r#"
            path=$(printf 'deep/%.0s' $(seq 60))
            mkdir -p "$path"
            echo bottom > "$path/file"
            [ "$(cat "$path/file")" = bottom ]
            [ "$(find . -name file | tr -dc / | wc -c)" = 61 ]
            rm -r deep
            [ -z "$(ls -A)" ]
        "#);
    }
}
