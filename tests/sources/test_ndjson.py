"""Reading NDJSON: values to the letter, objects as columns, and what is no table by its line."""

import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.errors import InputError
from batch.model import FilePart, Staged, iter_read_errors
from batch.sources import ReadOptions, flat_lines, open_input, stage
from batch.sources import ndjson as reader


def staged(folder: Path, text: str | bytes, **options: object) -> Staged:
    """Stage a file with this text."""
    path = folder / "a.ndjson"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return stage(open_input(str(path), folder), folder, ReadOptions(**options))  # type: ignore[arg-type] # by name


def rows(found: Staged) -> list[tuple[object, ...]]:
    """The numbers and texts of all rows."""
    return pl.read_parquet(found.path).select("row", "^c\\d+$").rows()


def refusal(folder: Path, text: str | bytes) -> str:
    """Say why a file with this text is refused; nothing of it is kept."""
    with pytest.raises(InputError) as caught:
        staged(folder, text)
    assert not (folder / "input.parquet").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"00123"', "00123"),
        ("1.10", "1.10"),
        ("12345678901234567890.25", "12345678901234567890.25"),
        ("1E5", "1E5"),
        ("-0", "-0"),
        ("true", "true"),
        ("false", "false"),
        ("null", None),
        ('" \\u00a0"', None),
        ('"a\\nb"', "a\nb"),
        ('["a", "b"]', "a; b"),
        ("[1, 12345678901234567890123456]", "1; 12345678901234567890123456"),
        ("[]", None),
        ("{}", None),
    ],
)
def test_values(value: str, text: str | None, tmp_path: Path) -> None:
    """A value's text is what stands in the file."""
    found = staged(tmp_path, f'{{"id": "1", "x": {value}}}\n')
    assert (("id", "x"), [(1, "1", text)]) == (found.headers, rows(found))
    assert [None] == pl.read_parquet(found.path)["damage"].to_list()


def test_objects_and_missing_members(tmp_path: Path) -> None:
    """Members of objects are columns, in the order in which they come first; what is missing is blank."""
    text = '{"id": 1, "address": {"city": "Bonn", "geo": {"lat": 1.50}}}\r\n\n{"name": "x", "address": null, "id": 2}\n'
    found = staged(tmp_path, "\ufeff" + text)
    assert ("id", "address.city", "address.geo.lat", "name") == found.headers
    assert [(1, "1", "Bonn", "1.50", None), (3, "2", None, None, "x")] == rows(found)


def test_read_errors(tmp_path: Path) -> None:
    """A list that its text could not give back, and half of a character, make their rows invalid, and no other."""
    found = staged(tmp_path, '{"id": 1, "x": ["a;b"]}\n{"id": 2, "x": ["a", null]}\n{"id": "\\ud800"}\n{"id": 4}\n')
    errors = [list(iter_read_errors(text)) for text in pl.read_parquet(found.path)["damage"]]
    assert [[(1, "item_ambiguous")], [(1, "item_ambiguous")], [(0, "lost_character")], []] == [
        [(at, problem.code) for at, problem in one] for one in errors
    ]


def test_notes(tmp_path: Path) -> None:
    """Empty lists and blank rows are told."""
    found = staged(tmp_path, '{"id": 1, "x": []}\n{"id": null}\n{"id": 2, "x": ["a"]}\n')
    assert (
        'Column "x" has an empty list: read as blank, which changes nothing.',
        "1 blank row was left out.",
    ) == found.notes


LISTS = (
    'column "x": it holds lists of something other than texts or whole numbers, which no field can take. To leave it '
    'out:  --map "x="'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1}\n{"id": ', "line 2: it is no JSON (Expecting value, character 7): is the file complete?"),
        (
            '{"id": 1}\n{"id": 01}',
            "line 2: it is no JSON (Expecting ',' delimiter, character 9): is the file complete?",
        ),
        ('{"id": 1}\n[1]', 'line 2: it is no object, such as {"id": 1}.'),
        ('{"id": 1}\n{"id": NaN}', "line 2: it is no JSON (NaN is not JSON): is the file complete?"),
        ('{"id": 1}\n{"id": 2, "id": 3}', 'line 2: "id" is in it twice.'),
        ('{"a": {"b": 1}, "a.b": 2}', 'line 1: it has two values for column "a.b".'),
        (b'{"id": 1}\n{"id": "\xe4"}', "line 2: it is not UTF-8, as JSON must be."),
        (
            '{"id": 1}\n{"x": ' + "[" * 300,
            "line 2: it is no JSON (Expecting value, character 307): is the file complete?",
        ),
        ('{"id": 1}\n{"x": [{"a": 1}]}', f"line 2, {LISTS}"),
        ('{"x": [1.5]}', f"line 1, {LISTS}"),
    ],
)
def test_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    """What is no table of objects is named by its line."""
    assert f"a.ndjson, {message}" == refusal(tmp_path, text)


