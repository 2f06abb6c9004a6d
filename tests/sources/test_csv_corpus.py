"""Every damaged CSV file of the corpus, and the whole of what is made of it.

Beside each `corpus/csv/CASE.csv` stands `CASE.txt`: how it was read, or why it was refused. A new pair is a new test.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from batch.errors import InputError
from batch.model import Staged, iter_read_errors
from batch.sources import ReadOptions, iter_frames, open_input, stage

CORPUS = Path(__file__).parents[1] / "corpus" / "csv"
CASES = sorted(path.stem for path in CORPUS.glob("*.csv"))


def told(staged: Staged) -> str:
    """Write down everything that a reader of the staged input can see, cell by cell."""
    dialect = staged.dialect
    assert dialect is not None
    sep_line = " sep-line" if dialect.has_sep_line else ""
    lines = [f"{dialect.encoding} {dialect.delimiter!r} {dialect.line_end!r} {dialect.quoting}{sep_line}"]
    lines += [f"note: {note}" for note in staged.notes]
    lines += [f"headers: {list(staged.headers)}"]
    for frame in iter_frames(staged):
        for row, *cells, read_errors in frame.rows():
            problems = [
                replace(problem, header="" if index is None else staged.headers[index]).message
                for index, problem in iter_read_errors(read_errors)
            ]
            lines += [f"{row}: {cells}", *(f"{row} invalid: {problem!r}" for problem in problems)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_corpus(case: str, tmp_path: Path) -> None:
    """A file is read exactly, or what cannot be trusted is named."""
    try:
        found = told(stage(open_input(str(CORPUS / f"{case}.csv"), tmp_path), tmp_path, ReadOptions()))
    except InputError as error:
        found = f"refused: {error}\n"
        assert not (tmp_path / "input.parquet").exists()
    assert (CORPUS / f"{case}.txt").read_text(encoding="utf-8") == found
