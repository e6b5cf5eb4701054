//! The promises of a mount (`src/SEMANTICS.md`) on this store, by their numbers. The suite that all stores share puts any bytes
//! under any name; a tensor is a `.npy` file whose name is UTF-8, so that what it asks is asked here.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use crate::harness::refused;
use crate::place::{mount, names, python, with_model};

#[test]
fn promise_1_names_are_files_and_back() {
    with_model(|place, model| {
        // 1.3 and 1.4: what stays as it is, and what does not; 1.8: a long name; 1.10: the raw key.
        python(
            place,
            "write('model.safetensors', {name: ('U8', values('U8', (1,), 1)) for name in
                ['a b', 'new\\nline', 'ü', '100%', '.hidden', 'x' * 300, 'nul\\0']})",
        );
        let mut mount = mount(place, model, &[]);
        for name in ["a b", "new\nline", "ü", "100%", ".hidden", "nul%00"] {
            assert!(mount.at(format!("{name}.npy")).is_file(), "{name}");
        }
        mount.bash(
            "test \"$(find . -type f -printf x | wc -c)\" = 7; find . -type f -print0 | xargs -0 cat > /dev/null",
        );
        python(place, "assert os.getxattr('data/nul%00.npy', 'user.kvfs.key') == b'nul\\0'");
        // 1.9: a name that no tensor can have.
        let not_utf8 = std::ffi::OsStr::from_bytes(b"\xff.npy");
        refused(84, "a name that is not UTF-8", fs::write(mount.at(not_utf8), b"x"));
        refused(22, "a name without .npy", fs::write(mount.at("plain"), b"x"));
        mount.unmount();
    });
}

#[test]
fn promise_2_directories_last_as_long_as_the_mount() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a.b': ('U8', values('U8', (1,), 1))})");
        let mut mount = mount(place, model, &["--separator", "."]);
        mount.bash(
            "
            mkdir -p empty/deep
            rmdir empty/deep
            if rmdir a; then exit 1; fi
            rm a/b.npy
            test -d a
            mv empty renamed
            ",
        );
        assert_eq!(names(mount.point().to_owned()), ["a", "renamed"]);
        let said = mount.unmount_saying();
        assert!(said.contains("2 directories"), "{said}");
    });
}

#[test]
fn promise_3_1_and_4_2_an_open_file_is_one_version_and_a_close_is_seen() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', np.full((3 << 20,), 1, np.uint8))})");
        let mut mount = mount(place, model, &[]);
        python(
            place,
            "
mapped = np.load('data/a.npy', mmap_mode='r')
assert mapped[0] == 1
# The same file by another name, through a file of the moment: the one that is mapped is the old one.
np.save('data/new.npy', np.full((3 << 20,), 2, np.uint8))
os.rename('data/new.npy', 'data/a.npy')
assert (mapped == 1).all()
assert (np.load('data/a.npy') == 2).all()
",
        );
        mount.unmount();
    });
}

#[test]
fn promise_3_3_and_4_1_every_way_of_writing_works() {
    with_model(|place, model| {
        python(
            place,
            "write('model.safetensors', {'a': ('U8', values('U8', (1000,), 1)), 'b': ('U8', values('U8', (5,), 1))})",
        );
        let mut mount = mount(place, model, &[]);
        python(
            place,
            "
# A shared mapping, written through.
mapped = np.load('data/a.npy', mmap_mode='r+')
mapped[10:20] = 7
mapped.flush()
del mapped
assert (np.load('data/a.npy')[10:20] == 7).all()
# Grown and cut, by whoever writes the head, too.
whole = open('data/a.npy', 'rb').read()
with open('data/a.npy', 'r+b') as file:
    file.write(whole.replace(b'(1000,)', b'(900,) '))
    file.truncate(128 + 900)
assert np.load('data/a.npy').shape == (900,)
with open('data/a.npy', 'r+b') as file:
    file.write(whole)
    file.seek(0, 2)
    assert file.tell() == 128 + 1000
assert np.load('data/a.npy').tobytes() == whole[128:]
# Two handles are one file; exclusive making; unlinked while open.
one, two = open('data/b.npy', 'r+b'), open('data/b.npy', 'rb')
one.seek(128); one.write(b'B'); one.flush()
assert two.read()[128:129] == b'B'
one.close(); two.close()
try:
    os.open('data/b.npy', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    raise AssertionError
except FileExistsError:
    pass
held = open('data/b.npy', 'rb')
os.remove('data/b.npy')
assert held.read()[128:129] == b'B'
",
        );
        mount.unmount();
        python(
            place,
            "assert set(read('model.safetensors')) == {'a'} and read('model.safetensors')['a'][1] == (1000,)",
        );
    });
}

#[test]
fn promise_4_6_a_partial_write_over_what_another_program_replaced_is_stale() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (1000,), 1))})");
        let mut mount = mount(place, model, &[]);
        let file = OpenOptions::new().write(true).open(mount.at("a.npy")).unwrap();
        file.write_all_at(b"x", 500).unwrap();
        python(
            place,
            "write('new', {'a': ('U8', values('U8', (1000,), 2))}); os.rename('new', 'model.safetensors')",
        );
        refused(116, "a partial write", crate::harness::close(file));
        python(place, "assert np.load('data/a.npy').tobytes() == values('U8', (1000,), 2).tobytes()");
        mount.unmount_saying();
        let kept = place.kvfs_ok(["recover", "list"]);
        assert_eq!(kept.lines().filter(|line| line.contains("a.npy")).count(), 1, "{kept}");
    });
}

#[test]
fn promise_4_7_what_editors_make_for_a_moment_never_reaches_the_file() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (3,), 1))})");
        let mut mount = mount(place, model, &[]);
        mount.bash("echo x > .a.npy.swp; cp a.npy .b.npy.Ab0Cd1; mv .b.npy.Ab0Cd1 b.npy; cmp a.npy b.npy");
        let said = mount.unmount_saying();
        assert!(said.contains(".a.npy.swp"), "{said}");
        python(place, "assert set(read('model.safetensors')) == {'a', 'b'}");
    });
}

#[test]
fn promise_5_3_what_would_not_last_is_refused() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (3,), 1))})");
        let mut mount = mount(place, model, &[]);
        refused(1, "a link", std::os::unix::fs::symlink("a.npy", mount.at("b.npy")));
        mount.bash("if chmod 600 a.npy; then exit 1; fi; touch a.npy; chmod 644 a.npy");
        mount.unmount();
    });
}

#[test]
fn promise_8_6_a_second_writer_is_refused_and_readers_are_not() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (3,), 1))})");
        let mut writer = mount(place, model, &[]);
        fs::create_dir(place.at("second")).unwrap();
        let (second, model) = (place.at("second"), model.to_owned());
        let refused =
            place.kvfs(["mount".as_ref(), model.as_os_str(), second.as_os_str()]).sentence("kvfs mount");
        assert!(refused.contains("mounted already"), "{refused}");
        place.kvfs_ok(["mount".as_ref(), "--read-only".as_ref(), model.as_os_str(), second.as_os_str()]);
        writer.bash("cp a.npy b.npy; sync b.npy; cmp b.npy ../second/b.npy");
        place.kvfs_ok(["unmount".as_ref(), second.as_os_str()]);
        writer.unmount();
    });
}
