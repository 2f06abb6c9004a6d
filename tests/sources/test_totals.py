"""Rows of totals: what is one, what is not, and that only workbooks have them."""

import re
from pathlib import Path
from typing import Any

import pytest

from batch.columns import is_id_header
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.sources import ReadOptions, open_input, stage
from batch.sources.totals import WORD, Totals
from tests.sources.test_header_row import numbers, write

ROWS: list[list[Any]] = [
    ["ID", "Name", "Saldo"], [10001, "Acme", 5], ["", "Zwischensumme Bayern", 5], [], [10002, "Total", 7],
    ["", "Total Energies", 1], ["Summe", "", 13], ["", "", "Total"],
]  # fmt: skip


def read(path: Path, key: str | None = None, **options: Any) -> Any:
    """Stage a file as a run does."""
    totals = Totals(is_id_header(DualEntryCustomers(), {}, key), key is not None)
    return stage(open_input(str(path), path.parent), path.parent, ReadOptions(totals=totals, **options))


def test_workbook(tmp_path: Path) -> None:
    """Rows without an id that begin with the word are left out and told; a customer's own name never makes one."""
    found = read(write(tmp_path / "kunden.xlsx", ROWS))
    assert ([2, 5, 6], (3, 7, 8), 3) == (numbers(found), found.left_out, found.rows)
    note = "3 rows of totals were left out, without an id and with a word such as Total: 3, 7, 8."
    assert (note, "1 blank row was left out.") == found.notes


def test_limit(tmp_path: Path) -> None:
    """They do not count among the first rows."""
    found = read(write(tmp_path / "kunden.xlsx", ROWS), limit=2)
    assert ([2, 5], (3,)) == (numbers(found), tuple(row for row in found.left_out if row < 5))


def test_csv(tmp_path: Path) -> None:
    """In CSV they stay rows, which are invalid: nobody looks at one and sees which line is a total."""
    found = read(write(tmp_path / "kunden.csv", ROWS))
    assert ([2, 3, 5, 6, 7, 8], ()) == (numbers(found), found.left_out)


def test_key(tmp_path: Path) -> None:
    """A number of one's own may be any text, so that only a row without one is a total."""
    rows = [["Kd-Nr", "Name"], ["Total", "Acme"], ["", "Total"]]
    found = read(write(tmp_path / "kunden.xlsx", rows), key="unique_id")
    assert ([2], (3,)) == (numbers(found), found.left_out)


TOTALS = ["Total", "TOTALS:", "Summe EUR", "Zwischensumme Nord", "Sub-Total", "Total: 1.234,50 €"]
NAMES = ["Total Energies", "Totally", "Sumitomo", "Summer GmbH", "Sum Inc", "Subtotalia", "Acme"]


@pytest.mark.parametrize("text", TOTALS)
def test_words(text: str) -> None:
    """The word, with an amount or a currency, or a subtotal with what it is of."""
    assert _is_word(text)


@pytest.mark.parametrize("text", NAMES)
def test_names(text: str) -> None:
    """A name that begins like a word is none."""
    assert not _is_word(text)


def _is_word(text: str) -> bool:
    return re.search(WORD.replace(r"[^\p{L}]", r"[\W\d_]"), text) is not None
