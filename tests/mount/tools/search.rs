//! find, grep, sed, xargs, du, df.

use crate::harness::on_every_mount;

on_every_mount! {
    /// find by name, type, size and time; with -delete
    fn find(mount) {
        mount.bash(r#"
            mkdir -p src/a src/b/c
            touch src/one.rs src/a/two.rs src/b/three.txt
            head -c 5000 /dev/zero > src/b/c/big.rs
            [ "$(find src -name '*.rs' | sort | tr '\n' ' ')" = "src/a/two.rs src/b/c/big.rs src/one.rs " ]
            [ "$(find src -type d | wc -l)" = 4 ]
            [ "$(find src -size +4k)" = src/b/c/big.rs ]
            [ "$(find src -empty -type f | wc -l)" = 3 ]
            touch -d '2 days ago' src/one.rs
            [ "$(find src -mtime +1)" = src/one.rs ]
            find src -name '*.rs' -delete
            [ "$(find src -type f)" = src/b/three.txt ]
        "#);
    }

    /// grep -r over text and binary files
    fn grep(mount) {
        mount.bash(r#"
            mkdir -p g/h
            seq 1000 > g/numbers
            printf 'needle\n' > g/h/text
            printf '\0\0needle\0' > g/h/binary
            [ "$(grep -rl needle g | sort | tr '\n' ' ')" = "g/h/binary g/h/text " ]
            [ "$(grep -rIl needle g)" = g/h/text ]
            [ "$(grep -rc '^9' g/numbers)" = 111 ]
            ! grep -rq absent g
        "#);
    }

    /// sed -i writes a new file and renames it over the old one
    fn sed_in_place(mount) {
        mount.bash(r#"
            seq 1000 > lines
            chmod 640 lines
            sed -i 's/^5/five/' lines
            [ "$(grep -c '^five' lines)" = 111 ]
            sed -i.bak '1d' lines
            [ "$(head -n 1 lines)" = 2 ] && [ "$(head -n 1 lines.bak)" = 1 ]
            [ "$(stat -c %a lines)" = 640 ]
            [ "$(ls -A | tr '\n' ' ')" = "lines lines.bak " ]
        "#);
    }

    /// xargs runs many readers at once; du and df answer
    fn readers_in_parallel(mount) {
        mount.bash(r#"
            mkdir p
            for n in $(seq 100); do seq "$n" > "p/$n"; done
            total=$(ls p | xargs -P 8 -I{} wc -l p/{} | awk '{ lines += $1 } END { print lines }')
            [ "$total" = 5050 ]
            du -s --apparent-size -b p > /dev/null
            df . > /dev/null
        "#);
    }
}
