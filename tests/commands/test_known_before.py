"""What is known before the question on a terminal, and that nothing of it is read twice."""

import signal
from typing import Any
from unittest.mock import patch

import pytest

from batch.cli.views import closing_page, plan_page
from batch.commands.plan import plan
from batch.commands.update import update
from batch.engine import write_call
from batch.engine.reporter import CANARY, Preflight
from batch.errors import Declined, NotationError
from batch.run.finish import FinishedRun
from batch.run.locks import state_folder
from batch.run.target import Environment
from tests.commands.test_signals import asking, on_terminal
from tests.job_fixture import DUALENTRY, VAYU, FakeReporter, JobFixture, told
from tests.shell import Api, Shell

IDS = {DUALENTRY: [str(10_001 + one) for one in range(40)], VAYU: [f"{(0x65F << 84) + 1 + n:024x}" for n in range(40)]}


def sheet(job: JobFixture, endpoint: str, differing: int) -> Any:
    rows = [
        f'{one},"{f"New {number}" if number < differing else job.record(one, endpoint)["name"]}"'
        for number, one in enumerate(IDS[endpoint])
    ]
    return job.sheet("\n".join(["id,name", *rows, ""]))


def asked(job: JobFixture, *answers: Any) -> FakeReporter:
    job.reporter = FakeReporter(answers=[*answers], can_ask=True)
    return job.reporter


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
@pytest.mark.parametrize("differing", [1, 3, 39])
def test_what_differs_is_known(job: JobFixture, endpoint: str, differing: int) -> None:
    """The question says exactly what will change; who answers at once pays no request more than a pipeline."""
    path, reporter = sheet(job, endpoint, differing), asked(job, True)
    closing = job.update(path, endpoint)
    with_question, (preflight,) = len(job.ledger()), reporter.asked
    compared = preflight.compared
    assert compared is not None
    assert (40, differing, 40 - differing) == (compared.in_all, compared.cells, compared.unchanged)
    assert (differing, True, differing) == (preflight.cost.writes, preflight.cost.is_known, preflight.to_send)
    assert {"updated": differing, "unchanged": 40 - differing} == counts(closing)
    job.sandbox.reset()
    job.reporter = FakeReporter()
    before = len(job.sandbox.read_ledger())
    assert counts(job.update(path, endpoint, new=True)) == counts(closing)
    assert with_question == len(job.sandbox.read_ledger()) - before


def test_rows_that_ask_for_nothing(job: JobFixture) -> None:
    """A row without a value was not compared: that its record has these values is not said."""
    reporter = asked(job, True)
    job.update(job.sheet('id,name\n10001,New\n10002,\n10003,\n10004,"Delta Holdings, Inc."\n'))
    compared = reporter.asked[0].compared
    assert compared is not None
    assert (2, 1, 1, 2) == (compared.in_all, compared.cells, compared.unchanged, compared.unset)


def counts(closing: FinishedRun) -> dict[str, int]:
    return {outcome.value: count for outcome, count in closing.summary.outcomes.items() if count}


def test_old_and_new_values(job: JobFixture) -> None:
    """What is listed has the customer's name, and both values."""
    seen: list[Any] = []

    class Reads(FakeReporter):
        def confirm(self, preflight: Preflight) -> Any:
            assert preflight.compared is not None
            seen.extend(preflight.compared.changes)
            return True

    job.reporter = Reads(can_ask=True)
    job.update(job.sheet("id,phone\n10002,<clear>\n10001,555-9\n"))
    steps = [(one.id, one.name, one.steps[0].expected, one.steps[0].wanted) for one in seen]
    assert [
        ("10002", "Bolt Holdings, Inc.", "555-0002", None),
        ("10001", "Acme Holdings, Inc.", "555-0001", "555-9"),
    ] == steps


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_no_leaves_nothing(job: JobFixture, endpoint: str) -> None:
    """Who says no leaves no run, and nothing was written."""
    asked(job, False)
    with pytest.raises(Declined):
        job.update(sheet(job, endpoint, 2), endpoint)
    assert ([], []) == (job.writes(), [*job.folder.glob("*.batch")])


def test_nothing_to_ask(job: JobFixture) -> None:
    """Where all customers have the values already, nothing is asked."""
    reporter = asked(job)
    assert {"unchanged": 40} == counts(job.update(sheet(job, DUALENTRY, 0)))
    assert [] == reporter.asked


