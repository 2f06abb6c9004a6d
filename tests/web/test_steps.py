"""A sheet's way through the six steps, by the forms of the page and without scripts; the sandbox's ledger judges."""

import html
import io
import re
import time
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest

from batch.commands.runs import newest_runs
from batch.engine.reporter import Progress
from batch.errors import UsageError
from batch.model import Outcome
from batch.web import views
from batch.web.accounts import offered
from batch.web.guards import REPORT_POLICY
from batch.web.task import Task
from tests.job_fixture import VAYU_1, VAYU_2, JobFixture
from tests.web.browser import Browser, checksum_in, text_of

OWN_KEY = "dualentry.customers|environment||"
VAYU_KEY = "vayu.customers|environment||"
SANDBOX = "dualentry.customers|sandbox||"


def to_changes(window: Browser, name: str, content: str, account: str = OWN_KEY) -> str:
    """Take a sheet to step 4, and return its address."""
    window.upload(name, content.encode(), account)
    window.settled()
    place = f"/w/{window.work.id}"
    assert window.work.columns is not None
    assert window.work.columns.error == ""
    window.post(f"{place}/columns")
    assert "problems" in str(window.settled().url)
    window.post(f"{place}/changes")
    assert "changes" in str(window.settled().url)
    return place


def send(window: Browser, place: str, how: str = "all") -> None:
    """Press the button of step 5."""
    checksum = checksum_in(window.get(f"{place}/send"))
    window.post(f"{place}/send", {"checksum": checksum, "how": how})


def test_the_whole_way(window: Browser, job: JobFixture) -> None:
    """Problems, a corrected file, changes, send, and take back: what the pages say is what the ledger has."""
    sheet = "Customer ID,Name,Phone Number,Remark\n10001,One,555-1,a\n10002,Two,ext. 5,b\n10003,Three,555-3,c\n"
    first = window.upload("May.csv", sheet.encode(), OWN_KEY)
    assert "/columns" in str(first.url)
    columns = window.settled()
    place = f"/w/{window.work.id}"
    assert "1 column is not known" in columns.text
    window.post(f"{place}/columns", {"c3": "-"})
    problems = text_of(window.settled())
    assert "2 rows are ready" in problems
    assert "1 row needs a correction" in problems
    assert "has letters in it" in problems
    assert "row 3: &#34;ext. 5&#34;" in problems

    marked = window.get(f"{place}/file/failures")
    assert "attachment; filename*=UTF-8''May%20failures.csv" == marked.headers["content-disposition"]
    assert "application/octet-stream" == marked.headers["content-type"]
    corrected = marked.text.replace("ext. 5", "555-2")
    window.post(f"{place}/upload", files={"file": ("May failures.csv", corrected.encode())})
    rest, second = window.work, f"/w/{window.work.id}"
    assert rest.id not in place
    window.settled()
    window.post(f"{second}/columns", {f"c{i}": "-" for i in range(4) if i == 3})
    said = text_of(window.settled())
    assert "1 row is ready" in said
    assert "The 2 rows of May.csv that were right are sent by themselves" in said

    window.post(f"{place}/changes")
    changes = text_of(window.settled(window.page.desk.works[place[3:]]))
    assert "2 customers will change, 4 cells" in changes
    send(window, place)
    result = window.settled(window.page.desk.works[place[3:]])
    assert "/run/" in str(result.url)
    assert {("PATCH", "10001"), ("PATCH", "10003")} == {one[:2] for one in job.writes()}
    window.post(f"{second}/changes")
    window.settled(rest)
    send(window, second)
    assert "Finished" in text_of(window.settled(rest))
    assert "555-2" == job.record(10002)["phone"]

    run = str(result.url).rsplit("/", 1)[1]
    window.post(f"/run/{run}/undo")
    asked = window.settled()
    assert "Put this back?" in text_of(asked)
    assert "One" == job.record(10001)["name"]
    question = window.work.task.question if window.work.task else None
    assert question is not None
    window.post(f"/w/{window.work.id}/answer", {"number": str(question.number), "answer": "yes"})
    assert "May.csv, taken back" in text_of(window.settled())
    assert "undo.csv" not in window.get("/").text
    assert "Acme Holdings, Inc." == job.record(10001)["name"]
    states = {(one.run.command, one.state) for one in newest_runs(None).runs}
    assert {("update", "undone"), ("update", "finished"), ("undo", "finished")} == states


