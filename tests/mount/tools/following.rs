//! One process writes what another reads: tail -f, dd conv=notrunc.

use crate::harness::on_every_mount;

on_every_mount! {
    /// tail -f of a file that other processes append to
    fn tail_f(mount) {
        mount.bash(r#"
            echo 0 > log
            tail -n +1 -s 0.05 -f log > "$OUTSIDE/seen" & tail=$!
            trap 'kill $tail' EXIT
            for n in $(seq 50); do echo "$n" >> log; done
            for _ in $(seq 400); do
                [ "$(wc -l < "$OUTSIDE/seen")" -lt 51 ] || break
                sleep 0.05
            done
            seq 0 50 | cmp - "$OUTSIDE/seen"
        "#);
    }

    /// dd conv=notrunc from several processes into one file, each its own part
    fn dd_into_parts(mount) {
        mount.bash(r#"
            seq 100000 > "$OUTSIDE/whole"
            size=$(stat -c %s "$OUTSIDE/whole")
            truncate -s "$size" parts
            for part in 0 1 2 3 4 5 6 7; do
                dd if="$OUTSIDE/whole" of=parts bs=65536 skip="$part" seek="$part" count=1 conv=notrunc status=none
            done
            dd if="$OUTSIDE/whole" of=parts bs=65536 skip=8 seek=8 conv=notrunc status=none
            cmp "$OUTSIDE/whole" parts
            printf XYZ | dd of=parts bs=1 seek=70000 conv=notrunc,fsync status=none
            printf XYZ | dd of="$OUTSIDE/whole" bs=1 seek=70000 conv=notrunc,fsync status=none
            printf end | dd of=parts oflag=append conv=notrunc status=none
            printf end >> "$OUTSIDE/whole"
            cmp "$OUTSIDE/whole" parts
        "#);
    }
}
