"""Which run a person means who names a folder of runs."""

from pathlib import Path

import pytest

from batch.errors import Declined, UsageError
from batch.run.named_run import named_run
from tests.job_fixture import FakeReporter

JOURNAL, PLAN = ("journal.sqlite",), ("plan.json",)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run, a newer one, and a plan that is newer still."""
    for name in ("20260101-000000", "20260102-000000", "plan-20260103-000000"):
        (tmp_path / name).mkdir()
        file, text = ("plan.json", '{"batch": 1') if "plan" in name else ("journal.sqlite", "CREATE TABLE intent(")
        (tmp_path / name / file).write_text(text)
    (tmp_path / "latest").symlink_to("20260101-000000")
    return tmp_path


@pytest.mark.parametrize("name", ["20260101-000000", "latest", "plan-20260103-000000", "nothing"])
def test_run_itself(runs: Path, name: str) -> None:
    """A run folder, or a link to it, is what was meant, without a question; what is none is left to who opens it."""
    expected = runs / ("20260101-000000" if name == "latest" else name)
    assert expected == named_run(runs / name, FakeReporter(), JOURNAL)


@pytest.mark.parametrize(
    ("holding", "newest"), [(JOURNAL, "20260102-000000"), (PLAN, "plan-20260103-000000"), (("x",), "")]
)
def test_newest(runs: Path, holding: tuple[str, ...], newest: str) -> None:
    """Of a folder of runs the newest that holds what is needed is proposed; without any the folder stays."""
    reporter = FakeReporter(answers=[True], can_ask=True)
    assert runs / newest == named_run(runs, reporter, holding)
    said = f"{runs}: this is a folder of runs, and the newest in it is {runs / newest}."
    assert ([said], ["Take that one?"]) == (reporter.notes, reporter.questions) or not newest


def test_no(runs: Path) -> None:
    """Who says no has nothing done; who cannot be asked is told which it would be."""
    with pytest.raises(Declined, match="Nothing was removed"):
        named_run(runs, FakeReporter(can_ask=True), JOURNAL, "Nothing was removed.")
    with pytest.raises(UsageError) as caught:
        named_run(runs, FakeReporter(answers=[True]), JOURNAL)
    said = f"{runs}: this is a folder of runs, and the newest in it is {runs}/20260102-000000. "
    assert said + "Name that one, or another one." == str(caught.value)
