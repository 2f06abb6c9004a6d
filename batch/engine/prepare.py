"""Changes -> what is to be sent: read the current records, keep what differs, and settle what needs no sending.

Promises: a record that is not there is rejected before any write; a record that already has the values is unchanged and
costs no write; what an earlier part of the run sent without an answer is settled before it is sent again; with `--key`
a change goes on under its record's real id, so that journal, proof and undo know the record.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from batch import diff
from batch.conditions import KEPT, DriftCheck, check_plan_drift, check_undo_drift, find_conflicts, find_filled
from batch.endpoints.base import MISSING, ConflictError, Endpoint, Record
from batch.engine.compared import ComparedChanges, Seen
from batch.engine.context import NOTHING, RunContext
from batch.engine.lookup import Lookup, Match, NoMatch
from batch.engine.record_reader import Absent, ReadResult, Unreadable
from batch.engine.retry_loop import ApiClient
from batch.journal import Journal
from batch.model import Change, Intent, Outcome, Problem, RowResult, State, visible
from batch.retry import NO_REPLY
from batch.run.plan_file import PlanFile

UNREAD_AT_ONCE = 100
PREPARERS = 2
"""So many tasks read lists; where one read serves one change, there is one for each slot."""


@dataclass(frozen=True, slots=True)
class PreparedChange:
    """A change that is ready to be sent: `fields` is what differs, `before` what it was (None: not read).

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
    read_at: float = field(default=-math.inf, compare=False)
    """When the record was read, on anyio's clock."""
    read_from: float = field(default=-math.inf, compare=False)
    """When that read began at the earliest."""
    shown: Mapping[str, Any] = field(default_factory=dict)
    """What the record shows of the fields that are not sent, since it has them in the API's own spelling."""
    was_asked: bool = False
    """It was read before a person was asked, who may take long: its record is looked at once more before it leaves."""


def refused(earlier: Intent | None, outcome: Outcome = Outcome.INVALID) -> tuple[Outcome, int]:
    """Return the outcome and attempts of a change that cannot be sent: `outcome`, unless an earlier part sent it."""
    attempts = earlier.made if earlier else 0
    return Outcome.REJECTED if attempts else outcome, attempts


def settle_conflict(
    context: RunContext, prepared: PreparedChange, error: ConflictError, notes: Sequence[Problem]
) -> Outcome:
    """Journal a change that does not fit its record, with what is to be said of it besides; return its outcome."""
    outcome, attempts = refused(prepared.earlier, error.outcome)
    said = (error.problem, *notes)
    return context.settle(prepared.change, outcome, said, attempts=attempts, shown=prepared.shown)


