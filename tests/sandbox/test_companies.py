"""Several companies in one sandbox: each key has records, log-ins and a memory of idempotency keys of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.sandbox.options import SandboxOptions
from batch.sandbox.process import SandboxError
from tests.sandbox.control import ControlledSandbox

DUALENTRY_1, VAYU_1 = "/public/v2/customers/10001/", "/customers/65f000000000000000000001"
KEYS = ("key-of-one", "key-of-two")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ControlledSandbox]:
    with ControlledSandbox(SandboxOptions(keys=KEYS, records=10, ledger=tmp_path / "ledger.jsonl")) as running:
        yield running


def patch(sandbox: ControlledSandbox, key: str, name: str) -> Any:
    headers = {"X-API-KEY": key, "Idempotency-Key": "the-same"}
    answer = httpx.patch(f"{sandbox.url}{DUALENTRY_1}", json={"name": name}, headers=headers, trust_env=False)
    return answer.json().get("name", answer.status_code)


def test_records(sandbox: ControlledSandbox) -> None:
    """What is written with one key is not seen with the other, and the ledger says whose it was."""
    first = sandbox.record("dualentry", 10001)["name"]
    said = [patch(sandbox, key, name) for key, name in zip((*KEYS, "wrong"), ("A", "B", "C"), strict=True)]
    assert ["A", "B", 403] == said
    assert ["A", "B"] == [sandbox.record("dualentry", 10001, company)["name"] for company in (1, 2)]
    assert [1, 2, None] == [line["company"] for line in sandbox.read_ledger()]
    sandbox.edit("dualentry", 10001, {"name": "Other"}, company=2)
    assert ["A", "Other"] == [sandbox.record("dualentry", 10001, company)["name"] for company in (1, 2)]
    sandbox.reset()
    assert [first, first] == [sandbox.record("dualentry", 10001, company)["name"] for company in (1, 2)]


def test_logins(sandbox: ControlledSandbox) -> None:
    """An access token opens the records of the API token that it was given for, until all expire."""
    for key, name in zip(KEYS, ("A", "B"), strict=True):
        answer = httpx.post(f"{sandbox.url}/login", json={"refreshToken": key}, trust_env=False)
        headers = {"Authorization": f"Bearer {answer.json()['accessToken']}"}
        httpx.put(f"{sandbox.url}{VAYU_1}", json={"name": name}, headers=headers, trust_env=False)
    record_id = VAYU_1.rpartition("/")[2]
    assert ["A", "B"] == [sandbox.record("vayu", record_id, company)["name"] for company in (1, 2)]
    sandbox.ask("expire", {})
    assert 401 == httpx.get(f"{sandbox.url}{VAYU_1}", headers=headers, trust_env=False).status_code


def test_unknown_company(sandbox: ControlledSandbox) -> None:
    """The sandbox's own routes know the companies that there are."""
    for company in (0, 3):
        with pytest.raises(SandboxError):
            sandbox.record("dualentry", 10001, company)
