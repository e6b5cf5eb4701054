//! A database in a file of the mount: sqlite3 with a rollback journal and with a write-ahead log.

use crate::harness::on_every_mount;

on_every_mount! {
    /// Create, insert, select, update, vacuum, integrity_check
    fn sqlite(mount) {
        mount.bash(r#"
            sqlite3 books.db "
                PRAGMA journal_mode = DELETE;
                CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, text BLOB);
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                INSERT INTO book SELECT i, 'title ' || i, randomblob(200) FROM n;
                CREATE INDEX by_title ON book (title);" > /dev/null
            [ "$(sqlite3 books.db 'SELECT count(*), sum(id) FROM book')" = '2000|2001000' ]
            for n in 1 2 3 4 5; do
                sqlite3 books.db "BEGIN; UPDATE book SET title = 'changed ' || id WHERE id % $n = 0; COMMIT;"
            done
            sqlite3 books.db "BEGIN; DELETE FROM book; ROLLBACK;"
            [ "$(sqlite3 books.db "SELECT count(*) FROM book WHERE title LIKE 'changed%'")" = 2000 ]
            sqlite3 books.db "DELETE FROM book WHERE id > 1000; VACUUM;"
            [ "$(sqlite3 books.db 'PRAGMA integrity_check')" = ok ]
            cp books.db "$OUTSIDE/books.db"
            [ "$(sqlite3 "$OUTSIDE/books.db" 'SELECT count(*) FROM book')" = 1000 ]
            [ "$(ls -A)" = books.db ]
        "#);
    }

    /// Two writers that wait for each other's locks lose nothing
    fn sqlite_with_two_writers(mount) {
        mount.bash(r#"
            sqlite3 count.db 'CREATE TABLE n (writer, value)'
            insert() {
                for value in $(seq 20); do
                    sqlite3 -cmd '.timeout 20000' count.db "INSERT INTO n VALUES ($1, $value)"
                done
            }
            insert 1 & first=$!
            insert 2 & second=$!
            wait $first; wait $second
            [ "$(sqlite3 count.db 'SELECT count(*), sum(value) FROM n')" = '40|420' ]
            [ "$(sqlite3 count.db 'PRAGMA integrity_check')" = ok ]
        "#);
    }

    /// A write-ahead log, whose index is memory that two writers and a reader share
    fn sqlite_with_a_write_ahead_log(mount) {
        mount.bash(r#"
            [ "$(sqlite3 log.db 'PRAGMA journal_mode = WAL')" = wal ]
            sqlite3 log.db 'CREATE TABLE n (writer, value)'
            insert() {
                { echo .timeout 20000; printf "INSERT INTO n VALUES ($1, %d);\n" $(seq 100); } | sqlite3 -bail log.db
            }
            count() {
                { echo .timeout 20000; printf 'SELECT count(*) FROM n;\n%.0s' $(seq 200); } | sqlite3 -bail -readonly log.db
            }
            insert 1 & first=$!
            insert 2 & second=$!
            count > "$OUTSIDE/counts" & third=$!
            wait $first; wait $second; wait $third
            sort -nc "$OUTSIDE/counts"
            [ "$(sqlite3 log.db 'SELECT count(*), sum(value) FROM n')" = '200|10100' ]
            [ "$(sqlite3 log.db 'PRAGMA integrity_check')" = ok ]
            sqlite3 log.db 'PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;' > /dev/null
            [ "$(ls -A)" = log.db ]
        "#);
    }

    /// A process that is killed in a transaction leaves what the next one rolls back or recovers
    fn sqlite_after_a_kill(mount) {
        mount.bash(r#"
            for mode in delete wal; do
                [ "$(sqlite3 $mode.db "PRAGMA journal_mode = $mode")" = $mode ]
                sqlite3 $mode.db 'CREATE TABLE n (value); INSERT INTO n VALUES (1)'
                # So small a cache that the file is written to before the commit.
                mkfifo "$OUTSIDE/orders.$mode"
                sqlite3 -bail $mode.db < "$OUTSIDE/orders.$mode" > "$OUTSIDE/said.$mode" & writer=$!
                exec 9> "$OUTSIDE/orders.$mode"
                echo "PRAGMA cache_size = 1; BEGIN; WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i
                      WHERE x < 500) INSERT INTO n SELECT randomblob(1000) FROM i; SELECT 'written';" >&9
                for _ in $(seq 400); do ! grep -q written "$OUTSIDE/said.$mode" || break; sleep 0.05; done
                grep -q written "$OUTSIDE/said.$mode"
                kill -9 $writer; wait $writer || true
                exec 9>&-
                [ "$(sqlite3 $mode.db 'SELECT count(*) FROM n')" = 1 ]
                [ "$(sqlite3 $mode.db 'PRAGMA integrity_check')" = ok ]
            done
        "#);
    }
}
