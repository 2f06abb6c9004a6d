"""A machine of faults: every order of faults, kills, resumes, edits and other hands; by the ledger the promises hold.

There are two companies, and two sheets for the same records. A kill is what it leaves: the files as they are at that
moment, `-wal` and all; whatever the process does after it is thrown away.

    RESILIENCE_SECONDS=3600 ./run.sh test tests/resilience/test_machine.py --long -s

runs all machines in turn for so long, and says how many steps they made.
"""

import csv
import functools
import json
import locale
import math
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import polars as pl
import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from batch.commands.plan import plan as run_plan
from batch.commands.pull import Wanted
from batch.commands.pull import pull as run_pull
from batch.commands.undo import undo as run_undo
from batch.commands.update import update as run_update
from batch.errors import BatchError, UsageError
from batch.journal import Journal, peek
from batch.model import NEEDS_RETRY
from batch.own_files import INPUT, JOURNAL
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import FakeReporter
from tests.resilience.memory_api import ENVIRONMENTS, FAULTS, OTHER, WAYS, Line, MemoryApi, plain
from tests.shell import DUALENTRY, VAYU, assert_balanced, results
from tests.virtual import run_on_virtual_clock

ROWS_COUNT_ALL = False
"""The attempts of a row are those of all parts of its run, also where the last one settled it by reading."""

ROWS = 4
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - nobody else's place is meant
"""Where syncing takes no time, if there is such a place."""
SHEETS = {"sheet.csv": "V", "other.csv": "W"}
"""Inputs that name the same records, and the letter with which their names begin."""
PACE: dict[str, Any] = {"yes": True, "max_at_once": 2, "max_per_second": 20.0, "max_attempts": 3}
FRESH = timedelta(minutes=15)
storms = st.sampled_from(["500", "503", "500-after", "refused", "429-after"]).map(lambda one: [one] * 60)
"""What goes on until the quota of retries is used up or the run gives up, while other requests may live."""
faults = st.one_of(*[st.lists(st.sampled_from(FAULTS), max_size=8)] * 9, storms)
moments = st.integers(1, 40)
CHANGES = ("nothing", "rows", "no rows", "version", "cut", "garbage")
"""What somebody does to a run folder before he puts it there."""
NOT_VERIFIED = ("neither its answer nor a read shows it", "it was not read back")
"""What a row says of a change that an answer confirmed and nothing showed."""
LOSSES = ("delete", "move", "make anew", "delete journal", "delete rows")


@dataclass(frozen=True)
class Around:
    """What a start of the program meets."""

    writes: Sequence[str] = ()
    """Faults of the API."""
    reads: Sequence[str] = ()
    edits: Sequence[tuple[int, int]] = ()
    """By another hand: at which moment, and of which record."""
    kill_at: int | None = None
    lose_at: int | None = None
    """When its folder is lost."""
    loss: str = ""
    """How: one of `LOSSES`."""
    way: str = ""
    """How the API is: one of `WAYS`."""
    cron: bool = False
    """It is started without anybody's locale."""


edits = st.lists(st.tuples(moments, st.integers(0, ROWS - 1)), max_size=1)
arounds = st.builds(Around, faults, faults, edits, way=st.sampled_from(["", *WAYS]), cron=st.booleans())
sheets = st.sampled_from(["sheet.csv", "sheet.csv", "other.csv"])
outs = st.sampled_from([False, False, True])
"""Whether runs go to one folder for all inputs."""
companies = st.sampled_from([0, 0, 0, 1])
STEPS: Counter[str] = Counter()


