"""What others changed since a sheet was made is never written over: pulled sheets, and columns such as `name (now)`."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from batch.cli.views import closing_page
from batch.commands.plan import plan as run_plan
from batch.commands.results import results as run_results
from batch.commands.undo import undo as run_undo
from batch.endpoints.vayu.customers import VayuCustomers
from batch.errors import Declined, HeaderError, UsageError
from batch.journal import Journal
from batch.model import Intent, column_letters
from batch.provenance import MOST, PULLED, SeenRow, read_seen, seen_text
from batch.run.finish import FinishedRun
from tests.commands.test_pull import ALL_ENDINGS, cells, edit, ids_of, outcomes, pull
from tests.job_fixture import (
    DUALENTRY,
    VAYU,
    VAYU_1,
    VAYU_2,
    FakeReporter,
    JobFixture,
    summary,
)
from tests.libreoffice import SOFFICE, copying, deleting, sorting, typing, work_in
from tests.shell import Api, Shell

ADVICE = "(somebody else changed it: pull again, or write over it with --overwrite)"
NOT_EDITED = ("unchanged", "no cell of this row was edited since it was pulled")


def told(closing: FinishedRun) -> list[tuple[str, str]]:
    """The outcome and message of every row, whatever the format of the input."""
    path = Path(closing.summary.files["results"])
    table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    return table.select("outcome", pl.col("message").fill_null("")).rows()


def was(now: str, expected: str, wanted: str, column: str = "phone") -> str:
    """The message of a field that somebody else changed."""
    return f'column "{column}": it is {now} now, and was {expected} when it was pulled, to become {wanted} {ADVICE}'


def rewrite(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change the table in a file as a whole."""
    table = change(cells(path))
    match path.suffix:
        case ".csv":
            table.write_csv(path)
        case ".parquet":
            table.write_parquet(path)
        case _:
            book = openpyxl.Workbook()
            for row in [tuple(table.columns), *table.rows()]:
                book.worksheets[0].append(row)
            book.save(path)


# -- pulled sheets --------------------------------------------------------------------------------------------------


@ALL_ENDINGS
@pytest.mark.parametrize(("endpoint", "first"), [(DUALENTRY, 10_001), (VAYU, 0x65F000000000000000000001)])
def test_untouched_cells(job: JobFixture, endpoint: str, first: int, ending: str) -> None:
    """What somebody else changed in cells that were not edited stays as it is."""
    found = pull(job, endpoint, f"pulled.{ending}", ids=ids_of(20, endpoint))
    edit(found.path, 0, "name", "New")
    theirs = {"phone": "777"} if endpoint == DUALENTRY else {"legalName": "Theirs"}
    api = endpoint.partition(".")[0]
    for number in range(3):
        job.sandbox.edit(api, str(first + number) if endpoint == DUALENTRY else f"{first + number:024x}", theirs)
    closing = job.update(found.path, endpoint)
    assert {"updated": 1, "unchanged": 19} == outcomes(closing)
    assert [NOT_EDITED] * 19 == told(closing)[1:]
    assert 1 == len(job.writes())
    ids = [str(first), str(first + 1)] if endpoint == DUALENTRY else [f"{first:024x}", f"{first + 1:024x}"]
    assert [("New", *theirs.values()), (None, *theirs.values())] == [
        (record["name"] if at == 0 else None, record[next(iter(theirs))])
        for at, record in enumerate(job.record(one, endpoint) for one in ids)
    ]


@ALL_ENDINGS
def test_edited_twice(job: JobFixture, ending: str) -> None:
    """A cell that somebody else changed, too, is told with all three values, and nothing of its row is sent."""
    found = pull(job, name=f"pulled.{ending}", ids=ids_of(3))
    for row in range(3):
        edit(found.path, row, "phone", f"12{row}")
    edit(found.path, 1, "name", "New")
    job.sandbox.edit("dualentry", 10002, {"phone": "777"})
    closing = job.update(found.path)
    assert [("updated", ""), ("rejected", was('"777"', '"555-0002"', '"121"')), ("updated", "")] == told(closing)
    assert ["10001", "10003"] == sorted(record for _, record, _ in job.writes())
    assert 1 == closing.summary.exit_code


@ALL_ENDINGS
def test_failures_keep_it(job: JobFixture, ending: str) -> None:
    """The failures file knows as much as the sheet: only --overwrite, or a new pull, writes over the other hand."""
    found = pull(job, name=f"pulled.{ending}", ids=ids_of(3))
    edit(found.path, 1, "phone", "121")
    job.sandbox.edit("dualentry", 10002, {"phone": "777"})
    first = job.update(found.path)
    failures = Path(str(first.failures))
    again = job.update(failures)
    assert told(first)[1:2] == told(again)
    written = job.update(Path(str(again.failures)), overwrite=True)
    assert [("updated", "")] == told(written)
    assert [("PATCH", "10002", {"phone": "121"})] == job.writes()


