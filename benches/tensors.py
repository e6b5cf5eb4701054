"""Measures kvfs on a safetensors file beside Python's safetensors, cp, and the empty FUSE server, in one run.

    scripts/bench-tensors [--quick [--page]] [--only WORK ...]

The subjects take turns within each repeat; the medians count. The numbers go to benches/results, the page to
docs/speed-tensors.md, after a short run only with --page.
"""

import json
import os
import struct
import subprocess
import time
from pathlib import Path

import run as runs
import tensor_goals
from subjects import Empty, Mounted, Subject, find

WORKS = ["one", "all", "list", "replace"]
QUICK = {"tensors": 16, "mib": 64, "names": 10_000, "repeats": 3}
FULL = {"tensors": 64, "mib": 64, "names": 10_000, "repeats": 5}

# What each program of Python prints: seconds, and bytes that it read from the disk itself.
TIMED = """
import json, sys, time
def disk(): return int(next(line for line in open('/proc/self/io') if line.startswith('read_bytes')).split()[1])
before, start = disk(), time.monotonic()
{deed}
print(json.dumps({{'seconds': time.monotonic() - start, 'disk': disk() - before}}))
"""
BY_MOUNT = "import numpy; numpy.load({path!r}, mmap_mode='r').copy()"
BY_LIBRARY = "import safetensors\nwith safetensors.safe_open({path!r}, 'np') as f: f.get_tensor({name!r})"
IN_ORDER = """
import os
for path in {paths!r}:
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, 1 << 20): pass
    os.close(fd)
"""


def python(deed):
    """Runs a deed in a Python of its own, with the libraries loaded before the clock starts."""
    script = "import numpy, safetensors\n" + TIMED.format(deed=deed)
    program = runs.ROOT / "target" / "tools" / "venv" / "bin" / "python"
    done = subprocess.run([program, "-c", script], check=True, capture_output=True, text=True, timeout=runs.WORK_DEADLINE)
    return json.loads(done.stdout)


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def write_model(path, tensors, length):
    """A file of so many tensors of F32, of so many bytes each, none of them a hole."""
    header = {
        f"t{n}": {"dtype": "F32", "shape": [length // 4], "data_offsets": [n * length, (n + 1) * length]}
        for n in range(tensors)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = os.urandom(min(length, 1 << 20))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for n in range(tensors):
            for _ in range(max(1, length // len(noise))):
                file.write(noise)


class Kvfs(Mounted):
    """kvfs with its defaults on one file."""

    def __init__(self, run, model):
        super().__init__(run, "kvfs")
        self.model = model

    def command(self, *more):
        return [self.run.programs["kvfs"], *map(str, more)]

    def start(self):
        log = open(self.run.work / "kvfs.log", "ab")
        command = self.command("mount", "--foreground", self.model, self.mountpoint)
        return subprocess.Popen(command, start_new_session=True, stderr=log, stdout=log)

    def disk(self):
        """Bytes that the daemon read from the disk so far."""
        lines = Path(f"/proc/{self.process.pid}/io").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])

    def requests(self):
        said = subprocess.run(self.command("status", self.mountpoint, "--json"), check=True, capture_output=True, text=True)
        return find(json.loads(said.stdout), "requests")


class Plain(Subject):
    """Without a mount."""

    def __init__(self, name):
        self.name = name


def one(run, kvfs, model):
    """One tensor of the file, cold."""
    library, length = Plain("safetensors"), run.sizes["mib"] << 20
    for repeat in range(run.sizes["repeats"]):
        number = run.sizes["tensors"] // 2 + repeat
        with kvfs.started() as folder:
            drop_caches()
            usage, before = kvfs.daemon_usage(), kvfs.disk()
            numbers = python(BY_MOUNT.format(path=str(folder / f"t{number}.npy")))
            numbers |= {"operations": length, "share": (kvfs.disk() - before + numbers["disk"]) / length}
            run.note("one tensor, cold", kvfs, repeat, numbers, usage)
        drop_caches()
        numbers = python(BY_LIBRARY.format(path=str(model), name=f"t{number}"))
        numbers |= {"operations": length, "share": numbers["disk"] / length}
        run.note("one tensor, cold", library, repeat, numbers, None)


def everything(run, kvfs, model):
    """All tensors in order, from the page cache of the file below, beside as many bytes of the empty FUSE server."""
    total = run.sizes["tensors"] * run.sizes["mib"] << 20
    empty = Empty(run, "empty", ["--files", 1, "--keys", 1, "--large", total])
    for repeat in range(run.sizes["repeats"]):
        for work in ("all tensors, cold", "all tensors, warm"):
            with kvfs.started() as folder:
                drop_caches()
                if work.endswith("warm"):
                    subprocess.run(["cat", model], check=True, stdout=subprocess.DEVNULL)
                paths = [str(folder / f"t{n}.npy") for n in range(run.sizes["tensors"])]
                usage = kvfs.daemon_usage()
                run.note(work, kvfs, repeat, python(IN_ORDER.format(paths=paths)) | {"operations": total}, usage)
        with empty.started() as folder:
            usage = empty.daemon_usage()
            numbers = python(IN_ORDER.format(paths=[str(folder / "large")])) | {"operations": total}
            run.note("all tensors, warm", empty, repeat, numbers, usage)


def listing(run, _kvfs, _model):
    """ls -l of many tensors."""
    model = run.work / "many.safetensors"
    write_model(model, run.sizes["names"], 4)
    kvfs = Kvfs(run, model)
    for repeat in range(run.sizes["repeats"]):
        with kvfs.started() as folder:
            usage, start = kvfs.daemon_usage(), time.monotonic()
            subprocess.run(["ls", "-l", folder], check=True, stdout=subprocess.DEVNULL)
            numbers = {"operations": run.sizes["names"], "seconds": time.monotonic() - start}
            run.note("ls -l", kvfs, repeat, numbers, usage)


def replace(run, kvfs, model):
    """One tensor replaced, until the file is on the disk, beside a copy of the file."""
    copy, size = Plain("cp"), model.stat().st_size
    shape, beside = (run.sizes["mib"] << 20) // 4, run.work / "copy"
    for repeat in range(run.sizes["repeats"]):
        with kvfs.started() as folder:
            drop_caches()
            usage = kvfs.daemon_usage()
            with kvfs.memory_watch() as memory:
                numbers = python(f"numpy.save({str(folder / 't3.npy')!r}, numpy.full(({shape},), {repeat}, 'f4'))")
                start = time.monotonic()
                subprocess.run(kvfs.command("sync", kvfs.mountpoint), check=True)
                numbers["seconds"] += time.monotonic() - start
            numbers |= {"operations": size, "memory_peak": memory.peak}
            run.note("one tensor replaced", kvfs, repeat, numbers, usage)
        beside.unlink(missing_ok=True)
        drop_caches()
        start = time.monotonic()
        subprocess.run(["cp", "--reflink=never", model, beside], check=True)
        subprocess.run(["sync", beside], check=True)
        numbers = {"operations": size, "seconds": time.monotonic() - start}
        run.note("one tensor replaced", copy, repeat, numbers, None)
        beside.unlink()


def carry_out(run, chosen):
    run.programs = runs.build()
    model = run.work / "model.safetensors"
    write_model(model, run.sizes["tensors"], run.sizes["mib"] << 20)
    kvfs = Kvfs(run, model)
    deeds = {"one": one, "all": everything, "list": listing, "replace": replace}
    for work in chosen:
        deeds[work](run, kvfs, model)


if __name__ == "__main__":
    runs.measured("tensors", __doc__, WORKS, (QUICK, FULL), carry_out, tensor_goals)
