"""Builds kvfs, measures it beside ext4, tmpfs and the empty server in one run, prints the goals, keeps the numbers.

    scripts/bench [--quick] [--keep] [--only WORK ...] [--without-kvfs]

Every piece of work is repeated, the subjects taking turns within each repeat, so that what disturbs the machine
disturbs all of them; the medians count. The numbers go to benches/results, the plots of a complete run to docs.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import goals
import plot
import software
import subjects
from subjects import Folder, Empty, Kvfs, LiblmdbPuts

ROOT = Path(__file__).resolve().parent.parent
# How long one piece of work may take, in seconds.
WORK_DEADLINE = 1800
READING = ["reads", "lists", "streams"]
WORKS = [*READING, "creates", "mounts", *software.WORKS]
QUICK = {"files": 10_000, "keys": 100_000, "large": 256 << 20, "creates": 2_000, "commits": 200, "repeats": 3}
QUICK |= software.QUICK
FULL = {"files": 10_000, "keys": 1_000_000, "large": 1 << 30, "creates": 10_000, "commits": 1_000, "repeats": 5}
FULL |= software.FULL


def build():
    """Builds all in release mode; answers the paths of the programs by their names."""
    targets = ["--bin", "kvfs", "--bench", "empty", "--bench", "workloads"]
    command = ["cargo", "build", "--release", *targets, "--message-format=json-render-diagnostics"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    messages = (json.loads(line) for line in output.splitlines() if line.startswith(b"{"))
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def machine(work):
    """What the numbers depend on, and nothing that names the machine."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "kernel": platform.release(),
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**20),
        "disk": subjects.filesystem_of(work),
    }


def load():
    """What else the machine had to do: the processes that wanted to run in the last minute."""
    return os.getloadavg()[0]


