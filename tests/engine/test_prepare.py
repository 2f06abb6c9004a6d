"""Preparing changes: what is not there is rejected, what is the same unchanged, what was begun is settled first."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch.credentials import Redaction
from batch.endpoints.base import Endpoint
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers
from batch.engine.context import RunContext
from batch.engine.prepare import ChangePreparer, PreparedChange
from batch.engine.retry_loop import Answer
from batch.engine.shutdown import Shutdown
from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure
from batch.journal import Journal
from batch.model import Change, Intent, Outcome, Problem, RowResult
from batch.retry import Action, Classification, classify

DUALENTRY, VAYU = DualEntryCustomers(), VayuCustomers()
UPDATED, UNCHANGED, INVALID, REJECTED, FAILED, UNKNOWN, UNSENT = Outcome
FOUND_LATER = "at an earlier start: no answer came; the record has the value now, whoever wrote it"
KEY = "11111111-1111-4111-8111-111111111111"
OLD = {"id": 2, "name": "Old", "phone": "1", "full_address": None, "custom_fields": []}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


GONE = {"success": False, "errors": {"__all__": ["Not found"]}}
"""What DualEntry answers for a customer that is not there."""
VAYU_GONE = {"type": "invalid_request_error", "code": "resource_not_found", "message": "Customer not found"}


@dataclass
class Api:
    """What the reader needs of a caller: gives answers in turn, and remembers what was asked."""

    answers: list[Any]
    shutdown: Shutdown = field(default_factory=Shutdown)
    asked: list[ApiRequest] = field(default_factory=list)
    endpoint: Endpoint = DUALENTRY
    session: Any = field(default_factory=lambda: SimpleNamespace(redaction=Redaction()))

    async def read(self, request: ApiRequest, **_: object) -> Answer:
        self.asked.append(request)
        said = self.answers.pop(0)
        if isinstance(said, Answer):
            return said
        status, body = said if isinstance(said, tuple) else (200, said)
        response = ApiResponse(status, body=json.dumps(body).encode())
        return Answer(response, classify(status, {}, body, delivered="answered"), 1)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "journal.sqlite", {}) as made:
        yield made


def preparer(
    journal: Journal,
    *answers: Any,
    endpoint: Endpoint = DUALENTRY,
    compare: bool = True,
    conditions_in: tuple[str, ...] = (),
) -> tuple[ChangePreparer, Api, list[str]]:
    api, notes = Api(list(answers)), list[str]()
    api.endpoint = endpoint
    changes = SimpleNamespace(endpoint=endpoint, rows=0, locate=located, conditions_in=conditions_in)
    reporter = SimpleNamespace(note=notes.append)
    target = SimpleNamespace(fingerprint=lambda label: "00", endpoint=endpoint)
    environment = SimpleNamespace(is_cancelled=None)
    pace = SimpleNamespace(grace=20.0)
    session: Any = SimpleNamespace(target=target, environment=environment, pace=pace)
    context: Any = RunContext(
        session, journal, "0" * 32, changes, reporter, None, compare, api.shutdown, connection=api
    )  # type: ignore[arg-type]
    return ChangePreparer(context), api, notes


def located(row: int, problem: Problem) -> Problem:
    """Stand for the columns of an input."""
    return replace(problem, cell=f"A{row}")


def change(number: int, record_id: str | None = None, **fields: Any) -> Change:
    return Change((number,), record_id or str(number), fields or {"name": "New"})


def listed(*records: Any) -> Any:
    return {"items": list(records), "count": len(records)}


def told(journal: Journal) -> dict[int, tuple[Outcome, list[str]]]:
    journal.flush()
    return {
        row: (row_result.outcome, [one.message for one in row_result.problems])
        for row, row_result in journal.row_results(0, 999).items()
    }


def begun(journal: Journal, *outcomes: Outcome, **changed: Any) -> Intent:
    """An earlier part of this run that began to send change 2."""
    given = {"fields": {"name": "New"}, "before": {"name": "Old"}, "body": {"name": "New"}} | changed
    intent = Intent(2, "2", KEY, 3, **given)
    journal._waiting.intents.append((replace(intent, attempts=1), 3, True))
    journal.record_rows([RowResult(2, "2", outcome, attempts=3) for outcome in outcomes])
    journal.begin_part()
    return intent


async def test_what_differs_is_sent(journal: Journal) -> None:
    """Only what differs is prepared, with what it was and the record to complete it from."""
    made, api, _ = preparer(journal, listed(OLD))
    found = await made.prepare([change(2, name="New", phone="1")])
    assert [PreparedChange(change(2, name="New", phone="1"), {"name": "New"}, {"name": "Old"}, OLD)] == found
    assert [("id", "2")] == [pair for pair in api.asked[0].query if pair[0] == "id"]


async def test_what_is_the_same_is_unchanged(journal: Journal) -> None:
    """A record that already has the values costs no write."""
    made, _, _ = preparer(journal, listed(OLD))
    assert [] == await made.prepare([change(2, name="Old", full_address=None)])
    assert {2: (UNCHANGED, [])} == told(journal)


async def test_not_there(journal: Journal) -> None:
    """A record that is not there is rejected before any write; the others go on."""
    made, _, _ = preparer(journal, listed(OLD), (404, GONE))
    assert [2] == [one.change.number for one in await made.prepare([change(2), change(3)])]
    assert {3: (REJECTED, ["there is no customer with this id"])} == told(journal)
    assert [located(3, Problem("not_found", {"noun": "customer"}, "id"))] == [*journal.row_results(3, 3)[3].problems]
    assert 404 == journal.row_results(3, 3)[3].status


async def test_not_in_a_list(journal: Journal) -> None:
    """A record that a list leaves out is read by itself: what that shows is compared, and nothing is concluded."""
    made, api, _ = preparer(journal, listed(OLD), OLD | {"id": 3})
    assert [2, 3] == [one.change.number for one in await made.prepare([change(2), change(3)])]
    assert ([1, 1], {}) == ([len(api.asked[0].query) - 3, len(api.asked) - 1], told(journal))


@pytest.mark.parametrize("body", [{}, {"detail": "Not Found"}, "<h1>404</h1>", {"success": False}])
async def test_404_of_another(journal: Journal, body: Any) -> None:
    """A 404 that is not in the API's own form says nothing of the record."""
    made, _, _ = preparer(journal, listed(), (404, body))
    assert [] == await made.prepare([change(2)])
    assert (FAILED, 404) == (told(journal)[2][0], journal.row_results(2, 2)[2].status)


