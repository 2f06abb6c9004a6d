"""Rows -> changes, or the reasons why not: blank leaves, all problems in one pass, rows of one id together."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.columns import match_columns
from batch.endpoints.base import Endpoint
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers
from batch.model import READ_ERRORS, ROW, Change, Outcome, Problem, RowResult, SheetStyle, Staged, cell_column
from batch.validation import GROUP_ROWS, RowValidator, ValidatedRows, find_duplicates, iter_validated

DUALENTRY, VAYU = DualEntryCustomers(), VayuCustomers()
PHONE = "has letters in it (use digits, spaces and + - . ( ) only)"
NO_ID = "is not a DualEntry customer id (a whole number, such as 10042)"
VAYU_ID = "0123456789abcdef01234567"
Cells = Sequence[str | None]


def make_frame(rows: Sequence[Cells], read_errors: Mapping[int, Any] | None = None) -> pl.DataFrame:
    """Rows as `input.parquet` has them, numbered as a spreadsheet does; `read_errors` by number of the row."""
    numbers = range(2, len(rows) + 2)
    found = [json.dumps((read_errors or {})[number]) if number in (read_errors or {}) else None for number in numbers]
    cells = {
        cell_column(index): pl.Series([row[index] for row in rows], dtype=pl.String) for index in range(len(rows[0]))
    }
    return pl.DataFrame(
        {ROW: pl.Series(numbers, dtype=pl.UInt32), **cells, READ_ERRORS: pl.Series(found, dtype=pl.String)}
    )


class Sheet:
    """A small sheet: a header line and rows, for one endpoint."""

    def __init__(self, headers: str, *rows: Cells, endpoint: Endpoint = DUALENTRY, **options: Any) -> None:
        names = tuple(headers.split(","))
        self.frame = make_frame(rows, options.pop("read_errors", None))
        self.staged = Staged(
            Path("input.parquet"),
            "x.xlsx",
            "xlsx",
            names,
            len(rows),
            "",
            style=SheetStyle("S", 1, options.pop("column", 1)),
        )
        columns = match_columns(
            names, endpoint, name="x.xlsx", mapping=options.pop("mapping", {}), key_field=options.pop("key", None)
        )
        self.columns = columns
        given = {"clear_token": "<clear>", "reads_before_write": True} | options
        self.validator = RowValidator(self.staged, columns, endpoint, **given)

    def validate(self) -> ValidatedRows:
        return self.validator.validate(self.frame)

    def validate_duplicates(self) -> ValidatedRows:
        return self.validator.validate_duplicates(self.frame)


def told(row_results: Sequence[RowResult]) -> dict[int, list[str]]:
    """What is said of each invalid row."""
    return {
        row_result.row: [one.message for one in row_result.problems]
        for row_result in row_results
        if row_result.outcome is Outcome.INVALID
    }


def test_values() -> None:
    """A row becomes a change with a value for each cell that is not blank, typed by the endpoint."""
    sheet = Sheet("id,name,phone,custom_fields.Partner:boolean", ["42", " Bolt ", None, "yes"])
    assert [Change((2,), "42", {"name": "Bolt", "custom_fields.Partner": True})] == sheet.validate().changes


def test_blank_never_sets() -> None:
    """A row of blank cells sets nothing, and is unchanged with a word on why."""
    found = Sheet("id,name,phone", ["42", None, None]).validate()
    expected = RowResult(2, "42", Outcome.UNCHANGED, problems=(Problem("nothing_set"),))
    assert ValidatedRows([], [expected], 0) == found


def test_clear() -> None:
    """The clear token clears, where null is allowed."""
    found = Sheet("id,name,phone", ["42", "<clear>", " <clear> "]).validate()
    assert [{"name": None, "phone": None}] == [one.fields for one in found.changes]


def test_other_clear_token() -> None:
    """Another clear token takes its place, and the usual one is text."""
    found = Sheet("id,name,email", ["42", "<clear>", "NULL"], **{"clear_token": "NULL"}).validate()
    assert [{"name": "<clear>", "email": None}] == [one.fields for one in found.changes]


def test_clear_refused() -> None:
    """A field that may not be empty is not cleared."""
    found = Sheet("id,name", ["65f000000000000000000001", "<clear>"], endpoint=VAYU).validate()
    reason = "cannot be cleared: this field may not be empty (write a value, or leave the cell blank)"
    assert {2: [f'column "name": "<clear>" {reason}']} == told(found.row_results)


def test_all_problems_of_a_row() -> None:
    """Everything that is wrong with a row is said at once: its id, its cells, and what does not go together."""
    sheet = Sheet("id,phone,unique_id,full_address.city", ["x", "ext. 5", "y" * 65, "Bonn"], reads_before_write=False)
    needs = "needs full_address.street, full_address.postal_code in the same row (an address is replaced whole)"
    expected = [
        f'column "id": "x" {NO_ID}',
        f'column "phone": "ext. 5" {PHONE}',
        f'column "unique_id": "{"y" * 65}" is 65 characters long (at most 64)',
        f'column "full_address.city": "Bonn" {needs}',
    ]
    assert {2: expected} == told(sheet.validate().row_results)


def test_problems_are_located() -> None:
    """A problem names its field, header and cell, and keeps the cell's text apart from the reason."""
    (row_result,) = Sheet("id,Phone No", ["42", "ext. 5"], column=3).validate().row_results
    values = {"form": "use digits, spaces and + - . ( ) only"}
    problem = Problem("form_has_letters", values, "phone", "Phone No", "D2", "ext. 5")
    assert RowResult(2, "42", Outcome.INVALID, problems=(problem,)) == row_result
    assert PHONE == problem.reason