def test_a_link_in_the_place_of_a_result(window: Browser, job: JobFixture, tmp_path: Path) -> None:
    """What lies in a run's folder under the name of one of its files is given only where it is a file itself."""
    place = to_changes(window, "May.csv", "id,name\n10001,Linked\n")
    send(window, place)
    run = str(window.settled().url).rsplit("/", 1)[1]
    (folder,) = (one.run.folder for one in newest_runs(None).runs)
    paths = [f"/run/{run}/file/results", f"/run/{run}/report"]
    assert [200, 200] == [window.get(path).status_code for path in paths]
    for name in ("results.csv", "report.html"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    assert [404, 404] == [window.get(path).status_code for path in paths]


def test_no_undo(window: Browser, job: JobFixture) -> None:
    """Who looks at what an undo would do and says no is led back to the run; nothing was changed."""
    place = to_changes(window, "kept.csv", "id,name\n10001,Kept\n")
    send(window, place)
    run = str(window.settled().url).rsplit("/", 1)[1]
    window.post(f"/run/{run}/undo")
    window.settled()
    question = window.work.task.question if window.work.task else None
    assert question is not None
    window.post(f"/w/{window.work.id}/answer", {"number": str(question.number), "answer": "no"})
    said = window.settled()
    assert "Nothing was sent by it." in text_of(said)
    assert f'href="{window.page.base}/run/{run}">Back to the result' in said.text
    assert "Kept" == job.record(10001)["name"]


def test_the_whole_way_at_vayu(window: Browser, job: JobFixture) -> None:
    """The other API goes the same way, with a PUT."""
    place = to_changes(window, "v.csv", f"id,name\n{VAYU_1},New One\n{VAYU_2},New Two\n", VAYU_KEY)
    send(window, place)
    assert "2 The API confirmed" in text_of(window.settled())
    assert [("PUT", VAYU_1), ("PUT", VAYU_2)] == sorted(one[:2] for one in job.writes())


def test_the_first_ten(window: Browser, job: JobFixture) -> None:
    """The first ten are sent, shown, and the others only after an answer; another window may give it, once."""
    rows = "".join(f"{10001 + number},Name {number}\n" for number in range(14))
    place = to_changes(window, "many.csv", f"id,name\n{rows}")
    send(window, place, "first")
    asked = text_of(window.settled())
    assert "the first 10. Send the other 4?" in asked
    assert "Was Is now" in asked  # they are written already
    assert 10 == len(job.writes())
    other, task = window.another(), window.work.task
    assert task is not None
    assert task.question is not None
    answer = {"number": str(task.question.number), "answer": "yes"}
    assert "Send the other 4" in text_of(other.get(f"{place}/send"))
    other.post(f"{place}/answer", answer)
    window.post(f"{place}/answer", answer | {"answer": "no"})
    assert "Finished" in text_of(window.settled())
    assert 14 == len(job.writes())


def test_a_stop_after_the_first_ten(window: Browser, job: JobFixture) -> None:
    """Where it is stopped at that question, the ten are told as sent, and the others are gone on with."""
    rows = "".join(f"{10001 + number},Name {number}\n" for number in range(14))
    place = to_changes(window, "many.csv", f"id,name\n{rows}")
    send(window, place, "first")
    window.settled()
    window.post(f"{place}/stop")
    while window.work.is_busy:
        time.sleep(0.01)
    said = text_of(window.settled())
    assert "Not finished" in said
    assert "updated 10" in said
    assert "Go on with 4 rows" in said
    assert 10 == len(job.writes())


def test_a_plan_is_sent_once(window: Browser, job: JobFixture) -> None:
    """However often and from whichever window the button is pressed, one run is made."""
    place = to_changes(window, "once.csv", "id,name\n10001,Once\n")
    checksum = checksum_in(window.get(f"{place}/send"))
    other = window.another()
    for one in (window, other, window, other):
        one.post(f"{place}/send", {"checksum": checksum, "how": "all"})
    window.settled()
    other.post(f"{place}/send", {"checksum": checksum, "how": "all"})
    for path in ("columns", "changes", "reading"):
        answer = window.post(f"{place}/{path}", {"decimal": ","})
        assert "not sent twice" in answer.text or path == "changes"
    window.settled()
    assert 1 == len(job.writes())
    assert 1 == len(newest_runs(None).runs)


def test_a_sheet_that_is_busy(window: Browser, job: JobFixture) -> None:
    """While a command goes on, nothing of another window is taken: no setting, and it does not count as sent."""
    place = to_changes(window, "busy.csv", "id,name\n10001,Busy\n")
    checksum, work = checksum_in(window.get(f"{place}/send")), window.work
    settings, work.task = work.settings, Task("plan")  # it does not come to its end
    asked = [lambda: work.match({}, {"decimal": ","}, remember_as=None), lambda: work.compare(only_empty=True),
             lambda: work.send(checksum, "all")]  # fmt: skip
    for ask in asked:
        with pytest.raises(UsageError, match="Something goes on with this sheet in another window"):
            ask()
        assert (settings, False) == (work.settings, work.is_sent)
    work.task = None
    send(window, place)
    assert "Finished" in text_of(window.settled())
    assert 1 == len(job.writes())


def test_two_windows_at_one_moment(window: Browser, job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another window asks between a look whether something goes on and its beginning comes after both."""
    place = to_changes(window, "busy.csv", "id,name\n10001,Busy\n")
    checksum, work, said = checksum_in(window.get(f"{place}/send")), window.work, list[str]()

    def send_too() -> None:
        with pytest.raises(UsageError) as caught:
            work.send(checksum, "all")
        said.append(str(caught.value))

    other = Thread(target=send_too)

    def begin(name: str) -> Task:
        monkeypatch.undo()
        other.start()
        other.join(0.2)
        return Task(name)

    monkeypatch.setattr("batch.web.work.Task", begin)
    work.compare(only_empty=False)
    other.join()
    window.settled()
    assert (1, False, []) == (len(said), work.is_sent, job.writes())


def test_an_answer_is_for_one_question() -> None:
    """A window that shows an older question answers that one alone, however late it is."""
    task = Task("update")

    def await_question(number: int) -> None:
        with task.condition:
            assert task.condition.wait_for(lambda: task.question is not None and task.question.number == number, 10)

    task.start(lambda person: [person.ask("One?"), person.ask("Two?")])
    await_question(1)
    assert not task.answer(2, True)
    assert task.answer(1, True)
    await_question(2)
    assert not task.answer(1, True)
    assert task.answer(2, False)
    assert (True, [True, False]) == (task.wait(10), task.result)


def test_what_could_not_be_begun_is_sent_later(window: Browser, job: JobFixture) -> None:
    """Where sending did not begin, it is said why, and the button is there again for the same changes."""
    place = to_changes(window, "later.csv", "id,name\n10001,Later\n")
    sheet = Path(window.work.settings.input)
    sheet.rename(away := sheet.with_suffix(".away"))
    send(window, place)
    said = text_of(window.settled())
    assert ("Nothing was sent." in said, "Send 1 change" in said) == (True, True)
    assert "later.csv" in window.get("/").text
    away.rename(sheet)
    assert [] == job.writes()
    send(window, place)
    assert "Finished" in text_of(window.settled())
    assert "Later" == job.record(10001)["name"]


def test_what_was_stopped_before_it_began(window: Browser, job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop before anything left is told, and the button is there again for the same changes."""
    place, start = to_changes(window, "early.csv", "id,name\n10001,Early\n"), Task.start

    def start_stopped(task: Task, job: Any, then: Any) -> None:
        task.stop()
        start(task, job, then)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "start", start_stopped)
        send(window, place)
    said = text_of(window.settled())
    assert ("It was stopped. Nothing was sent." in said, "Send 1 change" in said) == (True, True)
    assert [] == job.writes()
    send(window, place)
    assert "Finished" in text_of(window.settled())
    assert "Early" == job.record(10001)["name"]


def test_what_is_sent_is_what_was_shown(window: Browser, job: JobFixture) -> None:
    """A button of a plan that was made anew meanwhile sends nothing."""
    place = to_changes(window, "stale.csv", "id,name\n10001,Stale\n")
    checksum = checksum_in(window.get(f"{place}/send"))
    job.sandbox.edit("dualentry", 10001, {"name": "Meanwhile"})
    window.post(f"{place}/changes")
    window.settled()
    for wrong in ("", "sha256:0", checksum):
        answer = window.post(f"{place}/send", {"checksum": wrong})
        assert answer.status_code == 400
        assert "not the changes that were shown" in answer.text
    assert [] == job.writes()


def test_a_date_that_can_be_read_in_two_ways(window: Browser) -> None:
    """Both readings are offered, and the one that is chosen counts."""
    window.upload("d.csv", b"id,custom_fields.Since:date\n10001,3/4/2026\n", OWN_KEY)
    window.settled()
    place = f"/w/{window.work.id}"
    window.post(f"{place}/columns")
    asked = window.settled()
    assert "2026-04-03 (the day first)" in text_of(asked)
    assert "2026-03-04 (the month first)" in text_of(asked)
    assert 400 == window.post(f"{place}/reading", {"date_format": "other"}).status_code
    window.post(f"{place}/reading", {"date_format": "dmy"})
    assert "1 row is ready" in text_of(window.settled())
    assert "dmy" == window.work.settings.date_format


def test_how_dates_are_meant_is_remembered(window: Browser) -> None:
    """What was answered of dates belongs to a mapping that is remembered, and is not asked again."""
    for content in (b"Cust#,Since\n10001,3/4/2026\n", b"Cust#,Since\n10002,5/6/2026\n"):
        window.upload("dates.csv", content, OWN_KEY)
        window.settled()
        place = f"/w/{window.work.id}"
        columns = {"c0": "id", "c1": "custom_fields.Since:date", "remember": "yes"}
        window.post(f"{place}/columns", columns if b"10001" in content else {})
        if b"10001" in content:
            assert "What does it mean?" in text_of(window.settled())
            window.post(f"{place}/reading", {"date_format": "dmy"})
        assert "1 row is ready" in text_of(window.settled())
    assert "dmy" == window.work.settings.date_format


def test_a_mapping_is_remembered(window: Browser) -> None:
    """What was said of the columns is used for the next file with the same headers, and that is said."""
    window.upload("a.csv", b"Cust#,Who\n10001,A\n", OWN_KEY)
    window.settled()
    window.post(f"/w/{window.work.id}/columns", {"c0": "id", "c1": "name", "remember": "yes", "name": "Monthly"})
    assert "1 row is ready" in text_of(window.settled())
    window.upload("b.csv", b"Who,Cust#\nB,10002\n", OWN_KEY)
    again = text_of(window.settled())
    assert "is used: “Monthly”" in again
    assert "not known" not in again


def test_a_field_is_searched_for(window: Browser) -> None:
    """Each column has a box with a list of the fields, what its header may mean first; what is none is told there."""
    window.upload("a.csv", b"id,Phne,Zzyzx,city\n10001,555-1,x,Bonn\n", OWN_KEY)
    columns = window.settled().text
    place = f"/w/{window.work.id}"
    lists = dict(re.findall(r'<datalist id="(\w+)">(.*?)</datalist>', columns, re.DOTALL))
    own, fields = (re.findall(r'value="([^"]*)"', lists[name]) for name in ("own1", "fields"))
    assert ["phone", "custom_fields.Phne"] == own[:2]
    assert sorted(fields) == sorted(set(own) - {"custom_fields.Phne"})
    assert "leave this column out" in fields
    said = window.post(f"{place}/columns", {"c1": "Phone Number", "c2": "no such field"})
    said = window.settled()
    assert '"Zzyzx" taken for "no such field": there is no field "no such field".' in html.unescape(said.text)
    assert 'value="no such field"' in said.text
    said = window.post(f"{place}/columns", {"c0": " "})
    assert (400, True) == (said.status_code, "id: choose the field that this column stands for" in said.text)
    window.post(f"{place}/columns", {"c1": "Phone Number", "c2": "Leave this column out"})
    assert "1 row is ready" in text_of(window.settled())
    assert {"Phne": "Phone Number", "Zzyzx": ""} == window.work.settings.map


def test_rows_found_by_an_own_number(window: Browser, job: JobFixture) -> None:
    """The second column may be the number of one's own system."""
    number = job.record(10001)["unique_id"]
    window.upload("k.csv", f"Number,name\n{number},By Key\n".encode(), OWN_KEY)
    window.settled()
    place = f"/w/{window.work.id}"
    window.post(f"{place}/columns", {"c0": "unique_id", "key": "unique_id"})
    window.settled()
    window.post(f"{place}/changes")
    assert "1 customer will change" in text_of(window.settled())


def test_stop_and_go_on(window: Browser, job: JobFixture) -> None:
    """A run that is stopped says so, is in the list, and is gone on with; nothing is sent twice."""
    job.sandbox.behave(latency=0.2)
    rows = "".join(f"{10001 + number},Slow {number}\n" for number in range(40))
    place = to_changes(window, "slow.csv", f"id,name\n{rows}")
    send(window, place)
    while not job.writes():
        time.sleep(0.01)
    window.post(f"{place}/stop")
    stopped = window.settled()
    job.sandbox.behave(latency=0.0)
    run = str(stopped.url).rsplit("/", 1)[1]
    assert "Not finished" in text_of(stopped)
    left = 40 - len(job.writes())
    assert f"Go on with {left} rows" in text_of(stopped)
    assert f"unsent {left} It was not sent yet. To try again." in text_of(stopped)
    window.post(f"/run/{run}/resume")
    assert "Finished" in text_of(window.settled())
    assert 40 == len({one[1] for one in job.writes()}) == len(job.writes())


def test_a_title_above_the_headers(window: Browser) -> None:
    """What a command would ask on a terminal is asked on the page, with what it is about."""
    window.upload("t.csv", b"Sales,\n\nid,\n10001,\n", OWN_KEY)
    assert window.settled().status_code == 200


def test_a_sheet_that_was_not_sent(window: Browser, job: JobFixture) -> None:
    """What was uploaded and not sent when the page ended is offered by the next one, until it is open or sent."""
    to_changes(window, "May.csv", "id,name\n10001,Kept\n")
    to_changes(window, "sent.csv", "id,name\n10002,Sent\n")
    send(window, f"/w/{window.work.id}")
    window.settled()
    assert 'name="kept"' not in window.get("/").text
    window.page.desk.close(10)
    window.page.desk.works.clear()  # as the next page begins
    first = window.get("/").text
    (place,) = re.findall(r'<option value="(May/files/\w{16}/May.csv)">May.csv, uploaded 20', first)
    assert "sent.csv</option>" not in first
    for wrong in ("../../../etc/passwd", f"{place}x", place.replace("May", "..")):
        answer = window.post("/upload", {"account": OWN_KEY, "kept": wrong})
        assert (400, True) == (answer.status_code, "not here any more" in answer.text)
    window.post("/upload", {"account": OWN_KEY, "kept": place}, files={"file": ("", b"")})
    window.settled()
    assert "May.csv" == window.work.name
    window.post(f"/w/{window.work.id}/columns")
    assert "1 row is ready" in text_of(window.settled())
    assert 'name="kept"' not in window.get("/").text


def test_the_bar_and_the_counts_agree() -> None:
    """What is done by the bar is what the counts have, also of rows that were sent before, as the first ten were."""
    task = Task("update")
    now = Progress(
        rows=240, done=156, counts={Outcome.UPDATED: 166}, per_second=1.0, throttled=0, paused=0.0, why="", eta=None,
        is_stopping=False,
    )  # fmt: skip
    task.progress = now
    view = views.task_view(task)
    assert (250, 166, 84) == (view["rows"], view["done"], {word: count for _, word, count in view["counts"]}["unsent"])


def test_the_counts_of_a_plan() -> None:
    """Nothing is called updated while it is only compared."""
    task = Task("plan")
    task.progress = Progress(
        rows=9, done=2, counts={Outcome.UPDATED: 2}, per_second=1.0, throttled=0, paused=0.0, why="", eta=None,
        is_stopping=False, is_plan=True,
    )  # fmt: skip
    counts = {word: count for _, word, count in views.task_view(task)["counts"]}
    assert (2, 7) == (counts["to update"], counts["to compare"])
    assert not {"updated", "unsent"} & counts.keys()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("10001,Acme Holdings, Inc.\n", "Nothing would change: every record has these values already. Another file"),
        ("99999,New\n", "is no customer with this id Row 2 Nothing would change. Another file"),
    ],
)
def test_nothing_to_change(window: Browser, rows: str, said: str) -> None:
    """Why nothing would change is said only where it is so, and there is a way on."""
    first, _, name = rows.strip().partition(",")
    place = to_changes(window, "same.csv", f'id,name\n{first},"{name}"\n')
    assert said in text_of(window.get(f"{place}/changes"))


