"""EIO and ENOSPC at every call by which journal and results reach the disk, each run again once there is room."""

import pytest

from tests.resilience.cases import make_case
from tests.resilience.judge import Score
from tests.resilience.strace import Point, attack, find_points
from tests.resilience.test_kill_points import AT_ONCE, ROWS, slow
from tests.shell import DUALENTRY, Api, Shell

__all__ = ["slow"]
DISK_CALLS = ("pwrite64", "fsync", "fdatasync", "ftruncate", "rename")
"""Not `write`: event loops and thread pools wake each other by it, and no disk is asked."""
CODES = frozenset({0, 2, 3})
"""What a failing disk may end in: not noticed at this call, could not start, or to be run again."""


def fail_at(shell: Shell, api: Api, points: list[Point], error: str) -> Score:
    """Let each of the calls fail once, run again, and judge."""
    score = Score()
    for point in points:
        case = make_case(shell, api, DUALENTRY, f"{error}-{point}", ROWS, AT_ONCE)
        code = attack(shell, api, case.command, point, f"error={error}")
        score.tries += 1
        score.killed += code != 0
        if code not in CODES:
            score.untrue.append(f"{point} {error}: exit {code}")
        case.judge(score)
    return score


@pytest.mark.parametrize("error", [pytest.param("EIO", marks=pytest.mark.long), "ENOSPC"])
def test_some_failures(shell: Shell, api: Api, error: str) -> None:
    """A disk that fails as the journal is written or synced stops the run; run again, nothing is lost or untrue."""
    score = fail_at(shell, api, [Point("fdatasync", 5), Point("pwrite64", 30)], error)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


@pytest.mark.parametrize("error", ["EIO", pytest.param("ENOSPC", marks=pytest.mark.long)])
def test_a_failure_while_sending(shell: Shell, slow: Api, error: str) -> None:
    """The same for the journal's own thread."""
    score = fail_at(shell, slow, [Point("fdatasync", 2, is_late=True)], error)
    assert (1, [], [], []) == (score.killed, score.lost, score.untrue, score.twice)


def assert_held_at_all(shell: Shell, api: Api, error: str, where: str, *, is_late: bool = False) -> None:
    """Do so at every call that a whole run makes."""
    case = make_case(shell, api, DUALENTRY, "whole", ROWS, AT_ONCE)
    points = find_points(shell, api, case.command, is_late=is_late)
    score = fail_at(shell, api, [one for one in points if one.call in DISK_CALLS], error)
    print(score.line(f"{error} at every write and sync{where}"))  # noqa: T201 - the table of results
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


@pytest.mark.long
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_every_failure(shell: Shell, api: Api, error: str) -> None:
    """A disk that fails at any write or sync costs nothing but another start."""
    assert_held_at_all(shell, api, error, "")


@pytest.mark.long
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_every_failure_while_sending(shell: Shell, slow: Api, error: str) -> None:
    """The same for every write and sync of the journal's own thread."""
    assert_held_at_all(shell, slow, error, " of the journal's thread", is_late=True)