@pytest.mark.parametrize(
    ("header", "cell", "reason"),
    [
        ("phone", "5/5", "does not fit (use digits, spaces and + - . ( ) only)"),
        ("phone", "5" * 33, "is 33 characters long (at most 32)"),
        (
            "full_address.country",
            "Germany",
            "does not fit (use the two capital letters of the country, such as US or DE)",
        ),
        ("full_address.street", " ", "is too short (at least 1 character)"),
        ("full_address", "x", "cannot be set as a whole (use one column for each part, or <clear> to empty it)"),
        ("custom_fields.N:number", "x", "is not a number (use digits, a minus sign and one decimal mark)"),
    ],
)
def test_reasons(header: str, cell: str, reason: str) -> None:
    """What is wrong with a cell is said in words, with what would be right."""
    (row_result,) = Sheet(f"id,{header}", ["42", cell]).validate().row_results
    assert [reason] == [one.reason for one in row_result.problems]


@pytest.mark.parametrize("record_id", [None, "", "  "])
def test_empty_id(record_id: str | None) -> None:
    """A row without an id is invalid, and not merged with others that have none."""
    sheet = Sheet("id,name", [record_id, "a"], [record_id, "b"])
    expected = 'column "id": is empty (every row needs the customer\'s id)'
    assert {2: [expected], 3: [expected]} == told(sheet.validate().row_results)


@pytest.mark.parametrize("record_id", ["42\x1f", "\x1c42", "4\u200b2", "٤٢", "007", ".."])
def test_bad_id(record_id: str) -> None:
    """Ids are checked as they stand; only spaces around them are dropped."""
    assert [] == Sheet("id,name", [record_id, "a"]).validate().changes
    assert ["42"] == [one.id for one in Sheet("id,name", [" 42\u00a0", "a"]).validate().changes]


def test_key_as_id() -> None:
    """With --key any visible text says which record."""
    sheet = Sheet("unique_id,name", ["A/1 ü", "a"], ["..", "b"], ["a\x00", "c"], key="unique_id")
    found = sheet.validate()
    reason = "cannot be looked up (it has invisible characters)"
    assert ["A/1 ü"] == [one.id for one in found.changes]
    assert [3, 4] == list(told(found.row_results))
    assert reason in told(found.row_results)[4][0]


def test_damaged_cell() -> None:
    """A damaged cell makes its row invalid, in the reader's words, and is not looked at otherwise."""
    sheet = Sheet("id,phone,name", ["42", "ext", "a"], read_errors={2: [[1, "ext", "has a byte that is no UTF-8"]]})
    assert {2: ['column "phone": "ext" has a byte that is no UTF-8']} == told(sheet.validate().row_results)


