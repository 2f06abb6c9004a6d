"""One change: attempts, proof, outcome.

Promises: *updated* is said only when the API confirmed it and a read does not show otherwise, or when a read shows it;
what may have been applied is settled by reading before it is given up; a confirmation is on disk when it has come,
whatever is still to be looked at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from batch import diff
from batch.conditions import KEPT
from batch.endpoints.base import ConflictError, Endpoint, Record, UnreadableReplyError
from batch.engine.compared import ComparedChanges
from batch.engine.context import NOTHING, RunContext
from batch.engine.prepare import ChangePreparer, PreparedChange, settle_conflict
from batch.engine.retry_loop import Answer, ApiClient
from batch.engine.verify import ReadBackQueue
from batch.engine.write_call import WriteCall
from batch.http import ApiResponse
from batch.model import Intent, Outcome, Problem, State, visible
from batch.retry import NO_REPLY, Action

LOOKS = (0.0, 1 / 60, 5 / 60, 20 / 60, 1.0)
"""When a record is looked at that does not show a confirmed change, as shares of the time that it is given."""


@dataclass(slots=True)
class ChangeWriter:
    """Sends prepared changes, each by itself, as many at once as the limiter lets through."""

    context: RunContext
    preparer: ChangePreparer
    read_backs: ReadBackQueue = field(init=False)
    _calls: int = field(init=False, default=0)
    """Changes that are being sent."""

    def __post_init__(self) -> None:
        """Look at records through the client of the connection that is open."""
        self.read_backs = ReadBackQueue(self.client, self.context.reader, lambda: self._calls > 0)

    async def send(self, prepared: PreparedChange) -> Outcome | None:
        """Bring one change to its outcome and journal it; None where preparing it again did that."""
        doubt = ""
        while True:
            try:
                call = WriteCall(self.context, self.preparer, prepared, self.look_before, doubt)
            except ConflictError as error:
                return settle_conflict(self.context, prepared, error, prepared.notes)
            self._calls += 1
            try:
                await call.try_hold()
                answer = await self.client.execute(call)
            finally:
                self._calls -= 1
                await call.let_go()
            call.revert_attempt()  # what was written down and did not leave
            if call.is_through:
                return call.outcome
            found = await self._conclude(call, answer)
            if not isinstance(found, PreparedChange):
                return found
            prepared, doubt = found, call.doubt

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the run."""
        return self.context.endpoint

    @property
    def client(self) -> ApiClient:
        """What makes the requests."""
        return self.context.client

    # -- looking at records -------------------------------------------------------------------------------------

    async def look_before(self, call: WriteCall) -> None:
        """Read the record of a change that is to leave, with those of all others whose records are too old."""
        call.look = call.look or self.read_backs.add(call.change.id, call.prepared.fields)
        await self.read_backs.read(call.look)
        call.take_look()

    async def _look(self, prepared: PreparedChange) -> Record | None:
        """Read the record of a change once, at a stop, too."""
        if self.client.shutdown.requested:
            return await self._look_at_stop(prepared)
        with self.client.shutdown.waiting() as scope:
            found = await self.read_backs.read_back(prepared.change.id, prepared.fields)
        return await self._look_at_stop(prepared) if scope.cancelled_caught else found

    async def _look_at_stop(self, prepared: PreparedChange) -> Record | None:
        if self.client.shutdown.grace > 0:
            with anyio.move_on_after(self.client.shutdown.grace):
                return await self.read_backs.read_back(prepared.change.id, prepared.fields, at_stop=True)
        return None

    async def _watch(
        self, prepared: PreparedChange, wanted: Mapping[str, Any], sent: Intent | None
    ) -> tuple[Record | None, diff.Shown | None]:
        """Look at a record until it shows `wanted`, for as long as that may take; None when it cannot be read."""
        record, shown, began = None, None, -math.inf
        self.client.step_aside()
        for share in LOOKS:
            with self.client.shutdown.waiting():
                await anyio.sleep_until(began + share * self.context.verify_within)
            record = await self._look(prepared)
            if math.isinf(began):  # the first look may have had to wait
                began = anyio.current_time()
            shown = None if record is None else self.context.shows(prepared.change, wanted, record, sent)
            is_seen = shown is None or bool(shown.hidden) or shown.is_as_asked
            if is_seen or self.client.shutdown.requested:
                break
        return record, shown

    async def verify(self, prepared: PreparedChange, wanted: Mapping[str, Any]) -> list[Problem] | None:
        """Look whether a record shows `wanted`, and list what it shows otherwise; None when it cannot be seen."""
        _, shown = await self._watch(prepared, wanted, None)
        return None if shown is None or shown.hidden else shown.problems

    # -- what an answer means -----------------------------------------------------------------------------------

    async def _conclude(self, call: WriteCall, answer: Answer) -> Outcome | PreparedChange | None:
        """Say what became of a change, from the answer to its last attempt and what its record shows."""
        action = answer.classification.action
        if action is Action.SUCCEED:
            return await self._conclude_success(call, answer)
        if action is Action.REJECT:
            return await self._conclude_refused(call, answer)
        is_unsent = action is Action.ABORT or (
            answer.classification.is_rate and (answer.is_cut or self.client.shutdown.requested)
        )
        if is_unsent and not answer.attempts:
            return Outcome.UNSENT  # a row without a result is unsent, and what was known of it before stays
        if answer.is_in_doubt or answer.has_arrived or call.was_in_doubt:
            return await self._conclude_in_doubt(call, answer)
        has_arrived = bool(call.made_before)  # an earlier part's attempts may have, too
        outcome = Outcome.UNSENT if is_unsent and not has_arrived else Outcome.FAILED
        problem = Problem("tries_failed", {"cause": answer.cause})
        return self._settle(call.prepared, outcome, answer.status, call.made, [problem])

    async def _conclude_success(self, call: WriteCall, answer: Answer) -> Outcome | PreparedChange | None:
        prepared, record = call.prepared, self._record(answer.response)
        if record is not None and diff.other_record(self.endpoint, call.change.id, record):
            record = None  # it says nothing about this one
            if isinstance(answer.response, ApiResponse):
                answer.response.distrust_connection()
        has_id = record is not None and bool(self.endpoint.record_id(record))
        is_confirmed = has_id and answer.status in self.endpoint.confirming
        if record is not None and is_confirmed:
            if pending := self.endpoint.pending_note(record):  # it need not show yet
                self.context.memory.remember_request(self.endpoint.id_key(call.change.id), prepared.fields)
                problem = Problem("pending", {"note": pending})
                return self._settle(prepared, Outcome.UPDATED, answer.status, call.made, [problem], state=State.PENDING)
            if call.may_be_replayed:
                return await self._conclude_replayed(call, answer)
        if not is_confirmed:
            return await self._conclude_unforeseen(call, answer)
        known = record or {}
        return await self._conclude_confirmed(call, answer, call.shows(known).in_answer(known))

    async def _conclude_confirmed(self, call: WriteCall, answer: Answer, shown: diff.Shown) -> Outcome:
        """Look whether the record shows what the API confirmed, where its answer does not prove it."""
        prepared, outcome, unproven = call.prepared, Outcome.UPDATED, shown.unproven(call.prepared.before)
        # where it was not read before, reading may not be possible at all
        if unproven and (prepared.before is not None or shown.problems):
            problems = [Problem("not_verified")]
            self._settle(prepared, outcome, answer.status, call.made, problems, state=State.CONFIRMED)
            _, found = await self._watch(prepared, unproven, call.sent)
            if self.client.shutdown.requested and not (found and found.is_as_asked):  # the next start looks again
                if (found or shown).problems:
                    cause = "the API confirmed the change, and showed another value"
                    problems = [Problem("in_doubt", {"cause": cause})]
                    return self._settle(prepared, Outcome.UNKNOWN, answer.status, call.made, problems)
                problems = [Problem("not_read_back")]
                return self._settle(prepared, outcome, answer.status, call.made, problems, state=State.CONFIRMED)
            shown = shown.updated(found) if found else shown
            if shown.hidden and not shown.problems:
                return self._settle(prepared, outcome, answer.status, call.made, problems)
        elif shown.hidden:
            outcome, problems = shown.conclude(None)
            problems = [Problem("not_compared"), *problems]
            return self._settle(prepared, outcome, answer.status, call.made, problems, shown=shown.unlike)
        return self._conclude_shown(call, answer, shown)

    def _conclude_shown(self, call: WriteCall, answer: Answer, shown: diff.Shown, *, is_found: bool = False) -> Outcome:
        """Say what became of a change of which it is known how its record shows it; `is_found`: without a success."""
        outcome, problems = call.conclude_found(shown) if is_found else shown.conclude(call.prepared.before)
        return self._settle(call.prepared, outcome, answer.status, call.made, problems, shown=shown.unlike)

    async def _conclude_replayed(self, call: WriteCall, answer: Answer) -> Outcome | PreparedChange | None:
        """Take no answer for a proof that the API may have given to an earlier part's attempt: a read is one."""
        prepared = call.prepared
        record, _ = await self._watch(prepared, prepared.fields, call.sent)  # once is not enough where reads lag
        if record is not None and call.is_applied(shown := call.shows(record)):
            return self._conclude_shown(call, answer, shown)
        if self.client.shutdown.requested:
            return self._settle(prepared, Outcome.UNKNOWN, answer.status, call.made, [Problem("replayed_in_doubt")])
        if record is None:
            return self._settle(prepared, Outcome.UPDATED, answer.status, call.made, [Problem("not_verified")])
        return self.preparer.renew(call.change, record, call.sent and replace(call.sent, is_settled=True))

    async def _conclude_unforeseen(self, call: WriteCall, answer: Answer) -> Outcome:
        """Look what became of a change that got an answer which does not confirm it."""
        cause = f"the answer ({answer.status}) does not show the {self.endpoint.noun}"
        record, _ = await self._watch(call.prepared, call.prepared.fields, call.sent)
        call.doubt = cause
        return self._conclude_by_record(call, answer, record, cause)

    async def _conclude_in_doubt(self, call: WriteCall, answer: Answer) -> Outcome:
        """Look what became of a change whose tries are used up, and of which one may have been applied."""
        record = await self._look(call.prepared)  # once: what shows later, the next start finds
        if answer.is_in_doubt:
            call.doubt = call.doubt or NO_REPLY["unknown"]  # it was cut off before an answer came
        return self._conclude_by_record(call, answer, record, answer.cause)

    def _conclude_by_record(self, call: WriteCall, answer: Answer, record: Record | None, cause: str) -> Outcome:
        """Say what a record shows: as wanted -> updated, as before -> failed (it can be sent again), else unknown."""
        prepared, outcome, problems = call.prepared, Outcome.UNKNOWN, [Problem("in_doubt", {"cause": cause})]
        shown = None if record is None else call.shows(record)
        if record is not None and shown is not None and not shown.hidden:
            before = prepared.before or {}
            if call.is_applied(shown):
                return self._conclude_shown(call, answer, shown, is_found=True)
            if before and not diff.shows(self.endpoint, before, record).is_as_asked:
                problems = shown.neither(before) or problems
            elif not self.endpoint.awaits_approval(record):  # else it may be this change that waits
                outcome, problems = Outcome.FAILED, [Problem("not_applied", {"cause": cause})]
        return self._settle(prepared, outcome, answer.status, call.made, problems)

    async def _conclude_refused(self, call: WriteCall, answer: Answer) -> Outcome:
        """Call it rejected, unless an earlier attempt may have been applied all the same: a read tells."""
        prepared = call.prepared
        if answer.is_in_doubt or answer.has_arrived or call.was_in_doubt or call.made_before:
            is_in_doubt, is_cut = answer.is_in_doubt or call.was_in_doubt, False
            if is_in_doubt or answer.has_arrived:  # a refusal is final, so that it must not hide what shows a bit later
                record, _ = await self._watch(prepared, prepared.fields, call.sent)
                is_cut = self.client.shutdown.requested
            else:
                record = await self._look(prepared)
            shown = None if record is None else call.shows(record)
            if shown is not None and call.is_applied(shown):
                return self._conclude_shown(call, answer, shown, is_found=True)
            is_unseen = shown is None or bool(shown.hidden)
            is_unread = answer.status != 404  # after a 5xx that proves nothing
            if (is_unseen or is_cut) and (is_in_doubt or is_unread):
                code = "refused_in_doubt" if is_in_doubt or is_cut else "refused_unread"
                problem = Problem(code, {"cause": answer.cause})
                return self._settle(prepared, Outcome.UNKNOWN, answer.status, call.made, [problem])
        return self._settle(prepared, Outcome.REJECTED, answer.status, call.made, self._refusals(answer))

    def _record(self, response: object) -> Record | None:
        if not isinstance(response, ApiResponse):
            return None
        try:
            return self.endpoint.parse_written(response)
        except UnreadableReplyError:
            return None

    def _refusals(self, answer: Answer) -> list[Problem]:
        if not isinstance(answer.response, ApiResponse):
            return [Problem("refused", {"cause": answer.cause})]
        if answer.response.status == 404:
            return [Problem("not_found_on_write", {"noun": self.endpoint.noun}, "id")]
        said = self.endpoint.parse_error(answer.response.redacted)
        return [Problem.from_api(field, visible(message)[:500]) for field, message in said]

    def _settle(
        self, prepared: PreparedChange, outcome: Outcome, status: int | None, attempts: int,
        problems: Sequence[Problem], *, state: State = State.FINAL, shown: Mapping[str, Any] = NOTHING,
    ) -> Outcome:  # fmt: skip
        said, seen = (*problems, *prepared.notes), {**prepared.shown, **shown}
        return self.context.settle(prepared.change, outcome, said, status, attempts, state, seen)


