"""`--shard K/N`: every row is done in one shard, all rows of a record in the same one; shards disturb no others."""

import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.commands.check import check
from batch.commands.undo import undo
from batch.commands.update import update as run_update
from batch.errors import AlreadyFinished, BatchError, BusyError, InputError, NotationError
from batch.journal import open_for_reading
from batch.library import results as library_results
from batch.library import status, update
from batch.run.finish import FinishedRun
from batch.run.locks import held, input_locks, shared
from batch.shard import Shard
from tests.job_fixture import JobFixture, results, summary

ROWS = "".join(f"{10001 + number},Firm {number}\n" for number in range(12))
SHEET = f"id,name\n{ROWS},No id\nabc,Not an id\n10002,Firm 1\n10003,Other\n"


@given(st.text(), st.integers(1, 300))
def test_one_shard_has_it(key: str, count: int) -> None:
    """Whatever the id says, exactly one of N shards has it."""
    assert 1 == sum(Shard(number, count).has(key) for number in range(1, count + 1))


def test_which_shard_has_it() -> None:
    """The number is that of the documented formula, so that another program can tell, in every version."""
    told = {key: (crc32(key.encode()) * 2654435761 % 2**32) * 16 // 2**32 + 1 for key in ("10001", "ä", "")}
    assert {"10001": 16, "ä": 11, "": 1} == told
    assert all(Shard(number, 16).has(key) for key, number in told.items())


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/2", "1/10001", "a/b", ""])
def test_no_shard(text: str) -> None:
    """What is no shard is told how one is written, and that they are counted from 1."""
    with pytest.raises(ValueError, match=r"K/N|counted from 1|at most"):
        Shard.parse(text)


def test_all_shards_together(job: JobFixture) -> None:
    """Over all shards each row has one outcome, as without shards; each says how many of all rows it has."""
    sheet = job.sheet(SHEET)
    found = [job.update(sheet, shard=f"{number}/3") for number in (1, 2, 3)]
    rows = sorted((int(row["row"]), row["id"], row["outcome"]) for end in found for row in results(end.folder))
    assert list(range(2, 18)) == [row for row, _, _ in rows]
    assert {"sheet.batch"} == {end.folder.parent.parent.name for end in found}
    assert ["shard-1-of-3", "shard-2-of-3", "shard-3-of-3"] == [end.folder.parent.name for end in found]
    told = [summary(end.folder) for end in found]
    assert [("1/3", 16), ("2/3", 16), ("3/3", 16)] == [(one["shard"], one["all_rows"]) for one in told]
    assert 16 == sum(one["rows"] for one in told)
    assert all(one["rows"] == sum(one["outcomes"].values()) for one in told)
    shards = {row["id"]: number for number, end in enumerate(found) for row in results(end.folder)}
    again = {(row["id"], number) for number, end in enumerate(found) for row in results(end.folder) if row["id"]}
    assert {key: number for key, number in shards.items() if key} == dict(again)
    whole = job.update(sheet, new=True)
    assert {int(row["row"]) for row in results(whole.folder) if row["outcome"] == "invalid"} == {
        row for row, _, outcome in rows if outcome == "invalid"
    }
    assert 11 == len(job.writes()) == len({key for _, key, _ in job.writes()})


def test_resumed_and_held(job: JobFixture) -> None:
    """A shard that stopped goes on in its folder; another shard of the input begins another run beside it."""
    sheet = job.sheet("id,name\n" + ROWS)
    job.sandbox.set_faults("503=nth:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24")
    first = job.update(sheet, shard="2/2", max_attempts=1)
    job.sandbox.set_faults()
    assert 3 == first.summary.exit_code
    other = job.update(sheet, shard="1/2")
    again = job.update(sheet, shard="2/2")
    assert (0, 0) == (other.summary.exit_code, again.summary.exit_code)
    assert (first.folder, True) == (again.folder, again.summary.resumed)
    assert other.folder.parent != again.folder.parent
    assert "2/2" == status(again.folder).shard
    assert 12 == len({key for _, key, _ in job.writes()})


def test_finished_ones_stand(job: JobFixture) -> None:
    """Where what has finished is to stand, a shard is sent once, until it is taken back, too long ago, or changed."""
    sheet = job.sheet(SHEET + "19999,Nobody\n")
    stands = replace(job.environment, finished_since=0.0)
    ends = [run_update(job.settings(sheet, shard=f"{number}/2"), job.reporter, stands) for number in (1, 2)]
    size, one = len(job.ledger()), ends[1]
    again = job.settings(sheet, shard="2/2")
    for number, end in enumerate(ends, 1):
        with pytest.raises(AlreadyFinished) as found:
            run_update(job.settings(sheet, shard=f"{number}/2"), job.reporter, stands)
        assert {end.folder.resolve()} == {found.value.folder, (end.folder.parent / "latest").resolve()}
    assert (size, [one.folder.name]) == (len(job.ledger()), [path.name for path in one.folder.parent.glob("2*")])
    for other in (replace(again, resume_within=0.0), replace(again, new=True), replace(again, out=job.folder / "out")):
        assert one.folder != run_update(other, job.reporter, stands).folder
    first = ends[0].folder
    undo(str(first), job.settings(sheet, out=None), job.reporter, job.environment)
    anew = run_update(job.settings(sheet, shard="1/2"), job.reporter, stands)
    assert (first.parent, ends[0].summary.outcomes.updated) == (anew.folder.parent, anew.summary.outcomes.updated)


def test_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of an input hold it together, each of them alone; all of it, or other shards, are refused meanwhile."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("batch.run.locks.SHARE_SECONDS", 0.05)

    def hold(stack: ExitStack, shard: Shard | None) -> None:
        locks = input_locks("sha", "api", "host", ["owner"], tmp_path / "runs", shard)
        for lock in locks.shared if shard else ():
            stack.enter_context(shared(lock, "this input", shard.count if shard else 0))
        for lock in locks.own:
            stack.enter_context(held(lock, "it", tmp_path / "runs"))

    with ExitStack() as stack:
        hold(stack, Shard(1, 4))
        hold(stack, Shard(2, 4))
        for shard, said in [
            (Shard(1, 4), "Another run holds it"),
            (None, "holds it"),
            (Shard(1, 2), "done in 4 shards"),
        ]:
            with ExitStack() as other, pytest.raises(BusyError, match=said):
                hold(other, shard)
    with ExitStack() as stack:
        hold(stack, None)
        with ExitStack() as other, pytest.raises(BusyError, match="Another run holds all of this input"):
            hold(other, Shard(1, 4))
    with ExitStack() as stack:
        hold(stack, Shard(1, 2))


def test_formats_are_those_of_all_shards(job: JobFixture) -> None:
    """A date that can be read in two ways is read as the whole column tells, also where the shard has no such cell."""
    plain = "".join(f"{10001 + number},04/03/2026\n" for number in range(8))
    told = f"id,custom_fields.Renewal\n{plain}10012,25/12/2026\n"
    dates = set[str]()
    for number in (1, 2, 3):
        end = job.update(job.sheet(told), shard=f"{number}/3", compare=True)
        with open_for_reading(end.folder / "journal.sqlite") as journal:
            dates |= {str(value) for attempts, _ in journal.iter_intents() for value in attempts[0].fields.values()}
    assert {"2026-03-04", "2026-12-25"} == dates
    with pytest.raises(InputError, match="is written in two ways"):
        job.update(job.sheet(told + "10010,12/31/2026\n"), shard="1/3")
    with pytest.raises(NotationError, match="may mean"):
        job.update(job.sheet(f"id,custom_fields.Renewal\n{plain}"), shard="1/3")


def test_check_and_library(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check says what of the shard is ready; the library takes a shard by the same name, and refuses another word."""
    sheet = job.sheet(SHEET)
    seen = [check(job.settings(sheet, shard=f"{number}/2"), job.reporter, job.environment) for number in (1, 2)]
    assert 16 == sum(one.summary.rows for one in seen)
    assert {"1/2", "2/2"} == {one.summary.shard for one in seen}
    given = {"endpoint": "dualentry.customers", "credentials": job.sandbox.environment(), "base_url": job.sandbox.url}
    end = update(sheet, shard="1/2", **given)
    assert seen[0].summary.rows == end.rows == len(list(library_results(end)))
    with pytest.raises(BatchError, match="shard '0/2': shards are counted from 1"):
        update(sheet, shard="0/2", **given)


def test_shards_of_the_first_rows(job: JobFixture) -> None:
    """With `--limit` the shards share the first rows: together they do these and no other, each row once."""
    sheet = job.sheet(SHEET)
    found = [job.update(sheet, shard=f"{number}/2", limit=5) for number in (1, 2)]
    assert [2, 3, 4, 5, 6] == sorted(int(row["row"]) for end in found for row in results(end.folder))
    assert [5, 5] == [summary(end.folder)["all_rows"] for end in found]


def test_answer_to_the_run_before(job: JobFixture) -> None:
    """A run that follows another one with its idempotency keys takes no answer for its own that is to that one's.

    The API replays what it answered to the same key, and does nothing.
    """
    sheet = job.sheet("id,name\n10001,One\n10002,Two\n")
    job.sandbox.set_faults("500=id:10002")
    for is_new in (False, True, True):  # the second has sent two requests, each with a key of its own
        job.sandbox.edit("dualentry", 10001, {"name": "By hand"})
        end = job.update(sheet, shard="1/1", new=is_new, max_attempts=1)
        assert (3, "One") == (end.summary.exit_code, job.record("10001")["name"])
    job.sandbox.set_faults()
    again = job.update(sheet, shard="1/1")
    assert (end.folder, ["updated", "updated"]) == (again.folder, [row["outcome"] for row in results(again.folder)])
    keys = [line["key"] for line in job.ledger() if line["method"] == "PATCH" and line["id"] == "10001"]
    first, second, third = keys[0], keys[2], keys[4]
    assert ([first, first, second, first, third], 3) == (keys, len(set(keys)))


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["known", "forgotten"])
def test_answer_to_a_run_in_between(job: JobFixture, monkeypatch: pytest.MonkeyPatch, is_forgotten: bool) -> None:
    """A run that goes on after another machine followed it with its keys takes no answer for its own that is to that.

    The machines share one store: a file that goes from one to the other stands for it. What nothing is left of is soon
    forgotten there.
    """
    sheet = job.sheet("id,name\n10001,One\n10002,Two\n10003,Three\n")

    def start(machine: str, before: str = "") -> FinishedRun:
        here = job.folder / machine
        if before:
            (here / "batch").mkdir(parents=True, exist_ok=True)
            for path in (job.folder / before / "batch").glob("limiter-*"):
                shutil.copy2(path, here / "batch")
        monkeypatch.setenv("XDG_STATE_HOME", str(here))
        out = str(job.folder / f"{machine}.runs")
        return job.update(sheet, shard="1/1", out=out, max_failures="0", max_at_once=1)

    job.sandbox.set_faults("422=id:10001")
    assert {"rejected": 1, "unsent": 2} == +start("one").summary.outcomes
    job.sandbox.set_faults()
    assert {"updated": 3} == +start("two", before="one").summary.outcomes
    for number in (10002, 10003):
        job.sandbox.edit("dualentry", number, {"name": "By hand"})
    if is_forgotten:
        monkeypatch.setattr("batch.ratelimit.policy.RUN_LEASE", 0.1)
        time.sleep(0.2)
    job.sandbox.set_faults("422=id:10002")
    assert {"rejected": 2, "unsent": 1} == +start("one", before="two").summary.outcomes
    job.sandbox.set_faults()
    end = start("one")  # the doubt lasts, though this start follows the last one
    assert (True, {"rejected": 2, "updated": 1}) == (end.summary.resumed, +end.summary.outcomes)
    assert "Three" == job.record(10003)["name"]
    keys = [line["key"] for line in job.ledger() if line["method"] == "PATCH" and line["id"] == "10003"]
    assert (3, 2, keys[0]) == (len(keys), len(set(keys)), keys[1])
