"""Counts, summary, exit code: the books balance or a bug is admitted; equal reasons are told once."""

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import CountMismatchError, ExitCode, StopCause
from batch.exit_code import exit_code
from batch.model import Outcome, Problem, RowResult
from batch.summary import MAX_REASONS, Stopped, Summary, check_totals, group_reasons
from tests.worded import worded

UPDATED, UNCHANGED, INVALID, REJECTED, FAILED, UNKNOWN, UNSENT = Outcome


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({}, ExitCode.OK),
        ({UPDATED: 1, UNCHANGED: 2}, ExitCode.OK),
        ({UPDATED: 1, INVALID: 0}, ExitCode.OK),
        ({INVALID: 1}, ExitCode.FIX_ROWS),
        ({REJECTED: 1}, ExitCode.FIX_ROWS),
        ({FAILED: 1}, ExitCode.RUN_AGAIN),
        ({UNKNOWN: 1}, ExitCode.RUN_AGAIN),
        ({UNSENT: 1}, ExitCode.RUN_AGAIN),
        ({INVALID: 9, UNSENT: 1}, ExitCode.RUN_AGAIN),
    ],
)
def test_exit_code(outcomes: Any, expected: ExitCode) -> None:
    """The exit code says the next step; rows to retry win over rows to fix."""
    assert expected is exit_code(outcomes)


@pytest.mark.parametrize(
    ("cause", "left", "has_written", "expected"),
    [
        (StopCause.SET_UP, UNSENT, False, ExitCode.COULD_NOT_START),
        (StopCause.SET_UP, UNKNOWN, False, ExitCode.RUN_AGAIN),
        (StopCause.CREDENTIALS, UNSENT, False, ExitCode.COULD_NOT_START),
        (StopCause.CREDENTIALS, UNSENT, True, ExitCode.KEY_REFUSED),
        (StopCause.CREDENTIALS, UNKNOWN, False, ExitCode.KEY_REFUSED),
        (StopCause.TROUBLE, UNSENT, False, ExitCode.RUN_AGAIN),
    ],
)
def test_exit_code_of_a_stop(cause: StopCause, left: Outcome, has_written: bool, expected: ExitCode) -> None:
    """That nothing was accepted is said only where no write was accepted, and none may have been."""
    assert expected is exit_code({left: 1}, cause=cause, has_written=has_written)


COUNTS = st.dictionaries(st.sampled_from(list(Outcome)), st.integers(0, 99))


@given(COUNTS)
def test_books_that_balance(outcomes: dict[Outcome, int]) -> None:
    """Any counts that add up to the rows, and that the journal has, are fine; it knows nothing of unsent rows."""
    journal = {outcome: count for outcome, count in outcomes.items() if outcome is not UNSENT}
    check_totals(sum(outcomes.values()), outcomes, journal)


@given(COUNTS, st.integers(-99, 99).filter(bool))
def test_books_that_do_not_balance(outcomes: dict[Outcome, int], off: int) -> None:
    """A row too many or too few is never passed over."""
    with pytest.raises(CountMismatchError):
        check_totals(sum(outcomes.values()) + off, outcomes, outcomes)


def test_results_against_the_journal() -> None:
    """Results that say otherwise than the journal are a bug in batch, in words that help to report it."""
    with pytest.raises(CountMismatchError) as caught:
        check_totals(3, {UPDATED: 2, FAILED: 1}, {UPDATED: 1, FAILED: 1})
    expected = (
        "This is a bug in batch: 3 rows, but the outcomes add up to 3, and the record of this run says "
        "failed 1, updated 1. Please report it."
    )
    assert (expected, ExitCode.BUG) == (str(caught.value), caught.value.exit_code)


def row_result(row: int, *problems: Problem, outcome: Outcome = INVALID) -> RowResult:
    return RowResult(row, "42", outcome, problems=problems)


def test_equal_reasons() -> None:
    """Equal reasons are one, with how many, the first rows, and the first cell."""
    row_results = [
        row_result(row, worded("has letters", "phone", "Phone", f"F{row}", f"ext. {row}")) for row in range(2, 12)
    ]
    (found,), left_out = group_reasons(row_results)
    assert (INVALID, "phone", "has letters", 10) == (found.outcome, found.field, found.reason, found.count)
    assert ([*range(2, 12)], 'F2: "ext. 2"', 0) == (found.rows, found.example, left_out)


