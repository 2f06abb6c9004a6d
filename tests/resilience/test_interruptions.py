"""A machine that sleeps, a token that expires, a disk that is full: in the middle, and at the end."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from batch.commands.update import update as run_update
from batch.journal import Journal
from batch.run import finish
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.sandbox.vayu import Vayu
from batch.settings import Settings
from tests.job_fixture import FakeReporter
from tests.resilience.memory_api import ENVIRONMENT, MemoryApi
from tests.shell import DUALENTRY, VAYU, Api, Shell, assert_balanced, outcomes
from tests.virtual import run_on_virtual_clock

ROWS = 40
FIRST = {DUALENTRY: 10_001, VAYU: 0x65F000000000000000000001}


@pytest.fixture(params=[DUALENTRY, VAYU])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryApi:
    """One of the APIs in memory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return MemoryApi(request.param)


def update(api: MemoryApi, folder: Path, **given: Any) -> FinishedRun:
    """Rename all records that there are in turn."""
    first = FIRST[api.endpoint]
    ids = [str(first + n) if api.endpoint == DUALENTRY else f"{first + n:024x}" for n in range(ROWS)]
    (folder / "sheet.csv").write_text("id,name\n" + "".join(f"{one},New {one}\n" for one in ids))
    settings = Settings(
        input=str(folder / "sheet.csv"), endpoint=api.endpoint, yes=True, max_per_second=50.0, **given
    )  # fmt: skip
    return run_update(settings, FakeReporter(), Environment(ENVIRONMENT, run_on_virtual_clock, api.transport))


@pytest.mark.parametrize("when", [0, 3, 17])
def test_sleep(memory: MemoryApi, tmp_path: Path, when: int) -> None:
    """A machine that sleeps for an hour, with answers on their way, goes on; nothing is applied twice."""
    memory.writes.extend([*["ok"] * when, "sleep", "sleep"])
    memory.reads.extend(["ok", "sleep"])
    found = update(memory, tmp_path, max_at_once=4)
    assert ["updated"] * ROWS == outcomes(found.folder), found.stopped
    assert {1} == set(Counter(line.id for line in memory.ledger if line.applied).values())


@pytest.mark.parametrize("memory", [VAYU], indirect=True)
def test_expired_token(memory: MemoryApi, tmp_path: Path) -> None:
    """A token that expires in the middle, time after time, is renewed: every row is updated, once."""
    moments = count()

    def expire() -> None:
        assert isinstance(memory.api, Vayu)
        if next(moments) % 50 == 49:
            memory.api.tokens.expire_all()

    memory.moment = expire
    found = update(memory, tmp_path, max_at_once=4)
    assert ["updated"] * ROWS == outcomes(found.folder), found.stopped
    assert {1} == set(Counter(line.id for line in memory.ledger if line.applied).values())


@pytest.mark.parametrize("memory", [DUALENTRY], indirect=True)
def test_revoked_key(memory: MemoryApi, tmp_path: Path) -> None:
    """A key that is revoked in the middle stops the run (6); what was not sent is sent by the next start."""
    memory.writes.extend([*["ok"] * 10, *["401"] * 4])
    found = update(memory, tmp_path, max_at_once=2)
    assert 6 == found.summary.exit_code
    applied = [line.id for line in memory.ledger if line.applied]
    assert ["updated"] * len(applied) + ["unsent"] * (ROWS - len(applied)) == sorted(
        map(str, outcomes(found.folder)), reverse=False, key=["updated", "unsent"].index
    )
    memory.writes.clear()
    assert ["updated"] * ROWS == outcomes(update(memory, tmp_path).folder)
    assert {1} == set(Counter(line.id for line in memory.ledger if line.applied).values())


# -- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(shell: Shell) -> Iterator[Path]:
    """A disk of 24 MiB of its own, which only the superuser can have."""
    path = shell.folder / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(path)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    if not is_mounted:
        pytest.skip("no disk can be mounted, so none can be filled: that takes the superuser")
    yield path
    subprocess.run(["umount", str(path)], check=True)  # noqa: S607 - where it is, is the system's


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; gives the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 512, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue
    return ballast


