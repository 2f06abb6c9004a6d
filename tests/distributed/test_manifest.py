"""JOBS.toml: what it says is checked as a whole before anything is sent."""

from pathlib import Path

import pytest

from batch.distributed.manifest import in_sandbox, read_manifest, sandbox_key
from batch.errors import SettingsError
from batch.run.target import Environment
from batch.shard import Shard
from tests.shell import ROOT


def manifest(folder: Path, text: str) -> Path:
    path = folder / "jobs.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_and_jobs(tmp_path: Path) -> None:
    """Defaults hold for all jobs, a job's own values go first, and paths are those of the manifest's folder."""
    path = manifest(
        tmp_path,
        '[defaults]\nendpoint = "dualentry.customers"\nmax-wait = 9\nshards = 3\n'
        '[[job]]\nname = "a"\ninput = "in/a.csv"\ntoken_env = "A"\nmap = { "Cust#" = "id" }\n'
        '[[job]]\nname = "b"\ninput = "b*.csv"\nout = "runs/b"\nshards = 1\nmax_wait = 5\ntoken_file = "/run/b"\n',
    )
    one, two = read_manifest(path).jobs
    assert ("A", [Shard(1, 3), Shard(2, 3), Shard(3, 3)]) == (one.token_env, one.shard_list)
    assert {
        "endpoint": "dualentry.customers", "max_wait": 9, "input": str(tmp_path / "in/a.csv"), "map": {"Cust#": "id"},
        "out": str(tmp_path / "jobs.batch/a"),
    } == one.options  # fmt: skip
    assert (tmp_path / "runs/b", [None], 5) == (two.parent, two.shard_list, two.options["max_wait"])
    assert (str(tmp_path / "b*.csv"), "/run/b") == (two.options["input"], two.options["token_file"])


def test_all_that_is_wrong(tmp_path: Path) -> None:
    """All mistakes are told at once, each with its job and what was seen."""
    job = '[[job]]\nendpoint = "dualentry.customers"\ninput = "a.csv"\n'
    path = manifest(
        tmp_path,
        f'[other]\n{job}name = "a"\nshards = 0\n{job}name = "b"\nmax_wiat = 9\n{job}name = "../c"\n'
        f'{job}name = "d"\nmax_wait = "x"\n{job}name = "e"\ntoken_env = "E"\ntoken_file = "e"\n'
        f'[[job]]\nname = "f"\ninput = "a.csv"\n{job}name = "g"\nout = "s3://a/b"\n{job}name = "h"\n{job}name = "h"\n'
        '[[job]]\nname = "i"\nendpoint = "none"\ninput = "-"\n',
    )
    with pytest.raises(SettingsError) as caught:
        read_manifest(path)
    said = str(caught.value).replace(f"{path}, job ", "").replace(f"{path}: ", "").splitlines()
    out = tmp_path / "jobs.batch" / "h"
    assert [
        "there is no table [other]. A manifest has [defaults] and [[job]].",
        "a: shards 0: it should be a whole number from 1 to 10,000.",
        'b: there is no setting "max_wiat" of a job; did you mean max_wait?',
        "../c: name '../c': it should be letters, digits, dots and dashes, such as acme-us.",
        "d: max-wait 'x': it should be a valid number.".replace("a valid number", "a number"),
        "e: token_env, token_file, token_command and as: name one of them.",
        "f: there is no endpoint.",
        "g: out s3://a/b: shards are put together in a folder. Name a folder.",
        "i: input -: workers cannot read standard input. Name a file.",
        "name h: several jobs have it.",
        f"out {out}: several jobs have it.",
        "Nothing was sent.",
    ] == [line.replace(": max-wait", ": max-wait").replace("d: max-wait 'x', ", "d: ") for line in said]


def test_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they say of how fast and how careful a job is counts where the manifest does not say it."""
    monkeypatch.chdir(tmp_path)
    path = manifest(
        tmp_path,
        '[defaults]\nendpoint = "dualentry.customers"\n[[job]]\nname = "a"\ninput = "a.csv"\n'
        '[[job]]\nname = "b"\ninput = "b.csv"\nlimiter = "redis://own"\nmax_at_once = 2\n',
    )
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "config.toml").write_text('max-per-second = 0.5\nmax-wait = 7\nmap = { "No" = "id" }\n')
    address = "rediss://:secret-word@host/1"
    given = {"BATCH_LIMITER": address, "BATCH_MAX_WAIT": "9", "BATCH_CANARY": "5", "BATCH_OUT": "elsewhere"}
    one, two = read_manifest(path, Environment(given | {"XDG_CONFIG_HOME": str(tmp_path)})).jobs
    around = {"max_per_second": 0.5, "max_wait": 9.0, "canary": 5}
    fixed = {"endpoint": "dualentry.customers", "input": str(tmp_path / "a.csv"), "out": str(tmp_path / "jobs.batch/a")}
    assert fixed | around | {"limiter": address} == one.options
    assert around | {"limiter": "redis://own", "max_at_once": 2} == {
        name: value for name, value in two.options.items() if name not in fixed
    }
    assert "secret-word" not in repr(one)
    with pytest.raises(SettingsError) as caught:
        read_manifest(path, Environment({"BATCH_LIMITER": "http://:secret-word@host"}))
    said = "--limiter …: it should be an address such as redis://host:6379/0, or rediss:// with encryption."
    assert f"{said}\nNothing was sent." == str(caught.value)


@pytest.mark.parametrize("text", ["", "[[job", "job = 1\n", "[defaults]\n"])
def test_no_manifest(tmp_path: Path, text: str) -> None:
    """A file that names no jobs says how one is written, or why it cannot be read."""
    with pytest.raises(SettingsError, match=r"names no jobs|cannot be read"):
        read_manifest(manifest(tmp_path, text))


def test_the_sample() -> None:
    """The sample is a manifest, and in a sandbox each job has a key and a folder of its own, and no option for one."""
    sample = read_manifest(ROOT / "samples" / "jobs.toml")
    found = in_sandbox(sample, "http://127.0.0.1:9")
    assert [one.parent / "sandbox" for one in sample.jobs] == [one.parent for one in found.jobs]
    assert ["acme-us", "acme-eu", "vayu"] == [one.name for one in found.jobs]
    assert 3 == len({sandbox_key(one) for one in found.jobs})
    assert {("http://127.0.0.1:9", None)} == {(one.options["base_url"], one.token_env) for one in found.jobs}
