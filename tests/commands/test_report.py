"""`report.html`: what it says is what the run wrote down, whatever stands in a sheet."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from batch.commands.plan import plan as run_plan
from batch.commands.report import report as make_report
from batch.commands.undo import undo
from batch.commands.update import update as run_update
from batch.engine.reporter import CANARY, Preflight, Tried
from batch.errors import FolderError
from batch.model import Outcome
from batch.outputs.report import Rate, Report, bar, write_report
from batch.summary import Reason
from tests.job_fixture import FakeReporter, JobFixture, summary


class Read(HTMLParser):
    """What a browser would make of a report: its tags with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(path: Path) -> Read:
    return Read(path.read_text(encoding="utf-8"))


def test_a_run_and_its_rounds(job: JobFixture) -> None:
    """Counts, reasons and fields of a run; made again over all rounds of its sheet; left out where nobody wants it."""
    sheet = job.sheet("id,name,phone\n10001,One,555-1\n10002,Two,<clear>\n10003,,ext. 5\n")
    end = job.update(sheet)
    found = read(end.folder / "report.html")
    assert 0o600 == (end.folder / "report.html").stat().st_mode & 0o777
    assert "report.html" == Path(summary(end.folder)["files"]["report"]).name
    for said in (
        "Changes from sheet.csv",
        "updated 2",
        "invalid 1",
        "all rows 3",
        "has letters in it",
        "name 2 0",
        "phone 2 1",
    ):
        assert said in found.text, said
    assert end.failures is not None
    fixed = Path(end.failures)
    fixed.write_text(fixed.read_text(encoding="utf-8").replace("ext. 5", "555-3"), encoding="utf-8")
    second = job.update(fixed, report=False)
    assert not (second.folder / "report.html").exists()
    assert "report" not in summary(second.folder)["files"]
    again = read(make_report(end.folder, job.reporter, job.environment))
    assert "All rounds of this sheet" in again.text
    assert "failures.csv 1 updated finished" in again.text
    with pytest.raises(FolderError):
        make_report(job.folder / "none", job.reporter, job.environment)


def test_several_inputs(job: JobFixture) -> None:
    """What several files became names the first and how many there are beside it, in each round of them, too."""
    one, other = job.sheet("id,name\n10001,One\n", "one.csv"), job.sheet("id,name\n10002,Two\n", "other.csv")
    settings = replace(job.settings(one), input=f"{{{one},{other}}}")
    end = run_update(settings, job.reporter, job.environment)
    assert "Changes from one.csv and 1 more" in read(end.folder / "report.html").text
    undo(end.folder, job.settings(one), job.reporter, job.environment)
    again = read(make_report(end.folder, job.reporter, job.environment))
    assert "one.csv and 1 more 2 updated undone" in again.text
    assert "taking back 2 updated finished" in again.text


def test_a_person_who_thinks(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person takes to answer is no slow moment of the run, and no part of its rate."""
    now, waited = time.time, 0.0

    class Thinking(FakeReporter):
        def confirm(self, preflight: Preflight) -> Any:
            nonlocal waited
            waited = 900.0
            return super().confirm(preflight)

        def confirm_rest(self, tried: Tried) -> bool:
            nonlocal waited
            waited = 1_500.0
            return super().confirm_rest(tried)

    monkeypatch.setattr(time, "time", lambda: now() + waited)
    job.reporter = Thinking(answers=[CANARY], can_ask=True)
    end = job.update(job.sheet("id,name\n" + "".join(f"{10001 + one},New {one}\n" for one in range(12))))
    found = read(end.folder / "report.html")
    assert "updated 12" in found.text
    assert "Slowest moment" not in found.text
    mean = re.search(r"mean ([\d.]+)", found.text)
    assert mean is not None
    assert float(mean[1]) > 1  # 0.01 over the whole time


def test_a_plan(job: JobFixture) -> None:
    """A plan's report says what would change, cell by cell."""
    sheet = job.sheet("id,name,phone\n10001,One,<clear>\n")
    made = run_plan(job.settings(sheet), job.reporter, job.environment)
    found = read(made.folder / "report.html")
    for said in ("Plan for sheet.csv", "What would change, by field", "(cleared)", "Acme Holdings, Inc. One"):
        assert said in found.text, said
    assert not (
        run_plan(job.settings(sheet, report=False), job.reporter, job.environment).folder / "report.html"
    ).exists()


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e"


def test_hostile_text(tmp_path: Path) -> None:
    """Whatever stands in a sheet, a message or a name is text; nothing is loaded, run or led elsewhere."""
    path = tmp_path / "report.html"
    reason = Reason(Outcome.INVALID, HOSTILE, "x", HOSTILE, HOSTILE, 1, [1], [(1, HOSTILE)])
    write_report(
        path,
        Report(
            HOSTILE,
            {"By": HOSTILE},
            {Outcome.INVALID: 1},
            reasons=[reason],
            fields={HOSTILE: (1, 1)},
            files={"every row": f"javascript:{HOSTILE}"},
        ),
    )
    found = read(path)
    assert {"script", "img", "iframe", "object", "link", "form"} & {tag for tag, _ in found.tags} == set()
    for _, attributes in found.tags:
        assert not any(name.startswith("on") or name == "src" for name in attributes)
        assert not re.match(r"\w+:", attributes.get("href") or "")
    assert "\x1b" not in found.text
    assert "\u202e" not in found.text


def test_the_line_of_the_rate(tmp_path: Path) -> None:
    """The rate is drawn against the limit, within the drawing."""
    path = tmp_path / "report.html"
    write_report(path, Report("x", {}, {Outcome.UPDATED: 9}, rate=Rate(0.0, 1.0, [0.0, 2.0, 1.0]), limit=1.0))
    found = read(path)
    (points,) = [one["points"] for tag, one in found.tags if tag == "polyline"]
    places = [tuple(map(float, one.split(","))) for one in str(points).split()]
    assert [0.0, 500.0, 1000.0] == [x for x, _ in places]
    assert all(0 <= y <= 160 for _, y in places)
    (line,) = [one for tag, one in found.tags if tag == "line"]
    assert places[2][1] == float(str(line["y1"]))


def test_the_answers_of_429(tmp_path: Path) -> None:
    """When the API said 429 is drawn below the line, and the worst moment is told in words."""
    path = tmp_path / "report.html"
    rate = Rate(0.0, 60.0, [1.0, 2.0, 1.0], [0, 30, 3])
    write_report(path, Report("x", {}, {Outcome.UPDATED: 9}, throttled=33, rate=rate))
    found = read(path)
    bars = [one for tag, one in found.tags if tag == "rect" and "y" in one]
    assert [("333.3", "333.3"), ("666.7", "333.3")] == [(one["x"], one["width"]) for one in bars]
    assert all(float(str(one["y"])) + float(str(one["height"])) == 160.0 for one in bars)
    assert "33 times (429), most often 60 s after the beginning: 30 within 60 s" in found.text
    write_report(path, Report("x", {}, {Outcome.UPDATED: 9}, rate=Rate(0.0, 60.0, [1.0, 2.0], [0, 0])))
    assert "0 times (429) Attempts a second highest" in read(path).text


def test_nothing_is_too_small_to_be_seen() -> None:
    """One row in a hundred thousand has a part of the bar, and all parts fill it."""
    parts = bar({Outcome.UPDATED: 99_999, Outcome.REJECTED: 1})
    assert parts[1]["width"] > 5
    assert 1000 == round(parts[1]["x"] + parts[1]["width"])
    assert [] == bar({})
