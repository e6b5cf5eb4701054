"""Software at work on a mount, with the attributes that it sets and trusts: cp, tar, rsync, git.

The commands are timed whole, as their users wait for them.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from subjects import Folder, Kvfs, Trouble, new_folder

WORKS = ["copies", "syncs", "statuses"]
QUICK = {"copied": 2_000, "synced": 10_000, "tracked": 1_000}
FULL = {"copied": 20_000, "synced": 100_000, "tracked": 5_000}
# Files of one folder, and their length in bytes.
FOLDER, LENGTH = 100, 1_000
# When the files that are copied were changed, in seconds since 1970: long ago, so that a copy shows another time.
LONG_AGO = 1_577_880_000
# So many times git is asked, since once is too quick to be timed.
ASKED = 10
DEADLINE = 1800
GIT = ["git", "-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0"]


def make_tree(folder, count):
    """Makes so many small files, each with a mode that is not the usual one and an old time."""
    for number in range(count):
        path = folder / f"{number // FOLDER:04}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(8, "little") * (LENGTH // 8))
        path.chmod(0o640)
        os.utime(path, (LONG_AGO + number, LONG_AGO + number))


def call(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, timeout=DEADLINE, check=False, **more)
    if done.returncode != 0:
        raise Trouble(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout


def timed(run, work, subject, repeat, operations, *command, rounds=1):
    """Runs a command on a started subject; `operations` is how many files it goes over in all its rounds."""
    before = subject.daemon_usage()
    start = time.monotonic()
    for _ in range(rounds):
        call(*command)
    seconds = time.monotonic() - start
    run.note(work, subject, repeat, {"operations": operations * rounds, "seconds": seconds}, before)


def copies(run, subjects, memory):
    """Each command beside its like that leaves attributes alone."""
    count = run.sizes["copied"]
    source, archive = memory / "source", memory / "source.tar"
    make_tree(source, count)
    call("tar", "-cf", archive, "-C", source, ".")
    plain = ["--touch", "--no-same-owner", "--no-same-permissions"]
    for repeat, subject, folder in run.each(subjects):
        timed(run, "cp -r", subject, repeat, count, "cp", "-r", source, folder / "r")
        timed(run, "cp -a", subject, repeat, count, "cp", "-a", source, folder / "a")
        for work, options in (("tar x, no attributes", plain), ("tar x", [])):
            target = folder / work.replace(" ", "-")
            target.mkdir()
            timed(run, work, subject, repeat, count, "tar", "-x", *options, "-f", archive, "-C", target)


def syncs(run, subjects, memory):
    """rsync of what it has copied before: first in the same mount, then in the next."""
    count = run.sizes["synced"]
    for subject in subjects:
        with subject.started() as folder:
            call("rsync", "-a", f"{folder}/files/", memory / "synced" / subject.name, "--mkpath")
    for work in ("rsync, after a remount", "rsync, again"):
        for repeat, subject, folder in run.each(subjects):
            command = ["rsync", "-a", "--stats", f"{folder}/files/", memory / "synced" / subject.name]
            if work == "rsync, again":
                call(*command)
            timed(run, work, subject, repeat, count, *command)
    shutil.rmtree(memory / "synced")


def statuses(run, subjects, memory):
    """git status of a clone, when git and the kernel know it."""
    count = run.sizes["tracked"]
    origin = memory / "origin"
    make_tree(origin, count)
    call(*GIT, "init", "-q", origin)
    call(*GIT, "-C", origin, "add", ".")
    call(*GIT, "-C", origin, "commit", "-q", "-m", "all")
    for repeat, subject, folder in run.each(subjects):
        clone = folder / "clone"
        call(*GIT, "clone", "-q", origin, clone)
        status = [*GIT, "-C", clone, "status", "--porcelain"]
        call(*status)
        timed(run, "git status, warm", subject, repeat, count, *status, rounds=ASKED)


def carry_out(run, chosen, with_kvfs, disk_name, memory, new):
    """Does the chosen work with a folder of the disk and with kvfs."""
    disk = Folder(disk_name, new / "software", fresh=True)
    kvfs = Kvfs(run, "kvfs", new / "software-lmdb", fresh=True)
    fresh = [disk, kvfs] if with_kvfs else [disk]
    if "copies" in chosen:
        copies(run, fresh, memory)
    if "statuses" in chosen:
        statuses(run, fresh, memory)
    if "syncs" in chosen:
        sizes = ["--files", run.sizes["synced"], "--keys", 0, "--large", 0]
        folder, store = new_folder(new), new_folder(new)
        run.program("prepare", folder, *sizes)
        kept = [Folder(disk_name, folder)]
        if with_kvfs:
            run.program("fill", store, *sizes)
            kept.append(Kvfs(run, "kvfs", store))
        syncs(run, kept, memory)
