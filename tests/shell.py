"""What the end-to-end tests share: the program as a process or in this one, and an API that remembers what it was sent.

Everything runs in a folder of its own with an environment of its own: nothing of whoever runs the tests gets in.
"""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl

from batch.cli import main
from tests import starts
from tests.sandbox.control import ControlledSandbox
from tests.schemas import held

ROOT = starts.ROOT
DUALENTRY, VAYU = "dualentry.customers", "vayu.customers"
PATIENCE = 30.0
SUMMARY_KEYS = [
    "schema_version", "version", "command", "run_id", "run", "resumed", "endpoint", "host", "input", "company",
    "sandbox", "shard", "parent_run", "state", "started", "finished", "seconds", "stopped", "exit_code", "files",
    "uploaded",
    "input_sha256", "users", "planned_by", "mapping", "rows", "all_rows", "outcomes", "earlier", "not_looked_at",
    "requests",
    "attempts", "throttled", "is_exact", "limiter", "retry_after", "reasons", "spellings", "not_empty", "left_out",
]  # fmt: skip
OUTCOMES = ["updated", "unchanged", "invalid", "rejected", "failed", "unknown", "unsent"]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """A folder to work in, and an environment in which nothing is set but what a test sets."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    _started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LOGNAME": "clerk",
            "XDG_STATE_HOME": str(self.folder.parent / "state"),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "BATCH_COMMAND": "batch",
        } | self.environment

    # -- the program ------------------------------------------------------------------------------------------------

    def run(self, *arguments: object, stdin: bytes = b"", env: Mapping[str, str] = {}, cold: bool = False) -> Ended:
        """Run the program as a process, to its end."""
        process = self.start(*arguments, env=env, cold=cold, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=60)
        return Ended(process.returncode, out.decode(), err.decode())

    def start(
        self, *arguments: object, env: Mapping[str, str] = {}, cold: bool = False, **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Start the program as a process, which is ended with the test; `cold`, with all that the interpreter does."""
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        begin = starts.start_cold if cold else starts.start
        process = begin("batch", [*map(str, arguments)], self.folder, self.environment | dict(env), **given)
        self._started.append(process)
        return process

    def start_under(self, around: Sequence[str], *arguments: object, **options: Any) -> "subprocess.Popen[bytes]":
        """Start the program inside of another one, such as strace."""
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        command = [*around, *starts.command("batch", [*map(str, arguments)])]
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment, **given)
        self._started.append(process)
        return process

    def end_all(self) -> None:
        """End what was started and is still there."""
        for process in self._started:
            process.kill()
            process.communicate()

    def here(self, *arguments: object, env: Mapping[str, str] = {}, encoding: str = "utf-8") -> Ended:
        """Run the program in this process: the same boundary, without the start; `encoding` is that of its streams."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
        around = mock.patch.dict(os.environ, self.environment | dict(env), clear=True)
        argv = mock.patch.object(sys, "argv", ["batch", *map(str, arguments)])
        with around, argv, chdir(self.folder), redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = ended.code
        texts = [one.buffer.getvalue().decode(encoding) for one in (out, err) if not one.flush()]
        assert isinstance(code, int)
        return Ended(code, *texts)

    # -- files ------------------------------------------------------------------------------------------------------

    def sheet(self, text: str, name: str = "sheet.csv") -> Path:
        """Write an input; gives its name, relative to the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")
        return Path(name)

    def runs(self, parent: str = "sheet.batch") -> list[Path]:
        """The run folders of an input, oldest first."""
        folder = self.folder / parent
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(one for one in found if one.is_dir() and not one.is_symlink())

    def only_run(self, parent: str = "sheet.batch") -> Path:
        """The one run folder of an input."""
        (folder,) = self.runs(parent)
        return folder

    def tell(self, text: str) -> str:
        """What was said, with what differs from time to time replaced."""
        text = text.replace(str(self.folder), "{here}")
        text = re.sub(r"http://127\.0\.0\.1:\d+", "{url}", text)
        text = re.sub(r"\d{8}-\d{6}(-\d+)?", "{time}", text)
        return re.sub(r" in [\d.]+ (s|min)$", " in {seconds}", text, flags=re.MULTILINE)


class Api:
    """The sandbox that all tests share; each takes records of its own, and looks at the ledger from its start."""

    _numbers = count()

    def __init__(self, sandbox: ControlledSandbox) -> None:
        self.sandbox, self.url = sandbox, sandbox.url
        self._start = sandbox.ledger_size()

    @property
    def options(self) -> list[str]:
        """What makes a command talk to it, as fast as it can."""
        return ["--base-url", self.url, "--max-per-second", "2000", "--yes"]

    def ids(self, number: int, endpoint: str = DUALENTRY) -> list[str]:
        """Ids of records that no other test uses."""
        numbers = [next(self._numbers) for _ in range(number)]
        first = 10_001 if endpoint == DUALENTRY else 0x65F000000000000000000001
        return [str(first + one) if endpoint == DUALENTRY else f"{first + one:024x}" for one in numbers]

    def names(self, number: int, endpoint: str = DUALENTRY) -> str:
        """An input that gives fresh records new names."""
        return "id,name\n" + "".join(f"{one},New {one}\n" for one in self.ids(number, endpoint))

    def lines(self) -> list[dict[str, Any]]:
        """What clients asked since the test began."""
        return [one for one in self.sandbox.read_ledger(self._start) if one["by"] == "client"]

    def writes(self) -> list[dict[str, Any]]:
        """What clients wrote since the test began."""
        return [one for one in self.lines() if one["method"] in ("PATCH", "PUT")]

    def written(self) -> list[str]:
        """The ids that were written, in order, each as often as it was."""
        return [one["id"] for one in self.writes()]

    def applied(self) -> list[str]:
        """The ids of the writes that were applied."""
        return [one["id"] for one in self.writes() if one["applied"]]


def update(api: Api, sheet: object, *options: object, endpoint: str = DUALENTRY) -> list[object]:
    """The words of the command that sends a sheet."""
    return ["update", sheet, "-e", endpoint, *api.options, *options]


def results(folder: Path) -> list[dict[str, str | None]]:
    """The lines of `results.csv`."""
    return pl.read_csv(folder / "results.csv", infer_schema=False).to_dicts()


def outcomes(folder: Path) -> list[str | None]:
    """The outcome of each row."""
    return [line["outcome"] for line in results(folder)]


def summary(folder: Path) -> dict[str, Any]:
    """The object in `summary.json`."""
    found: dict[str, Any] = held(json.loads((folder / "summary.json").read_text(encoding="utf-8")), "summary")
    return found


def assert_balanced(folder: Path) -> None:
    """The books of a run balance, by its files alone."""
    told = summary(folder)
    assert SUMMARY_KEYS == list(told)
    assert OUTCOMES == list(told["outcomes"])
    listed = outcomes(folder)
    assert told["rows"] == sum(told["outcomes"].values()) == len(listed)
    assert told["outcomes"] == {name: listed.count(name) for name in OUTCOMES}


def until(is_so: Callable[[], object], process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait for something that another process does, as long as it goes on."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        has_ended = process is not None and process.poll() is not None
        if has_ended or time.monotonic() > end:
            said = process.communicate() if has_ended and process is not None else ""
            raise AssertionError(f"it did not happen: {said}")
        time.sleep(0.01)


def iter_files(folder: Path) -> Iterator[Path]:
    """All files below a folder."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())
