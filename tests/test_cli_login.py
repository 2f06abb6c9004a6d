"""`login`, `logout`, `logins`, and which key a command takes."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from batch.cli.console import Console
from batch.model import shorten
from tests.shell import DUALENTRY, VAYU, Api, Ended, Shell, iter_files, summary
from tests.test_terminal import SEND, on_terminal

KEY = b"(stays hidden while you paste or type it): "
NAME = b"(shown on every screen): "
FIRST_NAME = b"(shown on every screen) [dualentry]: "
WHICH = b"Which company is this for? (Enter: none): "
OTHER = "another-key-of-nobody-4321"


@pytest.fixture
def key(shell: Shell) -> str:
    """The key that the sandbox takes, which is not in the environment any more."""
    return shell.environment.pop("DUALENTRY_API_KEY")


def login_words(api: Api, *more: object) -> list[object]:
    return ["login", "-e", DUALENTRY, "--base-url", api.url, *more]


def log_in(shell: Shell, api: Api, key: str, name: str) -> Ended:
    (shell.folder / "key.txt").write_text(key)
    (shell.folder / "key.txt").chmod(0o600)
    ended = shell.here(*login_words(api, "--token-file", "key.txt", "--name", name))
    (shell.folder / "key.txt").unlink()
    return ended


def store(shell: Shell) -> Path:
    return Path(shell.environment["HOME"], ".config", "batch", "logins.json")


def kept(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(store(shell).read_text())["logins"]
    return found


def update(shell: Shell, api: Api, *more: object, **env: str) -> Ended:
    sheet = shell.sheet(api.names(1))
    return shell.here("update", sheet, "-e", DUALENTRY, *api.options, *more, env=env)


def add_by_hand(shell: Shell, **changed: Any) -> None:
    """Add a login that the sandbox was not asked about."""
    logins = [*kept(shell), kept(shell)[0] | changed]
    store(shell).write_text(json.dumps({"logins": logins}))


def test_login_on_a_terminal(shell: Shell, api: Api, key: str) -> None:
    """A refused key is asked for again; the right one is tried, kept for its owner only, never shown, and then used."""
    answers = [
        (KEY, b"  \n"),
        (KEY, OTHER.encode() + b"\n"),
        (KEY, b" '" + key.encode() + b"' \n"),
        (FIRST_NAME, b"acme\n"),
    ]
    ended = on_terminal(shell, login_words(api), answers)
    assert 0 == ended.code, ended.err
    names = " · ".join(api.sandbox.record("dualentry", one)["name"] for one in (10001, 10002, 10003))
    assert (
        f"A login for DualEntry customers, {api.url}\n"
        "You find the API key in DualEntry: Settings, API keys.\n"
        "The API key (stays hidden while you paste or type it): \n"
        "Nothing was typed.\n"
        "The API key (stays hidden while you paste or type it): \n"
        "Trying it with one read …\n"
        "DualEntry does not accept this key. Please try again; Ctrl-C leaves.\n"
        "The API key (stays hidden while you paste or type it): \n"
        "Trying it with one read …\n"
        "It works. To be seen with it:\n"
        f"  {shorten(f'100,000 customers, such as {names}', 76)}\n"
    ) == ended.err.partition("  custom fields: ")[0]
    assert ended.err.endswith(
        f"A name for this company (shown on every screen) [dualentry]: acme\n"
        f'The key … of "acme" is kept in a file that only you can read (this system has no keyring):\n'
        f"  {store(shell)}\n"
        "Next, the current records as a spreadsheet:\n"
        f"  batch pull -e {DUALENTRY} -o customers.xlsx --base-url {api.url} --as acme\n"
    )
    assert (0o600, 0o700) == (store(shell).stat().st_mode & 0o777, store(shell).parent.stat().st_mode & 0o777)
    assert key not in ended.err
    sent = update(shell, api)
    assert 0 == sent.code, sent.err
    assert 'key … of "acme"\n' in sent.err
    assert '1 row of "acme" in ' in sent.err
    assert "--as acme" in sent.err.splitlines()[-1]
    assert "acme" == summary(shell.only_run())["company"]
    written = [path for path in iter_files(shell.folder.parent) if key.encode() in path.read_bytes()]
    assert [store(shell)] == written


def test_three_wrong_keys(shell: Shell, api: Api, key: str) -> None:
    """After three keys that are refused nothing is kept."""
    ended = on_terminal(shell, login_words(api, "--name", "acme"), [(KEY, OTHER.encode() + b"\n")] * 3)
    assert (2, False) == (ended.code, store(shell).exists())
    assert ended.err.endswith("DualEntry does not accept this key.\n")


def test_login_without_a_terminal(shell: Shell, api: Api, key: str) -> None:
    """In a pipeline a key comes from a file, and is tried, too."""
    asked = shell.here(*login_words(api))
    said = (
        f"A login for DualEntry customers, {api.url}\n"
        "There is no terminal to ask for the key on. Name a file that holds it:  --token-file FILE --name COMPANY\n"
    )
    assert (2, said) == (asked.code, asked.err)
    assert (2, 0) == (log_in(shell, api, OTHER, "acme").code, log_in(shell, api, key, "acme").code)
    assert ["acme"] == [one["name"] for one in kept(shell)]
    again = log_in(shell, api, key, "acme")
    assert f'It takes the place of the key … of "acme" for {api.url}.\n' in again.err
    assert 1 == len(kept(shell))


def test_login_without_encryption(shell: Shell, api: Api, key: str) -> None:
    """The maker's own host is not sent a key without encryption, also at a login; any other host that is, is named."""
    (shell.folder / "key.txt").write_text(key)
    words = ["login", "-e", DUALENTRY, "--token-file", "key.txt", "--name", "acme", "--allow-http"]
    own = shell.here(*words, "api.dualentry.com", "--base-url", "http://api.dualentry.com")
    said = "--allow-http api.dualentry.com: this is the maker's own host, which is never asked without encryption.\n"
    assert (2, said) == (own.code, own.err)
    other = shell.here(*words, "no-such-host.invalid", "--base-url", "http://no-such-host.invalid")
    assert "The key goes to http://no-such-host.invalid without encryption (--allow-http)." in other.err