def step(**given: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a rule of a method, and count how often it was followed."""

    def make(method: Callable[..., None]) -> Any:
        @functools.wraps(method)
        def counted(self: Any, **values: Any) -> None:
            STEPS[method.__name__] += 1
            method(self, **values)

        return rule(**given)(counted)

    return make


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Happenings:
    """What happens at which moment of a start; a kill keeps the disk as it is then."""

    disk: Path
    kill_at: int | None = None
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    count: int = 0
    kept: Path | None = None

    def moment(self) -> None:
        """One more moment has come."""
        if self.kept is not None:
            raise Killed
        self.count += 1
        self.at.get(self.count, lambda: None)()
        if self.count == self.kill_at:
            self.kept = self.disk.with_name("kept")
            shutil.copytree(self.disk, self.kept, symlinks=True)
            raise Killed

    def bury(self) -> bool:
        """Put the disk as it was at the kill; False when the program came to its end before it."""
        if self.kept is not None:
            shutil.rmtree(self.disk)
            self.kept.rename(self.disk)
        return self.kept is not None


@dataclass(frozen=True)
class Conditions:
    """What a sheet says that the records of a company showed, and what it sets, by id."""

    company: int
    shown: dict[str, str]
    wanted: dict[str, str]


class PullReporter(FakeReporter):
    """One that is told of a pull."""

    def pulled(self, count: int, total: int | None) -> None:
        pass


@dataclass(frozen=True)
class Loss:
    """A run folder that was lost while the run went on, and when."""

    folder: Path
    at: int
    time: float
    is_left: bool
    """Something of that name was left there."""


@dataclass
class Clock:
    """The clock on the wall, which somebody may set back."""

    now_: datetime = field(default_factory=lambda: datetime(2026, 11, 21, 12, 0, tzinfo=UTC))

    def now(self, zone: Any) -> datetime:
        self.now_ += timedelta(seconds=1)
        return self.now_

    def time(self) -> float:
        return self.now(UTC).timestamp()


class Dice:
    """Jitter that is the same every time, so that hypothesis can find the smallest case."""

    @staticmethod
    def Random() -> random.Random:
        return random.Random(0)  # noqa: S311 - jitter, no secret


class Machine(RuleBasedStateMachine):
    """Two inputs, two companies, one API, and everything that may come between."""

    endpoint: ClassVar[str] = DUALENTRY

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        top = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="machine-", dir=MEMORY)))
        self.disk, self.work = top / "disk", top / "disk" / "work"
        self.work.mkdir(parents=True)
        self.clock = Clock()
        self.stack.enter_context(mock.patch.dict(os.environ, {"XDG_STATE_HOME": str(self.disk / "state")}))
        self.stack.enter_context(mock.patch("batch.run.folder.datetime", self.clock))
        for module in ("journal.journal", "run.begin_or_resume", "run.index"):
            self.stack.enter_context(mock.patch(f"batch.{module}.time", self.clock))
        self.stack.enter_context(mock.patch("batch.engine.api_session.random", Dice))
        self.api = MemoryApi(self.endpoint, folds=True)
        self.commands: dict[Path, set[int]] = {}
        """The starts that worked on each run."""
        self.owner: dict[int, int] = {}
        """The company of each start."""
        self.began: dict[int, int] = {}
        """The moment at which each start began."""
        self.ended: dict[Path, datetime] = {}
        """When the last start that worked on each run ended."""
        self.final: dict[Path, dict[str, list[tuple[str, int]]]] = {}
        """By run and id, the outcomes that were found to be final, and after which starts."""
        self.versions = dict.fromkeys(SHEETS, 0)
        self.brought: dict[Path, str] = {}
        """The folders that somebody put there, and what he had changed."""
        self.conditions: dict[str, Conditions] = {}
        """By sheet."""
        self.plans: list[tuple[Path, str, int, Conditions]] = []
        """Folder, sheet and its version, and what the records showed then."""
        self.seen: dict[tuple[Path, str], set[str]] = {}
        """By failures file and id, what the record may have shown to the run that wrote it."""
        self.source: Path | None = None
        """The run that is being taken back."""
        self.cut_off: set[Path] = set()
        """The runs whose last start was killed."""
        self.compares = True
        """The last start compared."""
        self.has_stopped = False
        """The last start ended before its last row."""
        self.current: Path | None = None
        """The run that goes on."""
        self.lost: Loss | None = None
        for sheet in SHEETS:
            self.write_sheet(sheet)

    def teardown(self) -> None:
        self.stack.close()

    # -- the inputs ---------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        first = 10_001 if self.endpoint == DUALENTRY else 0x65F000000000000000000001
        return [str(first + one) if self.endpoint == DUALENTRY else f"{first + one:024x}" for one in range(ROWS)]

    def write_sheet(self, sheet: str) -> None:
        wanted = [f"{one},{SHEETS[sheet]}{self.versions[sheet]}-{one[-2:]}é" for one in self.ids]
        nobody = self.ids[0][:-2] + "9z" if self.endpoint == VAYU else "99999"
        lines = [*wanted, wanted[0], f"{nobody},Nobody", f"{self.ids[0][:-1]}9,this", f"{self.ids[0][:-1]}9,that"]
        (self.work / sheet).write_text("\n".join(["id,name", *lines]) + "\n", encoding="utf-8")

    @step(sheet=sheets)
    def edit_input(self, sheet: str) -> None:
        """The input gets other values, and is another run."""
        self.versions[sheet] += 1
        self.write_sheet(sheet)

    @precondition(lambda self: any(self.versions.values()))
    @step(sheet=sheets)
    def bring_back_input(self, sheet: str) -> None:
        """The input is what it was before the last edit."""
        self.versions[sheet] = max(0, self.versions[sheet] - 1)
        self.write_sheet(sheet)

    @step(sheet=sheets)
    def lose_input(self, sheet: str) -> None:
        """The input is deleted: nothing can be sent of it."""
        (self.work / sheet).unlink()
        sent = len(self.api.ledger)
        with pytest.raises(UsageError, match="does not exist"):
            self.start(sheet, Around())
        assert sent == len(self.api.ledger)
        self.write_sheet(sheet)

    # -- the world ----------------------------------------------------------------------------------------------

    @step(number=st.integers(0, ROWS - 1), company=companies)
    def edit_record(self, number: int, company: int) -> None:
        """Another hand gives a record a name that no input has."""
        self.edit_by_another_hand(number, company)

    def edit_by_another_hand(self, number: int, company: int) -> None:
        one = self.ids[number]
        self.api.edit(one, f"Other {len(self.api.history(one, company))}", company)

    @precondition(lambda self: self.endpoint == DUALENTRY and any(line.waits for line in self.api.ledger))
    @step(number=st.integers(0, ROWS - 1), company=companies, granted=st.booleans())
    def approve(self, number: int, company: int, granted: bool) -> None:
        """A change that waits for approval, if there is one, is approved or dropped."""
        self.api.approve(self.ids[number], company, granted=granted)

    @step(minutes=st.integers(-600, 3000))
    def change_time(self, minutes: int) -> None:
        """Time passes, or the clock on the wall is set back."""
        self.clock.now_ += timedelta(minutes=minutes)

    # -- the program --------------------------------------------------------------------------------------------

    @step(sheet=sheets, company=companies, around=arounds, compare=st.booleans(), again=st.booleans(), out=outs)
    def update(self, sheet: str, company: int, around: Around, compare: bool, again: bool, out: bool) -> None:
        """Start the program, or start it again, and let it come to its end."""
        is_new = again and len(self.commands) < 4
        self.start(sheet, around, company=company, compare=compare, new=is_new, out=out)

    @step(sheet=sheets, company=companies, around=arounds, compare=st.booleans(), at=moments, out=outs)
    def kill(self, sheet: str, company: int, around: Around, compare: bool, at: int, out: bool) -> None:
        """Start the program, and kill it."""
        self.start(sheet, replace(around, kill_at=at), company=company, compare=compare, out=out)

    @step(sheet=sheets, company=companies, around=arounds, at=moments, loss=st.sampled_from(LOSSES))
    def lose_folder(self, sheet: str, company: int, around: Around, at: int, loss: str) -> None:
        """Start the program, and let its folder be deleted, moved or replaced while the run goes on."""
        self.start(sheet, replace(around, lose_at=at, loss=loss), company=company)

    @precondition(lambda self: self.failures_files())
    @step(which=st.integers(0, 5), company=companies, around=arounds)
    def send_failures(self, which: int, company: int, around: Around) -> None:
        """A failures file is the next input as it is."""
        files = self.failures_files()
        self.send_failures_of(files[which % len(files)], company, around)

    def send_failures_of(self, path: Path, company: int, around: Around) -> None:
        """Start the program on a failures file."""
        seen, sent = {one: names for (file, one), names in self.seen.items() if file == path}, len(self.api.ledger)
        try:
            self.start(str(path.relative_to(self.work)), around, company=company)
        except UsageError as error:
            if "--other-company" not in str(error):  # it was pulled from another one
                raise
            assert sent == len(self.api.ledger)
        for line in self.api.ledger[sent:]:
            allowed = seen.get(line.id, {line.was}) | {line.body["name"]}
            assert self.names_before(line) & allowed, f"written over what nobody had seen: {line}, {allowed}"

    @step(company=companies, edited=st.sets(st.integers(0, ROWS - 1), min_size=1))
    def pull(self, company: int, edited: set[int]) -> None:
        """Somebody pulls the records, and edits some of them: nothing else is set, and only over what was pulled."""
        (self.work / "ids.csv").write_text("\n".join(["id", *self.ids]))
        wanted = Wanted(self.work / "pulled.csv", ids=self.work / "ids.csv", force=True)
        environment = Environment(ENVIRONMENTS[company], run_on_virtual_clock, self.api.transport)
        self.api.begin((), (), lambda: None)
        run_pull(Settings(endpoint=self.endpoint, **PACE), wanted, PullReporter(), environment)
        self.versions["pulled.csv"] = self.versions.get("pulled.csv", 0) + 1
        names = {self.ids[number]: f"P{self.versions['pulled.csv']}-{number}" for number in edited}
        frame = pl.read_csv(wanted.path, infer_schema=False)
        name = pl.col("id").replace_strict(names, default=pl.col("name"))
        frame.with_columns(name.alias("name")).write_csv(wanted.path)
        shown = dict(zip(frame["id"], map(plain, frame["name"]), strict=True))
        self.conditions["pulled.csv"] = Conditions(company, shown, {one: plain(name) for one, name in names.items()})

    @step(sheet=sheets, company=companies)
    def plan(self, sheet: str, company: int) -> None:
        """Somebody makes a plan: it is carried out only where the records still show what it says."""
        given = Settings(input=str(self.work / sheet), endpoint=self.endpoint, **PACE)
        environment = Environment(ENVIRONMENTS[company], run_on_virtual_clock, self.api.transport)
        self.api.begin((), (), lambda: None)
        made = run_plan(given, FakeReporter(), environment)
        commands = self.api.command, company
        shown = {
            one: self.api.shown.get((*commands, one), [plain(self.api.name(one, company))])[-1] for one in self.ids
        }
        self.plans.append((made.folder, sheet, self.versions[sheet], Conditions(company, shown, {})))

    @precondition(lambda self: self.plans)
    @step(which=st.integers(0, 3), around=arounds)
    def carry_out_plan(self, which: int, around: Around) -> None:
        """A plan is carried out, for the input that it was made of and for no other."""
        folder, sheet, version, about = self.plans[which % len(self.plans)]
        sent = len(self.api.ledger)
        if version != self.versions[sheet]:
            with pytest.raises(UsageError, match="plan"):
                self.start(sheet, around, company=about.company, plan=folder)
            assert sent == len(self.api.ledger)
            return
        self.start(sheet, around, company=about.company, plan=folder)
        for line in self.api.ledger[sent:]:
            allowed = {about.shown.get(line.id), line.body["name"]}
            assert self.names_before(line) & allowed, f"written over what the plan had not seen: {line}, {allowed}"

    @step(company=companies)
    def write_expectations(self, company: int) -> None:
        """Somebody writes down what the records show now, beside what they are to be."""
        self.versions["now.csv"] = self.versions.get("now.csv", 0) + 1
        shown = {one: self.api.name(one, company) for one in self.ids}
        names = {one: f"N{self.versions['now.csv']}-{one[-2:]}" for one in self.ids}
        frame = pl.DataFrame({"id": self.ids, "name": names.values(), "name (now)": shown.values()})
        frame.write_csv(self.work / "now.csv")
        plain_names = [{one: plain(name) for one, name in given.items()} for given in (shown, names)]
        self.conditions["now.csv"] = Conditions(company, *plain_names)

    @precondition(lambda self: self.conditions)
    @step(which=st.integers(0, 1), around=arounds)
    def send_conditional(self, which: int, around: Around) -> None:
        """A sheet that says what the records showed writes over nothing else."""
        names = sorted(self.conditions)
        about, sent = self.conditions[names[which % len(names)]], len(self.api.ledger)
        self.start(names[which % len(names)], around, company=about.company, wanted=about.wanted)
        for line in self.api.ledger[sent:]:
            allowed = {about.shown[line.id], about.wanted[line.id]}
            assert self.names_before(line) & allowed, f"written over another hand's edit: {line}, {allowed}"

    def failures_files(self) -> list[Path]:
        folders = [one for one in self.run_folders() if not one.name.startswith("undo-")]
        return [folder / "failures.csv" for folder in folders if (folder / "failures.csv").exists()]

    @step(sheet=sheets, company=companies, out=outs)
    def finish(self, sheet: str, company: int, out: bool) -> None:
        """Without faults, everything comes to its end."""
        for _ in range(3):
            closing = self.start(sheet, Around(), company=company, out=out)
            if closing is not None and closing.summary.exit_code in (0, 1):
                break
        assert closing is not None
        wanted = read_wanted(self.work / sheet)
        for line in results(closing.folder):
            others = {one.name for one in self.api.history(line["id"], company)[1:]} - wanted[line["id"]]
            is_settled = line["outcome"] not in NEEDS_RETRY or (line["outcome"] == "unknown" and others)
            assert is_settled, f"after a run without faults: {line}"

    def start(
        self, sheet: str, around: Around, *, company: int = 0, compare: bool = True, new: bool = False,
        wanted: dict[str, str] | None = None, plan: Path | None = None, out: bool = False,
    ) -> FinishedRun | None:  # fmt: skip
        """Start the program on an input as it is, and hold it to its promises; `wanted`: what it sets, if not all."""
        path = self.work / sheet
        parent = self.work / "runs" if out else None
        given = Settings(
            input=str(path), endpoint=self.endpoint, compare=compare, new=new, plan=plan, out=parent, **PACE
        )
        act = lambda environment: run_update(given, FakeReporter(), environment)  # noqa: E731 - used once
        names = read_wanted(path) if path.exists() else {}
        if wanted is not None:
            names = {one: {wanted[one]} if one in wanted else set() for one in names}
        sent, ended, self.compares = len(self.api.ledger), dict(self.ended), compare
        try:
            closing = self.go(act, company, around)
        except UsageError as error:  # nothing can be looked at, so somebody has to say whether it goes on
            if compare or "--trust-folder" not in str(error) or "--new" not in str(error):
                raise
            assert sent == len(self.api.ledger)
            return None
        for line in self.api.ledger[sent:]:
            assert {line.body["name"]} == names.get(line.id), f"sent, but not in the sheet: {line}"
        if closing is not None:
            self.judge(closing, names, company, ended.get(closing.folder))
            if self.lost is None and "failures" not in sheet:
                links = [(parent or path.with_suffix(".batch")) / one for one in ("latest", f"latest-{path.name}")]
                leads = [link.resolve() if link.is_symlink() else None for link in links]
                assert [None if closing.summary.exit_code == 2 else closing.folder.resolve()] * 2 == leads
        return closing

    def go(self, act: Callable[[Environment], FinishedRun], company: int, around: Around) -> FinishedRun | None:
        """Let the program meet faults, and perhaps its death; None when it died, or had nothing to do."""
        happenings = Happenings(self.disk, around.kill_at)
        for at, number in around.edits:
            happenings.at[at] = functools.partial(self.edit_by_another_hand, number, company)
        if around.lose_at is not None:
            happenings.at[around.lose_at] = functools.partial(self.lose_current, around.loss)
        self.current, self.lost, self.updated_before = None, None, set()
        self.api.begin(around.writes, around.reads, happenings.moment, around.way)
        self.owner[self.api.command], self.began[self.api.command] = company, self.api.now
        sent = len(self.api.ledger)
        closing = None
        try:
            with killing_at_commits(happenings.moment, self.note_command), locale_of_cron(is_set=around.cron):
                closing = act(Environment(ENVIRONMENTS[company], run_on_virtual_clock, self.api.transport))
        except BatchError:
            if happenings.kept is None:
                raise
        except BaseException as error:
            if happenings.kept is None or not is_killed(error):
                raise
        finally:
            is_dead = happenings.bury()
            assert {company} >= {line.company for line in self.api.ledger[sent:]}, "sent to another company"
        if self.lost is not None and closing is not None:
            self.judge_lost(closing, self.lost)
        if self.current is not None:
            is_cut_off = is_dead or self.lost is not None  # what is left there of a lost one is not the run any more
            (self.cut_off.add if is_cut_off else self.cut_off.discard)(self.current)
        return None if is_dead else closing

    def lose_current(self, loss: str) -> None:
        """Take away the folder of the run that goes on, if one has begun."""
        folder = self.current
        if folder is None:
            return
        match loss:
            case "delete":
                shutil.rmtree(folder)
            case "move" | "make anew":
                folder.rename(self.disk / f"moved {self.api.command}")
            case "delete journal":
                (folder / JOURNAL).unlink()
            case "delete rows":
                (folder / INPUT).unlink()
        if loss == "make anew":
            folder.mkdir()
        self.lost = Loss(folder, self.api.now, virtual_time(), is_left=folder.exists())

    def judge_lost(self, closing: FinishedRun, lost: "Loss") -> None:
        """Hold a run whose folder was lost to what it says: it ends at once, and has everything elsewhere."""
        assert lost.folder != closing.folder or not lost.is_left  # its name is free again
        assert "rescue" == closing.folder.parent.name
        later = [line for line in self.api.ledger if line.command == self.api.command and line.at > lost.at]
        late = [line for line in later if line.time > lost.time + 1.1]
        assert not late, f"sent although the folder was lost at {lost.time}: {late}"
        for about in (self.commands, self.ended, self.final):
            for one in [one for one in about if one.is_relative_to(lost.folder)]:
                about.setdefault(closing.folder, about.pop(one))  # type: ignore[arg-type]  # of one kind each
        if lost.folder in self.brought:
            self.brought[closing.folder] = self.brought[lost.folder]

    @precondition(lambda self: self.run_folders())
    @step(which=st.integers(0, 5), sheet=sheets, change=st.sampled_from(CHANGES), is_newest=st.booleans())
    def bring_folder(self, which: int, sheet: str, change: str, is_newest: bool) -> None:
        """Somebody puts a copy of a run folder beside an input, as it was or changed."""
        folders = self.run_folders()
        self.bring(folders[which % len(folders)], sheet, change, is_newest=is_newest)

    def bring(self, source: Path, sheet: str, change: str, *, is_newest: bool) -> None:
        """Copy a run folder, and change the copy."""
        name = f"{'99991231' if is_newest else '20000101'}-000000-{len(self.brought) + 2}"
        folder = self.work / sheet.replace(".csv", ".batch") / name
        shutil.copytree(source, folder, ignore=lambda _, names: [one for one in names if one.startswith("undo-")])
        self.brought[folder] = change
        change_folder(folder, change)
        if change == "nothing":
            self.commands[folder] = set(self.commands.get(source, ()))
            known = {one: list(found) for one, found in self.final.get(source, {}).items()}
            self.final[folder] = defaultdict(list, known)
        if source in self.ended:
            self.ended[folder] = self.ended[source]

    @precondition(lambda self: self.run_folders())
    @step(which=st.integers(0, 5))
    def delete_folder(self, which: int) -> None:
        """Somebody deletes a run folder."""
        folders = self.run_folders()
        folder = folders[which % len(folders)]
        shutil.rmtree(folder)
        for about in (self.commands, self.ended, self.final):
            for one in [one for one in about if one.is_relative_to(folder)]:
                del about[one]

    def run_folders(self) -> list[Path]:
        """The runs that are the program's own work, or copies of them."""
        parents = [*self.work.glob("*.batch"), self.work / "runs"]
        found = sorted(one.parent for parent in parents for one in parent.rglob(JOURNAL))
        return [one for one in found if self.brought.get(one, "nothing") == "nothing"]

    def note_command(self, folder: Path) -> None:
        """Keep which run this start works on: nothing is sent before its journal says so."""
        if self.current is None:
            known = read_journal(folder) if self.commands.get(folder) else ()
            self.updated_before = {one for _, one, outcome in known if outcome == "updated"}
        self.current = folder
        self.commands.setdefault(folder, set()).add(self.api.command)
        self.ended[folder] = self.clock.now_

    # -- the promises -------------------------------------------------------------------------------------------

    def judge(self, closing: FinishedRun, wanted: dict[str, set[str]], company: int, before: datetime | None) -> None:
        """Hold what was said against the ledger; `before`: when the part before this one ended."""
        lines = self.judge_books(closing)
        self.has_stopped = bool(closing.stopped)
        first = self.began[min(self.commands.get(closing.folder, {self.api.command}))]
        # what was seen of a row of which nothing was to be sent is not kept
        named = {line["id"] for line in lines if line["outcome"] not in ("unsent", "rejected") or line["status"]}
        if not self.compares:  # then the file says nothing of it: the next command would not compare either
            named = set()
            for one in [one for one in self.seen if one[0] == closing.folder / "failures.csv"]:
                del self.seen[one]
        for one in {one for one in named if (company, one) in self.api.touched}:
            names = self.names_between(one, company, first, math.inf) | self.names_shown(closing.folder, one, company)
            self.seen[closing.folder / "failures.csv", one] = names
        for line in lines:
            if not wanted[line["id"]]:
                assert line["outcome"] in ("unchanged", "unsent"), f"nothing is set in it: {line}"
            elif len(wanted[line["id"]]) > 1:
                assert line["outcome"] in ("invalid", "unsent" if self.lost else "invalid")
            else:
                self.judge_row(line, *wanted[line["id"]], closing.folder, company, before)

    def judge_books(self, closing: FinishedRun) -> list[dict[str, Any]]:
        """Hold the files and the exit code against one another."""
        assert_balanced(closing.folder)
        lines = results(closing.folder)
        told = Counter(line["outcome"] for line in lines)
        assert {k.value: v for k, v in closing.summary.outcomes.items() if v} == dict(told)
        codes = {0}
        if self.lost is not None:
            codes = {3}
        elif told.keys() & {one.value for one in NEEDS_RETRY} or closing.summary.not_looked_at:
            codes = {2, 3, 6} if {303, 401, 407} & set(self.api.statuses) else {3}
            codes -= {2} if "unknown" in told else set()  # something may have been accepted
        elif told.keys() & {"invalid", "rejected"}:
            codes = {1}
        assert closing.summary.exit_code in codes, (closing.summary.exit_code, told)
        made = sum(self.api.exchanges[one] for one in self.commands[closing.folder])
        assert made <= closing.summary.attempts, f"{made} exchanges were made, {closing.summary.attempts} are told"
        if closing.summary.is_exact:
            assert made == closing.summary.attempts, (made, closing.summary.attempts, self.commands[closing.folder])
            for line in lines:
                written = [one for one in self.ledger_of(closing.folder) if one.id == line["id"]]
                told = int(line["attempts"])
                assert told == len(written) if ROWS_COUNT_ALL else told <= len(written), (line, written)
        return lines

    def judge_row(
        self, line: dict[str, Any], wanted: str, folder: Path, company: int, before: datetime | None
    ) -> None:  # fmt: skip
        *_, last = history = self.api.history(line["id"], company)
        mine = self.commands.get(folder, set())
        if line["outcome"] == "updated":
            sent = [one for one in self.api.ledger if (one.id, one.command) == (line["id"], self.api.command)]
            assert line["id"] in self.updated_before or sent, (
                f"called updated by a start that sent nothing: {line}, {history}"
            )
        match line["outcome"]:
            case "updated" | "unchanged" if self.waits_for_approval(line, wanted, company):
                pass
            case "updated" if self.is_unverified(line, folder, company):
                pass
            case "updated" | "unchanged" if not self.compares:  # it cannot know what came after an answer that was lost
                assert wanted in {one.name for one in history}, f"called {line['outcome']}, never so: {line}"
            case "updated" | "unchanged" if last.name != wanted and self.is_unseen(line, company):
                pass  # it could not be looked at again, and says so
            case "updated" if last.name != wanted and "nor a read shows it" in (line["message"] or ""):
                pass  # the API said so
            case "updated" | "unchanged" if last.name != wanted:
                assert last.command == OTHER, f"called {line['outcome']}, but another run wrote: {line}, {history}"
                seen = self.api.touched.get((company, line["id"]))
                if seen is None:  # it was not looked at in this start
                    age = self.clock.now_ - before if before is not None else None
                    assert age is not None, f"never looked at: {line}"
                    assert abs(age) <= 2 * FRESH, f"not looked at since {age}: {line}"
                    written = [one for one in self.ledger_of(folder) if one.id == line["id"]]
                    # what is answered with success and not applied is the answer to an earlier attempt
                    left = max((one.at for one in written if one.applied or one.status != 200), default=0)
                    known = [self.api.known.get((start, company, line["id"])) for start in mine]
                    seen = max((one for one in known if one is not None), default=left)  # reads may have lagged
                assert last.at > seen, f"called {line['outcome']}, but another hand had written: {line}, {history}"
            case "unsent" | "invalid" | "rejected":
                is_mine = last.name == wanted and last.command in mine
                # an API that folded names at an earlier start, and does no more, knows the key for the folded name
                is_mine &= "Idempotency-Key was already used" not in (line["message"] or "")
                assert not is_mine, f"called {line['outcome']}, but applied: {line}, {history}"

    def names_between(self, record_id: str, company: int, began: int, until: float) -> set[str]:
        """The names that a record had from one moment until before another."""
        history = self.api.history(record_id, company)
        first = max(number for number, one in enumerate(history) if one.at <= began)
        return {one.name for one in history[first:] if one.at < until}

    def names_before(self, line: Line) -> set[str]:
        """The names that a record had from the beginning of the start that wrote until it did, or was shown with.

        Nobody sees what another hand writes between reading and writing, or what an API does not show yet.
        """
        shown = {line.shown} if line.shown is not None else set()
        return self.names_between(line.id, line.company, self.began[line.command], line.at) | shown

    def names_shown(self, folder: Path, record_id: str, company: int) -> set[str]:
        """The names that a record was shown with to the starts that worked on a run."""
        commands = self.commands.get(folder, ())
        return {name for one in commands for name in self.api.shown.get((one, company, record_id), ())}

    def waits_for_approval(self, line: dict[str, Any], wanted: str, company: int) -> bool:
        """Whether a row says that its change waits for approval, and one was sent that does, or did."""
        asked = [one for one in self.api.ledger if (one.id, one.company) == (line["id"], company) and one.waits]
        return "approv" in (line["message"] or "") and wanted in {one.body["name"] for one in asked}

    def is_unseen(self, line: dict[str, Any], company: int) -> bool:
        """Whether a start never saw a record, and did not come to its end, or says so."""
        if "not looked at again since" in (line["message"] or ""):
            return True  # a list that was read for another row may have shown it, too
        return self.has_stopped and (company, line["id"]) not in self.api.touched

    def is_unverified(self, line: dict[str, Any], folder: Path, company: int) -> bool:
        """Whether a row says that its change was only confirmed, and no read showed its record after that."""
        is_told = any(one in (line["message"] or "") for one in NOT_VERIFIED)
        confirmed = [one.at for one in self.ledger_of(folder) if one.id == line["id"] and one.status == 200]
        return is_told and bool(confirmed) and self.api.read.get((company, line["id"]), 0) < confirmed[-1]

    @invariant()
    def only_at_its_address(self) -> None:
        """Nothing is asked at an address that a folder names."""
        assert self.api.hosts <= {self.api_host}

    @property
    def api_host(self) -> str:
        return "api.dualentry.com" if self.endpoint == DUALENTRY else "connect.withvayu.com"

    @invariant()
    def results_are_current(self) -> None:
        """Results that are there are those that the journal knows."""
        for folder in self.run_folders():
            if (folder / "results.csv").exists():
                known = {str(row): outcome for row, _, outcome in read_journal(folder)}
                stale = [one for one in results(folder) if one["outcome"] != known.get(str(one["row"]), "unsent")]
                assert not stale, f"results of an earlier part: {stale}, {known}"

    @invariant()
    def final_is_never_sent_again(self) -> None:
        """What was recorded as final is not sent again by that run while the record shows it; other outcomes stay."""
        rescued = [one for one in self.commands if one.parent.name == "rescue" and (one / JOURNAL).exists()]
        for folder in [*self.run_folders(), *rescued]:
            now = final_outcomes(folder)
            kept = self.final.setdefault(folder, defaultdict(list))
            for one, found in kept.items():
                outcome, command = found[-1]
                changes = [line for line in self.ledger_of(folder) if line.id == one and line.command > command]
                # a copy of a run is not in the index, and keeps no refusal of the API
                if outcome == "invalid" or (outcome == "rejected" and folder not in self.brought):
                    assert outcome == now.get(one), f"{one} was {outcome}, and is {now.get(one)}"
                if one not in now:  # its record showed something else, so that it is to be sent again
                    found.append(("open", self.api.command))
                if outcome == "open":
                    continue
                again = [line for line in changes if line.was == line.body["name"] == (line.shown or line.was)]
                assert not again, f"{one} was {outcome} after start {command}, and was sent again: {again}"
            for one, outcome in now.items():
                through = kept[one][-1][1] if kept[one] else 0
                if not through or any(line.id == one and line.command > through for line in self.ledger_of(folder)):
                    kept[one].append((outcome, self.api.command))

    def ledger_of(self, folder: Path) -> list[Line]:
        return [one for one in self.api.ledger if one.command in self.commands.get(folder, ())]

    @invariant()
    def one_key_for_a_change(self) -> None:
        """The same change over the same values goes with the same key until it is through; that is applied once."""
        for folder, mine in self.commands.items():
            keys: dict[tuple[str, str], list[Line]] = defaultdict(list)
            under: dict[tuple[str, str | None], list[Line]] = defaultdict(list)
            for line in self.ledger_of(folder):
                keys[line.id, json.dumps(line.body, sort_keys=True)].append(line)
                if line.applied and line.id in self.ids:
                    under[line.id, line.key].append(line)
            for (one, _), lines in keys.items():
                throughs = len(self.final.get(folder, {}).get(one, ()))
                history = self.api.history(one, lines[0].company)
                since = self.began[lines[0].command]  # it may have been read before that
                others = [v for v in history if v.command not in mine and since <= v.at < lines[-1].at]
                asked = sum(line.waits for line in lines)  # it is asked for again where its record says nothing of it
                spent = sum(line.status == 200 and not line.applied for line in lines)  # its answer would come again
                assert len({line.key for line in lines}) <= 1 + throughs + len(others) + asked + spent, (one, lines)
            assert not self.counts_twice or all(len(lines) == 1 for lines in under.values()), under

    counts_twice: ClassVar[bool] = True


class UndoMachine(Machine):
    """The same with runs that are taken back, and taken back again, at any time."""

    @precondition(lambda self: self.run_folders())
    @step(which=st.integers(0, 5), around=arounds)
    def undo(self, which: int, around: Around) -> None:
        """Take back one of the runs, or go on taking it back."""
        self.take_back(which, around)

    @precondition(lambda self: self.run_folders())
    @step(which=st.integers(0, 5), around=arounds, at=moments)
    def kill_undo(self, which: int, around: Around, at: int) -> None:
        """Take back one of the runs, and be killed."""
        self.take_back(which, replace(around, kill_at=at))

    def take_back(self, which: int, around: Around) -> None:
        """Start an undo, and hold it to its promises."""
        folders = self.run_folders()
        self.take_back_run(folders[which % len(folders)], around)

    def take_back_run(self, source: Path, around: Around, **options: Any) -> None:
        """Start the undo of a run; of one that was cut off, somebody has to say that its folder is to be believed."""
        company = self.company_of(source)
        act = lambda environment: run_undo(source, Settings(**PACE, **options), FakeReporter(), environment)  # noqa: E731 - as above
        self.source, closing, refusal = source, None, ""
        try:
            closing = self.go(act, company, around)
        except UsageError as error:
            refusal = str(error)
        if "--trust-folder" in refusal:
            assert not options, refusal
            is_other = "another key" in refusal and not self.commands.get(source)  # nothing tells whose it is
            assert source in self.cut_off or source in self.brought or is_other, refusal
            self.take_back_run(source, around, trust_folder=True)
            return
        assert not refusal or ("changed nothing" in refusal and not self.changed_by(source)), refusal
        if closing is not None:
            self.judge_undo(closing, source, company)

    def company_of(self, folder: Path) -> int:
        return next((self.owner[one] for one in self.commands.get(folder, ())), 0)

    def note_command(self, folder: Path) -> None:
        """An undo is the work of its own run, not of the one that it takes back."""
        if folder != self.source:
            super().note_command(folder)

    def start(self, *given: Any, **more: Any) -> FinishedRun | None:
        self.source = None
        return super().start(*given, **more)

    def changed_by(self, folder: Path) -> list[Line]:
        return [one for one in self.ledger_of(folder) if one.applied]

    def judge_undo(self, closing: FinishedRun, source: Path, company: int) -> None:
        """Hold what was said against the ledger."""
        lines = self.judge_books(closing)
        changed = self.changed_by(source)
        found = [one for _, one, outcome in read_journal(source) if outcome == "unchanged"]
        taken = [one for one in self.changed_by(closing.folder) if one.id in found and one.was != one.body["name"]]
        assert not taken or source in self.cut_off, f"nobody knows who wrote it, and it is taken back: {taken}"
        altered = {one.id for one in changed if one.was != one.body["name"]}  # not where it keeps its own spelling
        assert altered <= {line["id"] for line in lines}, "a change is not taken back"
        for line in lines:
            mine = [one for one in self.changed_by(closing.folder) if one.id == line["id"]]
            was = {one.was for one in changed if one.id == line["id"]}
            history = self.api.history(line["id"], company)
            by_others = any(one.command == OTHER for one in history[1:])
            match line["outcome"]:
                case "updated":
                    waits = [one for one in self.ledger_of(closing.folder) if one.id == line["id"] and one.waits]
                    assert mine or by_others or waits, f"called updated, never applied: {line}"
                case "unsent" | "invalid":
                    assert not mine, f"called {line['outcome']}, but applied: {line}"
                case "unchanged":
                    now = [one for one in mine if one.command == self.api.command]  # what was before, this one found
                    assert not now or by_others, f"called unchanged, but applied: {line}"
                    assert not was or was & {one.name for one in history}, f"called unchanged: {line}"
                case "rejected":
                    last = max((one.at for one in mine), default=self.api.now)
                    others = [
                        one for one in history if one.at > last and one.command not in self.commands[closing.folder]
                    ]
                    assert not mine or by_others or others, f"called rejected, but applied: {line}"

    @invariant()
    def nothing_of_others_is_taken_back(self) -> None:
        """An undo writes only over what its run wrote or may have written, and what was there at the last time."""
        for folder in self.run_folders():
            if not folder.name.startswith("undo-"):
                continue
            meta = peek(folder / JOURNAL).meta
            for line in self.ledger_of(folder):
                parts = self.ledger_of(Path(meta["undoes"]))
                theirs = [one for one in parts if one.id == line.id and one.command < line.command]
                if not theirs and not Path(meta["undoes"]).exists():
                    continue  # nobody knows any more what it was
                if not theirs:  # it was about to be sent at a kill, and another run of this input sent the same
                    ours = {one.body["name"] for one in self.api.ledger if one.id == line.id}
                    assert not line.applied or line.was in ours, line  # a key that is used again applies nothing
                    continue
                if line.applied and len(self.names_before(line)) == 1:
                    assert line.was in {one.body["name"] for one in theirs} | {line.body["name"]}, (line, theirs)
                over = [one for one in theirs if one.was != one.body["name"]] or theirs
                assert line.body["name"] in self.names_before(over[-1]), (line, theirs)


class VayuMachine(Machine):
    """The same with an API that has no idempotency keys: there a 5xx that was applied all the same is repeated."""

    endpoint = VAYU
    counts_twice = False


class VayuUndoMachine(UndoMachine):
    """The same with that API."""

    endpoint = VAYU
    counts_twice = False


def change_folder(folder: Path, change: str) -> None:
    """Do something to a run folder."""
    journal = folder / JOURNAL
    match change:
        case "rows" | "no rows" if not (folder / INPUT).exists():
            pass  # somebody was there before
        case "rows":
            frame = pl.read_parquet(folder / INPUT)
            evil = (
                pl.when(pl.col(pl.String).str.contains(r"^[A-Z]\d+-")).then(pl.lit("Evil")).otherwise(pl.col(pl.String))
            )
            frame.with_columns(evil.name.keep()).write_parquet(folder / INPUT)
        case "no rows":
            (folder / INPUT).unlink()
        case "version":
            with closing(sqlite3.connect(journal)) as db, db:
                db.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
        case "cut":
            os.truncate(journal, journal.stat().st_size // 2)
        case "garbage":
            journal.write_bytes(b"no journal" * 1000)


def virtual_time() -> float:
    """The time of the start, 0 before it asks anything."""
    try:
        return trio.current_time()
    except RuntimeError:  # no event loop
        return 0.0


def is_killed(error: BaseException) -> bool:
    """Whether the end of a start was our kill."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_killed(one) for one in error.exceptions)
    return isinstance(error, Killed)


def read_wanted(path: Path) -> dict[str, set[str]]:
    """The names that an input has for each id."""
    wanted: dict[str, set[str]] = defaultdict(set)
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            wanted[row["id"]].add(plain(row["name"]))
    return wanted


def killing_at_commits(moment: Callable[[], None], note: Callable[[Path], None]) -> Any:
    """Make moments of what is before and after every commit of a journal, and tell whose it is."""
    commit = Journal._commit

    def watched(self: Journal, batch: Any) -> None:
        note(self.path.parent)
        moment()
        commit(self, batch)
        moment()

    return mock.patch.object(Journal, "_commit", watched)


@contextmanager
def locale_of_cron(*, is_set: bool) -> Iterator[None]:
    """Have the locale that cron gives, which cannot write é."""
    usual = locale.setlocale(locale.LC_ALL)
    try:
        if is_set:
            locale.setlocale(locale.LC_ALL, "C")
        yield
    finally:
        locale.setlocale(locale.LC_ALL, usual)


def final_outcomes(folder: Path) -> dict[str, str]:
    """The final outcomes that the journal of a run knows by now, by id."""
    return {one: outcome for _, one, outcome in read_journal(folder) if outcome not in NEEDS_RETRY}


def read_journal(folder: Path) -> list[tuple[int, str, str]]:
    """Row, id and outcome of every result that the journal of a run has by now; a copy is read, as a reader's would."""
    with tempfile.TemporaryDirectory() as copy:
        for end in ("", "-wal"):
            if (path := folder / f"{JOURNAL}{end}").exists():
                shutil.copy(path, copy)
        with closing(sqlite3.connect(Path(copy) / JOURNAL)) as db:
            return db.execute("SELECT row, id, outcome FROM result").fetchall()


MACHINES = [Machine, VayuMachine, UndoMachine, VayuUndoMachine]
PHASES = [Phase.explicit, Phase.generate, *([Phase.shrink] if os.environ.get("RESILIENCE_SHRINK") else [])]
"""Looking for the smallest case takes minutes: only who asks for it gets it."""
QUICK = settings(
    max_examples=8, stateful_step_count=6, phases=PHASES, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
EXAMPLES = int(os.environ.get("RESILIENCE_EXAMPLES", "1000"))
SECONDS = float(os.environ.get("RESILIENCE_SECONDS", "0"))
LONG = settings(QUICK, max_examples=EXAMPLES, stateful_step_count=20, derandomize=False)


STOPPED = Around(writes=("ok", "ok", "429-long", "429-long"))
"""The API takes two changes, and then refuses for hours."""


def stop_old(machine: UndoMachine) -> None:
    """A run is stopped on one day, another sheet is sent on the next, and then the first one again."""
    machine.start("sheet.csv", STOPPED)
    machine.clock.now_ += timedelta(days=1)
    machine.start("other.csv", Around())
    machine.clock.now_ += timedelta(hours=1)
    machine.start("sheet.csv", Around())


def stop_and_edit(machine: UndoMachine) -> None:
    """What the first part of a run wrote, another hand changes before the second one."""
    machine.start("sheet.csv", STOPPED)
    machine.clock.now_ += timedelta(hours=1)
    for number in range(ROWS):
        machine.edit_by_another_hand(number, 0)
    machine.start("sheet.csv", Around())


def stop_and_stop(machine: UndoMachine) -> None:
    """What another hand changed is looked at, the run stops before it sends that again, and the hand puts it back."""
    names = [machine.api.name(one) for one in machine.ids]
    machine.start("sheet.csv", Around(writes=("ok", "ok", "ok", "429-long", "429-long")))
    machine.clock.now_ += timedelta(hours=1)
    for number in range(ROWS):
        machine.edit_by_another_hand(number, 0)
    machine.start("sheet.csv", Around(writes=("429-long", "429-long", "429-long")))
    for one, name in zip(machine.ids, names, strict=True):
        machine.api.edit(one, name)
    machine.clock.now_ += timedelta(hours=1)
    machine.start("sheet.csv", Around())


def stop_and_kill_a_look(machine: UndoMachine) -> None:
    """Another run wrote, and the start that was to look is killed: the next one has to look."""
    machine.start("sheet.csv", Around(writes=("ok", "ok", "ok", "429-long", "429-long")))
    machine.start("other.csv", Around())
    machine.start("sheet.csv", Around(kill_at=6))
    machine.start("sheet.csv", Around())


def stop_and_kill(machine: UndoMachine) -> None:
    """A run that has written results goes on, and is killed."""
    machine.start("sheet.csv", STOPPED)
    machine.start("sheet.csv", Around(kill_at=14))


def stop_and_change_key(machine: UndoMachine) -> None:
    """A run that was stopped is started with the key of another company."""
    machine.start("sheet.csv", STOPPED)
    machine.start("sheet.csv", Around(), company=1)
    machine.start("sheet.csv", Around())


def bring(machine: UndoMachine, change: str) -> None:
    """A run that was stopped, and copies of its folder that somebody changed and put before and behind it."""
    machine.start("sheet.csv", STOPPED)
    for is_newest in (True, False):
        machine.bring(machine.run_folders()[0], "sheet.csv", change, is_newest=is_newest)
    machine.start("sheet.csv", Around())


def lose(machine: UndoMachine, loss: str) -> None:
    """The folder of a run that goes on is lost, while something waits for an answer."""
    machine.start("sheet.csv", Around(writes=("ok", "timeout-before"), lose_at=14, loss=loss))
    machine.start("sheet.csv", Around())


def fail_and_edit(machine: UndoMachine) -> None:
    """A failures file is sent after another hand changed what its run had seen."""
    machine.start("sheet.csv", STOPPED)
    machine.edit_by_another_hand(3, 0)
    machine.send_failures_of(machine.failures_files()[0], 0, Around())


def fail_and_undo(machine: UndoMachine) -> None:
    """What failed at first is sent over another hand's edit, as the sheet says, and that is what an undo puts back."""
    machine.start("sheet.csv", Around(writes=["500"] * 12))
    machine.edit_by_another_hand(1, 0)
    machine.start("sheet.csv", Around())
    machine.take_back(0, Around())


def wait_and_read_in_vain(machine: UndoMachine) -> None:
    """While a change waits for its turn, its record becomes too old, and cannot be read again: nothing was sent."""
    for _ in range(8):  # whether the first write leaves before the 429 comes is chance
        machine.start("sheet.csv", Around(reads=["ok", "429-after", *["503-after"] * 12]), new=True)


def fail_to_read_and_kill(machine: UndoMachine) -> None:
    """No record can be read at first; the next start sends changes and is killed before it knows what became of all."""
    machine.start("sheet.csv", Around(reads=["429-after"] * 60))
    for at in (12, 14, 16):
        machine.start("sheet.csv", Around(kill_at=at), compare=False)
        machine.take_back(0, Around())


SCRIPTS: dict[str, Callable[[UndoMachine], None]] = {
    "a key of another company": stop_and_change_key,
    "undo after a failure": fail_and_undo,
    **{f"lost folder: {loss}": functools.partial(lose, loss=loss) for loss in LOSSES},
    "an old run": stop_old,
    "an edit between": stop_and_edit,
    "stopped twice": stop_and_stop,
    "a look that is killed": stop_and_kill_a_look,
    "killed with results": stop_and_kill,
    "killed after a read in vain": fail_to_read_and_kill,
    "a record that cannot be read again": wait_and_read_in_vain,
    **{f"folder: {one}": functools.partial(bring, change=one) for one in CHANGES},
    "an old failures file": fail_and_edit,
}
"""What was seen to go wrong once, and what it would hardly meet by chance."""


@pytest.mark.parametrize("kind", [UndoMachine, VayuUndoMachine])
@pytest.mark.parametrize("script", SCRIPTS)
def test_script(kind: type[UndoMachine], script: str) -> None:
    """In a state that was chosen the promises hold."""
    machine = kind()
    try:
        SCRIPTS[script](machine)
        machine.results_are_current()
        machine.final_is_never_sent_again()
        machine.one_key_for_a_change()
        machine.nothing_of_others_is_taken_back()
    finally:
        machine.teardown()


@pytest.mark.looks
@pytest.mark.parametrize("machine", MACHINES)
def test_machine(machine: type[Machine]) -> None:
    """In every state that was reached the promises hold."""
    run_state_machine_as_test(machine, settings=QUICK)


@pytest.mark.long
@pytest.mark.looks
@pytest.mark.parametrize("machine", MACHINES)
def test_machine_for_long(machine: type[Machine]) -> None:
    """In every state of many more they hold, too: of so many examples, or of as many as there is time for."""
    STEPS.clear()
    chosen = settings(LONG, max_examples=20) if SECONDS else LONG
    end = time.monotonic() + SECONDS / len(MACHINES)
    while True:
        run_state_machine_as_test(machine, settings=chosen)
        if time.monotonic() >= end:
            break
    each = ", ".join(f"{name} {count:,}" for name, count in sorted(STEPS.items()))
    print(f"| {machine.__name__} | {STEPS.total():,} steps: {each} |")  # noqa: T201 - the table of results
