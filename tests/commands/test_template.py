"""`template`: the right headers, and what is filled in below them is understood."""

import stat
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from batch.commands.check import check
from batch.commands.template import template_columns, write_template
from batch.endpoints import ENDPOINTS
from batch.errors import FolderError
from batch.model import Field
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, FakeReporter, JobFixture
from tests.shell import Api, Ended, Shell

WITHOUT_KEY = "Without a key (DUALENTRY_API_KEY) your own custom fields are not known: they are left out."


def columns_at(job: JobFixture, endpoint: str) -> list[Field]:
    """The columns of a template made with a key."""
    settings = Settings(endpoint=endpoint, base_url=job.sandbox.url)
    return template_columns(settings, job.environment, job.reporter.note)


def test_without_a_key() -> None:
    """Without a key there are all fields but custom ones, and nothing is asked of any network."""
    notes: list[str] = []
    names = [one.name for one in template_columns(Settings(endpoint=DUALENTRY), Environment({}), notes.append)]
    assert (["id", "name", "email"], [WITHOUT_KEY]) == (names[:3], notes)
    assert {"address", "full_address.city", "shipping_address.country"} <= set(names)
    assert not any(name.startswith("custom") for name in names)


def test_custom_fields(job: JobFixture) -> None:
    """With a key the organisation's custom fields have columns, with their options; shared names go by id."""
    found = {one.name: one.choices for one in columns_at(job, DUALENTRY) if one.name.startswith("custom")}
    assert ["Tier", "Partner", "Account Manager", "Credit Limit", "Renewal", "Segments"] == [
        name.removeprefix("custom_fields.") for name in found if "." in name
    ]
    assert {"custom_fields[42]", "custom_fields[43]"} == {name for name in found if "[" in name}
    assert ("Gold", "Silver", "Bronze") == found["custom_fields.Tier"]


def test_first_contact(job: JobFixture) -> None:
    """A template of Vayu has the columns of a first contact, and the options of a custom field."""
    found = {one.name: one.choices for one in columns_at(job, VAYU)}
    assert {"contacts.1.name", "contacts.1.email"} <= set(found)
    assert ("Enterprise", "Startup", "Public sector") == found["customFields.Segment"]


def test_key_that_is_refused(job: JobFixture) -> None:
    """A key that does not work costs the custom fields, and this is told."""
    settings, notes = Settings(endpoint=DUALENTRY, base_url=job.sandbox.url), list[str]()
    found = template_columns(settings, Environment({"DUALENTRY_API_KEY": "wrong"}), notes.append)
    assert not any(one.name.startswith("custom") for one in found)
    (note,) = notes
    assert note.startswith("Your own custom fields are left out: The API does not permit this with the key (403)")


FILLED = {
    DUALENTRY: {
        "id": "10003", "name": "Acme", "phone": "+1 555-0100", "unique_id": "00123", "full_address.city": "Bonn",
        "shipping_address.country": "DE", "custom_fields.Tier": "Gold", "custom_fields.Partner": "yes",
        "custom_fields.Renewal": "2026-04-03", "custom_fields.Credit Limit": "1200", "custom_fields[42]": "South",
    },
    VAYU: {
        "id": VAYU_1, "externalId": "00123", "aliases": "a; b", "currency": "EUR", "dueDays": "30_DAYS",
        "contacts.1.email": "ana@example.com", "contacts.1.receiveInvoiceEmail": "true",
        "customFields.Segment": "Startup",
    },
}  # fmt: skip


def fill_in(path: Path, row: dict[str, str]) -> None:
    """Type a row below the header."""
    if path.suffix == ".csv":
        headers = path.read_text(encoding="utf-8-sig").strip().split(",")
        pl.DataFrame([[row.get(header) for header in headers]], schema=headers, orient="row").write_csv(path)
        return
    book = openpyxl.load_workbook(path)
    for cell in book.worksheets[0][1]:
        if cell.value in row:
            book.worksheets[0].cell(2, cell.column).value = row[cell.value]
    book.save(path)


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_filled_in(job: JobFixture, endpoint: str, ending: str) -> None:
    """A template that was filled in passes check, and update sends what was typed."""
    path = job.folder / f"filled.{ending}"
    write_template(path, columns_at(job, endpoint), ENDPOINTS[endpoint]())
    fill_in(path, FILLED[endpoint])
    checked = check(Settings(input=str(path), endpoint=endpoint), FakeReporter(), job.environment)
    assert ((), 0) == (checked.reasons, checked.summary.exit_code)
    closing = job.update(path, endpoint)
    assert 0 == closing.summary.exit_code
    own = "unique_id" if endpoint == DUALENTRY else "externalId"
    assert "00123" == job.record(FILLED[endpoint]["id"], endpoint)[own]


def test_file(tmp_path: Path) -> None:
    """The file is for this user only, and a CSV one is its header alone."""
    path = tmp_path / "empty.csv"
    write_template(path, [Field("id", str), Field("name", str)], ENDPOINTS[DUALENTRY]())
    assert ("\ufeffid,name\r\n", 0o600) == (path.read_bytes().decode(), stat.S_IMODE(path.stat().st_mode))
    assert [path] == list(tmp_path.iterdir())


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """A place where nothing can be written is told."""
    path = tmp_path / "nowhere" / "empty.csv"
    with pytest.raises(FolderError) as caught:
        write_template(path, [Field("id", str)], ENDPOINTS[DUALENTRY]())
    assert f"{path}: it cannot be written (No such file or directory)." == str(caught.value)


def test_screen(offline: Shell) -> None:
    """What a person sees, twice: a file that is there is not written over."""
    command = ("template", "-e", DUALENTRY, "-o", "empty.csv")
    first, second = offline.here(*command), offline.here(*command)
    told = f"{WITHOUT_KEY}\nempty.csv: 22 columns. Fill it in, then:  batch check empty.csv -e dualentry.customers\n"
    assert (0, told) == (first.code, first.err)
    refused = "empty.csv is there already. Name another file, or use --force to write over it.\n"
    assert (2, refused) == (second.code, second.err)


def test_place_that_will_not_do(offline: Shell) -> None:
    """A link is not written over, wherever it leads, and a folder that is not there is named."""
    (offline.folder / "link.csv").symlink_to("nowhere.csv")
    for name, refused in (
        ("link.csv", "link.csv is there already. Name another file, or use --force to write over it.\n"),
        ("none/a.csv", "none/a.csv: there is no folder none.\n"),
    ):
        ended = offline.here("template", "-e", DUALENTRY, "-o", name)
        assert (2, refused) == (ended.code, ended.err)
    assert ["link.csv"] == [one.name for one in offline.folder.iterdir() if one.is_symlink()]


def test_settings(api: Api, shell: Shell) -> None:
    """The address of the API comes from an option, the environment or a settings file, as for every command."""
    command = ("template", "-e", DUALENTRY, "--force", "-o", "empty.csv")
    asked = [shell.here(*command, "--base-url", api.url), shell.here(*command, env={"BATCH_BASE_URL": api.url})]
    (shell.folder / "my.toml").write_text(f"endpoint = '{DUALENTRY}'\nbase_url = '{api.url}'\n")
    asked.append(shell.here("template", "--force", "-o", "empty.csv", "--config", "my.toml"))
    told = "empty.csv: 30 columns. Fill it in, then:  batch check empty.csv -e dualentry.customers\n"
    assert [Ended(0, "", told)] * 3 == asked
