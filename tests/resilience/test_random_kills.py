"""`kill -9` at any moment of a larger run, of an undo, and of a run on a failures file; each resumed to the end."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from batch.sandbox.options import SandboxOptions
from tests.resilience.cases import WHAT, make_case
from tests.resilience.judge import Score
from tests.sandbox.control import ControlledSandbox
from tests.shell import DUALENTRY, Api, Shell, results

KILLS = int(os.environ.get("RESILIENCE_KILLS", "200"))
MAX_KILLS_OF_ONE = 4
AT_ONCE = 8
DICE = random.Random(6)  # noqa: S311 - no secret


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Api]:
    """A sandbox of its own that takes its time, so that there is always something in flight."""
    options = SandboxOptions(records=10_000_000, limits="off", latency=0.02, ledger=tmp_path / "ledger.jsonl")
    with ControlledSandbox(options) as sandbox:
        yield Api(sandbox)


def kill_often(shell: Shell, command: list[object], kills: int, score: Score, longest: float) -> None:
    """Start a command so many times, and kill it each time, as long as it does not come to its end."""
    for _ in range(kills):
        score.tries += 1
        process = shell.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(DICE.uniform(0.3, longest))
        process.kill()
        process.wait()
        score.killed += process.returncode == -9
        if process.returncode >= 0:
            return


def kill_all(shell: Shell, api: Api, what: str, rows: int, kills: int) -> Score:
    """Kill runs until there were so many kills, and judge each."""
    score = Score()
    began = time.monotonic()
    assert 0 == shell.run(*make_case(shell, api, what, "whole", rows, AT_ONCE).command).code
    longest = max(time.monotonic() - began, 0.5)
    while score.tries < kills:
        case = make_case(shell, api, what, f"try-{score.tries}", rows, AT_ONCE)
        kill_often(shell, case.command, min(DICE.randint(1, MAX_KILLS_OF_ONE), kills - score.tries), score, longest)
        case.judge(score)
    return score


@pytest.mark.parametrize(
    "what", [DUALENTRY, *(pytest.param(one, marks=pytest.mark.long) for one in ("undo", "failures"))]
)
def test_some_kills(shell: Shell, slow: Api, what: str) -> None:
    """Killed a few times, a run ends with nothing lost, untrue, or applied twice."""
    score = kill_all(shell, slow, what, 50, 2)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


@pytest.mark.long
@pytest.mark.parametrize("what", WHAT)
def test_many_kills(shell: Shell, slow: Api, what: str) -> None:
    """The same for hundreds of kills of runs of 300 rows."""
    score = kill_all(shell, slow, what, 300, KILLS)
    print(score.line(f"kill -9 at random, {what}"))  # noqa: T201 - the table of results
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
    assert score.killed > 0.3 * score.tries


def test_outcomes_of_a_killed_run(shell: Shell, slow: Api) -> None:
    """What was in flight when the run was killed is unknown in the files that are made of its journal."""
    sheet = shell.sheet(slow.names(300))
    process = shell.start("update", sheet, "-e", DUALENTRY, *slow.options, "--max-at-once", AT_ONCE)
    deadline = time.monotonic() + 30
    while not slow.writes() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 3 == shell.here("results", shell.only_run()).code
    applied = set(slow.applied())
    unsent = {line["id"] for line in results(shell.only_run()) if line["outcome"] == "unsent"}
    assert set() == applied & unsent
