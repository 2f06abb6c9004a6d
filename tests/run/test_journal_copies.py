"""`--store`: another machine (a state folder and a folder of runs of its own) goes on from the copy of a record."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from batch.errors import BatchError, FolderError, SettingsError
from batch.journal import peek
from batch.own_files import JOURNAL
from batch.remote import StorageAccess
from batch.run import index, journal_copies
from batch.run.finish import FinishedRun
from batch.run.folder import peek_metadata
from tests.job_fixture import JobFixture, results
from tests.remote.objects import BUCKET, Objects
from tests.starts import ROOT

COUNT = 12
LEFT, LAST = "10005", "10012"
SHEET = "id,name\n" + "".join(f"{10001 + number},Firm {number}\n" for number in range(COUNT))
Start = Callable[..., FinishedRun]


@pytest.fixture
def start(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Gives what starts the same input on a machine that is named."""
    sheet = job.sheet(SHEET)

    def on(machine: str, **options: Any) -> FinishedRun:
        monkeypatch.setenv("XDG_STATE_HOME", str(job.folder / machine))
        given = {"out": str(job.folder / f"{machine}.runs"), "store": str(job.folder / "store")}
        return job.update(sheet, **given | options)

    return on


def stop_with_one_left(job: JobFixture, start: Start, **options: Any) -> FinishedRun:
    job.sandbox.set_faults(f"503=id:{LEFT}")
    end = start("one", max_attempts=1, **options)
    job.sandbox.set_faults()
    assert 3 == end.summary.exit_code
    return end


def stop_at_the_first(job: JobFixture, start: Start) -> bytes:
    """Have a machine stop after the first row; return the copy that it made."""
    job.sandbox.set_faults("422=id:10001")
    end = start("one", max_failures="0", max_at_once=1)
    job.sandbox.set_faults()
    assert (3, {"rejected": 1, "unsent": COUNT - 1}) == (end.summary.exit_code, +end.summary.outcomes)
    (copy,) = (job.folder / "store").iterdir()
    return copy.read_bytes()


def keys_of(job: JobFixture, number: str) -> list[str]:
    """The idempotency keys with which a record was written."""
    return [line["key"] for line in job.ledger() if line["method"] == "PATCH" and line["id"] == number]


def sent_since(job: JobFixture, size: int) -> tuple[int, list[str]]:
    """How many records were read by their ids, or in lists, and which ones were written."""
    lines = [line for line in job.sandbox.read_ledger(size) if line["by"] == "client"]
    return sum(line["method"] == "GET" for line in lines), [line["id"] for line in lines if line["method"] == "PATCH"]


@pytest.fixture(params=["folder", "address"])
def place(request: pytest.FixtureRequest, job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "folder":
        yield str(job.folder / "store")
        return
    pytest.importorskip("obstore", reason="NOT CHECKED: ./run.sh extra cloud")
    with Objects() as store:
        for name, value in store.variables.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}/copies"


def test_another_machine_goes_on(job: JobFixture, start: Start, place: str) -> None:
    """It believes what the copy says was done, reads and sends what is left, and has the results of all rows."""
    stop_with_one_left(job, start, store=place)
    size = job.sandbox.ledger_size()
    end = start("two", store=place)
    assert (0, True) == (end.summary.exit_code, end.summary.resumed)
    assert ["updated"] * COUNT == [row["outcome"] for row in results(end.folder)]
    reads, written = sent_since(job, size)
    assert (True, [LEFT]) == (reads <= 2, written)
    assert any("Goes on from the copy of " in note and place in note for note in job.reporter.notes)


def test_what_the_copy_does_not_know_is_not_sent_again(job: JobFixture, start: Start) -> None:
    """A change that was applied after the copy was made is read, found in its record, and not sent a second time."""
    stop_with_one_left(job, start)
    (copy,) = (job.folder / "store").iterdir()
    kept = copy.read_bytes()
    start("two")
    copy.write_bytes(kept)
    size = job.sandbox.ledger_size()
    end = start("three")
    assert (0, []) == (end.summary.exit_code, sent_since(job, size)[1])
    assert {"updated": COUNT - 1, "unchanged": 1} == +end.summary.outcomes


