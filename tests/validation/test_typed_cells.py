"""Numbers and dates in columns of text: what was meant is sent, or the cell is named."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter

from batch.commands.check import check
from batch.commands.plan import plan
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.errors import HeaderError, InputError
from batch.model import Change, Outcome, RowResult
from batch.problems import SENTENCES
from batch.run.target import Environment
from batch.settings import Settings
from batch.sources import ReadOptions, open_input, stage
from batch.sources.excel.number_formats import read_format
from batch.validation.file_changes import FileChanges, match_file
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, FakeReporter, JobFixture, told

ZIP = "full_address.postal_code"
PADDED = (
    "is shown with zeros in front that are not stored (make the cell text, and type it with its zeros; or, to take "
    "what is shown: --as-shown COLUMN)"
)


def book(folder: Path, headers: Sequence[str], rows: Sequence[Sequence[Any]], name: str = "sheet.xlsx") -> Path:
    """Write a workbook; a cell is a value, or a value and the number format of its cell."""
    path = folder / name
    with xlsxwriter.Workbook(str(path)) as made:
        sheet = made.add_worksheet("Rows")
        for row, cells in enumerate([headers, *rows]):
            for column, cell in enumerate(cells):
                value, code = cell if isinstance(cell, tuple) else (cell, "")
                style = made.add_format({"num_format": code}) if code else None
                if isinstance(value, date):
                    sheet.write_datetime(row, column, value, style)
                elif isinstance(value, int | float):
                    sheet.write_number(row, column, value, style)
                elif value is not None:
                    sheet.write_string(row, column, value, style)
    return path


def validated(path: Path, **options: Any) -> tuple[FileChanges, dict[int, str], list[Change]]:
    """Validate a file; gives the message of each invalid row, and the changes."""
    staged = stage(open_input(str(path), path.parent), path.parent, ReadOptions())
    changes = match_file(staged, DualEntryCustomers(), Settings(**options).parsing, reads_before_write=True)
    found: list[RowResult] = []
    changes.validate_all(found.extend)
    problems = {one.row: "; ".join(p.reason for p in one.problems) for one in found if one.outcome is Outcome.INVALID}
    return changes, problems, list(changes.iter_changes())


def texts(changes: Sequence[Change], name: str) -> list[Any]:
    """The values of one field."""
    return [one.fields[name] for one in changes]


# -- leading zeros ----------------------------------------------------------------------------------------------------


def test_zeros_in_another_cell(tmp_path: Path) -> None:
    """A number is refused where another cell of the column shows it with zeros in front."""
    path = book(tmp_path, ["id", ZIP], [["1", "00501"], ["2", (501, "@")], ["3", 502], ["4", 90210]])
    _, problems, changes = validated(path)
    assert {3: SENTENCES["zeros_elsewhere"]} == problems
    assert ["00501", "502", "90210"] == texts(changes, ZIP)


def test_zeros_of_the_format(tmp_path: Path) -> None:
    """A number whose format shows zeros is refused, and counts as showing them for another one that is not so shown."""
    path = book(tmp_path, ["id", ZIP], [["1", (501, "00000")], ["2", 501], ["3", (90210, "00000")]])
    changes, problems, sent = validated(path)
    assert {2: PADDED, 3: SENTENCES["zeros_elsewhere"]} == problems
    assert ["90210"] == texts(sent, ZIP) == changes.counts[1].examples
    assert (f'Column "{ZIP}": 1 number is sent without zeros in front, as stored.',) == changes.notes


@pytest.mark.parametrize(
    "code", ["00000-0000", "000-00-0000", "[$-409]000000000", "(000) 000000", "#000000000", "00000000#"]
)
def test_zeros_of_a_grouped_format(tmp_path: Path, code: str) -> None:
    """So is one whose format groups its digits, such as a postal code with its extension."""
    path = book(tmp_path, ["id", ZIP], [["1", (5_011_234, code)], ["2", (505_011_234, code)]])
    _, problems, sent = validated(path)
    assert {2: PADDED} == problems
    assert ["505011234"] == texts(sent, ZIP)


def test_zeros_of_a_section(tmp_path: Path) -> None:
    """A format with several sections shows zeros where the number's own does, or may, where that is open."""
    code = "[<=99999]00000;00000-0000"
    cells = [(501, code), (5_011_234, code), (941_031_234, code), (0, "00000;-00000;0;@"), (77, "00;[>9]000")]
    cells += [(90_210, '"0"0000'), (12, '"No. "0'), (-5, "0_);(0)"), (5, "0_);(0)")]
    path = book(tmp_path, ["id", "Name"], [[str(at), one] for at, one in enumerate(cells, start=1)])
    changes, problems, sent = validated(path)
    assert dict.fromkeys([2, 3, 6, 7], PADDED) == problems
    assert ["941031234", "0", "12", "-5", "5"] == texts(sent, "name")
    added = 'Column "Name" (B): 4 numbers taken as stored, without what the cell\'s format adds to them.'
    assert added in changes.notes  # to 501-1234, 94103-1234, No. 12 and (5)


