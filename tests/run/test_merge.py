"""The runs of all shards as one run: its results are those of a run without shards, and it can be taken back."""

import pytest

from batch.cli.views import runs_page
from batch.commands.resume import resume
from batch.commands.runs import newest_runs
from batch.commands.undo import undo
from batch.commands.update import update
from batch.endpoints import ENDPOINTS
from batch.errors import FolderError, UsageError
from batch.run.finish import FinishedRun
from batch.run.merge import find_merged, merge_runs
from batch.run.target import Environment
from tests.job_fixture import DUALENTRY, JobFixture, results, summary

SHEET = "id,name\n" + "".join(f"{10001 + number},Firm {number}\n" for number in range(9)) + ",No id\nabc,Not an id\n"


def test_all_shards_as_one(job: JobFixture) -> None:
    """One results file, one failures file and one summary over all shards; made again they are the same."""
    sheet = job.sheet(SHEET)
    ends = [job.update(sheet, shard=f"{number}/3") for number in (1, 2, 3)]
    folders, parent = [one.folder for one in ends], ends[0].folder.parents[1]
    merged = merge_runs(folders, parent, ENDPOINTS[DUALENTRY])
    told = summary(merged.folder)
    assert (11, 9, 2, None) == (told["rows"], told["outcomes"]["updated"], told["outcomes"]["invalid"], told["shard"])
    assert sum(one.summary.attempts for one in ends) == told["attempts"]
    assert list(range(2, 13)) == [int(row["row"]) for row in results(merged.folder)]
    rows = {row["row"]: row for one in folders for row in results(one)}
    assert [rows[row["row"]] for row in results(merged.folder)] == results(merged.folder)
    failures = (merged.folder / "failures.csv").read_text().splitlines()
    assert ["id,name", ",No id", "abc,Not an id"] == [line.split(",batch_row")[0] for line in failures[:1]] + [
        ",".join(line.split(",")[:2]) for line in failures[1:]
    ]
    assert (merged.folder, None) == (find_merged(folders, parent), find_merged(folders[:2], parent))
    again = merge_runs(folders, parent, ENDPOINTS[DUALENTRY])
    assert (merged.folder, told["run_id"]) == (again.folder, again.summary.run_id)
    back = undo(str(again.folder), job.settings(sheet, out=None), job.reporter, job.environment)
    assert 9 == back.summary.outcomes.updated
    assert "Firm" not in job.record(10001)["name"]


def test_a_file_that_somebody_corrects_stays(job: JobFixture) -> None:
    """Put together again, the same runs do not take the place of a failures file that was changed meanwhile."""
    ends = [job.update(job.sheet(SHEET), shard=f"{number}/2") for number in (1, 2)]
    folders, parent = [one.folder for one in ends], ends[0].folder.parents[1]
    failures = merge_runs(folders, parent, ENDPOINTS[DUALENTRY]).folder / "failures.csv"
    failures.write_text(failures.read_text().replace(",No id", "10010,An id"))
    corrected = failures.read_bytes()
    assert ["merged-2", "merged-2"] == [merge_runs(folders, parent, ENDPOINTS[DUALENTRY]).folder.name for _ in range(2)]
    assert corrected == failures.read_bytes()


def test_all_shards_count_as_taken_back(job: JobFixture) -> None:
    """After an undo of all shards the same commands send their rows anew, and what was taken back stays as it is."""
    sheet = job.sheet(SHEET)

    def all_of_them() -> FinishedRun:
        ends = [job.update(sheet, shard=f"{number}/2") for number in (1, 2)]
        return merge_runs([one.folder for one in ends], ends[0].folder.parents[1], ENDPOINTS[DUALENTRY])

    first = all_of_them()
    undo(str(first.folder), job.settings(sheet, out=None), job.reporter, job.environment)
    again = all_of_them()
    assert ("merged-2", 9, "Firm 0") == (again.folder.name, again.summary.outcomes.updated, job.record(10001)["name"])
    assert ("undone", "to fix") == (summary(first.folder)["state"], summary(again.folder)["state"])
    assert "merged-3" == all_of_them().folder.name
    assert (9, "to fix") == (summary(again.folder)["outcomes"]["updated"], summary(again.folder)["state"])