def test_search_and_pages(window: Browser) -> None:
    """The changes are searched and paged where they lie."""
    rows = "".join(f"{10001 + number},Name {number:03},{number}\n" for number in range(120))
    place = to_changes(window, "pages.csv", f"id,name,phone\n{rows}")
    first = window.get(f"{place}/changes")
    assert "Page 1 of 3" in text_of(first)
    assert "Name 049" in first.text
    assert "Name 050" not in first.text
    assert "Name 119" in window.get(f"{place}/changes?page=999").text
    found = window.get(f"{place}/changes?q=NAME%20117")
    assert "1 of 120 customers" in text_of(found)
    assert "120 of 120" in text_of(window.get(f"{place}/changes?q=phone"))
    assert "Nothing has “fields” in it" in text_of(window.get(f"{place}/changes?q=fields"))
    for odd in ("page=x", "page=-1", "page=", "page=99999999999999999999", "q=%22", "q=%5C", "q=%00"):
        assert window.get(f"{place}/changes?{odd}").status_code == 200


def test_clears_are_shown(window: Browser) -> None:
    """What would be emptied is said beside the count, and in its cell."""
    place = to_changes(window, "clear.csv", "id,phone\n10001,<clear>\n")
    changes = window.get(f"{place}/changes")
    assert "Will be emptied: phone of 1 customer" in text_of(changes)
    assert 'class="clear"' in changes.text


