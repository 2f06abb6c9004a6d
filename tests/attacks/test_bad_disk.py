"""EIO and ENOSPC at every call by which journal and results reach the disk, each run again once there is room."""

import pytest

from tests.attacks.cases import make_case
from tests.attacks.judge import Score, attack, count_calls
from tests.attacks.test_kill_points import AT_ONCE, ROWS
from tests.shell import DUALENTRY, Api, Shell

DISK_CALLS = ("pwrite64", "fsync", "fdatasync", "ftruncate", "rename")
"""Not `write`: event loops and thread pools wake each other by it, and no disk is asked."""
CODES = frozenset({0, 2, 3})
"""What a failing disk may end in: not noticed at this call, could not start, or to be run again."""


def fail_at(shell: Shell, api: Api, points: list[tuple[str, int]], error: str) -> Score:
    """Let each of the calls fail once, run again, and judge."""
    score = Score()
    for call, number in points:
        case = make_case(shell, api, DUALENTRY, f"{error}-{call}-{number}", ROWS, AT_ONCE)
        code = attack(shell, case.command, call, number, f"error={error}")
        score.tries += 1
        score.killed += code != 0
        if code not in CODES:
            score.untrue.append(f"{call} {number} {error}: exit {code}")
        case.judge(score)
    return score


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_some_failures(shell: Shell, api: Api, error: str) -> None:
    """A disk that fails as the journal is written or synced stops the run; run again, nothing is lost or untrue."""
    score = fail_at(shell, api, [("fdatasync", 5), ("pwrite64", 30)], error)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


@pytest.mark.long
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_every_failure(shell: Shell, api: Api, error: str) -> None:
    """A disk that fails at any write or sync costs nothing but another start."""
    case = make_case(shell, api, DUALENTRY, "whole", ROWS, AT_ONCE)
    counts = count_calls(shell, case.command, shell.folder / "strace.log")
    points = [(call, number) for call in DISK_CALLS for number in range(1, counts[call] + 1)]
    score = fail_at(shell, api, points, error)
    print(score.line(f"{error} at every write and sync"))  # noqa: T201 - the table of attacks
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
