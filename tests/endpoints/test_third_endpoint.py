"""A third endpoint, one file in the tests, goes through every command; no screen calls its vendors otherwise."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from batch.cli import views
from batch.cli.console import Console
from batch.commands.check import Checked
from batch.commands.check import check as run_check
from batch.commands.plan import PlanMade
from batch.commands.plan import plan as run_plan
from batch.commands.pull import Pulled, Wanted
from batch.commands.pull import pull as run_pull
from batch.commands.results import results as run_results
from batch.commands.template import make_template
from batch.commands.undo import undo as run_undo
from batch.commands.update import update as run_update
from batch.errors import BatchError, SettingsError
from batch.model import Outcome
from batch.run.finish import FinishedRun
from batch.settings import Settings, SettingsFiles, merge_layers, read_files
from tests.endpoints.acme import AcmeApi, AcmeVendors, vendor
from tests.job_fixture import FakeReporter

SHEET = (
    "Vendor ID,name,mail,tier,tags\n"
    "Vaaaa,Anna,,,x; y\n"  # a new name; the tags are as they were
    "VaaaA,,ben@b.example,tin,\n"  # another id than the one above
    "Vbbbb,Cy,,,\n"  # nothing new
    "Vaaaz,Nobody,,,\n"
    "V 1,Short,,,\n"
    "Vaaaa,,no-address,,\n"
)


@dataclass
class Acme:
    """A folder, the API, and everything that was shown on the way."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    api: AcmeApi = field(default_factory=AcmeApi)

    def settings(self, **options: Any) -> Settings:
        given = {"input": str(self.folder / "vendors.csv"), "endpoint": AcmeVendors.name, "yes": True}
        return Settings(**(given | options))

    def write(self, text: str) -> None:
        (self.folder / "vendors.csv").write_text(text, encoding="utf-8")

    def check(self, **options: Any) -> Checked:
        settings = self.settings(**options)
        found = run_check(settings, FakeReporter(), self.api.environment())
        Console().show((line, "") for line in views.check_page(found, 200))
        return found

    def plan(self, **options: Any) -> PlanMade:
        settings = self.settings(**options)
        made = run_plan(settings, Console(yes=True), self.api.environment())
        Console().show(views.plan_page(made))
        return made

    def update(self, **options: Any) -> FinishedRun:
        settings = self.settings(**options)
        end = run_update(settings, Console(yes=True), self.api.environment())
        Console().tell(views.closing_page(end))
        return end

    def undo(self, folder: Path) -> FinishedRun:
        settings = Settings(yes=True)
        end = run_undo(folder, settings, Console(yes=True), self.api.environment())
        Console().tell(views.closing_page(end))
        return end

    def pull(self, name: str, ids: Path | None = None) -> Pulled:
        found = run_pull(self.settings(), Wanted(self.folder / name, ids=ids), Console(), self.api.environment())
        Console().tell((line, "") for line in views.pull_page(found, AcmeVendors.name, []))
        return found

    def shown(self) -> str:
        """Everything that came on both screens since the last time."""
        return "".join(self.capture.readouterr())


@pytest.fixture
def acme(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Acme]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Acme(tmp_path, capsys)
    made.write(SHEET)
    yield made
    text = made.shown() + "".join(one.read_text("utf-8", "ignore") for one in tmp_path.rglob("*.csv") if one.is_file())
    assert "customer" not in text.casefold()


def told(folder: Path) -> list[tuple[str, str, str]]:
    """The id, outcome and message of every row."""
    rows = pl.read_csv(folder / "results.csv", infer_schema=False).rows(named=True)
    return [(row["id"], row["outcome"], row["message"] or "") for row in rows]


def test_check(acme: Acme) -> None:
    """Columns are matched by its labels, and ids are held against its pattern."""
    found = acme.check()
    assert (6, 1) == (found.summary.rows, found.summary.exit_code)
    assert "V and 4 letters or digits" in acme.shown()


