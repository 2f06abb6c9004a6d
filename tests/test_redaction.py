"""What is shown and written hides the key however a server spells it; what goes back to the API is never touched."""

import base64
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote
from zipfile import ZipFile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.commands.changes import OpenPlan
from batch.conditions import PlannedChange
from batch.credentials import Redaction, hidden_texts, hide_known
from batch.run.plan_file import PlanFile, PlanWriter
from tests.little_api import Asked, Said, little_api
from tests.shell import DUALENTRY, VAYU, Shell, iter_files, results

KEY = 'canary/1+a="b\\c%d-Zz_0123456789'
FOREIGN = 'canary/ü+a="b\\c%d-Zz_0123456789'


def escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def in_url_base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": escaped,
    "JSON with slashes": lambda text: escaped(text).replace("/", "\\/"),
    "JSON in JSON": lambda text: escaped(escaped(text)),
    "JSON, all escaped": lambda text: "".join(f"\\u{ord(one):04X}" for one in text),
    "URL": quote,
    "URL, all of it": lambda text: quote(text, safe=""),
    "URL, lower case": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "URL in URL": lambda text: quote(quote(text, safe=""), safe=""),
    "base64": in_base64,
    "base64 of id:key": lambda text: in_base64("client-7:" + text),
    "base64 of key:": lambda text: in_base64(text + ":"),
    "base64 for URLs": in_url_base64,
    "base64 for URLs of id:key": lambda text: in_url_base64("me:" + text).rstrip("="),
    "base64 without padding": lambda text: in_base64("a:" + text).rstrip("="),
    "base64 in a URL": lambda text: quote(in_base64("ab:" + text), safe=""),
    "base64 in JSON": lambda text: in_base64(text).replace("/", "\\/"),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("key", [KEY, FOREIGN])
def test_spellings(key: str, spell: Callable[[str], str]) -> None:
    """A key is found as it is, JSON-escaped, percent-encoded and in base64, in texts as in bodies."""
    redaction = Redaction()
    redaction.add_secret(f"Bearer {key}")
    assert "got [(the key)], sorry" == redaction.hide(f"got [{spell(key)}], sorry")
    assert b"got [(the key)], sorry" == redaction.hide_in_body(f"got [{spell(key)}], sorry".encode())


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40), st.text(max_size=9))
@example('\\\\\\\\"\\"\\/', "")
def test_any_key(key: str, before: str) -> None:
    """No key survives in any spelling, whatever stands before it in base64."""
    redaction = Redaction()
    redaction.add_secret(key)
    texts = [key, escaped(key), quote(key, safe=""), in_base64(before + key), in_url_base64(before + key)]
    assert ["(the key)"] * len(texts) == [redaction.hide(text) for text in texts]


def test_beginning_of_a_key() -> None:
    """Of a text that was shortened inside of the key nothing of it stays."""
    redaction = Redaction()
    redaction.add_secret(KEY)
    assert 'shows "(the key)…" instead' == redaction.hide(f'shows "{KEY[:20]}…" instead')


def test_other_texts_stay() -> None:
    """What is no secret stays as it is: also an account name, but for the header that it was sent in."""
    redaction = Redaction(["acme"])
    redaction.add_secret(KEY)
    redaction.add_secret("short")
    redaction.add_header("x-api-key", "acme")
    text = "acme's short report: 100 % of a/b+c=d"
    assert text == redaction.hide(text)
    assert "{'X-Api-Key': '(the client id)', 'Company': 'acme'}" == redaction.hide(
        "{'X-Api-Key': 'acme', 'Company': 'acme'}"
    )


# -- whole runs -----------------------------------------------------------------------------------------------------

RECORD = {"id": 10001, "name": "Old", "phone": "", "custom_fields": []}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("status", [422, 500])
def test_canary(offline: Shell, spell: Callable[[str], str], status: int) -> None:
    """A key that a server echoes, however it spells it, is in no output and in no file."""
    offline.environment["DUALENTRY_API_KEY"] = KEY

    def script(asked: Asked) -> Said:
        if not asked.is_write:
            return Said(200, {"items": [RECORD], "count": 1})
        if status == 500:
            return Said(500, f"Traceback: {spell(KEY)}".encode())
        return Said(422, {"success": False, "errors": {"name": [f"Not with {spell(asked.headers['x-api-key'])}"]}})

    with little_api(script) as api:
        command = ["update", offline.sheet("id,name\n10001,New\n"), "-e", DUALENTRY, *api.options]
        ended = offline.here(*command, "--max-attempts", 1, "--json")
    written = [ended.out, ended.err, *(path.read_bytes().decode("latin-1") for path in iter_files(offline.folder))]
    for one in {spell(KEY), escaped(spell(KEY)), spell(KEY)[4:-6]}:
        assert not any(one in text for text in written), one
    if status == 422:
        assert "Not with (the key)" in str(results(offline.only_run())[0]["message"])