def test_damaged_clear() -> None:
    """A damaged cell clears nothing."""
    found = Sheet("id,phone,name", ["42", "<clear>", "a"], read_errors={2: [[1, "<cl?>", "is damaged"]]}).validate()
    assert ([], {2: ['column "phone": "<cl?>" is damaged']}) == (found.changes, told(found.row_results))


def test_damaged_part_of_an_address() -> None:
    """A damaged part of an address is not called missing as well."""
    row = ["42", "Main St 1", "Bonn", "53111"]
    sheet = Sheet(
        "id,full_address.street,full_address.city,full_address.postal_code", row,
        read_errors={2: [[2, "B?nn", "is damaged"]]}, reads_before_write=False,
    )  # fmt: skip
    assert {2: ['column "full_address.city": "B?nn" is damaged']} == told(sheet.validate().row_results)


def test_damaged_id() -> None:
    """A damaged id is said once."""
    found = Sheet("id,name", ["4?2", "a"], read_errors={2: [[0, "4?2", "is damaged"]]}).validate()
    assert {2: ['column "id": "4?2" is damaged']} == told(found.row_results)


def test_broken_row() -> None:
    """A row of the wrong length says nothing else that can be trusted."""
    found = Sheet("id,phone", ["x", "ext"], read_errors={2: [[None, "", "has 1 cell too many"]]}).validate()
    assert {2: ["has 1 cell too many"]} == told(found.row_results)


def test_damage_in_an_ignored_column() -> None:
    """Damage where nothing is read from does no harm."""
    sheet = Sheet("id,name,Notes", ["42", "a", "?"], mapping={"Notes": ""}, read_errors={2: [[2, "?", "is damaged"]]})
    assert [Change((2,), "42", {"name": "a"})] == sheet.validate().changes


def test_order() -> None:
    """Changes and results keep the order of the rows."""
    sheet = Sheet("id,phone", *([str(n), "x" if n % 3 else "5"] for n in range(1, 31)))
    found = sheet.validate()
    assert [n + 1 for n in range(1, 31) if n % 3 == 0] == [one.number for one in found.changes]
    assert [n + 1 for n in range(1, 31) if n % 3] == [one.row for one in found.row_results]


def test_counts() -> None:
    """Values and clears of each column are counted, with a few examples."""
    sheet = Sheet(
        "id,name,phone", ["1", "a", "<clear>"], ["2", "b", None], ["3", "a", "5"], ["4", "c", "6"], ["5", "d", "7"]
    )
    sheet.validate()
    name, phone = sheet.validator.counts[1], sheet.validator.counts[2]
    assert (5, ["a", "b", "c"]) == (name.values, name.examples)
    assert (3, 1, ["5", "6", "7"]) == (phone.values, sheet.validator.clears["phone"], phone.examples)


@pytest.mark.parametrize("only_counts", [False, True])
def test_clears_are_counted_by_records(only_counts: bool) -> None:
    """What invalid rows would clear does not count, and the rows of one record count once."""
    rows = [["1", "<clear>", None], ["2", "<clear>", None], ["3", "<clear>", "x"], ["4", "a", "5"]]
    sheet = Sheet("id,name,phone", *rows, only_counts=only_counts)
    sheet.validate()
    assert {"name": 2, "phone": 0} == dict(sheet.validator.clears)
    rows = [["1", "<clear>", None], ["1", "<clear>", None], ["1", None, "x"], ["2", "<clear>", None], ["2", "b", None]]
    sheet = Sheet("id,name,phone", *rows, only_counts=only_counts)
    sheet.validate_duplicates()
    assert {"name": 1, "phone": 0} == dict(sheet.validator.clears)


@pytest.mark.parametrize(
    "cell", ["a; <clear>", "<clear>;b", "a; < CLEAR > ;b", "<clear>;", ";<Clear>", "a;\xa0\uff1cclear>"]
)
def test_the_clear_token_among_items(cell: str) -> None:
    """A list of which one item is the clear token, or nearly, would store that text: it is invalid."""
    sheet = Sheet("id,aliases", [VAYU_ID, cell], endpoint=VAYU)
    said = "has <clear> among its items (write <clear> alone in the cell to empty the list)"
    assert {2: [f'column "aliases": "{cell}" {said}']} == told(sheet.validate().row_results)


