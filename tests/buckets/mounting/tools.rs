//! Ordinary tools in a mounted bucket, each checked by what another client sees of its objects.

use super::on_every_bucket;
use crate::LIMIT;
use crate::bucket::Bucket;
use crate::harness::watched;
use crate::server::Service;

on_every_bucket! {
    /// §4.2: when `close` returns, everybody sees the object; a copy and a move are the same bytes under another key.
    fn promise_4_2_coreutils_write_objects_that_others_read(bucket, mount) {
        mount.bash("echo hello >a; cat a");
        assert_eq!(bucket.get("a").unwrap(), b"hello\n");
        mount.bash("mkdir -p dir/deep; cp a dir/deep/b; test \"$(cat dir/deep/b)\" = hello");
        assert_eq!(bucket.get("dir/deep/b").unwrap(), b"hello\n");
        mount.bash("mv dir/deep/b dir/c; test ! -e dir/deep/b");
        assert_eq!((bucket.get("dir/deep/b"), bucket.get("dir/c").unwrap()), (None, b"hello\n".to_vec()));
        mount.bash("rm a; test ! -e a; ! cat a 2>/dev/null");
        assert_eq!(bucket.get("a"), None);
    }

    /// §4.5: a directory moves with all that is in it, by copies on the server.
    fn promise_4_5_a_directory_is_moved_whole(bucket, mount) {
        for n in 0..25 {
            bucket.put(&format!("old/{}/{n}", n % 3), format!("{n}"));
        }
        mount.bash("mv old new; test ! -e old; test \"$(find new -type f | wc -l)\" = 25; rm -r new/0");
        let mut keys = bucket.keys();
        keys.retain(|key| !key.ends_with('/'));
        assert_eq!(keys.len(), 16, "{keys:?}");
        assert!(keys.iter().all(|key| key.starts_with("new/") && !key.starts_with("new/0/")));
        assert_eq!(bucket.get("new/1/4").unwrap(), b"4");
    }

    /// §4.1, on objects: appends, writes in the middle, cuts, holes.
    fn promise_4_1_an_object_is_changed_in_place(bucket, mount) {
        bucket.put("log", "one\n");
        mount.bash("echo two >>log; printf 'ONE' | dd of=log conv=notrunc status=none");
        assert_eq!(bucket.get("log").unwrap(), b"ONE\ntwo\n");
        mount.bash("truncate -s 4 log; truncate -s 10 grown; printf end >>grown; sed -i s/ONE/1/ log");
        assert_eq!(bucket.get("log").unwrap(), b"1\n");
        assert_eq!(bucket.get("grown").unwrap(), b"\0\0\0\0\0\0\0\0\0\0end");
    }

    /// Editors save by a new file and a rename, or by a rename and a new file.
    fn editors_save(bucket, mount) {
        bucket.put("notes", "first line\n");
        mount.bash("vim -es -u NONE -c '%s/first/second/' -c 'wq' notes </dev/null");
        assert_eq!(bucket.get("notes").unwrap(), b"second line\n");
        mount.bash("echo more >new; mv new notes");
        assert_eq!(bucket.get("notes").unwrap(), b"more\n");
        assert_eq!(bucket.keys(), ["notes"]);
    }

    /// §5.7: what a bucket knows of an object, and what of it can be set; without other attributes, too.
    fn promise_5_7_what_a_bucket_knows_is_an_attribute(bucket, mount) {
        bucket.put("page", "<p>");
        mount.bash("setfattr -n user.kvfs.content-type -v text/html page");
        let kind = |key: &str| bucket.head(key).unwrap().content_type;
        assert_eq!(kind("page").as_deref(), Some("text/html"));
        let told = |name: &str| mount.bash(&format!("getfattr --only-values -n user.kvfs.{name} page"));
        assert_eq!(told("content-type"), "text/html");
        let tag = bucket.head("page").unwrap().tag;
        assert_eq!(told("version"), tag.trim_matches('"'));
        mount.bash("echo more >>page; test -z \"$(getfattr -m- page)\"");
        assert_eq!(kind("page").as_deref(), Some("text/html"));
        // Set while it is written, it goes with the put.
        mount.bash("exec 3>new.txt; setfattr -n user.kvfs.content-type -v image/x-own new.txt; echo x >&3");
        assert_eq!((kind("new.txt").as_deref(), bucket.get("new.txt").unwrap()), (Some("image/x-own"), b"x\n".to_vec()));
        mount.bash("! setfattr -n user.kvfs.version -v 1 page 2>$OUTSIDE/said; grep -q 'not permitted' $OUTSIDE/said");
        mount.bash("! setfattr -n user.kvfs.content-type -v $'a\\nb: c' page 2>/dev/null");
        assert_eq!(kind("page").as_deref(), Some("text/html"));
    }

    /// What other clients wrote is found and packed; what is unpacked and synchronised, others find.
    fn archives_and_searches(bucket, mount) {
        for n in 0..40 {
            bucket.put(&format!("in/{}/{n}", n % 4), format!("line of {n}\nneedle {n}\n"));
        }
        assert_eq!(mount.bash("grep -r needle in | wc -l").trim(), "40");
        assert_eq!(mount.bash("grep -rl 'needle 17$' in").trim(), "in/1/17");
        mount.bash("tar cf $OUTSIDE/all.tar in; mkdir out; tar xf $OUTSIDE/all.tar --touch --no-same-owner -C out");
        mount.bash("diff -r in out/in; mkdir $OUTSIDE/copy; rsync -r in/ $OUTSIDE/copy; diff -r in $OUTSIDE/copy");
        mount.bash("echo changed >$OUTSIDE/copy/1/17; rsync -r --checksum $OUTSIDE/copy/ in");
        assert_eq!(bucket.get("in/1/17").unwrap(), b"changed\n");
        assert_eq!(bucket.get("out/in/3/39").unwrap(), b"line of 39\nneedle 39\n");
    }

    /// §2.2, §2.4: a directory that was made is there after a remount, and so is its emptiness.
    fn promise_2_2_a_made_directory_is_a_marker(bucket, mount) {
        mount.bash("mkdir made made/in; rmdir made/in; test -d made");
        assert_eq!(bucket.keys(), ["made/"]);
        mount.remount();
        mount.bash("test -d made; test -z \"$(ls -A made)\"; touch made/file; ! rmdir made 2>/dev/null; rm made/file; rmdir made");
        assert_eq!(bucket.keys(), Vec::<String>::new());
    }
}

