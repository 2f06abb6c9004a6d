"""Cells: text becomes a value, or a reason in words; nothing is guessed."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from batch.endpoints import cell_types
from batch.validation import cell_problem

NO_NUMBER = "is not a number (use digits, a minus sign and one decimal mark)"
TOO_LONG = "has more digits than can be sent without rounding it (use at most 15 digits)"
TWO_DAYS = "may be day/month/year or month/day/year (say which: --date-format dmy or --date-format mdy)"
NO_DATE = "is not a date (write it as 2026-04-03)"


def read(kind: Any, cell: str) -> Any:
    """The value of a cell, or what is wrong with it."""
    try:
        return TypeAdapter(kind).validate_python(cell)
    except ValidationError as error:
        return cell_problem(error.errors()[0], None, cell).reason


@pytest.mark.parametrize("cell", ["true", "TRUE", " Yes ", "yes", "1"])
def test_true(cell: str) -> None:
    """True, yes and 1 are true, in any case."""
    assert True is read(cell_types.BOOLEAN, cell)


@pytest.mark.parametrize("cell", ["false", "False", "NO", "no ", "0"])
def test_false(cell: str) -> None:
    """False, no and 0 are false, in any case."""
    assert False is read(cell_types.BOOLEAN, cell)


@pytest.mark.parametrize("cell", ["on", "y", "2", "", "truee", "１"])
def test_no_boolean(cell: str) -> None:
    """Anything else is no boolean, and the message lists what is."""
    assert "is neither yes nor no (use true, false, yes, no, 1 or 0)" == read(cell_types.BOOLEAN, cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("5", 5),
        ("-5", -5), ("+5", 5), ("007", 7), ("0", 0), (" 12 ", 12), ("1.5", 1.5), ("1.10", 1.1), ("0.123", 0.123),
        ("1,5", 1.5), ("0,123", 0.123), ("1,234,567", 1234567), ("1.234.567", 1234567), ("1,234.5", 1234.5),
        ("1.234,5", 1234.5), ("1234.567", 1234.567), ("123456789012345", 123456789012345), ("12.0", 12),
    ],
)  # fmt: skip
def test_number(cell: str, expected: float) -> None:
    """A number that can be read in one way only is that number."""
    found = read(cell_types.number(), cell)
    assert (expected, type(expected)) == (found, type(found))


@pytest.mark.parametrize(
    "cell", ["1e5", "1E5", "NaN", "inf", "0x10", "1_000", "٣", "1 000", "--5", "5-", "12,34,5.6", ".", ""]
)
def test_no_number(cell: str) -> None:
    """What a program might take for a number, but a person need not have meant, is refused."""
    assert NO_NUMBER == read(cell_types.number(), cell)


@pytest.mark.parametrize(
    ("cell", "readings"), [("1,234", "1234 or 1.234"), ("1.234", "1234 or 1.234"), ("-12.500", "-12500 or -12.500")]
)
def test_ambiguous_number(cell: str, readings: str) -> None:
    """A number with two readings is refused with both, and with the option that decides."""
    assert f"may mean {readings} (say which mark is the decimal one: --decimal)" == read(cell_types.number(), cell)


@pytest.mark.parametrize(
    ("decimal", "cell", "expected"),
    [
        (".", "1,234", 1234),
        (",", "1,234", 1.234),
        (".", "1.234", 1.234),
        (",", "1.234", 1234),
        (",", "1.234,50", 1234.5),
    ],
)
def test_decimal_mark_decides(decimal: Any, cell: str, expected: float) -> None:
    """With --decimal, a number has one reading."""
    assert expected == read(cell_types.number(decimal), cell)


@pytest.mark.parametrize(("decimal", "cell"), [(".", "1,5"), (".", "1.234,5"), (",", "1,234.5")])
def test_other_decimal_mark(decimal: Any, cell: str) -> None:
    """With --decimal, a number written with the other mark is refused."""
    assert NO_NUMBER == read(cell_types.number(decimal), cell)


@pytest.mark.parametrize(
    "cell", ["12345678901234567.5", "9007199254740993", "9" * 400, "9" * 5000, "0.1234567890123456789"]
)
def test_number_that_would_be_rounded(cell: str) -> None:
    """A number with more digits than JSON's readers keep is refused, whole ones too."""
    assert TOO_LONG == read(cell_types.number(), cell)


@given(st.integers(-(10**15), 10**15))
def test_every_whole_number(number: int) -> None:
    """Whole numbers of up to 15 digits arrive in the body as they stand."""
    assert str(number) == json.dumps(read(cell_types.number("."), str(number)))


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4), st.sampled_from([".", ","]))
def test_every_decimal_number(number: Any, mark: Any) -> None:
    """Decimals arrive in the body as the same number, whatever the mark."""
    assert float(number) == read(cell_types.number(mark), str(number).replace(".", mark))