def test_update_and_failures_file(acme: Acme) -> None:
    """Rows go to the vendor with just their id; what is refused comes back in a file that is the next input."""
    acme.write(SHEET.replace("Vaaaa,,no-address,,\n", ""))
    end = acme.update()
    no_id = 'column "Vendor ID": "V 1" is no vendor id (V and 4 letters or digits)'
    assert [
        ("Vaaaa", "updated", ""),
        ("VaaaA", "updated", ""),
        ("Vbbbb", "unchanged", ""),
        ("Vaaaz", "rejected", 'column "Vendor ID": there is no vendor with this id'),
        ("V 1", "invalid", no_id),
    ] == told(end.folder)
    assert [("VaaaA", {"email": "ben@b.example", "tier": "Tin"}), ("Vaaaa", {"name": "Anna"})] == sorted(
        acme.api.writes
    )
    assert end.failures is not None
    failures = Path(end.failures)
    text = failures.read_text("utf-8-sig").replace("Vaaaz,Nobody", "Vbbbb,Nobody").replace("V 1,Short", "VaaaA,Short")
    failures.write_text(text, encoding="utf-8")
    assert ["updated", "updated"] == [outcome for _, outcome, _ in told(acme.update(input=str(failures)).folder)]
    assert ("Nobody", "Short") == (acme.api.records["Vbbbb"]["name"], acme.api.records["VaaaA"]["name"])


def test_refused_by_the_api(acme: Acme) -> None:
    """What the API says of a field stands beside its column."""
    acme.write("id,mail\nVbbbb,no-address\n")
    assert [("Vbbbb", "rejected", 'column "mail": is no address')] == told(acme.update().folder)


def test_rows_that_differ(acme: Acme) -> None:
    """Two rows of one vendor must not disagree; ids that differ in case are two vendors."""
    acme.write("id,name\nVaaaa,A\nVaaaa,B\nVaaaA,C\n")
    assert ["invalid", "invalid", "updated"] == [outcome for _, outcome, _ in told(acme.update().folder)]
    assert "differs between rows of one vendor" in acme.shown()


def test_plan(acme: Acme) -> None:
    """A plan names vendors, and is carried out as it was made."""
    acme.write("id,name,tier\nVaaaa,Anna,\nVaaaA,,<clear>\n")
    made = acme.plan()
    screen = acme.shown()
    assert (2, 0, []) == (made.summary.cells, made.summary.exit_code, acme.api.writes)
    assert all(text in screen for text in ("vendor", "on 1 vendor", "Vaaaa Ann", "(cleared)"))
    assert 0 == acme.update(plan=made.folder).summary.exit_code
    assert [("Vaaaa", {"name": "Anna"}), ("VaaaA", {"tier": None})] == acme.api.writes


def test_undo(acme: Acme) -> None:
    """Everything is put back, and the undo can be undone."""
    acme.write("id,name,tags,preferred\nVaaaa,Anna,<clear>,true\n")
    before = dict(acme.api.records["Vaaaa"])
    end = acme.update()
    after = dict(acme.api.records["Vaaaa"])
    undone = acme.undo(end.folder)
    assert (0, before) == (undone.summary.exit_code, acme.api.records["Vaaaa"])
    assert (0, after) == (acme.undo(undone.folder).summary.exit_code, acme.api.records["Vaaaa"])


def test_option_of_its_own(acme: Acme, tmp_path: Path) -> None:
    """An endpoint's own option is set in its table of `batch.toml`, and its undo goes the same way."""
    environment = acme.api.environment()
    (tmp_path / "batch.toml").write_text("[acme.vendors]\nsource = 'import'\n")
    files = SettingsFiles(tmp_path / "batch.toml", [], None)
    layers = read_files(files, AcmeVendors.name, environment.endpoint_options, lambda name: 0.0)
    options = merge_layers(layers).endpoint_options
    acme.write("id,name\nVaaaa,Anna\n")
    end = acme.update(endpoint_options=options)
    assert (0, [("Vaaaa", {"name": "Anna"})]) == (end.summary.exit_code, acme.api.writes)
    acme.undo(end.folder)
    acme.update(new=True)
    assert ["import", "import", "batch"] == acme.api.sources


