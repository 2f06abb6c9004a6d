"""`pull`: what was pulled sends nothing, one edited cell sends that cell alone, and nothing is changed silently."""

import json
import resource
import stat
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from batch.commands.pull import Pulled, Wanted
from batch.commands.pull import pull as run_pull
from batch.engine.reporter import Cost
from batch.errors import BatchError, FolderError, InputError, SettingsError, StoppedError
from batch.model import column_letters
from batch.provenance import PULLED
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, VAYU_2, JobFixture
from tests.libreoffice import SOFFICE, type_into
from tests.shell import Api, Shell
from tests.virtual import Lists

PARTS = ("name", "street", "second_line", "city", "state", "postal_code", "country")
LEER = "LEER"
LITTLE = 30_000
"""Bytes that a file may have, fewer than all records take."""
ENDINGS = ("csv", "xlsx", "parquet")
ALL_ENDINGS = pytest.mark.parametrize("ending", ENDINGS)


class Listener:
    """Remembers what a pull tells."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.costs: list[Cost] = []
        self.counts: list[tuple[int, int | None]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def cost(self, cost: Cost) -> None:
        self.costs.append(cost)

    def pulled(self, count: int, total: int | None) -> None:
        self.counts.append((count, total))


def pull(
    job: JobFixture, endpoint: str = DUALENTRY, name: str = "pulled.csv", *,
    where: tuple[tuple[str, str], ...] = (), ids: str | None = None, force: bool = False, **options: Any,
) -> Pulled:  # fmt: skip
    """Pull into the job's folder; `ids` is the text of the file of ids."""
    settings = job.settings(Path(), endpoint, **options)
    listed = job.sheet(ids, "ids.csv") if ids is not None else None
    wanted = Wanted(job.folder / name, where, listed, force)
    return run_pull(settings, wanted, Listener(), job.environment)


PLAIN = {"map": {PULLED: ""}}
"""Lets an update take a pulled sheet for any other: all that its cells say is held against the records."""


def outcomes(closing: FinishedRun) -> dict[str, int]:
    """The outcomes of an update, without those of no row."""
    return {outcome.value: count for outcome, count in closing.summary.outcomes.items() if count}


def ids_of(count: int, endpoint: str = DUALENTRY) -> str:
    """The first so many ids, as the text of a file."""
    first = 10_001 if endpoint == DUALENTRY else 0x65F000000000000000000001
    return "".join(f"{n}\n" if endpoint == DUALENTRY else f"{n:024x}\n" for n in range(first, first + count))


def cells(path: Path) -> pl.DataFrame:
    """A pulled table as text."""
    match path.suffix:
        case ".csv":
            return pl.read_csv(path, infer_schema=False)
        case ".parquet":
            return pl.read_parquet(path)
    last = openpyxl.load_workbook(path, read_only=True).sheetnames[-1]  # a failures file begins with what to do
    return pl.read_excel(path, sheet_name=last, infer_schema_length=0)


def edit(path: Path, row: int, column: str, text: str) -> None:
    """Change one cell as a person would; row 0 is the first below the header."""
    if path.suffix == ".xlsx":
        book = openpyxl.load_workbook(path)
        sheet = book.worksheets[-1]
        place = next(cell.column for cell in sheet[1] if cell.value == column)
        sheet.cell(row + 2, place).value = text
        book.save(path)
        return
    table = cells(path)
    table[row, column] = text
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)


# -- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
@ALL_ENDINGS
def test_unedited(job: JobFixture, endpoint: str, ending: str) -> None:
    """Updating with what was pulled sends nothing: all records have what the file says."""
    found = pull(job, endpoint, f"pulled.{ending}", ids=ids_of(150, endpoint))
    assert (150, {}) == (found.records, found.left)
    assert {"unchanged": 150} == outcomes(job.update(found.path, endpoint, **PLAIN))
    assert [] == job.writes()


@ALL_ENDINGS
def test_one_cell_of_dualentry(job: JobFixture, ending: str) -> None:
    """One edited cell sends that cell alone."""
    found = pull(job, name=f"pulled.{ending}", ids=ids_of(9))
    edit(found.path, 6, "phone", "00123")
    job.update(found.path)
    assert [("PATCH", "10007", {"phone": "00123"})] == job.writes()