@pytest.mark.parametrize(
    ("machine", "options"),
    [("three", {}), ("one", {}), ("one", {"store": None})],
    ids=["copy", "own", "without copies"],
)
def test_what_was_put_back_since_is_not_taken_for_updated(
    job: JobFixture, start: Start, machine: str, options: dict[str, Any]
) -> None:
    """Where the API replays its answer to what was sent after the copy was made, and does nothing, it is sent again.

    So it is for a machine that goes on from the copy, and for the one that made it: another one had gone on from it.
    """
    kept = stop_at_the_first(job, start)
    start("two")
    (copy,) = (job.folder / "store").iterdir()
    if machine == "three":
        copy.write_bytes(kept)
    job.sandbox.edit("dualentry", int(LAST), {"name": "By hand"})
    end = start(machine, **options)
    assert {"rejected": 1, "unchanged": COUNT - 2, "updated": 1} == +end.summary.outcomes
    assert "Firm 11" == job.record(LAST)["name"]
    first, again, other = keys_of(job, LAST)
    assert (first, True) == (again, first != other)


def test_second_intents_of_several_machines(job: JobFixture, start: Start) -> None:
    """What is sent anew after a replayed answer has a key that no other machine had for that."""
    kept = stop_at_the_first(job, start)
    start("two")
    (copy,) = (job.folder / "store").iterdir()
    for machine in ("three", "four"):
        copy.write_bytes(kept)
        job.sandbox.edit("dualentry", int(LAST), {"name": f"By hand, before {machine}"})
        start(machine)
        assert "Firm 11" == job.record(LAST)["name"]
    assert (5, 3) == (len(keys_of(job, LAST)), len(set(keys_of(job, LAST))))


def test_copy_whose_first_start_failed(job: JobFixture, start: Start) -> None:
    """What goes on from a copy is known as that, also where the start that fetched it was refused."""
    kept = stop_at_the_first(job, start)
    start("two")
    (copy,) = (job.folder / "store").iterdir()
    copy.write_bytes(kept)
    job.sandbox.edit("dualentry", int(LAST), {"name": "By hand"})
    with pytest.raises(BatchError):
        start("three", keep=("no such column",))
    start("three")
    assert "Firm 11" == job.record(LAST)["name"]


def test_what_is_here_is_newer(job: JobFixture, start: Start) -> None:
    """The machine that did the run last goes on from its own record, and leaves no second folder."""
    first = stop_with_one_left(job, start)
    end = start("one")
    assert (0, first.folder) == (end.summary.exit_code, end.folder)
    assert 1 == len([one for one in first.folder.parent.iterdir() if one.is_dir() and not one.is_symlink()])


def test_finished_copy_is_not_taken(job: JobFixture, start: Start) -> None:
    """Where nothing is left, the same command elsewhere is a new run, as it is here."""
    start("one")
    end = start("two")
    assert (False, COUNT) == (end.summary.resumed, end.summary.outcomes["unchanged"])
    assert [end.folder] == [one for one in end.folder.parent.iterdir() if one.is_dir() and not one.is_symlink()]


def test_damaged_copy(job: JobFixture, start: Start) -> None:
    """One that cannot be read is passed over, which is said, and everything is compared."""
    stop_with_one_left(job, start)
    (copy,) = (job.folder / "store").iterdir()
    copy.write_bytes(b"nothing" * 1000)
    end = start("two")
    assert (0, False) == (end.summary.exit_code, end.summary.resumed)
    assert any(
        "the copy of this run cannot be read, and a new run compares every row" in one for one in job.reporter.notes
    )


