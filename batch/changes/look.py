"""What is known of some rows while they are validated, and what comes of them."""

from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from batch.model import ROW, Change, Fate, Outcome, Problem


@dataclass(frozen=True, slots=True)
class Sifted:
    """Some rows after validation: what is to be sent, and the rows whose fate is sealed (invalid, or nothing to do).

    `count` counts the changes, also where only they were asked for and `changes` is left empty.
    """

    changes: list[Change]
    fates: list[Fate]
    count: int


class Absent:
    """No value to send: the cell is blank, cleared, or wrong."""


ABSENT: Final = Absent()


@dataclass(slots=True)
class Look:
    """What is known of the rows of a frame, by their place in it."""

    frame: pl.DataFrame
    ids: list[str]
    problems: dict[int, list[Problem]] = field(default_factory=dict)
    broken: dict[int, Problem] = field(default_factory=dict)
    damaged: dict[int, set[int]] = field(default_factory=dict)
    """Places of the damaged cells, by column."""
    values: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, place: int, problem: Problem) -> None:
        self.problems.setdefault(place, []).append(problem)

    def number(self, place: int) -> int:
        return int(self.frame[ROW][place])

    def fields(self, place: int) -> dict[str, Any]:
        return {key: cells[place] for key, cells in self.values.items() if cells[place] is not ABSENT}

    def fate(self, place: int) -> Fate:
        """Seal the fate of a row with problems: one of the wrong length says nothing else that can be trusted."""
        broken = self.broken.get(place)
        problems = (broken,) if broken else tuple(self.problems[place])
        return Fate(self.number(place), self.ids[place], Outcome.INVALID, problems=problems)


@dataclass(slots=True)
class Row:
    """A row of an id that occurs more than once; `said` is what it says of each field, as text to compare and show."""

    place: int
    number: int
    fields: dict[str, Any]
    said: dict[str, str]


def nothing(look: Look, place: int) -> Fate:
    problem = Problem("no cell of this row sets anything")
    return Fate(look.number(place), look.ids[place], Outcome.UNCHANGED, problems=(problem,))
