"""A machine of faults: every order of faults, kills, resumes, edits and other hands; by the ledger the promises hold.

A kill is what it leaves: the files as they are at that moment, `-wal` and all; whatever the process does after it is
thrown away.
"""

import json
import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from batch.commands.undo import undo as run_undo
from batch.commands.update import update as run_update
from batch.errors import BatchError, UsageError
from batch.journal import Journal
from batch.model import NEEDS_RETRY
from batch.run.finish import FinishedRun
from batch.run.folder import JOURNAL
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import FakeReporter
from tests.resilience.memory_api import ENVIRONMENT, FAULTS, Line, MemoryApi
from tests.shell import DUALENTRY, VAYU, assert_balanced, results
from tests.virtual import run_on_virtual_clock

ROWS = 4
DONE = {"updated", "unchanged", "rejected", "invalid"}
PACE: dict[str, Any] = {"yes": True, "max_at_once": 2, "max_per_second": 20.0, "max_attempts": 3}
faults = st.lists(st.sampled_from(FAULTS), max_size=8)
moments = st.integers(1, 40)


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Death:
    """Kills at moment number `at`: keeps the files as they are then."""

    work: Path
    at: int
    kept: Path | None = None

    def moment(self) -> None:
        """One more moment has come."""
        if self.kept is not None:
            raise Killed
        self.at -= 1
        if not self.at:
            self.kept = self.work.with_name("kept")
            shutil.copytree(self.work, self.kept, symlinks=True)
            raise Killed

    def bury(self) -> bool:
        """Put the files as they were at that moment; False when the program came to its end before it."""
        if self.kept is not None:
            shutil.rmtree(self.work)
            self.kept.rename(self.work)
        return self.kept is not None


@dataclass
class Clock:
    """The clock on the wall, which somebody may set back."""

    now_: datetime = field(default_factory=lambda: datetime(2026, 11, 21, 12, 0, tzinfo=UTC))

    def now(self, zone: Any) -> datetime:
        self.now_ += timedelta(seconds=1)
        return self.now_


class Dice:
    """Jitter that is the same every time, so that hypothesis can find the smallest case."""

    @staticmethod
    def Random() -> random.Random:
        return random.Random(0)  # noqa: S311 - jitter, no secret


