"""`batch update`: what a person sees before, while and after."""

from pathlib import Path

import pytest

from batch.cli import console
from tests.little_api import Asked, Said, little_api
from tests.shell import DUALENTRY, VAYU, Api, Ended, Shell, outcomes


def test_preflight_and_closing(shell: Shell, api: Api) -> None:
    """Before: how many rows, where to, as what, which columns; after: the counts, the reasons, and the next step."""
    ids = api.ids(2)
    text = f"Customer ID,Name,Phone,Note\n{ids[0]},A,<clear>,\n{ids[1]},B,1,n\nx,C,2,\n999999999,D,3,\n"
    ended = shell.here("update", shell.sheet(text), "-e", DUALENTRY, *api.options, "--map", "Note=")
    expected = """4 rows -> DualEntry customers at {url} (not an address of the API's maker), key …
  columns: Customer ID -> id, Name, Phone
  ignored: Note
  to compare 3 changes: about 1 request
  to send what differs: up to 3 requests
  1 invalid row stays behind
  clears: phone on 1 customer
4 rows in {seconds}
  updated           2
  invalid           1   fix and run again
  rejected          1   fix and run again
Reasons
  invalid   Customer ID (id)     is not a DualEntry customer id (a whole number, such as 10042)   row 4 ("x")
  rejected  Customer ID (id)     there is no customer with this id   row 5
2 rows to fix:  sheet.batch/{time}/failures.csv
Then:  batch update sheet.batch/{time}/failures.csv -e dualentry.customers --map=Note= {options}
Every row:  sheet.batch/{time}/results.csv
Take it back:  batch undo sheet.batch/{time} --base-url {url}
"""
    assert Ended(1, "", expected) == Ended(ended.code, ended.out, tell(shell, ended))


def tell(shell: Shell, ended: Ended) -> str:
    return shell.tell(ended.err).replace("--base-url {url} --max-per-second 2000", "{options}")


def test_failed_and_resumed(shell: Shell, api: Api) -> None:
    """Rows to retry go on with the same command, which is spelt out."""
    command = ["update", shell.sheet(api.names(3)), "-e", DUALENTRY, *api.options]
    api.sandbox.set_faults("503=1")
    first = shell.here(*command, "--max-attempts", 1)
    api.sandbox.set_faults()
    second = shell.here(*command)
    before = """3 rows -> DualEntry customers at {url} (not an address of the API's maker), key …
  columns: id, name
  to compare 3 changes: about 1 request
  to send what differs: up to 3 requests
3 rows in {seconds}
  failed            3   run again as it is
Reasons
  failed     the record could not be read: the API is unavailable (503)   3 rows: 2, 3, 4
Go on with the same command:  batch update sheet.csv -e dualentry.customers {options} --max-attempts 1
Every row:  sheet.batch/{time}/results.csv
"""
    after = """3 rows -> DualEntry customers at {url} (not an address of the API's maker), key …
  resuming sheet.batch/{time}
  columns: id, name
  to compare 3 changes: about 1 request
  to send what differs: up to 3 requests
3 rows in {seconds}
  updated           3
Every row:  sheet.batch/{time}/results.csv
Take it back:  batch undo sheet.batch/{time} --base-url {url}
"""
    assert (3, before) == (first.code, tell(shell, first))
    assert (0, after) == (second.code, tell(shell, second))


def test_stopped(shell: Shell) -> None:
    """A run that stops says why, how much is done, that nothing is lost, and how to go on."""
    said = Said(403, {"success": False, "errors": {"__all__": ["API key authentication failed"]}})
    with little_api(lambda _: said) as little:
        ended = shell.here("update", shell.sheet("id,name\n10001,A\n"), "-e", DUALENTRY, *little.options)
    expected = """1 row -> DualEntry customers at {url} (not an address of the API's maker), key …
  columns: id, name
  to compare 1 change: about 1 request
  to send what differs: up to 1 request
Stopped: The API does not permit this with the key (403) and says: "API key authentication failed". \
Check DUALENTRY_API_KEY: the key may be wrong, expired, or not permitted to do this. \
If it may write, but not read:  --no-compare
Done: 0 of 1 row. Left: 1. Nothing is lost.
1 row in {seconds}
  unsent            1   run again when that is put right
When that is put right, the same command:  batch update sheet.csv -e dualentry.customers {options}
Every row:  sheet.batch/{time}/results.csv
"""
    assert Ended(2, "", expected) == Ended(ended.code, ended.out, tell(shell, ended))


