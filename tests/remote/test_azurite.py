"""The same against Azurite, Microsoft's imitation of Azure's blobs: signatures are checked. Long.

Azurite is taken from the path, else installed by npm into a temporary folder; where neither can be, this is skipped.
"""

import base64
import hashlib
import hmac
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.remote import object_store
from tests.shell import DUALENTRY, Api, Shell, outcomes

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("obstore") is None, reason="obstore is not installed: ./run.sh test --long does it"),
]
ACCOUNT = "clerk"
KEY = base64.b64encode(b"of nobody, for a test alone").decode()
VERSION = "2021-08-06"


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the program."""
    if there := shutil.which("azurite-blob"):
        return there
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("AZURE IS NOT TESTED: neither azurite-blob nor npm is on this machine")
    folder = tmp_path_factory.mktemp("azurite")
    words = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", "azurite@3"]
    try:
        ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("AZURE IS NOT TESTED: npm did not install azurite within 300 s")
    if ended.returncode:
        pytest.skip(f"AZURE IS NOT TESTED: npm cannot install azurite: {ended.stderr[-500:]}")
    return str(folder / "node_modules" / ".bin" / "azurite-blob")


class Cloud:
    """Azurite with an account and a container."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/{ACCOUNT}"
        self.ask("PUT", "/box", {"restype": "container"})

    @property
    def variables(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ENDPOINT": self.url, "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        }  # fmt: skip

    def ask(self, method: str, path: str, query: dict[str, str], content: bytes = b"") -> bytes:
        """Ask with a signature (SharedKey), and return what comes back."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}
        if method == "PUT" and not query:
            headers["x-ms-blob-type"] = "BlockBlob"
        lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
        lines += [f"/{ACCOUNT}/{ACCOUNT}{path}", *(f"{name}:{query[name]}" for name in sorted(query))]
        signed = "\n".join([method, "", "", str(len(content) or ""), *[""] * 8, *lines])
        digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        with httpx.Client(trust_env=False) as client:
            answer = client.request(method, self.url + path, params=query, content=content, headers=headers)
        assert answer.is_success, answer.text
        return answer.content

    def listed(self) -> list[str]:
        return re.findall(
            "<Name>(.*?)</Name>", self.ask("GET", "/box", {"comp": "list", "restype": "container"}).decode()
        )


@pytest.fixture
def cloud(azurite: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(object_store, "RETRIES", 1)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "azurite"
    words = [azurite, "--blobHost", "127.0.0.1", "--blobPort", "0", "--location", str(data), "--silent"]
    process = subprocess.Popen(
        [*words, "--disableTelemetry", "--skipApiVersionCheck"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = next(found for line in process.stdout if (found := re.search(r"listens on (http://\S+)", line)))
        made = Cloud(found[1])
        shell.environment |= made.variables
        yield made
    finally:
        process.kill()
        process.communicate()


def update(shell: Shell, api: Api) -> Any:
    words = ["-e", DUALENTRY, *api.options, "--out", "az://box/runs", "--json"]
    return shell.here("update", "az://box/in/sheet.csv", *words)


def test_there_and_back(shell: Shell, cloud: Cloud, api: Api) -> None:
    """An input is read and results are written, with signatures that are checked; a pattern and odd names, too."""
    count = 200
    sheet = api.names(count).encode()
    cloud.ask("PUT", "/box/in/sheet.csv", {}, sheet)
    ended = update(shell, api)
    assert 0 == ended.code, ended.err
    run = shell.only_run()
    assert ["updated"] * count == outcomes(run)
    where = ended.json["uploaded"]["results"].removeprefix("az://")
    assert (run / "results.csv").read_bytes() == cloud.ask("GET", f"/{where}", {})
    assert {"in/sheet.csv", "runs/latest.json", where.removeprefix("box/")} < set(cloud.listed())
    assert count == shell.here("check", "az://box/in/*.csv", "-e", DUALENTRY, "--json").json["rows"]


def test_bad_key_and_missing(shell: Shell, cloud: Cloud, api: Api) -> None:
    """A key that is not the right one, a missing container and a missing blob are told apart; nothing is sent."""
    words = ["-e", DUALENTRY]
    assert 'there is no container "nothing"' in shell.here("check", "az://nothing/x.csv", *words).err
    assert "az://box/x.csv: it does not exist" in shell.here("check", "az://box/x.csv", *words).err
    cloud.ask("PUT", "/box/in/sheet.csv", {}, api.names(1).encode())
    wrong = base64.b64encode(b"never-shown-0123456789").decode()
    shell.environment["AZURE_STORAGE_ACCOUNT_KEY"] = wrong
    ended = update(shell, api)
    said = ended.json["stopped"]["message"]  # Azure itself says AuthenticationFailed, so that they are "not accepted"
    assert (2, True) == (ended.code, "with these keys (AuthorizationFailure)" in said), ended.out
    assert wrong not in ended.out + ended.err
    assert [] == api.writes()
