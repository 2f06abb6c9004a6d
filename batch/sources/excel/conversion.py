"""`.ods` and `.xls` -> an `.xlsx` of the same cells, which is then read like any other; by python-calamine.

Promises: every cell with a value is in it, in its own place, with its own kind (text, number, date, boolean); a file
that would exhaust the memory ends a process of its own, not this one. python-calamine tells neither number formats nor
hidden rows, merged cells and errors (`UNSEEN`), so a person is asked about these before anything is believed.
"""

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from batch.errors import InputError
from batch.sources.excel.package import SAVE_AS

MEMORY: Final = 4 << 30
"""Bytes of address space that reading such a file may take."""
SECONDS: Final = 600
REFUSED: Final = 3
"""The exit code of the process where it has written into its target why the file is not read."""
UNSEEN: Final = (
    "in a file of this kind (.ods, .xls) hidden rows, merged cells and errors such as #N/A cannot be seen. A hidden "
    "row is read like any other; what lies under a merged cell, or is an error, counts as blank"
)
"""What is asked about."""
MOST_LETTERS: Final = 32_767
"""What a cell of an .xlsx holds."""
FORMATS: Final[tuple[tuple[type, str], ...]] = (
    (datetime.datetime, "yyyy\\-mm\\-dd hh:mm:ss"),
    (datetime.date, "yyyy\\-mm\\-dd"),
    (datetime.time, "hh:mm:ss"),
    (datetime.timedelta, "[h]:mm:ss"),
)


def convert(path: Path, name: str, target: Path) -> None:
    """Write the cells of the workbook at `path` to `target`, in a process of its own; raises InputError."""
    command = [sys.executable, "-P", "-m", "batch.sources.excel.conversion", str(path), str(target)]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            command, capture_output=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{name}: reading it takes more than {SECONDS // 60} min. {SAVE_AS}") from None
    if done.returncode == REFUSED:
        raise InputError(f"{name}: {target.read_text(encoding='utf-8')} {SAVE_AS}")
    if done.returncode:
        raise InputError(f"{name}: it is damaged, or takes too much memory; nothing of it was read. {SAVE_AS}")


def main(source: str, target: str) -> int:
    """Convert, within `MEMORY`; gives the exit code."""
    _limit_memory()
    import xlsxwriter  # in this process alone, after the limit
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetVisibleEnum
    from xlsxwriter.exceptions import XlsxWriterException

    options = {"constant_memory": True, "tmpdir": str(Path(target).parent)}
    try:
        with CalamineWorkbook.from_path(source) as book, xlsxwriter.Workbook(target, options) as made:
            formats = [(kind, made.add_format({"num_format": code})) for kind, code in FORMATS]
            for about in book.sheets_metadata:
                sheet = made.add_worksheet(about.name[:31])
                if about.visible != SheetVisibleEnum.Visible:
                    sheet.hide()
                read = book.get_sheet_by_name(about.name)
                for row, cells in enumerate(read.to_python(skip_empty_area=False)):
                    for column, value in enumerate(cells):
                        if value != "":
                            _write(sheet, row, column, value, formats)
    except PasswordError:
        return _refuse(target, "it is protected by a password.")
    except CalamineError as error:
        return _refuse(target, f"it cannot be read ({str(error).splitlines()[0]}).")
    except (_TooLargeError, XlsxWriterException) as error:  # the latter for names of sheets that an .xlsx cannot have
        return _refuse(target, str(error))
    return 0


def _refuse(target: str, reason: str) -> int:
    """Say why to the process that waits."""
    Path(target).write_text(reason, encoding="utf-8")
    return REFUSED


class _TooLargeError(Exception):
    """A cell does not fit into an .xlsx."""


def _write(sheet: Any, row: int, column: int, value: Any, formats: list[tuple[type, Any]]) -> None:
    if isinstance(value, bool):
        said = sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float):
        said = sheet.write_number(row, column, value)
    elif isinstance(value, str):
        if len(value) > MOST_LETTERS:
            raise _TooLargeError(f"the cell in row {row + 1}, column {column + 1} has {len(value):,} letters.")
        said = sheet.write_string(row, column, value)
    elif isinstance(value, datetime.date) and value.year < 1900:
        said = sheet.write_string(row, column, value.isoformat())
    else:
        said = sheet.write_datetime(row, column, value, next(form for kind, form in formats if isinstance(value, kind)))
    if said:
        raise _TooLargeError(f"row {row + 1}, column {column + 1} has a value, which is further out than a table goes.")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
