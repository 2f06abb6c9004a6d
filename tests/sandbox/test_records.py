"""Records that exist without being stored: against a plain list of all of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.sandbox.records import DualEntrySamples, Records, VayuSamples

COUNT = 12
WRITES = st.lists(st.integers(1, COUNT), max_size=20)


@given(writes=WRITES, offset=st.integers(0, 15), limit=st.integers(1, 15), descending=st.booleans())
def test_pages_by_last_write_are_slices_of_the_whole(
    writes: list[int], offset: int, limit: int, descending: bool
) -> None:
    """Untouched records first, then the touched ones in the order of their last write."""
    records = Records(DualEntrySamples(), COUNT, ())
    whole = list(range(1, COUNT + 1))
    for number in writes:
        records.write(number, {"phone": "1"})
        whole.remove(number)
        whole.append(number)
    if descending:
        whole.reverse()
    assert records.page("-" * descending + "updated_at", offset, limit) == whole[offset : offset + limit]


@given(writes=st.lists(st.tuples(st.integers(1, COUNT), st.sampled_from(["C-10003", "c-10004", "New", None]))))
def test_finding_is_the_same_as_looking_at_all(writes: list[tuple[int, str | None]]) -> None:
    """Also for values that moved from one record to another."""
    records = Records(DualEntrySamples(), COUNT, ("unique_id",))
    for number, value in writes:
        records.write(number, {"unique_id": value})
    now = {number: records.record(number)["unique_id"] for number in range(1, COUNT + 1)}
    for wanted in ("c-10003", "C-10004", "new", "C-10005", "C-10012", "C-10013", "x"):
        expected = [number for number, value in now.items() if value and value.casefold() == wanted.casefold()]
        assert records.find("unique_id", wanted) == expected


@pytest.mark.parametrize(
    ("samples", "fields"),
    [(DualEntrySamples(), ("unique_id", "name", "email")), (VayuSamples(), ("externalId", "name"))],
)
def test_every_sample_is_found_by_its_values(samples: Any, fields: tuple[str, ...]) -> None:
    """Names repeat after 3600 records, and then all of them are found."""
    records = Records(samples, 2_000_000, fields)
    for number in (1, 2, 3599, 3600, 3601, 1_999_999, 2_000_000):
        for field in fields:
            assert number in records.find(field, records.record(number)[field])


def test_samples_are_the_same_each_time_and_not_shared() -> None:
    """A caller may change what it was given."""
    for samples in (DualEntrySamples(), VayuSamples()):
        first = samples.record(5)
        first["name"] = "changed"
        assert samples.record(5) == samples.record(5)
        assert samples.record(5)["name"] != "changed"


def test_what_is_written_back_as_it_was_takes_no_room() -> None:
    """Only differences from the sample are kept."""
    records = Records(DualEntrySamples(), COUNT, ())
    sample = records.record(3)
    records.write(3, {"phone": "1", "name": sample["name"]})
    assert records.dump() == {"3": {"phone": "1"}}
    records.write(3, {"phone": sample["phone"]})
    assert records.dump() == {"3": {}}
