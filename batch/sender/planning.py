"""What would be sent, written down instead: nothing leaves.

Promises: no request of its own; what could not be written (a contact that would leave a gap) is told here as it would
be told when it is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batch.endpoints.base import ConflictError, Endpoint
from batch.model import Fate, Intent, Outcome
from batch.sender.attempts import Caller
from batch.sender.writing import Book, Locate, Parcel


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
