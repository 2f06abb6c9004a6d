"""Cells as they are written -> their exact text, or the reason why they cannot be trusted.

Each cell keeps beside its text what its failures workbook needs to write it as it was (`origin`): null for plain text,
else a letter, the number of its format in `SheetStyle.formats`, and after a colon what the text does not say:

    s3          text, in format 3          n0        the number that the text says, in format 0
    d2:45000.5  a date, time or duration   b0        true or false
    e0:#N/A     an Excel error             u0        a formula without a stored value
"""

from collections import Counter
from decimal import Decimal

import polars as pl

from batch.sources.excel.dates import read_dates
from batch.sources.excel.formats import read_format
from batch.sources.excel.markup import MarkupError
from batch.sources.excel.texts import unescape_controls
from batch.sources.excel.workbook import Workbook

ERROR = "is an Excel error, not a value (type the value, or empty the cell to leave the field as it is)"
NO_VALUE = "is a formula without a stored value (open the file in Excel or LibreOffice, save it, and run again)"
ROUNDED = "has more than 15 digits, so Excel has rounded it (make the cell text, and type all digits again)"
NO_NUMBER = "is no number (type the value again)"
PADDED = "is shown with zeros in front that are not stored (make the cell text, and type it with its zeros)"

TOO_LARGE = 1e15
"""From here on a number has 16 digits, and Excel keeps 15."""
_WHOLE = r"^-?[1-9]\d{0,14}$|^0$"
_SHORT = r"^-?(?:0|[1-9]\d*)\.\d*[1-9]$"
_PARTS = ("index", "text", "origin", "reason")


