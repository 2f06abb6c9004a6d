"""Inputs from, and results to, an object store: real jobs over a small one in this process, which errs to order."""

import importlib.util
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import batch
from batch import machine
from batch.addresses import Address
from batch.commands import update as update_command
from batch.errors import InputError, SettingsError
from batch.remote import StorageAccess, object_store
from batch.remote.copy import _pattern
from batch.run import upload as run_upload
from batch.summary import Summary
from tests.remote.objects import BUCKET, Fault, Handler, Objects, refusal
from tests.shell import DUALENTRY, SUMMARY_KEYS, Api, Ended, Shell, iter_files, outcomes, summary

pytest.importorskip("obstore", reason="the extra cloud is not installed: ./run.sh extra cloud")
SHEET = b"id,name\n10001,Acme\n10002,Bolt\n"
SECRET = "never-shown"  # noqa: S105 - of nobody


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Iterator[Objects]:
    """An object store that the shell's environment opens."""
    monkeypatch.setattr(object_store, "RETRIES", 1)
    with Objects() as store:
        shell.environment |= store.variables
        yield store


def check(shell: Shell, key: str, *options: str) -> Ended:
    return shell.here("check", f"s3://{BUCKET}/{key}", "-e", DUALENTRY, *options)


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


# -- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["in/customers.csv", "customers.csv", "in/a b+c%20#é.csv"])
def test_one_object(shell: Shell, store: Objects, key: str) -> None:
    """An object is read as a file of its name."""
    store.objects[key] = SHEET
    ended = check(shell, key)
    assert (0, f"Copying s3://{BUCKET}/{key} …\n") == (ended.code, ended.err)
    assert ended.out.splitlines()[0].endswith(".csv: 2 rows, 2 columns")


@pytest.mark.parametrize(
    "key", ["in", "in/", "in/*.parquet", "*/*.parquet", "in/[ab].parquet", "**/*.parquet", "i*/**/[!c].parquet"]
)
def test_folder_and_pattern(shell: Shell, store: Objects, key: str) -> None:
    """A folder and a pattern mean what they mean on a disk; what lies in the folders of runs is no input."""
    store.objects |= {
        f"in/{name}.parquet": parquet(id=[number], name=["x"]) for number, name in enumerate("ab", 10_001)
    }
    store.objects |= {"in/": b"", "other.csv": b"x", "in/20260101-000000-0123abcd/results.parquet": parquet(row=[1])}
    store.objects["in/20260101-000000-0123abcd/summary.json"] = b'{"input_sha256": "0"}'
    ended = check(shell, key)
    assert (0, f"s3://{BUCKET}/{key}: 2 rows, 2 columns") == (ended.code, ended.out.splitlines()[0])


def test_listed_without_quotes(shell: Shell, store: Objects) -> None:
    """An object that a list names by its ETag without quotes, as those of Azure do, was not changed."""
    store.quote, store.objects["in/a.csv"] = "", SHEET
    assert (0, f"s3://{BUCKET}/in/: 2 rows, 2 columns") == (
        (ended := check(shell, "in/")).code,
        ended.out.split("\n")[0],
    )


def test_table_of_more_than_its_files(shell: Shell, store: Objects) -> None:
    """The copy of a folder has all that lies there, so that a table with a log is known as one."""
    store.objects |= {"in/a.parquet": parquet(id=[1]), "in/metadata/v1.metadata.json": b"{}"}
    ended = check(shell, "in/")
    assert 2 == ended.code
    assert "in/ belongs to a table of Apache Iceberg" in ended.err or "Apache Iceberg" in ended.err
    assert "batch-tmp" not in ended.err


@pytest.mark.parametrize(
    ("key", "expected"),
    [("a/b.csv", True), ("a/xb.csv", True), ("a/x/b.csv", False), ("a/b.csv.gz", False), ("ab.csv", False)],
)
def test_star(key: str, expected: bool) -> None:
    """A star stays within a part of the name."""
    assert expected is bool(_pattern("a/*b.csv").fullmatch(key))


def changing(handler: Handler, method: str, key: str) -> bool:
    """Answer another object than was listed."""
    return key.endswith(".parquet") and handler.give(b"PAR1", etag="another")


def breaking(handler: Handler, method: str, key: str) -> bool:
    """Break off in the middle, each time."""
    return handler.give(SHEET, size=5_000)