def test_only_what_is_empty(window: Browser, job: JobFixture) -> None:
    """With the box a field that has a value is left alone, which step 4 says, and so is what is sent."""
    job.sandbox.edit("dualentry", 10001, {"phone": None, "name": "Stays"})
    window.upload("fill.csv", b"id,name,phone\n10001,Other,555-1\n", OWN_KEY)
    window.settled()
    place = f"/w/{window.work.id}"
    window.post(f"{place}/columns")
    assert "Only fill what is empty" in text_of(window.settled())
    window.post(f"{place}/changes", {"only_empty": "yes"})
    changes = text_of(window.settled())
    assert "1 customer will change, 1 cell" in changes
    assert "Only what is empty is filled. 1 row has a cell that is left alone" in changes
    send(window, place)
    assert "Finished" in text_of(window.settled())
    assert ("Stays", "555-1") == (job.record(10001)["name"], job.record(10001)["phone"])


def test_script_in_records_and_answers(window: Browser, job: JobFixture) -> None:
    """What the API says of a record or of itself is text on every page, in the report, and while it is asked about."""
    script = "<script>alert(1)</script>"
    for number in range(14):
        job.sandbox.edit("dualentry", 10001 + number, {"name": script})
    rows = "".join(f"{10001 + number},Name {number}\n" for number in range(14))
    place = to_changes(window, "s.csv", f"id,name\n{rows}")
    answers = [window.get(f"{place}/changes")]
    send(window, place, "first")
    answers.append(window.settled())
    assert 2 == sum("&lt;script&gt;alert(1)" in one.text for one in answers)
    window.post(f"{place}/stop")
    answers.append(window.settled())

    window.upload("t.csv", f"id,name,custom_fields.{script}\n10001,{script},x\n".encode(), OWN_KEY)
    window.settled()
    place = f"/w/{window.work.id}"
    window.post(f"{place}/columns")
    answers.append(window.settled())
    window.post(f"{place}/changes")
    answers.append(window.settled())
    assert "is none of your custom fields" in text_of(answers[-1])
    for answer in answers:
        assert script not in answer.text