def test_hidden(job: JobFixture) -> None:
    """In workbooks the column is hidden, is not told as such, and stays hidden in the failures workbook."""
    found = pull(job, name="pulled.xlsx", ids=ids_of(1))
    edit(found.path, 0, "phone", "ext. 5")
    closing = job.update(found.path)
    assert () == closing.notes
    for path in (found.path, Path(str(closing.failures))):
        sheet = openpyxl.load_workbook(path).worksheets[-1]
        letters = {cell.value: cell.column_letter for cell in sheet[1]}
        assert (True, False) == (
            sheet.column_dimensions[letters[PULLED]].hidden, sheet.column_dimensions[letters["phone"]].hidden,
        )  # fmt: skip


def test_same_command_with_overwrite(job: JobFixture) -> None:
    """With --overwrite it is another run, which writes what the first one rejected."""
    found = pull(job, ids=ids_of(1))
    edit(found.path, 0, "phone", "121")
    job.sandbox.edit("dualentry", 10001, {"phone": "777"})
    assert {"rejected": 1} == outcomes(job.update(found.path))
    assert {"updated": 1} == outcomes(job.update(found.path, overwrite=True))


def test_both_want_the_same(job: JobFixture) -> None:
    """What somebody else changed to the very same value is no conflict."""
    found = pull(job, ids=ids_of(1))
    edit(found.path, 0, "phone", "121")
    edit(found.path, 0, "name", "New")
    job.sandbox.edit("dualentry", 10001, {"phone": "121"})
    assert {"updated": 1} == outcomes(job.update(found.path))
    assert [("PATCH", "10001", {"name": "New"})] == job.writes()


STREET = f'"3 Harbour Road" when it was pulled, so that "Köln" was not written {ADVICE}'


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"city": "Essen"}, was('"Essen"', '"Bonn"', '"Köln"', "full_address.city")),
        (
            {"street": "4 Theirs"},
            f'column "full_address.city": full_address.street goes with it: that is "4 Theirs" now, and was {STREET}',
        ),
        ({"city": "Köln", "street": "4 Theirs"}, None),
    ],
)
def test_address(job: JobFixture, theirs: dict[str, str], message: str | None) -> None:
    """An address is one: what somebody else changed in another part of it counts, too."""
    address = job.record(10002)["full_address"] | {"city": "Bonn"}
    job.sandbox.edit("dualentry", 10002, {"full_address": address})
    found = pull(job, ids="10002\n")
    edit(found.path, 0, "full_address.city", "Köln")
    job.sandbox.edit("dualentry", 10002, {"full_address": address | theirs})
    closing = job.update(found.path)
    assert [("rejected", message) if message else ("unchanged", "")] == told(closing)
    assert [] == job.writes()


def test_two_parts_of_an_address(job: JobFixture) -> None:
    """A part that is as wanted already, and one that is as pulled, go together."""
    found = pull(job, ids="10002\n")
    edit(found.path, 0, "full_address.city", "Köln")
    edit(found.path, 0, "full_address.street", "1 Dom")
    job.sandbox.edit("dualentry", 10002, {"full_address": job.record(10002)["full_address"] | {"city": "Köln"}})
    assert {"updated": 1} == outcomes(job.update(found.path))


CONTACTS = [{"name": f"P{number}", "email": f"p{number}@x.example"} for number in range(1, 4)]


@pytest.mark.parametrize("left", [CONTACTS[1:], CONTACTS[:1]])
def test_contact_of_another_number(job: JobFixture, left: list[dict[str, str]]) -> None:
    """A contact whose number is another one's by now, or nobody's, is not written to."""
    job.sandbox.edit("vayu", VAYU_1, {"contacts": CONTACTS})
    found = pull(job, VAYU, ids=f"{VAYU_1}\n")
    edit(found.path, 0, "contacts.2.title", "CEO")
    job.sandbox.edit("vayu", VAYU_1, {"contacts": left})
    closing = job.update(found.path, VAYU)
    assert {"rejected": 1} == outcomes(closing)
    assert "contacts.2.name goes with it" in told(closing)[0][1]
    assert [] == job.writes()


def test_contact_that_was_not_there(job: JobFixture) -> None:
    """A contact that somebody else added meanwhile is not written over by one with its number."""
    job.sandbox.edit("vayu", VAYU_1, {"contacts": CONTACTS[:1]})
    job.sandbox.edit("vayu", VAYU_2, {"contacts": CONTACTS})
    found = pull(job, VAYU, ids=ids_of(2, VAYU))
    edit(found.path, 0, "contacts.2.email", "new@x.example")
    job.sandbox.edit("vayu", VAYU_1, {"contacts": CONTACTS[:2]})
    closing = job.update(found.path, VAYU)
    assert "rejected" == told(closing)[0][0]
    assert [] == job.writes()


def test_custom_field(job: JobFixture) -> None:
    """A custom field is compared as its type is, and another one that was changed does not matter."""
    found = pull(job, ids="10001\n10002\n")
    for row, tier in enumerate(["Silver", "Gold"]):
        edit(found.path, row, "custom_fields.Tier", tier)
    job.sandbox.edit("dualentry", 10001, {"custom_fields": [{"Tier": "Bronze"}]})
    job.sandbox.edit("dualentry", 10002, {"custom_fields": [{"Credit Limit": 77}]})
    assert ["rejected", "updated"] == [outcome for outcome, _ in told(job.update(found.path))]


