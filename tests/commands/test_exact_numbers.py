"""Numbers of records, from the API's answer through a whole run and back to it: as the API writes them, digit by digit.

The API here keeps the text of what it is sent; the sandbox, as many an API, knows numbers by their value only.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.little_api import Asked, LittleApi, Said, little_api
from tests.shell import DUALENTRY, VAYU, Ended, Shell

ID = {DUALENTRY: "1000", VAYU: "65f000000000000000000001"}
NUMBERS = ["12345678901234567890.25", "1.10", "1E5", "-0", "1e999999999", "0.30000000000000000000001"]
RECORDS = {
    DUALENTRY: """{"id": 1000.0, "unique_id": "K-1", "name": "Acme", "balance": 5.00,
        "full_address": {"second_line": null, "city": "Bonn",
        "street": "Weg 1", "state": 1E5, "postal_code": %s}, "shipping_address": null,
        "custom_fields": [{"field": {"id": 7.0, "name": "Limit"}, "value": {"value": %s, "custom_field_id": 7}}]}""",
    VAYU: """{"id": "65f000000000000000000001", "createdAt": 1.50, "externalId": "K-1", "name": "Acme", "taxIds": [%s],
        "contacts": [{"email": "a@b.example", "name": "Ann", "id": 1.0}], "customFields": [{"vayuCustomFieldName":
        "Limit", "value": %s, "valueType": "Number"}, {"valueType": "String", "value": {"z": -0, "a": [1.10]},
        "vayuCustomFieldName": "Terms"}]}""",
}


def read(text: str) -> Any:
    """Read JSON so that `written` gives the same text."""
    return json.loads(text, parse_float="#{}#".format, parse_int="#{}#".format)


def written(value: Any) -> str:
    return re.sub(r'"#([^"]*)#"', r"\1", json.dumps(value))


@dataclass
class Keeper:
    """An API with one customer, whose numbers it keeps as they are written."""

    endpoint: str
    record: Any
    writes: int = 0

    def answer(self, asked: Asked) -> Said:
        if asked.path == "/login":
            return Said(200, {"accessToken": "t"})
        if "custom-fields" in asked.path or "customFields" in asked.path:
            return Said(200, {"items": []})
        if asked.is_write:
            self._write(read(asked.body))
        if asked.path.partition("?")[0].rstrip("/").endswith("/" + ID[self.endpoint]):
            return self._say(self.record)
        name = "items" if self.endpoint == DUALENTRY else "customers"
        return self._say({name: [self.record], "count": 1, "total": 1, "hasMore": False})

    def _say(self, value: Any) -> Said:
        return Said(200, written(value).encode())

    def _write(self, body: Any) -> None:
        self.writes += 1
        if self.endpoint == VAYU:
            own = {name: self.record[name] for name in ("id", "createdAt")}
            for one in body["contacts"]:
                one["id"] = "#1.0#"
            self.record = own | body
            return
        for one in body.pop("custom_fields", ()):
            (known,) = self.record["custom_fields"]
            known["value"]["value"] = one["value"]["value"] if "field" in one else one["Limit"]
        self.record |= body
        self.record["full_address"] = {"second_line": None} | self.record["full_address"]


@dataclass
class World:
    """The program, and the API."""

    shell: Shell
    endpoint: str
    keeper: Keeper
    api: LittleApi

    @property
    def record(self) -> str:
        """The record as the API has it, in an order of its own."""
        return written(dict(sorted(self.keeper.record.items())))

    def run(self, *arguments: object) -> Ended:
        options = [one for one in self.api.options if one != "--yes" or arguments[0] in ("update", "undo")]
        return self.shell.here(*arguments, *options)

    def sheet(self, start: str = "id", first: str = "") -> str:
        limit, place = ("custom_fields.Limit:number", "full_address.city")
        if self.endpoint == VAYU:
            limit, place = "customFields.Limit:number", "contacts.1.name"
        return f"{start},{place},{limit}\n{first or ID[self.endpoint]},Ulm,77\n"

    def assert_only_that_changed(self, before: str) -> None:
        """What the sheet names is changed, and nothing else of the record is so much as written otherwise."""
        changed = before.replace('"Bonn"', '"Ulm"').replace('"Ann"', '"Ulm"')
        changed = re.sub(
            r'("Limit"\}, "value": \{|"vayuCustomFieldName": "Limit", )"value": [^,}]*', r'\1"value": 77', changed
        )
        assert changed == self.record


@pytest.fixture(params=[(one, number) for one in (DUALENTRY, VAYU) for number in NUMBERS], ids="-".join)
def world(request: pytest.FixtureRequest, shell: Shell) -> Iterator[World]:
    endpoint, number = request.param
    keeper = Keeper(endpoint, read(RECORDS[endpoint] % (number, number)))
    with little_api(keeper.answer) as api:
        yield World(shell, endpoint, keeper, api)


def test_update_and_undo(world: World) -> None:
    """An update leaves every other number as it is written, and an undo puts back those that it changed."""
    before = world.record
    ended = world.run("update", world.shell.sheet(world.sheet()), "-e", world.endpoint)
    assert 0 == ended.code, ended.err
    world.assert_only_that_changed(before)
    undone = world.run("undo", world.shell.only_run())
    assert (0, before) == (undone.code, world.record), undone.err


def test_plan(world: World) -> None:
    """What a plan expects of numbers is what the record shows, so that it can be carried out."""
    before, sheet = world.record, world.shell.sheet(world.sheet())
    made = world.run("plan", sheet, "-e", world.endpoint)
    assert 0 == made.code, made.err
    ended = world.run("update", sheet, "-e", world.endpoint, "--plan", world.shell.runs()[-1] / "plan.json")
    assert 0 == ended.code, ended.err
    world.assert_only_that_changed(before)


def test_by_key(world: World) -> None:
    """A record that was found by its key is written back as it is, too; its id may be a number of any spelling."""
    before, key = world.record, "unique_id" if world.endpoint == DUALENTRY else "externalId"
    ended = world.run("update", world.shell.sheet(world.sheet(key, "K-1")), "-e", world.endpoint, "--key", key)
    assert 0 == ended.code, ended.err
    world.assert_only_that_changed(before)


def test_pulled(world: World) -> None:
    """A pulled sheet expects the numbers that were pulled; unedited, it changes nothing."""
    before = world.record
    pulled = world.run("pull", "-e", world.endpoint, "-o", "sheet.csv")
    assert 0 == pulled.code, pulled.err
    unedited = world.run("update", "sheet.csv", "-e", world.endpoint)
    assert (0, before, 0) == (unedited.code, world.record, world.keeper.writes), unedited.err
    path = world.shell.folder / "sheet.csv"
    text = path.read_text(encoding="utf-8")
    head, _, row = text.partition("\n")
    names, cells = head.split(","), row.split(",")
    place = names.index("full_address.city" if world.endpoint == DUALENTRY else "contacts.1.name")
    cells[place] = "Ulm"
    path.write_text(f"{head}\n{','.join(cells)}", encoding="utf-8")
    ended = world.run("update", "sheet.csv", "-e", world.endpoint)
    assert 0 == ended.code, ended.err
    assert before.replace('"Bonn"', '"Ulm"').replace('"Ann"', '"Ulm"') == world.record


# -- what cannot be written back exactly -------------------------------------------------------------------------------

TWICE = '{"id": "65f000000000000000000001", "name": "Acme", "externalId": "K-1", "taxId": "1", "taxId": "2"}'
HALF = r'{"id": 1000, "name": "Ac\ud83dme", "phone": "1", "full_address": {"city": "a", "city": "b"}}'


def keeping(text: str, sent: list[str]) -> Callable[[Asked], Said]:
    """An API whose one customer reads so, and whose answers to writes show what was sent."""

    def answer(asked: Asked) -> Said:
        if asked.path == "/login":
            return Said(200, {"accessToken": "t"})
        if "custom-fields" in asked.path or "customFields" in asked.path:
            return Said(200, {"items": []})
        if asked.is_write:
            sent.append(asked.body)
        shown = read(text) | read(sent[-1]) if sent else None
        said = text if shown is None else written(shown)
        is_alone = asked.is_write or any(one in asked.path.partition("?")[0] for one in ID.values())
        return Said(200, (said if is_alone else f'{{"items": [{said}], "customers": [{said}], "count": 1}}').encode())

    return answer


@pytest.mark.parametrize("command", ["update", "plan"])
def test_a_key_twice(shell: Shell, command: str) -> None:
    """A record that must be sent whole, and of which a key would be lost, is rejected and left alone."""
    sent: list[str] = []
    sheet = shell.sheet(f"id,name\n{ID[VAYU]},Bolt\n")
    with little_api(keeping(TWICE, sent)) as api:
        ended = shell.here(command, sheet, "-e", VAYU, *(api.options if command == "update" else api.options[:-1]))
    said = 'the record has the key "taxId" twice, which cannot be written back exactly, so nothing was sent'
    assert (1, [], True) == (ended.code, sent, said in ended.err + ended.out), ended


def test_half_of_a_character(shell: Shell) -> None:
    """Where it is not in the way, the record is like any other; but nothing puts the half back, and undo says so."""
    sent: list[str] = []
    sheet = shell.sheet("id,name,phone\n1000,Bolt,2\n")
    with little_api(keeping(HALF, sent)) as api:
        ended = shell.here("update", sheet, "-e", DUALENTRY, *api.options)
        assert (0, 1) == (ended.code, len(sent)), ended.err
        undone = shell.here("undo", shell.only_run(), *api.options)
    assert (1, 1, True) == (undone.code, len(sent), "half of a character" in undone.err), undone.err


def test_a_number_that_is_none(shell: Shell) -> None:
    """NaN is no JSON, so that an answer with it cannot be read, and nothing is sent."""
    sent: list[str] = []
    sheet = shell.sheet("id,name\n1000,Bolt\n")
    with little_api(keeping('{"id": 1000, "name": "Acme", "balance": NaN}', sent)) as api:
        ended = shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--max-attempts", 1)
    assert (3, [], True) == (ended.code, sent, "it is not JSON" in ended.err), ended.err
