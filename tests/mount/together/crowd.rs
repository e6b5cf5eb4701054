//! Fifty processes that write one environment through py-lmdb while fifty more read and write it through the mount.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::harness::{Kind, Mount, dump, needs_kvfs, watched};

const EACH: usize = 50;
const SIZE: usize = 1 << 20;

/// Writes one value of 1 MB through py-lmdb, then reads those of its fellows that are there.
const DIRECT: &str = r#"
import sys, lmdb
store, number, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
environment = lmdb.open(store, map_size=1 << 30, max_readers=126)
with environment.begin(write=True) as transaction:
    transaction.put(b"direct/%03d" % number, b"%08d" % number * (size // 8))
with environment.begin() as transaction:
    for fellow in range(50):
        for side, base in ((b"direct", 0), (b"mount", 1000)):
            value = transaction.get(b"%s/%03d" % (side, fellow))
            assert value is None or value == b"%08d" % (base + fellow) * (size // 8), (side, fellow)
"#;

/// The same through the mount.
const MOUNTED: &str = r#"
import sys
mount, number, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open("%s/mount/%03d" % (mount, number), "wb") as file:
    file.write(b"%08d" % (1000 + number) * (size // 8))
for fellow in range(50):
    for side, base in (("direct", 0), ("mount", 1000)):
        try:
            with open("%s/%s/%03d" % (mount, side, fellow), "rb") as file:
                value = file.read()
        except FileNotFoundError:
            continue
        # A file of this mount is there, and empty or in part, until its writer closes it.
        whole = b"%08d" % (base + fellow) * (size // 8)
        assert value == whole or (side == "mount" and whole.startswith(value)), (side, fellow, len(value))
"#;

#[test]
fn fifty_direct_writers_and_fifty_through_the_mount() {
    watched(Duration::from_secs(300), |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &["--timeout", "120s"]);
        fs::create_dir(mount.at("mount")).unwrap();
        let start = |script: &str, where_: &std::path::Path, number: usize| -> Child {
            place
                .python(script)
                .arg(where_)
                .args([number.to_string(), SIZE.to_string()])
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut children: Vec<Child> = (0..EACH)
            .flat_map(|number| [start(DIRECT, &mount.store(), number), start(MOUNTED, mount.point(), number)])
            .collect();
        let mut failed = Vec::new();
        for (number, child) in children.iter_mut().enumerate() {
            if !child.wait().unwrap().success() {
                failed.push(number);
            }
        }
        assert!(failed.is_empty(), "{} of {} processes failed: {failed:?}", failed.len(), 2 * EACH);
        let keys = dump(place, &mount.store());
        for number in 0..EACH {
            for (side, base) in [("direct", 0), ("mount", 1000)] {
                let expected = format!("{:08}", base + number).repeat(SIZE / 8).into_bytes();
                let name = format!("{side}/{number:03}");
                assert!(keys.get(name.as_bytes()) == Some(&expected), "{name} in the store");
                assert!(fs::read(mount.at(&name)).unwrap() == expected, "{name} in the mount");
            }
        }
        assert_eq!(keys.len(), 2 * EACH, "the values");
    });
}

#[test]
fn many_processes_on_one_mount_lose_nothing() {
    watched(Duration::from_secs(180), |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        mount.bash(
            r#"
            worker() { mkdir "w$1"; for n in $(seq 40); do echo "$1 $n" > "w$1/t"; mv "w$1/t" "w$1/$n"; done; }
            workers=()
            for w in $(seq 12); do worker "$w" & workers+=($!); done
            for w in "${workers[@]}"; do wait "$w"; done
            [ "$(find . -type f | wc -l)" = 480 ]
        "#,
        );
        let keys = dump(place, &mount.store());
        for worker in 1..=12 {
            for number in 1..=40 {
                let value = keys.get(format!("w{worker}/{number}").as_bytes());
                assert_eq!(value, Some(&format!("{worker} {number}\n").into_bytes()));
            }
        }
        assert_eq!(keys.len(), 480, "the values");
    });
}
