"""`report.html`: what a run or a plan was asked, what became of it, and how fast it went, to print or send.

Promises: one file that opens offline, with no script and no address of another host in it; whatever stands in a sheet
or came from an API is text; the file is complete or absent, and only this user can read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from batch.files import write_private
from batch.model import Outcome, minutes, visible
from batch.outputs.plan import Line
from batch.summary import Reason

WIDTH, HEIGHT = 1000, 160
"""Of the drawing of the rate, in its own units."""
LEAST: Final = 8
"""How wide the smallest part of the bar is, in the same units."""
MOST_REASONS: Final = 200


@dataclass(frozen=True, slots=True)
class Rate:
    """How many attempts a second there were, over the time of a run, in pieces of the same length."""

    began: float
    """In seconds since 1970."""
    seconds: float
    """Of a piece."""
    per_second: Sequence[float]
    throttled: Sequence[int] = ()
    """Answers of 429 in each piece."""
    asked: float = 0.0
    """Seconds of it in which a person was asked, and nothing was sent."""

    @property
    def mean(self) -> float:
        """Attempts a second, while any could be made."""
        whole = self.seconds * len(self.per_second)
        return self.seconds * sum(self.per_second) / max(self.seconds, whole - self.asked)

    @property
    def worst(self) -> tuple[int, float] | None:
        """The most answers of 429 in a piece, and when it began, in seconds after the run; None without any."""
        if not any(self.throttled):
            return None
        most = max(self.throttled)
        return most, self.throttled.index(most) * self.seconds


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which no row was done."""

    at: float
    """When it began, in seconds after the run did."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Round:
    """One of the runs on a sheet."""

    when: str
    name: str
    counts: Mapping[Outcome, int]
    said: str
    """What became of it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is told."""

    title: str
    facts: Mapping[str, str]
    """What it is about, by what each fact is called."""
    outcomes: Mapping[Outcome, int]
    is_plan: bool = False
    reasons: Sequence[Reason] = ()
    fields: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Cells that were changed, and those of them that were emptied, by field."""
    requests: int = 0
    attempts: int = 0
    throttled: int = 0
    seconds: float = 0.0
    rate: Rate | None = None
    limit: float | None = None
    """Attempts a second that the API permits, where that is documented or was said."""
    pauses: Sequence[Pause] = ()
    rounds: Sequence[Round] = ()
    """All runs on the sheet, where there are several."""
    lines: Sequence[Line] = ()
    """The first cells of a plan."""
    more_lines: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    """The names of the files beside it, by what they are."""


def write_report(path: Path, report: Report) -> None:
    """Write a report; raises OSError."""
    template = _templates().get_template("report.html")
    write_private(path, template.render(report=report, bar=bar(report.outcomes), chart=_chart(report)))


@cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # few starts write a report

    made = Environment(
        loader=PackageLoader("batch.outputs"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(visible=visible, number=lambda value: f"{value:,}", time=minutes)
    made.globals.update(Outcome=Outcome, MOST_REASONS=MOST_REASONS)
    return made


def bar(outcomes: Mapping[Outcome, int]) -> list[dict[str, Any]]:
    """Return counts as the parts of one bar of `WIDTH` units; what is there is never too small to be seen."""
    there = [(one, count) for one in Outcome if (count := outcomes.get(one, 0))]
    in_all = sum(count for _, count in there)
    widths = [max(LEAST, WIDTH * count / in_all) for _, count in there]
    total, left, found = sum(widths), 0.0, []
    for (one, count), width in zip(there, widths, strict=True):
        wide = WIDTH * width / total
        found.append({"name": one.value, "count": count, "x": round(left, 2), "width": round(wide, 2)})
        left += wide
    return found


def _chart(report: Report) -> dict[str, Any] | None:
    """Return the line of the rate, and that of the limit, in the units of the drawing."""
    rate = report.rate
    if rate is None or len(rate.per_second) < 2:
        return None
    top = 1.15 * max(*rate.per_second, report.limit or 0.0, 0.001)
    step = WIDTH / (len(rate.per_second) - 1)
    points = " ".join(
        f"{place * step:.1f},{HEIGHT - HEIGHT * value / top:.1f}" for place, value in enumerate(rate.per_second)
    )
    bars = [
        {"x": round(place * WIDTH / len(rate.throttled), 1), "width": round(max(2.0, WIDTH / len(rate.throttled)), 1),
         "height": round(max(4.0, HEIGHT * count / rate.seconds / top), 1), "count": count}
        for place, count in enumerate(rate.throttled) if count
    ]  # fmt: skip
    limit = None if report.limit is None else round(HEIGHT - HEIGHT * report.limit / top, 1)
    whole = rate.seconds * len(rate.per_second)
    return {
        "points": points, "bars": bars, "limit": limit, "top": top / 1.15, "seconds": whole,
        "width": WIDTH, "height": HEIGHT,
        "mean": rate.mean,
    }  # fmt: skip