@ALL_ENDINGS
def test_one_cell_of_vayu(job: JobFixture, ending: str) -> None:
    """One edited cell changes that field alone, also inside of a contact."""
    found = pull(job, VAYU, f"pulled.{ending}", ids=ids_of(2, VAYU))
    before = job.record(VAYU_1, VAYU)
    edit(found.path, 0, "contacts.2.title", "CEO")
    job.update(found.path, VAYU)
    assert [("PUT", VAYU_1)] == [(method, record) for method, record, _ in job.writes()]
    before["contacts"][1]["title"] = "CEO"
    after = job.record(VAYU_1, VAYU)
    assert before | {"updatedAt": None} == after | {"updatedAt": None}


@ALL_ENDINGS
def test_nested_cell_of_dualentry(job: JobFixture, ending: str) -> None:
    """A city sends its address, with the other parts as they were."""
    found = pull(job, name=f"pulled.{ending}", ids="10002\n")
    edit(found.path, 0, "full_address.city", "Köln")
    job.update(found.path)
    (body,) = [body for _, _, body in job.writes()]
    assert ["full_address"] == list(body)
    assert ("Köln", "3 Harbour Road", "53111") == tuple(
        body["full_address"][part] for part in ("city", "street", "postal_code")
    )


@ALL_ENDINGS
def test_custom_fields(job: JobFixture, ending: str) -> None:
    """Custom fields keep their kind, and those that share a name are told apart by their id."""
    custom = [
        {"field": {"id": 43}, "value": {"custom_field_id": 43, "value": "South"}},
        {"Segments": ["Retail", "Online"]},
    ]
    job.sandbox.edit("dualentry", 10001, {"custom_fields": [*custom, {"Credit Limit": 1.234}, {"Partner": True}]})
    found = pull(job, name=f"pulled.{ending}", ids="10001\n")
    names = ["custom_fields[43]", "custom_fields.Segments", "custom_fields.Credit Limit", "custom_fields.Partner"]
    assert [("South", "Retail; Online", "1.2340", "true")] == cells(found.path).select(names).rows()
    assert {"unchanged": 1} == outcomes(job.update(found.path, **PLAIN))


# -- values that are hard to write ----------------------------------------------------------------------------------

HARD = [
    "00123", "1E5", "007.10", "=1+1", "=cmd|' /C calc'!A0", "+44 20 7946", "-5", "@here", "'x", "'=1", '"quoted"',
    "a,b;c", "two\nlines", "carriage\rreturn", "tab\tinside", "Ünïcödé €", "日本語", "🏦", "N/A", "true", "2026-04-03",
    "1.234,5", "x" * 5_000, "<r>x</r>", "http://example.com", "nbsp\u00a0inside", "e\u0301", "_x0041_", "null", "NaN",
]  # fmt: skip


@ALL_ENDINGS
def test_hard_texts(job: JobFixture, ending: str) -> None:
    """Whatever a text looks like, it comes back as it is: nothing is left blank and nothing is sent."""
    for number, text in enumerate(HARD):
        job.sandbox.edit("dualentry", 10001 + number, {"name": text})
    found = pull(job, name=f"pulled.{ending}", ids=ids_of(len(HARD)))
    assert {} == found.left
    assert {"unchanged": len(HARD)} == outcomes(job.update(found.path, **PLAIN))


@ALL_ENDINGS
def test_what_a_cell_cannot_say(job: JobFixture, ending: str) -> None:
    """What update would read as something else is left blank and told; updating with it sends nothing."""
    for number, text in enumerate(["<clear>", "< Clear>", "   ", " Acme", "Acme ", "#N/A"]):
        job.sandbox.edit("dualentry", 10001 + number, {"name": text})
    found = pull(job, name=f"pulled.{ending}", ids=ids_of(7))
    assert ["name"] == list(found.left)
    assert (6, ["10001", "10002", "10003"]) == (found.left["name"].count, found.left["name"].ids)
    assert [None] * 6 == cells(found.path)["name"].head(6).to_list()
    assert {"unchanged": 7} == outcomes(job.update(found.path, **PLAIN))


@ALL_ENDINGS
def test_what_a_list_cannot_say(job: JobFixture, ending: str) -> None:
    """A semicolon or a space at the end of an item cannot be said in a list: blank, and told."""
    for number, items in enumerate([["a; b"], ["a "], ["", "b"], ["a", "b"]], start=1):
        job.sandbox.edit("vayu", f"{0x65F000000000000000000000 + number:024x}", {"aliases": items})
    found = pull(job, VAYU, f"pulled.{ending}", ids=ids_of(4, VAYU))
    assert {"aliases": 3} == {name: one.count for name, one in found.left.items()}
    assert [None, None, None, "a; b"] == cells(found.path)["aliases"].head(4).to_list()
    assert {"unchanged": 4} == outcomes(job.update(found.path, VAYU, **PLAIN))


