"""One change on its way to the API: its request as it is now, and what has to be known before each attempt leaves.

Promises: the intent is on disk before the first byte leaves; all attempts that mean the same carry the same idempotency
key, and what means something else carries another; a body that was made of a record, or that expects something of it,
leaves only when the record was read less than five seconds before, and after the last pause; what may have been applied
is looked at before it is repeated.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio

from batch import diff
from batch.endpoints.base import ConflictError, Record
from batch.engine.context import NOTHING, RunContext
from batch.engine.idempotency import make_key
from batch.engine.prepare import ChangePreparer, PreparedChange, refused
from batch.engine.record_leases import HeldRecord, RecordLeases
from batch.engine.verify import YOUNG_SECONDS, ReadBack
from batch.http import ApiRequest
from batch.model import Change, Intent, Outcome, Problem
from batch.ratelimit import Turn
from batch.retry import NO_REPLY, Classification, Rules


class WriteCall:
    """The `Call` of a change, one attempt after the other, until it is answered or `is_through`."""

    def __init__(
        self,
        context: RunContext,
        preparer: ChangePreparer,
        prepared: PreparedChange,
        look: Callable[["WriteCall"], Awaitable[None]],
        doubt: str = "",
    ) -> None:
        """Make the first intent; raises ConflictError where the change does not fit its record.

        `doubt`: why it is not known what became of an attempt that another call of this part made.
        """
        self._context, self._preparer, self._look = context, preparer, look
        self.prepared = prepared
        self.made = self.made_before = prepared.earlier.made if prepared.earlier is not None else 0
        """The attempts of the change that are written down, with those of earlier parts of the run."""
        self.sent = prepared.earlier
        """The newest intent of which an attempt was made."""
        self._set_intent(is_edited=prepared.earlier is not None and not self._is_as_before(prepared.earlier))
        self.was_in_doubt = bool(doubt) or prepared.is_in_doubt
        """An attempt that another call made, of this part or an earlier one, may have been applied."""
        self.doubt = doubt
        """Why it is not known what became of an attempt of this part; "" where that is known of all."""
        self.is_through = False
        """Reading the record once more gave the change its outcome."""
        self.outcome: Outcome | None = None
        """The outcome, where this call gave it."""
        self.look: ReadBack | None = None
        """The look that it waits for."""
        self._written: Intent | None = None
        self._read_from, self._read_at = prepared.read_from, prepared.read_at
        self._must_look = False
        self._held: HeldRecord | None = None
        """The lease of the record, without which nothing leaves that is made of it."""
        self._has_left = False
        """An attempt left under that lease."""

    # -- what `Call` promises -----------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """The endpoint's."""
        return self._context.endpoint.rules

    @property
    def turn(self) -> Turn:
        """Ahead of reads: what was read for it is of no use for long."""
        return Turn.AHEAD

    @property
    def must_look(self) -> bool:
        """Whether the record is to be leased, or it has to be found out first what became of the last attempt."""
        return self._must_look or self.is_through or self._lacks_lease()

    def is_ready(self, now: float, paused_until: float) -> bool:
        """Whether the record is this run's, and what is known of it as young as it must be, or as it comes to be."""
        if self._must_look or self.is_through or self._lacks_lease():
            return False
        if not self._depends_on_record or paused_until > now:
            return True
        is_young = now - self._read_at <= max(YOUNG_SECONDS, 2 / self._context.client.limiter.per_second())
        return is_young and self._read_at >= paused_until

    async def make_ready(self) -> bool:
        """Lease the record where that is needed, read it where it must be read, and go on from what it shows."""
        if self.is_through:
            return False
        leased = self._lacks_lease()
        if leased:
            if not await self.try_hold():
                self._context.client.on_wait()
                self._take(await self._leases.hold(self._record_name, self._context.key_seed))
            self.look = None  # it may have been begun before
        now = anyio.current_time()
        if not (leased and self.is_ready(now, self._context.client.limiter.paused_until)):
            await self._look(self)
        return not self.is_through

    async def try_hold(self) -> bool:
        """Lease the record, unless that is not needed; false while another run holds it."""
        if not self._lacks_lease():
            return True
        held = await self._leases.try_hold(self._record_name, self._context.key_seed)
        if held is not None:
            self._take(held)
        return held is not None

    async def let_go(self) -> None:
        """End the lease of the record: what is waited for next may take long."""
        held, self._held = self._held, None
        if held is not None:
            await self._leases.let_go(held, wrote=self._has_left)

    async def write_down(self, number: int) -> None:
        """Write down the intent with this attempt; one that was written down and did not leave is reverted."""
        if self._written is not self.intent:
            self.revert_attempt()
            self.made += 1
            self._written = self.intent
            is_changed = self.sent is not None and self.intent.before is not self.sent.before
            await self._context.write_intent(self._intent_now, is_changed=is_changed)

    def leaves(self) -> None:
        """Note that the intent is one of which an attempt was made."""
        self.sent, self._written = self._intent_now, None
        self._has_left = True

    def answered(self, classification: Classification) -> None:
        """Note whether it has to be found out what became of the attempt."""
        if classification.has_arrived or classification.is_in_doubt:
            self.doubt = classification.cause
        if classification.is_in_doubt:
            self._must_look = self.prepared.before is not None or not self.rules.idempotent_keys

    # -- its intents --------------------------------------------------------------------------------------------

    @property
    def change(self) -> Change:
        """The change, as far as it is known by now."""
        return self.prepared.change

    @property
    def may_be_applied(self) -> bool:
        """Whether an attempt may have been applied without anybody having said so."""
        return bool(self.doubt) or self.prepared.is_in_doubt

    @property
    def may_be_replayed(self) -> bool:
        """Whether the API may have answered with what it said to an earlier attempt, and done nothing now.

        That is one of an earlier part, or of another process whose record this run does not have.
        """
        known = self.prepared.earlier.number if self.prepared.earlier is not None else 1
        is_of_others = self._context.keys_may_be_used and self.intent.number <= known
        return self.rules.idempotent_keys and (is_of_others or self.made_before > self.intent.spent)

    def conclude_found(self, shown: diff.Shown) -> tuple[Outcome, list[Problem]]:
        """Say what became of a change that a read shows: only what this part may have applied is the run's own."""
        if not self.doubt:
            return Outcome.UNCHANGED, [self._preparer.found_later(self.change)]
        is_unanswered = self.doubt == NO_REPLY["unknown"]
        said = Problem("found_applied") if is_unanswered else Problem("found_applied_after", {"cause": self.doubt})
        outcome, problems = shown.conclude(self.prepared.before)
        return outcome, [said, *problems]

    def revert_attempt(self) -> None:
        """Write down that the attempt that was written down last did not leave."""
        if self._written is not None:
            self._context.journal.revert_attempt(self._written, 1)
            self.made, self._written = self.made - 1, None

    @property
    def _intent_now(self) -> Intent:
        attempts = self.made - self.intent.spent
        return self.intent if attempts == self.intent.attempts else replace(self.intent, attempts=attempts)

    def _set_intent(self, *, is_edited: bool) -> None:
        """Make the intent of the next attempt, or take up the last one where that means the same request.

        It does not where that one is through, or another hand wrote since: the API would replay the answer to the first
        to the same key, and an undo would put back what was there before the other hand.

        The first intent of a change has the key that another process would give it. Later ones are made with keys that
        no other process has: nobody knows how many intents a run had whose journal is not here, and to which keys the
        API replays.
        """
        endpoint, prepared, last = self._context.endpoint, self.prepared, self.sent
        body, record = endpoint.body(prepared.fields, prepared.record), prepared.record or {}
        name, replaced = endpoint.record_name(record), endpoint.replaced_values(prepared.fields, record)
        if last is not None and last.body == body and not last.is_settled and not is_edited:
            self.intent = last
            if last.before is None and prepared.before is not None:  # until now it was sent unseen
                self.intent = replace(last, before=prepared.before, name=name, replaced_whole=replaced)
        else:
            number = last.number + 1 if last is not None else 1
            seed = self._context.key_seed if number == 1 else self._context.own_seed
            key = make_key(endpoint, seed, self.change.number, number, body)
            self.intent = Intent(
                self.change.number, self.change.id, key, 1, prepared.fields, prepared.before, body,
                name, replaced, number, self.made,
            )  # fmt: skip
        self.request: ApiRequest = endpoint.write_request(self.change.id, self.intent.body, self.intent.key)

    def _is_as_before(self, earlier: Intent) -> bool:
        """Whether the record still shows what the earlier intent was to write over, as far as it shows that at all."""
        record = self.prepared.record
        if record is None or not earlier.before:
            return True
        shown = diff.shows(self._context.endpoint, earlier.before, record)
        return shown.differing.keys() <= set(shown.hidden)

    # -- its record ---------------------------------------------------------------------------------------------

    def shows(self, record: Record) -> diff.Shown:
        """Say whether, and how, a record shows what is asked of it."""
        return self._context.shows(self.change, self.prepared.fields, record, self.sent)

    def is_applied(self, shown: diff.Shown) -> bool:
        """Whether a record shows the change, if in another spelling, then not as it was read before."""
        return shown.is_applied(self.prepared.before)

    @property
    def _depends_on_record(self) -> bool:
        """Whether the body is completed from the record, or something is expected of it."""
        endpoint = self._context.endpoint
        if self.prepared.record is None:
            return False
        is_completed = endpoint.needs_full_body or self._has_parts
        return is_completed or self._is_expected or self.prepared.was_asked

    @property
    def _is_expected(self) -> bool:
        """Whether something is expected of the record, so that it is kept where another hand changed it."""
        return bool(self.change.conditions) or self._context.plan is not None or self._context.only_empty

    @property
    def _has_parts(self) -> bool:
        return any(self._context.endpoint.unit(name) != name for name in self.prepared.fields)

    @property
    def _is_part_of_whole(self) -> bool:
        """Whether another run of ours that writes a whole back, as it read it, would undo this write."""
        return self._context.endpoint.may_need_full_body or self._has_parts

    @property
    def _leases(self) -> RecordLeases:
        return self._context.client.leases

    @property
    def _record_name(self) -> str:
        return self._context.endpoint.id_key(self.change.id)

    def _lacks_lease(self) -> bool:
        if not (self._depends_on_record or self._is_part_of_whole):
            return False
        return self._held is None or not self._leases.is_held(self._held, anyio.current_time())

    def _take(self, held: HeldRecord) -> None:
        """Write under this lease; what was read before another run wrote the record is not what it shows now."""
        self._held, self._has_left = held, False
        if self._depends_on_record and held.written >= self._read_from and math.isfinite(held.written):
            self._must_look = True

    def take_look(self) -> None:
        """Go on from what its look shows, if that is done."""
        look = self.look
        if look is None or not look.is_done:
            return
        self.look = None
        if look.record is not None and not self._preparer.unseen_wholes(self.change, look.record):
            self._must_look, self._read_from, self._read_at = False, look.began, look.at
            self._go_on_from(look.record)
        elif not self._context.shutdown.requested:
            self._go_on_unread()

    def _go_on_from(self, record: Record) -> None:
        """Make the change ready once more, unless its record shows that there is nothing to send."""
        endpoint = self._context.endpoint
        shown = self._context.shows(self.change, self.intent.fields, record, self.sent)
        if self.may_be_applied and self.is_applied(shown):
            outcome, problems = self.conclude_found(shown)
            self._settle(outcome, *problems, shown=shown.unlike)
            return
        last = self.sent or self.intent
        if self.may_be_applied and self._is_expected and self._preparer.shows_neither(self.change, last, record):
            problems = shown.neither(last.before or {}) or [Problem("in_doubt", {"cause": self.doubt})]
            self._settle(Outcome.UNKNOWN, *problems)  # not refused: where reads lag, it may be older than ours
            return
        self.revert_attempt()
        tried = self.sent if self.sent is not None and self.made else None
        renewed = self._preparer.renew(self.change, record, tried and replace(tried, is_settled=not self.doubt))
        if renewed is None:
            self.is_through = True
            return
        edits = diff.overwritten(endpoint, renewed.fields, self.prepared.before or {}, record)
        named = {one.field for one in edits}
        told = (one for one in self.prepared.notes if one.code == "wrote_over" and one.field not in named)
        self.prepared = replace(renewed, notes=(*renewed.notes, *told, *edits))
        try:
            self._set_intent(is_edited=bool(edits))
        except ConflictError as error:
            self._settle(refused(tried, error.outcome)[0], error.problem)

    def _go_on_unread(self) -> None:
        """Send no body that was made of a record of long ago, and repeat nothing that might be applied twice."""
        cause = {"cause": self.doubt or "the record could not be read again"}
        if self.doubt and not self.rules.idempotent_keys:
            self._settle(Outcome.UNKNOWN, Problem("in_doubt", cause))
        elif self._depends_on_record:
            outcome = Outcome.UNKNOWN if self.may_be_applied else Outcome.FAILED
            self._settle(outcome, Problem("in_doubt" if self.may_be_applied else "unread_again", cause))
        self._must_look = False

    def _settle(self, outcome: Outcome, *problems: Problem, shown: Mapping[str, Any] = NOTHING) -> None:
        self.is_through = True
        self.revert_attempt()  # what was written down and did not leave is no attempt
        said, seen = (*problems, *self.prepared.notes), {**self.prepared.shown, **shown}
        self.outcome = self._context.settle(self.change, outcome, said, None, self.made, shown=seen)