def test_record_that_shows_the_key(offline: Shell) -> None:
    """A record that shows what was sent with the request does not bring it into messages."""
    offline.environment["DUALENTRY_API_KEY"] = KEY

    written: list[Asked] = []

    def script(asked: Asked) -> Said:
        written.extend([asked] * asked.is_write)
        shown = {**RECORD, "name": KEY * 4} if written else RECORD
        return Said(200, shown if asked.is_write else {"items": [shown], "count": 1})

    with little_api(script) as api:
        ended = offline.here("update", offline.sheet("id,name\n10001,New\n"), "-e", DUALENTRY, *api.options)
    said = str(results(offline.only_run())[0]["message"])
    assert (1, True) == (ended.code, 'still shows "(the key)(the key)(the key)…" instead of "New"' in said)


def test_plan_of_a_record_that_shows_the_key(offline: Shell) -> None:
    """What plan, page and results show of records is without the key, always; it is sent all the same."""
    offline.environment["DUALENTRY_API_KEY"] = KEY
    record = RECORD | {"name": f"call {KEY}"}

    def script(asked: Asked) -> Said:
        record.update(json.loads(asked.body) if asked.is_write else {})
        return Said(200, record if asked.is_write else {"items": [record], "count": 1})

    sheet = offline.sheet(f'id,name\n10001,"now {KEY.replace(chr(34), 2 * chr(34))}"\n')
    with little_api(script) as api:
        planned = offline.here("plan", sheet, "-e", DUALENTRY, *api.options)
        (plan,) = offline.folder.glob("sheet.batch/plan-*/plan.csv")
        text = (
            planned.out
            + planned.err
            + "".join((plan.parent / name).read_text() for name in ("plan.csv", "report.html"))
        )
        assert (0, True, False) == (planned.code, "call (the key)" in text, KEY[-9:] in text)
        options = ["-e", DUALENTRY, *api.options, "--plan", plan.parent, "--results-xlsx"]
        assert 0 == offline.here("update", sheet, *options).code
    assert f"now {KEY}" == record["name"]
    shown = OpenPlan(plan.parent, {})
    ((line,),) = shown.page("key").changes
    shown.close()
    assert ("call (the key)", "now (the key)") == (line.before, line.after)
    (run,) = offline.folder.glob("sheet.batch/2*")
    del offline.environment["DUALENTRY_API_KEY"]
    for _ in range(2):
        with ZipFile(run / "results.xlsx") as workbook:
            cells = "".join(workbook.read(name).decode() for name in workbook.namelist())
        assert (True, False) == ("now (the key)" in cells, KEY[-9:] in cells)
        (run / "results.xlsx").unlink()
        assert 0 == offline.here("results", run, "--results-xlsx").code  # which knows no key


def test_records_go_back_as_they_came(offline: Shell) -> None:
    """A record in which the client id, the token or the access token stand as texts is put back with them."""
    words = {"client": "acme-corporation", "token": "refresh-me-0123456789", "access": "opens-for-an-hour-0123"}
    offline.environment |= {"VAYU_API_TOKEN": words["token"], "VAYU_CLIENT_ID": words["client"]}
    number = "65f000000000000000000001"
    record = {"id": number, "name": "Old", "legalName": " ".join(words.values()), "externalId": words["client"]}

    def script(asked: Asked) -> Said:
        if asked.path.endswith("/login"):
            return Said(200, {"accessToken": words["access"]})
        return Said(200, {"customer": record | json.loads(asked.body)} if asked.is_write else record)

    with little_api(script) as api:
        ended = offline.here("update", offline.sheet(f"id,name\n{number},New\n"), "-e", VAYU, *api.options)
    (written,) = [json.loads(asked.body) for asked in api.asked if asked.is_write]
    assert (0, "New", record["legalName"]) == (ended.code, written["name"], written["legalName"])


def test_file_that_says_what_is_hidden() -> None:
    """A plan or record of somebody else's hides a part of a text where it says so, and never shows another text."""
    texts = ["evil@example", "a secret b secret c"]
    shown = {"evil@example": "good@example", "a secret b secret c": "a (the key) b (the key) c"}
    hide = hide_known(hidden_texts(texts, lambda text: shown.get(text, text)))
    assert ["evil@example", "a (the key) b (the key) c", "else"] == [hide(text) for text in [*texts, "else"]]


@pytest.mark.parametrize("said", ["b(the key)", "a(the key)x(the key)b", "ab(the key)b", 5, ""])
def test_what_is_no_part_is_not_hidden(said: str) -> None:
    """Nor does a text with the mark of what is hidden that this one does not begin, end or go on with."""
    (digest,) = hidden_texts("ab", lambda text: "(the key)")
    assert "ab" == hide_known({digest: said})("ab")


def test_plan_that_hides_by_no_list(tmp_path: Path) -> None:
    """What a plan of somebody else's says in another form than ours hides nothing."""
    with PlanWriter(tmp_path / "plan.json", {}) as writer:
        writer.add(replace(PlannedChange(2, "1", "A", ()), hidden=["all"]))
        writer.finish()
    with closing(PlanFile(tmp_path / "plan.json")) as plan:
        assert ["1"] == [one.as_shown().id for one in plan]