@given(st.text())
def test_number_of_any_text(cell: str) -> None:
    """Any text is a finite number or a problem."""
    found = read(cell_types.number(), cell)
    assert isinstance(found, str) or json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2026-04-03", "2026-04-03"), ("2026-04-03 00:00:00", "2026-04-03"), ("2026-04-03T00:00:00.000", "2026-04-03"),
        ("31/12/2026", "2026-12-31"),
        ("12/31/2026", "2026-12-31"), ("3.3.2026", "2026-03-03"), ("29-2-2024", "2024-02-29"),
    ],
)  # fmt: skip
def test_date(cell: str, expected: str) -> None:
    """A date that can be read in one way only is sent as ISO writes it."""
    assert expected == read(cell_types.date(), cell)


@pytest.mark.parametrize("cell", ["03/04/2026", "3.4.2026", "12-11-2026"])
def test_ambiguous_date(cell: str) -> None:
    """A date with two readings is refused with both, and with the option that decides."""
    assert TWO_DAYS == read(cell_types.date(), cell)


@pytest.mark.parametrize(("order", "expected"), [("dmy", "2026-04-03"), ("mdy", "2026-03-04")])
def test_date_format_decides(order: Any, expected: str) -> None:
    """With --date-format, a date has one reading, and ISO dates are still read."""
    assert (expected, "2026-01-02") == (
        read(cell_types.date(order), "03/04/2026"),
        read(cell_types.date(order), "2026-01-02"),
    )


@pytest.mark.parametrize(
    "cell", ["2026-02-30", "2026-4-3", "46115", "April 3", "03/04/26", "2026-04-03 13:00", "٢٠٢٦-٠٤-٠٣", ""]
)
def test_no_date(cell: str) -> None:
    """What is no calendar day, or has a time of day that would be lost, is refused."""
    assert NO_DATE == read(cell_types.date(), cell)


def test_date_in_the_other_order() -> None:
    """With --date-format mdy, a date that fits day first only is refused."""
    assert NO_DATE == read(cell_types.date("mdy"), "31/12/2026")


@given(st.dates())
def test_every_date(day: date) -> None:
    """Every ISO date stays as it is."""
    assert day.isoformat() == read(cell_types.date(), day.isoformat())


def test_choice() -> None:
    """A choice ignores case and sends the API's own spelling."""
    assert "HubSpot" == read(cell_types.choice("Api", "HubSpot"), " hubspot ")


def test_no_choice() -> None:
    """What is not on the list gets the list, and the nearest one."""
    expected = "is not one of Stripe, HubSpot; did you mean HubSpot?"
    assert expected == read(cell_types.choice("Stripe", "HubSpot"), "Hubspott")


def test_long_list_of_choices() -> None:
    """A long list is cut, and says how much of it was."""
    options = [f"o{number}" for number in range(20)]
    assert f"is not one of {', '.join(options[:15])} and 5 more" == read(cell_types.choice(*options), "zzzz")


def test_choices_that_differ_in_case_only() -> None:
    """Of two choices that differ in case only, the exact one is taken, and a third spelling is refused."""
    kind = cell_types.choice("Gold", "gold")
    found = (read(kind, "Gold"), read(kind, "gold"), read(kind, "GOLD"))
    assert ("Gold", "gold", "is not one of Gold, gold; did you mean Gold?") == found


@given(st.lists(st.sampled_from(["Red", "Green", "Blue sky"]), min_size=1))
def test_list_of_choices(items: list[str]) -> None:
    """Several choices go between semicolons."""
    assert items == read(cell_types.choice_list("Red", "Green", "Blue sky"), " ;".join(items).upper())


def test_wrong_item_in_list_of_choices() -> None:
    """One wrong item makes the cell wrong."""
    assert "is not one of Red, Green; did you mean Green?" == read(
        cell_types.choice_list("Red", "Green"), "red; greeen"
    )


ITEMS = st.lists(st.text(st.characters(blacklist_characters=";", blacklist_categories=("Cs",)), min_size=1), min_size=1)


@given(ITEMS)
def test_every_list(items: list[str]) -> None:
    """A list of texts comes back as it went in, but for spaces around the items and empty ones."""
    expected = [item.strip() for item in items if item.strip()]
    found = read(cell_types.TEXT_LIST, "; ".join(items))
    assert (expected or NO_ITEM) == found


NO_ITEM = "has no item in it (use <clear> to empty the list, or leave the cell blank)"


def test_list_of_nothing() -> None:
    """Separators alone never empty a list."""
    assert NO_ITEM == read(cell_types.TEXT_LIST, " ; ;; ")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("true", True), ("false", False), ("True", "True"), ("1", "1"), (" true", " true"), ("007", "007")],
)
def test_custom_field_of_unknown_type(cell: str, expected: Any) -> None:
    """Without a definition everything is text, except exactly true and false."""
    assert expected is read(cell_types.CUSTOM_TEXT, cell) or expected == read(cell_types.CUSTOM_TEXT, cell)


def test_whole_object() -> None:
    """A whole object cannot be set from one cell."""
    expected = "cannot be set as a whole (use one column for each part, or <clear> to empty it)"
    assert expected == read(cell_types.ONLY_CLEAR, "Main St 1")


@given(st.text(st.characters(blacklist_categories=("Cs",))))
def test_text_stays(cell: str) -> None:
    """Text arrives as it stands; only where it may, spaces around it are dropped."""
    assert (cell, cell.strip()) == (read(cell_types.text(trim=False), cell), read(cell_types.text(), cell).strip())
