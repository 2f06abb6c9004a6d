"""The list of a plan, read again: what may be added to it, and what refuses the plan."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from batch.conditions import FieldChange, PlannedChange
from batch.endpoints.base import MISSING
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.errors import InputError
from batch.model import Outcome
from batch.outputs.plan import AboutPlan, iter_lines, write_plan
from batch.run.plan_file import PlanFile, PlanWriter
from batch.run.plan_list import ADVICE, check_lists
from tests.libreoffice import SOFFICE, type_into

Rows = list[list[Any]]
CHANGES = [
    PlannedChange(2, "10001", "Acme", (FieldChange("phone", "1", "00123"), FieldChange("name", "Acme", "=1+1"))),
    PlannedChange(3, "10002", "Bolt", (FieldChange("phone", "+49 30 1", None),)),
    PlannedChange(5, "10004", "", (FieldChange("custom_fields.Partner", MISSING, True),)),
    PlannedChange(6, "10005", "Cole", (FieldChange("name", "two\nlines", "'=kept"),)),
]
ABOUT = AboutPlan("Plan for sheet.xlsx", {"Sheet": "sheet.xlsx"}, {"phone": "Telefon"}, {Outcome.UPDATED: 4}, [])
HEAD = "{path}: it does not say what was planned any more, so nothing was sent.\n"


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[PlanFile]:
    path = tmp_path / "plan.json"
    writer = PlanWriter(path, {"kind": "plan"})
    for one in CHANGES:
        writer.add(one)
    writer.finish()
    opened = PlanFile(path)
    yield opened
    opened.close()


def check(plan: PlanFile) -> None:
    check_lists(plan, DualEntryCustomers(), "<clear>")


def refusal(plan: PlanFile) -> str:
    with pytest.raises(InputError) as caught:
        check(plan)
    return str(caught.value)


def make(plan: PlanFile, name: str) -> Path:
    path = plan.path.with_name(name)
    write_plan(path, iter_lines(CHANGES, "<clear>"), ABOUT)
    return path


def edited(plan: PlanFile, edit: Callable[[Rows], Rows]) -> Path:
    """Edit the rows of plan.xlsx, the header among them."""
    path = make(plan, "plan.xlsx")
    book = openpyxl.load_workbook(path)
    sheet: Any = book["Plan"]
    rows = edit([list(row) for row in sheet.iter_rows(values_only=True)])
    sheet.delete_rows(1, sheet.max_row)
    for row in rows:
        sheet.append(row)
    for row in sheet.iter_rows():
        for cell in row:
            cell.data_type = "s" if isinstance(cell.value, str) else cell.data_type
    book.save(path)
    return path


@pytest.mark.parametrize("name", ["plan.csv", "plan.xlsx"])
def test_as_it_was_made(plan: PlanFile, name: str) -> None:
    """A list that nobody touched is the plan's."""
    make(plan, name)
    check(plan)


def test_no_list(plan: PlanFile) -> None:
    """Without a list there is nothing to be held against the plan."""
    check(plan)


def approved(rows: Rows) -> Rows:
    width = [[*row, "ok" if at else "Remarks"] for at, row in enumerate(rows)]
    return [*width, [], ["Approved", "Anna Müller", None, "2026-11-26"], ["1"]]


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: [rows[0], *sorted(rows[1:], key=lambda row: str(row[3]))],
        lambda rows: [row[::-1] for row in rows],
        lambda rows: [[*row[:2], "another name", *row[3:]] if at else row for at, row in enumerate(rows)],
        approved,
    ],
    ids=["sorted", "columns", "names", "approved"],
)
def test_what_is_free(plan: PlanFile, edit: Callable[[Rows], Rows]) -> None:
    """Lines in another order, other columns, names, remarks and an approval below change nothing."""
    edited(plan, edit)
    check(plan)


def test_more_sheets(plan: PlanFile) -> None:
    """Other sheets are free, in front of the list, too; hidden lines are still lines."""
    path = make(plan, "plan.xlsx")
    book = openpyxl.load_workbook(path)
    book.create_sheet("Approval", 0).append(["Approved by", "Anna"])
    book["Plan"].row_dimensions[3].hidden = True
    book.save(path)
    check(plan)


def without(*numbers: int) -> Callable[[Rows], Rows]:
    return lambda rows: [row for at, row in enumerate(rows) if at not in numbers]


def with_cell(at: int, column: int, value: object) -> Callable[[Rows], Rows]:
    return lambda rows: [
        [*row[:column], value, *row[column + 1 :]] if number == at else row for number, row in enumerate(rows)
    ]