@pytest.mark.parametrize("code", ["0", "#,##0", "0.00", "# ?/?", "0E+00", "[$-409]#,##0", "###-####"])
def test_formats_without_zeros(tmp_path: Path, code: str) -> None:
    """A number whose format shows no zeros in front is sent as it is stored."""
    path = book(tmp_path, ["id", ZIP], [["1", (501, code)]])
    _, problems, sent = validated(path)
    assert ({}, ["501"]) == (problems, texts(sent, ZIP))


def test_language_of_a_format() -> None:
    """A format's language is no currency sign."""
    codes = ["[$-409]00000", "[$-F800]#,##0", "[$€-407] 0.00", "$#,##0", "[$USD] 0"]
    assert ["", "", "currency", "currency", "currency"] == [read_format(code).sections[0].shows for code in codes]


def test_one_line_for_numbers(tmp_path: Path) -> None:
    """Numbers in a column of text are counted in one line; texts, and numbers in a column of numbers, are not."""
    path = book(tmp_path, ["id", "Phone", "Name"], [["1", 55501, "A"], ["2", 55502, "B"], ["3", "1", "C"]])
    assert ('Column "Phone": 2 numbers are sent without zeros in front, as stored.',) == validated(path)[0].notes
    frame = pl.DataFrame({"id": ["1"], "phone": [501], "name": ["A"], "custom_fields.Seats:number": [7]})
    frame.write_parquet(tmp_path / "one.parquet")
    notes = validated(tmp_path / "one.parquet")[0].notes
    assert ('Column "phone": 1 number is sent without zeros in front, as stored.',) == notes


@pytest.mark.parametrize("command", ["update", "plan"])
@pytest.mark.parametrize("ending", ["xlsx", "parquet"])
def test_zeros_of_the_record(job: JobFixture, ending: str, command: str) -> None:
    """A number is refused where the record shows it with zeros in front; another number is sent."""
    for number, phone in ((10_001, "00501"), (10_002, "00501"), (10_003, "501")):
        job.sandbox.edit("dualentry", number, {"phone": phone})
    rows = [["10001", 501], ["10002", 502], ["10003", 501]]
    if ending == "xlsx":
        path = book(job.folder, ["id", "phone"], rows)
    else:
        path = job.folder / "sheet.parquet"
        pl.DataFrame(rows, schema=["id", "phone"], orient="row").write_parquet(path)
    if command == "plan":
        made = plan(job.settings(path), job.reporter, job.environment)
        assert {Outcome.INVALID: 1, Outcome.UPDATED: 1, Outcome.UNCHANGED: 1} == {
            outcome: count for outcome, count in made.summary.outcomes.items() if count
        }
        return
    closing = job.update(path)
    outcomes = told(closing) if ending == "xlsx" else _told_parquet(closing.folder)
    assert ["invalid", "updated", "unchanged"] == [outcome for outcome, _ in outcomes]
    assert outcomes[0][1] == (
        'column "phone": is a number that the record shows with zeros in front, "00501" (make the cell text, and type '
        "it with its zeros; or name the column: --as-shown)"
    )
    assert ["10002"] == [number for _, number, _ in job.writes()]