def test_nothing_to_do(window: Browser, job: JobFixture) -> None:
    """A file without rows, one whose rows are all invalid, and one that changes nothing each say so."""
    window.upload("empty.csv", b"id,name\n", OWN_KEY)
    window.settled()
    window.post(f"/w/{window.work.id}/columns")
    assert "a header and no rows" in text_of(window.settled())
    window.upload("wrong.csv", b"id,phone\n10001,ext. 5\n", OWN_KEY)
    window.settled()
    window.post(f"/w/{window.work.id}/columns")
    assert "No row is ready: correct the file" in text_of(window.settled())
    to_changes(window, "same.csv", f'id,name\n10001,"{job.record(10001)["name"]}"\n')
    assert "Nothing would change" in text_of(window.settled())


def test_workbooks(window: Browser, tmp_path: Path) -> None:
    """A workbook's cells are named as it names them, and its sheets can be chosen among."""
    frame = pl.DataFrame({"id": ["10001"], "phone": ["ext. 5"]})
    other = pl.DataFrame({"id": ["10001"], "name": ["Other Sheet"]})
    import xlsxwriter

    made = io.BytesIO()
    with xlsxwriter.Workbook(made) as book:
        frame.write_excel(book, "First")
        other.write_excel(book, "Second")
    window.upload("b.xlsx", made.getvalue(), OWN_KEY)
    columns = window.settled()
    place = f"/w/{window.work.id}"
    assert "sheet “First”" in text_of(columns)
    window.post(f"{place}/columns")
    assert "B2: &#34;ext. 5&#34;" in text_of(window.settled())
    assert window.get(f"{place}/file/failures").content.startswith(b"PK")
    window.post(f"{place}/columns", {"sheet": "Second"})
    assert "1 row is ready" in text_of(window.settled())


