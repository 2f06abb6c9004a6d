"""The key goes to the API and nowhere else; what servers say is made harmless before anybody sees it."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.commands import update
from batch.engine import api_session
from batch.http import Session, Timeouts
from tests.little_api import Asked, LittleApi, Said, Script, little_api
from tests.shell import DUALENTRY, VAYU, Ended, Shell, iter_files, outcomes, results

RECORD = {"id": 10001, "name": "Old", "phone": "", "custom_fields": []}
SHEET = "id,name\n10001,New\n"


@pytest.fixture
def key(offline: Shell) -> str:
    """A key that is nowhere else."""
    made = "canary-" + secrets.token_hex(16)
    offline.environment["DUALENTRY_API_KEY"] = made
    return made


def reading(asked: Asked) -> Said | None:
    """The answer to a read; None for a write."""
    return None if asked.is_write else Said(200, {"items": [RECORD], "count": 1})


def succeeds(asked: Asked) -> Said:
    return reading(asked) or Said(200, {**RECORD, **json.loads(asked.body)})


def refuses(status: int) -> Script:
    def script(asked: Asked) -> Said:
        return Said(status, {"success": False, "errors": {"__all__": [f"{asked.headers} is no good"]}})

    return script


def echoes(asked: Asked) -> Said:
    return reading(asked) or Said(422, {"success": False, "errors": {"name": [f"I got {asked.headers}"]}})


def breaks(asked: Asked) -> Said:
    return reading(asked) or Said(500, f"Traceback: headers={asked.headers}".encode())


def echoes_in_headers(asked: Asked) -> Said:
    said = succeeds(asked)
    return Said(said.status, said.body, {"X-Debug": str(asked.headers.get("x-api-key")), "Set-Cookie": "a=b"})


CASES: dict[str, tuple[Script, int]] = {
    "success": (succeeds, 0),
    "401": (refuses(401), 2),
    "403": (refuses(403), 2),
    "422": (echoes, 1),
    "500": (breaks, 3),
    "headers": (echoes_in_headers, 0),
    "time-out": (lambda asked: reading(asked), 3),
}


def assert_nowhere(secret: str, shell: Shell, ended: Ended) -> None:
    """The secret is in no output and in no file, neither as it is nor in pieces."""
    assert secret not in ended.out + ended.err
    assert secret[8:30] not in ended.out + ended.err
    for path in iter_files(shell.folder.parent):
        assert secret[8:30].encode() not in path.read_bytes(), path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Timeouts(connect=1.0, read=0.3, total=5.0)
    monkeypatch.setattr(api_session, "Session", lambda url, **given: Session(url, **given | {"timeouts": patience}))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("impatient")
def test_canary(case: str, offline: Shell, key: str) -> None:
    """A key appears in no output, journal, results or summary, whatever the API does with it."""
    script, code = CASES[case]
    with little_api(script) as api:
        command = ["update", offline.sheet(SHEET), "-e", DUALENTRY, *api.options, "--max-attempts", 2, "--json"]
        ended = offline.here(*command, env={"BATCH_DEBUG": "1"})
    assert (code, code) == (ended.code, ended.json["exit_code"])
    assert key in api.asked[-1].headers.values()
    assert_nowhere(key, offline, ended)


def test_canary_in_a_crash(offline: Shell, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends with code 4 and says where; neither the traceback nor its texts carry a secret."""

    def crash(*_: object) -> None:
        raise RuntimeError(f"headers: {key}")

    monkeypatch.setattr(update, "estimate", crash)
    with little_api(succeeds) as api:
        command = ["update", offline.sheet(SHEET), "-e", DUALENTRY, *api.options]
        ended = offline.here(*command, env={"BATCH_DEBUG": "1"})
    assert (4, "") == (ended.code, ended.out)
    assert ended.err.startswith("This is a bug in batch (at update.py:")
    assert "RuntimeError" not in ended.err
    assert_nowhere(key, offline, ended)