def test_items_like_the_clear_token() -> None:
    """An item that only holds the word is a value, and so is a text with a semicolon."""
    sheet = Sheet("id,aliases,legalName", [VAYU_ID, "a; clear; <clear> it", "a; <clear>"], endpoint=VAYU)
    (change,) = sheet.validate().changes
    assert {"aliases": ["a", "clear", "<clear> it"], "legalName": "a; <clear>"} == change.fields


@pytest.mark.parametrize(
    ("rows", "invalid"),
    [
        ([["<clear>", None, None], [None, "not-an-email", None]], {2, 3}),
        ([["<clear>", None, None], [None, "not-an-email", None], [None, None, "Acme"]], {2, 3, 4}),
        ([["<clear>", None, " #N/A"], [None, "a@b.de", None]], {2, 3}),
        ([[None, None, "Acme"], ["<clear>", "a@b.de", None]], {3}),
        ([[None, "not-an-email", None], [None, None, "Acme"]], {2}),
    ],
)
def test_a_whole_and_its_part_in_rows_of_one_record(rows: list[list[str | None]], invalid: set[int]) -> None:
    """A whole is not cleared where another row of the record says something of its part, be it right or wrong."""
    sheet = Sheet("id,contacts,contacts.1.email,name", *([VAYU_ID, *row] for row in rows), endpoint=VAYU)
    found = sheet.validate_duplicates()
    assert invalid == told(found.row_results).keys()
    assert all("contacts" not in change.fields for change in found.changes)


def test_a_conflict_names_the_row_that_clears() -> None:
    """The part's row has both of its problems, and the row that clears names it."""
    rows = [[VAYU_ID, "<clear>", None], [VAYU_ID, None, "not-an-email"]]
    found = told(Sheet("id,contacts,contacts.1.email", *rows, endpoint=VAYU).validate_duplicates().row_results)
    assert (
        'column "contacts.1.email": "not-an-email" cannot be changed while "contacts" is cleared for the same customer '
        "(row 2)"
    ) == found[3][1]
    assert [
        f'column "id": "{VAYU_ID}" is also in rows that do not go together on contacts.1.email (correct those)'
    ] == found[2]


def test_only_counting() -> None:
    """A look that only counts finds the same problems and the same number of changes."""
    rows = [["1", "5"], ["2", "x"], ["3", None], ["y", "6"]]
    full, quick = Sheet("id,phone", *rows).validate(), Sheet("id,phone", *rows, only_counts=True).validate()
    assert (full.row_results, full.count, []) == (quick.row_results, quick.count, quick.changes)


CELL = (
    st.none() | st.text(max_size=6) | st.sampled_from(["<clear>", "5", "true", "yes", "42", "DE", "2026-01-01", "ext"])
)
HEADERS = "id,name,phone,full_address.country,full_address,custom_fields.A,custom_fields[7],custom_fields.B:number"


@given(st.lists(st.lists(CELL, min_size=8, max_size=8), min_size=1, max_size=5))
def test_every_row_has_one_fate(rows: list[list[str | None]]) -> None:
    """Whatever the cells are, each row is in one change or has a fate with a reason, and never both."""
    for found in (Sheet(HEADERS, *rows).validate(), Sheet(HEADERS, *rows).validate_duplicates()):
        numbers = [row for change in found.changes for row in change.rows] + [
            row_result.row for row_result in found.row_results
        ]
        assert list(range(2, len(rows) + 2)) == sorted(numbers)
        assert all(
            row_result.problems and all(one.reason for one in row_result.problems) for row_result in found.row_results
        )
        assert all(change.fields for change in found.changes)


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20).map(str.strip).filter(
    lambda text: text and text != "<clear>"
)  # fmt: skip


@given(TEXT, TEXT, st.booleans(), st.integers(0, 10**9))
def test_cells_to_body_and_back(name: str, city: str, partner: bool, seats: int) -> None:
    """Cells arrive in the body as they stand, and read back as what was wanted."""
    headers = "id,name,full_address.city,custom_fields.P:boolean,custom_fields.S:number"
    (change,) = Sheet(headers, ["42", name, city, str(partner), str(seats)]).validate().changes
    address = {"street": "s", "city": "c", "postal_code": "p"}
    body = DUALENTRY.body(change.fields, {"full_address": address})
    assert (name, address | {"city": city}) == (body["name"], body["full_address"])
    assert [{"P": partner}, {"S": seats}] == body["custom_fields"]
    fields = [
        {"field": {"id": 1, "name": "P"}, "value": {"value": partner}},
        {"field": {"id": 2, "name": "S"}, "value": {"value": str(seats)}},
    ]
    record = {"id": 42, **body, "custom_fields": fields}
    assert [] == [
        key for key, value in change.fields.items() if not DUALENTRY.is_same(key, value, DUALENTRY.value(record, key))
    ]