def test_two_sources_of_a_key(shell: Shell, api: Api, key: str) -> None:
    """A login takes the key from a file or from a command, not from both."""
    ended = shell.here(*login_words(api, "--token-file", "key.txt", "--token-command", "echo x", "--name", "acme"))
    said = "--token-command and --token-file: each says which key to take. Leave all but one of them out.\n"
    assert (2, said) == (ended.code, ended.err)


def test_login_at_vayu(shell: Shell, api: Api) -> None:
    """At Vayu the token is tried by logging in; the client id is asked for, and may be left out."""
    token = shell.environment.pop("VAYU_API_TOKEN")
    own_id = shell.environment.pop("VAYU_CLIENT_ID")
    words = ["login", "-e", VAYU, "--base-url", api.url, "--name", "acme"]
    client = b"The client id (Enter: none): "
    answers = [
        (KEY, b"wrong-token-0123\n"),
        (client, b"\n"),
        (KEY, token.encode() + b"\n"),
        (client, own_id.encode() + b"\n"),
    ]
    ended = on_terminal(shell, words, answers)
    assert 0 == ended.code, ended.err
    assert "Vayu does not accept this key. Please try again" in ended.err
    assert {"VAYU_API_TOKEN": token, "VAYU_CLIENT_ID": own_id} == kept(shell)[0]["credentials"]


def test_nothing_is_kept_untried(shell: Shell, api: Api, key: str) -> None:
    """A key that could not be tried is not kept."""
    api.sandbox.set_faults("500=1")
    ended = log_in(shell, api, key, "acme")
    assert (3, False) == (ended.code, store(shell).exists())
    assert "The key could not be tried: " in ended.err


def test_several_logins(shell: Shell, api: Api, key: str) -> None:
    """Of several logins a terminal asks which company is meant; a pipeline is refused, naming them, until --as says."""
    log_in(shell, api, key, "acme")
    add_by_hand(shell, name="bolt", shown="…4321", credentials={"DUALENTRY_API_KEY": OTHER})
    refused = update(shell, api)
    assert (
        2, "There are several logins: acme, bolt. Name the company that is meant:  --as NAME\n"
    ) == (refused.code, refused.err)  # fmt: skip
    assert [] == shell.runs()
    assert 0 == update(shell, api, "--as", "acme").code
    sheet = shell.sheet(api.names(1), "asked.csv")
    words = ["update", sheet, "-e", DUALENTRY, "--base-url", api.url]
    asked = on_terminal(shell, words, [(WHICH, b"3\n"), (WHICH, b"ACME\n"), (SEND, b"y\n")])
    assert 0 == asked.code, asked.err
    assert asked.err.startswith(
        "   1  acme  key …\n   2  bolt  key …4321\nWhich company is this for? (Enter: none): 3\n"
        "Please answer with a number from 1 to 2, or press Enter for none of them.\n"
        "Which company is this for? (Enter: none): ACME\n"
    )
    assert "--as acme" in asked.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("said", "chosen"),
    [("2", 1), ("ACME", 0), ("acme n", 1), ("bol", 2), ("none", 3), ("", None), ("n", None), ("Q", None), ("no", None)],
)
def test_chosen(monkeypatch: pytest.MonkeyPatch, said: str, chosen: int | None) -> None:
    """One of several is named by its number, or its beginning where that is clear; Enter, n and q name none."""
    console, answers = Console(), iter([said, ""])
    monkeypatch.setattr(console, "_prompt", lambda question: next(answers))
    assert chosen == console.choose("Which?", ["acme  key …1", "acme north  key …2", "bolt", "None Ltd"])


