//! A database in a file of the mount: sqlite3 with a rollback journal.

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
}
