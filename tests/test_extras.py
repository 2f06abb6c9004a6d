"""Extras are installed when they are first needed, after one line."""

import sys
from pathlib import Path

import pytest

from batch.extras import SETUP, ExtraError, ensure_extra

WHAT = "reading .few files"


def test_without_run_sh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where run.sh did not start the program, nothing is installed, and the error says how it is done."""
    monkeypatch.delenv(SETUP, raising=False)
    notes: list[str] = []
    with pytest.raises(ExtraError) as raised:
        ensure_extra("few", "few_of_nobody", WHAT, notes.append)
    said = "What reading .few files needs is not installed. Install it:  pip install 'batch[few]'"
    assert (said, []) == (str(raised.value), notes)


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