def test_a_remembered_key(window: Browser, job: JobFixture) -> None:
    """A key is tried and kept as by `login`; one that the API refuses is not, and that is said without it."""
    account = next(one.value for one in offered(window.page.desk.environment) if one.kind == "typed")
    fields = {"company": "Acme", "remember": "yes"}
    key = job.sandbox.environment()["DUALENTRY_API_KEY"]
    wrong = window.upload("a.csv", b"id,name\n10001,A\n", account, key_DUALENTRY_API_KEY="wrong-key", **fields)
    assert (400, True) == (wrong.status_code, "does not accept this key" in wrong.text)
    window.upload("a.csv", b"id,name\n10001,A\n", account, key_DUALENTRY_API_KEY=key, **fields)
    assert "Acme" in window.settled().text
    assert "dualentry.customers|login|Acme|" in window.get("/").text


def test_a_wrong_key_while_comparing(window: Browser) -> None:
    """A key that the API refuses is told at the step that needs it, with a way to go on."""
    account = next(one.value for one in offered(window.page.desk.environment) if one.kind == "typed")
    window.upload("a.csv", b"id,name\n10001,A\n", account, key_DUALENTRY_API_KEY="wrong-key")
    window.settled()
    place = f"/w/{window.work.id}"
    window.post(f"{place}/columns")
    window.settled()
    window.post(f"{place}/changes")
    said = text_of(window.settled())
    assert "API key authentication failed" in said
    assert "Compare again" in said


