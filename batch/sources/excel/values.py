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
_TYPES = ("n", "s", "str", "inlineStr", "b", "e", "d")
_CONSTANTS = ("TRUE()", "FALSE()", "TRUE", "FALSE")
"""LibreOffice writes plain booleans as such formulas."""
_WHOLE = r"^-?[1-9]\d{0,14}$|^0$"
_SHORT = r"^-?(?:0|[1-9]\d*)\.\d*[1-9]$"


class Values:
    """Reads the cells of one workbook, and counts per column what people should be told."""

    def __init__(self, workbook: Workbook, texts: pl.Series) -> None:
        self._is_1904, self._is_uncalculated = workbook.is_1904, workbook.is_uncalculated
        self._texts = texts
        formats = [read_format(code) for code in workbook.formats]
        self.codes: list[str] = list(dict.fromkeys(["General", *workbook.formats]))
        """The number formats of the workbook, as `origin` counts them."""
        self._format = pl.Series("format", [str(self.codes.index(one.code)) for one in formats])
        self._kind = pl.Series("kind", [one.kind for one in formats])
        self._zeros = pl.Series("zeros", [one.zeros for one in formats], dtype=pl.UInt32)
        self._shows = pl.Series("shows", [one.shows for one in formats])
        self.counts: Counter[tuple[int, str]] = Counter()
        """How many cells of a column (1 = A) are "percent", "currency", "words", "formula", "digits" or "zeros"."""

    def read(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Give `row column is_hidden text origin reason` of each cell that is not blank."""
        cells = self._prepare(cells)
        cells = cells.with_columns(self._texts_of(cells), _origin())
        cells = _with_long_numbers(cells)
        is_date = (pl.col("type") == "n") & (pl.col("kind") != "number") & pl.col("reason").is_null()
        dates = cells["index"].filter(cells.select(is_date).to_series())
        if len(dates):
            read = read_dates(cells[dates], is_1904=self._is_1904)
            cells = cells.with_columns(cells[name].scatter(dates, read[name]) for name in ("text", "origin", "reason"))
        cells = cells.filter(pl.col("text") != "")
        self._count(cells)
        return cells.select("row", "column", "is_hidden", "text", "origin", "reason")

    def _prepare(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Look up the styles, parse the numbers, and find what cannot be trusted."""
        cells = cells.filter((pl.col("value") != "") | pl.col("formula").is_not_null()).with_row_index()
        if not cells["type"].is_in(_TYPES).all():
            raise MarkupError("a cell of unknown type")
        style = cells["style"]
        if len(style) and int(style.max()) >= len(self._format):  # type: ignore[arg-type]  # whole numbers
            raise MarkupError("a cell of unknown style")
        looks = [series.gather(style) for series in (self._format, self._kind, self._zeros, self._shows)]
        is_number = pl.col("type") == "n"
        number = pl.when(is_number).then(pl.col("value").str.strip_chars()).cast(pl.Float64, strict=False)
        cells = cells.hstack(looks).with_columns(number.alias("number"))
        has_value = pl.col("value").fill_null("") != ""
        is_missing = pl.col("formula").is_not_null() & (~has_value & (pl.col("type") != "str") | self._is_uncalculated)
        size, zeros = pl.col("number").abs(), pl.col("zeros")
        reason = (
            pl.when(pl.col("type") == "e").then(pl.lit(ERROR))
            .when(is_missing).then(pl.lit(NO_VALUE))
            .when(is_number & ~pl.col("number").is_finite().fill_null(value=False)).then(pl.lit(NO_NUMBER))
            .when(size >= TOO_LARGE).then(pl.lit(ROUNDED))
            .when((zeros > 0) & (size < pl.lit(10.0).pow(zeros.cast(pl.Int64) - 1))).then(pl.lit(PADDED))
        )  # fmt: skip
        return cells.with_columns(reason.alias("reason"))

    def _texts_of(self, cells: pl.DataFrame) -> pl.Expr:
        """The text of each cell but dates; null for numbers that have to be written anew."""
        places = cells.select(
            pl.when(pl.col("type") == "s").then(pl.col("value").str.strip_chars()).cast(pl.UInt32, strict=False)
        ).to_series()
        is_shared = cells["type"] == "s"
        if int(is_shared.sum()) > places.count() or int(places.max() or 0) >= max(len(self._texts), 1):  # type: ignore[arg-type]  # whole numbers
            raise MarkupError("a text is missing")
        true, false = pl.lit("true"), pl.lit("false")
        value, stripped = pl.col("value"), pl.col("value").str.strip_chars()
        is_short = stripped.str.contains(_WHOLE) | (stripped.str.contains(_SHORT) & (stripped.str.len_bytes() <= 16))
        return (
            pl.when(pl.col("reason") == NO_VALUE).then("=" + pl.col("formula"))
            .when(pl.col("type") == "s").then(pl.lit(self._texts.gather(places)))
            .when(pl.col("type") == "n").then(pl.when(is_short & pl.col("reason").is_null()).then(stripped))
            .when(pl.col("type") == "b").then(pl.when(stripped.is_in(["1", "true"])).then(true).otherwise(false))
            .when(pl.col("type") == "e").then(value)
            .otherwise(pl.lit(unescape_controls(cells["value"])))
            .alias("text")
        )  # fmt: skip

    def _count(self, cells: pl.DataFrame) -> None:
        numbers = cells.filter(pl.col("type") == "n", pl.col("kind") == "number")
        self._add(numbers.filter(pl.col("shows") != ""), pl.col("shows"))
        self._add(numbers.filter(pl.col("text").str.contains(r"^[0-9]+$")), pl.lit("digits"))
        formula = cells.filter(pl.col("formula").is_not_null(), pl.col("reason").is_null())
        self._add(formula.filter(~pl.col("formula").is_in(_CONSTANTS)), pl.lit("formula"))
        zeros = cells.filter(pl.col("text").str.starts_with("0"), pl.col("type") != "n")
        self._add(zeros.filter(pl.col("text").str.contains(r"^0[0-9]+$")), pl.lit("zeros"))

    def _add(self, cells: pl.DataFrame, what: pl.Expr) -> None:
        for column, name, number in cells.group_by("column", what.alias("what")).len().iter_rows():
            self.counts[column, name] += number


def _origin() -> pl.Expr:
    """What else the failures workbook needs of each cell but dates."""
    kind, code = pl.col("type"), pl.col("format")
    raw = pl.col("value").fill_null("")
    return (
        pl.when(pl.col("reason") == NO_VALUE).then(pl.lit("u0:"))
        .when(kind == "e").then("e0:" + raw)
        .when(kind == "b").then("b" + code)
        .when(kind != "n").then(pl.when(code != "0").then("s" + code))
        .when(pl.col("reason").is_null()).then("n" + code)
        .otherwise("n" + code + ":" + raw)
        .alias("origin")
    )  # fmt: skip


def _with_long_numbers(cells: pl.DataFrame) -> pl.DataFrame:
    """Write the numbers anew that are not stored as short as they can be: `1.1000000000000001`, `1E-3`, `2.50`."""
    waiting = cells["index"].filter(cells["text"].is_null() & (cells["type"] == "n"))
    raw = cells.select("number", "value", "zeros", "reason")[waiting].iter_rows()
    texts = [_seen(*one) if one[3] else number_text(one[0]) for one in raw]
    return cells.with_columns(cells["text"].scatter(waiting, texts)) if texts else cells


def _seen(number: float | None, value: str, zeros: int, reason: str) -> str:
    """What a person sees in a cell whose number cannot be trusted."""
    if number is None or reason == NO_NUMBER:
        return value
    if reason == ROUNDED and abs(number) >= 1e21:
        return f"{number:.15G}"
    text = number_text(number)
    return text if reason == ROUNDED else "-" * text.startswith("-") + text.lstrip("-").zfill(zeros)


def number_text(number: float) -> str:
    """Write a number as short as it can be without loss: no `.0`, no exponent."""
    if number.is_integer():
        return str(int(number))
    short = repr(number)
    return format(Decimal(short), "f") if "e" in short else short
