//! make: what is older than what.

use crate::harness::{on_every_mount, skip};

/// A C project of two sources and a header, in the folder `project`.
pub(super) const PROJECT: &str = r#"
    mkdir -p project && cd project
    printf '#define ANSWER 42\nint twice(int);\n' > answer.h
    printf '#include "answer.h"\n#include <stdio.h>\nint main(void) { printf("%%d\\n", twice(ANSWER)); }\n' > main.c
    printf 'int twice(int x) { return 2 * x; }\n' > twice.c
    printf 'answer: main.o twice.o\n\tcc -o $@ $^\nmain.o: main.c answer.h\n\tcc -c main.c\ntwice.o: twice.c\n\tcc -c twice.c\n' > Makefile
"#;

on_every_mount! {
    /// A second make does nothing; a changed header makes what includes it, and no more
    fn make(mount) {
        mount.bash(&(PROJECT.to_owned() + r#"
            make -s
            [ "$(./answer)" = 84 ]
            make -q
            [ "$(make)" = "make: 'answer' is up to date." ]
            sed -i s/42/21/ answer.h
            [ "$(make | tr '\n' ' ')" = "cc -c main.c cc -o answer main.o twice.o " ]
            [ "$(./answer)" = 42 ]
            make -q
            touch -d '+1 hour' twice.c
            ! make -q
            touch twice.c && make -s 2> /dev/null && make -q
        "#));
    }

    /// find -newer tells what was written after a mark, as make does
    fn find_newer(mount) {
        if mount.kind == crate::harness::Kind::Folder {
            skip("a put over a file renames one, which makes its directory newer");
        }
        mount.bash(r#"
            mkdir a && touch a/1 a/2 a/3
            touch -d '2020-01-01' a/1 && touch -d '2020-01-01 00:00:00.000000001' a/2
            [ "$(find a -type f -newer a/1 | sort | tr '\n' ' ')" = "a/2 a/3 " ]
            [ "$(find a -type f -newermt 2020-01-02)" = a/3 ]
            touch mark
            [ -z "$(find a -newer mark)" ]
            echo changed > a/2
            [ "$(find a -newer mark)" = a/2 ]
            chmod 600 a/1
            [ "$(find a -newer mark)" = a/2 ]
            [ "$(find a -type f -cnewer mark | sort | tr '\n' ' ')" = "a/1 a/2 " ]
            mv a/1 a/4
            [ "$(find a -newer mark | sort | tr '\n' ' ')" = "a a/2 " ]
        "#);
    }
}
