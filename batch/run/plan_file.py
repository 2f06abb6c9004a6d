"""What is to be done, field by field, with what is expected to be there: the file behind a plan and an undo.

    {"batch": 1,
    "about": {…},                             whose plan it is: kind, input, endpoint, host, mapping …
    "changes": [
    {"row": 17, "id": "10042", "name": "Acme", "fields": {"phone": {"from": "1", "to": "2"}}},
    …
    ],
    "seal": "sha256:…"}                       over everything above it

Promises: values are the API's own, not cells; a file that was edited is refused; whatever its length, it costs 16 bytes
of memory a change. The checksum (`seal`) finds a file that was changed, it does not say who made it.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from batch.conditions import FieldChange, PlannedChange
from batch.credentials import Company
from batch.endpoints.base import MISSING
from batch.errors import InputError
from batch.exact_json import decode, encode_for_people
from batch.files import NewFile
from batch.machine import now_text
from batch.model import Problem, command

VERSION = 1
PLAN, UNDO = "plan", "undo"


class PlanWriter:
    """Writes changes, in order of their rows, and the checksum over them."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._new = NewFile(path)
        self._file = self._new.made.open("wb")
        self._digest = hashlib.sha256()
        self._is_first = True
        self._write(f'{{"batch": {VERSION},\n"about": {encode_for_people(about)},\n"changes": [\n')

    def add(self, planned: PlannedChange) -> PlannedChange:
        """Append one change, and return it for whatever else is made of it."""
        line = {
            "row": planned.row,
            "id": planned.id,
            "name": planned.name,
            "fields": {step.field: _step_as_dict(step) for step in planned.steps},
        } | _more(planned)
        self._write(("" if self._is_first else ",\n") + encode_for_people(line))
        self._is_first = False
        return planned

    def finish(self) -> str:
        """Add the checksum, put the file in its place, and return the checksum."""
        self._write("\n],\n")
        checksum = f"sha256:{self._digest.hexdigest()}"
        self._file.write(f'"seal": "{checksum}"}}\n'.encode())
        self._file.close()
        self._new.keep()
        return checksum

    def write_all(self, changes: Iterable[PlannedChange]) -> str:
        """Append all changes and finish; leave nothing behind where that fails."""
        with self as writer:
            for planned in changes:
                writer.add(planned)
            return writer.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind where it was not finished."""
        self._file.close()
        self._new.discard()

    def _write(self, text: str) -> None:
        data = text.encode()
        self._digest.update(data)
        self._file.write(data)


def _more(planned: PlannedChange) -> dict[str, Any]:
    known: dict[str, Any] = {} if planned.of is None else {"of": planned.of}
    known |= {"units": planned.units} if planned.units else {}
    known |= {"hidden": planned.hidden} if planned.hidden else {}
    return known | _problem_as_dict("note", planned.note)


def _problem_as_dict(name: str, problem: Problem | None) -> dict[str, Any]:
    return {name: problem.reason, "code": problem.code} if problem else {}


def _problem(name: str, known: Mapping[str, Any]) -> Problem | None:
    return Problem.restored(known[name], known.get("code", "")) if known.get(name) else None


def _step_as_dict(step: FieldChange) -> dict[str, Any]:
    known: dict[str, Any] = {} if step.expected is MISSING else {"from": step.expected}
    known |= {} if step.wanted is MISSING else {"to": step.wanted}
    known |= {} if step.shown is MISSING else {"shown": step.shown}
    known |= {"parts": {part.field: _step_as_dict(part) for part in step.parts}} if step.parts else {}
    return known | _problem_as_dict("reason", step.problem)


def _step(field: str, known: Mapping[str, Any]) -> FieldChange:
    parts = tuple(_step(name, part) for name, part in known.get("parts", {}).items())
    expected, wanted, shown = (known.get(name, MISSING) for name in ("from", "to", "shown"))
    return FieldChange(field, expected, wanted, parts, _problem("reason", known), shown)


class PlanFile:
    """A plan file, opened and checked; `close` when done."""

    def __init__(self, path: Path) -> None:
        """Check the checksum; raises InputError when the file is not what was written."""
        self.path = path
        self._numbers, self._offsets = array("Q"), array("Q")
        try:
            self._file = path.open("rb")
        except OSError:
            raise InputError(
                f"{path}: there is no plan to be read. Make one:  {command()} plan INPUT -e ENDPOINT"
            ) from None
        try:
            self.about, self.checksum = self._check()
        except (OSError, ValueError, KeyError, TypeError):
            self._file.close()
            raise InputError(
                f"{path}: this is not the plan that was made: it was changed, or it is damaged. Plan again."
            ) from None

    def _check(self) -> tuple[dict[str, Any], str]:
        digest, about, line = hashlib.sha256(), {}, b""
        for number in range(3):
            line = self._file.readline()
            digest.update(line)
            if number == 1:
                about = decode(line.decode().removeprefix('"about": ').rstrip(",\n"))
        while (line := self._file.readline()) and not line.startswith(b"]"):
            digest.update(line)
            if line.startswith(b"{"):
                self._numbers.append(decode(line.rstrip(b",\n"))["row"])
                self._offsets.append(self._file.tell() - len(line))
        digest.update(line)
        written = decode(b"{" + self._file.readline())["seal"]
        if written != f"sha256:{digest.hexdigest()}" or self._file.read(1):
            raise ValueError("the checksum does not fit")
        return about, str(written)

    @property
    def is_undo(self) -> bool:
        """Whether it takes something back, as far as it can; a plan is done exactly or not at all."""
        return bool(self.about["kind"] == UNDO)

    @property
    def company(self) -> Company | None:
        """Whose records it was made for, None where 0.1 made it."""
        known = self.about
        return Company(str(known["fingerprint"]), known.get("company")) if "fingerprint" in known else None

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[PlannedChange]:
        for offset in self._offsets:
            yield self._read(offset)

    def at(self, place: int) -> PlannedChange:
        """Return the change at a place, counted from 0."""
        return self._read(self._offsets[place])

    def get(self, number: int) -> PlannedChange | None:
        """Find the change whose first row is `number`."""
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            return None
        return self._read(self._offsets[place])

    def _read(self, offset: int) -> PlannedChange:
        self._file.seek(offset)
        line = decode(self._file.readline().rstrip(b",\n"))
        steps = tuple(_step(name, known) for name, known in line["fields"].items())
        return PlannedChange(
            line["row"],
            line["id"],
            line["name"],
            steps,
            line.get("of"),
            _problem("note", line),
            line.get("units", {}),
            hidden if isinstance(hidden := line.get("hidden"), dict) else {},
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


IN_WORDS = {
    "input_sha256": "the input was changed", "endpoint": "it is for other records (-e)",
    "host": "it is for another address", "map": "--map is different", "clear_token": "--clear-token is different",
}  # fmt: skip


def about(meaning: Mapping[str, Any], sha256: str, endpoint: str, host: str, company: Company) -> dict[str, Any]:
    """What a plan is made for: all that changes what a row means, where it goes, and whose records they are."""
    whose = {"company": company.name, "fingerprint": company.fingerprint}
    where = {"endpoint": endpoint, "host": host}
    return {"kind": PLAN, "made": now_text(), "input_sha256": sha256, **where, **whose, **meaning}


def check_about(plan: PlanFile, wanted: Mapping[str, Any]) -> None:
    """Raise InputError that names what is not as it was when the plan was made."""
    made = plan.about
    wrong = [
        IN_WORDS.get(name, f"--{name.replace('_', '-')} is different")
        for name in dict.fromkeys((*wanted, *made))
        if made.get(name) != wanted.get(name) and name not in ("company", "fingerprint", "made")
    ]
    if wrong:
        raise InputError(
            f"{plan.path}: this plan cannot be carried out: {' and '.join(wrong)} since it was made. "
            "Nothing was sent. Plan again, or give what it was made for."
        )
