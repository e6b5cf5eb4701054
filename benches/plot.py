"""Writes docs/speed.md and its plots from a result of `scripts/bench`: plain SVG, made without any library.

    python3 benches/plot.py benches/results/RESULT.json
"""

import json
import sys
from html import escape
from pathlib import Path

import goals

WIDTH, LEFT, BAR, GAP, TOP = 760, 170, 18, 6, 34
# Bars of kvfs stand out from what it is compared with; both read on white and on dark pages.
OURS, THEIRS, TEXT = "#d9730d", "#7a8fa6", "#808080"

# File name, title, work, unit, divisor of the rate.
PLOTS = [
    ("speed-read-cold", "Open, read 4 KiB, close, cold: thousand files a second", "read, cold", 1e3),
    ("speed-read-warm", "Open, read 4 KiB, close, warm: thousand files a second", "read, warm", 1e3),
    ("speed-stat", "Attributes, warm: thousand files a second", "stat, warm", 1e3),
    ("speed-list", "Listing all keys: million entries a second", "list", 1e6),
    ("speed-stream", "A large value in order, reads of 1 MiB: GiB a second", "stream, 1 MiB reads", 2**30),
    ("speed-create-1", "Creating files of 4 KiB, 1 writer: files a second", "create, 1 writer", 1),
    ("speed-create-4", "Creating files of 4 KiB, 4 writers: files a second", "create, 4 writers", 1),
]


def bars(title, rows):
    """An SVG of horizontal bars; `rows` are (label, value, whether it is kvfs)."""
    scale = (WIDTH - LEFT - 90) / max(value for _, value, _ in rows)
    height = TOP + len(rows) * (BAR + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" fill="{TEXT}">',
        f'<text x="{GAP}" y="20" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (label, value, ours) in enumerate(rows):
        y = TOP + index * (BAR + GAP)
        length = max(value * scale, 1)
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{OURS if ours else THEIRS}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 14}">{goals.shown(value)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


INTRODUCTION = """# Speed

Made by `scripts/bench`, which measures kvfs on LMDB beside the machine's disk, tmpfs and an *empty server*:
a FUSE server on the same crate that answers every request from a constant, so what FUSE itself allows.
All run in turns in one run; the medians of all repeats are shown. Absolute numbers hold for one machine;
the ratios say more, and requests do not depend on the machine at all.

Measured {measured}: {files:,} files of 4 KiB, {keys:,} keys, a value of {large} MiB, {repeats} repeats.

*Cold* is a mount just made, with nothing of it in the kernel's caches; the environment's file is in the page
cache, so that no disk is measured. Memory is what is the daemon's own (anonymous and shared), since the pages
of a mapped environment belong to the kernel's cache. What a goal misses is said.
"""


def introduced(result, text):
    """The text at the page's beginning: where the numbers are from."""
    machine, sizes = result["machine"], result["sizes"]
    measured = (
        f"{result['date']} on {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, {machine['disk']}"
    )
    return text.format(**sizes | {"measured": measured, "large": sizes.get("large", 0) >> 20})


def page(result, plots, introduction, sections, reason):
    """The page's Markdown: where the numbers are from, the goals, the plots."""
    lines = [introduced(result, introduction)]
    judged = list(goals.judged(result, sections))
    before = None
    for section, what, value, bound, verdict in judged:
        if section != before:
            lines += ["", f"**{section}**", "", "| | measured | goal | |", "|---|---|---|---|"]
            before = section
        lines.append(f"| {what} | {goals.shown(value)} | {bound} | {verdict} |")
    missed = [what for _, what, _, _, verdict in judged if verdict == "missed"]
    if missed:
        lines += ["", "## What is missed, and why", ""]
        lines += [f"- **{what}**: {reason(what) or 'not known yet.'}" for what in missed]
    lines += ["", *(f"![{title}]({name}.svg)\n" for name, title in plots)]
    return "\n".join(lines)


def draw(result, folder, chosen):
    """Writes the plots into `folder`; answers those for which something was measured."""
    folder.mkdir(exist_ok=True)
    numbers = goals.Numbers(result)
    plots = []
    for name, title, work, divisor in chosen:
        names = [subject for found, subject in numbers.groups if found == work]
        if names:
            rows = [(subject, numbers.rate(work, subject) / divisor, subject.startswith("kvfs")) for subject in names]
            (folder / f"{name}.svg").write_text(bars(title, rows))
            plots.append((name, title))
    return plots


def write(result, folder):
    """Writes the page and its plots into `folder`."""
    plots = draw(result, folder, PLOTS)
    (folder / "speed.md").write_text(page(result, plots, INTRODUCTION, goals.GOALS, goals.reason))


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()), Path(__file__).resolve().parent.parent / "docs")
