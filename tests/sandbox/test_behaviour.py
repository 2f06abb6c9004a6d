"""What nobody documents, and an API may do: spell values anew, show them late, cut lists, ignore filters, lie."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from batch.sandbox.options import CHANGEABLE, SandboxOptions
from batch.sandbox.process import SandboxError
from tests.sandbox.control import KEY, ControlledSandbox

VAYU_1 = "65f000000000000000000001"


@pytest.fixture(scope="module")
def shared() -> Iterator[ControlledSandbox]:
    with ControlledSandbox(SandboxOptions(limits="off")) as running:
        yield running


@pytest.fixture
def sandbox(shared: ControlledSandbox) -> ControlledSandbox:
    shared.reset()
    return shared


@pytest.fixture
def dualentry(sandbox: ControlledSandbox) -> Iterator[httpx.Client]:
    url = f"{sandbox.url}/public/v2/customers/"
    with httpx.Client(base_url=url, headers={"X-API-KEY": KEY}, trust_env=False) as client:
        yield client


@pytest.fixture
def vayu(sandbox: ControlledSandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, trust_env=False) as client:
        token = client.post("/login", json={"refreshToken": KEY}).json()["accessToken"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def listed(client: httpx.Client, **parameters: Any) -> tuple[list[int], int]:
    answer = client.get("", params={"ordering": "id"} | parameters).json()
    return [item["id"] for item in answer["items"]], answer["count"]


SENT = {"name": " Ada ", "email": "A@X.org", "phone": "+1 (555) 1", "unique_id": "c-1 "}
KEPT = {"name": "Ada", "email": "a@x.org", "phone": "+15551", "unique_id": "c-1 "}


@pytest.mark.parametrize(
    ("mode", "answered", "read"), [("no", SENT, SENT), ("shown", KEPT, KEPT), ("hidden", SENT, KEPT)]
)
def test_own_spelling(
    sandbox: ControlledSandbox, dualentry: httpx.Client, mode: str, answered: dict[str, str], read: dict[str, str]
) -> None:
    """E-mails in lower case, phones without punctuation, texts trimmed, never an id; the answer may hide it."""
    sandbox.behave(normalize=mode)
    said = dualentry.patch("10001/", json=SENT).json()
    shown = dualentry.get("10001/").json()
    assert (answered, read) == ({name: said[name] for name in SENT}, {name: shown[name] for name in SENT})


@pytest.mark.parametrize(("mode", "answered"), [("shown", "a@x.org"), ("hidden", "A@X.org")])
def test_own_spelling_of_vayu(sandbox: ControlledSandbox, vayu: httpx.Client, mode: str, answered: str) -> None:
    """In contacts, too; a custom field stays as it was sent."""
    sandbox.behave(normalize=mode)
    fields = [{"vayuCustomFieldName": "Region", "valueType": "String", "value": " EU "}]
    body = {"contacts": [{"email": "A@X.org"}], "customFields": fields}
    said = vayu.put(f"/customers/{VAYU_1}", json=body).json()["customer"]
    shown = vayu.get(f"/customers/{VAYU_1}").json()["customer"]
    assert [answered, "a@x.org"] == [one["contacts"][0]["email"] for one in (said, shown)]
    assert fields == shown["customFields"]


def test_other_hands_are_spelt_anew_too(sandbox: ControlledSandbox) -> None:
    """Whoever writes, the API stores its own spelling."""
    sandbox.behave(normalize="hidden")
    sandbox.edit("dualentry", 10001, {"email": "A@X.org"})
    sandbox.edit("vayu", VAYU_1, {"legalName": " Ada "})
    records = [sandbox.record("dualentry", 10001)["email"], sandbox.record("vayu", VAYU_1)["legalName"]]
    assert ["a@x.org", "Ada"] == records


def test_reads_lag_by_seconds(sandbox: ControlledSandbox, dualentry: httpx.Client, vayu: httpx.Client) -> None:
    """One and many, and what they are found by, show each write only after its time; the answer shows it at once."""
    before = sandbox.record("dualentry", 10001)["phone"]
    sandbox.behave(read_lag=0.5)
    began = time.monotonic()
    first, second = [dualentry.patch("10001/", json={"phone": one, "unique_id": f"U{one}"}).json() for one in "12"]
    vayu.put(f"/customers/{VAYU_1}", json={"externalId": "W"})
    seen = [dualentry.get("10001/").json()["phone"], dualentry.get("?id=10001").json()["items"][0]["phone"]]
    found = [listed(dualentry, unique_id=one)[1] for one in ("U2", "C-10001")]
    keys = [vayu.get(f"/customers/externalId/{key}").status_code for key in ("V-1", "W")]
    assert time.monotonic() - began < 0.5, "the machine is too slow for this test"
    assert ("1", "2", [before] * 2, [0, 1], [200, 404]) == (first["phone"], second["phone"], seen, found, keys)
    time.sleep(0.6)
    keys = [vayu.get(f"/customers/externalId/{key}").status_code for key in ("V-1", "W")]
    found = [listed(dualentry, unique_id=one)[1] for one in ("U2", "C-10001")]
    assert ("2", [1, 0], [404, 200]) == (dualentry.get("10001/").json()["phone"], found, keys)


def test_lists_are_cut(sandbox: ControlledSandbox, dualentry: httpx.Client, vayu: httpx.Client) -> None:
    """Fewer than were asked for, and the count true; whoever reads on gets the rest."""
    sandbox.behave(max_page=20)
    ids = [*range(10001, 10061)]
    pages = [listed(dualentry, id=ids, limit=100, offset=offset) for offset in (0, 20, 40)]
    assert [(ids[:20], 60), (ids[20:40], 60), (ids[40:], 60)] == pages
    page = vayu.get("/customers?limit=1000").json()
    assert (20, 1000, True) == (len(page["customers"]), page["total"], page["hasMore"])
    page = vayu.get(f"/customers?limit=1000&cursor={page['nextCursor']}").json()
    assert "V-21" == page["customers"][0]["externalId"]


@pytest.mark.parametrize(("mode", "by_ids", "by_both"), [("work", 2, 0), ("last", 1, 1), ("ignored", 1000, 1000)])
def test_filters(sandbox: ControlledSandbox, dualentry: httpx.Client, mode: str, by_ids: int, by_both: int) -> None:
    """Of the ids only the last counts, or none at all."""
    sandbox.behave(filters=mode)
    counts = [listed(dualentry, id=[10001, 10002])[1], listed(dualentry, id=10001, unique_id="C-10002")[1]]
    assert [by_ids, by_both] == counts


@pytest.mark.parametrize(
    ("mode", "remaining", "reset"),
    [("none", None, None), ("full", "100000", "0"), ("empty", "0", "86400"), ("garbled", "-1", "soon")],
)
def test_rate_headers_lie(
    sandbox: ControlledSandbox, dualentry: httpx.Client, vayu: httpx.Client, mode: str, remaining: str, reset: str
) -> None:
    """On good answers of both APIs."""
    sandbox.behave(rate_headers=mode)
    for answer in (dualentry.get("10001/"), vayu.get(f"/customers/{VAYU_1}")):
        names = ("X-RateLimit-Remaining", "X-RateLimit-Reset")
        assert (200, remaining, reset) == (answer.status_code, *(answer.headers.get(name) for name in names))


def test_retry_after_says_what_was_asked_for(sandbox: ControlledSandbox, dualentry: httpx.Client) -> None:
    """On each fault with a status, before the deed or after it."""
    sandbox.behave(retry_after="7, Wed, 21 Oct 2099 07:28:00 GMT")
    sandbox.set_faults("413=nth:1", "503-after=nth:2", "429-bare=nth:3")
    answers = [dualentry.patch("10001/", json={}) for _ in range(3)]
    said = "7, Wed, 21 Oct 2099 07:28:00 GMT"
    assert [(413, said), (503, said), (429, None)] == [
        (answer.status_code, answer.headers.get("Retry-After")) for answer in answers
    ]


def test_a_record_says_what_waits(sandbox: ControlledSandbox, dualentry: httpx.Client) -> None:
    """One and many, with the old values, until it is granted or turned down."""
    sandbox.behave(pending="shown")
    sandbox.set_faults("approval=1")
    seen = []
    for granted in (False, True):
        dualentry.patch("10001/", json={"website": "new.example"})
        items = [dualentry.get("10001/").json(), dualentry.get("?id=10001").json()["items"][0]]
        sandbox.ask("approve", {"id": 10001, "granted": granted})
        items.append(dualentry.get("10001/").json())
        seen += [(item["approval_status"], item["website"] == "new.example") for item in items]
    waiting = [("pending", False)] * 2
    assert [*waiting, (None, False), *waiting, (None, True)] == seen


def test_reset_ends_all_of_it(sandbox: ControlledSandbox, dualentry: httpx.Client) -> None:
    """Options, faults, and what waits for approval."""
    sandbox.behave(pending="shown", max_page=1)
    sandbox.set_faults("approval=1")
    dualentry.patch("10001/", json={"website": "new.example"})
    sandbox.reset()
    sandbox.behave(pending="shown")
    assert (None, 100) == (dualentry.get("10001/").json()["approval_status"], len(listed(dualentry)[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": "off"}, "limits: set at the start, or not at all"),
        ({"nonsense": 1}, "nonsense: set at the start, or not at all"),
        ({"normalize": "x"}, "--normalize x: choose one of no, shown, hidden"),
        ({"read_lag": -1}, "--read-lag -1: must be from 0 to 86400"),
        ({"retry_after": "\n"}, "--retry-after '\\n': a header has printable ASCII only"),
    ],
)
def test_wrong_options_are_refused(sandbox: ControlledSandbox, options: dict[str, Any], message: str) -> None:
    """With the words of the command line."""
    with pytest.raises(SandboxError) as raised:
        sandbox.behave(**options)
    assert message in str(raised.value).encode().decode("unicode_escape")


def test_all_that_can_be_changed_is_an_option() -> None:
    """By its name."""
    assert CHANGEABLE <= set(SandboxOptions.__dataclass_fields__)
