//! Safetensors files that are values of other stores, as directories (`--view tensor`).

use std::fs;

use crate::harness::{Kind, Mount, refused};
use crate::place::{names, python, with_model};

#[test]
fn a_value_of_any_store_is_a_directory_of_tensors() {
    with_model(|place, _| {
        python(place, "write('model.safetensors', everything(3), {'format': 'np'})");
        fs::create_dir(place.at("folder")).unwrap();
        for source in ["lmdb:store", "folder:folder"] {
            let mut plain = Mount::of(place, Kind::Model, source.into(), "data", &[]);
            plain.bash(
                "mkdir models; cp ../model.safetensors models/one.safetensors; echo note > models/note",
            );
            plain.bash("echo text > models/text.safetensors");
            plain.unmount();
            let mut view = Mount::of(place, Kind::Model, source.into(), "data", &["--view", "tensor"]);
            assert_eq!(names(view.at("models")), ["note", "one.safetensors", "text.safetensors"]);
            assert_eq!(fs::read(view.at("models/text.safetensors")).unwrap(), b"text\n");
            python(
                place,
                "
for name, (dtype, array) in everything(3).items():
    path = f'data/models/one.safetensors/{name}.npy'
    found = np.load(path, mmap_mode='r' if array.size else None)
    assert found.shape == array.shape and found.tobytes() == array.tobytes(), name
    assert told(path) == (dtype, array.shape)
",
            );
            assert_eq!(names(view.at("models/one.safetensors")).len(), 19 * 5);
            refused(30, "a tensor of a view", fs::write(view.at("models/one.safetensors/f32.npy"), b"x"));
            view.bash("diff -r models/one.safetensors models/one.safetensors; find . | wc -l");
            view.unmount();
        }
    });
}