def test_each_shard_is_gone_on_with(job: JobFixture) -> None:
    """What is left of the shards is done in their own runs, from which all of it is put together again."""
    sheet, keys = job.sheet(SHEET), (job.environment, Environment({"DUALENTRY_API_KEY": "no-key-of-anybody"}))
    folders = [
        update(job.settings(sheet, shard=f"{number}/2"), job.reporter, key).folder for number, key in enumerate(keys, 1)
    ]
    merged = merge_runs(folders, folders[0].parents[1], ENDPOINTS[DUALENTRY]).folder
    lines = [text.strip() for text, _ in runs_page(newest_runs(None))]
    assert ["Go on:  the same submit"] == [line for line in lines[:3] if "Go on" in line]
    with pytest.raises(UsageError, match=rf"same submit again, or .*resume .*shard-1-of-2/{folders[0].name}"):
        resume(merged, job.settings(job.sheet(SHEET), out=None), job.reporter, job.environment)


def test_all_shards_count_again(job: JobFixture) -> None:
    """After an undo of the undo of all shards, none of them counts as taken back."""
    sheet = job.sheet(SHEET)
    ends = [job.update(sheet, shard=f"{number}/2") for number in (1, 2)]
    folder = merge_runs([one.folder for one in ends], ends[0].folder.parents[1], ENDPOINTS[DUALENTRY]).folder
    before = {one.run.run_id: one.state for one in newest_runs(None).runs}
    for expected in ({"undone"}, set(before.values())):
        folder = undo(str(folder), job.settings(sheet, out=None), job.reporter, job.environment).folder
        states = {one.run.run_id: one.state for one in newest_runs(None).runs}
        assert expected == {states[one] for one in before}
    assert before == {one: states[one] for one in before}


def test_what_is_not_theirs(job: JobFixture) -> None:
    """Nothing but what was made of the same runs is replaced: not that of earlier runs, nor of somebody else."""
    sheet = job.sheet(SHEET)
    first, other = ([job.update(sheet, shard=f"{number}/2").folder for number in (1, 2)] for _ in range(2))
    parent = first[0].parents[1]
    (parent / "merged").mkdir()
    kept = merge_runs(first, parent, ENDPOINTS[DUALENTRY])
    assert ("merged-2", 9) == (kept.folder.name, kept.summary.outcomes.updated)
    assert ("merged-3", 9) == (
        (end := merge_runs(other, parent, ENDPOINTS[DUALENTRY])).folder.name,
        end.summary.outcomes.unchanged,
    )
    assert ["merged-2", "merged-3"] == [
        merge_runs(one, parent, ENDPOINTS[DUALENTRY]).folder.name for one in (first, other)
    ]
    assert 9 == summary(kept.folder)["outcomes"]["updated"]
    assert (
        9
        == undo(str(kept.folder), job.settings(sheet, out=None), job.reporter, job.environment).summary.outcomes.updated
    )


def test_nothing_is_left_of_half_a_merge(job: JobFixture) -> None:
    """Where runs cannot be put together, what was there stays, and nothing is in the way of the next time."""
    one = job.update(job.sheet(SHEET), shard="1/2")
    other = job.update(job.sheet(SHEET + "10010,Firm\n", "other.csv"), shard="2/2")
    parent = one.folder.parents[1]
    with pytest.raises(FolderError, match="several inputs"):
        merge_runs([one.folder, other.folder], parent, ENDPOINTS[DUALENTRY])
    kept = merge_runs([one.folder], parent, ENDPOINTS[DUALENTRY])
    before = {path.name: path.read_bytes() for path in kept.folder.iterdir() if path.name != "journal.sqlite"}
    (one.folder / "input.parquet").rename(job.folder / "away")
    with pytest.raises(OSError, match=r"input\.parquet"):
        merge_runs([one.folder], parent, ENDPOINTS[DUALENTRY])
    (job.folder / "away").rename(one.folder / "input.parquet")
    assert before == {path.name: path.read_bytes() for path in kept.folder.iterdir() if path.name != "journal.sqlite"}
    assert ["merged"] == [path.name for path in parent.iterdir() if "merged" in path.name and path.is_dir()]
    assert kept.folder == merge_runs([one.folder], parent, ENDPOINTS[DUALENTRY]).folder
