"""What is measured: folders of other file systems, the empty server, kvfs, and LMDB without a mount.

Each subject has a name and `started()`, a context that answers the folder to work on and cleans up behind it.
"""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

# How long a mount, an unmount or an answer may take, in seconds.
DEADLINE = 60


class Trouble(Exception):
    """A sentence for the user."""


def filesystem_of(folder):
    """The name of the file system under `folder`."""
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise Trouble(f"{what} took more than {DEADLINE} s")
        time.sleep(0.001)


def mounts_below(folder):
    """Where something is mounted on `folder` or below it, by the kernel's table: to ask a dead server would hang."""
    places = [line.split()[1].replace("\\040", " ") for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in places if f"{place}/".startswith(f"{folder}/")]


def unmount(folder):
    """Unmounts what is mounted on `folder` or below it, if anything; detaches it where it stays busy."""
    for options in ([], [], ["-l"]):
        for place in mounts_below(folder):
            subprocess.run(["umount", *options, place], stderr=subprocess.DEVNULL, check=False, timeout=DEADLINE)
        if not mounts_below(folder):
            return
        time.sleep(0.5)


def new_folder(place):
    """An empty folder of its own in `place`. It is removed at the end of the run, with `place`: a disk that is busy
    with discarding what one subject has left is slow for the next."""
    place.mkdir(parents=True, exist_ok=True)
    os.sync()
    return Path(tempfile.mkdtemp(dir=place))


@contextmanager
def temporary_folder(place):
    folder = tempfile.mkdtemp(prefix="kvfs-bench-", dir=place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def memory_of(pid):
    """Bytes that are the process's own: anonymous and shared, without pages of mapped files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def processor_seconds(pid):
    """Time on a processor of all threads, exact to the nanosecond where the kernel counts so."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def spent(before, after):
    """The difference of two answers of `daemon_usage`."""
    if before is None or after is None:
        return {}
    counts = {name: count - before["requests"].get(name, 0) for name, count in after["requests"].items()}
    return {
        "cpu_seconds": after["cpu"] - before["cpu"],
        "requests": {name: count for name, count in counts.items() if count},
    }


class MemoryWatch:
    """Notes the most memory that a process has while this context lasts."""

    def __init__(self, pid):
        self.pid, self.peak, self.before = pid, None, None
        self.ended = threading.Event()

    def __enter__(self):
        if self.pid:
            self.before = self.peak = memory_of(self.pid)
            self.thread = threading.Thread(target=self.watch)
            self.thread.start()
        return self

    def watch(self):
        while not self.ended.wait(0.01):
            self.peak = max(self.peak, memory_of(self.pid))

    def __exit__(self, *_):
        if self.pid:
            self.ended.set()
            self.thread.join()
            self.peak = max(self.peak, memory_of(self.pid))


class Subject:
    commits_each = False
    process = None

    def memory_watch(self):
        return MemoryWatch(self.process.pid if self.process else None)

    def requests(self):
        return {}

    def daemon_usage(self):
        """What the daemon has used so far, once it has nothing left to do: RELEASE and FORGET come late."""
        if not self.process:
            return None
        requests = None
        while requests != (requests := self.requests()):
            time.sleep(0.02)
        return {"requests": requests, "cpu": processor_seconds(self.process.pid)}


class Folder(Subject):
    """A folder of a file system that is there already."""

    def __init__(self, name, folder, fresh=False, cold=False):
        self.name, self.folder, self.fresh, self.cold = name, folder, fresh, cold

    @contextmanager
    def started(self):
        if self.cold:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3")
        yield new_folder(self.folder) if self.fresh else self.folder


class LiblmdbPuts(Folder):
    """LMDB without a mount; each put is a commit."""

    commits_each = True

    def __init__(self, name, folder):
        super().__init__(name, folder, fresh=True)


class Mounted(Subject):
    """A FUSE server as a child of this process, mounted on a folder of its own."""

    def __init__(self, run, name, inside=""):
        self.run, self.name, self.inside = run, name, inside
        self.mountpoint = run.work / "mnt"

    @contextmanager
    def started(self):
        self.mountpoint.mkdir(exist_ok=True)
        self.process = self.start()
        try:
            wait_until(lambda: self.process.poll() is not None or mounts_below(self.mountpoint), self.name)
            if self.process.poll() is not None:
                raise Trouble(f"{self.name} ended before it was mounted, with code {self.process.returncode}")
            yield self.mountpoint / self.inside
        finally:
            unmount(self.mountpoint)
            self.end(self.process)
            self.process = None

    def end(self, process):
        """Waits for the server to finish, which it does by itself once it is unmounted."""
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Trouble(f"{self.name} did not end {DEADLINE} s after it was unmounted") from None


class Empty(Mounted):
    """The empty server of benches/empty.rs."""

    def __init__(self, run, name, options, inside=""):
        super().__init__(run, name, inside)
        self.options = options

    def start(self):
        command = [self.run.programs["empty"], str(self.mountpoint), *map(str, self.options)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        if process.stdout.readline() != "ready\n":
            raise Trouble(f"{self.name} could not be mounted")
        return process

    def requests(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Kvfs(Mounted):
    """kvfs on an LMDB environment, mounted apart."""

    def __init__(self, run, name, store, options=(), fresh=False, commits_each=False, attached=False):
        super().__init__(run, name, "new" if fresh else "")
        self.stores = self.store = store
        self.options, self.fresh = options, fresh
        self.commits_each, self.attached = commits_each, attached

    def command(self, *more):
        return [self.run.programs["kvfs"], "mount", *self.options, *more, f"lmdb:{self.store}", str(self.mountpoint)]

    def start(self):
        return subprocess.Popen(self.command("--foreground"), start_new_session=True)

    @contextmanager
    def started(self):
        if self.fresh:
            self.store = new_folder(self.stores)
            self.run.program("fill", self.store, "--files", 0, "--keys", 0, "--large", 0)
        else:
            self.read_store()
        other = self.attach() if self.attached else None
        try:
            with super().started() as folder:
                yield folder
        finally:
            if other:
                other.communicate(timeout=DEADLINE)

    def read_store(self):
        """Brings the environment into the page cache: the disk is not what is measured."""
        with open(self.store / "data.mdb", "rb") as data:
            while data.read(1 << 20):
                pass

    def attach(self):
        """Another program that has the environment open."""
        command = [self.run.programs["workloads"], "hold", str(self.store)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        return process

    def status(self):
        command = [self.run.programs["kvfs"], "status", str(self.mountpoint), "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def requests(self):
        return find(self.status(), "requests")

    def mount_in_background(self):
        """Mounts as a user does; answers the seconds until the command returned, and the idle daemon's memory."""
        self.mountpoint.mkdir(exist_ok=True)
        self.read_store()
        try:
            start = time.monotonic()
            subprocess.run(self.command(), check=True, stdin=subprocess.DEVNULL)
            seconds = time.monotonic() - start
            time.sleep(0.5)
            return seconds, memory_of(find(self.status(), "process"))
        finally:
            subprocess.run([self.run.programs["kvfs"], "unmount", str(self.mountpoint)], check=False)
            unmount(self.mountpoint)


def find(document, name):
    """The first value called `name` in a JSON document, however deep."""
    if isinstance(document, dict):
        if name in document:
            return document[name]
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            if isinstance(part, (dict, list)) and (found := find(part, name)) is not None:
                return found
    return None