def test_reason_twice_in_a_row() -> None:
    """A row counts once for each of its reasons, on screen as in the workbook: an API may say the same thing twice."""
    (found,), left_out = group_reasons([row_result(2, worded("a", "phone"), worded("a", "phone"))])
    assert (1, [2], 0) == (found.count, found.rows, left_out)


def test_reason_as_json() -> None:
    """`summary.json` has outcome, code, field, message, count and the first five rows of each reason."""
    problem = Problem("text_too_long", {"length": 70, "most": 64}, "name", "Name", seen="x" * 70)
    (found,), _ = group_reasons(row_result(row, problem) for row in range(2, 12))
    expected = {
        "outcome": "invalid",
        "code": "text_too_long",
        "field": "name",
        "message": "is 70 characters long (at most 64)",
        "count": 10,
        "rows": [2, 3, 4, 5, 6],
    }
    assert expected == asdict(found.told)


def test_different_reasons() -> None:
    """Reasons differ by outcome, field and words; they come by outcome, then the most frequent first."""
    row_results = [
        row_result(2, worded("a", "name")),
        row_result(3, worded("a", "phone"), worded("b", "phone")),
        row_result(4, worded("a", "phone")),
        row_result(5, worded("a", "phone"), outcome=REJECTED),
        row_result(6, outcome=FAILED),
    ]
    found, _ = group_reasons(row_results)
    expected = [
        (INVALID, "phone", "a", 2),
        (INVALID, "name", "a", 1),
        (INVALID, "phone", "b", 1),
        (REJECTED, "phone", "a", 1),
    ]
    assert expected == [(one.outcome, one.field, one.reason, one.count) for one in found]


@pytest.mark.parametrize(
    ("cell", "seen", "expected"),
    [("F2", "", "F2"), ("", "x", '"x"'), ("", "", ""), ("F2", "x" * 50, f'F2: "{"x" * 39}…"')],
)
def test_example(cell: str, seen: str, expected: str) -> None:
    """The example shows what there is to show."""
    assert expected == group_reasons([row_result(2, worded("a", cell=cell, seen=seen))])[0][0].example


def test_too_many_reasons() -> None:
    """A file in which everything is wrong in its own way takes bounded memory, and says what was left out."""
    found, left_out = group_reasons(row_result(row, worded(f"odd {row}")) for row in range(MAX_REASONS + 7))
    assert (MAX_REASONS, 7) == (len(found), left_out)


def test_summary() -> None:
    """The summary has the contract's keys in its order, all seven counts, and times in milliseconds."""
    made = Summary(
        command="update",
        run_id="r",
        endpoint="dualentry.customers",
        input="x.csv",
        input_sha256="0",
        started="2026-01-01T00:00:00Z",
        seconds=1.23456,
        rows=3,
        outcomes={UPDATED: 2, UNSENT: 1},
        earlier={UPDATED: 1, UNSENT: 0},
        not_looked_at=1,
        requests=4,
        attempts=5,
        throttled=1,
        state="unfinished",
        stopped=Stopped("max-wait", "The API asks to wait.", "Wait."),
        exit_code=3,
        files={"results": "results.csv"},
    ).as_dict()
    keys = (
        "schema_version version command run_id run resumed endpoint host input company sandbox shard "
        "parent_run state started finished seconds stopped exit_code files uploaded input_sha256 users planned_by "
        "mapping rows all_rows outcomes earlier not_looked_at requests attempts throttled is_exact limiter "
        "retry_after reasons spellings not_empty left_out"
    )
    counts = {"updated": 2, "unchanged": 0, "invalid": 0, "rejected": 0, "failed": 0, "unknown": 0, "unsent": 1}
    assert (keys.split(), counts, 1.235) == (list(made), made["outcomes"], made["seconds"])
    assert ({"updated": 1}, None) == (made["earlier"], made["run"])
    assert {"reason": "max-wait", "message": "The API asks to wait.", "hint": "Wait."} == made["stopped"]
