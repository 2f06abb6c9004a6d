"""What a person sees of `pull`: the cost, how far it is, and what the file has and lacks."""

import json
import shlex
import time
from collections.abc import Iterator

from batch.cli.console import LINE_SECONDS, Screen
from batch.cli.messages import command, plural, shown_path
from batch.commands.pull import Pulled
from batch.engine.retry_loop import minutes
from batch.model import visible
from batch.settings import Settings, as_options

SHOWN_IDS = 10


class PullScreen(Screen):
    """The watcher of a pull at standard error: a line every 10 s."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._last = time.monotonic()

    def cost(self, reads: int, seconds: float | None) -> None:
        """Tell what it takes, where that is worth telling."""
        if reads > 1:
            time_text = f", {minutes(seconds)} at this API's limit" if seconds else ""
            self.say(f"About {plural(reads, 'request')}{time_text}")

    def pulled(self, count: int, total: int | None) -> None:
        """Tell how far it is, now and then."""
        if time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self.say(f"{count:,}" + (f" of {total:,}" if total is not None else "") + " records")


def lines(found: Pulled, settings: Settings) -> Iterator[str]:
    """Say what was pulled, what was left out, and what to do next."""
    path = shown_path(str(found.path))
    yield f"{path}: {plural(found.records, 'record')}, {plural(len(found.columns), 'column')}"
    if found.hidden:
        are = "is" if len(found.hidden) == 1 else "are"
        yield f"  left out: {', '.join(found.hidden)}, which {are} not shown when records are listed"
    for column, left in found.left.items():
        ids = ", ".join(left.ids) + (", …" if left.count > len(left.ids) else "")
        yield (
            f"  {visible(column)}: {plural(left.count, 'value')} cannot stand in a cell and "
            f"{'is' if left.count == 1 else 'are'} left blank, which changes nothing (id {ids})"
        )
    if found.missing:
        ids = ", ".join(found.missing[:SHOWN_IDS]) + (", …" if len(found.missing) > SHOWN_IDS else "")
        yield f"  {plural(len(found.missing), 'id')} of the file {_have(found)} no record: {ids}"
    if found.records and found.path.suffix.lower() == ".csv":
        yield "  to edit it in Excel or LibreOffice, pull an .xlsx: in a CSV file they turn 00123 into 123"
    if found.records:
        options = as_options(settings.model_copy(update={"map": {}}), for_same_input=False)
        yield f"Edit it, then:  {shlex.join([command(), 'plan', path, '-e', settings.endpoint, *options])}"


def _have(found: Pulled) -> str:
    return "has" if len(found.missing) == 1 else "have"


def as_json(found: Pulled, endpoint: str) -> str:
    """Spell the summary as `--json` prints it."""
    values = {
        "endpoint": endpoint,
        "file": str(found.path.resolve()),
        "records": found.records,
        "columns": list(found.columns),
        "not_shown": list(found.hidden),
        "left_blank": {column: left.count for column, left in found.left.items()},
        "missing_ids": list(found.missing),
        **{name: found.counts[name] for name in ("requests", "attempts", "throttled")},
    }
    return json.dumps(values, indent=2, ensure_ascii=False)
