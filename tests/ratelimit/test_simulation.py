"""The policy against simulated rate limiters: the targets of the table, and the report that shows every figure."""

from functools import partial
from pathlib import Path

import pytest

import batch.ratelimit
from tests.simulation.cases import CASES, Case, measure
from tests.simulation.report import (
    OF_CASE,
    OF_WATCHED,
    REPORT,
    begin,
    recorded,
    recorded_beginning,
    render,
)
from tests.simulation.watched import WATCHED, Watched
from tests.simulation.world import EnoughError

README = Path(batch.ratelimit.__file__).with_name("README.md")
STALE = "the policy does otherwise than the report says: look at `python -m tests.simulation && git diff`"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_policy_reaches_the_target_on_each_server(case: Case) -> None:
    """On every server of the table nearly all that is permitted is used, nearly nothing is refused, as reported."""
    reached, refused = recorded(case.name)
    for of_seed_reached, of_seed_refused in zip(reached, refused, strict=True):
        assert of_seed_reached >= case.reach
        assert of_seed_refused <= case.refused
    found = begin(partial(measure, case), OF_CASE)
    assert isinstance(found, EnoughError)
    assert_begins_as_reported(case.name, found)


def assert_begins_as_reported(name: str, found: EnoughError) -> None:
    """A run began as the report says; another platform's logarithm may tip one event, and with it what follows."""
    at, refused = recorded_beginning(name)
    assert at == pytest.approx(found.at, rel=0.005), STALE
    assert refused == pytest.approx(found.refused, abs=3), STALE


@pytest.mark.parametrize("watched", WATCHED, ids=lambda watched: watched.name)
def test_policy_stays_within_the_bounds_watched(watched: Watched) -> None:
    """Beginnings, changes, neighbours, wrong and right documentation: the figures stay within bounds, as reported."""
    (figures,) = recorded(watched.title)
    assert all(watched.at_least <= figure <= watched.at_most for figure in figures)
    found = begin(watched.figure, OF_WATCHED)
    if isinstance(found, EnoughError):
        assert_begins_as_reported(watched.title, found)
    else:
        assert figures[0] == pytest.approx(found, rel=0.05, abs=0.06), STALE


@pytest.mark.long
def test_report_is_what_a_fresh_run_writes() -> None:
    """Every figure of every seed is as the report has it."""
    assert REPORT.read_text(encoding="utf-8") == render(), STALE


def test_readme_has_the_figures_of_the_report() -> None:
    """The package's README shows the worst seed of every server in the report."""
    rows = []
    for case in CASES:
        reached, refused = recorded(case.name)
        rows.append(
            f"| {case.name} | {min(reached):.2f} | {max(refused):.2f} | ≥ {case.reach:g} / ≤ {case.refused:g} |"
        )
    assert "\n".join(rows) in README.read_text(encoding="utf-8")
