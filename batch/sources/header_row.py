"""Which row of a table is its header: the one with the most names of fields; what stands above it is told."""

from collections.abc import Callable, Iterable, Sequence

from batch.model import first_few, shorten, visible

LOOK_AHEAD = 20
"""Rows among which the header is looked for."""
MIN_KNOWN = 2
"""Headers that must be known where a row is taken for the header that is not the first one."""


def find_header_row(rows: Iterable[tuple[int, Sequence[str]]], is_known: Callable[[str], bool]) -> int:
    """Return which of `rows` (number and texts) is the header: the first of those with the most names of fields.

    The first row, if no other one has at least `MIN_KNOWN` of them, or one below a title of a single cell.
    """
    scored = [(row, len(texts), sum(map(is_known, texts))) for row, texts in rows]
    first, width, _ = scored[0]
    row, cells, known = max(scored, key=lambda one: one[2])
    return row if known >= MIN_KNOWN or (known and width == 1 and cells > 1) else first


def skipped_note(row: int, above: Iterable[str]) -> str:
    """Say which row is the header, and what stands above it; "" where nothing does."""
    texts = [f'"{shorten(visible(text.strip()), 40)}"' for text in above if text.strip()]
    if not texts:
        return ""
    listed = first_few(texts[:SHOWN_TEXTS], len(texts))
    return f"The header is row {row}. What stands above it was left out: {listed}."


SHOWN_TEXTS = 3
"""Texts above the header that its note lists."""