async def test_another_record(journal: Journal) -> None:
    """A single record with another id is not believed, nor taken for a missing one."""
    other = {"customer": {"id": "65f000000000000000000009", "name": "x"}}
    made, _, _ = preparer(journal, other, endpoint=VAYU)
    assert [] == await made.prepare([change(2, "65f000000000000000000001")])
    assert {2: (FAILED, ["the record could not be read: the API answered with another one"])} == told(journal)


async def test_ids_in_another_case(journal: Journal) -> None:
    """A record is found whatever the case of its id."""
    made, _, _ = preparer(journal, {"customer": {"id": "65f00000000000000000000a", "name": "Old"}}, endpoint=VAYU)
    assert 1 == len(await made.prepare([change(2, "65F00000000000000000000A")]))


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        ((404, VAYU_GONE), REJECTED, "there is no customer with this id"),
        ((404, {"message": "no route"}), FAILED, "the record could not be read: no route"),
        ((400, {"message": "bad id", "param": "customerId"}), FAILED, "the record could not be read: bad id"),
        ((200, {"ok": True}), FAILED, "the record could not be read: the answer holds no customer"),
        (
            Answer(
                RequestFailure("no", "the connection was refused", FailureKind.REFUSED),
                Classification(Action.RETRY, "x"),
                6,
            ),
            FAILED,
            "the record could not be read: the connection was refused",
        ),
    ],
)
async def test_cannot_be_read(journal: Journal, answer: Any, outcome: Outcome, said: str) -> None:
    """Where the write needs the record, a read that does not work decides over the row."""
    made, _, _ = preparer(journal, answer, endpoint=VAYU)
    assert [] == await made.prepare([change(2, "65f000000000000000000001")])
    assert {2: (outcome, [said])} == told(journal)


