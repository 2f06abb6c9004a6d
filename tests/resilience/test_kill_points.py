"""`kill -9` at every system call that writes, syncs or sends, each resumed to the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.sandbox.options import SandboxOptions
from tests.resilience.cases import WHAT, make_case
from tests.resilience.judge import Score
from tests.resilience.strace import PATIENCE, Point, attack, find_points
from tests.sandbox.control import ControlledSandbox
from tests.shell import DUALENTRY, Api, Shell

ROWS = 4
AT_ONCE = 2


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Api]:
    """A sandbox of its own that lets every request wait, so that strace can join a run while it sends."""
    options = SandboxOptions(records=10_000_000, limits="off", latency=PATIENCE, ledger=tmp_path / "ledger.jsonl")
    with ControlledSandbox(options) as sandbox:
        yield Api(sandbox)


def kill_at(shell: Shell, api: Api, points: list[Point], what: str) -> Score:
    """Kill a run at each of the points, resume it, and judge."""
    score = Score()
    for point in points:
        case = make_case(shell, api, what, str(point), ROWS, AT_ONCE)
        code = attack(shell, api, case.command, point, "signal=KILL")
        score.tries += 1
        score.killed += code in (-9, 137)
        case.judge(score)
    return score


def assert_held_at_all(shell: Shell, api: Api, what: str, where: str, *, is_late: bool = False) -> None:
    """Do so at every call that a whole run makes."""
    warm_up = make_case(shell, api, what, "warm-up", ROWS, AT_ONCE)
    assert 0 == shell.run(*warm_up.command).code  # so that no module is compiled, and written, while calls are counted
    case = make_case(shell, api, what, "whole", ROWS, AT_ONCE)
    score = kill_at(shell, api, find_points(shell, api, case.command, is_late=is_late), what)
    print(score.line(f"kill -9 at every call{where}, {what}"))  # noqa: T201 - the table of results
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
    assert score.killed > 0.8 * score.tries


@pytest.mark.parametrize(
    ("what", "points"),
    [(DUALENTRY, 3), *(pytest.param(one, 1, marks=pytest.mark.long) for one in ("undo", "failures"))],
)
def test_some_points(shell: Shell, api: Api, what: str, points: int) -> None:
    """Killed as it sends, syncs, or writes the journal: nothing is lost, nothing untrue, nothing applied twice."""
    some = [Point("sendto", 3), Point("fdatasync", 6), Point("pwrite64", 40)][:points]
    score = kill_at(shell, api, some, what)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


def test_a_point_of_the_journal(shell: Shell, slow: Api) -> None:
    """Killed as the journal's own thread syncs: the same."""
    score = kill_at(shell, slow, [Point("fdatasync", 2, is_late=True)], DUALENTRY)
    assert (1, [], [], []) == (score.killed, score.lost, score.untrue, score.twice)


@pytest.mark.long
@pytest.mark.parametrize("what", WHAT)
def test_every_point(shell: Shell, api: Api, what: str) -> None:
    """Killed at every write, sync and send of a small run: nothing is lost, nothing untrue, nothing applied twice."""
    assert_held_at_all(shell, api, what, "")


@pytest.mark.long
@pytest.mark.parametrize("what", WHAT)
def test_every_point_of_the_journal(shell: Shell, slow: Api, what: str) -> None:
    """Killed at every call of the journal's own thread while requests are under way: the same."""
    assert_held_at_all(shell, slow, what, " of the journal's thread", is_late=True)
