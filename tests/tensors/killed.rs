//! A daemon that is killed at any moment of a replacement leaves the old file or the new one, and nothing is lost.

use std::fs;
use std::time::Duration;

use kvfs::env::Deadline;

use crate::harness::within;
use crate::place::{mount, python, with_model};

#[test]
fn promise_8_3_a_kill_while_the_file_is_written_anew_leaves_the_old_one_or_the_new_one() {
    with_model(|place, model| {
        // Large enough that writing takes a while.
        python(
            place,
            "write('model.safetensors', {f't{n}': ('U8', np.full((8 << 20,), n, np.uint8)) for n in range(8)})",
        );
        let mut mount = mount(place, model, &[]);
        for round in 0..12_u64 {
            let script = format!(
                "np.save('data/new.npy', np.full((1000,), {round}, np.uint8))
np.save('data/t3.npy', np.full((8 << 20,), {round}, np.uint8))"
            );
            python(place, &script);
            let mut sync = place.command(crate::harness::binary());
            sync.arg("sync").arg(mount.point());
            let mut sync =
                sync.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
            // Somewhere in the 100 milliseconds that it takes.
            let deadline = Deadline::after(Duration::from_millis(round * 11));
            within(Duration::from_millis(round * 11), || deadline.passed().then_some(()));
            mount.kill();
            sync.wait().unwrap();
            python(
                place,
                &format!(
                    "
found = read('model.safetensors')
old = found.get('new', (None, None, b''))[2] != bytes([{round}]) * 1000
assert len(found) == (8 if old and {round} == 0 else 9)
assert found['t3'][2] == bytes([{round} - 1 if {round} and old else 3 if old else {round}]) * (8 << 20)
assert all(found[f't{{n}}'][2] == bytes([n]) * (8 << 20) for n in range(8) if n != 3)
"
                ),
            );
            mount.start();
            python(
                place,
                &format!(
                    "
assert (np.load('data/new.npy') == {round}).all() and (np.load('data/t3.npy') == {round}).all()
"
                ),
            );
            place.kvfs_ok(["sync".as_ref(), mount.point().as_os_str()]);
        }
        mount.unmount();
        let left = fs::read_dir(place.folder()).unwrap().flatten();
        let left = left.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".kvfs"));
        assert!(left.count() <= 1, "between two calls alone a name stays");
        assert_eq!(
            place.kvfs_ok(["recover", "list"]).lines().filter(|line| line.contains("safetensors")).count(),
            0
        );
    });
}