@pytest.mark.parametrize(
    ("outcomes", "answer", "expected"),
    [
        ((), (400, {"message": "bad id"}), UNKNOWN),  # it was begun, and nobody knows how it ended
        ((UNKNOWN,), (200, {"ok": True}), UNKNOWN),
        ((FAILED,), (400, {"message": "bad id"}), FAILED),
        ((FAILED,), (200, {"ok": True}), FAILED),  # nothing new is known
        ((FAILED,), (404, VAYU_GONE), REJECTED),  # what is not there shows no change
    ],
)
async def test_cannot_be_read_after_an_earlier_part(
    journal: Journal, outcomes: tuple[Outcome, ...], answer: Any, expected: Outcome
) -> None:
    """A read that does not work says nothing of what an earlier part may have done to the record."""
    begun(journal, *outcomes)
    made, _, _ = preparer(journal, answer, endpoint=VAYU)
    assert [] == await made.prepare([change(2, "65f000000000000000000001")])
    assert [expected] == [outcome for outcome, _ in told(journal).values()]
    assert {UNKNOWN: 3}.get(expected, 0) == journal.row_results(2, 2)[2].attempts


async def test_run_stops_while_reading(journal: Journal) -> None:
    """A row whose read was cut by the end of the run stays unsent."""
    cut = Answer(None, Classification(Action.RETRY, "x", is_rate=True), 0, is_cut=True)
    made, _, _ = preparer(journal, cut)
    assert ([], {}) == (await made.prepare([change(2)]), told(journal))


async def test_listing_refused(journal: Journal) -> None:
    """A list that is refused is halved, down to records by themselves; all of them are compared."""
    made, api, notes = preparer(journal, (400, {}), (400, {}), OLD, listed(OLD | {"id": 3, "name": "New"}))
    found = await made.prepare([change(2), change(3)])
    assert ([2], {3: (UNCHANGED, [])}) == ([one.change.number for one in found], told(journal))
    assert ([2, 1, 0, 1], []) == ([sum(name == "id" for name, _ in one.query) for one in api.asked], notes)


@pytest.mark.parametrize("fields", [{"full_address.city": "B"}, {"full_address": None}])
async def test_object_that_nothing_shows(journal: Journal, fields: dict[str, Any]) -> None:
    """An object that the API replaces whole is not sent where neither a list nor the record by itself shows it."""
    alone = {name: value for name, value in OLD.items() if name != "full_address"}
    made, _, _ = preparer(journal, (400, {}), alone)
    assert [] == await made.prepare([change(2, **fields)])
    assert FAILED is told(journal)[2][0]


async def test_without_comparing(journal: Journal) -> None:
    """With --no-compare nothing is read, and everything is sent."""
    made, api, _ = preparer(journal, compare=False)
    assert ([PreparedChange(change(2), {"name": "New"})], []) == (await made.prepare([change(2)]), api.asked)


async def test_whole_record_without_comparing(journal: Journal) -> None:
    """Where the whole record is written it is read all the same, and what is the same is sent, too."""
    record = {"id": "65f000000000000000000001", "name": "New"}
    made, _, _ = preparer(journal, {"customer": record}, endpoint=VAYU, compare=False)
    (found,) = await made.prepare([change(2, record["id"])])
    assert ({"name": "New"}, {"name": "New"}, record) == (found.fields, found.before, found.record)


async def test_hidden_field_is_read_alone(journal: Journal) -> None:
    """A field that lists do not show is read in another way before it is compared."""
    made, api, _ = preparer(journal, listed(OLD), {**OLD, "address": "Main St 1"})
    (found,) = await made.prepare([change(2, address="Main St 1", name="Old")])
    assert False is found.is_complete
    assert None is await made.complete(found)
    assert ({2: (UNCHANGED, [])}, "/public/v2/customers/2/") == (told(journal), api.asked[1].path)