def test_retyped(job: JobFixture) -> None:
    """A value that was written again in another way is what was pulled; <clear> is an edit where nothing was."""
    job.sandbox.edit("dualentry", 10001, {"custom_fields": [{"Credit Limit": 1000}], "website": ""})
    found = pull(job, ids="10001\n10002\n")
    edit(found.path, 0, "custom_fields.Credit Limit", "1,000.00")
    assert [NOT_EDITED, NOT_EDITED] == told(job.update(found.path))
    edit(found.path, 0, "website", "<clear>")
    job.sandbox.edit("dualentry", 10001, {"website": "https://theirs.example"})
    assert "rejected" == told(job.update(found.path))[0][0]


def test_pulled_and_refused_by_now(job: JobFixture) -> None:
    """A cell that says what was pulled is left alone, also where nobody could write it today."""
    found = pull(job, ids=ids_of(1))
    rewrite(found.path, lambda table: table.with_columns(pl.all().str.replace("555-0001", "ext. 5")))
    assert [NOT_EDITED] == told(job.update(found.path))


def test_rows_and_columns(job: JobFixture) -> None:
    """Rows may be sorted and left out, columns deleted, moved and renamed."""
    found = pull(job, ids=ids_of(5))

    def sorted_by_name(table: pl.DataFrame) -> pl.DataFrame:
        kept = table.select(PULLED, pl.col("phone").alias("Telefon"), "id", "name").sort("name", descending=True)
        return kept.filter(pl.col("id") != "10003")

    rewrite(found.path, sorted_by_name)
    ids = cells(found.path)["id"].to_list()
    edit(found.path, ids.index("10002"), "Telefon", "121")
    edit(found.path, ids.index("10004"), "Telefon", "122")
    job.sandbox.edit("dualentry", 10004, {"phone": "777"})
    closing = job.update(found.path, map={"Telefon": "phone"})
    assert {"updated": 1, "unchanged": 2, "rejected": 1} == outcomes(closing)
    assert [("PATCH", "10002", {"phone": "121"})] == job.writes()


def test_copied_row(job: JobFixture) -> None:
    """Rows of one record go together: what any of them expects holds for all, and unedited cells say nothing."""
    found = pull(job, ids=ids_of(2))
    rewrite(found.path, lambda table: pl.concat([table, table.head(1), table.head(1)]))
    edit(found.path, 2, "phone", "121")
    edit(found.path, 3, PULLED, "")
    edit(found.path, 3, "name", "New")
    rewrite(found.path, lambda table: table.select("id", "name", "phone", PULLED))
    edit(found.path, 3, "phone", "")
    job.sandbox.edit("dualentry", 10001, {"name": "Theirs"})
    closing = job.update(found.path)
    assert ["rejected", "unchanged", "rejected", "rejected"] == [outcome for outcome, _ in told(closing)]
    assert [] == job.writes()


def test_moved_cells(job: JobFixture) -> None:
    """A row that does not have the id with which its cells were pulled is invalid, whatever else it says."""
    found = pull(job, ids=ids_of(3))
    edit(found.path, 0, "id", "10002")
    edit(found.path, 1, "id", "10001")
    edit(found.path, 2, PULLED, "{}")
    closing = job.update(found.path)
    moved = (
        "is not the id that the other cells of the row were pulled with: its cells were moved "
        "(pull again, or empty batch_pulled to send the row as it is)"
    )
    damaged = "is not as it was pulled (pull again, or empty it to send the row as it is)"
    assert [
        ("invalid", f'column "id": "10002" {moved}'),
        ("invalid", f'column "id": "10001" {moved}'),
        ("invalid", f'column "batch_pulled": {damaged}'),
    ] == told(closing)


def test_rows_without_it(job: JobFixture) -> None:
    """A row that was added, or whose cell was emptied, is an ordinary one, and counted."""
    found = pull(job, ids=ids_of(3))
    edit(found.path, 1, PULLED, "")
    edit(found.path, 1, "phone", "121")
    job.sandbox.edit("dualentry", 10002, {"phone": "777"})
    closing = job.update(found.path)
    assert ("updated", "") == told(closing)[1]
    assert f"1 row is without {PULLED}: what others changed since is not noticed there." in (
        job.reporter.asked[0].changes.notes
    )


