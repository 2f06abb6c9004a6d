"""Changes -> parcels: read the current records, keep what differs, and settle what needs no sending.

Promises: a record that is not there is rejected before any write; a record that already has the values is unchanged and
costs no write; what an earlier part of the run sent without an answer is settled before it is sent again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batch import diff
from batch.endpoints.base import Endpoint, Record, UnreadableReplyError
from batch.engine.retry_loop import Answer, ApiClient
from batch.engine.write import PreparedChange
from batch.http import ApiResponse
from batch.journal import Journal
from batch.model import Change, Intent, Outcome, Problem, RowResult, visible
from batch.retry import Action
from batch.run.plan_file import DriftCheck, PlanFile, check_plan_drift, check_undo_drift

UNREAD_AT_ONCE = 100
TAKEN_UP = Problem("no answer came, but reading back showed that it was applied")


@dataclass(slots=True)
class ChangePreparer:
    """Makes changes ready to send. `is_compared`: what is the same already is not sent."""

    client: ApiClient
    endpoint: Endpoint
    journal: Journal
    is_compared: bool
    note: Callable[[str], None]
    planned: PlanFile | None
    """What is to be done, where that was written down before: nothing else is done then."""
    _is_later_part: bool = field(init=False)
    settled: int = field(init=False)
    """Changes that came to their outcome by reading alone, in this part of the run."""
    rejected: int = field(init=False)
    """Those of them that were rejected."""

    def __post_init__(self) -> None:
        """Look once whether there was an earlier part of this run, instead of asking for each change."""
        self._is_later_part = self.journal.has_intents()
        self.settled = self.rejected = 0

    @property
    def _not_there(self) -> Problem:
        return Problem(f"there is no {self.endpoint.noun} with this id", field="id")

    @property
    def reads(self) -> bool:
        """Whether current records are read at all."""
        return self.is_compared or self.endpoint.needs_full_body

    @property
    def batch_size(self) -> int:
        """How many changes one read serves."""
        return self.endpoint.ids_per_read if self.reads else UNREAD_AT_ONCE

    async def prepare(self, batch: Sequence[Change]) -> list[PreparedChange]:
        """Read the records of `batch` and give what is to be sent; every other change gets its outcome here."""
        if not self.reads:
            return [self._unread(change) for change in batch]
        answer = await self.client.read(self.endpoint.read_request([one.id for one in batch]))
        match answer.classification.action:
            case Action.SUCCEED:
                return self._compare_all(batch, answer)
            case Action.REJECT if self.endpoint.ids_per_read > 1 and not self.endpoint.needs_full_body:
                return self._go_on_unread(batch, answer.cause)
        self._settle_unread(batch, answer)
        return []

    def _settle_unread(self, batch: Sequence[Change], answer: Answer) -> None:
        match answer.classification.action:
            case Action.REJECT:
                self._settle_unseen(batch, Outcome.REJECTED, self._refusals(answer), answer.status)
            case Action.RETRY if not (answer.is_cut or self.client.shutdown.requested):
                problem = Problem(f"the record could not be read: {answer.cause}")
                self._settle_unseen(batch, Outcome.FAILED, [problem], answer.status)
            case _:
                pass  # the run stops: these rows stay as they are, unsent or as an earlier part left them

    def _settle_unseen(
        self, batch: Sequence[Change], outcome: Outcome, problems: Sequence[Problem], status: int | None
    ) -> None:
        """Settle changes whose record cannot be read; those that may have been applied before stay unknown."""
        for change in batch:
            earlier = self._earlier(change)
            if earlier is None or problems == [self._not_there] or not self._may_be_applied(earlier, outcome):
                self._settle_all([change], outcome, problems, status)
            else:
                self._settle_all([change], Outcome.UNKNOWN, problems, status, earlier.attempts)

    def _may_be_applied(self, earlier: Intent, outcome: Outcome) -> bool:
        """Whether `outcome` would say too much after an earlier part; a 5xx does not mean that nothing was done."""
        return self._is_in_doubt(earlier) or (outcome is Outcome.REJECTED and earlier.attempts > 0)

    def _is_in_doubt(self, earlier: Intent) -> bool:
        """Whether the last attempt of an earlier part may have been applied."""
        row_result = self.journal.row_results(earlier.number, earlier.number).get(earlier.number)
        is_older = row_result is None or row_result.attempts < earlier.attempts  # than the attempt
        return earlier.attempts > 0 and (is_older or row_result is None or row_result.outcome is Outcome.UNKNOWN)

    async def read_back(self, prepared: PreparedChange) -> Record | None:
        """Read one record again, None when that does not work."""
        answer = await self.client.read(self.endpoint.read_request([prepared.change.id]))
        record = self._record(answer, prepared.change)
        if record is None or not self._lacks(record, prepared.fields):
            return record
        more = self._record(await self.client.read(self.endpoint.read_one_request(prepared.change.id)), prepared.change)
        return record if more is None else {**record, **more}

    def _record(self, answer: Answer, change: Change) -> Record | None:
        if answer.classification.action is not Action.SUCCEED or not isinstance(answer.response, ApiResponse):
            return None
        try:
            records = self.endpoint.parse_records(answer.response)
        except UnreadableReplyError:
            return None
        wanted = self.endpoint.id_key(change.id)
        return next((one for one in records if self._key_of(one) == wanted), None)

    def _key_of(self, record: Record) -> str:
        return self.endpoint.id_key(self.endpoint.record_id(record))

    def _lacks(self, record: Record, names: Iterable[str]) -> bool:
        """Whether a list of records leaves out fields that reading the record alone may show."""
        return self.endpoint.ids_per_read > 1 and bool(diff.hidden(self.endpoint, names, record))

    async def complete(self, prepared: PreparedChange) -> PreparedChange | None:
        """Read what the list left out; None when that gave the change its outcome."""
        if prepared.is_complete:
            return prepared
        change, listed = prepared.change, prepared.record or {}
        answer = await self.client.read(self.endpoint.read_one_request(change.id))
        if answer.classification.action is Action.SUCCEED:
            return self._compare(change, {**listed, **(self._record(answer, change) or {})}, is_complete=True)
        if answer.classification.action is Action.REJECT and answer.status != 404:
            return self._compare(change, listed, is_complete=True)  # what cannot be read is sent
        self._settle_unread([change], answer)
        return None

    def _unread(self, change: Change) -> PreparedChange:
        earlier = self._earlier(change)
        return PreparedChange(
            change, change.fields, earlier=earlier, is_in_doubt=earlier is not None and self._is_in_doubt(earlier)
        )

    def _earlier(self, change: Change) -> Intent | None:
        """Look up what an earlier part of this run was about to send."""
        return self.journal.intent(change.number) if self._is_later_part else None

    def _go_on_unread(self, batch: Sequence[Change], cause: str) -> list[PreparedChange]:
        """This API does not let us list: go on without comparing, and say so."""
        if self.planned is not None:
            self.client.shutdown.request(f"The current records cannot be read ({cause}), so nothing can be compared.")
            return []
        if self.is_compared:  # the other reader may have said it already
            self.is_compared = False
            self.note(
                f"The current records cannot be read ({cause}), so nothing is compared: "
                "every row is sent, also those that change nothing."
            )
        return [self._unread(change) for change in batch]

    def _refusals(self, answer: Answer) -> list[Problem]:
        if answer.status == 404:
            return [self._not_there]
        said = (
            self.endpoint.parse_error(answer.response)
            if isinstance(answer.response, ApiResponse)
            else [("", answer.cause)]
        )
        return [Problem(f"the record could not be read: {visible(text)[:500]}", field=name) for name, text in said[:3]]

    def _compare_all(self, batch: Sequence[Change], answer: Answer) -> list[PreparedChange]:
        assert isinstance(answer.response, ApiResponse)  # noqa: S101 - DONE is said of replies only
        try:
            records = self.endpoint.parse_records(answer.response)
        except UnreadableReplyError as error:
            problem = Problem(f"the record could not be read: {error}")
            self._settle_unseen(batch, Outcome.FAILED, [problem], answer.status)
            return []
        known = {self._key_of(record): record for record in records}
        keys = [self.endpoint.id_key(change.id) for change in batch]
        if known.keys() - set(keys):  # so a record that is not in it may well be there
            return self._distrust(batch, answer)
        prepared_changes = [self._compare(change, known.get(key)) for change, key in zip(batch, keys, strict=True)]
        return [prepared for prepared in prepared_changes if prepared is not None]

    def _distrust(self, batch: Sequence[Change], answer: Answer) -> list[PreparedChange]:
        """Deal with an answer that shows other records than asked, as a list does whose filter is ignored."""
        if self.endpoint.ids_per_read > 1 and not self.endpoint.needs_full_body:
            return self._go_on_unread(batch, f"the API lists other {self.endpoint.plural} than asked")
        problem = Problem("the record could not be read: the API answered with another one")
        self._settle_unseen(batch, Outcome.FAILED, [problem], answer.status)
        return []

    def _compare(self, change: Change, record: Record | None, *, is_complete: bool = False) -> PreparedChange | None:
        if record is None:
            self._settle_all([change], Outcome.REJECTED, [self._not_there], 404)
            return None
        if not is_complete and self._lacks(record, change.fields):
            return PreparedChange(change, change.fields, record=record, is_complete=False)
        earlier = self._earlier(change)
        if earlier is not None and earlier.attempts:
            return self._take_up(change, record, earlier)
        return self._begin(change, record)

    def _begin(self, change: Change, record: Record, earlier: Intent | None = None) -> PreparedChange | None:
        """Make ready what differs between a change, or what was planned of it, and its record."""
        if self.planned is not None:
            return self._begin_planned(self.planned, change, record, earlier)
        difference = diff.differing(self.endpoint, change.fields, record)
        if earlier is not None:
            return PreparedChange(change, difference.fields or change.fields, difference.before, record, earlier)
        if not self.is_compared:
            return PreparedChange(change, change.fields, self._shown(record, change.fields), record)
        if difference.fields:
            return PreparedChange(change, difference.fields, difference.before, record)
        self._settle_all([change], Outcome.UNCHANGED, [])
        return None

    def _begin_planned(
        self, plan: PlanFile, change: Change, record: Record, earlier: Intent | None
    ) -> PreparedChange | None:
        planned = plan.get(change.number)
        if planned is not None and self.endpoint.id_key(planned.id) != self.endpoint.id_key(change.id):
            self._settle_all(
                [change], Outcome.REJECTED, [Problem(f"the plan is for {self.endpoint.noun} {planned.id}", "id")]
            )
            return None
        if plan.is_undo:
            drift = check_undo_drift(self.endpoint, planned, record) if planned else DriftCheck({}, ())
        else:
            drift = check_plan_drift(self.endpoint, planned, change.fields, record)
        if drift.fields and (plan.is_undo or not drift.drifted):
            before = self._shown(record, drift.fields)
            return PreparedChange(change, drift.fields, before, record, earlier, drift.drifted)
        problems = drift.drifted or ((Problem(planned.note),) if planned is not None and planned.note else ())
        self._settle_all([change], Outcome.REJECTED if problems else Outcome.UNCHANGED, problems)
        return None

    def _shown(self, record: Record, names: Iterable[str]) -> dict[str, Any]:
        """Give the values of those fields that a record shows."""
        return {name: self.endpoint.value(record, name) for name in names if self.endpoint.has_value(record, name)}

    def _take_up(self, change: Change, record: Record, earlier: Intent) -> PreparedChange | None:
        """Settle a change that an earlier part of this run began to send."""
        if not diff.differing(self.endpoint, earlier.fields, record).fields:
            self._settle_all([change], Outcome.UPDATED, [TAKEN_UP], attempts=earlier.attempts)
            return None
        if not earlier.before or diff.is_as_before(self.endpoint, earlier.before, record):
            return PreparedChange(change, earlier.fields, earlier.before, record, earlier)
        if self._is_failed(earlier):  # it was answered, so it was not applied: the other hand's values are the base now
            return self._begin(change, record, earlier)
        problems = diff.neither(self.endpoint, earlier.fields, earlier.before, record)
        self._settle_all([change], Outcome.UNKNOWN, problems, attempts=earlier.attempts)
        return None

    def _is_failed(self, earlier: Intent) -> bool:
        row_result = self.journal.row_results(earlier.number, earlier.number).get(earlier.number)
        return (
            row_result is not None and row_result.outcome is Outcome.FAILED and row_result.attempts >= earlier.attempts
        )

    def _settle_all(
        self,
        changes: Sequence[Change],
        outcome: Outcome,
        problems: Sequence[Problem],
        status: int | None = None,
        attempts: int = 0,
    ) -> None:
        self.settled += len(changes)
        self.rejected += len(changes) if outcome is Outcome.REJECTED else 0
        for one in changes:
            row_results = [RowResult(row, one.id, outcome, status, attempts, tuple(problems)) for row in one.rows]
            self.journal.record(one.number, row_results)
