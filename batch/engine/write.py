"""One change: intent, attempts, proof, outcome.

Promises: the intent is on disk before the first byte leaves, with the same idempotency key on every attempt and after a
resume; *updated* is said only when the API confirmed it and its answer does not show otherwise; an attempt without an
answer is settled by reading back before it is repeated or given up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batch import diff
from batch.endpoints.base import ConflictError, Endpoint, Record, UnreadableReplyError
from batch.engine.context import RunContext
from batch.engine.idempotency import make_key
from batch.engine.prepare import PreparedChange, refused
from batch.engine.retry_loop import Answer, ApiClient
from batch.http import ApiResponse
from batch.model import Intent, Outcome, Problem, visible
from batch.retry import Action


@dataclass(frozen=True, slots=True)
class ChangeWriter:
    """Sends prepared changes, each by itself, as many at once as the limiter lets through."""

    context: RunContext

    async def send(self, prepared: PreparedChange) -> Outcome:
        """Bring one change to its outcome and journal it."""
        try:
            intent = self._intent(prepared)
            request = self.endpoint.write_request(prepared.change.id, intent.body, intent.key)
        except ConflictError as error:
            outcome, attempts = refused(prepared.earlier)
            return self._settle(prepared, outcome, None, attempts, [error.problem])
        attempt = WriteAttempt(self, prepared, intent)
        answer = await self.client.execute(
            request, rules=self.endpoint.rules.for_repeat() if intent.attempts > 1 else self.endpoint.rules,
            before_attempt=attempt.before_attempt,
            before_retry=attempt.was_applied if self._reads_before_retry(prepared) else None,
        )  # fmt: skip
        return await self._conclude(prepared, answer, attempt.tried + answer.attempts, attempt)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the run."""
        return self.context.endpoint

    @property
    def client(self) -> ApiClient:
        """What makes the requests."""
        return self.context.client

    def _reads_before_retry(self, prepared: PreparedChange) -> bool:
        """Whether to read before a repetition: with a key and without a before-image the key alone makes it safe."""
        return prepared.before is not None or not self.endpoint.rules.idempotent_keys

    def _intent(self, prepared: PreparedChange) -> Intent:
        """Make the intent of the next attempt, or take up the earlier one when it means the same request.

        It does not where that one is through, or another hand wrote since: the API would replay the answer to the first
        to the same key, and an undo would put back what was there before the other hand.
        """
        body = self.endpoint.body(prepared.fields, prepared.record)
        change, earlier = prepared.change, prepared.earlier
        if earlier is not None and earlier.body == body and not earlier.is_settled and self._is_as_before(prepared):
            return replace(earlier, attempts=earlier.attempts + 1)
        number, spent = (earlier.number + 1, earlier.made) if earlier is not None else (1, 0)
        key = make_key(self.endpoint, self.context.run_id, change.number, number, body)
        record = prepared.record or {}
        return Intent(
            change.number, change.id, key, 1, prepared.fields, prepared.before, body,
            self.endpoint.record_name(record), self.endpoint.replaced_values(prepared.fields, record), number, spent,
        )  # fmt: skip

    def _is_as_before(self, prepared: PreparedChange) -> bool:
        """Whether the record still shows what the earlier intent was to write over, as far as that is known."""
        earlier, record = prepared.earlier, prepared.record
        if earlier is None or record is None:
            return True
        return diff.shows(self.endpoint, earlier.before or {}, record).is_as_asked

    async def _conclude(
        self, prepared: PreparedChange, answer: Answer, attempts: int, attempt: "WriteAttempt"
    ) -> Outcome:
        action = answer.classification.action
        if answer.is_settled:
            return self._settle(prepared, Outcome.UPDATED, answer.status, attempts, [Problem("found_applied")])
        if action is Action.SUCCEED:
            return await self._check_proof(prepared, answer, attempts, attempt)
        if action is Action.REJECT:
            return await self._settle_refused(prepared, answer, attempts, attempt)
        is_unsent = action is Action.ABORT or (
            answer.classification.is_rate and (answer.is_cut or self.client.shutdown.requested)
        )
        if attempt.attempts > attempts:  # written down, and then it did not leave
            attempt.revert_attempt(attempts)
        if is_unsent and not answer.attempts:
            return Outcome.UNSENT  # a row without a result is unsent, and what was known of it before stays
        if answer.is_in_doubt or prepared.is_in_doubt:
            return await self._settle_unknown(prepared, answer, attempts, attempt)
        has_arrived = answer.has_arrived or attempt.tried  # an earlier part's attempts may have, too
        outcome = Outcome.UNSENT if is_unsent and not has_arrived else Outcome.FAILED
        return self._settle(
            prepared, outcome, answer.status, attempts, [Problem("tries_failed", {"cause": answer.cause})]
        )

    async def _settle_refused(
        self, prepared: PreparedChange, answer: Answer, attempts: int, attempt: "WriteAttempt"
    ) -> Outcome:
        """Call it rejected, unless an earlier attempt may have been applied all the same: a read tells."""
        if answer.is_in_doubt or answer.has_arrived or attempts > answer.attempts:
            record = await attempt.record_now()
            if record is not None and self.proves(prepared, prepared.fields, record):
                return self._settle(prepared, Outcome.UPDATED, answer.status, attempts, [Problem("found_applied")])
            is_in_doubt = answer.is_in_doubt or prepared.is_in_doubt
            is_unread = answer.status != 404  # after a 5xx that proves nothing
            if record is None and (is_in_doubt or is_unread):
                code = "refused_in_doubt" if is_in_doubt else "refused_unread"
                problem = Problem(code, {"cause": answer.cause})
                return self._settle(prepared, Outcome.UNKNOWN, answer.status, attempts, [problem])
        return self._settle(prepared, Outcome.REJECTED, answer.status, attempts, self._refusals(answer))

    async def _check_proof(
        self, prepared: PreparedChange, answer: Answer, attempts: int, attempt: "WriteAttempt"
    ) -> Outcome:
        """Hold the answer against what was asked, and a read against what the answer does not show."""
        record, change = self._record(answer.response), prepared.change
        if record is not None:
            pending = self.endpoint.pending_note(record)
            # what waits for approval need not show yet; but it must be the record that was meant
            wrong = diff.other_record(self.endpoint, change.id, record)
            wrong = wrong or ([] if pending else diff.shows(self.endpoint, prepared.fields, record).problems)
            if wrong:
                return self._settle(prepared, Outcome.REJECTED, answer.status, attempts, wrong)
            if pending:
                problem = Problem("pending", {"note": pending})
                return self._settle(prepared, Outcome.UPDATED, answer.status, attempts, [problem])
        hidden = prepared.fields if record is None else diff.shows(self.endpoint, prepared.fields, record).hidden
        if not hidden or prepared.before is None:  # it was not read before, so reading may not be possible at all
            return self._settle(prepared, Outcome.UPDATED, answer.status, attempts, [])
        found = await self.verify(prepared, hidden)
        if found is None:
            problem = Problem("not_read_back" if self.client.shutdown.requested else "not_verified")
            return self._settle(prepared, Outcome.UPDATED, answer.status, attempts, [problem])
        outcome = Outcome.REJECTED if found else Outcome.UPDATED
        return self._settle(prepared, outcome, answer.status, attempts, found)

    async def verify(self, prepared: PreparedChange, wanted: Mapping[str, Any]) -> list[Problem] | None:
        """Read the record, and list what it shows otherwise than `wanted`; None when it cannot be seen."""
        wrong: list[Problem] | None = None
        for seconds in READS_AFTER:
            with self.client.shutdown.waiting():
                await self.client.sleep_without_slot(seconds)
            record = await self.read_back(prepared)
            shown = None if record is None else diff.shows(self.endpoint, wanted, record)
            if shown is None or shown.hidden:
                return wrong
            wrong = shown.problems
            if not wrong:
                break
        return wrong

    async def read_back(self, prepared: PreparedChange) -> Record | None:
        """Read the record of a change once more, None when that does not work."""
        return await self.context.reader.read_back(prepared.change.id, prepared.fields)

    def proves(self, prepared: PreparedChange, wanted: Mapping[str, Any], record: Record) -> bool:
        """Whether a record shows every one of the wanted values."""
        return diff.shows(self.endpoint, wanted, record).is_as_asked

    def _record(self, response: object) -> Record | None:
        if not isinstance(response, ApiResponse):
            return None
        try:
            records = self.endpoint.parse_records(response)
        except UnreadableReplyError:
            return None
        return records[0] if len(records) == 1 else None

    async def _settle_unknown(
        self, prepared: PreparedChange, answer: Answer, attempts: int, attempt: "WriteAttempt"
    ) -> Outcome:
        """Read back: as wanted -> updated, as before -> failed (it can be sent again), else unknown."""
        record = None if self.client.shutdown.requested else await attempt.record_now()
        if record is not None and self.proves(prepared, prepared.fields, record):
            return self._settle(prepared, Outcome.UPDATED, answer.status, attempts, [Problem("found_applied")])
        if record is not None and prepared.before is not None:
            if self.proves(prepared, prepared.before, record):
                problem = Problem("not_applied", {"cause": answer.cause})
                return self._settle(prepared, Outcome.FAILED, answer.status, attempts, [problem])
            found = diff.shows(self.endpoint, prepared.fields, record).neither(prepared.before)
            if found:
                return self._settle(prepared, Outcome.UNKNOWN, answer.status, attempts, found)
        problem = Problem("in_doubt", {"cause": answer.cause})
        return self._settle(prepared, Outcome.UNKNOWN, answer.status, attempts, [problem])

    def _refusals(self, answer: Answer) -> list[Problem]:
        if not isinstance(answer.response, ApiResponse):
            return [Problem("refused", {"cause": answer.cause})]
        if answer.response.status == 404:
            return [Problem("not_found_on_write", {"noun": self.endpoint.noun}, "id")]
        said = self.endpoint.parse_error(answer.response.redacted)
        return [Problem.from_api(field, visible(message)[:500]) for field, message in said]

    def _settle(
        self, prepared: PreparedChange, outcome: Outcome, status: int | None, attempts: int, problems: Sequence[Problem]
    ) -> Outcome:
        return self.context.settle(prepared.change, outcome, (*problems, *prepared.notes), status, attempts)


