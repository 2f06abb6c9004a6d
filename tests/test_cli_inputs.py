"""Inputs of every kind, from the command to the failures file, which is the next input as it is."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

import batch
from batch.exact_json import decode
from tests.shell import DUALENTRY, Api, Shell, results, summary, update


def write(folder: Path, kind: str, ids: Sequence[str]) -> str:
    """Write a row that is sound and one that is not as an input of this kind; gives its name."""
    frame = pl.DataFrame({"id": [*map(int, ids)], "phone": ["+31 20 1234567", "ext. 5"]})
    text = frame.write_csv()
    match kind:
        case "gzip":
            (folder / "in.csv.gz").write_bytes(gzip.compress(text.encode()))
            return "in.csv.gz"
        case "ndjson":
            (folder / "in.ndjson").write_text(frame.write_ndjson())
            return "in.ndjson"
        case "arrow":
            frame.write_ipc(folder / "in.arrow")
            return "in.arrow"
        case "delta":
            pytest.importorskip("deltalake", reason="the extra delta: ./run.sh extra delta")
            frame.write_delta(folder / "in")
            return "in"
        case "several":
            for at in range(2):
                (folder / f"{at}.csv").write_text(frame[at].write_csv())
            return "[01].csv"
    for at in range(2):
        part = folder / "in" / f"tier={at}"
        part.mkdir(parents=True)
        frame[at].write_parquet(part / "part-0.parquet")
    return "in"


@pytest.mark.parametrize(
    ("kind", "failures", "parent"),
    [
        ("gzip", "failures.csv", "in.batch"),
        ("ndjson", "failures.ndjson", "in.batch"),
        ("arrow", "failures.parquet", "in.batch"),
        ("delta", "failures.parquet", "in.batch"),
        ("several", "failures.csv", "_01_.batch"),
        ("partitions", "failures.parquet", "in.batch"),
    ],
)
def test_round_trip(shell: Shell, api: Api, kind: str, failures: str, parent: str) -> None:
    """Each kind is sent, and its failures file is the next input without a further word."""
    name, options = write(shell.folder, kind, api.ids(2)), ["--map", "tier="] if kind == "partitions" else []
    ended = shell.here(*update(api, name, *options))
    run = shell.only_run(parent)
    assert (1, {"updated": 1, "invalid": 1}) == (
        ended.code,
        {outcome: count for outcome, count in summary(run)["outcomes"].items() if count},
    )
    assert [str(run / failures)] == [path for what, path in summary(run)["files"].items() if what == "failures"]
    again = shell.here(*update(api, (run / failures).relative_to(shell.folder), *options))
    (second,) = [one for one in shell.runs(parent) if one != run]
    assert (1, summary(run)["run_id"]) == (again.code, summary(second)["parent_run"])
    told = [summary(one)["reasons"][0]["message"] for one in (run, second)]
    assert told == ["has letters in it (use digits, spaces and + - . ( ) only)"] * 2
    assert 1 == len(api.writes())


def test_files_of_rows(shell: Shell, api: Api) -> None:
    """Of several files each row says its file and its number there, in the results, the failures and on the screen."""
    write(shell.folder, "several", api.ids(2))
    ended = shell.here(*update(api, "0.csv", "1.csv"))
    run = shell.only_run("0+1.batch")
    assert [("0.csv", "2"), ("1.csv", "2")] == [(one["batch_file"], one["batch_file_row"]) for one in results(run)]
    failed = pl.read_csv(run / "failures.csv", infer_schema=False).row(0, named=True)
    assert ("3", "1.csv", "2") == (failed["batch_row"], failed["batch_file"], failed["batch_file_row"])
    assert 'row 3 (1.csv row 2: "ext. 5")' in ended.err
    assert ("{0.csv,1.csv}", "latest-0.csv+1") == (summary(run)["input"], sorted(run.parent.glob("latest-*"))[0].name)
    assert "2 files are read as one table: 0.csv, 1.csv." in ended.err


def test_keep(shell: Shell, api: Api) -> None:
    """--keep carries columns along, typed where the input is; with --key the record's own id is there, too."""
    (number,) = api.ids(1)
    key = f"C-{number}"
    pl.DataFrame(
        {"unique_id": [key, "nobody"], "name": ["Acme Two", "x"], "crm": [7, 8], "status": ["a", "b"]}
    ).write_parquet(shell.folder / "in.parquet")
    words = update(api, "in.parquet", "--key", "unique_id", "--columns", "unique_id,name", "--keep", "crm,status")
    assert 1 == shell.here(*words).code
    found = pl.read_parquet(shell.only_run("in.batch") / "results.parquet")
    assert [(key, 7, "a", number), ("nobody", 8, "b", None)] == (
        found.select("id", "crm", "input.status", "record_id").rows()
    )
    assert pl.Int64 == found.schema["crm"]
    made = batch.write_results(shell.only_run("in.batch"), keep=["name"])
    assert ["name", "record_id"] == pl.read_parquet(made.files["results"]).columns[-2:]