REFUSALS: list[tuple[str, Fault | None, str]] = [
    ("nothing.csv", None, "it does not exist: check the name."),
    ("nothing/", None, "there is nothing in this folder."),
    ("nothing*.csv", None, "no object has such a name."),
    ("a//b.csv", None, "this cannot be the name of an object: it has an empty part, or one of dots alone."),
    ("x.csv", refusal(404, "NoSuchBucket"), 'there is no bucket "bucket".'),
    ("x.csv", refusal(403, "AccessDenied"), ("it may not be read with these keys (AccessDenied). Ask for that "
     "permission, or give other keys.")),
    ("in/", refusal(403, "AccessDenied"), ("it may not be listed with these keys (AccessDenied). Ask for that "
     "permission, or give other keys.")),
    ("x.csv", refusal(403, "SignatureDoesNotMatch"), ("its keys are not accepted (SignatureDoesNotMatch). Set "
     "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give them with --storage-option.")),
    ("x.csv", refusal(301, "PermanentRedirect"), ("the service sends elsewhere: the bucket lies in another region. "
     "Name it: --storage-option region=….")),
    ("x.csv", refusal(503, "SlowDown"), "the service does not answer as it should (503). Try again later."),
    ("x.csv", breaking, "the connection broke off half-way, also when it was tried again."),
]  # fmt: skip


@pytest.mark.parametrize(("key", "fault", "said"), REFUSALS)
def test_refused(shell: Shell, store: Objects, key: str, fault: Fault | None, said: str) -> None:
    """What is not there, not permitted, or not whole is refused in words, and nothing is left behind."""
    store.fault = fault
    ended = check(shell, key)
    place = f"s3://{BUCKET}/{key.rstrip('/')}" if fault and key.endswith("/") else f"s3://{BUCKET}/{key}"
    assert (2, f"Copying s3://{BUCKET}/{key} …\n{place}: {said}\n") == (ended.code, ended.err)
    assert [] == list(shell.folder.iterdir())


def test_changed_while_it_was_copied(shell: Shell, store: Objects) -> None:
    """An object that is not the one that was listed stops the start."""
    store.objects["in/a.parquet"] = parquet(id=[1], name=["x"])
    store.fault = changing
    ended = check(shell, "in/")
    said = f"s3://{BUCKET}/in/a.parquet: it was changed while it was copied. Run the same command again."
    assert (2, said) == (ended.code, ended.err.splitlines()[-1])


def test_no_room(shell: Shell, store: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that does not fit is not begun; a disk that others fill meanwhile ends the copy."""
    store.objects["x.csv"] = SHEET
    usage, free = shutil.disk_usage("/"), [1 << 20, 1 << 20, 1 << 30, 1 << 20]
    monkeypatch.setattr(machine, "LOOK_EVERY", 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=free.pop(0)))
    ended = check(shell, "x.csv")
    assert (2, True) == (ended.code, "1 MB are free in " in ended.err)
    ended = check(shell, "x.csv")
    assert (2, True) == (ended.code, "after 0 MB there is no more room in " in ended.err), ended.err
    assert ([], []) == (free, list(shell.folder.iterdir()))


def test_no_service(shell: Shell, store: Objects) -> None:
    """A service that cannot be reached is told from an object that is not there."""
    shell.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    ended = check(shell, "x.csv")
    said = "the service cannot be reached: look at the network, and at the address of the service."
    assert (2, f"s3://{BUCKET}/x.csv: {said}") == (ended.code, ended.err.splitlines()[-1])


def test_no_keys(shell: Shell, store: Objects) -> None:
    """Without keys it is said which variables have them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del shell.environment[name]
    store.fault = refusal(404, "NoRole")
    ended = check(shell, "x.csv")
    said = (
        "there are no keys for it here. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give them with "
        "--storage-option."
    )
    assert (2, f"s3://{BUCKET}/x.csv: {said}") == (ended.code, ended.err.splitlines()[-1])


def test_extra_that_is_not_installed(shell: Shell, store: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a sentence says how it is installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr("batch.extras.find_spec", lambda name: None if name == "obstore" else find(name))
    ended = check(shell, "x.csv")
    written = shell.here("check", shell.sheet("id,name\n1,x\n"), "-e", DUALENTRY, "--out", "gs://b/runs")
    for one, what in ((ended, "reading s3://"), (written, "writing to gs://")):
        assert 2 == one.code
        assert one.err.startswith(f"What {what} addresses needs is not installed. Install it:  ")
        assert "[cloud]" in one.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nonsense=" + SECRET], "--storage-option nonsense: there is no such option. "),
        (["skip_signature=" + SECRET], "--storage-option: the value of skip_signature makes no sense."),
        (["region=a", "aws_region=" + SECRET], "--storage-option: one option is given twice, under two names."),
        (["allow_http=true"], "--storage-option allow_http: this is not taken. Name the host instead"),
        (["aws_allow_invalid_certificates=1"], "--storage-option aws_allow_invalid_certificates: this is not taken."),
        (["endpoint=http://minio.example:9000"], "--storage-option endpoint: rows would go to minio.example without "),
        ([SECRET], "Usage: "),
    ],
)
def test_storage_options(shell: Shell, store: Objects, options: list[str], said: str) -> None:
    """An option that makes no sense is named without its value."""
    ended = check(shell, "x.csv", *(word for one in options for word in ("--storage-option", one)))
    assert 2 == ended.code
    assert ended.err.splitlines()[-1].startswith(said) or ended.err.startswith(said)
    assert SECRET not in ended.err


