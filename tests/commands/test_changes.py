"""The changes of a plan, paged and searched."""

from pathlib import Path

import pytest

from batch.commands.changes import CHANGES_A_PAGE, OpenPlan
from batch.conditions import FieldChange, PlannedChange
from batch.own_files import PLAN
from batch.run.plan_file import PlanWriter

HEADERS = {"phone": "Phone  Number"}


@pytest.fixture
def opened(tmp_path: Path):
    """Open a plan of 120 changes: names of all, the telephone of every second one."""
    changes = []
    for row in range(1, 121):
        steps = [FieldChange("name", f"Old {row}", f"New  name\n{row}")]
        steps += [FieldChange("phone", "555", None)] * (row % 2)
        changes.append(PlannedChange(row, str(10_000 + row), "Straße & Söhne", tuple(steps)))
    PlanWriter(tmp_path / PLAN, {"kind": "plan"}).write_all(changes)
    found = OpenPlan(tmp_path, HEADERS)
    yield found
    found.close()


def found_rows(opened: OpenPlan, text: str) -> list[int]:
    """Return the rows of all pages that a search finds."""
    first = opened.page(text)
    pages = [opened.page(text, number) for number in range(1, first.pages + 1)]
    rows = [lines[0].row for page in pages for lines in page.changes]
    assert first.found == len(rows)
    return rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", range(1, 121)),
        ("name", range(1, 121)),  # the field is called so
        ("10077", [77]),
        ("old 77", [77]),
        ("NEW NAME 77", [77]),  # neither case nor the kind of spaces counts
        ("STRASSE & söhne", range(1, 121)),
        ("phone number", range(1, 121, 2)),  # its header
        ("(cleared)", range(1, 121, 2)),
        ("77 old", []),  # two texts beside each other are not one
        ("fields", []),  # the file's own words are none of a change
        ("%", []),
        ("_", []),
    ],
)
def test_a_search_finds_what_a_person_sees(opened: OpenPlan, text: str, rows: list[int]) -> None:
    """Id, name, field, header, old and new value are searched, and nothing else."""
    assert list(rows) == found_rows(opened, text)


def test_pages_that_there_are_not_are_the_nearest(opened: OpenPlan) -> None:
    """A page number of an address is any number."""
    assert (1, 3) == (opened.page("", 0).number, opened.page("", 99).number)
    assert [lines[0].row for lines in opened.page("", 3).changes] == list(range(2 * CHANGES_A_PAGE + 1, 121))
    assert (1, 1, 0, ()) == (
        (page := opened.page("nowhere", 7)).number, page.pages, page.found, page.changes,
    )  # fmt: skip


def test_what_the_plan_does_is_counted(opened: OpenPlan) -> None:
    """Cells by field, and those that are emptied."""
    assert (120, {"name": 120, "phone": 60}, 60) == (len(opened), dict(opened.cells), opened.clears["phone"])