class Machine(RuleBasedStateMachine):
    """One input at a time, one API, and everything that may come between."""

    endpoint: ClassVar[str] = DUALENTRY

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        top = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="machine-")))
        self.work = top / "work"
        self.work.mkdir()
        self.clock = Clock()
        self.stack.enter_context(mock.patch.dict(os.environ, {"XDG_STATE_HOME": str(top / "state")}))
        self.stack.enter_context(mock.patch("batch.run.folder.datetime", self.clock))
        self.stack.enter_context(mock.patch("batch.engine.api_session.random", Dice))
        self.api = MemoryApi(self.endpoint)
        self.commands: dict[Path, set[int]] = {}
        """The starts that worked on each run."""
        self.final: dict[Path, dict[str, tuple[str, int]]] = {}
        """By run and id, the outcome that was recorded as final, and the start in which it was."""
        self.by_others: set[str] = set()
        self.names: dict[str, list[str]] = {one: [self.api.name(one)] for one in self.ids}
        """Every name that a record ever had."""
        self.version = 0
        self.source: Path | None = None
        """The run that is being taken back."""
        self.write_sheet()

    def teardown(self) -> None:
        self.stack.close()

    # -- the input ----------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        first = 10_001 if self.endpoint == DUALENTRY else 0x65F000000000000000000001
        return [str(first + one) if self.endpoint == DUALENTRY else f"{first + one:024x}" for one in range(ROWS)]

    def wanted(self, record_id: str) -> str:
        """What this version of the input names a record."""
        return f"V{self.version}-{record_id[-2:]}"

    def write_sheet(self) -> None:
        nobody = self.ids[0][:-2] + "9z" if self.endpoint == VAYU else "99999"
        lines = [f"{one},{self.wanted(one)}" for one in self.ids]
        lines += [lines[0], f"{nobody},Nobody", f"{self.ids[0][:-1]}9,this", f"{self.ids[0][:-1]}9,that"]
        (self.work / "sheet.csv").write_text("\n".join(["id,name", *lines]) + "\n")

    @rule()
    def edit_input(self) -> None:
        """The input gets other values, and is another run."""
        self.version += 1
        self.write_sheet()

    @precondition(lambda self: self.version > 0)
    @rule()
    def bring_back_input(self) -> None:
        """The input is what it was before the last edit."""
        self.version -= 1
        self.write_sheet()

    # -- the world ----------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, ROWS - 1))
    def edit_record(self, number: int) -> None:
        """Another hand gives a record a name that no input has."""
        one = self.ids[number]
        self.by_others.add(one)
        self.api.edit(one, f"Other {len(self.names[one])}")
        self.names[one].append(self.api.name(one))

    @rule(minutes=st.integers(1, 600))
    def set_clock_back(self, minutes: int) -> None:
        """The clock on the wall is set back."""
        self.clock.now_ -= timedelta(minutes=minutes)

    # -- the program --------------------------------------------------------------------------------------------

    @rule(writes=faults, reads=faults, compare=st.booleans(), again=st.booleans())
    def update(self, writes: list[str], reads: list[str], compare: bool, again: bool) -> None:
        """Start the program, or start it again, and let it come to its end."""
        self.start(writes, reads, compare=compare, new=again and len(self.commands) < 4)

    @rule(writes=faults, reads=faults, compare=st.booleans(), at=moments)
    def kill(self, writes: list[str], reads: list[str], compare: bool, at: int) -> None:
        """Start the program, and kill it."""
        self.start(writes, reads, compare=compare, death=Death(self.work, at))

    @rule()
    def finish(self) -> None:
        """Without faults, everything comes to its end."""
        for _ in range(3):
            closing = self.start([], [], compare=True)
            if closing is not None and closing.summary.exit_code in (0, 1):
                break
        assert closing is not None
        for line in results(closing.folder):
            others = set(self.names.get(line["id"], [])[1:]) - {self.wanted(line["id"])}  # by hand, or by other runs
            is_settled = line["outcome"] in DONE or (line["outcome"] == "unknown" and others)
            assert is_settled, f"after a run without faults: {line}"

    def start(
        self, writes: list[str], reads: list[str], *, compare: bool, new: bool = False, death: Death | None = None
    ) -> FinishedRun | None:
        """Start the program on the input as it is, and hold it to its promises."""
        given = Settings(input=str(self.work / "sheet.csv"), endpoint=self.endpoint, compare=compare, new=new, **PACE)
        closing = self.go(lambda environment: run_update(given, FakeReporter(), environment), writes, reads, death)
        if closing is not None:
            self.judge(closing)
        return closing

    def go(
        self, act: Callable[[Environment], FinishedRun], writes: list[str], reads: list[str], death: Death | None
    ) -> FinishedRun | None:
        """Let the program meet faults, and perhaps its death; None when it died, or had nothing to do."""
        self.api.command += 1
        self.api.writes.clear()
        self.api.reads.clear()
        self.api.writes.extend(writes)
        self.api.reads.extend(reads)
        self.api.moment = death.moment if death else lambda: None
        closing = None
        try:
            with killing_at_commits(self.api.moment, self.note_command):
                closing = act(Environment(ENVIRONMENT, run_on_virtual_clock, self.api.transport))
        except BatchError:
            if death is None or death.kept is None:
                raise
        except BaseException as error:
            if death is None or death.kept is None or not is_killed(error):
                raise
        is_killed_ = death is not None and death.bury()
        self.note_names()
        return None if is_killed_ else closing

    def run_folders(self) -> list[Path]:
        return sorted(one.parent for one in (self.work / "sheet.batch").rglob(JOURNAL))

    def note_names(self) -> None:
        for one in self.ids:
            if self.api.name(one) != self.names[one][-1]:
                self.names[one].append(self.api.name(one))

    def note_command(self, folder: Path) -> None:
        """Keep which run this start works on: nothing is sent before its journal says so."""
        self.commands.setdefault(folder, set()).add(self.api.command)

    # -- the promises -------------------------------------------------------------------------------------------

    def judge(self, closing: FinishedRun) -> None:
        """Hold what was said against the ledger."""
        assert_balanced(closing.folder)
        lines = results(closing.folder)
        told = Counter(line["outcome"] for line in lines)
        assert {k.value: v for k, v in closing.summary.outcomes.items() if v} == dict(told)
        mine = [one for one in self.api.ledger if one.command in self.commands.get(closing.folder, ())]
        for line in lines[:ROWS]:
            self.judge_row(line, [one for one in mine if one.id == line["id"] and one.applied])
        assert ["invalid", "invalid"] == [line["outcome"] for line in lines[-2:]]

    def judge_row(self, line: dict[str, Any], applied: list[Any]) -> None:
        was_applied = any(one.body["name"] == self.wanted(line["id"]) for one in applied)
        match line["outcome"]:
            case "updated":  # also by an earlier run, where nothing is compared and no answer came
                assert self.wanted(line["id"]) in self.names[line["id"]], f"called updated, never applied: {line}"
            case "unsent" | "invalid":
                assert not was_applied, f"called {line['outcome']}, but applied: {line}"
            case "unchanged":
                assert self.wanted(line["id"]) in self.names[line["id"]], f"called unchanged: {line}"
            case "rejected":
                assert not was_applied or line["id"] in self.by_others, f"called rejected, but applied: {line}"

    @invariant()
    def invalid_is_never_sent(self) -> None:
        """What is invalid never reaches the API."""
        assert not [one for one in self.api.ledger if one.body.get("name") in ("this", "that")]

    @invariant()
    def final_is_never_sent_again(self) -> None:
        """What was recorded as final stays as it was recorded, and is not sent again by that run."""
        for folder in self.run_folders():
            now = final_outcomes(folder)
            for one, (outcome, command) in self.final.get(folder, {}).items():
                assert outcome == now.get(one), f"{one} was {outcome}, and is {now.get(one)}"
                later = [line for line in self.api.ledger if line.id == one and line.command > command]
                sent = [line for line in later if line.command in self.commands.get(folder, ())]
                assert not sent, f"{one} was {outcome} after start {command}, and was sent again: {sent}"
            kept = self.final.setdefault(folder, {})
            for one, outcome in now.items():
                kept.setdefault(one, (outcome, self.api.command))

    @invariant()
    def one_key_for_a_change(self) -> None:
        """The same change of a run goes with the same key, and nothing is applied twice under it."""
        for commands in self.commands.values():
            mine = [one for one in self.api.ledger if one.command in commands and one.id in self.ids]
            keys: dict[tuple[str, str], set[str | None]] = {}
            for one in mine:
                keys.setdefault((one.id, json.dumps(one.body, sort_keys=True)), set()).add(one.key)
            assert all(len(found) == 1 for found in keys.values()), keys
            twice = Counter((one.id, json.dumps(one.body, sort_keys=True)) for one in mine if one.applied)
            assert not self.counts_twice or all(count == 1 for count in twice.values()), twice

    counts_twice: ClassVar[bool] = True


