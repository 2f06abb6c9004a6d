"""`kill -9` at every system call that writes, syncs or sends, each resumed to the end."""

import pytest

from tests.attacks.cases import WHAT, make_case
from tests.attacks.judge import Score, attack, count_calls
from tests.shell import DUALENTRY, Api, Shell

ROWS = 4
AT_ONCE = 2


def kill_at(shell: Shell, api: Api, points: list[tuple[str, int]], what: str) -> Score:
    """Kill a run at each of the points, resume it, and judge."""
    score = Score()
    for call, number in points:
        case = make_case(shell, api, what, f"{call}-{number}", ROWS, AT_ONCE)
        code = attack(shell, case.command, call, number, "signal=KILL")
        score.tries += 1
        score.killed += code in (-9, 137)
        case.judge(score)
    return score


def all_points(shell: Shell, api: Api, what: str) -> list[tuple[str, int]]:
    """Every call that a whole run makes."""
    warm_up = make_case(shell, api, what, "warm-up", ROWS, AT_ONCE)
    assert 0 == shell.here(*warm_up.command).code  # so that no module is compiled, and written, while calls are counted
    case = make_case(shell, api, what, "whole", ROWS, AT_ONCE)
    counts = count_calls(shell, case.command, shell.folder / "strace.log")
    return [(call, number) for call, count in sorted(counts.items()) for number in range(1, count + 1)]


@pytest.mark.parametrize(("what", "points"), [(DUALENTRY, 3), ("undo", 1), ("failures", 1)])
def test_some_points(shell: Shell, api: Api, what: str, points: int) -> None:
    """Killed as it sends, syncs, or writes the journal: nothing is lost, nothing untrue, nothing applied twice."""
    score = kill_at(shell, api, [("sendto", 3), ("fdatasync", 6), ("pwrite64", 40)][:points], what)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


@pytest.mark.long
@pytest.mark.parametrize("what", WHAT)
def test_every_point(shell: Shell, api: Api, what: str) -> None:
    """Killed at every write, sync and send of a small run: nothing is lost, nothing untrue, nothing applied twice."""
    points = all_points(shell, api, what)
    score = kill_at(shell, api, points, what)
    print(score.line(f"kill -9 at every call, {what}"))  # noqa: T201 - the table of attacks
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
    assert score.killed > 0.5 * score.tries