def test_canary_of_vayu(offline: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for Vayu's refresh token, client id and access token, when the log-in is refused with an echo."""
    tokens = {"VAYU_API_TOKEN": "canary-" + secrets.token_hex(16), "VAYU_CLIENT_ID": "canary-" + secrets.token_hex(16)}
    offline.environment |= tokens

    def script(asked: Asked) -> Said:
        return Said(401, {"type": "x", "code": "unauthorized", "message": f"{asked.headers} {asked.body} is wrong"})

    with little_api(script) as api:
        sheet = offline.sheet("id,name\n65f000000000000000000001,New\n")
        ended = offline.here("update", sheet, "-e", VAYU, *api.options, "--json")
    assert (2, 2) == (ended.code, ended.json["exit_code"])
    assert tokens["VAYU_API_TOKEN"] in api.asked[0].body
    for secret in tokens.values():
        assert_nowhere(secret, offline, ended)


def test_key_on_the_command_line(offline: Shell) -> None:
    """There is no option that takes a key."""
    ended = offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, "--api-key", "x")
    assert (2, True) == (ended.code, "No such option" in ended.err and "--api-key" in ended.err)


# -- where the key may go -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://api.dualentry.com", "http://192.0.2.1:8080"])
def test_plain_http(offline: Shell, key: str, url: str) -> None:
    """Over plain HTTP to another machine no key is sent."""
    ended = offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, "--base-url", url)
    message = (
        f'the base URL "{url}" would send the credentials unencrypted '
        "(use https://; http:// is for this machine only, such as http://127.0.0.1:8080, and for one that "
        "--allow-http names)\n"
    )
    assert (2, "", message) == (ended.code, ended.out, ended.err)
    assert ["sheet.csv"] == [path.name for path in offline.folder.iterdir()]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect(offline: Shell, key: str, status: int) -> None:
    """A redirect is never followed: the run stops, everything is unsent, and the key goes nowhere else."""
    with little_api(succeeds) as other, little_api(lambda _: Said(status, "", {"Location": other.url + "/x"})) as api:
        ended = offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, *api.options)
    assert (2, ["unsent"], []) == (ended.code, outcomes(offline.only_run()), other.asked)
    assert f"redirect ({status})" in ended.err


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_key(offline: Shell, key: str, status: int) -> None:
    """A wrong key stops the run: everything is unsent, exit code 2, and the message says that it is the key."""
    said = {"success": False, "errors": {"__all__": ["API key authentication failed"]}}
    sheet = offline.sheet("id,name\n" + "".join(f"{10001 + number},New\n" for number in range(500)))
    with little_api(lambda _: Said(status, said)) as api:
        ended = offline.here("update", sheet, "-e", DUALENTRY, *api.options)
    assert (2, {"unsent"}) == (ended.code, set(outcomes(offline.only_run())))
    assert len(api.asked) <= 16
    assert "Check DUALENTRY_API_KEY: the key may be wrong, expired, or not permitted to do this." in ended.err
    assert 'says: "API key authentication failed"' in ended.err


# -- token files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{}\n", "# mine\nDUALENTRY_API_KEY={}\n", "DUALENTRY_API_KEY = '{}'\n"])
def test_token_file(offline: Shell, key: str, text: str) -> None:
    """A token file holds the key alone or as NAME=value; one that others can read is warned about."""
    del offline.environment["DUALENTRY_API_KEY"]
    path = offline.folder / "token"
    path.write_text(text.format(key))
    path.chmod(0o644)
    with little_api(succeeds) as api:
        ended = offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, *api.options, "--token-file", "token")
    warning = "token can be read by other users of this machine. Close it:  chmod 600 token"
    assert (0, True) == (ended.code, warning in ended.err.splitlines())
    assert {key} == {asked.headers.get("x-api-key") for asked in api.asked}
    assert key not in ended.err


def test_private_token_file(offline: Shell, key: str) -> None:
    """One that only its owner can read is not."""
    path = offline.folder / "token"
    path.write_text(key)
    path.chmod(0o600)
    with little_api(succeeds) as api:
        ended = offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, *api.options, "--token-file", "token")
    assert (0, False) == (ended.code, "can be read by other users" in ended.err)


