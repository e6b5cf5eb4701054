//! Files that are no tensors: they live in the mount, and hold nobody up.

use std::fs;
use std::time::Duration;

use kvfs::env;

use crate::harness::{put, refused};
use crate::place::{mount, names, python, with_model};

#[test]
fn promise_7_2_a_file_without_bytes_waits_for_its_head() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (3,), 1))})");
        let before = fs::read(model).unwrap();
        let mut mount = mount(place, model, &[]);
        mount.bash("touch x.npy; test -e x.npy; test ! -s x.npy; touch x.npy; rm x.npy; touch x.npy y.npy");
        assert_eq!(names(mount.point().to_owned()), ["a.npy", "x.npy", "y.npy"]);
        place.kvfs_ok(["sync".as_ref(), mount.point().as_os_str()]);
        assert_eq!(fs::read(model).unwrap(), before);
        python(place, "np.save('data/x.npy', np.arange(4))");
        let begun = env::instant();
        let said = mount.unmount_saying();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(said.contains("y.npy") && said.contains("empty") && !said.contains("x.npy"), "{said}");
        python(place, "assert set(read('model.safetensors')) == {'a', 'x'}");
    });
}

#[test]
fn promise_7_2_what_is_no_tensor_holds_no_unmount_up_and_is_kept() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (3,), 1))})");
        let mut mount = mount(place, model, &[]);
        refused(22, "a text over a tensor", put(mount.at("a.npy"), b"text"));
        refused(22, "a new text", put(mount.at("new.npy"), b"some more text"));
        assert_eq!(fs::read(mount.at("a.npy")).unwrap(), b"text");
        let why = mount.bash("getfattr --only-values -n user.kvfs.error a.npy");
        assert!(why.contains("npy") || why.contains("numpy"), "{why}");
        let told = place.kvfs(["sync".as_ref(), mount.point().as_os_str()]).sentence("kvfs sync");
        assert!(told.contains("a.npy") || told.contains("new.npy"), "{told}");
        // What else was changed is written all the same.
        python(place, "np.save('data/good.npy', np.arange(4))");
        let begun = env::instant();
        let said = mount.unmount_saying();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(said.matches("kvfs recover save").count(), 2, "{said}");
        python(
            place,
            "
found = read('model.safetensors')
assert set(found) == {'a', 'good'} and found['a'][2] == values('U8', (3,), 1).tobytes()
",
        );
        let kept = place.kvfs_ok(["recover", "list"]);
        assert_eq!(kept.lines().filter(|line| line.contains("safetensors")).count(), 2, "{kept}");
    });
}