def test_storage_options_open_it(shell: Shell, store: Objects) -> None:
    """Keys and address may be given as options, by the names that polars has, too."""
    url = shell.environment["AWS_ENDPOINT_URL"]
    for name in [one for one in shell.environment if one.startswith("AWS_")]:
        del shell.environment[name]
    store.objects["x.csv"] = SHEET
    given = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_endpoint_url": url, "read_timeout": "5s"}
    words = [word for name, value in given.items() for word in ("--storage-option", f"{name}={value}")]
    assert 0 == check(shell, "x.csv", *words).code
    again = {"BATCH_STORAGE_OPTION": "".join(f"{name}={value}\n" for name, value in given.items())}
    assert 0 == shell.here("check", f"s3://{BUCKET}/x.csv", "-e", DUALENTRY, env=again).code


def test_host_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service elsewhere is reached without encryption only where its host is permitted."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL: rows would go to minio"):
        _ = StorageAccess().client_options
    assert StorageAccess(allow_http="minio.example").client_options["allow_http"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert not StorageAccess().client_options["allow_http"]


@pytest.mark.parametrize(
    ("address", "kind"),
    [("s3a://b/x", "S3Store"), ("gs://b/x", "GCSStore"), ("az://c/x", "AzureStore"),
     ("abfss://c@acc.dfs.core.windows.net/x", "AzureStore"), ("abfs://c/x", "AzureStore")],
)  # fmt: skip
def test_clouds(address: str, kind: str) -> None:
    """Each scheme opens the store of its cloud."""
    options = {"account_name": "acc"} if address.startswith(("az", "abfs:")) else {}
    access = StorageAccess({"skip_signature": "true", **options})
    assert kind == type(object_store._open(Address.parse(address, ""), access)).__name__


# -- results ----------------------------------------------------------------------------------------------------------


def update(shell: Shell, api: Api, *options: object, out: str = f"s3://{BUCKET}/runs/") -> Ended:
    return shell.here(
        "update", f"s3://{BUCKET}/in/sheet.csv", "-e", DUALENTRY, *api.options, "--out", out, "--json", *options
    )


def latest(store: Objects) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.objects["runs/latest.json"])
    return found


def test_results(shell: Shell, store: Objects, api: Api) -> None:
    """What a run leaves is at the address when it ends, and the run itself on this machine; no key is in anything."""
    bad = "id,name,phone\n" + f"{api.ids(1)[0]},New,\n{api.ids(1)[0]},New,letters\n"
    store.objects["in/sheet.csv"] = bad.encode()
    ended = update(shell, api)
    run = shell.only_run()
    told = summary(run)
    assert (1, told) == (ended.code, ended.json)
    assert SUMMARY_KEYS == list(told)
    folder = f"runs/{run.name}-{told['run_id'][:8]}"
    files = ["failures.csv", "report.html", "results.csv", "summary.json"]
    assert {"runs": ["latest.json"], folder: files} == store.folders("runs/")
    place = f"s3://{BUCKET}/{folder}"
    kinds = {"results": "results.csv", "failures": "failures.csv", "report": "report.html", "summary": "summary.json"}
    where = {kind: f"{place}/{name}" for kind, name in kinds.items()}
    assert (where, where) == (told["uploaded"], latest(store)["files"])
    assert told == json.loads(store.objects[f"{folder}/summary.json"])
    assert store.objects[f"{folder}/results.csv"] == (run / "results.csv").read_bytes()
    now = latest(store)
    assert (told["run_id"], f"{place}/", "to fix", 1) == tuple(
        now[name] for name in ("run_id", "run", "state", "exit_code")
    )
    for path in iter_files(shell.folder.parent):
        assert SECRET.encode() not in path.read_bytes(), path
    next_input = shell.here("check", told["uploaded"]["failures"], "-e", DUALENTRY, "--json").json
    assert (1, told["run_id"]) == (next_input["rows"], next_input["parent_run"])