class UndoMachine(Machine):
    """The same with runs that are taken back, and taken back again, at any time."""

    @precondition(lambda self: self.run_folders())
    @rule(which=st.integers(0, 5), writes=faults, reads=faults)
    def undo(self, which: int, writes: list[str], reads: list[str]) -> None:
        """Take back one of the runs, or go on taking it back."""
        self.take_back(which, writes, reads)

    @precondition(lambda self: self.run_folders())
    @rule(which=st.integers(0, 5), writes=faults, reads=faults, at=moments)
    def kill_undo(self, which: int, writes: list[str], reads: list[str], at: int) -> None:
        """Take back one of the runs, and be killed."""
        self.take_back(which, writes, reads, Death(self.work, at))

    def take_back(self, which: int, writes: list[str], reads: list[str], death: Death | None = None) -> None:
        """Start an undo, and hold it to its promises."""
        folders = self.run_folders()
        source = folders[which % len(folders)]
        self.source, closing, refusal = source, None, ""
        try:
            closing = self.go(
                lambda environment: run_undo(source, Settings(**PACE), FakeReporter(), environment),
                writes,
                reads,
                death,
            )
        except UsageError as error:
            refusal = str(error)
        assert not refusal or ("changed nothing" in refusal and not self.changed_by(source)), refusal
        if closing is not None:
            self.judge_undo(closing, source)

    def note_command(self, folder: Path) -> None:
        """An undo is the work of its own run, not of the one that it takes back."""
        if folder != self.source:
            super().note_command(folder)

    def written_by(self, folder: Path) -> list[Line]:
        return [one for one in self.api.ledger if one.command in self.commands.get(folder, ())]

    def changed_by(self, folder: Path) -> list[Line]:
        return [one for one in self.written_by(folder) if one.applied]

    def judge_undo(self, closing: FinishedRun, source: Path) -> None:
        """Hold what was said against the ledger."""
        assert_balanced(closing.folder)
        lines = results(closing.folder)
        told = Counter(line["outcome"] for line in lines)
        assert {k.value: v for k, v in closing.summary.outcomes.items() if v} == dict(told)
        changed = self.changed_by(source)
        assert {one.id for one in changed} <= {line["id"] for line in lines}, "a change is not taken back"
        for line in lines:
            mine = [one for one in self.changed_by(closing.folder) if one.id == line["id"]]
            was = {one.was for one in changed if one.id == line["id"]}
            match line["outcome"]:
                case "updated":
                    assert mine or line["id"] in self.by_others, f"called updated, never applied: {line}"
                case "unsent" | "invalid":
                    assert not mine, f"called {line['outcome']}, but applied: {line}"
                case "unchanged":
                    assert not mine or line["id"] in self.by_others, f"called unchanged, but applied: {line}"
                    assert not was or was & set(self.names[line["id"]]), f"called unchanged: {line}"
                case "rejected":
                    assert not mine or line["id"] in self.by_others, f"called rejected, but applied: {line}"

    @invariant()
    def nothing_of_others_is_taken_back(self) -> None:
        """An undo writes only over what its run wrote or may have written, and what was there at the last time."""
        for folder in self.run_folders():
            if not folder.name.startswith("undo-"):
                continue
            for line in self.written_by(folder):
                parts = self.written_by(folder.parent)
                theirs = [one for one in parts if one.id == line.id and one.command < line.command]
                if not theirs:  # it was about to be sent at a kill, and another run of this input sent the same
                    assert line.was in {one.body["name"] for one in self.api.ledger if one.id == line.id}, line
                    continue
                if line.applied:
                    assert line.was in {one.body["name"] for one in theirs} | {line.body["name"]}, (line, theirs)
                over = [one.was for one in theirs if one.was != one.body["name"]]
                assert over[-1:] == [line.body["name"]], (line, theirs)


