"""A run belongs to a company: to another key, or under another name, the same sheet is another run."""

import json
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from batch import credentials
from batch.credentials import fingerprint
from batch.run import index
from tests.job_fixture import JobFixture
from tests.little_api import Asked, LittleApi, Said, little_api
from tests.shell import DUALENTRY, VAYU, Ended, Shell, iter_files, outcomes

KEYS = {"A": "key-of-company-a-0123", "B": "key-of-company-b-0123", "C": "key-of-company-c-0123"}
HOST = "https://api.example"


def refusing_the_second(asked: Asked) -> Said:
    """An API that takes one row and then fails for good."""
    if not asked.is_write:
        records = [{"id": number, "name": "Old", "phone": "", "custom_fields": []} for number in (10001, 10002)]
        return Said(200, {"items": records, "count": 2})
    number = int(asked.path.strip("/").rpartition("/")[2])
    if number == 10002 and asked.headers["x-api-key"] == KEYS["A"]:
        return Said(500, {})
    return Said(200, {"id": number, "custom_fields": [], **json.loads(asked.body)})


def update(shell: Shell, api: LittleApi, key: str, *options: object) -> Ended:
    shell.sheet("id,name\n10001,New\n10002,New\n")
    shell.environment["DUALENTRY_API_KEY"] = key
    command = ["update", "sheet.csv", "-e", DUALENTRY, *api.options, "--max-attempts", 1, "--max-at-once", 1]
    return shell.here(*command, *options)


def test_another_key_is_another_company(offline: Shell) -> None:
    """A run that was interrupted with the key of one company is not resumed with the key of another."""
    with little_api(refusing_the_second) as api:
        first = update(offline, api, KEYS["A"])
        second = update(offline, api, KEYS["B"])
        again = update(offline, api, KEYS["A"])
    one, two = offline.runs()
    assert (3, 0, 3) == (first.code, second.code, again.code)
    assert ["updated", "failed"] == outcomes(one)
    assert ["updated", "updated"] == outcomes(two)
    assert (
        f"{one.relative_to(offline.folder)}: this run of the same input is not finished, and was begun with another "
        "key; it is left as it is, and a new run begins."
    ) in second.err.splitlines()
    writes = [asked for asked in api.asked if asked.is_write]
    written = [(asked.headers["x-api-key"][15], asked.path.strip("/")[-5:]) for asked in writes]
    assert [("a", "10001"), ("a", "10002"), ("b", "10001"), ("b", "10002"), ("a", "10002")] == written


@pytest.mark.parametrize("verb", ["update", "plan"])
def test_failures_of_another_company(offline: Shell, verb: str) -> None:
    """The failures file of one company's run is not sent to another company without a word."""
    with little_api(refusing_the_second) as api:
        assert 3 == update(offline, api, KEYS["A"]).code
        failures = offline.only_run() / "failures.csv"
        before = len(api.asked)
        offline.environment["DUALENTRY_API_KEY"] = KEYS["B"]
        command = [verb, failures, "-e", DUALENTRY, *api.options]
        refused = offline.here(*command)
        assert (2, before) == (refused.code, len(api.asked))
        meant = offline.here(*command, "--other-company")
    said = "failures.csv: these are rows that a run left for another company (with another key than this one)."
    assert (True, True, 0) == (said in refused.err, "--other-company" in refused.err, meant.code)


def test_failures_of_another_address(offline: Shell) -> None:
    """Where the run was at another address, that is said."""
    with little_api(refusing_the_second) as api:
        assert 3 == update(offline, api, KEYS["A"]).code
        url = api.options[api.options.index("--base-url") + 1]
    failures = offline.only_run() / "failures.csv"
    with little_api(refusing_the_second) as other:
        refused = offline.here("update", failures, "-e", DUALENTRY, *other.options)
    said = f"failures.csv: these are rows that a run left for another company (DualEntry customers at {url})."
    assert (2, said) == (refused.code, refused.err[: len(said)])


def test_plan_of_another_company(offline: Shell) -> None:
    """A plan that was made with the key of one company is not carried out for another one without a word."""
    with little_api(refusing_the_second) as api:
        offline.sheet("id,name\n10001,New\n")
        offline.environment["DUALENTRY_API_KEY"] = KEYS["A"]
        assert 0 == offline.here("plan", "sheet.csv", "-e", DUALENTRY, *api.options).code
        before = len(api.asked)
        command = ["update", "sheet.csv", "-e", DUALENTRY, *api.options, "--plan", offline.only_run()]
        offline.environment["DUALENTRY_API_KEY"] = KEYS["B"]
        refused = offline.here(*command)
        assert (2, before) == (refused.code, len(api.asked))
        meant = offline.here(*command, "--other-company")
    said = "plan.json: this plan was made with another key. To carry it out here:  --other-company"
    assert (True, 0, ["updated"]) == (said in refused.err, meant.code, outcomes(offline.runs()[0]))


def test_name_of_a_company(offline: Shell) -> None:
    """Where both starts name the company, the names count and not the keys."""
    with little_api(refusing_the_second) as api:
        first = update(offline, api, KEYS["A"], "--company", "Acme")
        other = update(offline, api, KEYS["C"], "--company", "Bolt")
        renewed = update(offline, api, KEYS["B"], "--company", "Acme")
    one, two = offline.runs()
    assert (3, 0, 0) == (first.code, other.code, renewed.code)
    assert (["updated", "updated"], ["updated", "updated"]) == (outcomes(one), outcomes(two))
    assert "was begun for Acme; it is left as it is" in other.err
    assert "--company Acme" in first.err


