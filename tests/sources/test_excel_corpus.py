"""Every odd workbook of the corpus, and the whole of what is made of it.

Beside each `corpus/xlsx/CASE.xlsx` stands `CASE.txt`: how it was read, or why it was refused. A new pair is a new test.
The workbooks are made by `corpus/xlsx/make.py`; those named `…--libreoffice` were opened and saved by LibreOffice.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from batch.errors import InputError
from batch.model import Staged, iter_read_errors
from batch.sources import ReadOptions, iter_frames, open_input, stage

CORPUS = Path(__file__).parents[1] / "corpus" / "xlsx"
CASES = sorted(path.name for path in CORPUS.iterdir() if path.suffix in (".xlsx", ".xls", ".xlsb", ".ods"))


def told(staged: Staged) -> str:
    """Write down everything that a person can be told of the staged workbook, cell by cell."""
    style = staged.style
    assert style is not None
    lines = [f"sheet {style.sheet!r}, header in row {style.first_row}{', 1904' if style.is_1904 else ''}"]
    lines += [f"note: {note}" for note in staged.notes]
    lines += [f"headers: {list(staged.headers)}"]
    width = len(staged.headers)
    for frame in iter_frames(staged):
        for row, *rest in frame.rows():
            cells = [text if text is None or len(text) < 1_000 else f"{len(text)} x" for text in rest[:width]]
            lines.append(f"{row}: {cells}")
            for index, found in iter_read_errors(rest[width]):
                assert index is not None
                problem = replace(found, header=staged.headers[index], cell=staged.cell(row, index))
                lines.append(f"{problem.cell} invalid: {problem.message}")
    return "\n".join(lines) + "\n"


def action(path: Path, folder: Path, options: ReadOptions) -> str:
    """Stage a workbook, and write down what came of it."""
    try:
        return told(stage(open_input(str(path), folder), folder, options))
    except InputError as error:
        assert not (folder / "input.parquet").exists()
        return f"refused: {error}\n"


@pytest.mark.parametrize("case", CASES)
def test_corpus(case: str, tmp_path: Path) -> None:
    """A workbook is read exactly, or what cannot be trusted is named."""
    expected = (CORPUS / case).with_suffix(".txt").read_text(encoding="utf-8")
    assert expected == action(CORPUS / case, tmp_path, ReadOptions())
