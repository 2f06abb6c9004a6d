"""Changes -> parcels where rows name their records by the customer's own number (`--key`).

Promises: a change goes on under the record's real id, so that journal, proof and undo know the record; a number that
does not lead to exactly one record makes its rows invalid; a change that an earlier part of the run began to send keeps
the record that was found then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batch import diff
from batch.engine.lookup import KeyLookup, Match, NoMatch
from batch.engine.prepare import ChangePreparer
from batch.engine.write import Locate, PreparedChange
from batch.model import Change, RowResult


@dataclass(slots=True)
class KeyedPreparer(ChangePreparer):
    """A reader of changes whose `id` is a key."""

    lookup: KeyLookup
    locate: Locate

    @property
    def reads(self) -> bool:
        """Every record is read, since it is found that way."""
        return True

    @property
    def batch_size(self) -> int:
        """How many changes one lookup serves, or one reading anew of what pages brought a while ago."""
        return self.endpoint.ids_per_read if self.lookup.goes_by_pages else 1

    async def prepare(self, batch: Sequence[Change]) -> list[PreparedChange]:
        """Find the records of `batch` and give what is to be sent; every other change gets its outcome here."""
        prepared_changes: list[PreparedChange] = []
        by_id: list[Change] = []
        for change in batch:
            earlier = self._earlier(change)
            if earlier is not None and earlier.attempts:
                by_id.append(replace(change, id=earlier.id))
                continue
            match await self.lookup.find(change.id):
                case Match() as found:
                    known = replace(change, id=found.id)
                    if found.is_old and self._may_be_sent(known, found):
                        by_id.append(known)
                    elif prepared := self._compare(known, found.record):
                        prepared_changes.append(prepared)
                case NoMatch() as no_match:
                    self._settle_no_match(change, no_match)
        if by_id:
            prepared_changes += await ChangePreparer.prepare(
                self, by_id
            )  # super() does not find its class where there are slots
        return prepared_changes

    def _may_be_sent(self, change: Change, found: Match) -> bool:
        return not self.is_compared or bool(diff.differing(self.endpoint, change.fields, found.record).fields)

    def _settle_no_match(self, change: Change, no_match: NoMatch) -> None:
        if no_match.outcome is None:
            return  # the run stops: these rows stay as they are
        row_results = []
        for row in change.rows:
            problem = replace(self.locate(row, "id", no_match.reason), seen=change.id)
            row_results.append(RowResult(row, change.id, no_match.outcome, no_match.status, problems=(problem,)))
        self.journal.record(change.number, row_results)
