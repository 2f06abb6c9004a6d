"""`undo`: every record is what it was, but for what somebody changed since; by the sandbox's own truth."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filelock import FileLock

from batch.cli import views
from batch.commands.undo import undo as run_undo
from batch.commands.update import update
from batch.engine.reporter import Preflight
from batch.errors import Declined, UsageError
from batch.own_files import UNDO_LIST, UNDO_SHEET
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from batch.sources import ReadOptions, open_input, stage
from tests.job_fixture import (
    DUALENTRY,
    VAYU,
    VAYU_1,
    VAYU_2,
    FakeReporter,
    JobFixture,
    results,
    told,
)
from tests.shell import Api, Shell
from tests.starts import environment_of_server, start

VOLATILE = ("updatedAt",)
NAMES = "id,name\n10001,New 1\n10002,New 2\n10003,New 3\n"


def undo(job: JobFixture, folder: Path, **options: Any) -> FinishedRun:
    given = {"max_per_second": 500.0, "yes": True, "base_url": job.sandbox.url} | options
    return run_undo(folder, Settings(**given), job.reporter, job.environment)


def truth(job: JobFixture, number: int | str, endpoint: str = DUALENTRY) -> dict[str, Any]:
    return {name: value for name, value in job.record(number, endpoint).items() if name not in VOLATILE}


@pytest.mark.parametrize(
    ("before", "sheet"),
    [
        ({}, "id,name,phone\n10001,New,123\n"),
        ({}, "id,phone,unique_id,website\n10001,<clear>,<clear>,<clear>\n"),
        ({"phone": "", "website": "<clear>"}, "id,phone,website\n10001,123,https://new.example\n"),
        ({}, "id,full_address.city,full_address.state\n10001,Berlin,<clear>\n"),
        ({}, "id,full_address\n10001,<clear>\n"),
        (
            {},
            "id,shipping_address.street,shipping_address.city,shipping_address.postal_code\n10001,A,B,C\n",
        ),
        ({}, "id,shipping_address.city\n10003,Berlin\n"),
        ({}, "id,address\n10001,Elsewhere\n"),
        (
            {"custom_fields": [{"Segments": ["Retail", "Online"]}, {"Renewal": "2026-01-31"}]},
            (
                "id,custom_fields.Tier,custom_fields.Partner,custom_fields.Credit Limit,custom_fields.Segments,"
                "custom_fields.Renewal,custom_fields[42]\n10001,Silver,true,12.5,Wholesale,<clear>,North\n"
            ),
        ),
        ({"custom_fields": [{"Account Manager": " =1+1; x "}]}, "id,custom_fields.Account Manager\n10001,Z\n"),
    ],
)
def test_dualentry(job: JobFixture, before: dict[str, Any], sheet: str) -> None:
    """Texts, cleared fields, nested and custom fields come back as they were."""
    number = sheet.splitlines()[1].partition(",")[0]
    if before:
        job.sandbox.edit("dualentry", number, before)
    was = truth(job, number)
    closing = job.update(job.sheet(sheet))
    assert (0, True) == (closing.summary.exit_code, was != truth(job, number))
    undone = undo(job, closing.folder)
    assert [("updated", "")] == told(undone)
    assert was == truth(job, number)


CONTACT = {"name": "A; B", "email": "a@x.example", "title": "", "phone": None, "receiveInvoiceEmail": True}


@pytest.mark.parametrize(
    ("before", "sheet"),
    [
        ({}, "aliases,taxIds,dueDays\nx; y,<clear>,<clear>"),
        ({"aliases": ["a;b", "<clear>", " c "]}, "aliases\nx"),
        ({"legalName": "", "taxId": "<clear>"}, "legalName,taxId,subsidiary\nL,T,S"),
        ({}, "contacts.1.email,contacts.2.name\nnew@x.example,New"),
        ({"contacts": [CONTACT]}, "contacts.2.email,contacts.2.name\nnew@x.example,New"),
        ({"contacts": None}, "contacts.1.email\nnew@x.example"),
        ({"contacts": [CONTACT]}, "contacts\n<clear>"),
        ({"customFields": None}, "customFields.Seats,customFields.Is Partner\n7,true"),
        ({}, "customFields.Segment,customFields.Seats,customFields.AE Name\nStartup,9,Z"),
        ({}, "address.city,address.state\nBerlin,<clear>"),
        ({"address": None}, "address.city\nBerlin"),
        ({}, "address\n<clear>"),
        ({}, "cloudProviderSettings.cloudProvider,cloudProviderSettings.customerIdentifier\nAWS,x"),
    ],
)
def test_vayu(job: JobFixture, before: dict[str, Any], sheet: str) -> None:
    """Lists, contacts, custom fields and objects come back as they were, and what the run added is gone."""
    headers, cells = sheet.split("\n")
    if before:
        job.sandbox.edit("vayu", VAYU_1, before)
    was = truth(job, VAYU_1, VAYU)
    closing = job.update(job.sheet(f"id,{headers}\n{VAYU_1},{cells}\n"), VAYU)
    assert (0, True) == (closing.summary.exit_code, was != truth(job, VAYU_1, VAYU))
    undone = undo(job, closing.folder)
    assert [("updated", "")] == told(undone)
    assert was == truth(job, VAYU_1, VAYU)


# -- another hand ---------------------------------------------------------------------------------------------------


def test_kept(job: JobFixture) -> None:
    """A field that somebody changed since is kept and named; the others are put back."""
    closing = job.update(job.sheet("id,name,phone\n10001,New,123\n10002,New,124\n"))
    job.sandbox.edit("dualentry", 10001, {"phone": "777"})
    job.sandbox.edit("dualentry", 10002, {"phone": "778", "name": "Theirs"})
    undone = undo(job, closing.folder)
    expected = [
        ("updated", 'column "phone": kept: it is "777" now, and the run had written "123" over "555-0001"'),
        (
            "rejected",
            (
                'column "name": kept: it is "Theirs" now, and the run had written "New" over "Bolt Holdings, Inc."; '
                'column "phone": kept: it is "778" now, and the run had written "124" over "555-0002"'
            ),
        ),
    ]
    assert expected == told(undone)
    assert ("Acme Holdings, Inc.", "777") == (job.record(10001)["name"], job.record(10001)["phone"])
    assert 1 == undone.summary.exit_code


def test_kept_contact(job: JobFixture) -> None:
    """A contact of which another part was changed since is kept as a whole, as is what was added behind it."""
    sheet = job.sheet(f"id,contacts.1.email,contacts.2.email\n{VAYU_2},new@x.example,two@x.example\n")
    closing = job.update(sheet, VAYU)
    contacts = job.record(VAYU_2, VAYU)["contacts"]
    contacts[0]["title"] = "Theirs"
    job.sandbox.edit("vayu", VAYU_2, {"contacts": contacts})
    undone = undo(job, closing.folder)
    reasons = (
        'kept: contacts.1.title goes with it, and is "Theirs" now, where the run had left "CFO"; '
        "kept: the run added it, and its neighbours were changed since (look at it by hand)"
    )
    assert [("rejected", reasons)] == told(undone)
    now = job.record(VAYU_2, VAYU)["contacts"]
    assert [("new@x.example", "Theirs"), ("two@x.example", None)] == [(one["email"], one.get("title")) for one in now]


STREET = (
    'column "full_address.city": kept: full_address.street goes with it, and is "4 Theirs" now, where the run had left '
    '"3 Harbour Road"'
)


@pytest.mark.parametrize(
    ("sheet", "theirs", "expected"),
    [
        ("id,full_address.city\n10002,Köln\n", {"street": "4 Theirs"}, ("rejected", STREET)),
        ("id,full_address.city,phone\n10002,Köln,1\n", {"street": "4 Theirs"}, ("updated", STREET)),
        ("id,full_address.city\n10002,Köln\n", {"state": "NW"}, ("rejected", None)),
        ("id,full_address.city,full_address.state\n10002,Köln,NW\n", {"state": ""}, ("updated", "")),
        ("id,full_address.city,full_address.state\n10002,Köln,NW\n", {"state": "XX"}, ("rejected", None)),
        ("id,full_address.city\n10002,Köln\n", {"city": "Bonn", "street": "4 Theirs"}, ("unchanged", "")),
    ],
)
def test_kept_address(job: JobFixture, sheet: str, theirs: dict[str, str], expected: tuple[str, str | None]) -> None:
    """An address of which somebody changed any part since stays as it is, and that part is named."""
    closing = job.update(job.sheet(sheet))
    address = job.record(10002)["full_address"] | theirs
    job.sandbox.edit("dualentry", 10002, {"full_address": address})
    ((outcome, message),) = told(undo(job, closing.folder))
    assert expected == (outcome, message if expected[1] is not None else None)
    is_kept = expected[1] != "" or outcome == "unchanged"
    assert is_kept == (job.record(10002)["full_address"] == address)


def test_kept_address_of_vayu(job: JobFixture) -> None:
    """It is the same where the whole record is written."""
    closing = job.update(job.sheet(f"id,address.city\n{VAYU_1},Köln\n{VAYU_2},Köln\n"), VAYU)
    job.sandbox.edit("vayu", VAYU_1, {"address": job.record(VAYU_1, VAYU)["address"] | {"postalCode": "1"}})
    assert ["rejected", "updated"] == [outcome for outcome, _ in told(undo(job, closing.folder))]


def test_too_large_to_put_back(job: JobFixture) -> None:
    """What cannot be sent any more is told as such, and not as a row to be fixed: an undo has no rows of a person's."""
    closing = job.update(job.sheet(f"id,name\n{VAYU_1},New\n"), VAYU)
    job.sandbox.edit("vayu", VAYU_1, {"legalName": "x" * 300_000})
    undone = undo(job, closing.folder)
    assert [("invalid", "makes a request of 293 KB (Vayu takes at most 256 KB)")] == told(undone)
    assert "  not sent          1   look at these by hand" in [line for line, _ in views.closing_page(undone)]