def test_another_name_for_a_key(offline: Shell) -> None:
    """A key that was used under another name is asked about; where nobody can be asked, nothing begins."""
    with little_api(refusing_the_second) as api:
        update(offline, api, KEYS["A"], "--company", "Acme")
        renamed = update(offline, api, KEYS["A"], "--company", "Bolt")
    assert 1 == len(offline.runs())
    expected = 'This key was used for "Acme" until now, and --company names "Bolt". Give --company "Acme"'
    assert (2, True) == (renamed.code, expected in renamed.err)


def test_out_of_another_company(offline: Shell) -> None:
    """Runs of two companies on one file may share a folder: neither goes on with the other's."""
    with little_api(refusing_the_second) as api:
        update(offline, api, KEYS["A"], "--out", "runs")
        ended = update(offline, api, KEYS["B"], "--out", "runs")
    one, two = offline.runs("runs")
    assert f"runs/{one.name}: this run of the same input is not finished, and was begun with another key" in ended.err
    assert (0, two.name) == (ended.code, str((offline.folder / "runs" / "latest").readlink()))


@pytest.mark.parametrize("credential", ["k", "another", ""])
def test_fingerprint(credential: str) -> None:
    """It is the same for the same key at the same origin and use, and another one for anything else."""
    one = fingerprint(HOST + "/v1", credential, "lock")
    assert (32, one) == (len(one), fingerprint(HOST.upper() + "/v2", credential, "lock"))
    others = [(HOST + ":8443", credential, "lock"), (HOST, credential + "x", "lock"), (HOST, credential, "limits")]
    assert 4 == len({one, *(fingerprint(*other) for other in others)})


def test_fingerprint_is_slow_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow part is done once a process, whatever the uses, and takes its time but in tests."""
    assert runpy.run_path(credentials.__file__)["STRETCHES"] >= 2**14
    credentials._stretched.cache_clear()
    for label in ("lock", "limits", "company"):
        fingerprint(HOST, "k", label)
    assert 1 == credentials._stretched.cache_info().misses


def test_client_id_is_no_company(offline: Shell) -> None:
    """Vayu's client id is an account's name: the company is the API token's, and nothing else of either is kept."""
    number = "65f000000000000000000001"

    def script(asked: Asked) -> Said:
        if asked.path.endswith("/login"):
            return Said(200, {"accessToken": "opens-for-an-hour-0123"})
        return Said(500, {}) if asked.is_write else Said(200, {"id": number, "name": "Old"})

    offline.environment |= {"VAYU_API_TOKEN": "refresh-me-0123456789"}
    command = ["update", offline.sheet(f"id,name\n{number},New\n"), "-e", VAYU, "--max-attempts", 1]
    with little_api(script) as api:
        for client in ("one", "two"):
            offline.here(*command, *api.options, env={"VAYU_CLIENT_ID": client})
    with closing(sqlite3.connect(offline.only_run() / "journal.sqlite")) as journal:
        ((kept,),) = journal.execute("SELECT value FROM meta WHERE key = 'fingerprint'")
    assert fingerprint(api.url, "refresh-me-0123456789", "company") == json.loads(kept)
    for path in [*iter_files(offline.folder), *iter_files(Path(offline.environment["XDG_STATE_HOME"]))]:
        assert b"refresh-me" not in path.read_bytes(), path


def test_fresh_sandbox(offline: Shell) -> None:
    """A run is never resumed in a sandbox that was started anew: its records are as they were."""
    offline.sheet("id,name\n10001,New\n99997,x\n99998,x\n99999,x\n10002,New\n")
    command = ["update", "sheet.csv", "-e", DUALENTRY, "--sandbox", "--max-failures", 1, "--max-at-once", 1]
    ended = [offline.here(*command) for _ in range(2)]
    assert [3, 3] == [one.code for one in ended]
    assert 2 == len(offline.runs())
    assert "was begun with another key" in ended[1].err


def test_restarted_sandbox(offline: Shell) -> None:
    """Nor in one that was started by hand, ended, and started again at the same address."""
    command = ["update", offline.sheet("id,name\n10001,New\n10002,New\n"), "-e", DUALENTRY, "--max-attempts", 1]
    ended, url = [], ""
    for _ in range(2):
        process = offline.start("sandbox", "--port", url.rpartition(":")[2] or 0, "--fault", "500=id:10002")
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        assert url in ("", hello["url"])
        url = hello["url"]
        ended.append(offline.here(*command, "--base-url", url, env=hello["dualentry"]["env"]))
        process.terminate()
        process.wait()
    assert [3, 3] == [one.code for one in ended]
    assert [["updated", "failed"]] * 2 == [outcomes(run) for run in offline.runs()]
    assert "was begun with another key" in ended[1].err


def test_ctrl_c_at_the_question(job: JobFixture) -> None:
    """Ctrl-C where it is asked about another company leaves no run behind, like a no."""
    first = job.update(job.sheet("id,name\n10001,A\nx!,B\n"), company="Acme")
    failures = Path(str(first.failures))
    failures.write_text(failures.read_text().replace("x!", "10002"))
    before = sorted(first.folder.parent.glob("2*")), len(index.all_runs())
    job.reporter.can_ask = True
    with patch.object(job.reporter, "ask", side_effect=[True, KeyboardInterrupt]), pytest.raises(KeyboardInterrupt):
        job.update(failures, company="Bolt")
    assert before == (sorted(first.folder.parent.glob("2*")), len(index.all_runs()))