def test_no_rows(job: JobFixture) -> None:
    """Of a sheet without rows it is said where they were looked for, and what to do; by a plan, too."""
    reporter, path = asked(job), job.sheet("id,name\n")
    said = (
        "There is no row with a value below the header: id, name. If there should be some, save the file in the "
        "program that has it open, and run again."
    )
    closing = job.update(path)
    assert ([], [f"  {said}"]) == (reporter.asked, reporter.notes)
    assert ["Nothing was sent."] == [line for line, _ in closing_page(closing)][1:]
    made = plan(job.settings(path), job.reporter, job.environment)
    assert (said,) == made.notes
    assert f"  {said}" in [line for line, _ in plan_page(made)]


def test_conflicts_are_told_before(job: JobFixture) -> None:
    """What another hand changed, and whom nobody knows, is told with the question, and stays behind."""
    reporter = asked(job, True)
    closing = job.update(job.sheet("id,phone,phone (now)\n10001,1,777\n10002,1,555-0002\n99999999,1,1\n"))
    compared = reporter.asked[0].compared
    assert compared is not None
    assert (["not_found", "conflict_now"], 1) == ([one.code for one in compared.reasons][::-1], compared.cells)
    assert {"rejected": 2, "updated": 1} == counts(closing)


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_long_answer(job: JobFixture, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody changes while a person thinks is seen before it is written over, and told."""
    monkeypatch.setattr(write_call, "YOUNG_SECONDS", 0.0)
    first = IDS[endpoint][0]

    class Thinks(FakeReporter):
        def confirm(self, preflight: Preflight) -> Any:
            job.sandbox.edit(endpoint.partition(".")[0], first, {"name": "Other"})
            return True

    job.reporter = Thinks(can_ask=True)
    ((outcome, message), *_) = told(job.update(sheet(job, endpoint, 1), endpoint))
    assert ("updated", True) == (outcome, '"Other"' in message), message


def test_failure_limit(job: JobFixture) -> None:
    """Of what is sent, --max-failures counts what is refused then; too many that nobody knows end it before."""
    unknown = "".join(f"9999{one},x\n" for one in range(20))
    path = job.sheet(f"id,name\n{unknown}" + "".join(f"{one},New\n" for one in IDS[DUALENTRY]))
    reporter = asked(job, True)
    assert {"rejected": 20, "updated": 40} == counts(job.update(path, max_failures="50%"))
    closing = job.update(job.sheet(f"id,name\n10001,Newer\n{unknown}", "other.csv"), max_failures="5")
    assert (1, True) == (len(reporter.asked), "more than --max-failures allows" in closing.stopped)


def test_first_few_hold(job: JobFixture) -> None:
    """After c the first ten are shown, and the others are asked about once more."""
    reporter = asked(job, CANARY, True)
    closing = job.update(sheet(job, DUALENTRY, 15))
    (tried,) = reporter.tried
    assert ([*range(2, 12)], 5) == ([one.row for one in tried.changes], tried.left)
    assert ({"updated": 15, "unchanged": 25}, 15) == (counts(closing), len(job.writes()))


def test_first_few_are_enough(job: JobFixture) -> None:
    """Who says no then has ten that hold; the same command goes on with the others."""
    asked(job, CANARY, False)
    path = sheet(job, DUALENTRY, 15)
    closing = job.update(path)
    assert (10, 3) == (len(job.writes()), closing.summary.exit_code)
    assert "The first changes hold, and 5 are left, as you answered." == closing.stopped
    asked(job, True)
    assert {"updated": 15, "unchanged": 25} == counts(job.update(path))
    assert 15 == len(job.writes())


def test_first_few_without_comparing(job: JobFixture) -> None:
    """Where nothing is compared they are tried, too."""
    reporter = asked(job, CANARY, True)
    closing = job.update(sheet(job, DUALENTRY, 15), compare=False)
    assert (30, {"updated": 40}, None) == (reporter.tried[0].left, counts(closing), reporter.asked[0].compared)


@pytest.mark.parametrize("fault", ["", "hang-before@lists=1.0"])
def test_interrupted_while_comparing(shell: Shell, api: Api, fault: str) -> None:
    """Ctrl-C while records are read for the question leaves no run, and waits for no answer."""
    api.sandbox.set_faults(*filter(None, [fault]))
    command = [*asking(api, shell.sheet(api.names(350))), "--max-per-second", "0.5", "--grace", "300"]
    ended = on_terminal(shell, command, signal.SIGINT, b"/350 ")
    assert (130, False) == (ended.code, "Send?" in ended.err)
    assert "Interrupted. Nothing was sent." == ended.err.splitlines()[-1].rpartition("\x1b[2K")[2]
    assert "waited for" not in ended.err
    assert ["sheet.csv"] == [path.name for path in shell.folder.iterdir()]


def test_dates_in_two_ways(job: JobFixture) -> None:
    """How a date is meant that can be read in two ways is asked, and the failures file keeps the answer."""
    sheet = job.sheet("id,custom_fields.Renewal\n10001,03/04/2026\nx!,05/06/2026\n")
    job.reporter.can_ask, job.reporter.answers = True, [0, True]
    ended = job.update(sheet)
    assert job.reporter.questions[0].splitlines()[1:] == ["2026-04-03 (the day first)", "2026-03-04 (the month first)"]
    assert ("--date-format", "dmy") == (ended.next[-2], ended.next[-1])
    assert "2026-04-03" in str(job.record(10_001))
    before = sorted(ended.folder.parent.glob("2*"))
    job.reporter.answers = [None]
    with pytest.raises(Declined):
        job.update(sheet, new=True)
    with patch.object(job.reporter, "choose", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        job.update(sheet, new=True)
    assert before == sorted(ended.folder.parent.glob("2*"))
    job.reporter.can_ask = False
    with pytest.raises(NotationError, match="--date-format dmy or --date-format mdy"):
        job.update(sheet, new=True)


def test_dates_of_a_resumed_run(job: JobFixture) -> None:
    """The same command goes on with a run whose dates were asked about, and does not ask again."""
    sheet = job.sheet("id,custom_fields.Renewal\n10001,03/04/2026\n10002,05/06/2026\n")
    job.reporter.can_ask, job.reporter.answers = True, [1, True]
    job.sandbox.set_faults("500=id:10002")
    first = job.update(sheet, max_attempts=1)
    job.sandbox.set_faults()
    job.reporter.can_ask, asked = False, len(job.reporter.questions)
    again = job.update(sheet, max_attempts=1)
    assert (first.folder, asked, 0) == (again.folder, len(job.reporter.questions), again.summary.exit_code)
    assert "2026-05-06" in str(job.record(10_002))


def test_dates_of_a_run_that_is_not_known(job: JobFixture) -> None:
    """How a folder that came from elsewhere says that dates are meant is not believed: the question is asked anew."""
    sheet = job.sheet("id,custom_fields.Renewal\n10001,03/04/2026\n10002,05/06/2026\n")
    job.reporter.can_ask, job.reporter.answers = True, [1, "n", True]
    job.sandbox.set_faults("500=id:10002")
    first = job.update(sheet, max_attempts=1)
    job.sandbox.set_faults()
    (state_folder() / "runs.sqlite").unlink()
    job.reporter.answers = [0, "n", True]
    again = job.update(sheet, max_attempts=1)
    assert (first.folder, 4) == (again.folder, len(job.reporter.questions))
    assert "2026-06-05" in str(job.record(10_002))
    (state_folder() / "runs.sqlite").unlink()
    job.reporter.can_ask = False
    with pytest.raises(NotationError, match="--date-format dmy or --date-format mdy"):
        job.update(sheet)


def test_dates_next_month(job: JobFixture) -> None:
    """The answer is remembered with the headers and not asked again; a pipeline names it; a run stays the same one."""

    def send(date: str, month: str, **options: Any) -> FinishedRun:
        sheet = job.sheet(f"id,custom_fields.Renewal\n10001,{date}/2026\n10002,{date}/2026\n", f"{month}.csv")
        variables = job.sandbox.environment() | {"XDG_CONFIG_HOME": str(job.folder / "config")}
        return update(job.settings(sheet, **options), job.reporter, Environment(variables))

    job.reporter.can_ask, job.reporter.answers = True, [0, "", True]
    job.sandbox.set_faults("500=id:10002")
    first = send("03/04", "october", max_attempts=1)
    job.sandbox.set_faults()
    assert 'Remembered as "october".  In a script:  --mapping october' in job.reporter.notes
    again = send("03/04", "october")
    assert (first.folder, 0) == (again.folder, again.summary.exit_code)
    asked = len(job.reporter.questions)
    send("07/08", "november")
    assert (asked, True) == (len(job.reporter.questions), "2026-08-07" in str(job.record(10_001)))
    said = '"07/08/2026" (row 2) is 2026-08-07 (the day first), as the mapping "october" has it.'
    assert any(said in one for one in job.reporter.notes), job.reporter.notes
    job.reporter.can_ask = False
    send("09/10", "december", mapping="october")
    assert "2026-10-09" in str(job.record(10_001))
