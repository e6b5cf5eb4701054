//! Files of numpy that become tensors.

use std::fs;

use crate::harness::{put, refused};
use crate::place::{mount, names, python, with_model};

#[test]
fn every_type_is_written_over_itself_and_read_by_safetensors() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', everything(1), {'format': 'np'})");
        let mut mount = mount(place, model, &[]);
        python(
            place,
            "
for name, (dtype, array) in everything(100).items():
    np.save(f'data/{name}.npy', array)
check('data', everything(100))
",
        );
        mount.unmount();
        python(
            place,
            "
expected = {name: (dtype, array.shape, array.tobytes()) for name, (dtype, array) in everything(100).items()}
assert read('model.safetensors') == expected
with safetensors.safe_open('model.safetensors', framework='np') as f:
    assert f.metadata() == {'format': 'np'}
    assert f.get_tensor('f32').tobytes() == everything(100)['f32'][1].tobytes()
",
        );
        assert_eq!(
            fs::read_dir(place.folder())
                .unwrap()
                .flatten()
                .filter(|entry| { entry.file_name().as_encoded_bytes().starts_with(b".kvfs") })
                .count(),
            0
        );
    });
}

#[test]
fn types_of_several_elements_in_a_byte_are_written_as_their_bytes() {
    with_model(|place, model| {
        python(
            place,
            "write_raw('model.safetensors', {name: (name, (4, 4), bytes(range(2 * bits))) for name, bits in PACKED.items()})",
        );
        let mut mount = mount(place, model, &[]);
        python(
            place,
            "
for name, bits in PACKED.items():
    # Over itself, by the bytes alone, and as a new one that is told its type and shape.
    np.save(f'data/{name}.npy', np.arange(50, 50 + 2 * bits, dtype=np.uint8).view('V1'))
    assert told(f'data/{name}.npy') == (name, (4, 4))
    with open(f'data/%raw/{name}', 'r+b') as raw:
        raw.write(b'raw')
    np.save(f'data/new.{name}.npy', np.arange(70, 70 + bits, dtype=np.uint8))
    os.setxattr(f'data/new.{name}.npy', 'user.kvfs.dtype', name.encode())
    assert told(f'data/new.{name}.npy') == (name, (8,))
    os.setxattr(f'data/new.{name}.npy', 'user.kvfs.shape', b'[2, 4]')
",
        );
        mount.unmount();
        python(
            place,
            "
found = read('model.safetensors')
for name, bits in PACKED.items():
    assert found[name] == (name, (4, 4), b'raw' + bytes(range(53, 50 + 2 * bits))), found[name]
    assert found[f'new.{name}'] == (name, (2, 4), bytes(range(70, 70 + bits))), found[f'new.{name}']
",
        );
    });
}

#[test]
fn arrays_of_other_orders_are_turned() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'old': ('U8', values('U8', (3,), 1))})");
        let mut mount = mount(place, model, &["--separator", "."]);
        python(
            place,
            "
def arrays():
    for seed, dtype in enumerate(['F64', 'C64', 'I16', 'U32', 'F16', 'BOOL']):
        for shape in [(3, 5), (2, 3, 4), (600, 700), (1, 4, 1), (), (7,), (0, 2), (5, 1, 2, 3)]:
            yield f'{dtype}-{\"x\".join(map(str, shape))}', dtype, values(dtype, shape, seed)
for name, dtype, array in arrays():
    np.save(f'data/{name}.npy', array)
    np.save(f'data/{name}_fortran.npy', np.array(array, order='F'))
    np.save(f'data/{name}_big.npy', array.astype(array.dtype.newbyteorder('>')))
    np.save(f'data/{name}_both.npy', np.array(array, array.dtype.newbyteorder('>'), order='F'))
for name, dtype, array in arrays():
    for kind in ['', '_fortran', '_big', '_both']:
        assert np.load(f'data/{name}{kind}.npy').tobytes() == array.tobytes(), (name, kind)
",
        );
        mount.unmount();
        python(
            place,
            "
found = read('model.safetensors')
assert len(found) == 6 * 8 * 4 + 1
def arrays():
    for seed, dtype in enumerate(['F64', 'C64', 'I16', 'U32', 'F16', 'BOOL']):
        for shape in [(3, 5), (2, 3, 4), (600, 700), (1, 4, 1), (), (7,), (0, 2), (5, 1, 2, 3)]:
            yield f'{dtype}-{\"x\".join(map(str, shape))}', dtype, values(dtype, shape, seed)
for name, dtype, array in arrays():
    for kind in ['', '_fortran', '_big', '_both']:
        assert found[name + kind] == (dtype, array.shape, array.tobytes()), (name, kind)
",
        );
    });
}

