"""Extras are installed when they are first needed, after one line."""

import importlib.metadata
import sys
from pathlib import Path
from shlex import quote

import pytest

from batch import extras
from batch.extras import SETUP, ExtraError, ensure_extra, install_command
from tests.shell import ROOT

WHAT = "reading .few files"


def test_without_run_sh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where run.sh did not start the program, nothing is installed, and the error says how it is done."""
    monkeypatch.delenv(SETUP, raising=False)
    notes: list[str] = []
    with pytest.raises(ExtraError) as raised:
        ensure_extra("few", "few_of_nobody", WHAT, notes.append)
    said = f"What reading .few files needs is not installed. Install it:  {install_command('few')}"
    assert (said, []) == (str(raised.value), notes)


METADATA = ["polars>=1.35", 'few>=2; extra == "few"', "more>=3; (sys_platform == 'linux') and extra == 'few'"]


def test_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is told as the wheel says it, for this Python, by pip or, where it has none, by uv."""
    monkeypatch.setattr(extras, "requires", lambda name: METADATA)
    python, needs = quote(sys.executable), "'few>=2' " + quote("more>=3; (sys_platform == 'linux')")
    assert f"{python} -m pip install {needs}" == install_command("few")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert f"uv pip install --python {python} {needs}" == install_command("few")


def test_install_command_for_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where batch is not installed at all, its sources say what is needed."""

    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(extras, "requires", missing)
    assert f"{quote(sys.executable)} -m pip install {quote(f'{ROOT}[few]')}" == install_command("few")


def test_with_run_sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The script installs it, after a line; what is there needs nothing."""
    script = tmp_path / "run.sh"
    script.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/log; touch {tmp_path}/few_of_somebody.py\n')
    script.chmod(0o755)
    monkeypatch.setenv(SETUP, str(script))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    notes: list[str] = []
    for _ in range(2):
        ensure_extra("few", "few_of_somebody", WHAT, notes.append)
    assert (["Installing what reading .few files needs, once …"], "extra few\n") == (
        notes, (tmp_path / "log").read_text(),
    )  # fmt: skip


def test_script_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The last thing that the script said is the reason."""
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\necho much >&2; echo 'No network.' >&2; exit 2\n")
    script.chmod(0o755)
    monkeypatch.setenv(SETUP, str(script))
    with pytest.raises(ExtraError) as raised:
        ensure_extra("few", "few_of_nobody", WHAT, lambda text: None)
    assert "What reading .few files needs could not be installed. No network." == str(raised.value)