@pytest.mark.parametrize(
    ("text", "blank"), [("bell\x07", {"csv": False, "xlsx": False}), ("x" * 40_000, {"xlsx": True})]
)
def test_what_a_file_cannot_hold(job: JobFixture, text: str, blank: dict[str, bool]) -> None:
    """A text that one format cannot hold is left blank there, and told; never is it another one."""
    job.sandbox.edit("dualentry", 10001, {"name": text})
    for ending, is_blank in blank.items():
        found = pull(job, name=f"pulled.{ending}", ids="10001\n")
        assert is_blank == ("name" in found.left)
        assert {"unchanged": 1} == outcomes(job.update(found.path, **PLAIN))


def test_own_clear_token(job: JobFixture) -> None:
    """With another clear token, that one is what a cell cannot say."""
    job.sandbox.edit("dualentry", 10001, {"name": "<clear>"})
    job.sandbox.edit("dualentry", 10002, {"name": LEER})
    found = pull(job, clear_token=LEER, ids="10001\n10002\n")
    assert ["10002"] == found.left["name"].ids
    assert {"unchanged": 2} == outcomes(job.update(found.path, clear_token=LEER))


# -- which records --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "where", "expected"),
    [
        (DUALENTRY, (("unique_id", "C-10005"),), ["10005"]),
        (DUALENTRY, (("unique_id", "c-10005"),), []),
        (DUALENTRY, (("Phone Number", "555-0009"),), ["10009"]),
        (DUALENTRY, (("id", "10003"),), ["10003"]),
        (DUALENTRY, (("custom_fields.Credit Limit", "1000"), ("full_address.city", "Leeds")), None),
        (VAYU, (("externalId", "V-2"),), [VAYU_2]),
        (VAYU, (("externalId", "nobody"),), []),
        (VAYU, (("contacts.1.email", "jane2@bolt.example"),), [VAYU_2]),
    ],
)
def test_where(job: JobFixture, endpoint: str, where: tuple[tuple[str, str], ...], expected: list[str] | None) -> None:
    """Only the records that have the values, exactly."""
    found = pull(job, endpoint, where=where)
    if expected is not None:
        assert expected == cells(found.path)["id"].to_list()
        return
    table = cells(found.path)
    assert {("1000", "Leeds")} == set(table.select("custom_fields.Credit Limit", "full_address.city").rows())


def test_where_empty(job: JobFixture) -> None:
    """`FIELD=` picks those where the field is empty."""
    job.sandbox.edit("dualentry", 10004, {"phone": None})
    assert ["10004"] == cells(pull(job, where=(("phone", ""),)).path)["id"].to_list()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((("nam", "x"),), '--where "nam=x": there is no field "nam". Nearest: name.'),
        (
            (("phone", "call"),),
            '--where "phone=call": "call" has letters in it (use digits, spaces and + - . ( ) only).',
        ),
        ((("name", "a"), ("Customer Name", "b")), "--where: name is named twice, and it cannot have two values."),
        (
            (("full_address", "x"),),
            '--where "full_address=x": name a part of it: ' + ", ".join(f"full_address.{part}" for part in PARTS) + ".",
        ),
        ((("id", "x"),), '--where "id=x": "x" is not a DualEntry customer id (a whole number, such as 10042).'),
    ],
)
def test_where_refused(job: JobFixture, where: tuple[tuple[str, str], ...], expected: str) -> None:
    """A mistake is told before anything is asked."""
    with pytest.raises(BatchError) as caught:
        pull(job, where=where)
    assert [] == job.ledger()
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    "text", ["10003\n10001\n", "id\n10003\n10001\n10003\n", "Name,Customer ID\nx,10003\ny,10001\n"]
)
def test_ids(job: JobFixture, text: str) -> None:
    """Only the ids of the file, in its order: a bare list, a column, or a table with an id column."""
    assert ["10003", "10001"] == cells(pull(job, ids=text).path)["id"].to_list()


def test_ids_of_vayu(job: JobFixture) -> None:
    """Ids that are read one by one come in the file's order, and those without a record are told."""
    nobody = "ffffffffffffffffffffffff"
    found = pull(job, VAYU, ids=f"{VAYU_2}\n{nobody}\n")
    assert ([VAYU_2], [nobody]) == (cells(found.path)["id"].to_list(), list(found.missing))