def test_already_as_before(job: JobFixture) -> None:
    """What somebody put back already costs no write."""
    closing = job.update(job.sheet("id,phone\n10001,123\n"))
    job.sandbox.edit("dualentry", 10001, {"phone": "555-0001"})
    writes = len(job.writes())
    assert [("unchanged", "")] == told(undo(job, closing.folder))
    assert writes == len(job.writes())


# -- partial, killed and resumed runs -------------------------------------------------------------------------------


def test_partial(job: JobFixture) -> None:
    """Rows that the run did not change are left out, and what may have been applied is looked at."""
    job.sandbox.set_faults("422=id:10001", "drop-after=id:10002", "success-false=id:10003")
    closing = job.update(job.sheet(NAMES), max_attempts=1)
    job.sandbox.set_faults()
    undone = undo(job, closing.folder)
    assert [("10002", "updated"), ("10003", "unchanged")] == [
        (row["id"], row["outcome"]) for row in results(undone.folder)
    ]
    assert "Bolt Holdings, Inc." == job.record(10002)["name"]


def test_killed(job: JobFixture) -> None:
    """What was in flight when a run was killed is taken back, too, without resuming it first."""
    job.sandbox.set_faults("hang-after=id:10002")
    sheet = job.sheet(NAMES)
    words = ["update", str(sheet), "-e", DUALENTRY, "--base-url", job.sandbox.url, "--quiet"]
    environment = {**environment_of_server(), **job.sandbox.environment(), "XDG_STATE_HOME": str(job.folder / "state")}
    running = start("batch", words, job.folder, environment)
    while len(job.writes()) < 3:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    job.sandbox.set_faults()
    (folder,) = (job.folder / "sheet.batch").glob("2*")
    with pytest.raises(UsageError, match="this run did not come to an orderly end"):
        undo(job, folder)
    undone = undo(job, folder, trust_folder=True)
    assert {"updated"} == {one for one, _ in told(undone)}
    assert "Bolt Holdings, Inc." == job.record(10002)["name"]


