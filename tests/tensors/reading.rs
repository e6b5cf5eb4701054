//! Models that Python wrote.

use std::fs;

use crate::place::{mount, names, python, with_model};

#[test]
fn promise_7_3_every_type_is_what_numpy_and_ml_dtypes_read() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', everything(1), {'format': 'np'})");
        let mount = mount(place, model, &[]);
        python(place, "check('data', everything(1))");
        let metadata = fs::read_to_string(mount.at("%metadata.json")).unwrap();
        assert_eq!(metadata, "{\n  \"format\": \"np\"\n}\n");
        let names = names(mount.point().to_owned());
        assert!(names.len() == 19 * 5 && names.iter().all(|name| name.ends_with(".npy")), "{names:?}");
        // What is listed is met once: a copy is the files and nothing else.
        mount.bash("cp -r . ../copy; test $(ls ../copy | wc -l) = 95; diff -r . ../copy");
    });
}

#[test]
fn types_of_several_elements_in_a_byte_are_flat_bytes() {
    with_model(|place, model| {
        python(
            place,
            "write_raw('model.safetensors', {name: (name, (4, 4), bytes(range(2 * bits))) for name, bits in PACKED.items()})",
        );
        let _mount = mount(place, model, &[]);
        python(
            place,
            "
for name, bits in PACKED.items():
    found = np.load(f'data/{name}.npy', mmap_mode='r')
    assert found.dtype == np.dtype('V1') and found.shape == (2 * bits,), name
    assert found.tobytes() == bytes(range(2 * bits))
    assert told(f'data/{name}.npy') == (name, (4, 4))
    begin, end = json.loads(os.getxattr(f'data/{name}.npy', 'user.kvfs.offsets'))
    assert end - begin == 2 * bits
    assert os.getxattr(f'data/{name}.npy', 'user.kvfs.key').decode() == name
",
        );
    });
}

#[test]
fn names_are_split_where_the_mount_says() {
    with_model(|place, model| {
        python(
            place,
            "write('model.safetensors', {name: ('U8', values('U8', (3,), 1)) for name in
                ['h.0.w', 'h.0', 'a/b', 'a', '..', 'dots..inside', '%raw', 'é ß', '']})",
        );
        let mut by_dots = mount(place, model, &["--separator", "."]);
        assert_eq!(names(by_dots.at("h")), ["0", "0.npy"]);
        assert_eq!(names(by_dots.at("h/0")), ["w.npy"]);
        assert!(by_dots.at("a%2Fb.npy").exists());
        assert!(by_dots.at("dots/%empty/inside.npy").exists());
        assert!(by_dots.at("%raw/h/0/%value").exists());
        assert_eq!(by_dots.bash("find . -type f -size +0 | wc -l").trim(), "9");
        by_dots.unmount();
        let mut by_slashes = mount(place, model, &[]);
        assert_eq!(names(by_slashes.at("a")), ["b.npy"]);
        assert!(by_slashes.at("h.0.w.npy").exists() && by_slashes.at(".npy").exists());
        by_slashes.unmount();
        let whole = mount(place, model, &["--separator", "none"]);
        assert!(whole.at("a%2Fb.npy").exists());
    });
}

#[test]
fn ten_thousand_tensors_are_listed_in_few_requests() {
    with_model(|place, model| {
        python(
            place,
            "write('model.safetensors', {f'layer.{n}': ('F32', values('F32', (2,), n)) for n in range(10000)})",
        );
        let mount = mount(place, model, &[]);
        let before: u64 = mount.requests().values().sum();
        assert_eq!(mount.bash("ls -l | wc -l").trim(), "10001");
        let requests = mount.requests().values().sum::<u64>() - before;
        assert!(requests < 40, "{requests} requests for ls -l: {:?}", mount.requests());
        python(
            place,
            "check('data', {f'layer.{n}': ('F32', values('F32', (2,), n)) for n in range(0, 10000, 97)})",
        );
    });
}

#[test]
fn a_sharded_model_is_mounted_by_its_folder() {
    with_model(|place, _| {
        python(
            place,
            "
arrays = everything(5)
names = sorted(arrays)
os.mkdir('sharded')
weights = {}
for shard in range(3):
    part = {name: arrays[name] for name in names[shard::3]}
    write(f'sharded/model-{shard}.safetensors', part)
    weights.update({name: f'model-{shard}.safetensors' for name in part})
json.dump({'metadata': {'total_size': 1}, 'weight_map': weights}, open('sharded/model.safetensors.index.json', 'w'))
",
        );
        for path in ["sharded", "sharded/model.safetensors.index.json"] {
            let mut mount = mount(place, &place.at(path), &[]);
            python(place, "check('data', everything(5))");
            mount.unmount();
        }
    });
}

#[test]
fn promise_6_1_a_model_that_is_replaced_is_seen_at_the_next_open() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (3,), 1))})");
        let _mount = mount(place, model, &[]);
        python(
            place,
            "
check('data', {'a': ('U8', values('U8', (3,), 1))})
held = open('data/a.npy', 'rb')
before = held.read(10)
write('new', {'a': ('F32', values('F32', (300,), 2)), 'b': ('U8', values('U8', (1,), 3))})
os.rename('new', 'model.safetensors')
assert np.load('data/a.npy').tobytes() == values('F32', (300,), 2).tobytes()
assert (before + held.read()).endswith(values('U8', (3,), 1).tobytes())
assert np.load('data/b.npy').size == 1
",
        );
    });
}