# -- an earlier part of the run -------------------------------------------------------------------------------------


async def test_begun_and_applied(journal: Journal) -> None:
    """What was sent without an answer and shows in the record is nobody's, and not sent again."""
    begun(journal)
    made, _, _ = preparer(journal, listed(OLD | {"name": "New"}))
    assert [] == await made.prepare([change(2)])
    assert {2: (UNCHANGED, [FOUND_LATER])} == told(journal)
    assert 3 == journal.row_results(2, 2)[2].attempts


async def test_begun_and_spelt_otherwise(journal: Journal) -> None:
    """So it is with what shows in another spelling, which was not there before."""
    begun(journal)
    made, _, _ = preparer(journal, listed(OLD | {"name": "NEW"}))
    assert [] == await made.prepare([change(2)])
    assert {2: (UNCHANGED, [FOUND_LATER, 'not sent again; the API keeps its own spelling, "NEW"'])} == told(journal)
    assert {"name": "NEW"} == journal.row_results(2, 2)[2].shown


async def test_confirmed_unseen_and_spelt_otherwise(journal: Journal) -> None:
    """What the API confirmed and shows its own way stays, also where nobody saw what was there before."""
    begun(journal, UPDATED, before=None)
    made, _, _ = preparer(journal, listed(OLD | {"name": "NEW"}))
    assert [] == await made.prepare([change(2)])
    assert {2: (UPDATED, [])} == told(journal)


async def test_begun_and_not_applied(journal: Journal) -> None:
    """What does not show, while the record is as before, is sent again as it was, with its key."""
    earlier = begun(journal)
    made, _, _ = preparer(journal, listed(OLD))
    assert [PreparedChange(change(2), {"name": "New"}, {"name": "Old"}, OLD, earlier)] == await made.prepare(
        [change(2)]
    )


async def test_begun_and_changed_by_somebody(journal: Journal) -> None:
    """When the record shows neither, nobody knows; it is not overwritten."""
    begun(journal)
    made, _, _ = preparer(journal, listed(OLD | {"name": "Third"}))
    assert [] == await made.prepare([change(2)])
    expected = 'the record now shows "Third": it was "Old", and "New" was sent (somebody else may have changed it)'
    assert {2: (UNKNOWN, [expected])} == told(journal)


async def test_failed_and_changed_by_somebody(journal: Journal) -> None:
    """What was answered with a failure was not applied: it is sent on top of the other hand's values."""
    earlier = begun(journal, FAILED)
    record = OLD | {"name": "Third"}
    made, _, _ = preparer(journal, listed(record))
    assert [PreparedChange(change(2), {"name": "New"}, {"name": "Third"}, record, earlier)] == await made.prepare(
        [change(2)]
    )


async def test_begun_without_reading(journal: Journal) -> None:
    """Without reading, what was begun goes on with its key."""
    earlier = begun(journal)
    made, _, _ = preparer(journal, compare=False)
    expected = PreparedChange(change(2), {"name": "New"}, earlier=earlier, is_in_doubt=True)
    assert [expected] == await made.prepare([change(2)])


# -- reading back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(listed(OLD), OLD), (listed(), None), (listed(OLD | {"id": 3}), None), ((404, {}), None), ((200, {"x": 1}), None)],
)
async def test_read_back(journal: Journal, answer: Any, expected: Any) -> None:
    """Reading back gives the record that was meant, or nothing."""
    made, _, _ = preparer(journal, answer, (404, GONE))
    assert expected == (await made.context.reader.read_back({"2": ["name"]})).get("2")


async def test_read_back_hidden_field(journal: Journal) -> None:
    """Reading back a field that lists do not show reads the record alone as well."""
    made, _, _ = preparer(journal, listed(OLD), {**OLD, "address": "Main St 1"})
    found = await made.context.reader.read_back({"2": ["address"]})
    assert {"2": OLD | {"address": "Main St 1"}} == found
