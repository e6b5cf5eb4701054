//! How many requests each operation costs, counted by the proxy: the table of docs/requests.md, which this keeps true.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::harness::{Mount, put, until, watched};
use crate::proxy::Proxy;
use crate::server::{Service, repository, start};

/// One row: what is done, how a folder is prepared for it by another client, and by which call.
struct Row {
    what: &'static str,
    /// Whether the folder is listed before, within the TTL.
    listed: bool,
    act: fn(&Path),
    /// At most so many requests (the goals); `u64::MAX` where there is none.
    goal: u64,
}

const SMALL: &[u8] = b"4096 bytes or fewer";

const ROWS: &[Row] = &[
    Row { what: "list 100 files, with sizes and times", listed: false, act: |dir| names(dir), goal: 1 },
    Row { what: "`stat`", listed: true, act: |dir| size(&dir.join("50")), goal: 0 },
    Row {
        what: "read a small file",
        listed: true,
        act: |dir| drop(fs::read(dir.join("51")).unwrap()),
        goal: 1,
    },
    Row {
        what: "create a small file",
        listed: true,
        act: |dir| put(dir.join("new"), SMALL).unwrap(),
        goal: 1,
    },
    Row {
        what: "replace a small file",
        listed: true,
        act: |dir| put(dir.join("52"), SMALL).unwrap(),
        goal: u64::MAX,
    },
    Row { what: "append to a small file", listed: true, act: |dir| append(&dir.join("53")), goal: u64::MAX },
    Row { what: "`rm`", listed: true, act: |dir| fs::remove_file(dir.join("54")).unwrap(), goal: 1 },
    Row {
        what: "`mv` of a file",
        listed: true,
        act: |dir| fs::rename(dir.join("55"), dir.join("moved")).unwrap(),
        goal: u64::MAX,
    },
    Row {
        what: "`mkdir`",
        listed: true,
        act: |dir| fs::create_dir(dir.join("made")).unwrap(),
        goal: u64::MAX,
    },
    Row { what: "`stat`", listed: false, act: |dir| size(&dir.join("60")), goal: 2 },
    Row {
        what: "read a small file",
        listed: false,
        act: |dir| drop(fs::read(dir.join("61")).unwrap()),
        goal: 3,
    },
    Row {
        what: "create a small file",
        listed: false,
        act: |dir| put(dir.join("new"), SMALL).unwrap(),
        goal: 3,
    },
    Row { what: "`rm`", listed: false, act: |dir| fs::remove_file(dir.join("64")).unwrap(), goal: 3 },
    Row {
        what: "write 64 MiB",
        listed: true,
        act: |dir| put(dir.join("large"), &vec![b'x'; 64 << 20]).unwrap(),
        goal: u64::MAX,
    },
];

fn names(dir: &Path) {
    let sizes = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(sizes.sum::<u64>(), 100 * SMALL.len() as u64);
}

fn size(path: &Path) {
    assert_eq!(fs::metadata(path).unwrap().len(), SMALL.len() as u64);
}

fn append(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(SMALL).unwrap();
    crate::harness::close(file).unwrap();
}

/// Fills the folder of each row, by another client and before there is a mount: one that is asked for many names of a
/// folder lists it, and then knows for the time of its TTL what is not there.
fn fill(bucket: &Bucket) {
    for number in 0..ROWS.len() {
        for n in 0..100 {
            bucket.put(&format!("dir{number}/{n}"), SMALL);
        }
    }
}

/// The requests of one row on a mount that knows nothing of its folder, but for the listing.
fn measure(bucket: &Bucket, mount: &Mount, proxy: &Proxy, number: usize, row: &Row) -> String {
    let dir = mount.at(format!("dir{number}"));
    // The folder itself is known in any case: somebody walked into it.
    assert!(dir.is_dir());
    if row.listed {
        names(&dir);
    }
    proxy.forget();
    (row.act)(&dir);
    let counts = proxy.counts();
    let total: u64 = counts.values().sum();
    assert!(total <= row.goal, "{} ({:?}): {:?}", row.what, bucket.service, proxy.requests());
    let counts: Vec<String> =
        counts.iter().map(|(operation, count)| format!("{count} {operation}")).collect();
    if counts.is_empty() { "0".to_owned() } else { counts.join(", ") }
}