@ALL_ENDINGS
def test_long(job: JobFixture, ending: str) -> None:
    """What does not fit into one cell goes on in further ones, and comes back."""
    for number in range(3):
        aliases = [f"alias {one} =1+1 \u65e5\u672c" for one in range(number * 2_000)]
        job.sandbox.edit("vayu", f"{0x65F000000000000000000001 + number:024x}", {"aliases": aliases})
    found = pull(job, VAYU, f"pulled.{ending}", ids=ids_of(3, VAYU))
    pulled = [name for name in cells(found.path).columns if name.startswith(PULLED)]
    assert [PULLED, *(f"{PULLED}_{number}" for number in range(2, len(pulled) + 1))] == pulled
    assert len(pulled) > 3
    assert cells(found.path).select(pl.col(pulled).str.len_chars().max()).max_horizontal()[0] <= MOST + 3
    edit(found.path, 2, "legalName", "New")
    edit(found.path, 1, "legalName", "New")
    job.sandbox.edit("vayu", f"{0x65F000000000000000000002:024x}", {"legalName": "Theirs"})
    assert ["unchanged", "rejected", "updated"] == [outcome for outcome, _ in told(job.update(found.path, VAYU))]


def test_resumed(job: JobFixture) -> None:
    """A part that goes on with a run looks again at all that its rows expect, not only at what it sends."""
    found = pull(job, ids="10002\n")
    edit(found.path, 0, "full_address.city", "Köln")
    job.sandbox.set_faults("503=id:10002")
    assert {"failed": 1} == outcomes(job.update(found.path, max_attempts=1))
    job.sandbox.set_faults()
    job.sandbox.edit("dualentry", 10002, {"full_address": job.record(10002)["full_address"] | {"street": "4 Theirs"}})
    closing = job.update(found.path)
    assert ("rejected", True) == (told(closing)[0][0], "full_address.street goes with it" in told(closing)[0][1])
    assert "Köln" != job.record(10002)["full_address"]["city"]


def test_plan(job: JobFixture) -> None:
    """A plan tells of conflicts, and does not plan the row; with --overwrite it does, and only that is carried out."""
    found = pull(job, ids=ids_of(2))
    for row in range(2):
        edit(found.path, row, "phone", f"12{row}")
    job.sandbox.edit("dualentry", 10002, {"phone": "777"})
    made = run_plan(job.settings(found.path), FakeReporter(), job.environment)
    assert [("10001", "121")[:1]] == [(line.id,) for line in made.lines]
    assert [was('"777"', '"555-0002"', '"121"').partition(": ")[2]] == [one.reason for one in made.reasons]
    made = run_plan(job.settings(found.path, overwrite=True), FakeReporter(), job.environment)
    assert "--overwrite" in made.again
    with pytest.raises(UsageError, match="--overwrite is different since it was made"):
        job.update(found.path, plan=made.folder)
    assert {"updated": 2} == outcomes(job.update(found.path, plan=made.folder, overwrite=True))


def test_uncompared(job: JobFixture) -> None:
    """Without comparing nothing can be noticed: refused, naming the column, unless there is nothing in it."""
    found = pull(job, ids=ids_of(1))
    edit(found.path, 0, "phone", "121")
    expected = (
        '--no-compare: pulled.csv says in "batch_pulled" what its records must show, which cannot be known without '
        'reading them. Leave the option out, or the column:  --map "batch_pulled="'
    )
    with pytest.raises(UsageError) as caught:
        job.update(found.path, compare=False)
    assert (expected, []) == (str(caught.value), job.ledger()[1:] and job.writes())
    assert not [*job.folder.glob("*.batch")]
    rewrite(found.path, lambda table: table.select("id", "phone", PULLED))
    assert {"updated": 1} == outcomes(job.update(found.path, compare=False, map={PULLED: ""}))


@pytest.mark.long
@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: its round trip was NOT tested")
@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_worked_on_in_libreoffice(job: JobFixture, ending: str) -> None:
    """What was pulled survives typing, sorting, copied rows, deleted columns, and saving as CSV, in order and place."""
    for number, text in enumerate(['=1+1 "quoted" \u65e5\u672c', "two\nlines", " spaces ", "x" * 40_000], start=10_002):
        job.sandbox.edit("dualentry", number, {"website": text})
    found = pull(job, name="pulled.xlsx", ids=ids_of(6))
    headers = cells(found.path).columns
    last, phone, name = column_letters(len(headers)), headers.index("phone"), headers.index("name")
    letters, place = column_letters(phone + 1), headers.index("website")
    steps = [
        *typing({f"{letters}2": "121", f"{letters}3": "122"}),
        *copying(f"A3:{last}3", "A8"),  # row 3 once more, at the end
        *sorting(f"A1:{last}8", name),
        *deleting(place),
    ]
    saved = job.folder / f"saved.{ending}"
    work_in(found.path, saved, steps, job.folder)
    job.sandbox.edit("dualentry", 10002, {"phone": "777"})
    job.sandbox.edit("dualentry", 10004, {"phone": "778"})
    closing = job.update(saved)
    assert {"updated": 1, "unchanged": 4, "rejected": 2} == outcomes(closing)
    assert [("PATCH", "10001", {"phone": "121"})] == job.writes()
    again = job.update(Path(str(closing.failures)))
    assert {"rejected": 2} == outcomes(again)


# -- another company ------------------------------------------------------------------------------------------------


