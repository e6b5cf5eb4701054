"""Measures kvfs on a Redis server beside redis-benchmark and redis-cli, with the same server on this machine, in one run.

    scripts/bench-redis [--quick [--page]] [--only WORK ...]

The subjects take turns within each repeat; the medians count. The numbers go to benches/results, the page and its
plots to docs/speed-redis.md, after a short run only with --page.
"""

import csv
import io
import subprocess
import time

import redis_goals
import run as runs
from subjects import Empty, Mounted, Subject, Trouble

WORKS = ["read", "create", "list", "large"]
QUICK = {"files": 2_000, "keys": 20_000, "large": 32 << 20, "repeats": 3}
FULL = {"files": 10_000, "keys": 100_000, "large": 100 << 20, "repeats": 5}
FILE = 4096


class Server:
    """A server of scripts/servers/redis, until this context ends."""

    def __enter__(self):
        script = runs.ROOT / "scripts" / "servers" / "redis"
        self.process = subprocess.Popen([script, "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = self.process.stdout.readline().strip().rsplit(":", 1)[-1]
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def cli(self, *command):
        done = subprocess.run(["redis-cli", "-p", self.port, *map(str, command)], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def calls(self):
        """Commands so far, by their names."""
        lines = self.cli("INFO", "commandstats").splitlines()
        pairs = (line.removeprefix("cmdstat_").split(":calls=") for line in lines if ":calls=" in line)
        return {name: int(rest.split(",")[0]) for name, rest in pairs}

    def benchmark(self, count, clients, *command):
        """redis-benchmark with so many connections, each waiting for its answer."""
        program = ["redis-benchmark", "-p", self.port, "-n", str(count), "-c", str(clients), "--csv", *map(str, command)]
        said = subprocess.run(program, check=True, capture_output=True, text=True).stdout
        rate = float(list(csv.DictReader(io.StringIO(said)))[-1]["rps"])
        return {"operations": count, "seconds": count / rate}

    def scan(self, keys):
        """redis-cli --scan, and then TYPE and STRLEN of each in one pipeline."""
        start = time.monotonic()
        arguments = ["redis-cli", "-p", self.port]
        names = subprocess.run([*arguments, "--scan"], check=True, capture_output=True).stdout.splitlines()
        questions = b"".join(b"TYPE %b\r\nSTRLEN %b\r\n" % (name, name) for name in names)
        subprocess.run([*arguments, "--pipe"], input=questions, check=True, stdout=subprocess.DEVNULL)
        if len(names) < keys:
            raise Trouble(f"--scan found {len(names)} of {keys} keys")
        return {"operations": keys, "seconds": time.monotonic() - start}


class Kvfs(Mounted):
    """kvfs with its defaults."""

    def __init__(self, run, server):
        super().__init__(run, "kvfs")
        self.server = server

    def start(self):
        source = f"redis://127.0.0.1:{self.server.port}/0"
        log = open(self.run.work / "kvfs.log", "ab")
        command = [self.run.programs["kvfs"], "mount", "--foreground", source, str(self.mountpoint)]
        return subprocess.Popen(command, start_new_session=True, stderr=log, stdout=log)


class Plain(Subject):
    """A client without a mount."""

    def __init__(self, name):
        self.name = name


def counted(run, server, work, subject, repeat, deed):
    """Does one piece of work; notes its numbers with the commands that the server counted."""
    before = server.calls()
    usage = subject.daemon_usage()
    with subject.memory_watch() as memory:
        numbers = deed()
    if memory.peak is not None:
        numbers |= {"memory_before": memory.before, "memory_peak": memory.peak}
    after = server.calls()
    run.note(work, subject, repeat, numbers, usage)
    asked = {name: count - before.get(name, 0) for name, count in after.items() if name != "info"}
    run.measurements[-1]["asked"] = {name: count for name, count in asked.items() if count}


def each(run, kvfs, work, empty=None):
    """Each repeat on a mount just made; `empty` does the same work on the empty FUSE server."""
    shown = ["--files", run.sizes["files"], "--keys", 1, "--large", run.sizes["large"]]
    server = Empty(run, "empty", shown)
    for repeat in range(run.sizes["repeats"]):
        with kvfs.started() as folder:
            work(repeat, folder)
        if empty:
            with server.started() as folder:
                empty(server, repeat, folder)


def read(run, server, kvfs):
    count = run.sizes["files"]
    with kvfs.started() as folder:
        (folder / "small").mkdir()
        run.program("create", folder / "small", "--count", count, "--writers", 4)
    loop, ping = Plain("redis-benchmark"), Plain("redis-benchmark")

    def work(repeat, folder):
        for readers in (1, 4):
            s = "s" * (readers > 1)
            reading = ("read", folder / "small", "--count", count, "--readers", readers)
            if readers == 1:
                counted(run, server, "read, cold, 1 reader", kvfs, repeat, lambda: run.program(*reading))
                counted(run, server, "read, warm, 1 reader", kvfs, repeat, lambda: run.program(*reading))
            looping = lambda: server.benchmark(count, readers, "GET", "small:f000001")
            counted(run, server, f"GET, {readers} connection{s}", loop, repeat, looping)
        counted(run, server, "PING, 1 connection", ping, repeat, lambda: server.benchmark(count, 1, "PING"))

    def four(repeat, folder):
        reading = ("read", folder / "small", "--count", count, "--readers", 4)
        counted(run, server, "read, cold, 4 readers", kvfs, repeat, lambda: run.program(*reading))

    def empty(subject, repeat, folder):
        for name in ("cold", "warm"):
            reading = ("read", folder / "files", "--count", count)
            run.measure(f"read, {name}, 1 reader", subject, repeat, *reading)

    each(run, kvfs, work, empty)
    each(run, kvfs, four)


def create(run, server, kvfs):
    count = run.sizes["files"]
    loop = Plain("redis-benchmark")

    def work(repeat, folder):
        for writers in (1, 8):
            s = "s" * (writers > 1)
            made = folder / f"new-{writers}-{repeat}"
            made.mkdir()
            creating = ("create", made, "--count", count, "--writers", writers)
            counted(run, server, f"create, {writers} writer{s}", kvfs, repeat, lambda: run.program(*creating))
            setting = lambda: server.benchmark(count, writers, "SET", "loop", "x" * FILE)
            counted(run, server, f"SET, {writers} connection{s}", loop, repeat, setting)

    def empty(subject, repeat, folder):
        for writers in (1, 8):
            creating = ("create", folder / "new", "--count", count, "--writers", writers)
            run.measure(f"create, {writers} writer{'s' * (writers > 1)}", subject, repeat, *creating)

    each(run, kvfs, work, empty)


def list_all(run, server, kvfs):
    keys = run.sizes["keys"]
    server.cli("EVAL", "for i=1,ARGV[1] do redis.call('SET', 'many:' .. i, 'value') end", 0, keys)
    scan = Plain("redis-cli")
    server.cli("CONFIG", "SET", "latency-monitor-threshold", 5)

    def work(repeat, folder):
        server.cli("LATENCY", "RESET")
        counted(run, server, "ls -l", kvfs, repeat, lambda: run.program("long", folder / "many"))
        run.measurements[-1]["slow"] = len([line for line in server.cli("LATENCY", "LATEST").splitlines() if line])
        counted(run, server, "ls -l, again", kvfs, repeat, lambda: run.program("long", folder / "many"))
        counted(run, server, "SCAN, TYPE, STRLEN", scan, repeat, lambda: server.scan(keys))

    each(run, kvfs, work)


def large(run, server, kvfs):
    size, piece = run.sizes["large"], 1 << 20
    loop = Plain("redis-benchmark")
    with kvfs.started() as folder:
        run.program("write", folder / "large", "--size", size)

    def in_a_loop():
        numbers = server.benchmark(size // piece, 1, "GETRANGE", "large", 0, piece - 1)
        return numbers | {"operations": size}

    def work(repeat, folder):
        counted(run, server, "large, in order", kvfs, repeat, lambda: run.program("stream", folder / "large"))
        counted(run, server, "GETRANGE, 1 connection", loop, repeat, in_a_loop)

    def empty(subject, repeat, folder):
        run.measure("large, in order", subject, repeat, "stream", folder / "large")

    each(run, kvfs, work, empty)


def carry_out(run, chosen):
    run.programs = runs.build()
    for name, deed in (("read", read), ("create", create), ("list", list_all), ("large", large)):
        if name in chosen:
            with Server() as server:
                deed(run, server, Kvfs(run, server))


if __name__ == "__main__":
    runs.measured("redis", __doc__, WORKS, (QUICK, FULL), carry_out, redis_goals)