def test_option_that_makes_no_sense(acme: Acme, tmp_path: Path) -> None:
    """A wrong value is refused with its place, and so is one that no file can have given."""
    environment = acme.api.environment()
    (tmp_path / "batch.toml").write_text("[acme.vendors]\nsource = 7\n")
    files = SettingsFiles(tmp_path / "batch.toml", [], None)
    with pytest.raises(SettingsError) as in_file:
        read_files(files, AcmeVendors.name, environment.endpoint_options, lambda name: 0.0)
    with pytest.raises(SettingsError) as damaged:
        acme.update(endpoint_options={"source": 7})
    assert f"{tmp_path / 'batch.toml'}: source 7: it should be a valid string." == str(in_file.value)
    assert "acme.vendors: source cannot be 7." == str(damaged.value)


@pytest.mark.parametrize("name", ["all.csv", "all.xlsx", "all.parquet"])
def test_pull(acme: Acme, name: str) -> None:
    """What is pulled sends nothing."""
    acme.api.records["Vcccc"] = vendor("Vcccc", "Di", tags=["=1", "z"])
    assert 4 == acme.pull(name).records
    assert {Outcome.UNCHANGED: 4} == +Counter(acme.update(input=str(acme.folder / name)).summary.outcomes)


def test_pull_by_ids(acme: Acme) -> None:
    """Ids are exact: one that differs in case is missing."""
    ids = acme.folder / "ids.txt"
    ids.write_text("VaaaA\nVAAAA\n")
    found = acme.pull("some.csv", ids)
    assert (1, ["VAAAA"]) == (found.records, found.missing)


def test_pages(acme: Acme) -> None:
    """It is listed, described, has a template, and its results can be made again."""
    environment = acme.api.environment()
    listed = views.endpoints_page(None, environment, 100)
    page = views.endpoints_page(AcmeVendors.name, environment, 100)
    done = make_template(acme.folder / "new.xlsx", acme.settings(), environment, FakeReporter(), may_replace=False)
    made = "\n".join(text for text, _ in views.template_page(done))
    guide = openpyxl.load_workbook(acme.folder / "new.xlsx")["How to fill this in"]
    text = "\n".join([listed, page, made, *(str(cell) for row in guide.values for cell in row)])
    assert all(one in text for one in ("acme.vendors", "One row for each vendor", "not known, so they are found out"))
    assert ([], []) == (
        [one for one in ("customer", "--key", "custom") if one in text.casefold()],
        [one for one in environment.endpoints if one != AcmeVendors.name],
    )
    acme.write("id,name\nVaaaa,Anna\n")
    folder = acme.update().folder
    assert told(folder) == told(run_results(folder, print, environment).folder)


@pytest.mark.parametrize(
    ("sheet", "options", "message"),
    [
        ("id,name\nVaaaa,A\n", {"sandbox": True}, "there is no imitation of acme.vendors"),
        ("name,mail\nA,b\n", {"key": "name"}, "--key name: acme.vendors finds records by their id alone"),
        ("name,mail\nA,b\n", {}, "No column is the vendor's id. Columns:"),
        ("id,name\nVaaaa,A\n", {"endpoint": "acme.vendor"}, "Did you mean acme.vendors?"),
    ],
)
def test_refused_in_words(acme: Acme, sheet: str, options: dict[str, Any], message: str) -> None:
    """What it has not is refused before anything is sent."""
    acme.write(sheet)
    with pytest.raises(BatchError) as caught:
        acme.update(**options)
    assert message in str(caught.value)
    assert "customer" not in str(caught.value)
    assert [] == acme.api.writes
