"""The bar that shows at a terminal how far a run is (rich)."""

from batch.cli import messages
from batch.engine.reporter import Progress


class ProgressBar:
    """A bar on standard error, from its first `draw` to `close`; the next `draw` opens it again."""

    def __init__(self, rows: int) -> None:
        from rich.console import Console  # rich is slow to import, and a run without a terminal needs none of it
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = (BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn("{task.fields[words]}", markup=False))
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._task = self._bars.add_task("rows", total=rows, words="")
        self._bars.start()

    def draw(self, progress: Progress) -> None:
        """Show how far a run is."""
        done, words = sum(progress.counts.values()), messages.progress(progress)
        self._bars.update(self._task, completed=done, words=words, refresh=True)

    def close(self) -> None:
        """Take the bar away."""
        self._bars.stop()
