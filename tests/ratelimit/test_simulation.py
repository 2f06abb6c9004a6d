"""The policy against simulated rate limiters: the targets of the table, and the report that shows every figure."""

from pathlib import Path

import pytest

import batch.ratelimit
from tests.simulation.cases import CASES, SEEDS, Case, measure
from tests.simulation.report import REPORT, recorded, render
from tests.simulation.watched import WATCHED, Watched

README = Path(batch.ratelimit.__file__).with_name("README.md")
STALE = "the policy does otherwise than the report says: look at `python -m tests.simulation && git diff`"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_policy_reaches_the_target_on_each_server(case: Case) -> None:
    """On every server of the table nearly all that is permitted is used, nearly nothing is refused, as reported."""
    reached, refused = recorded(case.name)
    for of_seed_reached, of_seed_refused in zip(reached, refused, strict=True):
        assert of_seed_reached >= case.reach
        assert of_seed_refused <= case.refused
    figures = measure(case, SEEDS[0])
    # Another platform's logarithm may tip one event, and with it the rest of a run.
    assert reached[0] == pytest.approx(figures.reached, abs=0.3), STALE
    assert refused[0] == pytest.approx(figures.refused, abs=0.06), STALE


@pytest.mark.parametrize("watched", WATCHED, ids=lambda watched: watched.name)
def test_policy_stays_within_the_bounds_watched(watched: Watched) -> None:
    """Beginnings, changes, neighbours, wrong and right documentation: the figures stay within bounds, as reported."""
    (figures,) = recorded(f"{watched.name}{f', {watched.unit}' if watched.unit else ''}")
    assert all(watched.at_least <= figure <= watched.at_most for figure in figures)
    assert figures[0] == pytest.approx(watched.figure(SEEDS[0]), rel=0.05, abs=0.06), STALE


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
