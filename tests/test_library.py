"""The library: the commands as functions, which print, ask and read nothing that was not given to them."""

import ctypes
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, get_type_hints

import anyio
import httpx
import polars as pl
import pytest

import batch
from batch.errors import CancelledError, ExitCode
from batch.library import jobs, options
from batch.model import Outcome
from batch.settings import INPUT, SETTINGS
from batch.summary import Files, Outcomes
from tests.job_fixture import DUALENTRY, JobFixture, summary
from tests.shell import ROOT

BACKENDS = ("asyncio", "trio")
THREE = "id,name,phone\n10001,Acme Renamed,\n10002,,bad x\n10003,Cobalt Renamed,\n"


def access(job: JobFixture, **more: Any) -> dict[str, Any]:
    """Who asks the sandbox, and fast."""
    return {
        "endpoint": DUALENTRY, "base_url": job.sandbox.url, "credentials": job.sandbox.environment(),
        "max_per_second": 500.0, **more,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_import_is_cheap() -> None:
    """`import batch` loads nothing heavy: a name is loaded when it is first used."""
    code = "import sys, batch; print(sorted({'polars', 'httpx', 'pydantic', 'anyio', 'click'} & sys.modules.keys()))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "[]\n" == said


def test_every_name_is_there() -> None:
    """Whatever the package lists can be had, and nothing else."""
    assert batch.__all__ == [one for one in batch.__all__ if getattr(batch, one) is not None]
    assert set(batch.__all__) <= set(dir(batch))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = batch.nothing  # type: ignore[attr-defined]  # that is what is tested


OPTIONS = {
    "check": options.CheckOptions, "plan": options.PlanOptions, "update": options.UpdateOptions,
    "undo": options.UndoOptions, "resume": options.ResumeOptions, "pull": options.PullOptions,
    "template": options.TemplateOptions,
}  # fmt: skip
OWN = {*options.Access.__annotations__, "name", "sparse", "where", "ids", "force"}
"""What functions take that is no setting of the table."""


@pytest.mark.parametrize("command", OPTIONS)
def test_options_are_those_of_the_command(command: str) -> None:
    """Each function names the options of its command, no more and no less; a plan names those that send, too."""
    named = set(get_type_hints(OPTIONS[command])) - OWN
    settings = {name for name, one in SETTINGS.items() if command in one.commands}
    missing = settings - named - {*jobs.NOT_TAKEN, "endpoint"}
    further = named - settings - ({"max_clears"} if command == "plan" else set())
    assert (set(), set()) == (missing, further)
    assert command in INPUT or "name" not in get_type_hints(OPTIONS[command])


def test_update(job: JobFixture) -> None:
    """An update gives the summary that is in the folder, with counts and files by name."""
    sheet = job.sheet(THREE)
    found = batch.update(sheet, **access(job))
    assert (1, 2, 1, "to fix") == (found.exit_code, found.outcomes.updated, found.outcomes.invalid, found.state)
    assert found.as_dict() == summary(Path(found.run))
    assert found.files.failures is not None
    assert (Path(found.run) / "failures.csv").samefile(found.files.failures)


def test_results_are_read_lazily(job: JobFixture) -> None:
    """The results of a run come row by row, by its summary or its folder, and reading them writes nothing."""
    found = batch.update(job.sheet(THREE), **access(job))
    before = sorted((path.name, path.stat().st_mtime_ns) for path in Path(found.run).iterdir())
    rows = batch.results(found)
    assert (2, "10001", Outcome.UPDATED) == ((first := next(rows)).row, first.id, first.outcome)
    assert [(3, Outcome.INVALID), (4, Outcome.UPDATED)] == [(one.row, one.outcome) for one in rows]
    assert 3 == len(list(batch.results(found.run)))
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in Path(found.run).iterdir())


def test_no_run(tmp_path: Path) -> None:
    """Where there is no run, that is said at once, not when the first row is wanted."""
    with pytest.raises(batch.FolderError, match="there is no run in this folder"):
        batch.results(tmp_path)
    with pytest.raises(batch.FolderError, match="there is no run in this folder"):
        batch.status(tmp_path)


