"""A plan as Markdown: what a reviewer sees, bounded, and safe from what customers are called."""

import re

import pytest

from batch.cli.markdown import code
from tests.shell import DUALENTRY, Api, Shell


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bolt", "`Bolt`"), ("a|b", r"`a\|b`"), ("a\\|b", r"`a\\x7cb`"), ("@octocat #1", "`@octocat #1`"),
        ("<b>x</b>", "`<b>x</b>`"), ("[x](http://e.example)", "`[x](http://e.example)`"), ("a`b", "``a`b``"),
        ("`a``", "``` `a`` ```"), (" a ", "`  a  `"), (" ", "`   `"), ("a\r\nb", "`a  b`"), ("a\u202eb", "`a\\u202eb`"),
        ("x" * 200, "`" + "x" * 119 + "…`"), ("", ""),
    ],
)  # fmt: skip
def test_code(text: str, expected: str) -> None:
    """Any text is a code span of one cell: no pipe ends the cell, no backtick the span, nothing is invisible."""
    assert expected == code(text)


def test_page(shell: Shell, api: Api) -> None:
    """Counts, what is emptied, every cell, what is not sent and why, and the command that does exactly this."""
    first, second = api.ids(2)
    was = [api.sandbox.record("dualentry", one) for one in (first, second)]
    sheet = shell.sheet(f"id,Company Name,phone\n{first},A|<b>@x,\n{second},,<clear>\n99999999,x,\n{second}9,,ext. 5\n")
    words = ["plan", sheet, "-e", DUALENTRY, "--map", "Company Name=name", "--base-url", api.url, "--output", "md"]
    ended = shell.here(*words)
    folder, options = f"sheet.batch/{shell.only_run().name}", f"'--map=Company Name=name' --base-url {api.url}"
    expected = [
        "### Plan for `sheet.csv`: DualEntry customers",
        "",
        "| to update | unchanged | invalid | not found |",
        "|---|---|---|---|",
        "| 2 | 0 | 1 | 1 |",
        "",
        "Nothing was written to the API. To send: about 3 requests.",
        "**Empties** `phone` on 1 customer.",
        "",
        "| row | customer | field | now | will be |",
        "|---|---|---|---|---|",
        rf"| 2 | `{first}` `{was[0]['name']}` | `Company Name (name)` | `{was[0]['name']}` | `A\|<b>@x` |",
        f"| 3 | `{second}` `{was[1]['name']}` | `phone` | `{was[1]['phone']}` | (cleared) |",
        "",
        "| outcome | field | reason | how many | rows |",
        "|---|---|---|---|---|",
        "| invalid | `phone` | `has letters in it (use digits, spaces and + - . ( ) only)` | 1 | 5 |",
        "| rejected | `id` | `there is no customer with this id` | 1 | 4 |",
        "",
        f"To do exactly this: `batch update sheet.csv -e {DUALENTRY} --plan {folder} {options}`",
    ]
    assert (1, expected) == (ended.code, ended.out.splitlines())
    refused = shell.here(*words, "--json")
    assert (2, "--json and --output md: both are for standard output. Leave one of them out.\n") == (
        refused.code, refused.err,
    )  # fmt: skip


def test_is_bounded(shell: Shell, api: Api) -> None:
    """Of many cells those are shown that fit into a comment, and it is said how many are left out, and where."""
    ids = api.ids(250)
    sheet = shell.sheet("id,name\n" + "".join(f"{one},{'é' * 90}{one}\n" for one in ids))
    out = shell.here("plan", sheet, "-e", DUALENTRY, "--base-url", api.url, "--output", "md").out
    shown = len(re.findall(r"^\| \d+ \| `", out, re.MULTILINE))
    said = f"… and {250 - shown} other cells, all in `sheet.batch/{shell.only_run().name}/plan.csv`."
    assert (True, True) == (100 < shown <= 200, said in out.splitlines())
    assert len(out.encode()) < 65_000
