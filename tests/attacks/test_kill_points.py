"""`kill -9` at every system call that writes, syncs or sends, each resumed to the end."""

from pathlib import Path

import pytest

from tests.attacks.judge import Score, attack, count_calls, judge
from tests.shell import DUALENTRY, VAYU, Api, Shell

ROWS = 4


def command(api: Api, sheet: Path, endpoint: str) -> list[object]:
    """An update of a small sheet, two requests at a time."""
    return ["update", sheet, "-e", endpoint, *api.options, "--max-at-once", 2]


def kill_at(shell: Shell, api: Api, points: list[tuple[str, int]], endpoint: str) -> Score:
    """Kill a run at each of the points, resume it, and judge."""
    score = Score()
    for call, number in points:
        sheet = shell.sheet(api.names(ROWS, endpoint), f"{call}-{number}.csv")
        code = attack(shell, command(api, sheet, endpoint), call, number, "signal=KILL")
        score.tries += 1
        score.killed += code in (-9, 137)
        judge(shell, api, command(api, sheet, endpoint), sheet, score, f"{call} {number}")
    return score


def all_points(shell: Shell, api: Api, endpoint: str) -> list[tuple[str, int]]:
    """Every call that a whole run makes."""
    sheet = shell.sheet(api.names(ROWS, endpoint), "whole.csv")
    counts = count_calls(shell, command(api, sheet, endpoint), shell.folder / "strace.log")
    return [(call, number) for call, count in sorted(counts.items()) for number in range(1, count + 1)]


def test_some_points(shell: Shell, api: Api) -> None:
    """Killed as it syncs, writes the journal, or sends: nothing is lost, nothing untrue, nothing applied twice."""
    score = kill_at(shell, api, [("fdatasync", 6), ("pwrite64", 40), ("sendto", 3)], DUALENTRY)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


@pytest.mark.long
@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_every_point(shell: Shell, api: Api, endpoint: str) -> None:
    """Killed at every write, sync and send of a small run: nothing is lost, nothing untrue, nothing applied twice."""
    points = all_points(shell, api, endpoint)
    score = kill_at(shell, api, points, endpoint)
    print(score.line(f"kill -9 at every call, {endpoint}"))  # noqa: T201 - the table of attacks
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
    assert score.killed > 0.5 * score.tries
