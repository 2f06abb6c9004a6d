"""Every file in `samples/` does what is written beside it."""

import shutil
import tomllib
from pathlib import Path

import polars as pl
import pytest

from tests.shell import ROOT, Shell, assert_balanced, summary

SAMPLES = ROOT / "samples"
EXPECTED = ".expected.toml"


def samples() -> list[str]:
    return sorted(path.name for path in SAMPLES.iterdir() if not path.name.endswith(EXPECTED))


def as_csv(folder: Path) -> str:
    path = folder / "results.parquet"
    return pl.read_parquet(path).write_csv() if path.exists() else (folder / "results.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", samples())
def test_sample(name: str, offline: Shell) -> None:
    """A sample ends as the file beside it says, row by row."""
    expected = tomllib.loads((SAMPLES / (name + EXPECTED)).read_text(encoding="utf-8"))
    shutil.copy(SAMPLES / name, offline.folder)
    out = offline.folder / "run"
    command = ["update", name, "-e", expected["endpoint"], "--sandbox", "--out", out, *expected["options"]]
    ended = offline.here(*command)
    assert expected["results"].lstrip("\n") == as_csv(out)
    assert (expected["exit_code"], "") == (ended.code, ended.out)
    assert ended.code == summary(out)["exit_code"]
    if (out / "results.csv").exists():
        assert_balanced(out)


def test_every_expectation_has_its_sample() -> None:
    """No expectation is left over from a sample that is gone."""
    expected = sorted(path.name.removesuffix(EXPECTED) for path in SAMPLES.glob("*" + EXPECTED))
    assert samples() == expected


def test_samples_of_all_kinds() -> None:
    """There is a sample of every format and of both APIs."""
    assert {".csv", ".xlsx", ".parquet"} <= {Path(name).suffix for name in samples()}
    assert any("vayu" in name for name in samples())