# -- rows of one id -------------------------------------------------------------------------------------------------


def test_rows_that_agree() -> None:
    """Rows of one id that agree become one change with what they set together."""
    sheet = Sheet("id,name,phone", ["42", "a", None], [" 42 ", "a", "5"], ["42", None, None])
    assert ValidatedRows([Change((2, 3, 4), "42", {"name": "a", "phone": "5"})], [], 1) == sheet.validate_duplicates()


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [("custom_fields.A:number", "5", "5.0"), ("custom_fields.A:boolean", "yes", "TRUE"), ("name", "a", " a ")],
)
def test_rows_that_mean_the_same(header: str, first: str, second: str) -> None:
    """Rows agree when their values are the same, however they are written."""
    found = Sheet(f"id,{header}", ["42", first], ["42", second]).validate_duplicates()
    assert [(2, 3)] == [one.rows for one in found.changes]


def test_rows_that_disagree() -> None:
    """Rows that disagree are all invalid, and all say the same, so that one mistake is one line."""
    sheet = Sheet("id,name", ["42", "a"], ["42", "a"], ["42", "b"])
    differs = 'differs between rows of one customer: row 2 says "a", row 4 "b"'
    expected = {row: [f'column "name": "{said}" {differs}'] for row, said in {2: "a", 3: "a", 4: "b"}.items()}
    assert ([], expected) == (sheet.validate_duplicates().changes, told(sheet.validate_duplicates().row_results))


def test_bystander_of_a_disagreement() -> None:
    """A row beside others that disagree is not sent without them, and says which ones they are."""
    found = Sheet("id,name,phone", ["42", "a", None], ["42", "b", None], ["42", None, "5"]).validate_duplicates()
    expected = 'column "id": "42" is also in rows 2 and 3, which differ on name (correct those)'
    assert ([], [expected]) == (found.changes, told(found.row_results)[4])


@pytest.mark.parametrize(("first", "second"), [("<clear>", "null"), ("<clear>", "a"), ("null", "<clear>")])
def test_clear_against_value(first: str, second: str) -> None:
    """Clearing disagrees with any value, also with the word null."""
    found = Sheet("id,name", ["42", first], ["42", second]).validate_duplicates()
    expected = f'column "name": "{first}" differs between rows of one customer: row 2 says "{first}", row 3 "{second}"'
    assert ([], [expected]) == (found.changes, told(found.row_results)[2])


def test_true_against_text() -> None:
    """A value disagrees with a text that spells it, where the two are not the same to the API."""
    found = Sheet("id,custom_fields.A", ["42", "true"], ["42", '"true"']).validate_duplicates()
    assert [2, 3] == list(told(found.row_results))


def test_whole_cleared_and_part_set_in_two_rows() -> None:
    """One row that clears an address and another that sets a part of it are both invalid, not silently merged."""
    reason = 'cannot be changed while "full_address" is cleared for the same customer (row 2)'
    found = Sheet(
        "id,full_address,full_address.city", ["42", "<clear>", None], ["42", None, "Bonn"]
    ).validate_duplicates()
    expected = {
        2: ['column "id": "42" is also in rows that do not go together on full_address.city (correct those)'],
        3: [f'column "full_address.city": "Bonn" {reason}'],
    }
    assert ([], expected) == (found.changes, told(found.row_results))


def test_wrong_row_beside_a_right_one() -> None:
    """A row with a wrong cell of its own does not hold back another that does not disagree."""
    found = Sheet("id,name,phone", ["42", "a", None], ["42", None, "ext"]).validate_duplicates()
    assert ([(2,)], [3]) == ([one.rows for one in found.changes], list(told(found.row_results)))


