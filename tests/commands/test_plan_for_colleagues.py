"""A plan as one file: what is in it, what is refused, and who carries it out."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batch.commands.plan import plan as run_plan
from batch.commands.update import update as run_update
from batch.errors import InputError, UsageError
from batch.machine import user_name
from batch.run import approval
from batch.run.approval import Approval, open_approval, read_approval, write_approval
from tests.job_fixture import JobFixture, results, summary

ABOUT = Approval("ann", "2026-05-01T10:00:00Z", "please before the 5th")


@pytest.fixture
def packed(job: JobFixture) -> Path:
    """A plan for two customers as one file, with its sheet."""
    sheet = job.sheet("Cust#,name\n10001,By Plan\n10002,Also\n", "May.csv")
    settings = job.settings(sheet, map={"Cust#": "id"}, max_per_second=None)
    made = run_plan(settings, job.reporter, job.environment)
    path = job.folder / f"May{approval.ENDING}"
    write_approval(path, made.folder, sheet, ABOUT)
    return path


def test_what_is_in_it(packed: Path, job: JobFixture) -> None:
    """The plan, its list, the sheet, and who made it; no key anywhere."""
    with zipfile.ZipFile(packed) as found:
        assert ["plan.json", "plan.csv", "input/May.csv", "approval.json"] == found.namelist()
        held = b"".join(found.read(name) for name in found.namelist())
    assert job.sandbox.environment()["DUALENTRY_API_KEY"].encode() not in held
    assert 0o600 == packed.stat().st_mode & 0o777


def test_carried_out_by_somebody_else(packed: Path, job: JobFixture, tmp_path: Path) -> None:
    """Whoever gets it needs no sheet and no mapping; both names are in the summary and the report."""
    away = tmp_path / "away"
    away.mkdir()
    (job.folder / "May.csv").unlink()
    there = packed.rename(away / packed.name)
    settings = replace(job.settings(Path(), plan=there), input="")
    end = run_update(settings, job.reporter, job.environment)
    assert ["updated", "updated"] == [one["outcome"] for one in results(end.folder)]
    assert "By Plan" == job.record(10001)["name"]
    assert (
        "ann on 2026-05-01 10:00 UTC, as the plan's file says: please before the 5th"
        == summary(end.folder)["planned_by"]
    )
    assert [user_name()] == summary(end.folder)["users"]
    report = (end.folder / "report.html").read_text(encoding="utf-8")
    assert "ann on 2026-05-01 10:00 UTC, as the plan&#39;s file says: please before the 5th" in report
    assert any("made by ann on 2026-05-01 10:00 UTC, as the plan's file says" in note for note in job.reporter.notes)
    again = run_update(settings, job.reporter, job.environment)
    assert {"unchanged", "rejected"} >= {one["outcome"] for one in results(again.folder)}


def test_a_sheet_that_was_changed(packed: Path, job: JobFixture) -> None:
    """A sheet beside it that is another one is refused, as with any plan."""
    sheet = job.sheet("Cust#,name\n10001,Other\n", "May.csv")
    with pytest.raises(UsageError, match="the input was changed"):
        job.update(sheet, plan=packed)
    assert [] == job.writes()


def repacked(path: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    """Pack it again with other contents."""
    with zipfile.ZipFile(path) as found:
        held = {name: found.read(name) for name in found.namelist()}
    edit(held)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in held.items():
            made.writestr(name, content)
    return path


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda held: held.update({name: content})


def without(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda held: held.pop(name) and None


@pytest.mark.parametrize(
    "edit",
    [
        put("../evil", b"x"), put("/etc/evil", b"x"), put("evil.sh", b"x"), put("input/../../evil", b"x"),
        put("input/second.csv", b"x"), put("input/.bashrc", b"x"), put("C:\\evil", b"x"), without("plan.json"),
        without("approval.json"), without("input/May.csv"), put("approval.json", b"[]"), put("approval.json", b"{}"),
        put("approval.json", b'{"by": 1, "made": "", "remark": ""}'), put("plan.json", b"{}"), put("plan.json", b""),
    ],
)  # fmt: skip
def test_what_is_no_plan(packed: Path, tmp_path: Path, edit: Callable[[dict[str, bytes]], None]) -> None:
    """Any other name, a name that leads elsewhere, and what was tampered with is refused; nothing lands elsewhere."""
    target = tmp_path / "target"
    before = {one for one in tmp_path.rglob("*") if target not in one.parents}
    with pytest.raises(InputError):
        open_approval(repacked(packed, edit), target)
    assert set() == {one for one in tmp_path.rglob("*") if target not in (one, *one.parents)} - before


def test_a_plan_that_was_edited(packed: Path, tmp_path: Path) -> None:
    """One digit of a value breaks the checksum."""
    with pytest.raises(InputError, match="not the plan that was made"):
        open_approval(
            repacked(packed, lambda held: held.update({"plan.json": held["plan.json"].replace(b"Also", b"Alas")})),
            tmp_path / "target",
        )


def test_a_bomb(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks into more than a plan can hold is broken off."""
    monkeypatch.setattr(approval, "MOST_BYTES", 1 << 20)
    with pytest.raises(InputError, match="more in it than a plan can hold"):
        open_approval(repacked(packed, put("input/May.csv", b"0" * (4 << 20))), tmp_path / "target")
    assert sum(one.stat().st_size for one in (tmp_path / "target").rglob("*") if one.is_file()) < 2 << 20


def test_no_zip(tmp_path: Path) -> None:
    """Another file of that name is told as such."""
    path = tmp_path / f"x{approval.ENDING}"
    path.write_bytes(b"PK\x03\x04 nothing of the kind")
    with pytest.raises(InputError, match="not a plan that was saved for approval"):
        open_approval(path, tmp_path / "target")


def test_what_it_says_of_people(tmp_path: Path) -> None:
    """Names are what the file says, with nothing in them that could look like something else."""
    (tmp_path / approval.ABOUT).write_text(json.dumps({"by": "bob\u202e\n", "made": "x", "remark": "a\x1b[2Jb"}))
    found = read_approval(tmp_path)
    assert found is not None
    assert "bob\\u202e , as the plan's file says: a\\x1b[2Jb" == found.text
    assert read_approval(tmp_path / "none") is None