READS_AFTER = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each read of a record that does not show a confirmed change: reads may lag behind writes."""


class WriteAttempt:
    """What goes with the attempts of one change: its intent before each, and reading back between them."""

    def __init__(self, writer: ChangeWriter, prepared: PreparedChange, intent: Intent) -> None:
        self._writer, self._prepared, self._intent = writer, prepared, intent
        self.tried = self.attempts = intent.made - 1
        """How many attempts of the change are journaled: by earlier parts of the run, and by now."""

    async def before_attempt(self, number: int) -> None:
        """Journal the intent, with the number of this attempt."""
        self.attempts = self.tried + number
        intent = self._intent if number == 1 else replace(self._intent, attempts=self.attempts - self._intent.spent)
        await self._writer.context.journal.write_intent(intent)

    def revert_attempt(self, attempts: int) -> None:
        """Journal that only so many attempts were made: the one that was journaled last never left."""
        self._writer.context.journal.revert_attempt(self._intent, self.attempts - attempts)

    async def record_now(self) -> Record | None:
        """Read the record back, None when that does not work."""
        return await self._writer.read_back(self._prepared)

    async def was_applied(self) -> bool:
        """Read the record back, and return whether it shows what was asked."""
        record = await self.record_now()
        return record is not None and self._writer.proves(self._prepared, self._prepared.fields, record)


@dataclass(frozen=True, slots=True)
class RefusalFinder:
    """Takes prepared changes as a `ChangeWriter` does, and journals only those that cannot be sent; nothing leaves."""

    context: RunContext

    async def send(self, prepared: PreparedChange) -> Outcome:
        """Journal why one change cannot be sent, if so; else it stays unsent."""
        endpoint, change = self.context.endpoint, prepared.change
        try:
            endpoint.write_request(change.id, endpoint.body(prepared.fields, prepared.record), None)
        except ConflictError as error:
            outcome, attempts = refused(prepared.earlier)
            return self.context.settle(change, outcome, [error.problem, *prepared.notes], attempts=attempts)
        return Outcome.UNSENT


@dataclass(frozen=True, slots=True)
class PlanRecorder:
    """Takes prepared changes as a `ChangeWriter` does, and journals what each would change; nothing leaves."""

    context: RunContext

    async def send(self, prepared: PreparedChange) -> Outcome:
        """Journal one change, or why it could not be written."""
        endpoint, change, record = self.context.endpoint, prepared.change, prepared.record or {}
        try:
            body = endpoint.body(prepared.fields, prepared.record)
            endpoint.write_request(change.id, body, None)
        except ConflictError as error:
            outcome, attempts = refused(prepared.earlier)
            return self.context.settle(change, outcome, [error.problem], attempts=attempts)
        name, replaced = endpoint.record_name(record), endpoint.replaced_values(prepared.fields, record)
        await self.context.journal.write_intent(
            Intent(change.number, change.id, None, 0, prepared.fields, prepared.before, body, name, replaced)
        )
        return self.context.settle(change, Outcome.UPDATED, [])
