"""What a run learned is there for the next one, or it is not; never is it in the way."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.ratelimit import Learned, load_learned, save_learned


@pytest.mark.parametrize("learned", [Learned(), Learned(98.5), Learned(10, 60)])
def test_what_was_saved_is_loaded(tmp_path: Path, learned: Learned) -> None:
    """It comes back under its own key, beside what is kept under others."""
    path = tmp_path / "state" / "limits.json"
    save_learned(path, "other", Learned(5))
    save_learned(path, "mine", learned)
    assert (load_learned(path, "mine"), load_learned(path, "other")) == (learned, Learned(5))


def test_nothing_learned_replaces_what_was(tmp_path: Path) -> None:
    """A run that found no limit takes the old one away."""
    path = tmp_path / "limits.json"
    save_learned(path, "mine", Learned(5))
    save_learned(path, "mine", Learned())
    assert json.loads(path.read_text()) == {}


def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """The file names origins, so nobody else reads it."""
    path = tmp_path / "limits.json"
    save_learned(path, "mine", Learned(5))
    assert path.stat().st_mode & 0o777 == 0o600


def test_old_keys_give_way(tmp_path: Path) -> None:
    """The file does not grow without end: the 200 latest keys stay."""
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({f"key {n}": {"per_second": 1} for n in range(300)}))
    save_learned(path, "mine", Learned(5))
    assert list(json.loads(path.read_text())) == [*(f"key {n}" for n in range(101, 300)), "mine"]


def test_unwritable_place_is_no_error(tmp_path: Path) -> None:
    """Where nothing can be written, nothing is kept, and the run goes on."""
    (tmp_path / "file").write_text("in the way")
    save_learned(tmp_path / "file" / "limits.json", "mine", Learned(5))
    assert load_learned(tmp_path / "file" / "limits.json", "mine") == Learned()


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    """No temporary file stays, also when the target cannot be replaced."""
    (tmp_path / "limits.json").mkdir()
    save_learned(tmp_path / "limits.json", "mine", Learned(5))
    assert os.listdir(tmp_path) == ["limits.json"]


@given(content=st.binary(max_size=80) | st.sampled_from([b"[" * 100_000, b'{"mine": 3}', b'{"mine": {"window": NaN}}']))
def test_garbage_counts_as_not_learned(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever is in the file, loading gives nothing and saving mends it."""
    path = tmp_path_factory.mktemp("state") / "limits.json"
    path.write_bytes(content)
    assert load_learned(path, "mine") == Learned()
    save_learned(path, "mine", Learned(5))
    assert load_learned(path, "mine") == Learned(5)


@pytest.mark.parametrize(
    "raw", [None, [], {"per_second": "5"}, {"per_second": -1}, {"per_second": True}, {"window": 1e99}]
)
def test_values_that_make_no_sense_are_not_learned(raw: object) -> None:
    """A rate or window that nobody could have measured counts as not learned."""
    assert Learned.from_dict(raw) == Learned()


@pytest.mark.parametrize(
    ("age", "is_kept"), [(0, True), (86_000, True), (86_500, False), (-3600, False), (None, False)]
)
def test_what_was_learned_expires(tmp_path: Path, age: float | None, is_kept: bool) -> None:
    """After a day it is forgotten, as is what has no time, or one that is yet to come."""
    path = tmp_path / "limits.json"
    at = {} if age is None else {"at": time.time() - age}
    path.write_text(json.dumps({"mine": {"per_second": 5} | at}))
    assert load_learned(path, "mine") == (Learned(5) if is_kept else Learned())


def test_runs_that_find_nothing_do_not_prolong(tmp_path: Path) -> None:
    """A run that only kept to what was learned saves it with its old time; one that found another with its own."""
    path, then = tmp_path / "limits.json", time.time() - 80_000
    path.write_text(json.dumps({"mine": {"per_second": 5, "at": then}}))
    save_learned(path, "mine", Learned(5))
    assert load_learned(path, "mine").at == then
    save_learned(path, "mine", Learned(6))
    assert (load_learned(path, "mine").at or 0) > then + 79_000


def test_nonsense_is_refused_when_made() -> None:
    """A ceiling of nothing is a mistake of ours."""
    with pytest.raises(ValueError, match=r"^per_second must be a number greater than 0, not 0$"):
        Learned(0)
