//! Old versions, where the bucket keeps them: all of it at one moment, and every version of every object.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kvfs::env;

use crate::LIMIT;
use crate::bucket::Bucket;
use crate::harness::{Mount, PATIENCE, until, watched};
use crate::server::Service;

/// The services whose versions are shown.
const KEEP: [Service; 3] = [Service::Ceph, Service::Moto, Service::Google];

/// A little more than the unit of S3's clocks.
const SECOND: Duration = Duration::from_millis(1100);

/// A moment that lies between what was put before and what is put from now on, however coarse the server's clock is.
fn between() -> SystemTime {
    let later = || {
        let begin = env::now();
        until(PATIENCE, "the clock goes on", || {
            (env::now().duration_since(begin).unwrap_or_default() > SECOND).then_some(())
        });
    };
    later();
    let moment = env::now();
    later();
    moment
}

/// Every file below a folder, by its path there, with its bytes.
fn files(folder: &Path) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                assert!(found.insert((name.clone(), fs::read_to_string(&path).unwrap())), "{name} twice");
            }
        }
    }
    found
}

fn expected(files: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    files.iter().map(|&(name, bytes)| (name.to_owned(), bytes.to_owned())).collect()
}

#[test]
fn a_moment_of_the_past_is_mounted() {
    for service in KEEP {
        service.server();
        watched(LIMIT, move |place| {
            let bucket = Bucket::versioned(service);
            bucket.put("a", "one");
            bucket.put("a", "two");
            bucket.put("d/removed", "was here");
            bucket.put("d/replaced", "before");
            bucket.put("only/then", "1");
            let moment = between();
            bucket.put("a", "three, longer");
            bucket.put("d/replaced", "after");
            bucket.put("later/x", "2");
            bucket.delete("d/removed");
            bucket.delete("only/then");
            bucket.put("only/then", "again");
            bucket.delete("only/then");
            let time = humantime::format_rfc3339(moment).to_string();
            let mut mount = bucket.mount(place, &["--snapshot", &time]);
            let then = expected(&[
                ("a", "two"),
                ("d/removed", "was here"),
                ("d/replaced", "before"),
                ("only/then", "1"),
            ]);
            assert_eq!(files(mount.point()), then, "{service:?}");
            assert_eq!(fs::read_to_string(mount.point().join("d/removed")).unwrap(), "was here");
            assert!(!mount.point().join("later").exists() && !mount.point().join("later/x").exists());
            let refused = fs::write(mount.point().join("a"), "x").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
            let ago = env::now().duration_since(moment).unwrap().as_millis();
            mount.unmount();
            let mount = bucket.mount(place, &[&format!("--snapshot={ago}ms")]);
            assert_eq!(files(mount.point()), then, "{service:?}");
            drop(mount);
            // Without a time, what there was a moment ago; what comes later is not in it.
            between();
            let now = bucket.mount(place, &["--snapshot"]);
            bucket.put("later/y", "3");
            assert_eq!(
                files(now.point()),
                expected(&[("a", "three, longer"), ("d/replaced", "after"), ("later/x", "2")]),
                "{service:?}"
            );
        });
    }
}

#[test]
fn every_version_of_a_file_is_a_file() {
    for service in KEEP {
        service.server();
        watched(LIMIT, move |place| {
            let bucket = Bucket::versioned(service);
            bucket.put("d/a", "one");
            bucket.put("d/a", "two");
            bucket.put("d/gone", "still to be had");
            bucket.delete("d/gone");
            let mount = bucket.mount(place, &[]);
            fs::write(mount.point().join("d/a"), "three").unwrap();
            let versions = mount.point().join("%kvfs/versions/d");
            let names = |folder: &Path| {
                let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
                let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
                names.sort();
                names
            };
            assert_eq!(names(&versions), ["a", "gone"], "{service:?}");
            let all: BTreeSet<_> = files(&versions.join("a")).into_iter().map(|(_, bytes)| bytes).collect();
            assert_eq!(all, ["one", "two", "three"].map(str::to_owned).into(), "{service:?}");
            let [gone] = &names(&versions.join("gone"))[..] else { panic!("{service:?}: more than one") };
            // What was removed is put back by a copy.
            fs::copy(versions.join("gone").join(gone), mount.point().join("d/gone")).unwrap();
            assert_eq!(bucket.get("d/gone").unwrap(), b"still to be had");
            // Nobody meets it who walks, and nobody can change it.
            assert_eq!(names(mount.point()), ["d"]);
            let refused = fs::remove_file(versions.join("gone").join(gone)).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS), "{refused}");
            let refused = fs::write(versions.join("new"), "x").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS), "{refused}");
        });
    }
}

#[test]
fn a_bucket_without_versions_says_so() {
    for (service, words) in [
        (Service::Ceph, "keeps no old versions"),
        (Service::Moto, "keeps no old versions"),
        (Service::Google, "keeps no old versions"),
        (Service::Azure, "takes no time"),
    ] {
        service.server();
        watched(LIMIT, move |place| {
            let bucket = Bucket::new(service);
            bucket.authorise(place);
            let mut options = bucket.options(&service.server().url);
            options.push("--snapshot=1s".to_owned());
            let source = bucket.source("");
            let point = place.at("data");
            let mut arguments: Vec<_> = options.iter().map(std::ffi::OsStr::new).collect();
            arguments.extend([source.as_os_str(), point.as_os_str()]);
            let said = Mount::refused_mount(place, &arguments).sentence(&source.to_string_lossy());
            assert!(said.contains(words), "{service:?}: {said}");
        });
    }
}