def foreign(job: JobFixture, name: str | None = None) -> Path:
    """A sheet that was pulled with another key."""
    found = pull(job, ids=ids_of(1), **({"company": name} if name else {}))
    edit(found.path, 0, "phone", "121")
    key = job.environment.variables["DUALENTRY_API_KEY"]
    assert key
    fingerprint = cells(found.path)[PULLED][0].partition('"fingerprint":"')[2].partition('"')[0]
    edit(found.path, 0, PULLED, cells(found.path)[PULLED][0].replace(fingerprint, "f" * 32))
    return found.path


ANOTHER = "pulled.csv: 1 row was pulled from another company ({}). The same ids may be other customers here."


def test_other_company(job: JobFixture) -> None:
    """In a pipeline it is refused, naming the option; on a terminal it is asked, and no is the default."""
    path = foreign(job)
    expected = ANOTHER.format("with another key than this one")
    with pytest.raises(UsageError) as caught:
        job.update(path)
    assert f"{expected} If it is the same company under a new key, or meant:  --other-company" == str(caught.value)
    reporter = job.reporter = FakeReporter(can_ask=True)
    with pytest.raises(Declined):
        job.update(path)
    assert (["Go on all the same?"], True) == (reporter.questions, expected in reporter.notes)
    with pytest.raises(UsageError, match="pulled from another company"):
        run_plan(job.settings(path), FakeReporter(), job.environment)
    assert ([], []) == (job.writes(), [*job.folder.glob("*.batch/*")])
    assert {"updated": 1} == outcomes(job.update(path, other_company=True))


def test_same_company(job: JobFixture) -> None:
    """Under a common name it is the same company, whatever the key."""
    path = foreign(job, "Acme")
    with pytest.raises(UsageError) as caught:
        job.update(path, company="Bolt")
    assert str(caught.value).startswith(ANOTHER.format('of the company "Acme"'))
    assert {"updated": 1} == outcomes(job.update(path, company="Acme"))


def test_same_name_elsewhere(job: JobFixture) -> None:
    """Records of one company at another host, such as a test system, may be others: that is asked about as well."""
    path = foreign(job, "Acme")
    edit(path, 0, PULLED, cells(path)[PULLED][0].replace(job.sandbox.url, "https://test.example"))
    with pytest.raises(
        UsageError, match=r"pulled from another company \(DualEntry customers at https://test.example\)"
    ):
        job.update(path, company="Acme")
    assert [] == job.writes()


def test_sandboxes(shell: Shell) -> None:
    """A sheet that was pulled in one `--sandbox` may be sent in the next one: the records are the same samples."""
    shell.sheet("10001\n", "ids.txt")
    shell.here("pull", "-e", DUALENTRY, "-o", "some.csv", "--ids", "ids.txt", "--sandbox")
    edit(shell.folder / "some.csv", 0, "phone", "121")
    assert 0 == shell.here("update", "some.csv", "-e", DUALENTRY, "--sandbox").code


# -- columns such as `name (now)` -------------------------------------------------------------------------------------


NOW = 'column "{}": it is {} now, where this row expects {}'
ACME = '"Acme Holdings, Inc."'
NO_NUMBER = "is not a number (use digits, a minus sign and one decimal mark)"


@pytest.mark.parametrize(
    ("headers", "row", "outcome", "message"),
    [
        ("phone,phone (now)", "1,555-0001", "updated", ""),
        ("phone,PHONE ( Now )", "1,777", "rejected", NOW.format("PHONE ( Now )", '"555-0001"', '"777"')),
        ("phone,phone (now)", "555-0001,777", "unchanged", ""),
        ("phone,phone (now)", "1,", "updated", ""),
        ("phone,name (now)", "1,Other", "rejected", NOW.format("name (now)", ACME, '"Other"')),
        ("phone,name (now)", "1,<clear>", "rejected", NOW.format("name (now)", ACME, "(empty)")),
        ("phone,phone (now)", "1,ext. 5", "rejected", NOW.format("phone (now)", '"555-0001"', '"ext. 5"')),
        ("phone,custom_fields.Credit Limit (now)", "1,1000.0", "updated", ""),
        (
            "phone,custom_fields.Credit Limit (now)", "1,x", "invalid",
            f'column "custom_fields.Credit Limit (now)": "x" {NO_NUMBER}',
        ),
        ("phone,address (now)", "1,x", "rejected", None),
        ("name,name (now),phone,phone (now)", f"N,{ACME},1,2", "rejected", None),
    ],
)  # fmt: skip
def test_now(job: JobFixture, headers: str, row: str, outcome: str, message: str | None) -> None:
    """A row says what a field must show; another value rejects all of it, with both."""
    ((found, said),) = told(job.update(job.sheet(f"id,{headers}\n10001,{row}\n")))
    assert (outcome, said if message is None else message) == (found, said)
    assert bool(job.writes()) == (outcome == "updated")


def test_now_of_vayu(job: JobFixture) -> None:
    """Lists, contacts and custom fields are compared as the API shows them."""
    record = job.record(VAYU_1, VAYU)
    sheet = job.sheet(
        "id,legalName,aliases (now),contacts.1.email (now),customFields.Seats (now)\n"
        f"{VAYU_1},New,{'; '.join(record['aliases'])},{record['contacts'][0]['email']},10\n"
    )
    closing = job.update(sheet, VAYU)
    seats = next(one["value"] for one in record["customFields"] if one["vayuCustomFieldName"] == "Seats")
    assert [("updated", "") if seats == 10 else ("rejected", told(closing)[0][1])] == told(closing)


