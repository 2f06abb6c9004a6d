"""The work folders that 0.1 left, and what the program makes of them now."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden import plain, program

CASES = Path(__file__).parent / "0.1"
HOME = "/srv/finance"
"""Where they were made."""
RULES: dict[str, plain.Rules] = {"results": plain.FINISHED, "purge": (), "resume": plain.NEW_TIMES}
"""What differs from time to time in a step; in all others a new folder is made."""


@dataclass(frozen=True)
class Step:
    """One command on a copy of one case."""

    case: str
    name: str

    @property
    def expected(self) -> Path:
        """The file that says what comes of it."""
        return CASES / self.case / "expected" / f"{self.name}.txt"

    @property
    def about(self) -> Any:
        """What is known of the case: its endpoint, the records that are not samples any more, the steps."""
        return json.loads((CASES / self.case / "case.json").read_text(encoding="utf-8"))


def steps() -> list[Step]:
    """All steps of all cases; each begins with the folder as it was."""
    cases = sorted(path.name for path in CASES.iterdir())
    return [Step(case, name) for case in cases for name in Step(case, "").about["steps"]]


def play(step: Step, top: Path) -> str:
    """Do a step on a copy below `top`, and tell what came of it: the screen, the writes, the files."""
    work = top / "work"
    shutil.copytree(CASES / step.case / "work", work)
    about, keys = step.about, _journal_keys(work, top / "look")
    before = plain.read_files(work)
    api = program.Api(about["endpoint"], about["records"])
    arguments = about["steps"][step.name]
    ended = program.run(work, *arguments, api=api)
    lines = [*plain.screen(arguments, ended), "-- writes", *_writes(api, keys)]
    rules = RULES.get(step.name, plain.TIMES if "plan" in step.name else plain.UNDO_TIMES)
    named = {str(work): HOME}
    after = plain.read_files(work)
    for files in (before, after):
        for name in [*files]:
            files[plain.normal(name, {}, rules)] = plain.normal(files.pop(name), named, rules)
    lines += plain.files(before, after)
    return plain.normal("\n".join(lines) + "\n", named, rules)


def _writes(api: program.Api, keys: set[str]) -> Iterator[str]:
    """What was written, in order; of the keys only those that were in the journal are the same every time."""
    for line in api.ledger:
        key = {"key": line.key if line.key in keys else "a new one"} if line.key else {}
        yield json.dumps({"id": line.id, "body": line.body} | key | {"status": line.status}, ensure_ascii=False)


def _journal_keys(work: Path, look: Path) -> set[str]:
    """The idempotency keys of what was or may have been sent, read from a copy: opening a journal changes it."""
    keys: set[str] = set()
    for number, journal in enumerate(sorted(work.rglob("journal.sqlite"))):
        shutil.copytree(journal.parent, look / str(number))
        with closing(sqlite3.connect(look / str(number) / journal.name)) as db:
            keys |= {key for (key,) in db.execute("SELECT key FROM intent") if key}
    return keys