def test_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one endless line nor data as keys fill the memory."""
    monkeypatch.setattr(reader, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(reader, "MAX_COLUMNS", 9)
    assert "a.ndjson, line 2: it has more than 1 MB: this is no table." == refusal(
        tmp_path, '{"id": 1}\n{"id": "' + "x" * (1 << 20)
    )
    assert "a.ndjson, line 10: there are more than 9 columns." == refusal(
        tmp_path, "".join(f'{{"k{n}": 1}}\n' for n in range(99))
    )


def test_several(tmp_path: Path) -> None:
    """Several files are one table of all their columns; rows know their file and line."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"id": 1}\n\n{"id": 2}\n')
    (tmp_path / "in" / "b.ndjson").write_text('\n{"name": "x", "id": 3}\n')
    found = stage(open_input(str(tmp_path / "in"), tmp_path), tmp_path, ReadOptions())
    assert [(1, "1", None), (3, "2", None), (5, "3", "x")] == rows(found)
    assert (FilePart("a.jsonl", 1, 0), FilePart("b.ndjson", 4, 3)) == found.files
    assert ("b.ndjson row 2", "a.jsonl row 3") == (found.cell(5, 0), found.cell(3, 0))


def both_ways(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[object, ...]]]:
    """All that is staged of a file: with lines that are alike read at once, and with each line read as JSON."""
    found = []
    for most in (flat_lines.MAX_SHAPES, 0):
        monkeypatch.setattr(flat_lines, "MAX_SHAPES", most)
        one = staged(folder, text)
        found.append([one.headers, *pl.read_parquet(one.path).rows()])
        one.path.unlink()
    return found


ALIKE = [
    '{"id": 1, "name": "Acme", "x": 1.10}', '{"id":-0,"name":"","x":1E5}', '{"id": "007", "name": null, "x": -0.0}',
    '  { "id" :\t12345678901234567890.250 , "name" : "null" , "x" : true }  ', '{"id": 1, "name": "a\\"b", "x": 2}',
    '{"id": 1, "name": "\\u00e9 é", "x": false}', '{"name": "other order", "id": 2, "x": "y: {z}, [1]"}',
    '{"id": 3}', "", '{"id": 4, "name": "a\tb"}'.replace("\t", "\\t"), '{"id": 5, "name": "\\ud800", "x": null}',
    '{"id": 6, "name": ["a", "b"], "x": []}', '{"id": 7, "name": "x", "new": 1}', '{"id": 8, "name": "\u2028", "x": 0}',
    '{"id": 9, "name": " \u00a0", "x": "e"}', "{}", '{"a b.c+(d)": "1", "id": 10}', '{"id": 11, "a b.c+(d)": 2.50}',
]  # fmt: skip


def test_lines_that_are_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are read many at once give what they give one by one, whatever stands between them."""
    monkeypatch.setattr(reader, "BLOCK", 200)
    text = "\n".join([*ALIKE, *reversed(ALIKE), *ALIKE * 3])
    fast, slow = both_ways(tmp_path, text, monkeypatch)
    assert fast == slow
    assert 5 * sum(bool(one) and one != "{}" for one in ALIKE) == len(slow) - 1


@pytest.mark.parametrize("later", ['{"a": 1, "a.b": null}', '{"a": {"b": 1}}'])
@pytest.mark.parametrize("first", ['{"a": null}\n{"a": null}', '{"a": null}\n{"a": 1}'])
def test_column_above_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, later: str) -> None:
    """Whether a column has a value of its own is known of all lines where another one is below it."""
    fast, slow = both_ways(tmp_path, f"{first}\n{later}\n", monkeypatch)
    assert fast == slow


VALUES = st.one_of(
    st.text(), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text(), max_size=2),
)  # fmt: skip


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, min_size=1, max_size=4), min_size=1))
def test_any_objects(objects: list[dict[str, object]]) -> None:
    """Whatever the objects are, they are read the same in both ways, or refused in both."""

    def told(most: int, folder: Path) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(flat_lines, "MAX_SHAPES", most)
            try:
                found = staged(folder, text)
            except InputError as error:
                return str(error)
            return found.headers, pl.read_parquet(found.path).rows()

    text = "\n".join(json.dumps(one, ensure_ascii=number % 2 == 0) for number, one in enumerate(objects * 2))
    with tempfile.TemporaryDirectory() as fast, tempfile.TemporaryDirectory() as slow:
        assert told(flat_lines.MAX_SHAPES, Path(fast)) == told(0, Path(slow))