def test_resumed(job: JobFixture) -> None:
    """The before-image is that of the first part of a run, whatever the later ones found."""
    sheet = job.sheet("id,name,phone\n10001,New,123\n")
    job.sandbox.set_faults("500=id:10001")
    first = job.update(sheet, max_attempts=1)
    job.sandbox.set_faults()
    job.sandbox.edit("dualentry", 10001, {"phone": "777"})
    second = job.update(sheet)
    assert (first.folder, [("updated", "")]) == (second.folder, told(second))
    undo(job, second.folder)
    assert ("Acme Holdings, Inc.", "777") == (job.record(10001)["name"], job.record(10001)["phone"])


def test_uncompared(job: JobFixture) -> None:
    """What a run wrote without reading is kept, and said to be unknown."""
    closing = job.update(job.sheet("id,name\n10001,New\n"), compare=False)
    undone = undo(job, closing.folder)
    reason = "kept: it was not read before it was changed (--no-compare), so what it was is not known"
    assert [("rejected", reason)] == told(undone)


def test_undo_interrupted(job: JobFixture) -> None:
    """An undo that did not finish is resumed by the same command."""
    closing = job.update(job.sheet(NAMES))
    job.sandbox.set_faults("503=id:10002")
    first = undo(job, closing.folder, max_attempts=1)
    assert 3 == first.summary.exit_code
    job.sandbox.set_faults()
    second = undo(job, closing.folder)
    assert (first.folder, 0) == (second.folder, second.summary.exit_code)


# -- and then -------------------------------------------------------------------------------------------------------


def test_undo_of_undo(job: JobFixture) -> None:
    """An undo is a run like any other, and can be undone."""
    closing = job.update(job.sheet("id,name,phone\n10001,New,<clear>\n"))
    undone = undo(job, closing.folder)
    again = undo(job, undone.folder)
    assert [("updated", "")] == told(again)
    assert ("New", "") == (job.record(10001)["name"], job.record(10001)["phone"])


