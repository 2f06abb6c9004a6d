"""One change: intent, attempts, proof, outcome.

Promises: the intent is on disk before the first byte leaves, with the same idempotency key on every attempt and after a
resume; *updated* is said only when the API confirmed it and its answer does not show otherwise; an attempt without an
answer is settled by reading back before it is repeated or given up.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from batch.endpoints.base import ConflictError, Endpoint, Record, UnreadableReplyError
from batch.engine.retry_loop import Answer, Caller
from batch.http import Reply
from batch.model import Change, Fate, Intent, Outcome, Problem, visible
from batch.retry import Verdict

Locate = Callable[[int, str, str], Problem]
"""Makes a problem of (row, field as the API spells it, reason), with the column and cell that it belongs to."""
Prove = Callable[[str, Mapping[str, Any], Record], list[Problem]]
"""Lists what a record shows otherwise than asked."""
Explain = Callable[[Mapping[str, Any], Mapping[str, Any], Record], list[Problem]]
"""Lists the fields that a record shows neither as asked nor as before, with both values."""


class Book(Protocol):
    """What the sender needs of the journal."""

    async def intend(self, intent: Intent) -> None:
        """Come back when `intent` is on disk."""

    def take_back(self, intent: Intent) -> None:
        """Write with the next commit that no attempt was made after those that `intent` counts."""

    def settle(self, number: int, fates: Sequence[Fate]) -> None:
        """Write the fates of a change with the next commit."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A change made ready: `fields` is what differs, `before` what the record shows for them (None: not read).

    `record` is the current record, where the write body is completed from it; `earlier` the intent of an earlier part
    of the same run; `notes` what its outcome is to say beside. `is_complete`: false while fields of it have to be read
    in another way.
    """

    change: Change
    fields: Mapping[str, Any]
    before: Mapping[str, Any] | None = None
    record: Record | None = None
    earlier: Intent | None = None
    notes: tuple[Problem, ...] = ()
    is_complete: bool = True
    is_in_doubt: bool = False
    """What an earlier part of the run sent may have been applied, and nothing was read since."""


ReadBack = Callable[[Parcel], Awaitable[Record | None]]
"""Reads the record of a parcel once more; None when that did not work."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends parcels, one at a time each, as many at once as the gate lets through."""

    caller: Caller
    endpoint: Endpoint
    book: Book
    locate: Locate
    prove: Prove
    explain: Explain
    read_back: ReadBack | None = None

    async def send(self, parcel: Parcel) -> Outcome:
        """Bring one change to its outcome and write it down."""
        try:
            intent = self._intent(parcel)
            call = self.endpoint.write(parcel.change.id, intent.body, intent.key)
        except ConflictError as error:
            return self._settle(parcel, Outcome.REJECTED, None, 0, [(error.field, str(error))])
        delivery = _Delivery(self, parcel, intent)
        answer = await self.caller.attempt_all(
            call,
            rules=self.endpoint.rules.for_repeat() if delivery.tried else self.endpoint.rules,
            before_attempt=delivery.before_attempt,
            before_retry=delivery.was_applied if self._reads_before_retry(parcel) else None,
        )
        return await self._conclude(parcel, answer, delivery.tried + answer.attempts, delivery)

    def _reads_before_retry(self, parcel: Parcel) -> bool:
        """With an idempotency key and no before-image, the key alone makes a repetition safe."""
        return self.read_back is not None and (parcel.before is not None or not self.endpoint.has_idempotency_keys)

    def _intent(self, parcel: Parcel) -> Intent:
        """Make the intent of the next attempt, or take up the earlier one when it means the same request."""
        body = self.endpoint.body(parcel.fields, parcel.record)
        change, earlier = parcel.change, parcel.earlier
        if earlier is not None and earlier.body == body:
            return replace(earlier, attempts=earlier.attempts + 1)
        key = str(uuid.uuid4()) if self.endpoint.has_idempotency_keys else None
        record = parcel.record or {}
        return Intent(
            change.number, change.id, key, 1, parcel.fields, parcel.before, body,
            name=str(record.get("name") or ""), wholes=self.endpoint.wholes_of(parcel.fields, record),
        )  # fmt: skip

    async def _conclude(self, parcel: Parcel, answer: Answer, attempts: int, delivery: "_Delivery") -> Outcome:
        verdict = answer.judgement.verdict
        if answer.is_settled:
            return self._settle(parcel, Outcome.UPDATED, answer.status, attempts, [("", FOUND_APPLIED)])
        if verdict is Verdict.DONE:
            return await self._check_proof(parcel, answer, attempts, delivery)
        if verdict is Verdict.REFUSED:
            return await self._settle_refused(parcel, answer, attempts, delivery)
        is_unsent = verdict is Verdict.STOP or (answer.judgement.is_rate and (answer.is_cut or self.caller.stop.is_up))
        if delivery.attempts > attempts:  # written down, and then it did not leave
            if parcel.is_in_doubt and not attempts:  # of another body than this one
                return self._settle(parcel, Outcome.UNKNOWN, None, delivery.attempts, [("", STILL_IN_DOUBT)])
            delivery.take_back(attempts)
        if is_unsent and not answer.attempts:
            return Outcome.UNSENT  # a row without a fate is unsent, and what was known of it before stays
        if answer.is_in_doubt or parcel.is_in_doubt:
            return await self._settle_unknown(parcel, answer, attempts, delivery)
        has_arrived = answer.has_arrived or delivery.tried  # an earlier part's attempts may have, too
        outcome = Outcome.UNSENT if is_unsent and not has_arrived else Outcome.FAILED
        return self._settle(parcel, outcome, answer.status, attempts, [("", answer.cause)])

    async def _settle_refused(self, parcel: Parcel, answer: Answer, attempts: int, delivery: "_Delivery") -> Outcome:
        """Call it rejected, unless an earlier attempt may have been applied all the same: a read tells."""
        if answer.is_in_doubt or answer.has_arrived or attempts > answer.attempts:
            record = await delivery.record_now()
            if record is not None and self._proves(parcel, parcel.fields, record):
                return self._settle(parcel, Outcome.UPDATED, answer.status, attempts, [("", FOUND_APPLIED)])
            is_in_doubt = answer.is_in_doubt or parcel.is_in_doubt
            is_unread = self.read_back is not None and answer.status != 404  # after a 5xx that proves nothing
            if record is None and (is_in_doubt or is_unread):
                reason = f"{answer.cause}, but {STILL_IN_DOUBT if is_in_doubt else MAY_BE_APPLIED}"
                return self._settle(parcel, Outcome.UNKNOWN, answer.status, attempts, [("", reason)])
        return self._settle(parcel, Outcome.REJECTED, answer.status, attempts, self._refusals(answer))

    async def _check_proof(self, parcel: Parcel, answer: Answer, attempts: int, delivery: "_Delivery") -> Outcome:
        """Hold the answer against what was asked, and a read against what the answer does not show."""
        record, change = self._record(answer.reply), parcel.change
        if record is not None:
            pending = self.endpoint.pending(record)
            # what waits for approval need not show yet; but it must be the record that was meant
            wrong = self.prove(change.id, {} if pending else parcel.fields, record)
            if wrong:
                return self._settle(parcel, Outcome.REJECTED, answer.status, attempts, _pairs(wrong))
            if pending:
                return self._settle(parcel, Outcome.UPDATED, answer.status, attempts, [("", f"updated, {pending}")])
        hidden = self._hidden(parcel.fields, record)
        if not hidden or parcel.before is None:  # it was not read before, so reading may not be possible at all
            return self._settle(parcel, Outcome.UPDATED, answer.status, attempts, [])
        found = await self.verify(parcel, hidden)
        if found is None:
            said = NOT_READ_BACK if self.caller.stop.is_up else UNPROVEN
            return self._settle(parcel, Outcome.UPDATED, answer.status, attempts, [("", said)])
        outcome = Outcome.REJECTED if found else Outcome.UPDATED
        return self._settle(parcel, outcome, answer.status, attempts, _pairs(found))

    async def verify(self, parcel: Parcel, wanted: Mapping[str, Any]) -> list[Problem] | None:
        """Read the record, and list what it shows otherwise than `wanted`; None when it cannot be seen."""
        wrong: list[Problem] | None = None
        for seconds in LOOKS_AFTER if self.read_back else ():
            with self.caller.stop.waiting():
                await self.caller.rest(seconds)
            record = await self.read_back(parcel) if self.read_back else None
            if record is None or self._hidden(wanted, record):
                return wrong
            wrong = self.prove(parcel.change.id, wanted, record)
            if not wrong:
                break
        return wrong

    def _hidden(self, fields: Mapping[str, Any], record: Record | None) -> dict[str, Any]:
        """Keep the fields that a record does not show, so that it proves nothing about them."""
        if record is None:
            return dict(fields)
        return {name: value for name, value in fields.items() if not self.endpoint.shows(record, name)}

    def _proves(self, parcel: Parcel, wanted: Mapping[str, Any], record: Record) -> bool:
        """Whether a record shows every one of the wanted values."""
        is_shown = bool(wanted) and not self._hidden(wanted, record)
        return is_shown and not self.prove(parcel.change.id, wanted, record)

    def _record(self, reply: object) -> Record | None:
        if not isinstance(reply, Reply):
            return None
        try:
            records = self.endpoint.records(reply)
        except UnreadableReplyError:
            return None
        return records[0] if len(records) == 1 else None

    async def _settle_unknown(self, parcel: Parcel, answer: Answer, attempts: int, delivery: "_Delivery") -> Outcome:
        """Read back: as wanted -> updated, as before -> failed (it can be sent again), else unknown."""
        record = None if self.caller.stop.is_up else await delivery.record_now()
        if record is not None and self._proves(parcel, parcel.fields, record):
            return self._settle(parcel, Outcome.UPDATED, answer.status, attempts, [("", FOUND_APPLIED)])
        if record is not None and parcel.before is not None:
            if self._proves(parcel, parcel.before, record):
                reason = f"{answer.cause}, and reading back showed that it was not applied"
                return self._settle(parcel, Outcome.FAILED, answer.status, attempts, [("", reason)])
            found = _pairs(self.explain(parcel.fields, parcel.before, record))
            if found:
                return self._settle(parcel, Outcome.UNKNOWN, answer.status, attempts, found)
        reason = f"{answer.cause}: it may have been applied or not"
        return self._settle(parcel, Outcome.UNKNOWN, answer.status, attempts, [("", reason)])

    def _refusals(self, answer: Answer) -> list[tuple[str, str]]:
        if not isinstance(answer.reply, Reply):
            return [("", answer.cause)]
        if answer.reply.status == 404:
            return [("id", "there is no customer with this id (404)")]
        return [(field, visible(message)[:500]) for field, message in self.endpoint.refusals(answer.reply)]

    def _settle(
        self, parcel: Parcel, outcome: Outcome, status: int | None, attempts: int, said: Sequence[tuple[str, str]]
    ) -> Outcome:
        change = parcel.change
        self.book.settle(
            change.number,
            [
                Fate(
                    row, change.id, outcome, status, attempts,
                    (*(self.locate(row, *one) for one in said), *parcel.notes),
                )
                for row in change.rows
            ],
        )  # fmt: skip
        return outcome