def _told_parquet(folder: Path) -> list[tuple[str, str]]:
    found = pl.read_parquet(folder / "results.parquet")
    return list(zip(found["outcome"], found["message"], strict=True))


def test_a_text_is_meant(job: JobFixture) -> None:
    """A text without zeros is a value like any other, and so is a number of a column that --as-shown names."""
    job.sandbox.edit("dualentry", 10_001, {"phone": "00501"})
    assert [("updated", "")] == told(job.update(book(job.folder, ["id", "phone"], [["10001", "501"]])))
    job.sandbox.edit("dualentry", 10_001, {"phone": "00501"})
    path = book(job.folder, ["id", "phone"], [["10001", 501]], "other.xlsx")
    assert [("updated", "")] == told(job.update(path, as_shown=("Phone",)))


# -- --as-shown -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code", "expected"),
    [
        (501, "00000", "00501"),
        (501, "", "501"),
        (501, "@", "501"),
        (501, "0", "501"),
        (1.5, "", "1.5"),
        (1.5, "0", None),
        (1234, "#,##0", None),
        (0.25, "0%", None),
        (123456789, "000-00-0000", "123-45-6789"),
        (501, "[<=99999]00000;00000-0000", "00501"),
        (5_011_234, "[<=99999]00000;00000-0000", "00501-1234"),
        (941_031_234, "[<=99999]00000;00000\\-0000", "94103-1234"),
        (-501, "[<=99999]00000;00000-0000", None),
        (5_551_234, "[<=9999999]###-####;(###) ###-####", "555-1234"),
        (4_155_551_234, '[<=9999999]###\\-####;\\(###") "###\\-####', "(415) 555-1234"),
        (501, "00000;[>99]0", None),
        (501, "[$-409]00000", "00501"),
        (501, "[$-D000409]00000", None),
        (501, "00000_)", "00501"),
        (-501, "00000;-00000", "-00501"),
        (-501, "General;(General);;@", "(501)"),
        (0, "General;General;;@", None),
        (0, "00000;-00000;0;@", "0"),
        (501, '"ZIP "00000', "ZIP 00501"),
        (90_210, '"0"0000', "090210"),
        (501, "0####", None),
        (90_210, "0####", "90210"),
        (501, "?0000", None),
        (12_345_678_901, "", "12345678901"),
        (123_456_789_012, "", None),
        (123_456_789_012, "@", None),
        (123_456_789_012, "0", "123456789012"),
        (date(2026, 4, 3), "yyyy-mm-dd", "2026-04-03"),
        (date(2026, 4, 3), "d.m.yy", "3.4.26"),
        (date(2026, 4, 3), "m-d", "4-3"),
        (datetime(2026, 4, 3, 9, 5), "dd-mm-yyyy hh:mm", "03-04-2026 09:05"),
        (date(2026, 4, 3), "d-mmm", None),
        (date(2026, 4, 3), "d/m/yyyy", None),
    ],
)
def test_as_shown(value: Any, code: str, expected: str | None, tmp_path: Path) -> None:
    """The named column says what its cells show; a format that differs between computers makes the cell invalid."""
    path = book(tmp_path, ["id", "Name"], [["1", (value, code)], ["2", "x"]])
    _, problems, changes = validated(path, as_shown=("name",))
    assert ({2: SENTENCES["not_shown_alike"]} if expected is None else {}) == problems
    assert ["x" if expected is None else expected, "x"][expected is None :] == texts(changes, "name")


def test_as_shown_names_a_header(tmp_path: Path) -> None:
    """A column that is not there is named before anything is sent."""
    path = book(tmp_path, ["id", "Name"], [["1", "x"]])
    with pytest.raises(HeaderError) as caught:
        validated(path, as_shown=("ZIP",))
    assert (
        'sheet.xlsx: the headers do not fit.\n--as-shown "ZIP": there is no header "ZIP".\nNothing was sent.'
    ) == str(caught.value)


