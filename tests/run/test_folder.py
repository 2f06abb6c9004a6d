"""Runs on disk: which folder, whose run, and who holds it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from batch.credentials import Company
from batch.errors import BusyError, ExitCode, FolderError
from batch.files import write_private
from batch.journal import START_OVER, Journal
from batch.model import CellStyle, CsvDialect, Outcome, RowResult, SheetStyle, Staged
from batch.own_files import INPUT, JOURNAL, is_own
from batch.run.folder import identity, iter_unfinished, list_runs, new_folder, open_run, parent_of
from batch.run.locks import held, input_locks, state_folder
from batch.run.metadata import RunMetadata
from batch.settings import Settings

ME = "identity-of-mine"
OURS = Company("f")
STAGED = Staged(
    Path("input.parquet"), "x.csv", "csv", ("id", "name"), 2, "abc", ("A note.",), CsvDialect(delimiter=";")
)


def staged_as_meta(staged: Staged) -> dict[str, Any]:
    """What a journal keeps of an input."""
    return asdict(staged) | {"path": staged.path.name}


KEPT = staged_as_meta(STAGED)
STYLED = {"format": "xlsx", "dialect": None}
STYLE = {"sheet": "S", "first_row": 1, "first_column": 1}
KNOWN = {
    "run_id": "x", "endpoint": "dualentry.customers", "host": "h", "base_url": "h", "input": "x.csv", "started": "x",
    "id_column": 0, "seconds": 0.0, "definitions": [], "is_validated": True, "fingerprint": "f",
}  # fmt: skip


def settings(**changed: Any) -> Settings:
    return Settings(**{"input": "x.csv", "endpoint": "dualentry.customers", **changed})


def identity_of(given: Settings, sha256: str = "abc", host: str = "host", *, plan: str | None = None) -> str:
    return identity(given.identity(), sha256, given.endpoint, host, plan=plan)


def find_unfinished(parent: Path, company: Company, note: Callable[[str], None] = lambda text: None) -> Path | None:
    """The first of the runs that may be resumed."""
    return next((one.folder for one in iter_unfinished(parent, ME, company, note)), None)


def run_in(folder: Path, *outcomes: Outcome, identity: str = ME, **meta: Any) -> Path:
    """A run on two rows of which so many have an outcome."""
    folder.mkdir(parents=True)
    given = KNOWN | {"identity": identity, "staged": staged_as_meta(STAGED), "exit_code": 0, **meta}
    with Journal.create(folder / JOURNAL, given) as journal:
        journal.record_rows([RowResult(row, str(row), outcome) for row, outcome in enumerate(outcomes, 2)])
    return folder


# -- what makes a run the same --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"map": {"A": "name"}},
        {"clear_token": "NULL"},
        {"sheet": "B"},
        {"delimiter": ";"},
        {"encoding": "cp1252"},
        {"hidden": "skip"},
        {"decimal": ","},
        {"date_format": "dmy"},
        {"limit": 5},
        {"key": "unique_id"},
        {"endpoint": "vayu.customers"},
    ],
    ids=str,
)
def test_another_run(changed: dict[str, Any]) -> None:
    """Whatever changes what a row means makes it another run."""
    assert identity_of(settings()) != identity_of(settings(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"max_at_once": 2},
        {"max_per_second": 9},
        {"max_wait": 1},
        {"yes": True},
        {"input": "y.csv"},
        {"compare": False},
        {"out": "z"},
    ],
    ids=str,
)
def test_same_run(changed: dict[str, Any]) -> None:
    """Limits and the like may differ, and so may the path of the same bytes."""
    assert identity_of(settings()) == identity_of(settings(**changed))


def test_other_bytes_or_host() -> None:
    """Other bytes, another host or another plan are another run."""
    same = identity_of(settings())
    others = [
        identity_of(settings(), "abd", "host"),
        identity_of(settings(), "abc", "other"),
        identity_of(settings(), "abc", "host", plan="seal"),
    ]
    assert 4 == len({same, *others})


# -- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("a/customers.xlsx", "a/customers.batch"),
        ("-", "stdin.batch"),
        ("in/*.parquet", "in/_.batch"),
        ("x", "x.batch"),
        ("in/2?/p[1].pq", "in/2?.batch"),
    ],
)
def test_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, expected: str) -> None:
    """Runs lie beside their input, in a folder of its name without the ending."""
    monkeypatch.chdir(tmp_path)
    found = parent_of(argument)
    assert expected == str(found) if "2?" not in argument else not set("*?[") & set(str(found.parent))


def test_parent_of_a_folder(tmp_path: Path) -> None:
    """Runs on a folder of files lie beside it."""
    (tmp_path / "in").mkdir()
    assert tmp_path / "in.batch" == parent_of(f"{tmp_path}/in/")


def test_parent_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is named by a dot, or by two, has its runs beside itself, too."""
    (tmp_path / "in" / "more").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "in" / "more")
    assert (tmp_path / "in" / "more.batch", tmp_path / "in.batch") == (parent_of("."), parent_of(".."))


