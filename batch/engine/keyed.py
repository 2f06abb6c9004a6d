"""Changes -> parcels where rows name their records by the customer's own number (`--key`).

Promises: a change goes on under the record's real id, so that journal, proof and undo know the record; a number that
does not lead to exactly one record makes its rows invalid; a change that an earlier part of the run began to send keeps
the record that was found then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batch import diff
from batch.engine.lookup import Finder, Found, Unfound
from batch.engine.prepare import Reader
from batch.engine.write import Locate, Parcel
from batch.model import Change, Fate


@dataclass(slots=True)
class KeyedReader(Reader):
    """A reader of changes whose `id` is a key."""

    finder: Finder
    locate: Locate

    @property
    def reads(self) -> bool:
        """Every record is read, since it is found that way."""
        return True

    @property
    def batch_size(self) -> int:
        """How many changes one lookup serves, or one reading anew of what pages brought a while ago."""
        return self.endpoint.records_per_read if self.finder.goes_by_pages else self.endpoint.keys_per_read

    async def make_ready(self, batch: Sequence[Change]) -> list[Parcel]:
        """Find the records of `batch` and give what is to be sent; every other change gets its outcome here."""
        parcels: list[Parcel] = []
        by_id: list[Change] = []
        for change in batch:
            earlier = self._earlier(change)
            if earlier is not None and earlier.attempts:
                by_id.append(replace(change, id=earlier.id))
                continue
            match await self.finder.find(change.id):
                case Found() as found:
                    known = replace(change, id=found.id)
                    if found.is_old and self._may_be_sent(known, found):
                        by_id.append(known)
                    elif parcel := self._compare(known, found.record):
                        parcels.append(parcel)
                case Unfound() as unfound:
                    self._settle_unfound(change, unfound)
        if by_id:
            parcels += await Reader.make_ready(self, by_id)  # super() does not find its class where there are slots
        return parcels

    def _may_be_sent(self, change: Change, found: Found) -> bool:
        return not self.is_compared or bool(diff.differing(self.endpoint, change.fields, found.record).fields)

    def _settle_unfound(self, change: Change, unfound: Unfound) -> None:
        if unfound.outcome is None:
            return  # the run stops: these rows stay as they are
        fates = []
        for row in change.rows:
            problem = replace(self.locate(row, "id", unfound.reason), seen=change.id)
            fates.append(Fate(row, change.id, unfound.outcome, unfound.status, problems=(problem,)))
        self.journal.settle(change.number, fates)