def test_many_ids_come_by_pages(job: JobFixture) -> None:
    """For many ids of Vayu one page of 1,000 is cheaper than as many requests."""
    ids = "".join(f"{0x65F000000000000000000000 + number:024x}\n" for number in range(1, 51))
    assert 50 == pull(job, VAYU, ids=ids).records
    assert ["/customers"] == [line["path"] for line in job.ledger() if line["path"].startswith("/customers")]


def test_ids_refused(job: JobFixture) -> None:
    """Ids that cannot be any are all told, before anything is asked."""
    with pytest.raises(InputError) as caught:
        pull(job, ids="id\n10001\nabc\n007\n")
    assert str(caught.value) == (
        f'{job.folder / "ids.csv"}: "abc" is not a DualEntry customer id (a whole number, such as 10042); '
        '"007" begins with a zero, as DualEntry\'s own ids never do (is it your own customer number?).'
    )
    assert [] == job.ledger()


def test_address_is_left_out(job: JobFixture) -> None:
    """A field that lists do not show has no column, and that is told."""
    found = pull(job)
    assert (["address"], False) == (list(found.hidden), "address" in found.columns)


def test_contacts_in_order(job: JobFixture) -> None:
    """There are as many contact columns as the longest list of contacts needs, in their order."""
    people = [{"name": f"P{number}", "receiveInvoiceEmail": False} for number in range(1, 12)]
    job.sandbox.edit("vayu", VAYU_2, {"contacts": people})
    found = pull(job, VAYU)
    named = [column for column in found.columns if column.startswith("contacts.") and column.endswith(".name")]
    assert [f"contacts.{number}.name" for number in range(1, 12)] == named


# -- the file -------------------------------------------------------------------------------------------------------


@ALL_ENDINGS
def test_private(job: JobFixture, ending: str) -> None:
    """The file is for this user only, and nothing else is left behind."""
    found = pull(job, name=f"pulled.{ending}", where=(("id", "10001"),))
    assert 0o600 == stat.S_IMODE(found.path.stat().st_mode)
    assert {f"pulled.{ending}", "state"} >= {path.name for path in job.folder.iterdir()}


def test_not_over_another(job: JobFixture) -> None:
    """A file that is there stays, unless --force says otherwise; a link is replaced, never followed."""
    kept = job.sheet("mine", "kept.csv")
    (job.folder / "pulled.csv").symlink_to(kept)
    with pytest.raises(SettingsError, match=r"is there already\. Name another file, or use --force"):
        pull(job)
    assert pull(job, force=True).path.is_file()
    assert "mine" == kept.read_text()


def test_text_cells(job: JobFixture) -> None:
    """In a workbook every cell is text, in text format, so that zeros survive an edit."""
    job.sandbox.edit("dualentry", 10001, {"unique_id": "000123"})
    sheet = openpyxl.load_workbook(pull(job, name="pulled.xlsx", ids="10001\n").path).worksheets[0]
    row = {head.value: cell for head, cell in zip(sheet[1], sheet[2], strict=True)}
    assert ("000123", "s", "@") == (
        row["unique_id"].value, row["unique_id"].data_type, row["unique_id"].number_format,
    )  # fmt: skip
    assert "s" == row["id"].data_type


def test_guarded(job: JobFixture) -> None:
    """In a CSV file a text that a spreadsheet program would execute is made safe, and taken for what it was."""
    job.sandbox.edit("dualentry", 10001, {"name": "=1+1"})
    found = pull(job, ids="10001\n")
    assert [("'=1+1", "2")] == cells(found.path).select("name", "batch_row").rows()


def test_key_refused(job: JobFixture) -> None:
    """A credential that is not accepted ends the pull, and no file is there."""
    environment = Environment({"DUALENTRY_API_KEY": "wrong"})
    wanted = Wanted(job.folder / "pulled.csv")
    with pytest.raises(StoppedError, match="Check DUALENTRY_API_KEY"):
        run_pull(job.settings(Path()), wanted, Listener(), environment)
    assert ["state"] == [path.name for path in job.folder.iterdir()]


def test_trouble_is_retried(job: JobFixture) -> None:
    """A page that fails is asked for again, and every record is there once."""
    job.sandbox.set_faults("500=nth:3,4")
    found = pull(job)
    assert [str(number) for number in range(10001, 11001)] == cells(found.path)["id"].to_list()


