"""The goals for speed on Redis, and the page that shows them."""

from goals import MIB, REPORTED, at_least, at_most
import plot

OURS, LOOP, CLI, EMPTY = "kvfs", "redis-benchmark", "redis-cli", "empty"


def beside(ours, theirs, other=LOOP):
    """Our rate ÷ that of the program without a mount."""
    return lambda n: n.ratio(ours, OURS, other, theirs)


def faster(many, one, subject=OURS):
    return lambda n: n.ratio(many, subject, subject, one)


def in_turn(work, question):
    """The time of a question to the server and of the empty FUSE server's answers, one after the other, ÷ ours."""
    return lambda n: n.in_turn(work, OURS, (question, LOOP), (work, EMPTY))


# Section, what is measured, how, and the bound.
GOALS = [
    ("Open, read 4 KiB, close", [
        ("cold, 1 reader: rate ÷ a GET loop's", beside("read, cold, 1 reader", "GET, 1 connection"), at_least(0.7)),
        ("cold, 1 reader: time of a GET and of the empty FUSE server's answers, one after the other, ÷ ours",
         in_turn("read, cold, 1 reader", "GET, 1 connection"), REPORTED),
        ("cold, 4 readers: rate ÷ that of one", faster("read, cold, 4 readers", "read, cold, 1 reader"), at_least(2)),
        ("cold: values read a file", lambda n: n.asked("read, cold, 1 reader", OURS, "getrange"), at_most(1, 0.02)),
        ("warm: rate ÷ a PING loop's", beside("read, warm, 1 reader", "PING, 1 connection"), at_least(0.7)),
        ("warm: time of a PING and of the empty FUSE server's answers, one after the other, ÷ ours",
         in_turn("read, warm, 1 reader", "PING, 1 connection"), REPORTED),
        ("warm: values read a file", lambda n: n.asked("read, warm, 1 reader", OURS, "getrange"), at_most(0, 0.02)),
    ]),
    ("Files of 4 KiB made", [
        ("1 writer: rate ÷ a SET loop's", beside("create, 1 writer", "SET, 1 connection"), REPORTED),
        ("1 writer: time of a SET and of the empty FUSE server's answers, one after the other, ÷ ours",
         in_turn("create, 1 writer", "SET, 1 connection"), REPORTED),
        ("8 writers: rate ÷ that of one", faster("create, 8 writers", "create, 1 writer"), at_least(4)),
        ("8 writers on the empty FUSE server: rate ÷ that of one",
         faster("create, 8 writers", "create, 1 writer", EMPTY), REPORTED),
        ("1 writer: SETs a file", lambda n: n.asked("create, 1 writer", OURS, "set"), at_most(1, 0.02)),
    ]),
    ("ls -l of many keys", [
        ("rate ÷ that of --scan, TYPE and STRLEN", beside("ls -l", "SCAN, TYPE, STRLEN", CLI), at_least(0.5)),
        ("again: rate ÷ that of the first time", faster("ls -l, again", "ls -l"), REPORTED),
        ("events of more than 5 ms in the server", lambda n: n.median("ls -l", OURS, lambda m: m["slow"]), at_most(0)),
        ("daemon's memory, MiB", lambda n: n.median("ls -l", OURS, lambda m: m["memory_peak"]) / MIB, REPORTED),
    ]),
    ("A long value, in order", [
        ("rate ÷ GETRANGE's in a loop", beside("large, in order", "GETRANGE, 1 connection"), at_least(0.7)),
        ("time of a GETRANGE and of the empty FUSE server's answers, one after the other, ÷ ours",
         in_turn("large, in order", "GETRANGE, 1 connection"), REPORTED),
        ("whole values read", lambda n: n.median("large, in order", OURS, lambda m: m["asked"].get("get", 0)), at_most(0)),
    ]),
]

PLOTS = [
    ("redis-cold", "4 KiB read, cold: files a second", "read, cold, 1 reader", 1),
    ("redis-create", "4 KiB written, 1 writer: files a second", "create, 1 writer", 1),
]

INTRODUCTION = """# Speed on Redis

Made by `scripts/bench-redis`: kvfs with its defaults beside `redis-benchmark`, whose connections wait for each answer, and
`redis-cli`, with one server on the same machine that keeps nothing on disk; and the *empty FUSE server*, which answers the
kernel from a constant and asks nobody, so what FUSE itself takes here. All in one run, and the medians are shown.

Measured {measured}: {files:,} values of 4 KiB, {keys:,} keys, a value of {large} MiB, {repeats} repeats.
"""

REASONS = {
    "cold, 1 reader": (
        "a file that is opened, read and closed is three requests of the kernel to the daemon and one to the server; a GET is one. The row "
        "below compares with what FUSE itself takes here and a GET."
    ),
    "warm: rate": "as above; the kernel has the bytes, and asks only whether they are the newest.",
    "warm: values": "10,000 values did not fit in what was kept of values when this was measured.",
    "rate ÷ GETRANGE's": "each byte is copied by the client's parser, by the reader ahead and by FUSE, on the same two processors.",
    "8 writers": "two processors, which the server, the daemon and the writers share; the empty FUSE server beside it does not serve eight "
    "faster than one either.",
    "cold, 4 readers": "two processors, which the server, the daemon and the readers share.",
}


def reason(what):
    """Why a goal may be missed; None where nobody has said."""
    return next((text for start, text in REASONS.items() if what.startswith(start)), None)


def write(result, folder):
    """Writes the page and its plots into `folder`."""
    plots = plot.draw(result, folder, PLOTS)
    (folder / "speed-redis.md").write_text(plot.page(result, plots, INTRODUCTION, GOALS, reason))