def pandas_like(frame: pl.DataFrame) -> Any:
    """Something that is no table of polars and exports the Arrow C stream, with a column of an unnamed index."""
    whole = frame.with_columns(pl.Series("__index_level_0__", range(frame.height)))

    class Exporter:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return whole.__arrow_c_stream__(requested_schema)

    return Exporter()


@pytest.mark.parametrize("make", [lambda frame: frame, pl.DataFrame.lazy, pandas_like], ids=["eager", "lazy", "arrow"])
def test_table(job: JobFixture, make: Callable[[pl.DataFrame], Any]) -> None:
    """A table in memory is an input like a file; its runs lie in the current folder, by its name."""
    frame = pl.DataFrame({"id": [10001, 10002], "name": ["Acme Renamed", None], "phone": [None, "+31 20 1234567"]})
    found = batch.update(make(frame), name="crm", **access(job))
    assert (0, 2, "crm", Path("crm.batch").resolve()) == (
        found.exit_code, found.outcomes.updated, found.input, Path(found.run).parent,
    )  # fmt: skip
    assert [("PATCH", "10001", {"name": "Acme Renamed"}), ("PATCH", "10002", {"phone": "+31 20 1234567"})] == sorted(
        job.writes()
    )


def test_same_table_resumes(job: JobFixture) -> None:
    """Two tables with the same rows are one input, whatever holds them, and one with other rows is another."""
    frame = pl.DataFrame({"id": [10001, 10002], "name": ["A", "B"]})
    job.sandbox.set_faults("500=id:10002")
    first = batch.update(frame, max_attempts=1, verify_within=0, **access(job))
    job.sandbox.set_faults()
    again = batch.update(pl.concat([frame[:1], frame[1:]], rechunk=False), **access(job))
    other = batch.update(frame.with_columns(name=pl.lit("C")), **access(job))
    assert (3, 0, 0) == (first.exit_code, again.exit_code, other.exit_code)
    assert (first.run, True, False) == (again.run, again.resumed, other.resumed)
    assert other.run != first.run


def test_not_a_table() -> None:
    """What cannot be read as a table is said, by its name."""

    class Odd:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            raise ImportError("No module named 'pyarrow'")

    with pytest.raises(batch.InputError, match="frame: the table cannot be exported: No module named 'pyarrow'"):
        batch.check(Odd(), endpoint=DUALENTRY)


def test_a_table_of_mixed_values() -> None:
    """What the exporter says is said whole, with the column, and what to do."""

    class Mixed:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            raise ValueError("Could not convert '2' with type str", "Conversion failed for column id with type object")

    with pytest.raises(batch.InputError) as raised:
        batch.check(Mixed(), endpoint=DUALENTRY)
    assert (
        "frame: the table cannot be read: Could not convert '2' with type str. Conversion failed for column id with "
        'type object. A column needs values of one kind; pandas makes texts of all kinds with .astype("string").'
    ) == str(raised.value)


def test_plan_update_undo(job: JobFixture) -> None:
    """A plan is carried out by its folder, and a run is taken back by its summary."""
    sheet, given = job.sheet("id,name\n10001,Acme Renamed\n"), access(job)
    before = job.record(10001)["name"]
    made = batch.plan(sheet, **given)
    assert (1, 0, "plan") == (made.cells, len(job.writes()), made.command)
    done = batch.update(sheet, plan=made.run, **given)
    assert "Acme Renamed" == job.record(10001)["name"]
    where = {name: value for name, value in given.items() if name != "endpoint"}
    undone = batch.undo(done, **where)
    assert (0, "undo", before) == (undone.exit_code, undone.command, job.record(10001)["name"])
    assert "undone" == summary(Path(done.run))["state"]
    assert ["undone", "finished"] == [one.state for one in batch.runs(sheet)]


def test_pull_template_purge(job: JobFixture, tmp_path: Path) -> None:
    """Pulling, templates and purging are there by their names."""
    found = batch.pull("now.csv", where={"name": job.record(10001)["name"]}, **access(job))
    assert (1, 0, "pull") == (found.records, found.exit_code, found.command)
    given = access(job)
    assert batch.template("new.csv", endpoint=DUALENTRY, credentials={}).columns > 10
    run = batch.update(job.sheet("id,name\n10001,X\n"), **given)
    removed = batch.purge(run)
    assert (Path(run.run), False) == (removed.folder, Path(run.run).exists())


