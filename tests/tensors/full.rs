//! No room for a new file: the old one stays, and what was changed is written when there is room again.

use std::fs;

use crate::harness::{Place, finish, needs_root};
use crate::place::{mount, python, with_model};

/// A small ext4 of its own, unmounted at drop.
struct Disk<'a>(&'a Place);

impl Disk<'_> {
    fn new(place: &Place) -> Disk<'_> {
        needs_root("a disk of its own");
        place.bash(
            place.folder(),
            "truncate -s 48M disk.img && mkfs.ext4 -q -m 0 disk.img && mkdir disk && mount -o loop disk.img disk",
        );
        Disk(place)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let unmounted = finish(self.0.command("umount").arg(self.0.at("disk")));
        if unmounted.code != 0 && !std::thread::panicking() {
            panic!("the disk is still used: {}", unmounted.err);
        }
    }
}

#[test]
fn promise_8_4_a_full_disk_loses_nothing() {
    with_model(|place, _| {
        let disk = Disk::new(place);
        let model = place.at("disk/model.safetensors");
        python(
            place,
            "
write('disk/model.safetensors', {f't{n}': ('U8', np.full((2 << 20,), n, np.uint8)) for n in range(8)})
open('disk/filler', 'wb').write(bytes(20 << 20))
",
        );
        let before = fs::read(&model).unwrap();
        let mut mounted = mount(place, &model, &[]);
        python(place, "np.save('data/new.npy', np.arange(10, dtype=np.int16))");
        let point = mounted.point().to_owned();
        let told = place.kvfs(["sync".as_ref(), point.as_os_str()]).sentence("kvfs sync");
        assert!(told.contains("No space") && told.contains("model.safetensors"), "{told}");
        let told = place.kvfs(["unmount".as_ref(), point.as_os_str()]).sentence("kvfs unmount");
        assert!(told.contains("stays mounted"), "{told}");
        assert!(fs::read(&model).unwrap() == before, "the old file is as it was");
        assert_eq!(fs::read_dir(place.at("disk")).unwrap().count(), 3, "nothing is left beside it");
        // Whoever does not want to wait finds it at the next mount.
        place.kvfs(["unmount".as_ref(), "--timeout".as_ref(), "0s".as_ref(), point.as_os_str()]);
        mounted.ended();
        mounted.start();
        python(place, "assert (np.load('data/new.npy') == np.arange(10)).all()");
        fs::remove_file(place.at("disk/filler")).unwrap();
        mounted.unmount();
        python(place, "assert read('disk/model.safetensors')['new'][:2] == ('I16', (10,))");
        drop(mounted);
        drop(disk);
    });
}

#[test]
fn promise_8_4_a_full_disk_leaves_a_sharded_model_as_it_was() {
    with_model(|place, _| {
        let disk = Disk::new(place);
        let write = "
def weights():
    return json.load(open('disk/model.safetensors.index.json'))['weight_map']
def whole():
    return {name: read(f'disk/{file}')[name] for name, file in weights().items()}
";
        let run = |script: &str| python(place, &format!("{write}\n{script}"));
        run("
for n in range(3):
    write(f'disk/{n}.safetensors', {f't{n}': ('U8', np.full((6 << 20,), n, np.uint8))})
index = {'metadata': {}, 'weight_map': {f't{n}': f'{n}.safetensors' for n in range(3)}}
json.dump(index, open('disk/model.safetensors.index.json', 'w'))
open('disk/filler', 'wb').write(bytes(15 << 20))
");
        let mut mounted = mount(place, &place.at("disk"), &[]);
        // There is room for one of the new files, and for two, and not for three.
        run("
for n in range(3):
    np.save(f'data/t{n}.npy', np.full((6 << 20,), 10 + n, np.uint8))
os.rename('data/t1.npy', 'data/moved.npy')
");
        let point = mounted.point().to_owned();
        let told = place.kvfs(["sync".as_ref(), point.as_os_str()]).sentence("kvfs sync");
        assert!(told.contains("No space"), "{told}");
        run("assert {name: row[2][0] for name, row in whole().items()} == {'t0': 0, 't1': 1, 't2': 2}");
        mounted.kill();
        mounted.start();
        run("assert np.load('data/moved.npy')[0] == 11");
        fs::remove_file(place.at("disk/filler")).unwrap();
        mounted.unmount();
        run("assert {name: row[2][0] for name, row in whole().items()} == {'t0': 10, 'moved': 11, 't2': 12}");
        drop(mounted);
        drop(disk);
    });
}