@dataclass(slots=True)
class ChangePreparer:
    """Makes changes ready to send; `lookup` finds their records first, by ids or by keys in the place of ids."""

    context: RunContext
    lookup: Lookup | None = None
    compared: ComparedChanges | None = None
    """What was read before the question; None where nothing is."""
    settled: int = field(init=False, default=0)
    """Changes that came to their outcome by reading alone, in this part of the run."""
    rejected: int = field(init=False, default=0)
    """Those of them that were rejected."""
    unlisted: int = field(init=False, default=0)
    """Changes of an earlier part that were looked at only as far as a list shows them."""
    _is_later_part: bool = field(init=False)

    def __post_init__(self) -> None:
        """Ask the journal once whether there was an earlier part of this run, instead of for each change."""
        self._is_later_part = self.journal.is_resumed

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the run."""
        return self.context.endpoint

    @property
    def client(self) -> ApiClient:
        """What makes the requests."""
        return self.context.client

    @property
    def journal(self) -> Journal:
        """The journal of the run."""
        return self.context.journal

    @property
    def planned(self) -> PlanFile | None:
        """What is to be done, where that was written down before: nothing else is done then."""
        return self.context.plan

    @property
    def is_compared(self) -> bool:
        """Whether what a record has already is left out."""
        return self.context.is_compared

    @property
    def _not_there(self) -> Problem:
        return Problem("not_found", {"noun": self.endpoint.noun}, "id")

    @property
    def reads(self) -> bool:
        """Whether current records are read at all."""
        return self.is_compared or self.endpoint.needs_full_body or self.lookup is not None

    @property
    def batch_size(self) -> int:
        """How many changes one read serves: one lookup, or one reading anew of what pages brought a while ago."""
        if self.lookup is not None:
            return self.endpoint.ids_per_read if self.lookup.goes_by_pages else 1
        return self.endpoint.ids_per_read if self.reads else UNREAD_AT_ONCE

    async def prepare(self, batch: Sequence[Change]) -> list[PreparedChange]:
        """Read the records of `batch` and return what is to be sent; every other change gets its outcome here."""
        prepared: list[PreparedChange] = []
        unread: list[Change] = []
        for change in batch:
            seen = self.compared.get(change.number) if self.compared is not None else None
            if seen is None:
                unread.append(change)
            elif one := self._go_by(change, seen):
                prepared.append(one)
        if unread:
            prepared += await (self._find(unread, self.lookup) if self.lookup is not None else self._read(unread))
        return prepared

    def _go_by(self, change: Change, seen: Seen) -> PreparedChange | None:
        """Prepare a change as it was before the question, from the same record."""
        one = self._compare(replace(change, id=seen.id), seen.record, is_complete=True)
        return one and replace(one, read_at=seen.read_at, was_asked=True)

    # -- by key, or on pages ------------------------------------------------------------------------------------

    async def _find(self, batch: Sequence[Change], lookup: Lookup) -> list[PreparedChange]:
        prepared: list[PreparedChange] = []
        by_id: list[Change] = []
        for change in batch:
            earlier = self._earlier(change) if self.context.is_trusted else None
            if earlier is not None and earlier.made:
                by_id.append(replace(change, id=earlier.id))  # the record that was found then
                continue
            match await lookup.find(change.id, change.record_id):
                case None:
                    by_id.append(change)
                case Match() as found:
                    known = replace(change, id=found.id)
                    if self._must_be_read_by_itself(known, found):
                        by_id.append(known)
                    elif one := self._compare(known, found.record):
                        prepared.append(replace(one, read_at=found.read_at))
                case NoMatch() as no_match:
                    self._settle_no_match(change, no_match)
        return prepared + (await self._read(by_id) if by_id else [])

    def _must_be_read_by_itself(self, change: Change, found: Match) -> bool:
        """Whether a page that shows a record is not enough: all but that nothing is to be sent, or said, of it."""
        if not found.is_whole:
            return True
        fields, _ = self._to_write(change, found.record)
        has_all = self.is_compared and (not fields or self._shows_all(change, fields, found.record))
        if has_all and not find_conflicts(self.endpoint, change.conditions, fields, found.record):
            self.context.first_ids.is_settled = True
            return False
        return found.is_old or self.context.rereads

    def _settle_no_match(self, change: Change, found: NoMatch) -> None:
        if found.outcome is None or found.problem is None:
            return  # the run stops: these rows stay as they are
        self._settle(change, found.outcome, [found.problem], found.status)

    # -- by id --------------------------------------------------------------------------------------------------

    async def _read(self, batch: Sequence[Change]) -> list[PreparedChange]:
        if not self.reads:
            return [self._unread(change) for change in batch]
        began = anyio.current_time()
        found = await self.context.reader.read_many([one.id for one in batch])
        prepared_changes = [self._take(change, found[change.id]) for change in batch]
        return [replace(prepared, read_from=began) for prepared in prepared_changes if prepared is not None]

    def _take(self, change: Change, found: ReadResult, *, is_complete: bool = False) -> PreparedChange | None:
        """Go on with what a read of a change's record brought."""
        match found:
            case Absent():
                self.context.first_ids.absent += 1
                self._settle_unseen(change, Outcome.REJECTED, [self._not_there], found.status)
            case Unreadable():
                if not found.is_stopped:  # else the rows stay as they are, unsent or as an earlier part left them
                    self._settle_unseen(change, Outcome.FAILED, found.problems, found.status)
            case _:
                self.context.first_ids.is_settled = True
                return self._compare(change, found, is_complete=is_complete)
        return None

    def _settle_unseen(self, change: Change, outcome: Outcome, problems: Sequence[Problem], status: int | None) -> None:
        """Settle a change whose record is absent (rejected) or cannot be read (failed).

        One that may have been applied before stays unknown; what an earlier part said stays until it can be looked at.
        """
        earlier, is_absent = self._earlier(change), outcome is Outcome.REJECTED
        if not is_absent and self._earlier_success(change) is not None:
            return
        if earlier is None or is_absent or not self._is_in_doubt(earlier):
            self._settle(change, outcome, problems, status)
        else:
            self._settle(change, Outcome.UNKNOWN, problems, status, earlier.made)

    def _is_in_doubt(self, earlier: Intent) -> bool:
        """Whether the last attempt of an earlier part may have been applied."""
        found = self.journal.row_results(earlier.change, earlier.change).get(earlier.change)
        is_older = found is None or found.attempts < earlier.made  # than the attempt
        return earlier.made > 0 and (is_older or found is None or found.outcome is Outcome.UNKNOWN)

    async def complete(self, prepared: PreparedChange) -> PreparedChange | None:
        """Read what the list left out; None when that gave the change its outcome."""
        if prepared.is_complete:
            return prepared
        change = prepared.change
        found = await self.context.reader.read_alone(change.id, prepared.record)
        whole = self._take(change, found, is_complete=True)
        return whole and replace(whole, read_from=prepared.read_from)

    def _unread(self, change: Change) -> PreparedChange:
        earlier = self._earlier(change)
        return PreparedChange(
            change, change.fields, earlier=earlier, is_in_doubt=earlier is not None and self._is_in_doubt(earlier)
        )

    def _earlier(self, change: Change) -> Intent | None:
        """Look up what an earlier part of this run was about to send."""
        return self.journal.intent(change.number) if self._is_later_part else None

    def _compare(self, change: Change, record: Record, *, is_complete: bool = False) -> PreparedChange | None:
        names = [*change.fields, *(one.field for one in change.conditions)]
        if not is_complete and self.context.reader.lacks(record, names):
            if self._holds_as_listed(change, record):
                self.unlisted += 1
                self.context.record_again(change)
                return None
            return PreparedChange(change, change.fields, record=record, is_complete=False)
        if unseen := self.unseen_wholes(change, record):
            self._settle_unseen(change, Outcome.FAILED, unseen, None)
            return None
        earlier = self._earlier(change)
        if earlier is not None and self._is_in_doubt(earlier) and self.shows_neither(change, earlier, record):
            problems = self.context.shows(change, earlier.fields, record, earlier).neither(earlier.before or {})
            self._settle(change, Outcome.UNKNOWN, problems or [Problem("ended_in_doubt")], attempts=earlier.made)
            return None
        if self._is_applied(change, earlier, record) and self._shows_all(change, change.fields, record, earlier):
            self._settle_as_is(change, record, earlier)  # whatever the sheet expects of other fields
            return None
        prepared = self.renew(change, record, earlier if earlier is not None and earlier.made else None)
        if prepared is not None and self._earlier_success(change) is not None:
            # the run may stop before it is sent again
            made = earlier.made if earlier is not None else 0
            self.context.settle(change, Outcome.UNSENT, [Problem("no_longer_so")], attempts=made)
        return prepared

    def unseen_wholes(self, change: Change, record: Record) -> list[Problem]:
        """Return problems for objects that a record does not show and a write replaces whole: none is sent unseen."""
        return [
            Problem("whole_unseen", {"whole": whole}, name)
            for name in change.fields
            if not self.endpoint.is_custom(name)
            and (whole := name.partition(".")[0]) in self.endpoint.replaced_whole
            and not self.endpoint.has_value(record, whole)
        ]

    def renew(self, change: Change, record: Record, sent: Intent | None) -> PreparedChange | None:
        """Make a change ready once more, of what its record shows now; None when that gave it its outcome.

        `sent`: the newest intent of which an attempt was made.
        """
        prepared = self._begin(change, record, sent)
        return prepared and replace(prepared, read_at=anyio.current_time())

    def _to_write(
        self, change: Change, record: Record, sent: Intent | None = None
    ) -> tuple[Mapping[str, Any], tuple[Problem, ...]]:
        """Return the fields of a change that may be written, and why others must not where only empty ones are."""
        if not self.context.only_empty:
            return change.fields, ()
        is_confirmed = self._earlier_success(change) is not None
        known = self.context.known_spellings(change, sent, is_confirmed=is_confirmed)
        kept = find_filled(self.endpoint, change.fields, record, known)
        named = {one.field for one in kept}
        return {name: value for name, value in change.fields.items() if name not in named}, tuple(kept)

    def _begin(self, change: Change, record: Record, earlier: Intent | None) -> PreparedChange | None:
        """Make ready what differs between a change, or what was planned of it, and its record."""
        fields, _ = self._to_write(change, record, earlier)
        if change.bare_numbers and (
            lost := diff.zeros_lost(self.endpoint, replace(change, fields=fields), record)
        ):  # fmt: skip
            self._refuse(change, lost, earlier)
            return None
        notes: tuple[Problem, ...] = ()
        is_undo = self.planned is not None and self.planned.is_undo  # its values are the API's own
        if not is_undo and any(map(self.endpoint.is_custom, change.fields)):
            try:
                change = replace(change, fields=self.endpoint.fitted(change.fields, record))
            except ConflictError as error:
                self._refuse(change, [error.problem], earlier)
                return None
            notes = tuple(
                Problem("custom_field_spelt", {"spelt": visible(spelt)}, name)
                for name in change.fields
                if (spelt := self.endpoint.respelt(record, name))
            )
        is_confirmed = self._earlier_success(change) is not None
        known = self.context.known_spellings(change, earlier, is_confirmed=is_confirmed)
        fields, kept = self._to_write(change, record, earlier)
        if any(one.code not in KEPT for one in kept):
            self._settle_unseen(change, Outcome.FAILED, [one for one in kept if one.code not in KEPT], None)
            return None
        notes = (*notes, *kept)
        if not self.context.overwrites:
            conflicts = find_conflicts(self.endpoint, change.conditions, fields, record, known)
            if conflicts:
                conflicts = [self._with_later_run(one) for one in conflicts]
                self._settle(change, Outcome.REJECTED, conflicts, attempts=earlier.made if earlier else 0)
                return None
        if self.planned is not None:
            return self._begin_planned(self.planned, change, record, earlier, kept)
        shown = diff.shows(self.endpoint, fields, record, known)
        if earlier is None and not self.is_compared:
            return PreparedChange(change, fields, self._shown(record, fields), record, notes=notes)
        if shown.differing:
            if self._awaits_approval(change, shown.differing, record, earlier):
                return None
            known_spellings = shown.known_spellings
            return PreparedChange(
                change, shown.differing, shown.before, record, earlier, (*notes, *_not_sent(known_spellings)),
                shown=known_spellings,
            )  # fmt: skip
        self._settle_as_is(change, record, earlier, kept=kept)
        return None

    def _with_later_run(self, conflict: Problem) -> Problem:
        """Say when another run may have made the change that a conflict is about."""
        if "later" not in conflict.values or not self.context.later_run:
            return conflict
        later = f", perhaps by the run on this file that ended at {self.context.later_run}"
        return replace(conflict, values={**conflict.values, "later": later})

    def _begin_planned(
        self, plan: PlanFile, change: Change, record: Record, earlier: Intent | None, kept: Sequence[Problem] = ()
    ) -> PreparedChange | None:
        planned, known = plan.get(change.number), self.context.known_spellings(change, earlier)
        if planned is not None and self.endpoint.id_key(planned.id) != self.endpoint.id_key(change.id):
            problem = Problem("plan_of_other", {"noun": self.endpoint.noun, "id": planned.id}, "id")
            self._settle(change, Outcome.REJECTED, [problem])
            return None
        if plan.is_undo:
            drift = check_undo_drift(self.endpoint, planned, record, known) if planned else DriftCheck({}, ())
        else:
            steps = {step.field for step in planned.steps} if planned is not None else set()
            kept = [one for one in kept if one.field not in steps]  # whether they are as planned is looked at
            # where only empty fields are filled, those that the plan leaves alone had other values, or have by now
            fields = {} if self.context.only_empty else change.fields
            drift = check_plan_drift(self.endpoint, planned, fields, record, known)
        if drift.fields and (plan.is_undo or not drift.drifted):
            if self._awaits_approval(change, drift.fields, record, earlier):
                return None
            before = self._shown(record, drift.fields)
            return PreparedChange(change, drift.fields, before, record, earlier, (*drift.drifted, *kept))
        problems = drift.drifted or ((planned.note,) if planned is not None and planned.note else ())
        self._settle_as_is(change, record, earlier, problems, kept)
        return None

    def _awaits_approval(
        self, change: Change, fields: Mapping[str, Any], record: Record, earlier: Intent | None
    ) -> bool:
        """Settle a change that was asked for before, while its record says that a change of it awaits approval."""
        record_id, memory = self.endpoint.id_key(change.id), self.context.memory
        if not self.endpoint.awaits_approval(record):
            memory.forget_request(record_id)
            return False
        found, asked = self._earlier_success(change), earlier.fields if earlier is not None else {}
        if (
            found is not None
            and found.state is State.PENDING
            and all(
                diff.shows_value(self.endpoint, name, value, asked.get(name, MISSING)) is diff.How.AS_ASKED
                for name, value in fields.items()
            )
        ):
            self.context.record_again(change, State.PENDING)
            return True
        if memory.knows_request(record_id, fields):
            self._settle(change, Outcome.UNCHANGED, [Problem("awaits_approval")])
            return True
        return False

    def _shown(self, record: Record, names: Iterable[str]) -> dict[str, Any]:
        """Give the values of those fields that a record shows."""
        return {name: self.endpoint.value(record, name) for name in names if self.endpoint.has_value(record, name)}

    def _earlier_success(self, change: Change) -> RowResult | None:
        """Return what an earlier part said of a change, if it was that its record has the values now."""
        if not self._is_later_part:
            return None
        found = self.journal.row_results(change.number, change.number).get(change.number)
        return found if found is not None and found.outcome in (Outcome.UPDATED, Outcome.UNCHANGED) else None

    def _holds_as_listed(self, change: Change, record: Record) -> bool:
        """Whether what an earlier part of a run that is ours said still holds, as far as a list shows it."""
        found = self._earlier_success(change)
        if not self.context.is_trusted or found is None or found.state is State.PENDING:
            return False
        shown = self.context.shows(change, change.fields, record, self._earlier(change))
        return shown.differing.keys() == shown.hidden.keys()

    def shows_neither(self, change: Change, earlier: Intent, record: Record) -> bool:
        """Whether a record shows neither what an earlier part found nor what it sent: another hand wrote since."""
        return (
            bool(earlier.before)
            and not self._shows_all(change, earlier.fields, record, earlier)
            and not self._shows_all(change, earlier.before or {}, record)
        )

    def _settle_as_is(
        self, change: Change, record: Record, earlier: Intent | None, problems: Sequence[Problem] = (),
        kept: Sequence[Problem] = (),
    ) -> None:  # fmt: skip
        """Settle a change of which nothing is to be sent, as its record shows it; `kept`: why not, field by field."""
        shows_sent = earlier is not None and self._shows_all(change, earlier.fields, record, earlier)
        left_alone = {one.field for one in kept}
        fields = {name: value for name, value in change.fields.items() if name not in left_alone}
        shown = self.context.shows(change, fields, record, earlier)
        if self._earlier_success(change) is not None and (shows_sent or not problems):
            self.context.record_again(change)
            return
        if earlier is not None and earlier.made and not earlier.is_settled and left_alone & earlier.fields.keys():
            neither = self.context.shows(change, earlier.fields, record, earlier).neither(earlier.before or {})
            self._settle(change, Outcome.UNKNOWN, neither or [Problem("ended_in_doubt")], attempts=earlier.made)
            return
        outcome, attempts = Outcome.REJECTED if problems else Outcome.UNCHANGED, earlier.made if earlier else 0
        is_found = earlier is not None and shows_sent and not earlier.is_settled
        found = [self.found_later(change)] if is_found else []
        said = [*found, *(problems or _not_sent(shown.spelt)), *kept]
        self._settle(change, outcome, said, attempts=attempts, shown=shown.spelt)

    def found_later(self, change: Change) -> Problem:
        """Say of a change which an earlier part may have made that its record has the values, whoever wrote them."""
        result = self.journal.row_results(change.number, change.number).get(change.number)
        told = (str(one.values["cause"]) for one in result.problems if "cause" in one.values) if result else ()
        return Problem("found_later", {"cause": next(iter(told), NO_REPLY["unknown"])})

    def _is_applied(self, change: Change, earlier: Intent | None, record: Record) -> bool:
        """Whether a record shows all that an earlier part sent, of which it is not known what became."""
        if earlier is None or earlier.is_settled or not earlier.made:
            return False
        return self._shows_all(change, earlier.fields, record, earlier)

    def _shows_all(self, change: Change, fields: Mapping[str, Any], record: Record, sent: Intent | None = None) -> bool:
        """Whether a record shows all of these values, of which there is one at least."""
        return self.context.shows(change, fields, record, sent).is_as_asked

    def _refuse(self, change: Change, problems: Sequence[Problem], earlier: Intent | None) -> None:
        """Settle a change that does not fit its record."""
        outcome, attempts = refused(earlier)
        self._settle(change, outcome, problems, attempts=attempts)

    def _settle(
        self, change: Change, outcome: Outcome, problems: Sequence[Problem], status: int | None = None,
        attempts: int = 0, shown: Mapping[str, Any] = NOTHING,
    ) -> None:  # fmt: skip
        self.settled += 1
        self.rejected += outcome is Outcome.REJECTED
        self.context.settle(change, outcome, problems, status, attempts, shown=shown)


def _not_sent(known_spellings: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Say of fields why they are not sent although the record does not show them to the letter."""
    return tuple(Problem("spelling_known", {"now": diff.show(now)}, name) for name, now in known_spellings.items())