def test_place_that_cannot_be_written(job: JobFixture, start: Start) -> None:
    """Nothing is sent, and no run is left."""
    place = job.sheet("", "a file")
    with pytest.raises(FolderError, match="a file"):
        start("one", store=str(place))
    assert ([], False) == (job.writes(), (job.folder / "one.runs").exists())


def test_place_that_cannot_be_made(job: JobFixture, start: Start) -> None:
    """The same where that is seen only when the first copy is to be written; the option that names it is told."""
    place = job.folder / "nowhere"
    place.symlink_to(job.folder / "gone" / "away")
    with pytest.raises(FolderError, match=rf"^--store {place}: File exists\."):
        start("one", store=str(place))
    assert ([], False) == (job.writes(), (job.folder / "one.runs").exists())


GOES_ON = "The run goes on; another machine would go on from an older copy."


@pytest.fixture
def breakable(job: JobFixture) -> tuple[Path, Callable[[], None]]:
    """A place for copies, and what makes a file of it at once."""
    place, folder, file = job.folder / "place", job.folder / "behind", job.sheet("", "file")
    folder.mkdir()
    place.symlink_to(folder)
    return place, lambda: file.replace(place)


def test_place_that_is_lost_while_the_run_goes_on(
    job: JobFixture, start: Start, breakable: tuple[Path, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows are sent, and a line says once what is wrong with the place."""
    monkeypatch.setattr(journal_copies, "COPY_SECONDS", 0.05)
    monkeypatch.setattr(journal_copies, "SPARED", 0)
    place, lose = breakable

    def lose_while_it_sends() -> None:
        while not job.writes():
            time.sleep(0.005)
        lose()

    waiting = threading.Thread(target=lose_while_it_sends)
    waiting.start()
    end = start("one", max_per_second=15, store=str(place))
    waiting.join()
    assert (0, {"updated": COUNT}) == (end.summary.exit_code, +end.summary.outcomes)
    *early, told = [note for note in job.reporter.notes if "--store" in note]
    assert f"--store {place}: File exists. {GOES_ON}" == told
    assert early in ([], [f"--store {place}: Not a directory. {GOES_ON}"])  # it may have been lost amid a copy


def test_place_that_is_lost_before_the_last_copy(
    job: JobFixture, start: Start, breakable: tuple[Path, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of which all rows are sent has ended as well as it did, and its exit code says so."""
    place, lose = breakable
    last = journal_copies.JournalCopies.end

    def end_without_place(self: journal_copies.JournalCopies, journal: Path) -> None:
        lose()
        last(self, journal)

    monkeypatch.setattr(journal_copies.JournalCopies, "end", end_without_place)
    end = start("one", store=str(place))
    assert (0, {"updated": COUNT}) == (end.summary.exit_code, +end.summary.outcomes)
    assert [f"--store {place}: File exists. {GOES_ON}"] == [note for note in job.reporter.notes if "--store" in note]


def test_copy_that_fails_for_an_unknown_reason(job: JobFixture, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a library raises, the run goes on."""
    kept = journal_copies.copy_from

    def fail_later(journal: Path, path: Path) -> None:
        if list((job.folder / "store").glob("*.sqlite")):
            raise ValueError("nobody knows")
        kept(journal, path)

    monkeypatch.setattr(journal_copies, "copy_from", fail_later)
    end = start("one")
    assert (0, {"updated": COUNT}) == (end.summary.exit_code, +end.summary.outcomes)
    assert f"--store {job.folder / 'store'}: nobody knows. {GOES_ON}" in job.reporter.notes


@pytest.mark.parametrize("pause", [0.05, 60.0])
def test_place_that_never_answers(job: JobFixture, start: Start, monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    """A run whose rows are all sent ends, though what copies its record hangs: while it goes on, or at its end."""
    monkeypatch.setattr(journal_copies, "COPY_SECONDS", pause)
    monkeypatch.setattr(journal_copies, "LAST_SECONDS", 0.2)
    answers, kept = threading.Event(), journal_copies.copy_file

    def copy(source: Path, target: Path, tell: Callable[[], None]) -> None:
        has_one = list((job.folder / "store").glob("*.sqlite"))
        kept(source, target, tell)
        if has_one:
            answers.wait(30)

    monkeypatch.setattr(journal_copies, "copy_file", copy)
    began = time.monotonic()
    end = start("one", max_per_second=15)
    took = time.monotonic() - began
    (copy_there,) = (job.folder / "store").glob("*.sqlite")
    first = copy_there.stat()
    answers.set()
    for thread in [one for one in threading.enumerate() if one.name == journal_copies.COPYING]:
        thread.join()
    assert (first.st_ino, [copy_there]) == (copy_there.stat().st_ino, list((job.folder / "store").iterdir()))
    assert (0, {"updated": COUNT}, True) == (end.summary.exit_code, +end.summary.outcomes, took < 10)
    said = f"--store {job.folder / 'store'}: it does not answer within 0.2 s. {GOES_ON}"
    assert [said] == [note for note in job.reporter.notes if "--store" in note]


HUNG = """
import ctypes, os, runpy, sys
place, seconds, *words = sys.argv[1:]
server = os.open("/dev/fuse", os.O_RDWR)  # nobody reads from it, so that nothing is ever answered
options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
if ctypes.CDLL(None).mount(b"nobody", place.encode(), b"fuse", 0, options):
    sys.exit(77)
from batch.run import journal_copies
journal_copies.SILENT_SECONDS = float(seconds)
sys.argv = ["batch", *words]
runpy.run_module("batch", run_name="__main__")
"""


@pytest.fixture
def start_hung(job: JobFixture) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Gives what starts the program with `--store` on a network file system of which the server is gone."""
    sheet, place = job.sheet(SHEET), job.folder / "hung"
    place.mkdir()

    def start_it(seconds: float, *more: str, interrupt_after: str = "20") -> subprocess.CompletedProcess[str]:
        words = [str(sheet), "-e", "dualentry.customers", "--base-url", job.sandbox.url, "--yes", *more]
        program = [sys.executable, "-c", HUNG, str(place), str(seconds), "update", *words, "--store", str(place)]
        limit = ["timeout", "-s", "INT", "-k", "10", interrupt_after, "unshare", "--mount"]
        variables = {**os.environ, **job.sandbox.environment()}
        ended = subprocess.run([*limit, *program], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
        if ended.returncode == 77 or ended.stderr.startswith(("unshare: ", "timeout: ")) or "/dev/fuse" in ended.stderr:
            pytest.skip("NOT CHECKED: a file system that never answers cannot be mounted here.")
        return ended

    return start_it


@pytest.mark.skipif(sys.platform != "linux", reason="file systems are mounted as Linux does it")
@pytest.mark.parametrize("options", [(), ("--new",)], ids=["fetched", "begun"])
def test_place_that_never_answers_at_the_start(
    job: JobFixture, start_hung: Callable[..., subprocess.CompletedProcess[str]], options: tuple[str, ...]
) -> None:
    """The start ends, says so, has sent nothing, and leaves no run: whether a copy is looked for or made first."""
    ended = start_hung(0.3, *options)
    assert f"--store {job.folder / 'hung'}: it does not answer within 0.3 s." in ended.stderr
    assert (2, [], []) == (ended.returncode, job.writes(), list(job.folder.glob("sheet.batch/2*")))


@pytest.mark.skipif(sys.platform != "linux", reason="file systems are mounted as Linux does it")
def test_stop_while_a_copy_is_looked_for(start_hung: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Ctrl-C ends a start whose place does not answer."""
    began = time.monotonic()
    ended = start_hung(60.0, interrupt_after="2")
    assert (124, True) == (ended.returncode, time.monotonic() - began < 10), ended.stderr


def test_place_that_is_slow(job: JobFixture, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that takes longer than a silent place is waited for is taken up, as long as it goes on."""
    stop_with_one_left(job, start)
    (copy,) = (job.folder / "store").iterdir()
    content = copy.read_bytes()
    copy.unlink()
    os.mkfifo(copy)
    monkeypatch.setattr(journal_copies, "SILENT_SECONDS", 0.4)
    monkeypatch.setattr(journal_copies, "PIECE", len(content) // 8)

    def feed() -> None:
        with copy.open("wb", buffering=0) as pipe:
            for number in range(0, len(content), journal_copies.PIECE):
                time.sleep(0.1)
                pipe.write(content[number : number + journal_copies.PIECE])

    feeding = threading.Thread(target=feed)
    feeding.start()
    end = start("two")
    feeding.join()
    assert (0, True) == (end.summary.exit_code, end.summary.resumed)


def test_other_runs_since_the_copy(job: JobFixture, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run of another input wrote since the copy was made is a reason to look at all records again."""
    stop_with_one_left(job, start)
    monkeypatch.setenv("XDG_STATE_HOME", str(job.folder / "two"))
    job.update(job.sheet("id,name\n10001,By another hand\n", "other.csv"), out=str(job.folder / "two.runs"))
    start("two")
    assert "Firm 0" == job.record(10_001)["name"]


def test_who_does_the_run_no_more_writes_no_copy(
    job: JobFixture, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was frozen puts no older copy over that of its successor."""
    journal = stop_with_one_left(job, start).folder / JOURNAL
    monkeypatch.setattr(journal_copies, "COPY_SECONDS", 0.01)
    place = job.folder / "other store"
    copies = journal_copies.JournalCopies(str(place), StorageAccess(), "one.sqlite", anyio.run, print)

    async def keep(may_write: bool) -> None:
        with anyio.move_on_after(0.5):
            await copies.keep(journal, lambda: may_write)

    for may_write in (False, True):
        anyio.run(keep, may_write)
        assert may_write == place.exists()
    copies.fetch(job.folder / "fetched")
    assert 0o600 == (job.folder / "fetched").stat().st_mode & 0o777


@pytest.mark.parametrize("options", [{"compare": False}, {"keep_data": False}])
def test_what_makes_no_sense_with_it(start: Start, options: dict[str, bool]) -> None:
    """What a successor cannot know must be read; what keeps no values leaves none elsewhere."""
    with pytest.raises(SettingsError, match="--store"):
        start("one", **options)


def test_copies_are_made_while_it_goes_on(job: JobFixture, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is gone without a word has left a copy of what it had done a few seconds before."""
    monkeypatch.setattr(journal_copies, "COPY_SECONDS", 0.05)
    monkeypatch.setattr(journal_copies, "SPARED", 0)
    monkeypatch.setattr(journal_copies.JournalCopies, "end", lambda self, journal: None)
    end = start("one", max_per_second=15)
    (copy,) = (job.folder / "store").iterdir()
    seen = peek(copy)
    assert 0 < seen.final <= COUNT
    assert seen.meta["run_id"] == end.summary.run_id


def test_writes_of_other_shards_are_of_other_records(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no reason to look at a shard's records again; a run on all of the input is one."""
    sheet = job.sheet(SHEET)
    first = job.update(sheet, shard="1/2").folder
    job.update(sheet, shard="2/2")
    seen = [index.has_later_writes(peek_metadata(first))]
    job.update(sheet)
    shutil.rmtree(first.parent.parent / "shard-2-of-2")
    seen.append(index.has_later_writes(peek_metadata(first)))
    assert [False, True] == seen


def test_copy_is_private(job: JobFixture, start: Start) -> None:
    """It has what records showed before, and so is for its owner alone."""
    start("one")
    (copy,) = (job.folder / "store").iterdir()
    assert (0o600, 0o700) == (copy.stat().st_mode & 0o777, Path(copy.parent).stat().st_mode & 0o777)