# -- hostile text ---------------------------------------------------------------------------------------------------

HOSTILE = "\x1b[2J\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\ \u202egnp.exe\u2066\x00\x07\r\nUPDATED"
HARMLESS = r"\x1b[2J\x1b]8;;http://evil.example\x1b\click\x1b]8;;\x1b\ \u202egnp.exe\u2066\x00\x07  UPDATED"
FORBIDDEN = "\x1b\x00\x07\u202e\u2066"


@pytest.fixture
def hostile() -> Iterator[LittleApi]:
    def script(asked: Asked) -> Said:
        return reading(asked) or Said(422, {"success": False, "errors": {"name": [HOSTILE]}})

    with little_api(script) as api:
        yield api


def test_hostile_answer(offline: Shell, key: str, hostile: LittleApi) -> None:
    """What a server says cannot steer a terminal or a spreadsheet: control characters and bidi marks are spelt out."""
    ended = offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, *hostile.options)
    folder = offline.only_run()
    assert 1 == ended.code
    assert f'column "name": {HARMLESS}' == results(folder)[0]["message"]
    assert HARMLESS in ended.err
    texts = [ended.err, *((folder / name).read_text() for name in ("results.csv", "failures.csv", "summary.json"))]
    assert not any(character in text for character in FORBIDDEN for text in texts)


def test_hostile_stop(offline: Shell, key: str) -> None:
    """The same for the words of a refusal that stops the run, on screen and in `--json`."""
    said = Said(403, {"success": False, "errors": {"__all__": [HOSTILE]}})
    with little_api(lambda _: said) as api:
        ended = offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, *api.options, "--json")
    assert HARMLESS in ended.json["stopped"]["message"]
    assert HARMLESS in ended.err
    assert not any(character in ended.err + ended.json["stopped"]["message"] for character in FORBIDDEN)


def test_hostile_input(offline: Shell) -> None:
    """The same for headers and cells of the input."""
    sheet = offline.sheet('id,name,phone,"\x1b[31mN\u202eote"\n10001,"\x1b[2JName","\x1b]0;title\x07",x\n')
    ended = offline.here("check", sheet, "-e", DUALENTRY, "--map", "\x1b[31mN\u202eote=")
    assert 1 == ended.code
    assert not any(character in ended.out + ended.err for character in FORBIDDEN)
    wrong = offline.here("check", sheet, "-e", DUALENTRY)
    assert 2 == wrong.code
    assert not any(character in wrong.out + wrong.err for character in FORBIDDEN)


def test_other_cells_are_not_told(offline: Shell) -> None:
    """A problem with one cell says nothing of the others: no message carries their contents."""
    sheet = offline.sheet("id,name,phone\n10001,Very Private Person,ext. 5\n")
    ended = offline.here("check", sheet, "-e", DUALENTRY, "--quiet", "--json", env={"BATCH_DEBUG": "1"})
    assert 1 == ended.code
    assert "Private" not in ended.out + ended.err


def test_files_are_private(offline: Shell, key: str) -> None:
    """Whatever the umask, files are 0600 in folders that are 0700."""
    import os

    before = os.umask(0)
    try:
        with little_api(echoes) as api:
            offline.here("update", offline.sheet(SHEET), "-e", DUALENTRY, *api.options)
            offline.here("check", offline.sheet("id,name\nx,y\n", "wrong.csv"), "-e", DUALENTRY)
    finally:
        os.umask(before)
    kept = [offline.folder / "sheet.batch", offline.folder / "wrong.batch", Path(offline.environment["XDG_STATE_HOME"])]
    paths = [path for top in kept for path in (top, *top.rglob("*"))]
    assert {"results.csv", "failures.csv", "summary.json", "journal.sqlite", "input.parquet"} <= {p.name for p in paths}
    modes = {str(path): oct(path.stat().st_mode & 0o777) for path in paths}
    wanted = {str(path): "0o700" if path.is_dir() else "0o600" for path in paths}
    wanted[str(kept[2])] = modes[str(kept[2])]  # XDG's own folder is not ours
    assert wanted == modes