def test_write_results(job: JobFixture) -> None:
    """The results files of a run can be made again."""
    run = batch.update(job.sheet(THREE), **access(job))
    Path(run.files["results"]).unlink()
    again = batch.write_results(run)
    assert (run.outcomes, True) == (again.outcomes, Path(run.files["results"]).is_file())


def test_nothing_is_read_unasked(job: JobFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables of options, nor a settings file that lies about, nor a login count; a named file does."""
    monkeypatch.setenv("BATCH_LIMIT", "1")
    (tmp_path / "batch.toml").write_text("limit = 1\n", encoding="utf-8")
    sheet = job.sheet("id,name\n10001,X\n10002,Y\n")
    assert (2, 1) == (
        batch.check(sheet, endpoint=DUALENTRY).rows,
        batch.check(sheet, endpoint=DUALENTRY, settings="batch.toml").rows,
    )


def test_unknown_option(job: JobFixture) -> None:
    """An option that there is not is a TypeError, as of any function; a wrong value is a SettingsError."""
    with pytest.raises(TypeError, match=r"update\(\) got an unexpected keyword argument 'max_speed'"):
        batch.update("x.csv", endpoint=DUALENTRY, max_speed=1)  # type: ignore[call-arg]  # that is what is tested
    with pytest.raises(batch.SettingsError, match="max_attempts 0: it should be greater than or equal to 1"):
        batch.update("x.csv", endpoint=DUALENTRY, max_attempts=0)


def test_errors_say_what_to_do() -> None:
    """What is wrong with the job has an exit code, a stable word and a next step."""
    with pytest.raises(batch.BatchError) as caught:
        batch.check("missing.csv", endpoint=DUALENTRY)
    error = caught.value
    assert (ExitCode.COULD_NOT_START, "input") == (error.exit_code, error.reason)
    assert "Put that right, and run the same command again." == error.hint


def test_credentials_by_call(job: JobFixture) -> None:
    """Credentials may come from a function, which is asked once for each job that needs no others."""
    asked: list[str] = []

    def credentials() -> dict[str, str]:
        asked.append("")
        return job.sandbox.environment()

    given = access(job) | {"credentials": credentials}
    assert (0, 1) == (batch.update(job.sheet("id,name\n10001,X\n"), **given).exit_code, len(asked))


def test_no_variables_beside_the_mapping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where credentials are given, those of the process do not count."""
    monkeypatch.setenv("DUALENTRY_API_KEY", "from-the-environment")
    (tmp_path / "x.csv").write_text("id,name\n1,X\n", encoding="utf-8")
    with pytest.raises(batch.CredentialError, match="There is no key yet"):
        batch.update("x.csv", endpoint=DUALENTRY, credentials={})


def test_own_transport(tmp_path: Path) -> None:
    """A transport of the caller's carries the requests."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        record = {"id": 1, "name": "X" if "PATCH" in seen else "Old"}
        return httpx.Response(200, json=record if request.method == "PATCH" else {"items": [record], "count": 1})

    (tmp_path / "x.csv").write_text("id,name\n1,X\n", encoding="utf-8")
    found = batch.update(
        "x.csv", endpoint=DUALENTRY, credentials={"DUALENTRY_API_KEY": "k" * 20}, transport=httpx.MockTransport(answer)
    )
    assert (0, 1, ["GET", "PATCH"]) == (found.exit_code, found.outcomes.updated, seen)


def test_two_at_once(job: JobFixture, tmp_path: Path) -> None:
    """Two jobs in one process do not know of each other; one of the same input is refused while the other goes on."""
    job.sandbox.behave(latency=0.2)
    sheets = [job.sheet(f"id,name\n1000{n},New {n}\n", f"sheet{n}.csv") for n in (1, 2)]
    found: dict[Any, Any] = {}

    def work(name: Any, sheet: Path) -> None:
        try:
            found[name] = batch.update(sheet, **access(job)).exit_code
        except batch.BusyError as error:
            found[name] = error.exit_code

    threads = [threading.Thread(target=work, args=(n, sheets[n % 2])) for n in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [0, 0, 5] == sorted(found.values())


def test_cancel(job: JobFixture) -> None:
    """A job that is cancelled while it sends ends as with Ctrl-C: the files say what was done, and it goes on later."""
    names = "".join(f"{10001 + n},New {n}\n" for n in range(40))
    sheet, cancel = job.sheet(f"id,name\n{names}"), threading.Event()
    job.sandbox.behave(latency=0.05)
    given = access(job, max_at_once=1, compare=False)
    found = batch.update(sheet, cancel=cancel, on_progress=lambda now: cancel.set() if now.done else None, **given)
    assert found.stopped is not None
    assert (130, "interrupted", "unfinished") == (found.exit_code, found.stopped.reason, found.state)
    assert (40, True) == (found.outcomes.total(), 0 < found.outcomes.unsent < 40)
    again = batch.update(sheet, **given)
    assert (0, True, found.run) == (again.exit_code, again.resumed, again.run)


class LimitError(BaseException):
    """What an orchestrator raises in the thread of a task whose time is over."""


def by_signal(thread: int) -> None:
    """Raise it in the main thread by a signal, as Airflow does."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


def by_another_thread(thread: int) -> None:
    """Raise it in a thread from another one, as Prefect does."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(LimitError))


@pytest.mark.parametrize("over", [by_signal, by_another_thread])
def test_time_limit_of_the_caller(job: JobFixture, over: Callable[[int], None]) -> None:
    """What is raised in the caller's thread ends the job first, with its files, and then goes on."""

    def limit(number: int, frame: FrameType | None) -> None:
        raise LimitError

    names = "".join(f"{10001 + n},New {n}\n" for n in range(40))
    sheet, before, asked = job.sheet(f"id,name\n{names}"), signal.signal(signal.SIGUSR1, limit), list[int]()
    job.sandbox.behave(latency=0.05)
    here = threading.get_ident()

    def look(now: batch.Progress) -> None:
        if now.done and not asked:
            asked.append(now.done)
            over(here)

    try:
        with pytest.raises(LimitError):
            batch.update(sheet, on_progress=look, **access(job, max_at_once=1, compare=False))
    finally:
        signal.signal(signal.SIGUSR1, before)
    (run,) = batch.runs(sheet)
    found = batch.status(run.run.folder)
    assert (True, "unfinished", True) == (found.is_ended, found.state, len(job.writes()) < 40)


def test_cancelled_before(job: JobFixture) -> None:
    """A job that is cancelled before it began says so, and asked nothing."""
    cancel = threading.Event()
    cancel.set()
    sheet = job.sheet("id,name\n10001,X\n")
    for start in (batch.update, batch.plan):
        with pytest.raises(CancelledError, match="It was cancelled before it began") as caught:
            start(sheet, cancel=cancel, **access(job))
        assert (130, "interrupted", 0) == (caught.value.exit_code, caught.value.reason, len(job.ledger()))


def test_progress(job: JobFixture) -> None:
    """The progress is told in typed snapshots."""
    told: list[batch.Progress] = []
    batch.update(job.sheet("id,name\n10001,X\n"), on_progress=told.append, **access(job))
    assert isinstance(told[0], batch.Progress)


def test_nothing_is_printed(job: JobFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Not a word goes to the screen."""
    batch.update(job.sheet(THREE), **access(job))
    assert ("", "") == tuple(capfd.readouterr())


@pytest.mark.parametrize("backend", BACKENDS)
def test_awaited(job: JobFixture, backend: str) -> None:
    """On asyncio and trio the functions can be awaited, and the loop goes on meanwhile."""

    async def main() -> tuple[int, list[int], int]:
        sheet, ticks, told = job.sheet("id,name\n10001,X\n"), 0, list[int]()
        thread = threading.get_ident()
        found = None
        async with anyio.create_task_group() as around:

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await anyio.sleep(0.01)

            around.start_soon(tick)
            told_here: list[bool] = []
            found = await batch.aio.update(
                sheet, on_progress=lambda now: told_here.append(threading.get_ident() == thread), **access(job)
            )
            told = [one.row async for one in batch.aio.results(found)]
            assert {True} == set(told_here)
            around.cancel_scope.cancel()
        return found.exit_code, told, ticks

    code, rows, ticks = anyio.run(main, backend=backend)
    assert (0, [2], True) == (code, rows, ticks > 5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_scope(job: JobFixture, backend: str) -> None:
    """Where the scope is cancelled, the run ends first, and its files say what was done."""
    names = "".join(f"{10001 + n},New {n}\n" for n in range(40))
    sheet = job.sheet(f"id,name\n{names}")
    job.sandbox.behave(latency=0.05)

    async def main() -> bool:
        with anyio.CancelScope() as scope:

            def tell(now: batch.Progress) -> None:
                if now.done:
                    scope.cancel()

            await batch.aio.update(sheet, on_progress=tell, **access(job, max_at_once=1, compare=False))
        return scope.cancelled_caught

    assert anyio.run(main, backend=backend)
    (run,) = (path for path in Path("sheet.batch").iterdir() if path.is_dir() and not path.is_symlink())
    said = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert (130, 40, True) == (said["exit_code"], sum(said["outcomes"].values()), said["outcomes"]["unsent"] > 0)


def test_inside_of_a_running_loop(job: JobFixture) -> None:
    """The synchronous functions work where a loop runs, as in a notebook."""

    async def main() -> int:
        return batch.update(job.sheet("id,name\n10001,X\n"), **access(job)).exit_code

    assert 0 == anyio.run(main)


def test_errors_of_awaited_jobs_come_alone() -> None:
    """An error is no group of errors."""

    async def main() -> None:
        with pytest.raises(batch.InputError):
            await batch.aio.check("missing.csv", endpoint=DUALENTRY)

    anyio.run(main)


def test_status(job: JobFixture) -> None:
    """The status of a run that another thread does is seen without waiting, and what it says balances."""
    names = "".join(f"{10001 + n},New {n}\n" for n in range(30))
    sheet = job.sheet(f"id,name\n{names}")
    job.sandbox.behave(latency=0.05)
    seen: list[batch.Status] = []

    def look(now: batch.Progress) -> None:
        (run,) = (path for path in Path("sheet.batch").iterdir() if path.is_dir() and not path.is_symlink())
        seen.append(batch.status(run))

    batch.update(sheet, on_progress=look, **access(job, max_at_once=1, compare=False))
    assert ("running", 30) == (seen[-1].state, seen[-1].outcomes.total())
    assert (0.0, "finished") == ((after := batch.status(seen[-1].run)).per_second, after.state)


@pytest.mark.parametrize(
    ("case", "state", "code"),
    [("finished-csv", "to fix", 1), ("stopped-csv", "unfinished", 3), ("killed-csv", "unfinished", None)],
)
def test_status_of_an_old_run(tmp_path: Path, case: str, state: str, code: int | None) -> None:
    """What 0.1 left is told in the words of today, and one that was cut off has no exit code."""
    shutil.copytree(ROOT / "tests/golden/0.1" / case / "work", tmp_path / "work")
    (journal,) = (tmp_path / "work").rglob("journal.sqlite")
    found = batch.status(journal.parent)
    assert (state, code) == (found.state, found.as_dict()["exit_code"])
    assert found.rows == found.outcomes.total()
    assert Counter(one.outcome for one in batch.results(journal.parent)) == +found.outcomes


def test_counts_and_files_by_name() -> None:
    """Counts and files have names, and those that are not there are 0 and None."""
    counts = Outcomes({Outcome.UPDATED: 3})
    assert (3, 0, 0, 0, 0, 0, 0) == (
        counts.updated, counts.unchanged, counts.invalid, counts.rejected, counts.failed, counts.unknown, counts.unsent,
    )  # fmt: skip
    assert (None, None, "j") == (Files(journal="j").failures, Files(journal="j").results, Files(journal="j").journal)


EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "batch/library/README.md").read_text("utf-8"), re.M | re.S)


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_run(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example of the page runs as it stands, beside a sheet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copy(ROOT / "samples" / "customers.csv", tmp_path)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout


def test_page_names_every_function() -> None:
    """The page has a line for every function, and no other."""
    page = (ROOT / "batch/library/README.md").read_text("utf-8")
    named = set(re.findall(r"^\| `(\w+)\(", page, re.M))
    assert {one for one in batch.__all__ if one.islower() and one != "aio"} == named
