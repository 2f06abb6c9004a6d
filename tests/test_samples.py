"""Every file in `samples/` does what is written beside it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import polars as pl
import pytest

from tests.shell import ROOT, Shell, assert_balanced, summary

SAMPLES = ROOT / "samples"
EXPECTED = ".expected.toml"


def samples() -> list[str]:
    """Those with an expectation: whatever else lies there, a person has left."""
    return sorted(path.name.removesuffix(EXPECTED) for path in SAMPLES.glob("*" + EXPECTED))


def as_csv(folder: Path) -> str:
    path = folder / "results.parquet"
    return pl.read_parquet(path).write_csv() if path.exists() else (folder / "results.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", samples())
def test_sample(name: str, offline: Shell) -> None:
    """A sample ends as the file beside it says, row by row."""
    expected = tomllib.loads((SAMPLES / (name + EXPECTED)).read_text(encoding="utf-8"))
    shutil.copy(SAMPLES / name, offline.folder)
    command = ["update", name, "-e", expected["endpoint"], "--sandbox", "--out", "runs", *expected["options"]]
    ended = offline.here(*command)
    out = offline.only_run("runs")
    assert expected["results"].lstrip("\n") == as_csv(out)
    assert (expected["exit_code"], "") == (ended.code, ended.out)
    assert ended.code == summary(out)["exit_code"]
    if (out / "results.csv").exists():
        assert_balanced(out)


def test_every_sample_has_its_expectation() -> None:
    """What is in the repository, or named in the README, has an expectation beside it; none is left over."""
    listed = subprocess.run(["git", "ls-files", "samples"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - found on the PATH, wherever it is
    named = re.findall(r"samples/[\w-]+\.(?:csv|xlsx|parquet)", (ROOT / "README.md").read_text(encoding="utf-8"))
    inputs = [name for name in listed.stdout.split() if re.fullmatch(r"samples/[^/]+(?<!\.png)(?<!\.toml)", name)]
    expected = {Path(name).name for name in [*named, *inputs] if not name.endswith(EXPECTED)}
    assert expected <= set(samples())
    assert all((SAMPLES / name).is_file() for name in samples())


def test_samples_of_all_kinds() -> None:
    """There is a sample of every format and of both APIs."""
    assert {".csv", ".xlsx", ".parquet"} <= {Path(name).suffix for name in samples()}
    assert any("vayu" in name for name in samples())
