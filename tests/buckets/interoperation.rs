//! Other file systems on S3 and kvfs, on the same objects: what one writes, the other shows with the same bytes, times and modes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::LIMIT;
use crate::bucket::Bucket;
use crate::harness::{Mount, Place, mounts_below, needs_root, until, watched};
use crate::server::Service;

/// `2021-03-04 05:06:07` and half a second.
const MOMENT: &str = "2021-03-04T05:06:07.5Z";
const MOMENT_SECONDS: i64 = 1_614_834_367;

/// A mount of s3fs. Unmounted at drop.
struct S3fs<'a> {
    place: &'a Place,
}

impl S3fs<'_> {
    fn new<'a>(place: &'a Place, bucket: &Bucket) -> S3fs<'a> {
        let url = &bucket.service.server().url;
        let script = format!(
            "mkdir -p other; (umask 077; echo kvfs:kvfssecret >passwd); \
             s3fs {} $PLACE/other -o url={url},use_path_request_style,passwd_file=$PLACE/passwd",
            bucket.name
        );
        place.bash(place.folder(), &script);
        let mounted = || mounts_below(&place.at("other")).first().map(drop);
        until(LIMIT, "s3fs is mounted", mounted);
        S3fs { place }
    }
}

impl Drop for S3fs<'_> {
    fn drop(&mut self) {
        self.place.bash(self.place.folder(), "umount other || fusermount3 -u other");
    }
}

fn native(place: &Place, bucket: &Bucket) -> Mount {
    bucket.mount(place, &["--attrs", "native"])
}

/// What s3fs keeps: modes, owners, times, links.
#[test]
fn what_s3fs_writes_kvfs_shows_and_back() {
    Service::Ceph.server();
    watched(LIMIT, |place| {
        needs_root("owners of files");
        let bucket = Bucket::new(Service::Ceph);
        let s3fs = S3fs::new(place, &bucket);
        place.bash(
            &place.at("other"),
            &format!(
                "echo of s3fs >file; chmod 640 file; chown 12:34 file; touch -d {MOMENT} file; ln -s file link; mkdir dir; \
                 chmod 750 dir; echo in it >dir/deep"
            ),
        );
        let mut mount = native(place, &bucket);
        let seen = fs::metadata(mount.at("file")).unwrap();
        assert_eq!((seen.mode() & 0o7777, seen.uid(), seen.gid()), (0o640, 12, 34));
        assert_eq!(seen.mtime(), MOMENT_SECONDS);
        assert_eq!(fs::read(mount.at("file")).unwrap(), b"of s3fs\n");
        assert_eq!(fs::read_link(mount.at("link")).unwrap().to_str(), Some("file"));
        assert_eq!(fs::metadata(mount.at("dir")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(fs::read(mount.at("dir/deep")).unwrap(), b"in it\n");
        mount.bash(&format!(
            "echo of kvfs >own; chmod 604 own; chown 56:78 own; touch -d {MOMENT} own; ln -s own sym"
        ));
        mount.unmount();
        drop(s3fs);
        let _s3fs = S3fs::new(place, &bucket);
        let told = place.bash(&place.at("other"), "stat -c '%a %u %g %Y %s' own; cat own; readlink sym");
        assert_eq!(told, format!("604 56 78 {MOMENT_SECONDS} 8\nof kvfs\nown\n"));
    });
}

/// What rclone keeps: times, and with `--metadata` modes in octal.
#[test]
fn what_rclone_writes_kvfs_shows_and_back() {
    Service::Ceph.server();
    watched(LIMIT, |place| {
        let bucket = Bucket::new(Service::Ceph);
        for (name, value) in [
            ("RCLONE_CONFIG_KVFS_TYPE", "s3"),
            ("RCLONE_CONFIG_KVFS_PROVIDER", "Ceph"),
            ("RCLONE_CONFIG_KVFS_ENV_AUTH", "true"),
            ("RCLONE_CONFIG_KVFS_ENDPOINT", &bucket.service.server().url),
        ] {
            place.export(name, value);
        }
        bucket.authorise(place);
        // rclone 1.60 cannot start where this names a file.
        place.export("AWS_CA_BUNDLE", "");
        place.bash(
            &place.at("outside"),
            &format!(
                "echo of rclone >file; chmod 640 file; touch -d {MOMENT} file; rclone copy --metadata file kvfs:{}/dir",
                bucket.name
            ),
        );
        let mut mount = native(place, &bucket);
        let seen = fs::metadata(mount.at("dir/file")).unwrap();
        assert_eq!((seen.mode() & 0o7777, seen.mtime()), (0o640, MOMENT_SECONDS));
        assert_eq!(fs::read(mount.at("dir/file")).unwrap(), b"of rclone\n");
        mount.bash(&format!("echo of kvfs >own; touch -d {MOMENT} own"));
        mount.unmount();
        let told = place.bash(&place.at("outside"), &format!("rclone lsl kvfs:{}/own", bucket.name));
        assert!(told.contains("8 2021-03-04 05:06:07.5"), "{told}");
    });
}

/// A program with boto3 knows nothing of files: its own metadata is kept by whatever kvfs does to the object, and so is its type.
#[test]
fn what_programs_say_of_their_objects_stays() {
    Service::Moto.server();
    watched(LIMIT, |place| {
        let bucket = Bucket::new(Service::Moto);
        bucket.put_with("report", "bytes", &[("author", "ada")]);
        let mut mount = native(place, &bucket);
        mount.bash("chmod 600 report; mv report moved; touch moved");
        mount.unmount();
        let seen = bucket.head("moved").unwrap();
        assert_eq!(seen.metadata["author"], "ada", "{seen:?}");
        assert_eq!(seen.metadata["mode"].parse::<u32>().unwrap() & 0o7777, 0o600, "{seen:?}");
        assert_eq!(bucket.get("moved").unwrap(), b"bytes");
    });
}