def test_a_plan_knows_its_columns(job: JobFixture) -> None:
    """A plan made with --as-shown is carried out with it only."""
    path = book(job.folder, ["id", "phone"], [["10001", (501, "00000")]])
    made = plan(job.settings(path, as_shown=("phone",)), job.reporter, job.environment)
    with pytest.raises(InputError, match="--as-shown is different since it was made"):
        job.update(path, plan=made.folder)
    assert ("--as-shown", "phone") == made.again[-2:]
    assert [("updated", "")] == told(job.update(path, plan=made.folder, as_shown=("phone",)))
    assert [{"phone": "00501"}] == [body for _, _, body in job.writes()]


# -- dates ------------------------------------------------------------------------------------------------------------


def test_a_date_among_texts(tmp_path: Path) -> None:
    """A date that a spreadsheet program made of a text is invalid where the column holds other values."""
    day = (date(2026, 4, 3), "d-mmm")
    path = book(tmp_path, ["id", "City", "Name"], [["1", "Berlin", day], ["2", day, (date(2026, 4, 4), "d-mmm")]])
    _, problems, changes = validated(path)
    assert {3: SENTENCES["date_among_texts"]} == problems
    assert ["2026-04-03"] == texts(changes, "name")


def test_a_column_of_dates(tmp_path: Path) -> None:
    """A column of nothing but dates, blank cells and clears is one of dates."""
    rows = [["1", (date(2026, 4, 3), "d-mmm")], ["2", None], ["3", "<clear>"], ["4", (date(2026, 4, 4), "d-mmm")]]
    _, problems, changes = validated(book(tmp_path, ["id", "Name"], rows))
    assert {} == problems
    assert ["2026-04-03", None, "2026-04-04"] == texts(changes, "name")


def test_check_says_it(tmp_path: Path) -> None:
    """The preview shows no example that is not sent."""
    path = book(tmp_path, ["id", "City"], [["1", (date(2026, 4, 3), "d-mmm")], ["2", "Berlin"]])
    found = check(Settings(input=str(path), endpoint=DUALENTRY), FakeReporter(), Environment({}))
    assert ["Berlin"] == found.changes.counts[1].examples


def test_dates_in_lists(job: JobFixture) -> None:
    """A list is text, too."""
    rows = [[VAYU_1, (date(2026, 4, 3), "d-mmm"), "L"], [VAYU_1.replace("0", "1"), "a; b", "M"]]
    closing = job.update(book(job.folder, ["id", "aliases", "legalName"], rows), VAYU)
    assert ("invalid", f'column "aliases": "2026-04-03" {SENTENCES["date_among_texts"]}') == told(closing)[0]


def test_custom_fields_are_read_by_the_settings_of_the_file(tmp_path: Path) -> None:
    """What a mapping says of decimals holds for what the endpoint itself reads, too, which was made before it."""
    changes, _, _ = validated(book(tmp_path, ["id", "name"], [["1", "New"]]), decimal=",")
    assert "," == changes.endpoint.parse_options.decimal


# -- failures files ---------------------------------------------------------------------------------------------------


def test_refused_for_other_cells(tmp_path: Path) -> None:
    """What was refused for what other cells show stays so in the failures file, where they are not, until corrected."""
    said = {code: f'column "{{}}": "{{}}" {SENTENCES[code]}' for code in ("zeros_elsewhere", "date_among_texts")}
    zeros, moment = said["zeros_elsewhere"].format(ZIP, 501), said["date_among_texts"].format("Name", "2026-04-03")
    phone = 'column "Phone": "ext" has letters in it'
    rows = [
        ["1", 501, "A", f"{phone}; {zeros}"],
        ["2", 502, "B", zeros],
        ["3", 501, "C", phone],
        ["4", None, (date(2026, 4, 3), "d-mmm"), moment],
    ]
    changes, problems, sent = validated(book(tmp_path, ["id", ZIP, "Name", "batch_message"], rows))
    assert {2: SENTENCES["zeros_elsewhere"], 5: SENTENCES["date_among_texts"]} == problems
    assert ["502", "501"] == texts(sent, ZIP)
    assert (f'Column "{ZIP}": 2 numbers are sent without zeros in front, as stored.',) == changes.notes
