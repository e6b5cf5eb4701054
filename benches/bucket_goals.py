"""The goals for speed on buckets, and the page that shows them."""

from goals import MIB, REPORTED, at_least, at_most
import plot

OURS, PLAIN, PEERS = "kvfs", "object_store", ("rclone", "s3fs")
# What a daemon takes besides its buffers: its program, its threads, its inodes.
DAEMON_MIB = 256


def beside_best(work):
    """Our rate ÷ that of the quickest peer."""
    return lambda n: n.ratio(work, OURS, n.best(work, *PEERS))


def beside_plain(work):
    return lambda n: n.ratio(work, OURS, PLAIN)


def fetched(n):
    """Bytes that were fetched ÷ those that were asked for."""
    return n.median("random", OURS, lambda m: m["asked"]["bytes sent"] / (m["operations"] * 4096))


def peak(work, subject):
    return lambda n: n.median(work, subject, lambda m: m["memory_peak"]) / MIB


def small(at_once):
    s = "s" * (at_once > 1)
    create, read = f"create, {at_once} writer{s}", f"read small, {at_once} reader{s}"
    listed, remove = f"list, {at_once}", f"remove, {at_once}"
    return [
        ("create: rate ÷ best peer's", beside_best(create), at_least(1)),
        ("create: rate ÷ object_store's", beside_plain(create), REPORTED),
        ("create: requests a file", lambda n: n.asked(create, OURS), at_most(1, 0.2)),
        ("ls -l: rate ÷ best peer's", beside_best(listed), at_least(1)),
        ("ls -l: requests a file", lambda n: n.asked(listed, OURS), at_most(0, 0.01)),
        ("read: rate ÷ best peer's", beside_best(read), at_least(1)),
        ("read: rate ÷ object_store's", beside_plain(read), REPORTED),
        ("read: requests a file", lambda n: n.asked(read, OURS), at_most(1, 0.2)),
        ("rm -r: rate ÷ best peer's", beside_best(remove), at_least(1)),
        ("rm -r: rate ÷ object_store's", beside_plain(remove), REPORTED),
        ("rm -r: requests a file", lambda n: n.asked(remove, OURS), at_most(1, 0.2)),
    ]


# Section, what is measured, how, and the bound.
GOALS = [
    ("A large object, in order", [
        ("write: rate ÷ object_store's", beside_plain("write"), at_least(1)),
        ("write: rate ÷ best peer's", beside_best("write"), at_least(1.2)),
        ("read: rate ÷ object_store's", beside_plain("read"), at_least(1)),
        ("read: rate ÷ best peer's", beside_best("read"), at_least(1.2)),
    ]),
    ("Objects of 4 KiB, one at a time", small(1)),
    ("Objects of 4 KiB, eight at a time", small(8)),
    ("Reads of 4 KiB here and there in a large object", [
        ("rate ÷ best peer's", beside_best("random"), at_least(1)),
        ("rate ÷ object_store's", beside_plain("random"), REPORTED),
        ("bytes fetched ÷ bytes asked", fetched, at_most(32)),
    ]),
    ("find over all keys", [
        ("rate ÷ best peer's", beside_best("find"), REPORTED),
        ("rate ÷ object_store's list", beside_plain("find"), REPORTED),
        ("keys a second, in thousands", lambda n: n.rate("find", OURS) / 1e3, REPORTED),
        ("daemon's memory, MiB", peak("find", OURS), at_most(128)),
    ]),
    ("32 files read and 32 written at once", [
        ("daemon's memory, MiB", peak("together", OURS), at_most(DAEMON_MIB)),
        ("rclone's, MiB", peak("together", "rclone"), REPORTED),
        ("s3fs's, MiB", peak("together", "s3fs"), REPORTED),
        ("rate ÷ best peer's", beside_best("together"), REPORTED),
    ]),
]

PLOTS = [
    ("buckets-write", "A large object written in order: MiB a second", "write", MIB),
    ("buckets-read", "A large object read in order: MiB a second", "read", MIB),
    ("buckets-create-1", "Objects of 4 KiB made, 1 writer: a second", "create, 1 writer", 1),
    ("buckets-create-8", "Objects of 4 KiB made, 8 writers: a second", "create, 8 writers", 1),
    ("buckets-read-1", "Objects of 4 KiB read, 1 reader: a second", "read small, 1 reader", 1),
    ("buckets-remove", "Objects removed one after the other: a second", "remove, 1", 1),
    ("buckets-random", "Reads of 4 KiB here and there: a second", "random", 1),
    ("buckets-find", "Keys found: thousand a second", "find", 1e3),
]

INTRODUCTION = """# Speed on buckets

Made by `scripts/bench-buckets`: kvfs with its defaults beside `rclone mount` and s3fs (Debian's packages, with their
defaults) and a plain program over `object_store`, which has no mount. All with one S3 server in memory on the same
machine, whose requests are counted; all run in turns in one run, and the medians are shown. The server computes the
hashes that S3 has, on the same processors; there is no network between, so what is compared is the work of each client.
Of all, close returns when the object is there.

Measured {measured}: an object of {large} MiB, {files:,} objects of 4 KiB, {keys:,} keys, {repeats} repeats.
"""

REASONS = {
    "write: rate ÷ object_store's": (
        "each byte goes through FUSE, and to the file in which it stays until the object is there (§8.4), on two processors "
        "that the server takes its hashes on as well; the program without a mount sends what it has in memory."
    ),
    "write: rate ÷ best peer's": (
        "as above, for the file: s3fs has one too, and sends it when it is whole. Runs gave 1.0 to 1.3; the more is going on "
        "beside it, the less."
    ),
    "read: rate ÷ object_store's": (
        "the bytes go through the daemon and FUSE to the reader: two copies more, on two processors that the server needs as "
        "well. Runs gave 0.8 to 1.3."
    ),
    "rm -r: rate ÷ best peer's": (
        "a removal is one request, as s3fs's is. Runs gave 0.9 to 1.8."
    ),
}


def reason(what):
    """Why a goal may be missed; None where nobody has said."""
    return next((text for start, text in REASONS.items() if what.startswith(start)), None)


def write(result, folder):
    """Writes the page and its plots into `folder`."""
    plots = plot.draw(result, folder, PLOTS)
    (folder / "speed-buckets.md").write_text(plot.page(result, plots, INTRODUCTION, GOALS, reason))