def test_nobody(job: JobFixture) -> None:
    """Where no record fits, the file is a header."""
    found = pull(job, where=(("name", "nobody"),))
    assert (0, "id") == (found.records, found.path.read_text(encoding="utf-8-sig").partition(",")[0])


# -- limits and words -----------------------------------------------------------------------------------------------


def test_documented_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000 customers are 31 requests and one for custom fields at DualEntry's limits, which is told first."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    lists, listener = Lists(range(1, 3_001)), Listener()
    settings = Settings(endpoint=DUALENTRY)
    found = run_pull(settings, Wanted(tmp_path / "pulled.csv"), listener, lists.environment())
    asked = [moment for moment, request in lists.asked if "customers" in request.url.path]
    assert (3_000, [Cost(32, 21.5)]) == (found.records, listener.costs)
    assert 21 - 1 <= asked[-1] - asked[0] <= 21 + 1
    assert (3_000, 3_000) == listener.counts[-1]


def test_screen(shell: Shell, api: Api) -> None:
    """What a person sees."""
    shell.sheet("10001\n99999999\n", "ids.txt")
    ended = shell.here("pull", "-e", DUALENTRY, "-o", "some.csv", "--ids", "ids.txt", *api.options[:2])
    expected = (
        "some.csv: 1 record, 29 columns\n"
        "  left out: address, which is not shown when records are listed\n"
        "  1 id of the file has no record: 99999999\n"
        "  to edit it in Excel or LibreOffice, pull an .xlsx: in a CSV file they turn 00123 into 123\n"
        "Edit it, then:  batch plan some.csv -e dualentry.customers --base-url {url}\n"
    )
    assert (1, expected) == (ended.code, shell.tell(ended.err).replace(api.url, "{url}"))


def test_company_of_a_sheet(shell: Shell, api: Api) -> None:
    """A sheet says for which company it was pulled, and the next command names it: the key may change meanwhile."""
    shell.sheet("10001\n", "ids.txt")
    words = ["-e", DUALENTRY, *api.options[:2], "--company", "Acme Holdings"]
    ended = shell.here("pull", "-o", "some.csv", "--ids", "ids.txt", *words)
    assert (0, True) == (ended.code, "batch plan some.csv -e dualentry.customers" in ended.err)
    assert "--company 'Acme Holdings'" in ended.err.splitlines()[-1]
    (pulled,) = pl.read_csv(shell.folder / "some.csv", infer_schema=False)[PULLED]
    assert "Acme Holdings" == json.loads(pulled)["company"]


def test_json(shell: Shell, api: Api) -> None:
    """With --json the summary is on stdout, and nothing else."""
    where = f"id={api.ids(1, VAYU)[0]}"
    ended = shell.here("pull", "-e", VAYU, "-o", "some.csv", "--where", where, "--json", *api.options[:2])
    told_of = json.loads(ended.out)
    assert (0, VAYU, 1, {}, []) == (
        ended.code, told_of["endpoint"], told_of["records"], told_of["left_blank"], told_of["missing_ids"],
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: its round trip was NOT tested")
def test_edited_in_libreoffice(job: JobFixture) -> None:
    """A workbook that LibreOffice saved sends the one cell that was typed into, with its zeros."""
    for number, text in enumerate(HARD):
        job.sandbox.edit("dualentry", 10001 + number, {"name": text})
    found = pull(job, name="pulled.xlsx", ids=ids_of(len(HARD)))
    place = f"{column_letters(1 + found.columns.index('phone'))}2"
    saved = job.folder / "saved.xlsx"
    type_into(found.path, saved, {place: "00123"}, job.folder)
    assert {"updated": 1, "unchanged": len(HARD) - 1} == outcomes(job.update(saved))
    assert [("PATCH", "10001", {"phone": "00123"})] == job.writes()


@ALL_ENDINGS
def test_full_disk(job: JobFixture, ending: str) -> None:
    """A disk that does not take all of it is told as such, and nothing of it is left there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = job.folder / "full"
    folder.mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE, hard))
    try:
        with pytest.raises(FolderError) as refused:
            pull(job, name=f"full/pulled.{ending}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [] == list(folder.iterdir())
    assert str(refused.value) == (
        f"{folder / f'pulled.{ending}'}: it cannot be written (File too large). Nothing was left there. "
        "Make room, or name another place with -o, and run the same command again."
    )
