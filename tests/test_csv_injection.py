"""Texts that a spreadsheet program would execute are made safe, and come back as they were."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.csv_injection import escape_formula, guard, unguard

TEXTS = st.text() | st.text(alphabet="'=@+-\t\r\n 1a(.)/,", max_size=8)


def escaped(text: str) -> str:
    """Escape one text for a file that a person reads."""
    return str(pl.DataFrame({"x": [text]}).select(escape_formula(pl.col("x"))).item())


def guarded(text: str) -> str:
    """Guard one text for a file that is read again."""
    return str(pl.DataFrame({"x": [text]}).select(guard(pl.col("x"))).item())


def unguarded(text: str) -> str:
    """Undo the guard of one text."""
    return str(pl.DataFrame({"x": [text]}).select(unguard(pl.col("x"))).item())


@given(TEXTS)
@settings(deadline=None)
def test_out_and_back(text: str) -> None:
    """Every text comes back as it was."""
    assert text == unguarded(guarded(text))


@given(TEXTS)
@settings(deadline=None)
def test_only_one_apostrophe_is_added(text: str) -> None:
    """A text is either as it was, or has one apostrophe before it; and nothing that is left can be executed."""
    for found in (escaped(text), guarded(text)):
        assert found in (text, f"'{text}")
        assert not found.startswith(("=", "@", "\t", "\r"))


@pytest.mark.parametrize("rest", ["+49 30 1234", "030 1234", "-5", "Acme Ltd", "'x", "", "=2"])
def test_the_guard_goes_whatever_is_behind_it(rest: str) -> None:
    """What a file guards is read without its apostrophe, whatever a person made of the rest of the cell."""
    assert "'+49 30 ext. 5" == guarded("+49 30 ext. 5")
    assert rest == unguarded(f"'{rest}")


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
    assert (expected, expected) == (escaped(text), guarded(text))


@pytest.mark.parametrize(
    "text",
    ["-5", "-1.234,50", "+44 20 7946", "+49 (0)30/1234-5", "", "a=1", " =1", "-", "1-2", "<clear>"],
)
def test_left_alone(text: str) -> None:
    """Numbers and telephone numbers stay as they are, both ways."""
    assert (text, text, text) == (escaped(text), guarded(text), unguarded(text))


@pytest.mark.parametrize("text", ["'x", "'", "'+44", "''"])
def test_an_apostrophe_of_its_own(text: str) -> None:
    """A text with an apostrophe in front stays as it is for a person, and gets another one where it is read again."""
    assert (text, f"'{text}") == (escaped(text), guarded(text))


def test_null_stays_null() -> None:
    """A blank cell stays blank."""
    frame = pl.DataFrame({"x": [None, "=1"]}, schema={"x": pl.String})
    assert [None, "'=1"] == frame.select(escape_formula(pl.col("x"))).to_series().to_list()