@pytest.mark.parametrize("said", ["5", "ac", "bo", "acm", "xyz"])
def test_not_chosen(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """What names none of them, or more than one, is asked again."""
    console, answers = Console(), iter([said, "3"])
    monkeypatch.setattr(console, "_prompt", lambda question: next(answers))
    assert 2 == console.choose("Which?", ["acme  key …1", "acme north  key …2", "bolt"])


def test_company_and_login(shell: Shell, api: Api, key: str) -> None:
    """A login's name is the run's company: another --company is refused; of several the one of its name is meant."""
    log_in(shell, api, key, "acme")
    add_by_hand(shell, name="bolt", credentials={"DUALENTRY_API_KEY": OTHER})
    refused = update(shell, api, "--as", "acme", "--company", "bolt")
    assert (
        2,
        "--as acme and --company bolt: a login's name is its company's. Leave one of them out.\n",
    ) == (refused.code, refused.err)
    assert (0, 2) == (update(shell, api, "--company", "acme").code, update(shell, api, "--company", "carl").code)


def test_order_of_credentials(shell: Shell, api: Api, key: str) -> None:
    """--token-file and --as together are refused; --as goes before the variable and says so; that before a login."""
    log_in(shell, api, key, "acme")
    (shell.folder / "other.txt").write_text(OTHER)
    both = update(shell, api, "--as", "acme", "--token-file", "other.txt")
    assert (2, "--token-file and --as: each says which key to take. Leave all but one of them out.\n") == (
        both.code,
        both.err,
    )
    named = update(shell, api, DUALENTRY_API_KEY=OTHER, BATCH_AS="acme")
    assert 0 == named.code, named.err
    assert named.err.startswith(
        'DUALENTRY_API_KEY is set in the environment, and is not used: the key of "acme" is (--as).\n'
    )
    by_variable = update(shell, api, DUALENTRY_API_KEY=OTHER)
    assert (2, True) == (by_variable.code, f"key …{OTHER[-4:]}\n" in by_variable.err)


def test_key_goes_to_its_address_only(shell: Shell, api: Api, key: str) -> None:
    """The key of a login is sent to no other address than the one that it was tried at."""
    log_in(shell, api, key, "acme")
    sheet = shell.sheet(api.names(1))
    ended = shell.here("update", sheet, "-e", DUALENTRY, "--as", "acme")
    said = (
        f'--as acme: the key of "acme" is for {api.url}, and is not sent to https://api.dualentry.com. '
        f"To go there:  --base-url {api.url}\n"
    )
    assert (2, said) == (ended.code, ended.err)
    assert "There is no key yet. " in shell.here("update", sheet, "-e", DUALENTRY).err


@pytest.mark.parametrize("verb", ["plan", "pull", "template"])
def test_other_commands(shell: Shell, api: Api, key: str, verb: str) -> None:
    """What asks the API takes the login, and names the company."""
    log_in(shell, api, key, "acme")
    sheet = shell.sheet(api.names(1))
    words: dict[str, list[object]] = {
        "plan": ["plan", sheet], "pull": ["pull", "-o", "now.csv", "--ids", sheet],
        "template": ["template", "-o", "t.csv"],
    }  # fmt: skip
    ended = shell.here(*words[verb], "-e", DUALENTRY, "--base-url", api.url)
    assert 0 == ended.code, ended.err
    assert (
        "custom_fields.Tier" in (shell.folder / "t.csv").read_text()
        if verb == "template"
        else "acme" in ended.err + ended.out
    )


def test_undo_and_resume_of_a_login(shell: Shell, api: Api, key: str) -> None:
    """An undo takes the login, too, and is the company's."""
    log_in(shell, api, key, "acme")
    assert 0 == update(shell, api).code
    ended = shell.here("undo", "sheet.batch/latest", *api.options)
    assert (0, True) == (ended.code, '1 row of "acme" in' in ended.err), ended.err


def test_logout_and_logins(shell: Shell, api: Api, key: str) -> None:
    """The list shows no key; a login that is forgotten is gone from the disk, and where to revoke the key is said."""
    assert "No key is set up. To set one up:  batch login -e dualentry.customers\n" == shell.here("logins").out
    assert (2, "There is no login, so there is nothing to forget.\n") == (
        shell.here("logout").code,
        shell.here("logout").err,
    )
    log_in(shell, api, key, "acme")
    add_by_hand(shell, name="bolt", shown="…4321")
    listed = shell.here("logins").out
    assert ["COMPANY", "acme", "bolt"] == [line.split()[0] for line in listed.splitlines()]
    assert key not in listed
    several = shell.here("logout")
    assert (2, "There are several logins: acme (dualentry), bolt (dualentry). ") == (several.code, several.err[:62])
    for name in ("acme", "bolt"):
        gone = shell.here("logout", name)
    assert (
        'The key …4321 of "bolt" is forgotten here.\n'
        "It still opens the records. To end that, revoke it in DualEntry: Settings, API keys.\n"
    ) == gone.err
    assert key not in store(shell).read_text()
    assert (2, 'There is no login "acme". See:  batch logins\n') == (
        shell.here("logout", "acme").code,
        shell.here("logout", "acme").err,
    )


def test_logins_file_of_a_wrong_mode(shell: Shell, api: Api, key: str) -> None:
    """A file that others can read is closed to them, and the person is told."""
    log_in(shell, api, key, "acme")
    store(shell).chmod(0o644)
    ended = shell.here("logins")
    assert (
        f"{store(shell)}: other users of this machine could read it; it is closed to them now. If there are any, "
        "make new keys.\n"
    ) == ended.err
    assert 0o600 == store(shell).stat().st_mode & 0o777


@pytest.mark.parametrize("text", ["", "{", '{"logins": [{"name": 1}]}', "[]", '{"logins": 3}', "\xff"])
def test_damaged_logins_file(shell: Shell, api: Api, key: str, text: str) -> None:
    """A damaged file is told with what to do, and never ends in a bug."""
    store(shell).parent.mkdir(parents=True)
    store(shell).write_text(text, encoding="latin-1")
    store(shell).chmod(0o600)
    assert (2, f"{store(shell)}: it ") == (
        shell.here("logins").code,
        shell.here("logins").err[: len(str(store(shell))) + 5],
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_logins_file_of_somebody_else(shell: Shell, api: Api, key: str) -> None:
    """A file that belongs to another user is not believed: it could name an address of theirs."""
    log_in(shell, api, key, "acme")
    os.chown(store(shell), 65534, -1)
    assert (
        f"{store(shell)}: it belongs to another user of this machine, so it is not believed.\n"
        == shell.here("logins").err
    )


@pytest.mark.parametrize("name", ["", " ", "-x", "a\nb", "x" * 65])
def test_names_that_cannot_be(shell: Shell, api: Api, key: str, name: str) -> None:
    """A name that no command line or screen could carry is refused before the key is asked for."""
    assert (2, False) == (log_in(shell, api, key, name).code, store(shell).exists())


def test_sandbox_has_its_own_key(shell: Shell, api: Api, key: str) -> None:
    """With --sandbox no login is asked for, and BATCH_AS does no harm."""
    sheet = shell.sheet("id,name\n10001,New\n")
    ended = shell.here("update", sheet, "-e", DUALENTRY, "--sandbox", env={"BATCH_AS": "acme"})
    assert 0 == ended.code, ended.err


# -- the system's keyring ----------------------------------------------------------------------------------------------


def backend(name: str) -> dict[str, str]:
    pytest.importorskip("keyring", reason="the extra keyring: ./run.sh extra keyring")
    return {"PYTHON_KEYRING_BACKEND": f"tests.keyring_backends.{name}"}


def log_in_on_terminal(shell: Shell, api: Api, key: str, *more: object, **env: str) -> Ended:
    answers = [(KEY, key.encode() + b"\n")]
    return on_terminal(shell, login_words(api, "--name", "acme", *more), answers, **env)


def in_keyring(shell: Shell) -> list[str]:
    path = Path(shell.environment["HOME"], "keyring.json")
    return list(json.loads(path.read_text())) if path.exists() else []


def test_key_in_the_keyring(shell: Shell, api: Api, key: str) -> None:
    """Where there is a keyring, a person's key is kept there alone, and taken from it on a terminal only."""
    env = backend("FileKeyring")
    ended = log_in_on_terminal(shell, api, key, **env)
    assert 0 == ended.code, ended.err
    assert (
        'The key … of "acme" is kept in the keyring of this system.\n'
        "It is asked on a terminal only. For cron and scripts, log in with --store file.\n"
    ) in ended.err
    assert (["batch/acme (dualentry)"], {}) == (in_keyring(shell), kept(shell)[0]["credentials"])
    assert key not in store(shell).read_text()
    refused = update(shell, api, **env)
    assert (
        2,
        (
            'The key of "acme" is in the keyring of this system, which is asked on a terminal only, since it may open '
            "a window. To keep it in a file instead:  "
            f"batch login -e {DUALENTRY} --base-url {api.url} --name acme --store file\n"
        ),
    ) == (refused.code, refused.err)
    words = ["update", shell.sheet(api.names(1)), "-e", DUALENTRY, *api.options]
    sent = on_terminal(shell, words, [(SEND, b"y\n")], **env)
    assert (0, True) == (sent.code, '1 row of "acme" in ' in sent.err), sent.err
    assert (0, []) == (shell.here("logout", "acme", env=env).code, in_keyring(shell))


def test_keyring_for_pipelines(shell: Shell, api: Api, key: str) -> None:
    """With --store keyring pipelines ask it, too; with --store file the key moves out of it."""
    env = backend("FileKeyring")
    assert 0 == log_in_on_terminal(shell, api, key, "--store", "keyring", **env).code
    assert 0 == update(shell, api, **env).code
    assert "keyring, always" in shell.here("logins").out
    ended = log_in_on_terminal(shell, api, key, "--store", "file", **env)
    assert f"is kept in a file that only you can read:\n  {store(shell)}\n" in ended.err
    assert ([], key) == (in_keyring(shell), kept(shell)[0]["credentials"]["DUALENTRY_API_KEY"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("HangingKeyring", "the system's keyring did not answer within 5 s: it may be locked"),
        ("LockedKeyring", "the system's keyring is locked"),
        ("TalkativeKeyring", "the system's keyring did not work"),
        ("ForgetfulKeyring", "the system's keyring did not keep the key"),
    ],
)
def test_keyrings_that_do_not_work(shell: Shell, api: Api, key: str, name: str, why: str) -> None:
    """A keyring that hangs, is locked, fails or forgets costs 5 s at most; the key goes to the file, which is said."""
    env, began = backend(name), time.monotonic()
    ended = log_in_on_terminal(shell, api, key, **env)
    assert (0, True) == (ended.code, f"is kept in a file that only you can read ({why}):\n" in ended.err), ended.err
    assert (key, "file") == (kept(shell)[0]["credentials"]["DUALENTRY_API_KEY"], kept(shell)[0]["kept"])
    assert key not in ended.err
    assert time.monotonic() - began < 20


def test_locked_keyring_that_was_asked_for(shell: Shell, api: Api, key: str) -> None:
    """Who names the keyring gets no file instead."""
    ended = log_in_on_terminal(shell, api, key, "--store", "keyring", **backend("LockedKeyring"))
    assert (2, "Nothing was kept: the system's keyring is locked. To keep it in a file:  --store file") == (
        ended.code, ended.err.splitlines()[-1],
    )  # fmt: skip


def test_keyring_that_hangs_in_a_pipeline(shell: Shell, api: Api, key: str) -> None:
    """A key that is read from a keyring that hangs ends the command within seconds, with what to do."""
    assert 0 == log_in_on_terminal(shell, api, key, "--store", "keyring", **backend("FileKeyring")).code
    ended = update(shell, api, **backend("HangingKeyring"))
    assert 2 == ended.code
    assert ended.err.startswith(
        'The key of "acme" is in the keyring of this system, but the system\'s keyring did not answer within 5 s: '
        "it may be locked. To keep it in a file instead:  batch login -e "
    )


def test_key_of_another_address_in_the_keyring(shell: Shell, api: Api, key: str) -> None:
    """The keyring's entry names the address, too, so that a changed file does not send the key elsewhere."""
    env = backend("FileKeyring")
    assert 0 == log_in_on_terminal(shell, api, key, "--store", "keyring", **env).code
    store(shell).write_text(store(shell).read_text().replace(api.url, "https://elsewhere.example"))
    ended = shell.here("update", shell.sheet(api.names(1)), "-e", DUALENTRY, "--as", "acme",
                       "--base-url", "https://elsewhere.example", env=env)  # fmt: skip
    assert (2, True) == (ended.code, "has the key of another address under this name" in ended.err), ended.err