def test_plain_words() -> None:
    """Messages lose the options and folders that only help at a terminal, and nothing else."""
    said = {
        'x.csv: no id. Columns: A, B.\nIf "A" is it:  --map "A=id"': "x.csv: no id. Columns: A, B.",
        "There is no key yet. To set one up:  ./run.sh login -e x": "There is no key yet.",
        "Taking back /tmp/a/b/2026-1: 2 changes.": "Taking back 2026-1: 2 changes.",
        "Taking back .local/share/batch/runs/May/2026-1: 2 changes.": "Taking back 2026-1: 2 changes.",
        "3/4/2026 is the 3rd of April": "3/4/2026 is the 3rd of April",
        "https://api.example.com/v2/x: it is down": "https://api.example.com/v2/x: it is down",
        "has letters in it (use digits, spaces and + - . ( ) only)":
        "has letters in it (use digits, spaces and + - . ( ) only)",
    }  # fmt: skip
    assert list(said.values()) == [views.plain(text) for text in said]


def test_a_plan_for_a_colleague(window: Browser, job: JobFixture, tmp_path: Path) -> None:
    """A plan is saved as one file, opened on the first page, and sent from there, with both names in what is kept."""
    place = to_changes(window, "May.csv", "id,name\n10001,Approved\n")
    assert 404 == window.get(f"{place}/file/approval?remark=for+Tuesday").status_code
    assert [] == list(tmp_path.rglob("*.batch-plan.zip"))  # nothing is made by looking
    saved = window.post(f"{place}/approval", {"remark": "for Tuesday"})
    assert "attachment; filename*=UTF-8''May.batch-plan.zip" == saved.headers["content-disposition"]
    opened = window.upload("May.batch-plan.zip", saved.content, OWN_KEY)
    assert "as the plan&#39;s file says: for Tuesday" in text_of(opened)
    assert "When planned" in text_of(opened)
    assert "1 customer will change, 1 cell" in text_of(opened)
    assert [] == job.writes()
    other = f"/w/{window.work.id}"
    wrong = window.upload("May.batch-plan.zip", saved.content, VAYU_KEY)
    assert (400, True) == (wrong.status_code, "this plan is for dualentry.customers" in wrong.text)
    send(window, other)
    run = window.settled()
    assert "Finished" in text_of(run)
    assert "Approved" == job.record(10001)["name"]
    report = window.get(str(run.url).split(window.page.base)[1] + "/report")
    assert "as the plan&#39;s file says: for Tuesday" in report.text
    assert REPORT_POLICY == report.headers["content-security-policy"]