class VayuMachine(Machine):
    """The same with an API that has no idempotency keys: there a 5xx that was applied all the same is repeated."""

    endpoint = VAYU
    counts_twice = False


class VayuUndoMachine(UndoMachine):
    """The same with that API."""

    endpoint = VAYU
    counts_twice = False


def is_killed(error: BaseException) -> bool:
    """Whether the end of a start was our kill."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_killed(one) for one in error.exceptions)
    return isinstance(error, Killed)


def killing_at_commits(moment: Callable[[], None], note: Callable[[Path], None]) -> Any:
    """Make moments of what is before and after every commit of a journal, and tell whose it is."""
    commit = Journal._commit

    def watched(self: Journal, batch: Any) -> None:
        note(self.path.parent)
        moment()
        commit(self, batch)
        moment()

    return mock.patch.object(Journal, "_commit", watched)


def final_outcomes(folder: Path) -> dict[str, str]:
    """The final outcomes that the journal of a run knows by now, by id."""
    with tempfile.TemporaryDirectory() as copy:
        for end in ("", "-wal"):
            if (path := folder / f"{JOURNAL}{end}").exists():
                shutil.copy(path, copy)
        with closing(sqlite3.connect(Path(copy) / JOURNAL)) as db:
            row_results: Iterator[tuple[str, str]] = db.execute("SELECT id, outcome FROM fate")
            return {one: outcome for one, outcome in row_results if outcome not in {o.value for o in NEEDS_RETRY}}


MACHINES = [Machine, VayuMachine, UndoMachine, VayuUndoMachine]
PHASES = [Phase.explicit, Phase.generate, *([Phase.shrink] if os.environ.get("RESILIENCE_SHRINK") else [])]
"""Looking for the smallest case takes minutes: only who asks for it gets it."""
QUICK = settings(
    max_examples=15, stateful_step_count=6, phases=PHASES, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
EXAMPLES = int(os.environ.get("RESILIENCE_EXAMPLES", "1000"))
LONG = settings(QUICK, max_examples=EXAMPLES, stateful_step_count=20, derandomize=False)


@pytest.mark.parametrize("machine", MACHINES)
def test_machine(machine: type[Machine]) -> None:
    """In every state that was reached the promises hold."""
    run_state_machine_as_test(machine, settings=QUICK)


@pytest.mark.long
@pytest.mark.parametrize("machine", MACHINES)
def test_machine_for_long(machine: type[Machine]) -> None:
    """In every state of many more they hold, too."""
    run_state_machine_as_test(machine, settings=LONG)
