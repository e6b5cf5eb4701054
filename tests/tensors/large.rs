//! A file of 4 GiB, most of which is holes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::place::{mount, python, with_model};

#[test]
fn one_tensor_of_a_large_file_is_read_and_replaced_without_the_rest() {
    with_model(|place, model| {
        python(
            place,
            "
header = {f't{n}': {'dtype': 'F32', 'shape': [4096, 4096], 'data_offsets': [n << 26, (n + 1) << 26]} for n in range(64)}
text = json.dumps(header).encode()
text += b' ' * (-len(text) % 8)
with open('model.safetensors', 'wb') as file:
    file.write(struct.pack('<Q', len(text)) + text)
    file.truncate(8 + len(text) + (64 << 26))
    file.seek(8 + len(text) + (63 << 26))
    file.write(b'\\1' * 4096)
",
        );
        let before = fs::metadata(model).unwrap();
        assert!(before.len() > 4 << 30 && before.blocks() < 1 << 12);
        let mut mount = mount(place, model, &[]);
        python(
            place,
            "
last = np.load('data/t63.npy', mmap_mode='r')
assert last.shape == (4096, 4096) and last.view(np.uint8)[0, :4096].sum() == 4096 and last[1:].sum() == 0
np.save('data/t7.npy', np.full((4096, 4096), 7, np.float32))
np.save('data/small.npy', np.arange(3))
assert np.load('data/t7.npy', mmap_mode='r')[4095, 4095] == 7
",
        );
        mount.unmount();
        let after = fs::metadata(model).unwrap();
        assert!(after.blocks() < (80 << 20) / 512, "{} blocks: the holes stay holes", after.blocks());
        python(
            place,
            "
with safetensors.safe_open('model.safetensors', framework='np') as f:
    assert len(f.keys()) == 65
    assert (f.get_tensor('t7') == 7).all()
    assert f.get_tensor('t63').view(np.uint8)[0, :4096].sum() == 4096
    assert (f.get_tensor('small') == np.arange(3)).all()
",
        );
    });
}
