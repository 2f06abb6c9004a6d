"""What the sandbox does wrong on purpose, and what its ledger says of it."""

import contextlib
import json
import re
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.sandbox.options import SandboxOptions
from batch.sandbox.process import SandboxError
from tests.sandbox.control import KEY, ControlledSandbox

VAYU_1 = "65f000000000000000000001"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlledSandbox]:
    ledger = tmp_path_factory.mktemp("sandbox") / "ledger.jsonl"
    with ControlledSandbox(SandboxOptions(limits="off", ledger=ledger)) as running:
        yield running


@pytest.fixture
def sandbox(shared: ControlledSandbox) -> Iterator[ControlledSandbox]:
    yield shared
    shared.set_faults()


@pytest.fixture(scope="module")
def api(shared: ControlledSandbox) -> Iterator[httpx.Client]:
    headers = {"X-API-KEY": KEY}
    with httpx.Client(base_url=shared.url, headers=headers, trust_env=False, timeout=0.3) as client:
        yield client


def path(record: int) -> str:
    return f"/public/v2/customers/{record}/"


def last_lines(sandbox: ControlledSandbox, record: int | str, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(line[name] for name in fields) for line in sandbox.read_ledger() if line["id"] == str(record)]


@pytest.mark.parametrize(
    ("kind", "error", "applied", "status"),
    [
        ("drop-before", httpx.RemoteProtocolError, False, None),
        ("hang-before", httpx.ReadTimeout, False, None),
        ("drop-after", httpx.RemoteProtocolError, True, 200),
        ("hang-after", httpx.ReadTimeout, True, 200),
        ("half", httpx.RemoteProtocolError, True, 200),
        ("reset", httpx.ReadError, True, 200),
        ("garbled", httpx.RemoteProtocolError, True, 200),
    ],
)
def test_no_whole_answer_comes(
    sandbox: ControlledSandbox, api: httpx.Client, kind: str, error: type[Exception], applied: bool, status: int | None
) -> None:
    """The client cannot know whether it was applied; the ledger does."""
    kinds = ["drop-before", "drop-after", "hang-after", "half", "hang-before", "reset", "garbled"]
    record = 10101 + kinds.index(kind)
    sandbox.set_faults(f"{kind}=nth:1")
    with pytest.raises(error):
        api.patch(path(record), json={"phone": "777"})
    assert (sandbox.record("dualentry", record)["phone"] == "777") == applied
    assert last_lines(sandbox, record, "status", "applied", "fault") == [(status, applied, kind)]


@pytest.mark.parametrize(
    ("kind", "seen"), [("stray", [[10111, 10111], [10112]]), ("stray-late", [[10111], [10111, 10112]])]
)
def test_a_stray_answer_comes_on_the_same_connection(
    sandbox: ControlledSandbox, kind: str, seen: list[list[int]]
) -> None:
    """At once, or in front of the next answer: whoever counts answers takes it for that to the next request."""
    sandbox.set_faults(f"{kind}=nth:1")
    host, port = sandbox.url.removeprefix("http://").split(":")
    received = []
    with socket.create_connection((host, int(port)), timeout=0.2) as client:
        for record in (10111, 10112):
            head = f"PATCH {path(record)} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {KEY}\r\nContent-Length: 2\r\n\r\n"
            client.sendall(f"{head}{{}}".encode())
            received.append(read_until_silence(client))
    assert seen == [[int(found) for found in re.findall(rb'{"id":(\d{5}),', one)] for one in received]


def read_until_silence(client: socket.socket) -> bytes:
    """All that comes before nothing comes for the time that the socket waits."""
    received = b""
    with contextlib.suppress(TimeoutError):
        while more := client.recv(65536):
            received += more
    return received