def test_parent_of_odd_names(tmp_path: Path) -> None:
    """A file whose name has brackets in it keeps its name."""
    (tmp_path / "a[1].csv").touch()
    assert tmp_path / "a[1].batch" == parent_of(str(tmp_path / "a[1].csv"))


def test_new_folders(tmp_path: Path) -> None:
    """Each run has a folder of its own, for this user only, also within one second."""
    made = [new_folder(tmp_path / "x.batch") for _ in range(3)]
    assert (3, {0o700}) == (len(set(made)), {one.stat().st_mode & 0o777 for one in [tmp_path / "x.batch", *made]})


def test_no_place(tmp_path: Path) -> None:
    """A place where no folder can be made is named, with the way out."""
    (tmp_path / "file").touch()
    with pytest.raises(FolderError) as caught:
        new_folder(tmp_path / "file" / "x.batch")
    expected = (
        f"{tmp_path}/file/x.batch: results cannot be written there (not a directory). Name another place with --out."
    )
    assert expected == str(caught.value)


def test_small_files(tmp_path: Path) -> None:
    """A small file is whole, for this user only, and replaces a link instead of following it."""
    (tmp_path / "target").write_text("mine")
    (tmp_path / "s.json").symlink_to(tmp_path / "target")
    write_private(tmp_path / "s.json", "é")
    assert ("é", "mine", 0o600) == (
        (tmp_path / "s.json").read_text(encoding="utf-8"),
        (tmp_path / "target").read_text(),
        (tmp_path / "s.json").lstat().st_mode & 0o777,
    )
    assert {"s.json", "target"} == set(os.listdir(tmp_path))


# -- finding the run to resume --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "meta", "is_resumed"),
    [
        ([Outcome.UPDATED], {}, True),
        ([Outcome.UPDATED, Outcome.FAILED], {}, True),
        ([Outcome.UNKNOWN, Outcome.UPDATED], {}, True),
        ([Outcome.UPDATED, Outcome.REJECTED], {}, False),
        ([Outcome.UNCHANGED, Outcome.INVALID], {}, False),
        ([Outcome.UPDATED, Outcome.UPDATED], {"exit_code": None}, True),
        ([Outcome.UPDATED, Outcome.FAILED], {"undone": "somewhere"}, False),
        ([Outcome.UPDATED, Outcome.FAILED], {"identity": "another"}, False),
    ],
)
def test_unfinished(tmp_path: Path, outcomes: list[Outcome], meta: dict[str, Any], is_resumed: bool) -> None:
    """A run is resumed while rows are left to retry or its files were not written, unless it was taken back."""
    folder = run_in(tmp_path / "x.batch" / "20260101-000000", *outcomes, **meta)
    assert (folder if is_resumed else None) == find_unfinished(tmp_path / "x.batch", OURS)


