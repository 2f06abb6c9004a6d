"""The report: every figure of the simulation in Markdown, so that a change of the policy shows as a diff of figures."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from .cases import CASES, SEEDS, Case, measure
from .watched import WATCHED, Watched
from .world import MOST, EnoughError

REPORT = Path(__file__).with_name("report.md")
WATCHED_SEEDS = SEEDS[:3]
OF_CASE, OF_WATCHED = 5_000, 12_500
"""How many requests are a beginning; of what is watched, enough that a second client joins, or a limit changes."""

HEAD = f"""\
# What the rate limiter reaches, simulated

Written by `python -m tests.simulation` in the top folder; `tests/ratelimit/test_simulation.py` compares it with a fresh
run. Seeds {SEEDS[0]} to {SEEDS[-1]}; round trip lognormal, mean 80 ms, σ 0.3, where nothing else is said; 256 slots;
endless rows. Clients start knowing nothing where nothing else is said. Counted from 30 s on; of a fixed window whole
windows are counted, from the first edge after 30 s, and its edges have nothing to do with the client's beginning. A
token bucket may come out a little above 100 %: what it had saved at 30 s is spent later.

## The table

| server | reached, % of what is permitted | 429s, % of requests | to reach |
|---|---|---|---|
"""

MORE = """
## Also watched

| what | seeds {seeds} | bounds |
|---|---|---|
"""

BEGINNINGS = f"""
## How they begin

What takes long is only begun by the quick tests, with seed {SEEDS[0]}: {OF_CASE:,} requests of the table,
{OF_WATCHED:,} of what is watched. When the next one would start, and how many were met with a 429.

| the beginning of | s | 429s |
|---|---|---|
"""


def render() -> str:
    """Run everything (a minute) and write it down."""
    rows = [_row(case) for case in CASES]
    watched = [_watched(one) for one in WATCHED]
    more = MORE.format(seeds=", ".join(map(str, WATCHED_SEEDS)))
    return HEAD + "\n".join(rows) + "\n" + more + "\n".join(watched) + "\n" + render_beginnings()


def render_beginnings() -> str:
    """Run the beginnings of what takes long, and write them down."""
    return BEGINNINGS + "".join(f"| {beginning_of(name)} | {at:.2f} | {refused} |\n" for name, at, refused in _begun())


def _begun() -> Iterator[tuple[str, float, int]]:
    runs = {one.name: (partial(measure, one), OF_CASE) for one in CASES}
    for name, (run, most) in (runs | {one.title: (one.figure, OF_WATCHED) for one in WATCHED}).items():
        found = begin(run, most)
        if isinstance(found, EnoughError):
            yield name, found.at, found.refused


def beginning_of(name: str) -> str:
    """Name the beginning of a run, as the report does."""
    return f"{name}, begun"


def begin(run: Callable[[int], object], most: int) -> object:
    """Let a run with the first seed make so many requests; return how far it got, or its own result if it ends."""
    before = MOST.set(most)
    try:
        return run(SEEDS[0])
    except EnoughError as enough:
        return enough
    finally:
        MOST.reset(before)


def recorded(name: str) -> list[list[float]]:
    """Return the figures that the report has for this name: a list for each column, a figure for each seed."""
    cells = _cells()[name]
    return [[float(figure) for figure in cell.split()] for cell in cells[:-1]]


def recorded_beginning(name: str) -> list[float]:
    """Return what the report has of the beginning of a run: the moment, and the number of 429s."""
    return [float(figure) for figure in _cells()[beginning_of(name)]]


def _cells() -> Mapping[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in REPORT.read_text(encoding="utf-8").splitlines() if "|" in line]
    return {name: cells for name, *cells in lines}


def _row(case: Case) -> str:
    figures = [measure(case, seed) for seed in SEEDS]
    reached = " ".join(f"{one.reached:.2f}" for one in figures)
    refused = " ".join(f"{one.refused:.2f}" for one in figures)
    return f"| {case.name} | {reached} | {refused} | ≥ {case.reach:g} / ≤ {case.refused:g} |"


def _watched(one: Watched) -> str:
    figures = " ".join(f"{one.figure(seed):.3f}" for seed in WATCHED_SEEDS)
    least, most = f"≥ {one.at_least:g}" if one.at_least else "", f"≤ {one.at_most:g}" if one.at_most < 1e9 else ""
    return f"| {one.title} | {figures} | {', '.join(filter(None, (least, most)))} |"
