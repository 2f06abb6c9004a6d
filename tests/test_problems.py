"""The codes of problems: listed once, used, stable; and a problem comes back from the journal as it was."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.journal import Journal
from batch.model import Outcome, Problem, RowResult, iter_read_errors, read_errors_text
from batch.problems import API, SENTENCES, sentence

ROOT = Path(__file__).parent.parent / "batch"
CODES = Path(__file__).with_name("codes.txt")


def trees() -> Iterator[ast.Module]:
    """Parse every module but the list itself."""
    yield from (ast.parse(path.read_text("utf-8")) for path in ROOT.rglob("*.py") if path.name != "problems.py")


def texts(node: ast.AST) -> set[str]:
    """List the texts that stand in a piece of code as such, not as a part of others."""
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def codes(tree: ast.Module) -> Iterator[str]:
    """Yield the codes that problems are made with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Problem", "problem"):
            code = node.args[0]
            for one in (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,):
                if isinstance(one, ast.Constant):
                    yield str(one.value)


def test_every_code_is_used() -> None:
    """No sentence is left over."""
    assert set() == set(SENTENCES) - set().union(*map(texts, trees()))


def test_every_code_is_listed() -> None:
    """No problem is made with a code that has no sentence."""
    used = {code for tree in trees() for code in codes(tree)}
    assert set() == used - {*SENTENCES, ""}
    assert len(used) > 50


def test_codes_are_stable() -> None:
    """Scripts rely on codes: new ones are added to `codes.txt`, and no line of it is ever changed or removed."""
    assert sorted(SENTENCES) == CODES.read_text("utf-8").split()


def test_unknown() -> None:
    """A code without a sentence, and a sentence without its value, are refused."""
    for code, values in (("nonsense", {}), ("text_too_long", {"length": 5})):
        with pytest.raises(ValueError, match="is not known"):
            sentence(code, values)


@pytest.mark.parametrize(("count", "expected"), [(0, "0 contacts"), (1, "1 contact"), (2, "2 contacts")])
def test_counts(count: int, expected: str) -> None:
    """A number stands with its noun in the right form."""
    assert f"would leave a gap: the customer has {expected}" == sentence(
        "contacts_gap", {"noun": "customer", "count": count}
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.dictionaries(TEXT, TEXT | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
KNOWN = st.builds(Problem, st.just("tries_failed"), st.fixed_dictionaries({"cause": TEXT}), TEXT, TEXT, TEXT, TEXT)
FOREIGN = st.builds(Problem, st.sampled_from([API, "", "of_a_later_version"]), VALUES, TEXT, TEXT, TEXT, TEXT)


@given(st.lists(KNOWN | st.builds(lambda one, text: Problem.restored(text, one.code, one.values), FOREIGN, TEXT)))
def test_journal(tmp_path_factory: pytest.TempPathFactory, problems: list[Problem]) -> None:
    """A problem survives the journal, with its values, its place and its words."""
    problems = [one for one in problems if one.text or one.code in (*SENTENCES, API, "")]
    row_result = RowResult(2, "42", Outcome.REJECTED, problems=tuple(problems))
    with Journal.create(tmp_path_factory.mktemp("run") / "journal.sqlite", {}) as journal:
        journal.record_rows([row_result])
        assert {2: row_result} == journal.row_results(0, 9)


def test_of_0_1() -> None:
    """What 0.1 wrote down has its words, and no code."""
    ((index, problem),) = iter_read_errors(json.dumps([[3, "x", "is damaged"]]))
    assert (3, Problem("", seen="x", text="is damaged")) == (index, problem)
    assert ("is damaged", '"x" is damaged') == (problem.reason, problem.message)


def test_words_stay() -> None:
    """A sentence that was worded otherwise when it was written down keeps its words beside its code."""
    problem = Problem.restored("is far too long", "text_too_long", {"length": 5, "most": 4})
    assert ("text_too_long", "is far too long") == (problem.code, problem.reason)


def test_read_errors() -> None:
    """What a reader does not trust comes back from `input.parquet` with code and values."""
    found = [(None, Problem("cells_missing", {"cells": 1, "width": 3}, seen='a"b')), (2, Problem("merged"))]
    assert found == list(iter_read_errors(read_errors_text(found)))