def test_newest_unfinished(tmp_path: Path) -> None:
    """Of several unfinished runs the newest is resumed; other folders and half-made ones are passed over."""
    for name in ("20260101-000000", "20260102-000000"):
        run_in(tmp_path / name, Outcome.UPDATED)
    (tmp_path / "20260103-000000").mkdir()
    (tmp_path / "check-20260104-000000").mkdir()
    (tmp_path / "file").touch()
    assert tmp_path / "20260102-000000" == find_unfinished(tmp_path, OURS)
    assert None is find_unfinished(tmp_path / "nothing", OURS)


def test_damaged_run(tmp_path: Path) -> None:
    """A run whose journal cannot be read blocks nothing: it is passed over with a line."""
    folder = run_in(tmp_path / "20260101-000000", Outcome.UPDATED)
    (folder / JOURNAL).write_bytes(b"x" * 999)
    notes: list[str] = []
    assert None is find_unfinished(tmp_path, OURS, notes.append)
    assert [f"{folder}: this run is passed over: {folder}/journal.sqlite: the record of an earlier run cannot be"] == [
        note.partition(" read (")[0] for note in notes
    ]


# -- what is our own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "is_ours"),
    [
        ("summary.json", '{"run_id": "check-1", "input_sha256": "0"}', True),
        ("plan.json", '{"batch": 1', True),
        ("journal.sqlite", "SQLite format 3 CREATE TABLE intent(", True),
        ("summary.json", '{"run_id": "of somebody else"}', False),
        ("plan.json", '{"plan": 1', False),
        ("journal.sqlite", "SQLite format 3 CREATE TABLE entries(", False),
        ("input.parquet", "PAR1", False),
        ("results.csv", "row,id", False),
    ],
)
def test_own(tmp_path: Path, name: str, text: str, is_ours: bool) -> None:
    """A folder is known as a run's, a check's or a plan's by what is in it: a name alone is anybody's."""
    (tmp_path / name).write_text(text)
    assert is_ours == is_own(tmp_path)


def test_own_from_the_start(tmp_path: Path) -> None:
    """A run that is about to begin, and one whose journal is damaged, are known as well."""
    (begun := tmp_path / "a").mkdir()
    (damaged := tmp_path / "20260101-000000").mkdir()
    (begun / ".lock").touch()
    (begun / "input.parquet").write_text("PAR1")
    (damaged / "journal.sqlite").write_text("xxx")
    assert is_own(begun)
    assert is_own(damaged)
    assert not is_own(tmp_path / "nothing")


def test_newest_first(tmp_path: Path) -> None:
    """Runs are in the order of their times, whatever they are, also those of one second and of other names."""
    names = ["20260101-000000", "undo-20260102-000000", "20260102-000001", "20260102-000001-2", "20260102-000001-10"]
    for name in (*names, "mine"):
        run_in(tmp_path / name, Outcome.UPDATED)
    (tmp_path / "latest").symlink_to(names[0])
    assert ["mine", *reversed(names)] == [one.name for one in list_runs(tmp_path)]