def test_full_in_the_middle(shell: Shell, api: Api, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while sending stops the run; with room again the same command finishes it."""
    commit, commits = Journal._commit, count()

    def filling(self: Journal, batch: Any) -> None:
        if next(commits) == 12:
            fill(small_disk)
        commit(self, batch)

    monkeypatch.setattr(Journal, "_commit", filling)
    sheet = shell.sheet(api.names(2000), "disk/sheet.csv")
    command = ["update", sheet, "-e", DUALENTRY, *api.options, "--max-at-once", 8]
    ended = shell.here(*command)
    assert 3 == ended.code
    assert "Make room" in ended.err
    assert len(api.applied()) < 2000
    (small_disk / "ballast").unlink()
    assert 0 == shell.here(*command).code
    folder = shell.only_run("disk/sheet.batch")
    assert_balanced(folder)
    assert {1} == set(Counter(api.applied()).values())
    assert 2000 == len(api.applied())


def test_full_at_the_end(shell: Shell, api: Api, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full as the results are written loses nothing: with room again they are made of the journal."""
    write = finish.outputs.write

    def filling(*given: Any, **options: Any) -> Any:
        fill(small_disk)
        return write(*given, **options)

    sheet = shell.sheet(api.names(200), "disk/sheet.csv")
    command = ["update", sheet, "-e", DUALENTRY, *api.options]
    with monkeypatch.context() as patch:
        patch.setattr(finish.outputs, "write", filling)
        ended = shell.here(*command)
    folder = shell.only_run("disk/sheet.batch")
    expected = (
        f"disk/sheet.batch/{folder.name}: the results files cannot be written (No space left on device). The record "
        "of this run has everything. Make room, then run the same command again, or:  batch results "
        f"disk/sheet.batch/{folder.name}"
    )
    assert (3, expected) == (ended.code, ended.err.splitlines()[-1])
    assert {"ballast", "sheet.batch", "sheet.csv"} == {path.name for path in small_disk.iterdir()}
    (small_disk / "ballast").unlink()
    sent = len(api.lines())
    assert 0 == shell.here(*command).code
    assert_balanced(folder)
    assert sent == len(api.lines())
    assert not [path for path in folder.iterdir() if path.name.endswith((".part", ".parts"))]


@pytest.mark.parametrize(
    "left", [0, *(pytest.param(one, marks=pytest.mark.long) for one in (30_000, 120_000, 400_000))]
)
def test_full_at_the_start(shell: Shell, api: Api, small_disk: Path, left: int) -> None:
    """On a disk without room for the run, or with hardly any, nothing is sent that is not in the journal."""
    sheet = shell.sheet(api.names(1500), "disk/sheet.csv")
    os.truncate(fill(small_disk), max(0, (small_disk / "ballast").stat().st_size - left))
    ended = shell.here("update", sheet, "-e", DUALENTRY, *api.options)
    assert ended.code in ((2,) if not left else (2, 3))
    assert any(words in ended.err for words in ("No space left", "Make room", "room on the disk")), ended.err
    if ended.code == 2:
        assert [] == api.lines()
        assert {"ballast", "sheet.csv"} == {path.name for path in small_disk.iterdir()}
    (small_disk / "ballast").unlink()
    assert 0 == shell.here("update", sheet, "-e", DUALENTRY, *api.options).code
    assert {1} == set(Counter(api.applied()).values())
    assert 1500 == len(api.applied())


# -- an earlier try that may have been applied ----------------------------------------------------------------------


@pytest.mark.parametrize("memory", [DUALENTRY], indirect=True)
@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (["timeout-after", "429-long"], "unknown"),
        (["drop-after", "401", "401"], "updated"),
        (["500-after", "429-long"], "unknown"),
        (["timeout-after", "422"], "updated"),
        (["timeout-before", "422"], "rejected"),
        (["429-after", "429-long"], "unsent"),
    ],
    ids=" ".join,
)
def test_earlier_try(memory: MemoryApi, tmp_path: Path, faults: list[str], expected: str) -> None:
    """The last answer of several tries is not the whole truth: what may have been applied is never called unsent."""
    memory.writes.extend(["ok", *faults])  # an API that never answered at all would end the run
    found = update(memory, tmp_path, limit=2, compare=False, max_at_once=1)
    assert ["updated", expected] == outcomes(found.folder)
    memory.writes.clear()
    update(memory, tmp_path, limit=2)
    assert {1} >= set(Counter(line.id for line in memory.ledger if line.applied).values())


# -- what is around a run changes ---------------------------------------------------------------------------------


def test_replaced_disk(shell: Shell, api: Api, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another disk in the place of the run folder's ends the run; what is known is kept beside the state."""
    commit, commits = Journal._commit, count()

    def replacing(self: Journal, batch: Any) -> None:
        if next(commits) == 12:
            subprocess.run(["mount", "-t", "tmpfs", "none", str(small_disk)], check=True)  # noqa: S607 - as above
        commit(self, batch)

    sheet = shell.sheet(api.names(2000), "disk/sheet.csv")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_commit", replacing)
        ended = shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--max-at-once", 8, "--max-per-second", 200)
    subprocess.run(["umount", str(small_disk)], check=True)  # noqa: S607 - as above
    (folder,) = (Path(shell.environment["XDG_STATE_HOME"]) / "batch" / "rescue").iterdir()
    assert 3 == ended.code
    assert f"it was deleted, moved or replaced while the run went on. All that is known:  {folder}" in ended.err
    assert_balanced(folder)
    assert len(api.applied()) == outcomes(folder).count("updated") < 2000


def test_cron(shell: Shell, api: Api) -> None:
    """What a person began in a terminal, and broke off, cron resumes with LC_ALL=C and next to no environment."""
    people = shell.sheet(api.names(40).replace("New", "Zoë"), "Müller & Söhne.csv")
    api.sandbox.set_faults("503=nth:20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40")
    command = ["update", people, "-e", DUALENTRY, *api.options, "--max-at-once", 1, "--max-attempts", 1]
    begun = shell.run(*command, env={"LC_ALL": "C.UTF-8"})
    api.sandbox.set_faults()
    needed = ("PATH", "HOME", "XDG_STATE_HOME", "PYTHONPATH", "DUALENTRY_API_KEY")
    shell.environment = {name: shell.environment[name] for name in needed} | {"LC_ALL": "C"}
    ended = shell.run(*command)
    assert (3, 0) == (begun.code, ended.code), (begun, ended)
    folder = shell.only_run("Müller & Söhne.batch")
    assert ["updated"] * 40 == outcomes(folder)
    assert {1} == set(Counter(api.applied()).values())
    assert all(line["body"]["name"].startswith("Zoë") for line in api.writes())