def test_wrong_cell_against_a_value() -> None:
    """A cell that cannot be read disagrees with one that can: nobody knows which is meant."""
    found = Sheet("id,phone", ["42", "555"], ["42", "ext"]).validate_duplicates()
    assert ([], [2, 3]) == (found.changes, list(told(found.row_results)))


def test_broken_row_disagrees_with_nobody() -> None:
    """A row of the wrong length, whose cells may have shifted, does not make others invalid."""
    read_errors = {3: [[None, "", "has 1 cell too few"]]}
    found = Sheet("id,name", ["42", "a"], ["42", "b"], read_errors=read_errors).validate_duplicates()
    assert ([(2,)], {3: ["has 1 cell too few"]}) == ([one.rows for one in found.changes], told(found.row_results))


def test_damaged_cell_disagrees_with_nobody() -> None:
    """A damaged cell makes its own row invalid, not the other."""
    found = Sheet(
        "id,name", ["42", "a"], ["42", "a?"], read_errors={3: [[1, "a?", "is damaged"]]}
    ).validate_duplicates()
    assert ([(2,)], [3]) == ([one.rows for one in found.changes], list(told(found.row_results)))


def test_ids_in_two_cases() -> None:
    """Vayu's ids are the same in either case."""
    ids = ["65f00000000000000000000A", "65F00000000000000000000a"]
    found = Sheet("id,name,subsidiary", [ids[0], "a", None], [ids[1], None, "x"], endpoint=VAYU).validate_duplicates()
    assert [((2, 3), ids[0])] == [(one.rows, one.id) for one in found.changes]


def test_long_text_in_a_disagreement() -> None:
    """The other row's text is cut where it is quoted."""
    found = Sheet("id,name", ["42", "a" * 999], ["42", "b"]).validate_duplicates()
    assert f'row 2 says "{"a" * 79}…"' in told(found.row_results)[3][0]


class Counting(DualEntryCustomers):
    """An endpoint that counts how often it is asked."""

    asked = 0

    def conflicts(self, fields: Mapping[str, Any], *, reads_before_write: bool) -> list[Problem]:
        Counting.asked += 1
        return super().conflicts(fields, reads_before_write=reads_before_write)


def test_many_rows_of_one_id() -> None:
    """10,000 rows of one id cost no more questions, and say no more each, than two rows do."""
    Counting.asked = 0
    sheet = Sheet("id,name,full_address.city", *(["42", str(n), "x"] for n in range(10_000)), endpoint=Counting())
    found = sheet.validate_duplicates()
    assert (10_000, {1}) == (len(found.row_results), {len(row_result.problems) for row_result in found.row_results})
    assert 5 > Counting.asked


# -- the whole input ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def staged(folder: Path, frame: pl.DataFrame) -> Staged:
    frame.write_parquet(folder / "input.parquet", row_group_size=1000)
    return Staged(folder / "input.parquet", "x.csv", "csv", ("id", "name"), frame.height, "")


def test_doubles(folder: Path) -> None:
    """Ids that occur more than once are found, spaces and case aside; empty ones are not ids."""
    ids = ["a1", "b", " A1 ", None, "c", "", "b", None, "a1", "", "a1\x1f"]
    found = find_duplicates(staged(folder, make_frame([[one, "x"] for one in ids])), 0, ignore_case=True)
    assert ({(2, 4, 10), (3, 8)}, {2, 3, 4, 8, 10}) == (set(found.groups), found.rows)


@given(st.lists(st.sampled_from(["a", "A", "b ", "b", "c", "", None]), min_size=1), st.booleans())
def test_any_doubles(ids: list[str | None], ignore_case: bool) -> None:
    """The groups are those that grouping by hand gives, with upper and lower case told apart or not."""
    groups: dict[str, list[int]] = {}
    for number, one in enumerate(ids, 2):
        name = (one or "").strip()
        groups.setdefault(name.lower() if ignore_case else name, []).append(number)
    expected = {tuple(rows) for name, rows in groups.items() if name and len(rows) > 1}
    with tempfile.TemporaryDirectory() as name:
        found = find_duplicates(staged(Path(name), make_frame([[one, "x"] for one in ids])), 0, ignore_case=ignore_case)
    assert expected == set(found.groups)