def test_what_is_shown(shell: Shell, store: Objects, api: Api) -> None:
    """A person is told where the results are."""
    store.objects["in/sheet.csv"] = api.names(1).encode()
    words = ["-e", DUALENTRY, *api.options, "--out", f"s3://{BUCKET}/runs", "--work-dir", "work"]
    ended = shell.here("update", f"s3://{BUCKET}/in/sheet.csv", *words)
    run = shell.only_run("work")
    said = f"Uploaded to:  s3://{BUCKET}/runs/{run.name}-{summary(run)['run_id'][:8]}/"
    assert (0, True) == (ended.code, said in ended.err)
    assert not (shell.folder / "s3:").exists()


def test_place_that_cannot_be_written(shell: Shell, store: Objects, api: Api) -> None:
    """Whether results can be written is known before anything is sent, and nothing is left behind."""
    store.objects["in/sheet.csv"] = api.names(1).encode()
    store.fault = lambda handler, method, key: method == "PUT" and handler.refuse(403, "AccessDenied")
    ended = update(shell, api)
    said = (
        f"s3://{BUCKET}/runs/latest.json: it may not be written with these keys (AccessDenied). Ask for that "
        "permission, or give other keys. Results are to go there (--out), so nothing was sent."
    )
    assert (2, said, "folder") == (ended.code, ended.json["stopped"]["message"], ended.json["stopped"]["reason"])
    assert ([], []) == (api.writes(), list(shell.folder.iterdir()))


def test_upload_that_fails(shell: Shell, store: Objects, api: Api) -> None:
    """An upload that fails changes no outcome and names the files here; the same command uploads them."""
    store.objects["in/sheet.csv"] = api.names(2).encode()
    store.fault = lambda handler, method, key: key.endswith("results.csv") and handler.refuse(507, "Full")
    ended = update(shell, api)
    run = shell.only_run()
    told = summary(run)
    assert (3, ended.json, ["updated", "updated"]) == (ended.code, told, outcomes(run))
    assert ("unfinished", {}, "upload", 2) == (
        told["state"], told["uploaded"], told["stopped"]["reason"], told["outcomes"]["updated"]
    )  # fmt: skip
    assert told["stopped"]["message"].endswith(f"So the results could not be uploaded; they are here: {run}")
    assert ("unfinished", 3, {}) == tuple(latest(store)[name] for name in ("state", "exit_code", "files"))
    listed = shell.here("runs")
    assert f"Go on:  batch update s3://{BUCKET}/in/sheet.csv -e {DUALENTRY} " in listed.out
    store.fault = None
    again = update(shell, api)
    assert (0, [run], 2) == (again.code, shell.runs(), len(api.writes()))
    assert ("finished", 2, told["run_id"]) == (
        again.json["state"], again.json["outcomes"]["updated"], latest(store)["run_id"]
    )  # fmt: skip
    assert store.objects[f"runs/{run.name}-{told['run_id'][:8]}/results.csv"] == (run / "results.csv").read_bytes()


def test_upload_that_fails_is_told(shell: Shell, store: Objects, api: Api) -> None:
    """On the screen, too, with the command that tries again."""
    store.objects["in/sheet.csv"] = api.names(1).encode()
    store.fault = lambda handler, method, key: key.endswith("results.csv") and handler.refuse(403, "AccessDenied")
    words = ["-e", DUALENTRY, *api.options, "--out", f"s3://{BUCKET}/runs"]
    ended = shell.here("update", f"s3://{BUCKET}/in/sheet.csv", *words)
    lines = ended.err.splitlines()
    assert 3 == ended.code
    assert any(one.startswith("Stopped: s3://bucket/runs/") and "could not be uploaded" in one for one in lines)
    assert any(one.startswith("To upload the results:  batch update s3://bucket/in/sheet.csv") for one in lines)


