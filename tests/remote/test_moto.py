"""The same against moto, which imitates S3 more fully: signatures are checked, and policies. Long."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from socket import SHUT_RDWR, create_connection, create_server, socket
from typing import Any, Self

import pytest

from batch.remote import object_store
from tests.shell import DUALENTRY, Api, Shell, outcomes, summary, until

IS_THERE = find_spec("moto") is not None and find_spec("obstore") is not None
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not IS_THERE, reason="moto is not installed: ./run.sh test --long installs it"),
]
SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""
SECRET = "never-shown-0123456789"  # noqa: S105 - of nobody


class Cloud:
    """moto's S3, with a user and a bucket; another process, since it takes over what boto3 does in its own."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        import boto3

        self.process, self.url = process, f"http://127.0.0.1:{port}"
        made: dict[str, Any] = {"endpoint_url": self.url, "region_name": "us-east-1"}
        made |= {"aws_access_key_id": "first", "aws_secret_access_key": "first"}
        iam = boto3.client("iam", **made)
        iam.create_user(UserName="clerk")
        policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
        iam.put_user_policy(UserName="clerk", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="clerk")["AccessKey"]
        self.key, self.secret = key["AccessKeyId"], key["SecretAccessKey"]
        made |= {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret}
        self.s3 = boto3.client("s3", **made)
        self.s3.create_bucket(Bucket="bucket")

    @property
    def variables(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_METADATA_ENDPOINT": self.url,
        }  # fmt: skip

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket="bucket", Key=key, Body=content)

    def listed(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket="bucket").get("Contents", [])]

    def get(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()
        return content


@pytest.fixture
def cloud(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(object_store, "RETRIES", 1)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        assert process.stdout is not None
        made = Cloud(process, int(process.stdout.readline()))
        shell.environment |= made.variables
        yield made
    finally:
        process.kill()
        process.communicate()


def update(shell: Shell, api: Api, *options: object, key: str = "in/sheet.csv") -> Any:
    words = ["-e", DUALENTRY, *api.options, "--out", "s3://bucket/runs", "--json", *options]
    return shell.here("update", f"s3://bucket/{key}", *words)


def test_there_and_back(shell: Shell, cloud: Cloud, api: Api) -> None:
    """An input is read and results are written, with signatures that are checked; more than one part of an upload."""
    count = 1_000
    sheet = api.names(count)
    cloud.put("in/sheet.csv", sheet.encode())
    ended = update(shell, api)
    assert 0 == ended.code, ended.err
    run = shell.only_run()
    assert ["updated"] * count == outcomes(run)
    where = ended.json["uploaded"]["results"].removeprefix("s3://bucket/")
    assert (run / "results.csv").read_bytes() == cloud.get(where)
    assert {"in/sheet.csv", "runs/latest.json", where} < set(cloud.listed())
    cloud.put("in/deep/a b+%20é.csv", sheet.encode())
    assert 0 == shell.here("check", "s3://bucket/in/deep/a b+%20é.csv", "-e", DUALENTRY).code


def test_in_parts(shell: Shell, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file goes there in parts, and comes back as it was."""
    import anyio

    from batch.addresses import Address
    from batch.remote import ObjectStore, StorageAccess, copy_input

    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    large = shell.folder / "large.bin"
    large.write_bytes(os.urandom(1 << 20) * 40)
    (shell.folder / "copy").mkdir()

    async def there_and_back() -> str:
        await ObjectStore(Address.parse("s3://bucket", ""), StorageAccess()).write("large.bin", large)
        address = Address.parse("s3://bucket/large.bin", "")
        return (await copy_input(address, shell.folder / "copy", StorageAccess())).argument

    copied = anyio.run(there_and_back)
    assert (shell.folder / "copy" / "large.bin").samefile(copied)
    assert large.read_bytes() == (shell.folder / "copy" / "large.bin").read_bytes()


def test_bad_secret(shell: Shell, cloud: Cloud, api: Api) -> None:
    """A secret that is not the right one is told from a missing object, and told nowhere."""
    cloud.put("in/sheet.csv", api.names(1).encode())
    shell.environment["AWS_SECRET_ACCESS_KEY"] = SECRET
    ended = update(shell, api)
    said = ended.json["stopped"]["message"]
    assert (2, "s3://bucket/in/sheet.csv: its keys are not accepted (SignatureDoesNotMatch).") == (
        ended.code, said.partition(" Set ")[0]
    )  # fmt: skip
    sheet = shell.sheet(api.names(1))
    words = ["-e", DUALENTRY, *api.options, "--out", "s3://bucket/runs"]
    written = shell.here("update", sheet, *words)
    assert (2, True) == (written.code, "its keys are not accepted" in written.err)
    assert ([], ["in/sheet.csv"]) == (api.writes(), cloud.listed())
    assert SECRET not in ended.out + ended.err + written.err


def test_missing_bucket_and_object(shell: Shell, cloud: Cloud, api: Api) -> None:
    """What is missing is named: the bucket, or the object."""
    words = ["-e", DUALENTRY]
    assert 's3://nothing/x.csv: there is no bucket "nothing".' in shell.here("check", "s3://nothing/x.csv", *words).err
    assert "s3://bucket/x.csv: it does not exist: check" in shell.here("check", "s3://bucket/x.csv", *words).err
    sheet = shell.sheet(api.names(1))
    ended = shell.here("update", sheet, *words, *api.options, "--out", "s3://nothing/runs")
    assert (2, True) == (ended.code, 'there is no bucket "nothing"' in ended.err)
    assert [] == api.writes()


class Cut:
    """A way to the cloud that breaks off after so many bytes of what comes back, as often as it is told."""

    def __init__(self, port: int, after: int, times: int) -> None:
        self._port, self._after, self._left = port, after, times
        self._listener = create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket) -> None:
        with suppress(OSError), near, create_connection(("127.0.0.1", self._port)) as far:
            threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()
            room = self._after
            while data := far.recv(65_536):
                if self._left > 0 and len(data) > room:
                    self._left -= 1
                    near.sendall(data[:room])
                    near.shutdown(SHUT_RDWR)
                    return
                room -= len(data)
                near.sendall(data)

    @staticmethod
    def _pass_on(near: socket, far: socket) -> None:
        with suppress(OSError):
            while data := near.recv(65_536):
                far.sendall(data)


@pytest.mark.parametrize(("times", "code"), [(1, 0), (1_000, 2)])
def test_broken_in_the_middle(shell: Shell, cloud: Cloud, api: Api, times: int, code: int) -> None:
    """A connection that breaks is taken up where it broke, or the start is refused: no shorter table is ever read."""
    cloud.put("in/sheet.csv", ("id,name\n" + "10001,Acme\n" * 100_000).encode())
    with Cut(int(cloud.url.rpartition(":")[2]), 300_000, times) as way:
        shell.environment["AWS_ENDPOINT_URL"] = way.url
        ended = shell.here("check", "s3://bucket/in/sheet.csv", "-e", DUALENTRY, "--json")
    assert code == ended.code, ended.err
    if code:
        assert "the connection broke off half-way" in ended.json["stopped"]["message"]
    else:
        assert 100_000 == ended.json["rows"]
    assert [] == list(shell.folder.iterdir())


def test_stopped_and_gone_on(shell: Shell, cloud: Cloud, api: Api) -> None:
    """SIGTERM uploads what there is; the same command goes on, in the same folder at the address."""
    cloud.put("in/sheet.csv", api.names(400).encode())
    words = ["-e", DUALENTRY, *api.options, "--out", "s3://bucket/runs", "--no-compare", "--max-per-second", "40"]
    process = shell.start("update", "s3://bucket/in/sheet.csv", *words, env=cloud.variables)
    until(lambda: len(api.applied()) > 10, process)
    process.terminate()
    process.communicate(timeout=60)
    assert 143 == process.returncode
    run = shell.only_run()
    place = summary(run)["uploaded"]["summary"].removeprefix("s3://bucket/").rpartition("/")[0]
    assert {f"{place}/{name}" for name in ("results.csv", "failures.csv", "summary.json")} < set(cloud.listed())
    words[words.index("40")] = "2000"
    ended = shell.here("update", "s3://bucket/in/sheet.csv", *words, "--json")
    assert (0, 400) == (ended.code, ended.json["outcomes"]["updated"])
    left = {one.rpartition("/")[2] for one in cloud.listed() if one.startswith(place)}
    assert {"report.html", "results.csv", "summary.json"} == left
