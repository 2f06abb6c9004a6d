"""Tables of pandas as an input: missing values of every kind are blanks, and numbers stay whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.installed.conftest import bare, do

pytestmark = pytest.mark.long
PROGRAM = """
import csv, json, sys
import numpy as np, pandas as pd
import batch

def planned(table):
    try:
        made = batch.plan(table, endpoint="dualentry.customers", sandbox=True, out=sys.argv[1])
    except batch.BatchError as error:
        return str(error)
    with open(made.files["cells"], encoding="utf-8-sig") as file:
        changed = [[row["row"], row["id"], row["field"], row["after"]] for row in csv.DictReader(file)]
    return {"changed": changed, "outcomes": {str(name): count for name, count in made.outcomes.items() if count}}

print(json.dumps([planned(one()) for one in [TABLES]]))
"""
MIXED = (
    "frame: the table cannot be read: Could not convert '10002' with type str: tried to convert to int64. Conversion "
    "failed for column id with type object. A column needs values of one kind; pandas makes texts of all kinds with "
    '.astype("string").'
)
PERIODS = (
    'frame, column "name": it holds values of a kind of their own (pandas.period), which no field can take. Save the '
    "file without it."
)
TABLES: dict[str, tuple[str, Any]] = {
    "ids that NaN made floats": (
        'pd.DataFrame({"id": [10001, np.nan, 10002], "name": ["A", np.nan, "C"]})',
        [["2", "10001", "name", "A"], ["4", "10002", "name", "C"]],
    ),
    "NaN, None, NA and NaT": (
        'pd.DataFrame({"id": [10001, 10002, 10003], "name": ["A", np.nan, None], "phone": [np.nan, pd.NA, pd.NaT]})',
        [["2", "10001", "name", "A"]],
    ),
    "nullable whole numbers": (
        'pd.DataFrame({"id": pd.array([10001, None, 10002], dtype="Int64"), "name": ["A", None, "C"]})',
        [["2", "10001", "name", "A"], ["4", "10002", "name", "C"]],
    ),
    "categories": (
        'pd.DataFrame({"id": [10001, 10002], "name": pd.Categorical(["A", None])})', [["2", "10001", "name", "A"]],
    ),
    "dates": (
        'pd.DataFrame({"id": [10001, 10002], "name": pd.to_datetime(["2024-01-02", None])})',
        [["2", "10001", "name", "2024-01-02"]],
    ),
    "a named index": (
        'pd.DataFrame({"name": ["A"]}, index=pd.Index([10001], name="id"))', [["2", "10001", "name", "A"]],
    ),
    "a filtered table": (
        'pd.DataFrame({"id": [10001, 10002], "name": ["A", "B"]})[lambda found: found.id > 10001]',
        [["2", "10002", "name", "B"]],
    ),
    "numbers as texts": (
        'pd.DataFrame({"id": [10001], "name": pd.Series([5550199.0])})', [["2", "10001", "name", "5550199"]],
    ),
    "texts of pyarrow": (
        'pd.DataFrame({"id": pd.array(["10001", None], dtype="string[pyarrow]"), "name": ["A", np.nan]})',
        [["2", "10001", "name", "A"]],
    ),
    "no rows": ('pd.DataFrame({"id": [], "name": []})', []),
    "mixed kinds": (
        'pd.DataFrame({"id": [10001, "10002"], "name": ["A", "B"]})',
        MIXED,
    ),
    "periods": (
        'pd.DataFrame({"id": [10001], "name": pd.period_range("2024-01", periods=1, freq="M")})',
        PERIODS,
    ),
}  # fmt: skip


def test_tables(orchestrators: Path, tmp_path: Path) -> None:
    """Each table says what it should, and nothing is ever the text "nan"."""
    script = tmp_path / "tables.py"
    script.write_text(PROGRAM.replace("TABLES", ", ".join(f"lambda: {code}" for code, _ in TABLES.values())))
    command = [orchestrators / "bin" / "python", script, tmp_path / "out"]
    found = json.loads(do(command, cwd=tmp_path, env=bare(), seconds=600.0).stdout)
    for (name, (_, expected)), got in zip(TABLES.items(), found, strict=True):
        changed = got if isinstance(got, str) else got["changed"]
        assert (name, expected) == (name, changed)
    assert "nan" not in json.dumps([one for one in found if not isinstance(one, str)]).lower()