class Run:
    """One run: the programs, the sizes, and what was measured so far."""

    def __init__(self, programs, sizes, work):
        self.programs, self.sizes, self.work = programs, sizes, work
        self.measurements = []

    def program(self, *arguments):
        command = [self.programs["workloads"], *map(str, arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=WORK_DEADLINE)
        return json.loads(done.stdout)

    def measure(self, work, subject, repeat, *arguments):
        """Runs the measuring program on a started subject; notes its numbers and what the daemon spent on it."""
        before = subject.daemon_usage()
        with subject.memory_watch() as memory:
            numbers = self.program(*arguments)
        if memory.peak is not None:
            numbers |= {"memory_before": memory.before, "memory_peak": memory.peak}
        self.note(work, subject, repeat, numbers, before)

    def note(self, work, subject, repeat, numbers, before):
        """Keeps the numbers of one piece of work, with what the daemon used since it had used `before`."""
        numbers |= {"work": work, "subject": subject.name, "repeat": repeat}
        numbers |= subjects.spent(before, subject.daemon_usage())
        self.measurements.append(numbers)
        rate = numbers["operations"] / numbers["seconds"]
        print(f"  {work:24} {subject.name:18} {numbers['seconds']:9.4f} s {rate:14,.0f}/s", flush=True)

    def each(self, readers):
        """Each repeat with each subject in turn, freshly started, so with nothing in the kernel's caches. A subject
        that cannot be started is left out from then on; the goals that need it are then not measured."""
        able = list(readers)
        for repeat in range(self.sizes["repeats"]):
            for subject in list(able):
                try:
                    with subject.started() as folder:
                        yield repeat, subject, folder
                except subjects.Trouble as trouble:
                    print(f"  Left out: {trouble}", flush=True)
                    able.remove(subject)


def reads(run, readers):
    files = run.sizes["files"]
    for repeat, subject, folder in run.each(readers):
        run.measure("read, cold", subject, repeat, "read", folder / "files", "--count", files)
        run.measure("read, warm", subject, repeat, "read", folder / "files", "--count", files)
        # One pass that does not count: the READs before have made the access times stale.
        run.program("stat", folder / "files", "--count", files, "--rounds", 1)
        run.measure("stat, warm", subject, repeat, "stat", folder / "files", "--count", files)


def lists(run, readers):
    for repeat, subject, folder in run.each(readers):
        run.measure("list", subject, repeat, "list", folder / "million")
        run.measure("list, again", subject, repeat, "list", folder / "million")
    for repeat, subject, folder in run.each(readers):
        run.measure("list with attributes", subject, repeat, "long", folder / "files")


def streams(run, readers):
    for block, name in ((1 << 20, "stream, 1 MiB reads"), (128 << 10, "stream, 128 KiB reads")):
        for repeat, subject, folder in run.each(readers):
            run.measure(name, subject, repeat, "stream", folder / "large", "--block", block)


def creates(run, writers):
    for threads in (1, 4):
        for repeat, subject, folder in run.each(writers):
            count = run.sizes["commits" if subject.commits_each else "creates"]
            verb = "put" if isinstance(subject, LiblmdbPuts) else "create"
            work = f"create, {threads} writer{'s' * (threads > 1)}"
            run.measure(work, subject, repeat, verb, folder, "--count", count, "--writers", threads)


def mounts(run, kvfs):
    for repeat in range(run.sizes["repeats"]):
        seconds, memory = kvfs.mount_in_background()
        run.measurements.append(
            {"work": "mount", "subject": kvfs.name, "repeat": repeat, "operations": 1, "seconds": seconds}
            | {"memory_idle": memory}
        )
        print(f"  {'mount':24} {kvfs.name:18} {seconds:9.4f} s {memory / 2**20:10.1f} MiB idle", flush=True)


def prepared(run, name, verb, place):
    """Makes the data of a reading subject where it is not there from an earlier run of the same sizes."""
    sizes = {key: run.sizes[key] for key in ("files", "keys", "large")}
    folder = place / f"{name}-{'-'.join(map(str, sizes.values()))}"
    done = folder.with_suffix(".done")
    if not done.exists():
        print(f"Making {name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run.program(verb, folder, *(part for key, value in sizes.items() for part in (f"--{key}", value)))
        done.touch()
    return folder


def carry_out(run, chosen, with_kvfs, stack):
    """Makes the subjects and does the chosen work with them."""
    memory = Path(stack.enter_context(subjects.temporary_folder("/dev/shm")))
    disk_name = subjects.filesystem_of(run.work)
    sizes = run.sizes
    shown = ["--files", sizes["files"], "--keys", sizes["keys"], "--large", sizes["large"]]
    empty = Empty(run, "empty", shown)
    empty_snapshot = Empty(run, "empty, snapshot", ["--snapshot", *shown])
    readers = [empty, empty_snapshot]
    if set(chosen) & set(READING):
        readers += [
            Folder(disk_name, prepared(run, disk_name, "prepare", run.work), cold=True),
            Folder("tmpfs", prepared(run, "tmpfs", "prepare", memory)),
        ]
    live = None
    if with_kvfs and set(chosen) & {*READING, "mounts"}:
        store = prepared(run, "lmdb", "fill", run.work)
        live = Kvfs(run, "kvfs", store)
        readers += [live, Kvfs(run, "kvfs, snapshot", store, ["--snapshot"])]
    new = Path(stack.enter_context(subjects.temporary_folder(run.work)))
    writers = [
        Folder(disk_name, new / disk_name, fresh=True),
        Folder("tmpfs", memory / "new", fresh=True),
        Empty(run, "empty", shown, inside="new"),
        LiblmdbPuts("raw LMDB", new / "raw"),
    ]
    if with_kvfs:
        store = new / "lmdb"
        writers += [
            Kvfs(run, "kvfs", store, fresh=True),
            Kvfs(run, "kvfs, commit close", store, ["--commit", "close"], fresh=True, commits_each=True),
            Kvfs(run, "kvfs, others attached", store, fresh=True, commits_each=True, attached=True),
        ]
    if "reads" in chosen:
        reads(run, readers)
    if "lists" in chosen:
        lists(run, readers)
    if "streams" in chosen:
        streams(run, [subject for subject in readers if "snapshot" not in subject.name])
    if "creates" in chosen:
        creates(run, writers)
    if "mounts" in chosen and live:
        mounts(run, live)
    software.carry_out(run, chosen, with_kvfs, disk_name, memory, new)


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller and fewer: a minute or two, and rougher")
    parser.add_argument("--only", nargs="+", choices=WORKS, default=WORKS, metavar="WORK", help=" ".join(WORKS))
    parser.add_argument("--without-kvfs", action="store_true", help="measure only what kvfs is compared with")
    parser.add_argument("--keep", action="store_true", help="keep the prepared data for the next run")
    return parser.parse_args()


def stop(*_):
    """A termination takes the same way out as ctrl-C: through every `finally`, which unmounts."""
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, stop)
    arguments = parse()
    if os.geteuid() != 0:
        sys.exit("scripts/bench mounts and empties caches: run it as root.")
    sizes = QUICK if arguments.quick else FULL
    work = ROOT / "target" / "bench"
    work.mkdir(parents=True, exist_ok=True)
    subjects.unmount(work)  # what a killed run has left behind
    # Daemons of this run keep to themselves.
    os.environ |= {"KVFS_RUNTIME_DIR": str(work / "runtime"), "KVFS_STATE_DIR": str(work / "state")}
    run = Run(build(), sizes, work)
    load_before = load()
    try:
        with ExitStack() as stack:
            carry_out(run, arguments.only, not arguments.without_kvfs, stack)
    except KeyboardInterrupt:
        sys.exit("Stopped; everything is unmounted.")
    except (subjects.Trouble, subprocess.SubprocessError) as trouble:
        sys.exit(f"scripts/bench: {trouble}")
    finally:
        if not arguments.keep:
            shutil.rmtree(work, ignore_errors=True)
    result = keep(run, arguments, load_before, "" if arguments.only == WORKS else "-" + "-".join(arguments.only))
    print(goals.table(result))
    if arguments.only == WORKS and not arguments.without_kvfs:
        plot.write(result, ROOT / "docs")


def measured(name, doc, works, sizes, carry_out, table):
    """The main function of a bench beside a service: reads the command line, runs `carry_out(run, chosen)`, keeps the
    numbers and shows `table`, a module of goals. `sizes`: for a short run, and for a whole one."""
    signal.signal(signal.SIGTERM, stop)
    parser = argparse.ArgumentParser(prog=f"scripts/bench-{name}", description=doc.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="smaller: a few minutes, and rougher")
    parser.add_argument("--page", action="store_true", help="write the page after a short run, too")
    parser.add_argument("--only", nargs="+", choices=works, default=works, metavar="WORK", help=" ".join(works))
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit(f"scripts/bench-{name} mounts: run it as root.")
    work = ROOT / "target" / f"bench-{name}"
    work.mkdir(parents=True, exist_ok=True)
    subjects.unmount(work)  # what a killed run has left behind
    os.environ |= {"KVFS_RUNTIME_DIR": str(work / "runtime"), "KVFS_STATE_DIR": str(work / "state")}
    run = Run({}, sizes[0] if arguments.quick else sizes[1], work)
    load_before = load()
    try:
        carry_out(run, arguments.only)
    except KeyboardInterrupt:
        sys.exit("Stopped; everything is unmounted.")
    except (subjects.Trouble, subprocess.SubprocessError) as trouble:
        sys.exit(f"scripts/bench-{name}: {trouble}")
    finally:
        subjects.unmount(work)
        shutil.rmtree(work, ignore_errors=True)
    parts = "" if arguments.only == works else "-" + "-".join(arguments.only)
    result = keep(run, arguments, load_before, f"-{name}{parts}")
    print(goals.table(result, table.GOALS))
    if not parts and (arguments.page or not arguments.quick):
        table.write(result, ROOT / "docs")


def keep(run, arguments, load_before, parts):
    """Writes the numbers of a run into benches/results; answers them. `parts`: what of all work it was."""
    result = {
        "date": datetime.date.today().isoformat(),
        "quick": arguments.quick,
        "sizes": run.sizes,
        "load_before": load_before,
        "machine": machine(ROOT / "target"),
        "measurements": run.measurements,
    }
    if not getattr(arguments, "without_kvfs", False):
        identity = hashlib.sha256(json.dumps(result["machine"], sort_keys=True).encode()).hexdigest()[:8]
        name = f"{result['date']}-{identity}{parts}{'-quick' * arguments.quick}.json"
        path = ROOT / "benches" / "results" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"Numbers kept in {path.relative_to(ROOT)}")
    return result


if __name__ == "__main__":
    main()
