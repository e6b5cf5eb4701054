"""Measures kvfs on a bucket beside rclone mount, s3fs and a plain program over object_store, all with one S3 server in
memory on this machine, in one run.

    scripts/bench-buckets [--quick [--page]] [--only WORK ...]

The subjects take turns within each repeat; the medians count. The numbers go to benches/results, the page and its
plots to docs/speed-buckets.md, after a short run only with --page.
"""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import bucket_goals
import run as runs
from bucket_subjects import Kvfs, Plain, Rclone, S3fs, Server
from subjects import Trouble

WORKS = ["large", "small", "random", "find", "memory"]
QUICK = {"large": 256 << 20, "files": 1_000, "pieces": 500, "keys": 100_000, "together": 16 << 20, "repeats": 3}
FULL = {"large": 1 << 30, "files": 10_000, "pieces": 2_000, "keys": 1_000_000, "together": 64 << 20, "repeats": 3}
# Files that are read at once, and as many that are written.
AT_ONCE = 32
# How long a `find` may take, in seconds: s3fs asks for each key.
FIND_DEADLINE = 240


def build():
    """Builds all in release mode; answers the paths of the programs by their names."""
    programs = runs.build()
    place = runs.ROOT / "benches" / "bucket_programs"
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=place, check=True)
    return programs | {name: place / "target" / "release" / name for name in ("server", "plain")}


def measured(run, work, subject, repeat, deed):
    """Does one piece of work; notes its numbers with the requests that the server counted."""
    subject.asked()
    before = subject.daemon_usage()
    with subject.memory_watch() as memory:
        numbers = deed()
    if memory.peak is not None:
        numbers |= {"memory_before": memory.before, "memory_peak": memory.peak}
    asked = subject.asked()
    run.note(work, subject, repeat, numbers, before)
    run.measurements[-1]["asked"] = asked


def large(run, server, everybody):
    """One large object, written and read in order."""
    size = run.sizes["large"]
    plain = Plain(run, server)
    plain.call("write", "large", size)
    for repeat, subject, folder in run.each(everybody):
        if folder is None:
            measured(run, "write", subject, repeat, lambda: plain.call("write", "written", size))
            continue
        measured(run, "write", subject, repeat, lambda: run.program("write", folder / "written", "--size", size))
    for repeat, subject, folder in run.each(everybody):
        if folder is None:
            measured(run, "read", subject, repeat, lambda: plain.call("read", "large", "--piece", 4 << 20))
            continue
        measured(run, "read", subject, repeat, lambda: run.program("stream", folder / "large"))


def small(run, server, everybody):
    """Many small objects: made, listed, read and removed."""
    count = run.sizes["files"]
    plain = Plain(run, server)
    for at_once in (1, 8):
        s = "s" * (at_once > 1)
        for repeat, subject, folder in run.each(everybody):
            name = f"small-{at_once}"
            if folder is None:
                many = ["--concurrency", at_once, name, count]
                measured(run, f"create, {at_once} writer{s}", subject, repeat, lambda: plain.call("create", *many))
                measured(run, f"read small, {at_once} reader{s}", subject, repeat, lambda: plain.call("read-small", *many))
                measured(run, f"remove, {at_once}", subject, repeat, lambda: plain.call("remove", *many))
                continue
            made = folder / f"{name}-{repeat}"
            made.mkdir()
            creating = ("create", made, "--count", count, "--writers", at_once)
            measured(run, f"create, {at_once} writer{s}", subject, repeat, lambda: run.program(*creating))
            measured(run, f"list, {at_once}", subject, repeat, lambda: run.program("long", made))
            reading = ("read", made, "--count", count, "--readers", at_once)
            measured(run, f"read small, {at_once} reader{s}", subject, repeat, lambda: run.program(*reading))
            measured(run, f"remove, {at_once}", subject, repeat, lambda: run.program("remove", made))
            made.rmdir()


def random(run, server, everybody):
    """Pieces of a large object, here and there."""
    plain = Plain(run, server)
    plain.call("write", "large", run.sizes["large"])
    count = run.sizes["pieces"]
    for repeat, subject, folder in run.each(everybody):
        if folder is None:
            measured(run, "random", subject, repeat, lambda: plain.call("random", "large", count))
            continue
        measured(run, "random", subject, repeat, lambda: run.program("random", folder / "large", "--count", count))


def find_all(folder, keys):
    start = time.monotonic()
    command = ["find", str(folder / "million"), "-type", "f"]
    try:
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=FIND_DEADLINE).stdout.count(b"\n")
    except subprocess.TimeoutExpired:
        raise Trouble(f"find took more than {FIND_DEADLINE} s") from None
    if found != keys:
        raise Trouble(f"find found {found} of {keys} keys")
    return {"operations": keys, "seconds": time.monotonic() - start}


def find(run, everybody):
    """All names of a large tree."""
    keys = run.sizes["keys"]
    able = list(everybody)
    for repeat in range(run.sizes["repeats"]):
        for subject in list(able):
            try:
                with subject.started() as folder:
                    deed = lambda: subject.call("list", "million") if folder is None else find_all(folder, keys)
                    measured(run, "find", subject, repeat, deed)
            except Trouble as trouble:
                print(f"  Left out: {subject.name}: {trouble}", flush=True)
                able.remove(subject)


def together(run, folder):
    """Files that are read and files that are written, all at the same time."""
    size = run.sizes["together"]
    reading = [("stream", folder / f"together-{n}") for n in range(AT_ONCE)]
    writing = [("write", folder / f"together-new-{n}", "--size", size) for n in range(AT_ONCE)]
    start = time.monotonic()
    with ThreadPoolExecutor(2 * AT_ONCE) as pool:
        numbers = list(pool.map(lambda arguments: run.program(*arguments), reading + writing))
    return {"operations": sum(one["operations"] for one in numbers), "seconds": time.monotonic() - start}


def memory(run, server, everybody):
    """The daemon's memory while many files are read and written at once."""
    plain = Plain(run, server)
    for number in range(AT_ONCE):
        plain.call("write", f"together-{number}", run.sizes["together"])
    mounts = [subject for subject in everybody if subject.process is None and not isinstance(subject, Plain)]
    for repeat, subject, folder in run.each(mounts):
        measured(run, "together", subject, repeat, lambda: together(run, folder))


def carry_out(run, chosen):
    run.programs = build()

    def everybody(server):
        return [Kvfs(run, server, "kvfs"), Rclone(run, server, "rclone"), S3fs(run, server, "s3fs"), Plain(run, server)]

    for name, work in (("large", large), ("small", small), ("random", random), ("memory", memory)):
        if name in chosen:
            with Server(run.programs["server"]) as server:
                work(run, server, everybody(server))
    if "find" in chosen:
        with Server(run.programs["server"], run.sizes["keys"]) as server:
            find(run, everybody(server))


if __name__ == "__main__":
    runs.measured("buckets", __doc__, WORKS, (QUICK, FULL), carry_out, bucket_goals)
