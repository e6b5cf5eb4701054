"""Models as Python's own safetensors writes them, and what numpy and ml_dtypes make of the mount's files."""
import io, json, os, struct, sys
import ml_dtypes, numpy as np, safetensors

# Type of the format: what numpy calls it, and what ml_dtypes views it as.
TYPES = {
    "BOOL": (np.bool_, None), "U8": (np.uint8, None), "I8": (np.int8, None), "U16": (np.uint16, None),
    "I16": (np.int16, None), "F16": (np.float16, None), "U32": (np.uint32, None), "I32": (np.int32, None),
    "F32": (np.float32, None), "U64": (np.uint64, None), "I64": (np.int64, None), "F64": (np.float64, None),
    "C64": (np.complex64, None), "BF16": ("V2", ml_dtypes.bfloat16), "F8_E4M3": ("V1", ml_dtypes.float8_e4m3fn),
    "F8_E5M2": ("V1", ml_dtypes.float8_e5m2), "F8_E4M3FNUZ": ("V1", ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": ("V1", ml_dtypes.float8_e5m2fnuz), "F8_E8M0": ("V1", ml_dtypes.float8_e8m0fnu),
}
# Several elements in a byte: bits.
PACKED = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
SHAPES = {"": (4, 6), ".scalar": (), ".none": (0, 3), ".line": (5,), ".deep": (2, 1, 3, 2)}


def name_of(dtype):
    own, view = TYPES[dtype]
    return np.dtype(view or own).name


def values(dtype, shape, seed):
    """An array of the type, by the bytes that a seed gives."""
    own, view = TYPES[dtype]
    of = np.dtype(view or own)
    count = int(np.prod(shape, dtype=np.int64))
    noise = np.random.default_rng(seed).integers(0, 2 if dtype == "BOOL" else 256, count * of.itemsize, np.uint8)
    return noise.view(of).reshape(shape)


def everything(seed):
    arrays = {}
    for dtype in TYPES:
        for suffix, shape in SHAPES.items():
            arrays[f"{dtype.lower()}{suffix}"] = (dtype, values(dtype, shape, seed + len(arrays)))
    return arrays


def write(path, arrays, metadata=None):
    """Has safetensors write `arrays`: name to type and array."""
    kept = {name: np.ascontiguousarray(array) for name, (_, array) in arrays.items()}
    specs = {
        name: safetensors.TensorSpec(
            dtype=name_of(arrays[name][0]), shape=list(arrays[name][1].shape), data_ptr=array.ctypes.data,
            data_len=array.nbytes)
        for name, array in kept.items()
    }
    safetensors.serialize_file(specs, path, metadata=metadata)


def write_raw(path, rows):
    """Writes name to type, shape and bytes, in that order."""
    header, at = {}, 0
    for name, (dtype, shape, data) in rows.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(row[2] for row in rows.values()))


def read(path):
    """What safetensors reads: name to type, shape and bytes."""
    with open(path, "rb") as file:
        return {name: (row["dtype"], tuple(row["shape"]), bytes(row["data"])) for name, row in
                safetensors.deserialize(file.read())}


def told(path):
    """What the mount tells of a tensor."""
    text = lambda name: os.getxattr(path, f"user.kvfs.{name}").decode()
    return text("dtype"), tuple(json.loads(text("shape")))


def check(point, arrays):
    """Whether numpy reads these arrays from the mount, and the same bytes that it would write."""
    for name, (dtype, array) in arrays.items():
        path = f"{point}/{name}.npy"
        for mode in (None, "r"):
            # numpy maps no array without elements.
            if mode and not array.size:
                continue
            found = np.load(path, mmap_mode=mode)
            assert found.shape == array.shape, (name, found.shape)
            assert found.tobytes() == array.tobytes(), name
            own, view = TYPES[dtype]
            assert found.dtype == np.dtype(own), (name, found.dtype)
            if view:
                assert found.view(view).dtype == np.dtype(view)
        if not TYPES[dtype][1]:
            saved = io.BytesIO()
            np.save(saved, array)
            assert open(path, "rb").read() == saved.getvalue(), name
        assert told(path) == (dtype, array.shape), (name, told(path))
        assert open(f"{point}/%raw/{name}", "rb").read() == array.tobytes(), name