/// Every service, in a column of its own.
#[test]
fn the_table_of_the_docs_is_what_is_counted() {
    let services = [Service::Moto, Service::Google, Service::Azure];
    start(&services);
    watched(crate::LIMIT, move |place| {
        let mut columns = Vec::new();
        for service in services {
            let bucket = Bucket::new(service);
            fill(&bucket);
            let proxy = bucket.proxy();
            // A time that a busy machine does not outlast.
            let mut mount = bucket.mount_through(place, &proxy, &["--ttl", "10m"]);
            let column: Vec<String> = ROWS
                .iter()
                .enumerate()
                .map(|(number, row)| measure(&bucket, &mount, &proxy, number, row))
                .collect();
            mount.unmount();
            columns.push(column);
        }
        let mut table =
            String::from("| what | folder listed | S3 | Google | Azure |\n|---|---|---|---|---|\n");
        for (n, row) in ROWS.iter().enumerate() {
            let cells: Vec<&str> = columns.iter().map(|column| &*column[n]).collect();
            let listed = if row.listed { "yes" } else { "no" };
            table.push_str(&format!("| {} | {listed} | {} |\n", row.what, cells.join(" | ")));
        }
        let docs = fs::read_to_string(repository("docs/requests.md")).unwrap_or_default();
        assert!(docs.contains(&table), "docs/requests.md is to have this table:\n{table}");
    });
}

/// §4.2: a shell closes what it made for its command while it is empty, and that puts nothing; the last close does.
#[test]
fn promise_4_2_a_redirection_is_one_put() {
    start(&[Service::Moto]);
    watched(crate::LIMIT, |place| {
        let bucket = Bucket::new(Service::Moto);
        let proxy = bucket.proxy();
        let mount = bucket.mount_through(place, &proxy, &[]);
        for (n, (script, bytes)) in [
            ("echo builtin >f0", "builtin\n"),
            ("cat /dev/null >f1", ""),
            (": >f2", ""),
            ("(echo sub; echo shell) >f3", "sub\nshell\n"),
        ]
        .into_iter()
        .enumerate()
        {
            proxy.forget();
            mount.bash(script);
            assert_eq!(bucket.get(&format!("f{n}")).unwrap(), bytes.as_bytes(), "{script}");
            assert_eq!(proxy.counts().get("put"), Some(&1), "{script}: {:?}", proxy.requests());
        }
    });
}

/// Random reads of 4 KiB: at most 32 times the bytes that were asked for, and at most a request each.
#[test]
fn random_reads_fetch_little_besides() {
    start(&[Service::Moto]);
    watched(crate::LIMIT, |place| {
        let bucket = Bucket::new(Service::Moto);
        let bytes = crate::harness::noise(9, 64 << 20);
        bucket.put("large", &bytes);
        let proxy = bucket.proxy();
        let mount = bucket.mount_through(place, &proxy, &[]);
        let file = fs::File::open(mount.at("large")).unwrap();
        proxy.forget();
        let (reads, asked) = (200_u64, 4096_u64);
        for n in 1..=reads {
            // Steps of an odd number of pages go all over the file, and never on where the last read ended.
            let at = n * 7_919 % (bytes.len() as u64 / asked) * asked;
            let mut piece = vec![0; asked as usize];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut piece, at).unwrap();
            assert!(piece == bytes[at as usize..][..asked as usize]);
        }
        let requests: u64 = proxy.counts().values().sum();
        assert!(requests <= reads, "{requests} requests for {reads} reads");
        let fetched = proxy.announced();
        assert!(fetched <= 32 * reads * asked, "{} bytes fetched for {} asked", fetched, reads * asked);
    });
}

/// With `--attrs native` on S3, whose listings tell none: each object is asked once for each of its versions, also by later
/// mounts with `--cache`, and by a later listing of one mount.
#[test]
fn attributes_are_asked_for_once_a_version() {
    start(&[Service::Moto]);
    watched(crate::LIMIT, |place| {
        let bucket = Bucket::new(Service::Moto);
        for n in 0..40 {
            bucket.put_with(&format!("d/{n}"), "x", &[("mode", "33152")]);
        }
        let proxy = bucket.proxy();
        let cache = place.at("cache");
        let options = ["--attrs", "native", "--ttl", "1h", "--cache", cache.to_str().unwrap()];
        let mut mount = bucket.mount_through(place, &proxy, &options);
        let heads = |mount: &Mount| {
            proxy.forget();
            assert_eq!(mount.bash("ls -l d | grep -c ^-rw-------").trim(), "40");
            // The folder itself is looked up, and asked for its marker.
            let objects =
                |line: &String| line.starts_with("head: ") && !line.ends_with("/d") && !line.ends_with("/d/");
            proxy.requests().iter().filter(|line| objects(line)).count()
        };
        assert_eq!(heads(&mount), 40);
        mount.remount();
        assert_eq!(heads(&mount), 0);
        bucket.put_with("d/7", "others", &[("mode", "33152")]);
        mount.remount();
        assert_eq!(heads(&mount), 1);
        mount.unmount();
        // Long enough that a listing and its names are one, on a busy machine too.
        let ttl = Duration::from_secs(5);
        let mount = bucket.mount_through(place, &proxy, &["--attrs", "native", "--ttl", "5s"]);
        assert_eq!(heads(&mount), 40);
        let good_until = kvfs::env::now() + ttl;
        until(2 * ttl, "what was listed is old", || (kvfs::env::now() > good_until).then_some(()));
        assert_eq!(heads(&mount), 0);
        assert!(proxy.counts().get("list") >= Some(&1), "{:?}", proxy.requests());
    });
}
