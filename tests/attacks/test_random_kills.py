"""`kill -9` at any moment of a larger run, of an undo, and of a run on a failures file; each resumed to the end."""

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from batch.sandbox import SandboxOptions, start
from tests.attacks.judge import RESUMES, Score, judge
from tests.shell import DUALENTRY, VAYU, Api, Shell, results

KILLS = int(os.environ.get("ATTACK_KILLS", "200"))
MAX_KILLS_OF_ONE = 4
DICE = random.Random(6)  # noqa: S311 - no secret


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Api]:
    """A sandbox of its own that takes its time, so that there is always something in flight."""
    options = SandboxOptions(records=10_000_000, limits="off", latency=0.02, ledger=tmp_path / "ledger.jsonl")
    with start(options) as sandbox:
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


def take(shell: Shell, command: list[object]) -> float:
    """Run a command to its end; gives the seconds that it took."""
    began = time.monotonic()
    assert 0 == shell.run(*command).code
    return time.monotonic() - began


def command_on(sheet: Path, api: Api, endpoint: str = DUALENTRY) -> list[object]:
    return ["update", sheet, "-e", endpoint, *api.options, "--max-at-once", 8]


def kill_updates(shell: Shell, api: Api, rows: int, kills: int, endpoint: str) -> Score:
    """Kill updates until there were so many kills, and judge each."""
    score = Score()
    longest = take(shell, command_on(shell.sheet(api.names(rows, endpoint), "whole.csv"), api, endpoint))
    while score.tries < kills:
        sheet = shell.sheet(api.names(rows, endpoint), f"{score.tries}.csv")
        command = command_on(sheet, api, endpoint)
        kill_often(shell, command, min(DICE.randint(1, MAX_KILLS_OF_ONE), kills - score.tries), score, longest)
        judge(shell, api, command, sheet, score, sheet.stem)
    return score


def kill_undos(shell: Shell, api: Api, rows: int, kills: int) -> Score:
    """Kill undos: in the end every record has the name that it had, and was written once to that end."""
    score, longest = Score(), 3.0
    while score.tries < kills:
        ids = api.ids(rows)
        before = {one: api.sandbox.record("dualentry", one)["name"] for one in ids}
        name = f"undo-{score.tries}"
        sheet = shell.sheet("id,name\n" + "".join(f"{one},New {one}\n" for one in ids), f"{name}.csv")
        take(shell, command_on(sheet, api))
        command: list[object] = ["undo", shell.only_run(f"{name}.batch"), *api.options]
        seen = len(api.applied())
        kill_often(shell, command, min(DICE.randint(1, MAX_KILLS_OF_ONE), kills - score.tries), score, longest)
        codes = [shell.here(*command).code for _ in range(RESUMES)]
        if 0 not in codes:
            score.lost.append(f"{name}: exits {codes}")
        now = {one: api.sandbox.record("dualentry", one)["name"] for one in ids}
        score.lost += [f"{name}: {one}" for one in ids if now[one] != before[one]]
        applied = Counter(api.applied()[seen:])
        score.twice += [f"{name}: {one}" for one in ids if applied[one] > 1]
    return score


def kill_failures(shell: Shell, api: Api, rows: int, kills: int) -> Score:
    """Kill runs on failures files, taken over as they are."""
    score, longest = Score(), 3.0
    while score.tries < kills:
        sheet = shell.sheet(api.names(rows), f"first-{score.tries}.csv")
        api.sandbox.set_faults("503=0.5")
        shell.here(*command_on(sheet, api), "--max-attempts", 1)
        api.sandbox.set_faults()
        (failures,) = (shell.folder / f"{sheet.stem}.batch").glob("*/failures.csv")
        again = shell.sheet(failures.read_text(), f"again-{score.tries}.csv")
        kill_often(shell, command_on(again, api), min(2, kills - score.tries), score, longest)
        judge(shell, api, command_on(again, api), again, score, again.stem)
    return score


def test_some_kills(shell: Shell, slow: Api) -> None:
    """Killed a few times, an update ends with nothing lost, untrue, or applied twice."""
    score = kill_updates(shell, slow, 60, 2, DUALENTRY)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


def test_some_kills_of_an_undo(shell: Shell, slow: Api) -> None:
    """Killed a few times, an undo puts everything back once."""
    score = kill_undos(shell, slow, 40, 2)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


def test_some_kills_on_failures(shell: Shell, slow: Api) -> None:
    """Killed a few times, a run on a failures file ends with nothing lost, untrue, or applied twice."""
    score = kill_failures(shell, slow, 60, 2)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)


@pytest.mark.long
@pytest.mark.parametrize("what", [DUALENTRY, VAYU, "undo", "failures"])
def test_many_kills(shell: Shell, slow: Api, what: str) -> None:
    """The same for hundreds of kills of runs of 300 rows."""
    match what:
        case "undo":
            score = kill_undos(shell, slow, 300, KILLS)
        case "failures":
            score = kill_failures(shell, slow, 300, KILLS)
        case _:
            score = kill_updates(shell, slow, 300, KILLS, what)
    print(score.line(f"kill -9 at random, {what}"))  # noqa: T201 - the table of attacks
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
    assert score.killed > 0.3 * score.tries


def test_outcomes_of_a_killed_run(shell: Shell, slow: Api) -> None:
    """What was in flight when the run was killed is unknown in the files that are made of its journal."""
    sheet = shell.sheet(slow.names(300))
    process = shell.start(*command_on(sheet, slow))
    deadline = time.monotonic() + 30
    while not slow.writes() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 3 == shell.here("results", shell.only_run()).code
    applied = set(slow.applied())
    unsent = {line["id"] for line in results(shell.only_run()) if line["outcome"] == "unsent"}
    assert set() == applied & unsent