def test_a_plan_for_another_company(window: Browser, job: JobFixture) -> None:
    """A colleague's plan is not sent with another key than it was made with unless somebody says that it is meant."""
    place = to_changes(window, "May.csv", "id,name\n10001,Approved\n")
    saved = window.post(f"{place}/approval", {"remark": ""}).content
    account = next(one.value for one in offered(window.page.desk.environment) if one.kind == "typed")
    other = {"key_DUALENTRY_API_KEY": "key-of-another-company", "company": "Bolt"}
    window.upload("May.batch-plan.zip", saved, account, **other)
    send(window, f"/w/{window.work.id}")
    assert "this plan was made with another key. Go on all the same?" in text_of(window.settled())
    window.post(f"/w/{window.work.id}/answer", {"number": "1", "answer": "no"})
    assert "Send 1 change to" in text_of(window.settled())
    assert [] == job.writes()


def test_what_was_chosen_counts(window: Browser, job: JobFixture, tmp_path: Path) -> None:
    """A settings file of one's own cannot lead a sheet to another company or address than the page shows."""
    other = tmp_path / "other.key"
    other.write_text("another-key")
    other.chmod(0o600)
    config = tmp_path / "config" / "batch" / "config.toml"
    config.write_text(f'token_file = "{other}"\nsandbox = true\nmax_per_second = 500.0\n')
    account = next(one.value for one in offered(window.page.desk.environment) if one.kind == "typed")
    window.upload("a.csv", b"id,name\n10001,A\n", account, key_DUALENTRY_API_KEY="typed-key", company="Acme")
    window.settled()
    settings = window.work.settings
    assert (None, None, False, "Acme", None) == (
        settings.token_file, settings.token_command, settings.sandbox, settings.company, settings.base_url,
    )  # fmt: skip
    assert "PRODUCTION" in window.get(f"/w/{window.work.id}/columns").text
    variables = window.work.environment.variables
    assert "typed-key" == variables["DUALENTRY_API_KEY"]
    assert window.work.environment.uses_logins is False
