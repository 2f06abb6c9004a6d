"""The words as frozen types: messages, cell names, and foreign text made visible."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import batch
from batch.model import (
    NEEDS_EDIT,
    NEEDS_RETRY,
    Change,
    Column,
    CsvDialect,
    Field,
    Intent,
    Outcome,
    Problem,
    RowResult,
    SheetStyle,
    Staged,
    cell_column,
    column_letters,
    command,
    command_line,
    original_column,
    shorten,
    visible,
)
from tests.worded import worded

STYLE = SheetStyle("Customers", first_row=3, first_column=2)


def staged(style: SheetStyle | None) -> Staged:
    return Staged(Path("input.parquet"), "x", "xlsx", ("id",), 1, "", style=style)


def test_outcomes() -> None:
    """There are seven outcomes, told in this order, and each asks for at most one next step."""
    expected = ["updated", "unchanged", "invalid", "rejected", "failed", "unknown", "unsent"]
    assert expected == [outcome.value for outcome in Outcome]
    assert {"updated", "unchanged"} == set(expected) - NEEDS_EDIT - NEEDS_RETRY
    assert frozenset() == NEEDS_EDIT & NEEDS_RETRY


@pytest.mark.parametrize(
    "value",
    [
        worded("x"), RowResult(2, "42", Outcome.UPDATED), CsvDialect(), STYLE, staged(None), Field("name", str),
        Column(0, "id", "id"), Change((2,), "42", {}), Intent(2, "42", None, 0, {}, None, {}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_frozen(value: Any) -> None:
    """Nobody changes a value once it is made, and nobody adds to it."""
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (worded("is empty"), "is empty"),
        (worded("is empty", header="Cust#"), 'column "Cust#": is empty'),
        (
            worded("has letters", field="phone", header="Phone", cell="F17", seen="ext. 5"),
            'column "Phone": "ext. 5" has letters',
        ),
        (worded("is too long", seen="x" * 100), f'"{"x" * 79}…" is too long'),
    ],
)
def test_message(problem: Problem, expected: str) -> None:
    """A problem is one sentence: where, what was seen, what is wrong."""
    assert expected == problem.message


@pytest.mark.parametrize(("text", "expected"), [("abc", "abc"), ("abcd", "ab…"), ("", "")])
def test_shorten(text: str, expected: str) -> None:
    """A text that is too long is cut to the limit, the mark of the cut included."""
    assert expected == shorten(text, 3)


@pytest.mark.parametrize(
    ("number", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (52, "AZ"), (702, "ZZ"), (703, "AAA"), (16384, "XFD")]
)
def test_column_letters(number: int, letters: str) -> None:
    """Columns are named as spreadsheets name them."""
    assert letters == column_letters(number)


@given(st.integers(1, 10**6))
def test_every_column_has_its_own_letters(number: int) -> None:
    """Letters count in base 26 without a zero."""
    value = 0
    for letter in column_letters(number):
        value = value * 26 + ord(letter) - 64
    assert number == value


def test_cell() -> None:
    """A cell of a workbook has a name; cells of other inputs have none."""
    assert ("D17", "") == (staged(STYLE).cell(17, 2), staged(None).cell(17, 2))


def test_staged_columns() -> None:
    """The columns of the staged input are named by the place of the input's."""
    assert ("c0", "o12") == (cell_column(0), original_column(12))


def test_change_number() -> None:
    """A change is called by its first row."""
    assert 2 == Change((2, 7), "42", {}).number


@pytest.mark.parametrize(
    ("role", "field", "target"),
    [
        ("id", None, "id"),
        ("ignored", None, ""),
        ("field", Field("phone", str), "phone"),
        ("key", Field("unique_id", str), "unique_id"),
    ],
)
def test_column_target(role: Any, field: Field | None, target: str) -> None:
    """A column's target is what it stands for."""
    assert target == Column(0, "x", role, field).target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zoë", "Zoë"), ("a\nb\tc\rd", "a b c d"), ("\x1b[31m", "\\x1b[31m"), ("\x07\x7f\x9b", "\\x07\\x7f\\x9b"),
        ("a\u202eb", "a\\u202eb"), ("\ufeffx\u200b", "\\ufeffx\\u200b"), ("\u2028", "\\u2028"), ("👍🏽", "👍🏽"),
    ],
)  # fmt: skip
def test_visible(text: str, expected: str) -> None:
    """Escape sequences, bidi marks and invisible characters of foreign text are shown, not obeyed."""
    assert expected == visible(text)


@given(st.text())
def test_visible_is_safe(text: str) -> None:
    """No control character survives, and making visible twice changes nothing more."""
    once = visible(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in once)
    assert once == visible(once)


@pytest.mark.parametrize(
    ("started", "path", "given", "expected"),
    [
        ("batch", "", None, "batch"),
        ("{here}/batch", "{here}", None, "batch"),
        ("{here}/batch", "{other}:{here}", None, "{here}/batch"),
        ("{here}/batch", "", None, "{here}/batch"),
        ("{here}/batch-update", "{other}:{here}", None, "batch-update"),
        ("{package}/__main__.py", "{here}", None, "{python} -P -m batch"),
        ("{other}/__main__.py", "{here}", None, "batch"),
        ("/usr/bin/airflow", "{here}", None, "batch"),
        ("{here}/batch", "{here}", "./run.sh", "./run.sh"),
    ],
)
def test_command(
    started: str, path: str, given: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What starts the program is its name where the PATH leads to it, and not to the `batch` of `at`; else its path."""
    here, other = tmp_path / "here", tmp_path / "other"
    for script in (here / "batch", here / "batch-update", other / "batch"):
        script.parent.mkdir(exist_ok=True)
        script.touch(0o755)
    words = {"here": here, "other": other, "package": Path(batch.__file__).parent, "python": sys.executable}
    monkeypatch.setattr(sys, "argv", [started.format(**words)])
    monkeypatch.setattr(sys, "flags", SimpleNamespace(safe_path=True))
    monkeypatch.setenv("PATH", path.format(**words))
    monkeypatch.delenv("BATCH_COMMAND", raising=False)
    if given:
        monkeypatch.setenv("BATCH_COMMAND", given)
    assert expected.format(**words) == command()


def test_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pasted is several words to a shell, each as it was meant."""
    monkeypatch.setenv("BATCH_COMMAND", "python -m batch")
    assert "python -m batch undo 'my run'" == command_line("undo", "my run")