def test_now_by_another_name(job: JobFixture) -> None:
    """--map gives a header of one's own that meaning; it is no column that sets anything."""
    sheet = job.sheet("id,Telefon,Telefon alt\n10001,1,777\n")
    given = {"Telefon": "phone", "Telefon alt": "phone (now)"}
    assert {"rejected": 1} == outcomes(job.update(sheet, map=given))
    with pytest.raises(HeaderError, match="Beside the id there is no column that sets a field"):
        job.update(job.sheet("id,phone (now)\n10001,1\n"))
    with pytest.raises(HeaderError, match=r"both stand for phone \(now\)"):
        job.update(job.sheet("id,phone,phone (now),Tel (now)\n10001,1,1,1\n"))


def test_now_uncompared(job: JobFixture) -> None:
    """Without comparing it cannot be known."""
    with pytest.raises(UsageError, match=r'--no-compare: sheet.csv says in "phone \(now\)"'):
        job.update(job.sheet("id,phone,phone (now)\n10001,1,777\n"), compare=False)


def test_now_of_several_rows(job: JobFixture) -> None:
    """What one row of a record expects holds for all of them."""
    sheet = job.sheet("id,phone,name,phone (now)\n10001,1,,777\n10001,,New,\n")
    assert {"rejected": 2} == outcomes(job.update(sheet))
    assert [] == job.writes()


def test_now_with_key(job: JobFixture) -> None:
    """Records that are found by a key are looked at in the same way."""
    sheet = job.sheet("unique_id,phone,phone (now)\nC-10001,1,777\nC-10002,1,555-0002\n")
    assert ["rejected", "updated"] == [one for one, _ in told(job.update(sheet, key="unique_id"))]


def test_pulled_with_key(job: JobFixture) -> None:
    """A pulled sheet may be sent by a key, too."""
    found = pull(job, ids=ids_of(3))
    for row in range(3):
        edit(found.path, row, "phone", f"12{row}")
    job.sandbox.edit("dualentry", 10002, {"phone": "777"})
    edit(found.path, 2, "unique_id", "C-10004")
    closing = job.update(found.path, key="unique_id")
    assert ["updated", "rejected", "invalid"] == [one for one, _ in told(closing)]


def test_pulled_twice(job: JobFixture) -> None:
    """Two columns of that name cannot be told apart."""
    found = pull(job, ids=ids_of(1))
    text = found.path.read_text(encoding="utf-8-sig").splitlines()
    found.path.write_text("\n".join([f"{text[0]},{PULLED}", f"{text[1]},{{}}"]), encoding="utf-8")
    with pytest.raises(HeaderError, match=r'are both "batch_pulled"\. Remove all of them but the one'):
        job.update(found.path)


# -- failures files ---------------------------------------------------------------------------------------------------

SEEN_ADVICE = "(it was changed since: empty the cell, or write over it with --overwrite)"


UNSEEN = "500-after=id:10001 501@reads=nth:2,3,4,5,6,7,8,9"
"""A change is applied behind a failure, and cannot be looked at."""


def failed(job: JobFixture, ending: str = "csv", *, fault: str = "422=id:10001,10002") -> Path:
    """The failures file of a run in which the API refused the phones of two of three records."""
    sheet = job.folder / f"sheet.{ending}"
    table = pl.DataFrame({"id": ["10001", "10002", "10003"], "phone": ["121", "122", "123"]})
    match ending:
        case "csv":
            table.write_csv(sheet)
        case "parquet":
            table.write_parquet(sheet)
        case _:
            table.write_excel(sheet)
    job.sandbox.set_faults(*fault.split())
    closing = job.update(sheet, max_attempts=1)
    job.sandbox.set_faults()
    return Path(str(closing.failures))


@ALL_ENDINGS
def test_failures_of_a_record_that_was_changed(job: JobFixture, ending: str) -> None:
    """What was seen is held against the record when the corrected failures file is sent."""
    path = failed(job, ending)
    assert [(10_001, 10_002)] == [tuple(map(int, cells(path)["id"]))]
    edit(path, 0, "phone", "131")
    edit(path, 1, "phone", "132")
    job.sandbox.edit("dualentry", 10002, {"phone": "777"})
    expected = (
        'column "phone": it is "777" now, and was "555-0002" when the run of this failures file looked, '
        f'to become "132" {SEEN_ADVICE}'
    )
    closing = job.update(path)
    assert [("updated", ""), ("rejected", expected)] == told(closing)
    again = job.update(Path(str(closing.failures)))
    assert [("rejected", expected)] == told(again)
    assert {"updated": 1} == outcomes(job.update(Path(str(again.failures)), overwrite=True))


