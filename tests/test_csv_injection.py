"""Texts that a spreadsheet program would execute are made safe, and come back as they were."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.csv_injection import escape_formula, unescape_formula

TEXTS = st.text() | st.text(alphabet="'=@+-\t\r\n 1a(.)/,", max_size=8)


def guard(text: str) -> str:
    """Guard one text."""
    return str(pl.DataFrame({"x": [text]}).select(escape_formula(pl.col("x"))).item())


def unguard(text: str) -> str:
    """Undo the guard of one text."""
    return str(pl.DataFrame({"x": [text]}).select(unescape_formula(pl.col("x"))).item())


@given(TEXTS)
@settings(deadline=None)
def test_out_and_back(text: str) -> None:
    """Every text comes back as it was."""
    assert text == unguard(guard(text))


@given(TEXTS)
@settings(deadline=None)
def test_only_one_apostrophe_is_added(text: str) -> None:
    """A text is either as it was, or has one apostrophe before it; and nothing that is left can be executed."""
    found = guard(text)
    assert found in (text, f"'{text}")
    assert not found.startswith(("=", "@", "\t", "\r"))


@given(TEXTS)
@settings(deadline=None)
def test_what_needs_no_guard_is_never_changed(text: str) -> None:
    """A text that is written as it stands is read as it stands."""
    if guard(text) == text:
        assert text == unguard(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("'=1+1", "''=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("+HYPERLINK(1)", "'+HYPERLINK(1)"),
        ("-2\n=1", "'-2\n=1"),
        ("'-x", "''-x"),
    ],
)
def test_guarded(text: str, expected: str) -> None:
    """What begins like a formula gets an apostrophe."""
    assert expected == guard(text)


@pytest.mark.parametrize(
    "text",
    ["-5", "-1.234,50", "+44 20 7946", "+49 (0)30/1234-5", "'x", "'", "", "a=1", " =1", "-", "1-2", "<clear>", "'+44"],
)
def test_left_alone(text: str) -> None:
    """Numbers, telephone numbers and texts with an apostrophe stay as they are, both ways."""
    assert (text, text) == (guard(text), unguard(text))


def test_null_stays_null() -> None:
    """A blank cell stays blank."""
    frame = pl.DataFrame({"x": [None, "=1"]}, schema={"x": pl.String})
    assert [None, "'=1"] == frame.select(escape_formula(pl.col("x"))).to_series().to_list()