class Values:
    """Reads the cells of one workbook, and counts per column what people should be told."""

    def __init__(self, workbook: Workbook, texts: pl.Series) -> None:
        self._is_1904, self._is_uncalculated = workbook.is_1904, workbook.is_uncalculated
        self._texts = texts
        self.codes: list[str] = ["General"]
        """The number formats of the workbook, as `origin` counts them."""
        formats = [read_format(code) for code in workbook.formats]
        self._styles = pl.DataFrame(
            {
                "style": pl.Series(range(len(formats)), dtype=pl.UInt32),
                "format": [str(self._number(one.code)) for one in formats],
                "kind": [one.kind for one in formats],
                "zeros": pl.Series([one.zeros for one in formats], dtype=pl.UInt32),
                "shows": [one.shows for one in formats],
            }
        )
        self.counts: Counter[tuple[int, str]] = Counter()
        """How many cells of a column (1 = A) are "percent", "currency", "words", "formula", "digits" or "zeros"."""

    def _number(self, code: str) -> int:
        if code not in self.codes:
            self.codes.append(code)
        return self.codes.index(code)

    def read(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Give `row column is_hidden text origin reason` of each cell that is not blank."""
        cells = self._prepare(cells)
        broken = cells.filter(pl.col("reason").is_not_null())
        sound = cells.filter(pl.col("reason").is_null())
        numbers = sound.filter(pl.col("type") == "n")
        parts = [
            broken.select("index", pl.col("seen").alias("text"), "origin", "reason"),
            self._read_texts(sound),
            _read_numbers(numbers.filter(pl.col("kind") == "number")),
            read_dates(numbers.filter(pl.col("kind") != "number"), is_1904=self._is_1904),
            _read_booleans(sound.filter(pl.col("type") == "b")),
        ]
        read = pl.concat([part.select(_PARTS) for part in parts]).sort("index")
        kept = cells[read["index"]].select("row", "column", "is_hidden", "formula", "shows", "type")
        found = kept.hstack(read.select(_PARTS[1:]))
        self._count(found)
        return found.select("row", "column", "is_hidden", "text", "origin", "reason")

    def _prepare(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Join the styles, parse the numbers, and find what cannot be trusted."""
        unknown = cells.filter(~pl.col("type").is_in(["n", "s", "str", "inlineStr", "b", "e", "d"]))
        if len(unknown):
            raise MarkupError(f"a cell of unknown type {unknown['type'][0]}")
        blank = pl.col("value").is_null() | (pl.col("value") == "")
        cells = (
            cells.filter(~(blank & pl.col("formula").is_null()))
            .with_row_index()
            .join(self._styles, on="style", how="left", maintain_order="left")
            .with_columns(
                pl.col("format").fill_null("0"),
                pl.col("kind").fill_null("number"),
                pl.when(pl.col("type") == "n").then(pl.col("value").str.strip_chars()).cast(pl.Float64, strict=False)
                .alias("number"),
            )
        )  # fmt: skip
        is_number, size = pl.col("type") == "n", pl.col("number").abs()
        is_missing = pl.col("formula").is_not_null() & (blank & is_number | self._is_uncalculated)
        seen = pl.when(is_missing).then("=" + pl.col("formula")).otherwise("value")
        letter = (
            pl.when(pl.col("type") == "e").then(pl.lit("e")).when(is_missing).then(pl.lit("u")).otherwise(pl.lit("n"))
        )
        return cells.with_columns(
            pl.when(pl.col("type") == "e").then(pl.lit(ERROR))
            .when(is_missing).then(pl.lit(NO_VALUE))
            .when(is_number & ~pl.col("number").is_finite().fill_null(value=False)).then(pl.lit(NO_NUMBER))
            .when(size >= TOO_LARGE).then(pl.lit(ROUNDED))
            .when((pl.col("zeros") > 0) & (size < pl.lit(10.0).pow(pl.col("zeros") - 1))).then(pl.lit(PADDED))
            .alias("reason"),
            seen.alias("seen"),
            (letter + pl.col("format") + ":" + pl.col("value").fill_null("")).alias("origin"),
        )  # fmt: skip

    def _read_texts(self, cells: pl.DataFrame) -> pl.DataFrame:
        shared = cells.filter(pl.col("type") == "s").select(
            "index", "format", pl.col("value").str.strip_chars().cast(pl.UInt32, strict=False)
        )
        if shared["value"].null_count() or (len(shared) and int(shared["value"].max()) >= len(self._texts)):  # type: ignore[arg-type]  # the column holds whole numbers
            raise MarkupError("a text is missing")
        own = cells.filter(pl.col("type").is_in(["str", "inlineStr", "d"])).select("index", "format", "value")
        both = pl.concat(
            [
                shared.with_columns(text=self._texts.gather(shared["value"])).drop("value"),
                own.with_columns(text=unescape_controls(own["value"])).drop("value"),
            ]
        )
        origin = pl.when(pl.col("format") != "0").then("s" + pl.col("format"))
        return both.filter(pl.col("text") != "").with_columns(origin=origin, reason=pl.lit(None, dtype=pl.String))

    def _count(self, found: pl.DataFrame) -> None:
        letter = pl.col("origin").str.slice(0, 1).fill_null("s")
        text = pl.col("text")
        marks = {
            "percent": (letter == "n") & (pl.col("shows") == "percent"),
            "currency": (letter == "n") & (pl.col("shows") == "currency"),
            "words": (letter == "n") & (pl.col("shows") == "words"),
            "formula": pl.col("formula").is_not_null() & pl.col("reason").is_null(),
            "digits": (letter == "n") & text.str.contains(r"^\d+$"),
            "zeros": (letter == "s") & text.str.starts_with("0") & text.str.contains(r"^0\d+$"),
        }
        sums = found.group_by("column").agg(mark.sum().alias(name) for name, mark in marks.items())
        for row in sums.iter_rows(named=True):
            for name in marks:
                if row[name]:
                    self.counts[row["column"], name] += row[name]


def _read_numbers(cells: pl.DataFrame) -> pl.DataFrame:
    """Write numbers as short as they can be without loss: no `.0`, no exponent."""
    value = pl.col("value").str.strip_chars()
    is_ready = value.str.contains(_WHOLE) | (value.str.contains(_SHORT) & (value.str.len_bytes() <= 16))
    cells = cells.select(
        "index",
        "number",
        pl.when(is_ready).then(value).alias("text"),
        ("n" + pl.col("format")).alias("origin"),
        pl.lit(None, dtype=pl.String).alias("reason"),
    )
    waiting = cells["text"].is_null().arg_true()
    texts = cells["text"].scatter(waiting, [number_text(one) for one in cells["number"].gather(waiting)])
    return cells.with_columns(text=texts)


def number_text(number: float) -> str:
    """Write a number as short as it can be without loss: no `.0`, no exponent."""
    if number.is_integer():
        return str(int(number))
    short = repr(number)
    return format(Decimal(short), "f") if "e" in short else short


def _read_booleans(cells: pl.DataFrame) -> pl.DataFrame:
    is_true = pl.col("value").str.strip_chars().is_in(["1", "true"])
    return cells.select(
        "index",
        pl.when(is_true).then(pl.lit("true")).otherwise(pl.lit("false")).alias("text"),
        ("b" + pl.col("format")).alias("origin"),
        pl.lit(None, dtype=pl.String).alias("reason"),
    )