def test_failures_say_their_run(job: JobFixture) -> None:
    """Each row names the run, and the run on the file knows its parent; both columns are hidden in a workbook."""
    path = failed(job, "xlsx")
    assert [summary(path.parent)["run_id"]] * 2 == cells(path)["batch_run"].to_list()
    edit(path, 0, "phone", "131")
    with Journal.open(job.update(path).folder / "journal.sqlite") as journal:
        assert summary(path.parent)["run_id"] == journal.meta()["parent_run"]
    sheet = openpyxl.load_workbook(path).worksheets[-1]
    hidden = {cell.value for cell in sheet[1] if sheet.column_dimensions[cell.column_letter].hidden}
    assert {"batch_run", "batch_seen"} == hidden


def test_old_failures_file(job: JobFixture) -> None:
    """A failures file that was sent already does not write its old value over a newer one, and says of which run."""
    path = failed(job)
    edit(path, 0, "phone", "131")
    old = path.read_bytes()
    edit(path, 0, "phone", "141")
    job.update(path)
    path.write_bytes(old)
    ((outcome, message), _) = told(job.update(path))
    assert ("141", "rejected") == (job.record(10001)["phone"], outcome)
    expected = r"it was changed since, perhaps by the run on this file that ended at 20\d\d-\d\d-\d\dT[\d:]{8}Z: empty"
    assert re.search(expected, message)


def remade(job: JobFixture, folder: Path) -> tuple[FinishedRun, list[str]]:
    """Make the results of a run again."""
    reporter = FakeReporter()
    return run_results(folder, reporter, job.environment), reporter.notes


def test_results_after_later_runs(job: JobFixture) -> None:
    """What became of rows in the runs on their failures files is known: only what still needs something is told."""
    first = failed(job, fault="422=id:10002,10003")
    folder, kept = first.parent, first.with_name("mine.csv")
    first.rename(kept)
    edit(kept, 1, "phone", "ext. 5")
    second = job.update(kept)
    assert {"updated": 1, "invalid": 1} == outcomes(second)
    found, notes = remade(job, folder)
    assert (["4"], "1 row is done since") == (
        cells(Path(found.summary.files["failures"]))["batch_row"].to_list(), notes[-1][:19],
    )  # fmt: skip
    assert second.failures == found.failures  # a person goes on where the row was corrected last
    assert ["1 row to fix:"] == [line[:13] for line, _ in closing_page(found) if "to fix" in line]
    assert (1, {"rejected": 1}) == (found.summary.exit_code, {k.value: n for k, n in found.done_later.items()})
    third = Path(str(second.failures))
    edit(third, 0, "phone", "132")
    assert {"updated": 1} == outcomes(job.update(third))
    found, notes = remade(job, folder)
    assert (None, 0) == (found.failures, found.summary.exit_code)
    assert notes[-1].startswith("2 rows are done since, in later rounds on the failures file (the last at 20")
    assert not [line for line, _ in closing_page(found) if "to fix" in line]


def test_own_value(job: JobFixture) -> None:
    """What the run itself may have written is no other hand's."""
    path = failed(job, fault=UNSEEN)
    assert "121" == job.record(10001)["phone"]
    edit(path, 0, "phone", "131")
    assert [("updated", "")] == told(job.update(path))


def test_failures_that_are_not_edited(job: JobFixture) -> None:
    """The file as it is, as a retry, is sent as ever, and what was not looked at again is remembered from before."""
    path = failed(job, fault="503=id:10001,10002")
    job.sandbox.set_faults("503=id:10001")
    first = job.update(path, max_attempts=1)
    assert [("failed", True), ("updated", False)] == [(one, bool(said)) for one, said in told(first)]
    job.sandbox.set_faults()
    assert {"updated": 1} == outcomes(job.update(Path(str(first.failures))))


def test_seen_is_kept_unread(job: JobFixture) -> None:
    """Of a row that the second run did not come to, the failures file still says what the first one saw."""
    path = failed(job)
    edit(path, 0, "phone", "ext. 5")
    closing = job.update(path, invalid="abort")
    again = Path(str(closing.failures))
    assert cells(path)["batch_seen"].to_list() == cells(again)["batch_seen"].to_list()


@pytest.mark.parametrize(
    ("endpoint", "row", "fault"),
    [(DUALENTRY, "phone\n10001,121", "422=id:10001"), (VAYU, f"legalName\n{VAYU_1},New", f"success-false=id:{VAYU_1}")],
)
def test_failures_uncompared(job: JobFixture, endpoint: str, row: str, fault: str) -> None:
    """Where nothing is compared nothing is remembered, so that the command that is printed works."""
    job.sandbox.set_faults(fault)
    closing = job.update(job.sheet(f"id,{row}\n"), endpoint, compare=False, max_attempts=1)
    job.sandbox.set_faults()
    path = Path(str(closing.failures))
    assert [None] == cells(path)["batch_seen"].to_list()
    assert "--no-compare" in closing.next
    assert {"updated": 1} == outcomes(job.update(path, endpoint, compare=False))