def test_same_file_again(job: JobFixture) -> None:
    """After an undo the same file is sent again, by a new run; also where the run had rows left."""
    sheet = job.sheet(NAMES)
    job.sandbox.set_faults("503=id:10003")
    first = job.update(sheet, max_attempts=1)
    job.sandbox.set_faults()
    undo(job, first.folder)
    second = job.update(sheet)
    assert first.folder != second.folder
    assert [("updated", "")] * 3 == told(second)


def test_places(job: JobFixture) -> None:
    """An undo lies beside its run, or where --out says; a run that was taken back begins anew in the same place."""
    sheet, out, elsewhere = job.sheet(NAMES), job.folder / "out", job.folder / "elsewhere"
    first = job.update(sheet, out=out)
    undone = undo(job, first.folder)
    again = undo(job, undone.folder, out=elsewhere)
    assert (out, elsewhere) == (undone.folder.parent, again.folder.parent)
    undo(job, again.folder)
    assert [("updated", "")] * 3 == told(job.update(sheet, out=out))


def test_undo_goes_on_where_it_was(job: JobFixture) -> None:
    """An undo that was not finished goes on, in --out as well, and says so with the option."""
    closing = job.update(job.sheet(NAMES))
    job.sandbox.set_faults("503=id:10002")
    first = undo(job, closing.folder, out=job.folder / "elsewhere", max_attempts=1)
    job.sandbox.set_faults()
    second = undo(job, closing.folder, out=job.folder / "elsewhere", max_attempts=1)
    assert (first.folder, ("--out", str(job.folder / "elsewhere"))) == (second.folder, first.again)


def test_declined(job: JobFixture) -> None:
    """Who says no leaves the run as it is, without an undo beside it."""
    closing = job.update(job.sheet(NAMES))
    job.reporter = FakeReporter(answers=[False])
    with pytest.raises(Declined):
        undo(job, closing.folder)
    assert [closing.folder] == list(closing.folder.parent.iterdir())
    assert "New 1" == job.record(10001)["name"]


@pytest.mark.parametrize("what", ["list of another", "list", "journal", "held"])
def test_undo_that_cannot_be_gone_on_with(job: JobFixture, what: str) -> None:
    """An unfinished undo whose folder is damaged or held is passed over with a line, and let go: a new one undoes."""
    other = undo(job, job.update(job.sheet("id,name\n10004,New\n", "other.csv")).folder).folder
    run = job.update(job.sheet(NAMES)).folder
    job.sandbox.set_faults("503=id:10002")
    folder = undo(job, run, max_attempts=1).folder
    job.sandbox.set_faults()
    lock = FileLock(folder / ".lock", timeout=0)
    match what:
        case "list of another":
            (folder / UNDO_LIST).write_bytes((other / UNDO_LIST).read_bytes())
        case "list":
            (folder / UNDO_LIST).write_text("{}")
        case "journal":
            (folder / "journal.sqlite").write_bytes(b"x" * 9999)
        case "held":
            lock.acquire()

    class Looking(FakeReporter):
        def confirm(self, preflight: Preflight) -> Any:
            with lock:  # nobody else has it
                return super().confirm(preflight)

    job.reporter = Looking()
    ended = undo(job, run)
    assert (0, True) == (ended.summary.exit_code, ended.folder != folder)
    assert any(note.startswith(f"{folder}: this ") and "passed over" in note for note in job.reporter.notes)


def test_sheet(job: JobFixture) -> None:
    """undo.csv is an ordinary input where cells can say it, and tells the rest beside."""
    job.sandbox.edit("vayu", VAYU_1, {"aliases": ["a;b"], "legalName": "=1+1"})
    closing = job.update(job.sheet(f"id,aliases,legalName,taxId\n{VAYU_1},x,New,T\n"), VAYU)
    undone = undo(job, closing.folder)
    (row,) = pl.read_csv(undone.folder / UNDO_SHEET, infer_schema=False).to_dicts()
    expected = {
        "id": VAYU_1,
        "legalName": "'=1+1",
        "taxId": "<clear>",
        "batch_name": "Acme Holdings, Inc. 1",
        "batch_undoes_row": "2",
        "batch_also": json.dumps({"aliases": ["a;b"]}),
    }
    assert expected == row
    read = stage(open_input(str(undone.folder / UNDO_SHEET), job.folder), job.folder, ReadOptions())
    assert ["=1+1"] == pl.read_parquet(read.path)[f"c{read.headers.index('legalName')}"].to_list()


