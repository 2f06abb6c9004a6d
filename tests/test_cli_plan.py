"""`batch plan` on the command line: the whole page, its colours, and how it ends."""

import json
from pathlib import Path

from tests.shell import DUALENTRY, Api, Shell


def plan(api: Api, shell: Shell, sheet: Path, *more: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    ended = shell.here("plan", sheet, "-e", DUALENTRY, "--base-url", api.url, *more, env=env or {})
    return ended.code, ended.out, ended.err


def three(api: Api, shell: Shell) -> tuple[list[str], Path]:
    """A sheet that changes one record, clears a field of another, and names one that is not there."""
    ids = api.ids(2)
    return ids, shell.sheet(f"id,name,phone\n{ids[0]},New,\n{ids[1]},,<clear>\n99999999,x,\n")


def test_page(api: Api, shell: Shell) -> None:
    """Counts and cost, clears, every cell with old and new, the reasons, and the command that does exactly this."""
    ids, sheet = three(api, shell)
    (first, second) = (api.sandbox.record("dualentry", one) for one in ids)
    code, out, err = plan(api, shell, sheet)
    (folder,) = (path.relative_to(shell.folder) for path in shell.runs())
    who = [f"{one} {record['name']}" for one, record in zip(ids, (first, second), strict=True)]
    width, now = max(map(len, who)), max(len(first["name"]), len(second["phone"]))
    expected = [
        "To update 2 · Unchanged 0 · Not found 1",
        "  clears: phone on 1 customer",
        "",
        f"  row  {'customer':<{width}}  field  {'now':<{now}}  will be",
        f"  2    {who[0]:<{width}}  name   {first['name']:<{now}}  New",
        f"  3    {who[1]:<{width}}  phone  {second['phone']:<{now}}  (cleared)",
        "",
        "Reasons",
        "  rejected  id                   there is no customer with this id   row 4",
        "",
        f"Nothing was sent. All 2 cells: {folder}/plan.csv",
        f"To do exactly this:  batch update sheet.csv -e {DUALENTRY} --plan {folder} --base-url {api.url}",
    ]
    assert (1, expected, "") == (code, out.splitlines(), err)
    assert [] == api.writes()


def test_many_cells(api: Api, shell: Shell) -> None:
    """Of many cells the first are shown, all are counted by field, and the file has them all."""
    code, out, _ = plan(api, shell, shell.sheet(api.names(40)))
    (folder,) = (path.relative_to(shell.folder) for path in shell.runs())
    lines = out.splitlines()
    assert (0, "  name                           40 cells") == (code, lines[2])
    assert f"  …  10 more in {folder}/plan.csv" in lines
    assert 41 == len((shell.folder / folder / "plan.csv").read_text().splitlines())


def test_one_cell(api: Api, shell: Shell) -> None:
    """One cell is not called all of them."""
    _, out, _ = plan(api, shell, shell.sheet(api.names(1)))
    (folder,) = (path.relative_to(shell.folder) for path in shell.runs())
    assert f"Nothing was sent. The cell: {folder}/plan.csv" in out.splitlines()


def test_colours(api: Api, shell: Shell) -> None:
    """Pages that go into a file have no colours."""
    _, sheet = three(api, shell)
    _, out, _ = plan(api, shell, sheet, env={"NO_COLOR": ""})
    assert "\x1b" not in out


def test_json(api: Api, shell: Shell) -> None:
    """--json prints the summary object and nothing else."""
    _, sheet = three(api, shell)
    code, out, _ = plan(api, shell, sheet, "--json")
    read = json.loads(out)
    keys = ("rows", "not_found", "cells", "clears", "writes", "reads", "exit_code")
    assert [3, 1, 2, {"phone": 1}, 2, 1, 1] == [read[key] for key in keys]
    assert (1, 2) == (code, read["outcomes"]["updated"])


def test_wrong_key(api: Api, shell: Shell) -> None:
    """A plan that could not be made is none, and says so."""
    code, out, err = plan(api, shell, shell.sheet(api.names(2)), env={"DUALENTRY_API_KEY": "another-key"})
    expected = (
        'The API does not permit this with the key (403) and says: "API key authentication failed". '
        "Check DUALENTRY_API_KEY: the key may be wrong, expired, or not permitted to do this. "
        "There is no plan, since not all rows were looked at. Nothing was written."
    )
    assert (2, "", expected) == (code, out, err.strip())
    assert [] == shell.runs()


def test_too_many_clears(api: Api, shell: Shell) -> None:
    """A plan that an update would refuse for its clears says so."""
    rows = "".join(f"{one},<clear>\n" for one in api.ids(12))
    _, out, _ = plan(api, shell, shell.sheet(f"id,phone\n{rows}"))
    needs = "an update of this needs --max-clears 100%, or somebody to ask"
    assert f"  phone would be cleared on 12 of 12 customers (100%): {needs}" in out.splitlines()
