"""What a person is told about how a workbook was read: whole sentences, each naming its column."""

from collections.abc import Iterator, Mapping, Sequence

from batch.sources.excel.header import Header
from batch.sources.excel.sheets import counted

SHOWN = 5


def iter_column_notes(header: Header, counts: Mapping[tuple[int, str], int]) -> Iterator[str]:
    """Yield what is to be said of the columns' values; `counts` is `Values.counts`."""
    for column in range(header.left, header.right + 1):
        found = {what: number for (one, what), number in counts.items() if one == column}
        name = header.column(column)
        name = name[0].upper() + name[1:]
        if number := found.get("percent"):
            yield f"{name}: {counted(number, 'percentage')} taken as stored (25% is 0.25)."
        if number := found.get("currency"):
            yield f"{name}: {counted(number, 'amount')} taken as stored, without the currency sign."
        if number := found.get("words"):
            yield f"{name}: {counted(number, 'number')} taken as stored, without what the cell's format adds to them."
        if number := found.get("formula"):
            yield f"{name}: {counted(number, 'formula')}, taken with the result that is stored in the file."
        if found.get("numbers") and found.get("zeros"):
            yield (
                f"{name} has numbers and texts mixed: {counted(found['numbers'], 'number')}, and "
                f"{counted(found['zeros'], 'text')} beginning with 0. "
                "If the numbers began with 0 too, Excel has dropped it: compare them."
            )


def hidden_columns_note(header: Header, hidden: Sequence[tuple[int, int]]) -> str:
    """Say which columns are hidden; "" when none is."""
    names = [
        header.column(column)
        for column in range(header.left, header.right + 1)
        if any(first <= column <= last for first, last in hidden)
    ]
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"Hidden, but read like the others: {', '.join(names[:SHOWN])}{more}."


def hidden_rows_note(rows: Sequence[int], selected: str | None) -> str:
    """Say what became of hidden rows; "" when there are none."""
    was = "was" if len(rows) == 1 else "were"
    what = f"{was} left out" if selected == "skip" else f"{was} read too"
    return f"{counted(len(rows), 'hidden row')} {what}: {listed(rows)}." if rows else ""


def blank_rows_note(number: int) -> str:
    """Say how many rows had nothing in them; "" when there are none."""
    was = "was" if number == 1 else "were"
    return f"{counted(number, 'blank row')} {was} left out." if number > 0 else ""


def listed(rows: Sequence[int]) -> str:
    """List rows for a message: `5, 9, 12, …`."""
    return ", ".join(map(str, rows[:SHOWN])) + (", …" if len(rows) > SHOWN else "")