def test_nothing_to_undo(job: JobFixture) -> None:
    """A run that changed nothing cannot be undone."""
    closing = job.update(job.sheet('id,name\n10001,"Acme Holdings, Inc."\n'))
    with pytest.raises(UsageError) as caught:
        undo(job, closing.folder)
    assert f"{closing.folder}: this run changed nothing, so there is nothing to undo." == str(caught.value)


def test_sandbox_is_gone(job: JobFixture) -> None:
    """A run in a sandbox of its own cannot be undone, and it is said why."""
    settings = Settings(input=str(job.sheet(NAMES)), endpoint=DUALENTRY, sandbox=True, yes=True)
    closing = update(settings, job.reporter, Environment({}))
    with pytest.raises(UsageError) as caught:
        undo(job, closing.folder, base_url=None)
    assert (
        f"{closing.folder}: this run went to a sandbox that was started for it and ended with it, "
        "so there is nothing left to undo."
    ) == str(caught.value)


def test_other_host(job: JobFixture) -> None:
    """The host is the run's and no other."""
    closing = job.update(job.sheet(NAMES))
    with pytest.raises(UsageError) as caught:
        undo(job, closing.folder, base_url="http://127.0.0.1:9")
    assert f"--base-url http://127.0.0.1:9: this run went to {job.sandbox.url}. Leave the option out." == str(
        caught.value
    )


def test_waiting_for_approval(job: JobFixture) -> None:
    """A change that still waits for approval is named; once it was approved it is put back."""
    job.sandbox.set_faults("approval=id:10001")
    closing = job.update(job.sheet("id,name\n10001,New\n"))
    reason = "kept: the change waited for approval and does not show; withdraw it at the API, or it may still come"
    assert [("rejected", reason)] == told(undo(job, closing.folder))
    job.sandbox.set_faults()
    job.sandbox.ask("approve", {"id": 10001})
    assert [("updated", "")] == told(undo(job, closing.folder))
    assert "Acme Holdings, Inc." == job.record(10001)["name"]


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_found_by_a_later_start(job: JobFixture, endpoint: str) -> None:
    """What a later start found, after an answer that tells nothing, may be a colleague's: it is kept, and named."""
    one = {DUALENTRY: 10001, VAYU: VAYU_1}[endpoint]
    name = {DUALENTRY: "name", VAYU: "legalName"}[endpoint]
    sheet = job.sheet(f"id,{name}\n{one},New\n")
    job.sandbox.set_faults("500-after=1", f"503@reads=nth:{','.join(map(str, range(2, 30)))}")
    assert ["unknown"] == [outcome for outcome, _ in told(job.update(sheet, endpoint, max_attempts=1))]
    job.sandbox.set_faults()
    found = job.update(sheet, endpoint)
    said = "at an earlier start: the API failed (500); the record has the value now, whoever wrote it"
    assert ([("unchanged", said)], False) == (told(found), found.can_undo)
    undone = undo(job, found.folder)
    (outcome, kept), *others = told(undone)
    assert kept.endswith("kept: a later start of the run found this value, and it is not known who wrote it")
    assert ("rejected", [], "New") == (outcome, others, job.record(one, endpoint)[name])


def test_on_the_command_line(api: Api, shell: Shell) -> None:
    """The command says reversed, as before and kept, and how to undo it again."""
    ids = api.ids(3)
    names = [api.sandbox.record("dualentry", one)["name"] for one in ids]
    sheet = shell.sheet("id,name\n" + "".join(f"{one},New\n" for one in ids))
    shell.here("update", sheet, "-e", DUALENTRY, *api.options)
    (folder,) = (path.relative_to(shell.folder) for path in shell.runs())
    api.sandbox.edit("dualentry", ids[1], {"name": names[1]})
    api.sandbox.edit("dualentry", ids[2], {"name": "Theirs"})
    ended = shell.here("undo", folder, "--yes", *api.options)
    (where,) = (path.relative_to(shell.folder) for path in (shell.folder / folder.parent).glob("undo-*"))
    lines = ended.err.splitlines()
    kept = f'kept: it is "Theirs" now, and the run had written "New" over "{names[2]}"'
    assert (1, "") == (ended.code, ended.out)
    assert f"Taking back {folder}: 3 changes." == lines[0]
    assert [
        "  reversed          1",
        "  as before         1",
        "  kept              1   look at these by hand",
        "Reasons",
        f"  rejected  name                 {kept}   row 4",
        f"Every row:  {where}/results.csv",
        f"Undo the undo:  batch undo {where} --base-url {api.sandbox.url}",
    ] == lines[-7:]