@dataclass(frozen=True, slots=True)
class RefusalFinder:
    """Takes prepared changes as a `ChangeWriter` does, and journals only those that cannot be sent; nothing leaves."""

    context: RunContext
    compared: ComparedChanges | None = None
    """Where the others are kept, until somebody was asked about them."""

    async def send(self, prepared: PreparedChange) -> Outcome:
        """Journal why one change cannot be sent, if so; else it stays unsent."""
        endpoint, change = self.context.endpoint, prepared.change
        try:
            endpoint.write_request(change.id, endpoint.body(prepared.fields, prepared.record), None)
        except ConflictError as error:
            return settle_conflict(self.context, prepared, error, prepared.notes)
        self.context.meter.looked_at += len(change.rows)
        if self.compared is not None:
            before, record = prepared.before or {}, prepared.record or {}
            self.compared.add(change, prepared.fields, before, record, prepared.read_at)
        return Outcome.UNSENT


@dataclass(frozen=True, slots=True)
class PlanRecorder:
    """Takes prepared changes as a `ChangeWriter` does, and journals what each would change; nothing leaves."""

    context: RunContext

    async def send(self, prepared: PreparedChange) -> Outcome:
        """Journal one change, or why it could not be written."""
        endpoint, change, record = self.context.endpoint, prepared.change, prepared.record or {}
        notes = [one for one in prepared.notes if one.code in KEPT]
        try:
            body = endpoint.body(prepared.fields, prepared.record)
            endpoint.write_request(change.id, body, None)
        except ConflictError as error:
            return settle_conflict(self.context, prepared, error, notes)
        name, replaced = endpoint.record_name(record), endpoint.replaced_values(prepared.fields, record)
        await self.context.write_intent(
            Intent(change.number, change.id, None, 0, prepared.fields, prepared.before, body, name, replaced)
        )
        return self.context.settle(change, Outcome.UPDATED, notes)