/// §4.7: what editors and copying programs make beside a file never reaches the bucket, and costs it nothing.
#[test]
fn promise_4_7_an_edit_is_one_put() {
    for service in Service::ALL {
        service.server();
        watched(LIMIT, move |place| {
            let bucket = Bucket::new(service);
            bucket.put_with("d/notes", "one\n", &[("keeper", "them")]);
            let proxy = bucket.proxy();
            let mount = bucket.mount_through(place, &proxy, &[]);
            let edits = [
                ("sed -i s/one/two/ d/notes", "two\n"),
                ("printf three >$OUTSIDE/notes; rsync $OUTSIDE/notes d/", "three"),
                ("vim -es -u NONE -c 'set bkc=yes' -c s/three/four/ -c wq d/notes </dev/null", "four\n"),
            ];
            let mut drawn = false;
            for (edit, bytes) in edits {
                // One name in 200 that sed or rsync draw looks like a word, and is a file like any other.
                for _ in 0..5 {
                    proxy.forget();
                    mount.bash(edit);
                    if !proxy.requests().iter().any(|request| has_drawn_word(request)) {
                        break;
                    }
                    drawn = true;
                }
                // vim sets the mode behind its close.
                let counts = proxy.counts();
                let changes: Vec<_> = counts
                    .iter()
                    .filter(|(what, _)| !matches!(**what, "head" | "get" | "list" | "set"))
                    .collect();
                assert_eq!(changes, [(&"put", &1)], "{service:?}: {edit}: {:?}", proxy.requests());
                assert_eq!(bucket.get("d/notes").unwrap(), bytes.as_bytes(), "{service:?}: {edit}");
            }
            // A file like any other that takes its place takes the place of what is kept with it, too.
            if !drawn {
                assert_eq!(bucket.head("d/notes").unwrap().metadata["keeper"], "them");
            }
            mount.bash(
                "printf swap >d/.notes.swp; test \"$(cat d/.notes.swp)\" = swap; ls -A d | grep -q swp",
            );
            assert_eq!(bucket.keys(), ["d/notes"], "{service:?}");
        });
    }
}

/// Whether a request is for a file that sed or rsync made for a moment, whose name has no capital and no digit.
fn has_drawn_word(request: &str) -> bool {
    ["/sed", "/.notes."].iter().any(|start| {
        request.split(start).skip(1).any(|rest| {
            let word = rest.split(|letter: char| !letter.is_ascii_alphanumeric()).next();
            word.is_some_and(|word| word.len() == 6 && word.bytes().all(|letter| letter.is_ascii_lowercase()))
        })
    })
}

/// §4.7: a link of such a name is a lock, which leads nowhere, or becomes a file's: where links are kept.
#[test]
fn promise_4_7_links_of_a_moment() {
    for service in Service::ALL {
        service.server();
        let by_itself = matches!(service, Service::Google | Service::Azure);
        let kept: &[bool] = if by_itself { &[true] } else { &[false, true] };
        for &kept in kept {
            watched(LIMIT, move |place| {
                let bucket = Bucket::new(service);
                bucket.put_with("notes", "one\n", &[("keeper", "them")]);
                let options: &[&str] = if kept && !by_itself { &["--attrs", "native"] } else { &[] };
                let mount = bucket.mount(place, options);
                mount.bash(
                    "ln -s me@here .#notes; test \"$(readlink .#notes)\" = me@here; ls -A | grep -q '#'",
                );
                mount.bash("printf 1 >.notes.swp; chmod 600 .notes.swp; test $(stat -c %a .notes.swp) = 600");
                assert_eq!(bucket.keys(), ["notes"], "{service:?}");
                mount.bash("rm .#notes .notes.swp");
                mount.bash("emacs -batch notes --eval '(progn (setq make-backup-files nil) (insert \"five \") (save-buffer))' 2>&1");
                assert_eq!(bucket.get("notes").unwrap(), b"five one\n", "{service:?}");
                assert_eq!(bucket.head("notes").unwrap().metadata["keeper"], "them", "{service:?}");
                if !kept {
                    mount.bash("ln -s there .notes.AbCdEf; if mv -fT .notes.AbCdEf notes; then false; fi");
                    mount.bash("test -L .notes.AbCdEf; test \"$(cat notes)\" = 'five one'");
                    assert_eq!(bucket.keys(), ["notes"], "{service:?}");
                    return;
                }
                mount.bash("for to in here there; do ln -sfn $to $OUTSIDE/l; rsync -l $OUTSIDE/l .; test $(readlink l) = $to; done");
                mount.bash(
                    "ln -s there .notes.AbCdEf; mv -fT .notes.AbCdEf notes; test $(readlink notes) = there",
                );
                assert_eq!(bucket.keys(), ["l", "notes"], "{service:?}");
            });
        }
    }
}