def test_failures_seen_by_a_later_part(job: JobFixture) -> None:
    """What was sent unseen and is repeated after a look is held to what that look saw, and can be taken back."""
    job.sandbox.set_faults("500=id:10001,10002")
    sheet, before = job.sheet("id,phone\n10001,121\n10002,122\n"), job.record(10002)["phone"]
    job.update(sheet, compare=False, max_attempts=1)
    job.sandbox.set_faults("success-false=id:10001")
    closing = job.update(sheet, max_attempts=1)
    assert {"rejected": 1, "updated": 1} == outcomes(closing)
    keys = [line["key"] for line in job.ledger() if line["method"] == "PATCH"]
    assert {2} == set(Counter(keys).values())
    job.sandbox.set_faults()
    job.sandbox.edit("dualentry", 10001, {"phone": "777"})
    ((outcome, message),) = told(job.update(Path(str(closing.failures))))
    assert ("rejected", True) == (outcome, "777" in message), message
    assert "updated" in outcomes(run_undo(closing.folder, job.settings(sheet), job.reporter, job.environment))
    assert before == job.record(10002)["phone"]


def test_failures_compared_at_first(job: JobFixture) -> None:
    """Without comparing, what was seen cannot be held against anything."""
    with pytest.raises(UsageError, match=r'--no-compare: failures\.csv says in "batch_seen"'):
        job.update(failed(job), compare=False)


def test_corrected_id(job: JobFixture) -> None:
    """What was seen of one record says nothing of another."""
    path = failed(job)
    edit(path, 0, "id", "10005")
    edit(path, 1, "batch_seen", "{")
    damaged = 'column "batch_seen": is not as the failures file had it (empty it to send the row as it is)'
    assert [("updated", ""), ("invalid", damaged)] == told(job.update(path))


def test_failures_of_an_address(job: JobFixture) -> None:
    """An address is one here, too."""
    job.sandbox.set_faults("422=id:10002")
    closing = job.update(job.sheet("id,full_address.city\n10002,Köln\n"))
    job.sandbox.set_faults()
    job.sandbox.edit("dualentry", 10002, {"full_address": job.record(10002)["full_address"] | {"street": "4 Theirs"}})
    ((outcome, message),) = told(job.update(Path(str(closing.failures))))
    assert ("rejected", True) == (outcome, "full_address.street goes with it" in message)


def test_failures_of_a_pulled_sheet(job: JobFixture) -> None:
    """What a run saw last counts, not what was pulled before: its own value is no other hand's."""
    found = pull(job, ids=ids_of(1))
    edit(found.path, 0, "phone", "121")
    job.sandbox.set_faults(*UNSEEN.split())
    closing = job.update(found.path, max_attempts=1)
    job.sandbox.set_faults()
    path = Path(str(closing.failures))
    edit(path, 0, "phone", "131")
    assert {"updated": 1} == outcomes(job.update(path))


def test_long_seen() -> None:
    """What would not fit into a cell is packed, and comes back."""
    aliases = [f"alias {number} \u65e5\u672c" for number in range(5_000)]
    intent = Intent(2, "1", None, 1, {"aliases": ["x"]}, {"aliases": aliases}, {})
    text = seen_text(VayuCustomers(), "1", intent, {"aliases": ["X"]})
    assert (True, SeenRow("1", {"aliases": aliases}, {"aliases": ["x"]}, {"aliases": ["X"]})) == (
        len(text) <= MOST,
        read_seen(text),
    )


@pytest.mark.parametrize(
    "text", ["zip eJyr", "zip ====", "zip !", "[1]", '{"batch":1,"id":"1","seen":[],"sent":{}}', '{"batch":2}', "{"]
)
def test_damaged_seen(text: str) -> None:
    """A cell that is not as it was written is an error, never something else."""
    with pytest.raises(ValueError, match=r"."):
        read_seen(text)


# -- screens --------------------------------------------------------------------------------------------------------


def test_check(shell: Shell, api: Api) -> None:
    """A check shows what was edited, and says what the hidden column is."""
    shell.sheet("10001\n10002\n", "ids.txt")
    shell.here("pull", "-e", DUALENTRY, "-o", "some.csv", "--ids", "ids.txt", *api.options[:2])
    edit(shell.folder / "some.csv", 0, "phone", "121")
    lines = shell.here("check", "some.csv", "-e", DUALENTRY).out.splitlines()
    said = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.strip()}
    what = "what was pulled, to notice what others changed (a column of batch's own)"
    assert ("-> phone 1 value 121", "-> name 0 values", what) == (said["phone"], said["name"], said[PULLED])


def test_check_of_failures(shell: Shell, api: Api) -> None:
    """It says, too, what the columns of a failures file are for."""
    shell.sheet("id,phone,batch_row,batch_outcome,batch_run,batch_seen\n10001,1,2,failed,x,\n", "some.csv")
    lines = shell.here("check", "some.csv", "-e", DUALENTRY).out.splitlines()
    said = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.strip()}
    seen = "what the run of this failures file saw, to notice what was changed since"
    assert [f"{one} (a column of batch's own)" for one in ("ignored", seen)] == [said["batch_run"], said["batch_seen"]]