def test_a_start_that_could_not_begin(shell: Shell, store: Objects, api: Api) -> None:
    """After exit code 2, `latest.json` names no run: nobody takes an earlier one for this."""
    store.objects["in/sheet.csv"] = api.names(1).encode()
    assert 0 == update(shell, api).code
    del store.objects["in/sheet.csv"]
    assert 2 == update(shell, api).code
    now = latest(store)
    assert (None, None, None, 2) == tuple(now[name] for name in ("run_id", "run", "state", "exit_code"))


def test_stop_and_end(shell: Shell, store: Objects, api: Api) -> None:
    """A run that stops uploads what there is; when it goes on, what an earlier part left is not there any more."""
    store.objects["in/sheet.csv"] = api.names(3).encode()
    api.sandbox.set_faults("503=1.0")
    first = update(shell, api, "--max-attempts", "1")
    assert 3 == first.code
    place = first.json["uploaded"]["summary"].removeprefix(f"s3://{BUCKET}/").rpartition("/")[0]
    assert ["failures.csv", "report.html", "results.csv", "summary.json"] == store.folders("runs/")[place]
    assert "unfinished" == latest(store)["state"]
    api.sandbox.set_faults()
    assert 0 == update(shell, api).code
    assert ["report.html", "results.csv", "summary.json"] == store.folders("runs/")[place]
    assert "finished" == latest(store)["state"]


