"""`--no-keep-data`: what a run that is over keeps of the values of its rows and records: nothing but its failures file.

Promises: values are gone from the journal, also from pages that it does not use any more, from the rows that the run
keeps, and from what is made of them; ids, outcomes and counts stay, so that results and later rounds can be told.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from batch.files import NewFile, written_earlier
from batch.journal import Journal
from batch.model import ROW, Problem, RowResult, cell_column
from batch.own_files import UNDO_LIST, UNDO_SHEET
from batch.problems import API, Scalar
from batch.provenance import RUN
from batch.run.metadata import RunMetadata
from batch.run.rounds import NUMBER

WITHOUT_VALUES = frozenset({"api", "field", "form", "limits", "noun", "part", "parts", "plural", "whole"})
"""What sentences name by these names is never a value of a cell or a record."""
NOT_KEPT = "…"
NO_WORDS = "the API's own words are not kept (--no-keep-data)"


def erase(folder: Path, journal: Journal, metadata: RunMetadata) -> RunMetadata:
    """Remove the values of a run that is over, and return what it knows of itself from then on; raises OSError.

    Done twice, it does no harm: so one that was cut off can be done again.
    """
    staged = replace(metadata.staged, telling=())
    metadata = metadata.model_copy(update={"is_erased": True, "staged": staged})
    journal.put_meta(metadata.as_meta(["is_erased", "staged"]))  # from now on no failures file is made of what is left
    journal.erase_values(_erased)
    _erase_rows(metadata)
    for path in (*written_earlier(folder, "results", (".xlsx",)), folder / UNDO_LIST, folder / UNDO_SHEET):
        path.unlink(missing_ok=True)
    return metadata


def _erase_rows(metadata: RunMetadata) -> None:
    """Keep of the rows their numbers and ids, and of which run's failures they were."""
    staged = metadata.staged
    known = [index for index, one in enumerate(staged.headers) if one.strip().casefold() in (NUMBER, RUN)]
    kept = {ROW, *map(cell_column, (metadata.id_column, *known))}
    schema = pl.read_parquet_schema(staged.path)
    nothing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in kept]
    file = NewFile(staged.path)
    try:
        pl.scan_parquet(staged.path, glob=False).with_columns(nothing).sink_parquet(file.made)
        file.keep()
    finally:
        file.discard()


def _erased(found: RowResult) -> RowResult:
    """Return a result without any value."""
    return replace(found, shown={}, problems=tuple(map(_without_values, found.problems)))


def _without_values(problem: Problem) -> Problem:
    values: Mapping[str, Scalar] = {
        name: NOT_KEPT if isinstance(value, str) and value and name not in WITHOUT_VALUES else value
        for name, value in problem.values.items()
    }
    text = NO_WORDS if problem.code in ("", API) else ""
    return replace(problem, values=values, seen="", text=text)
