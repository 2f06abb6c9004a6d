"""What is told of all shards of a job together."""

from dataclasses import replace
from typing import Any

import pytest

from batch.distributed.summary import ShardEnd, add_up, code_of, how_far, state_of_job, worst
from batch.engine.reporter import Progress
from batch.model import Outcome


def end(number: int, code: int = 0, *, rows: int = 5, all_rows: int = 10, **outcomes: int) -> ShardEnd:
    counts: dict[str, Any] = outcomes or {"updated": rows}
    summary = {"rows": rows, "all_rows": all_rows, "outcomes": counts}
    return ShardEnd("job", f"{number}/2", code, f"/runs/{number}", summary=summary)


@pytest.mark.parametrize(
    ("codes", "wins"),
    [([0, 0], 0), ([0, 1], 1), ([1, 5], 5), ([5, 3], 3), ([3, 143], 143), ([143, 130], 130), ([130, 2], 2),
     ([2, 6], 6), ([6, 4], 4), ([], 0), ([0, 77], 4)],
)  # fmt: skip
def test_the_worst_code_wins(codes: list[int], wins: int) -> None:
    """4, 6, 2, 130, 143, 3, 5, 1, 0; and one that nobody knows is a bug."""
    assert wins == worst(codes)


def test_how_far_a_shard_is_that_goes_on() -> None:
    """What was done before is of its rows, as it is of what became of them."""
    now = Progress(30, 10, {Outcome.UPDATED: 75, Outcome.INVALID: 5}, 0.5, 0, 0.0, "", None, False)
    assert {"rows": 100, "done": {"updated": 75, "invalid": 5}, "waits": ""} == how_far(now)


def test_what_a_shard_waits_for() -> None:
    """What everybody waits for is told, unless it is over in a moment."""
    now = Progress(30, 10, {}, 0.5, 0, 1.9, "the API asks for it", None, False)
    assert ("the API asks for it", "") == (how_far(now)["waits"], how_far(replace(now, paused=0.5))["waits"])


def test_counts_add_up() -> None:
    """The rows of all shards are those of the input, and each has one outcome."""
    ends = [end(1), end(2, 1, updated=3, invalid=2)]
    totals = add_up(2, ends)
    assert (10, 8, 2, True) == (totals.rows, totals.outcomes.updated, totals.outcomes.invalid, totals.balances)
    assert 1 == code_of(totals, ends)


def test_a_shard_that_did_not_begin() -> None:
    """Its rows are unsent, or unknown where something of it may have been sent, and its code counts."""
    ends = [end(1), ShardEnd("job", "2/2", 3, message="the cluster could not do it")]
    totals = add_up(2, ends)
    assert (10, 5, 5, 3) == (totals.rows, totals.outcomes.updated, totals.outcomes.unsent, code_of(totals, ends))
    ends[1] = replace(ends[1], may_have_sent=True)
    assert (0, 5) == (add_up(2, ends).outcomes.unsent, add_up(2, ends).outcomes.unknown)
    nothing = [ShardEnd("job", "1/2", 2), ShardEnd("job", "2/2", 2)]
    assert (None, 2) == (add_up(2, nothing).rows, code_of(add_up(2, nothing), nothing))


def test_shards_of_several_versions_of_an_input() -> None:
    """Their counts are those of what was read; the job is not finished, and the same command goes on."""
    ends = [replace(end(1), sha256="a"), replace(end(2, 1, rows=6, all_rows=12, updated=5, invalid=1), sha256="b")]
    totals = add_up(2, ends)
    assert (11, 3, "unfinished") == (totals.rows, code_of(totals, ends), state_of_job(totals, ends))


@pytest.mark.parametrize(
    ("ends", "code"),
    [([end(1, 130), end(2)], 0), ([end(1, 143), end(2, 1, updated=4, invalid=1)], 1),
     ([end(1, 130, updated=4, unsent=1), end(2)], 130), ([end(1), ShardEnd("job", "2/2", 130)], 130)],
)  # fmt: skip
def test_a_signal_at_the_very_end(ends: list[ShardEnd], code: int) -> None:
    """Where all rows were done when it came, the code is that of the rows."""
    assert code == code_of(add_up(2, ends), ends)


@pytest.mark.parametrize(
    "ends",
    [[end(1), end(2, rows=4)], [end(1), end(2, all_rows=11)], [end(1), end(2, updated=4)], [end(1, rows=11)],
     [end(1), end(2, unsent=5)]],
)  # fmt: skip
def test_counts_that_do_not_balance(ends: list[ShardEnd]) -> None:
    """Rows in no shard or in two, and outcomes that are no rows', or that no shard tells of, are exit code 4."""
    assert 4 == code_of(add_up(2, ends), ends)
