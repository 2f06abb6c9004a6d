"""What the tests of whole jobs share: a sandbox over real sockets, a watcher that answers, and short ways to look."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from batch.commands.update import update as run_update
from batch.engine.reporter import Cost, Preflight, Progress, Tried
from batch.errors import Declined, ExitCode
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.sandbox.options import SandboxOptions
from batch.settings import Settings
from tests.sandbox.control import ControlledSandbox
from tests.schemas import held

DUALENTRY, VAYU = "dualentry.customers", "vayu.customers"
VAYU_1 = "65f000000000000000000001"
VAYU_2 = "65f000000000000000000002"


@dataclass
class FakeReporter:
    """A watcher: says `answers` in turn (then yes), and remembers what was said."""

    answers: list[Any] = field(default_factory=list)
    can_ask: bool = False
    interval: float | None = None
    notes: list[str] = field(default_factory=list)
    asked: list[Preflight] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    """What was asked about something odd; `answers` holds what is said to it, too."""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def confirm(self, preflight: Preflight) -> Any:
        self.asked.append(preflight)
        return self.answers.pop(0) if self.answers else True

    def confirm_rest(self, tried: Tried) -> bool:
        self.tried.append(tried)
        return bool(self.answers.pop(0)) if self.answers else True

    def ask(self, question: str) -> bool:
        self.questions.append(question)
        return bool(self.answers.pop(0)) if self.answers else False

    def ask_text(self, question: str, default: str = "") -> str:
        self.questions.append(question)
        if not self.answers:
            raise Declined("Nobody answers.")
        return str(self.answers.pop(0)) or default

    def choose(self, question: str, options: Sequence[str]) -> int | None:
        self.questions.append("\n".join([question, *options]))
        return self.answers.pop(0) if self.answers else None

    def cost(self, cost: Cost) -> None:
        self.costs.append(cost)

    def progress(self, progress: Progress) -> None:
        pass

    def leave_at_once(self, code: ExitCode, why: str) -> None:
        pass


@dataclass
class JobFixture:
    """A folder to work in and a sandbox to work with."""

    folder: Path
    sandbox: ControlledSandbox
    reporter: FakeReporter = field(default_factory=FakeReporter)
    began: int = 0
    """How many bytes the ledger had before, which all tests of a session share."""

    @property
    def environment(self) -> Environment:
        return Environment(self.sandbox.environment())

    def sheet(self, text: str, name: str = "sheet.csv") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def settings(self, sheet: Path, endpoint: str = DUALENTRY, **options: Any) -> Settings:
        given = {"base_url": self.sandbox.url, "max_per_second": 500.0, "yes": True} | options
        return Settings(input=str(sheet), endpoint=endpoint, **given)

    def update(self, sheet: Path, endpoint: str = DUALENTRY, **options: Any) -> FinishedRun:
        return run_update(self.settings(sheet, endpoint, **options), self.reporter, self.environment)

    def ledger(self) -> list[dict[str, Any]]:
        """The sandbox's ledger since the test began."""
        return self.sandbox.read_ledger(self.began)

    def writes(self) -> list[tuple[str, str, Any]]:
        """What clients wrote: (method, id, body)."""
        return [
            (line["method"], line["id"], line.get("body"))
            for line in self.ledger()
            if line["by"] == "client" and line["method"] in ("PATCH", "PUT")
        ]

    def record(self, number: int | str, endpoint: str = DUALENTRY) -> dict[str, Any]:
        return self.sandbox.record(endpoint.partition(".")[0], number)


def told(closing: FinishedRun) -> list[tuple[str, str]]:
    """The outcome and message of every row."""
    return [(row["outcome"], row["message"] or "") for row in results(closing.folder)]


def results(folder: Path) -> list[dict[str, Any]]:
    return pl.read_csv(folder / "results.csv", infer_schema=False).to_dicts()


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = held(json.loads((folder / "summary.json").read_text(encoding="utf-8")), "summary")
    return found


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlledSandbox]:
    ledger = tmp_path_factory.mktemp("sandbox") / "ledger.jsonl"
    with ControlledSandbox(SandboxOptions(limits="off", ledger=ledger)) as running:
        yield running


@pytest.fixture
def job(shared_sandbox: ControlledSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFixture:
    """An job whose records are as they were at the beginning."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shared_sandbox.reset()
    return JobFixture(tmp_path, shared_sandbox, began=shared_sandbox.ledger_size())
