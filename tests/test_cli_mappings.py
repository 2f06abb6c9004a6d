"""Headers that are not known: asked about on a terminal, remembered for the next file, and named in a pipeline."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.shell import DUALENTRY, Ended, Shell
from tests.test_terminal import on_terminal

ASKED = b'"q" to stop: '
REMEMBER = b"[Y/n]: "
SHEET = "Kd-ID,Firmenname lang,Telefon,Sachbearbeiter\n10001,Acme AG,030 1234,Ana\n10002,Bolt GmbH,,Ben\n"
CHECK = ["-e", DUALENTRY]


def store(shell: Shell) -> Path:
    return Path(shell.environment["HOME"], ".config", "batch", "mappings.json")


def ask(shell: Shell, text: str, *answers: bytes, name: str = "kunden.csv", more: Sequence[str] = ()) -> Ended:
    """Check a sheet on a terminal, and answer to each header in turn; the last answer is about remembering."""
    sheet = shell.sheet(text, name)
    said = [(ASKED, one) for one in answers[:-1]] + [(REMEMBER, one) for one in answers[-1:]]
    return on_terminal(shell, ["check", sheet, *CHECK, *more], said)


def matched(ended: Ended) -> dict[str, str]:
    """What each header stands for, as the check shows it."""
    lines = [line.split("->") for line in ended.err.splitlines() if " -> " in line]
    return {left.strip(): right.split()[0] for left, right in lines}


def test_asked_remembered_and_recognised(shell: Shell) -> None:
    """Each header is asked about with examples; next month's file with the same headers is not, whatever is above."""
    first = ask(shell, SHEET, b"1\n", b"firm\nname\n", b"-\n", b"\n")
    assert 0 == first.code, first.err
    assert {"Kd-ID": "id", "Firmenname lang": "name", "Telefon": "phone"} == matched(first)
    for line in (
        "kunden.csv: 3 columns are not known to DualEntry customers. Nothing is sent yet.",
        '"Firmenname lang"  such as  Acme AG · Bolt GmbH',
        'Remembered as "kunden".  In a script:  --mapping kunden',
    ):
        assert line in first.err
    assert f"check kunden.csv -e {DUALENTRY} --map=Kd-ID=id '--map=Firmenname lang=name' --map=Sachbearbeiter=" in (
        " ".join(first.err.split())
    )
    assert 0o600 == store(shell).stat().st_mode & 0o777
    moved = "Liste,,,\nTelefon,Sachbearbeiter,Kd-ID,Firmenname lang\n030,Ana,10001,Acme\n"
    again = ask(shell, moved, name="april.csv")
    assert 0 == again.code, again.err
    assert {"Kd-ID": "id", "Firmenname lang": "name", "Telefon": "phone"} == matched(again)
    assert 'The mapping "kunden", remembered on ' in again.err


def test_field_by_its_label(shell: Shell) -> None:
    """A label is said with the field that it means; a field that another column has already is asked again."""
    sheet = "Kd-ID,Firmenname lang,Zweitname\n10001,Acme AG,Acme\n"
    ended = ask(shell, sheet, b"1\n", b"Kundenname\n", b"NAME\n", b"tel\n", b"n\n")
    assert {"Kd-ID": "id", "Firmenname lang": "name", "Zweitname": "phone"} == matched(ended)
    for line in (
        '"Firmenname lang" is taken for name.',
        "Another column is taken for name already.",
        '"Zweitname" is taken for phone.',
    ):
        assert line in ended.err.splitlines()
    assert "--map=Zweitname=phone" in "".join(ended.err.split())


def test_quiet(shell: Shell) -> None:
    """With --quiet a question still shows what it is about."""
    shown = ask(shell, SHEET, b"1\n", b"name\n", b"-\n", b"n\n", more=["--quiet"])
    assert (0, True) == (shown.code, '"Firmenname lang"  such as  Acme AG · Bolt GmbH' in shown.err), shown.err
    assert "   1  id  (the customer's id at DualEntry)" in shown.err


def test_in_a_pipeline(shell: Shell) -> None:
    """Nothing is guessed where nobody can be asked: one whole command is printed, or a mapping is named."""
    ask(shell, SHEET, b"1\n", b"name\n", b"-\n", b"y\n")
    refused = shell.here("check", "kunden.csv", *CHECK)
    assert 2 == refused.code
    options = '--map "Kd-ID=id" --map "Firmenname lang=name" --map "Sachbearbeiter="'
    assert refused.err.splitlines()[-1].endswith(f"check kunden.csv -e {DUALENTRY} {options}")
    assert 0 == shell.here("check", "kunden.csv", *CHECK, "--mapping", "kunden").code
    unknown = shell.here("check", "kunden.csv", *CHECK, "--mapping", "Kunden")
    assert (2, f'There is no mapping "Kunden" of {DUALENTRY}. There are: kunden.\n') == (unknown.code, unknown.err)