class Pulled:
    """Frames of a large input, which remembers how far it was pulled, and what rows were read again."""

    def __init__(self, sheet: Sheet, size: int) -> None:
        self.sheet, self.size, self.given, self.read = sheet, size, 0, []  # type: ignore[var-annotated]  # of lists of rows

    def frames(self) -> Iterator[pl.DataFrame]:
        for frame in self.sheet.frame.iter_slices(self.size):
            self.given += 1
            yield frame

    def rows(self, numbers: Sequence[int]) -> pl.DataFrame:
        self.read.append(list(numbers))
        return self.sheet.frame.filter(pl.col(ROW).is_in(list(numbers)))


def test_frames_are_pulled(folder: Path) -> None:
    """Frames are sifted as they are pulled, one at a time; what is apart comes at the end, in pieces of its own."""
    rows = [[str(n % 16_000 + 1), "x"] for n in range(32_000)] + [[str(n), "x"] for n in range(50_000, 52_000)]
    sheet = Sheet("id,name", *rows)
    pulled = Pulled(sheet, 1000)
    duplicates = find_duplicates(staged(folder, sheet.frame), 0, ignore_case=True)
    validated = iter_validated(pulled.frames(), sheet.validator, duplicates, pulled.rows)
    first = next(validated)
    assert (33, 50_000) == (pulled.given, int(first.changes[0].id))
    rest = list(validated)
    assert 18_000 == first.count + sum(one.count for one in rest)
    assert max(map(len, pulled.read)) <= GROUP_ROWS + 2
    assert all(numbers == sorted(numbers) for numbers in pulled.read)


MEASURE = """
import resource, sys
from pathlib import Path
from batch.validation import find_duplicates
from batch.model import Staged
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
find_duplicates(Staged(path.with_name("small.parquet"), "x.csv", "csv", ("id",), 1, ""), 0, ignore_case=True)
before = peak()
print(find_duplicates(Staged(path, "x.csv", "csv", ("id",), 500_000, ""), 0, ignore_case=True).groups, peak() - before)
"""


def test_finding_doubles_takes_little_memory(folder: Path) -> None:
    """Half a million ids of 300 characters are compared in far less memory than they take."""
    ids = pl.select(pl.int_range(1, 500_001).cast(pl.String).str.pad_start(300, "0")).to_series()
    frame = pl.DataFrame({ROW: pl.int_range(2, 500_002, dtype=pl.UInt32, eager=True), "c0": ids})
    frame.write_parquet(folder / "input.parquet", row_group_size=10_000)
    frame.head(1).write_parquet(folder / "small.parquet")
    command = [sys.executable, "-c", MEASURE, str(folder / "input.parquet")]
    groups, kilobytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "()" == groups
    assert 100_000 > int(kilobytes)


@pytest.mark.parametrize(
    "cell",
    [
        "<CLEAR>", "< clear >", " <Clear>", "<cle ar>", "<clear>\u200b", "\ufeff<clear>", "<cl\xadear>",
        "\uff1cclear\uff1e", "&lt;clear&gt;",
    ],
)  # fmt: skip
def test_nearly_the_clear_token(cell: str) -> None:
    """A text that is nearly the clear token is no name to be written: its row is invalid, and told why."""
    (row_result,) = Sheet("id,name", ["42", cell]).validate().row_results
    assert ["is not quite <clear> (write exactly <clear> to empty the field)"] == [
        one.reason for one in row_result.problems
    ]


@pytest.mark.parametrize("cell", ["#N/A", "#REF!", " #DIV/0!", "#NAME?"])
def test_errors_of_spreadsheet_programs(cell: str) -> None:
    """What a formula that failed left in a CSV file is neither a value nor a blank."""
    (row_result,) = Sheet("id,name", ["42", cell]).validate().row_results
    expected = "is an error of the spreadsheet program, no value (correct the formula, or leave the cell blank)"
    assert [expected] == [one.reason for one in row_result.problems]


def test_clears_of_invalid_rows_do_not_count() -> None:
    """What a row that stays behind would clear is not counted among the clears that a person says yes to."""
    sheet = Sheet("id,name,phone", ["42", "<clear>", "ext. 5"], ["43", "<clear>", ""])
    validator = sheet.validator
    sheet.validate()
    assert 1 == validator.clears["name"]
