"""Credentials that are fetched anew where the API does not accept them any more."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import batch
from batch.credentials import read_credentials, run_token_command
from batch.errors import CredentialError
from tests.shell import DUALENTRY, VAYU

NAMES = {"DUALENTRY_API_KEY": True}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def python(code: str) -> str:
    """A command that runs Python code."""
    return f"{sys.executable} -c '{code}'"


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("k\\n", {"DUALENTRY_API_KEY": "k"}), ("A=1\\nDUALENTRY_API_KEY=k\\n", {"DUALENTRY_API_KEY": "k"})],
)
def test_token_command(printed: str, expected: Mapping[str, str]) -> None:
    """What a command prints is the key alone, or lines of NAME=value; it goes before the variable."""
    command = python(f'print("{printed}", end="")')
    assert (expected, []) == read_credentials(NAMES, None, command, {"DUALENTRY_API_KEY": "old"}, "batch login")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "it names no program"),
        ("'", "it cannot be split into words (No closing quotation)"),
        ("no-such-program x", "no-such-program cannot be run (no such file or directory)"),
        (python('import sys; print("s3cret"); sys.exit("s3cret")'), " ended with exit code 1. Try it in a terminal."),
        (python("print()"), "should hold the token alone, or lines such as DUALENTRY_API_KEY=…."),
        (python("import sys; sys.stdout.buffer.write(bytes([255]))"), "printed something that is no text"),
    ],
)
def test_token_command_that_fails(command: str, said: str) -> None:
    """What is wrong with the command is said, and nothing that it printed."""
    with pytest.raises(CredentialError) as caught:
        run_token_command(command, ["DUALENTRY_API_KEY"])
    assert said in str(caught.value)
    assert str(caught.value).startswith("--token-command: ")
    assert "s3cret" not in str(caught.value)


def test_no_shell(tmp_path: Path) -> None:
    """The words of the command are no lines of a shell."""
    found = run_token_command("echo k;touch evil", ["DUALENTRY_API_KEY"])
    assert ({"DUALENTRY_API_KEY": "k;touch evil"}, False) == (found, (tmp_path / "evil").exists())


def test_file_of_a_variable(tmp_path: Path) -> None:
    """NAME_FILE names a file with the value, as mounted secrets have it; both set is a mistake."""
    path = tmp_path / "key"
    path.write_text("k\n")
    path.chmod(0o600)
    given = {"DUALENTRY_API_KEY_FILE": str(path)}
    assert ({"DUALENTRY_API_KEY": "k"}, []) == read_credentials(NAMES, None, None, given, "batch login")
    for wrong, said in (
        (given | {"DUALENTRY_API_KEY": "x"}, "DUALENTRY_API_KEY and DUALENTRY_API_KEY_FILE are both set"),
        ({"DUALENTRY_API_KEY_FILE": str(tmp_path / "none")}, "none: no such file or directory."),
    ):
        with pytest.raises(CredentialError, match=said):
            read_credentials(NAMES, None, None, wrong, "batch login")
    path.write_text("\n")
    with pytest.raises(CredentialError, match="it is empty"):
        read_credentials(NAMES, None, None, given, "batch login")


@pytest.mark.parametrize(("mode", "own", "warns"), [(0o440, True, False), (0o440, False, True), (0o444, True, True)])
def test_mounted_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, own: bool, warns: bool) -> None:
    """A secret that another user owns and this process reads by its group is closed enough; others may not read it."""
    path = tmp_path / "key"
    path.write_text("k\n")
    path.chmod(mode)
    found = path.stat()
    monkeypatch.setattr("os.geteuid", lambda: found.st_uid + 1)
    monkeypatch.setattr("os.getegid", lambda: found.st_gid + (not own))
    monkeypatch.setattr("os.getgroups", list)
    given = {"DUALENTRY_API_KEY_FILE": str(path)}
    assert warns == bool(read_credentials(NAMES, None, None, given, "batch login")[1])


class Changing:
    """An API that accepts another key from its third write on, and remembers with which keys it was asked."""

    def __init__(self, accepted: str, later: str) -> None:
        self.accepted, self.later = accepted, later
        self.keys: list[str] = []
        self.writes = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("X-API-KEY") or request.headers.get("Authorization", "")
        self.keys.append(key)
        if self.accepted not in key:
            return httpx.Response(401, json={"message": "no"})
        if request.method != "PATCH":
            return httpx.Response(404, json={"message": "not here"})
        self.writes += 1
        if self.writes == 2:
            self.accepted = self.later
        number = int(str(request.url).rstrip("/").rpartition("/")[2])
        return httpx.Response(200, json={"id": number, "name": "New"})


def update(api: Changing, credentials: Callable[[], Mapping[str, str]], **more: Any) -> batch.Summary:
    Path("sheet.csv").write_text("id,name\n" + "".join(f"{n},New\n" for n in range(1, 7)))
    return batch.update(
        "sheet.csv", endpoint=DUALENTRY, credentials=credentials, transport=httpx.MockTransport(api), compare=False,
        max_at_once=2, max_per_second=1000.0, **more,
    )  # fmt: skip


def test_key_that_changes_in_the_middle() -> None:
    """A key that is not accepted any more is fetched anew, once for all workers, and the run goes on."""
    asked: list[int] = []

    def fetch() -> dict[str, str]:
        asked.append(1)
        return {"DUALENTRY_API_KEY": "first-key-0123456789" if len(asked) == 1 else "second-key-0123456789"}

    found = update(Changing("first", "second"), fetch)
    assert (0, 6, 2) == (found.exit_code, found.outcomes.updated, len(asked))


@pytest.mark.parametrize("again", ["first-key-0123456789", None], ids=["the same", "fails"])
def test_key_that_cannot_be_fetched(again: str | None) -> None:
    """Where the key is the same as before, or cannot be fetched, the run ends as it would without: exit code 6."""
    asked: list[int] = []

    def fetch() -> dict[str, str]:
        asked.append(1)
        if len(asked) > 1 and again is None:
            raise CredentialError("the vault is closed")
        return {"DUALENTRY_API_KEY": "first-key-0123456789"}

    found = update(Changing("first", "second"), fetch)
    assert found.stopped is not None
    assert (6, "credentials", True) == (found.exit_code, found.stopped.reason, found.outcomes.unsent > 0)


def test_log_in_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the API logs in, and the token for that ran out, another one is fetched."""
    tokens, refused = iter(["old", "new"]), []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/login"):
            if b"new" not in request.content:
                refused.append(1)
                return httpx.Response(401, json={"message": "expired"})
            return httpx.Response(200, json={"accessToken": "x"})
        return httpx.Response(200, json={"customer": {"id": "65f000000000000000000001", "name": "New"}})

    Path("sheet.csv").write_text("id,name\n65f000000000000000000001,New\n")
    found = batch.update(
        "sheet.csv", endpoint=VAYU, credentials=lambda: {"VAYU_API_TOKEN": f"{next(tokens)}-token-0123456789"},
        transport=httpx.MockTransport(answer),
    )  # fmt: skip
    assert (0, 1) == (found.exit_code, len(refused))