def _pairs(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(one.field, one.reason) for one in problems]


STILL_IN_DOUBT = "an earlier try without an answer may have been applied or not"
MAY_BE_APPLIED = "an earlier try that failed may have been applied or not, and the record could not be read"
FOUND_APPLIED = "no answer came, but reading back showed that it was applied"
NOT_READ_BACK = "the API confirmed the change; it was not read back, since the run was being stopped"
UNPROVEN = "the API confirmed the change, but neither its answer nor a read shows it: look at the record"
LOOKS_AFTER = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each look at a record that does not show a confirmed change: reads may lag behind writes."""


class _Delivery:
    """What goes with the attempts of one parcel: its intent before each, and reading back between them."""

    def __init__(self, sender: Sender, parcel: Parcel, intent: Intent) -> None:
        self._sender, self._parcel, self._intent = sender, parcel, intent
        self.tried = self.attempts = intent.attempts - 1
        """How many attempts are written down: by earlier parts of the run, and by now."""

    async def before_attempt(self, number: int) -> None:
        """Write the intent, with the number of this attempt."""
        self.attempts = self.tried + number
        intent = self._intent if number == 1 else replace(self._intent, attempts=self.attempts)
        await self._sender.book.intend(intent)

    def take_back(self, attempts: int) -> None:
        """Write that only so many attempts were made: the one that was written down last never left."""
        self._sender.book.take_back(replace(self._intent, attempts=attempts))

    async def record_now(self) -> Record | None:
        """Read the record back, where that is possible."""
        return await self._sender.read_back(self._parcel) if self._sender.read_back else None

    async def was_applied(self) -> bool:
        """Whether the record shows what was asked."""
        record = await self.record_now()
        return record is not None and self._sender._proves(self._parcel, self._parcel.fields, record)


@dataclass(frozen=True, slots=True)
class Planner:
    """Takes parcels as a sender does, and writes down what each would change."""

    caller: Caller
    endpoint: Endpoint
    book: Book
    locate: Locate

    async def send(self, parcel: Parcel) -> Outcome:
        """Write down one change."""
        change, record = parcel.change, parcel.record or {}
        try:
            body = self.endpoint.body(parcel.fields, parcel.record)
            self.endpoint.write(change.id, body, None)
        except ConflictError as error:
            return self._settle(parcel, Outcome.REJECTED, [(error.field, str(error))])
        name = str(record.get("name") or "")
        await self.book.intend(Intent(change.number, change.id, None, 0, parcel.fields, parcel.before, body, name))
        return self._settle(parcel, Outcome.UPDATED, [])

    def _settle(self, parcel: Parcel, outcome: Outcome, said: Sequence[tuple[str, str]]) -> Outcome:
        change = parcel.change
        problems = {row: tuple(self.locate(row, *one) for one in said) for row in change.rows}
        fates = [Fate(row, change.id, outcome, problems=problems[row]) for row in change.rows]
        self.book.settle(change.number, fates)
        return outcome
