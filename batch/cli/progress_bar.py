"""The bar that shows at a terminal how far a run is."""

import shutil
import sys

import click

from batch.cli import messages
from batch.engine.reporter import Progress

WIDEST, NARROWEST = 28, 6
"""The columns of the bar itself: what the words beside it need, it does without."""
CANCEL = "^C"
"""What the terminal writes at Ctrl-C behind the line, which must not break for it."""
BARS = (("━", "─"), ("#", "-"))
TO_LINE_BEFORE, CLEAR_LINE = "\x1b[A", "\x1b[2K"
BEGIN_LINE = f"\r{CLEAR_LINE}"


class ProgressBar:
    """A bar on standard error, from its first `draw` to `close`; the next `draw` opens it again."""

    def __init__(self, rows: int) -> None:
        fill, empty = BARS[0] if _can_write("".join(BARS[0])) else BARS[1]
        self._bar = click.progressbar(
            length=rows,
            file=sys.stderr,
            width=WIDEST,
            fill_char=fill,
            empty_char=empty,
            bar_template="%(bar)s %(info)s",
            info_sep=" ",
            show_eta=False,  # the words tell it, from the limits
            show_percent=False,
            show_pos=True,
            item_show_func=self._words,
            update_min_steps=0,  # words change while no row does
        )

    def draw(self, progress: Progress) -> None:
        """Show how far a run is."""
        words = messages.progress(progress)
        self._bar.width = max(NARROWEST, min(WIDEST, self._room(f"{progress.done}/{progress.rows}") - len(words)))
        self._bar.update(progress.done - self._bar.pos, words)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.render_finish()
        click.echo(TO_LINE_BEFORE + CLEAR_LINE, nl=False, err=True)

    def _words(self, words: str | None) -> str:
        """Cut what stands beside the bar, so that the line does not break."""
        return (words or "")[: max(0, self._room(self._bar.format_pos()) - self._bar.width)]

    def _room(self, position: str) -> int:
        """Return the columns that the bar and its words have together."""
        return shutil.get_terminal_size().columns - 1 - len(CANCEL) - len(f" {position} ")


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