def test_parent_of_a_failures_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a failures file lie beside their first run, by whatever path it is named; of a copy beside itself."""
    monkeypatch.chdir(tmp_path)
    run = run_in(tmp_path / "x.batch" / "20260101-000000", Outcome.UPDATED)
    nested = run_in(run / "failures.batch" / "20260101-000001", Outcome.UPDATED)
    for folder in (run, nested, Path("x.batch") / run.name):
        assert Path("x.batch") == parent_of(str(folder / "failures.csv"))
    monkeypatch.chdir(run)
    assert tmp_path / "x.batch" == parent_of("failures.csv")
    assert tmp_path / "failures.batch" == parent_of(str(tmp_path / "failures.csv"))
    assert Path("mine") == parent_of(str(run / "failures.csv"), Path("mine"))


# -- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "staged",
    [
        STAGED,
        Staged(
            Path("input.parquet"),
            "x.xlsx",
            "xlsx",
            ("id",),
            2,
            "abc",
            style=SheetStyle(
                "S",
                3,
                2,
                formats=("General", "0.0"),
                looks=(CellStyle(), CellStyle(bold=True, fill="#FFFF00")),
                header_formats=(1,),
                widths=(12.5,),
            ),
        ),
    ],
    ids=["csv", "xlsx"],
)
def test_staged_input_is_kept(tmp_path: Path, staged: Staged) -> None:
    """What is known of the input comes back from the journal as it went in, also when the folder was moved."""
    meta = KNOWN | {"identity": ME, "staged": staged_as_meta(staged)}
    known = RunMetadata.from_journal(json.loads(json.dumps(meta)), tmp_path / "input.parquet")
    assert replace(staged, path=tmp_path / "input.parquet") == known.staged
    kept = json.loads(json.dumps(known.as_meta()))
    assert json.loads(json.dumps(meta)) == {name: kept[name] for name in meta}


def test_open_run(tmp_path: Path) -> None:
    """A run is opened with its journal, what is known of it, and its input."""
    folder = run_in(tmp_path / "a", Outcome.UPDATED)
    (folder / INPUT).touch()
    journal, metadata = open_run(folder)
    with journal:
        assert (ME, 2, {Outcome.UPDATED: 1}) == (metadata.identity, metadata.staged.rows, journal.outcomes())


def test_no_run(tmp_path: Path) -> None:
    """A folder without a run, or without its input, or with a damaged journal is refused; nothing was sent."""
    folder = run_in(tmp_path / "a", Outcome.UPDATED)
    with pytest.raises(FolderError) as no_run:
        open_run(tmp_path)
    with pytest.raises(FolderError) as no_input:
        open_run(folder)
    (folder / INPUT).touch()
    (folder / JOURNAL).write_bytes(b"")
    with pytest.raises(FolderError, match="the record of this run is damaged"):
        open_run(folder)
    assert f"{tmp_path}: there is no run in this folder (no journal.sqlite)." == str(no_run.value)
    assert f"{folder}: input.parquet is missing, so the rows of this run are not known any more." == str(no_input.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stopped": 7}, {"undoes": ["x"]}, {"exit_code": "0"}, {"sparse": "yes"}, {"options_again": "x"},
        {"options_again": [1]}, {"options_next": [None]}, {"definitions": [["a", "b"]]}, {"definitions": "x"},
        {"is_validated": "x"}, {"id_column": 2}, {"id_column": -1},
        {"seconds": "1"}, {"run_id": None}, {"staged": {}}, {"staged": "x"},
        {"definitions": [[1] * 4]}, {"staged": KEPT | {"dialect": None}}, {"staged": KEPT | {"format": "xlsx"}},
        {"staged": KEPT | {"rows": "2"}}, {"staged": KEPT | {"rows": -1}}, {"staged": KEPT | {"rows_": 2}},
        {"staged": KEPT | {"headers": "id"}}, {"staged": KEPT | {"format": "cvs"}}, {"staged": KEPT | {"style": {}}},
        {"staged": KEPT | STYLED | {"style": {"sheet": "S", "first_row": 0, "first_column": 1}}},
        {"staged": KEPT | STYLED | {"style": {"sheet": "S", "first_row": 1, "first_column": "A"}}},
        {"staged": KEPT | STYLED | {"style": STYLE | {"looks": [{}, {}]}}},
        {"staged": KEPT | STYLED | {"style": STYLE | {"looks": [{"fill": "red"}]}}},
        {"staged": KEPT | STYLED | {"style": STYLE | {"header_formats": [7]}}},
        {"staged": KEPT | STYLED | {"style": STYLE | {"widths": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}}},
        *({"staged": KEPT | {"dialect": KEPT["dialect"] | one}} for one in (
            {"encoding": "utf-x"}, {"encoding": "base64"}, {"delimiter": ""}, {"line_end": "\v"}, {"quoting": "mini"},
        )),
    ],
)  # fmt: skip
def test_journal_that_makes_no_sense(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """What is known of a run is of the kind that it must be, or the run is refused in words."""
    folder = run_in(tmp_path / "a", Outcome.UPDATED, **({"stopped": "x", "options_again": ["--limit"]} | wrong))
    (folder / INPUT).touch()
    with pytest.raises(FolderError) as caught:
        open_run(folder)
    expected = (
        f"{folder}/journal.sqlite: the record of this run is damaged (what it holds makes no sense). {START_OVER}"
    )
    assert expected == str(caught.value)


# -- locks ----------------------------------------------------------------------------------------------------------


def test_held(tmp_path: Path) -> None:
    """While one holds an input, another is told who it is; afterwards it is free."""
    lock = tmp_path / "x.lock"
    with held(lock, "this input", tmp_path / "run"):
        with pytest.raises(BusyError) as caught, held(lock, "this input", tmp_path / "other"):
            pass
        expected = (
            f"Another run holds this input: process {os.getpid()}, {tmp_path}/run. Wait for it, or stop it first."
        )
        assert (expected, ExitCode.BUSY) == (str(caught.value), caught.value.exit_code)
    with held(lock, "this input", tmp_path / "run"):
        pass
    assert not lock.with_suffix(".holder").exists()


def test_holder_that_died(tmp_path: Path) -> None:
    """The lock of a process that was killed is free."""
    program = (
        "import os, sys; from pathlib import Path; from batch.run.locks import held\n"
        "with held(Path(sys.argv[1]), 'this input', Path('run')): os._exit(9)"
    )
    lock = tmp_path / "x.lock"
    assert 9 == subprocess.run([sys.executable, "-c", program, str(lock)], check=False).returncode
    with held(lock, "this input", tmp_path):
        assert os.getpid() == json.loads(lock.with_suffix(".holder").read_text())["pid"]


def test_input_lock(tmp_path: Path) -> None:
    """An input has locks for each endpoint, host and owner by whatever path it is reached, and one where runs go."""

    def locks(*texts: str, parent: str = "x.batch") -> list[Path]:
        found = input_locks("a", "e", texts[0], texts[1:], tmp_path / parent)
        assert not found.shared
        return found.own

    one, beside = locks("h", "f")
    assert [one, tmp_path / "y.batch" / beside.name] == locks("h", "f", parent="y.batch")
    elsewhere, other = locks("i", "f")[0], locks("h", "g")[0]
    assert 3 == len({one, elsewhere, other})
    assert [one, other, beside] == locks("h", "f", "g")


NAMED, RENAMED, KEYED = {"company": "Acme"}, {"company": "Bolt"}, {"fingerprint": "g"}


@pytest.mark.parametrize(
    ("meta", "given", "is_same"),
    [
        ({}, OURS, True),
        (KEYED, OURS, False),
        ({"fingerprint": ""}, OURS, False),
        ({"fingerprint": ""}, Company(""), False),
        (NAMED, Company("f"), True),
        (NAMED, Company("f", "Acme"), True),
        (NAMED | KEYED, Company("f", "Acme"), True),
        (RENAMED, Company("f", "Acme"), False),
        (KEYED, Company("f", "Acme"), False),
    ],
)
def test_company(tmp_path: Path, meta: dict[str, Any], given: Company, is_same: bool) -> None:
    """A run is resumed for its own company: by the names where both have one, else by the keys; others are told."""
    folder = run_in(tmp_path / "20260101-000000", Outcome.UPDATED, **meta)
    notes: list[str] = []
    assert (folder if is_same else None) == find_unfinished(tmp_path, given, notes.append)
    assert (not is_same) == bool(notes)


def test_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What outlives runs lies where the system wants it, or in a private temporary folder when that cannot be."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert tmp_path / "state" / "batch" == state_folder()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert tmp_path / f"batch-{os.getuid()}" == state_folder()
