"""The records that `pull` writes, a few at a time, by the fewest requests: by pages, by ids, or one by its own number.

Promises: what the API's filter lets through is held against what was asked for once more, exactly; ids without a
record are told; records come in the order of the API's pages or of the ids.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TypeVar

import anyio

from batch.endpoints.base import Record
from batch.engine.pages import Pages, UnreadError
from batch.engine.pull_filter import PullFilter
from batch.engine.record_reader import ReadResult, RecordReader, Unreadable
from batch.engine.retry_loop import ApiClient
from batch.errors import UsageError
from batch.http import ApiResponse
from batch.model import visible
from batch.outputs.cell_text import matches
from batch.retry import Action

T = TypeVar("T")


class PulledRecords:
    """Reads the records of `wanted`."""

    def __init__(self, client: ApiClient, wanted: PullFilter) -> None:
        self._client, self._filter = client, wanted
        self._reader = RecordReader(lambda: client, client.endpoint.ids_per_read)
        self.total: int | None = None
        """Records that are looked at, where that is known."""
        self.reads: int | None = None
        """Requests that it takes, where that is known."""
        self.missing: list[str] = []
        """Ids that no record has."""

    async def iter_records(self) -> AsyncIterator[list[Record]]:
        """Yield the records, some at a time; raises StoppedError, or UsageError when the API refuses to list them."""
        wanted, endpoint = self._filter, self._client.endpoint
        try:
            async for records in self._iter_read():
                yield [one for one in records if matches(endpoint, one, wanted.values)]
        except UnreadError as error:
            raise self._as_stop(error) from None

    def _iter_read(self) -> AsyncIterator[list[Record]]:
        if self._filter.ids is not None:
            return self._iter_by_ids(self._filter.ids)
        return self._iter_pages(Pages(self._client, self._filter.filters))

    async def _iter_pages(self, pages: Pages) -> AsyncIterator[list[Record]]:
        while not pages.is_through:
            records = await pages.pull()
            self.total = pages.total
            self.reads = None if pages.total is None else self._client.endpoint.pages_in(pages.total)
            yield records

    # -- by ids -------------------------------------------------------------------------------------------------

    async def _iter_by_ids(self, ids: Sequence[str]) -> AsyncIterator[list[Record]]:
        endpoint = self._client.endpoint
        open_ids = {endpoint.id_key(one): one for one in ids}
        async with aclosing(self._iter_cheapest(ids)) as found:
            async for records in found:
                known = [(endpoint.id_key(endpoint.record_id(one)), one) for one in records]
                yield [one for name, one in known if open_ids.pop(name, None) is not None]
                if not open_ids:
                    break
        self.missing = list(open_ids.values())

    async def _iter_cheapest(self, ids: Sequence[str]) -> AsyncGenerator[list[Record], None]:
        """Read by ids, or by pages if the first page shows that these are fewer."""
        endpoint = self._client.endpoint
        reads = -(-len(ids) // endpoint.ids_per_read)
        self.total, self.reads = len(ids), reads
        pages = Pages(self._client)
        is_cheaper = await self._is_cheaper(pages, reads)
        self.reads += pages.count  # the page that showed it
        if is_cheaper:
            open_ids = {endpoint.id_key(one): one for one in ids}
            async for records in self._iter_pages(pages):
                for one in records:
                    open_ids.pop(endpoint.id_key(endpoint.record_id(one)), None)
                yield records
            ids = list(open_ids.values())  # what no page shows may be there all the same
        batches = _in_groups(ids, endpoint.ids_per_read)
        for group in _in_groups(batches, self._client.limiter.max_at_once):
            yield await self._read_at_once(group)

    async def _is_cheaper(self, pages: Pages, reads: int) -> bool:
        """Find out whether pages cost less; they do not where the API lists none."""
        try:
            return await pages.count_if_cheaper(reads) is not None
        except UnreadError as error:
            if error.answer.classification.action is not Action.REJECT:
                raise
            return False

    async def _read_at_once(self, batches: Sequence[Sequence[str]]) -> list[Record]:
        """Read several batches of ids at the same time; their records in the order of the ids."""
        found: dict[str, ReadResult] = {}

        async def read_batch(batch: Sequence[str]) -> None:
            found.update(await self._reader.read_many(batch))

        async with anyio.create_task_group() as tasks:
            for batch in batches:
                tasks.start_soon(read_batch, batch)
        results = [(one, found[one]) for batch in batches for one in batch]
        for record_id, result in results:
            if isinstance(result, Unreadable):
                raise self._as_unread(record_id, result)
        return [result for _, result in results if isinstance(result, Mapping)]

    def _as_unread(self, record_id: str, found: Unreadable) -> Exception:
        said = "; ".join(one.reason for one in found.problems)
        unread = f"{self._client.endpoint.noun} {record_id}: {said}."
        if found.is_refused:
            return UsageError(f"{unread} Nothing was written.")
        return self._client.shutdown.as_error(unread, " Nothing was written.")

    def _as_stop(self, error: UnreadError) -> Exception:
        answer, client = error.answer, self._client
        if answer.classification.action is Action.REJECT and isinstance(answer.response, ApiResponse):
            said = "; ".join(
                visible(text)[:300] for _, text in client.endpoint.parse_error(answer.response.redacted)[:3]
            )
            return UsageError(f"The API does not give the records: {said}. Nothing was written.")
        return client.shutdown.as_error(f"The records could not be read: {error}.", " Nothing was written.")


def _in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
