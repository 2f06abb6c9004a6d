"""The progress bar: how much of it is to be seen on a narrow terminal."""

import io

import pytest

from batch.cli.progress_bar import ProgressBar
from batch.engine.reporter import Progress
from batch.model import Outcome


class Screen(io.StringIO):
    """A terminal that remembers what was written."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("columns", "bar", "end"),
    [(120, 28, "4 min left"), (80, 8, "4 min left"), (60, 6, "rejected 2")],
)
def test_words_go_first(monkeypatch: pytest.MonkeyPatch, columns: int, bar: int, end: str) -> None:
    """The bar makes room for the time that is left; the line never breaks, not for what Ctrl-C writes behind it."""
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    counts = {Outcome.UPDATED: 61, Outcome.UNCHANGED: 449, Outcome.REJECTED: 2}
    ProgressBar(800).draw(Progress(800, 512, counts, 1.0, 0, 0.0, "", 240.0, False))
    line = screen.getvalue().replace("\x1b[?25l", "").rpartition("\r")[2].rstrip()
    assert (bar, True, end) == (line.count("━") + line.count("─"), len(line) <= columns - 3, line[-len(end) :])
