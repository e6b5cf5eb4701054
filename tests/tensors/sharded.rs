//! Models of several files, written to with ordinary tools and read by safetensors.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kvfs::env::Deadline;

use crate::harness::{Place, within};
use crate::place::{mount, python, with_model};

/// A model of three files in `sharded`, and what reads it as Hugging Face's loaders do: by the index, then file by file.
const SHARDED: &str = "
def write_sharded(size):
    os.makedirs('sharded', exist_ok=True)
    weights = {}
    for shard in range(3):
        part = {f'h.{shard}.{n}': ('U8', np.full((size,), 10 * shard + n, np.uint8)) for n in range(4)}
        write(f'sharded/model-{shard}.safetensors', part, {'format': 'np'})
        weights.update({name: f'model-{shard}.safetensors' for name in part})
    total = {'total_size': 12 * size}
    json.dump({'metadata': total, 'weight_map': weights}, open('sharded/model.safetensors.index.json', 'w'))

def read_sharded():
    index = json.load(open('sharded/model.safetensors.index.json'))
    files = {file: read(f'sharded/{file}') for file in set(index['weight_map'].values())}
    found = {name: files[file][name] for name, file in index['weight_map'].items()}
    assert index['metadata']['total_size'] == sum(len(row[2]) for row in found.values())
    return found, index['weight_map']
";

fn sharded(place: &Place, script: &str) -> String {
    python(place, &format!("{SHARDED}\n{script}"))
}

#[test]
fn a_sharded_model_is_written_with_ordinary_tools() {
    with_model(|place, _| {
        sharded(place, "write_sharded(1000)");
        let folder = place.at("sharded");
        let untouched = fs::metadata(folder.join("model-1.safetensors")).unwrap().modified().unwrap();
        let mut mount = mount(place, &folder, &["--separator", "."]);
        mount.bash(
            "
            cp h/0/0.npy h/0/new.npy
            mv h/2/0.npy h/0/1.npy
            rm h/2/1.npy h/2/2.npy h/2/3.npy
            cmp h/0/0.npy h/0/new.npy
            test \"$(ls h/0)\" = \"$(printf '0.npy\\n1.npy\\n2.npy\\n3.npy\\nnew.npy')\"
            ",
        );
        mount.unmount();
        sharded(
            place,
            "
found, files = read_sharded()
assert sorted(found) == ['h.0.0', 'h.0.1', 'h.0.2', 'h.0.3', 'h.0.new', 'h.1.0', 'h.1.1', 'h.1.2', 'h.1.3'], sorted(found)
assert found['h.0.new'] == found['h.0.0'] and found['h.0.1'][2] == bytes([20]) * 1000
assert files['h.0.new'] == 'model-0.safetensors' and files['h.0.1'] == 'model-2.safetensors'
assert safetensors.safe_open('sharded/model-2.safetensors', 'np').metadata() == {'format': 'np'}
",
        );
        assert_eq!(fs::metadata(folder.join("model-1.safetensors")).unwrap().modified().unwrap(), untouched);
    });
}

#[test]
fn promise_8_3_a_kill_while_a_sharded_model_is_written_is_carried_on() {
    with_model(|place, _| {
        sharded(place, "write_sharded(4 << 20)");
        let folder = place.at("sharded");
        let mut mount = mount(place, Path::new(&folder), &[]);
        for round in 0..12_u64 {
            let script = format!(
                "for shard in range(3):
    np.save(f'data/h.{{shard}}.0.npy', np.full((4 << 20,), 100 + {round}, np.uint8))
    np.save(f'data/h.{{shard}}.round.npy', np.full((10,), {round}, np.uint8))
os.rename('data/h.1.{}.npy', 'data/h.1.{}.npy')",
                if round % 2 == 0 { "3" } else { "moved" },
                if round % 2 == 0 { "moved" } else { "3" },
            );
            sharded(place, &script);
            let mut sync = place.command(crate::harness::binary());
            sync.arg("sync").arg(mount.point());
            let quiet = std::process::Stdio::null;
            let mut sync = sync.stdout(quiet()).stderr(quiet()).spawn().unwrap();
            let deadline = Deadline::after(Duration::from_millis(round * 17));
            within(Duration::from_millis(round * 17), || deadline.passed().then_some(()));
            mount.kill();
            sync.wait().unwrap();
            mount.start();
            place.kvfs_ok(["sync".as_ref(), mount.point().as_os_str()]);
            sharded(
                place,
                &format!(
                    "
found, files = read_sharded()
assert len(found) == 15, sorted(found)
for shard in range(3):
    assert found[f'h.{{shard}}.0'][2] == bytes([100 + {round}]) * (4 << 20)
    assert found[f'h.{{shard}}.round'][2] == bytes([{round}]) * 10
    assert found[f'h.{{shard}}.1'][2] == bytes([10 * shard + 1]) * (4 << 20)
assert found['h.1.{}'][2] == bytes([13]) * (4 << 20)
",
                    if round % 2 == 0 { "moved" } else { "3" }
                ),
            );
        }
        mount.unmount();
        let kept = place.kvfs_ok(["recover", "list"]);
        assert_eq!(kept.lines().filter(|line| line.contains("safetensors")).count(), 0, "{kept}");
    });
}