def test_after_a_fault_the_next_request_is_served(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """nth strikes the requests with those numbers only, counting writes for a fault of writes."""
    sandbox.set_faults("drop-after=nth:2")
    assert api.get(path(10001)).status_code == 200
    assert api.patch(path(10001), json={}).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        api.patch(path(10001), json={})
    assert api.patch(path(10001), json={}).status_code == 200


def test_once_strikes_the_first_request_for_each_record(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """Whatever the order in which they come."""
    sandbox.set_faults("500=once:10002,10003")
    tried = [api.patch(path(record), json={}).status_code for record in (10003, 10001, 10002, 10003, 10002)]
    assert tried == [500, 200, 500, 200, 200]


def test_id_strikes_every_request_for_a_record(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """A row that never gets through."""
    sandbox.set_faults("503=id:10002")
    tried = [api.patch(path(record), json={}).status_code for record in (10002, 10001, 10002)]
    assert tried == [503, 200, 503]


def test_chances_repeat_with_the_seed(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """The same faults for the same order of requests, reads too."""
    runs = []
    for _ in range(2):
        sandbox.set_faults("500=0.3")
        runs.append([api.get(path(10001)).status_code for _ in range(40)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


@pytest.mark.parametrize(
    ("kind", "status", "retry_after", "content_type"),
    [
        ("500", 500, None, "application/json"),
        ("503", 503, None, "text/html"),
        ("429", 429, "1", "application/json"),
        ("429-bare", 429, None, "application/json"),
        ("500-after", 500, None, "application/json"),
        ("503-after", 503, None, "text/html"),
        ("408-after", 408, None, "application/json"),
        ("garbage", 200, None, "text/html"),
        ("empty", 200, None, "application/json"),
        ("queued", 202, None, "application/json"),
        ("success-true", 200, None, "application/json"),
    ],
)
def test_statuses(
    sandbox: ControlledSandbox, api: httpx.Client, kind: str, status: int, retry_after: str | None, content_type: str
) -> None:
    """Which are applied, and what their headers say."""
    sandbox.set_faults(f"{kind}=1")
    answer = api.patch(path(10020), json={"phone": "777"})
    seen = (answer.status_code, answer.headers.get("Retry-After"), answer.headers["Content-Type"].partition(";")[0])
    assert seen == (status, retry_after, content_type)
    assert last_lines(sandbox, 10020, "fault", "applied")[-1] == (
        kind,
        not kind.startswith(("500", "503", "429")) or kind.endswith("-after"),
    )


@pytest.mark.parametrize(
    ("kind", "body"), [("empty", ""), ("queued", '{"status":"queued"}'), ("success-true", '{"success":true}')]
)
def test_no_record_is_shown(sandbox: ControlledSandbox, api: httpx.Client, kind: str, body: str) -> None:
    """Of what was applied, so that only a read can tell."""
    sandbox.set_faults(f"{kind}=1")
    assert body == api.patch(path(10021), json={"phone": "778"}).text
    assert "778" == sandbox.record("dualentry", 10021)["phone"]


def test_a_field_is_dropped(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """200, and the answer shows that one field did not change."""
    before = sandbox.record("dualentry", 10030)
    sandbox.set_faults("lie-drop-field=1")
    answer = api.patch(path(10030), json={"phone": "999", "website": "w"})
    assert (answer.status_code, answer.json()["website"], answer.json()["phone"]) == (200, "w", before["phone"])
    assert last_lines(sandbox, 10030, "applied") == [(True,)]


def test_the_only_field_is_dropped(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """Then nothing was applied."""
    sandbox.set_faults("lie-drop-field=1")
    before = sandbox.record("dualentry", 10031)
    api.patch(path(10031), json={"name": before["name"], "phone": "999"})
    assert sandbox.record("dualentry", 10031) == before
    assert last_lines(sandbox, 10031, "applied") == [(False,)]


def test_another_record_is_shown(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """Applied to the right one, but the answer is about its neighbour."""
    sandbox.set_faults("lie-other=1")
    assert api.patch(path(10032), json={"phone": "999"}).json()["id"] == 10033
    assert sandbox.record("dualentry", 10032)["phone"] == "999"


@pytest.mark.parametrize(
    ("requests", "expected"),
    [("reads", [404, 404, 200, 200]), ("lists", [404, 200, 200, 200]), ("writes", [200, 200, 404, 200]),
     ("logins", [200, 200, 200, 404]), ("all", [404, 404, 404, 404])],
)  # fmt: skip
def test_a_fault_for_some_requests(
    sandbox: ControlledSandbox, api: httpx.Client, requests: str, expected: list[int]
) -> None:
    """Only those are struck, and counted: the same number means another request."""
    sent = [
        lambda: api.get("/public/v2/customers/", params={"id": 10001}),
        lambda: api.get(path(10001)),
        lambda: api.patch(path(10001), json={}),
        lambda: api.post("/login", json={"refreshToken": KEY}),
    ]
    sandbox.set_faults(f"404@{requests}=1")
    assert expected == [send().status_code for send in sent]
    sandbox.set_faults(f"404@{requests}=nth:1")
    first = expected.index(404)
    assert [404 if place == first else 200 for place in range(4)] == [send().status_code for send in sent]


def test_reads_show_another_record(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """One and many alike, at both APIs."""
    token = api.post("/login", json={"refreshToken": KEY}).json()["accessToken"]
    vayu = {"Authorization": f"Bearer {token}", "X-API-KEY": "sandbox-client"}
    sandbox.set_faults("lie-other@reads=1")
    listed = api.get("/public/v2/customers/", params={"id": [10001, 10005], "ordering": "id"}).json()
    assert ([10002, 10006], 2) == ([item["id"] for item in listed["items"]], listed["count"])
    assert 10002 == api.get(path(10001)).json()["id"]
    found = [api.get(f"/customers/{one}", headers=vayu).json()["customer"] for one in (VAYU_1, "externalId/V-1")]
    page = api.get("/customers?limit=2", headers=vayu).json()["customers"]
    assert ["V-2", "V-2", "V-2", "V-3"] == [one["externalId"] for one in (*found, *page)]


def test_approval_waits(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """The answer shows the new values as pending, reading shows the old ones until it is approved."""
    sandbox.set_faults("approval=1")
    answer = api.patch(path(10034), json={"phone": "999"}).json()
    read = api.get(path(10034)).json()
    sandbox.ask("approve", {"id": 10034})
    assert (answer["approval_status"], answer["phone"]) == ("pending", "999")
    assert (read["approval_status"], read["phone"], api.get(path(10034)).json()["phone"]) == (None, "555-0034", "999")
    assert last_lines(sandbox, 10034, "method", "applied", "by") == [
        ("PATCH", False, "client"), ("GET", False, "client"), ("EDIT", True, "approval"), ("GET", False, "client"),
    ]  # fmt: skip


def test_reads_lag_behind_writes(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """The next two reads, one and list alike, show the record as it was."""
    sandbox.set_faults("stale-read=1")
    assert api.patch(path(10035), json={"phone": "999"}).json()["phone"] == "999"
    listed = api.get("/public/v2/customers/", params={"id": 10035}).json()["items"][0]["phone"]
    read = [api.get(path(10035)).json()["phone"] for _ in range(2)]
    assert [listed, *read] == ["555-0035", "555-0035", "999"]


def test_200_with_success_false(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """The body says that nothing was done, and nothing was."""
    sandbox.set_faults("success-false=1")
    answer = api.patch(path(10036), json={"phone": "999"})
    expected = {"success": False, "errors": {"__all__": ["The customer could not be saved"]}}
    assert (answer.status_code, answer.json()) == (200, expected)
    assert sandbox.record("dualentry", 10036)["phone"] == "555-0036"


def test_a_dropped_answer_is_replayed_under_its_key(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """Applied once, whatever the client repeats."""
    headers = {"Idempotency-Key": "dropped"}
    sandbox.set_faults("drop-after=nth:1")
    with pytest.raises(httpx.RemoteProtocolError):
        api.patch(path(10037), json={"phone": "999"}, headers=headers)
    assert api.patch(path(10037), json={"phone": "999"}, headers=headers).json()["phone"] == "999"
    assert last_lines(sandbox, 10037, "key", "status", "applied") == [("dropped", 200, True), ("dropped", 200, False)]


def test_a_stored_answer_may_be_too_large_to_replay() -> None:
    """409 without Retry-After: done once, and not again; lists may come as bare arrays."""
    headers = {"X-API-KEY": KEY, "Idempotency-Key": "large"}
    with ControlledSandbox(SandboxOptions(replay="too-large", bare_lists=True)) as sandbox:
        answers = [
            httpx.patch(sandbox.url + path(10001), json={"phone": "1"}, headers=headers, trust_env=False)
            for _ in range(2)
        ]
        listed = httpx.get(sandbox.url + "/public/v2/customers/?id=10001", headers=headers, trust_env=False).json()
    assert [(answer.status_code, answer.headers.get("Retry-After")) for answer in answers] == [(200, None), (409, None)]
    assert [(item["id"], item["phone"]) for item in listed] == [(10001, "1")]


def test_vayu_meets_the_same_faults(sandbox: ControlledSandbox) -> None:
    """A gateway's 429 has a shape of its own; a lie drops a field that makes a difference."""
    token = httpx.post(f"{sandbox.url}/login", json={"refreshToken": KEY}, trust_env=False).json()
    sandbox.set_faults("429=nth:1", "lie-drop-field=nth:2")
    with httpx.Client(headers={"Authorization": f"Bearer {token['accessToken']}"}, trust_env=False) as api:
        url = f"{sandbox.url}/customers/{VAYU_1}"
        refused, lied = [api.put(url, json={"legalName": "New", "source": "Api"}) for _ in range(2)]
    assert (refused.status_code, refused.json(), "retry-after" in refused.headers) == (
        429, {"message": "Too Many Requests"}, False,
    )  # fmt: skip
    assert (lied.status_code, lied.json()["customer"]["legalName"]) == (200, "Acme Holdings, Inc.")


def test_expired_tokens_need_a_new_login(sandbox: ControlledSandbox) -> None:
    """All tokens become worthless in the middle of a run."""

    def read() -> httpx.Response:
        return httpx.get(f"{sandbox.url}/customers", headers=bearer, trust_env=False)

    token = httpx.post(f"{sandbox.url}/login", json={"refreshToken": KEY}, trust_env=False).json()
    bearer = {"Authorization": f"Bearer {token['accessToken']}"}
    before = read().status_code
    sandbox.ask("expire", {})
    assert (before, read().status_code) == (200, 401)


def test_a_second_writer_is_marked_in_the_ledger(sandbox: ControlledSandbox) -> None:
    """Its change is validated like any other."""
    sandbox.edit("dualentry", 10040, {"phone": "1", "custom_fields": [{"Tier": "Gold"}]})
    sandbox.edit("vayu", VAYU_1, {"legalName": None})
    assert last_lines(sandbox, 10040, "by", "applied", "body") == [
        ("other", True, {"phone": "1", "custom_fields": [{"Tier": "Gold"}]})
    ]
    assert sandbox.record("vayu", VAYU_1)["legalName"] is None
    with pytest.raises(SandboxError, match="String should match pattern"):
        sandbox.edit("dualentry", 10040, {"phone": "x"})


def test_the_ledger_keeps_the_request_as_it_came(sandbox: ControlledSandbox, api: httpx.Client) -> None:
    """Path and query raw, the body parsed, refusals too, tokens not; readable by its owner alone."""
    api.patch(f"/public/v2/customers/%31{0}041/?a=%20", json={"phone": "x"}, headers={"Idempotency-Key": "k"})
    line = sandbox.read_ledger()[-1]
    assert {name: line[name] for name in line if name not in ("n", "t")} == {
        "api": "dualentry", "method": "PATCH", "path": "/public/v2/customers/%310041/", "query": "a=%20",
        "id": "10041", "key": "k", "status": 422, "applied": False, "fault": None, "by": "client", "company": 1,
        "body": {"phone": "x"},
    }  # fmt: skip
    assert sandbox.ledger is not None
    assert stat.S_IMODE(sandbox.ledger.stat().st_mode) == 0o600
    assert KEY not in sandbox.ledger.read_text()


def test_while_the_first_runs_its_key_is_409(tmp_path: Path) -> None:
    """With Retry-After: the same key again, later; and the counts know how many ran at once."""
    answers: list[httpx.Response] = []

    def send() -> None:
        headers = {"X-API-KEY": KEY, "Idempotency-Key": "both"}
        url = slow.url + path(10001)
        answers.append(httpx.patch(url, json={"phone": "1"}, headers=headers, trust_env=False))

    with ControlledSandbox(SandboxOptions(latency=0.2)) as slow:
        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = slow.counts()
    assert {(answer.status_code, answer.headers.get("Retry-After")) for answer in answers} == {(200, None), (409, "1")}
    assert counts == {
        "requests": {"dualentry": {"PATCH 200": 1, "PATCH 409": 1}, "vayu": {}},
        "total": 2,
        "applied": {"dualentry": 1, "vayu": 0},
        "most_at_once": 2,
    }


def test_a_smaller_ledger(tmp_path: Path) -> None:
    """Only writes, and without bodies."""
    options = SandboxOptions(ledger=tmp_path / "ledger", ledger_writes_only=True, ledger_no_bodies=True)
    with ControlledSandbox(options) as sandbox, httpx.Client(base_url=sandbox.url, trust_env=False) as api:
        api.headers["X-API-KEY"] = KEY
        api.get(path(10001))
        api.patch(path(10001), json={"phone": "1"})
        lines = [json.loads(line) for line in options.ledger.read_text().splitlines()] if options.ledger else []
    assert [(line["method"], "body" in line) for line in lines] == [("PATCH", False)]