#[test]
fn tensors_are_made_removed_and_renamed_with_ordinary_tools() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', everything(1))");
        let mut mount = mount(place, model, &["--separator", "."]);
        mount.bash(
            "
            cp f32.npy copy.npy
            mkdir -p new/deep
            cp i8.npy new/deep/x.npy
            mv f32 moved
            rm -r bool bool.npy
            mv u8.npy renamed.npy
            echo '{\"k\": \"v\"}' > %metadata.json
            cmp f32.npy copy.npy
            sync copy.npy
            rsync copy.npy ../by_rsync.npy
            # One name in 200 that they draw looks like a word, which no tensor can be called and no file of a moment is.
            rsync ../by_rsync.npy by_rsync.npy || rsync ../by_rsync.npy by_rsync.npy
            sed -i s/x/x/ i64.npy || sed -i s/x/x/ i64.npy
            if touch copy.npy.tmp; then exit 1; fi
            ",
        );
        // fsync has written it.
        python(
            place,
            "assert {'copy', 'new.deep.x', 'moved.line', 'renamed'} <= set(read('model.safetensors'))",
        );
        mount.bash("cp copy.npy again.npy; rm copy.npy; cmp by_rsync.npy again.npy");
        place.kvfs_ok(["sync".as_ref(), mount.point().as_os_str()]);
        python(
            place,
            "
found = read('model.safetensors')
assert 'again' in found and not {'copy', 'u8', 'bool', 'bool.line', 'f32.line'} & set(found)
assert found['moved.line'][2] == everything(1)['f32.line'][1].tobytes()
assert safetensors.safe_open('model.safetensors', 'np').metadata() == {'k': 'v'}
",
        );
        mount.unmount();
    });
}

#[test]
fn what_is_no_tensor_is_refused_at_close() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', {'a': ('U8', values('U8', (3,), 1))})");
        let mut mount = mount(place, model, &[]);
        python(
            place,
            "
for number, array in enumerate([np.array([None]), np.zeros(2, 'M8[s]'), np.zeros(2, 'c16'), np.zeros(2, 'U3'),
                                np.zeros(2, [('a', 'f4')]), np.zeros(2, ml_dtypes.float8_e4m3fn)]):
    file = open(f'data/wrong{number}.npy', 'wb')
    np.save(file, array)
    try:
        file.close()
    except OSError as error:
        assert error.errno == 22, error
    else:
        raise AssertionError(array.dtype)
    os.remove(f'data/wrong{number}.npy')
",
        );
        refused(22, "a file of text", put(mount.at("a.npy"), b"text"));
        put(mount.at("a.npy"), &fs::read(mount.at("a.npy")).unwrap()).unwrap_err();
        fs::remove_file(mount.at("a.npy")).unwrap();
        python(
            place,
            "
np.save('x.npy', np.array([1, 2], ml_dtypes.float8_e4m3fn))
np.save('data/x.npy', np.array([1, 2], np.uint8))
os.setxattr('data/x.npy', 'user.kvfs.dtype', b'F8_E4M3')
assert told('data/x.npy') == ('F8_E4M3', (2,))
np.save('data/x.npy', np.array([1, 2, 3], ml_dtypes.float8_e4m3fn))
assert told('data/x.npy') == ('F8_E4M3', (3,))
",
        );
        assert_eq!(names(mount.point().to_owned()), ["x.npy"]);
        mount.unmount();
    });
}

#[test]
fn who_has_the_old_file_keeps_it() {
    with_model(|place, model| {
        python(place, "write('model.safetensors', everything(1))");
        let mut mount = mount(place, model, &[]);
        python(
            place,
            "
with safetensors.safe_open('model.safetensors', framework='np') as old:
    held = np.load('data/f64.npy', mmap_mode='r')
    np.save('data/f64.npy', everything(2)['f64'][1])
    np.save('data/more.npy', everything(2)['f64'][1])
    fd = os.open('data/more.npy', os.O_RDONLY)
    os.fsync(fd)
    assert old.get_tensor('f64').tobytes() == everything(1)['f64'][1].tobytes()
    assert np.load('data/f64.npy').tobytes() == everything(2)['f64'][1].tobytes()
    assert read('model.safetensors')['f64'][2] == everything(2)['f64'][1].tobytes()
",
        );
        mount.unmount();
    });
}