def test_precedence(shell: Shell) -> None:
    """--map goes before a mapping, and a mapping before a file that was found."""
    ask(shell, SHEET, b"1\n", b"name\n", b"-\n", b"y\n")
    found = '[map]\nSachbearbeiter = "email"\n"Firmenname lang" = "email"\n'
    (shell.folder / "batch.toml").write_text(found)
    given = ["check", "kunden.csv", *CHECK, "--mapping", "kunden", "--map", "Telefon="]
    ended = shell.here(*given)
    assert 0 == ended.code, ended.err
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["Firmenname", "lang", "->", "name"] in [line[:4] for line in lines]
    assert ["Sachbearbeiter", "ignored"] in [line[:2] for line in lines]
    assert ["Telefon", "ignored"] in [line[:2] for line in lines]


def test_stop(shell: Shell) -> None:
    """Who stops has sent nothing, and nothing is remembered."""
    ended = on_terminal(shell, ["check", shell.sheet(SHEET), *CHECK], [(ASKED, b"q\n")])
    assert (2, False) == (ended.code, store(shell).exists())
    assert "Nothing was sent." in ended.err


def test_own_number(shell: Shell) -> None:
    """Where a column is one's own number and none the id, records are found by it, which is remembered, too."""
    sheet = shell.sheet("Nummer intern,Name\nC-1,Acme\n", "eigene.csv")
    answers = [(ASKED, b"unique\n1\n"), (b"[y/N]: ", b"y\n"), (REMEMBER, b"y\n")]
    ended = on_terminal(shell, ["check", sheet, *CHECK], answers)
    assert 0 == ended.code, ended.err
    assert "--key unique_id" in " ".join(ended.err.split())
    assert 0 == shell.here("check", sheet, *CHECK, "--mapping", "eigene").code


def test_which_column_is_the_id(shell: Shell) -> None:
    """Where no header says that it is the id, it is said what is asked, with examples of each column."""
    sheet = shell.sheet("Kunde,Firmenname\n10001,Acme\n10002,Bolt\n", "kunden.csv")
    answers = [(b"which stops): ", b"1\n"), (REMEMBER, b"n\n")]
    ended = on_terminal(shell, ["check", sheet, *CHECK], answers)
    assert 0 == ended.code, ended.err
    said = (
        "kunden.csv: no column says by its header that it is the customer's id. Nothing is sent yet.\n"
        "   1  Kunde  such as  10001 · 10002\n"
        "   2  Firmenname  such as  Acme · Bolt\n"
        "Which column has the customer's id? (Enter: none, which stops): 1\n"
    )
    assert said in ended.err


def test_commands(shell: Shell) -> None:
    """What is remembered can be listed, looked at and forgotten."""
    assert shell.here("mappings", "list").out.startswith("Nothing is remembered.")
    assert shell.here("mappings").out == shell.here("mappings", "list").out
    ask(shell, SHEET, b"1\n", b"name\n", b"-\n", b"y\n")
    ask(shell, SHEET.replace("Kd-ID", "Kd-Kennung"), b"1\n", b"name\n", b"-\n", b"y\n")
    listed = shell.here("mappings", "list").out.splitlines()
    assert ["kunden", "kunden-2"] == [line.split()[0] for line in listed[1:]]
    shown = shell.here("mappings", "show", "kunden").out.splitlines()
    assert ["Kd-ID", "->", "id"] == shown[1].split()
    assert 0 == shell.here("mappings", "forget", "kunden").code
    assert ["kunden-2"] == [one["name"] for one in json.loads(store(shell).read_text())]
    assert 2 == shell.here("mappings", "forget", "kunden").code


@pytest.mark.parametrize("text", ["{", '[{"name": 1}]', "\xff"])
def test_damaged(shell: Shell, text: Any) -> None:
    """A file that is damaged is told, with what to do."""
    store(shell).parent.mkdir(parents=True)
    store(shell).write_text(text, encoding="latin-1")
    ended = shell.here("mappings", "list")
    assert (2, f"{store(shell)}: it is damaged. Remove it, and match the columns once more.\n") == (
        ended.code, ended.err,
    )  # fmt: skip


def test_title_above_unknown_headers(shell: Shell) -> None:
    """Where no header is known and a title stands above, the row that looks like the header is asked about."""
    text = "Kundenliste,,,\nStand: 1.3.,,,\n" + SHEET
    sheet = shell.sheet(text, "kunden.csv")
    answers = [(b"[y/N]: ", b"y\n"), (ASKED, b"1\n"), (ASKED, b"name\n"), (ASKED, b"-\n"), (REMEMBER, b"\n")]
    ended = on_terminal(shell, ["check", sheet, *CHECK], answers)
    assert 0 == ended.code, ended.err
    assert "Is row 3 the header? [y/N]" in ended.err
    again = ask(shell, "Neu,,,\n" + text, name="april.csv")
    assert (0, True) == (again.code, "The header is row 4." in " ".join(again.err.split())), again.err
