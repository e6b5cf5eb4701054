"""The goals for speed on a safetensors file, and the page that shows them."""

from goals import MIB, REPORTED, at_least, at_most
import plot

OURS, LIBRARY, COPY, EMPTY = "kvfs", "safetensors", "cp", "empty"
ONE, ALL_COLD, ALL, LIST, REPLACED = (
    "one tensor, cold", "all tensors, cold", "all tensors, warm", "ls -l", "one tensor replaced"
)

# Section, what is measured, how, and the bound.
GOALS = [
    ("One tensor of a large file, cold", [
        ("numpy.load(mmap_mode=\"r\").copy(): rate ÷ get_tensor's", lambda n: n.ratio(ONE, OURS, LIBRARY), at_least(0.9)),
        ("bytes read from the disk ÷ the tensor's", lambda n: n.median(ONE, OURS, lambda m: m["share"]), at_most(1.05)),
        ("get_tensor: bytes read from the disk ÷ the tensor's",
         lambda n: n.median(ONE, LIBRARY, lambda m: m["share"]), REPORTED),
    ]),
    ("All tensors in order, reads of 1 MiB", [
        ("the file in the page cache: rate ÷ the empty FUSE server's", lambda n: n.ratio(ALL, OURS, EMPTY), at_least(0.9)),
        ("the file in the page cache: MiB a second", lambda n: n.rate(ALL, OURS) / MIB, REPORTED),
        ("cold: MiB a second", lambda n: n.rate(ALL_COLD, OURS) / MIB, REPORTED),
    ]),
    ("ls -l of many tensors", [
        ("requests", lambda n: n.requests(LIST, OURS), at_most(40)),
        ("names a second", lambda n: n.rate(LIST, OURS), REPORTED),
    ]),
    ("One tensor replaced, until the file is on the disk", [
        ("rate ÷ that of cp --reflink=never and sync", lambda n: n.ratio(REPLACED, OURS, COPY), at_least(0.8)),
        ("daemon's memory, MiB", lambda n: n.median(REPLACED, OURS, lambda m: m["memory_peak"]) / MIB, at_most(64)),
    ]),
]

PLOTS = []

INTRODUCTION = """# Speed on safetensors files

Made by `scripts/bench-tensors`: kvfs with its defaults beside Python's `safetensors`, `cp`, and the *empty FUSE server*, which
answers the kernel from a constant, so what FUSE itself takes here. All in one run, and the medians are shown.

Measured {measured}: {tensors} tensors of {mib} MiB, {names:,} names, {repeats} repeats.
"""

REASONS = {
    "the file in the page cache: rate": (
        "each byte is copied from the page cache of the file to the daemon and from there to the reader; the empty server copies a constant once, "
        "past the kernel's pages."
    ),
    "rate ÷ that of cp": (
        "the tensor is written twice, to the journal and to the new file, and once more by numpy to the mount; of a larger file that is less."
    ),
}


def reason(what):
    """Why a goal may be missed; None where nobody has said."""
    return next((text for start, text in REASONS.items() if what.startswith(start)), None)


def write(result, folder):
    """Writes the page into `folder`."""
    plots = plot.draw(result, folder, PLOTS)
    (folder / "speed-tensors.md").write_text(plot.page(result, plots, INTRODUCTION, GOALS, reason))