PHONE = 'row 2, id 10001, phone: "1" -> "00123"'


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (without(1), [f"removed: {PHONE}"]),
        (without(1, 3), [f"removed: {PHONE}", 'removed: row 3, id 10002, phone: "+49 30 1" -> "<clear>"']),
        (with_cell(1, 6, "123"), ['changed: row 2, id 10001, phone: after is "123", and was "00123"']),
        (with_cell(1, 5, None), ['changed: row 2, id 10001, phone: before is (empty), and was "1"']),
        (with_cell(1, 1, "10009"), ['changed: row 2, id 10001, phone: id is "10009", and was "10001"']),
        (with_cell(1, 0, 7), ['changed: row 2, id 10001, phone: row is "7", and was "2"']),
        (with_cell(2, 6, "=1+2"), ['changed: row 2, id 10001, name: after is "=1+2", and was "=1+1"']),
        (lambda rows: [*rows, rows[1]], [f"added: {PHONE}"]),
        (lambda rows: [*rows, [9, "10009", "", "", "name", "x", "y"]], ['added: row 9, id 10009, name: "x" -> "y"']),
        (
            lambda rows: [*rows, [None, "10009", "", "", "Phone", "", "1"]],
            ['added: row , id 10009, Phone: (empty) -> "1"'],
        ),
    ],
)  # fmt: skip
def test_edited_list(plan: PlanFile, edit: Callable[[Rows], Rows], expected: Sequence[str]) -> None:
    """A line that was removed, changed or added refuses the plan, and is named."""
    path = edited(plan, edit)
    assert "\n".join([HEAD.format(path=path).rstrip(), *(f"  {one}" for one in expected), ADVICE]) == refusal(plan)


def test_many_edits(tmp_path: Path) -> None:
    """Of many edits the first are named and all counted."""
    changes = [PlannedChange(row, str(row), "", (FieldChange("name", "a", "b"),)) for row in range(2, 102)]
    writer = PlanWriter(tmp_path / "plan.json", {"kind": "plan"})
    for one in changes:
        writer.add(one)
    writer.finish()
    write_plan(tmp_path / "plan.csv", iter_lines(changes[:50], "<clear>"), ABOUT)
    opened = PlanFile(tmp_path / "plan.json")
    lines = refusal(opened).splitlines()
    opened.close()
    assert (14, "  … and 38 more") == (len(lines) - 1, lines[-2])


def test_all_lines_removed(plan: PlanFile) -> None:
    """A list without any line refuses the plan."""
    path = make(plan, "plan.csv")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    lines = refusal(plan).splitlines()
    assert f"{path}: it does not say what was planned any more, so nothing was sent." == lines[0]
    assert len(list(iter_lines(plan, "<clear>"))) == len([one for one in lines if one.startswith("  removed: ")])


def test_without_a_column(plan: PlanFile) -> None:
    """A list without one of its columns refuses the plan."""
    path = make(plan, "plan.csv")
    path.write_text(path.read_text().replace("before,after", "old,new", 1))
    assert "It needs one column before and one after." in refusal(plan)


def test_plan_of_nothing(tmp_path: Path) -> None:
    """The plan of a sheet that changes nothing has an empty list."""
    PlanWriter(tmp_path / "plan.json", {"kind": "plan"}).finish()
    write_plan(tmp_path / "plan.csv", [], ABOUT)
    opened = PlanFile(tmp_path / "plan.json")
    check(opened)
    opened.close()


def test_saved_by_another_program(plan: PlanFile) -> None:
    """A CSV that comes back with semicolons, a mark, other line ends and TRUE is the same list."""
    path = make(plan, "plan.csv")
    text = path.read_text(encoding="utf-8").replace(",", ";").replace("\n", "\r\n").replace(";true", ";TRUE")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    check(plan)


@pytest.mark.long
@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_saved_by_libreoffice(plan: PlanFile, tmp_path: Path) -> None:
    """LibreOffice opens the list, an approval and a remark are typed, and it is saved: the same list; else refused."""
    path = make(plan, "plan.xlsx")
    source = path.rename(tmp_path / "source.xlsx")
    type_into(
        source,
        path,
        {"$Plan.H1": "Remark", "$Plan.H2": "fine", "$Plan.A9": "Approved", "$Summary.A20": "Anna"},
        tmp_path,
    )
    check(plan)
    path.unlink()
    type_into(source, path, {"$Plan.G2": "00124"}, tmp_path)
    assert 'changed: row 2, id 10001, phone: after is "00124", and was "00123"' in refusal(plan)
