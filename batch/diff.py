"""Change + current record -> whether, and how, the record shows it: what differs, what was proven, what another did.

Promises: pure; `shows` alone decides, for comparing, reading back, resuming, plans and undo alike; values are compared
as the endpoint says that its API does; a field that the record does not show counts as different, so that it is sent;
different values are never taken for equal.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from batch.endpoints.base import MISSING, Endpoint, Record, is_blank
from batch.exact_json import encode_for_people
from batch.model import Change, Outcome, Problem, shorten, visible

Known = Callable[[str, Any, Any], bool]
"""Says of a field, what was asked and what is shown, whether the API is known to show just this for it."""


def nothing_known(field: str, asked: Any, shown: Any) -> bool:
    """Know no spelling."""
    return False


class How(Enum):
    """How a record shows a value."""

    AS_ASKED = "as asked"
    KNOWN_SPELLING = "in the spelling that it is known to get"
    OTHER_SPELLING = "in another spelling"
    OTHERWISE = "otherwise"
    HIDDEN = "not at all"

    @property
    def is_shown(self) -> bool:
        """Whether the value needs no sending."""
        return self in (How.AS_ASKED, How.KNOWN_SPELLING)


@dataclass(frozen=True, slots=True)
class Shown:
    """How a record shows the values that were asked for, field by field."""

    endpoint: Endpoint
    asked: Mapping[str, Any]
    now: Mapping[str, Any]
    """What the record shows, MISSING where it shows nothing."""
    how: Mapping[str, How]
    seen_later: frozenset[str] = frozenset()
    """Fields of which a look after the answer showed another value than was asked for, and than the answer showed."""

    @property
    def is_as_asked(self) -> bool:
        """Whether the record shows every one of the values, of which there is one at least, as asked or as known."""
        return bool(self.asked) and not self.differing

    @property
    def differing(self) -> dict[str, Any]:
        """The values asked for that the record does not show."""
        return {name: value for name, value in self.asked.items() if not self.how[name].is_shown}

    @property
    def before(self) -> dict[str, Any]:
        """What the record shows in place of those values."""
        return {name: self.now[name] for name in self.differing if self.how[name] is not How.HIDDEN}

    @property
    def hidden(self) -> dict[str, Any]:
        """The values asked for of fields that the record does not show, so that it proves nothing about them."""
        return {name: value for name, value in self.asked.items() if self.how[name] is How.HIDDEN}

    @property
    def spelt(self) -> dict[str, Any]:
        """What the record shows in another spelling, known or not."""
        return self._shown(How.KNOWN_SPELLING, How.OTHER_SPELLING)

    @property
    def known_spellings(self) -> dict[str, Any]:
        """What the record shows in another spelling, as it is known to."""
        return self._shown(How.KNOWN_SPELLING)

    @property
    def unlike(self) -> dict[str, Any]:
        """What became of values that were asked for, and are not shown to the letter.

        What only a later look showed instead of a value may be another hand's, and is left out.
        """
        found = self._shown(How.KNOWN_SPELLING, How.OTHER_SPELLING, How.OTHERWISE)
        return {name: value for name, value in found.items() if name not in self.seen_later}

    def unproven(self, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """The values that an answer does not prove: not shown, or as asked where it was another spelling `before`.

        The latter may be no more than an echo of what was sent.
        """
        echoed = {
            name: self.asked[name]
            for name, known in (before or {}).items()
            if self.how.get(name) is How.AS_ASKED and not self.endpoint.is_same(name, self.asked[name], known)
            if self.endpoint.is_spelling(name, self.asked[name], known)
        }
        return self.differing | echoed

    def in_answer(self, record: Record) -> "Shown":
        """Return the same of the answer to a write: what that leaves out need not be empty, as it is elsewhere."""
        left_out = [
            name
            for name, value in self.asked.items()
            if is_blank(value) and name.partition(".")[0] not in record and not self.endpoint.is_custom(name)
        ]
        return replace(self, how={**self.how, **dict.fromkeys(left_out, How.HIDDEN)}) if left_out else self

    def updated(self, later: "Shown") -> "Shown":
        """Return the same with what a later look at some of the fields showed, where it showed them."""
        seen = {name: how for name, how in later.how.items() if how is not How.HIDDEN}
        now = {name: later.now[name] for name in seen}
        others = {
            name
            for name, how in seen.items()
            if how is How.OTHERWISE
            and not (self.how[name] is how and self.endpoint.is_same(name, self.now[name], now[name]))
        }
        return replace(self, now={**self.now, **now}, how={**self.how, **seen}, seen_later=frozenset(others))

    def _shown(self, *how: How) -> dict[str, Any]:
        return {name: value for name, value in self.now.items() if self.how[name] in how}

    def is_applied(self, before: Mapping[str, Any] | None) -> bool:
        """Whether the record shows every one of the values, if in another spelling, then not as `before`."""
        return bool(self.asked) and all(
            how.is_shown or (how is How.OTHER_SPELLING and not self._is_as_before(name, before))
            for name, how in self.how.items()
        )

    def _is_as_before(self, name: str, before: Mapping[str, Any] | None) -> bool:
        return before is not None and name in before and self.endpoint.is_same(name, before[name], self.now[name])

    @property
    def problems(self) -> list[Problem]:
        """Why the record disproves a confirmed change: fields that it shows otherwise, with both values."""
        return [
            Problem("not_shown", {"now": show(self.now[name]), "wanted": show(value)}, name)
            for name, value in self.asked.items()
            if self.how[name] is How.OTHERWISE
        ]

    def conclude(self, before: Mapping[str, Any] | None) -> tuple[Outcome, list[Problem]]:
        """Return what became of a confirmed change, by what the record shows now and (None: not read) showed before."""
        problems = self.problems
        as_before = {name for name in self.asked if self._is_as_before(name, before)}
        if problems:
            applied = [name for name, how in self.how.items() if how not in UNPROVEN and name not in as_before]
            parts = Problem("part_applied", {"parts": ", ".join(applied)})
            return Outcome.REJECTED, [*problems, *([parts] if applied else [])]
        found = []
        for name, now in self.spelt.items():
            code = "spelling_kept" if name in as_before else "spelling_made"
            found.append(Problem(code, {"now": show(now)}, name))
        is_kept = bool(found) and as_before >= self.asked.keys()
        return Outcome.UNCHANGED if is_kept else Outcome.UPDATED, found

    def neither(self, before: Mapping[str, Any]) -> list[Problem]:
        """Return problems for fields that, after an attempt without an answer, show another value than was sent."""
        return [
            Problem(
                "shows_neither",
                {"now": show(self.now[name]), "before": show(before[name]), "wanted": show(value)},
                name,
            )
            for name, value in self.asked.items()
            if name in before and self.how[name] is How.OTHERWISE
        ]


UNPROVEN = (How.OTHERWISE, How.HIDDEN)


def shows(endpoint: Endpoint, fields: Mapping[str, Any], record: Record, known: Known = nothing_known) -> Shown:
    """Say whether, and how, `record` shows the values in `fields`."""
    now = {name: endpoint.value(record, name) for name in fields}
    how = {name: shows_value(endpoint, name, value, now[name], known) for name, value in fields.items()}
    return Shown(endpoint, fields, now, how)


def shows_value(endpoint: Endpoint, name: str, wanted: Any, now: Any, known: Known = nothing_known) -> How:
    """Say how a field that shows `now` shows a value; nothing shows MISSING, not even MISSING."""
    if now is MISSING:
        return How.HIDDEN
    if wanted is MISSING:
        return How.OTHERWISE
    if endpoint.is_same(name, wanted, now):
        return How.AS_ASKED
    if not endpoint.is_spelling(name, wanted, now):
        return How.OTHERWISE
    return How.KNOWN_SPELLING if known(name, wanted, now) else How.OTHER_SPELLING


def other_record(endpoint: Endpoint, record_id: str, record: Record) -> list[Problem]:
    """Return a problem where an answer is about another record than `record_id`, whatever it shows."""
    shown = endpoint.record_id(record)
    is_other = shown and endpoint.id_key(shown) != endpoint.id_key(record_id)
    return [Problem("other_record", {"id": shorten(visible(shown))})] if is_other else []


def zeros_lost(endpoint: Endpoint, change: Change, record: Record) -> list[Problem]:
    """Return problems for cells stored as numbers of which `record` shows the same number with zeros in front."""
    found = []
    for name in sorted(change.bare_numbers & change.fields.keys()):
        now, wanted = endpoint.value(record, name), change.fields[name]
        is_list = isinstance(now, list) and isinstance(wanted, list)
        pairs = zip(now, wanted, strict=False) if is_list else [(now, wanted)]
        if any(_is_longer_by_zeros(shown, number) for shown, number in pairs):
            found.append(Problem("zeros_lost", {"now": show(now)}, name))
    return found


def _is_longer_by_zeros(now: Any, wanted: Any) -> bool:
    if not (isinstance(now, str) and isinstance(wanted, str)):
        return False
    digits: str = now.strip()
    return digits.isdecimal() and len(digits) > len(wanted) and digits.lstrip("0") == wanted.lstrip("0")


def hidden(endpoint: Endpoint, names: Iterable[str], record: Record) -> list[str]:
    """Return the fields that a record does not show, so that nothing is known about them."""
    return [name for name in names if not endpoint.has_value(record, name)]


def overwritten(
    endpoint: Endpoint, wanted: Mapping[str, Any], before: Mapping[str, Any], record: Record
) -> list[Problem]:
    """Return problems for fields to write that another hand has changed since they showed `before`."""
    shown, known = shows(endpoint, wanted, record), shows(endpoint, before, record)
    return [
        Problem("wrote_over", {"now": show(shown.now[name]), "before": show(before[name])}, name)
        for name in wanted
        if name in before and shown.how[name] is How.OTHERWISE and not known.how[name].is_shown
    ]


def show(value: Any) -> str:
    """Return a value for a message: text in quotes, a blank as (empty), a missing one as (not shown)."""
    if value is MISSING:
        return "(not shown)"
    if is_blank(value):
        return "(empty)"
    if isinstance(value, str):
        return f'"{shorten(visible(value))}"'
    return shorten(visible(encode_for_people(value)))
