"""The searches for garbage: rarer while a run sends, as usual afterwards, whatever ends it."""

import gc

import pytest

from batch.engine.garbage import RARELY, rare_collection


def test_rarely() -> None:
    """Within, searches are rare, and what was there before is left out of them."""
    with rare_collection():
        assert (RARELY, True) == (gc.get_threshold()[0], gc.get_freeze_count() > 0)


def test_as_usual_afterwards() -> None:
    """An exception that ends it leaves everything as it was."""
    before = (gc.get_threshold(), gc.get_freeze_count())
    with pytest.raises(KeyError), rare_collection():
        raise KeyError
    assert before == (gc.get_threshold(), gc.get_freeze_count())
