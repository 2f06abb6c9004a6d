"""What endpoints share: headers, equality and error shapes (what each must keep: `tests/endpoints`)."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batch.endpoints import ENDPOINTS, DualEntryCustomers
from batch.endpoints.base import (
    ConflictError,
    as_content,
    is_blank,
    nest,
    same_value,
    split_kind,
)
from batch.endpoints.errors import error_text, parse_common_errors
from batch.endpoints.labels import fold
from batch.exact_json import HALF
from batch.http import ApiResponse
from batch.model import Outcome

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_inexact_is_rejected() -> None:
    """What no program could write back exactly is no fault of the sheet: the row is rejected, not invalid."""
    with pytest.raises(ConflictError, match="cannot be written back exactly") as caught:
        as_content({"aliases": [f"{HALF}d83d"]})
    assert Outcome.REJECTED is caught.value.outcome


def test_names() -> None:
    """Endpoints are known by api and kind of record."""
    assert ["dualentry.customers", "vayu.customers"] == list(ENDPOINTS)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Phone Number", "phonenumber"),
        ("e-mail_ADDRESS", "emailaddress"),
        ("ﬁeld", "field"),
        ("a\u200b\ufeffb", "ab"),
        ("Straße", "strasse"),
    ],
)
def test_fold(header: str, expected: str) -> None:
    """Headers are matched without case, spaces, hyphens, underscores, ligatures and invisible marks."""
    assert expected == fold(header)


def test_nearest_leaves_out() -> None:
    """Fields that are taken are not proposed."""
    found = [DualEntryCustomers().nearest("Webbsite"), DualEntryCustomers().nearest("Webbsite", without={"website"})]
    assert [["website"], []] == found


@pytest.mark.parametrize("value", [None, "", [], {}, {"a": None, "b": {"c": ""}}])
def test_blank(value: Any) -> None:
    """Null, empty text, empty lists and objects of nothing else read as empty."""
    assert is_blank(value)


@pytest.mark.parametrize("value", [0, False, " ", [""], {"a": 0}, "x"])
def test_not_blank(value: Any) -> None:
    """Zero, false and a space are values."""
    assert not is_blank(value)


@pytest.mark.parametrize(
    ("wanted", "current", "expected"),
    [
        (None, "", True),
        ("", [], True),
        (True, 1, False),
        (0, False, False),
        (1, 1.0, True),
        ("a", "A", False),
        (0, "", False),
    ],
)
def test_same_value(wanted: Any, current: Any, expected: bool) -> None:
    """Null equals empty, a boolean is never a number, everything else is compared by value."""
    assert expected is same_value(wanted, current)


@given(st.dictionaries(st.text(), JSON))
def test_content(body: Any) -> None:
    """A body is written as JSON that says the same, and the same bytes each time."""
    assume(HALF not in json.dumps(body, ensure_ascii=False))  # the mark for what cannot be written back exactly
    assert (body, as_content(body)) == (json.loads(as_content(body)), as_content(dict(body)))


def test_content_of_no_number() -> None:
    """What JSON cannot say never leaves."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_content({"x": float("nan")})


def test_nest() -> None:
    """The parts of one object are collected, not those of one whose name begins alike."""
    assert {"city": 1} == nest({"address.city": 1, "address2.city": 2, "address": 3}, "address")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A:number", ("A", "number")), ("A : NUMBER", ("A", "number")), ("A:b:number", ("A:b", "number")),
        ("A:colour", ("A:colour", None)), (":number", (":number", None)), ("number", ("number", None)),
    ],
)  # fmt: skip
def test_split_kind(name: str, expected: tuple[str, str | None]) -> None:
    """A suffix is a kind only when it is a known one; else it belongs to the name."""
    assert expected == split_kind(name, ("number",))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"errors": [{"detail": "too long", "pointer": "#/a/b"}]}, [("a.b", "too long")]),
        ({"detail": [{"loc": ["body", "a", 0, "b"], "msg": "bad"}]}, [("a.0.b", "bad")]),
        ({"detail": [{"loc": ["query", "a"], "msg": "bad"}]}, [("query.a", "bad")]),
        ({"detail": "no", "title": "x"}, [("", "no")]),
        ({"title": "x", "status": 400}, [("", "x")]),
        ({"error": "nope"}, [("", "nope")]),
        ({"error": {"code": 7, "message": "nope"}}, [("", "nope")]),
        ([1], []), (None, []), ({"detail": 5, "errors": 5}, []),
    ],
)  # fmt: skip
def test_generic_refusals(data: Any, expected: Sequence[tuple[str, str]]) -> None:
    """The common error shapes are read even where an API does not document them."""
    assert expected == parse_common_errors(data)


@given(JSON | st.fixed_dictionaries({"errors": JSON, "detail": JSON, "message": JSON}))
def test_any_generic_refusal(data: Any) -> None:
    """Whatever the answer is, reading errors never fails."""
    assert all(isinstance(text, str) for pair in parse_common_errors(data) for text in pair)


def test_refusal_text_is_short() -> None:
    """An answer without a known shape is quoted, but not all of it."""
    assert len(error_text(ApiResponse(400, body=b"x" * 10_000))) < 340
