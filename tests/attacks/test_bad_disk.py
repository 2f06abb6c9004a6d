"""EIO and ENOSPC at every call by which journal and results reach the disk, each run again once there is room."""

import pytest

from tests.attacks.judge import Score, attack, count_calls, judge
from tests.attacks.test_kill_points import ROWS, command
from tests.shell import DUALENTRY, Api, Shell

DISK_CALLS = ("pwrite64", "fsync", "fdatasync", "ftruncate", "rename")
"""Not `write`: event loops and thread pools wake each other by it, and no disk is asked."""
CODES = frozenset({0, 2, 3})
"""What a failing disk may end in: not noticed at this call, could not start, or to be run again."""


def fail_at(shell: Shell, api: Api, points: list[tuple[str, int]], error: str) -> Score:
    """Let each of the calls fail once, run again, and judge."""
    score = Score()
    for call, number in points:
        sheet = shell.sheet(api.names(ROWS), f"{error}-{call}-{number}.csv")
        code = attack(shell, command(api, sheet, DUALENTRY), call, number, f"error={error}")
        score.tries += 1
        score.killed += code != 0
        if code not in CODES:
            score.untrue.append(f"{call} {number} {error}: exit {code}")
        judge(shell, api, command(api, sheet, DUALENTRY), sheet, score, f"{call} {number} {error}")
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
    sheet = shell.sheet(api.names(ROWS), "whole.csv")
    counts = count_calls(shell, command(api, sheet, DUALENTRY), shell.folder / "strace.log")
    points = [(call, number) for call in DISK_CALLS for number in range(1, counts[call] + 1)]
    score = fail_at(shell, api, points, error)
    print(score.line(f"{error} at every write and sync"))  # noqa: T201 - the table of attacks
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
