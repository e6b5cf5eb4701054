"""Asks the folder sys.argv[1] who may do what and what each change does to owners, modes and times; prints one line a
question. Run as root in a folder of a mount and in one of the machine's own file system, it prints the same."""

import errno
import os
import stat
import sys
import time

OWNER, GROUP, OTHER = (2001, 2001), (2002, 2001), (2003, 2003)
EXTRA = 2010
ROOT = sys.argv[1]


def as_user(user, work, groups=()):
    """What `work` answers in a process of this user."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            os.setgroups(groups)
            os.setresgid(user[1], user[1], user[1])
            os.setresuid(user[0], user[0], user[0])
            said = str(work())
        except OSError as error:
            said = errno.errorcode[error.errno]
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answers:
        said = answers.read()
    os.waitpid(child, 0)
    return said


def ask(question, answer):
    print(f"{question}: {answer}")


def shown(path):
    found = os.lstat(path)
    return f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid} {found.st_size if not stat.S_ISDIR(found.st_mode) else ''}"


def new(name, mode=0o644, user=OWNER, content=b"content"):
    path = os.path.join(ROOT, name)
    with open(path, "wb") as file:
        file.write(content)
    os.chown(path, *user)
    os.chmod(path, mode)
    return path


def folder(name, mode=0o755, user=OWNER):
    path = os.path.join(ROOT, name)
    os.mkdir(path)
    os.chown(path, *user)
    os.chmod(path, mode)
    return path


def written(path, *flags, data=b"x"):
    descriptor = os.open(path, os.O_WRONLY | sum(flags))
    if data:
        os.write(descriptor, data)
    os.close(descriptor)


def set_id_bits():
    """A write, a cut and a new owner take set-id bits away, unless root writes."""
    changes = {
        "write": lambda path: written(path),
        "append": lambda path: written(path, os.O_APPEND),
        "open with O_TRUNC": lambda path: written(path, os.O_TRUNC, data=None),
        "truncate": lambda path: os.truncate(path, 3),
        "chmod of the same": lambda path: os.chmod(path, 0o6777),
    }
    for mode in (0o6777, 0o6767, 0o4777, 0o2777):
        for name, change in changes.items():
            for who, user in (("owner", OWNER), ("another", OTHER), ("root", (0, 0))):
                path = new("set-id", mode)
                ask(f"{mode:o} after {name} by {who}", f"{as_user(user, lambda: change(path))} {shown(path)}")
                os.unlink(path)
    for owner in ((2003, -1), (-1, 2003), (-1, -1), (2001, 2001)):
        path = new("set-id", 0o6777)
        os.chown(path, *owner)
        ask(f"6777 after chown to {owner} by root", shown(path))
        os.unlink(path)


def inheritance():
    """A folder with the set-group-id bit gives its group to what is made in it, and the bit to folders."""
    for mode in (0o2777, 0o777, 0o3777):
        above = folder("above", mode, (2001, EXTRA))
        for who, user, groups in (("a member", GROUP, (EXTRA,)), ("another", OTHER, ()), ("root", (0, 0), ())):
            made = {
                "file": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o2775)),
                "folder": lambda path: os.mkdir(path, 0o755),
                "link": lambda path: os.symlink("target", path),
                "fifo": lambda path: os.mkfifo(path, 0o644),
            }
            for name, make in made.items():
                path = os.path.join(above, name)
                said = as_user(user, lambda: make(path), groups)
                ask(f"{name} in a folder of mode {mode:o} by {who}", f"{said} {shown(path) if os.path.lexists(path) else '-'}")
                if os.path.lexists(path):
                    os.rmdir(path) if name == "folder" else os.unlink(path)
        os.rmdir(above)


def owners_and_modes():
    """Who may change an owner, a group, a mode, a time."""
    attempts = {
        "chown to another": lambda path: os.chown(path, 2003, -1),
        "chown to itself": lambda path: os.chown(path, 2001, -1),
        "chgrp to an own group": lambda path: os.chown(path, -1, EXTRA),
        "chgrp to a foreign group": lambda path: os.chown(path, -1, 2003),
        "chown of nothing": lambda path: os.chown(path, -1, -1),
        "chmod": lambda path: os.chmod(path, 0o600),
        "chmod g+s": lambda path: os.chmod(path, 0o2755),
        "utime to a time": lambda path: os.utime(path, (1, 2)),
        "utime to now": lambda path: os.utime(path),
        "read": lambda path: open(path, "rb").read(),
        "truncate": lambda path: os.truncate(path, 0),
        "get xattr": lambda path: os.getxattr(path, "user.note"),
        "set xattr": lambda path: os.setxattr(path, "user.more", b"1"),
        "list xattrs": lambda path: os.listxattr(path),
        "remove xattr": lambda path: os.removexattr(path, "user.note"),
        "set a trusted xattr": lambda path: os.setxattr(path, "trusted.x", b"1"),
    }
    for mode in (0o644, 0o662, 0o600):
        for group in (2001, 2003):
            for name, attempt in attempts.items():
                for who, user in (("owner", OWNER), ("group", GROUP), ("another", OTHER)):
                    path = new("asked", mode, (2001, group))
                    os.setxattr(path, "user.note", b"text")
                    said = as_user(user, lambda: attempt(path), (EXTRA,))
                    ask(f"{name} of {mode:o} {group} by {who}", f"{said} {shown(path)}")
                    os.unlink(path)


def names():
    """Who may make, remove and rename what, also where the sticky bit is set."""
    for mode in (0o755, 0o777, 0o1777, 0o775, 0o1775, 0o333):
        for owner in (OWNER, OTHER):
            attempts = {
                "create": lambda above: open(os.path.join(above, "new"), "x").close(),
                "unlink": lambda above: os.unlink(os.path.join(above, "file")),
                "rmdir": lambda above: os.rmdir(os.path.join(above, "folder")),
                "rename": lambda above: os.rename(os.path.join(above, "file"), os.path.join(above, "renamed")),
                "rename over": lambda above: os.rename(os.path.join(above, "file"), os.path.join(above, "second")),
                "move a folder": lambda above: os.rename(os.path.join(above, "folder"), os.path.join(above, "moved")),
                "list": lambda above: sorted(os.listdir(above)),
                "symlink": lambda above: os.symlink("x", os.path.join(above, "link")),
            }
            for name, attempt in attempts.items():
                for who, user in (("owner", OWNER), ("group", GROUP), ("another", (2004, 2004))):
                    above = folder("names", mode)
                    for inside in ("file", "second"):
                        new(f"names/{inside}", user=owner)
                    folder("names/folder", user=owner)
                    ask(f"{name} in {mode:o}, inside {owner[0]}, by {who}", as_user(user, lambda: attempt(above)))
                    for inside in os.listdir(above):
                        path = os.path.join(above, inside)
                        os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
                    os.rmdir(above)


def times():
    """Which times a change moves, of what is changed and of the folders around it."""
    above, beside = folder("above"), folder("beside")

    def moved(question, work, *paths):
        before = [os.lstat(path) for path in paths]
        # Times of the machine's file system move with the kernel's tick, of 10 ms at most.
        time.sleep(0.02)
        work()
        words = []
        for path, old in zip(paths, before):
            if not os.path.lexists(path):
                words.append(f"{os.path.basename(path)} gone")
                continue
            now = os.lstat(path)
            kinds = [kind for kind in ("mtime", "ctime") if getattr(now, f"st_{kind}_ns") != getattr(old, f"st_{kind}_ns")]
            words.append(f"{os.path.basename(path)} {'+'.join(kinds) or 'same'}")
        ask(f"times moved by {question}", ", ".join(words))

    path, second = os.path.join(above, "file"), os.path.join(beside, "file")
    moved("create", lambda: open(path, "x").close(), above)
    moved("a second open with O_CREAT", lambda: open(path, "a").close(), path, above)
    moved("write", lambda: written(path), path, above)
    moved("writing nothing", lambda: written(path, data=b""), path)
    moved("open with O_TRUNC", lambda: written(path, os.O_TRUNC, data=None), path)
    moved("open with O_TRUNC of an empty file", lambda: written(path, os.O_TRUNC, data=None), path)
    moved("truncate to longer", lambda: os.truncate(path, 10), path)
    moved("truncate to the same", lambda: os.truncate(path, 10), path)
    moved("read", lambda: open(path, "rb").read(), path)
    moved("chmod", lambda: os.chmod(path, 0o600), path, above)
    moved("chmod to the same", lambda: os.chmod(path, 0o600), path)
    moved("chown", lambda: os.chown(path, 2003, 2003), path)
    moved("chown of nothing", lambda: os.chown(path, -1, -1), path)
    moved("utime", lambda: os.utime(path, (1, 2)), path, above)
    moved("set xattr", lambda: os.setxattr(path, "user.x", b"1"), path, above)
    moved("get xattr", lambda: os.getxattr(path, "user.x"), path)
    moved("remove xattr", lambda: os.removexattr(path, "user.x"), path)
    moved("rename in a folder", lambda: os.rename(path, path + "2"), above)
    moved("rename back", lambda: os.rename(path + "2", path), above)
    moved("rename to another folder", lambda: os.rename(path, second), above, beside)
    open(path, "x").close()
    moved("rename over", lambda: os.rename(second, path), above, beside, path)
    moved("mkdir", lambda: os.mkdir(second), beside)
    moved("a file in a folder below", lambda: open(os.path.join(second, "x"), "x").close(), second, beside)
    moved("move of a folder", lambda: os.rename(second, os.path.join(above, "folder")), above, beside)
    moved("unlink below", lambda: os.unlink(os.path.join(above, "folder", "x")), os.path.join(above, "folder"), above)
    moved("rmdir", lambda: os.rmdir(os.path.join(above, "folder")), above)
    moved("symlink", lambda: os.symlink("x", second), beside)
    moved("chmod through a link to nothing", lambda: as_user(OWNER, lambda: os.chmod(second, 0)), second)
    moved("unlink of a link", lambda: os.unlink(second), beside)
    moved("failing unlink", lambda: as_user(OTHER, lambda: os.unlink(path)), path, above)
    descriptor = os.open(path, os.O_WRONLY)
    moved("write, seen while it is open", lambda: os.write(descriptor, b"y"), path)
    moved("fchmod of an open file with unwritten bytes", lambda: os.fchmod(descriptor, 0o640), path)
    os.utime(descriptor, ns=(1_000_000_000, 2_000_000_001))
    moved("close after utime", lambda: os.close(descriptor), path)
    ask("the time that was set", os.stat(path).st_mtime_ns)
    for when in (0, -1, 2**31, 2**32 + 5):
        os.utime(path, (when, when))
        ask(f"utime to {when}", (int(os.stat(path).st_mtime), int(os.stat(path).st_atime)))


os.umask(0)
set_id_bits()
inheritance()
owners_and_modes()
names()
times()
