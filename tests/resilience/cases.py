"""What is attacked by killing: a command made ready to run, and what must be true in the end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.resilience.judge import RESUMES, Score, judge
from tests.shell import DUALENTRY, VAYU, Api, Shell

WHAT = (DUALENTRY, VAYU, "undo", "failures", "plan")
"""An update of either API, an undo, a run on a failures file, and one by a plan."""


@dataclass(frozen=True)
class Case:
    """A command to be killed; `judge` runs it to its end, and writes down what is wrong then."""

    command: list[object]
    judge: Callable[[Score], None]


def make_case(shell: Shell, api: Api, what: str, name: str, rows: int, at_once: int) -> Case:
    """Make ready one of `WHAT`, under a name of its own."""
    match what:
        case "undo":
            return _undo(shell, api, name, rows, at_once)
        case "failures":
            return _failures(shell, api, name, rows, at_once)
        case "plan":
            sheet = shell.sheet(api.names(rows), f"{name}.csv")
            assert 0 == shell.here("plan", sheet, "-e", DUALENTRY, *api.options).code
            (plan,) = (shell.folder / f"{name}.batch").glob("plan-*")
            return _update(shell, api, sheet, at_once, "--plan", plan)
        case _:
            return _update(shell, api, shell.sheet(api.names(rows, what), f"{name}.csv"), at_once, endpoint=what)


def _update(shell: Shell, api: Api, sheet: Path, at_once: int, *more: object, endpoint: str = DUALENTRY) -> Case:
    command: list[object] = ["update", sheet, "-e", endpoint, *api.options, "--max-at-once", at_once, *more]
    return Case(command, lambda score: judge(shell, api, command, sheet, score, sheet.stem))


def _failures(shell: Shell, api: Api, name: str, rows: int, at_once: int) -> Case:
    """A failures file of about half of the rows, taken over as it is."""
    first = _update(shell, api, shell.sheet(api.names(rows), f"first-{name}.csv"), at_once)
    api.sandbox.set_faults("503=0.5" if rows > 20 else "503=1")
    shell.here(*first.command, "--max-attempts", 1)
    api.sandbox.set_faults()
    (failures,) = (shell.folder / f"first-{name}.batch").glob("2*/failures.csv")
    return _update(shell, api, shell.sheet(failures.read_text(), f"{name}.csv"), at_once)


def _undo(shell: Shell, api: Api, name: str, rows: int, at_once: int) -> Case:
    ids = api.ids(rows)
    before = {one: api.sandbox.record("dualentry", one)["name"] for one in ids}
    sheet = shell.sheet("id,name\n" + "".join(f"{one},New {one}\n" for one in ids), f"{name}.csv")
    update = _update(shell, api, sheet, at_once)
    assert 0 == shell.here(*update.command).code
    command: list[object] = ["undo", shell.only_run(f"{name}.batch"), *api.options]
    seen = len(api.applied())
    return Case(command, partial(_judge_undo, shell, api, name, command, before, seen))


def _judge_undo(
    shell: Shell, api: Api, name: str, command: list[object], before: dict[str, str], seen: int, score: Score
) -> None:
    """In the end every record has the name that it had, and was written once to that end."""
    codes = [shell.here(*command).code for _ in range(RESUMES)]
    if 0 not in codes:
        score.lost.append(f"{name}: exits {codes}")
    now = {one: api.sandbox.record("dualentry", one)["name"] for one in before}
    score.lost += [f"{name}: {one}" for one in before if now[one] != before[one]]
    applied = Counter(api.applied()[seen:])
    score.twice += [f"{name}: {one}" for one in before if applied[one] > 1]
