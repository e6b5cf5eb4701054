//! Environments and databases of every kind that LMDB has, as other programs make them.

use std::fs;

use crate::harness::{
    Foreign, Kind, LIMIT, Mount, PATIENCE, dump, finish, needs_kvfs, put, refused, until, watched,
};

fn hex(text: impl AsRef<[u8]>) -> String {
    format!("={}", hex::encode(text))
}

#[test]
fn named_databases_are_folders() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.put("main", "in the main database");
        foreign.ask(&format!("put-in {} {} {}", hex("books"), hex("a/b"), hex("in books")));
        until(PATIENCE, "books%db is there", || fs::metadata(mount.at("books%db")).ok());
        assert_eq!(mount.bash("ls | tr '\\n' ' '"), "books%db main ");
        assert_eq!(fs::read(mount.at("books%db/a/b")).unwrap(), b"in books");
        fs::write(mount.at("books%db/c"), "by the mount").unwrap();
        fs::create_dir(mount.at("made%db")).unwrap();
        fs::write(mount.at("made%db/x"), "y").unwrap();
        let pairs = foreign.ask(&format!("list-in {}", hex("books")));
        assert_eq!(pairs, format!("{}:{} {}:{}", hex("a/b"), hex("in books"), hex("c"), hex("by the mount")));
        assert_eq!(foreign.ask(&format!("list-in {}", hex("made"))), format!("{}:{}", hex("x"), hex("y")));
        refused(libc::ENOTEMPTY, "rmdir of a database with keys", fs::remove_dir(mount.at("made%db")));
        fs::remove_file(mount.at("made%db/x")).unwrap();
        fs::remove_dir(mount.at("made%db")).unwrap();
        refused(libc::ENOENT, "the removed database", fs::metadata(mount.at("made%db")));
        assert!(put(mount.at("books"), b"over the database's record").is_err());
        let _ = fs::remove_file(mount.at("books"));
        assert_eq!(fs::read(mount.at("books%db/c")).unwrap(), b"by the mount");
        drop(foreign);
        mount.remount();
        assert_eq!(mount.bash("find . -type f | sort | tr '\\n' ' '"), "./books%db/a/b ./books%db/c ./main ");
    });
}

#[test]
fn a_dupsort_key_is_a_folder_of_empty_files() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        foreign.ask(&format!("database {} dupsort", hex("tags")));
        for value in ["red", "green", "a/b"] {
            foreign.ask(&format!("put-in {} {} {} dupsort", hex("tags"), hex("k/1"), hex(value)));
        }
        until(PATIENCE, "tags%db has its key", || fs::metadata(mount.at("tags%db/k%2F1")).ok());
        assert_eq!(mount.bash("ls tags%db/k%2F1 | tr '\\n' ' '"), "a%2Fb green red ");
        assert_eq!(fs::metadata(mount.at("tags%db/k%2F1/red")).unwrap().len(), 0);
        fs::write(mount.at("tags%db/k%2F1/blue"), "").unwrap();
        fs::remove_file(mount.at("tags%db/k%2F1/red")).unwrap();
        let pairs = foreign.ask(&format!("list-in {} dupsort", hex("tags")));
        let expected: Vec<String> =
            ["a/b", "blue", "green"].map(|value| format!("{}:{}", hex("k/1"), hex(value))).into();
        assert_eq!(pairs, expected.join(" "));
        assert!(put(mount.at("tags%db/k%2F1/content"), b"no").is_err(), "the name is the value");
        // A name that can never be put is taken away again, or an unmount would wait for it.
        fs::remove_file(mount.at("tags%db/k%2F1/content")).unwrap();
        assert_eq!(foreign.ask(&format!("list-in {} dupsort", hex("tags"))), expected.join(" "));
    });
}

#[test]
fn integer_keys_are_decimal_names() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        for (number, value) in [(7_u32, "seven"), (1000, "thousand"), (42, "answer")] {
            foreign.ask(&format!(
                "put-in {} {} {} integerkey",
                hex("n"),
                hex(number.to_ne_bytes()),
                hex(value)
            ));
        }
        until(PATIENCE, "n%db has its keys", || {
            (fs::read_dir(mount.at("n%db")).ok()?.count() == 3).then_some(())
        });
        assert_eq!(mount.bash("ls n%db | sort -n | tr '\\n' ' '"), "7 42 1000 ");
        assert_eq!(fs::read(mount.at("n%db/42")).unwrap(), b"answer");
        fs::write(mount.at("n%db/256"), "written").unwrap();
        let pairs = foreign.ask(&format!("list-in {} integerkey", hex("n")));
        assert!(pairs.contains(&format!("{}:{}", hex(256_u32.to_ne_bytes()), hex("written"))), "{pairs}");
        assert!(put(mount.at("n%db/no-number"), b"x").is_err());
        assert_eq!(mount.bash("ls n%db | wc -l").trim(), "4");
    });
}

#[test]
fn reverse_keys_are_listed_whole() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        for key in ["az", "by", "cx"] {
            foreign.ask(&format!("put-in {} {} {} reverse_key", hex("r"), hex(key), hex(key)));
        }
        until(PATIENCE, "r%db has its keys", || {
            (fs::read_dir(mount.at("r%db")).ok()?.count() == 3).then_some(())
        });
        for key in ["az", "by", "cx"] {
            assert_eq!(fs::read_to_string(mount.at(format!("r%db/{key}"))).unwrap(), key);
        }
    });
}

#[test]
fn an_environment_that_is_a_single_file() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let text = place.at("load.txt");
        fs::write(&text, "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n a\n 1\nDATA=END\n").unwrap();
        finish(place.command("mdb_load").arg("-n").arg("-f").arg(&text).arg(place.at("one.mdb")))
            .ok("mdb_load -n");
        let source = format!("lmdb:{}", place.at("one.mdb").display());
        let mount = Mount::of(place, Kind::Apart, source.into(), "data", &[]);
        assert_eq!(fs::read(mount.at("a")).unwrap(), b"1");
        fs::write(mount.at("b"), "2").unwrap();
        assert_eq!(dump(place, &place.at("one.mdb"))[b"b".as_slice()], b"2");
    });
}

#[test]
fn a_path_is_told_by_its_content() {
    watched(LIMIT, |place| {
        needs_kvfs();
        crate::harness::load(place, &place.at("environment"), &[("a", "1")]);
        let mount = Mount::of(place, Kind::Apart, place.at("environment").into(), "data", &[]);
        assert_eq!(fs::read(mount.at("a")).unwrap(), b"1");
    });
}