def test_sandbox(offline: Shell) -> None:
    """--sandbox needs no key, and says that nothing real is changed."""
    ended = offline.here("update", offline.sheet("id,name\n65f000000000000000000001,A\n"), "-e", VAYU, "--sandbox")
    expected = """1 row -> Vayu customers at {url} (sandbox), key …cret
  columns: id, name
  to compare 1 change: about 2 requests
  to send what differs: up to 1 request
  Nothing real is changed: this is a sandbox with sample records.
1 row in {seconds}
  updated           1
Every row:  sheet.batch/{time}/results.csv
Take it back:  batch undo sheet.batch/{time} --sandbox
"""
    assert (0, "") == (ended.code, ended.out)
    assert expected.splitlines()[1:8] == offline.tell(ended.err).splitlines()[1:8]
    assert offline.tell(ended.err).startswith("1 row -> Vayu customers at {url} (sandbox), key …")


def test_line_from_time_to_time(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal a line says from time to time how far it is."""
    monkeypatch.setattr(console, "LINE_SECONDS", 0.6)
    ended = shell.here("update", shell.sheet(api.names(60)), "-e", DUALENTRY, *api.options, "--max-per-second", 30)
    lines = [line for line in ended.err.splitlines() if "/60  updated " in line and "/s" in line]
    assert (0, True) == (ended.code, bool(lines))


def test_hours_ahead(shell: Shell, api: Api) -> None:
    """At the documented limits it says how long that takes; `n` is the answer of who has no time."""
    sheet = shell.sheet("id,name\n" + "".join(f"{10001 + one},A\n" for one in range(10_000)))

    def stops(asked: Asked) -> Said:
        return Said(403, {})

    with little_api(stops) as little:
        ended = shell.here("update", sheet, "-e", DUALENTRY, "--base-url", little.url)
    expected = [
        "  to compare 10,000 changes: about 100 requests, about 90 s",
        "  to send what differs: up to 10,000 requests, up to 2 h 47 min with the comparing",
    ]
    assert expected == [line for line in ended.err.splitlines() if line.startswith("  to ")]


def test_vayu(shell: Shell, api: Api) -> None:
    """Vayu's customers are written whole: what the sheet does not name stays as it was."""
    (one,) = api.ids(1, VAYU)
    before = api.sandbox.record("vayu", one)
    ended = shell.here("update", shell.sheet(f"id,name\n{one},New\n"), "-e", VAYU, *api.options)
    after = api.sandbox.record("vayu", one)
    ours = {"name", "updatedAt"}
    assert (0, ["updated"], "New") == (ended.code, outcomes(shell.only_run()), after["name"])
    assert {k: v for k, v in before.items() if k not in ours} == {k: v for k, v in after.items() if k not in ours}


def test_blank_cells_wipe_nothing(shell: Shell, api: Api) -> None:
    """A blank cell leaves its field alone; <clear> empties it."""
    one, other = api.ids(2)
    before = api.sandbox.record("dualentry", one)
    sheet = shell.sheet(f"id,name,email,phone\n{one},New,,\n{other},New,,<clear>\n")
    assert 0 == shell.here("update", sheet, "-e", DUALENTRY, *api.options).code
    assert [{"name": "New"}, {"name": "New", "phone": None}] == sorted((line["body"] for line in api.writes()), key=len)
    assert {**before, "name": "New"} == api.sandbox.record("dualentry", one)


def test_one_change_for_rows_of_one_record(shell: Shell, api: Api) -> None:
    """Rows that agree on a record are one change, and each of them has its outcome."""
    (one,) = api.ids(1)
    sheet = shell.sheet(f"id,name,phone\n{one},New,\n{one},,123\n")
    assert 0 == shell.here("update", sheet, "-e", DUALENTRY, *api.options).code
    assert [{"name": "New", "phone": "123"}] == [line["body"] for line in api.writes()]
    assert ["updated", "updated"] == outcomes(shell.only_run())


def test_input_in_another_folder(shell: Shell, api: Api) -> None:
    """The run folder is beside the input, wherever the command is given."""
    (shell.folder / "there").mkdir()
    shell.sheet(api.names(1), "there/customers.2026.csv")
    assert 0 == shell.here("update", "there/customers.2026.csv", "-e", DUALENTRY, *api.options).code
    (folder,) = shell.runs("there/customers.2026.batch")
    assert Path("there") == folder.parent.parent.relative_to(shell.folder)


def test_parts_that_would_be_blanked(shell: Shell, api: Api) -> None:
    """Without comparing, an address is replaced whole: it is said before anything is sent."""
    (customer,) = api.ids(1)
    sheet = shell.sheet(f"id,street,city,zip\n{customer},1 Quay,Cork,T12\n")
    ended = shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--no-compare")
    expected = "  without comparing, the parts of full_address that a row leaves out are blanked"
    assert expected in ended.err.splitlines()