def cancelled(shell: Shell, store: Objects, api: Api, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """A run that is ended while it sends, whose results go to the store."""
    for name, value in (shell.environment | store.variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(shell.folder)
    api.sandbox.behave(latency=0.05)
    try:
        return batch.update(
            shell.sheet(api.names(20)), endpoint=DUALENTRY, base_url=api.url, compare=False, max_at_once=1,
            max_per_second=2000, out=f"s3://{BUCKET}/runs", cancel=Happened(lambda: bool(api.writes())), grace=0.0,
        )  # fmt: skip
    finally:
        api.sandbox.behave(latency=0.0)


class Happened:
    """An event that looks."""

    def __init__(self, is_set: Callable[[], bool]) -> None:
        self.is_set = is_set


@pytest.mark.parametrize("hangs", ["results.csv", "latest.json"])
def test_no_time_for_the_upload(
    shell: Shell, store: Objects, api: Api, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    """An upload after a signal ends in time, which is said here and there; the same command uploads."""
    monkeypatch.setattr(update_command, "FILES_SECONDS", 0.6)
    monkeypatch.setattr(run_upload, "SOON", 0.6)
    released, begun = threading.Event(), threading.Event()

    def hang(handler: Handler, method: str, key: str) -> bool:
        if key.endswith(hangs) and (begun.is_set() or hangs != "latest.json"):
            released.wait(20)
        begun.set()  # the first one says that it goes on
        return False

    store.fault = hang
    began = time.monotonic()
    try:
        ended = cancelled(shell, store, api, monkeypatch)
    finally:
        released.set()
    assert time.monotonic() - began < 15
    assert (130, "unfinished", {}) == (ended.exit_code, ended.state, dict(ended.uploaded))
    assert ended.stopped is not None
    no_time = f"s3://{BUCKET}/runs: there was no time left for the upload (--grace). So the results could not be"
    assert ended.stopped.message.startswith(f"Interrupted. {no_time} uploaded; they are here: "), ended.stopped
    assert ended.as_dict() == summary(Path(ended.run))
    assert Path(ended.files["results"]).is_file()
    if hangs == "results.csv":
        assert ("unfinished", 130, {}) == tuple(latest(store)[name] for name in ("state", "exit_code", "files"))
    store.fault = None
    words = ["-e", DUALENTRY, *api.options, "--no-compare", "--out", f"s3://{BUCKET}/runs", "--json"]
    again = shell.here("update", "sheet.csv", *words)
    assert (0, ended.run_id, "finished") == (again.code, again.json["run_id"], latest(store)["state"])


def test_no_time_for_the_files(shell: Shell, store: Objects, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there was no time for the files either, the address says that the run stopped."""
    monkeypatch.setattr(update_command, "FILES_SECONDS", -1.0)
    ended = cancelled(shell, store, api, monkeypatch)
    assert ended.stopped is not None
    assert ended.stopped.message.endswith(" makes them. The same command uploads them.")
    told = latest(store)
    assert ("unfinished", 130, ended.run_id, {}) == tuple(
        told[name] for name in ("state", "exit_code", "run_id", "files")
    )


@pytest.mark.parametrize("library", [False, True])
def test_resume(shell: Shell, store: Objects, api: Api, monkeypatch: pytest.MonkeyPatch, library: bool) -> None:
    """A run whose input was moved goes on by its folder, and its results go where they went before."""
    sheet, out = shell.sheet(api.names(3)), f"s3://{BUCKET}/runs"
    api.sandbox.set_faults("503=1.0")
    words = ["-e", DUALENTRY, *api.options, "--out", out]
    assert 3 == shell.here("update", sheet, *words, "--max-attempts", "1").code
    api.sandbox.set_faults()
    (shell.folder / sheet).unlink()
    run, (place,) = shell.only_run(), store.folders("runs/2")
    shown = run.relative_to(shell.folder)
    assert f"Go on:  batch resume {shown} --base-url {api.url} --out {out}" in shell.here("runs").out
    refused = shell.here("resume", run, *api.options, "--out", "elsewhere")
    assert (2, True) == (refused.code, "--out elsewhere: a run is gone on with in its own folder" in refused.err)
    refused = shell.here("resume", run, *api.options)
    named = f"Name it:  --out {out}    To leave them here alone:  --out sheet.batch"
    assert (2, True) == (refused.code, named in refused.err.replace("\n", " ")), refused.err
    assert "unfinished" == latest(store)["state"]
    if library:
        for name, value in (shell.environment | store.variables).items():
            monkeypatch.setenv(name, value)
        ended = batch.resume(run, base_url=api.url, max_per_second=2000, out=out)
        code, told = ended.exit_code, ended.as_dict()
    else:
        gone_on = shell.here("resume", run, *api.options, "--out", out, "--json")
        code, told = gone_on.code, gone_on.json
    assert (0, f"{out}/{place.removeprefix('runs/')}/results.csv") == (code, told["uploaded"]["results"])
    assert ["report.html", "results.csv", "summary.json"] == store.folders("runs/")[place]
    assert ("finished", told["run_id"]) == (latest(store)["state"], latest(store)["run_id"])
    assert store.objects[f"{place}/results.csv"] == (run / "results.csv").read_bytes()


def test_resume_without_the_address(shell: Shell, store: Objects, api: Api) -> None:
    """Whoever names the folder around the run leaves its results there."""
    sheet = shell.sheet(api.names(1))
    api.sandbox.set_faults("503=1.0")
    words = ["-e", DUALENTRY, *api.options, "--out", f"s3://{BUCKET}/runs"]
    assert 3 == shell.here("update", sheet, *words, "--max-attempts", "1").code
    api.sandbox.set_faults()
    ended = shell.here("resume", shell.only_run(), *api.options, "--out", "sheet.batch", "--json")
    assert (0, {}, "unfinished") == (ended.code, ended.json["uploaded"], latest(store)["state"])


def test_resume_that_keeps_no_values(shell: Shell, store: Objects, api: Api) -> None:
    """A run that is to keep no values has none at an address either, also when it is gone on with."""
    sheet = shell.sheet(api.names(1))
    api.sandbox.set_faults("503=1.0")
    assert 3 == shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--no-keep-data", "--max-attempts", "1").code
    api.sandbox.set_faults()
    ended = shell.here("resume", shell.only_run(), *api.options, "--out", f"s3://{BUCKET}/runs")
    assert (2, True) == (ended.code, f"and --out s3://{BUCKET}/runs would: leave one of them out." in ended.err)
    assert [] == api.applied()


def test_machine_that_is_gone(shell: Shell, store: Objects, api: Api, tmp_path: Path) -> None:
    """Where the folder and the index are gone, the same command begins anew by comparing, beside the first results."""
    store.objects["in/sheet.csv"] = api.names(2).encode()
    assert 0 == update(shell, api, "--work-dir", tmp_path / "one").code
    shell.environment["XDG_STATE_HOME"] = str(tmp_path / "fresh")
    again = update(shell, api, "--work-dir", tmp_path / "two")
    assert (0, 2, 2) == (again.code, again.json["outcomes"]["unchanged"], len(api.writes()))
    assert 3 == len(store.folders("runs"))


def test_undo_plan_and_check(shell: Shell, store: Objects, api: Api) -> None:
    """What other commands write goes there, too; a run of an address can be taken back by its name."""
    store.objects["in/sheet.csv"] = api.names(1).encode()
    words = [f"s3://{BUCKET}/in/sheet.csv", "-e", DUALENTRY, "--out", f"s3://{BUCKET}/runs", "--json"]
    checked = shell.here("check", *words).json
    planned = shell.here("plan", *words, *api.options[:-1]).json
    assert ({"summary"}, {"plan", "cells", "report", "summary"}) == (set(checked["uploaded"]), set(planned["uploaded"]))
    assert 0 == update(shell, api).code
    named = shell.here("undo", f"s3://{BUCKET}/in/sheet.csv", *api.options)
    assert (2, True) == (named.code, "name the run to take back:  " in named.err)
    (run,) = [one for one in shell.runs() if one.name[:1].isdigit()]
    undone = shell.here("undo", run, *api.options, "--out", f"s3://{BUCKET}/undos", "--json")
    assert (0, {"report", "results", "summary"}) == (undone.code, set(undone.json["uploaded"]))
    assert 1 == len(store.folders("undos/20")) or len(store.folders("undos/undo-")) == 1


@pytest.mark.parametrize("command", ["results", "resume", "status", "purge"])
def test_commands_on_folders(offline: Shell, command: str) -> None:
    """A command on a run folder says of an address where that folder is."""
    ended = offline.here(command, f"s3://{BUCKET}/runs/x")
    assert 2 == ended.code
    assert f"s3://{BUCKET}/runs/x: this is an address, and a run lies in a folder of the machine" in ended.err


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("hdfs://b/runs", "--out hdfs://b/runs: hdfs:// is not known. "),
        ("s3:/b/runs", "--out s3:/b/runs: this is an address that lost a slash"),
        ("https://b/runs", "--out https://b/runs: results cannot be written there. "),
        (f"s3://b/runs?{SECRET}", "--out s3://b/runs?…: this address has a ? or a user name in it. "),
        ("s3://b/runs-*", "--out s3://b/runs-*: this is a pattern. "),
    ],
)
def test_places_that_there_are_not(offline: Shell, out: str, said: str) -> None:
    """No address ever becomes a folder of that name, and none that cannot be written is taken."""
    ended = offline.here("update", offline.sheet("id,name\n1,x\n"), "-e", DUALENTRY, "--out", out)
    assert (2, True) == (ended.code, ended.err.startswith(said)), ended.err
    assert SECRET not in ended.err
    assert ["sheet.csv"] == [one.name for one in offline.folder.iterdir()]


@pytest.mark.parametrize(
    "words",
    [
        ["pull", "-e", DUALENTRY, "--sandbox", "-o", "s3://b/x.csv"],
        ["template", "-e", DUALENTRY, "-o", "s3://b/x.csv"],
        ["update", "sheet.csv", "-e", DUALENTRY, "--plan", "s3://b/plan"],
    ],
)
def test_files_of_this_machine(offline: Shell, words: list[str]) -> None:
    """Where a file of this machine is meant, an address is refused as one."""
    offline.sheet("id,name\n1,x\n")
    ended = offline.here(*words)
    assert 2 == ended.code
    assert "s3://b/" in ended.err
    assert "this is an address" in ended.err or "Copy it here" in ended.err
    assert not (offline.folder / "s3:").exists()


def test_library(store: Objects, shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library takes addresses and options as the command does; a Path, which spoils an address, is refused."""
    monkeypatch.chdir(tmp_path)
    store.objects["in/sheet.csv"] = api.names(1).encode()
    variables = store.variables
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", variables.pop("AWS_METADATA_ENDPOINT"))
    made = batch.update(
        f"s3://{BUCKET}/in/sheet.csv", endpoint=DUALENTRY, base_url=api.url, credentials=api.sandbox.environment(),
        out=f"s3://{BUCKET}/runs", work_dir=tmp_path / "work", max_per_second=2000.0, storage_option=variables,
    )  # fmt: skip
    assert (0, 1, tmp_path / "work") == (made.exit_code, made.outcomes.updated, Path(made.run).parent)
    assert made.uploaded["results"].startswith(f"s3://{BUCKET}/runs/")
    with pytest.raises(SettingsError, match="lost a slash"):
        batch.check(Path(f"s3://{BUCKET}/in/sheet.csv"), endpoint=DUALENTRY)
    with pytest.raises(InputError, match="it does not exist"):
        batch.check(f"s3://{BUCKET}/nothing.csv", endpoint=DUALENTRY, storage_option=variables)
