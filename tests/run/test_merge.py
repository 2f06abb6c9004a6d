"""The runs of all shards as one run: its results are those of a run without shards, and it can be taken back."""

import shutil

import pytest

from batch.commands.runs import newest_runs
from batch.commands.undo import undo
from batch.endpoints import ENDPOINTS
from batch.errors import FolderError
from batch.run.finish import FinishedRun
from batch.run.merge import merge_runs
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
    again = merge_runs(folders, parent, ENDPOINTS[DUALENTRY])
    assert (merged.folder, told["run_id"]) == (again.folder, again.summary.run_id)
    back = undo(str(again.folder), job.settings(sheet, out=None), job.reporter, job.environment)
    assert 9 == back.summary.outcomes.updated
    assert "Firm" not in job.record(10001)["name"]


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
    assert again.folder == all_of_them().folder


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
    """Runs of another input are not put together, and what somebody else put at the place is left alone."""
    one = job.update(job.sheet(SHEET), shard="1/2")
    other = job.update(job.sheet(SHEET + "10010,Firm\n", "other.csv"), shard="2/2")
    parent = one.folder.parents[1]
    with pytest.raises(FolderError, match="several inputs"):
        merge_runs([one.folder, other.folder], parent, ENDPOINTS[DUALENTRY])
    shutil.rmtree(parent / "merged", ignore_errors=True)
    (parent / "merged").mkdir()
    with pytest.raises(FolderError, match="something else is there"):
        merge_runs([one.folder], parent, ENDPOINTS[DUALENTRY])