def test_keep_of_a_csv(shell: Shell, api: Api) -> None:
    """Results in CSV have further columns on request only, and nothing in them is a formula."""
    (number,) = api.ids(1)
    sheet = shell.sheet(f"unique_id,name,=x\nC-{number},Acme Two,=1+1\n")
    words = update(api, sheet, "--key", "unique_id", "--map", "=x=")
    assert 0 == shell.here(*words).code
    assert ["row,id,outcome,status,attempts,field,message"] == (
        (shell.only_run() / "results.csv").read_text().splitlines()[:1]
    )
    assert 0 == shell.here("results", shell.only_run(), "--keep", "=x").code
    assert [
        "row,id,outcome,status,attempts,field,message,'=x,record_id",
        f"2,C-{number},updated,200,1,,,'=1+1,{number}",
    ] == (shell.only_run() / "results.csv").read_text().splitlines()


def test_keep_what_there_is_not(shell: Shell, api: Api) -> None:
    """A column that is not there is told before anything is sent, and nothing is left behind."""
    ended = shell.here(
        *update(api, shell.sheet("id,name,x,X\n10001,Acme,a,b\n"), "--columns", "id,name", "--keep", "y,x")
    )
    assert (2, [], []) == (ended.code, api.writes(), shell.runs())
    assert (
        '--keep: there is no header "y" in sheet.csv.\n--keep: sheet.csv has more than one header "x".\n'
        "Nothing was sent.\n"
    ) == ended.err


def test_library_takes_several(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes several paths as a list, and columns as the command does."""
    monkeypatch.chdir(shell.folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(shell.folder / "state"))
    write(shell.folder, "several", ["10001", "10002"])
    found = batch.check([Path("0.csv"), "1.csv"], endpoint=DUALENTRY, columns=["id", "phone"])
    assert (2, 1, "{0.csv,1.csv}") == (found.rows, found.outcomes.invalid, found.input)
    with pytest.raises(batch.BatchError, match=r"No file was named\."):
        batch.check([], endpoint=DUALENTRY)


def test_keep_of_no_rows(shell: Shell, api: Api) -> None:
    """Results without lines have all their columns, with their types."""
    schema = {"id": pl.Int64, "name": pl.String, "crm": pl.Int32}
    (shell.folder / "in").mkdir()
    for name in "ab":
        pl.DataFrame(schema=schema).write_parquet(shell.folder / "in" / f"{name}.parquet")
    assert 0 == shell.here(*update(api, "in", "--columns", "id,name", "--keep", "crm")).code
    found = pl.read_parquet(shell.only_run("in.batch") / "results.parquet")
    assert ({"batch_file": pl.String, "batch_file_row": pl.UInt32, "crm": pl.Int32}, 0) == (
        dict(list(found.schema.items())[-3:]),
        found.height,
    )


def test_malformed_row_of_another_file(shell: Shell, api: Api) -> None:
    """A malformed row of a file in another order stands in one cell, so that nothing comes under other headers."""
    one, other = api.ids(2)
    shell.sheet(f"id,name\n{one},Acme,x\n", "a.csv")
    shell.sheet(f"name,id\nAcme, Inc.,{other}\n", "b.csv")
    assert 1 == shell.here(*update(api, "a.csv", "b.csv")).code
    failures = shell.only_run("a+1.batch") / "failures.csv"
    _, first, second = csv.reader(failures.read_text().splitlines())
    assert ([one, "Acme", "x", "2"], [f"Acme, Inc.,{other}", "3"]) == (first[:4], second[:2])
    again = shell.here("check", failures.relative_to(shell.folder), "-e", DUALENTRY, "--json").json
    assert (2, 2) == (again["rows"], again["outcomes"]["invalid"])


def test_names_of_a_start_that_could_not_begin(shell: Shell) -> None:
    """Where the words make no sense, no link leads to an earlier run of the same files, and the document names them."""
    for name in ("a.csv", "b.csv"):
        shell.sheet("id,name\n10001,Acme\n", name)
    parent = shell.folder / "a+1.batch"
    assert 0 == shell.here("check", "a.csv", "b.csv", "-e", DUALENTRY, "--out", "a+1.batch").code
    assert (parent / "latest").is_symlink()
    told = shell.here("check", "a.csv", "b.csv", "-e", DUALENTRY, "--bogus", "--json").json
    assert (2, "{a.csv,b.csv}") == (told["exit_code"], told["input"])
    assert not (parent / "latest").is_symlink()


def test_rounds_of_ndjson(shell: Shell, api: Api) -> None:
    """A line keeps what it was, digit by digit; what an earlier failures file added is replaced, or dropped."""
    for name, number in zip("ab", api.ids(2), strict=True):
        shell.sheet(f'{{"id": {number}, "phone": "ext. 5", "x": [1.50, {{"y": 1E5}}]}}\n', f"{name}.ndjson")
    assert 1 == shell.here(*update(api, "*.ndjson", "--map", "x=")).code
    (first,) = shell.runs("_.batch")
    lines = [decode(one) for one in (first / "failures.ndjson").read_text().splitlines()]
    assert [("a.ndjson", 1), ("b.ndjson", 1)] == [(one["batch_file"], one["batch_file_row"]) for one in lines]
    again = (first / "failures.ndjson").relative_to(shell.folder)
    assert 1 == shell.here(*update(api, again, "--map", "*=")).code
    second = next(one for one in shell.runs("_.batch") if one != first) / "failures.ndjson"
    for text in second.read_text().splitlines():
        assert '"x":[1.50,{"y":1E5}]' in text
        assert (False, 1) == ("batch_file" in text, text.count('"batch_row"'))
